//! The published vectors in `docs/vectors`: the command gives every receipt its verdict and exit code, the real model gives its
//! tokens and its receipt, and the manifest names every file.
//!
//! With `LOCKSTEP_WRITE_VECTORS=1` the real model's files and the manifest are written instead, for a new version of the contract.

#[allow(dead_code, reason = "the receipts' own tests need more of it")]
#[path = "../../kernel/session/tests/receipts/model.rs"]
mod tiny;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kernel::model::Model;
use kernel::ops::Weights;
use kernel::transcript::PROFILE;
use loader::digest::{hex, sha256};
use loader::{DType, TensorSource, write_safetensors};
use serde::Deserialize;
use serde_json::{Value, json};
use session::adapter::{CONFIG_FILE, MODEL_FILE, export};

use crate::command::{lockstep, run, run_with_model};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors")
}

fn writing() -> bool {
    std::env::var_os("LOCKSTEP_WRITE_VECTORS").is_some()
}

/// A line of `receipts/vectors.json`.
#[derive(Deserialize)]
struct Vector {
    file: String,
    verdict: String,
    step: Option<u64>,
    #[serde(default)]
    why: String,
    signature: Option<String>,
    #[serde(default)]
    given: bool,
}

/// The tiny model that the receipts are of, as a folder.
fn write_model(dir: &Path, model: &Model) {
    fs::create_dir(dir).unwrap();
    let config = model.config();
    let keys = json!({
        "model_type": "llama", "hidden_size": config.dim, "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers, "num_attention_heads": config.heads, "head_dim": config.head_dim,
        "num_key_value_heads": config.kv_heads, "vocab_size": config.vocab, "max_position_embeddings": config.context,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "eos_token_id": tiny::EOS,
        "torch_dtype": "float32"
    });
    fs::write(dir.join("config.json"), keys.to_string()).unwrap();
    fs::write(dir.join("tokenizer.json"), tiny::TOKENIZER).unwrap();
    let tensors: Vec<_> = model
        .tensors()
        .map(|(row, weights)| match weights {
            Weights::F32(values) => (row, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()),
            Weights::Bf16(_) => unreachable!("the tensors are binary32"),
        })
        .collect();
    let sources = tensors.iter().map(|(row, bytes)| TensorSource {
        name: &row.name,
        dtype: DType::F32,
        shape: &row.shape,
        bytes,
    });
    write_safetensors(&dir.join("model.safetensors"), &sources.collect::<Vec<_>>(), &[].into()).unwrap();
}

/// The adapters of the clients of a round, each in a folder.
fn write_adapters(place: &Path, model: &Model) -> Vec<PathBuf> {
    let write = |(adapted, number): (Model, usize)| {
        let dir = place.join(format!("client-{number}"));
        let files = export(&adapted, "tiny").unwrap();
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(CONFIG_FILE), files.adapter_config).unwrap();
        fs::write(dir.join(MODEL_FILE), files.adapter_model).unwrap();
        dir
    };
    tiny::adapters(model).into_iter().zip(1..).map(write).collect()
}

