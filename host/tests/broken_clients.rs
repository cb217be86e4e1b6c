//! Clients that are slow, silent, greedy or broken: none of them keeps the others out, holds the engine, or fills the memory.

use std::fs;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::command::{limited, lockstep};
use crate::server::{Answer, JSON, Server, post_bytes, request, start_tiny, started};
use crate::stream::{events, generate, tokens};
use crate::tiny;

/// How long a server may take for what takes it a second, on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// A text that takes minutes.
const LONG: &str = "/api/generate?max_tokens=500000";

/// Whether the server has ended the connection; what it sent before is read.
fn is_ended(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// The answer to these bytes; none if the server only hangs up, as it may after an answer too.
fn exchange(server: &Server, bytes: &[u8]) -> Option<Answer> {
    let (answer, _) = server.reply(bytes);
    (!answer.is_empty()).then(|| Answer::parse(&answer, false))
}

/// Files and sockets that the server has open.
#[cfg(target_os = "linux")]
pub fn open_files(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap().count()
}

#[test]
fn a_head_that_does_not_come_and_a_silent_client_are_left() {
    let (server, _folder) = start_tiny(&["--client-timeout", "1"]);
    let begun = Instant::now();
    let mut silent = server.send("");
    let mut half = server.send("GET /api/status HTTP/1.1\nHost: loc");
    let mut kept = server.send("GET /api/status HTTP/1.1\nHost: localhost\n\n");
    // A byte now and then is not enough.
    let mut slow = server.send("GET /api/status HTTP/1.1\n");
    let trickle = std::thread::spawn(move || {
        while begun.elapsed() < SOON && slow.write_all(b"x").is_ok() {
            sleep(Duration::from_millis(100));
        }
        begun.elapsed()
    });
    assert!([&mut silent, &mut half, &mut kept].into_iter().all(is_ended));
    assert!(begun.elapsed() < SOON && trickle.join().unwrap() < SOON);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_body_that_does_not_come_is_408() {
    let (server, _folder) = start_tiny(&["--client-timeout", "1"]);
    let head = request("POST", "/api/train", &format!("{JSON}Content-Length: 1000\n"));
    let begun = Instant::now();
    let silent = server.send(&(head.clone() + "{\"text\":"));
    let slow = server.send(&head);
    let mut trickling = slow.try_clone().unwrap();
    let trickle = std::thread::spawn(move || {
        while begun.elapsed() < SOON && trickling.write_all(b" ").is_ok() {
            sleep(Duration::from_millis(100));
        }
    });
    for mut stream in [silent, slow] {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
    }
    assert!(begun.elapsed() < SOON);
    trickle.join().unwrap();
}

#[test]
#[cfg(unix)]
fn a_stream_that_nobody_reads_is_given_up() {
    let (server, _folder) = start_tiny(&["--client-timeout", "1"]);
    let mut silent = server.send("");
    // What the system takes for it is filled sooner.
    rustix::net::sockopt::set_socket_recv_buffer_size(&silent, 4096).unwrap();
    // Much is told of each token, and of four texts together, so that few rounds fill what is left.
    let body =
        json!({ "prompt": "a", "max_tokens": 500_000, "ignore_eos": true, "stream": true, "logprobs": 5, "n": 4 });
    silent.write_all(&post_bytes("/v1/completions", JSON, body.to_string().as_bytes())).unwrap();
    server.wait_for("activeGenerations", &json!(4));
    let begun = Instant::now();
    server.wait_for("activeGenerations", &json!(0));
    // A fraction of what the text takes, on a busy machine.
    assert!(begun.elapsed() < 3 * SOON, "{:?}", begun.elapsed());
    assert_eq!(generate(&server, "max_tokens=2").len(), 4);
    drop(silent);
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_nobody_reads_is_given_up() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("index.html"), "").unwrap();
    fs::File::create(root.path().join("large.bin")).unwrap().set_len(1 << 28).unwrap();
    let (server, _folder) = start_tiny(&["--client-timeout", "1", "--web-root", root.path().to_str().unwrap()]);
    let reads = || {
        let files = fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap();
        files
            .filter(|file| fs::read_link(file.as_ref().unwrap().path()).is_ok_and(|to| to.ends_with("large.bin")))
            .count()
    };
    let silent: Vec<_> = (0..4).map(|_| server.send(&request("GET", "/web/large.bin", ""))).collect();
    let begun = Instant::now();
    while reads() < 4 {
        assert!(begun.elapsed() < SOON, "no file is read");
    }
    while reads() > 0 {
        assert!(begun.elapsed() < SOON, "{} are read still", reads());
        sleep(Duration::from_millis(50));
    }
    drop(silent);
    // Who reads slowly, but reads, gets all of it.
    let mut slow = server.send(&request("GET", "/web/large.bin", ""));
    let (mut buffer, mut length) = (vec![0; 1 << 22], 0);
    let begun = Instant::now();
    loop {
        if begun.elapsed() < Duration::from_secs(3) {
            sleep(Duration::from_millis(100));
        }
        match slow.read(&mut buffer).unwrap() {
            0 => break,
            count => length += count,
        }
    }
    assert!(length > 1 << 28, "{length}");
}

#[test]
fn a_client_that_leaves_before_its_first_token_or_closes_its_half_is_noticed() {
    let (server, _folder) = start_tiny(&[]);
    let long = "a+b+".repeat(8000);
    let before = server.send(&request("GET", &format!("/api/generate?max_tokens=500000&prompt={long}"), ""));
    server.wait_for("activeGenerations", &json!(1));
    drop(before);
    let left = Instant::now();
    server.wait_for("activeGenerations", &json!(0));
    let half = server.send_until(&request("GET", LONG, ""), "event: token");
    half.get_ref().shutdown(Shutdown::Write).unwrap();
    server.wait_for("activeGenerations", &json!(0));
    assert!(left.elapsed() < SOON, "{:?}", left.elapsed());
}

#[test]
fn a_generation_that_takes_too_long_ends_with_an_error() {
    let (server, _folder) = start_tiny(&["--request-timeout", "1"]);
    let begun = Instant::now();
    let all = events(server.get(LONG).text());
    assert!(begun.elapsed() < SOON);
    let [.., error, done] = &all[..] else { panic!("{all:?}") };
    assert!(all.len() > 3 && error.data["error"].as_str().unwrap().contains("--request-timeout"), "{error:?}");
    assert_eq!((error.name.as_str(), &done.data["finishReason"]), ("error", &json!("error")));
    assert_eq!(generate(&server, "max_tokens=2").len(), 4);
}

/// A thousand connections, of which the server holds fewer: those that sit longest make room.
#[test]
#[cfg(target_os = "linux")]
fn a_thousand_idle_connections_keep_nobody_out() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let (server, _folder) = start_tiny(&[]);
    // Someone who waits for the end of a text all the while.
    let mut long = BufReader::new(server.send(&request("GET", "/api/generate?max_tokens=2000", "")));
    let (before, begun) = (server.own_memory(), Instant::now());
    let mut idle = Vec::new();
    for number in 0..1000 {
        // Half of them have begun a request.
        idle.push(server.send(if number % 2 == 0 { "" } else { "GET /api/status HTTP/1.1\nHost: localhost\n" }));
        if number % 100 == 99 {
            assert_eq!(generate(&server, "max_tokens=2").len(), 4);
        }
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(open_files(&server) < 400, "{} files", open_files(&server));
    let grown = server.own_memory().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
    let mut text = String::new();
    long.read_to_string(&mut text).unwrap();
    assert!(text.contains("event: done"), "the one that was answered was closed");
    drop(idle);
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_of_few_files_has_as_many_connections_as_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::write(folder.path(), 1);
    let mut serve = lockstep("serve");
    serve.args(["--port", "0", "--model"]).arg(&model);
    let server = started(&mut limited("-n 100", &serve), None);
    let _idle: Vec<_> = (0..200).map(|_| server.send("")).collect();
    let begun = Instant::now();
    assert_eq!(generate(&server, "max_tokens=2").len(), 4);
    let model = format!("{}config.json", server.status()["modelUrl"].as_str().unwrap());
    assert_eq!(server.get(&model).status, 200);
    assert!(begun.elapsed() < SOON && open_files(&server) < 90, "{:?}, {} files", begun.elapsed(), open_files(&server));
}

#[test]
#[cfg(target_os = "linux")]
fn a_flood_of_headers_is_refused_and_not_kept() {
    let (server, _folder) = start_tiny(&[]);
    let many = (0..200).map(|n| format!("X-{n}: x\n")).collect::<String>();
    let long = format!("X: {}\n", "x".repeat(300_000));
    let path = format!("/{}", "x".repeat(100_000));
    for (bytes, status) in [
        (request("GET", "/api/status", &many), 431),
        (request("GET", "/api/status", &long), 431),
        (request("GET", &path, ""), 414),
    ] {
        let answer = exchange(&server, bytes.replace('\n', "\r\n").as_bytes());
        assert!(answer.as_ref().is_none_or(|answer| answer.status == status), "{answer:?}");
    }
    let before = server.own_memory();
    // No head ends.
    let _begun: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = server.send("GET / HTTP/1.1\n");
            stream.set_nonblocking(true).unwrap();
            let _ = stream.write_all("X: x\r\n".repeat(100_000).as_bytes());
            stream
        })
        .collect();
    assert_eq!(server.get("/api/status").status, 200);
    let grown = server.own_memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
}

