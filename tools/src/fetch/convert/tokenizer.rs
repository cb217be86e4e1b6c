//! `tokenizer.json` and `tokenizer_config.json` from the metadata.

use serde_json::{Map, Value as Json, json};

use super::{ConvertError, Metadata};

/// GGUF's type of a token that stands for itself and not for text: a control token.
const CONTROL: i128 = 3;

/// A byte-level BPE with digits split off first, as the tokenizer of the original model.
pub(super) fn tokenizer(metadata: &Metadata<'_>) -> Result<Json, ConvertError> {
    let tokens = metadata.texts("tokenizer.ggml.tokens")?;
    let merges = metadata.texts("tokenizer.ggml.merges")?;
    let mut vocab = Map::new();
    for (id, &token) in tokens.iter().enumerate() {
        if vocab.insert(token.to_owned(), json!(id)).is_some() {
            return Err(ConvertError::Contradiction(format!("token {id} has the text {token:?} of an earlier one")));
        }
    }
    let added: Vec<Json> = special(metadata, &tokens)?
        .into_iter()
        .map(|(id, token)| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect();
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                { "type": "Digits", "individual_digits": true },
                { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
            ],
        },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocab,
            "merges": merges,
        },
    }))
}

/// The chat template and the names of the special tokens.
pub(super) fn tokenizer_config(metadata: &Metadata<'_>) -> Result<Json, ConvertError> {
    let tokens = metadata.texts("tokenizer.ggml.tokens")?;
    let name = |key| {
        let id = metadata.count(key)?;
        let token = tokens.get(id).copied();
        token.ok_or_else(|| ConvertError::Contradiction(format!("{key} is {id}, there are {} tokens", tokens.len())))
    };
    let decoder: Map<String, Json> = special(metadata, &tokens)?
        .into_iter()
        .map(|(id, token)| {
            let entry = json!({
                "content": token, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false,
                "special": true,
            });
            (id.to_string(), entry)
        })
        .collect();
    Ok(json!({
        "add_prefix_space": false,
        "added_tokens_decoder": decoder,
        "bos_token": name("tokenizer.ggml.bos_token_id")?,
        "chat_template": metadata.text("tokenizer.chat_template")?,
        "clean_up_tokenization_spaces": false,
        "eos_token": name("tokenizer.ggml.eos_token_id")?,
        "model_max_length": metadata.count("llama.context_length")?,
        "pad_token": name("tokenizer.ggml.padding_token_id")?,
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": name("tokenizer.ggml.unknown_token_id")?,
        "vocab_size": tokens.len(),
    }))
}

/// The control tokens with their ids.
fn special<'a>(metadata: &Metadata<'_>, tokens: &[&'a str]) -> Result<Vec<(usize, &'a str)>, ConvertError> {
    let types = metadata.integers("tokenizer.ggml.token_type")?;
    let vocab = metadata.count("llama.vocab_size")?;
    if types.len() != tokens.len() || vocab != tokens.len() {
        return Err(ConvertError::Contradiction(format!(
            "{} tokens, {} token types, a vocabulary of {vocab}",
            tokens.len(),
            types.len()
        )));
    }
    let tokens = tokens.iter().copied().enumerate().zip(types);
    Ok(tokens.filter(|&(_, kind)| kind == CONTROL).map(|(token, _)| token).collect())
}
