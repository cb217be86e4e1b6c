//! Log-probabilities: those of `lockstep score`, digit for digit.

use std::fs;

use serde_json::{Value, json};

use super::answers::receipt;
use super::{CHAT, COMPLETIONS, answered, ask, question};
use crate::command::run_with_model;
use crate::server::start;

/// The log-probabilities of the ids, as `score` prints them; the first is null.
fn scored(ids: &[Value]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.jsonl");
    fs::write(&data, json!({ "ids": ids }).to_string()).unwrap();
    let printed = run_with_model("score", &["--data", data.to_str().unwrap(), "--json"]).stdout;
    serde_json::from_str::<Value>(printed.lines().next().unwrap()).unwrap()["logprobs"].clone()
}

/// The member `logprobs` of an array as it came, digit for digit.
fn digits(text: &str, name: &str) -> String {
    let start = text.find(&format!("\"{name}\":[")).unwrap() + name.len() + 3;
    text[start..=start + text[start..].find(']').unwrap()].to_string()
}

#[test]
fn a_prompt_is_scored_as_by_the_command_line() {
    let server = start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.jsonl");
    for text in ["The cat sat on the mat.", "Emoji: 🎉🎊🥳 Grüße 🎉🎊"] {
        fs::write(&data, json!({ "text": text }).to_string()).unwrap();
        let printed = run_with_model("score", &["--data", data.to_str().unwrap(), "--json"]).stdout;
        let body = json!({ "prompt": text, "max_tokens": 0, "echo": true, "logprobs": 1 });
        let answer = ask(&server, COMPLETIONS, &body);
        assert_eq!(digits(answer.text(), "token_logprobs"), digits(printed.lines().next().unwrap(), "logprobs"));
        let answer = answer.json();
        let (choice, logprobs) = (&answer["choices"][0], &answer["choices"][0]["logprobs"]);
        assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!(text), &json!("length")));
        assert_eq!((&answer["usage"]["completion_tokens"], choice.get("receipt_id")), (&json!(0), None));
        // The bytes of the tokens are those of the text, and the offsets count its characters.
        let bytes: Vec<u8> = logprobs["bytes"].as_array().unwrap().iter().flat_map(of_token).collect();
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), text);
        let mut before = 0;
        for (offset, token) in
            logprobs["text_offset"].as_array().unwrap().iter().zip(logprobs["bytes"].as_array().unwrap())
        {
            let complete = match std::str::from_utf8(&bytes[..before]) {
                Ok(text) => text,
                Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap(),
            };
            assert_eq!(offset, complete.chars().count());
            before += of_token(token).len();
        }
    }
}

fn of_token(bytes: &Value) -> Vec<u8> {
    bytes.as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8).collect()
}

#[test]
fn generated_tokens_have_the_log_probabilities_of_the_scored_text() {
    let server = start(&[]);
    let body = json!({ "prompt": "The capital of France is", "max_tokens": 6, "echo": true, "logprobs": 5 });
    let answer = answered(&server, COMPLETIONS, &body);
    let (choice, logprobs) = (&answer["choices"][0], &answer["choices"][0]["logprobs"]);
    let receipt = receipt(&server, choice);
    let generation = &receipt["generation"];
    let ids =
        [&generation["request"]["prompt_ids"], &generation["token_ids"]].map(|ids| ids.as_array().unwrap().clone());
    assert_eq!(logprobs["token_logprobs"], scored(&ids.concat()));
    let tokens: String = logprobs["tokens"].as_array().unwrap().iter().map(|token| token.as_str().unwrap()).collect();
    assert_eq!(tokens, choice["text"].as_str().unwrap());
    // The first token follows nothing; the others are among the best five or beside them.
    let all = logprobs["top_logprobs"].as_array().unwrap();
    assert!(all[0].is_null() && logprobs["token_logprobs"][0].is_null());
    for (index, best) in all.iter().enumerate().skip(1) {
        let (token, best) = (logprobs["tokens"][index].as_str().unwrap(), best.as_object().unwrap());
        assert!((5..=6).contains(&best.len()) && best[token] == logprobs["token_logprobs"][index], "{best:?}");
        let sum: f64 = best.values().map(|logprob| logprob.as_f64().unwrap().exp()).sum();
        assert!(sum > 0.0 && sum < 1.000_001, "{best:?}");
    }
    // What is generated greedily is the most likely token.
    for index in ids[0].len()..all.len() {
        let best = all[index].as_object().unwrap().values().map(|logprob| logprob.as_f64().unwrap());
        assert_eq!(best.fold(f64::NEG_INFINITY, f64::max), logprobs["token_logprobs"][index].as_f64().unwrap());
    }
    // Asking for them changes no bit, and reading the prompt anew neither.
    let plain = answered(&server, COMPLETIONS, &json!({ "prompt": "The capital of France is", "max_tokens": 6 }));
    assert_eq!(plain["choices"][0]["transcript_sha256"], choice["transcript_sha256"]);
    assert_eq!(answered(&server, COMPLETIONS, &body)["choices"][0]["logprobs"], *logprobs);
    // None beside the chosen one.
    let body = json!({ "prompt": "The capital of France is", "max_tokens": 2, "logprobs": 0 });
    let few = answered(&server, COMPLETIONS, &body)["choices"][0]["logprobs"].clone();
    assert_eq!(few["text_offset"][0], 0);
    assert!(few["top_logprobs"].as_array().unwrap().iter().all(|best| best.as_object().unwrap().len() == 1));
}

#[test]
fn a_chat_tells_tokens_with_their_bytes() {
    let server = start(&[]);
    let ask = |top: usize| {
        let body = json!({ "messages": question("Reply with 🎉 only."), "max_tokens": 8, "logprobs": true,
            "top_logprobs": top });
        answered(&server, CHAT, &body)["choices"][0].clone()
    };
    let choice = ask(20);
    let receipt = receipt(&server, &choice);
    let generation = &receipt["generation"];
    let ids =
        [&generation["request"]["prompt_ids"], &generation["token_ids"]].map(|ids| ids.as_array().unwrap().clone());
    let values = scored(&ids.concat()).as_array().unwrap()[ids[0].len()..].to_vec();
    let content = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!(json!(content.iter().map(|token| token["logprob"].clone()).collect::<Vec<_>>()), json!(values));
    for token in content {
        let best = token["top_logprobs"].as_array().unwrap();
        let falling = best.windows(2).all(|pair| pair[0]["logprob"].as_f64() >= pair[1]["logprob"].as_f64());
        assert!(best.len() == 20 && falling, "{token}");
        for one in best.iter().chain([token]) {
            let bytes = of_token(&one["bytes"]);
            let escaped: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            assert_eq!(one["token"], String::from_utf8(bytes).unwrap_or(format!("bytes:{escaped}")));
        }
    }
    let few = ask(0);
    let content = few["logprobs"]["content"].as_array().unwrap();
    assert!(content.iter().all(|token| token["top_logprobs"] == json!([])));
}
