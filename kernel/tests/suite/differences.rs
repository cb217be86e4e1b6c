//! Central differences in binary64: the truth about gradients, from the forward formulas alone.

use crate::inputs::Truth;

pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|v| f64::from(*v)).collect()
}

/// The gradient of `f(x) . weights` with respect to `x`, by differences of the fourth order; errors are relative to the
/// largest entry.
pub fn gradient(x: &[f32], weights: &[f32], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<Truth> {
    let (mut x, weights) = (wide(x), wide(weights));
    let objective = |x: &[f64]| -> f64 { f(x).iter().zip(&weights).map(|(y, w)| y * w).sum() };
    let values: Vec<f64> = (0..x.len())
        .map(|i| {
            let (at, h) = (x[i], 1e-3 * (1.0 + x[i].abs()));
            let mut shifted = |steps: f64| {
                x[i] = at + steps * h;
                let value = objective(&x);
                x[i] = at;
                value
            };
            (8.0 * (shifted(1.0) - shifted(-1.0)) - (shifted(2.0) - shifted(-2.0))) / (12.0 * h)
        })
        .collect();
    let scale = values.iter().fold(0.0, |m, v| f64::max(m, v.abs()));
    values.into_iter().map(|value| Truth { value, scale }).collect()
}

pub fn rmsnorm(x: &[f64], w: &[f64], eps: f64) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    x.iter().zip(w).map(|(x, w)| x / (mean + eps).sqrt() * w).collect()
}

pub fn softmax(x: &[f64]) -> Vec<f64> {
    let m = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = x.iter().map(|x| (x - m).exp()).collect();
    let z: f64 = e.iter().sum();
    e.iter().map(|e| e / z).collect()
}

pub fn swiglu(g: f64, u: f64) -> f64 {
    g / (1.0 + (-g).exp()) * u
}

/// The mean of the losses of rows of `vocab` logits.
pub fn cross_entropy(logits: &[f64], targets: &[u32]) -> f64 {
    let vocab = logits.len() / targets.len();
    let losses = logits.chunks_exact(vocab).zip(targets).map(|(l, t)| -softmax(l)[*t as usize].ln());
    losses.sum::<f64>() / targets.len() as f64
}

/// Causal attention; the shapes are those of the operator.
pub fn attention(q: &[f64], k: &[f64], v: &[f64], heads: usize, kv_heads: usize, dim: usize) -> Vec<f64> {
    let tokens = q.len() / (heads * dim);
    let mut out = vec![];
    for t in 0..tokens {
        for h in 0..heads {
            let row = |m: &[f64], j: usize, heads: usize, h: usize| m[(j * heads + h) * dim..][..dim].to_vec();
            let (query, kv) = (row(q, t, heads, h), h / (heads / kv_heads));
            let score = |j: usize| -> f64 {
                let dot: f64 = row(k, j, kv_heads, kv).iter().zip(&query).map(|(k, q)| k * q).sum();
                dot / (dim as f64).sqrt()
            };
            let p = softmax(&(0..=t).map(score).collect::<Vec<_>>());
            out.extend((0..dim).map(|d| (0..=t).map(|j| p[j] * row(v, j, kv_heads, kv)[d]).sum::<f64>()));
        }
    }
    out
}
