//! The rows of the operators that only training has. The truth of gradients is made of central differences of the forward formulas.

use crate::differences::{self, gradient, wide};
use crate::inputs::{Numbers, Truth, guarded, same_bits, worst_error};
use crate::ops::{Outcome, Row, widen};
use crate::spec;
use kernel::Exec;
use kernel::ops::*;

pub const ROWS: [Row; 17] = [
    Row { name: "matmul_backward_input", bound: 7.0, cases: matmul_input },
    Row { name: "matmul_backward_weight", bound: 2.0, cases: matmul_weight },
    Row { name: "matmul_sgd_step", bound: 4.0, cases: matmul_step },
    Row { name: "matmul_backward_sgd_step", bound: 7.0, cases: matmul_input_and_step },
    Row { name: "matmul_backward_bias", bound: 4.0, cases: matmul_bias },
    Row { name: "rmsnorm_backward", bound: 4.0, cases: rmsnorm },
    Row { name: "rope_backward", bound: 2.0, cases: rope },
    Row { name: "attention_backward", bound: 12.0, cases: attention },
    Row { name: "softmax_backward", bound: 40.0, cases: softmax },
    Row { name: "swiglu_backward", bound: 4.0, cases: swiglu },
    Row { name: "cross_entropy_forward", bound: 1.0, cases: cross_entropy },
    Row { name: "cross_entropy_backward", bound: 3.0, cases: cross_entropy_gradient },
    Row { name: "log_probability_forward", bound: 1.0, cases: log_probability },
    Row { name: "lora_forward", bound: 3.0, cases: lora },
    Row { name: "lora_backward", bound: 3.0, cases: lora_gradient },
    Row { name: "squares_forward", bound: 2.5, cases: squares },
    Row { name: "embedding_backward", bound: 1.0, cases: embedding },
];

/// A gradient with one wrong entry is no gradient: the comparator must see an error of a hundred-thousandth of the scale in any
/// place, a sign, a missing entry, and two that changed places.
#[test]
fn central_differences_reject_what_is_no_gradient() {
    for row in ROWS {
        let cases = (row.cases)(&mut Numbers::new(2));
        let case = cases.iter().max_by_key(|case| case.truth.len()).unwrap();
        let right = (case.run)(Exec::serial());
        let error = |change: &dyn Fn(&mut Vec<f32>)| {
            let mut wrong = right.clone();
            change(&mut wrong);
            worst_error(&wrong, &case.truth)
        };
        assert!(error(&|_| ()) <= row.bound, "{}", row.name);
        for at in 0..right.len() {
            let error = error(&|values| values[at] += 3e-5 * case.truth[at].scale as f32);
            assert!(error > row.bound, "{}: a wrong entry {at} passes", row.name);
        }
        let largest = (0..right.len()).max_by(|a, b| right[*a].abs().total_cmp(&right[*b].abs())).unwrap();
        assert!(error(&|values| values[largest] = -values[largest]) > row.bound, "{}: a wrong sign passes", row.name);
        assert!(error(&|values| values.truncate(right.len() - 1)) > row.bound, "{}: a missing entry passes", row.name);
        if let Some(other) = (0..right.len()).find(|i| (right[*i] - right[largest]).abs() > 1e-3) {
            assert!(error(&|values| values.swap(other, largest)) > row.bound, "{}: a changed order passes", row.name);
        }
    }
}

/// Shapes of linear layers: tokens, rows, columns.
const LINEAR: [[usize; 3]; 11] = [
    [1, 1, 1],
    [2, 5, 15],
    [3, 16, 16],
    [5, 7, 17],
    [4, 9, 53],
    [17, 3, 31],
    [8, 6, 64],
    [6, 33, 48],
    [3, 150, 20],
    [13, 70, 51],
    [70, 9, 17],
];

