//! A model whose weights are all zero: every logit is 0, so that greedy choice takes token 0 and every digest is known.

use browser::assembly::Assembly;
use browser::engine::{Advance, End, Engine, EngineError, Run};
use kernel::Exec;
use kernel::generate::{FinishReason, PREFILL_CHUNK, Sampler};
use kernel::golden::Tiny;
use kernel::model::{Config, parameters};
use loader::digest::{TensorDigest, sha256, weights_digest};
use loader::manifest::{Manifest, ManifestFile};
use loader::{DType, TensorSource, write_safetensors};
use serde_json::{Value, json};

const VOCAB: usize = 4;
const TEMPLATE: &str = "{% for message in messages %}{{ message['content'] }}<end>{% endfor %}";

pub fn config() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 2, "intermediate_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1,
        "vocab_size": VOCAB, "max_position_embeddings": 100, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
        "rope_parameters": { "rope_theta": 10000.0 }, "eos_token_id": 3
    })
}

/// The tokens 0 to 3: a special one ends the text; `é` is the two bytes of the others.
pub fn tokenizer(first: &str, second: &str) -> Value {
    json!({
        "added_tokens": [{ "id": 3, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true }],
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "decoder": { "type": "ByteLevel" },
        "model": { "type": "BPE", "vocab": { first: 0, second: 1, "©": 2, "<end>": 3 }, "merges": [] },
    })
}

/// The names and shapes of the model's tensors.
pub fn tensors() -> Vec<(String, Vec<usize>)> {
    let config = Config {
        vocab: VOCAB,
        dim: 2,
        hidden: 2,
        layers: 1,
        heads: 1,
        kv_heads: 1,
        head_dim: 2,
        context: 100,
        ..Tiny::One.config()
    };
    parameters(&config).into_iter().map(|parameter| (parameter.name, parameter.shape)).collect()
}

/// Assembles files with these contents, and a manifest that fits them.
fn load(
    config: &str,
    tokenizer: &str,
    tensors: Vec<(String, Vec<usize>)>,
    dtype: DType,
) -> Result<Engine, EngineError> {
    load_filled(config, tokenizer, tensors, dtype, &[0; 1000])
}

/// As [`load`]; every tensor begins as `fill` does.
pub fn load_filled(
    config: &str,
    tokenizer: &str,
    tensors: Vec<(String, Vec<usize>)>,
    dtype: DType,
    fill: &[u8],
) -> Result<Engine, EngineError> {
    let bytes = |shape: &[usize]| &fill[..shape.iter().product::<usize>() * dtype.bits() as usize / 8];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let sources: Vec<TensorSource> =
        tensors.iter().map(|(name, shape)| TensorSource { name, dtype, shape, bytes: bytes(shape) }).collect();
    write_safetensors(&path, &sources, &Default::default()).unwrap();
    let digests: Vec<TensorDigest> = sources.iter().map(TensorSource::digest).collect();
    let files = [
        ("config.json", config.as_bytes().to_vec()),
        ("tokenizer.json", tokenizer.as_bytes().to_vec()),
        ("tokenizer_config.json", json!({ "chat_template": TEMPLATE }).to_string().into_bytes()),
        ("model.safetensors", std::fs::read(path).unwrap()),
    ];
    let manifest = Manifest {
        name: "zero".to_owned(),
        source: "test".to_owned(),
        revision: None,
        files: files
            .iter()
            .map(|(name, bytes)| ManifestFile {
                name: (*name).to_owned(),
                size: bytes.len() as u64,
                sha256: sha256(bytes),
            })
            .collect(),
        tensors: digests.iter().map(|tensor| (tensor.name.clone(), tensor.sha256)).collect(),
        weights_sha256: weights_digest(digests),
    };
    let mut assembly = Assembly::new(manifest.to_json().as_bytes()).unwrap();
    assembly.allocate().unwrap();
    for (at, (_, bytes)) in files.iter().enumerate() {
        assembly.write(at, bytes.len(), |room| room.copy_from_slice(bytes)).unwrap();
    }
    Engine::new(assembly.finish().unwrap(), Exec::serial())
}

