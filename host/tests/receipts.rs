//! Receipts: issued by `generate` and `train`, signed with the keys of `keygen`, verified by `verify`.

use std::fs;

use serde_json::{Value, json};

use crate::command::{lockstep, run, run_with_model};
use crate::place::Place;
use crate::server::{JSON, Server, post, start};
use crate::stream::{events, generate};
use crate::{model, tiny};

/// The receipt of 25 greedy tokens after "Once upon a time" of the real model.
const REAL: &str = include_str!("../../docs/vectors/real-receipt.json");

impl Place {
    /// A receipt of a generation of 70 drawn tokens.
    fn generate(&self, name: &str, flags: &[&str]) -> String {
        let file = self.file(name);
        let words =
            ["--prompt-ids", "5,6,7", "--max-tokens", "70", "--temperature", "1", "--seed", "3", "--ignore-eos"];
        let finished = self.run("generate", &[&words[..], &["--receipt", &file], flags].concat());
        assert_eq!(finished.code, Some(0), "{finished:?}");
        file
    }

    fn verify(&self, receipt: &str, flags: &[&str]) -> (Option<i32>, Value) {
        let finished = self.run("verify", &[&[receipt, "--json"], flags].concat());
        let report = serde_json::from_str(&finished.stdout);
        (finished.code, report.unwrap_or_else(|error| panic!("{error}: {finished:?}")))
    }

    /// The receipt with another content, as canonical JSON.
    fn changed(&self, receipt: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut keys: Value = serde_json::from_slice(&fs::read(receipt).unwrap()).unwrap();
        change(&mut keys);
        let file = self.file("changed.json");
        fs::write(&file, keys.to_string()).unwrap();
        file
    }
}

#[test]
fn the_real_model_gives_the_receipt_of_the_reference_and_it_matches() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.json").display().to_string();
    let generated = run_with_model("generate", &["--prompt", "Once upon a time", "--receipt", &file, "--json"]).json();
    assert_eq!(fs::read_to_string(&file).unwrap(), REAL);
    let keys: Value = serde_json::from_str(REAL).unwrap();
    assert_eq!(keys["transcript_sha256"], generated["transcript_sha256"]);
    assert_eq!(keys["generation"]["logits_sha256"], generated["logits_sha256"]);
    for flags in [&[][..], &["--threads", "1"], &["--step-by-step"], &["--backend", "scalar"]] {
        let report = run_with_model("verify", &[&[&file[..], "--json"], flags].concat()).json();
        assert_eq!((&report["verdict"], &report["steps"]), (&json!("MATCH"), &json!(25)), "{flags:?}");
    }
    let text = run_with_model("verify", &[&file]);
    assert_eq!((text.code, &text.stdout[..]), (Some(0), "MATCH: generation, 25 steps\nnot signed\n"));
}

#[test]
fn every_verdict_has_its_exit_code() {
    let place = Place::new();
    let receipt = place.generate("r.json", &[]);
    assert_eq!(place.verify(&receipt, &[]).0, Some(0));
    let changed = place.changed(&receipt, |keys| keys["generation"]["token_ids"][66] = json!(9));
    for flags in [&[][..], &["--step-by-step"]] {
        let (code, report) = place.verify(&changed, flags);
        assert_eq!((code, &report["verdict"], &report["step"]), (Some(3), &json!("MISMATCH"), &json!(67)), "{report}");
    }
    let changed = place.changed(&receipt, |keys| keys["profile"] = json!("lockstep/2"));
    let (code, report) = place.verify(&changed, &[]);
    assert_eq!((code, &report["verdict"]), (Some(4), &json!("CANNOT_VERIFY")), "{report}");
    let changed = place.changed(&receipt, |keys| keys["generation"]["request"]["max_tokens"] = json!("70"));
    let (code, report) = place.verify(&changed, &[]);
    assert_eq!((code, &report["verdict"], &report["kind"]), (Some(5), &json!("MALFORMED"), &Value::Null), "{report}");
    // Another model, and none: the receipt may be right, and nobody knows.
    let other = tiny::write(place.folder.path(), 2);
    let other = Place { folder: tempfile::tempdir().unwrap(), model: other };
    let (code, report) = other.verify(&receipt, &[]);
    assert!(code == Some(4) && report["why"].as_str().unwrap().contains("weights"), "{report}");
    let none = Place { folder: tempfile::tempdir().unwrap(), model: place.folder.path().join("none") };
    assert_eq!(none.verify(&receipt, &[]).0, Some(4));
    // What is no receipt at all, and a file that is not there.
    fs::write(place.file("no.json"), "{}").unwrap();
    assert_eq!(place.verify(&place.file("no.json"), &[]).0, Some(5));
    assert_eq!(place.run("verify", &[&place.file("none.json")]).code, Some(1));
    assert_eq!(place.run("verify", &[]).code, Some(2));
}

