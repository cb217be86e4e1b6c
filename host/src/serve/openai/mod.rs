//! `/v1/models`, `/v1/completions` and `/v1/chat/completions`, as OpenAI's clients speak them.
//!
//! [`request`] is what may be asked for: it takes the [`fields`] of the JSON one by one, and what nobody takes is refused by name.
//! [`prepare`] makes generations of it, one for each choice, which the engine takes all together or not at all. What comes of
//! them, [`choice`] puts into words; [`whole`] and [`stream`] send it, in the shapes of [`shapes`].

mod choice;
mod error;
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
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Request, Response};

use super::guard;
use super::reply::Body;
use super::state::State;
use crate::Failure;
use choice::Choices;
use error::ApiError;
use fields::Fields;
pub use models::Models;
use prepare::{Prepared, prepare};
use request::Asked;

/// The bytes that a request may have.
const MAX_BODY: usize = 2 << 20;
/// The body of a request must have come within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const MODEL: &str = "/v1/models/";
const RECEIPT: &str = "/v1/receipts/";

/// Whether a path is one of those whose errors are objects.
pub fn is_ours(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

/// The answer to one who may not ask.
pub fn forbidden(error: impl std::fmt::Display) -> Response<Body> {
    ApiError::forbidden(error).response()
}

/// Answers a request whose path begins with `/v1`.
pub async fn route<B>(state: &Arc<State>, request: &Request<()>, body: B) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Failure>>,
{
    let (path, headers) = (request.uri().path(), request.headers());
    let error = match (request.method().as_str(), path) {
        ("GET" | "HEAD", "/v1/models") => return models::list(state),
        ("GET" | "HEAD", _) if path.starts_with(MODEL) => return models::one(state, &path[MODEL.len()..]),
        ("POST", "/v1/completions") => return answer(state, headers, body, Asked::completion).await,
        ("POST", "/v1/chat/completions") => return answer(state, headers, body, Asked::chat).await,
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
    body: B,
    read: fn(Fields) -> Result<Asked, ApiError>,
) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Failure>>,
{
    match begin(state, headers, body, read).await {
        Ok((prepared, choices)) if prepared.stream => stream::answer(state.clone(), prepared, choices),
        Ok((prepared, choices)) => whole::answer(state, prepared, choices).await,
        Err(error) => error.response(),
    }
}

/// Reads a request and hands its choices in.
async fn begin<B>(
    state: &Arc<State>,
    headers: &HeaderMap,
    body: B,
    read: fn(Fields) -> Result<Asked, ApiError>,
) -> Result<(Prepared, Choices), ApiError>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Failure>>,
{
    guard::check_site(headers).map_err(ApiError::forbidden)?;
    let asked = read(Fields::parse(&received(headers, body).await?)?)?;
    if state.model.get().is_none() {
        return Err(ApiError::loading());
    }
    // Tokenizing a long prompt takes a while: not on the threads that serve connections.
    let shared = state.clone();
    let (prepared, choices, texts) =
        tokio::task::spawn_blocking(move || prepare(&shared, asked)).await.map_err(ApiError::internal)??;
    let events = state.engine.submit_all(texts, &prepared.weights)?;
    Ok((prepared, Choices::new(choices, events)))
}

/// The body of a request.
async fn received<B>(headers: &HeaderMap, body: B) -> Result<Bytes, ApiError>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Failure>>,
{
    // A type that no form of another site's page can send without asking first.
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        return Err(ApiError::media_type());
    }
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(ApiError::too_large(MAX_BODY));
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::too_large(MAX_BODY)),
        Ok(Err(error)) => Err(ApiError::unreadable(error)),
        Err(_) => Err(ApiError::slow(BODY_TIMEOUT)),
    }
}