#[test]
fn vectors_of_receipts_have_their_verdicts_and_exit_codes_on_the_command_line() {
    let place = tempfile::tempdir().unwrap();
    let (dir, model) = (place.path().join("tiny"), tiny::model(tiny::SEED));
    write_model(&dir, &model);
    let adapters = write_adapters(place.path(), &model);
    let data = place.path().join("data.jsonl");
    let line = |sequence: &kernel::model::Sequence| {
        let counted: String = sequence.counted.iter().map(|counts| if *counts { '1' } else { '0' }).collect();
        json!({ "ids": sequence.tokens, "counted": counted }).to_string()
    };
    fs::write(&data, tiny::data().iter().map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let prompt = tiny::PROMPT.map(|id| id.to_string()).join(",");

    let receipts = folder().join("receipts");
    let vectors: Vec<Vector> = serde_json::from_slice(&fs::read(receipts.join("vectors.json")).unwrap()).unwrap();
    assert!(vectors.len() > 100, "{}", vectors.len());
    for vector in vectors {
        let mut verify = lockstep("verify");
        verify.arg("--model").arg(&dir).args(["--threads", "1", "--json"]).arg(receipts.join(&vector.file));
        if vector.given && vector.file.starts_with("aggregation") {
            verify.args(adapters.iter().flat_map(|dir| [Path::new("--adapter"), dir]));
        } else if vector.given && ["training", "scoring"].iter().any(|kind| vector.file.starts_with(kind)) {
            verify.arg("--data").arg(&data);
        } else if vector.given {
            verify.args(["--prompt-ids", &prompt]);
        }
        let finished = run(&mut verify, b"");
        let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"));
        let code = match &vector.verdict[..] {
            "MATCH" => 0,
            "MISMATCH" => 3,
            "CANNOT_VERIFY" => 4,
            _ => 5,
        };
        assert_eq!(
            (finished.code, &report["verdict"]),
            (Some(code), &json!(vector.verdict)),
            "{}: {report}",
            vector.file
        );
        assert_eq!(report["step"], json!(vector.step), "{}: {report}", vector.file);
        let why = report["why"].as_str().unwrap_or_default();
        assert!(why.contains(&vector.why), "{}: {why}", vector.file);
        let signature = vector.signature.as_deref().unwrap_or("none");
        assert_eq!(report["signature"]["state"], signature, "{}", vector.file);
    }
}

#[test]
fn vectors_of_the_real_model_are_what_it_gives() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("r.json").display().to_string();
    let found = run_with_model("generate", &["--prompt", "Once upon a time", "--receipt", &file, "--json"]).json();
    let receipt: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let (real, real_receipt) = (folder().join("real.json"), folder().join("real-receipt.json"));
    let expected = json!({
        "profile": PROFILE,
        "model": {
            "name": "SmolLM2-135M-Instruct",
            "weights_sha256": receipt["model"]["weights_sha256"],
            "tokenizer_sha256": receipt["model"]["tokenizer_sha256"],
        },
        "prompt": "Once upon a time",
        "prompt_token_ids": found["prompt_token_ids"],
        "token_ids": found["token_ids"],
        "text": found["text"],
        "logits_sha256": found["logits_sha256"],
        "transcript_sha256": found["transcript_sha256"],
    });
    if writing() {
        fs::write(&real, format!("{}\n", serde_json::to_string_pretty(&expected).unwrap())).unwrap();
        fs::copy(&file, &real_receipt).unwrap();
        return;
    }
    let stored: Value = serde_json::from_slice(&fs::read(real).unwrap()).unwrap();
    assert_eq!(stored, expected);
    assert_eq!(fs::read(real_receipt).unwrap(), fs::read(file).unwrap());
}

/// All files below `dir`, by their path from `folder`.
fn files(dir: &Path, prefix: &str) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            all.extend(files(&entry.path(), &format!("{name}/")));
        } else if name != "README.md" && name != "manifest.json" {
            let bytes = fs::read(entry.path()).unwrap();
            all.insert(name, json!({ "bytes": bytes.len(), "sha256": hex(&sha256(&bytes)) }));
        }
    }
    all
}

#[test]
fn the_manifest_of_the_vectors_names_every_file() {
    let (path, files) = (folder().join("manifest.json"), files(&folder(), ""));
    if writing() {
        let lines: Vec<String> = files.iter().map(|(name, value)| format!("  \"{name}\": {value}")).collect();
        let text = format!("{{\"profile\": \"{PROFILE}\", \"files\": {{\n{}\n}}}}\n", lines.join(",\n"));
        fs::write(&path, text).unwrap();
        return;
    }
    let manifest: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(manifest["profile"], PROFILE);
    let named: BTreeMap<String, Value> = serde_json::from_value(manifest["files"].clone()).unwrap();
    assert_eq!(named, files);
    let bytes: u64 = files.values().map(|file| file["bytes"].as_u64().unwrap()).sum();
    assert!(bytes < 1_000_000, "the vectors have grown to {bytes} bytes");
}
