//! What a tokenizer.json may say, and the error for each way to be wrong.

use bpe::{Special, Tokenizer, TokenizerError};
use serde_json::{Value, json};

fn minimal() -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [
            {"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
        ],
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        ]},
        "post_processor": null,
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3, "1": 4, "11": 5}, "merges": ["a b", "1 1"]},
    })
}

fn read(json: &Value) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_json(json.to_string().as_bytes())
}

/// The message when the value at `pointer` is `value`.
fn message(pointer: &str, value: Value) -> String {
    let mut json = minimal();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match json.pointer_mut(parent).unwrap() {
        Value::Object(object) => drop(object.insert(name.to_owned(), value)),
        list => list[name.parse::<usize>().unwrap()] = value,
    }
    read(&json).expect_err(pointer).to_string()
}

#[test]
fn both_spellings_of_merges_are_read() {
    let mut json = minimal();
    assert_eq!(read(&json).unwrap().encode("ab11", Special::Parse), [3, 4, 4]);
    json["model"]["merges"] = json!(["#version: 0.2", "a b"]);
    assert_eq!(read(&json).unwrap().encode("ab", Special::Parse), [3]);
    json["model"]["merges"] = json!([["a", "b"], ["1", "1"]]);
    assert_eq!(read(&json).unwrap().encode("ab11", Special::Parse), [3, 4, 4]);
}

#[test]
fn a_token_that_no_merge_makes_is_not_used() {
    let mut json = minimal();
    json["model"]["merges"] = json!(["1 1"]);
    json["pre_tokenizer"] = json["pre_tokenizer"]["pretokenizers"][1].take();
    assert_eq!(read(&json).unwrap().encode("ab11", Special::Parse), [1, 2, 5]);
}

#[test]
fn added_tokens_are_special_only_if_they_say_so() {
    let mut json = minimal();
    let mut other = json["added_tokens"][0].clone();
    other["content"] = json!("<other>");
    other["id"] = json!(6);
    other["special"] = json!(false);
    json["added_tokens"].as_array_mut().unwrap().push(other);
    let tokenizer = read(&json).unwrap();
    assert_eq!(tokenizer.vocab_size(), 7);
    assert_eq!((tokenizer.special_id("<s>"), tokenizer.special_id("<other>")), (Some(0), None));
    assert_eq!((tokenizer.is_special(0), tokenizer.is_special(6)), (true, false));
    assert_eq!(tokenizer.encode("<other><s>", Special::Plain), [6]);
}

#[test]
fn pre_tokenizers_of_all_supported_shapes_are_read() {
    let mut json = minimal();
    let byte_level = json["pre_tokenizer"]["pretokenizers"][1].clone();
    for shape in [byte_level.clone(), json!({"type": "Sequence", "pretokenizers": [byte_level]})] {
        json["pre_tokenizer"] = shape;
        assert_eq!(read(&json).unwrap().encode("11", Special::Parse), [5], "without Digits");
    }
}

#[test]
fn settings_that_are_not_supported_are_refused_by_name() {
    let prefix = "tokenizer.json: ";
    for (pointer, value, expected) in [
        ("/truncation", json!({"max_length": 5}), "`truncation` must be null, but is {\"max_length\":5}"),
        ("/padding", json!({}), "`padding` must be null, but is {}"),
        ("/normalizer", json!({"type": "NFC"}), "`normalizer` must be null, but is {\"type\":\"NFC\"}"),
        (
            "/post_processor",
            json!({"type": "TemplateProcessing"}),
            "`post_processor` must be null or ByteLevel, but is {\"type\":\"TemplateProcessing\"}",
        ),
        ("/decoder", Value::Null, "`decoder` must be ByteLevel, but is null"),
        ("/model/type", json!("Unigram"), "`model.type` must be \"BPE\", but is \"Unigram\""),
        ("/model/dropout", json!(0.1), "`model.dropout` must be null or 0, but is 0.1"),
        (
            "/model/continuing_subword_prefix",
            json!("##"),
            "`model.continuing_subword_prefix` must be null or empty, but is \"##\"",
        ),
        (
            "/model/end_of_word_suffix",
            json!("</w>"),
            "`model.end_of_word_suffix` must be null or empty, but is \"</w>\"",
        ),
        ("/model/fuse_unk", json!(true), "`model.fuse_unk` must be false, but is true"),
        ("/model/byte_fallback", json!(true), "`model.byte_fallback` must be false, but is true"),
        ("/model/ignore_merges", json!(true), "`model.ignore_merges` must be false, but is true"),
        ("/model/unk_token", json!(1), "`model.unk_token` must be null or a token of the vocabulary, but is 1"),
        (
            "/model/unk_token",
            json!("<unk>"),
            "`model.unk_token` must be null or a token of the vocabulary, but is \"<unk>\"",
        ),
        (
            "/pre_tokenizer",
            Value::Null,
            "`pre_tokenizer` must be ByteLevel, or a Sequence of Digits and ByteLevel, but is null",
        ),
        (
            "/pre_tokenizer/pretokenizers",
            json!([]),
            "`pre_tokenizer.pretokenizers` must be ByteLevel, or a Sequence of Digits and ByteLevel, but is []",
        ),
        (
            "/pre_tokenizer/pretokenizers/0",
            json!({"type": "Split"}),
            "`pre_tokenizer.pretokenizers[0]` must be Digits (before ByteLevel), but is {\"type\":\"Split\"}",
        ),
        (
            "/pre_tokenizer/pretokenizers/0/individual_digits",
            json!(false),
            "`pre_tokenizer.pretokenizers[0].individual_digits` must be true, but is false",
        ),
        (
            "/pre_tokenizer/pretokenizers/1",
            json!({"type": "Split"}),
            "`pre_tokenizer.pretokenizers[1]` must be ByteLevel, or a Sequence of Digits and ByteLevel, but is {\"type\":\"Split\"}",
        ),
        (
            "/pre_tokenizer/pretokenizers/1/add_prefix_space",
            json!(true),
            "`pre_tokenizer.pretokenizers[1].add_prefix_space` must be false, but is true",
        ),
        (
            "/pre_tokenizer/pretokenizers/1/use_regex",
            json!(false),
            "`pre_tokenizer.pretokenizers[1].use_regex` must be true, but is false",
        ),
        ("/added_tokens/0/single_word", json!(true), "`added_tokens[0].single_word` must be false, but is true"),
        ("/added_tokens/0/lstrip", json!(true), "`added_tokens[0].lstrip` must be false, but is true"),
        ("/added_tokens/0/rstrip", json!(true), "`added_tokens[0].rstrip` must be false, but is true"),
    ] {
        assert_eq!(message(pointer, value), format!("{prefix}{expected}"));
    }
}