/// What a receipt of others says in the answer is in its line, and no line of its own.
#[test]
fn a_receipt_does_not_drive_the_terminal_or_forge_a_verdict() {
    let place = Place::new();
    let [file, prompts, none] = ["hostile.json", "hostile.jsonl", "none"].map(|name| place.file(name));
    let other = place.generate("r.json", &[]);
    let member = r#""\u001b]0;x\u0007\nMATCH: generation, 70 steps":1"#;
    fs::write(&file, format!(r#"{{"format":"lockstep-receipt/1",{member}}}"#)).unwrap();
    fs::write(&prompts, format!("{{{member}}}")).unwrap();
    for (command, words, code) in [
        ("verify", &[&file[..]][..], 5),
        ("diff", &[&file, &other], 5),
        ("generate", &["--input", &prompts, "--output", &none], 1),
    ] {
        let finished = place.run(command, words);
        let said = finished.stdout.clone() + &finished.stderr;
        assert_eq!(finished.code, Some(code), "{finished:?}");
        assert!(said.contains("\\u{1b}]0;x\\u{7}\\u{a}MATCH"), "{said:?}");
        assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
        assert!(!said.lines().any(|line| line.starts_with("MATCH")), "{said:?}");
    }
}

/// A verdict that nobody could read is no success, and neither is a receipt that was not written.
#[test]
fn who_stops_reading_is_not_told_of_success() {
    let place = Place::new();
    let (malformed, receipt) = (place.file("malformed.json"), place.file("r.json"));
    fs::write(&malformed, "{}").unwrap();
    for words in [
        vec!["verify", &malformed],
        vec!["diff", &malformed, &malformed],
        vec!["generate", "--prompt-ids", "5", "--max-tokens", "2", "--ignore-eos", "--receipt", &receipt],
        vec!["train", "--text", "a b c", "--steps", "1", "--learning-rate", "0.1", "--receipt", &receipt],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = lockstep(words[0]);
        let output = command.arg("--model").arg(&place.model).args(&words[1..]).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(1), vec![]), "{words:?}");
    }
    assert!(!std::path::Path::new(&receipt).exists());
}

#[test]
fn a_receipt_can_come_through_a_pipe() {
    let place = Place::new();
    let receipt = fs::read(place.generate("r.json", &[])).unwrap();
    let verify = |bytes: &[u8]| run(lockstep("verify").arg("--model").arg(&place.model).arg("-"), bytes);
    assert_eq!(verify(&receipt).code, Some(0));
    assert_eq!(verify(&receipt[1..]).code, Some(5));
    // More than any receipt has: read no further.
    assert_eq!(verify(&vec![b' '; (32 << 20) + 100]).code, Some(5));
}