/// Shapes that were chosen, and four that were not: each axis up to that of `most`.
fn shapes<const N: usize>(n: &mut Numbers, chosen: &[[usize; N]], most: [usize; N]) -> Vec<[usize; N]> {
    let mut random = || most.map(|most| 1 + n.word() as usize % most);
    chosen.iter().copied().chain([(); 4].map(|()| random())).collect()
}

/// Adds what was in the destination, exactly as a sum that starts from it does not: bits come from the spec alone.
fn plus(truth: Vec<Truth>, start: &[f32]) -> Vec<Truth> {
    let add = |(t, s): (Truth, &f32)| Truth { value: t.value + f64::from(*s), scale: t.scale + f64::from(s.abs()) };
    truth.into_iter().zip(start).map(add).collect()
}

fn linear(x: &[f64], w: &[f64], cols: usize) -> Vec<f64> {
    let dot = |x: &[f64], w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum();
    x.chunks_exact(cols).flat_map(|x| w.chunks_exact(cols).map(move |w| dot(x, w))).collect()
}

fn matmul_input(n: &mut Numbers) -> Vec<Outcome> {
    let case = |[tokens, rows, cols]: [usize; 3], n: &mut Numbers| {
        let (x, dout, start) = (n.f32s(tokens * cols), n.f32s(tokens * rows), n.f32s(tokens * cols));
        let stored = n.bf16s(rows * cols);
        let w = widen(&stored);
        let mut spec = start.clone();
        spec::accumulate_blocks(&mut spec, cols, rows, |o, t| dout[t * rows + o], |o, c| w[o * cols + c]);
        Outcome {
            shape: format!("[{tokens}, {rows}, {cols}]"),
            truth: plus(gradient(&x, &dout, |x| linear(x, &wide(&w), cols)), &start),
            spec,
            run: Box::new(move |exec| {
                let run = |w| {
                    guarded(tokens * cols, |out| {
                        out.copy_from_slice(&start);
                        matmul_backward_input(exec, out, &dout, w, tokens);
                    })
                };
                let (narrow, wide) = (run(Weights::Bf16(&stored)), run(Weights::F32(&w)));
                assert!(same_bits(&narrow, &wide), "bfloat16 widens exactly");
                narrow
            }),
        }
    };
    // And a few tokens with three blocks of terms, of which the last is short, and more columns than go by together.
    let shapes = shapes(n, &LINEAR, [20, 40, 70]).into_iter().chain([[16, 131, 101]]);
    shapes.map(|shape| case(shape, n)).collect()
}

fn matmul_weight(n: &mut Numbers) -> Vec<Outcome> {
    let case = |[tokens, rows, cols]: [usize; 3], n: &mut Numbers| {
        let (x, dout, start) = (n.f32s(tokens * cols), n.f32s(tokens * rows), n.f32s(rows * cols));
        let mut spec = start.clone();
        spec::accumulate(&mut spec, cols, tokens, |t, o| dout[t * rows + o], |t, c| x[t * cols + c]);
        Outcome {
            shape: format!("[{tokens}, {rows}, {cols}]"),
            truth: plus(gradient(&vec![0.5; rows * cols], &dout, |w| linear(&wide(&x), w, cols)), &start),
            spec,
            run: Box::new(move |exec| {
                guarded(rows * cols, |out| {
                    out.copy_from_slice(&start);
                    // Two micro-batches, one after the other, are one batch (N11).
                    let first = tokens / 2;
                    if first > 0 {
                        matmul_backward_weight(exec, out, &dout[..first * rows], &x[..first * cols], first);
                    }
                    matmul_backward_weight(exec, out, &dout[first * rows..], &x[first * cols..], tokens - first);
                })
            }),
        }
    };
    shapes(n, &LINEAR, [20, 40, 70]).into_iter().map(|shape| case(shape, n)).collect()
}

/// How far [`matmul_step`] and [`matmul_input_and_step`] go down.
const RATE: f32 = 0.5;

