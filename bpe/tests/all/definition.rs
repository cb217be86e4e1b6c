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

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A pre-tokenizer that splits by a pattern.
fn split(pattern: &str) -> Value {
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
    ]})
}

#[test]
fn patterns_are_known_by_their_text() {
    let mut json = minimal();
    json["pre_tokenizer"] = split(LLAMA3);
    assert_eq!(read(&json).unwrap().encode("1111", Special::Parse), [5, 4, 4], "three and one");
    json["pre_tokenizer"] = split(&LLAMA3.replace("{1,3}", ""));
    assert_eq!(read(&json).unwrap().encode("1111", Special::Parse), [4; 4], "one by one");
    for (pointer, value, expected) in [
        (
            "0/pattern/Regex",
            json!(LLAMA3.replace("{1,3}", "{1,2}")),
            "[0].pattern.Regex` must be the pattern of Llama 3 or of Qwen2, but is \"(",
        ),
        (
            "0/pattern",
            json!({"String": LLAMA3}),
            "[0].pattern.Regex` must be the pattern of Llama 3 or of Qwen2, but is missing",
        ),
        ("0/behavior", json!("Removed"), "[0].behavior` must be \"Isolated\", but is \"Removed\""),
        ("0/invert", json!(true), "[0].invert` must be false, but is true"),
        ("1/use_regex", json!(true), "[1].use_regex` must be false (after Split), but is true"),
        ("1/use_regex", Value::Null, "[1].use_regex` must be false (after Split), but is null"),
    ] {
        let mut json = minimal();
        json["pre_tokenizer"] = split(LLAMA3);
        *json.pointer_mut(&format!("/pre_tokenizer/pretokenizers/{pointer}")).unwrap() = value;
        let message = read(&json).expect_err(pointer).to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_piece_that_is_a_token_needs_no_merges_where_they_are_ignored() {
    let mut json = minimal();
    json["model"]["merges"] = json!(["1 1"]);
    json["model"]["ignore_merges"] = json!(true);
    assert_eq!(read(&json).unwrap().encode("ab a", Special::Parse), [3, 1], "a space has no token");
    // An added token that is not in the vocabulary, and one with a character outside the alphabet, are no pieces.
    json["model"]["vocab"]["\u{6771}"] = json!(6);
    json["added_tokens"][0]["content"] = json!("ba");
    json["added_tokens"][0]["id"] = json!(7);
    let tokenizer = read(&json).unwrap();
    assert_eq!(tokenizer.encode("ba", Special::Plain), [2, 1]);
    assert_eq!(tokenizer.encode("\u{6771}", Special::Plain), [0_u32; 0]);
}

#[test]
fn what_comes_before_a_text_is_in_the_template() {
    let template = json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}});
    let byte_level = json!({"type": "ByteLevel"});
    let sequence = |list: &[&Value]| json!({"type": "Sequence", "processors": list});
    for (processor, prefix) in [
        (Value::Null, &[][..]),
        (byte_level.clone(), &[]),
        (template.clone(), &[0]),
        (sequence(&[&byte_level, &template]), &[0]),
        (sequence(&[]), &[]),
    ] {
        let mut json = minimal();
        json["post_processor"] = processor;
        let tokenizer = read(&json).unwrap();
        assert_eq!(tokenizer.prefix(), prefix);
        assert_eq!(tokenizer.encode("ab", Special::Parse), [prefix, &[3]].concat());
        assert_eq!(tokenizer.encode("", Special::Parse), prefix);
        assert_eq!(tokenizer.encode_bare("ab", Special::Parse), [3]);
    }
    assert!(
        message("/post_processor", sequence(&[&template, &template]))
            .contains("processors[1]` must be null, ByteLevel")
    );
    for (pointer, value, expected) in [
        ("/single", Value::Null, "single` must be a list of special tokens and, last, the Sequence A, but is null"),
        ("/single", json!([]), "single` must be a list of special tokens and, last, the Sequence A, but is []"),
        (
            "/single/1",
            template["single"][0].clone(),
            "single[1].Sequence.id` must be \"A\" (nothing comes after the text), but is missing",
        ),
        (
            "/single/0",
            template["single"][1].clone(),
            "single[0].SpecialToken.id` must be the name of a special token (before the text)",
        ),
        (
            "/special_tokens",
            json!({}),
            "special_tokens.<s>.ids` must be a list of ids of the vocabulary, but is missing",
        ),
        (
            "/special_tokens/<s>/ids",
            json!([6]),
            "special_tokens.<s>.ids` must be a list of ids of the vocabulary, but is [6]",
        ),
    ] {
        let mut changed = template.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        let message = message("/post_processor", changed);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn text_is_normalised_between_added_tokens() {
    let mut json = minimal();
    json["model"]["vocab"] = json!({"<s>": 0, "Ã": 1, "©": 2, "Ã©": 3, "e": 4});
    json["model"]["merges"] = json!(["Ã ©"]);
    assert_eq!(read(&json).unwrap().encode("e\u{301}", Special::Parse), [4]);
    json["normalizer"] = json!({"type": "NFC"});
    let tokenizer = read(&json).unwrap();
    assert_eq!(tokenizer.encode("e\u{301}\u{e9}", Special::Parse), [3, 3]);
    // Nothing is put together across an added token, and none is found in what comes of it.
    json["added_tokens"][0]["content"] = json!("e");
    json["added_tokens"][0]["id"] = json!(4);
    assert_eq!(read(&json).unwrap().encode("e\u{301}", Special::Parse), [4]);
    assert_eq!(read(&json).unwrap().encode("e\u{301}", Special::Plain), [3]);
    json["added_tokens"][0]["normalized"] = json!(true);
    let message = read(&json).unwrap_err().to_string();
    assert!(
        message.contains("`added_tokens[0].normalized` must be false (beside a normalizer), but is true"),
        "{message}"
    );
}

#[test]
fn settings_that_are_not_supported_are_refused_by_name() {
    for (pointer, value, expected) in [
        ("/truncation", json!({"max_length": 5}), "`truncation` must be null, but is {\"max_length\":5}"),
        ("/padding", json!({}), "`padding` must be null, but is {}"),
        ("/normalizer", json!({"type": "NFKC"}), "`normalizer` must be null or NFC, but is {\"type\":\"NFKC\"}"),
        (
            "/post_processor",
            json!({"type": "RobertaProcessing"}),
            "`post_processor` must be null, ByteLevel, TemplateProcessing, or a Sequence of these, but is {\"type\":\"RobertaProcessing\"}",
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
        ("/model/ignore_merges", json!(1), "`model.ignore_merges` must be true or false, but is 1"),
        ("/model/unk_token", json!(1), "`model.unk_token` must be null or a token of the vocabulary, but is 1"),
        (
            "/model/unk_token",
            json!("<unk>"),
            "`model.unk_token` must be null or a token of the vocabulary, but is \"<unk>\"",
        ),
        (
            "/pre_tokenizer",
            Value::Null,
            "`pre_tokenizer` must be ByteLevel, or a Sequence of Digits or Split and ByteLevel, but is null",
        ),
        (
            "/pre_tokenizer/pretokenizers",
            json!([]),
            "`pre_tokenizer.pretokenizers` must be ByteLevel, or a Sequence of Digits or Split and ByteLevel, but is []",
        ),
        (
            "/pre_tokenizer/pretokenizers/0",
            json!({"type": "Whitespace"}),
            "`pre_tokenizer.pretokenizers[0]` must be Digits or Split (before ByteLevel), but is {\"type\":\"Whitespace\"}",
        ),
        (
            "/pre_tokenizer/pretokenizers/0/individual_digits",
            json!(false),
            "`pre_tokenizer.pretokenizers[0].individual_digits` must be true, but is false",
        ),
        (
            "/pre_tokenizer/pretokenizers/1",
            json!({"type": "Split"}),
            "`pre_tokenizer.pretokenizers[1]` must be ByteLevel, or a Sequence of Digits or Split and ByteLevel, but is {\"type\":\"Split\"}",
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
        assert_eq!(message(pointer, value), expected);
    }
}

#[test]
fn damage_is_named_with_its_place() {
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
        assert_eq!(message(pointer, value), expected);
    }
    let twice = json!([minimal()["added_tokens"][0], minimal()["added_tokens"][0]]);
    assert!(message("/added_tokens", twice).contains("`added_tokens[1].content` is \"<s>\""));
    assert!(message("/normalizer", json!("é".repeat(200))).ends_with('…'), "long values are cut");
    let not_json = Tokenizer::from_json(b"{\"model\": ").unwrap_err();
    assert!(matches!(not_json, TokenizerError::Json { .. }));
    assert!(not_json.to_string().contains("line 1 column"), "{not_json}");
}
