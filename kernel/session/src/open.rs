//! From the bytes of a model folder to a model that can compute.

use std::cell::Cell;
use std::collections::HashSet;
use std::{error, fmt};

use kernel::model::{Config, ConfigError, DType, Field, LoadError, Model, RawTensor, SharedBytes, parameters};
use loader::{Bytes, Checkpoint, TensorInfo};
use serde_json::{Map, Value};

/// Why a folder holds no model that we can run.
#[derive(Debug)]
pub enum ModelError {
    /// `config.json` is not a JSON object.
    Json(serde_json::Error),
    /// `config.json` describes no model that we can run.
    Config(ConfigError),
    /// The model needs a tensor whose elements are of a type that it does not compute with.
    Element {
        /// The tensor.
        tensor: String,
        /// The type of its elements.
        dtype: loader::DType,
    },
    /// The weights do not fit `config.json`.
    Load(LoadError),
    /// The weights have a tensor that the model does not read.
    Unread {
        /// The tensor.
        tensor: String,
    },
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelError::Json(error) => write!(f, "config.json is not a JSON object: {error}"),
            ModelError::Config(error) => error.fmt(f),
            ModelError::Element { tensor, dtype } => {
                write!(f, "tensor {tensor:?} is of type {dtype}: convert the weights to BF16, F16 or F32")
            }
            ModelError::Load(error) => {
                write!(f, "the weights do not fit config.json: {error}; the folder may mix two models or lack a shard")
            }
            ModelError::Unread { tensor } => write!(
                f,
                "the weights have a tensor {tensor:?}, which the model that config.json describes does not read, so that \
                 results would not be this model's: config.json may lack \"attention_bias\" or \"mlp_bias\", or say \
                 \"tie_word_embeddings\" wrongly, or the folder may mix two models"
            ),
        }
    }
}

impl error::Error for ModelError {}

/// Reads the bytes of `config.json`.
///
/// # Errors
/// If they are no JSON object, or describe no model that we can run.
pub fn config(bytes: &[u8]) -> Result<Config, ModelError> {
    let keys: Map<String, Value> = serde_json::from_slice(bytes).map_err(ModelError::Json)?;
    Config::from_fields(|key| field(&keys, key)).map_err(ModelError::Config)
}

/// Binds the checkpoint's tensors, as views of its bytes, to the model's parameters.
///
/// # Errors
/// If a tensor is missing, or its shape or type do not fit, or there is one that the model does not read.
pub fn model(config: Config, checkpoint: &Checkpoint) -> Result<Model, ModelError> {
    let refused = Cell::new(None);
    let source = |name: &str| {
        tensor(checkpoint, name).unwrap_or_else(|error| {
            refused.set(Some(error));
            None
        })
    };
    let model = Model::load(config, &source).map_err(|error| refused.take().unwrap_or(ModelError::Load(error)))?;
    match unread(model.config(), checkpoint) {
        Some(tensor) => Err(ModelError::Unread { tensor }),
        None => Ok(model),
    }
}

/// A tensor that the model does not read and that is not one of those that say nothing new: the frequencies of RoPE, which
/// follow from `config.json`, and a tied head that is the embedding once more.
fn unread(config: &Config, checkpoint: &Checkpoint) -> Option<String> {
    const HEAD: &str = "lm_head.weight";
    const EMBEDDING: &str = "model.embed_tokens.weight";
    let table: HashSet<String> = parameters(config).into_iter().map(|parameter| parameter.name).collect();
    let is_embedding = || checkpoint.tensor_bytes(HEAD) == checkpoint.tensor_bytes(EMBEDDING);
    let says_nothing =
        |name: &str| name.ends_with("rotary_emb.inv_freq") || (name == HEAD && config.tied && is_embedding());
    let mut names = checkpoint.tensors().map(|(info, _)| &info.name);
    names.find(|name| !table.contains(*name) && !says_nothing(name)).cloned()
}

/// A tensor of the checkpoint, as a view of its bytes, where there is one of this name.
///
/// # Errors
/// If its elements are of a type that no model computes with.
pub fn tensor(checkpoint: &Checkpoint, name: &str) -> Result<Option<RawTensor>, ModelError> {
    let Some((info, bytes)) = checkpoint.tensor(name) else { return Ok(None) };
    if element(info.dtype).is_none() {
        return Err(ModelError::Element { tensor: name.to_string(), dtype: info.dtype });
    }
    Ok(view(info, bytes))
}

/// A tensor as the kernel takes it, where it computes with elements of its type.
pub(crate) fn view(info: &TensorInfo, bytes: &Bytes) -> Option<RawTensor> {
    let bytes = SharedBytes::new(bytes.clone(), info.range.clone());
    Some(RawTensor { dtype: element(info.dtype)?, shape: info.shape.clone(), bytes: bytes? })
}

/// The kernel's word for a type of elements, where it computes with it.
pub(crate) fn element(dtype: loader::DType) -> Option<DType> {
    match dtype {
        loader::DType::F32 => Some(DType::F32),
        loader::DType::F16 => Some(DType::F16),
        loader::DType::Bf16 => Some(DType::Bf16),
        _ => None,
    }
}

/// A value of `config.json` as the kernel takes it; `a.b` is the value of `b` in the object `a`.
fn field<'a>(keys: &'a Map<String, Value>, key: &str) -> Field<'a> {
    let mut path = key.split('.');
    let first = path.next().and_then(|name| keys.get(name));
    match path.fold(first, |object, name| object?.get(name)) {
        None | Some(Value::Null) => Field::Absent,
        Some(Value::Bool(value)) => Field::Bool(*value),
        Some(Value::Number(value)) => value.as_f64().map_or(Field::Other, Field::Number),
        Some(Value::String(value)) => Field::Text(value),
        Some(Value::Array(values)) => {
            let numbers = values.iter().map(Value::as_f64).collect::<Option<_>>().map(Field::Numbers);
            let texts = || values.iter().map(Value::as_str).collect::<Option<_>>().map(Field::Texts);
            numbers.or_else(texts).unwrap_or(Field::Other)
        }
        Some(Value::Object(_)) => Field::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn config_values_are_handed_on_as_they_are() {
        let Value::Object(keys) = json!({ "n": 1.5, "t": "x", "b": true, "z": null, "l": [1, 2], "s": ["x", "y"], "m": [1, "x"], "o": { "n": 2 } })
        else {
            unreachable!("it is an object")
        };
        for (key, value) in [
            ("n", Field::Number(1.5)),
            ("t", Field::Text("x")),
            ("b", Field::Bool(true)),
            ("z", Field::Absent),
            ("none", Field::Absent),
            ("l", Field::Numbers(vec![1.0, 2.0])),
            ("s", Field::Texts(vec!["x", "y"])),
            ("m", Field::Other),
            ("o", Field::Other),
            ("o.n", Field::Number(2.0)),
            ("o.none", Field::Absent),
            ("none.n", Field::Absent),
            ("t.n", Field::Absent),
        ] {
            assert_eq!(field(&keys, key), value, "{key}");
        }
    }
}
