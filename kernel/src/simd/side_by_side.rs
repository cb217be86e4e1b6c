//! Lane reductions of sixteen vectors side by side (N3-N5): one vector a lane, so that no lanes meet.

use super::{LANES, Simd};

/// The dot products of `T` vectors with the sixteen vectors of each of `P` blocks, each the same as [`super::order::dot`]
/// of the two.
///
/// Shapes: `blocks`: element `i` of sixteen vectors is `blocks[p][i]`; `x`: as long as a block; `out`: `[T, P]`.
///
/// `ahead` is where the blocks lie that come later: as much of it is asked for, one cache line after the other, as these blocks
/// are long. None when they are in the cache already.
#[inline(always)]
pub fn dots<S: Simd, const P: usize, const T: usize>(
    s: S,
    out: &mut [[[f32; LANES]; P]; T],
    mut blocks: [&[[f32; LANES]]; P],
    mut x: [&[f32]; T],
    mut ahead: Option<*const u8>,
) {
    // One length for all, so that the loop below needs no other check.
    let len = x[0].len();
    for block in &mut blocks {
        *block = &block[..len];
    }
    for x in &mut x {
        *x = &x[..len];
    }
    let mut lanes = [[[[0.0; LANES]; P]; T]; LANES];
    for (lane, lanes) in lanes.iter_mut().enumerate() {
        for part in 0..S::PARTS {
            let mut acc = [[s.part_splat(0.0); P]; T];
            // N4: a term that is missing at the end would add +0.0, which changes no sum that began at +0.0.
            let mut i = lane;
            while i < len {
                let mut block = [s.part_splat(0.0); P];
                for p in 0..P {
                    block[p] = s.part_load(&blocks[p][i], part);
                    if part == 0
                        && let Some(line) = &mut ahead
                    {
                        s.prefetch(*line);
                        *line = line.wrapping_add(size_of::<[f32; LANES]>());
                    }
                }
                for t in 0..T {
                    let x = s.part_splat(x[t][i]);
                    for p in 0..P {
                        acc[t][p] = s.part_mul_then_add(acc[t][p], x, block[p]);
                    }
                }
                i += LANES;
            }
            for t in 0..T {
                for p in 0..P {
                    s.part_store(acc[t][p], &mut lanes[t][p], part);
                }
            }
        }
    }
    // N5 on sixteen vectors at once.
    for t in 0..T {
        for p in 0..P {
            let mut a = [s.splat(0.0); LANES / 2];
            for j in 0..LANES / 2 {
                a[j] = s.add(s.load(&lanes[j][t][p]), s.load(&lanes[j + LANES / 2][t][p]));
            }
            for n in [4, 2, 1] {
                for j in 0..n {
                    a[j] = s.add(a[j], a[j + n]);
                }
            }
            s.store(a[0], &mut out[t][p]);
        }
    }
}