/// The changed weights, then the squares of each row of their gradients: what the contract and what the mathematics say.
fn stepped([tokens, rows, cols]: [usize; 3], dout: &[f32], x: &[f32], w: &[f32]) -> (Vec<f32>, Vec<Truth>) {
    let mut g = vec![0.0; rows * cols];
    spec::accumulate(&mut g, cols, tokens, |t, o| dout[t * rows + o], |t, c| x[t * cols + c]);
    let mut spec: Vec<f32> = w.iter().zip(&g).map(|(w, g)| w - RATE * g).collect();
    spec.extend(g.chunks_exact(cols).map(|g| spec::dot(g, g)));
    let slopes = gradient(&vec![0.5; rows * cols], dout, |w| linear(&wide(x), w, cols));
    let squares = slopes.chunks_exact(cols).map(|g| Truth {
        value: g.iter().map(|g| g.value * g.value).sum(),
        scale: g.iter().map(|g| g.scale * g.scale).sum(),
    });
    let squares: Vec<Truth> = squares.collect();
    let down = |t: &Truth| Truth { value: -f64::from(RATE) * t.value, scale: f64::from(RATE) * t.scale };
    let mut truth = plus(slopes.iter().map(down).collect(), w);
    truth.extend(squares);
    (spec, truth)
}

fn matmul_step(n: &mut Numbers) -> Vec<Outcome> {
    let case = |shape @ [tokens, rows, cols]: [usize; 3], n: &mut Numbers| {
        let (x, dout, start) = (n.f32s(tokens * cols), n.f32s(tokens * rows), n.f32s(rows * cols));
        let (spec, truth) = stepped(shape, &dout, &x, &start);
        Outcome {
            shape: format!("{shape:?}"),
            truth,
            spec,
            run: Box::new(move |exec| {
                guarded(rows * cols + rows, |out| {
                    let (w, squares) = out.split_at_mut(rows * cols);
                    w.copy_from_slice(&start);
                    matmul_sgd_step(exec, [w, squares], &dout, &x, tokens, RATE);
                })
            }),
        }
    };
    shapes(n, &LINEAR, [20, 40, 70]).into_iter().map(|shape| case(shape, n)).collect()
}

/// The gradients of the input, then what [`matmul_step`] has.
fn matmul_input_and_step(n: &mut Numbers) -> Vec<Outcome> {
    let case = |shape @ [tokens, rows, cols]: [usize; 3], n: &mut Numbers| {
        let (x, dout) = (n.f32s(tokens * cols), n.f32s(tokens * rows));
        let (start, dx) = (n.f32s(rows * cols), n.f32s(tokens * cols));
        let (stepped, slopes) = stepped(shape, &dout, &x, &start);
        let mut spec = dx.clone();
        spec::accumulate_blocks(&mut spec, cols, rows, |o, t| dout[t * rows + o], |o, c| start[o * cols + c]);
        spec.extend(stepped);
        let mut truth = plus(gradient(&x, &dout, |x| linear(x, &wide(&start), cols)), &dx);
        truth.extend(slopes);
        Outcome {
            shape: format!("{shape:?}"),
            truth,
            spec,
            run: Box::new(move |exec| {
                guarded(tokens * cols + rows * cols + rows, |out| {
                    let (out, rest) = out.split_at_mut(tokens * cols);
                    let (w, squares) = rest.split_at_mut(rows * cols);
                    out.copy_from_slice(&dx);
                    w.copy_from_slice(&start);
                    // What was there before does not matter.
                    let mut sums = vec![f32::NAN; 7000];
                    matmul_backward_sgd_step(exec, out, [w, squares], &dout, &x, tokens, RATE, &mut sums);
                })
            }),
        }
    };
    // One or two blocks of rows for each of three threads, and rows that are left; too many tokens; rows for one thread alone.
    let chosen = [[5, 200, 20], [2, 455, 7], [2, 192, 50], [17, 200, 3], [16, 131, 20], [3, 5, 17]];
    chosen.map(|shape| case(shape, n)).into()
}

