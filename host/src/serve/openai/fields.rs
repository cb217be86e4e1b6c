//! The fields of a request's JSON object, taken one by one: what is left at the end is refused by name.

use std::fmt;

use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::map::Entry;
use serde_json::{Map, Value};

use crate::serve::api_error::{ApiError, shown};

/// The fields that nobody has taken yet. Those that are null are as good as absent.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// If it is no JSON object in UTF-8, or an object has a name twice: which value is meant, nobody knows.
    pub fn parse(body: &[u8]) -> Result<Fields, ApiError> {
        if let Err(error) = std::str::from_utf8(body) {
            return Err(ApiError::json(format_args!("the body is not UTF-8 from byte {} on", error.valid_up_to() + 1)));
        }
        match serde_json::from_slice(body) {
            Ok(Unambiguous(Value::Object(fields))) => Ok(Fields::new(fields)),
            Ok(_) => Err(ApiError::json("the body is no JSON object, like {\"prompt\":\"Once upon a time\"}")),
            Err(error) if error.is_data() => Err(ApiError::json(format_args!("the body: {error}"))),
            Err(error) => Err(ApiError::json(format_args!("the body is not JSON: {error}"))),
        }
    }

    /// The fields of an object.
    pub fn new(mut fields: Map<String, Value>) -> Fields {
        fields.retain(|_, value| !value.is_null());
        Fields(fields)
    }

    /// The value of a field, where it has one.
    pub fn value(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// The value of a field as a `T`, which is `wanted` in words.
    ///
    /// # Errors
    /// If it is something else.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str, wanted: &str) -> Result<Option<T>, ApiError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let refused =
            || ApiError::invalid(name, format_args!("{name} is {}: give {wanted}", shown(&value.to_string())));
        T::deserialize(&value).map(Some).map_err(|_| refused())
    }

    /// A number, of which nothing is lost.
    ///
    /// # Errors
    /// If it is something else.
    pub fn number(&mut self, name: &str) -> Result<Option<f64>, ApiError> {
        self.take(name, "a number")
    }

    /// An integer from `least` to `most`.
    ///
    /// # Errors
    /// If it is something else.
    pub fn integer(&mut self, name: &str, least: usize, most: usize) -> Result<Option<usize>, ApiError> {
        let wanted = match most {
            usize::MAX => format!("an integer from {least} on"),
            most => format!("an integer from {least} to {most}"),
        };
        match self.take(name, &wanted)? {
            Some(value) if !(least..=most).contains(&value) => {
                Err(ApiError::invalid(name, format_args!("{name} is {value}: give {wanted}")))
            }
            value => Ok(value),
        }
    }

    /// Whether a switch is on; absent is off.
    ///
    /// # Errors
    /// If it is something else than true or false.
    pub fn switch(&mut self, name: &str) -> Result<bool, ApiError> {
        Ok(self.take(name, "true or false")?.unwrap_or(false))
    }

    /// Drops fields that change nothing, whatever they are.
    pub fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.0.remove(*name);
        }
    }

    /// Drops a field that changes nothing as long as it has one of these values.
    ///
    /// # Errors
    /// If it has another one.
    pub fn only(&mut self, name: &str, values: &[Value]) -> Result<(), ApiError> {
        match self.value(name) {
            Some(value) if !values.contains(&value) => {
                let value = shown(&value.to_string());
                Err(ApiError::unsupported(name, format_args!("{name} {value} is not supported: leave it out")))
            }
            _ => Ok(()),
        }
    }

    /// The end: nothing may be left.
    ///
    /// # Errors
    /// The name of the first field that is; `place` is what it is a field of, with a dot, or empty.
    pub fn end(self, place: &str) -> Result<(), ApiError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                let name = format!("{place}{name}");
                let message =
                    format_args!("{} is not supported, and may change the result: leave it out", shown(&name));
                Err(ApiError::unsupported(&name, message))
            }
        }
    }
}

/// A value in which no object has a name twice.
struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unambiguous, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(Unambiguous(value)) = items.next_element()? {
                    values.push(value);
                }
                Ok(Value::Array(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
                let mut values = Map::new();
                while let Some((name, Unambiguous(value))) = members.next_entry::<String, _>()? {
                    match values.entry(name) {
                        Entry::Vacant(place) => drop(place.insert(value)),
                        Entry::Occupied(taken) => {
                            return Err(A::Error::custom(format_args!("{:?} is there twice", shown(taken.key()))));
                        }
                    }
                }
                Ok(Value::Object(values))
            }
        }

        deserializer.deserialize_any(Any).map(Unambiguous)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn null_is_as_good_as_absent_and_what_is_left_is_refused() {
        let mut some = fields(r#"{"a":null,"b":1,"c":true,"d":"x","e":0.5}"#);
        assert_eq!((some.integer("a", 1, 2), some.integer("b", 1, 2)), (Ok(None), Ok(Some(1))));
        assert_eq!((some.switch("c"), some.switch("none"), some.number("e")), (Ok(true), Ok(false), Ok(Some(0.5))));
        let error = some.end("x.").unwrap_err().to_string();
        assert!(error.starts_with("x.d is not supported"), "{error}");
        assert_eq!(fields(r#"{"b":null}"#).end(""), Ok(()));
    }

    #[test]
    fn values_of_other_types_and_ranges_are_refused_with_what_to_give() {
        for (json, words) in [
            (r#"{"n":0}"#, "n is 0: give an integer from 1 to 9"),
            (r#"{"n":10}"#, "n is 10: give an integer from 1 to 9"),
            (r#"{"n":1.0}"#, "n is 1.0: give an integer from 1 to 9"),
            (r#"{"n":-1}"#, "n is -1: give an integer from 1 to 9"),
            (r#"{"n":"1"}"#, "n is \"1\": give an integer from 1 to 9"),
            (r#"{"n":[[]]}"#, "n is [[]]: give an integer from 1 to 9"),
        ] {
            assert_eq!(fields(json).integer("n", 1, 9).unwrap_err().to_string(), words);
        }
        assert!(fields(r#"{"s":0}"#).switch("s").is_err());
    }

    #[test]
    fn defaults_change_nothing() {
        let default = [json!({ "type": "text" })];
        assert_eq!(fields(r#"{"f":{"type":"text"}}"#).only("f", &default), Ok(()));
        assert_eq!(fields("{}").only("f", &default), Ok(()));
        let error = fields(r#"{"f":{"type":"json_object"}}"#).only("f", &default).unwrap_err().to_string();
        assert_eq!(error, "f {\"type\":\"json_object\"} is not supported: leave it out");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let deep = "[".repeat(100_000);
        for (body, words) in [
            (&b""[..], "not JSON"),
            (b"[]", "no JSON object"),
            (b"{\"a\":1", "not JSON"),
            (b"{\"a\":\"\xff\"}", "not UTF-8 from byte 7 on"),
            (b"{\"a\":\"\\ud800\"}", "not JSON"),
            (b"{\"a\":1e999}", "not JSON"),
            (deep.as_bytes(), "not JSON"),
            (br#"{"a":1,"b":2,"a":1}"#, "\"a\" is there twice"),
            (br#"{"a":1,"a":null}"#, "\"a\" is there twice"),
            (br#"{"a":[{"b":{"5":1,"5":1}}]}"#, "\"5\" is there twice"),
        ] {
            let error = Fields::parse(body).err().unwrap().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
