//! `lockstep generate --input`: each line is answered as it would be alone, and a run that was interrupted goes on.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use kernel::random::{Purpose, random_u64};
use serde_json::{Value, json};

use crate::command::{Finished, limited, lockstep, run, run_with_model};
use crate::place::Place;
use crate::{model, tiny};

fn lines() -> Vec<Value> {
    let drawn = |seed: u64| json!({ "prompt": "Once upon a time", "temperature": 1.5, "top_k": 50, "seed": seed });
    let some = [
        json!({ "prompt": "<|im_start|>Hello", "id": "first" }),
        json!({ "prompt_ids": [5, 6, 7], "custom_id": "a \",\"token_ids\":[\" b", "max_tokens": 90 }),
        json!({ "messages": [{ "role": "user", "content": "Hi" }], "id": 3, "max_tokens": 7 }),
        json!({ "prompt": "x", "temperature": 0.7, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.25,
            "frequency_penalty": 1.5, "presence_penalty": -0.5, "logit_bias": { "20": -100, "7": 2.5 } }),
        json!({ "prompt": "The cat", "stop": "e", "temperature": 3 }),
        json!({ "prompt": "The cat", "stop": ["a", "\n"], "temperature": 3, "seed": 18446744073709551615_u64 }),
    ];
    some.into_iter().chain((0..6).map(drawn)).collect()
}

fn written(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

impl Place {
    /// With an input of 12 lines in `in.jsonl`.
    fn with_input() -> Place {
        let place = Place::new();
        fs::write(place.file("in.jsonl"), written(&lines())).unwrap();
        place
    }

    fn generation(&self, flags: &[&str]) -> Command {
        self.command("generate", &[&["--max-tokens", "40", "--ignore-eos"], flags].concat())
    }

    /// Answers `in.jsonl` in `out.jsonl`.
    fn batch(&self, flags: &[&str]) -> Finished {
        run(&mut self.generation(&[&["--input", "in.jsonl", "--output", "out.jsonl"], flags].concat()), b"")
    }

    /// The summary of a batch that ends well.
    fn summary(&self, flags: &[&str]) -> Value {
        self.batch(&[&["--json"], flags].concat()).json()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file("out.jsonl")).unwrap()
    }

    fn answers(&self) -> Vec<Value> {
        assert!(self.text().is_empty() || self.text().ends_with('\n'));
        self.text().lines().map(|line| timeless(serde_json::from_str(line).unwrap())).collect()
    }

    /// What is refused, and changes nothing.
    fn batch_refused(&self, flags: &[&str]) -> String {
        let before = fs::read(self.file("out.jsonl")).ok();
        let finished = self.batch(flags);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
        assert_eq!(fs::read(self.file("out.jsonl")).ok(), before);
        finished.stderr
    }
}

/// A report without what tells of this run only.
fn timeless(mut report: Value) -> Value {
    let keys = report.as_object_mut().unwrap();
    assert!(keys.remove("timings").is_some() && keys.remove("threads").is_some() && keys.remove("backend").is_some());
    report
}

