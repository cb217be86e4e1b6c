//! One line of the log, and of the metrics, for each request.
//!
//! It says nothing of what was asked: no query, no body, no path but the name of its route, since prompts and the ids of
//! receipts are nobody else's business.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;
use std::{future::Future, io};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, SizeHint};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use session::receipt::Hex;

use super::reply::Body;
use super::state::State;

/// By which a client knows its request in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The bytes that the id of a client may have.
const MAX_ID: usize = 64;
/// The status in the log of a request whose client went away before there was one.
const CLIENT_GONE: u16 = 499;

tokio::task_local! {
    static CURRENT: Arc<Done>;
}

/// What the engine has done for a request.
#[derive(Default)]
pub struct Done {
    /// Tokens of its prompts.
    pub prompt_tokens: AtomicU64,
    /// Tokens generated.
    pub tokens: AtomicU64,
}

/// Of the request that is being answered; outside of one, of nobody.
pub fn current() -> Arc<Done> {
    CURRENT.try_with(Arc::clone).unwrap_or_default()
}

/// Gives the response of `answer` the request's id, and reports the request once its body has been sent, or the client is gone.
pub async fn reported(
    state: &Arc<State>,
    request: &Request<()>,
    answer: impl Future<Output = Response<Body>>,
) -> Response<Body> {
    let id = id(request.headers());
    let mut report = Report {
        state: state.clone(),
        id: id.clone(),
        method: method(request.method()),
        route: route(request.uri().path()),
        done: Arc::default(),
        begin: Instant::now(),
        status: CLIENT_GONE,
        complete: false,
    };
    let mut response = CURRENT.scope(report.done.clone(), answer).await;
    report.status = response.status().as_u16();
    // The answer to HEAD has a body that is never sent.
    report.complete = request.method() == Method::HEAD || response.body().is_end_stream();
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response.map(|body| Reported { body, report }.boxed_unsync())
}

/// The id that the client gave, or a new one.
fn id(headers: &HeaderMap) -> String {
    let plain = |id: &&str| (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(plain);
    given.map_or_else(new_id, String::from)
}

fn new_id() -> String {
    let mut random = [0; 8];
    // Without random numbers ids are all the same, and nothing else is wrong.
    let _ = getrandom::fill(&mut random);
    Hex(random).digits()
}

/// The name of a method that the API knows.
fn method(method: &Method) -> &'static str {
    ["GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"]
        .into_iter()
        .find(|name| method.as_str() == *name)
        .unwrap_or("other")
}

/// Routes that are one path.
const PATHS: [&str; 18] = [
    "/",
    "/api/generate",
    "/api/status",
    "/api/train",
    "/api/train/reset",
    "/api/train/stop",
    "/apply-template",
    "/detokenize",
    "/health",
    "/health/live",
    "/info",
    "/metrics",
    "/openapi.json",
    "/tokenize",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/models",
    "/web",
];
/// Routes of several paths: how these begin, and the route's name.
const FOLDERS: [(&str, &str); 4] = [
    ("/models/", "/models/{folder}/{file}"),
    ("/v1/models/", "/v1/models/{id}"),
    ("/v1/receipts/", "/v1/receipts/{id}"),
    ("/web/", "/web/{file}"),
];

/// The name of the route of a path, as `openapi.json` has it; `other` for all paths that are none.
pub fn route(path: &str) -> &'static str {
    let folder = || FOLDERS.iter().find(|(begin, _)| path.starts_with(begin)).map(|(_, route)| *route);
    PATHS.into_iter().find(|route| *route == path).or_else(folder).unwrap_or("other")
}

/// What is told of a request, when this is dropped.
struct Report {
    state: Arc<State>,
    id: String,
    method: &'static str,
    route: &'static str,
    done: Arc<Done>,
    begin: Instant,
    status: u16,
    /// Whether the whole body has been sent.
    complete: bool,
}

impl Drop for Report {
    fn drop(&mut self) {
        let Report { state, id, method, route, done, begin, status, complete } = self;
        let duration = begin.elapsed();
        state.metrics.request(route, *status, duration);
        let count = |tokens: &AtomicU64| Some(tokens.load(Ordering::Relaxed)).filter(|count| *count > 0);
        tracing::info!(
            id,
            method,
            route,
            status,
            duration_ms = duration.as_micros() as f64 / 1e3,
            prompt_tokens = count(&done.prompt_tokens),
            tokens = count(&done.tokens),
            complete,
            "request"
        );
    }
}

/// A body that is reported at its end.
struct Reported {
    body: Body,
    report: Report,
}

impl hyper::body::Body for Reported {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        // A body of known length is not asked again after its last frame.
        let ended = matches!(frame, Poll::Ready(None)) || self.body.is_end_stream();
        self.report.complete |= ended && !matches!(frame, Poll::Ready(Some(Err(_))));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::serve::about::OPENAPI;

    #[test]
    fn the_routes_are_those_of_the_document_and_the_page() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut named: BTreeSet<&str> = PATHS.into_iter().chain(FOLDERS.map(|(_, route)| route)).collect();
        for page in ["/", "/web", "/web/{file}"] {
            assert!(named.remove(page));
        }
        let described: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(named, described);
        assert!(described.iter().all(|path| route(path) == *path));
    }

    #[test]
    fn routes_have_names_that_say_nothing_of_the_request() {
        assert_eq!(route("/api/generate"), "/api/generate");
        assert_eq!(route("/v1/receipts/0123456789abcdef"), "/v1/receipts/{id}");
        assert_eq!(route("/models/a/b"), "/models/{folder}/{file}");
        assert_eq!(route("/web/"), "/web/{file}");
        for path in ["/api/generate/", "/etc/passwd", "/models", "*", ""] {
            assert_eq!(route(path), "other", "{path}");
        }
        assert_eq!([method(&Method::GET), method(&Method::TRACE)], ["GET", "other"]);
    }

    #[test]
    fn an_id_is_taken_over_if_it_is_short_and_plain() {
        let given = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            id(&headers)
        };
        assert_eq!(given(b"a-1"), "a-1");
        for odd in [&b""[..], b"a b", b"a\tb", "\u{9b}2J".as_bytes(), &[b'x'; 65]] {
            let made = given(odd);
            assert!(made.len() == 16 && made.bytes().all(|b| b.is_ascii_hexdigit()), "{made}");
        }
        assert_ne!(id(&HeaderMap::new()), id(&HeaderMap::new()));
    }
}
