//! Adam with decoupled weight decay.

use crate::Exec;
use crate::pool::split_together;
use crate::simd::{LANES, Op, Simd, padded, store};

/// The scalar terms of a step, computed in binary64 and rounded once.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AdamWTerms {
    /// `1 - lr * wd`
    pub keep: f32,
    /// `b1`
    pub beta1: f32,
    /// `1 - b1`
    pub one_minus_beta1: f32,
    /// `b2`
    pub beta2: f32,
    /// `1 - b2`
    pub one_minus_beta2: f32,
    /// `lr / (1 - b1^t)`
    pub rate: f32,
    /// `sqrt(1 - b2^t)`
    pub root: f32,
    /// `eps`
    pub eps: f32,
}

/// One step of AdamW (Loshchilov & Hutter 2019).
///
/// Shapes: the weights `w`, the first moments `m`, the second moments `v` and the gradients `g`: the same.
/// Order: `w = w * keep`; `m = b1 * m + (1 - b1) * g`; `v = b2 * v + (1 - b2) * (g * g)`;
/// `w = w - rate * (m / (sqrt(v) / root + eps))`.
///
/// # Panics
/// If the lengths differ.
pub fn adamw_step(exec: Exec<'_>, [w, m, v]: [&mut [f32]; 3], g: &[f32], terms: AdamWTerms) {
    assert!(
        [&*w, &*m, &*v].iter().all(|state| state.len() == g.len()),
        "adamw: weights, moments and gradients differ in length"
    );
    split_together(exec.pool, g.len(), [w, m, v], |range, state| {
        exec.backend.run(AdamW { state, g: &g[range], terms });
    });
}

struct AdamW<'a> {
    state: [&'a mut [f32]; 3],
    g: &'a [f32],
    terms: AdamWTerms,
}

impl Op for AdamW<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let (t, [w, m, v]) = (self.terms, self.state);
        let state = w.chunks_mut(LANES).zip(m.chunks_mut(LANES)).zip(v.chunks_mut(LANES));
        for (((w, m), v), g) in state.zip(self.g.chunks(LANES)) {
            let g = s.load(&padded(g));
            let first = s.add(s.mul(s.splat(t.beta1), s.load(&padded(m))), s.mul(s.splat(t.one_minus_beta1), g));
            let square = s.mul(s.splat(t.one_minus_beta2), s.mul(g, g));
            let second = s.add(s.mul(s.splat(t.beta2), s.load(&padded(v))), square);
            let scaled = s.add(s.div(s.sqrt(second), s.splat(t.root)), s.splat(t.eps));
            let kept = s.mul(s.load(&padded(w)), s.splat(t.keep));
            store(s, s.sub(kept, s.mul(s.splat(t.rate), s.div(first, scaled))), w);
            store(s, first, m);
            store(s, second, v);
        }
    }
}