fn matmul_bias(n: &mut Numbers) -> Vec<Outcome> {
    let case = |[tokens, rows]: [usize; 2], n: &mut Numbers| {
        let (dout, start) = (n.f32s(tokens * rows), n.f32s(rows));
        let mut spec = start.clone();
        spec::accumulate(&mut spec, rows, tokens, |_, _| 1.0, |t, o| dout[t * rows + o]);
        let sums = |b: &[f64]| (0..tokens).flat_map(|_| b.to_vec()).collect();
        Outcome {
            shape: format!("[{tokens}, {rows}]"),
            truth: plus(gradient(&vec![0.5; rows], &dout, sums), &start),
            spec,
            run: Box::new(move |exec| {
                guarded(rows, |out| {
                    out.copy_from_slice(&start);
                    matmul_backward_bias(exec, out, &dout);
                })
            }),
        }
    };
    shapes(n, &[[1, 1], [3, 17], [9, 40]], [20, 70]).into_iter().map(|shape| case(shape, n)).collect()
}

fn rmsnorm(n: &mut Numbers) -> Vec<Outcome> {
    let case = |[tokens, dim]: [usize; 2], n: &mut Numbers| {
        let (x, dout, stored, eps) = (n.f32s(tokens * dim), n.f32s(tokens * dim), n.bf16s(dim), 1e-5);
        let (w, dx, dw) = (widen(&stored), n.f32s(tokens * dim), n.f32s(dim));
        let (mut spec, mut spec_w) = (dx.clone(), dw.clone());
        for t in 0..tokens {
            let at = t * dim..(t + 1) * dim;
            let (change, terms) = spec::rmsnorm_backward(&dout[at.clone()], &x[at.clone()], &w, eps);
            spec[at].iter_mut().zip(change).for_each(|(s, c)| *s += c);
            spec_w.iter_mut().zip(terms).for_each(|(s, t)| *s += t);
        }
        spec.extend(spec_w);
        let norm =
            |x: &[f64], w: &[f64]| x.chunks_exact(dim).flat_map(|x| differences::rmsnorm(x, w, eps.into())).collect();
        let mut truth = plus(gradient(&x, &dout, |x| norm(x, &wide(&w))), &dx);
        truth.extend(plus(gradient(&w, &dout, |w| norm(&wide(&x), w)), &dw));
        Outcome {
            shape: format!("[{tokens}, {dim}]"),
            spec,
            truth,
            run: Box::new(move |exec| {
                guarded(dx.len() + dim, |out| {
                    let (out, out_w) = out.split_at_mut(dx.len());
                    out.copy_from_slice(&dx);
                    out_w.copy_from_slice(&dw);
                    rmsnorm_backward(exec, out, Some(out_w), &dout, &x, Weights::Bf16(&stored), eps);
                })
            }),
        }
    };
    let chosen = [[1, 1], [2, 15], [3, 16], [1, 17], [4, 53]];
    shapes(n, &chosen, [6, 70]).into_iter().map(|shape| case(shape, n)).collect()
}

fn rope(n: &mut Numbers) -> Vec<Outcome> {
    let case = |[tokens, heads, half]: [usize; 3], n: &mut Numbers| {
        let (head_dim, theta, first) = (2 * half, 10_000.0, 3);
        let (x, dx) = (n.f32s(tokens * heads * head_dim), n.f32s(tokens * heads * head_dim));
        // Of element i: its pair's first element, and the pair's angle.
        let pair = |i: usize| {
            let (head, position, k) = (i / head_dim, first + i / head_dim / heads, i % head_dim % half);
            let angle = position as f32 * (1.0 / libm::powf(theta, (2 * k) as f32 / head_dim as f32));
            (head * head_dim + k, angle)
        };
        let rotate = |x: &[f64]| {
            let rotated = |i: usize| {
                let (at, angle) = pair(i);
                let (a, b, c, s) = (x[at], x[at + half], f64::from(angle).cos(), f64::from(angle).sin());
                if i == at { a * c - b * s } else { b * c + a * s }
            };
            (0..x.len()).map(rotated).collect()
        };
        let back = |i: usize| {
            let (at, angle) = pair(i);
            let (a, b, c, s) = (dx[at], dx[at + half], libm::cosf(angle), libm::sinf(angle));
            if i == at { a * c + b * s } else { b * c - a * s }
        };
        Outcome {
            shape: format!("{tokens} tokens, {heads} heads of {head_dim}"),
            spec: (0..dx.len()).map(back).collect(),
            truth: gradient(&x, &dx, rotate),
            run: Box::new(move |exec| {
                let mut angles = RopeAngles::default();
                RopeTable::new(theta, head_dim).angles(first, tokens, &mut angles);
                guarded(dx.len(), |out| {
                    out.copy_from_slice(&dx);
                    rope_backward(exec, out, &angles, tokens, head_dim);
                })
            }),
        }
    };
    shapes(n, &[[1, 1, 1], [4, 3, 5], [3, 2, 32]], [6, 4, 20]).into_iter().map(|shape| case(shape, n)).collect()
}

