//! `/api/status` and `/api/generate`.

use std::io::Read;

use serde_json::{Value, json};

use crate::command::run_with_model;
use crate::commands::FIRST;
use crate::server::{Answer, Server, start};

/// One event as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: usize,
    pub name: String,
    pub data: Value,
}

/// Parses a stream that may hold nothing but whole events of exactly three lines, and pings.
pub fn events(text: &str) -> Vec<Event> {
    let blocks = text.strip_suffix("\n\n").expect("whole events").split("\n\n").filter(|block| *block != ": ping");
    let parse = |block: &str| {
        let mut lines = block.split('\n');
        let mut field = |name: &str| lines.next().unwrap().strip_prefix(name).expect(name);
        let (id, event, data) = (field("id: "), field("event: "), field("data: "));
        Event { id: id.parse().unwrap(), name: event.to_string(), data: serde_json::from_str(data).unwrap() }
    };
    blocks.map(parse).collect()
}

/// All events of a generation.
pub fn generate(server: &Server, query: &str) -> Vec<Event> {
    let answer = server.get(&format!("/api/generate?{query}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    events(answer.text())
}

/// The ids, digests and whole text of the tokens.
pub fn tokens(events: &[Event]) -> (Vec<Value>, Vec<Value>, String) {
    let tokens = || events.iter().filter(|event| event.name == "token").map(|event| &event.data);
    let text = tokens().map(|data| data["tokenText"].as_str().unwrap()).collect();
    (tokens().map(|t| t["tokenId"].clone()).collect(), tokens().map(|t| t["logitsSha256"].clone()).collect(), text)
}

/// The rest of a stream, to its last chunk: how many tokens came, and the data of the `done` event.
pub fn rest(mut stream: impl Read) -> (usize, Value) {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "the last chunk is missing: {rest:?}");
    let done = rest.lines().skip_while(|line| *line != "event: done").nth(1).expect("a done event");
    let tokens = rest.lines().filter(|line| *line == "event: token").count();
    (tokens, serde_json::from_str(done.strip_prefix("data: ").expect("its data")).unwrap())
}

#[test]
fn status_describes_the_model() {
    let server = start(&["--threads", "2", "--ctx-size", "512"]);
    let status = server.status();
    for (key, value) in [
        ("hiddenSize", json!(576)),
        ("vocabSize", json!(49152)),
        ("layers", json!(30)),
        ("contextLength", json!(512)),
        ("threads", json!(2)),
        ("profile", json!("lockstep/1")),
        ("activeGenerations", json!(0)),
    ] {
        assert_eq!(status[key], value, "{key}");
    }
    let url = status["modelUrl"].as_str().unwrap();
    assert_eq!(server.get(&format!("{url}config.json")).json()["hidden_size"], 576);
}

/// The defaults, the exact bytes of the first events, and the same ids, digests, text and transcript as the command's.
#[test]
fn a_stream_is_what_generate_prints() {
    let server = start(&[]);
    let answer = server.get("/api/generate?prompt=&max_tokens=8");
    assert_eq!(answer.status, 200);
    for (name, value) in
        [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("x-accel-buffering", "no")]
    {
        assert_eq!(answer.header(name), Some(value));
    }
    let init = "id: 0\nevent: init\ndata: {\"inputTokens\":[6403,1980,253,655],\"maxTokens\":8,\"prompt\":\"Once upon a time\"}\n\n";
    assert!(answer.text().starts_with(init), "{}", answer.text());
    assert!(answer.text()[init.len()..].starts_with("id: 1\nevent: token\ndata: {"));

    let all = events(answer.text());
    let names: Vec<&str> = all.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, [&["init"][..], &["token"; 8], &["done"]].concat());
    assert_eq!(all.iter().map(|event| event.id).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]);
    for (index, event) in all[1..9].iter().enumerate() {
        assert_eq!((&event.data["step"], &event.data["done"]), (&json!(index + 1), &json!(index == 7)));
    }
    let (ids, digests, text) = tokens(&all);
    assert_eq!(json!(ids), json!(FIRST));

    let printed = run_with_model("generate", &["--prompt", "Once upon a time", "--max-tokens", "8", "--json"]).json();
    assert_eq!((&json!(digests), text.as_str()), (&printed["logits_sha256"], printed["text"].as_str().unwrap()));
    let done = &all[9].data;
    assert_eq!((&done["totalTokens"], &done["finishReason"]), (&json!(8), &json!("length")));
    assert!(done["elapsedMs"].as_f64() > Some(0.0) && done["tokensPerSec"].as_f64() > Some(0.0));
    assert_eq!(done["transcriptSha256"], printed["transcript_sha256"]);
    assert_eq!(
        (&done["weightsSha256"], &server.status()["weightsSha256"]),
        (&printed["weights_sha256"], &done["weightsSha256"])
    );
}