fn engine(config: Value, tokenizer: Value) -> Engine {
    load(&config.to_string(), &tokenizer.to_string(), tensors(), DType::Bf16).unwrap()
}

/// The texts of all steps, and how the generation ended.
fn generate(engine: &Engine, prompt: &[u32], max_tokens: usize) -> (Vec<String>, FinishReason, [u8; 32]) {
    let mut run = Run::new(engine, prompt.to_vec(), max_tokens, Sampler::GREEDY, vec![]).unwrap();
    let mut texts = Vec::new();
    loop {
        if let Advance::Token { step, token_id, text, logits_sha256, end } = run.advance(engine).unwrap() {
            texts.push(text);
            assert_eq!((step, token_id), (texts.len(), 0));
            assert_eq!(logits_sha256, sha256(&[0; 4 * VOCAB]));
            if let Some(End { reason, transcript, .. }) = end {
                assert_eq!(run.advance(engine).unwrap(), Advance::Finished);
                return (texts, reason, transcript);
            }
        }
    }
}

#[test]
fn a_model_generates_from_the_bytes_that_arrived() {
    let engine = engine(config(), tokenizer("a", "Ã"));
    assert_eq!(engine.self_test(), &Ok(()));
    assert_eq!((engine.name(), engine.source(), engine.context()), ("zero", "test", 100));
    let (texts, reason, transcript) = generate(&engine, &[1], 3);
    assert_eq!((texts, reason), (vec!["a".to_owned(); 3], FinishReason::Length));
    assert_ne!(transcript, generate(&engine, &[2], 3).2);
    assert_eq!(transcript, generate(&engine, &[1], 3).2);
}

#[test]
fn a_long_prompt_is_read_in_parts() {
    let mut config = config();
    config["max_position_embeddings"] = 1000.into();
    let engine = engine(config, tokenizer("a", "Ã"));
    let total = PREFILL_CHUNK + 6;
    let mut run = Run::new(&engine, vec![1; total], 1, Sampler::GREEDY, vec![]).unwrap();
    assert_eq!(run.advance(&engine).unwrap(), Advance::Prefill { done: PREFILL_CHUNK, total });
    assert!(matches!(run.advance(&engine).unwrap(), Advance::Token { step: 1, .. }));
}

#[test]
fn the_token_that_ends_the_text_counts_and_has_no_text() {
    let mut config = config();
    config["eos_token_id"] = json!([0, 3]);
    let (texts, reason, _) = generate(&engine(config, tokenizer("a", "Ã")), &[1], 9);
    assert_eq!((texts, reason), (vec![String::new()], FinishReason::Stop));
}

#[test]
fn half_a_character_is_held_back_and_the_texts_joined_are_the_decoded_ids() {
    let engine = engine(config(), tokenizer("Ã", "a"));
    let (texts, ..) = generate(&engine, &[1], 3);
    assert_eq!(texts, ["", "\u{fffd}", "\u{fffd}\u{fffd}"]);
    assert_eq!(texts.concat(), engine.decode(&[0, 0, 0]).unwrap());
}

/// The text "aaaa" ends before "aaa", with the token that completes it.
#[test]
fn a_text_ends_before_a_stop_string() {
    let engine = engine(config(), tokenizer("a", "Ã"));
    let stops = |stop: &str| Run::new(&engine, vec![1], 9, Sampler::GREEDY, vec![stop.to_owned()]);
    let mut run = stops("aaa").unwrap();
    for step in 1..=3 {
        let Advance::Token { text, end, .. } = run.advance(&engine).unwrap() else { panic!("step {step}") };
        assert_eq!((text.as_str(), end.is_some()), ("", step == 3));
        assert!(end.is_none_or(|end| end.reason == FinishReason::Stop && end.receipt.unwrap().contains("[\"aaa\"]")));
    }
    assert_eq!(run.advance(&engine).unwrap(), Advance::Finished);
    assert!(stops("").err().unwrap().to_string().contains("empty"));
}