#[test]
fn what_is_no_http_is_refused() {
    let (server, _folder) = start_tiny(&[]);
    for bytes in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHo st: localhost\r\n\r\n",
        b"POST /api/train HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/train HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST /api/train HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        let answer = exchange(&server, bytes);
        assert!(answer.as_ref().is_none_or(|answer| answer.status == 400), "{bytes:?}: {answer:?}");
    }
    // A chunk that is none.
    let chunked = request("POST", "/api/train", &format!("{JSON}Transfer-Encoding: chunked\n")).replace('\n', "\r\n");
    let answer = exchange(&server, (chunked + "zz\r\n{}\r\n0\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(server.get("/api/status").status, 200);
}

#[test]
fn bodies_that_are_huge_deep_or_no_text_are_refused() {
    let (server, _folder) = start_tiny(&["--max-body-bytes", "300000"]);
    let deep = [&b"{\"text\":"[..], &b"[".repeat(100_000)].concat();
    for (body, status) in [
        (&deep[..], 400),
        (&b"{\"text\":\"\xff\xfe\"}"[..], 400),
        (b"{\"text\":\"\\ud800\"}", 400),
        (b"{\"text\":\"a b\"} trailing", 400),
        (b"{\"text\":\"a b\",\"steps\":1e400}", 400),
        (b"{\"text\":\"a b\",\"text\":\"c d\"}", 400),
        (b"\xef\xbb\xbf{\"text\":\"a b\"}", 400),
        (&[b' '; 300_001], 413),
    ] {
        exchange(&server, &post_bytes("/api/train", JSON, body)).unwrap().error(status);
    }
    // As chunks, whose sum nobody told.
    let head = request("POST", "/api/train", &format!("{JSON}Transfer-Encoding: chunked\n")).replace('\n', "\r\n");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let answer = exchange(&server, (head + &chunk.repeat(5)).as_bytes()).unwrap();
    assert_eq!(answer.status, 413, "{answer:?}");
    // One that ends before its end.
    let short = post_bytes("/api/train", JSON, &[b' '; 1000]);
    server.send("").write_all(&short[..short.len() - 500]).unwrap();
    assert_eq!((server.status()["training"].clone(), server.get("/api/status").status), (json!(false), 200));
}

#[test]
#[cfg(target_os = "linux")]
fn requests_in_one_piece_are_answered_in_turn_and_without_end_not_kept() {
    let (server, _folder) = start_tiny(&["--client-timeout", "2"]);
    let ask = |path: &str| format!("GET {path} HTTP/1.1\nHost: localhost\n\n");
    let three = ask("/api/generate?max_tokens=2") + &ask("/nothing") + &request("GET", "/api/status", "");
    let mut text = String::new();
    server.send(&three).read_to_string(&mut text).unwrap();
    let statuses: Vec<_> = text.match_indices("HTTP/1.1 ").map(|(at, word)| &text[at + word.len()..][..3]).collect();
    assert_eq!(statuses, ["200", "404", "200"], "{text}");
    // A client that asks on and on, and reads nothing.
    let before = server.own_memory();
    let mut greedy = server.send("");
    greedy.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let requests = ask("/api/status").replace('\n', "\r\n").repeat(1000);
    let sent = (0..500).take_while(|_| greedy.write_all(requests.as_bytes()).is_ok()).count();
    assert!(sent < 500, "the server has read 25 MB of requests that it could not answer");
    assert_eq!(server.get("/api/status").status, 200);
    let grown = server.own_memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
    assert!(is_ended(&mut greedy));
}

/// After a warm-up, a thousand of each kind leave nothing behind.
#[test]
#[cfg(target_os = "linux")]
fn a_thousand_requests_and_connections_leave_nothing_behind() {
    let (server, _folder) = start_tiny(&["--receipts", "10", "--prefix-cache", "1"]);
    let expected = tokens(&generate(&server, "max_tokens=4"));
    let one_of_each = |number: usize| {
        assert_eq!(tokens(&generate(&server, "max_tokens=4")), expected);
        generate(&server, &format!("max_tokens=4&prompt=number+{number}"));
        // They leave in the midst of it, or never ask for all of it.
        drop(server.send(&request("GET", LONG, "")));
        drop(server.send("GET /api/generate HTTP/1.1\nHost: loc"));
        let refused: Answer = server.request("POST", "/api/train", &format!("{JSON}Content-Length: 0\n"));
        refused.error(400);
    };
    (0..100).for_each(one_of_each);
    server.wait_for("activeGenerations", &json!(0));
    let (memory, files) = (server.own_memory(), open_files(&server));
    (100..1100).for_each(one_of_each);
    server.wait_for("activeGenerations", &json!(0));
    let grown = server.own_memory().saturating_sub(memory);
    assert!(grown < 12 << 20, "{grown} bytes more");
    let begun = Instant::now();
    while open_files(&server) > files + 4 {
        assert!(begun.elapsed() < SOON, "{} files, {files} before", open_files(&server));
        sleep(Duration::from_millis(20));
    }
}