#[test]
fn a_signature_has_a_verdict_of_its_own() {
    let place = Place::new();
    let keygen = |name: &str| {
        let finished = run(lockstep("keygen").arg(place.file(name)), b"");
        assert_eq!(finished.code, Some(0), "{finished:?}");
        finished.stdout.trim_end().to_string()
    };
    let (key, other) = (keygen("key"), keygen("other"));
    assert_ne!(key, other);
    let plain = place.generate("plain.json", &[]);
    let signed = place.generate("signed.json", &["--sign", &place.file("key")]);
    let (code, report) = place.verify(&signed, &[]);
    let signature = json!({ "state": "valid", "public_key": key, "is_required": null });
    assert_eq!((code, &report["signature"]), (Some(0), &signature));
    assert_eq!(place.verify(&plain, &[]).1["signature"]["state"], "none");
    for (receipt, by, code) in [
        (&signed, &key, 0),
        (&signed, &place.file("key.pub"), 0),
        (&signed, &other, 6),
        (&signed, &place.file("other.pub"), 6),
        (&plain, &key, 6),
    ] {
        let (found, report) = place.verify(receipt, &["--require-signature", by]);
        assert_eq!(found, Some(code), "{by}: {report}");
        // The computation has a verdict of its own.
        assert_eq!((&report["verdict"], &report["signature"]["is_required"]), (&json!("MATCH"), &json!(code == 0)));
    }
    let changed = place.changed(&signed, |keys| keys["generation"]["token_ids"][66] = json!(9));
    let (code, report) = place.verify(&changed, &["--require-signature", &key]);
    let refused = (&report["verdict"], &report["step"], &report["signature"]["is_required"]);
    assert_eq!((code, refused), (Some(6), (&json!("MISMATCH"), &json!(67), &json!(false))));
    let text = place.run("verify", &[&plain, "--require-signature", &key]).stdout;
    assert!(text.starts_with("MATCH: generation, 70 steps\nnot signed\nREFUSED: "), "{text}");
    // What is no receipt is not refused for a signature that it cannot have.
    let malformed = place.file("malformed.json");
    fs::write(&malformed, "{}").unwrap();
    assert_eq!(place.verify(&malformed, &["--require-signature", &key]).0, Some(5));
    // Changed after it was signed: the computation is still right, the signature is not.
    let changed = place.changed(&signed, |keys| keys["signature"]["value"] = json!("0".repeat(128)));
    let (code, report) = place.verify(&changed, &[]);
    assert_eq!(
        (code, &report["verdict"], &report["signature"]["state"]),
        (Some(0), &json!("MATCH"), &json!("invalid"))
    );
    assert_eq!(place.verify(&changed, &["--require-signature", &key]).0, Some(6));
    // A secret key is not taken for a public one, and what is neither is told so.
    for wrong in [place.file("key"), "abc".to_string()] {
        let finished = place.run("verify", &[&signed, "--require-signature", &wrong]);
        assert_eq!(finished.code, Some(1), "{finished:?}");
    }
}

#[test]
fn a_private_receipt_is_verified_with_what_it_leaves_out() {
    let place = Place::new();
    let receipt = place.generate("r.json", &["--private"]);
    assert!(!fs::read_to_string(&receipt).unwrap().contains("_ids\":["));
    let (code, report) = place.verify(&receipt, &[]);
    assert!(code == Some(4) && report["why"].as_str().unwrap().contains("private"), "{report}");
    assert_eq!(place.verify(&receipt, &["--prompt-ids", "5,6,7"]).0, Some(0));
    // With the output too it is read at once, as one that has its ids.
    let open: Value = serde_json::from_slice(&fs::read(place.generate("open.json", &[])).unwrap()).unwrap();
    let ids: Vec<u32> = serde_json::from_value(open["generation"]["token_ids"].clone()).unwrap();
    let list = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let with = |ids: &[u32]| place.verify(&receipt, &["--prompt-ids", "5,6,7", "--output-ids", &list(ids)]);
    assert_eq!(with(&ids).0, Some(0));
    let (code, report) = with(&ids[1..]);
    assert!(code == Some(4) && report["why"].as_str().unwrap().contains("the output"), "{report}");
    assert_eq!(place.verify(&receipt, &["--prompt-ids", "5,6"]).0, Some(4));
    assert_eq!(place.verify(&receipt, &["--prompt", "5,6,7"]).0, Some(4));
}