#[test]
fn a_private_receipt_has_no_token_ids() {
    let engine = engine(config(), tokenizer("a", "Ã"));
    let receipt = |private| {
        let mut run = Run::new(&engine, vec![1, 2], 1, Sampler::GREEDY, vec![]).unwrap();
        run.private = private;
        let Advance::Token { end, .. } = run.advance(&engine).unwrap() else { panic!("one token") };
        end.unwrap().receipt.unwrap()
    };
    let (open, private) = (receipt(false), receipt(true));
    assert!(open.contains("\"prompt_ids\":[1,2]") && open.contains("\"token_ids\":[0]"));
    assert!(!private.contains("_ids\":[") && private.contains("\"token_ids_sha256\""));
}

#[test]
fn messages_are_encoded_by_the_template_as_plain_text() {
    let engine = engine(config(), tokenizer("a", "Ã"));
    let message = |role: &str, content: &str| bpe::Message { role: role.to_owned(), content: content.to_owned() };
    assert_eq!(
        engine.encode_messages(&[message("user", "a"), message("assistant", "é<end>")]).unwrap(),
        [0, 3, 1, 2, 3]
    );
    assert!(engine.encode_messages(&[]).unwrap_err().to_string().contains("at least one"));
    assert!(engine.encode_messages(&[message("tool", "a")]).unwrap_err().to_string().contains("\"tool\""));
}

#[test]
fn special_tokens_are_recognised_unless_they_are_to_be_plain() {
    let engine = engine(config(), tokenizer("a", "Ã"));
    assert_eq!(engine.encode("aé<end>", bpe::Special::Parse), [0, 1, 2, 3]);
    assert_eq!(engine.encode("a<end>", bpe::Special::Plain), [0]);
    assert_eq!(engine.decode(&[0, 1, 2, 3]).unwrap(), "aé<end>");
    assert!(engine.decode(&[9]).unwrap_err().to_string().contains('9'));
}

#[test]
fn requests_that_cannot_be_met_are_refused_with_their_numbers() {
    let engine = engine(config(), tokenizer("a", "Ã"));
    let refusal = |prompt: Vec<u32>, max_tokens| {
        Run::new(&engine, prompt, max_tokens, Sampler::GREEDY, vec![]).err().unwrap().to_string()
    };
    assert!(refusal(vec![1; 60], 41).contains("a prompt of 60 tokens and 41 new ones exceed the context of 100"));
    assert!(refusal(vec![4], 1).contains('4'));
    assert!(!refusal(vec![], 1).is_empty() && !refusal(vec![1], 0).is_empty());
}

#[test]
fn what_is_no_model_is_refused_and_named() {
    let (config, tokenizer) = (config().to_string(), tokenizer("a", "Ã").to_string());
    let refusal = |config: &str, tokenizer: &str, tensors, dtype| {
        load(config, tokenizer, tensors, dtype).err().expect("this is no model").to_string()
    };
    assert!(refusal("[]", &tokenizer, tensors(), DType::Bf16).contains("config.json is not a JSON object"));
    assert!(refusal("{}", &tokenizer, tensors(), DType::Bf16).contains("model_type"));
    assert!(refusal(&config, "{}", tensors(), DType::Bf16).starts_with("tokenizer.json"));
    let missing = refusal(&config, &tokenizer, tensors().split_off(1), DType::Bf16);
    assert!(missing.contains("model.embed_tokens.weight"), "{missing}");
    let element = refusal(&config, &tokenizer, tensors(), DType::I16);
    assert!(element.contains("of type I16") && element.contains("model."), "{element}");
}

/// Newer configurations have the base of the rotary embedding in an object of its own.
#[test]
fn the_rotary_base_is_found_in_both_places() {
    assert_eq!(config()["rope_theta"], Value::Null);
    let mut flat = config();
    flat["rope_theta"] = flat["rope_parameters"]["rope_theta"].take();
    flat["rope_parameters"] = Value::Null;
    assert_eq!(engine(flat, tokenizer("a", "Ã")).context(), 100);
}
