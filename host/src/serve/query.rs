//! The query of a request, as browsers' `URLSearchParams` and HTML forms write it.

use std::fmt;
use std::str::FromStr;

use kernel::generate::{Sampler, SamplerError, SamplerSettings};
use percent_encoding::percent_decode;
use session::StopError;

use crate::logit_bias::{WANTED, pair};

/// The names and values of a query, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

/// What is wrong with a query.
#[derive(Debug, PartialEq)]
pub enum QueryError {
    /// Some `%xx` are not UTF-8.
    Utf8,
    /// A parameter is not what it should be.
    Value { name: &'static str, value: String, wanted: &'static str },
    /// A parameter of the choice of tokens is out of range.
    Sampler(SamplerError),
    /// A stop string is none.
    Stop(StopError),
    /// Two parameters say the same, in two ways.
    Both(&'static str, &'static str),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueryError::Utf8 => f.write_str("the query's percent-encoding is not UTF-8"),
            QueryError::Value { name, value, wanted } => write!(f, "{name}={value:?}: give {wanted}"),
            QueryError::Sampler(error) => error.fmt(f),
            QueryError::Stop(error) => write!(f, "stop: {error}"),
            QueryError::Both(one, other) => write!(f, "{one} and {other} exclude each other: give one of them"),
        }
    }
}

impl std::error::Error for QueryError {}

impl Query {
    /// Decodes what stands behind the `?`.
    ///
    /// # Errors
    /// If a percent-encoding is not UTF-8.
    pub fn parse(text: &str) -> Result<Query, QueryError> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        pairs.collect::<Result<_, _>>().map(Query)
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All values of `name`, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect()
    }

    /// The value of `name` as an integer of at least 1.
    ///
    /// # Errors
    /// If there is a value and it is not such an integer, in decimal digits.
    pub fn count(&self, name: &'static str) -> Result<Option<usize>, QueryError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        match value.parse() {
            Ok(count) if digits && count >= 1 => Ok(Some(count)),
            _ => Err(QueryError::Value { name, value: value.to_string(), wanted: "an integer of at least 1" }),
        }
    }

    /// How tokens are chosen: `temperature`, `top_k`, `top_p`, `min_p`, `repetition_penalty`, `frequency_penalty`,
    /// `presence_penalty`, `logit_bias` (each time of one token), `seed`; greedily unless told.
    ///
    /// # Errors
    /// If a value is no number, or no bias, or out of its range.
    pub fn sampler(&self) -> Result<Sampler, QueryError> {
        let default = SamplerSettings::default();
        let settings = SamplerSettings {
            temperature: self.number("temperature", "a number")?.unwrap_or(default.temperature),
            top_k: self.number("top_k", "an integer from 0 on")?.unwrap_or(default.top_k),
            top_p: self.number("top_p", "a number")?.unwrap_or(default.top_p),
            min_p: self.number("min_p", "a number")?.unwrap_or(default.min_p),
            repetition_penalty: self.number("repetition_penalty", "a number")?.unwrap_or(default.repetition_penalty),
            frequency_penalty: self.number("frequency_penalty", "a number")?.unwrap_or(default.frequency_penalty),
            presence_penalty: self.number("presence_penalty", "a number")?.unwrap_or(default.presence_penalty),
            logit_bias: self.logit_bias()?,
            seed: self.number("seed", "an integer from 0 on")?.unwrap_or(default.seed),
            stream: default.stream,
        };
        Sampler::new(settings).map_err(QueryError::Sampler)
    }

    fn logit_bias(&self) -> Result<Vec<(u32, f64)>, QueryError> {
        let wrong = |value| QueryError::Value { name: "logit_bias", value, wanted: WANTED };
        self.all("logit_bias").into_iter().map(|value| pair(&value).ok_or(wrong(value))).collect()
    }

    fn number<T: FromStr>(&self, name: &'static str, wanted: &'static str) -> Result<Option<T>, QueryError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let wrong = |_| QueryError::Value { name, value: value.to_string(), wanted };
        value.parse().map(Some).map_err(wrong)
    }

    /// The value of `name` as a switch; absent is off.
    ///
    /// # Errors
    /// If there is a value and it is not one of `1`, `true`, `0`, `false`.
    pub fn switch(&self, name: &'static str) -> Result<bool, QueryError> {
        match self.get(name) {
            Some("1" | "true") => Ok(true),
            None | Some("0" | "false") => Ok(false),
            Some(value) => Err(QueryError::Value { name, value: value.to_string(), wanted: "true or false" }),
        }
    }
}

