//! The whole HTTP API.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use hyper::{Request, Response, StatusCode};

use super::body::bounded;
use super::keys::Caller;
use super::reply::{Body, error, json, nothing, redirect, reply, with_policies, wrong_method};
use super::state::State;
use super::{files, generate, train};
use crate::Failure;

/// Where receipts are, each under its id.
const RECEIPTS: &str = "/v1/receipts/";

/// Answers any request.
///
/// # Errors
/// Never: what goes wrong is a response.
pub async fn answer<B>(state: Arc<State>, request: Request<B>) -> Result<Response<Body>, Infallible>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Failure>>,
{
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, ());
    let mut response = match state.gate.admit(&request) {
        Ok(caller) => route(&state, &request, caller, bounded(body, &state.arguments.limits)).await,
        Err(answered) => *answered,
    };
    // Without the query: prompts are not for the log.
    tracing::debug!(method = %request.method(), path = request.uri().path(), status = response.status().as_u16());
    state.gate.mark(request.headers(), &mut response);
    Ok(with_policies(response))
}

async fn route<B>(state: &Arc<State>, request: &Request<()>, caller: Caller, body: B) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Failure>>,
{
    let path = request.uri().path();
    match (request.method().as_str(), path) {
        ("GET" | "HEAD", "/" | "/web") => redirect("/web/"),
        ("GET" | "HEAD", "/api/status") => json(StatusCode::OK, &state.status()),
        // An `EventSource` that lost its connection: 204 tells it to stop, see `stream`.
        ("GET", "/api/generate") if request.headers().contains_key("last-event-id") => {
            reply(StatusCode::NO_CONTENT, &[], nothing())
        }
        ("GET", "/api/generate") => generate::generate(state, caller, request.uri().query().unwrap_or_default()).await,
        ("POST", "/api/train") => train::train(state, request.headers(), body).await,
        ("POST", "/api/train/stop") => train::stop(state),
        ("POST", "/api/train/reset") => train::reset(state),
        ("GET", _) if path.starts_with(RECEIPTS) => state.receipts.answer(&path[RECEIPTS.len()..]),
        ("GET" | "HEAD", _) if path.starts_with("/web/") => files::page(state, request).await,
        ("GET" | "HEAD", _) if path.starts_with("/models/") => files::model(state, request).await,
        (_, "/api/generate") => wrong_method("GET"),
        (_, "/api/train" | "/api/train/stop" | "/api/train/reset") => wrong_method("POST"),
        (_, "/" | "/web" | "/api/status") => wrong_method("GET, HEAD"),
        _ if path.starts_with(RECEIPTS) => wrong_method("GET"),
        _ if path.starts_with("/web/") || path.starts_with("/models/") => wrong_method("GET, HEAD"),
        _ => error(StatusCode::NOT_FOUND, format_args!("nothing at {path}")),
    }
}

#[cfg(test)]
mod tests;
