//! JSON objects that are nothing else.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A struct that is written as a JSON object. Serde alone would take an array of its members as well: `["user","Hi"]` for
/// `{"role":"user","content":"Hi"}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object<T>(
    /// What was read.
    pub T,
);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, PartialEq, Debug)]
    #[serde(deny_unknown_fields)]
    struct Turn {
        role: String,
        content: Option<String>,
    }

    #[test]
    fn an_object_is_read_and_an_array_of_its_members_is_not() {
        let read = |json: &str| serde_json::from_str::<Object<Turn>>(json).map_err(|error| error.to_string());
        assert_eq!(read(r#"{"role":"user"}"#), Ok(Object(Turn { role: "user".to_string(), content: None })));
        for (wrong, word) in [
            (r#"["user","Hi"]"#, "a JSON object"),
            ("7", "a JSON object"),
            (r#"{"role":"user","role":"user"}"#, "duplicate field"),
            (r#"{"role":"user","name":"x"}"#, "unknown field"),
            ("{}", "missing field"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(word) && error.contains("line 1 column"), "{wrong}: {error}");
        }
    }
}
