//! One row an operator: how it runs, what the contract says, what is true, how far it may be from it.

use crate::inputs::{Numbers, Truth, everywhere, exported, guarded, same_bits, worst_error};
use crate::{gradients, spec, truth};
use kernel::Exec;
use kernel::ops::*;
use kernel::simd::{Bf16, Weight};

/// Lengths that bite, and the real model's.
const LENGTHS: [usize; 12] = [1, 2, 15, 16, 17, 31, 48, 53, 64, 192, 576, 1536];

/// What a row computes for one case: the operator on a backend, the contract's bits, the truth.
pub struct Outcome {
    pub shape: String,
    pub run: Box<dyn Fn(Exec<'_>) -> Vec<f32>>,
    pub spec: Vec<f32>,
    pub truth: Vec<Truth>,
}

pub struct Row {
    pub name: &'static str,
    /// Largest error in units of 2^-24 of the scale that the truth oracle gives.
    pub bound: f64,
    pub cases: fn(&mut Numbers) -> Vec<Outcome>,
}

const FORWARD: [Row; 9] = [
    Row { name: "matmul_forward", bound: 6.0, cases: matmul },
    Row { name: "matmul_forward_each", bound: 6.0, cases: matmul_each },
    Row { name: "rmsnorm_forward", bound: 4.0, cases: rmsnorm },
    Row { name: "rope_forward", bound: 3.0, cases: rope },
    Row { name: "attention_forward", bound: 4.0, cases: attention },
    Row { name: "softmax_forward", bound: 5.0, cases: softmax },
    Row { name: "swiglu_forward", bound: 3.0, cases: swiglu },
    Row { name: "embedding_forward", bound: 0.0, cases: embedding },
    Row { name: "residual_forward", bound: 1.0, cases: residual },
];

fn rows() -> impl Iterator<Item = &'static Row> {
    FORWARD.iter().chain(&gradients::ROWS)
}

#[test]
fn n12_every_operator_has_the_bits_of_the_contract_everywhere() {
    for row in rows() {
        for case in (row.cases)(&mut Numbers::new(1)) {
            everywhere(|exec, place| {
                assert!(same_bits(&(case.run)(exec), &case.spec), "{} {} {place}", row.name, case.shape);
            });
        }
    }
}

#[test]
fn every_operator_is_within_its_bound_of_the_truth() {
    for row in rows() {
        let mut worst = 0.0;
        for case in (row.cases)(&mut Numbers::new(2)) {
            let error = worst_error(&(case.run)(Exec::serial()), &case.truth);
            assert!(error <= row.bound, "{} {}: {error}", row.name, case.shape);
            worst = f64::max(worst, error);
        }
        assert!(2.0 * worst >= row.bound, "{}: the bound {} is looser than needed: {worst}", row.name, row.bound);
    }
}

#[test]
fn every_operator_of_forward_and_backward_has_a_row() {
    let exports = exported(&["_forward", "_backward"]);
    assert!(exports.len() >= 22, "the exports were not found");
    let named: Vec<&str> = rows().map(|row| row.name).collect();
    assert!(exports.iter().all(|name| named.contains(name)), "{exports:?} against {named:?}");
}

pub fn widen(w: &[Bf16]) -> Vec<f32> {
    w.iter().map(|w| w.widen()).collect()
}

