//! `tokenizer.json` and `tokenizer_config.json` from the metadata: byte for byte the files of the original model.
//!
//! The order of the fields is that of the files, so a tokenizer has the same digest wherever its model came from.

use std::collections::HashSet;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{ConvertError, Metadata};

/// GGUF's type of a token that stands for itself and not for text: a control token.
const CONTROL: i128 = 3;

/// A JSON object with its entries in the order given.
struct Object<K, V>(Vec<(K, V)>);

impl<K: Serialize, V: Serialize> Serialize for Object<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// `tokenizer.json`.
#[derive(serde::Serialize)]
struct Tokenizer<'a> {
    version: &'static str,
    truncation: (),
    padding: (),
    added_tokens: Vec<AddedToken<'a>>,
    normalizer: (),
    pre_tokenizer: Sequence,
    post_processor: (),
    decoder: Step,
    model: Bpe<'a>,
}

#[derive(serde::Serialize)]
struct AddedToken<'a> {
    id: usize,
    content: &'a str,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

#[derive(serde::Serialize)]
#[serde(tag = "type")]
enum Sequence {
    Sequence { pretokenizers: [Step; 2] },
}

#[derive(serde::Serialize)]
#[serde(tag = "type")]
enum Step {
    Digits { individual_digits: bool },
    ByteLevel { add_prefix_space: bool, trim_offsets: bool, use_regex: bool },
}

#[derive(serde::Serialize)]
struct Bpe<'a> {
    r#type: &'static str,
    dropout: (),
    unk_token: (),
    continuing_subword_prefix: (),
    end_of_word_suffix: (),
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: Object<&'a str, usize>,
    merges: Vec<&'a str>,
}

/// `tokenizer_config.json`.
#[derive(serde::Serialize)]
struct TokenizerConfig<'a> {
    add_prefix_space: bool,
    added_tokens_decoder: Object<usize, DecodedToken<'a>>,
    additional_special_tokens: [&'a str; 2],
    bos_token: &'a str,
    chat_template: &'a str,
    clean_up_tokenization_spaces: bool,
    eos_token: &'a str,
    model_max_length: usize,
    pad_token: &'a str,
    tokenizer_class: &'static str,
    unk_token: &'a str,
    vocab_size: usize,
}

#[derive(serde::Serialize)]
struct DecodedToken<'a> {
    content: &'a str,
    lstrip: bool,
    normalized: bool,
    rstrip: bool,
    single_word: bool,
    special: bool,
}

/// A byte-level BPE with digits split off first; control tokens are special.
pub(super) fn tokenizer(metadata: &Metadata<'_>) -> Result<String, ConvertError> {
    let tokens = metadata.texts("tokenizer.ggml.tokens")?;
    let mut seen = HashSet::new();
    if let Some(token) = tokens.iter().find(|token| !seen.insert(**token)) {
        return Err(ConvertError::Contradiction(format!("two tokens have the text {token:?}")));
    }
    let added = |(id, content)| AddedToken {
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
    };
    let byte_level = |add_prefix_space| Step::ByteLevel { add_prefix_space, trim_offsets: true, use_regex: true };
    Ok(text(&Tokenizer {
        version: "1.0",
        truncation: (),
        padding: (),
        added_tokens: special(metadata, &tokens)?.into_iter().map(added).collect(),
        normalizer: (),
        pre_tokenizer: Sequence::Sequence {
            pretokenizers: [Step::Digits { individual_digits: true }, byte_level(false)],
        },
        post_processor: (),
        decoder: byte_level(true),
        model: Bpe {
            r#type: "BPE",
            dropout: (),
            unk_token: (),
            continuing_subword_prefix: (),
            end_of_word_suffix: (),
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
            vocab: Object(tokens.into_iter().enumerate().map(|(id, token)| (token, id)).collect()),
            merges: metadata.texts("tokenizer.ggml.merges")?,
        },
    }))
}

/// The chat template and the names of the special tokens.
pub(super) fn tokenizer_config(metadata: &Metadata<'_>) -> Result<String, ConvertError> {
    let tokens = metadata.texts("tokenizer.ggml.tokens")?;
    let name = |key| {
        let id = metadata.count(key)?;
        let token = tokens.get(id).copied();
        token.ok_or_else(|| ConvertError::Contradiction(format!("{key} is {id}, there are {} tokens", tokens.len())))
    };
    let decoded = |(id, content)| {
        let token = DecodedToken {
            content,
            lstrip: false,
            normalized: false,
            rstrip: false,
            single_word: false,
            special: true,
        };
        (id, token)
    };
    let (bos, eos) = (name("tokenizer.ggml.bos_token_id")?, name("tokenizer.ggml.eos_token_id")?);
    let mut config = text(&TokenizerConfig {
        add_prefix_space: false,
        added_tokens_decoder: Object(special(metadata, &tokens)?.into_iter().map(decoded).collect()),
        additional_special_tokens: [bos, eos],
        bos_token: bos,
        chat_template: metadata.text("tokenizer.chat_template")?,
        clean_up_tokenization_spaces: false,
        eos_token: eos,
        model_max_length: metadata.count("llama.context_length")?,
        pad_token: name("tokenizer.ggml.padding_token_id")?,
        tokenizer_class: "GPT2Tokenizer",
        unk_token: name("tokenizer.ggml.unknown_token_id")?,
        vocab_size: tokens.len(),
    });
    config.push('\n');
    Ok(config)
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

fn text(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("texts, numbers and objects with text keys are JSON")
}