#[test]
fn a_request_without_parameters_gets_25_tokens() {
    let all = generate(&start(&[]), "");
    assert_eq!((all[0].data["prompt"].as_str(), all.len()), (Some("Once upon a time"), 27));
    assert_eq!(all[0].data["maxTokens"], 25);
}

#[test]
fn prompts_and_texts_of_any_script_come_through() {
    let prompt = "Emoji: 🎉🎊🥳 Grüße 🎉🎊";
    let printed = run_with_model("generate", &["--prompt", prompt, "--max-tokens", "6", "--json"]).json();
    let encoded: String = prompt.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let all = generate(&start(&[]), &format!("prompt={encoded}&max_tokens=6"));
    assert_eq!((&all[0].data["prompt"], &all[0].data["inputTokens"]), (&json!(prompt), &printed["prompt_token_ids"]));
    assert_eq!(tokens(&all).2, printed["text"].as_str().unwrap());
}

#[test]
fn the_end_of_text_has_no_text() {
    let query = "prompt=%3C|im_start|%3Euser%0ASay+yes.%3C|im_end|%3E%0A%3C|im_start|%3Eassistant%0AYes.&max_tokens=12";
    let server = start(&[]);
    let all = generate(&server, query);
    let last = &all[all.len() - 2].data;
    assert_eq!((&last["tokenId"], &last["tokenText"], &last["done"]), (&json!(2), &json!(""), &json!(true)));
    assert_eq!(all.last().unwrap().data["finishReason"], "stop");
    let plain = generate(&server, &format!("{query}&plain_special=true"));
    assert_ne!(plain[0].data["inputTokens"], all[0].data["inputTokens"]);
}

#[test]
fn what_cannot_be_generated_is_400_with_the_reason() {
    let server = start(&["--ctx-size", "64"]);
    let refused = |query: &str| server.get(&format!("/api/generate?{query}")).error(400);
    for value in ["0", "-1", "1.5", "", "ten", "1e1", "+5", "99999999999999999999"] {
        assert!(refused(&format!("max_tokens={value}")).contains("max_tokens"), "{value}");
    }
    let error = refused("max_tokens=61");
    assert!(["4", "61", "64"].iter().all(|number| error.contains(number)), "{error}");
    assert_eq!(server.get("/api/generate?max_tokens=60").status, 200);
    for query in ["prompt=%ff", "prompt=%C3", "prompt=%ED%A0%80"] {
        assert!(refused(query).contains("UTF-8"), "{query}");
    }
}

#[test]
fn plus_is_a_space_and_percent_2b_a_plus() {
    let all = generate(&start(&[]), "prompt=a+b%2Bc%20d&max_tokens=1");
    assert_eq!(all[0].data["prompt"], "a b+c d");
}

/// An `EventSource` that lost its connection is told to stop, and nothing is computed.
#[test]
fn a_request_with_last_event_id_gets_204() {
    let server = start(&[]);
    for id in ["0", "3", ""] {
        let answer: Answer = server.request("GET", "/api/generate?prompt=x", &format!("Last-Event-ID: {id}\n"));
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{id}");
    }
}

#[test]
fn other_methods_and_paths_are_refused() {
    let server = start(&[]);
    for (method, path, allow) in [
        ("POST", "/api/generate", "GET"),
        ("GET", "/api/train", "POST"),
        ("GET", "/api/train/stop", "POST"),
        ("DELETE", "/api/train/reset", "POST"),
        ("HEAD", "/api/generate", "GET"),
        ("DELETE", "/api/status", "GET, HEAD"),
        ("POST", "/web/", "GET, HEAD"),
        ("PUT", "/models/x/config.json", "GET, HEAD"),
    ] {
        let answer = server.request(method, path, "");
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}");
    }
    for path in ["/api", "/api/", "/api/status/", "/nothing", "/favicon.ico", "/models"] {
        assert!(server.get(path).error(404).contains(path), "{path}");
    }
    let head = server.request("HEAD", "/api/status", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn http_1_0_streams_too() {
    let server = start(&[]);
    let answer = server.exchange("GET /api/generate?max_tokens=3 HTTP/1.0\nHost: 127.0.0.1\n\n");
    assert_eq!((answer.status, answer.header("transfer-encoding")), (200, None));
    assert_eq!(tokens(&events(answer.text())).0, FIRST[..3].iter().map(|id| json!(id)).collect::<Vec<_>>());
}
