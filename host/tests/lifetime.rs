//! Several clients, and clients that leave.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::server::{Answer, Server, request, start};
use crate::stream::{events, generate, tokens};

/// Asks for a long generation and returns once its first token is there. Sixteen of these advance together.
fn begin(server: &Server) -> BufReader<TcpStream> {
    server.send_until(&request("GET", "/api/generate?max_tokens=2000", ""), "event: token")
}

#[test]
fn a_client_that_leaves_stops_its_generation() {
    let server = start(&[]);
    let stream = begin(&server);
    assert_eq!(server.status()["activeGenerations"], 1);
    drop(stream);
    let left = Instant::now();
    server.wait_for("activeGenerations", &json!(0));
    // Far less than the minutes that the rest would take, and enough for a token on a busy machine.
    assert!(left.elapsed() < Duration::from_secs(5), "{:?}", left.elapsed());
}

#[test]
fn a_client_that_leaves_while_it_waits_is_forgotten() {
    let server = start(&[]);
    let working: Vec<_> = (0..16).map(|_| begin(&server)).collect();
    let waiting: Vec<_> = (0..3).map(|_| server.send(&request("GET", "/api/generate?max_tokens=2000", ""))).collect();
    server.wait_for("waitingGenerations", &json!(3));
    drop(waiting);
    drop(working);
    server.wait_for("waitingGenerations", &json!(0));
    server.wait_for("activeGenerations", &json!(0));
    assert_eq!(generate(&server, "max_tokens=2").len(), 4);
}

#[test]
fn a_full_queue_is_429_and_says_when_to_come_back() {
    let server = start(&[]);
    let working: Vec<_> = (0..16).map(|_| begin(&server)).collect();
    let waiting: Vec<_> = (0..32).map(|_| server.send(&request("GET", "/api/generate?max_tokens=2000", ""))).collect();
    server.wait_for("waitingGenerations", &json!(32));
    let answer = server.get("/api/generate");
    assert!(answer.header("retry-after").is_some());
    answer.error(429);
    drop((working, waiting));
}

/// N11: what else the server is doing changes no bit; and nobody waits for the other's end.
#[test]
fn two_clients_at_once_get_what_each_gets_alone() {
    let server = start(&[]);
    let queries = ["max_tokens=24", "prompt=The+capital+of+France+is&max_tokens=24"];
    let alone = queries.map(|query| tokens(&generate(&server, query)));
    let read = |query: &str| {
        let mut stream = BufReader::new(server.send(&request("GET", &format!("/api/generate?{query}"), "")));
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"event: token\n") {
            assert!(stream.read_until(b'\n', &mut bytes).unwrap() > 0, "no token came");
        }
        let first = Instant::now();
        stream.read_to_end(&mut bytes).unwrap();
        (bytes, first, Instant::now())
    };
    let answers = std::thread::scope(|scope| {
        let other = scope.spawn(|| read(queries[1]));
        [read(queries[0]), other.join().unwrap()]
    });
    for ((bytes, _, _), alone) in answers.iter().zip(&alone) {
        assert_eq!(tokens(&events(Answer::parse(bytes, false).text())), *alone);
    }
    let (_, first_of_0, end_of_0) = answers[0];
    let (_, first_of_1, end_of_1) = answers[1];
    assert!(first_of_0 < end_of_1 && first_of_1 < end_of_0, "one waited for the other");
}

#[test]
fn a_taken_port_is_an_error_that_says_what_to_do() {
    let server = start(&[]);
    let port = server.port.to_string();
    let finished = crate::command::run_with_model("serve", &["--port", &port]);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains(&port) && finished.stderr.contains("--port"), "{}", finished.stderr);
}

#[test]
fn a_stream_that_nobody_reads_does_not_hold_up_the_others() {
    let server = start(&[]);
    let mut silent = server.send(&request("GET", "/api/generate?max_tokens=40", ""));
    assert_eq!(generate(&server, "max_tokens=4").len(), 6);
    server.wait_for("activeGenerations", &json!(0));
    let mut late = String::new();
    silent.read_to_string(&mut late).unwrap();
    assert!(late.contains("event: done"), "{late}");
}
