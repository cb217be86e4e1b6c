//! A model folder of a few kilobytes, for tests that ask much and need no sense: it computes a step in microseconds.

use std::fs;
use std::path::Path;

use loader::{DType, TensorSource, write_safetensors};
use serde_json::{Map, Value, json};

use super::TestError;
use crate::file::at;

const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
const VOCAB: usize = SPECIAL.len() + 256;
const DIM: usize = 16;
const HIDDEN: usize = 24;
const HEAD_DIM: usize = 8;
const CONTEXT: usize = 64;
const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}\
                        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Writes the folder.
///
/// # Errors
/// If a file cannot be written.
pub(super) fn write(folder: &Path) -> Result<(), TestError> {
    fs::create_dir_all(folder).map_err(at(folder))?;
    let config = json!({
        "model_type": "llama", "hidden_size": DIM, "intermediate_size": HIDDEN, "num_hidden_layers": 1,
        "num_attention_heads": DIM / HEAD_DIM, "num_key_value_heads": 1, "vocab_size": VOCAB,
        "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "eos_token_id": 2, "torch_dtype": "float32"
    });
    let chat = json!({ "chat_template": TEMPLATE, "eos_token": SPECIAL[2] });
    for (name, value) in [("config.json", config), ("tokenizer.json", tokenizer()), ("tokenizer_config.json", chat)] {
        let path = folder.join(name);
        fs::write(&path, value.to_string()).map_err(at(&path))?;
    }
    weights(&folder.join("model.safetensors"))
}

/// A token for each byte, behind the special ones.
fn tokenizer() -> Value {
    let added = |(id, content): (usize, &&str)| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true })
    };
    // GPT-2's alphabet: bytes that are no visible character are those from U+0100 on.
    let visible = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let letters = (0..=255).filter(visible).map(char::from).chain(('\u{100}'..).take(68)).map(String::from);
    let texts = SPECIAL.into_iter().map(String::from).chain(letters);
    let vocab: Map<String, Value> = texts.zip(0..).map(|(text, id)| (text, id.into())).collect();
    json!({
        "added_tokens": SPECIAL.iter().enumerate().map(added).collect::<Vec<_>>(),
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "decoder": { "type": "ByteLevel" },
        "model": { "type": "BPE", "vocab": vocab, "merges": [] },
    })
}

fn weights(path: &Path) -> Result<(), TestError> {
    let tensors: [(&str, &[usize]); 11] = [
        ("model.embed_tokens.weight", &[VOCAB, DIM]),
        ("model.layers.0.input_layernorm.weight", &[DIM]),
        ("model.layers.0.self_attn.q_proj.weight", &[DIM, DIM]),
        ("model.layers.0.self_attn.k_proj.weight", &[HEAD_DIM, DIM]),
        ("model.layers.0.self_attn.v_proj.weight", &[HEAD_DIM, DIM]),
        ("model.layers.0.self_attn.o_proj.weight", &[DIM, DIM]),
        ("model.layers.0.post_attention_layernorm.weight", &[DIM]),
        ("model.layers.0.mlp.gate_proj.weight", &[HIDDEN, DIM]),
        ("model.layers.0.mlp.up_proj.weight", &[HIDDEN, DIM]),
        ("model.layers.0.mlp.down_proj.weight", &[DIM, HIDDEN]),
        ("model.norm.weight", &[DIM]),
    ];
    // Small numbers without a pattern that the model could fall into.
    let value = |index: usize| (index.wrapping_mul(2_654_435_761) % 1009) as f32 / 1009.0 - 0.5;
    let bytes = tensors.map(|(_, shape)| -> Vec<u8> {
        (0..shape.iter().product()).flat_map(|index| value(index).to_le_bytes()).collect()
    });
    let sources: Vec<TensorSource<'_>> = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape), bytes)| TensorSource { name, dtype: DType::F32, shape, bytes })
        .collect();
    write_safetensors(path, &sources, &Default::default()).map_err(|error| TestError::Model(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_tokens_and_comes_back() {
        let tokenizer = bpe::Tokenizer::from_json(tokenizer().to_string().as_bytes()).unwrap();
        let text = "a é\0\u{7f}🙂<|im_end|>\n";
        let ids = tokenizer.encode(text, bpe::Special::Parse);
        assert_eq!((tokenizer.decode(&ids).unwrap(), tokenizer.vocab_size()), (text.to_owned(), VOCAB));
        assert_eq!(ids.iter().filter(|&&id| id == 2).count(), 1);
    }

    #[test]
    fn the_folder_is_one_that_the_loader_takes() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let checkpoint = loader::Checkpoint::open(folder.path(), loader::Access::Read).unwrap();
        assert!(checkpoint.tensor("model.norm.weight").is_some());
    }
}
