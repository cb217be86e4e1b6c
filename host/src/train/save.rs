//! A trained model as a folder.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::{error, fmt};

use kernel::model::Parameter;
use loader::digest::{Sha256Digest, TensorDigest, sha256, weights_digest};
use loader::{DType, SafeFile, TensorSource, WriteError, sync_folder_of, write_safetensors};
use serde_json::{Map, Value};
use session::tensors::little_endian;

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

/// Why a trained model was not saved.
#[derive(Debug)]
pub enum SaveError {
    /// There is something in the way.
    Taken(PathBuf),
    /// The path names no folder.
    Unnamed(PathBuf),
    /// The system refused.
    Io { path: PathBuf, error: io::Error },
    /// `config.json` of the base is not a JSON object (any more).
    Config { path: PathBuf, error: serde_json::Error },
    /// The weights could not be written.
    Weights(WriteError),
}

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SaveError::Taken(path) => {
                write!(f, "--save {}: it exists already and is not an empty folder; name a new one", path.display())
            }
            SaveError::Unnamed(path) => write!(f, "--save {}: give the folder a name", path.display()),
            SaveError::Io { path, error } => write!(f, "{}: {error}", path.display()),
            SaveError::Config { path, error } => write!(f, "{} is not a JSON object: {error}", path.display()),
            SaveError::Weights(error) => error.fmt(f),
        }
    }
}

impl error::Error for SaveError {}

/// A folder to be, checked before the training that fills it.
#[derive(Debug)]
pub struct Target {
    dir: PathBuf,
    /// Where it is made, beside its place.
    temporary: PathBuf,
}

impl Target {
    /// # Errors
    /// If there is something in the way, or the path names no folder.
    pub fn new(dir: &Path) -> Result<Target, SaveError> {
        let Some(name) = dir.file_name() else { return Err(SaveError::Unnamed(dir.to_path_buf())) };
        let free = match fs::read_dir(dir) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !free {
            return Err(SaveError::Taken(dir.to_path_buf()));
        }
        let temporary = dir.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
        Ok(Target { dir: dir.to_path_buf(), temporary })
    }

    /// Writes a model folder, whole or not at all: the files of `base` around other weights. Returns the digest of the
    /// weights as saved.
    ///
    /// # Errors
    /// If the system refuses; nothing is left behind.
    pub fn save<'a>(
        &self,
        base: &Path,
        tensors: impl Iterator<Item = (Parameter, &'a [f32])>,
        dtype: DType,
        provenance: &Value,
    ) -> Result<Sha256Digest, SaveError> {
        let written = self.write(base, tensors, dtype, provenance);
        if written.is_err() {
            // Nothing more can be done about a folder that cannot be removed; its name says that it is temporary.
            let _ = fs::remove_dir_all(&self.temporary);
        }
        written
    }

    fn write<'a>(
        &self,
        base: &Path,
        tensors: impl Iterator<Item = (Parameter, &'a [f32])>,
        dtype: DType,
        provenance: &Value,
    ) -> Result<Sha256Digest, SaveError> {
        let folder = &self.temporary;
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |error| SaveError::Io { path, error }
        };
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            SafeFile::write(&path, bytes).map_err(io(&path))
        };
        fs::create_dir_all(folder).map_err(io(folder))?;
        for name in TAKEN_OVER {
            match fs::read(base.join(name)) {
                Ok(bytes) => write(name, &bytes)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io(&base.join(name))(error)),
            }
        }
        write("config.json", &config(&base.join("config.json"), dtype)?)?;
        write("provenance.json", format!("{provenance:#}\n").as_bytes())?;
        let digest = weights(&folder.join("model.safetensors"), tensors, dtype).map_err(SaveError::Weights)?;
        // An empty folder may stand in the place; rename replaces one on some systems only.
        match fs::remove_dir(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(&self.dir)(error)),
            _ => fs::rename(folder, &self.dir).map_err(io(&self.dir))?,
        }
        sync_folder_of(&self.dir).map_err(io(&self.dir))?;
        Ok(digest)
    }
}

/// The base's `config.json`, saying how the weights are stored now.
fn config(path: &Path, dtype: DType) -> Result<Vec<u8>, SaveError> {
    let bytes = fs::read(path).map_err(|error| SaveError::Io { path: path.to_path_buf(), error })?;
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
    tensors: impl Iterator<Item = (Parameter, &'a [f32])>,
    dtype: DType,
) -> Result<Sha256Digest, WriteError> {
    let tensors: Vec<(Parameter, Cow<'_, [u8]>)> = tensors
        .map(|(parameter, values)| {
            let bytes = match dtype {
                DType::Bf16 => values.iter().flat_map(|value| to_bf16(*value).to_le_bytes()).collect(),
                _ => little_endian(values),
            };
            (parameter, bytes)
        })
        .collect();
    let sources = tensors.iter().map(|(Parameter { name, shape }, bytes)| TensorSource { name, dtype, shape, bytes });
    write_safetensors(path, &sources.collect::<Vec<_>>(), &[("format".to_string(), "pt".to_string())].into())?;
    Ok(weights_digest(tensors.into_iter().map(|(Parameter { name, shape }, bytes)| TensorDigest {
        name,
        dtype,
        shape,
        sha256: sha256(&bytes),
    })))
}

/// The nearest bfloat16 of a finite value, the even one of two.
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_the_nearest_and_even_between_two() {
        for (bits, expected) in [
            (0x3f80_0000, 0x3f80),
            (0x3f80_7fff, 0x3f80),
            (0x3f80_8000, 0x3f80),
            (0x3f80_8001, 0x3f81),
            (0x3f81_8000, 0x3f82),
            (0xbf81_8000, 0xbf82),
            (0x8000_0000, 0x8000),
            (0x0000_8001, 0x0001),
            (0x7f7f_ffff, 0x7f80),
        ] {
            assert_eq!(to_bf16(f32::from_bits(bits)), expected, "{bits:08x}");
        }
    }

    #[test]
    fn only_a_new_or_empty_folder_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(Target::new(&path.join("new")).is_ok());
        assert!(Target::new(path).is_ok());
        fs::write(path.join("file"), "x").unwrap();
        assert!(matches!(Target::new(path), Err(SaveError::Taken(_))));
        assert!(matches!(Target::new(&path.join("file")), Err(SaveError::Taken(_))));
        assert!(matches!(Target::new(Path::new("..")), Err(SaveError::Unnamed(_))));
    }

    #[test]
    fn a_folder_that_cannot_be_completed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (base, dir) = (folder.path().join("base"), folder.path().join("trained"));
        fs::create_dir(&base).unwrap();
        fs::write(base.join("config.json"), r#"{"torch_dtype":"bfloat16"}"#).unwrap();
        fs::write(base.join("tokenizer.json"), "{}").unwrap();
        let parameter = |name: &str| Parameter { name: name.to_string(), shape: vec![2] };
        let save = |names: &[&str]| {
            let tensors = names.iter().map(|name| (parameter(name), &[1.0_f32, 2.0][..]));
            Target::new(&dir).unwrap().save(&base, tensors, DType::F32, &Value::Null)
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
