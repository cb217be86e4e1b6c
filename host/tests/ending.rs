//! The end of a server that is told to end.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::command::lockstep;
use crate::server::{PATIENCE, Server, request, start, started};
use crate::tiny;

/// A server whose model takes far less than a second for a token, and days for all that [`begin`] may ask for.
fn start_tiny(folder: &Path, flags: &[&str]) -> Server {
    let mut command = lockstep("serve");
    command.args(["--port", "0"]).arg("--model").arg(tiny::write(folder, 1)).args(flags);
    started(command)
}

/// Asks for a generation and returns once its first token is there.
fn begin(server: &Server, max_tokens: usize) -> BufReader<TcpStream> {
    let path = format!("/api/generate?max_tokens={max_tokens}");
    let mut stream = BufReader::new(server.send(&request("GET", &path, "")));
    let mut line = String::new();
    while !line.starts_with("event: token") {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "no token came");
    }
    stream
}

fn exit_code(server: &mut Server) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = server.child.try_wait().unwrap() {
            return status.code();
        }
        assert!(start.elapsed() < PATIENCE, "the server did not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The rest of a stream: how many tokens came, and the data of its last event, which must be whole.
fn rest(mut stream: BufReader<TcpStream>) -> (usize, String) {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "the last chunk is missing: {rest:?}");
    let done = rest.lines().skip_while(|line| *line != "event: done").nth(1).expect("a done event");
    (rest.lines().filter(|line| *line == "event: token").count(), done.to_string())
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
    assert!(tokens == 29 && done.contains("\"finishReason\":\"length\""), "{tokens} {done}");
    assert_eq!(exit_code(&mut server), Some(0));
}

#[test]
fn what_runs_longer_than_it_may_is_ended_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start_tiny(folder.path(), &["--shutdown-timeout", "1"]);
    let stream = begin(&server, 1_000_000);
    let asked = Instant::now();
    server.signal("-INT");
    let (tokens, done) = rest(stream);
    assert!(asked.elapsed() > Duration::from_millis(900), "{:?}", asked.elapsed());
    assert!(tokens > 0 && done.contains("\"finishReason\":\"shutdown\""), "{tokens} {done}");
    assert_eq!(exit_code(&mut server), Some(0));
}

#[test]
fn a_second_signal_ends_what_runs_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start_tiny(folder.path(), &["--shutdown-timeout", "100000"]);
    let stream = begin(&server, 1_000_000);
    server.signal("-TERM");
    closed(&server);
    server.signal("-INT");
    let (_, done) = rest(stream);
    assert!(done.contains("\"finishReason\":\"shutdown\""), "{done}");
    assert_eq!(exit_code(&mut server), Some(0));
}

#[test]
fn an_idle_server_with_an_open_connection_ends_at_once() {
    let mut server = start(&["--shutdown-timeout", "100000"]);
    let mut stream = server.send("GET /api/status HTTP/1.1\nHost: localhost\n\n");
    stream.read_exact(&mut [0; 16]).unwrap();
    let asked = Instant::now();
    server.signal("-TERM");
    assert_eq!(exit_code(&mut server), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}
