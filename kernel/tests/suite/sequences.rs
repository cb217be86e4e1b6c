//! What docs/numerics.md prints is what this crate has: the sequences of `sin`, `cos` and `pow`, whose code is the `libm` crate's.
//! (`vectors/tiny.rs` compares the golden values.)

use crate::inputs::Numbers;

#[test]
fn n8_sin_and_cos_are_the_sequence_of_the_page() {
    // Every argument below the bound was found equal once, which takes half a minute; 0x40406406 alone needs `n * p`.
    for bits in (0..0x4dc9_0fdb_u32).step_by(8191).chain(0x4040_6400..0x4040_6410) {
        let x = f32::from_bits(bits);
        let (sin, cos) = sin_cos(x);
        assert_eq!(sin.to_bits(), libm::sinf(x).to_bits(), "sin({x:e})");
        assert_eq!(cos.to_bits(), libm::cosf(x).to_bits(), "cos({x:e})");
    }
}

#[test]
fn n8_pow_is_the_sequence_of_the_page() {
    let check = |x: f32, y: f32| assert_eq!(pow(x, y).to_bits(), libm::powf(x, y).to_bits(), "pow({x:e}, {y:e})");
    for (theta, head_dim) in [(1e4, 10), (1e5, 64), (5e5, 128), (1e6, 128), (1.0, 8)] {
        (0..head_dim).step_by(2).for_each(|i| check(theta, i as f32 / head_dim as f32));
    }
    let mut numbers = Numbers::new(8);
    for _ in 0..100_000 {
        let bits = 0x0080_0000 + numbers.word() % 0x7f00_0000;
        check(f32::from_bits(bits), (numbers.word() >> 8) as f32 / (1 << 24) as f32);
    }
}

/// The page's sin and cos.
fn sin_cos(x: f32) -> (f32, f32) {
    let [inv, p, p_high, p_low, s0, s1, s2, s3, c0, c1, c2, c3] = [
        0x3fe4_5f30_6dc9_c883,
        0x3ff9_21fb_5444_2d18,
        0x3ff9_21fb_5000_0000,
        0x3e51_10b4_611a_6263,
        0xbfc5_5555_54cb_ac77,
        0x3f81_1110_896e_fbb2,
        0xbf2a_00f9_e2ca_e774,
        0x3ec6_cd87_8c3b_46a7,
        0xbfdf_ffff_fd0c_5e81,
        0x3fa5_5553_e105_3a42,
        0xbf56_c087_e80f_1e27,
        0x3ef9_9342_e0ee_5069,
    ]
    .map(f64::from_bits);
    let x = f64::from(x);
    let n = (x * inv).round_ties_even();
    let r = if n <= 4.0 { x - n * p } else { (x - n * p_high) - n * p_low };
    let z = r * r;
    let w = z * z;
    let v = z * r;
    let s = ((r + v * (s0 + z * s1)) + (v * w) * (s2 + z * s3)) as f32;
    let c = (((1.0 + z * c0) + w * c1) + (w * z) * (c2 + z * c3)) as f32;
    match n as u64 % 4 {
        0 => (s, c),
        1 => (c, -s),
        2 => (-s, -c),
        _ => (-c, s),
    }
}

/// The page's pow.
fn pow(x: f32, y: f32) -> f32 {
    let [l1, l2, l3, l4, l5, l6] =
        [0x3f19_999a, 0x3edb_6db7, 0x3eaa_aaab, 0x3e8b_a305, 0x3e6c_3255, 0x3e53_f142].map(f32::from_bits);
    let [cp, cp_high, cp_low] = [0x3f76_384f, 0x3f76_4000, 0xb8f6_23c6].map(f32::from_bits);
    let [p1, p2, p3, p4, p5] = [0x3e2a_aaab, 0xbb36_0b61, 0x388a_b355, 0xb5dd_ea0e, 0x3331_bb4c].map(f32::from_bits);
    let [ln2, ln2_high, ln2_low] = [0x3f31_7218, 0x3f31_7200, 0x35bf_be8c].map(f32::from_bits);
    // The first `kept` significant bits of a sum, which binary64 holds exactly.
    let cut = |v: f64, kept: u32| f64::from_bits(v.to_bits() & (u64::MAX << (53 - kept))) as f32;
    let cut12 = |v: f32| cut(f64::from(v), 12);

    if y == 0.0 || x == 1.0 {
        return 1.0;
    }
    if y == 0.5 {
        return x.sqrt();
    }
    let (mut a, mut n) = (f32::from_bits((x.to_bits() % (1 << 23)) | 0x3f80_0000), (x.to_bits() >> 23) as f32 - 127.0);
    if a.to_bits() >= 0x3fdd_b3d7 {
        (a, n) = (a / 2.0, n + 1.0);
    }
    let (b, d_high, d_low) = if a.to_bits() <= 0x3f9c_c471 {
        (1.0, 0.0, 0.0)
    } else {
        (1.5, f32::from_bits(0x3f15_c000), f32::from_bits(0x35d1_cfdc))
    };
    let u = a - b;
    let v = 1.0 / (a + b);
    let s = u * v;
    let s_high = cut12(s);
    let t_high = cut(f64::from(a) + f64::from(b), 12);
    let t_low = a - (t_high - b);
    let s_low = v * ((u - s_high * t_high) - s_high * t_low);
    let q = s * s;
    let r = (q * q) * (l1 + q * (l2 + q * (l3 + q * (l4 + q * (l5 + q * l6))))) + s_low * (s_high + s);
    let q = s_high * s_high;
    let t_high = cut12((3.0 + q) + r);
    let t_low = r - ((t_high - 3.0) - q);
    let u = s_high * t_high;
    let v = s_low * t_high + t_low * s;
    let p_high = cut12(u + v);
    let p_low = v - (p_high - u);
    let z_high = cp_high * p_high;
    let z_low = (cp_low * p_high + p_low * cp) + d_low;
    let t_high = cut12(((z_high + z_low) + d_high) + n);
    let t_low = z_low - (((t_high - n) - d_high) - z_high);
    let y_high = cut12(y);
    let p_high = y_high * t_high;
    let p_low = (y - y_high) * t_high + y * t_low;
    let z = p_low + p_high;
    let k = if z.abs() <= 0.5 { 0.0 } else { z.round() };
    let p_high = p_high - k;
    let t = cut(f64::from(p_low + p_high), 9);
    let u = t * ln2_high;
    let v = (p_low - (t - p_high)) * ln2 + t * ln2_low;
    let z = u + v;
    let w = v - (z - u);
    let q = z * z;
    let r = z - q * (p1 + q * (p2 + q * (p3 + q * (p4 + q * p5))));
    let result = 1.0 - (((z * r) / (r - 2.0) - (w + z * w)) - z);
    // Exact in binary64, then rounded once.
    (f64::from(result) * 2.0_f64.powi(k as i32)) as f32
}