/// Trains and returns the receipt's file.
fn train(place: &Place, flags: &[&str]) -> String {
    let file = place.file("training.json");
    let words = ["--steps", "3", "--learning-rate", "0.1", "--receipt", &file, "--json"];
    let finished = place.run("train", &[&words[..], flags].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let end: Value = serde_json::from_str(finished.stdout.lines().last().unwrap()).unwrap();
    let keys: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(keys["transcript_sha256"], end["transcript_sha256"]);
    file
}

fn lines(place: &Place) -> String {
    let data = place.file("data.jsonl");
    fs::write(&data, "{\"text\":\"one two three\"}\n{\"text\":\"four five\"}\n{\"text\":\"six seven eight nine\"}\n")
        .unwrap();
    data
}

#[test]
fn a_training_is_verified_by_training_again() {
    let place = Place::new();
    let data = lines(&place);
    for flags in [
        &["--text", "The cat sat on the mat."][..],
        &["--data", &data, "--batch-size", "2", "--seed", "4", "--optimizer", "adamw", "--schedule", "cosine"],
        &["--text", "The cat sat on the mat.", "--method", "lora", "--seed", "8", "--clip-norm", "0.5"],
    ] {
        let receipt = train(&place, flags);
        for threads in ["1", "2"] {
            let (code, report) = place.verify(&receipt, &["--threads", threads]);
            assert_eq!((code, &report["kind"], &report["steps"]), (Some(0), &json!("training"), &json!(3)), "{report}");
        }
        let changed = place.changed(&receipt, |keys| keys["training"]["loss_bits"][1] = json!("3f800000"));
        let (code, report) = place.verify(&changed, &[]);
        assert_eq!((code, &report["step"]), (Some(3), &json!(2)), "{report}");
    }
    let receipt = train(&place, &["--data", &data, "--private"]);
    assert_eq!(place.verify(&receipt, &[]).0, Some(4));
    assert_eq!(place.verify(&receipt, &["--data", &data]).0, Some(0));
    assert_eq!(place.verify(&receipt, &["--text", "one two three"]).0, Some(4));
}

#[test]
fn a_training_of_an_adapter_goes_on_from_its_folder() {
    let place = Place::new();
    let adapter = place.file("adapter");
    train(&place, &["--text", "The cat sat.", "--method", "lora", "--save", &adapter]);
    let receipt = train(&place, &["--text", "The dog ran.", "--adapter", &adapter]);
    assert_eq!(place.verify(&receipt, &[]).0, Some(4));
    assert_eq!(place.verify(&receipt, &["--adapter", &adapter]).0, Some(0));
    let generated = place.generate("g.json", &["--adapter", &adapter]);
    assert_eq!(place.verify(&generated, &[]).0, Some(4));
    assert_eq!(place.verify(&generated, &["--adapter", &adapter]).0, Some(0));
}

#[test]
fn a_receipt_is_written_whole_or_not_at_all() {
    let place = Place::new();
    let receipt = place.generate("r.json", &[]);
    let before = fs::read(&receipt).unwrap();
    // What fails leaves the receipt of before, and no other file.
    let failed = place.run("generate", &["--prompt-ids", "49152", "--receipt", &receipt]);
    assert_eq!(failed.code, Some(1));
    let wrong = place.run("generate", &["--prompt-ids", "5", "--receipt", &receipt, "--sign", &place.file("no key")]);
    assert!(wrong.code == Some(1) && wrong.stdout.is_empty(), "{wrong:?}");
    assert_eq!(fs::read(&receipt).unwrap(), before);
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 2);
    // What cannot be written is known before the first token.
    for path in [&place.file("no folder/r.json"), &place.file("."), &place.file("tiny-1")] {
        let refused = place.run("generate", &["--prompt-ids", "5", "--receipt", path]);
        assert!(
            refused.code == Some(1) && refused.stdout.is_empty() && refused.stderr.contains("--receipt"),
            "{refused:?}"
        );
    }
    for flags in [&["--private"][..], &["--sign", "key"]] {
        let refused = place.run("generate", &[&["--prompt-ids", "5"], flags].concat());
        assert!(refused.code == Some(1) && refused.stderr.contains("--receipt FILE"), "{refused:?}");
    }
    let long = place.run("generate", &["--prompt-ids", "5", "--max-tokens", "131073", "--receipt", &receipt]);
    assert!(long.code == Some(1) && long.stderr.contains("131072"), "{long:?}");
}

/// Whenever it was interrupted, its receipt is byte for byte that of a training that was not.
#[test]
fn a_training_that_was_resumed_has_the_receipt_of_one_that_was_not() {
    let place = Place::new();
    let (data, checkpoint) = (lines(&place), place.file("checkpoint"));
    let train = |steps: &str, name: &str, flags: &[&str]| {
        let file = place.file(name);
        let words =
            ["--data", &data, "--optimizer", "adamw", "--batch-size", "2", "--learning-rate", "0.1", "--clip-norm"];
        let words = [&words[..], &["1", "--steps", steps, "--receipt", &file], flags].concat();
        let finished = place.run("train", &words);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        fs::read(file).unwrap()
    };
    let whole = train("5", "whole.json", &[]);
    let going_on = ["--checkpoint", &checkpoint, "--checkpoint-every", "2", "--resume"];
    train("1", "part.json", &going_on);
    train("4", "part.json", &going_on);
    assert_eq!(train("5", "resumed.json", &going_on), whole);
    // Nothing is left to do but to tell.
    assert_eq!(train("5", "again.json", &going_on), whole);
    assert_eq!(place.verify(&place.file("resumed.json"), &[]).0, Some(0));
}

