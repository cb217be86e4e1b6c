//! A model folder whose weights lie in files that any web host accepts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use loader::digest::{hex, sha256};
use loader::manifest::{self, Manifest, ManifestFile};
use loader::{Access, Checkpoint, TensorInfo, TensorSource, write_safetensors};
use serde_json::json;

use super::SiteError;
use crate::file::{self, at};

/// Bytes that a file may have: common hosts refuse files of 100 MB.
pub(super) const LIMIT: u64 = 95_000_000;
/// Bytes of a file that are left to its header.
const HEADER_ROOM: u64 = 1_000_000;
const INDEX: &str = "model.safetensors.index.json";

/// Writes the model of the folder `model` as a folder in `models`, with the weights in shards, and returns its name.
pub(super) fn write_model(model: &Path, models: &Path) -> Result<String, SiteError> {
    let manifest_path = model.join(manifest::FILE_NAME);
    let mut manifest = Manifest::from_json(&fs::read(&manifest_path).map_err(at(&manifest_path))?)?;
    let checkpoint = Checkpoint::open(model, Access::Map)?;
    let found = checkpoint.digest();
    if found != manifest.weights_sha256 {
        let (found, expected) = (hex(&found), hex(&manifest.weights_sha256));
        return Err(SiteError::Digest { folder: model.to_owned(), found, expected });
    }
    let out = models.join(&manifest.name);
    fs::create_dir_all(&out).map_err(at(&out))?;

    let is_weights = |name: &str| name.ends_with(".safetensors") || name == INDEX;
    let mut files: Vec<String> =
        manifest.files.iter().map(|file| file.name.clone()).filter(|name| !is_weights(name)).collect();
    for name in &files {
        fs::copy(model.join(name), out.join(name)).map_err(at(&model.join(name)))?;
    }
    files.push(INDEX.to_owned());
    files.extend(write_shards(&checkpoint, &out)?);
    manifest.files = files.into_iter().map(|name| described(&out, name)).collect::<Result<_, _>>()?;
    file::write(&out.join(manifest::FILE_NAME), &manifest.to_json())?;
    Ok(manifest.name)
}

/// Writes the shards and their index, and returns the names of the shards.
fn write_shards(checkpoint: &Checkpoint, out: &Path) -> Result<Vec<String>, SiteError> {
    let tensors: Vec<&TensorInfo> = checkpoint.tensors().map(|(tensor, _)| tensor).collect();
    let groups = group(&tensors, LIMIT - HEADER_ROOM)?;
    let format = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut names = Vec::new();
    let mut weight_map = BTreeMap::new();
    for (number, group) in groups.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", number + 1, groups.len());
        let sources: Vec<TensorSource<'_>> = group
            .iter()
            .filter_map(|tensor| {
                let bytes = checkpoint.tensor_bytes(&tensor.name)?;
                Some(TensorSource { name: &tensor.name, dtype: tensor.dtype, shape: &tensor.shape, bytes })
            })
            .collect();
        write_safetensors(&out.join(&name), &sources, &format)?;
        weight_map.extend(group.iter().map(|tensor| (tensor.name.clone(), name.clone())));
        names.push(name);
    }
    let total_size: u64 = tensors.iter().map(|tensor| size(tensor)).sum();
    let index = json!({ "metadata": { "total_size": total_size }, "weight_map": weight_map });
    file::write(&out.join(INDEX), &format!("{index:#}\n"))?;
    Ok(names)
}

/// Cuts the tensors, in their order, into groups of at most `limit` bytes.
fn group<'a>(tensors: &[&'a TensorInfo], limit: u64) -> Result<Vec<Vec<&'a TensorInfo>>, SiteError> {
    let mut groups: Vec<Vec<&TensorInfo>> = Vec::new();
    let mut room = 0;
    for &tensor in tensors {
        let bytes = size(tensor);
        if bytes > limit {
            return Err(SiteError::TensorTooLarge { name: tensor.name.clone(), bytes });
        }
        match groups.last_mut() {
            Some(group) if bytes <= room => group.push(tensor),
            _ => {
                groups.push(vec![tensor]);
                room = limit;
            }
        }
        room -= bytes;
    }
    Ok(groups)
}

fn size(tensor: &TensorInfo) -> u64 {
    tensor.range.len() as u64
}

fn described(folder: &Path, name: String) -> Result<ManifestFile, SiteError> {
    let path = folder.join(&name);
    let bytes = fs::read(&path).map_err(at(&path))?;
    Ok(ManifestFile { size: bytes.len() as u64, sha256: sha256(&bytes), name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use loader::DType;

    fn tensor(name: &str, bytes: usize) -> TensorInfo {
        TensorInfo { name: name.into(), dtype: DType::F32, shape: vec![bytes / 4], range: 0..bytes }
    }

    #[test]
    fn groups_fill_up_to_the_limit_in_order() {
        let tensors = [("a", 40), ("b", 60), ("c", 4), ("d", 100), ("e", 8)].map(|(name, bytes)| tensor(name, bytes));
        let groups = group(&tensors.iter().collect::<Vec<_>>(), 100).unwrap();
        let names: Vec<String> = groups.iter().map(|g| g.iter().map(|t| t.name.as_str()).collect()).collect();
        assert_eq!(names, ["ab", "c", "d", "e"]);
    }

    #[test]
    fn a_tensor_over_the_limit_is_named() {
        let error = group(&[&tensor("huge", 104)], 100).unwrap_err().to_string();
        assert!(error.contains("huge") && error.contains("104"), "{error}");
    }

    #[test]
    fn a_model_is_the_same_model_in_shards() {
        let (model, site) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (a, b) = ([1u8; 8], [2u8; 4]);
        let source = |name, shape, bytes| TensorSource { name, dtype: DType::F32, shape, bytes };
        let tensors = [source("a", &[2], &a), source("b", &[1], &b)];
        write_safetensors(&model.path().join("model.safetensors"), &tensors, &BTreeMap::new()).unwrap();
        fs::write(model.path().join("config.json"), "{}").unwrap();
        let checkpoint = Checkpoint::open(model.path(), Access::Read).unwrap();
        let mut manifest = Manifest {
            name: "tiny".into(),
            source: "test".into(),
            revision: None,
            files: ["config.json", "model.safetensors"]
                .map(|name| described(model.path(), name.into()).unwrap())
                .to_vec(),
            weights_sha256: checkpoint.digest(),
            tensors: BTreeMap::new(),
        };
        let write =
            |manifest: &Manifest| fs::write(model.path().join(manifest::FILE_NAME), manifest.to_json()).unwrap();
        write(&manifest);

        assert_eq!(write_model(model.path(), site.path()).unwrap(), "tiny");
        let sharded = site.path().join("tiny");
        assert_eq!(Checkpoint::open(&sharded, Access::Read).unwrap().digest(), manifest.weights_sha256);
        let written = Manifest::from_json(&fs::read(sharded.join(manifest::FILE_NAME)).unwrap()).unwrap();
        let names: Vec<&str> = written.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["config.json", INDEX, "model-00001-of-00001.safetensors"]);
        for file in &written.files {
            assert_eq!(file, &described(&sharded, file.name.clone()).unwrap());
        }

        manifest.weights_sha256[0] ^= 1;
        write(&manifest);
        let error = write_model(model.path(), site.path()).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
    }
}