fn matmul(n: &mut Numbers) -> Vec<Outcome> {
    let mut all = vec![];
    for cols in LENGTHS {
        // 149 rows are four streams of two blocks, and what is left, of one token or more than eight; 17 and 27 tokens are more than a few.
        let few = [(1, 1), (5, 1), (149, 1), (9, 2), (7, 3), (4, 5), (19, 7), (5, 8), (149, 11), (70, 16)];
        for (rows, tokens) in few.into_iter().chain([(3, 17), (37, 27)]) {
            let (x, bias, stored) = (n.f32s(tokens * cols), n.f32s(rows), n.bf16s(rows * cols));
            let (wide, narrow_bias) = (n.f32s(rows * cols), n.bf16s(rows));
            let forms = [
                (widen(&stored), true, None),
                (wide.clone(), false, Some(bias)),
                (widen(&stored), true, Some(widen(&narrow_bias))),
            ];
            for (w, is_bf16, bias) in forms {
                let row = |t: usize| x[t * cols..(t + 1) * cols].to_vec();
                let weight = |o: usize| w[o * cols..(o + 1) * cols].to_vec();
                let output = |i: usize| (row(i / rows), weight(i % rows), bias.as_ref().map_or(0.0, |b| b[i % rows]));
                let spec = (0..tokens * rows)
                    .map(|i| match (output(i), &bias) {
                        ((x, w, b), Some(_)) => spec::dot(&w, &x) + b,
                        ((x, w, _), None) => spec::dot(&w, &x),
                    })
                    .collect();
                let truth = (0..tokens * rows)
                    .map(|i| {
                        let (x, w, b) = output(i);
                        let Truth { value, scale } = truth::dot(&w, &x);
                        Truth { value: value + f64::from(b), scale: scale + f64::from(b).abs() }
                    })
                    .collect();
                let (stored, narrow_bias, x) = (stored.clone(), narrow_bias.clone(), x.clone());
                all.push(Outcome {
                    shape: format!("[{tokens}, {cols}] x [{rows}, {cols}], bf16 {is_bf16}, bias {}", bias.is_some()),
                    run: Box::new(move |exec| {
                        let weights = if is_bf16 { Weights::Bf16(&stored) } else { Weights::F32(&w) };
                        let bias = match &bias {
                            Some(_) if is_bf16 => Some(Weights::Bf16(&narrow_bias)),
                            Some(bias) => Some(Weights::F32(bias)),
                            None => None,
                        };
                        guarded(tokens * rows, |out| matmul_forward(exec, out, &x, weights, bias, tokens))
                    }),
                    spec,
                    truth,
                });
            }
        }
    }
    all
}

/// Two layers, one of binary32 weights and one of bfloat16 with a bias.
fn matmul_each(n: &mut Numbers) -> Vec<Outcome> {
    let case = |(cols, rows, tokens): (usize, [usize; 2], usize), n: &mut Numbers| {
        let (x, wide) = (n.f32s(tokens * cols), n.f32s(rows[0] * cols));
        let (stored, bias) = (n.bf16s(rows[1] * cols), n.f32s(rows[1]));
        let (mut spec, mut truth) = (vec![], vec![]);
        let layers = [(&wide, vec![None; rows[0]]), (&widen(&stored), bias.iter().copied().map(Some).collect())];
        for (w, bias) in layers {
            for x in x.chunks_exact(cols) {
                for (w, bias) in w.chunks_exact(cols).zip(&bias) {
                    let (dot, Truth { value, scale }) = (spec::dot(w, x), truth::dot(w, x));
                    let b = f64::from(bias.unwrap_or(0.0));
                    spec.push(bias.map_or(dot, |bias| dot + bias));
                    truth.push(Truth { value: value + b, scale: scale + b.abs() });
                }
            }
        }
        let run = move |exec: Exec<'_>| {
            guarded(tokens * (rows[0] + rows[1]), |out| {
                let (first, second) = out.split_at_mut(tokens * rows[0]);
                let second = (second, Weights::Bf16(&stored), Some(Weights::F32(&bias)));
                matmul_forward_each(exec, [(first, Weights::F32(&wide), None), second], &x, tokens);
            })
        };
        Outcome { shape: format!("[{tokens}, {cols}] x {rows:?}"), run: Box::new(run), spec, truth }
    };
    let shapes = LENGTHS.iter().flat_map(|cols| [(*cols, [5, 37], 1), (*cols, [32, 3], 17)]);
    shapes.map(|shape| case(shape, n)).collect()
}

