//! A server of its own for each test, and requests byte by byte.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::command::lockstep;
use crate::{model, tiny};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The header of a body of JSON.
pub const JSON: &str = "Content-Type: application/json\n";

/// A running server; ended when dropped.
pub struct Server {
    pub child: Child,
    pub port: u16,
    /// The key that requests carry.
    pub key: Option<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server with the real model and waits until that is loaded.
pub fn start(arguments: &[&str]) -> Server {
    start_with(&model::dir(), arguments)
}

/// Starts a server with a tiny model, in a folder that lives as long.
pub fn start_tiny(arguments: &[&str]) -> (Server, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (start_with(&tiny::write(folder.path(), 1), arguments), folder)
}

/// Starts a server with the model of a folder, and waits until that is loaded.
pub fn start_with(model: &Path, arguments: &[&str]) -> Server {
    let mut command = lockstep("serve");
    command.args(["--port", "0"]).arg("--model").arg(model).args(arguments);
    let key = arguments.iter().position(|argument| *argument == "--api-key");
    started(&mut command, key.map(|key| arguments[key + 1].to_string()))
}

/// Starts a server, which wants this key, and waits until its model is loaded.
pub fn started(command: &mut Command, key: Option<String>) -> Server {
    // Nobody reads what else it says, and that must not end it.
    let (mut server, _) = launch(command);
    server.key = key;
    server.wait_for("ready", &Value::Bool(true));
    server
}

/// Starts a server, which may not have loaded its model yet; with the rest of what it says.
pub fn launch(command: &mut Command) -> (Server, BufReader<ChildStderr>) {
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let line = line_beginning(&mut stderr, "listening on ");
    let address = line.trim().strip_prefix("listening on http://127.0.0.1:").unwrap();
    let port = address.strip_suffix("/web/").unwrap().parse().unwrap();
    (Server { child, port, key: None }, stderr)
}

/// Reads lines until one begins so, which must come.
fn line_beginning(stream: &mut impl BufRead, beginning: &str) -> String {
    let mut line = String::new();
    while !line.starts_with(beginning) {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "no line begins with {beginning:?}");
    }
    line
}

impl Server {
    /// Sends `request` as it is, `\n` for CRLF, without waiting for an answer.
    pub fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
        stream
    }

    /// The same, and reads the answer until a line begins so.
    pub fn send_until(&self, request: &str, beginning: &str) -> BufReader<TcpStream> {
        let mut stream = BufReader::new(self.send(request));
        line_beginning(&mut stream, beginning);
        stream
    }

    /// Sends `request` as it is, `\n` for CRLF, and reads the whole answer.
    pub fn exchange(&self, request: &str) -> Answer {
        let mut bytes = Vec::new();
        self.send(request).read_to_end(&mut bytes).unwrap();
        Answer::parse(&bytes, request.starts_with("HEAD"))
    }

    /// Sends bytes as they are and reads the whole answer.
    pub fn exchange_bytes(&self, request: &[u8]) -> Answer {
        let (bytes, end) = self.reply(request);
        end.unwrap();
        Answer::parse(&bytes, false)
    }

    /// Sends bytes as they are; what comes back, which may be nothing, and how that ends.
    pub fn reply(&self, request: &[u8]) -> (Vec<u8>, io::Result<usize>) {
        let (mut stream, mut bytes) = (self.send(""), Vec::new());
        match stream.write_all(request) {
            // Who refuses a request need not read all of it.
            Err(error) if [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind()) => {}
            sent => sent.unwrap(),
        }
        let end = stream.read_to_end(&mut bytes);
        (bytes, end)
    }

    /// Sends a body as it is and reads the whole answer.
    pub fn post(&self, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        self.exchange_bytes(&post_bytes(path, headers, body.as_ref()))
    }

    /// A request with these lines of headers, each with its line feed.
    pub fn request(&self, method: &str, path: &str, headers: &str) -> Answer {
        let key = self.key.iter().map(|key| format!("Authorization: Bearer {key}\n")).collect::<String>();
        self.exchange(&request(method, path, &(key + headers)))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "")
    }

    pub fn status(&self) -> Value {
        self.get("/api/status").json()
    }

    /// Sends the process a signal: `-TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until the process has ended; none if a signal ended it.
    pub fn exit_code(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "the server did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Bytes of its own memory.
    #[cfg(target_os = "linux")]
    pub fn own_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        kilobytes.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Waits until the status has this value.
    pub fn wait_for(&self, key: &str, value: &Value) {
        let start = Instant::now();
        while self.status()[key] != *value {
            assert!(start.elapsed() < PATIENCE, "{key} did not become {value}: {}", self.status());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A request with a body, in which line feeds are spaces.
pub fn post(path: &str, headers: &str, body: &str) -> String {
    request("POST", path, &format!("{headers}Content-Length: {}\n", body.len())) + &body.replace('\n', " ")
}

/// A request with a body, byte by byte.
pub fn post_bytes(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = request("POST", path, &format!("{headers}Content-Length: {}\n", body.len()));
    [head.replace('\n', "\r\n").as_bytes(), body].concat()
}

pub fn request(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\nHost: localhost\nConnection: close\n{headers}\n")
}

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn parse(bytes: &[u8], head_only: bool) -> Answer {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of the head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.strip_prefix("HTTP/1.").expect("HTTP").split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: bytes[end + 4..].to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = unchunk(&answer.body);
        } else if let Some(length) = answer.header("content-length").filter(|_| !head_only && status != 304) {
            assert_eq!(answer.body.len(), length.parse::<usize>().unwrap());
        }
        answer
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The message of an error with this status.
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let object = self.json();
        assert_eq!(object.as_object().unwrap().len(), 1, "{object}");
        object["error"].as_str().unwrap().to_string()
    }
}

/// The body without the lengths of its chunks; the last chunk must be there.
fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let mut line = Vec::new();
        body.read_until(b'\n', &mut line).unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).expect("a chunk's length");
        if length == 0 {
            assert_eq!(body, b"\r\n", "the end of the last chunk");
            return whole;
        }
        whole.extend(&body[..length]);
        body = body[length..].strip_prefix(b"\r\n").expect("the end of a chunk");
    }
}
