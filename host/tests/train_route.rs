//! `POST /api/train`, `/stop` and `/reset`.

use std::io::BufReader;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::command::run_with_model;
use crate::commands::FIRST;
use crate::server::{Answer, JSON, Server, post, start};
use crate::stream::{events, generate, rest, tokens};

const TEXT: &str = "The cat sat on the mat and purred loudly.";
const TRAIN: &str = "/api/train";

fn train(server: &Server, body: &Value) -> Answer {
    server.exchange(&post(TRAIN, JSON, &body.to_string()))
}

fn command(server: &Server, name: &str) -> Answer {
    server.request("POST", &format!("/api/train/{name}"), "Content-Length: 0\n")
}

/// Asks for a long training and returns once its first step is done.
fn begin(server: &Server) -> BufReader<TcpStream> {
    let body = json!({ "text": TEXT, "steps": 500 }).to_string();
    server.send_until(&post(TRAIN, JSON, &body), "event: step")
}

/// The events tell of the same bits as the command; a training begins with the base weights, whatever was trained before.
#[test]
fn a_training_is_what_the_command_prints_and_is_served_until_reset() {
    let server = start(&[]);
    let base = generate(&server, "max_tokens=8");
    let base_weights = base.last().unwrap().data["weightsSha256"].clone();
    assert_eq!((&server.status()["training"], &server.status()["trained"]), (&json!(false), &json!(false)));

    let all = events(train(&server, &json!({ "text": TEXT, "steps": 2, "learningRate": null })).text());
    let names: Vec<&str> = all.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["init", "step", "step", "done"]);
    assert_eq!(all.iter().map(|event| event.id).collect::<Vec<_>>(), [0, 1, 2, 2]);
    assert_eq!(all[0].data, json!({ "text": TEXT, "tokens": 11, "steps": 2, "learningRate": 0.001, "method": "full" }));
    let arguments = ["--text", TEXT, "--steps", "2", "--learning-rate", "0.001", "--json"];
    let printed = run_with_model("train", &arguments).stdout;
    let printed: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (event, line) in all[1..3].iter().zip(&printed) {
        for (key, name) in [("step", "step"), ("lossBits", "loss_bits"), ("stepSha256", "step_sha256")] {
            assert_eq!(event.data[key], line[name], "{key}");
        }
    }
    let loss = all[1].data["loss"].as_f64().unwrap();
    assert_eq!(all[1].data["lossBits"], format!("{:08x}", (loss as f32).to_bits()));
    let done = &all[3].data;
    assert_eq!((&done["totalSteps"], &done["finishReason"]), (&json!(2), &json!("completed")));
    assert!(done["elapsedMs"].as_f64() > Some(0.0));
    for (key, name) in [
        ("weightsSha256", "weights_sha256"),
        ("baseWeightsSha256", "base_weights_sha256"),
        ("dataSha256", "data_sha256"),
        ("transcriptSha256", "transcript_sha256"),
    ] {
        assert_eq!(done[key], printed[2][name], "{key}");
    }

    let status = server.status();
    assert_eq!((&status["trained"], &status["weightsSha256"]), (&json!(true), &done["weightsSha256"]));
    let trained = generate(&server, "max_tokens=8");
    assert_eq!(trained.last().unwrap().data["weightsSha256"], done["weightsSha256"]);
    assert_ne!(tokens(&trained).1, tokens(&base).1);

    let again = events(train(&server, &json!({ "text": TEXT, "steps": 2 })).text());
    assert_eq!(again[3].data["transcriptSha256"], done["transcriptSha256"]);

    assert_eq!(
        command(&server, "reset").json(),
        json!({ "trained": false, "weightsSha256": base_weights, "adapterSha256": null })
    );
    let status = server.status();
    assert_eq!((&status["trained"], &status["weightsSha256"]), (&json!(false), &base_weights));
    assert_eq!(json!(tokens(&generate(&server, "max_tokens=8")).0), json!(FIRST));
}

/// An adapter is trained as the command trains it, also by a server that was started with another one, and is served beside
/// the base weights; reset brings that other one back.
#[test]
fn an_adapter_is_what_the_command_prints_and_is_served_until_reset() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("adapter").display().to_string();
    let fixed = ["--text", TEXT, "--steps", "1", "--method", "lora", "--json"];
    let printed = |flags: &[&str]| -> Value {
        let lines = run_with_model("train", &[&fixed[..], flags].concat()).stdout;
        serde_json::from_str(lines.lines().last().unwrap()).unwrap()
    };
    let first = printed(&["--learning-rate", "0.05", "--lora-rank", "2", "--save", &dir]);
    let expected =
        printed(&["--learning-rate", "0.002", "--optimizer", "adamw", "--lora-rank", "4", "--lora-alpha", "4"]);

    let server = start(&["--adapter", &dir]);
    let started = server.status();
    assert_eq!(started["adapterSha256"], first["adapter_sha256"]);
    let started_tokens = generate(&server, "max_tokens=2");
    assert_eq!(started_tokens.last().unwrap().data["adapterSha256"], first["adapter_sha256"]);

    let body = json!({ "text": TEXT, "steps": 1, "method": "lora", "optimizer": "adamw", "rank": 4, "alpha": 4 });
    let all = events(train(&server, &body).text());
    assert_eq!((&all[0].data["method"], &all[0].data["learningRate"]), (&json!("lora"), &json!(0.002)));
    let done = &all.last().unwrap().data;
    for (key, name) in [
        ("weightsSha256", "weights_sha256"),
        ("adapterSha256", "adapter_sha256"),
        ("baseAdapterSha256", "base_adapter_sha256"),
        ("transcriptSha256", "transcript_sha256"),
    ] {
        assert!(done[key].is_string() && done[key] == expected[name], "{key}: {done}, {expected}");
    }
    let status = server.status();
    assert_eq!((&status["trained"], &status["adapterSha256"]), (&json!(true), &done["adapterSha256"]));
    assert_eq!(status["weightsSha256"], done["weightsSha256"]);
    let last = generate(&server, "max_tokens=2").pop().unwrap();
    assert_eq!(
        (&last.data["weightsSha256"], &last.data["adapterSha256"]),
        (&done["weightsSha256"], &done["adapterSha256"])
    );

    let reset = command(&server, "reset").json();
    assert_eq!(
        reset,
        json!({ "trained": false, "weightsSha256": status["weightsSha256"], "adapterSha256": first["adapter_sha256"] })
    );
    assert_eq!(tokens(&generate(&server, "max_tokens=2")).1, tokens(&started_tokens).1);
}

