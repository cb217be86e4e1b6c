//! The ways in which an adapter can be wrong.

use std::{error, fmt};

use kernel::model::LoraError;
use loader::{DType, SafetensorsError};

use super::{CONFIG_FILE, MODEL_FILE};

/// Why an adapter cannot be used, with the setting or the tensor, and what to do.
#[derive(Debug)]
pub enum AdapterError {
    /// `adapter_config.json` is not a JSON object.
    Json(serde_json::Error),
    /// A setting that must be there is not.
    Absent {
        /// Its key.
        key: &'static str,
        /// What it has to be.
        wanted: &'static str,
    },
    /// A setting has a value that is not supported.
    Setting {
        /// Its key.
        key: String,
        /// Its value as JSON, cut where it is long.
        value: String,
        /// What to do.
        advice: &'static str,
    },
    /// An entry of `target_modules` names no linear layer of the model.
    Target(String),
    /// `target_modules` names a kind of layer in some layers of the model and not in all.
    SomeLayers {
        /// The kind.
        target: &'static str,
        /// The layers in which it is named.
        named: usize,
        /// The layers of the model.
        layers: usize,
    },
    /// The settings give no adapter.
    Lora(LoraError),
    /// `adapter_model.safetensors` is not valid safetensors.
    Safetensors(SafetensorsError),
    /// A tensor is not there.
    Missing {
        /// Its name.
        name: String,
        /// The shape that the settings ask for.
        shape: Vec<usize>,
    },
    /// There is a tensor for which the settings have no use.
    Extra {
        /// Its name.
        name: String,
    },
    /// A tensor has another shape than the settings ask for.
    Shape {
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that the settings ask for.
        expected: Vec<usize>,
    },
    /// A tensor's elements are of a type that is not computed with.
    Element {
        /// Its name.
        name: String,
        /// The type.
        dtype: DType,
    },
    /// A tensor has a value that is not a finite number.
    NotFinite {
        /// Its name.
        name: String,
    },
}

impl fmt::Display for AdapterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use AdapterError::*;
        match self {
            Json(error) => write!(f, "{CONFIG_FILE} is not a JSON object: {error}"),
            Absent { key, wanted } => write!(f, "{CONFIG_FILE} has no {key:?}; it needs {wanted}"),
            Setting { key, value, advice } => {
                write!(f, "{CONFIG_FILE}: {key:?} is {value}, which is not supported; {advice}")
            }
            Target(name) => write!(
                f,
                "{CONFIG_FILE}: \"target_modules\" has {name:?}, which is no linear layer of this model; supported: {}",
                kernel::model::LORA_TARGETS.join(", ")
            ),
            SomeLayers { target, named, layers } => write!(
                f,
                "{CONFIG_FILE}: \"target_modules\" names {target} in {named} of the model's {layers} layers; \
                 an adapter must have it in all of them or in none"
            ),
            Lora(error) => write!(f, "{CONFIG_FILE}: {error}"),
            Safetensors(error) => write!(f, "{MODEL_FILE}: {error}"),
            Missing { name, shape } => write!(
                f,
                "{MODEL_FILE} has no tensor {name:?}; {CONFIG_FILE} and the model ask for one of shape {shape:?}. \
                 The adapter may be for another model"
            ),
            Extra { name } => write!(
                f,
                "{MODEL_FILE} has a tensor {name:?} for which neither {CONFIG_FILE} nor the model has a place. \
                 The adapter may be for another model"
            ),
            Shape { name, found, expected } => write!(
                f,
                "{MODEL_FILE}: tensor {name:?} has shape {found:?} where {CONFIG_FILE} and the model ask for \
                 {expected:?}. The adapter may be for another model"
            ),
            Element { name, dtype } => {
                write!(f, "{MODEL_FILE}: tensor {name:?} is of type {dtype}: convert the adapter to F32, BF16 or F16")
            }
            NotFinite { name } => write!(
                f,
                "{MODEL_FILE}: tensor {name:?} has values that are not finite numbers; its training went wrong, train it \
                 again with a lower learning rate"
            ),
        }
    }
}

impl error::Error for AdapterError {}
