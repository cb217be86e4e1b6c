//! A model that arrives in chunks is the same model, however it is cut, and nothing wrong gets in.

use std::collections::BTreeMap;

use browser::assembly::{Assembled, Assembly, AssemblyError};
use loader::digest::{self, Sha256Digest, TensorDigest, weights_digest};
use loader::manifest::{Manifest, ManifestFile};
use loader::{Access, Checkpoint, DType};

const CONFIG: &[u8] = br#"{"hidden_size": 2}"#;
const TOKENIZER: &[u8] = br#"{"model": {}}"#;
const INDEX: &[u8] = br#"{"weight_map": {"a": "1.safetensors", "none": "1.safetensors", "b": "2.safetensors"}}"#;

/// A safetensors file of BF16 vectors.
fn safetensors(tensors: &[(&str, &[u8])]) -> Vec<u8> {
    let mut offset = 0;
    let mut entry = |(name, bytes): &(&str, &[u8])| {
        let (start, end) = (offset, offset + bytes.len());
        offset = end;
        format!(r#""{name}":{{"dtype":"BF16","shape":[{}],"data_offsets":[{start},{end}]}}"#, bytes.len() / 2)
    };
    let header = format!("{{{}}}", tensors.iter().map(&mut entry).collect::<Vec<String>>().join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    tensors.iter().for_each(|(_, bytes)| file.extend(*bytes));
    file
}

const A: &[u8] = &[1, 2, 3, 4, 5, 6];
const B: &[u8] = &[7, 8];

fn single() -> Vec<(&'static str, Vec<u8>)> {
    vec![("config.json", CONFIG.to_vec()), ("tokenizer.json", TOKENIZER.to_vec()), ("model.safetensors", weights())]
}

fn weights() -> Vec<u8> {
    safetensors(&[("a", A), ("none", b""), ("b", B)])
}

fn sharded() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("2.safetensors", safetensors(&[("b", B)])),
        ("model.safetensors.index.json", INDEX.to_vec()),
        ("tokenizer.json", TOKENIZER.to_vec()),
        ("generation_config.json", b"{}".to_vec()),
        ("1.safetensors", safetensors(&[("a", A), ("none", b"")])),
        ("config.json", CONFIG.to_vec()),
    ]
}

fn manifest_of(files: &[(&str, Vec<u8>)]) -> Manifest {
    let tensors: Vec<TensorDigest> = [("a", A), ("b", B), ("none", b"")]
        .map(|(name, bytes)| TensorDigest {
            name: name.to_owned(),
            dtype: DType::Bf16,
            shape: vec![bytes.len() / 2],
            sha256: digest::sha256(bytes),
        })
        .to_vec();
    let entry = |(name, bytes): &(&str, Vec<u8>)| ManifestFile {
        name: (*name).to_owned(),
        size: bytes.len() as u64,
        sha256: digest::sha256(bytes),
    };
    Manifest {
        name: "tiny".to_owned(),
        source: "test".to_owned(),
        revision: Some("r1".to_owned()),
        files: files.iter().map(entry).collect(),
        tensors: tensors.iter().map(|tensor| (tensor.name.clone(), tensor.sha256)).collect(),
        weights_sha256: weights_digest(tensors),
    }
}

/// Brings the files in chunks of `size` bytes.
fn assemble(manifest: &Manifest, files: &[(&str, Vec<u8>)], size: usize) -> Result<Assembled, AssemblyError> {
    let mut assembly = Assembly::new(manifest.to_json().as_bytes())?;
    assembly.allocate()?;
    bring(&mut assembly, files, size)?;
    assembly.finish()
}

fn bring(assembly: &mut Assembly, files: &[(&str, Vec<u8>)], size: usize) -> Result<(), AssemblyError> {
    let files: BTreeMap<&str, &[u8]> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let names: Vec<String> = assembly.files().map(|file| file.name.clone()).collect();
    for (at, name) in names.iter().enumerate() {
        for chunk in files[name.as_str()].chunks(size) {
            assembly.write(at, chunk.len(), |room| room.copy_from_slice(chunk))?;
        }
    }
    Ok(())
}

fn error_of(manifest: &Manifest, files: &[(&str, Vec<u8>)]) -> String {
    // Whatever the chunks, the same thing is wrong.
    let message = assemble(manifest, files, usize::MAX).expect_err("something is wrong").to_string();
    assert_eq!(assemble(manifest, files, 1).expect_err("something is wrong").to_string(), message);
    message
}

#[test]
fn chunks_of_any_size_give_the_same_checkpoint() {
    for files in [single(), sharded()] {
        let manifest = manifest_of(&files);
        for size in (1..=weights().len()).chain([usize::MAX]) {
            let model = assemble(&manifest, &files, size).unwrap();
            assert_eq!(model.config, CONFIG);
            assert_eq!(model.tokenizer, TOKENIZER);
            assert_eq!(model.tokenizer_sha256, digest::sha256(TOKENIZER));
            assert_eq!(model.checkpoint.tensor_bytes("a"), Some(A));
            assert_eq!(model.checkpoint.tensor_bytes("b"), Some(B));
            assert_eq!(model.checkpoint.tensor_bytes("none"), Some(&b""[..]));
            assert_eq!(model.weights_sha256, model.checkpoint.digest());
            assert_eq!((model.name.as_str(), model.source.as_str()), ("tiny", "test r1"));
        }
    }
}