fn attention(n: &mut Numbers) -> Vec<Outcome> {
    let case = |[tokens, group, kv_heads, half]: [usize; 4], n: &mut Numbers| {
        let (heads, head_dim) = (group * kv_heads, 2 * half);
        let shape = [heads, kv_heads, head_dim];
        let (q, dout) = (n.f32s(tokens * heads * head_dim), n.f32s(tokens * heads * head_dim));
        let (k, v) = (n.f32s(tokens * kv_heads * head_dim), n.f32s(tokens * kv_heads * head_dim));
        let forward = |q: &[f64], k: &[f64], v: &[f64]| differences::attention(q, k, v, heads, kv_heads, head_dim);
        let (wq, wk, wv) = (wide(&q), wide(&k), wide(&v));
        let mut truth = gradient(&q, &dout, |q| forward(q, &wk, &wv));
        truth.extend(gradient(&k, &dout, |k| forward(&wq, k, &wv)));
        truth.extend(gradient(&v, &dout, |v| forward(&wq, &wk, v)));
        Outcome {
            shape: format!("{tokens} tokens, {shape:?}"),
            spec: spec::attention_backward(&dout, &q, &k, &v, shape).concat(),
            truth,
            run: Box::new(move |exec| {
                guarded(q.len() + 2 * k.len(), |out| {
                    let (dq, rest) = out.split_at_mut(q.len());
                    let (dk, dv) = rest.split_at_mut(k.len());
                    let dims = AttentionDims { heads, kv_heads, head_dim };
                    let mut scratch = AttentionScratch::default();
                    // A call with other numbers before it leaves nothing behind.
                    attention_backward(exec, [&mut *dq, &mut *dk, &mut *dv], &q, [&dout, &v, &k], dims, &mut scratch);
                    attention_backward(exec, [dq, dk, dv], &dout, [&q, &k, &v], dims, &mut scratch);
                })
            }),
        }
    };
    let chosen = [[1, 1, 1, 1], [5, 2, 1, 2], [17, 2, 2, 3], [20, 1, 3, 9]];
    shapes(n, &chosen, [20, 3, 3, 10]).into_iter().map(|shape| case(shape, n)).collect()
}

fn softmax(n: &mut Numbers) -> Vec<Outcome> {
    let case = |[len]: [usize; 1], n: &mut Numbers| {
        let (x, dp) = (n.f32s(2 * len), n.f32s(2 * len));
        let p: Vec<f32> = x.chunks_exact(len).flat_map(spec::softmax).collect();
        let rows = p.chunks_exact(len).zip(dp.chunks_exact(len));
        Outcome {
            shape: format!("[2, {len}]"),
            spec: rows.flat_map(|(p, dp)| spec::softmax_backward(dp, p)).collect(),
            truth: gradient(&x, &dp, |x| x.chunks_exact(len).flat_map(differences::softmax).collect()),
            run: Box::new(move |exec| {
                guarded(2 * len, |out| {
                    out.copy_from_slice(&dp);
                    softmax_backward(exec, out, &p, len);
                })
            }),
        }
    };
    let chosen = [[2], [15], [16], [17], [53]];
    shapes(n, &chosen, [70]).into_iter().map(|[len]| case([len.max(2)], n)).collect()
}

