//! The element types of safetensors files.

use std::fmt;

macro_rules! dtypes {
    ($($variant:ident $name:literal $bits:literal $doc:literal;)*) => {
        /// The type of a tensor's elements, as safetensors names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DType { $(#[doc = $doc] $variant,)* }

        impl DType {
            /// The word that safetensors headers use, such as `BF16`.
            pub fn name(self) -> &'static str {
                match self { $(DType::$variant => $name,)* }
            }

            /// The type of that word, if there is one.
            pub fn from_name(name: &str) -> Option<DType> {
                match name { $($name => Some(DType::$variant),)* _ => None }
            }

            /// Bits of one element; not always a multiple of 8.
            pub fn bits(self) -> u64 {
                match self { $(DType::$variant => $bits,)* }
            }
        }
    };
}

dtypes! {
    Bool "BOOL" 8 "A byte that is 0 or 1.";
    F4 "F4" 4 "MXFP4.";
    F6E2M3 "F6_E2M3" 6 "MXFP6 with 2 exponent bits.";
    F6E3M2 "F6_E3M2" 6 "MXFP6 with 3 exponent bits.";
    U8 "U8" 8 "Unsigned byte.";
    I8 "I8" 8 "Signed byte.";
    F8E5M2 "F8_E5M2" 8 "FP8 with 5 exponent bits.";
    F8E4M3 "F8_E4M3" 8 "FP8 with 4 exponent bits.";
    F8E8M0 "F8_E8M0" 8 "FP8 that holds only an exponent.";
    F8E4M3Fnuz "F8_E4M3FNUZ" 8 "FP8 with 4 exponent bits, no infinities, one zero.";
    F8E5M2Fnuz "F8_E5M2FNUZ" 8 "FP8 with 5 exponent bits, no infinities, one zero.";
    I16 "I16" 16 "Signed 16 bits.";
    U16 "U16" 16 "Unsigned 16 bits.";
    F16 "F16" 16 "IEEE-754 binary16.";
    Bf16 "BF16" 16 "The upper half of binary32.";
    I32 "I32" 32 "Signed 32 bits.";
    U32 "U32" 32 "Unsigned 32 bits.";
    F32 "F32" 32 "IEEE-754 binary32.";
    C64 "C64" 64 "Two binary32 numbers: real, imaginary.";
    F64 "F64" 64 "IEEE-754 binary64.";
    I64 "I64" 64 "Signed 64 bits.";
    U64 "U64" 64 "Unsigned 64 bits.";
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The bfloat16 nearest to `value`, of two the even one; a NaN stays one.
pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    // Adds half of the last place kept, less one where that place is even: a carry may run into the exponent.
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::to_bf16;

    #[test]
    fn bf16_is_the_nearest_and_even_between_two() {
        for (bits, expected) in [
            (0x3f80_0000, 0x3f80),
            (0x3f80_7fff, 0x3f80),
            (0x3f80_8000, 0x3f80),
            (0x3f80_8001, 0x3f81),
            (0x3f81_8000, 0x3f82),
            (0xbf81_8000, 0xbf82),
            (0x8000_0000, 0x8000),
            (0x0000_8001, 0x0001),
            (0x7f7f_ffff, 0x7f80),
            (0xff80_0000, 0xff80),
        ] {
            assert_eq!(to_bf16(f32::from_bits(bits)), expected, "{bits:08x}");
        }
        assert!(f32::from_bits(u32::from(to_bf16(f32::from_bits(0x7f80_0001))) << 16).is_nan());
    }
}
