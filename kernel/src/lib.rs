//! The bit-exact numerics of Lockstep.
//!
//! Everything that decides a bit of a result lives in this crate, so that a server and a browser tab that link it cannot
//! drift apart. The order and the rounding of every operation are fixed by the numeric contract, `docs/numerics.md`; code
//! cites its rules as `N1`, `N2`, ...
//!
//! Layers, each using only those before it: [`pool`] (threads) and `digest`, [`simd`] (16 lanes, the order, the choice of instruction
//! set), `math`, [`ops`], [`model`], then [`generate`], [`score`], [`train`] and [`transcript`]. The crate takes token ids, byte slices,
//! a [`pool::Pool`] and a by-name source of tensors; it knows no files, sockets, clocks, JSON or text.
//!
//! Features: `std` (default) detects the CPU's instruction set at run time and has a pool of threads, [`pool::Crew`]; without it the
//! backend is the best one that the build's target features promise, and the caller brings a pool of its own.
#![no_std]

#[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), not(target_feature = "sse2")))]
compile_error!("N1: x86 needs SSE2; x87 arithmetic rounds to other widths than binary32");

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod digest;
pub mod environment;
pub mod generate;
pub mod golden;
mod math;
pub mod model;
pub mod ops;
pub mod pool;
pub mod random;
pub mod score;
pub mod simd;
pub mod train;
pub mod transcript;

/// Where and how an operation runs: the instruction set and the threads. No bit of a result depends on either.
#[derive(Clone, Copy)]
pub struct Exec<'a> {
    /// The instruction set.
    pub backend: simd::Backend,
    /// The threads among which outputs are split.
    pub pool: &'a dyn pool::Pool,
}

impl Exec<'_> {
    /// One thread on the best backend of this machine.
    pub fn serial() -> Exec<'static> {
        Exec { backend: simd::Backend::detect(), pool: &pool::SerialPool }
    }
}
