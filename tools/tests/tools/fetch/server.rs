//! An HTTP server that does what a test tells it, wrong things included, and remembers what it was asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a client asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method and target, such as `GET /x`.
    pub line: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// What the server answers.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Ends the connection after this many bytes of the body.
    pub cut: Option<usize>,
    /// Stays silent for this long before it ends the connection.
    pub silence: Duration,
    /// Sends the body in chunks, without its length.
    pub chunked: bool,
}

impl Reply {
    pub fn status(status: u16) -> Reply {
        Reply { status, ..Reply::default() }
    }

    pub fn with(mut self, name: &'static str, value: impl ToString) -> Reply {
        self.headers.push((name, value.to_string()));
        self
    }

    /// A file that can be resumed, as a good server answers.
    pub fn file(request: &Request, bytes: &[u8], etag: &str) -> Reply {
        let from = request.header("range").filter(|_| request.header("if-range").is_none_or(|tag| tag == etag));
        let from = from.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let reply = match from {
            Some(from) => Reply { body: bytes[from..].to_vec(), ..Reply::status(206) }
                .with("content-range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())),
            None => Reply { body: bytes.to_vec(), ..Reply::status(200) },
        };
        reply.with("etag", etag)
    }
}

/// Answers the n-th request, from 0, for a path.
type Answer = Box<dyn Fn(&Request, usize) -> Reply + Send>;

#[derive(Default)]
struct State {
    answers: HashMap<String, (Answer, usize)>,
    requests: Vec<Request>,
    closed: bool,
}

pub struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().unwrap().closed {
                    return;
                }
                let state = Arc::clone(&shared);
                // A client that goes away is no failure of the test.
                std::thread::spawn(move || drop(stream.and_then(|stream| answer(stream, &state))));
            }
        });
        Server { address, state }
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves a file well.
    pub fn serve(&self, path: &str, bytes: Vec<u8>, etag: &'static str) {
        self.on(path, move |request, _| Reply::file(request, &bytes, etag));
    }

    /// Answers requests for that path.
    pub fn on(&self, path: &str, answer: impl Fn(&Request, usize) -> Reply + Send + 'static) {
        self.state.lock().unwrap().answers.insert(path.to_owned(), (Box::new(answer), 0));
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    /// The requests for that path so far.
    pub fn requests_for(&self, path: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.path() == path).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.lock().unwrap().closed = true;
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let line = lines.next().transpose()?.unwrap_or_default();
    let mut headers = HashMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let request = Request { line: line.trim_end_matches(" HTTP/1.1").to_owned(), headers };
    let reply = {
        let mut state = state.lock().unwrap();
        state.requests.push(request.clone());
        match state.answers.get_mut(request.path()) {
            Some((answer, count)) => {
                *count += 1;
                answer(&request, *count - 1)
            }
            None => Reply::status(404),
        }
    };
    write!(stream, "HTTP/1.1 {} Status\r\nconnection: close\r\n", reply.status)?;
    let has = |name: &str| reply.headers.iter().any(|(header, _)| *header == name);
    if reply.chunked {
        write!(stream, "transfer-encoding: chunked\r\n")?;
    } else if !has("content-length") {
        write!(stream, "content-length: {}\r\n", reply.body.len())?;
    }
    for (name, value) in &reply.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    write!(stream, "\r\n")?;
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    if reply.chunked {
        write!(stream, "{:x}\r\n", body.len())?;
        stream.write_all(body)?;
        write!(stream, "\r\n0\r\n\r\n")?;
    } else {
        stream.write_all(body)?;
    }
    stream.flush()?;
    std::thread::sleep(reply.silence);
    Ok(())
}
