//! `/v1/models`, `/v1/completions` and `/v1/chat/completions`, as OpenAI's clients speak them.
//!
//! [`request`] is what may be asked for: it takes the [`fields`] of the JSON one by one, and what nobody takes is refused by name.
//! [`prepare`] makes generations of it, one for each choice, which the engine takes all together or not at all. What comes of
//! them, [`choice`] puts into words; [`whole`] and [`stream`] send it, in the shapes of [`shapes`].

mod choice;
mod fields;
mod logprobs;
mod messages;
mod models;
mod prepare;
mod prompts;
mod request;
mod shapes;
mod stream;
mod whole;

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::HeaderMap;
use hyper::{Request, Response};

use super::api_error::ApiError;
use super::body;
use super::keys::Caller;
use super::reply::Body;
use super::state::State;
use crate::Failure;
use choice::Choices;
use fields::Fields;
pub use models::Models;
use prepare::{Prepared, prepare};
use request::Asked;

const MODEL: &str = "/v1/models/";
const RECEIPT: &str = "/v1/receipts/";

/// Whether a path is one of those whose errors are objects.
pub fn is_ours(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

/// Answers a request whose path begins with `/v1`.
pub async fn route<B>(state: &Arc<State>, request: &Request<()>, caller: Caller, body: B) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Failure>>,
{
    let (path, headers) = (request.uri().path(), request.headers());
    let error = match (request.method().as_str(), path) {
        ("GET" | "HEAD", "/v1/models") => return models::list(state),
        ("GET" | "HEAD", _) if path.starts_with(MODEL) => return models::one(state, &path[MODEL.len()..]),
        ("GET", _) if path.starts_with(RECEIPT) => return state.receipts.answer(&path[RECEIPT.len()..]),
        ("POST", "/v1/completions") => return answer(state, headers, caller, body, Asked::completion).await,
        ("POST", "/v1/chat/completions") => return answer(state, headers, caller, body, Asked::chat).await,
        (_, "/v1/completions" | "/v1/chat/completions") => ApiError::method("POST"),
        (_, "/v1/models") => ApiError::method("GET, HEAD"),
        _ if path.starts_with(MODEL) => ApiError::method("GET, HEAD"),
        _ if path.starts_with(RECEIPT) => ApiError::method("GET"),
        _ => ApiError::no_route(path),
    };
    error.response()
}

/// Answers a request to continue something, which `read` reads.
async fn answer<B>(
    state: &Arc<State>,
    headers: &HeaderMap,
    caller: Caller,
    body: B,
    read: fn(Fields) -> Result<Asked, ApiError>,
) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Failure>>,
{
    match begin(state, headers, caller, body, read).await {
        Ok((prepared, choices)) if prepared.stream => stream::answer(state.clone(), prepared, choices),
        Ok((prepared, choices)) => whole::answer(state, prepared, choices).await,
        Err(error) => error.response(),
    }
}

/// Reads a request and hands its choices in.
async fn begin<B>(
    state: &Arc<State>,
    headers: &HeaderMap,
    caller: Caller,
    body: B,
    read: fn(Fields) -> Result<Asked, ApiError>,
) -> Result<(Prepared, Choices), ApiError>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Failure>>,
{
    let asked = read(Fields::parse(&body::json(headers, body, &state.arguments.limits).await?)?)?;
    if state.model.get().is_none() {
        return Err(ApiError::loading());
    }
    // Tokenizing a long prompt takes a while: not on the threads that serve connections.
    let shared = state.clone();
    let (prepared, choices, texts) =
        tokio::task::spawn_blocking(move || prepare(&shared, asked)).await.map_err(ApiError::internal)??;
    let events = state.engine.submit_all(texts, &prepared.weights, caller)?;
    Ok((prepared, Choices::new(choices, events)))
}