fn rmsnorm(n: &mut Numbers) -> Vec<Outcome> {
    let case = |(dim, tokens): (usize, usize), n: &mut Numbers| {
        let (x, stored, eps) = (n.f32s(tokens * dim), n.bf16s(dim), 1e-5);
        let w = widen(&stored);
        let rows = || x.chunks_exact(dim);
        Outcome {
            shape: format!("[{tokens}, {dim}]"),
            spec: rows().flat_map(|x| spec::rmsnorm(x, &w, eps)).collect(),
            truth: rows().flat_map(|x| truth::rmsnorm(x, &w, eps)).collect(),
            run: Box::new(move |exec| {
                let run = |w| guarded(x.len(), |out| rmsnorm_forward(exec, out, &x, w, eps));
                let (narrow, wide) = (run(Weights::Bf16(&stored)), run(Weights::F32(&w)));
                assert!(same_bits(&narrow, &wide), "bfloat16 widens exactly");
                narrow
            }),
        }
    };
    LENGTHS.iter().flat_map(|dim| [(*dim, 1), (*dim, 5)]).map(|shape| case(shape, n)).collect()
}

/// The factor, the borders of long and short waves, and the positions of before.
const LLAMA3: [f32; 4] = [8.0, 1.0, 4.0, 64.0];

fn rope(n: &mut Numbers) -> Vec<Outcome> {
    let llama3 = RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original: 64 };
    let mut all = vec![];
    for (scaling, head_dim) in [None, Some(RopeScaling::Linear { factor: 2.5 }), Some(llama3)]
        .into_iter()
        .flat_map(|scaling| [2, 10, 16, 64].map(|head_dim| (scaling, head_dim)))
    {
        let bits = move |inv: f32| match scaling {
            None => inv,
            Some(RopeScaling::Linear { .. }) => inv / 2.5,
            Some(RopeScaling::Llama3 { .. }) => spec::llama3(inv, LLAMA3),
        };
        let truly = move |inv: f64| match scaling {
            None => inv,
            Some(RopeScaling::Linear { .. }) => inv / 2.5,
            Some(RopeScaling::Llama3 { .. }) => truth::llama3(inv, LLAMA3.map(f64::from)),
        };
        for (heads, tokens, first) in [(1, 1, 0), (3, 5, 7), (2, 4, 100)] {
            let (x, theta) = (n.f32s(tokens * heads * head_dim), 10_000.0);
            let heads_of = || x.chunks_exact(head_dim).enumerate().map(move |(i, head)| (head, first + i / heads));
            all.push(Outcome {
                shape: format!("{tokens} tokens from {first}, {heads} heads of {head_dim}, {scaling:?}"),
                spec: heads_of().flat_map(|(head, position)| spec::scaled_rope(head, position, theta, bits)).collect(),
                truth: heads_of().flat_map(|(head, position)| truth::rope(head, position, theta, truly)).collect(),
                run: Box::new(move |exec| {
                    let mut angles = RopeAngles::default();
                    let table = RopeTable::new(theta, head_dim);
                    scaling.map_or(table.clone(), |scaling| table.scaled(scaling)).angles(first, tokens, &mut angles);
                    guarded(x.len(), |out| {
                        out.copy_from_slice(&x);
                        rope_forward(exec, out, &angles, tokens, head_dim);
                    })
                }),
            });
        }
    }
    all
}

