//! The machine: what its processor can do, whether it computes the bits of the contract, and how fast its memory is.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use kernel::Exec;
use kernel::golden;
use kernel::ops::{Weights, matmul_forward};
use kernel::pool::Pool;
use kernel::simd::{Backend, Bf16};

use super::{Check, Tell};
use crate::{cli, memory};
use kernel::pool::{PoolError, ThreadPool};

/// Rows and columns of the matrix that is read: 256 MB of it, more than caches hold.
const ROWS: usize = 1 << 15;
const COLS: usize = 1 << 12;
/// How often it is read; the fastest time counts, the others measure the neighbours.
const READS: usize = 4;

/// Tells what the machine is.
pub fn checks(arguments: &cli::Doctor, tell: Tell<'_>) -> io::Result<()> {
    tell(processor())?;
    let chosen = arguments.compute.model.base.backend;
    let names: Vec<&str> = Backend::available().into_iter().map(Backend::name).collect();
    tell(Check::ok("backend", format!("{} is used; this machine has {}", chosen.name(), names.join(", "))))?;
    for backend in Backend::available() {
        tell(golden_bits(backend, chosen))?;
    }
    let count = arguments.compute.threads.count();
    tell(threads(count, ThreadPool::cores(), processors()))?;
    tell(arithmetic(count))?;
    for count in [1, 2] {
        tell(bandwidth(chosen, count))?;
    }
    Ok(())
}

/// The extensions that the backends are made for.
fn processor() -> Check {
    let architecture = std::env::consts::ARCH;
    #[cfg(target_arch = "x86_64")]
    {
        let has = [
            ("sse2", std::arch::is_x86_feature_detected!("sse2")),
            ("avx", std::arch::is_x86_feature_detected!("avx")),
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ];
        let names: Vec<&str> = has.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
        let found = format!("{architecture}: {}", names.join(", "));
        if names.contains(&"avx2") {
            return Check::ok("processor", found);
        }
        Check::warn("processor", found, "without avx2 the results are the same, and slow: use a newer processor")
    }
    #[cfg(not(target_arch = "x86_64"))]
    Check::ok("processor", architecture)
}

/// Whether a backend gives the digests that every machine gives.
fn golden_bits(backend: Backend, chosen: Backend) -> Check {
    let name = format!("bits {}", backend.name());
    match golden::check(Exec { backend, ..Exec::serial() }) {
        Ok(()) => Check::ok(name, "texts, draws and three training steps have the known digests"),
        Err(error) if backend == chosen => {
            Check::fail(name, error.to_string(), "use another one with --backend, and report this machine")
        }
        Err(error) => Check::warn(name, error.to_string(), "do not choose it with --backend, and report this machine"),
    }
}

/// The processors of the machine, whether this process may use them or not.
fn processors() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    Some(text.lines().filter(|line| line.starts_with("processor")).count()).filter(|count| *count > 0)
}

/// `cores` is how many this process may use, by its affinity and its control group.
fn threads(count: usize, cores: usize, processors: Option<usize>) -> Check {
    let found = match processors {
        Some(processors) if processors > cores => {
            format!(
                "{count} threads on {cores} cores; the machine has {processors}, affinity or a control group (cpu.max) allows {cores}"
            )
        }
        _ => format!("{count} threads on {cores} cores"),
    };
    if count > cores {
        return Check::warn("threads", found, "more threads than cores are slower: leave --threads out");
    }
    Check::ok("threads", found)
}

/// Whether every thread keeps subnormals and rounds to nearest even (N1).
fn arithmetic(count: usize) -> Check {
    match ThreadPool::new(count) {
        Ok(pool) => {
            let found = format!("subnormals kept, rounded to nearest even, in each of {} threads", pool.threads());
            Check::ok("arithmetic", found)
        }
        Err(error @ PoolError::Environment { .. }) => Check::fail(
            "arithmetic",
            error.to_string(),
            "a library that is loaded before the program (LD_PRELOAD) may have set flush-to-zero: start without it",
        ),
        Err(error) => {
            Check::fail("arithmetic", error.to_string(), "allow the process more threads (ulimit -u, pids.max)")
        }
    }
}

/// How fast `count` threads read memory, by the access of a matrix product, which decoding consists of.
fn bandwidth(backend: Backend, count: usize) -> Check {
    let name = if count == 1 { "memory, 1 thread".to_string() } else { format!("memory, {count} threads") };
    let bytes = (ROWS * COLS * size_of::<Bf16>()) as u64;
    if let Err(error) = memory::require("measuring it", 2 * bytes, vec!["end other programs"]) {
        return Check::warn(name, error.to_string(), "run this again when there is more memory");
    }
    let pool = match ThreadPool::new(count) {
        Ok(pool) => pool,
        Err(error) => return Check::warn(name, error.to_string(), "see the line on arithmetic"),
    };
    let exec = Exec { backend, pool: &pool };
    // One bfloat16.
    let (x, w, mut out) = (vec![1.0; COLS], vec![Bf16(0x3f80); ROWS * COLS], vec![0.0; ROWS]);
    let mut best = Duration::MAX;
    for _ in 0..READS {
        let start = Instant::now();
        matmul_forward(exec, black_box(&mut out), &x, Weights::Bf16(black_box(&w)), None, 1);
        best = best.min(start.elapsed());
    }
    let rate = bytes as f64 / best.as_secs_f64() / 1e9;
    Check::ok(name, format!("{rate:.1} GB/s read: decoding reads all weights for each token"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn more_threads_than_cores_are_told_and_so_is_what_limits_the_cores() {
        assert_eq!(threads(2, 2, Some(2)).status, Status::Ok);
        assert_eq!(threads(2, 2, None).found, "2 threads on 2 cores");
        let limited = threads(2, 2, Some(64));
        assert!(
            limited.status == Status::Ok && limited.found.contains("64") && limited.found.contains("control group")
        );
        let many = threads(8, 2, Some(2));
        assert!(many.status == Status::Warn && many.advice.unwrap().contains("--threads"));
    }

    #[test]
    fn this_machine_computes_the_known_bits() {
        for backend in Backend::available() {
            assert_eq!(golden_bits(backend, Backend::SCALAR).status, Status::Ok, "{}", backend.name());
        }
        assert_eq!(arithmetic(2).status, Status::Ok);
    }
}
