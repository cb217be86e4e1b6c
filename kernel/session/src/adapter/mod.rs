//! Low-rank adapters in the layout of Python's `peft`: `adapter_config.json` beside `adapter_model.safetensors`.
//!
//! [`attach`] reads the two and [`export`] writes them, as bytes. What is read is checked once: a setting that would change the
//! result and is not supported here is refused by name, and the tensors must be those that the settings ask for, no more and
//! no fewer.

mod error;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kernel::model::{Config, LoraConfig, LoraError, Model, Parameter};
use kernel::ops::Weights;
use kernel::transcript::Sha256Digest;
use loader::digest::{TensorDigest, sha256, weights_digest};
use loader::{Bytes, Header, TensorSource, safetensors_bytes};

use crate::open::{element, view};
use crate::tensors::{digest, little_endian};
pub use error::AdapterError;

/// The file of the settings.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The file of the tensors.
pub const MODEL_FILE: &str = "adapter_model.safetensors";

/// The rank of a new adapter, unless another is asked for.
pub const DEFAULT_RANK: usize = 8;
/// The alpha of a new adapter, unless another is asked for.
pub const DEFAULT_ALPHA: f64 = 16.0;
/// The layers that a new adapter is for, unless others are asked for.
pub const DEFAULT_TARGETS: [&str; 2] = ["q_proj", "v_proj"];

/// The shape of a new adapter, as far as it is told.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Shape {
    /// The rows of its first matrix; [`DEFAULT_RANK`] unless told.
    pub rank: Option<usize>,
    /// What is divided by the rank to scale it; [`DEFAULT_ALPHA`] unless told.
    pub alpha: Option<f64>,
    /// The layers that have one; [`DEFAULT_TARGETS`] unless told.
    pub targets: Option<Vec<String>>,
}

impl Shape {
    /// Whether anything of it is told.
    pub fn is_told(&self) -> bool {
        *self != Shape::default()
    }

    /// Such an adapter for a model.
    ///
    /// # Errors
    /// If a value is out of range for the model or a layer unknown.
    pub fn of(&self, config: &Config) -> Result<LoraConfig, LoraError> {
        let (rank, alpha) = (self.rank.unwrap_or(DEFAULT_RANK), self.alpha.unwrap_or(DEFAULT_ALPHA));
        match &self.targets {
            Some(targets) => LoraConfig::new(config, rank, alpha, targets),
            None => LoraConfig::new(config, rank, alpha, &DEFAULT_TARGETS),
        }
    }
}

/// What `peft` writes before the name of a parameter.
const PREFIX: &str = "base_model.model.";

/// An adapter as files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdapterFiles {
    /// The bytes of `adapter_config.json`.
    pub adapter_config: Vec<u8>,
    /// The bytes of `adapter_model.safetensors`: the tensors as binary32.
    pub adapter_model: Vec<u8>,
}

/// The model with the adapter of these two files; one that it has already is replaced. The base weights are shared.
///
/// # Errors
/// If a setting is not supported, a tensor is missing, unknown or of another shape or type, or a file is not what its name
/// says.
pub fn attach(model: &Model, adapter_config: &[u8], adapter_model: Vec<u8>) -> Result<Model, AdapterError> {
    let lora = settings::read(adapter_config, model.config())?;
    let header = Header::parse(&adapter_model, adapter_model.len() as u64).map_err(AdapterError::Safetensors)?;
    let table = lora.parameters(model.config());
    for Parameter { name, shape } in &table {
        let name = format!("{PREFIX}{name}");
        match header.tensor(&name) {
            None => return Err(AdapterError::Missing { name, shape: shape.clone() }),
            Some(found) if found.shape != *shape => {
                return Err(AdapterError::Shape { name, found: found.shape.clone(), expected: shape.clone() });
            }
            Some(found) if element(found.dtype).is_none() => {
                return Err(AdapterError::Element { name, dtype: found.dtype });
            }
            Some(_) => {}
        }
    }
    // Every row has its tensor: any further one is found within as many steps.
    let known = |name: &str| table.iter().any(|row| name.strip_prefix(PREFIX) == Some(&row.name));
    if let Some(extra) = header.tensors().iter().find(|tensor| !known(&tensor.name)) {
        return Err(AdapterError::Extra { name: extra.name.clone() });
    }
    let bytes: Bytes = Arc::new(adapter_model);
    let source = |name: &str| view(header.tensor(&format!("{PREFIX}{name}"))?, &bytes);
    let adapted = model.with_adapter(&lora, &source).map_err(AdapterError::Lora)?;
    let bad = tensors(&adapted, &lora).find(|(_, values)| !values.iter().all(|value| value.is_finite()));
    match bad {
        Some((row, _)) => Err(AdapterError::NotFinite { name: row.name }),
        None => Ok(adapted),
    }
}

/// The model's adapter as files that `peft` loads; none if it has no adapter. `base_name` is what `base_model_name_or_path`
/// becomes: the model that the adapter belongs to.
pub fn export(model: &Model, base_name: &str) -> Option<AdapterFiles> {
    let lora = model.adapter()?;
    let tensors: Vec<_> = tensors(model, lora).map(|(row, values)| (row, little_endian(values))).collect();
    let sources = tensors.iter().map(|(Parameter { name, shape }, bytes)| TensorSource {
        name,
        dtype: loader::DType::F32,
        shape,
        bytes,
    });
    let metadata = [("format".to_string(), "pt".to_string())].into();
    let adapter_model = safetensors_bytes(&sources.collect::<Vec<_>>(), &metadata);
    Some(AdapterFiles {
        adapter_config: settings::write(lora, base_name),
        adapter_model: adapter_model.expect("names and shapes are those of the table"),
    })
}

/// What an adapter is known by: the weights digest of its tensors as binary32 under the names of its file, and of alpha, as a
/// binary64 scalar with the name `lora_alpha`. So it covers all that an adapter adds to a result. None without an adapter.
pub fn adapter_digest(model: &Model) -> Option<Sha256Digest> {
    let lora = model.adapter()?;
    let alpha = TensorDigest {
        name: "lora_alpha".to_string(),
        dtype: loader::DType::F64,
        shape: vec![],
        sha256: sha256(&lora.alpha().to_le_bytes()),
    };
    Some(weights_digest(tensors(model, lora).map(|(row, values)| digest(&row, values)).chain([alpha])))
}

/// The adapter's tensors under the names of its file.
pub(crate) fn tensors<'a>(
    model: &'a Model,
    lora: &LoraConfig,
) -> impl Iterator<Item = (Parameter, &'a [f32])> + use<'a> {
    let table = lora.parameters(model.config()).into_iter();
    table.zip(model.adapter_tensors()).map(|(Parameter { name, shape }, weights)| match weights {
        Weights::F32(values) => (Parameter { name: format!("{PREFIX}{name}"), shape }, values),
        Weights::Bf16(_) => unreachable!("{name}: the kernel holds adapters as binary32"),
    })
}
