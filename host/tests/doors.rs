//! `stop` and `messages`, at the command line and at the server: the same tokens, texts and receipts.

use std::fs;

use serde_json::{Value, json};

use crate::command::{lockstep, run, run_with_model};
use crate::commands::FIRST;
use crate::server::start;
use crate::stream::{generate, tokens};
use crate::{model, tiny};

/// Conversations with the ids that transformers gives them.
const CHAT: &str = include_str!("../../bpe/tests/reference/chat.json");

/// The conversations that an answer is asked for, with their ids; without those in which a special token is written.
fn conversations() -> Vec<(String, Value)> {
    let cases: Vec<Value> = serde_json::from_str(CHAT).unwrap();
    let asked = cases.into_iter().filter(|case| case["add_generation_prompt"] == true);
    let cases = asked.map(|case| (case["messages"].to_string(), case["ids"].clone()));
    cases.filter(|(messages, _)| !messages.contains("<|")).collect()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The text is ", the city of Nova Haven was a"; " Nova" and " Haven" are tokens.
#[test]
fn a_text_ends_before_a_stop_string_and_its_receipt_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.json").display().to_string();
    let words = ["--prompt", "Once upon a time", "--max-tokens", "20", "--stop", "never", "--stop", "ova H"];
    let streamed = run_with_model("generate", &[&words[..], &["--receipt", &file]].concat());
    assert_eq!((streamed.code, &streamed.stdout[..]), (Some(0), ", the city of N"));
    let printed = run_with_model("generate", &[&words[..], &["--json"]].concat()).json();
    assert_eq!((&printed["text"], &printed["finish_reason"]), (&json!(", the city of N"), &json!("stop")));
    assert_eq!(printed["token_ids"], json!(FIRST[..6]));
    let receipt: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(receipt["generation"]["request"]["stop"], json!(["never", "ova H"]));
    assert_eq!(receipt["transcript_sha256"], printed["transcript_sha256"]);
    for flags in [&[][..], &["--step-by-step"]] {
        let verdict = run_with_model("verify", &[&[&file[..], "--json"], flags].concat()).json();
        assert_eq!((&verdict["verdict"], &verdict["steps"]), (&json!("MATCH"), &json!(6)));
    }

    let server = start(&[]);
    let events = generate(&server, "max_tokens=20&stop=never&stop=ova+H");
    let (ids, _, text) = tokens(&events);
    assert_eq!((json!(ids), text.as_str()), (json!(FIRST[..6]), ", the city of N"));
    let done = &events.last().unwrap().data;
    assert_eq!((&done["finishReason"], &done["receipt"]), (&json!("stop"), &receipt));
    // What may become a stop string waits, and comes when it becomes none.
    let pieces = generate(&server, "max_tokens=8&stop=city+of+Rome").into_iter().filter(|event| event.name == "token");
    let pieces: Vec<Value> = pieces.map(|event| event.data["tokenText"].clone()).collect();
    assert_eq!(pieces, [",", " the", " ", "", "city of Nova", " Haven", " was", " a"]);
    let many = "stop=x&".repeat(17);
    for (query, words) in [("stop=", "empty"), (&many[..], "17"), (&format!("stop={}", "x".repeat(257)), "257")] {
        assert!(server.get(&format!("/api/generate?{query}")).error(400).contains(words), "{query}");
    }
}

#[test]
fn stop_strings_that_cannot_be_are_refused_before_the_model_is_opened() {
    for (stop, words) in [(vec![""], "empty"), (vec!["x"; 17], "17"), (vec!["é".repeat(129).as_str()], "258")] {
        let stop: Vec<String> = stop.iter().map(|stop| format!("--stop={stop}")).collect();
        let mut generate = lockstep("generate");
        let refused = run(generate.args(["--model", "no folder", "--prompt", "x"]).args(stop), b"");
        assert!(refused.code == Some(1) && refused.stderr.contains(words), "{refused:?}");
    }
}

#[test]
fn messages_have_the_ids_of_the_reference_at_every_door() {
    let server = start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("messages.json");
    let cases = conversations();
    assert!(cases.len() >= 4);
    for (messages, ids) in &cases {
        let events = generate(&server, &format!("messages={}&max_tokens=1", encoded(messages)));
        assert_eq!(events[0].data["inputTokens"], *ids, "{messages}");
        assert!(events[0].data["prompt"].as_str().unwrap().ends_with("<|im_start|>assistant\n"));
    }
    // A file, and stdin with the other form.
    let (messages, ids) = &cases[0];
    fs::write(&file, messages).unwrap();
    let words = ["--max-tokens", "3", "--json", "--messages"];
    let printed = run_with_model("generate", &[&words[..], &[file.to_str().unwrap()]].concat()).json();
    assert_eq!(printed["prompt_token_ids"], *ids);
    let mut piped = lockstep("generate");
    let object = format!("{{\"messages\":{messages}}}");
    let piped = run(piped.arg("--model").arg(model::dir()).args(words).arg("-"), object.as_bytes()).json();
    assert_eq!((&piped["transcript_sha256"], &piped["text"]), (&printed["transcript_sha256"], &printed["text"]));
}

#[test]
fn the_prompt_of_a_private_receipt_may_be_its_messages() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    fs::write(file("m.json"), r#"[{"role":"user","content":"Hi"}]"#).unwrap();
    fs::write(file("other.json"), r#"[{"role":"user","content":"Ho"}]"#).unwrap();
    let words = ["--messages", &file("m.json"), "--max-tokens", "3", "--private", "--receipt", &file("r.json")];
    assert_eq!(run_with_model("generate", &words).code, Some(0));
    let verify = |messages: &str| run_with_model("verify", &[&file("r.json"), "--messages", &file(messages)]).code;
    assert_eq!([verify("m.json"), verify("other.json")], [Some(0), Some(4)]);
}

#[test]
fn messages_that_are_none_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::write(folder.path(), 1);
    let generate = |json: &str| {
        let mut generate = lockstep("generate");
        run(generate.arg("--model").arg(&model).args(["--messages", "-", "--max-tokens", "1"]), json.as_bytes())
    };
    for (json, words) in [
        ("[]", "at least one"),
        (r#"[{"role":"robot","content":"x"}]"#, "system, user or assistant"),
        (r#"[{"role":"user","content":"x","name":"y"}]"#, "name"),
        (r#"{"messages":[],"stream":true}"#, "stream"),
        ("Hello", "not JSON like"),
    ] {
        let refused = generate(json);
        assert!(refused.code == Some(1) && refused.stderr.contains(words), "{json}: {refused:?}");
        assert_eq!((refused.stderr.contains("--messages -"), refused.stdout.is_empty()), (true, true));
    }
    fs::remove_file(model.join("tokenizer_config.json")).unwrap();
    let refused = generate(r#"[{"role":"user","content":"x"}]"#);
    assert!(refused.code == Some(1) && refused.stderr.contains("give a prompt as text"), "{refused:?}");
    let missing = run_with_model("generate", &["--messages", "no such file"]);
    assert!(missing.code == Some(1) && missing.stderr.contains("no such file"), "{missing:?}");
    let server = start(&[]);
    for (query, words) in
        [("prompt=x&messages=[]", "exclude"), ("messages=[]", "at least one"), ("messages=", "not JSON like")]
    {
        assert!(server.get(&format!("/api/generate?{query}")).error(400).contains(words), "{query}");
    }
}
