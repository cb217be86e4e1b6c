//! Who may call: keys, addresses, other sites, and what answers and logs tell.

use std::fs;
use std::io::{BufRead, Read};
use std::path::Path;

use serde_json::{Value, json};

use crate::command::{lockstep, run};
use crate::server::{Answer, JSON, Server, launch, request, start_tiny};
use crate::stream::generate;
use crate::tiny;

const KEY: &str = "the-first-key-of-this-server";
const OTHER: &str = "the-other-key-of-this-server";
const ORIGIN: &str = "Origin: https://app.example\n";

fn keyless(server: &Server, method: &str, path: &str, headers: &str) -> Answer {
    server.exchange(&request(method, path, headers))
}

#[test]
fn without_a_key_there_is_the_page_and_nothing_else() {
    let (server, _folder) = start_tiny(&["--api-key", KEY, "--api-key", OTHER]);
    for path in ["/", "/web", "/web/", "/web/page.js", "/health"] {
        assert_ne!(keyless(&server, "GET", path, "").status, 401, "{path}");
    }
    let model = format!("{}config.json", server.status()["modelUrl"].as_str().unwrap());
    for (method, path) in [
        ("GET", "/api/status"),
        ("GET", "/api/generate?max_tokens=1"),
        ("POST", "/api/generate"),
        ("POST", "/api/train"),
        ("POST", "/api/train/stop"),
        ("POST", "/api/train/reset"),
        ("GET", &model),
        ("GET", "/v1/receipts/x"),
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/tokenize"),
        ("GET", "/metrics"),
        ("GET", "/info"),
        ("GET", "/nothing"),
        ("OPTIONS", "/api/status"),
        ("GET", "//web/"),
    ] {
        let wrong = format!("Authorization: Bearer {}\n", &KEY[1..]);
        let basic = format!("Authorization: Basic {KEY}\n");
        for headers in ["", &wrong, &basic, "Authorization: Bearer \n"] {
            let answer = keyless(&server, method, path, headers);
            assert_eq!(
                (answer.status, answer.header("www-authenticate")),
                (401, Some("Bearer realm=\"lockstep\"")),
                "{path}"
            );
            let error = &answer.json()["error"];
            if ["/v1/", "/tokenize", "/metrics", "/info"].iter().any(|begin| path.starts_with(begin)) {
                assert_eq!((&error["code"], error["message"].is_string()), (&"invalid_api_key".into(), true));
            } else {
                assert!(error.as_str().unwrap().contains("Authorization: Bearer"), "{error}");
            }
        }
        for key in [KEY, OTHER] {
            let answer = keyless(&server, method, path, &format!("Authorization: Bearer {key}\n"));
            assert_ne!(answer.status, 401, "{method} {path}");
        }
    }
    assert_eq!(generate(&server, "max_tokens=2").len(), 4);
}

/// Waits for an answer of a server that was started with `key`, and returns what it says until it ends.
fn said_by_a_server_with(key: &str, set: impl Fn(&mut std::process::Command)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = lockstep("serve");
    command.args(["--port", "0", "--log-level", "trace", "--model"]).arg(tiny::write(folder.path(), 1));
    set(&mut command);
    let (mut server, mut said) = launch(&mut command);
    assert_eq!(server.get("/api/status").status, 401);
    server.key = Some(key.to_string());
    server.wait_for("ready", &Value::Bool(true));
    generate(&server, "prompt=my+secret+prompt&max_tokens=1");
    server.request("POST", "/api/train", &format!("{JSON}Content-Length: 0\n")).error(400);
    server.child.kill().unwrap();
    let mut text = String::new();
    said.read_to_string(&mut text).unwrap();
    assert!(text.contains("/api/generate"), "{text}");
    text
}