fn decode(text: &str) -> Result<String, QueryError> {
    let bytes: Vec<u8> = text.bytes().map(|b| if b == b'+' { b' ' } else { b }).collect();
    percent_decode(&bytes).decode_utf8().map(|text| text.into_owned()).map_err(|_| QueryError::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> Result<Option<usize>, QueryError> {
        Query::parse(text).unwrap().count("n")
    }

    #[test]
    fn decodes_as_urlsearchparams_does() {
        let query = Query::parse("a=x+y%2B%20z&&b&c=1=2&a=second&%C3%A9=%F0%9F%99%82&d=%zz%4").unwrap();
        assert_eq!(query.get("a"), Some("x y+ z"));
        assert_eq!((query.all("a"), query.all("e")), (vec!["x y+ z".to_string(), "second".to_string()], vec![]));
        assert_eq!(query.get("b"), Some(""));
        assert_eq!(query.get("c"), Some("1=2"));
        assert_eq!(query.get("é"), Some("🙂"));
        assert_eq!(query.get("d"), Some("%zz%4"));
        assert_eq!(query.get("e"), None);
        assert_eq!(Query::parse("").unwrap(), Query::default());
    }

    #[test]
    fn percent_encoding_that_is_not_utf8_is_refused() {
        for text in ["a=%ff", "%C3=a", "a=%ED%A0%80", "b=1&a=%F0%9F%99"] {
            assert_eq!(Query::parse(text), Err(QueryError::Utf8), "{text}");
        }
    }

    #[test]
    fn a_count_is_an_integer_of_at_least_one() {
        assert_eq!(count("n=25"), Ok(Some(25)));
        assert_eq!(count("n=007"), Ok(Some(7)));
        assert_eq!(count("m=25"), Ok(None));
        for value in ["0", "-1", "", "1.0", "1e3", "%2B5", "+5", "5+", "five", "0x10", "99999999999999999999"] {
            assert!(count(&format!("n={value}")).is_err(), "{value:?}");
        }
    }

    #[test]
    fn tokens_are_chosen_greedily_unless_told() {
        let sampler = |text| Query::parse(text).unwrap().sampler();
        assert_eq!(sampler("max_tokens=2"), Ok(Sampler::GREEDY));
        let settings = SamplerSettings { temperature: 0.5, top_k: 3, seed: u64::MAX, ..SamplerSettings::default() };
        let drawn = Sampler::new(settings).unwrap();
        assert_eq!(sampler("temperature=0.5&top_k=3&seed=18446744073709551615"), Ok(drawn));
        let penalised = SamplerSettings {
            frequency_penalty: 0.5,
            presence_penalty: -1.0,
            logit_bias: vec![(3, 1.0), (50256, -100.0)],
            ..SamplerSettings::default()
        };
        let text = "frequency_penalty=.5&presence_penalty=-1&logit_bias=50256:-100&logit_bias=3%3A1";
        assert_eq!(sampler(text), Ok(Sampler::new(penalised).unwrap()));
        let wrong =
            ["temperature=-1", "temperature=", "top_k=1.5", "top_p=0", "min_p=x", "repetition_penalty=NaN", "seed=-1"];
        let others = ["frequency_penalty=3", "presence_penalty=x", "logit_bias=", "logit_bias=3", "logit_bias=3:101"];
        for text in wrong.into_iter().chain(others).chain(["logit_bias=3:1&logit_bias=3:1"]) {
            assert!(sampler(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_switch_is_on_or_off() {
        let switch = |text| Query::parse(text).unwrap().switch("s");
        assert_eq!((switch("s=true"), switch("s=0"), switch("")), (Ok(true), Ok(false), Ok(false)));
        assert!(switch("s=yes").is_err());
    }
}
