//! The truth oracle: the same formulas in binary64, without an order, each value with the magnitude that its error is
//! relative to.

use crate::inputs::Truth;

fn wide(x: &[f32]) -> impl Iterator<Item = f64> + '_ {
    x.iter().map(|v| f64::from(*v))
}

pub fn dot(x: &[f32], y: &[f32]) -> Truth {
    let value = wide(x).zip(wide(y)).map(|(x, y)| x * y).sum();
    let scale = wide(x).zip(wide(y)).map(|(x, y)| (x * y).abs()).sum();
    Truth { value, scale }
}

/// Of a value that is computed by a few roundings alone.
fn direct(value: f64) -> Truth {
    Truth { value, scale: value.abs() }
}

pub fn sum2(x: f32, y: f32) -> Truth {
    direct(f64::from(x) + f64::from(y))
}

pub fn softmax(x: &[f32]) -> Vec<Truth> {
    let m = wide(x).fold(f64::NEG_INFINITY, f64::max);
    let z: f64 = wide(x).map(|x| (x - m).exp()).sum();
    // Rounding x - m, by up to |x - m| 2^-24, changes the exponential by that factor.
    wide(x).map(|x| Truth { value: (x - m).exp() / z, scale: (x - m).exp() / z * (1.0 + (x - m).abs()) }).collect()
}

pub fn rmsnorm(x: &[f32], w: &[f32], eps: f32) -> Vec<Truth> {
    let mean = wide(x).map(|x| x * x).sum::<f64>() / x.len() as f64;
    let r = 1.0 / (mean + f64::from(eps)).sqrt();
    wide(x).zip(wide(w)).map(|(x, w)| direct(x * r * w)).collect()
}

pub fn swiglu(g: f32, u: f32) -> Truth {
    let (g, u) = (f64::from(g), f64::from(u));
    direct(g / (1.0 + (-g).exp()) * u)
}

/// Positions are small here, so that the rounding of the angle stays within a few units.
pub fn rope(head: &[f32], position: usize, theta: f32, scaled: impl Fn(f64) -> f64) -> Vec<Truth> {
    let half = head.len() / 2;
    let rotated = |i: usize| {
        let k = i % half;
        let angle = position as f64 * scaled(f64::from(theta).powf(-2.0 * k as f64 / head.len() as f64));
        let (a, b) = (f64::from(head[k]), f64::from(head[k + half]));
        let (c, s) = (angle.cos(), angle.sin());
        let value = if i < half { a * c - b * s } else { b * c + a * s };
        Truth { value, scale: (a.abs() + b.abs()) * (1.0 + angle) }
    };
    (0..head.len()).map(rotated).collect()
}

/// What the scaling of Llama 3 makes of an inverse frequency: between long and short waves, the mean of both by how near each is.
pub fn llama3(inv: f64, [factor, low, high, original]: [f64; 4]) -> f64 {
    let periods = original * inv / std::f64::consts::TAU;
    let short = ((periods - low) / (high - low)).clamp(0.0, 1.0);
    inv * (short + (1.0 - short) / factor)
}

pub fn attention(q: &[f32], keys: &[f32], values: &[f32], visible: usize) -> Vec<Truth> {
    let dim = q.len();
    let scale = 1.0 / (dim as f64).sqrt();
    let row = |m: &[f32], j: usize| m[j * dim..(j + 1) * dim].to_vec();
    let dots: Vec<Truth> = (0..visible).map(|j| dot(q, &row(keys, j))).collect();
    let m = dots.iter().map(|d| d.value * scale).fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = dots.iter().map(|d| (d.value * scale - m).exp()).collect();
    let z: f64 = e.iter().sum();
    // The error of a score is relative to the magnitude of its terms, and changes the exponential by that factor.
    let worst = dots.iter().map(|d| d.scale * scale).fold(1.0, f64::max);
    let out = |d: usize| {
        let terms = (0..visible).map(|j| e[j] / z * f64::from(values[j * dim + d]));
        Truth { value: terms.clone().sum(), scale: terms.map(f64::abs).sum::<f64>() * worst }
    };
    (0..dim).map(out).collect()
}
