//! Threads split outputs, never a reduction but for the blocks of N6 (N10).
//!
//! A [`Pool`] runs numbered parts; `split_columns`, `split_rows` and their like turn an output into parts that cannot overlap.
//! Here and in `crew.rs`, and nowhere else in the crate, threads meet memory.

#[cfg(feature = "std")]
mod crew;
#[cfg(feature = "std")]
mod thread_pool;

use core::marker::PhantomData;
use core::ops::Range;

#[cfg(feature = "std")]
pub use crew::Crew;
#[cfg(feature = "std")]
pub use thread_pool::{MAX_THREADS, PoolError, ThreadPool};

/// Runs the parts of a job, on threads where there are some.
pub trait Pool: Sync {
    /// How many parts run at the same time.
    fn threads(&self) -> usize;

    /// Calls `job(0)` to `job(parts - 1)`, each exactly once, and returns when all have returned.
    ///
    /// # What relies on it
    /// Each part writes memory of its own, and nobody locks it. A pool that calls a part twice at the same time has two threads write
    /// one place, and one that returns before a part has ended leaves it writing what others read: no compiler sees that. A part
    /// that there is not is a panic.
    fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync));
}

/// One thread: the caller's.
pub struct SerialPool;

impl Pool for SerialPool {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..parts).for_each(job);
    }
}

/// A range of columns of a row-major matrix, which one part of a job may write.
pub(crate) struct Columns<'a> {
    start: *mut f32,
    row_len: usize,
    rows: usize,
    range: Range<usize>,
    matrix: PhantomData<&'a mut [f32]>,
}

impl<'a> Columns<'a> {
    /// All columns of `matrix` (rows of `row_len`).
    pub fn all(matrix: &'a mut [f32], row_len: usize) -> Columns<'a> {
        let rows = matrix.len() / row_len;
        Columns { start: matrix.as_mut_ptr(), row_len, rows, range: 0..row_len, matrix: PhantomData }
    }

    /// Which columns these are.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// How many rows the matrix has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// These columns of row `row`.
    ///
    /// # Panics
    /// If the matrix has no such row.
    #[inline(always)]
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "columns: row {row} of {}", self.rows);
        // SAFETY: `start` points to `rows` rows of `row_len` values that are mutably borrowed for as long as `self` lives, `row`
        // and `range` are inside, and no other `Columns` has a value of them (`split_columns`, `split_tiles`).
        // Two rows cannot be held at once, since each borrows `self`.
        unsafe {
            let start = self.start.add(row * self.row_len + self.range.start);
            core::slice::from_raw_parts_mut(start, self.range.len())
        }
    }
}

/// The start of what is shared out among threads.
struct Start<T>(*mut T);

// SAFETY: threads reach a matrix through `Columns` and rows that do not overlap, and items one by one, each by one part.
unsafe impl<T: Send> Sync for Start<T> {}

impl<T> Start<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// Has the pool run a job whose parts write memory of their own.
fn run(pool: &dyn Pool, parts: usize, job: impl Fn(usize) + Sync) {
    pool.run(parts, &|part| {
        assert!(part < parts, "pool: part {part} of {parts}");
        job(part);
    });
}