fn attention(n: &mut Numbers) -> Vec<Outcome> {
    let mut all = vec![];
    // Of four heads one is left over for three threads.
    for (heads, kv_heads, head_dim) in [(1, 1, 2), (4, 2, 10), (9, 3, 64), (8, 4, 20), (2, 2, 33)] {
        for (tokens, positions) in [(1, 1), (1, 16), (1, 53), (1, 530), (5, 5), (3, 40), (30, 95)] {
            let q = n.f32s(tokens * heads * head_dim);
            let cache = |n: &mut Numbers| (0..kv_heads).map(|_| n.f32s(positions * head_dim)).collect::<Vec<_>>();
            let (keys, values) = (cache(n), cache(n));
            let cached = keys.iter().map(|rows| Keys::of_rows(head_dim, rows)).collect::<Vec<_>>();
            let (group, row) = (heads / kv_heads, heads * head_dim);
            let each = || {
                q.chunks_exact(head_dim).enumerate().map(|(i, q)| {
                    let (token, head) = (i / heads, i % heads);
                    (q, &keys[head / group], &values[head / group], positions - tokens + token + 1)
                })
            };
            all.push(Outcome {
                shape: format!("{tokens} of {positions}, {heads}/{kv_heads} heads of {head_dim}"),
                spec: each().flat_map(|(q, k, v, visible)| spec::attention(q, k, v, visible)).collect(),
                truth: each().flat_map(|(q, k, v, visible)| truth::attention(q, k, v, visible)).collect(),
                run: Box::new(move |exec| {
                    let dims = AttentionDims { heads, kv_heads, head_dim };
                    guarded(tokens * row, |out| attention_forward(exec, out, &q, &cached, &values, dims))
                }),
            });
        }
    }
    all
}

fn softmax(n: &mut Numbers) -> Vec<Outcome> {
    let case = |len: usize, n: &mut Numbers| {
        let x = n.f32s(3 * len);
        let rows = || x.chunks_exact(len);
        Outcome {
            shape: format!("[3, {len}]"),
            spec: rows().flat_map(spec::softmax).collect(),
            truth: rows().flat_map(truth::softmax).collect(),
            run: Box::new(move |exec| {
                guarded(x.len(), |out| {
                    out.copy_from_slice(&x);
                    softmax_forward(exec, out, len);
                })
            }),
        }
    };
    LENGTHS.iter().map(|len| case(*len, n)).collect()
}

fn swiglu(n: &mut Numbers) -> Vec<Outcome> {
    let case = |len: usize, n: &mut Numbers| {
        let (gate, up) = (n.f32s(len), n.f32s(len));
        let pairs = || gate.iter().zip(&up);
        Outcome {
            shape: format!("[{len}]"),
            spec: pairs().map(|(g, u)| spec::swiglu(*g, *u)).collect(),
            truth: pairs().map(|(g, u)| truth::swiglu(*g, *u)).collect(),
            run: Box::new(move |exec| guarded(len, |out| swiglu_forward(exec, out, &gate, &up))),
        }
    };
    LENGTHS.iter().map(|len| case(*len, n)).collect()
}

fn embedding(n: &mut Numbers) -> Vec<Outcome> {
    let case = |dim: usize, n: &mut Numbers| {
        let (stored, tokens) = (n.bf16s(9 * dim), [8_u32, 0, 3, 3]);
        let table = widen(&stored);
        let spec: Vec<f32> = tokens.iter().flat_map(|t| table[*t as usize * dim..][..dim].to_vec()).collect();
        Outcome {
            shape: format!("dim {dim}"),
            truth: spec.iter().map(|v| truth::sum2(*v, 0.0)).collect(),
            spec,
            run: Box::new(move |exec| {
                let run = |w| guarded(tokens.len() * dim, |out| embedding_forward(exec, out, w, &tokens, dim));
                let (narrow, wide) = (run(Weights::Bf16(&stored)), run(Weights::F32(&table)));
                assert!(same_bits(&narrow, &wide), "bfloat16 widens exactly");
                narrow
            }),
        }
    };
    LENGTHS.iter().map(|dim| case(*dim, n)).collect()
}

fn residual(n: &mut Numbers) -> Vec<Outcome> {
    let case = |len: usize, n: &mut Numbers| {
        let (x, y) = (n.f32s(len), n.f32s(len));
        Outcome {
            shape: format!("[{len}]"),
            spec: x.iter().zip(&y).map(|(x, y)| x + y).collect(),
            truth: x.iter().zip(&y).map(|(x, y)| truth::sum2(*x, *y)).collect(),
            run: Box::new(move |exec| {
                guarded(len, |out| {
                    out.copy_from_slice(&x);
                    residual_forward(exec, out, &y);
                })
            }),
        }
    };
    LENGTHS.iter().map(|len| case(*len, n)).collect()
}
