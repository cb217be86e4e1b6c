//! A tiny model with the real tokenizer, for tests that run the binary often and need no sense.

use std::path::{Path, PathBuf};

use kernel::golden::Tiny;
use kernel::model::{Config, parameters};
use kernel::random::{Purpose, uniform};
use loader::{DType, TensorSource, write_safetensors};
use serde_json::json;

use crate::model;

const CONTEXT: usize = 1 << 20;

/// Writes a model folder into `folder`; `seed` decides its weights.
pub fn write(folder: &Path, seed: u64) -> PathBuf {
    fill(folder, &format!("tiny-{seed}"), |_, stream, i| uniform(seed, Purpose::Golden, stream, i) - 0.5)
}

/// Writes a model that says `token` after `before`, and goes on saying it.
pub fn write_repeating(folder: &Path, before: u32, token: u32) -> PathBuf {
    fill(folder, "repeating", |name, _, i| match name {
        // Twice as far in the same direction: its logit is the highest.
        "model.embed_tokens.weight" if i / 16 == u64::from(token) => 2.0,
        "model.embed_tokens.weight" if i / 16 == u64::from(before) => 1.0,
        name if name.ends_with("norm.weight") => 1.0,
        _ => 0.0,
    })
}

/// Writes a model folder with these values: of a tensor, its number, and the index in it.
fn fill(folder: &Path, name: &str, value: impl Fn(&str, u32, u64) -> f32) -> PathBuf {
    let config = Config {
        vocab: 49152,
        dim: 16,
        hidden: 24,
        heads: 2,
        kv_heads: 1,
        head_dim: 8,
        context: CONTEXT,
        eos: vec![2],
        ..Tiny::One.config()
    };
    let keys = json!({
        "model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 49152, "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "eos_token_id": 2,
        "torch_dtype": "float32"
    });
    let dir = folder.join(name);
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("config.json"), keys.to_string()).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(model::dir().join(name), dir.join(name)).unwrap();
    }
    let bytes: Vec<Vec<u8>> = parameters(&config)
        .iter()
        .zip(0..)
        .map(|(parameter, stream)| {
            let count = parameter.shape.iter().product::<usize>() as u64;
            (0..count).flat_map(|i| value(&parameter.name, stream, i).to_le_bytes()).collect()
        })
        .collect();
    let table = parameters(&config);
    let tensors: Vec<TensorSource> = table
        .iter()
        .zip(&bytes)
        .map(|(row, bytes)| TensorSource { name: &row.name, dtype: DType::F32, shape: &row.shape, bytes })
        .collect();
    write_safetensors(&dir.join("model.safetensors"), &tensors, &[].into()).unwrap();
    dir
}
