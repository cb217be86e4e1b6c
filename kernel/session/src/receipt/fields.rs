//! How numbers and digests are written in a receipt: as strings of a fixed form, which have one spelling each.

use kernel::transcript::Sha256Digest;
use loader::digest::{from_hex, hex};
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hex<const N: usize>(pub [u8; N]);

/// A SHA-256 digest, in 64 digits.
pub type Digest = Hex<32>;
/// The bits of a binary32 value, the highest first, in 8 digits.
pub type Bits32 = Hex<4>;
/// The bits of a binary64 value, the highest first, in 16 digits.
pub type Bits64 = Hex<8>;

/// A number of 64 bits in decimal digits: as a number of JSON it would not be exact everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decimal(pub u64);

impl<const N: usize> Hex<N> {
    /// The bytes that the text stands for.
    pub fn parse(text: &str) -> Option<Hex<N>> {
        from_hex(text).map(Hex)
    }

    /// The digits.
    pub fn digits(&self) -> String {
        hex(&self.0)
    }
}

impl From<Sha256Digest> for Digest {
    fn from(digest: Sha256Digest) -> Digest {
        Hex(digest)
    }
}

impl From<f32> for Bits32 {
    fn from(value: f32) -> Bits32 {
        Hex(value.to_bits().to_be_bytes())
    }
}

impl From<f64> for Bits64 {
    fn from(value: f64) -> Bits64 {
        Hex(value.to_bits().to_be_bytes())
    }
}

impl Bits32 {
    /// The value.
    pub fn value(self) -> f32 {
        f32::from_bits(u32::from_be_bytes(self.0))
    }
}

impl Bits64 {
    /// The value.
    pub fn value(self) -> f64 {
        f64::from_bits(u64::from_be_bytes(self.0))
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.digits())
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hex<N>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wanted = format!("{} lower-case hexadecimal digits", 2 * N);
        Hex::parse(&text).ok_or_else(|| D::Error::invalid_value(unexpected(&text), &wanted.as_str()))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
        let text = String::deserialize(deserializer)?;
        let value = text.parse().ok().map(Decimal).filter(|value| value.0.to_string() == text);
        value.ok_or_else(|| D::Error::invalid_value(unexpected(&text), &"the digits of a number below 2^64"))
    }
}

/// The text as an error shows it: whoever made it decides its length.
fn unexpected(text: &str) -> Unexpected<'_> {
    if text.len() <= 100 { Unexpected::Str(text) } else { Unexpected::Other("a long string") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_spelling() {
        let decimal = |text: &str| serde_json::from_str::<Decimal>(text);
        assert_eq!(decimal("\"18446744073709551615\"").unwrap(), Decimal(u64::MAX));
        for wrong in
            ["\"01\"", "\"+1\"", "\"\"", "\"-0\"", "\"18446744073709551616\"", "1", "\" 1\"", "\"1e2\"", "null"]
        {
            assert!(decimal(wrong).is_err(), "{wrong}");
        }
        let bits = |text: &str| serde_json::from_str::<Bits32>(text);
        assert_eq!(bits("\"3f800000\"").unwrap().value(), 1.0);
        for wrong in [
            "\"3F800000\"",
            "\"3f80000\"",
            "\"3f8000000\"",
            "\"3f80000g\"",
            "1065353216",
            "\"0x3f8000\"",
            "\"é3f80000\"",
        ] {
            assert!(bits(wrong).is_err(), "{wrong}");
        }
        assert_eq!(serde_json::to_string(&Bits64::from(-2.0)).unwrap(), "\"c000000000000000\"");
        assert_eq!(serde_json::to_string(&Decimal(7)).unwrap(), "\"7\"");
    }

    #[test]
    fn an_error_does_not_repeat_what_is_long() {
        let error = serde_json::from_str::<Decimal>(&format!("\"{}\"", "9".repeat(100_000))).unwrap_err();
        assert!(error.to_string().len() < 200);
    }
}
