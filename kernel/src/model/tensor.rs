//! Tensors over bytes that somebody else owns: a mapped file, a downloaded buffer.

use crate::ops::Weights;
use crate::simd::Bf16;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DType {
    /// binary32
    F32,
    /// bfloat16: the upper half of a binary32
    Bf16,
    /// binary16
    F16,
}

impl DType {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::Bf16 | DType::F16 => 2,
        }
    }
}

/// A range of bytes of a shared owner, which is kept alive.
#[derive(Clone)]
pub struct SharedBytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl SharedBytes {
    /// The bytes `range` of `owner`; none if they are not inside.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Option<SharedBytes> {
        (*owner).as_ref().get(range.clone())?;
        Some(SharedBytes { owner, range })
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    fn bytes(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> SharedBytes {
        let range = 0..bytes.len();
        SharedBytes { owner: Arc::new(bytes), range }
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedBytes({:?})", self.range)
    }
}

/// A tensor as a file has it: little-endian numbers, row-major.
#[derive(Clone, Debug)]
pub struct RawTensor {
    /// How the numbers are stored.
    pub dtype: DType,
    /// The size of every axis, the outermost first.
    pub shape: Vec<usize>,
    /// The numbers.
    pub bytes: SharedBytes,
}

impl RawTensor {
    /// A tensor of binary32 values.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> RawTensor {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        RawTensor { dtype: DType::F32, shape, bytes: bytes.into() }
    }
}

/// A tensor ready for the operators.
///
/// Numbers that lie in memory as the machine wants them are used where they are. Others are copied once: on a big-endian
/// machine, at an odd address, or stored as binary16, which is widened (N1).
#[derive(Clone, Debug)]
pub struct Tensor(Storage);

#[derive(Clone, Debug)]
enum Storage {
    SharedF32(SharedBytes),
    SharedBf16(SharedBytes),
    OwnedF32(Vec<f32>),
    OwnedBf16(Vec<Bf16>),
}

impl Tensor {
    /// A tensor over `bytes`, whose length is a multiple of the size of a number.
    pub(super) fn new(dtype: DType, bytes: SharedBytes) -> Tensor {
        let raw = bytes.bytes();
        let native = cfg!(target_endian = "little");
        Tensor(match dtype {
            DType::F32 if native && bytemuck::try_cast_slice::<u8, f32>(raw).is_ok() => Storage::SharedF32(bytes),
            DType::Bf16 if native && bytemuck::try_cast_slice::<u8, Bf16>(raw).is_ok() => Storage::SharedBf16(bytes),
            DType::F32 => Storage::OwnedF32(raw.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            DType::Bf16 => Storage::OwnedBf16(raw.as_chunks().0.iter().map(|b| Bf16(u16::from_le_bytes(*b))).collect()),
            DType::F16 => {
                Storage::OwnedF32(raw.as_chunks().0.iter().map(|b| widen_f16(u16::from_le_bytes(*b))).collect())
            }
        })
    }

    /// The tensor in binary32 of its own, as a trainer needs it; widening is exact (N1).
    pub(crate) fn to_owned_f32(&self) -> Tensor {
        Tensor(Storage::OwnedF32(self.weights().widened().into_owned()))
    }

    /// The numbers of a tensor of [`Tensor::to_owned_f32`].
    ///
    /// # Panics
    /// If it is any other.
    pub(crate) fn into_f32(self) -> Vec<f32> {
        match self.0 {
            Storage::OwnedF32(values) => values,
            _ => panic!("tensor: these numbers are not binary32 of its own"),
        }
    }

    /// Changes the numbers of a tensor of [`Tensor::to_owned_f32`].
    ///
    /// # Panics
    /// If it is any other.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut [f32])) {
        match &mut self.0 {
            Storage::OwnedF32(values) => change(values),
            _ => panic!("tensor: only a trainer's own weights can be changed"),
        }
    }

    /// The numbers, row-major.
    pub fn weights(&self) -> Weights<'_> {
        match &self.0 {
            Storage::SharedF32(bytes) => Weights::F32(bytemuck::cast_slice(bytes.bytes())),
            Storage::SharedBf16(bytes) => Weights::Bf16(bytemuck::cast_slice(bytes.bytes())),
            Storage::OwnedF32(values) => Weights::F32(values),
            Storage::OwnedBf16(values) => Weights::Bf16(values),
        }
    }
}

/// A binary16 number as binary32, which is exact.
fn widen_f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => (fraction as f32 * f32::from_bits(0x3380_0000)).to_bits(), // fraction * 2^-24
        0x1f => 0x7f80_0000 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn shared(bytes: Vec<u8>, range: Range<usize>) -> SharedBytes {
        SharedBytes::new(Arc::new(bytes), range).unwrap()
    }

    #[test]
    fn a_range_outside_its_owner_is_refused() {
        assert!(SharedBytes::new(Arc::new(vec![0_u8; 8]), 4..9).is_none());
    }

    #[test]
    fn numbers_at_any_address_are_read() {
        let values = [1.0_f32, -2.5, f32::MIN_POSITIVE / 4.0];
        for shift in 0..4 {
            let mut bytes = vec![0; shift];
            bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            let tensor = Tensor::new(DType::F32, shared(bytes, shift..shift + 12));
            assert!(matches!(tensor.weights(), Weights::F32(w) if w == values));
            let mut bytes = vec![0; shift];
            bytes.extend([0x3f80_u16, 0xc020].iter().flat_map(|v| v.to_le_bytes()));
            let tensor = Tensor::new(DType::Bf16, shared(bytes, shift..shift + 4));
            assert!(matches!(tensor.weights(), Weights::Bf16(w) if w == [Bf16(0x3f80), Bf16(0xc020)]));
        }
    }

    /// Every binary16 number, against its definition in binary64.
    #[test]
    fn n1_binary16_widens_exactly() {
        for bits in 0..=u16::MAX {
            let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
            let magnitude = match exponent {
                0 => fraction * libm::scalbn(1.0, -24),
                31 if fraction == 0.0 => f64::INFINITY,
                31 => f64::NAN,
                _ => (1.0 + fraction / 1024.0) * libm::scalbn(1.0, exponent - 15),
            };
            let expected = if bits >> 15 == 1 { -magnitude } else { magnitude };
            let got = f64::from(widen_f16(bits));
            assert!(got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan()), "{bits:#06x}: {got}");
        }
    }
}
