//! How GGUF stores the elements of tensors, and their exact values in binary32.
//!
//! The block formats follow `ggml-common.h` and the reference routines of `ggml-quants.c`: a product is rounded before
//! the sum is, nothing is fused.

/// Elements of one block of the quantised types.
const BLOCK: usize = 32;

/// How a tensor's elements are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorType {
    /// binary32.
    F32,
    /// binary16.
    F16,
    /// The upper half of binary32.
    Bf16,
    /// Blocks of 32: f16 `d`, 4 bits `q` each; the value is `d * (q - 8)`.
    Q4_0,
    /// Blocks of 32: f16 `d`, f16 `m`, 4 bits `q` each; the value is `d * q + m`.
    Q4_1,
    /// Blocks of 32: f16 `d`, 8 signed bits `q` each; the value is `d * q`.
    Q8_0,
}

impl TensorType {
    pub(super) fn from_code(code: u32) -> Option<TensorType> {
        Some(match code {
            0 => TensorType::F32,
            1 => TensorType::F16,
            2 => TensorType::Q4_0,
            3 => TensorType::Q4_1,
            8 => TensorType::Q8_0,
            30 => TensorType::Bf16,
            _ => return None,
        })
    }

    /// Elements of one block; rows are whole blocks.
    pub fn block_len(self) -> usize {
        match self {
            TensorType::F32 | TensorType::F16 | TensorType::Bf16 => 1,
            TensorType::Q4_0 | TensorType::Q4_1 | TensorType::Q8_0 => BLOCK,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            TensorType::F32 => 4,
            TensorType::F16 | TensorType::Bf16 => 2,
            TensorType::Q4_0 => 2 + BLOCK / 2,
            TensorType::Q4_1 => 4 + BLOCK / 2,
            TensorType::Q8_0 => 2 + BLOCK,
        }
    }

    /// The elements stored in `bytes`, which are whole blocks.
    pub(super) fn dequantise(self, bytes: &[u8]) -> Vec<f32> {
        let blocks = bytes.chunks_exact(self.block_bytes());
        let mut values = Vec::with_capacity(blocks.len() * self.block_len());
        for block in blocks {
            match self {
                TensorType::F32 => values.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]])),
                TensorType::F16 => values.push(f16_at(block, 0)),
                TensorType::Bf16 => values.push(f32::from_le_bytes([0, 0, block[0], block[1]])),
                TensorType::Q4_0 => {
                    let d = f16_at(block, 0);
                    values.extend(nibbles(&block[2..]).map(|q| d * (f32::from(q) - 8.0)));
                }
                TensorType::Q4_1 => {
                    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
                    values.extend(nibbles(&block[4..]).map(|q| d * f32::from(q) + m));
                }
                TensorType::Q8_0 => {
                    let d = f16_at(block, 0);
                    values.extend(block[2..].iter().map(|&q| d * f32::from(q.cast_signed())));
                }
            }
        }
        values
    }
}

/// The lower halves of all bytes, then the upper halves.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

fn f16_at(block: &[u8], at: usize) -> f32 {
    widen_f16(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// The value of a binary16 in binary32, which holds all of them exactly.
fn widen_f16(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let exponent = u32::from(half >> 10 & 0x1f);
    let mantissa = u32::from(half & 0x3ff);
    let magnitude = match exponent {
        // Zero and subnormals: a small integer times 2^-24, exact in binary32.
        0 => (mantissa as f32 * f32::from_bits((127 - 24) << 23)).to_bits(),
        31 => 0x7f80_0000 | mantissa << 13,
        _ => (exponent + 127 - 15) << 23 | mantissa << 13,
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_binary16_has_the_value_of_its_definition() {
        // `powi` promises no bits.
        let power = |exponent: i32| f64::from_bits(u64::try_from(1023 + exponent).unwrap() << 52);
        for half in 0..=u16::MAX {
            let (exponent, mantissa) = (i32::from(half >> 10 & 31), f64::from(half & 0x3ff));
            let magnitude = match exponent {
                0 => mantissa * power(-24),
                31 if mantissa == 0.0 => f64::INFINITY,
                31 => f64::NAN,
                _ => (1024.0 + mantissa) * power(exponent - 25),
            };
            let value = if half >> 15 == 1 { -magnitude } else { magnitude };
            let widened = widen_f16(half);
            assert_eq!(f64::from(widened).is_nan(), value.is_nan(), "{half:#06x}");
            assert!(value.is_nan() || f64::from(widened) == value, "{half:#06x}: {widened} is not {value}");
            assert_eq!(widened.is_sign_negative(), half >> 15 == 1, "{half:#06x}");
        }
    }

    #[test]
    fn blocks_hold_the_low_halves_first() {
        let q: Vec<u8> = (0..16).map(|i| i | (15 - i) << 4).collect();
        let expected = |f: &dyn Fn(f32) -> f32| -> Vec<f32> {
            (0..16).chain((0..16).rev()).map(|q: u8| f(f32::from(q))).collect()
        };
        // 0x3800 is 0.5 and 0xc000 is -2.
        let q4_0 = [&[0x00, 0x38], &q[..]].concat();
        assert_eq!(TensorType::Q4_0.dequantise(&q4_0), expected(&|q| (q - 8.0) / 2.0));
        let q4_1 = [&[0x00, 0x38, 0x00, 0xc0], &q[..]].concat();
        assert_eq!(TensorType::Q4_1.dequantise(&q4_1), expected(&|q| q / 2.0 - 2.0));
    }

    #[test]
    fn q8_0_is_signed_and_plain_types_widen() {
        let mut q8_0 = vec![0x00, 0x38];
        q8_0.extend((0..32).map(|i: i8| (i - 16).cast_unsigned()));
        let expected: Vec<f32> = (0..32).map(|i: i8| f32::from(i - 16) / 2.0).collect();
        assert_eq!(TensorType::Q8_0.dequantise(&q8_0), expected);
        assert_eq!(TensorType::Bf16.dequantise(&[0x80, 0x3f, 0x00, 0xc0]), [1.0, -2.0]);
        assert_eq!(TensorType::F16.dequantise(&[0x00, 0x3c, 0x00, 0xc0]), [1.0, -2.0]);
        assert_eq!(TensorType::F32.dequantise(&1.5f32.to_le_bytes()), [1.5]);
    }
}