/// Shares out the columns of `matrix` (`[rows, row_len]`) in ranges of whole `granule`s, about one range a thread.
///
/// # Panics
/// If `matrix` is no whole number of rows, or a row no whole number of granules.
pub(crate) fn split_columns(
    pool: &dyn Pool,
    matrix: &mut [f32],
    row_len: usize,
    granule: usize,
    job: impl Fn(Columns<'_>) + Sync,
) {
    split_columns_of_each(pool, [(matrix, row_len, granule)], |[columns]| job(columns));
}

/// [`split_columns`] of several matrices at once, each a `(matrix, row_len, granule)`: `job` receives a range of each, which
/// may be empty.
///
/// # Panics
/// If a matrix is no whole number of rows, or a row no whole number of granules.
pub(crate) fn split_columns_of_each<const N: usize>(
    pool: &dyn Pool,
    matrices: [(&mut [f32], usize, usize); N],
    job: impl Fn([Columns<'_>; N]) + Sync,
) {
    for (matrix, row_len, granule) in &matrices {
        let (len, row_len, granule) = (matrix.len(), *row_len, *granule);
        assert!(row_len > 0 && len.is_multiple_of(row_len), "split: {len} values in rows of {row_len}");
        assert!(granule > 0 && row_len.is_multiple_of(granule), "split: a row of {row_len} in granules of {granule}");
    }
    let most = matrices.iter().map(|(_, row_len, granule)| row_len / granule).max();
    let parts = pool.threads().clamp(1, most.unwrap_or(1));
    let starts = matrices
        .map(|(matrix, row_len, granule)| (Start(matrix.as_mut_ptr()), matrix.len() / row_len, row_len, granule));
    run(pool, parts, |part| {
        job(starts.each_ref().map(|(start, rows, row_len, granule)| {
            // Part `p` has the granules from `p * granules / parts` on: the ranges of two parts never overlap.
            let bound = |part: usize| part * (row_len / granule) / parts * granule;
            let range = bound(part)..bound(part + 1);
            Columns { start: start.get(), row_len: *row_len, rows: *rows, range, matrix: PhantomData }
        }));
    });
}

/// Shares out `matrix` (rows of `row_len`) in tiles of `tile` rows and columns, or fewer where it ends; `job` receives the
/// range of its rows and their columns.
///
/// # Panics
/// If `matrix` is no whole number of rows, or a tile is empty.
pub(crate) fn split_tiles(
    pool: &dyn Pool,
    matrix: &mut [f32],
    row_len: usize,
    tile: [usize; 2],
    job: impl Fn(Range<usize>, Columns<'_>) + Sync,
) {
    split_items_and_tiles(pool, (&mut [], |_: &mut ()| ()), (matrix, row_len, tile), job);
}

/// Shares out `items`, whoever is free taking the next, and then `matrix` as [`split_tiles`] does.
///
/// # Panics
/// If `matrix` is no whole number of rows, or a tile is empty.
pub(crate) fn split_items_and_tiles<T: Send>(
    pool: &dyn Pool,
    (items, item_job): (&mut [T], impl Fn(&mut T) + Sync),
    (matrix, row_len, tile): (&mut [f32], usize, [usize; 2]),
    tile_job: impl Fn(Range<usize>, Columns<'_>) + Sync,
) {
    assert!(row_len > 0 && matrix.len().is_multiple_of(row_len), "split: {} values in rows of {row_len}", matrix.len());
    let [tile_rows, tile_columns] = tile;
    assert!(tile_rows > 0 && tile_columns > 0, "split: tiles of {tile:?}");
    let rows = matrix.len() / row_len;
    let across = row_len.div_ceil(tile_columns);
    let (first_item, start, count) = (Start(items.as_mut_ptr()), Start(matrix.as_mut_ptr()), items.len());
    // The parts after the items are tiles, `p` tile `p % across` of its rows: no value belongs to two of them.
    run(pool, count + rows.div_ceil(tile_rows) * across, |part| {
        let Some(part) = part.checked_sub(count) else {
            // SAFETY: there is a part for each item, mutably borrowed for this call, and each part is called once (`Pool::run`).
            return item_job(unsafe { &mut *first_item.get().add(part) });
        };
        let row = part / across * tile_rows;
        let column = part % across * tile_columns;
        let rows = row..rows.min(row + tile_rows);
        let range = column..row_len.min(column + tile_columns);
        let start = start.get().wrapping_add(row * row_len);
        tile_job(rows.clone(), Columns { start, row_len, rows: rows.len(), range, matrix: PhantomData });
    });
}

/// Shares out the rows of `matrix` (rows of `row_len`); `job` receives the range of its rows and their values.
///
/// # Panics
/// If `matrix` is no whole number of rows.
pub(crate) fn split_rows(
    pool: &dyn Pool,
    matrix: &mut [f32],
    row_len: usize,
    job: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    if !matrix.is_empty() {
        let len = matrix.len();
        split_columns(pool, matrix, len, row_len, |mut part| {
            let range = part.range();
            job(range.start / row_len..range.end / row_len, part.row(0));
        });
    }
}

/// Shares out the values of `slice`, a few thousand at a time, since fewer take less time than to wake a thread; `job`
/// receives their range and the values.
pub(crate) fn split_values(pool: &dyn Pool, slice: &mut [f32], job: impl Fn(Range<usize>, &mut [f32]) + Sync) {
    split_blocks(pool, slice, 1, 4096, job);
}

/// Shares out the rows of `matrix` (rows of `row_len`) in blocks of `rows`, whoever is free taking the next; `job` receives the
/// range of its rows and their values.
///
/// # Panics
/// If `matrix` is no whole number of rows, or a block is empty.
pub(crate) fn split_blocks(
    pool: &dyn Pool,
    matrix: &mut [f32],
    row_len: usize,
    rows: usize,
    job: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    let len = matrix.len();
    assert!(row_len > 0 && len.is_multiple_of(row_len), "split: {len} values in rows of {row_len}");
    if len > 0 {
        split_tiles(pool, matrix, len, [1, rows * row_len], |_, mut part| {
            let range = part.range();
            job(range.start / row_len..range.end / row_len, part.row(0));
        });
    }
}

/// Shares out the rows of several matrices of `rows` rows each, in ranges that are the same for all; `job` receives the range
/// and each matrix's rows.
///
/// # Panics
/// If a matrix is no `rows` whole rows.
pub(crate) fn split_together<const N: usize>(
    pool: &dyn Pool,
    rows: usize,
    matrices: [&mut [f32]; N],
    job: impl Fn(Range<usize>, [&mut [f32]; N]) + Sync,
) {
    if rows == 0 {
        return;
    }
    let starts = matrices.map(|matrix| {
        assert!(matrix.len().is_multiple_of(rows), "split: {} values in {rows} rows", matrix.len());
        (Start(matrix.as_mut_ptr()), matrix.len() / rows)
    });
    let parts = pool.threads().clamp(1, rows);
    run(pool, parts, |part| {
        let range = part * rows / parts..(part + 1) * rows / parts;
        // SAFETY: each start has `rows` rows of `row_len` values that are mutably borrowed for this call, `range` is inside,
        // and no other part has a row of it, since each is called once (`Pool::run`).
        let part = |(start, row_len): &(Start<f32>, usize)| unsafe {
            core::slice::from_raw_parts_mut(start.get().add(range.start * row_len), range.len() * row_len)
        };
        job(range.clone(), starts.each_ref().map(part));
    });
}

/// Shares out `items`, whoever is free taking the next; `job` receives each once.
pub(crate) fn split_items<T: Send>(pool: &dyn Pool, items: &mut [T], job: impl Fn(&mut T) + Sync) {
    split_items_and_tiles(pool, (items, job), (&mut [], 1, [1, 1]), |_, _| ());
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// Says it has `.0` threads and runs the parts backwards.
    struct Backwards(usize);

    impl Pool for Backwards {
        fn threads(&self) -> usize {
            self.0
        }
        fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync)) {
            (0..parts).rev().for_each(job);
        }
    }

    #[test]
    fn every_column_belongs_to_exactly_one_part() {
        for threads in [1, 2, 3, 5, 64] {
            for (rows, granules, granule) in [(1, 1, 1), (3, 7, 2), (2, 10, 3), (4, 64, 1)] {
                let mut matrix = vec![0.0; rows * granules * granule];
                split_columns(&Backwards(threads), &mut matrix, granules * granule, granule, |mut columns| {
                    assert_eq!(columns.range().start % granule, 0);
                    for row in 0..rows {
                        columns.row(row).iter_mut().for_each(|v| *v += 1.0);
                    }
                });
                assert!(matrix.iter().all(|v| *v == 1.0), "{threads} threads, {rows} x {granules} x {granule}");
            }
        }
    }

    #[test]
    fn every_column_of_each_matrix_belongs_to_exactly_one_part() {
        for threads in [1, 2, 3, 64] {
            let (mut a, mut b, mut c) = (vec![0.0; 3 * 12], vec![0.0; 2 * 5], vec![0.0; 4]);
            split_columns_of_each(&Backwards(threads), [(&mut a, 12, 4), (&mut b, 5, 1), (&mut c, 2, 2)], |parts| {
                assert_eq!(parts.each_ref().map(Columns::rows), [3, 2, 2]);
                for mut columns in parts {
                    (0..columns.rows()).for_each(|row| columns.row(row).iter_mut().for_each(|v| *v += 1.0));
                }
            });
            assert!([a, b, c].iter().flatten().all(|v| *v == 1.0), "{threads} threads");
        }
    }

    #[test]
    #[should_panic(expected = "pool: part 3 of 3")]
    fn a_part_that_there_is_not_writes_nothing() {
        struct OneMore;
        impl Pool for OneMore {
            fn threads(&self) -> usize {
                1
            }
            fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync)) {
                (0..=parts).for_each(job);
            }
        }
        split_tiles(&OneMore, &mut [0.0; 3], 1, [1, 1], |_, mut tile| tile.row(0)[0] = 1.0);
    }

    #[test]
    fn few_values_start_no_region() {
        for (len, parts) in [(0, vec![]), (4096, vec![4096]), (4100, vec![4, 4096])] {
            let (mut values, seen) = (vec![1.0; len], std::sync::Mutex::new(vec![]));
            split_values(&Backwards(2), &mut values, |range, values| {
                assert_eq!(range.len(), values.len());
                values.iter_mut().for_each(|v| *v += 1.0);
                seen.lock().unwrap().push(range.len());
            });
            assert!(values.iter().all(|v| *v == 2.0) && seen.into_inner().unwrap() == parts, "{len} values");
        }
    }

    #[test]
    fn every_value_belongs_to_exactly_one_tile() {
        for (rows, row_len, tile) in [(1, 1, [1, 1]), (5, 7, [2, 3]), (4, 6, [4, 2]), (3, 5, [10, 10])] {
            let mut matrix = vec![0.0; rows * row_len];
            split_tiles(&Backwards(2), &mut matrix, row_len, tile, |rows, mut columns| {
                assert!(rows.len() == columns.rows() && rows.len() <= tile[0] && columns.range().len() <= tile[1]);
                let range = columns.range();
                for row in 0..rows.len() {
                    for (v, c) in columns.row(row).iter_mut().zip(range.clone()) {
                        *v += ((rows.start + row) * row_len + c) as f32 + 1.0;
                    }
                }
            });
            assert!(matrix.iter().enumerate().all(|(i, v)| *v == i as f32 + 1.0), "{rows} x {row_len} in {tile:?}");
        }
    }

    #[test]
    fn rows_come_with_their_numbers() {
        let mut matrix = vec![0.0; 7 * 3];
        split_rows(&Backwards(4), &mut matrix, 3, |rows, values| {
            assert_eq!(rows.len() * 3, values.len());
            rows.zip(values.chunks_mut(3)).for_each(|(r, v)| v.fill(r as f32));
        });
        assert!(matrix.iter().enumerate().all(|(i, v)| *v == (i / 3) as f32));
    }

    #[test]
    fn matrices_are_split_alike() {
        for (threads, rows, row_len) in [(1, 5, 2), (3, 7, 1), (4, 2, 3), (2, 0, 4), (5, 9, 0)] {
            let (mut a, mut b) = (vec![1.0; rows], vec![2.0; rows * row_len]);
            split_together(&Backwards(threads), rows, [&mut a, &mut b], |range, [a, b]| {
                assert!(a.len() == range.len() && b.len() == range.len() * row_len);
                b.iter_mut().for_each(|b| *b += 1.0);
                a.iter_mut().zip(range).for_each(|(a, i)| *a += i as f32);
            });
            assert!(a.iter().enumerate().all(|(i, v)| *v == 1.0 + i as f32) && b.iter().all(|v| *v == 3.0));
        }
    }

    #[test]
    fn every_item_has_its_turn() {
        for count in [0, 1, 5] {
            let mut items = vec![alloc::string::String::new(); count];
            split_items(&Backwards(3), &mut items, |item| item.push('x'));
            assert_eq!(items, vec!["x"; count]);
        }
    }

    #[test]
    fn items_have_their_turn_beside_tiles() {
        for (items, rows) in [(0, 2), (3, 0), (2, 3)] {
            let (mut items, mut matrix) = (vec![1.0; items], vec![2.0; rows * 5]);
            let item = |item: &mut f32| *item += 1.0;
            split_items_and_tiles(&Backwards(2), (&mut items, item), (&mut matrix, 5, [2, 3]), |_, mut tile| {
                (0..tile.rows()).for_each(|row| tile.row(row).iter_mut().for_each(|v| *v += 1.0));
            });
            assert!(items.iter().all(|v| *v == 2.0) && matrix.iter().all(|v| *v == 3.0), "{items:?}, {matrix:?}");
        }
    }

    #[test]
    #[should_panic(expected = "split: 5 values in 2 rows")]
    fn matrices_of_other_rows_are_refused() {
        split_together(&SerialPool, 2, [&mut [0.0; 4], &mut [0.0; 5]], |_, _| ());
    }

    #[test]
    #[should_panic(expected = "columns: row 2 of 2")]
    fn a_row_outside_the_matrix_is_refused() {
        split_columns(&SerialPool, &mut [0.0; 4], 2, 1, |mut columns| columns.row(2).fill(1.0));
    }
}
