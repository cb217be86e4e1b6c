//! Why a `config.json` cannot be used.

use alloc::string::String;
use core::fmt;

/// Why a `config.json` cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// A value that is needed is not there.
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A value is of the wrong type or out of range.
    Invalid {
        /// The key.
        key: &'static str,
        /// What was found.
        found: String,
        /// What is needed.
        expected: &'static str,
    },
    /// Two values contradict each other.
    Mismatch {
        /// Which, with their numbers.
        what: String,
    },
    /// The model is of a family that this program does not compute.
    Family {
        /// Its `model_type`.
        found: String,
        /// In what it differs, where that is known.
        reason: &'static str,
        /// The families that are supported.
        supported: &'static str,
    },
    /// The model asks for something that this program does not compute.
    Unsupported {
        /// The key.
        key: &'static str,
        /// What was found.
        found: String,
        /// What is supported.
        supported: &'static str,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { key } => write!(f, "config.json has no {key:?}, which a Llama model needs"),
            Self::Invalid { key, found, expected } => {
                write!(f, "config.json: {key:?} is {found}; expected {expected}")
            }
            Self::Family { found, reason, supported } => write!(
                f,
                "config.json: \"model_type\" is {found}, which is not supported: {reason}; supported: {supported}"
            ),
            Self::Mismatch { what } => write!(f, "config.json contradicts itself: {what}"),
            Self::Unsupported { key, found, supported } => {
                write!(f, "config.json: {key:?} is {found}, which is not supported; supported: {supported}")
            }
        }
    }
}

impl core::error::Error for ConfigError {}
