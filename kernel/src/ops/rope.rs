//! Rotary position embedding.

use crate::Exec;
use crate::pool::split_rows;
use alloc::vec::Vec;

/// The inverse frequencies of a model.
#[derive(Clone, Debug)]
pub struct RopeTable {
    inverse: Vec<f32>,
}

/// How a model that was made for longer texts changes its inverse frequencies (N12). The values are binary64 and are rounded
/// where they meet a frequency (N1).
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum RopeScaling {
    /// All frequencies are lower by a factor (Chen et al. 2023).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Long waves are longer by a factor, short ones as they are, and those between in between, as in Llama 3.1.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Waves longer than `original` divided by this count as long.
        low_freq_factor: f64,
        /// Waves shorter than `original` divided by this count as short.
        high_freq_factor: f64,
        /// The positions that the model was made for at first.
        original: usize,
    },
}

impl RopeScaling {
    /// What an inverse frequency becomes.
    fn apply(self, inv: f32) -> f32 {
        match self {
            RopeScaling::Linear { factor } => inv / factor as f32,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
                let (factor, low, high) = (factor as f32, low_freq_factor as f32, high_freq_factor as f32);
                let original = original as f32;
                let wave = core::f32::consts::TAU / inv;
                if wave < original / high {
                    inv
                } else if wave > original / low {
                    inv / factor
                } else {
                    let smooth = (original / wave - low) / (high - low);
                    (1.0 - smooth) * (inv / factor) + smooth * inv
                }
            }
        }
    }
}

/// Cosines and sines of positions.
#[derive(Clone, Debug, Default)]
pub struct RopeAngles {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeAngles {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.cos.clear();
        self.sin.clear();
    }
}

impl RopeTable {
    /// `inv_i = 1 / powf(theta, 2i / head_dim)` for the `head_dim / 2` pairs of a head.
    pub fn new(theta: f32, head_dim: usize) -> RopeTable {
        let inverse = |i| 1.0 / libm::powf(theta, (2 * i) as f32 / head_dim as f32);
        RopeTable { inverse: (0..head_dim / 2).map(inverse).collect() }
    }

    /// The same with scaled frequencies.
    pub fn scaled(self, scaling: RopeScaling) -> RopeTable {
        RopeTable { inverse: self.inverse.into_iter().map(|inv| scaling.apply(inv)).collect() }
    }

    /// Adds the angles `pos * inv_i` of positions `first..first + count` to `angles`, as cosines and sines.
    pub fn angles(&self, first: usize, count: usize, angles: &mut RopeAngles) {
        for position in first..first + count {
            for inverse in &self.inverse {
                let angle = position as f32 * inverse;
                angles.cos.push(libm::cosf(angle));
                angles.sin.push(libm::sinf(angle));
            }
        }
    }
}

/// Rotates every head of every token of `x` by its position's angles, in place (Su et al. 2021), in the half-split layout:
/// element `i` is paired with element `i + head_dim / 2`.
///
/// Shapes: `x`: `[tokens, heads * head_dim]`; `angles`: of as many positions as there are tokens.
/// Order: `a' = a * cos - b * sin`, `b' = b * cos + a * sin`.
///
/// # Panics
/// If the lengths do not match these shapes.
pub fn rope_forward(exec: Exec<'_>, x: &mut [f32], angles: &RopeAngles, tokens: usize, head_dim: usize) {
    rotate(exec, x, angles, tokens, head_dim, |a, b, cos, sin| (a * cos - b * sin, b * cos + a * sin));
}

/// The gradient of [`rope_forward`], in place: rotates back.
///
/// Shapes: `dx`: `[tokens, heads * head_dim]`, the gradient of the output that becomes that of the input.
/// Order: `da = da' * cos + db' * sin`, `db = db' * cos - da' * sin`.
///
/// # Panics
/// If the lengths do not match these shapes.
pub fn rope_backward(exec: Exec<'_>, dx: &mut [f32], angles: &RopeAngles, tokens: usize, head_dim: usize) {
    rotate(exec, dx, angles, tokens, head_dim, |a, b, cos, sin| (a * cos + b * sin, b * cos - a * sin));
}

fn rotate(
    exec: Exec<'_>,
    x: &mut [f32],
    angles: &RopeAngles,
    tokens: usize,
    head_dim: usize,
    pair: impl Fn(f32, f32, f32, f32) -> (f32, f32) + Sync,
) {
    let half = head_dim / 2;
    assert_eq!(angles.cos.len(), tokens * half, "rope: angles of {tokens} tokens, head_dim {head_dim}");
    assert!(tokens > 0 && x.len().is_multiple_of(tokens * head_dim), "rope: {} values, {tokens} tokens", x.len());
    let row = x.len() / tokens;
    split_rows(exec.pool, x, row, |range, x| {
        for (token, x) in range.zip(x.chunks_exact_mut(row)) {
            let cos = &angles.cos[token * half..(token + 1) * half];
            let sin = &angles.sin[token * half..(token + 1) * half];
            for head in x.chunks_exact_mut(head_dim) {
                let (a, b) = head.split_at_mut(half);
                for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                    (*a, *b) = pair(*a, *b, *cos, *sin);
                }
            }
        }
    });
}
