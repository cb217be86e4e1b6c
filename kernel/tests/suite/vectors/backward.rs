//! The rows of the gradients, which are added to what their destination holds.

use super::forward::{ROTATED, THETA};
use super::{Row, bf16s, f32s, ids, linear};
use crate::inputs::guarded;
use crate::spec;
use kernel::ops::*;

/// With more rows than a block of N6 has, and more tokens than columns.
const LINEAR: &[&[usize]] =
    &[&[1, 1, 1], &[2, 5, 2], &[3, 16, 15], &[2, 15, 16], &[3, 2, 17], &[2, 70, 5], &[17, 3, 53]];
const MATRIX: &[&[usize]] = &[&[1, 1], &[2, 15], &[3, 16], &[2, 17], &[3, 53]];

pub const ROWS: &[Row] = &[
    Row {
        operator: "matmul_backward_input",
        dims: &["tokens", "rows", "cols"],
        shapes: LINEAR,
        scalars: &[],
        inputs: |g| {
            let (tokens, rows, cols) = (g.dim("tokens"), g.dim("rows"), g.dim("cols"));
            vec![f32s("dx", &[tokens, cols]), f32s("dy", &[tokens, rows]), bf16s("w", &[rows, cols])]
        },
        outputs: &["dx"],
        run: |exec, g| {
            let w = g.narrow("w");
            let w = Weights::Bf16(&w);
            vec![g.changed("dx", |dx| matmul_backward_input(exec, dx, g.values("dy"), w, g.dim("tokens")))]
        },
        spec: |g| {
            let (mut dx, dy, w) = (g.values("dx").to_vec(), g.values("dy"), g.values("w"));
            let (rows, cols) = (g.dim("rows"), g.dim("cols"));
            spec::accumulate_blocks(&mut dx, cols, rows, |o, t| dy[t * rows + o], |o, c| w[o * cols + c]);
            vec![dx]
        },
    },
    Row {
        operator: "matmul_backward_weight",
        dims: &["tokens", "rows", "cols"],
        shapes: LINEAR,
        scalars: &[],
        inputs: |g| {
            let (tokens, rows, cols) = (g.dim("tokens"), g.dim("rows"), g.dim("cols"));
            vec![f32s("dw", &[rows, cols]), f32s("dy", &[tokens, rows]), f32s("x", &[tokens, cols])]
        },
        outputs: &["dw"],
        run: |exec, g| {
            let (dy, x) = (g.values("dy"), g.values("x"));
            vec![g.changed("dw", |dw| matmul_backward_weight(exec, dw, dy, x, g.dim("tokens")))]
        },
        spec: |g| {
            let (mut dw, dy, x) = (g.values("dw").to_vec(), g.values("dy"), g.values("x"));
            let (rows, cols) = (g.dim("rows"), g.dim("cols"));
            spec::accumulate(&mut dw, cols, g.dim("tokens"), |t, o| dy[t * rows + o], |t, c| x[t * cols + c]);
            vec![dw]
        },
    },
    Row {
        operator: "matmul_backward_bias",
        dims: &["tokens", "rows"],
        shapes: MATRIX,
        scalars: &[],
        inputs: |g| vec![f32s("dbias", &[g.dim("rows")]), f32s("dy", &[g.dim("tokens"), g.dim("rows")])],
        outputs: &["dbias"],
        run: |exec, g| vec![g.changed("dbias", |dbias| matmul_backward_bias(exec, dbias, g.values("dy")))],
        spec: |g| {
            let mut dbias = g.values("dbias").to_vec();
            for dy in g.values("dy").chunks_exact(g.dim("rows")) {
                dbias.iter_mut().zip(dy).for_each(|(dbias, dy)| *dbias += dy);
            }
            vec![dbias]
        },
    },
    Row {
        operator: "rmsnorm_backward",
        dims: &["tokens", "dim"],
        shapes: MATRIX,
        scalars: &[("eps", 1e-5)],
        inputs: |g| {
            let (tokens, dim) = (g.dim("tokens"), g.dim("dim"));
            let all = [tokens, dim];
            vec![f32s("dx", &all), f32s("dw", &[dim]), f32s("dy", &all), f32s("x", &all), bf16s("w", &[dim])]
        },
        outputs: &["dx", "dw"],
        run: |exec, g| {
            let (w, mut dw) = (g.narrow("w"), g.values("dw").to_vec());
            let (dy, x, eps) = (g.values("dy"), g.values("x"), g.scalar("eps"));
            let dx = g.changed("dx", |dx| rmsnorm_backward(exec, dx, Some(&mut dw), dy, x, Weights::Bf16(&w), eps));
            vec![dx, dw]
        },
        spec: |g| {
            let (mut dx, mut dw, dim) = (g.values("dx").to_vec(), g.values("dw").to_vec(), g.dim("dim"));
            let rows = g.values("dy").chunks_exact(dim).zip(g.values("x").chunks_exact(dim));
            for ((dy, x), dx) in rows.zip(dx.chunks_exact_mut(dim)) {
                let (change, terms) = spec::rmsnorm_backward(dy, x, g.values("w"), g.scalar("eps"));
                dx.iter_mut().zip(change).for_each(|(dx, change)| *dx += change);
                dw.iter_mut().zip(terms).for_each(|(dw, term)| *dw += term);
            }
            vec![dx, dw]
        },
    },
    Row {
        operator: "rope_backward",
        dims: &["tokens", "heads", "head_dim", "first_position"],
        shapes: ROTATED,
        scalars: &[THETA],
        inputs: |g| vec![f32s("dy", &[g.dim("tokens"), g.dim("heads"), g.dim("head_dim")])],
        outputs: &["dx"],
        run: |exec, g| {
            let (tokens, head_dim) = (g.dim("tokens"), g.dim("head_dim"));
            let mut angles = RopeAngles::default();
            RopeTable::new(g.scalar("theta"), head_dim).angles(g.dim("first_position"), tokens, &mut angles);
            vec![g.changed("dy", |dy| rope_backward(exec, dy, &angles, tokens, head_dim))]
        },
        spec: |g| {
            let (heads, head_dim, first) = (g.dim("heads"), g.dim("head_dim"), g.dim("first_position"));
            let half = head_dim / 2;
            let mut dx = g.values("dy").to_vec();
            for (i, head) in dx.chunks_exact_mut(head_dim).enumerate() {
                for k in 0..half {
                    let inverse = 1.0 / libm::powf(g.scalar("theta"), (2 * k) as f32 / head_dim as f32);
                    let angle = (first + i / heads) as f32 * inverse;
                    let (c, s) = (libm::cosf(angle), libm::sinf(angle));
                    let (a, b) = (head[k], head[k + half]);
                    (head[k], head[k + half]) = (a * c + b * s, b * c - a * s);
                }
            }
            vec![dx]
        },
    },
    Row {
        operator: "attention_backward",
        dims: &["tokens", "heads", "kv_heads", "head_dim"],
        shapes: &[&[2, 1, 1, 2], &[5, 2, 1, 4], &[16, 2, 2, 2], &[17, 3, 1, 6]],
        scalars: &[],
        inputs: |g| {
            let query = [g.dim("tokens"), g.dim("heads"), g.dim("head_dim")];
            let key = [g.dim("tokens"), g.dim("kv_heads"), g.dim("head_dim")];
            vec![f32s("dy", &query), f32s("q", &query), f32s("k", &key), f32s("v", &key)]
        },
        outputs: &["dq", "dk", "dv"],
        run: |exec, g| {
            let dims =
                AttentionDims { heads: g.dim("heads"), kv_heads: g.dim("kv_heads"), head_dim: g.dim("head_dim") };
            let [dy, q, k, v] = ["dy", "q", "k", "v"].map(|name| g.values(name));
            let [mut dq, mut dk, mut dv] = [q, k, v].map(|values| vec![0.0; values.len()]);
            let mut scratch = AttentionScratch::default();
            attention_backward(exec, [&mut dq, &mut dk, &mut dv], dy, [q, k, v], dims, &mut scratch);
            vec![dq, dk, dv]
        },
        spec: |g| {
            let [dy, q, k, v] = ["dy", "q", "k", "v"].map(|name| g.values(name));
            let shape = ["heads", "kv_heads", "head_dim"].map(|name| g.dim(name));
            spec::attention_backward(dy, q, k, v, shape).into()
        },
    },
    Row {
        operator: "softmax_backward",
        dims: &["rows", "cols"],
        shapes: &[&[1, 2], &[2, 15], &[3, 16], &[2, 17], &[3, 53]],
        scalars: &[],
        // The probabilities are the softmax of `x`.
        inputs: |g| {
            let all = [g.dim("rows"), g.dim("cols")];
            vec![f32s("dp", &all), f32s("x", &all)]
        },
        outputs: &["dx"],
        run: |exec, g| {
            let cols = g.dim("cols");
            let p = g.changed("x", |x| softmax_forward(exec, x, cols));
            vec![g.changed("dp", |dp| softmax_backward(exec, dp, &p, cols))]
        },
        spec: |g| {
            let rows = g.values("dp").chunks_exact(g.dim("cols")).zip(g.values("x").chunks_exact(g.dim("cols")));
            vec![rows.flat_map(|(dp, x)| spec::softmax_backward(dp, &spec::softmax(x))).collect()]
        },
    },
    Row {
        operator: "swiglu_backward",
        dims: &["count"],
        shapes: &[&[1], &[2], &[15], &[16], &[17], &[53]],
        scalars: &[],
        inputs: |g| ["gate", "up", "dh"].map(|name| f32s(name, &[g.dim("count")])).into(),
        outputs: &["dgate", "dup"],
        run: |exec, g| {
            let mut dup = g.values("up").to_vec();
            let dgate = g.changed("gate", |dgate| swiglu_backward(exec, dgate, &mut dup, g.values("dh")));
            vec![dgate, dup]
        },
        spec: |g| {
            let each = g.values("dh").iter().zip(g.values("gate").iter().zip(g.values("up")));
            let (dgate, dup) = each.map(|(dh, (gate, up))| spec::swiglu_backward(*dh, *gate, *up)).unzip();
            vec![dgate, dup]
        },
    },
    Row {
        operator: "cross_entropy_backward",
        dims: &["rows", "vocab", "count"],
        shapes: &[&[1, 2, 1], &[2, 15, 2], &[1, 16, 7], &[3, 17, 5], &[2, 53, 2]],
        scalars: &[],
        inputs: |g| {
            let (rows, vocab) = (g.dim("rows"), g.dim("vocab"));
            vec![f32s("logits", &[rows, vocab]), ids("targets", rows, vocab)]
        },
        outputs: &["dlogits"],
        run: |exec, g| {
            let (targets, count) = (g.ids("targets"), g.dim("count"));
            vec![g.changed("logits", |logits| cross_entropy_backward(exec, logits, targets, count))]
        },
        spec: |g| {
            let count = g.dim("count") as f32;
            let rows = g.values("logits").chunks_exact(g.dim("vocab")).zip(g.ids("targets"));
            let row = |(logits, target): (&[f32], &u32)| {
                let hit = |i: usize| f32::from(i == *target as usize);
                spec::softmax(logits)
                    .into_iter()
                    .enumerate()
                    .map(move |(i, p)| (p - hit(i)) / count)
                    .collect::<Vec<_>>()
            };
            vec![rows.flat_map(row).collect()]
        },
    },
    Row {
        operator: "lora_backward",
        dims: &["tokens", "rows", "cols", "rank"],
        shapes: &[&[1, 1, 1, 1], &[3, 17, 15, 2], &[2, 70, 16, 4]],
        scalars: &[("scale", 1.75)],
        inputs: |g| {
            let (tokens, rows, cols, rank) = (g.dim("tokens"), g.dim("rows"), g.dim("cols"), g.dim("rank"));
            vec![
                f32s("dy", &[tokens, rows]),
                f32s("x", &[tokens, cols]),
                f32s("a", &[rank, cols]),
                f32s("b", &[rows, rank]),
            ]
        },
        outputs: &["dx", "da", "db"],
        run: |exec, g| {
            let lora =
                Lora { a: Weights::F32(g.values("a")), b: Weights::F32(g.values("b")), scale: g.scalar("scale") };
            let [mut da, mut db] = ["a", "b"].map(|name| vec![0.0; g.values(name).len()]);
            let (dy, x) = (g.values("dy"), g.values("x"));
            let dx = guarded(x.len(), |dx| {
                dx.fill(0.0);
                lora_backward(exec, [dx, &mut da, &mut db], dy, x, lora, g.dim("tokens"));
            });
            vec![dx, da, db]
        },
        spec: |g| {
            let (tokens, rows, cols, rank) = (g.dim("tokens"), g.dim("rows"), g.dim("cols"), g.dim("rank"));
            let [x, a, b] = ["x", "a", "b"].map(|name| g.values(name));
            let d: Vec<f32> = g.values("dy").iter().map(|dy| g.scalar("scale") * dy).collect();
            let u = linear(x, a, cols);
            let [mut du, mut dx, mut da, mut db] =
                [tokens * rank, tokens * cols, rank * cols, rows * rank].map(|len| vec![0.0; len]);
            spec::accumulate_blocks(&mut du, rank, rows, |o, t| d[t * rows + o], |o, r| b[o * rank + r]);
            spec::accumulate(&mut db, rank, tokens, |t, o| d[t * rows + o], |t, r| u[t * rank + r]);
            spec::accumulate(&mut da, cols, tokens, |t, r| du[t * rank + r], |t, c| x[t * cols + c]);
            spec::accumulate_blocks(&mut dx, cols, rank, |r, t| du[t * rank + r], |r, c| a[r * cols + c]);
            vec![dx, da, db]
        },
    },
    Row {
        operator: "embedding_backward",
        dims: &["tokens", "vocab", "dim"],
        shapes: &[&[1, 2, 1], &[5, 3, 15], &[16, 2, 17]],
        scalars: &[],
        inputs: |g| {
            let (tokens, vocab, dim) = (g.dim("tokens"), g.dim("vocab"), g.dim("dim"));
            vec![f32s("dtable", &[vocab, dim]), f32s("dy", &[tokens, dim]), ids("ids", tokens, vocab)]
        },
        outputs: &["dtable"],
        run: |exec, g| {
            let (dy, ids) = (g.values("dy"), g.ids("ids"));
            vec![g.changed("dtable", |dtable| embedding_backward(exec, dtable, dy, ids, g.dim("dim")))]
        },
        spec: |g| {
            let (mut dtable, dim) = (g.values("dtable").to_vec(), g.dim("dim"));
            for (id, dy) in g.ids("ids").iter().zip(g.values("dy").chunks_exact(dim)) {
                dtable[*id as usize * dim..][..dim].iter_mut().zip(dy).for_each(|(d, dy)| *d += dy);
            }
            vec![dtable]
        },
    },
];