#[test]
fn keys_come_from_the_environment_and_from_a_file_and_no_log_has_them_or_a_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    fs::write(&file, format!("# ours\n{OTHER}\n")).unwrap();
    let in_variable = said_by_a_server_with(KEY, |command| {
        command.env("LOCKSTEP_API_KEY", format!("{KEY},{OTHER}"));
    });
    let in_file = said_by_a_server_with(OTHER, |command| {
        command.arg("--api-key-file").arg(&file);
    });
    for text in [in_variable, in_file] {
        for secret in [KEY, OTHER, "secret"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
    let mut help = lockstep("serve");
    let help = run(help.arg("--help").env("LOCKSTEP_API_KEY", KEY), b"").stdout;
    assert!(help.contains("LOCKSTEP_API_KEY") && !help.contains(KEY), "{help}");
    let refused = run(lockstep("serve").args(["--model", "none", "--api-key", "not a key"]), b"");
    assert!(refused.code == Some(1) && refused.stderr.contains("visible ASCII"), "{refused:?}");
    assert!(!refused.stderr.contains("not a key"), "{refused:?}");
    let empty = run(lockstep("serve").args(["--model", "none"]).env("LOCKSTEP_API_KEY", ""), b"");
    assert!(empty.code == Some(1) && empty.stderr.contains("API key"), "{empty:?}");
}

#[test]
fn an_address_that_others_can_reach_needs_a_key_or_insistence() {
    let serve = |host: &str| {
        let mut command = lockstep("serve");
        command.args(["--port", "0", "--model", "none", "--host", host]);
        command
    };
    for host in ["0.0.0.0", "::", "[::]"] {
        let refused = run(&mut serve(host), b"");
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(!refused.stderr.contains("listening on"), "{refused:?}");
        for word in ["--api-key-file", "LOCKSTEP_API_KEY", "--allow-unauthenticated"] {
            assert!(refused.stderr.contains(word), "{refused:?}");
        }
    }
    // There is no such model: the server ends by itself, after it has listened.
    for flags in [&["--api-key", KEY][..], &["--allow-unauthenticated"]] {
        let listened = run(serve("0.0.0.0").args(flags), b"");
        assert!(listened.stderr.contains("listening on"), "{flags:?}: {listened:?}");
        assert!(listened.stderr.contains("can be reached from the network"), "{flags:?}: {listened:?}");
    }
    for host in ["127.0.0.1", "localhost"] {
        let listened = run(&mut serve(host), b"");
        assert!(
            listened.stderr.contains("listening on") && !listened.stderr.contains("from the network"),
            "{listened:?}"
        );
    }
}

#[test]
fn pages_of_other_sites_are_kept_out_unless_they_are_named() {
    let (server, _folder) = start_tiny(&[]);
    let preflight = format!("{ORIGIN}Access-Control-Request-Method: GET\n");
    for (method, headers) in [("GET", ORIGIN), ("OPTIONS", &preflight), ("GET", "Sec-Fetch-Site: same-site\n")] {
        let answer = server.request(method, "/api/status", headers);
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin"), answer.header("vary")),
            (403, None, None)
        );
    }
    let (server, _folder) =
        start_tiny(&["--cors-origins", "https://app.example,http://localhost:3000", "--api-key", KEY]);
    let leave = keyless(
        &server,
        "OPTIONS",
        "/api/generate",
        &format!(
            "{preflight}Access-Control-Request-Headers: authorization,x-stainless-os\nAccess-Control-Request-Private-Network: true\n"
        ),
    );
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example"),
        ("access-control-allow-methods", "GET, HEAD, POST"),
        ("access-control-allow-headers", "authorization,x-stainless-os"),
        ("access-control-allow-private-network", "true"),
        ("vary", "Origin"),
    ] {
        assert_eq!((leave.status, leave.header(name)), (204, Some(value)), "{leave:?}");
    }
    let cross_site = format!("{ORIGIN}Sec-Fetch-Site: cross-site\n");
    let answer = server.request("GET", "/api/generate?max_tokens=1", &cross_site);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("https://app.example")));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    // The key is wanted of them all the same, and they may read that.
    let answer = keyless(&server, "GET", "/api/status", &cross_site);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, Some("https://app.example")));
    for origin in ["https://app.example.evil", "http://app.example", "https://app.example:444", "null"] {
        let answer = server.request("GET", "/api/status", &format!("Origin: {origin}\n"));
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None), "{origin}");
    }
    let wrong = run(lockstep("serve").args(["--model", "none", "--cors-origins", "*"]), b"");
    assert!(wrong.code == Some(1) && wrong.stderr.contains("https://a.example"), "{wrong:?}");
}