fn swiglu(n: &mut Numbers) -> Vec<Outcome> {
    let case = |[len]: [usize; 1], n: &mut Numbers| {
        let (gate, up, dout) = (n.f32s(len), n.f32s(len), n.f32s(len));
        let (mut spec, spec_up): (Vec<f32>, Vec<f32>) =
            (0..len).map(|i| spec::swiglu_backward(dout[i], gate[i], up[i])).unzip();
        spec.extend(spec_up);
        let forward = |g: &[f64], u: &[f64]| g.iter().zip(u).map(|(g, u)| differences::swiglu(*g, *u)).collect();
        let mut truth = gradient(&gate, &dout, |g| forward(g, &wide(&up)));
        truth.extend(gradient(&up, &dout, |u| forward(&wide(&gate), u)));
        Outcome {
            shape: format!("[{len}]"),
            spec,
            truth,
            run: Box::new(move |exec| {
                guarded(2 * len, |out| {
                    let (dgate, dup) = out.split_at_mut(len);
                    dgate.copy_from_slice(&gate);
                    dup.copy_from_slice(&up);
                    swiglu_backward(exec, dgate, dup, &dout);
                })
            }),
        }
    };
    shapes(n, &[[1], [15], [16], [17], [53]], [70]).into_iter().map(|shape| case(shape, n)).collect()
}

/// Logits of a few rows, and their targets.
fn logits(n: &mut Numbers, rows: usize, vocab: usize) -> (Vec<f32>, Vec<u32>) {
    (n.f32s(rows * vocab), (0..rows).map(|_| n.word() % vocab as u32).collect())
}

const LOGITS: [[usize; 2]; 4] = [[1, 2], [2, 15], [3, 16], [5, 53]];

fn cross_entropy(n: &mut Numbers) -> Vec<Outcome> {
    let case = |[rows, vocab]: [usize; 2], n: &mut Numbers| {
        let (logits, targets) = logits(n, rows, vocab);
        let each = || logits.chunks_exact(vocab).zip(&targets);
        Outcome {
            shape: format!("[{rows}, {vocab}]"),
            truth: each().map(|(l, t)| loss(l, *t)).collect(),
            spec: each().map(|(l, t)| spec::cross_entropy(l, *t as usize)).collect(),
            run: Box::new(move |exec| guarded(rows, |out| cross_entropy_forward(exec, out, &logits, &targets))),
        }
    };
    shapes(n, &LOGITS, [6, 70]).into_iter().map(|[rows, vocab]| case([rows, vocab.max(2)], n)).collect()
}

/// A loss is a difference of a logarithm and a logit, and its error relative to the larger of them.
fn loss(l: &[f32], target: u32) -> Truth {
    let value = differences::cross_entropy(&wide(l), &[target]);
    let largest = l.iter().fold(0.0, |m, l| if l.abs() > m { l.abs() } else { m });
    Truth { value, scale: 1.0 + value.abs() + 2.0 * f64::from(largest) }
}

fn log_probability(n: &mut Numbers) -> Vec<Outcome> {
    let case = |[rows, vocab]: [usize; 2], n: &mut Numbers| {
        let (mut logits, targets) = logits(n, rows, vocab);
        // A token that is certain: the logarithm is +0, and not -0.
        logits[targets[0] as usize] = 200.0;
        let each = || logits.chunks_exact(vocab).zip(&targets);
        let truth = each().map(|(l, t)| loss(l, *t)).map(|loss| Truth { value: -loss.value, ..loss });
        Outcome {
            shape: format!("[{rows}, {vocab}]"),
            truth: truth.collect(),
            spec: each().map(|(l, t)| spec::log_probability(l, *t as usize)).collect(),
            run: Box::new(move |exec| guarded(rows, |out| log_probability_forward(exec, out, &logits, &targets))),
        }
    };
    shapes(n, &LOGITS, [6, 70]).into_iter().map(|[rows, vocab]| case([rows, vocab.max(2)], n)).collect()
}

