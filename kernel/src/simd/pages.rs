//! The beginnings of pages, ahead of their use: a processor foresees a stream of memory no further than its page.

use super::Simd;
use core::hint::black_box;
use core::ops::Range;

/// Bytes of a page.
const PAGE: usize = 4096;
/// Bytes of a cache line.
pub const LINE: usize = 64;
/// First lines of a page that are asked for: with three, a processor goes on by itself.
const LINES: usize = 3;
/// How many pages ahead they are read.
const READ: usize = 2;
/// How many pages ahead they are asked for.
const ASKED: usize = 3;

/// For each page into which `part` of `all` goes on: reads the first lines of the page [`READ`] further, as far as it is in `all`. For
/// where nothing can be asked for.
#[inline(always)]
pub fn read_ahead<T: Copy>(all: &[T], part: Range<usize>) {
    let line = LINE / size_of::<T>();
    for page in further(READ, all.as_ptr().addr() % PAGE, part, size_of::<T>()) {
        let page = page / size_of::<T>();
        for line in all.get(page..page + LINES * line).unwrap_or_default().chunks_exact(line) {
            black_box(line[0]);
        }
    }
}

/// For each page into which `part` goes on: asks for the first lines of the page [`ASKED`] further.
#[inline(always)]
pub fn ask_ahead<S: Simd, T>(s: S, part: &[T]) {
    for page in further(ASKED, part.as_ptr().addr() % PAGE, 0..part.len(), size_of::<T>()) {
        for line in 0..LINES {
            s.prefetch(part.as_ptr().cast::<u8>().wrapping_add(page + line * LINE));
        }
    }
}

/// Where the pages `pages` further begin, for each page into which the elements `part`, of `size` bytes, go on: in bytes from element 0,
/// which lies `before` bytes behind the beginning of its page.
#[inline(always)]
fn further(pages: usize, before: usize, part: Range<usize>, size: usize) -> impl Iterator<Item = usize> {
    let page = move |element: usize| (before + element * size) / PAGE;
    (page(part.start) + 1..=page(part.end)).map(move |page| (page + pages) * PAGE - before)
}

#[cfg(test)]
mod tests {
    use super::{ASKED, PAGE, READ, further, read_ahead};
    use alloc::vec::Vec;

    #[test]
    fn every_page_comes_once_and_ahead_of_its_use() {
        for (far, before, cols, size) in [
            (READ, 0, 576, 2),
            (ASKED, 4094, 576, 2),
            (READ, 1152, 1536, 4),
            (ASKED, 8, 3000, 2),
            (READ, 2, 4096, 2),
            (ASKED, 16, 16, 64),
        ] {
            let mut pages = Vec::new();
            for row in 0..5000 / cols + 50 {
                let part = row * cols..(row + 1) * cols;
                let end = before + part.end * size;
                pages.extend(further(far, before, part, size).map(|page| before + page).inspect(|page| {
                    assert!(*page + cols * size > end + (far - 1) * PAGE && *page <= end + far * PAGE, "{page}, {end}");
                }));
            }
            let expected = (far + 1..).map(|page| page * PAGE);
            assert!(
                !pages.is_empty() && pages.iter().copied().eq(expected.take(pages.len())),
                "{before}, {cols}: {pages:?}"
            );
        }
    }

    #[test]
    fn nothing_beyond_the_end_is_read() {
        // Each length ends elsewhere in what would be read of a page.
        let all = [0u16; 4 * PAGE];
        for length in (PAGE..=all.len()).step_by(16) {
            read_ahead(&all[..length], 0..PAGE);
        }
    }
}
