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
        let [w, m, v] = self.state;
        let ((w, w_tail), (m, m_tail), (v, v_tail)) =
            (w.as_chunks_mut(), m.as_chunks_mut(), v.as_chunks_mut::<LANES>());
        let (g, g_tail) = self.g.as_chunks();
        for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
            let state = adamw(s, [s.load(w), s.load(m), s.load(v)], s.load(g), self.terms);
            s.store(state[0], w);
            s.store(state[1], m);
            s.store(state[2], v);
        }
        let last = [s.load(&padded(w_tail)), s.load(&padded(m_tail)), s.load(&padded(v_tail))];
        let state = adamw(s, last, s.load(&padded(g_tail)), self.terms);
        store(s, state[0], w_tail);
        store(s, state[1], m_tail);
        store(s, state[2], v_tail);
    }
}

/// Weights, first and second moments after a step.
#[inline(always)]
fn adamw<S: Simd>(s: S, [w, m, v]: [S::F32; 3], g: S::F32, t: AdamWTerms) -> [S::F32; 3] {
    let first = s.add(s.mul(s.splat(t.beta1), m), s.mul(s.splat(t.one_minus_beta1), g));
    let square = s.mul(s.splat(t.one_minus_beta2), s.mul(g, g));
    let second = s.add(s.mul(s.splat(t.beta2), v), square);
    let scaled = s.add(s.div(s.sqrt(second), s.splat(t.root)), s.splat(t.eps));
    let kept = s.mul(w, s.splat(t.keep));
    [s.sub(kept, s.mul(s.splat(t.rate), s.div(first, scaled))), first, second]
}
