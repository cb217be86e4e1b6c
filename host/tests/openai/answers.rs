//! Whole answers: the same tokens, texts and receipts as the command line's.

use std::fs;

use serde_json::{Value, json};

use super::{CHAT, COMPLETIONS, answered, question};
use crate::command::{lockstep, run, run_with_model};
use crate::commands::{FIRST, PROMPT};
use crate::model;
use crate::server::{Server, start, start_tiny};
use crate::stream::{generate, tokens};

/// The receipt of a choice.
pub fn receipt(server: &Server, choice: &Value) -> Value {
    server.get(&format!("/v1/receipts/{}", choice["receipt_id"].as_str().unwrap())).json()
}

#[test]
fn a_completion_is_what_generate_prints() {
    let server = start(&[]);
    let body = json!({ "prompt": "Once upon a time", "max_tokens": 8 });
    let answer = answered(&server, COMPLETIONS, &body);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.json");
    let words = ["--prompt", "Once upon a time", "--max-tokens", "8", "--json", "--receipt", file.to_str().unwrap()];
    let printed = run_with_model("generate", &words).json();
    let choice = &answer["choices"][0];
    assert_eq!((&choice["text"], &choice["finish_reason"]), (&printed["text"], &json!("length")));
    assert_eq!(choice["transcript_sha256"], printed["transcript_sha256"]);
    let issued: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(receipt(&server, choice), issued);
    assert_eq!((&choice["index"], &choice["logprobs"]), (&json!(0), &Value::Null));
    let timings = &choice["timings"];
    assert_eq!((&timings["prompt_n"], &timings["predicted_n"]), (&json!(4), &json!(8)));
    assert!(timings["prompt_ms"].as_f64() > Some(0.0) && timings["predicted_ms"].as_f64() > Some(0.0));
    let beginning = |name: &str| printed[name].as_str().unwrap()[..16].to_string();
    let fingerprint = format!("lockstep/1-{}-{}", beginning("weights_sha256"), beginning("tokenizer_sha256"));
    assert_eq!((&answer["system_fingerprint"], &answer["seed"]), (&json!(fingerprint), &json!(0)));
    assert_eq!((&answer["object"], &answer["model"]), (&json!("text_completion"), &printed["model"]));
    assert!(answer["id"].as_str().unwrap().starts_with("cmpl-") && answer["created"].as_u64() > Some(1_700_000_000));
    let usage = json!({ "prompt_tokens": 4, "completion_tokens": 8, "total_tokens": 12,
        "prompt_tokens_details": { "cached_tokens": 0 } });
    assert_eq!(answer["usage"], usage);
    // The same again, from what is known of the prompt; and without a limit 16 tokens.
    let again = answered(&server, COMPLETIONS, &body);
    assert_eq!(again["choices"][0]["transcript_sha256"], choice["transcript_sha256"]);
    assert_eq!(again["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
    assert_ne!(again["id"], answer["id"]);
    let sixteen = answered(&server, COMPLETIONS, &json!({ "prompt": "Once upon a time" }));
    assert_eq!(sixteen["usage"]["completion_tokens"], 16);
}

#[test]
fn a_chat_is_what_generate_prints_and_ends_by_itself() {
    let server = start(&[]);
    let messages = r#"[{"role":"system","content":"You are terse."},{"role":"user","content":"Say yes."}]"#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.json");
    fs::write(&file, messages).unwrap();
    let words = ["--messages", file.to_str().unwrap(), "--max-tokens", "24", "--json"];
    let printed = run_with_model("generate", &words).json();
    let content = json!([{ "type": "text", "text": "You are " }, { "type": "text", "text": "terse." }]);
    let body = json!({
        "model": printed["model"], "max_completion_tokens": 24,
        "messages": [{ "role": "developer", "content": content }, { "role": "user", "content": "Say yes." }],
    });
    let answer = answered(&server, CHAT, &body);
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"], json!({ "role": "assistant", "content": printed["text"], "refusal": null }));
    assert_eq!(choice["transcript_sha256"], printed["transcript_sha256"]);
    assert_eq!((&answer["object"], &choice["finish_reason"]), (&json!("chat.completion"), &printed["finish_reason"]));
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let ids = printed["prompt_token_ids"].as_array().unwrap().len();
    assert_eq!(answer["usage"]["prompt_tokens"], ids);
    assert_eq!(answer["usage"]["completion_tokens"], printed["token_ids"].as_array().unwrap().len());
    // What is written in a message is text: nobody ends the message and speaks as someone else.
    let body = json!({ "max_tokens": 1, "messages": question("<|im_end|>") });
    let plain = receipt(&server, &answered(&server, CHAT, &body)["choices"][0]);
    let prompt = plain["generation"]["request"]["prompt_ids"].as_array().unwrap().clone();
    assert_eq!(prompt.iter().filter(|id| **id == json!(2)).count(), 2, "of the system's message and the user's");
}

/// A text has as many tokens as there is room for where nobody asked for a number, and is refused where somebody did.
#[test]
fn the_context_is_not_exceeded_and_what_was_asked_for_is_not_cut() {
    let (server, _folder) = start_tiny(&["--ctx-size", "64"]);
    let body = |more: Value| {
        let mut body = json!({ "messages": question("Hi"), "ignore_eos": true });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let answer = answered(&server, CHAT, &body(json!({})));
    let usage = &answer["usage"];
    assert_eq!((&usage["total_tokens"], &answer["choices"][0]["finish_reason"]), (&json!(64), &json!("length")));
    let prompt = usage["prompt_tokens"].as_u64().unwrap();
    let error = super::refused(&super::ask(&server, CHAT, &body(json!({ "max_tokens": 65 - prompt }))), 400);
    assert_eq!((&error["code"], &error["param"]), (&json!("context_length_exceeded"), &json!("messages")));
    let words = error["message"].as_str().unwrap();
    assert!([prompt, 65 - prompt, 64].iter().all(|number| words.contains(&number.to_string())), "{words}");
}

#[test]
fn a_text_ends_before_a_stop_string() {
    let server = start(&[]);
    let body = json!({ "prompt": "Once upon a time", "max_tokens": 20, "stop": ["never", "ova H"] });
    let answer = answered(&server, COMPLETIONS, &body);
    let choice = &answer["choices"][0];
    assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!(", the city of N"), &json!("stop")));
    assert_eq!(receipt(&server, choice)["generation"]["token_ids"], json!(FIRST[..6]));
    assert_eq!(answer["usage"]["completion_tokens"], 6);
    let body = json!({ "prompt": "Once upon a time", "max_tokens": 20, "stop": " city" });
    assert_eq!(answered(&server, COMPLETIONS, &body)["choices"][0]["text"], ", the");
}

#[test]
fn prompts_are_texts_or_ids_one_or_several() {
    let server = start(&[]);
    let texts = |prompt: Value, echo: bool| {
        let body = json!({ "prompt": prompt, "max_tokens": 4, "echo": echo });
        let answer = answered(&server, COMPLETIONS, &body);
        let choices = answer["choices"].as_array().unwrap().clone();
        assert!(choices.iter().zip(0..).all(|(choice, index)| choice["index"] == index));
        let prompts = answer["usage"]["prompt_tokens"].as_u64().unwrap();
        (choices.iter().map(|choice| choice["text"].as_str().unwrap().to_string()).collect::<Vec<_>>(), prompts)
    };
    let (other, n) = texts(json!("The capital of France is"), false);
    let once = ", the city of".to_string();
    assert_eq!(texts(json!("Once upon a time"), false), (vec![once.clone()], 4));
    assert_eq!(texts(json!(PROMPT), false), (vec![once.clone()], 4));
    assert_eq!(texts(json!([PROMPT, PROMPT[..2]]), false).0[0], once);
    let both = json!(["Once upon a time", "The capital of France is"]);
    assert_eq!(texts(both.clone(), false), (vec![once.clone(), other[0].clone()], 4 + n));
    let echoed = [format!("Once upon a time{once}"), format!("The capital of France is{}", other[0])];
    assert_eq!(texts(both, true).0, echoed);
    // Special tokens in a prompt are what they say, unless they are to be plain.
    let prompt = |plain: bool| {
        let body = json!({ "prompt": "<|im_start|>", "max_tokens": 1, "plain_special": plain });
        answered(&server, COMPLETIONS, &body)["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    assert!(prompt(false) == 1 && prompt(true) > 1);
}

/// Choice i draws from stream i; the first one is what the command line draws.
#[test]
fn choices_draw_from_streams_of_their_own() {
    let server = start(&[]);
    let drawn = |n: usize| {
        let body = json!({ "prompt": "Once upon a time", "max_tokens": 6, "temperature": 1.2, "top_p": 0.95, "seed": 1,
            "n": n });
        let answer = answered(&server, COMPLETIONS, &body);
        assert_eq!((&answer["seed"], &answer["usage"]["prompt_tokens"]), (&json!(1), &json!(4)));
        assert_eq!(answer["usage"]["completion_tokens"], 6 * n);
        answer["choices"].as_array().unwrap().clone()
    };
    let (one, four) = (drawn(1), drawn(4));
    let words = ["--prompt", "Once upon a time", "--max-tokens", "6", "--temperature", "1.2", "--top-p", "0.95"];
    let printed = run_with_model("generate", &[&words[..], &["--seed", "1", "--json"]].concat()).json();
    assert_eq!(one[0]["transcript_sha256"], printed["transcript_sha256"]);
    let transcript = |choice: &Value| choice["transcript_sha256"].as_str().unwrap().to_string();
    let mut all: Vec<String> = four.iter().map(transcript).collect();
    assert_eq!(all[0], transcript(&one[0]));
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 4);
    let mut verify = lockstep("verify");
    let verify = verify.args(["-", "--json", "--model"]).arg(model::dir());
    let verdict = run(verify, receipt(&server, &four[3]).to_string().as_bytes()).json();
    assert_eq!((&verdict["verdict"], &verdict["steps"]), (&json!("MATCH"), &json!(6)));
}

/// Every way to choose tokens, alone, is that of the other doors, or changes the text.
#[test]
fn tokens_are_chosen_as_asked() {
    let server = start(&[]);
    let ids = |more: Value| {
        let mut body = json!({ "prompt": "Once upon a time", "max_tokens": 12 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = answered(&server, COMPLETIONS, &body);
        receipt(&server, &answer["choices"][0])["generation"]["token_ids"].clone()
    };
    let door = |query: &str| json!(tokens(&generate(&server, &format!("max_tokens=12&{query}"))).0);
    assert_eq!(ids(json!({})), door(""));
    for (body, query) in [
        (json!({ "temperature": 0.8, "seed": 7 }), "temperature=0.8&seed=7"),
        (json!({ "temperature": 1.5, "top_k": 4 }), "temperature=1.5&top_k=4"),
        (json!({ "temperature": 1.5, "top_p": 0.6 }), "temperature=1.5&top_p=0.6"),
        (json!({ "temperature": 1.5, "min_p": 0.2 }), "temperature=1.5&min_p=0.2"),
        (json!({ "repetition_penalty": 1.3 }), "repetition_penalty=1.3"),
    ] {
        assert_eq!(ids(body), door(query), "{query}");
    }
    let banned = ids(json!({ "logit_bias": { FIRST[0].to_string(): -100 } }));
    assert!(!banned.as_array().unwrap().contains(&json!(FIRST[0])), "{banned}");
    assert_eq!(ids(json!({ "logit_bias": { "30": 100 } })), json!(vec![30; 12]));
    for penalty in ["presence_penalty", "frequency_penalty"] {
        let repeated = ids(json!({ "logit_bias": { "30": 15 }, penalty: 2 }));
        assert_ne!(repeated, ids(json!({ "logit_bias": { "30": 15 } })), "{penalty}");
    }
}

/// N11: mixed requests at once, more than advance together, are what each is alone.
#[test]
fn n11_sixteen_at_once_get_what_each_gets_alone() {
    let server = start(&[]);
    let body = |n: usize| {
        let prompt =
            format!("{} {}", "Once upon a time there was a town.".repeat(n % 4), "abc ".repeat(1 + n * 5 % 17));
        let mut body = json!({ "max_tokens": 3 + n * 7 % 11, "temperature": (n % 3) as f64 * 0.7, "seed": n });
        match n % 4 {
            0 => body["prompt"] = json!(prompt),
            1 => body["messages"] = question(&prompt),
            2 => {
                body["prompt"] = json!([prompt, "Once"]);
                (body["logprobs"], body["echo"]) = (json!(2), json!(true));
            }
            _ => {
                body["messages"] = question(&prompt);
                (body["n"], body["logprobs"], body["top_logprobs"]) = (json!(2), json!(true), json!(3));
                body["frequency_penalty"] = json!(0.5);
            }
        }
        (if n.is_multiple_of(2) { COMPLETIONS } else { CHAT }, body)
    };
    let choices = |n: usize| {
        let (path, body) = body(n);
        let mut choices = loop {
            let answer = super::ask(&server, path, &body);
            // All sixteen have more choices than may wait.
            if answer.status != 429 {
                assert_eq!(answer.status, 200, "{answer:?}");
                break answer.json()["choices"].clone();
            }
        };
        for choice in choices.as_array_mut().unwrap() {
            for name in ["timings", "receipt_id"] {
                choice.as_object_mut().unwrap().remove(name).unwrap();
            }
        }
        choices
    };
    let alone: Vec<Value> = (0..16).map(choices).collect();
    let together: Vec<Value> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..16).map(|n| scope.spawn(move || choices(n))).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    for (n, (together, alone)) in together.iter().zip(&alone).enumerate() {
        assert_eq!(together, alone, "{n}");
    }
}
