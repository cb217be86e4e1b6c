//! The natural logarithm.
//!
//! Method and coefficients: FreeBSD's `e_logf.c` (Sun Microsystems 1993): `x = 2^k (1 + f)` with `1 + f` between
//! sqrt(1/2) and sqrt(2), `s = f / (2 + f)`, `ln(1 + f) = f - f^2 / 2 + s (f^2 / 2 + R(s^2))`. Largest error: 0.9 ULP.
//!
//! Results: -inf for zeros, NaN below, +inf for +inf, NaN for NaN; subnormal arguments are scaled by 2^25 first.

/// The upper bits of ln 2: times an integer below 2^8 it is exact.
const LN_2_HIGH: f32 = f32::from_bits(0x3f31_7180);
/// ln 2 - `LN_2_HIGH`
const LN_2_LOW: f32 = f32::from_bits(0x3717_f7d1);
/// `R(z) = z (c0 + z (c1 + z (c2 + z c3)))`
const C: [f32; 4] = [
    f32::from_bits(0x3f2a_aaaa),
    f32::from_bits(0x3ecc_ce13),
    f32::from_bits(0x3e91_e9ee),
    f32::from_bits(0x3e78_9e26),
];
/// 2^25
const SCALE: f32 = f32::from_bits(0x4c00_0000);

/// The natural logarithm of `x`.
pub(crate) fn ln(x: f32) -> f32 {
    if x.is_nan() || x < 0.0 {
        return f32::NAN;
    }
    if x == 0.0 {
        return f32::NEG_INFINITY;
    }
    if x == f32::INFINITY {
        return x;
    }
    let (x, shift) = if x < f32::MIN_POSITIVE { (x * SCALE, -25) } else { (x, 0) };
    // 0x3f3504f3 is sqrt(1/2): the exponent is counted from there.
    let bits = x.to_bits() + (0x3f80_0000 - 0x3f35_04f3);
    let k = ((bits >> 23) as i32 - 127 + shift) as f32;
    let f = f32::from_bits((bits & 0x007f_ffff) + 0x3f35_04f3) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z * (C[0] + z * (C[1] + z * (C[2] + z * C[3])));
    let half_square = (f * f) * 0.5;
    k * LN_2_HIGH - ((half_square - (s * (half_square + r) + k * LN_2_LOW)) - f)
}

#[cfg(test)]
mod tests {
    use super::ln;

    #[test]
    fn ln_is_within_its_bound_of_the_truth() {
        let mut worst = 0.0_f64;
        for x in (1..0x7f80_0000_u32 / 499).map(|k| f32::from_bits(k * 499)) {
            let (y, truth) = (f64::from(ln(x)), libm::log(f64::from(x)));
            let ulp = libm::exp2(libm::floor(libm::log2(truth.abs().max(1e-30))) - 23.0);
            worst = worst.max((y - truth).abs() / ulp);
        }
        assert!(worst <= 0.9, "{worst} ULP");
        assert!(worst > 0.6, "the documented bound of 0.9 ULP is looser than needed: {worst}");
    }

    #[test]
    fn n8_ln_has_the_documented_special_values() {
        assert_eq!(ln(1.0).to_bits(), 0);
        assert_eq!((ln(0.0), ln(-0.0)), (f32::NEG_INFINITY, f32::NEG_INFINITY));
        assert_eq!(ln(f32::INFINITY), f32::INFINITY);
        assert!(ln(-1.0).is_nan() && ln(f32::NEG_INFINITY).is_nan() && ln(f32::NAN).is_nan());
        assert_eq!(ln(f32::from_bits(1)), -103.278_93);
    }
}
