use bpe::ChatError;

use super::*;
use serde_json::json;

/// A token for each of these characters, and a few of two; 0 to 2 are special.
fn tokenizer() -> Tokenizer {
    let special = ["<|user|>", "<|assistant|>", "<|end|>"];
    let added = special.iter().enumerate().map(|(id, content)| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true })
    });
    let mut vocab: serde_json::Map<_, _> = special.iter().zip(0..).map(|(t, id)| (t.to_string(), json!(id))).collect();
    vocab.extend("abcdefgh".chars().zip(3..).map(|(c, id)| (c.to_string(), json!(id))));
    // A space is written so; it is a token with an h, as is g.
    vocab.extend(["\u{120}", "\u{120}h", "gh"].into_iter().zip(11..).map(|(c, id)| (c.to_string(), json!(id))));
    let json = json!({
        "added_tokens": added.collect::<Vec<_>>(),
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "decoder": { "type": "ByteLevel" },
        "model": { "type": "BPE", "vocab": vocab, "merges": [["\u{120}", "h"], ["g", "h"]] },
    });
    Tokenizer::from_json(json.to_string().as_bytes()).unwrap()
}

const TEMPLATE: &str = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}\
                        {% if add_generation_prompt %}<|assistant|>{% endif %}";

fn parse(lines: &str, context: usize, truncate: bool) -> Result<Vec<Sequence>, DataError> {
    let config = json!({ "chat_template": TEMPLATE }).to_string();
    let (tokenizer, special, tokenizer_config) = (tokenizer(), bpe::Special::Parse, Some(config.as_bytes()));
    Reader { tokenizer: &tokenizer, special, tokenizer_config, context, truncate }.lines(lines.as_bytes())
}

fn conversation(messages: &[(&str, &str)]) -> String {
    let messages: Vec<_> = messages.iter().map(|(role, text)| json!({ "role": role, "content": text })).collect();
    json!({ "messages": messages }).to_string()
}

#[test]
fn every_token_of_a_text_counts_and_of_a_conversation_the_answers() {
    let chat = conversation(&[("user", "ab"), ("assistant", "c"), ("user", "d"), ("assistant", "e"), ("user", "f")]);
    let sequences = parse(&format!("{{\"text\":\"a<|end|>b\",\"id\":1}}\n{chat}\n"), 100, false).unwrap();
    assert_eq!(sequences[0], Sequence::new(vec![3, 2, 4]));
    assert_eq!(sequences[1].tokens, [0, 3, 4, 2, 1, 5, 2, 0, 6, 2, 1, 7, 2]);
    let marks: String = sequences[1].counted.iter().map(|counts| if *counts { 'x' } else { '-' }).collect();
    assert_eq!(marks, "-----xx----xx");
}

#[test]
fn a_text_or_a_conversation_alone_is_read_as_a_line_is() {
    let (tokenizer, config) = (tokenizer(), json!({ "chat_template": TEMPLATE }).to_string());
    let reader = |tokenizer_config| Reader {
        tokenizer: &tokenizer,
        special: bpe::Special::Parse,
        tokenizer_config,
        context: 9,
        truncate: false,
    };
    let told = |messages: &[(&str, &str)]| -> Vec<Message> {
        messages.iter().map(|(role, text)| Message { role: role.to_string(), content: text.to_string() }).collect()
    };
    let reads = reader(Some(config.as_bytes()));
    let chat = [("user", "ab"), ("assistant", "c")];
    let lines = format!("{{\"text\":\"abc\"}}\n{}", conversation(&chat));
    assert_eq!([reads.text("abc").unwrap(), reads.messages(&told(&chat)).unwrap()], *parse(&lines, 9, false).unwrap());
    for (messages, words) in [
        (told(&[("user", "ab")]), "the conversation: no message"),
        (told(&[("user", "abcdef"), ("assistant", "c")]), "the conversation has 11 tokens"),
    ] {
        let error = reads.messages(&messages).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("--truncate"), "{error}");
    }
    let error = reader(None).messages(&told(&chat)).unwrap_err();
    assert!(matches!(error, DataError::Chat { place: Place::Messages, error: ChatError::NoTemplate }), "{error}");
    assert!(reads.text("a").unwrap_err().to_string().starts_with("the text has 1 tokens"));
}

