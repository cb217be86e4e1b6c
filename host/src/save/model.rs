//! A model folder: the files of another one around other weights.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::Path;

use kernel::model::Parameter;
use loader::digest::{Sha256Digest, weights_digest};
use loader::{DType, TensorSource, WriteError, to_bf16, write_safetensors};
use serde_json::{Map, Value};
use session::tensors::little_endian;

use super::{SaveError, refused, write, write_provenance};

/// Files that are taken over as they are, where the base has them.
const TAKEN_OVER: [&str; 7] = [
    "chat_template.jinja",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
];

/// Fills `folder` with the files of `base` around these weights, and returns their digest as saved: as `dtype`, F32 or BF16.
///
/// # Errors
/// If the system refuses, or `config.json` of the base is no JSON object.
pub fn write_model<'a>(
    folder: &Path,
    base: &Path,
    tensors: impl Iterator<Item = (Parameter, Cow<'a, [f32]>)>,
    dtype: DType,
    provenance: &Value,
) -> Result<Sha256Digest, SaveError> {
    for name in TAKEN_OVER {
        match fs::read(base.join(name)) {
            Ok(bytes) => write(folder, name, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused(&base.join(name))(error)),
        }
    }
    write(folder, "config.json", &config(&base.join("config.json"), dtype)?)?;
    write_provenance(folder, provenance)?;
    weights(&folder.join("model.safetensors"), tensors, dtype).map_err(SaveError::Weights)
}

/// The base's `config.json`, saying how the weights are stored now.
fn config(path: &Path, dtype: DType) -> Result<Vec<u8>, SaveError> {
    let bytes = fs::read(path).map_err(refused(path))?;
    let mut keys: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| SaveError::Config { path: path.to_path_buf(), error })?;
    let word = if dtype == DType::Bf16 { "bfloat16" } else { "float32" };
    for key in ["torch_dtype", "dtype"] {
        if let Some(value) = keys.get_mut(key) {
            *value = word.into();
        }
    }
    Ok(format!("{:#}\n", Value::Object(keys)).into_bytes())
}

/// Writes the weights and returns their digest.
fn weights<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (Parameter, Cow<'a, [f32]>)>,
    dtype: DType,
) -> Result<Sha256Digest, WriteError> {
    let tensors: Vec<(Parameter, Cow<'_, [u8]>)> = tensors
        .map(|(parameter, values)| {
            let bytes = match (dtype, values) {
                (DType::Bf16, values) => values.iter().flat_map(|value| to_bf16(*value).to_le_bytes()).collect(),
                (_, Cow::Borrowed(values)) => little_endian(values),
                (_, Cow::Owned(values)) => Cow::Owned(little_endian(&values).into_owned()),
            };
            (parameter, bytes)
        })
        .collect();
    let sources = tensors.iter().map(|(Parameter { name, shape }, bytes)| TensorSource { name, dtype, shape, bytes });
    let sources: Vec<_> = sources.collect();
    write_safetensors(path, &sources, &[("format".to_string(), "pt".to_string())].into())?;
    Ok(weights_digest(sources.iter().map(TensorSource::digest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::save::Target;

    #[test]
    fn a_folder_that_cannot_be_completed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (base, dir) = (folder.path().join("base"), folder.path().join("trained"));
        fs::create_dir(&base).unwrap();
        fs::write(base.join("config.json"), r#"{"torch_dtype":"bfloat16"}"#).unwrap();
        fs::write(base.join("tokenizer.json"), "{}").unwrap();
        let parameter = |name: &str| Parameter { name: name.to_string(), shape: vec![2] };
        let save = |names: &[&str]| {
            let tensors = names.iter().map(|name| (parameter(name), Cow::Borrowed(&[1.0_f32, 2.0][..])));
            let target = Target::new(&dir).unwrap();
            target.fill(|folder| write_model(folder, &base, tensors, DType::F32, &Value::Null))
        };
        assert!(matches!(save(&["a", "a"]), Err(SaveError::Weights(_))));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        save(&["a", "b"]).unwrap();
        let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["config.json", "model.safetensors", "provenance.json", "tokenizer.json"]);
        let config: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["torch_dtype"], "float32");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
