//! Seeded inputs, thread pools, and the backends under test.

use kernel::Exec;
use kernel::pool::{Pool, SerialPool, ThreadPool};
use kernel::random::philox;
use kernel::simd::{Backend, Bf16};
use std::collections::BTreeSet;

/// Reproducible numbers of all kinds that a model holds: small, of either sign, with a few large ones and zeros.
pub struct Numbers {
    seed: u64,
    index: u32,
}

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        Numbers { seed, index: 0 }
    }

    pub fn word(&mut self) -> u32 {
        self.index += 1;
        philox(self.seed, [u32::MAX, 0, 0, self.index])[0]
    }

    pub fn f32(&mut self) -> f32 {
        let word = self.word();
        let unit = (word >> 8) as f32 / (1 << 23) as f32 - 1.0;
        match word & 0xff {
            0 => 0.0,
            1 => -0.0,
            2..8 => unit * 20.0,
            8..12 => unit * 1e-6,
            _ => unit,
        }
    }

    pub fn f32s(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.f32()).collect()
    }

    pub fn bf16s(&mut self, count: usize) -> Vec<Bf16> {
        (0..count).map(|_| Bf16((self.f32().to_bits() >> 16) as u16)).collect()
    }
}

/// So many threads; where there are none, the parts of as many, one after the other.
pub struct Threads {
    count: usize,
    pool: Option<ThreadPool>,
}

impl Threads {
    pub fn new(count: usize) -> Threads {
        let none = cfg!(all(target_family = "wasm", not(target_feature = "atomics")));
        Threads { count, pool: (!none).then(|| ThreadPool::new(count).unwrap()) }
    }
}

impl Pool for Threads {
    fn threads(&self) -> usize {
        self.count
    }

    fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync)) {
        match &self.pool {
            Some(pool) => pool.run(parts, job),
            None => (0..parts).for_each(job),
        }
    }
}

/// The backends of this machine. Those that `LOCKSTEP_TEST_BACKENDS` names (with commas) must be among them.
pub fn backends() -> Vec<Backend> {
    Backend::available_with(&std::env::var("LOCKSTEP_TEST_BACKENDS").unwrap_or_default()).unwrap()
}

/// The operators that the kernel exports whose names have one of these in them.
pub fn exported(kinds: &[&str]) -> BTreeSet<&'static str> {
    let exports = include_str!("../../src/ops/mod.rs").lines().filter(|line| line.starts_with("pub use "));
    let words = exports.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words.filter(|word| kinds.iter().any(|kind| word.contains(kind))).collect()
}

/// Runs `f` with every backend, on one thread and on three.
pub fn everywhere(mut f: impl FnMut(Exec<'_>, &str)) {
    let threads = Threads::new(3);
    for backend in backends() {
        f(Exec { backend, pool: &SerialPool }, backend.name());
        f(Exec { backend, pool: &threads }, &format!("{} on 3 threads", backend.name()));
    }
}

/// Lets `f` fill an output that lies between two zones, which must stay untouched.
pub fn guarded(len: usize, f: impl FnOnce(&mut [f32])) -> Vec<f32> {
    const ZONE: usize = 64;
    let sentinel = f32::from_bits(0x7fc0_dead);
    let mut memory = vec![sentinel; len + 2 * ZONE];
    f(&mut memory[ZONE..ZONE + len]);
    let zones = memory[..ZONE].iter().chain(&memory[ZONE + len..]);
    assert!(zones.copied().all(|v| v.to_bits() == sentinel.to_bits()), "wrote outside its output");
    memory[ZONE..ZONE + len].to_vec()
}

/// Whether two results are the same bits, any NaN being equal to any other (N9).
pub fn same_bits(a: &[f32], b: &[f32]) -> bool {
    let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// A value and the magnitude that its rounding errors are relative to.
#[derive(Clone, Copy)]
pub struct Truth {
    pub value: f64,
    pub scale: f64,
}

/// The largest error in units of 2^-24 of the scale; infinite where a value or its truth is not finite, or one is missing.
pub fn worst_error(values: &[f32], truth: &[Truth]) -> f64 {
    let error = |(v, t): (&f32, &Truth)| {
        let difference = (f64::from(*v) - t.value).abs();
        let units = if difference == 0.0 { 0.0 } else { difference / t.scale * 2.0_f64.powi(24) };
        if units.is_finite() { units } else { f64::INFINITY }
    };
    let missing = if values.len() == truth.len() { 0.0 } else { f64::INFINITY };
    values.iter().zip(truth).map(error).fold(missing, f64::max)
}