fn cross_entropy_gradient(n: &mut Numbers) -> Vec<Outcome> {
    let case = |[rows, vocab]: [usize; 2], n: &mut Numbers| {
        let (logits, targets) = logits(n, rows, vocab);
        let row = |(l, t): (&[f32], &u32)| {
            let mut dl = spec::softmax(l);
            dl.iter_mut().enumerate().for_each(|(i, p)| *p = (*p - f32::from(i == *t as usize)) / rows as f32);
            dl
        };
        Outcome {
            shape: format!("[{rows}, {vocab}]"),
            spec: logits.chunks_exact(vocab).zip(&targets).flat_map(row).collect(),
            truth: gradient(&logits, &[1.0], |l| vec![differences::cross_entropy(l, &targets)]),
            run: Box::new(move |exec| {
                guarded(logits.len(), |out| {
                    out.copy_from_slice(&logits);
                    cross_entropy_backward(exec, out, &targets, rows);
                })
            }),
        }
    };
    shapes(n, &LOGITS, [6, 70]).into_iter().map(|[rows, vocab]| case([rows, vocab.max(2)], n)).collect()
}

fn embedding(n: &mut Numbers) -> Vec<Outcome> {
    let case = |[dim]: [usize; 1], n: &mut Numbers| {
        let (tokens, vocab) = ([2_u32, 0, 2, 4, 2], 5);
        let (dout, start) = (n.f32s(tokens.len() * dim), n.f32s(vocab * dim));
        let mut spec = start.clone();
        for (t, token) in tokens.iter().enumerate() {
            for d in 0..dim {
                spec[*token as usize * dim + d] += dout[t * dim + d];
            }
        }
        let look_up = |table: &[f64]| tokens.iter().flat_map(|t| table[*t as usize * dim..][..dim].to_vec()).collect();
        Outcome {
            shape: format!("dim {dim}"),
            truth: plus(gradient(&vec![0.5; vocab * dim], &dout, look_up), &start),
            spec,
            run: Box::new(move |exec| {
                guarded(vocab * dim, |out| {
                    out.copy_from_slice(&start);
                    embedding_backward(exec, out, &dout, &tokens, dim);
                })
            }),
        }
    };
    shapes(n, &[[1], [16], [53]], [70]).into_iter().map(|shape| case(shape, n)).collect()
}

fn squares(n: &mut Numbers) -> Vec<Outcome> {
    let case = |[rows, len]: [usize; 2], n: &mut Numbers| {
        let x = n.f32s(rows * len);
        let value = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        let sum = x.chunks_exact(len).map(|row| spec::dot(row, row)).fold(0.0, |sum: f32, row| sum + row);
        Outcome {
            shape: format!("[{rows}, {len}]"),
            spec: vec![sum],
            truth: vec![Truth { value, scale: value }],
            run: Box::new(move |exec| vec![squares_forward(exec, &x, len)]),
        }
    };
    shapes(n, &[[1, 1], [3, 17], [20, 64]], [20, 70]).into_iter().map(|shape| case(shape, n)).collect()
}

/// Shapes of adapters: tokens, rows, columns, rank.
const LORA: [[usize; 4]; 4] = [[1, 1, 1, 1], [3, 17, 15, 2], [5, 16, 33, 4], [9, 40, 64, 8]];

/// `y + scale * B (A x)` in binary64.
fn adapted(x: &[f64], a: &[f64], b: &[f64], cols: usize, rank: usize, scale: f64) -> Vec<f64> {
    linear(&linear(x, a, cols), b, rank).iter().map(|y| scale * y).collect()
}

/// `dot(A, x)` of every token, by the contract.
fn low(x: &[f32], a: &[f32], cols: usize) -> Vec<f32> {
    x.chunks_exact(cols).flat_map(|x| a.chunks_exact(cols).map(move |a| spec::dot(a, x))).collect()
}