#[test]
fn every_listed_file_is_asked_for_in_the_order_of_the_manifest() {
    let assembly = Assembly::new(manifest_of(&sharded()).to_json().as_bytes()).unwrap();
    let names: Vec<&str> = assembly.files().map(|file| file.name.as_str()).collect();
    let listed: Vec<&str> = sharded().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, listed);
}

#[test]
fn the_result_is_what_the_loader_reads_from_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in sharded() {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let folder = Checkpoint::open(dir.path(), Access::Read).unwrap();
    let model = assemble(&manifest_of(&sharded()), &sharded(), 5).unwrap();
    for (tensor, _) in folder.tensors() {
        let name = tensor.name.as_str();
        assert_eq!(model.checkpoint.tensor_bytes(name), folder.tensor_bytes(name), "{name}");
    }
    assert_eq!(model.weights_sha256, folder.digest());
}

#[test]
fn one_wrong_bit_is_found_and_its_tensor_or_file_named() {
    let files = single();
    let manifest = manifest_of(&files);
    for (at, (name, bytes)) in files.iter().enumerate() {
        for bit in 0..bytes.len() * 8 {
            let mut damaged = files.clone();
            damaged[at].1[bit / 8] ^= 1 << (bit % 8);
            let message = error_of(&manifest, &damaged);
            let data = weights().len() - A.len() - B.len();
            let in_data = at == 2 && bit / 8 >= data;
            match in_data {
                true if bit / 8 < data + A.len() => assert!(message.contains("tensor a has SHA-256"), "{message}"),
                true => assert!(message.contains("tensor b has SHA-256"), "{message}"),
                // A damaged header may still be one: then it is the weights digest that differs.
                false => assert!(message.contains(name) || message.contains("weights have the digest"), "{message}"),
            }
        }
    }
}

#[test]
fn a_file_that_was_wrong_is_not_there_for_who_goes_on() {
    let (files, manifest) = (single(), manifest_of(&single()));
    for wrong in 0..files.len() {
        let mut assembly = Assembly::new(manifest.to_json().as_bytes()).unwrap();
        assembly.allocate().unwrap();
        for (at, (name, bytes)) in files.iter().enumerate() {
            let mut bytes = bytes.clone();
            *bytes.last_mut().unwrap() ^= u8::from(at == wrong);
            let brought = assembly.write(at, bytes.len(), |room| room.copy_from_slice(&bytes));
            assert_eq!(brought.is_err(), at == wrong, "{name}");
        }
        let error = assembly.finish().err().unwrap().to_string();
        assert!(error.starts_with(&format!("{}: only 0 of ", files[wrong].0)), "{error}");
    }
}

#[test]
fn a_file_that_is_too_long_or_too_short_is_found() {
    let manifest = manifest_of(&single());
    let mut long = single();
    long[0].1.push(b' ');
    assert!(error_of(&manifest, &long).contains("config.json: more bytes arrive than the 18"));
    let mut short = single();
    short[2].1.pop();
    assert!(error_of(&manifest, &short).starts_with("model.safetensors: only "));
}

#[test]
fn a_manifest_of_other_weights_is_refused() {
    let mut manifest = manifest_of(&single());
    manifest.weights_sha256 = Sha256Digest::default();
    assert!(error_of(&manifest, &single()).contains("the weights have the digest"));

    let mut manifest = manifest_of(&single());
    manifest.tensors.remove("b");
    assert!(error_of(&manifest, &single()).contains("holds tensor b, which manifest.json does not list"));
}

#[test]
fn a_manifest_without_a_file_that_every_model_has_is_refused() {
    for missing in ["config.json", "tokenizer.json", "model.safetensors"] {
        let mut manifest = manifest_of(&single());
        manifest.files.retain(|file| file.name != missing);
        let error = Assembly::new(manifest.to_json().as_bytes()).err().unwrap();
        assert_eq!(error.to_string(), format!("manifest.json does not list {missing}"));
    }
    assert!(matches!(Assembly::new(b"{"), Err(AssemblyError::Manifest(_))));
}

#[test]
fn shards_that_the_index_does_not_know_are_refused() {
    let mut files = sharded();
    files[1].1 = br#"{"weight_map": {"a": "1.safetensors", "none": "1.safetensors"}}"#.to_vec();
    assert!(error_of(&manifest_of(&files), &files).contains("2.safetensors"));
}

#[test]
fn a_damaged_file_can_be_brought_again() {
    let manifest = manifest_of(&single());
    let mut assembly = Assembly::new(manifest.to_json().as_bytes()).unwrap();
    assembly.allocate().unwrap();
    let mut damaged = single();
    damaged[2].1.last_mut().into_iter().for_each(|byte| *byte ^= 1);
    assert!(bring(&mut assembly, &damaged, 3).is_err());
    for file in 0..3 {
        assembly.restart(file);
        assert_eq!(assembly.filled(file), 0);
    }
    bring(&mut assembly, &single(), 3).unwrap();
    assert_eq!(assembly.arrived(0).unwrap(), CONFIG);
    assert_eq!(assembly.finish().unwrap().checkpoint.tensor_bytes("b"), Some(B));
}

#[test]
fn a_file_larger_than_memory_is_refused_before_anything_is_fetched() {
    let mut manifest = manifest_of(&single());
    manifest.files[2].size = 1 << 62;
    let mut assembly = Assembly::new(manifest.to_json().as_bytes()).unwrap();
    let error = assembly.allocate().unwrap_err().to_string();
    assert!(error.contains("no memory for model.safetensors (4611686018427387904 bytes)"), "{error}");
}