#[test]
fn of_a_prompt_and_its_completion_the_completion_counts() {
    let marks = |line: &str| {
        let sequence = parse(line, 9, false).unwrap().remove(0);
        let counted = sequence.counted.iter().map(|counts| if *counts { 'x' } else { '-' }).collect::<String>();
        (sequence.tokens, counted)
    };
    assert_eq!(marks(r#"{"prompt":"ab","completion":"cd"}"#), (vec![3, 4, 5, 6], "--xx".to_string()));
    // As harnesses call them.
    assert_eq!(marks(r#"{"context":"a<|end|>","continuation":"c"}"#), (vec![3, 2, 5], "--x".to_string()));
    // White space at the end of a prompt is the beginning of the completion, also where it is a token with what follows.
    assert_eq!(marks(r#"{"prompt":"ab ","completion":"c"}"#), (vec![3, 4, 11, 5], "--xx".to_string()));
    assert_eq!(marks(r#"{"prompt":"a ","completion":"h"}"#), (vec![3, 12], "-x".to_string()));
    // Both are one text: where they share a token it is the prompt's, if the prompt has as many alone.
    assert_eq!(marks(r#"{"prompt":"eg","completion":"ha"}"#), (vec![7, 13, 3], "--x".to_string()));
    assert_eq!(marks(r#"{"ids":[5,4,3],"counted":"001"}"#), (vec![5, 4, 3], "--x".to_string()));
    assert_eq!(marks(r#"{"ids":[5,4,3]}"#), (vec![5, 4, 3], "xxx".to_string()));
}

#[test]
fn long_lines_are_refused_or_cut() {
    let line = r#"{"text":"abcdef"}"#;
    assert!(matches!(parse(line, 5, false), Err(DataError::Long { place: Place::Line(1), tokens: 6, context: 5 })));
    assert_eq!(parse(line, 5, true).unwrap()[0].tokens, [3, 4, 5, 6, 7]);
    let chat = conversation(&[("user", "ab"), ("assistant", "c")]);
    assert_eq!(parse(&chat, 6, true).unwrap()[0].count(), 1);
    assert!(matches!(parse(&chat, 5, true), Err(DataError::Cut { place: Place::Line(1), context: 5 })));
}

#[test]
fn what_is_wrong_with_a_line_is_told_with_its_number() {
    let good = r#"{"text":"ab"}"#;
    for (bad, word) in [
        ("", "line 2 is not"),
        ("[1]", "line 2 is not"),
        // The members of a line in their order, and those of a message, are no objects.
        (r#"["ab",null,null,null,null,null]"#, "a JSON object"),
        (r#"{"messages":[["user","ab"],["assistant","c"]]}"#, "a JSON object"),
        ("{}", "either"),
        (r#"{"text":"ab","messages":[]}"#, "either"),
        (r#"{"prompt":"ab"}"#, "either"),
        (r#"{"ids":[3,4],"completion":"a"}"#, "either"),
        (r#"{"text":"ab","counted":"01"}"#, "either"),
        (r#"{"prompt":"a","context":"a","completion":"a"}"#, "duplicate"),
        (r#"{"prompt":" ","completion":"a"}"#, "the prompt has no token"),
        (r#"{"prompt":"a","completion":""}"#, "the completion has no token"),
        (r#"{"prompt":"g","completion":"h"}"#, "the completion has no token"),
        (r#"{"ids":[3,4],"counted":"011"}"#, "each of its 2 ids"),
        (r#"{"ids":[3,4],"counted":"0x"}"#, "each of its 2 ids"),
        (r#"{"ids":[3,4],"counted":"00"}"#, "no token that counts"),
        (r#"{"ids":[3,-4]}"#, "line 2 is not"),
        (r#"{"text":"a"}"#, "line 2 has 1 tokens"),
        (r#"{"messages":[]}"#, "line 2: no message"),
    ] {
        let error = parse(&format!("{good}\n{bad}\n{good}"), 9, false).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("line 2"), "{bad}: {error}");
    }
    assert!(matches!(parse("", 9, false), Err(DataError::Empty)));
    assert!(matches!(parse("\n", 9, false), Err(DataError::Empty)));
}
