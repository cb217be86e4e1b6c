//! Stochastic gradient descent.

use crate::Exec;
use crate::pool::split_rows;
use crate::simd::{LANES, Op, Simd, padded, store};

/// One step of gradient descent (Robbins & Monro 1951): `w = w - rate * g`.
///
/// Shapes: `w`, `g`: the same.
///
/// # Panics
/// If the lengths differ.
pub fn sgd_step(exec: Exec<'_>, w: &mut [f32], g: &[f32], rate: f32) {
    assert_eq!(w.len(), g.len(), "sgd: weights and gradients differ in length");
    split_rows(exec.pool, w, 1, |range, w| exec.backend.run(Descend { w, g: &g[range], rate }));
}

/// One step of the momentum that [`sgd_step`] may take for `g` (Polyak 1964): `v = mu * v + g`.
///
/// Shapes: `v`, `g`: the same.
///
/// # Panics
/// If the lengths differ.
pub fn momentum_step(exec: Exec<'_>, v: &mut [f32], g: &[f32], mu: f32) {
    assert_eq!(v.len(), g.len(), "momentum: momentum and gradients differ in length");
    split_rows(exec.pool, v, 1, |range, v| exec.backend.run(Momentum { v, g: &g[range], mu }));
}

/// Scales gradients, as clipping does: `g = g * factor`.
pub fn scale_step(exec: Exec<'_>, g: &mut [f32], factor: f32) {
    split_rows(exec.pool, g, 1, |_, g| g.iter_mut().for_each(|g| *g *= factor));
}

struct Descend<'a> {
    w: &'a mut [f32],
    g: &'a [f32],
    rate: f32,
}

impl Op for Descend<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let rate = s.splat(self.rate);
        let (w, w_tail) = self.w.as_chunks_mut::<LANES>();
        let (g, g_tail) = self.g.as_chunks();
        for (w, g) in w.iter_mut().zip(g) {
            s.store(s.sub(s.load(w), s.mul(rate, s.load(g))), w);
        }
        store(s, s.sub(s.load(&padded(w_tail)), s.mul(rate, s.load(&padded(g_tail)))), w_tail);
    }
}

struct Momentum<'a> {
    v: &'a mut [f32],
    g: &'a [f32],
    mu: f32,
}

impl Op for Momentum<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let mu = s.splat(self.mu);
        let (v, v_tail) = self.v.as_chunks_mut::<LANES>();
        let (g, g_tail) = self.g.as_chunks();
        for (v, g) in v.iter_mut().zip(g) {
            s.store(s.add(s.mul(mu, s.load(v)), s.load(g)), v);
        }
        store(s, s.add(s.mul(mu, s.load(&padded(v_tail))), s.load(&padded(g_tail))), v_tail);
    }
}
