//! The whole HTTP API.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use hyper::{Request, Response, StatusCode};

use super::api_error::ApiError;
use super::body::bounded;
use super::keys::Caller;
use super::reply::{Body, json, nothing, redirect, reply, with_policies};
use super::state::State;
use super::{about, files, generate, metrics, openai, requests, text, train};
use crate::Failure;

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
    let response = requests::reported(&state, &request, async {
        match state.gate.admit(&request) {
            Ok(caller) => route(&state, &request, caller, bounded(body, &state.arguments.limits)).await,
            Err(answered) => *answered,
        }
    });
    let mut response = response.await;
    state.gate.mark(request.headers(), &mut response);
    Ok(with_policies(response))
}

/// Whether the errors of a route that is not OpenAI's are objects as those of `/v1` are.
pub fn has_error_objects(path: &str) -> bool {
    ["/health", "/health/live", "/info", "/metrics", "/openapi.json", "/tokenize", "/detokenize", "/apply-template"]
        .contains(&path)
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
        ("GET" | "HEAD", "/health") => about::health(state),
        ("GET" | "HEAD", "/health/live") => about::alive(),
        ("GET" | "HEAD", "/info") => about::info(state),
        ("GET" | "HEAD", "/metrics") => metrics::answer(state),
        ("GET" | "HEAD", "/openapi.json") => about::openapi(),
        ("POST", "/tokenize" | "/detokenize" | "/apply-template") => {
            text::answer(state, path, request.headers(), body).await
        }
        _ if openai::is_ours(path) => openai::route(state, request, caller, body).await,
        ("GET" | "HEAD", _) if path.starts_with("/web/") => files::page(state, request).await,
        ("GET" | "HEAD", _) if path.starts_with("/models/") => files::model(state, request).await,
        (_, "/api/generate") => ApiError::method("GET").plain(),
        (_, "/api/train" | "/api/train/stop" | "/api/train/reset") => ApiError::method("POST").plain(),
        (_, "/tokenize" | "/detokenize" | "/apply-template") => ApiError::method("POST").response(),
        _ if has_error_objects(path) => ApiError::method("GET, HEAD").response(),
        (_, "/" | "/web" | "/api/status") => ApiError::method("GET, HEAD").plain(),
        _ if path.starts_with("/web/") || path.starts_with("/models/") => ApiError::method("GET, HEAD").plain(),
        _ => ApiError::no_route(path).plain(),
    }
}

#[cfg(test)]
mod tests;