/// One answer of each kind, whatever its status.
#[test]
fn every_answer_isolates_and_protects_whatever_it_is() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("index.html"), "<!doctype html>").unwrap();
    let (server, _folder) = start_tiny(&["--web-root", root.path().to_str().unwrap(), "--max-body-bytes", "1000"]);
    let config = format!("{}config.json", server.status()["modelUrl"].as_str().unwrap());
    let tag = server.get("/web/").header("etag").unwrap().to_string();
    let all = [
        (200, server.get("/web/")),
        (200, server.get("/api/status")),
        (200, server.request("HEAD", "/api/status", "")),
        (200, server.get("/api/generate?max_tokens=1")),
        (200, server.get(&config)),
        (204, server.request("GET", "/api/generate", "Last-Event-ID: 1\n")),
        (206, server.request("GET", &config, "Range: bytes=0-1\n")),
        (304, server.request("GET", "/web/", &format!("If-None-Match: {tag}\n"))),
        (307, server.get("/")),
        (400, server.get("/api/generate?max_tokens=0")),
        (400, server.get("/web/%ff")),
        (400, server.request("POST", "/api/train", &format!("{JSON}Content-Length: 0\n"))),
        (403, server.exchange("GET / HTTP/1.1\nHost: evil.example\nConnection: close\n\n")),
        (403, server.request("GET", "/api/status", ORIGIN)),
        (404, server.get("/nothing")),
        (404, server.get("/web/nothing")),
        (404, server.get("/models/other/config.json")),
        (404, server.get("/v1/receipts/x")),
        (405, server.request("DELETE", "/api/status", "")),
        (
            413,
            server.exchange(
                &(request("POST", "/api/train", &format!("{JSON}Content-Length: 1001\n")) + &" ".repeat(1001)),
            ),
        ),
        (415, server.request("POST", "/api/train", "Content-Length: 0\n")),
        (416, server.request("GET", &config, "Range: bytes=100000-\n")),
    ];
    for (status, answer) in all {
        assert_eq!(answer.status, status, "{answer:?}");
        for (name, value) in [
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-embedder-policy", "require-corp"),
            ("cross-origin-resource-policy", "same-origin"),
            (
                "content-security-policy",
                "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'",
            ),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{answer:?}");
        }
        assert_eq!(answer.header("access-control-allow-origin"), None);
        // Nothing of what was computed or refused stays in a cache.
        if answer.header("content-type") == Some("application/json") && answer.header("etag").is_none() {
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
        }
    }
}

/// What the process shows of itself to others does not have a key that came by the variable or by the file.
#[test]
#[cfg(target_os = "linux")]
fn a_command_line_without_a_key_tells_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = lockstep("serve");
    command.args(["--port", "0", "--model"]).arg(tiny::write(folder.path(), 1)).env("LOCKSTEP_API_KEY", KEY);
    let (server, said) = launch(&mut command);
    let shown = fs::read(Path::new("/proc").join(server.child.id().to_string()).join("cmdline")).unwrap();
    assert!(!String::from_utf8_lossy(&shown).contains(KEY));
    drop(server);
    assert!(said.lines().all(|line| !line.unwrap().contains(KEY)));
}

/// Each name in backticks with three underscores or more is a test.
#[test]
fn the_tests_that_the_threat_model_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("../docs/security.md")).unwrap();
    let mut sources = String::new();
    let mut folders = ["src", "tests", "../bpe/src", "../bpe/tests"].map(|folder| root.join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                sources.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let names = document.split('`').skip(1).step_by(2).map(|name| name.rsplit("::").next().unwrap());
    let small =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let tests: Vec<&str> = names.filter(|name| small(name) && name.matches('_').count() > 2).collect();
    assert!(tests.len() > 30, "{tests:?}");
    for name in tests {
        assert!(sources.contains(&format!("fn {name}()")), "{name}");
    }
}

#[test]
fn one_key_s_requests_keep_no_other_key_waiting() {
    let (server, _folder) = start_tiny(&["--api-key", KEY, "--api-key", OTHER]);
    let ask = |key: &str, n: usize, max_tokens: usize| {
        let body = json!({ "prompt": "Once", "max_tokens": max_tokens, "ignore_eos": true, "n": n, "stream": true })
            .to_string();
        let length = body.len();
        let headers = format!("Authorization: Bearer {key}\n{JSON}Content-Length: {length}\n");
        server.send(&(request("POST", "/v1/completions", &headers) + &body))
    };
    // More than advance at a time, for minutes.
    let long = [(); 2].map(|()| ask(KEY, 16, 50_000));
    server.wait_for("waitingGenerations", &json!(17));
    let mut answer = Vec::new();
    ask(OTHER, 1, 3).read_to_end(&mut answer).unwrap();
    let answer = Answer::parse(&answer, false);
    assert!(answer.status == 200 && answer.text().contains("data: [DONE]"), "{answer:?}");
    // The count follows at the end of the round.
    server.wait_for("activeGenerations", &json!(15));
    assert_eq!(server.status()["waitingGenerations"], 17);
    drop(long);
}
