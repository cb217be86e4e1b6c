//! The values of a `config.json`, and how they are read.

use super::ConfigError;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// A value of `config.json`.
#[derive(Clone, PartialEq, Debug)]
pub enum Field<'a> {
    /// Not there, or null.
    Absent,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(f64),
    /// A list of numbers.
    Numbers(Vec<f64>),
    /// A string.
    Text(&'a str),
    /// A list of strings, at least one.
    Texts(Vec<&'a str>),
    /// Anything else.
    Other,
}

/// The largest count that is believed; beyond it a file is damaged.
pub(super) const MOST: usize = 1 << 24;

const WHOLE: &str = "a whole number from 1 to 16777216";
const POSITIVE: &str = "a positive number that binary32 can hold";
const FROM_ONE: &str = "a number from 1 that binary32 can hold";

pub(super) fn describe(field: &Field<'_>) -> String {
    match field {
        Field::Absent => "missing".to_string(),
        Field::Bool(v) => v.to_string(),
        Field::Number(v) => v.to_string(),
        Field::Numbers(_) => "a list of numbers".to_string(),
        Field::Text(v) => format!("{v:?}"),
        Field::Texts(v) => format!("{v:?}"),
        Field::Other => "of another type".to_string(),
    }
}

pub(super) fn invalid<T>(key: &'static str, field: &Field<'_>, expected: &'static str) -> Result<T, ConfigError> {
    Err(ConfigError::Invalid { key, found: describe(field), expected })
}

pub(super) fn require_text<'a>(
    lookup: &impl Fn(&str) -> Field<'a>,
    key: &'static str,
    supported: &'static str,
) -> Result<(), ConfigError> {
    match lookup(key) {
        Field::Absent => Err(ConfigError::Missing { key }),
        Field::Text(text) if text == supported => Ok(()),
        other => Err(ConfigError::Unsupported { key, found: describe(&other), supported }),
    }
}

pub(super) fn flag<'a>(
    lookup: &impl Fn(&str) -> Field<'a>,
    key: &'static str,
    default: bool,
) -> Result<bool, ConfigError> {
    match lookup(key) {
        Field::Absent => Ok(default),
        Field::Bool(value) => Ok(value),
        other => invalid(key, &other, "true or false"),
    }
}

/// Whether `v` is a whole number from `low` to 2^24.
fn is_count(v: f64, low: f64) -> bool {
    v >= low && v <= MOST as f64 && v == (v as u32) as f64
}

pub(super) fn count<'a>(lookup: &impl Fn(&str) -> Field<'a>, key: &'static str) -> Result<usize, ConfigError> {
    match lookup(key) {
        Field::Absent => Err(ConfigError::Missing { key }),
        Field::Number(value) => whole(key, value),
        other => invalid(key, &other, WHOLE),
    }
}

pub(super) fn whole(key: &'static str, value: f64) -> Result<usize, ConfigError> {
    if is_count(value, 1.0) { Ok(value as usize) } else { invalid(key, &Field::Number(value), WHOLE) }
}

pub(super) fn positive<'a>(lookup: &impl Fn(&str) -> Field<'a>, key: &'static str) -> Result<f64, ConfigError> {
    match lookup(key) {
        Field::Absent => Err(ConfigError::Missing { key }),
        Field::Number(value) => above_zero(key, value),
        other => invalid(key, &other, POSITIVE),
    }
}

pub(super) fn above_zero(key: &'static str, value: f64) -> Result<f64, ConfigError> {
    let rounded = value as f32;
    if rounded > 0.0 && rounded.is_finite() { Ok(value) } else { invalid(key, &Field::Number(value), POSITIVE) }
}

pub(super) fn at_least_one<'a>(lookup: &impl Fn(&str) -> Field<'a>, key: &'static str) -> Result<f64, ConfigError> {
    match lookup(key) {
        Field::Absent => Err(ConfigError::Missing { key }),
        Field::Number(value) => from_one(key, value),
        other => invalid(key, &other, FROM_ONE),
    }
}

pub(super) fn from_one(key: &'static str, value: f64) -> Result<f64, ConfigError> {
    let holds = value >= 1.0 && (value as f32).is_finite();
    if holds { Ok(value) } else { invalid(key, &Field::Number(value), FROM_ONE) }
}

pub(super) fn eos<'a>(lookup: &impl Fn(&str) -> Field<'a>) -> Result<Vec<u32>, ConfigError> {
    let key = "eos_token_id";
    let field = lookup(key);
    let ids = match &field {
        Field::Absent => vec![],
        Field::Number(id) => vec![*id],
        Field::Numbers(ids) => ids.clone(),
        other => return invalid(key, other, "a token id or a list of them"),
    };
    if ids.iter().all(|id| is_count(*id, 0.0)) {
        Ok(ids.into_iter().map(|id| id as u32).collect())
    } else {
        invalid(key, &field, "a token id or a list of them")
    }
}