/// Generations go on with the weights served before, and both progress.
#[test]
fn while_one_training_runs_there_is_no_other_and_texts_are_generated() {
    let server = start(&[]);
    let stream = begin(&server);
    assert_eq!(server.status()["training"], true);
    let error = train(&server, &json!({ "text": TEXT })).error(409);
    assert!(error.contains("/api/train/stop"), "{error}");
    command(&server, "reset").error(409);
    let meanwhile = generate(&server, "max_tokens=8");
    assert_eq!(json!(tokens(&meanwhile).0), json!(FIRST));
    assert_eq!(server.status()["training"], true);

    assert_eq!(command(&server, "stop").json(), json!({ "stopping": true }));
    let (_, done) = rest(stream);
    let steps = done["totalSteps"].as_u64().unwrap();
    assert!(done["finishReason"] == "stopped" && (1..500).contains(&steps), "{done}");
    let status = server.status();
    assert_eq!((&status["training"], &status["weightsSha256"]), (&json!(false), &done["weightsSha256"]));
    assert_eq!(command(&server, "stop").json(), json!({ "stopping": false }));
}

#[test]
fn a_client_that_leaves_stops_its_training_and_changes_nothing() {
    let server = start(&[]);
    drop(begin(&server));
    let left = Instant::now();
    server.wait_for("training", &json!(false));
    // A step, on a busy machine; 500 take minutes.
    assert!(left.elapsed() < Duration::from_secs(20), "{:?}", left.elapsed());
    assert_eq!(server.status()["trained"], false);
}

#[test]
fn a_training_that_loses_itself_is_an_error_and_changes_nothing() {
    let server = start(&[]);
    let all = events(train(&server, &json!({ "text": TEXT, "steps": 4, "learningRate": 1e30 })).text());
    let [.., error, done] = &all[..] else { panic!("too few events") };
    assert_eq!((error.name.as_str(), done.name.as_str()), ("error", "done"));
    assert!(error.data["error"].as_str().unwrap().contains("step 2"), "{}", error.data);
    assert_eq!(done.data["finishReason"], "error");
    let status = server.status();
    assert_eq!((&status["trained"], &status["training"]), (&json!(false), &json!(false)));
}

#[test]
fn what_cannot_be_trained_is_refused_with_the_reason() {
    let server = start(&["--ctx-size", "8"]);
    for (body, word) in [
        ("", "text"),
        ("{}", "text"),
        ("[]", "text"),
        (r#"{"text":"a b","steps":0}"#, "steps"),
        (r#"{"text":"a b","steps":10001}"#, "10000"),
        (r#"{"text":"a b","steps":1.5}"#, "1.5"),
        (r#"{"text":"a b","learningRate":0}"#, "learningRate"),
        (r#"{"text":"a b","learningRate":"1"}"#, "column"),
        (r#"{"text":"a b","optimizer":"adamw"}"#, "optimizer"),
        (r#"{"text":"a b","momentum":0.9}"#, "momentum"),
        (r#"{"text":"a b","method":"dora"}"#, "dora"),
        (r#"{"text":"a b","rank":4}"#, "lora"),
        (r#"{"text":"a b","method":"lora","rank":0}"#, "rank"),
        (r#"{"text":"a b","method":"lora","targets":["lm_head"]}"#, "lm_head"),
        (r#"{"text":"a"}"#, "at least 2"),
        (r#"{"text":"The cat sat on the mat and purred loudly."}"#, "11"),
    ] {
        let error = server.exchange(&post(TRAIN, JSON, body)).error(400);
        assert!(error.contains(word), "{body}: {error}");
    }
    for headers in ["", "Content-Type: text/plain\n", "Content-Type: application/x-www-form-urlencoded\n"] {
        server.exchange(&post(TRAIN, headers, r#"{"text":"a b"}"#)).error(415);
    }
    let cross_site = format!("{JSON}Sec-Fetch-Site: cross-site\n");
    server.exchange(&post(TRAIN, &cross_site, r#"{"text":"a b"}"#)).error(403);
    for name in ["stop", "reset"] {
        let path = format!("/api/train/{name}");
        server.request("POST", &path, "Origin: http://evil.example\nContent-Length: 0\n").error(403);
    }
    assert_eq!(server.status()["training"], false);
}

#[test]
fn a_request_may_have_a_mebibyte() {
    let server = start(&["--ctx-size", "8"]);
    let body = |length: usize| json!({ "text": "a".repeat(length) }).to_string();
    server.exchange(&post(TRAIN, JSON, &body(1 << 19))).error(400);
    // The answer comes before the rest of the body is read: what is sent is only its head.
    let head = post(TRAIN, JSON, &body(1 << 20));
    let error = server.exchange(&head).error(413);
    assert!(error.contains("1048576"), "{error}");
}
