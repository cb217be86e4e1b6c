//! Throughput of every operator, forward and backward, on every backend, one thread:
//! `cargo bench -p kernel --bench throughput [-- FILTER]`.
//!
//! First the machine: what a parallel region costs to hand over, and how fast memory is read. Then the operators:
//! the time of one call (the best of many), arithmetic and memory traffic by formula, and how much of the machine's measured
//! limit that is: of the separate multiply-add peak of the backend, or of the read bandwidth (what stays in the caches may
//! exceed it). The digest of a result must be the same on every backend, or the program fails.

mod backward;
mod forward;
mod machine;
mod optimizers;

use kernel::Exec;
use kernel::pool::SerialPool;
use kernel::random::philox;
use kernel::simd::{Backend, Bf16};
use kernel::transcript::{Sha256Digest, logits_digest};
use std::collections::BTreeMap;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// One call, which reads and writes the output.
type Run = Box<dyn Fn(Exec<'_>, &mut [f32])>;

/// What one call costs by formula, and the call.
struct Case {
    /// The operator's name, and its shapes.
    name: String,
    flops: f64,
    bytes: f64,
    /// The output before the call: operators that add to it, or work in place, start from here each time.
    before: Vec<f32>,
    run: Run,
}

impl Case {
    fn new(
        name: String,
        flops: usize,
        bytes: usize,
        before: Vec<f32>,
        run: impl Fn(Exec<'_>, &mut [f32]) + 'static,
    ) -> Case {
        Case { name, flops: flops as f64, bytes: bytes as f64, before, run: Box::new(run) }
    }
}

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let cases: Vec<Case> = [forward::cases(), backward::cases(), optimizers::cases()].into_iter().flatten().collect();
    every_operator_is_here(&cases);
    machine::hand_over();
    let bandwidth = machine::read_bandwidth(1);
    println!("read bandwidth, one thread: {bandwidth:.1} GB/s");
    let cores = available_parallelism().map_or(1, usize::from);
    println!("read bandwidth, {cores} threads: {:.1} GB/s", machine::read_bandwidth(cores));
    let mut digests: BTreeMap<&str, Sha256Digest> = BTreeMap::new();
    for backend in Backend::available() {
        let peak = machine::peak_gflops(backend);
        println!("\n{}: multiply-add peak {peak:.1} GFlop/s", backend.name());
        println!("{:<44} {:>10} {:>9} {:>6} {:>8} {:>6}", "operator", "time", "GFlop/s", "peak", "GB/s", "limit");
        for case in cases.iter().filter(|c| filter.is_empty() || filter.iter().any(|f| c.name.contains(f))) {
            let exec = Exec { backend, pool: &SerialPool };
            let mut output = case.before.clone();
            let prepare = |output: &mut Vec<f32>| output.copy_from_slice(&case.before);
            let seconds = best(&mut output, prepare, |output| (case.run)(exec, output)).as_secs_f64();
            let digest = logits_digest(&output);
            let expected = *digests.entry(&case.name).or_insert(digest);
            assert_eq!(digest, expected, "{} on {} has other bits", case.name, backend.name());
            let (gflops, rate) = (case.flops / seconds / 1e9, case.bytes / seconds / 1e9);
            println!(
                "{:<44} {:>8.1}us {gflops:>9.1} {:>5.0}% {rate:>8.1} {:>5.0}%",
                case.name,
                seconds * 1e6,
                100.0 * gflops / peak,
                100.0 * rate / bandwidth,
            );
        }
    }
}

/// # Panics
/// If an operator that the kernel exports has no case.
fn every_operator_is_here(cases: &[Case]) {
    let exports = include_str!("../../src/ops/mod.rs").lines().filter(|line| line.starts_with("pub use "));
    let words = exports.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'));
    let kinds = ["_forward", "_backward", "_step", "_merge"];
    for name in words.filter(|word| kinds.iter().any(|kind| word.contains(kind))) {
        assert!(cases.iter().any(|case| case.name.split(' ').next() == Some(name)), "{name} has no case");
    }
}

/// The best time of a call within about a third of a second; `prepare` is not counted.
fn best<T>(state: &mut T, mut prepare: impl FnMut(&mut T), mut call: impl FnMut(&mut T)) -> Duration {
    let start = Instant::now();
    let mut best = Duration::MAX;
    while start.elapsed() < Duration::from_millis(300) {
        prepare(state);
        let begin = Instant::now();
        call(state);
        best = best.min(begin.elapsed());
    }
    best
}

/// Numbers between -1 and 1.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let word = |i: usize| philox(seed, [0, 0, 0, i as u32])[0];
    (0..count).map(|i| (word(i) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn narrow(values: &[f32]) -> Vec<Bf16> {
    values.iter().map(|v| Bf16((v.to_bits() >> 16) as u16)).collect()
}
