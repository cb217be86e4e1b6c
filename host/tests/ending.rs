//! The end of a server that is told to end.

use std::io::{BufReader, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::server::{PATIENCE, Server, request, start, start_tiny};
use crate::stream::rest;

/// Asks for a generation and returns once its first token is there. A million take even a tiny model days.
fn begin(server: &Server, max_tokens: usize) -> BufReader<TcpStream> {
    let path = format!("/api/generate?max_tokens={max_tokens}");
    server.send_until(&request("GET", &path, ""), "event: token")
}

/// Waits until the server takes no connections.
fn closed(server: &Server) {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", server.port)).is_ok() {
        assert!(start.elapsed() < PATIENCE, "the server still listens");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_runs_is_finished_before_the_end() {
    let mut server = start(&["--shutdown-timeout", "100"]);
    let stream = begin(&server, 30);
    server.signal("-TERM");
    let (tokens, done) = rest(stream);
    assert!(tokens == 29 && done["finishReason"] == "length", "{tokens} {done}");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn what_runs_longer_than_it_may_is_ended_cleanly() {
    let (mut server, _folder) = start_tiny(&["--shutdown-timeout", "1"]);
    let stream = begin(&server, 1_000_000);
    let asked = Instant::now();
    server.signal("-INT");
    let (tokens, done) = rest(stream);
    assert!(asked.elapsed() > Duration::from_millis(900), "{:?}", asked.elapsed());
    assert!(tokens > 0 && done["finishReason"] == "shutdown", "{tokens} {done}");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_second_signal_ends_what_runs_at_once() {
    let (mut server, _folder) = start_tiny(&["--shutdown-timeout", "100000"]);
    let stream = begin(&server, 1_000_000);
    server.signal("-TERM");
    closed(&server);
    server.signal("-INT");
    let (_, done) = rest(stream);
    assert_eq!(done["finishReason"], "shutdown", "{done}");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn an_idle_server_with_an_open_connection_ends_at_once() {
    let mut server = start(&["--shutdown-timeout", "100000"]);
    let mut stream = server.send("GET /api/status HTTP/1.1\nHost: localhost\n\n");
    stream.read_exact(&mut [0; 16]).unwrap();
    let asked = Instant::now();
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}
