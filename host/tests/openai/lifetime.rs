//! Clients that leave, a full queue, and the end of the server.

use std::io::{BufReader, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{COMPLETIONS, JSON, answered, ask, refused};
use crate::server::{Answer, Server, post, start};

fn long(n: usize, stream: bool) -> String {
    let body = json!({ "prompt": "Once", "max_tokens": 2000, "ignore_eos": true, "n": n, "stream": stream });
    post(COMPLETIONS, JSON, &body.to_string())
}

/// Asks for long texts and returns once the first token is there.
fn begin(server: &Server, n: usize) -> BufReader<TcpStream> {
    server.send_until(&long(n, true), "data: ")
}

#[test]
fn a_client_that_leaves_stops_all_its_choices() {
    let server = start(&[]);
    let stream = begin(&server, 3);
    server.wait_for("activeGenerations", &json!(3));
    drop(stream);
    let left = Instant::now();
    server.wait_for("activeGenerations", &json!(0));
    assert!(left.elapsed() < Duration::from_secs(5), "{:?}", left.elapsed());
    // Also one that waits for the whole answer.
    let whole = server.send(&long(2, false));
    server.wait_for("activeGenerations", &json!(2));
    drop(whole);
    let left = Instant::now();
    server.wait_for("activeGenerations", &json!(0));
    assert!(left.elapsed() < Duration::from_secs(5), "{:?}", left.elapsed());
}

/// All choices of a request are taken, or none is.
#[test]
fn a_full_queue_is_429_and_takes_no_part_of_a_request() {
    let server = start(&[]);
    let working = begin(&server, 16);
    server.wait_for("activeGenerations", &json!(16));
    let waiting = [server.send(&long(16, true)), server.send(&long(15, true))];
    server.wait_for("waitingGenerations", &json!(31));
    let body = json!({ "prompt": "Once", "n": 2, "max_tokens": 1 });
    let answer = ask(&server, COMPLETIONS, &body);
    assert_eq!(answer.header("retry-after"), Some("1"));
    let error = refused(&answer, 429);
    assert_eq!((&error["code"], &error["type"]), (&json!("queue_full"), &json!("rate_limit_error")));
    assert_eq!(server.status()["waitingGenerations"], 31);
    drop((working, waiting));
    server.wait_for("waitingGenerations", &json!(0));
    assert_eq!(answered(&server, COMPLETIONS, &body)["choices"].as_array().unwrap().len(), 2);
}

#[cfg(unix)]
#[test]
fn the_end_of_the_server_is_told() {
    let server = start(&[]);
    let mut stream = begin(&server, 1);
    let mut whole = server.send(&long(1, false));
    server.wait_for("activeGenerations", &json!(2));
    server.signal("-TERM");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("\r\n0\r\n\r\n") && !rest.contains("[DONE]"), "{rest:?}");
    let last = rest.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
    let error: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!((&error["error"]["code"], error.get("choices")), (&json!("shutting_down"), None), "{error}");
    let mut bytes = Vec::new();
    whole.read_to_end(&mut bytes).unwrap();
    let answer = Answer::parse(&bytes, false);
    assert!(answer.header("retry-after").is_some());
    refused(&answer, 503);
}
