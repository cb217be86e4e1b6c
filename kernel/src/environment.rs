//! The floating-point environment that the contract needs (N1).

use core::fmt;
use core::hint::black_box;

/// What is wrong with the floating-point environment of a thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnvironmentError {
    /// Subnormal numbers are read or written as zero.
    SubnormalsFlushed,
    /// Results are not rounded to the nearest even value.
    Rounding,
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SubnormalsFlushed => f.write_str(
                "this thread flushes subnormal numbers to zero, which changes results; \
                 clear the flush-to-zero and denormals-are-zero flags before computing",
            ),
            Self::Rounding => f.write_str(
                "this thread does not round to the nearest even value, which changes results; \
                 restore the default rounding mode before computing",
            ),
        }
    }
}

impl core::error::Error for EnvironmentError {}

/// Checks that this thread keeps subnormals and rounds to nearest even (N1); every compute thread calls it at start.
///
/// # Errors
/// If it does not: its results would differ from everyone else's.
pub fn check() -> Result<(), EnvironmentError> {
    let smallest_normal = black_box(f32::MIN_POSITIVE);
    let written = black_box(smallest_normal * black_box(0.5));
    let read = black_box(f32::from_bits(1)) * black_box(f32::from_bits(0x4b80_0000)); // 2^-149 * 2^24
    if written.to_bits() != 0x0040_0000 || read.to_bits() != 0x0100_0000 {
        return Err(EnvironmentError::SubnormalsFlushed);
    }
    let half_ulp = black_box(f32::EPSILON * 0.5);
    let one_ulp = black_box(1.0 + f32::EPSILON);
    let to_even = black_box(1.0) + half_ulp == 1.0 && one_ulp + half_ulp == 1.0 + 2.0 * f32::EPSILON;
    let symmetric = black_box(-1.0) - half_ulp == -1.0 && -one_ulp - half_ulp == -1.0 - 2.0 * f32::EPSILON;
    if to_even && symmetric { Ok(()) } else { Err(EnvironmentError::Rounding) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_thread_is_fit() {
        assert_eq!(check(), Ok(()));
    }

    /// Runs `f` with bits of the x86 control register set.
    #[cfg(target_arch = "x86_64")]
    fn with_control(bits: u32, f: impl FnOnce() -> Result<(), EnvironmentError>) -> Result<(), EnvironmentError> {
        let (mut old, mut new) = (0_u32, 0_u32);
        // SAFETY: both instructions access one u32 each; the register is restored before anything else computes.
        unsafe {
            core::arch::asm!("stmxcsr [{}]", in(reg) &mut old);
            new |= old | bits;
            core::arch::asm!("ldmxcsr [{}]", in(reg) &new);
        }
        let result = f();
        // SAFETY: as above.
        unsafe { core::arch::asm!("ldmxcsr [{}]", in(reg) &old) };
        result
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn n1_flushed_subnormals_and_other_roundings_are_refused() {
        const FLUSH_TO_ZERO: u32 = 1 << 15;
        const DENORMALS_ARE_ZERO: u32 = 1 << 6;
        assert_eq!(with_control(FLUSH_TO_ZERO, check), Err(EnvironmentError::SubnormalsFlushed));
        assert_eq!(with_control(DENORMALS_ARE_ZERO, check), Err(EnvironmentError::SubnormalsFlushed));
        for mode in 1..=3 {
            assert_eq!(with_control(mode << 13, check), Err(EnvironmentError::Rounding));
        }
        assert_eq!(check(), Ok(()));
    }
}
