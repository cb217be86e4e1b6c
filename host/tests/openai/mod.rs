//! `/v1/models`, `/v1/completions` and `/v1/chat/completions`.

mod answers;
mod lifetime;
mod logprobs;
mod models;
mod refusals;
mod streams;

use serde_json::{Value, json};

use crate::server::{Answer, JSON, Server, post};

pub const COMPLETIONS: &str = "/v1/completions";
pub const CHAT: &str = "/v1/chat/completions";

pub fn ask(server: &Server, path: &str, body: &Value) -> Answer {
    server.exchange(&post(path, JSON, &body.to_string()))
}

/// The answer to a request that is followed.
pub fn answered(server: &Server, path: &str, body: &Value) -> Value {
    let answer = ask(server, path, body);
    assert_eq!(answer.status, 200, "{body}: {answer:?}");
    answer.json()
}

/// The error of a request that is refused, with its four members.
pub fn refused(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    let object = answer.json();
    let error = object["error"].as_object().unwrap();
    let mut names: Vec<&str> = error.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!((names, object.as_object().unwrap().len()), (vec!["code", "message", "param", "type"], 1));
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{object}");
    assert!(error["type"].is_string() && error["code"].is_string(), "{object}");
    object["error"].clone()
}

/// The chunks of a stream, which may hold nothing but one `data:` line for each, pings, and the end.
pub fn chunks(text: &str) -> Vec<Value> {
    let blocks = text.strip_suffix("\n\n").expect("whole events").split("\n\n").filter(|block| *block != ": ping");
    let mut lines: Vec<&str> = blocks.map(|block| block.strip_prefix("data: ").expect("data")).collect();
    assert_eq!(lines.pop(), Some("[DONE]"));
    lines.into_iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The request as a stream that tells its usage, and its chunks.
pub fn streamed(server: &Server, path: &str, body: &Value) -> Vec<Value> {
    let mut body = body.clone();
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    let answer = ask(server, path, &body);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")), "{answer:?}");
    chunks(answer.text())
}

/// A conversation of one question.
pub fn question(text: &str) -> Value {
    json!([{ "role": "user", "content": text }])
}