#[test]
fn n11_each_line_is_answered_as_it_would_be_alone() {
    let place = Place::with_input();
    let summary = place.summary(&[]);
    assert_eq!((&summary["lines"], &summary["kept"], &summary["generated"]), (&json!(12), &json!(0), &json!(12)));
    let answers = place.answers();
    fs::write(place.file("m.json"), r#"[{"role":"user","content":"Hi"}]"#).unwrap();
    let flags: [&[&str]; 7] = [
        &["--prompt", "<|im_start|>Hello"],
        &["--prompt-ids", "5,6,7", "--max-tokens", "90"],
        &["--messages", "m.json", "--max-tokens", "7"],
        &[
            "--prompt=x",
            "--temperature=0.7",
            "--top-p=0.9",
            "--min-p=0.01",
            "--repetition-penalty=1.25",
            "--frequency-penalty=1.5",
            "--presence-penalty=-.5",
            "--logit-bias=7:2.5",
            "--logit-bias=20:-100",
        ],
        &["--prompt", "The cat", "--stop", "e", "--temperature", "3"],
        &["--prompt=The cat", "--stop=a", "--stop=\n", "--temperature=3", "--seed=18446744073709551615"],
        &["--prompt", "Once upon a time", "--temperature", "1.5", "--top-k", "50"],
    ];
    for ((line, flags), answer) in (1..).zip(flags).zip(&answers) {
        // The last one of the same flag wins.
        let mut command = place.command("generate", &["--ignore-eos", "--json", "--receipt", "r.json"]);
        if !flags.contains(&"--max-tokens") {
            command.args(["--max-tokens", "40"]);
        }
        let alone = timeless(run(command.args(flags), b"").json());
        let mut answer = answer.clone();
        let keys = answer.as_object_mut().unwrap();
        let receipt = keys.remove("receipt").unwrap().to_string();
        assert_eq!(receipt, fs::read_to_string(place.file("r.json")).unwrap());
        assert_eq!(keys.remove("line").unwrap(), json!(line));
        keys.remove("id");
        keys.remove("custom_id");
        assert_eq!(answer, alone);
        fs::write(place.file("r.json"), receipt).unwrap();
        let verified = place.run("verify", &["r.json"]);
        assert_eq!(verified.code, Some(0), "{verified:?}");
    }
    let names: Vec<&Value> =
        answers[..3].iter().map(|answer| answer.get("id").unwrap_or(&answer["custom_id"])).collect();
    assert_eq!(names, [&json!("first"), &json!("a \",\"token_ids\":[\" b"), &json!(3)]);
    assert!(answers[3].get("id").is_none());
    assert_eq!(answers.iter().filter(|answer| answer["finish_reason"] == "stop").count(), 2);
    // Everything is there: nothing is left to do, and nothing changes.
    let before = place.text();
    let text = place.batch(&[]);
    assert_eq!(text.stdout, "out.jsonl: 12 lines, 12 were there, 0 are new (0 tokens)\n");
    assert_eq!((place.text(), text.stderr), (before, String::new()));
}

#[test]
fn the_real_model_answers_lines_with_receipts_that_are_signed() {
    let place = Place::with_input();
    fs::write(place.file("in.jsonl"), "{\"prompt\":\"Once upon a time\"}\n{\"prompt\":\"2 + 2 =\"}").unwrap();
    assert_eq!(run(lockstep("keygen").arg(place.file("key")), b"").code, Some(0));
    let paths = ["in.jsonl", "out.jsonl", "key"].map(|name| place.file(name));
    let [input, output, key] = &paths;
    let words = ["--input", input, "--output", output, "--max-tokens", "3", "--sign", key, "--private", "--json"];
    assert_eq!(run_with_model("generate", &words).json()["generated"], 2);
    let answers = place.answers();
    assert_eq!(answers[0]["token_ids"], json!([28, 260, 2240]));
    assert!(answers[1]["receipt"]["generation"]["token_ids"].is_null());
    let receipt = answers[1]["receipt"].to_string().into_bytes();
    let public = format!("{key}.pub");
    let flags = ["-", "--require-signature", &public, "--prompt", "2 + 2 ="];
    let verified = run(lockstep("verify").arg("--model").arg(model::dir()).args(flags), &receipt);
    assert!(
        verified.code == Some(0) && verified.stdout.starts_with("MATCH: generation, 3 steps\nsigned by "),
        "{verified:?}"
    );
    assert_eq!(run_with_model("generate", &words).json()["kept"], 2);
}

/// Kills the process at random moments, and goes on.
#[test]
#[cfg(unix)]
fn a_run_that_is_killed_loses_no_answer_and_no_bit() {
    let place = Place::with_input();
    // Every line long enough to be killed in.
    let input: Vec<Value> = lines().into_iter().cycle().take(100).collect();
    fs::write(place.file("in.jsonl"), written(&input)).unwrap();
    place.summary(&[]);
    let whole = place.answers();
    fs::remove_file(place.file("out.jsonl")).unwrap();
    let (mut kills, mut kept) = (0, 0);
    for attempt in 0..200 {
        let flags = ["--input", "in.jsonl", "--output", "out.jsonl", "--json", "--threads", ["1", "2"][attempt % 2]];
        let mut child = place.generation(&flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        sleep(Duration::from_micros(random_u64(7, Purpose::Golden, 0, attempt as u64) % 300_000));
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let lines = fs::read_to_string(place.file("out.jsonl")).unwrap_or_default().matches('\n').count();
        assert!(lines >= kept, "{lines} lines after {kept}");
        kept = lines;
        if ended {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            break;
        }
        kills += 1;
    }
    assert!(kills > 1, "the process was never killed");
    place.summary(&[]);
    assert_eq!(place.answers(), whole);
}

/// Wherever the last line was cut.
#[test]
fn half_an_answer_is_dropped_and_computed_again() {
    let place = Place::with_input();
    place.summary(&[]);
    let (text, whole) = (place.text(), place.answers());
    let last = text.trim_end().rfind('\n').unwrap() + 1;
    let kept = |cut: usize| {
        fs::write(place.file("out.jsonl"), &text[..cut]).unwrap();
        let summary = place.summary(&[]);
        assert_eq!(place.answers(), whole, "{cut}");
        summary["kept"].as_u64().unwrap()
    };
    for cut in [last + 1, last + 20, last + 300, (last + text.len()) / 2, text.len() - 1] {
        assert_eq!(kept(cut), 11);
    }
    assert_eq!((kept(last), kept(0), kept(5)), (11, 0, 0));
}

#[test]
fn what_is_no_answer_to_the_input_is_refused_and_stays() {
    let place = Place::with_input();
    place.summary(&[]);
    let answers = place.text();
    let input = |change: fn(&mut Vec<Value>)| {
        let mut lines = lines();
        change(&mut lines);
        fs::write(place.file("in.jsonl"), written(&lines)).unwrap();
    };
    for (change, words) in [
        ((|lines| lines[1]["prompt_ids"][2] = json!(8)) as fn(&mut Vec<Value>), "line 2 does not belong"),
        (|lines| lines[11]["seed"] = json!(9), "line 12 does not belong"),
        (|lines| lines[4]["stop"] = json!("f"), "line 5 does not belong"),
        (|lines| lines[0]["id"] = json!("other"), "line 1 does not belong to this input: it has another id"),
        (|lines| lines.swap(6, 7), "line 7 does not belong"),
        (|lines| drop(lines.pop()), "line 12 does not belong to this input: the input has 11 lines"),
    ] {
        input(change);
        let error = place.batch_refused(&[]);
        assert!(error.contains("out.jsonl") && error.contains(words), "{error}");
    }
    input(|_| ());
    tiny::write(place.folder.path(), 2);
    for flags in [&["--max-tokens", "41"][..], &["--temperature", "1"], &["--model", "tiny-2"]] {
        let mut words = vec!["generate", "--input", "in.jsonl", "--output", "out.jsonl", "--ignore-eos"];
        for pair in [["--max-tokens", "40"], ["--model", "tiny-1"]] {
            if pair[0] != flags[0] {
                words.extend(pair);
            }
        }
        let finished = run(lockstep(words[0]).current_dir(place.folder.path()).args(&words[1..]).args(flags), b"");
        assert!(finished.code == Some(1) && finished.stderr.contains("line 1 does not belong"), "{finished:?}");
        assert_eq!(place.text(), answers);
    }
    // What was never an answer, whole or not.
    for other in ["my notes\n", "my notes", "{\"line\":1,\"other\":2}\n", "{\"line\":1,\"other\"", "\n"] {
        fs::write(place.file("out.jsonl"), other).unwrap();
        assert!(place.batch_refused(&[]).contains("line 1 does not belong"), "{other}");
    }
    // More lines at the end of the input are answered.
    fs::write(place.file("out.jsonl"), &answers).unwrap();
    input(|lines| lines.push(json!({ "prompt": "more" })));
    let summary = place.summary(&[]);
    assert_eq!((&summary["kept"], &summary["generated"]), (&json!(12), &json!(1)));
    // Two processes do not write the same file.
    let held = fs::File::open(place.file("out.jsonl")).unwrap();
    held.lock().unwrap();
    assert!(place.batch_refused(&[]).contains("another process"));
}

#[test]
fn a_bad_line_is_told_before_anything_is_computed() {
    let place = Place::with_input();
    let array = format!("[null,null,\"a\"{}]", ",null".repeat(13));
    for (bad, words) in [
        ("", "line 2: it is no prompt"),
        ("[]", "line 2: it is no prompt"),
        // The members of a line in their order, and those of a message, are no objects.
        (array.as_str(), "line 2: it is no prompt"),
        (r#"{"messages":[["user","Hi"]]}"#, "a JSON object"),
        ("{}", "either"),
        (r#"{"prompt":"a","prompt_ids":[1]}"#, "either"),
        (r#"{"prompt":"a","max_token":3}"#, "max_token"),
        (r#"{"prompt":"a","max_tokens":0}"#, "max_tokens"),
        (r#"{"prompt":"a","temperature":-1}"#, "temperature"),
        (r#"{"prompt":"a","frequency_penalty":3}"#, "frequency_penalty"),
        (r#"{"prompt":"a","logit_bias":{"5":1,"5":1}}"#, "logit_bias"),
        (r#"{"prompt":"a","logit_bias":{"99999999":1}}"#, "logit_bias"),
        (r#"{"prompt":"a","logit_bias":[[5,1]]}"#, "an object of token ids"),
        (r#"{"prompt":"a","seed":-1}"#, "line 2"),
        (r#"{"prompt":"a","stop":""}"#, "line 2"),
        (r#"{"prompt":"a","stop":3}"#, "line 2"),
        (r#"{"prompt":"a","id":{}}"#, "neither a text nor an integer"),
        (r#"{"prompt":"a","id":1e2}"#, "neither a text nor an integer"),
        (r#"{"prompt":""}"#, "no tokens"),
        (r#"{"prompt_ids":[49152]}"#, "49152"),
        (r#"{"prompt":"a","max_tokens":1048576}"#, "context"),
        (r#"{"messages":[]}"#, "no messages"),
        (r#"{"messages":[{"role":"robot","content":""}]}"#, "robot"),
    ] {
        fs::write(place.file("in.jsonl"), format!("{{\"prompt\":\"a\"}}\n{bad}\n{{\"prompt\":\"a\"}}\n")).unwrap();
        let error = place.batch_refused(&[]);
        assert!(error.contains("in.jsonl: line 2: ") && error.contains(words), "{bad}: {error}");
        assert!(!fs::exists(place.file("out.jsonl")).unwrap());
    }
    fs::write(place.file("in.jsonl"), "").unwrap();
    assert!(place.batch_refused(&[]).contains("no lines"));
    fs::remove_file(place.file("in.jsonl")).unwrap();
    assert!(place.batch_refused(&[]).contains("in.jsonl cannot be read"));
    let usage = |flags: &[&str]| run(lockstep("generate").args(flags), b"").code;
    assert_eq!(usage(&["--input", "in.jsonl"]), Some(2));
    assert_eq!(usage(&["--output", "out.jsonl", "--prompt", "x"]), Some(2));
    assert_eq!(usage(&["--input", "a", "--output", "b", "--prompt", "x"]), Some(2));
    assert_eq!(usage(&["--input", "a", "--output", "b", "--receipt", "r.json"]), Some(2));
}

#[test]
fn an_output_that_cannot_be_is_refused() {
    let place = Place::with_input();
    let before = fs::read(place.file("in.jsonl")).unwrap();
    for output in ["in.jsonl", "./in.jsonl", "tiny-1", "no folder/out.jsonl"] {
        let finished = run(&mut place.generation(&["--input", "in.jsonl", "--output", output]), b"");
        assert!(finished.code == Some(1) && finished.stderr.contains("--output"), "{output}: {finished:?}");
    }
    assert_eq!(fs::read(place.file("in.jsonl")).unwrap(), before);
}

/// A limit on the size of files stands for a disk that is full.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_and_what_is_there_stays() {
    let place = Place::with_input();
    place.summary(&[]);
    let whole = place.answers();
    let size = place.text().len();
    fs::remove_file(place.file("out.jsonl")).unwrap();
    let command = place.generation(&["--input", "in.jsonl", "--output", "out.jsonl"]);
    let full = run(&mut limited(&format!("-f {}", size / 2 / 512), &command), b"");
    let lines = place.answers().len();
    assert!(lines > 0 && lines < 12, "{lines}");
    let words = format!("Its {lines} lines are whole");
    assert!(full.code == Some(1) && full.stderr.contains("out.jsonl: ") && full.stderr.contains(&words), "{full:?}");
    assert_eq!(place.summary(&[])["kept"], lines);
    assert_eq!(place.answers(), whole);
}
