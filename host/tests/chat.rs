//! `lockstep chat`, with lines from a pipe.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::command::{Finished, lockstep, run};
use crate::{model, tiny};

fn chat(model: &Path, flags: &[&str], lines: &str) -> Finished {
    run(lockstep("chat").arg("--model").arg(model).args(flags), lines.as_bytes())
}

/// The objects of `--json`.
fn answers(finished: &Finished) -> Vec<Value> {
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// N11: what is known from the answer before changes no bit, and is not read again.
#[test]
fn an_answer_is_that_of_a_fresh_generation_and_only_what_is_new_is_read() {
    let settings = ["--json", "--max-tokens", "24"];
    for sampling in [&[][..], &["--temperature", "0.7", "--top-p", "0.9", "--seed", "5"]] {
        let flags = [&settings[..], sampling].concat();
        let finished = chat(&model::dir(), &flags, "What is the capital of France?\n\nAnd of Italy?\n");
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let answers = answers(&finished);
        assert_eq!(answers.len(), 2);
        let messages = json!([
            { "role": "user", "content": "What is the capital of France?" },
            { "role": "assistant", "content": answers[0]["text"] },
            { "role": "user", "content": "And of Italy?" },
        ]);
        let mut generate = lockstep("generate");
        generate.arg("--model").arg(model::dir()).args(["--messages", "-"]).args(&flags);
        let fresh = run(&mut generate, messages.to_string().as_bytes()).json();
        let keys = [
            "prompt_token_ids",
            "token_ids",
            "text",
            "finish_reason",
            "logits_sha256",
            "transcript_sha256",
            "weights_sha256",
        ];
        for key in keys {
            assert_eq!(answers[1][key], fresh[key], "{key}");
        }
        let count = |key: &str| answers[0][key].as_array().unwrap().len() as u64;
        // The last token was generated, and not read.
        assert_eq!(answers[1]["cached_tokens"], count("prompt_token_ids") + count("token_ids") - 1);
        assert_eq!(
            (&answers[0]["cached_tokens"], &answers[1]["timings"]["prompt_n"]),
            (&json!(0), &fresh["timings"]["prompt_n"])
        );
    }
}

#[test]
fn the_answer_is_the_text_and_nothing_else() {
    let finished = chat(&model::dir(), &["--max-tokens", "30"], "What is the capital of France?\n");
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    assert!(finished.stdout.contains("Paris") && finished.stdout.ends_with('\n'), "{finished:?}");
    assert!(!finished.stdout.contains("<|im_end|>"), "{finished:?}");
}

#[test]
fn commands_change_and_save_the_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::write(folder.path(), 1);
    let file = |name: &str| folder.path().join(name).display().to_string();
    let lines = format!(
        "/system Be brief.\r\n//Hi \u{e9}\n/save {}\n/reset\n/save {}\n/system\n/save {}\n/quit\nnever\n",
        file("whole"),
        file("begun"),
        file("none")
    );
    let finished = chat(&model, &["--json", "--max-tokens", "3", "--system", "Another"], &lines);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let answers = answers(&finished);
    assert_eq!(answers.len(), 1, "{finished:?}");
    let saved = |name: &str| -> Value { serde_json::from_slice(&fs::read(file(name)).unwrap()).unwrap() };
    let system = json!({ "role": "system", "content": "Be brief." });
    let user = json!({ "role": "user", "content": "/Hi \u{e9}" });
    let assistant = json!({ "role": "assistant", "content": answers[0]["text"] });
    assert_eq!(saved("whole"), json!({ "messages": [system, user, assistant] }));
    assert_eq!(saved("begun"), json!({ "messages": [system] }));
    assert_eq!(saved("none"), json!({ "messages": [] }));
    // What is saved is what `generate` takes, and what it was asked.
    fs::write(file("asked"), json!({ "messages": [system, user] }).to_string()).unwrap();
    for (name, ids) in [("whole", None), ("asked", Some(&answers[0]["prompt_token_ids"]))] {
        let mut generate = lockstep("generate");
        generate.arg("--model").arg(&model).args(["--messages", &file(name), "--max-tokens", "3", "--json"]);
        let taken = run(&mut generate, b"").json();
        assert!(ids.is_none_or(|ids| taken["prompt_token_ids"] == *ids), "{name}");
    }
}

#[test]
fn a_line_that_cannot_be_obeyed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::write(folder.path(), 1);
    for (line, words) in
        [("/halp", "/help"), ("/save", "name of a file"), ("/save /no/such/folder/x", "/no/such/folder/x")]
    {
        let finished = chat(&model, &[], &format!("/reset\n{line}\n"));
        assert!(finished.code == Some(1) && finished.stderr.contains("line 2: "), "{line}: {finished:?}");
        assert!(finished.stderr.contains(words), "{line}: {finished:?}");
    }
    fs::remove_file(model.join("tokenizer_config.json")).unwrap();
    let finished = chat(&model, &[], "");
    assert!(finished.code == Some(1) && finished.stderr.contains("chat_template"), "{finished:?}");
}

#[test]
fn a_full_context_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::write(folder.path(), 1);
    let prompt =
        answers(&chat(&model, &["--json", "--max-tokens", "1"], "Hi\n"))[0]["timings"]["prompt_n"].as_u64().unwrap();
    let limit = (prompt + 3).to_string();
    let finished = chat(&model, &["--json", "--ctx-size", &limit], "Hi\nMore\n");
    let answers = answers(&finished);
    assert_eq!((answers.len(), &answers[0]["finish_reason"]), (1, &json!("length")), "{finished:?}");
    assert_eq!(answers[0]["token_ids"].as_array().unwrap().len(), 3);
    let full = format!("the context of {limit} tokens is full: /reset begins a new conversation");
    assert!(finished.stderr.contains(&full), "{finished:?}");
    assert!(finished.code == Some(1) && finished.stderr.contains("line 2: "), "{finished:?}");
    assert!(finished.stderr.contains("/reset (/save FILE keeps"), "{finished:?}");
}

/// A chat that was asked something, and the first bytes of its answer.
#[cfg(unix)]
fn answering(model: &Path, flags: &[&str], bytes: usize) -> (Child, Vec<u8>) {
    let mut command = lockstep("chat");
    command.arg("--model").arg(model).args(flags).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"Hi\n").unwrap();
    let mut first = vec![0; bytes];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    (child, first)
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_the_answer_and_not_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let (model, file) = (tiny::write(folder.path(), 1), folder.path().join("talk.json"));
    // It does not end by itself for a long time.
    let (mut child, mut said) = answering(&model, &[], 8);
    interrupt(&child);
    child.stdin.as_mut().unwrap().write_all(format!("/save {}\n", file.display()).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    said.extend(output.stdout);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(0) && stderr.contains("stopped"), "{stderr}");
    // What was said until then is part of the conversation.
    let saved: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let text = String::from_utf8(said).unwrap();
    assert_eq!(saved["messages"][1]["content"], text.strip_suffix('\n').unwrap());
}

#[cfg(unix)]
#[test]
fn ctrl_c_between_answers_ends_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::write(folder.path(), 1);
    // A line of JSON comes once the answer has ended.
    let (mut child, _) = answering(&model, &["--max-tokens", "2", "--json"], 1);
    // There may be more lines: to wait for the end would close it.
    let stdin = child.stdin.take();
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(stdin);
}
