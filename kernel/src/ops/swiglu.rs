//! The gated activation of the feed-forward block.

use crate::Exec;
use crate::math::exp;
use crate::pool::{split_together, split_values};
use crate::simd::{LANES, Op, Simd, padded, store};

/// `out = silu(gate) * up` (Shazeer 2020).
///
/// Shapes: `out`, `gate`, `up`: the same.
/// Order: `z = 1 / (1 + exp(-g))`, `a = g * z`, `out = a * u`.
///
/// # Panics
/// If the lengths differ.
pub fn swiglu_forward(exec: Exec<'_>, out: &mut [f32], gate: &[f32], up: &[f32]) {
    assert!(
        out.len() == gate.len() && out.len() == up.len(),
        "swiglu: lengths differ: out {}, gate {}, up {}",
        out.len(),
        gate.len(),
        up.len()
    );
    split_values(exec.pool, out, |range, out| {
        exec.backend.run(SwiGlu { out, gate: &gate[range.clone()], up: &up[range] });
    });
}

struct SwiGlu<'a> {
    out: &'a mut [f32],
    gate: &'a [f32],
    up: &'a [f32],
}

#[inline(always)]
fn swiglu<S: Simd>(s: S, g: S::F32, u: S::F32) -> S::F32 {
    s.mul(s.mul(g, sigmoid(s, g)), u)
}

impl Op for SwiGlu<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let (out, out_tail) = self.out.as_chunks_mut::<LANES>();
        let (gate, gate_tail) = self.gate.as_chunks();
        let (up, up_tail) = self.up.as_chunks();
        for ((out, g), u) in out.iter_mut().zip(gate).zip(up) {
            s.store(swiglu(s, s.load(g), s.load(u)), out);
        }
        store(s, swiglu(s, s.load(&padded(gate_tail)), s.load(&padded(up_tail))), out_tail);
    }
}

/// The gradients of [`swiglu_forward`], which take the place of the saved inputs.
///
/// Shapes: `gate`, `up`, `dout`: the same; `gate` becomes `dgate` and `up` becomes `dup`.
/// Order: with the forward pass's `z` and `a`: `dup = dout * a`, `dgate = (dout * u) * (z * (1 + g * (1 - z)))`.
///
/// # Panics
/// If the lengths differ.
pub fn swiglu_backward(exec: Exec<'_>, gate: &mut [f32], up: &mut [f32], dout: &[f32]) {
    assert!(gate.len() == dout.len() && up.len() == dout.len(), "swiglu: dout {}, gate {}", dout.len(), gate.len());
    split_together(exec.pool, dout.len(), [gate, up], |range, [gate, up]| {
        exec.backend.run(SwiGluBackward { gate, up, dout: &dout[range] });
    });
}

#[inline(always)]
fn sigmoid<S: Simd>(s: S, g: S::F32) -> S::F32 {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.mul(g, s.splat(-1.0)))))
}

struct SwiGluBackward<'a> {
    gate: &'a mut [f32],
    up: &'a mut [f32],
    dout: &'a [f32],
}

/// `dgate` and `dup`.
#[inline(always)]
fn gradients<S: Simd>(s: S, g: S::F32, u: S::F32, dout: S::F32) -> [S::F32; 2] {
    let (one, z) = (s.splat(1.0), sigmoid(s, g));
    let slope = s.mul(z, s.add(one, s.mul(g, s.sub(one, z))));
    [s.mul(s.mul(dout, u), slope), s.mul(dout, s.mul(g, z))]
}

impl Op for SwiGluBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let (gate, gate_tail) = self.gate.as_chunks_mut::<LANES>();
        let (up, up_tail) = self.up.as_chunks_mut::<LANES>();
        let (dout, dout_tail) = self.dout.as_chunks();
        for ((g, u), d) in gate.iter_mut().zip(up).zip(dout) {
            let [dgate, dup] = gradients(s, s.load(g), s.load(u), s.load(d));
            s.store(dgate, g);
            s.store(dup, u);
        }
        let last = [s.load(&padded(gate_tail)), s.load(&padded(up_tail)), s.load(&padded(dout_tail))];
        let [dgate, dup] = gradients(s, last[0], last[1], last[2]);
        store(s, dgate, gate_tail);
        store(s, dup, up_tail);
    }
}