#[test]
fn damage_is_named_with_its_place() {
    let prefix = "tokenizer.json: ";
    for (pointer, value, expected) in [
        ("/model", json!({}), "`model.vocab` must be an object of tokens and ids, but is missing"),
        ("/model/vocab/a", json!("x"), "`model.vocab.a` must be an id: an integer, 0 or above, but is \"x\""),
        ("/model/vocab/a", json!(6), "`model.vocab` gives \"a\" the id 6, but its 6 tokens must have the ids 0 to 5"),
        ("/model/vocab/a", json!(2), "`model.vocab` gives the id 2 to both \"a\" and \"b\""),
        ("/model/merges", Value::Null, "`model.merges` must be a list of merges, but is null"),
        (
            "/model/merges/0",
            json!("a"),
            "`model.merges[0]` must be two tokens: \"a b\" or [\"a\", \"b\"], but is \"a\"",
        ),
        (
            "/model/merges/0",
            json!("a b c"),
            "`model.merges[0]` must be two tokens: \"a b\" or [\"a\", \"b\"], but is \"a b c\"",
        ),
        (
            "/model/merges/0",
            json!(["a"]),
            "`model.merges[0]` must be two tokens: \"a b\" or [\"a\", \"b\"], but is [\"a\"]",
        ),
        ("/model/merges/1", json!("a z"), "`model.merges[1]` needs the token \"z\", which is not in `model.vocab`"),
        ("/model/merges/1", json!("b a"), "`model.merges[1]` needs the token \"ba\", which is not in `model.vocab`"),
        ("/model/merges/1", json!(["a", "b"]), "`model.merges[1]` repeats the merge of \"a\" and \"b\""),
        ("/added_tokens", json!("x"), "`added_tokens` must be a list of tokens or null, but is \"x\""),
        (
            "/added_tokens/0/content",
            json!(""),
            "`added_tokens[0].content` is \"\"; it must not be empty, nor stand there twice",
        ),
        ("/added_tokens/0/content", json!("new"), "the added token \"new\" has the id 0, but must have 6"),
        ("/added_tokens/0/id", json!(1), "the added token \"<s>\" has the id 1, but must have 0"),
        ("/added_tokens/0/special", Value::Null, "`added_tokens[0].special` must be true or false, but is null"),
        ("/added_tokens/0/normalized", json!(1), "`added_tokens[0].normalized` must be true or false, but is 1"),
    ] {
        assert_eq!(message(pointer, value), format!("{prefix}{expected}"));
    }
    let twice = json!([minimal()["added_tokens"][0], minimal()["added_tokens"][0]]);
    assert!(message("/added_tokens", twice).contains("`added_tokens[1].content` is \"<s>\""));
    assert!(message("/normalizer", json!("é".repeat(200))).ends_with('…'), "long values are cut");
    let not_json = Tokenizer::from_json(b"{\"model\": ").unwrap_err();
    assert!(matches!(not_json, TokenizerError::Json { .. }));
    assert!(not_json.to_string().contains("line 1 column"), "{not_json}");
}