fn lora(n: &mut Numbers) -> Vec<Outcome> {
    let case = |[tokens, rows, cols, rank]: [usize; 4], n: &mut Numbers| {
        let (x, a, b, start) = (n.f32s(tokens * cols), n.f32s(rank * cols), n.f32s(rows * rank), n.f32s(tokens * rows));
        let scale = 1.7_f32;
        let high = low(&low(&x, &a, cols), &b, rank);
        let exact = adapted(&wide(&x), &wide(&a), &wide(&b), cols, rank, scale.into());
        let size = exact.iter().fold(0.0, |m, v| f64::max(m, v.abs()));
        let truth = exact.iter().zip(&start);
        Outcome {
            shape: format!("[{tokens}, {rows}, {cols}], rank {rank}"),
            spec: start.iter().zip(&high).map(|(y, h)| y + scale * h).collect(),
            truth: truth.map(|(v, s)| Truth { value: v + f64::from(*s), scale: size + f64::from(s.abs()) }).collect(),
            run: Box::new(move |exec| {
                guarded(tokens * rows, |out| {
                    out.copy_from_slice(&start);
                    let lora = Lora { a: Weights::F32(&a), b: Weights::F32(&b), scale };
                    lora_forward(exec, out, &x, lora, tokens);
                })
            }),
        }
    };
    shapes(n, &LORA, [12, 40, 70, 9]).into_iter().map(|shape| case(shape, n)).collect()
}

fn lora_gradient(n: &mut Numbers) -> Vec<Outcome> {
    let case = |[tokens, rows, cols, rank]: [usize; 4], n: &mut Numbers| {
        let (x, a, b, dout) = (n.f32s(tokens * cols), n.f32s(rank * cols), n.f32s(rows * rank), n.f32s(tokens * rows));
        let scale = 1.7_f32;
        let u = low(&x, &a, cols);
        let d: Vec<f32> = dout.iter().map(|d| scale * d).collect();
        let (mut du, mut dx) = (vec![0.0; tokens * rank], vec![0.0; tokens * cols]);
        let (mut da, mut db) = (vec![0.0; rank * cols], vec![0.0; rows * rank]);
        spec::accumulate_blocks(&mut du, rank, rows, |o, t| d[t * rows + o], |o, r| b[o * rank + r]);
        spec::accumulate(&mut db, rank, tokens, |t, o| d[t * rows + o], |t, r| u[t * rank + r]);
        spec::accumulate(&mut da, cols, tokens, |t, r| du[t * rank + r], |t, c| x[t * cols + c]);
        spec::accumulate_blocks(&mut dx, cols, rank, |r, t| du[t * rank + r], |r, c| a[r * cols + c]);
        let (wx, wa, wb, s) = (wide(&x), wide(&a), wide(&b), f64::from(scale));
        let mut truth = gradient(&x, &dout, |x| adapted(x, &wa, &wb, cols, rank, s));
        truth.extend(gradient(&a, &dout, |a| adapted(&wx, a, &wb, cols, rank, s)));
        truth.extend(gradient(&b, &dout, |b| adapted(&wx, &wa, b, cols, rank, s)));
        Outcome {
            shape: format!("[{tokens}, {rows}, {cols}], rank {rank}"),
            spec: [dx, da, db].concat(),
            truth,
            run: Box::new(move |exec| {
                guarded(x.len() + a.len() + b.len(), |out| {
                    out.fill(0.0);
                    let (dx, rest) = out.split_at_mut(x.len());
                    let (da, db) = rest.split_at_mut(a.len());
                    let lora = Lora { a: Weights::F32(&a), b: Weights::F32(&b), scale };
                    lora_backward(exec, [dx, da, db], &dout, &x, lora, tokens);
                })
            }),
        }
    };
    shapes(n, &LORA, [12, 40, 70, 9]).into_iter().map(|shape| case(shape, n)).collect()
}
