//! The gated activation of the feed-forward block.

use crate::Exec;
use crate::math::exp;
use crate::pool::split_rows;
use crate::simd::{LANES, Op, Simd, padded};

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
    split_rows(exec.pool, out, 1, |range, out| {
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
    let one = s.splat(1.0);
    let z = s.div(one, s.add(one, exp(s, s.mul(g, s.splat(-1.0)))));
    s.mul(s.mul(g, z), u)
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
        let mut last = [0.0; LANES];
        s.store(swiglu(s, s.load(&padded(gate_tail)), s.load(&padded(up_tail))), &mut last);
        out_tail.copy_from_slice(&last[..out_tail.len()]);
    }
}
