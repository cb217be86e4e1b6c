//! The rows of the forward operators.

use super::{Kind, Row, bf16s, f32s, ids, input, linear, row};
use crate::inputs::guarded;
use crate::spec;
use kernel::ops::*;

const LINEAR: &[&[usize]] =
    &[&[1, 1, 1], &[1, 5, 2], &[2, 3, 15], &[2, 16, 16], &[3, 17, 17], &[2, 9, 53], &[17, 2, 33]];
const MATRIX: &[&[usize]] = &[&[1, 1], &[2, 2], &[3, 15], &[1, 16], &[2, 17], &[3, 53]];
const LIST: &[&[usize]] = &[&[1], &[2], &[15], &[16], &[17], &[53]];
const LOGITS: &[&[usize]] = &[&[1, 2], &[2, 15], &[1, 16], &[3, 17], &[2, 53]];
/// `theta` of the rotations.
pub const THETA: (&str, f32) = ("theta", 10_000.0);
pub const ROTATED: &[&[usize]] = &[&[1, 1, 2, 0], &[3, 2, 10, 7], &[2, 1, 16, 15], &[2, 3, 34, 53]];

pub const ROWS: &[Row] = &[
    Row {
        operator: "matmul_forward",
        dims: &["tokens", "rows", "cols"],
        shapes: LINEAR,
        scalars: &[],
        inputs: |g| {
            vec![
                f32s("x", &[g.dim("tokens"), g.dim("cols")]),
                f32s("w", &[g.dim("rows"), g.dim("cols")]),
                f32s("bias", &[g.dim("rows")]),
            ]
        },
        outputs: &["y"],
        run: |exec, g| {
            let (w, bias) = (Weights::F32(g.values("w")), Weights::F32(g.values("bias")));
            let tokens = g.dim("tokens");
            vec![guarded(tokens * g.dim("rows"), |y| matmul_forward(exec, y, g.values("x"), w, Some(bias), tokens))]
        },
        spec: |g| {
            let y = linear(g.values("x"), g.values("w"), g.dim("cols"));
            vec![y.iter().zip(g.values("bias").iter().cycle()).map(|(y, b)| y + b).collect()]
        },
    },
    // Weights of the other width, without a bias.
    Row {
        operator: "matmul_forward",
        dims: &["tokens", "rows", "cols"],
        shapes: LINEAR,
        scalars: &[],
        inputs: |g| vec![f32s("x", &[g.dim("tokens"), g.dim("cols")]), bf16s("w", &[g.dim("rows"), g.dim("cols")])],
        outputs: &["y"],
        run: |exec, g| {
            let (w, tokens) = (g.narrow("w"), g.dim("tokens"));
            let w = Weights::Bf16(&w);
            vec![guarded(tokens * g.dim("rows"), |y| matmul_forward(exec, y, g.values("x"), w, None, tokens))]
        },
        spec: |g| vec![linear(g.values("x"), g.values("w"), g.dim("cols"))],
    },
    Row {
        operator: "rmsnorm_forward",
        dims: &["tokens", "dim"],
        shapes: MATRIX,
        scalars: &[("eps", 1e-5)],
        inputs: |g| vec![f32s("x", &[g.dim("tokens"), g.dim("dim")]), bf16s("w", &[g.dim("dim")])],
        outputs: &["y"],
        run: |exec, g| {
            let (x, w) = (g.values("x"), g.narrow("w"));
            vec![guarded(x.len(), |y| rmsnorm_forward(exec, y, x, Weights::Bf16(&w), g.scalar("eps")))]
        },
        spec: |g| {
            let rows = g.values("x").chunks_exact(g.dim("dim"));
            vec![rows.flat_map(|x| spec::rmsnorm(x, g.values("w"), g.scalar("eps"))).collect()]
        },
    },
    Row {
        operator: "rope_forward",
        dims: &["tokens", "heads", "head_dim", "first_position"],
        shapes: ROTATED,
        scalars: &[THETA],
        inputs: |g| vec![f32s("x", &[g.dim("tokens"), g.dim("heads"), g.dim("head_dim")])],
        outputs: &["y"],
        run: |exec, g| {
            let (tokens, head_dim) = (g.dim("tokens"), g.dim("head_dim"));
            let mut angles = RopeAngles::default();
            RopeTable::new(g.scalar("theta"), head_dim).angles(g.dim("first_position"), tokens, &mut angles);
            vec![g.changed("x", |x| rope_forward(exec, x, &angles, tokens, head_dim))]
        },
        spec: |g| {
            let (heads, first) = (g.dim("heads"), g.dim("first_position"));
            let rows = g.values("x").chunks_exact(g.dim("head_dim")).enumerate();
            vec![rows.flat_map(|(i, head)| spec::rope(head, first + i / heads, g.scalar("theta"))).collect()]
        },
    },
    Row {
        operator: "attention_forward",
        dims: &["tokens", "positions", "heads", "kv_heads", "head_dim"],
        shapes: &[&[1, 1, 1, 1, 2], &[2, 15, 2, 1, 10], &[1, 16, 2, 2, 16], &[3, 17, 3, 1, 6], &[2, 53, 2, 1, 8]],
        scalars: &[],
        inputs: |g| {
            let cached = [g.dim("kv_heads"), g.dim("positions"), g.dim("head_dim")];
            let q = [g.dim("tokens"), g.dim("heads"), g.dim("head_dim")];
            vec![f32s("q", &q), f32s("keys", &cached), f32s("values", &cached)]
        },
        outputs: &["y"],
        run: |exec, g| {
            let dims =
                AttentionDims { heads: g.dim("heads"), kv_heads: g.dim("kv_heads"), head_dim: g.dim("head_dim") };
            let cached = g.dim("positions") * dims.head_dim;
            let keys = g.values("keys").chunks_exact(cached).map(|rows| Keys::of_rows(dims.head_dim, rows));
            let keys: Vec<Keys> = keys.collect();
            let values: Vec<Vec<f32>> = g.values("values").chunks_exact(cached).map(<[f32]>::to_vec).collect();
            let q = g.values("q");
            vec![guarded(q.len(), |y| attention_forward(exec, y, q, &keys, &values, dims))]
        },
        spec: |g| {
            let (heads, group) = (g.dim("heads"), g.dim("heads") / g.dim("kv_heads"));
            let (positions, tokens) = (g.dim("positions"), g.dim("tokens"));
            let cached = positions * g.dim("head_dim");
            let each = g.values("q").chunks_exact(g.dim("head_dim")).enumerate().flat_map(|(i, q)| {
                let (visible, kv) = (positions - tokens + i / heads + 1, i % heads / group);
                spec::attention(q, row(g.values("keys"), cached, kv), row(g.values("values"), cached, kv), visible)
            });
            vec![each.collect()]
        },
    },
    Row {
        operator: "softmax_forward",
        dims: &["rows", "cols"],
        shapes: MATRIX,
        scalars: &[],
        inputs: |g| vec![f32s("x", &[g.dim("rows"), g.dim("cols")])],
        outputs: &["y"],
        run: |exec, g| vec![g.changed("x", |x| softmax_forward(exec, x, g.dim("cols")))],
        spec: |g| vec![g.values("x").chunks_exact(g.dim("cols")).flat_map(spec::softmax).collect()],
    },
    Row {
        operator: "swiglu_forward",
        dims: &["count"],
        shapes: LIST,
        scalars: &[],
        inputs: |g| vec![f32s("gate", &[g.dim("count")]), f32s("up", &[g.dim("count")])],
        outputs: &["y"],
        run: |exec, g| vec![guarded(g.dim("count"), |y| swiglu_forward(exec, y, g.values("gate"), g.values("up")))],
        spec: |g| vec![g.values("gate").iter().zip(g.values("up")).map(|(g, u)| spec::swiglu(*g, *u)).collect()],
    },
    Row {
        operator: "embedding_forward",
        dims: &["tokens", "vocab", "dim"],
        shapes: &[&[1, 2, 1], &[3, 5, 15], &[2, 3, 17]],
        scalars: &[],
        inputs: |g| vec![bf16s("table", &[g.dim("vocab"), g.dim("dim")]), ids("ids", g.dim("tokens"), g.dim("vocab"))],
        outputs: &["y"],
        run: |exec, g| {
            let (table, dim) = (g.narrow("table"), g.dim("dim"));
            let table = Weights::Bf16(&table);
            vec![guarded(g.dim("tokens") * dim, |y| embedding_forward(exec, y, table, g.ids("ids"), dim))]
        },
        spec: |g| {
            let rows = g.ids("ids").iter().flat_map(|id| row(g.values("table"), g.dim("dim"), *id as usize));
            vec![rows.copied().collect()]
        },
    },
    Row {
        operator: "residual_forward",
        dims: &["count"],
        shapes: LIST,
        scalars: &[],
        inputs: |g| vec![f32s("x", &[g.dim("count")]), f32s("y", &[g.dim("count")])],
        outputs: &["sum"],
        run: |exec, g| vec![g.changed("x", |x| residual_forward(exec, x, g.values("y")))],
        spec: |g| vec![g.values("x").iter().zip(g.values("y")).map(|(x, y)| x + y).collect()],
    },
    Row {
        operator: "cross_entropy_forward",
        dims: &["rows", "vocab"],
        shapes: LOGITS,
        scalars: &[],
        inputs: |g| {
            vec![f32s("logits", &[g.dim("rows"), g.dim("vocab")]), ids("targets", g.dim("rows"), g.dim("vocab"))]
        },
        outputs: &["losses"],
        run: |exec, g| {
            let (logits, targets) = (g.values("logits"), g.ids("targets"));
            vec![guarded(targets.len(), |losses| cross_entropy_forward(exec, losses, logits, targets))]
        },
        spec: |g| {
            let rows = g.values("logits").chunks_exact(g.dim("vocab")).zip(g.ids("targets"));
            vec![rows.map(|(logits, target)| spec::cross_entropy(logits, *target as usize)).collect()]
        },
    },
    Row {
        operator: "log_probability_forward",
        dims: &["rows", "vocab"],
        shapes: LOGITS,
        scalars: &[],
        inputs: |g| {
            vec![f32s("logits", &[g.dim("rows"), g.dim("vocab")]), ids("targets", g.dim("rows"), g.dim("vocab"))]
        },
        outputs: &["values"],
        run: |exec, g| {
            let (logits, targets) = (g.values("logits"), g.ids("targets"));
            vec![guarded(targets.len(), |values| log_probability_forward(exec, values, logits, targets))]
        },
        spec: |g| {
            let rows = g.values("logits").chunks_exact(g.dim("vocab")).zip(g.ids("targets"));
            vec![rows.map(|(logits, target)| spec::log_probability(logits, *target as usize)).collect()]
        },
    },
    Row {
        operator: "lora_forward",
        dims: &["tokens", "rows", "cols", "rank"],
        shapes: &[&[1, 1, 1, 1], &[3, 17, 15, 2], &[2, 5, 53, 16]],
        scalars: &[("scale", 1.75)],
        inputs: |g| {
            let (tokens, rows, cols, rank) = (g.dim("tokens"), g.dim("rows"), g.dim("cols"), g.dim("rank"));
            vec![
                f32s("y", &[tokens, rows]),
                f32s("x", &[tokens, cols]),
                f32s("a", &[rank, cols]),
                f32s("b", &[rows, rank]),
            ]
        },
        outputs: &["y"],
        run: |exec, g| {
            let lora =
                Lora { a: Weights::F32(g.values("a")), b: Weights::F32(g.values("b")), scale: g.scalar("scale") };
            vec![g.changed("y", |y| lora_forward(exec, y, g.values("x"), lora, g.dim("tokens")))]
        },
        spec: |g| {
            let low = linear(g.values("x"), g.values("a"), g.dim("cols"));
            let high = linear(&low, g.values("b"), g.dim("rank"));
            vec![g.values("y").iter().zip(high).map(|(y, high)| y + g.scalar("scale") * high).collect()]
        },
    },
    Row {
        operator: "lora_merge",
        dims: &["rows", "cols", "rank"],
        shapes: &[&[1, 1, 1], &[2, 15, 2], &[3, 17, 16]],
        scalars: &[("scale", 1.75)],
        inputs: |g| {
            let (rows, cols, rank) = (g.dim("rows"), g.dim("cols"), g.dim("rank"));
            vec![bf16s("w", &[rows, cols]), f32s("a", &[rank, cols]), f32s("b", &[rows, rank])]
        },
        outputs: &["w"],
        run: |exec, g| {
            let (a, b, scale) = (g.values("a"), g.values("b"), g.scalar("scale"));
            vec![g.changed("w", |w| lora_merge(exec, w, a, b, scale, g.dim("rank")))]
        },
        spec: |g| {
            let (cols, rank) = (g.dim("cols"), g.dim("rank"));
            let (a, b) = (g.values("a"), g.values("b"));
            let mut change = vec![0.0; g.values("w").len()];
            spec::accumulate(&mut change, cols, rank, |r, o| b[o * rank + r], |r, c| a[r * cols + c]);
            vec![g.values("w").iter().zip(change).map(|(w, change)| w + g.scalar("scale") * change).collect()]
        },
    },
    Row {
        operator: "squares_forward",
        dims: &["rows", "cols"],
        shapes: MATRIX,
        scalars: &[],
        inputs: |g| vec![input("x", Kind::F32, &[g.dim("rows"), g.dim("cols")])],
        outputs: &["sum"],
        run: |exec, g| vec![vec![squares_forward(exec, g.values("x"), g.dim("cols"))]],
        spec: |g| {
            let rows = g.values("x").chunks_exact(g.dim("cols")).map(|row| spec::dot(row, row));
            vec![vec![rows.fold(0.0, |sum: f32, row| sum + row)]]
        },
    },
];
