//! What the machine can do at most: arithmetic in registers, reading of memory, handing over a parallel region.

use crate::best;
use kernel::Exec;
use kernel::ops::{Weights, matmul_forward};
use kernel::pool::{Crew, Pool};
use kernel::simd::{Backend, Bf16, Op, Simd};
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
        let crew = Crew::new();
        thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| {
                    crew.enlist();
                    crew.work();
                });
            }
            while crew.threads() < threads {
                thread::yield_now();
            }
            let region = || {
                let arrived = AtomicUsize::new(0);
                crew.run(threads, &|_| {
                    arrived.fetch_add(1, Ordering::AcqRel);
                    while arrived.load(Ordering::Acquire) < threads {
                        spin_loop();
                    }
                });
            };
            let many = best(&mut (), |()| {}, |()| (0..REGIONS).for_each(|_| region()));
            let rested = best(&mut (), |()| thread::sleep(Duration::from_millis(2)), |()| region());
            crew.dismiss();
            println!(
                "a region of {threads} threads: {:.2} us back to back, {:.1} us after a rest",
                many.as_secs_f64() * 1e6 / f64::from(REGIONS),
                rested.as_secs_f64() * 1e6
            );
        });
    }
}

/// The bandwidth in GB/s at which one thread reads memory: a matrix product's access, whose result nobody can foresee, over
/// 256 MB.
pub fn read_bandwidth() -> f64 {
    let (rows, cols) = (1 << 15, 1 << 12);
    let (x, w) = (vec![1.0; cols], vec![Bf16(0x3f80); rows * cols]);
    let mut out = vec![0.0; rows];
    let exec = Exec::serial();
    let product = |out: &mut Vec<f32>| matmul_forward(exec, black_box(out), &x, Weights::Bf16(&w), None, 1);
    let time = best(&mut out, |_| {}, product);
    (2 * rows * cols) as f64 / time.as_secs_f64() / 1e9
}

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
