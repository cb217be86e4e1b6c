//! What is refused, with which status, and in which words.

use serde_json::{Value, json};

use super::{CHAT, COMPLETIONS, JSON, ask, question, refused};
use crate::server::{post, request, start_tiny};

#[test]
fn bad_input_is_400_with_the_field_that_is_wrong() {
    let (server, _folder) = start_tiny(&["--ctx-size", "64"]);
    for (path, body, param, code) in [
        (COMPLETIONS, json!({}), json!("prompt"), "missing_required_parameter"),
        (CHAT, json!({}), json!("messages"), "missing_required_parameter"),
        (CHAT, json!({ "messages": [] }), json!("messages"), "invalid_value"),
        (CHAT, json!({ "messages": [{ "role": "tool", "content": "x" }] }), json!("messages"), "invalid_value"),
        (COMPLETIONS, json!({ "prompt": "x", "tools": [1] }), json!("tools"), "unsupported_parameter"),
        (COMPLETIONS, json!({ "prompt": "x", "temperature": -1 }), json!("temperature"), "invalid_value"),
        (COMPLETIONS, json!({ "prompt": "x", "top_p": 0 }), json!("top_p"), "invalid_value"),
        (COMPLETIONS, json!({ "prompt": "x", "min_p": 2 }), json!("min_p"), "invalid_value"),
        (COMPLETIONS, json!({ "prompt": "x", "frequency_penalty": 2.5 }), json!("frequency_penalty"), "invalid_value"),
        (COMPLETIONS, json!({ "prompt": "x", "presence_penalty": -3 }), json!("presence_penalty"), "invalid_value"),
        (COMPLETIONS, json!({ "prompt": "x", "logit_bias": { "49152": 1 } }), json!("logit_bias"), "invalid_value"),
        (COMPLETIONS, json!({ "prompt": "x", "logit_bias": { "1": 101 } }), json!("logit_bias"), "invalid_value"),
        (
            COMPLETIONS,
            json!({ "prompt": "x", "logit_bias": { "1": 1, "01": 2 } }),
            json!("logit_bias"),
            "invalid_value",
        ),
        (COMPLETIONS, json!({ "prompt": [1, 49152] }), json!("prompt"), "invalid_value"),
        (COMPLETIONS, json!({ "prompt": [[1, 49152]], "echo": true }), json!("prompt"), "invalid_value"),
        (COMPLETIONS, json!({ "prompt": "x", "max_tokens": 64 }), json!("prompt"), "context_length_exceeded"),
        (COMPLETIONS, json!({ "prompt": vec![1; 64] }), json!("prompt"), "context_length_exceeded"),
        (CHAT, json!({ "messages": question(&"x ".repeat(64)) }), json!("messages"), "context_length_exceeded"),
    ] {
        let error = refused(&ask(&server, path, &body), 400);
        assert_eq!((&error["param"], &error["code"]), (&param, &json!(code)), "{body}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    // One bad prompt among good ones: nothing is generated.
    refused(&ask(&server, COMPLETIONS, &json!({ "prompt": ["x", "x ".repeat(80)], "stream": true })), 400);
    assert_eq!(server.status()["activeGenerations"], 0);
}

#[test]
fn a_body_that_is_no_json_is_400_and_one_that_is_too_long_413() {
    let (server, _folder) = start_tiny(&[]);
    let code = |body: &str| refused(&server.exchange(&post(COMPLETIONS, JSON, body)), 400)["code"].clone();
    for body in ["", "x", "[]", "{\"prompt\":\"x\"", "{\"prompt\":\"\\ud800\"}", &"[".repeat(100_000)] {
        assert_eq!(code(body), "invalid_json", "{:.40}", body);
    }
    let mut bytes = post(COMPLETIONS, JSON, r#"{"prompt":"??"}"#).replace('\n', "\r\n").into_bytes();
    let at = bytes.windows(2).position(|two| two == b"??").unwrap();
    bytes[at] = 0xff;
    let error = refused(&server.exchange_bytes(&bytes), 400);
    assert!(error["message"].as_str().unwrap().contains("UTF-8 from byte 12"), "{error}");
    let long = json!({ "prompt": "a".repeat(2 << 20) }).to_string();
    // The answer comes before the rest of the body is read: what is sent is only its head.
    let head = request("POST", COMPLETIONS, &format!("{JSON}Content-Length: {}\n", long.len()));
    assert_eq!(refused(&server.exchange(&head), 413)["code"], "request_too_large");
    for headers in ["", "Content-Type: text/plain\n", "Content-Type: application/x-www-form-urlencoded\n"] {
        let answer = server.exchange(&post(COMPLETIONS, headers, r#"{"prompt":"x"}"#));
        assert_eq!(refused(&answer, 415)["code"], "unsupported_media_type");
    }
}

#[test]
fn unknown_models_routes_and_methods() {
    let (server, _folder) = start_tiny(&[]);
    for (path, body) in [
        (COMPLETIONS, json!({ "model": "gpt-5", "prompt": "x" })),
        (CHAT, json!({ "model": "gpt-5", "messages": question("x") })),
    ] {
        let error = refused(&ask(&server, path, &body), 404);
        assert_eq!((&error["code"], &error["param"]), (&json!("model_not_found"), &json!("model")));
        assert!(error["message"].as_str().unwrap().contains("tiny-1"), "{error}");
    }
    assert_eq!(refused(&server.get("/v1/models/gpt-5"), 404)["code"], "model_not_found");
    assert_eq!(refused(&server.get("/v1/models/%ff"), 400)["param"], "model");
    for path in ["/v1", "/v1/", "/v1/embeddings", "/v1/completions/", "/v1/chat"] {
        assert_eq!(refused(&server.get(path), 404)["code"], "unknown_url", "{path}");
    }
    for (method, path, allow) in [
        ("GET", COMPLETIONS, "POST"),
        ("PUT", CHAT, "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/tiny-1", "GET, HEAD"),
        ("POST", "/v1/receipts/x", "GET"),
    ] {
        let answer = server.request(method, path, "");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        assert_eq!(refused(&answer, 405)["code"], "method_not_allowed");
    }
    let head = server.request("HEAD", "/v1/models", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn pages_of_other_sites_may_not_compute() {
    let (server, _folder) = start_tiny(&[]);
    let body = json!({ "prompt": "x", "max_tokens": 1 }).to_string();
    for header in ["Sec-Fetch-Site: cross-site\n", "Origin: http://evil.example\n"] {
        let answer = server.exchange(&post(COMPLETIONS, &format!("{JSON}{header}"), &body));
        assert_eq!(refused(&answer, 403)["code"], "cross_site");
    }
    let other = "GET /v1/models HTTP/1.1\nHost: evil.example\nConnection: close\n\n";
    let error: Value = refused(&server.exchange(other), 403);
    assert!(error["message"].as_str().unwrap().contains("--allowed-hosts"), "{error}");
    let ours = format!("{JSON}Sec-Fetch-Site: same-origin\nOrigin: http://localhost\n");
    assert_eq!(server.exchange(&post(COMPLETIONS, &ours, &body)).status, 200);
}
