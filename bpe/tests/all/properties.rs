//! Random texts and ids: equal to the naive oracle, streaming equal to whole decoding, nothing lost on the way.

use std::sync::LazyLock;

use bpe::{Special, StreamDecoder, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::folder::{JSON, TOKENIZER};
use crate::naive::Naive;

static NAIVE: LazyLock<Naive> = LazyLock::new(|| Naive::from_json(&serde_json::from_slice(&JSON).unwrap()));

/// Text that hits the splitter's corners far more often than random characters do.
fn ascii_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => "[ -~]",
        2 => "[a-e]{1,8}",
        2 => "[ \t\n\r\x0b\x0c]{1,4}",
        1 => "'(s|t|re|ve|m|ll|d|S|RE|r|v|l)?",
        1 => "[0-9]{1,3}",
        1 => "[\\x00-\\x7f]",
        1 => " ?(the|and|Hello|ing|tion)",
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

/// A random vocabulary over `abcd`, whose merges need not come in an order that training would give them.
fn vocabulary() -> impl Strategy<Value = Value> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..24).prop_flat_map(|picks| {
        let mut tokens: Vec<String> = ["a", "b", "c", "d"].map(String::from).to_vec();
        let mut merges: Vec<[String; 2]> = Vec::new();
        for (left, right) in picks {
            let pair = [left.get(&tokens).clone(), right.get(&tokens).clone()];
            if merges.contains(&pair) || pair.concat().len() > 12 {
                continue;
            }
            if !tokens.contains(&pair.concat()) {
                tokens.push(pair.concat());
            }
            merges.push(pair);
        }
        Just(merges).prop_shuffle().prop_map(move |merges| {
            let vocab: serde_json::Map<String, Value> =
                tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
            json!({
                "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
                "decoder": {"type": "ByteLevel"},
                "model": {"type": "BPE", "vocab": vocab, "merges": merges},
            })
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ascii_text_is_split_and_merged_like_the_naive_oracle(text in ascii_text()) {
        prop_assert_eq!(TOKENIZER.encode(&text, Special::Plain), NAIVE.encode_ascii(&text));
    }

    #[test]
    fn pieces_of_all_lengths_merge_like_the_naive_oracle(word in "[a-z]{1,30}|[a-c]{120,136}|[a-z]{100,200}") {
        prop_assert_eq!(TOKENIZER.encode(&word, Special::Plain), NAIVE.merge(&word));
    }

    #[test]
    fn any_merges_in_any_order_give_what_the_naive_oracle_gives(
        definition in vocabulary(),
        word in "[a-d]{0,40}|[a-d]{120,200}|[ab]{120,200}",
    ) {
        let tokenizer = Tokenizer::from_json(definition.to_string().as_bytes()).unwrap();
        prop_assert_eq!(tokenizer.encode(&word, Special::Parse), Naive::from_json(&definition).merge(&word), "{}", definition);
    }

    #[test]
    fn text_comes_back_without_the_bytes_that_have_no_token(text in any::<String>()) {
        let kept: Vec<u8> = text
            .bytes()
            .filter(|&byte| (0..49152).take(300).any(|id| TOKENIZER.token_bytes(id).unwrap() == [byte]))
            .collect();
        let ids = TOKENIZER.encode(&text, Special::Plain);
        prop_assert_eq!(TOKENIZER.decode(&ids).unwrap(), String::from_utf8_lossy(&kept));
    }

    #[test]
    fn streaming_equals_whole_decoding(ids in prop::collection::vec(prop_oneof![0u32..49152, 17u32..260, 8000u32..8200], 0..40)) {
        let mut decoder = StreamDecoder::new();
        let mut streamed = String::new();
        for (n, &id) in ids.iter().enumerate() {
            streamed.push_str(&decoder.push(&TOKENIZER, id).unwrap());
            // What was given is final: it starts the text of any continuation, and at most one character waits.
            let so_far = TOKENIZER.decode(&ids[..=n]).unwrap();
            prop_assert!(so_far.starts_with(&streamed));
            prop_assert!(so_far[streamed.len()..].chars().count() <= 1);
        }
        streamed.push_str(&decoder.finish());
        prop_assert_eq!(streamed, TOKENIZER.decode(&ids).unwrap());
    }
}

#[test]
fn a_character_in_several_tokens_is_streamed_in_one_go() {
    let ids = TOKENIZER.encode("a\u{1d4d0}b", Special::Plain);
    let mut decoder = StreamDecoder::new();
    let parts: Vec<String> = ids.iter().map(|&id| decoder.push(&TOKENIZER, id).unwrap()).collect();
    assert!(ids.len() > 3, "the character has several tokens: {ids:?}");
    assert_eq!(parts.iter().filter(|part| !part.is_empty()).collect::<Vec<_>>(), ["a", "\u{1d4d0}", "b"]);
}

/// One megabyte each, of what makes other tokenizers slow: with quadratic work this would take hours.
#[test]
fn hostile_texts_of_a_megabyte_are_encoded() {
    const MEGABYTE: usize = 1 << 20;
    for unit in [
        "a",
        " ",
        "\n",
        "1",
        "🙂",
        "\u{1d4d0}",
        "'",
        "<",
        "<|im_end|>",
        "<|im_start",
        "ab",
        "\u{4}",
        "\u{301}",
        " \n",
        "\u{a0}",
    ] {
        let text = unit.repeat(MEGABYTE / unit.len());
        for special in [Special::Parse, Special::Plain] {
            let ids = TOKENIZER.encode(&text, special);
            let expected = if unit == "\u{4}" { "" } else { &text };
            assert!(TOKENIZER.decode(&ids).unwrap() == expected, "{unit:?} does not come back");
        }
    }
}
