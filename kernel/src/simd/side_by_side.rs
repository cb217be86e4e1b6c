//! Lane reductions of sixteen vectors side by side (N3-N5): one vector a lane, so that no lanes meet.

use super::{LANES, Simd};

/// Where the blocks lie that come later: a cache line for each of `P` blocks, and after each of their lines the one `step` bytes on.
#[derive(Clone, Copy)]
pub struct Ahead<const P: usize> {
    pub lines: [*const u8; P],
    pub step: usize,
}

/// The dot products of `T` vectors with the sixteen vectors of each of `P` blocks, each the same as [`super::order::dot`]
/// of the two.
///
/// Shapes: `blocks`: element `i` of sixteen vectors is `blocks[p][i]`; `x`: as long as a block; `out`: `[T, P]`.
///
/// `ahead` is what is asked for meanwhile, as much as these blocks are long. None when what comes later is in the cache already.
#[inline(always)]
pub fn dots<S: Simd, const P: usize, const T: usize>(
    s: S,
    out: &mut [[[f32; LANES]; P]; T],
    mut blocks: [&[[f32; LANES]]; P],
    mut x: [&[f32]; T],
    mut ahead: Option<Ahead<P>>,
) {
    // One length for all, so that the loop below needs no other check.
    let len = x[0].len();
    for block in &mut blocks {
        *block = &block[..len];
    }
    for x in &mut x {
        *x = &x[..len];
    }
    for part in 0..S::PARTS {
        // N5: the lanes `l + 4 i` meet in registers, and these four sums then.
        let mut quarters = [[[s.part_splat(0.0); P]; T]; 4];
        for (l, quarter) in quarters.iter_mut().enumerate() {
            let mut next = ahead.as_mut().filter(|_| part == 0);
            let a = lane(s, blocks, x, l, part, &mut next);
            let b = lane(s, blocks, x, l + 8, part, &mut next);
            let ab = sum(s, a, b);
            let c = lane(s, blocks, x, l + 4, part, &mut next);
            let d = lane(s, blocks, x, l + 12, part, &mut next);
            *quarter = sum(s, ab, sum(s, c, d));
        }
        let [a, b, c, d] = quarters;
        let sums = sum(s, sum(s, a, c), sum(s, b, d));
        for t in 0..T {
            for p in 0..P {
                s.part_store(sums[t][p], &mut out[t][p], part);
            }
        }
    }
}

/// The sums of one lane.
#[inline(always)]
fn lane<S: Simd, const P: usize, const T: usize>(
    s: S,
    blocks: [&[[f32; LANES]]; P],
    x: [&[f32]; T],
    lane: usize,
    part: usize,
    ahead: &mut Option<&mut Ahead<P>>,
) -> [[S::Part; P]; T] {
    let mut acc = [[s.part_splat(0.0); P]; T];
    // N4: a term that is missing at the end would add +0.0, which changes no sum that began at +0.0.
    let mut i = lane;
    while i < x[0].len() {
        let mut block = [s.part_splat(0.0); P];
        for p in 0..P {
            block[p] = s.part_load(&blocks[p][i], part);
            if let Some(Ahead { lines, step }) = ahead {
                s.prefetch(lines[p]);
                lines[p] = lines[p].wrapping_add(*step);
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
    acc
}

#[inline(always)]
fn sum<S: Simd, const P: usize, const T: usize>(
    s: S,
    mut a: [[S::Part; P]; T],
    b: [[S::Part; P]; T],
) -> [[S::Part; P]; T] {
    for t in 0..T {
        for p in 0..P {
            a[t][p] = s.part_add(a[t][p], b[t][p]);
        }
    }
    a
}
