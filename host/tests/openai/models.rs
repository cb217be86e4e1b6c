//! `/v1/models`: the base weights, adapters, and what a training made.

use serde_json::{Value, json};

use super::{COMPLETIONS, answered, ask, refused};
use crate::command::run_with_model;
use crate::server::{JSON, Server, post, start};
use crate::stream::generate;

const TEXT: &str = "The cat sat on the mat and purred loudly.";

fn names(server: &Server) -> Vec<String> {
    let list = server.get("/v1/models").json();
    assert_eq!(list["object"], "list");
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_string()).collect()
}

/// The transcript, and the system's fingerprint.
fn said(server: &Server, model: Option<&str>) -> [Value; 2] {
    let body = json!({ "model": model, "prompt": "Once upon a time", "max_tokens": 3 });
    let answer = answered(server, COMPLETIONS, &body);
    [answer["choices"][0]["transcript_sha256"].clone(), answer["system_fingerprint"].clone()]
}

fn command(server: &Server, path: &str, body: &str) -> Value {
    let answer = server.exchange(&post(path, JSON, body));
    assert_eq!(answer.status, 200);
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// What a training changes is seen under a name of its own; the others stay what they were.
#[test]
fn trained_weights_are_a_model_of_their_own() {
    let server = start(&[]);
    let name = server.status()["model"].as_str().unwrap().to_string();
    let trained = format!("{name}:trained");
    assert_eq!(names(&server), [name.as_str()]);
    let base = said(&server, None);
    assert_eq!(said(&server, Some(&name)), base);
    let absent = refused(&ask(&server, COMPLETIONS, &json!({ "model": trained, "prompt": "x" })), 404);
    assert!(absent["message"].as_str().unwrap().contains("/api/train"), "{absent}");

    command(&server, "/api/train", &json!({ "text": TEXT, "steps": 1 }).to_string());
    assert_eq!(names(&server), [name.as_str(), &trained]);
    assert_eq!(said(&server, Some(&name)), base);
    let other = said(&server, Some(&trained));
    let served = generate(&server, "max_tokens=3").pop().unwrap().data;
    assert_eq!(other[0], served["transcriptSha256"]);
    assert!(other[0] != base[0] && other[1] != base[1]);
    let digest = served["weightsSha256"].as_str().unwrap();
    assert!(other[1].as_str().unwrap().contains(&digest[..16]), "{other:?}");
    let one = server.get(&format!("/v1/models/{}", trained.replace(':', "%3A"))).json();
    assert_eq!((&one["id"], &one["weights_sha256"]), (&json!(trained), &json!(digest)));

    command(&server, "/api/train/reset", "");
    assert_eq!(names(&server), [name.as_str()]);
    refused(&ask(&server, COMPLETIONS, &json!({ "model": trained, "prompt": "x" })), 404);
}

/// Several adapters at once, each what the command line computes with it; `/api` uses the first one.
#[test]
fn adapters_are_models_beside_the_base_weights() {
    let folder = tempfile::tempdir().unwrap();
    let dir = |name: &str| folder.path().join(name).display().to_string();
    for (name, seed) in [("first", "0"), ("second", "1")] {
        let words = ["--text", TEXT, "--steps", "1", "--method", "lora", "--learning-rate", "0.05", "--lora-rank", "2"];
        let train = run_with_model("train", &[&words[..], &["--seed", seed, "--save", &dir(name), "--json"]].concat());
        assert_eq!(train.code, Some(0), "{train:?}");
    }
    let printed = |flags: &[&str]| {
        let words = ["--prompt", "Once upon a time", "--max-tokens", "3", "--json"];
        run_with_model("generate", &[&words[..], flags].concat()).json()
    };
    let second = format!("tone={}", dir("second"));
    let server = start(&["--adapter", &dir("first"), "--adapter", &second]);
    let base = server.status()["model"].as_str().unwrap().to_string();
    assert_eq!(names(&server), [base.as_str(), "first", "tone"]);
    let mut seen = vec![];
    for (model, adapter) in [(&base[..], None), ("first", Some("first")), ("tone", Some("second"))] {
        let adapter = adapter.map(dir);
        let flags: Vec<&str> = adapter.iter().flat_map(|dir| ["--adapter", dir]).collect();
        let printed = printed(&flags);
        assert_eq!(said(&server, Some(model))[0], printed["transcript_sha256"], "{model}");
        let listed = server.get(&format!("/v1/models/{model}")).json();
        assert_eq!(
            (&listed["adapter_sha256"], &listed["weights_sha256"]),
            (&printed["adapter_sha256"], &printed["weights_sha256"])
        );
        seen.push(printed);
    }
    assert!(seen[0]["transcript_sha256"] != seen[1]["transcript_sha256"]);
    assert!(seen[1]["transcript_sha256"] != seen[2]["transcript_sha256"]);
    let served = generate(&server, "max_tokens=3").pop().unwrap().data;
    assert_eq!(served["transcriptSha256"], seen[1]["transcript_sha256"]);
    let told = || {
        let info = server.get("/info").json();
        [&info["model"]["adapter_sha256"], &info["trained"]["weights_sha256"], &info["trained"]["adapter_sha256"]]
            .map(Value::clone)
    };
    assert_eq!(told(), [seen[1]["adapter_sha256"].clone(), Value::Null, Value::Null]);
    // A training begins beside no adapter, and changes none of them.
    command(&server, "/api/train", &json!({ "text": TEXT, "steps": 1 }).to_string());
    assert_eq!(names(&server), [base.as_str(), "first", "tone", &format!("{base}:trained")]);
    let trained = generate(&server, "max_tokens=1").pop().unwrap().data["weightsSha256"].clone();
    assert_eq!(told(), [seen[1]["adapter_sha256"].clone(), trained, Value::Null]);
    for (model, printed) in [base.as_str(), "first", "tone"].iter().zip(&seen) {
        assert_eq!(said(&server, Some(model))[0], printed["transcript_sha256"], "{model}");
    }
}

#[test]
fn two_models_of_one_name_are_refused_at_the_start() {
    let finished = run_with_model("serve", &["--port", "0", "--adapter", "a=x", "--adapter", "a=y"]);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("--adapter NAME=DIR"), "{}", finished.stderr);
}
