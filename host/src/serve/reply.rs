//! Responses: their bodies, their JSON, and the headers that every one carries.

use std::io;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::engine::SubmitError;

/// The body of any response.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Isolation, without which browsers give the page no shared memory, and protection of the page from what others send.
const EVERYWHERE: [(HeaderName, &str); 7] = [
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // No page of another site shows ours, under which a click would mean something else.
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
];

/// Adds the headers that every response carries.
pub fn with_policies(mut response: Response<Body>) -> Response<Body> {
    for (name, value) in EVERYWHERE {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A body without bytes.
pub fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A response with `status`, these headers and `body`.
pub fn reply(status: StatusCode, headers: &[(HeaderName, &'static str)], body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A JSON object, never cached.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    reply(status, &[(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body)
}

/// `{"error": message}`
pub fn error(status: StatusCode, message: impl std::fmt::Display) -> Response<Body> {
    json(status, &json!({ "error": message.to_string() }))
}

/// An error after which the client should try again in a second.
pub fn try_again(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = error(status, message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A generation or a training that the engine does not take.
pub fn refused(why: &SubmitError) -> Response<Body> {
    match why {
        SubmitError::Training => {
            error(StatusCode::CONFLICT, "another training runs; wait for it, or end it with POST /api/train/stop")
        }
        SubmitError::Full => {
            try_again(StatusCode::TOO_MANY_REQUESTS, "too many generations are waiting; try again in a moment")
        }
        // Until the server is started again; nobody needs to hurry.
        SubmitError::Changed(changed) => error(StatusCode::SERVICE_UNAVAILABLE, changed),
        SubmitError::Ended => error(StatusCode::INTERNAL_SERVER_ERROR, "the engine has ended; restart the server"),
    }
}

/// 405: the path exists, the method does not.
pub fn wrong_method(allow: &'static str) -> Response<Body> {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, format_args!("this path takes {allow} only"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// 307 to another path of this server.
pub fn redirect(path: &'static str) -> Response<Body> {
    reply(StatusCode::TEMPORARY_REDIRECT, &[(LOCATION, path)], nothing())
}
