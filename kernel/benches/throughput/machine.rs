//! What the machine can do at most: arithmetic in registers, reading of memory, handing over a parallel region.

use crate::best;
use kernel::pool::{Pool, ThreadPool};
use kernel::simd::{Backend, Op, Simd};
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Prints what a parallel region costs in which every thread meets all others and does nothing else, for two threads up to
/// one a core: back to back, and after a rest in which the members have gone to sleep.
pub fn hand_over() {
    const REGIONS: u32 = 20;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    for threads in 2..=cores {
        let pool = ThreadPool::new(threads).expect("threads and the contract's arithmetic");
        let region = || {
            let arrived = AtomicUsize::new(0);
            pool.run(threads, &|_| {
                arrived.fetch_add(1, Ordering::AcqRel);
                while arrived.load(Ordering::Acquire) < threads {
                    spin_loop();
                }
            });
        };
        let many = best(&mut (), |()| {}, |()| (0..REGIONS).for_each(|_| region()));
        let rested = best(&mut (), |()| thread::sleep(Duration::from_millis(2)), |()| region());
        println!(
            "a region of {threads} threads: {:.2} us back to back, {:.1} us after a rest",
            many.as_secs_f64() * 1e6 / f64::from(REGIONS),
            rested.as_secs_f64() * 1e6
        );
    }
}

/// The bandwidth in GB/s at which so many threads read 256 MB of memory: by plain sums, each thread's in one stream or in several that
/// are far from one another, whatever is fastest.
pub fn read_bandwidth(threads: usize) -> f64 {
    let numbers = vec![1; (256 << 20) / size_of::<u64>()];
    let times = [1, 2, 4, 8].map(|streams| {
        best(
            &mut (),
            |()| {},
            |()| {
                thread::scope(|scope| {
                    for part in numbers.chunks(numbers.len() / threads) {
                        scope.spawn(move || black_box(sums(part, streams)));
                    }
                });
            },
        )
    });
    let bytes = (numbers.len() / threads * threads * size_of::<u64>()) as f64;
    times.into_iter().map(|time| bytes / time.as_secs_f64() / 1e9).fold(0.0, f64::max)
}

/// Sums of the first, the second, ... numbers of all pieces.
fn sums(numbers: &[u64], streams: usize) -> [u64; PIECE] {
    let streams: Vec<&[[u64; PIECE]]> =
        numbers.chunks(numbers.len() / streams).map(|part| part.as_chunks().0).collect();
    let mut sums = [0u64; PIECE];
    for piece in 0..streams[0].len() {
        for pieces in &streams {
            if let Some(piece) = pieces.get(piece) {
                sums.iter_mut().zip(piece).for_each(|(sum, number)| *sum += number);
            }
        }
    }
    sums
}

/// Numbers that a stream reads at a time: four cache lines.
const PIECE: usize = 32;

/// The most GFlop/s that one thread reaches with separate multiplications and additions.
pub fn peak_gflops(backend: Backend) -> f64 {
    const ROUNDS: usize = 100_000;
    let lanes = 16 / backend.run(Parts);
    let time = best(&mut (), |()| {}, |()| _ = black_box(backend.run(Peak(black_box(ROUNDS)))));
    (ROUNDS * CHAINS * lanes * 2) as f64 / time.as_secs_f64() / 1e9
}

/// Separate multiplications and additions in registers, as many chains as hide their latency.
struct Peak(usize);

impl Op for Peak {
    type Output = f32;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> f32 {
        let (factor, mut acc) = (s.part_splat(black_box(0.999)), [s.part_splat(black_box(1.0)); CHAINS]);
        for _ in 0..self.0 {
            for a in &mut acc {
                *a = s.part_mul_then_add(factor, *a, factor);
            }
        }
        let mut sum = 0.0;
        for a in acc {
            let mut lanes = [0.0; 16];
            s.part_store(a, &mut lanes, 0);
            sum += lanes.iter().sum::<f32>();
        }
        sum
    }
}

/// Registers that [`Peak`] computes in.
const CHAINS: usize = 14;

/// How many registers sixteen lanes take.
struct Parts;

impl Op for Parts {
    type Output = usize;

    #[inline(always)]
    fn eval<S: Simd>(self, _: S) -> usize {
        S::PARTS
    }
}
