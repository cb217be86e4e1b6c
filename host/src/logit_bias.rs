//! How a logit bias is written: `ID:BIAS` for each token in flags and queries, an object in JSON.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// What a bias of one token looks like, for whoever wrote something else.
pub const WANTED: &str = "the id of a token, a colon and a number, as 50256:-100 is";

/// Biases of tokens, as many as were written, in their order.
#[derive(Debug)]
pub struct LogitBias(pub Vec<(u32, f64)>);

/// One bias, of the form `ID:BIAS`.
pub fn pair(text: &str) -> Option<(u32, f64)> {
    let (id, bias) = text.split_once(':')?;
    let digits = id.bytes().all(|byte| byte.is_ascii_digit());
    digits.then_some((id.parse().ok()?, bias.parse().ok()?))
}

impl<'de> Deserialize<'de> for LogitBias {
    /// An object with ids as names: `{"50256": -100}`. A name that occurs twice is there twice, and not the last one alone.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LogitBias, D::Error> {
        struct Biases;

        impl<'de> Visitor<'de> for Biases {
            type Value = LogitBias;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of token ids and numbers, as {\"50256\": -100} is")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LogitBias, A::Error> {
                let mut biases = Vec::new();
                while let Some(bias) = map.next_entry()? {
                    biases.push(bias);
                }
                Ok(LogitBias(biases))
            }
        }

        deserializer.deserialize_map(Biases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_is_an_id_and_a_number() {
        assert_eq!(pair("50256:-100"), Some((50256, -100.0)));
        assert_eq!((pair("0:0.5"), pair("4294967295:1e1")), (Some((0, 0.5)), Some((u32::MAX, 10.0))));
        for wrong in ["", "5", ":", "5:", ":5", "+5:1", "-5:1", "5.0:1", "4294967296:1", "5:x", "5:1:2", " 5:1", "5: 1"]
        {
            assert_eq!(pair(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn an_object_has_a_bias_for_each_name() {
        let read = |text: &str| serde_json::from_str::<LogitBias>(text).map(|bias| bias.0);
        assert_eq!(read(r#"{"50256": -100, "3": 0.5}"#).unwrap(), [(50256, -100.0), (3, 0.5)]);
        assert_eq!(read(r#"{"3": 1, "3": 1}"#).unwrap(), [(3, 1.0), (3, 1.0)]);
        assert_eq!(read("{}").unwrap(), []);
        for wrong in [r#"{"x": 1}"#, r#"{"-1": 1}"#, r#"{"4294967296": 1}"#, r#"{"1.5": 1}"#, r#"{"": 1}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for wrong in [r#"{"1": "1"}"#, r#"{"1": null}"#, r#"[[1, 2]]"#, "1", "null", r#"{" 1": 1}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
