//! The choice of instruction set: a value that is passed, so that a test can run every backend side by side.

#[cfg(target_arch = "x86_64")]
use super::avx512::{self, Avx512, Processor};
use super::{Simd, scalar::Scalar};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// An operation with one body for every instruction set.
pub trait Op {
    /// What the operation returns.
    type Output;
    /// Runs it. Implementations are `#[inline(always)]`.
    fn eval<S: Simd>(self, s: S) -> Self::Output;
}

/// An instruction set that this machine has. A value is proof of that: values come from the functions below only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backend(Kind);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    X86Avx2,
    #[cfg(target_arch = "x86_64")]
    X86Avx512,
    #[cfg(target_arch = "x86_64")]
    X86Avx512Streams,
    #[cfg(target_arch = "x86_64")]
    X86Avx512Halves,
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    Aarch64Neon,
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    WasmSimd128,
}

impl Backend {
    /// Plain arithmetic, on every machine.
    pub const SCALAR: Backend = Backend(Kind::Scalar);

    /// The backends of this machine, the fastest first; `scalar` is always there.
    pub fn available() -> Vec<Backend> {
        let mut kinds = vec![];
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx512() {
                let fastest = match avx512::processor() {
                    Processor::Zen4 => Kind::X86Avx512Halves,
                    Processor::Intel => Kind::X86Avx512Streams,
                    Processor::Other => Kind::X86Avx512,
                };
                let others = [Kind::X86Avx512, Kind::X86Avx512Streams, Kind::X86Avx512Halves];
                kinds.push(fastest);
                kinds.extend(others.into_iter().filter(|kind| *kind != fastest));
            }
            if has_avx2() {
                kinds.push(Kind::X86Avx2);
            }
        }
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        kinds.push(Kind::Aarch64Neon);
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        kinds.push(Kind::WasmSimd128);
        kinds.push(Kind::Scalar);
        kinds.into_iter().map(Backend).collect()
    }

    /// The same, where all that `names` lists, with commas, are there.
    ///
    /// # Errors
    /// The first of them that is not.
    pub fn available_with(names: &str) -> Result<Vec<Backend>, BackendError> {
        names.split(',').filter(|name| !name.is_empty()).try_for_each(|name| Backend::from_name(name).map(|_| ()))?;
        Ok(Backend::available())
    }

    /// The fastest backend of this machine.
    pub fn detect() -> Backend {
        Backend::available()[0]
    }

    /// The backend called `name`, or the fastest one for `auto`.
    ///
    /// # Errors
    /// If this machine or this build has no such backend; the message lists those it has.
    pub fn from_name(name: &str) -> Result<Backend, BackendError> {
        if name == "auto" {
            return Ok(Backend::detect());
        }
        let found = Backend::available().into_iter().find(|b| b.name() == name);
        found.ok_or_else(|| BackendError { name: name.to_string() })
    }

    /// `scalar`, `x86-avx2`, `x86-avx512`, `x86-avx512-streams`, `x86-avx512-halves`, `aarch64-neon` or `wasm-simd128`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::X86Avx2 => "x86-avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::X86Avx512 => "x86-avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::X86Avx512Streams => "x86-avx512-streams",
            #[cfg(target_arch = "x86_64")]
            Kind::X86Avx512Halves => "x86-avx512-halves",
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Kind::Aarch64Neon => "aarch64-neon",
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Kind::WasmSimd128 => "wasm-simd128",
        }
    }

    /// Runs `op` with this instruction set.
    pub fn run<O: Op>(self, op: O) -> O::Output {
        match self.0 {
            Kind::Scalar => op.eval(Scalar),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Backend` of this kind exists only where `has_avx2` said so.
            Kind::X86Avx2 => unsafe { run_avx2(op) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Backend` of this kind exists only where `has_avx512` said so.
            Kind::X86Avx512 => unsafe { run_avx512::<_, false, false>(op) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kind::X86Avx512Streams => unsafe { run_avx512::<_, true, false>(op) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kind::X86Avx512Halves => unsafe { run_avx512::<_, true, true>(op) },
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Kind::Aarch64Neon => op.eval(super::neon::Neon),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Kind::WasmSimd128 => op.eval(super::simd128::Simd128),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    #[cfg(feature = "std")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(feature = "std"))]
    return cfg!(target_feature = "avx2");
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_avx2<O: Op>(op: O) -> O::Output {
    // SAFETY: this function is compiled for AVX2, so whoever called it had it.
    op.eval(unsafe { super::avx2::Avx2::new() })
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    #[cfg(feature = "std")]
    return std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(feature = "std"))]
    return cfg!(target_feature = "avx512f");
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn run_avx512<O: Op, const FAR_STREAMS: bool, const IN_HALVES: bool>(op: O) -> O::Output {
    // SAFETY: this function is compiled for AVX-512 F, so whoever called it had it.
    op.eval(unsafe { Avx512::<FAR_STREAMS, IN_HALVES>::new() })
}

/// A backend that this machine or this build does not have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendError {
    name: String,
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no backend {:?} on this machine; choose auto", self.name)?;
        Backend::available().iter().try_for_each(|b| write!(f, ", {}", b.name()))
    }
}

impl core::error::Error for BackendError {}

#[cfg(all(test, feature = "std", target_arch = "x86_64", target_os = "linux", not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_list_names_must_be_there() {
        for all_there in ["", "scalar", "scalar,auto"] {
            assert_eq!(Backend::available_with(all_there), Ok(Backend::available()));
        }
        let missing = Backend::available_with("scalar,x87").unwrap_err().to_string();
        assert!(missing.starts_with("no backend \"x87\" on this machine; choose auto, "), "{missing}");
    }

    /// As the system names it.
    #[test]
    fn the_fastest_backend_is_that_of_the_processor() {
        let told = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let first = |name: &str| {
            let line = told.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name)).unwrap();
            line.split(':').nth(1).unwrap().trim()
        };
        let fastest = match (first("vendor_id"), first("cpu family")) {
            ("GenuineIntel", _) if has_avx512() => "x86-avx512-streams",
            ("AuthenticAMD", "25") if has_avx512() => "x86-avx512-halves",
            _ if has_avx512() => "x86-avx512",
            _ if has_avx2() => "x86-avx2",
            _ => "scalar",
        };
        assert_eq!(Backend::detect().name(), fastest);
        let mut names: Vec<_> = Backend::available().into_iter().map(Backend::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Backend::available().len());
    }
}