/// The receipt of a `done` event, as it is served under its id.
fn served(server: &Server, done: &Value) -> Vec<u8> {
    let id = done["receiptId"].as_str().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let answer = server.get(&format!("/v1/receipts/{id}"));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    // What the event has is the same object; written without spaces it is the same bytes.
    assert_eq!(answer.text(), done["receipt"].to_string());
    assert_eq!(done["receipt"]["transcript_sha256"], done["transcriptSha256"]);
    answer.body
}

#[test]
fn the_server_issues_receipts_that_match() {
    let server = start(&["--receipts", "2"]);
    let done = |query: &str| generate(&server, query).last().unwrap().data.clone();
    let verify = |receipt: &[u8]| {
        let finished = run(lockstep("verify").arg("--model").arg(model::dir()).args(["-", "--json"]), receipt);
        finished.json()["verdict"].as_str().unwrap().to_string()
    };
    let first = done("prompt=Once%20upon%20a%20time");
    let receipt = served(&server, &first);
    assert_eq!(String::from_utf8(receipt.clone()).unwrap(), REAL);
    assert_eq!(verify(&receipt), "MATCH");
    let drawn = served(&server, &done("prompt=x&max_tokens=5&temperature=1&top_p=0.9&seed=18446744073709551615"));
    assert_eq!(verify(&drawn), "MATCH");

    let body = r#"{"text":"The cat sat on the mat.","steps":2,"learningRate":0.001,"method":"lora"}"#;
    let answer = server.exchange(&post("/api/train", JSON, body));
    let trained = events(answer.text()).last().unwrap().data.clone();
    assert_eq!(verify(&served(&server, &trained)), "MATCH");

    // The third one has pushed the first one out; ids that never were are answered alike.
    for id in [first["receiptId"].as_str().unwrap(), "0", ""] {
        let answer = server.get(&format!("/v1/receipts/{id}"));
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!("receipt_not_found")), "{id}");
    }
    assert_eq!(server.request("POST", "/v1/receipts/0", "").status, 405);
}

#[test]
fn the_server_signs_its_receipts_and_leaves_out_what_is_private() {
    let place = Place::new();
    let keygen = run(lockstep("keygen").arg(place.file("key")), b"");
    assert_eq!(keygen.code, Some(0), "{keygen:?}");
    let server = start(&["--sign", &place.file("key")]);
    let done =
        generate(&server, "prompt=Once%20upon%20a%20time&max_tokens=2&private=true").last().unwrap().data.clone();
    let receipt = served(&server, &done);
    assert!(!String::from_utf8(receipt.clone()).unwrap().contains("_ids\":["));
    let verify = |flags: &[&str]| {
        let mut command = lockstep("verify");
        let required = ["-", "--json", "--require-signature", &place.file("key.pub")];
        run(command.arg("--model").arg(model::dir()).args(required).args(flags), &receipt)
    };
    assert_eq!(verify(&["--prompt", "Once upon a time"]).json()["verdict"], "MATCH");
    assert_eq!(verify(&[]).code, Some(4));
    // A key that cannot be read is known before anything is listened on.
    let refused = run(lockstep("serve").args(["--sign", &place.file("no key")]), b"");
    assert!(refused.code == Some(1) && !refused.stderr.contains("listening"), "{refused:?}");
}

#[test]
fn receipts_can_be_turned_off() {
    let server = start(&["--receipts", "0"]);
    let done = generate(&server, "max_tokens=1").last().unwrap().data.clone();
    assert!(done["transcriptSha256"].is_string() && done.get("receipt").is_none() && done.get("receiptId").is_none());
    assert_eq!(server.get("/v1/receipts/0").status, 404);
}
