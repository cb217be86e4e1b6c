//! What the server is, and whether it can be used: `/health`, `/health/live`, `/info`, `/openapi.json`.

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use kernel::transcript::{PROFILE, hex};
use serde_json::json;
use session::{MAX_STOP_BYTES, MAX_STOPS};

use super::CONNECTIONS;
use super::api_error::ApiError;
use super::engine::{ACTIVE, WAITING};
use super::reply::{self, Body};
use super::state::State;

/// The API, for programs. `tools test --only openapi` asks a server all that it says.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Whether a request would be answered now: 200, or 503 while the model is loading and once the server is ending.
///
/// That is for who hands out requests. A server that is loading is not to be started anew: see [`alive`].
pub fn health(state: &State) -> Response<Body> {
    let status = match state.model.get() {
        _ if state.ending.is_cancelled() => "ending",
        None => "loading",
        Some(_) => return reply::json(StatusCode::OK, &json!({ "status": "ok" })),
    };
    let mut response = reply::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": status }));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Whether the process works: who gets no answer may start it anew. (If the thread that computes ends, the process ends.)
pub fn alive() -> Response<Body> {
    reply::json(StatusCode::OK, &json!({ "status": "alive" }))
}

/// The model that the server was started with, what a training has made of it, and what requests may ask for.
pub fn info(state: &State) -> Response<Body> {
    let Some(opened) = state.model.get() else { return ApiError::loading().response() };
    let (arguments, config) = (&state.arguments, opened.model.config());
    let trained = state.engine.served.trained().map(|trained| {
        let (weights, adapter) = trained.digests(state.weights.get().copied());
        json!({ "weights_sha256": weights.as_ref().map(hex), "adapter_sha256": adapter.as_ref().map(hex) })
    });
    let info = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "profile": PROFILE,
        "backend": arguments.model.base.backend.name(),
        "threads": arguments.threads.count(),
        "model": {
            "name": state.model_name,
            // Until the weights are hashed, which begins with the start, there is none.
            "weights_sha256": state.weights.get().map(hex),
            "adapter_sha256": state.engine.served.start().map(|start| hex(&start.sha256)),
            "tokenizer_sha256": hex(&opened.tokenizer_sha256),
            "source": opened.provenance,
            "vocab_size": config.vocab,
            "hidden_size": config.dim,
            "layers": config.layers,
            "end_token_ids": config.eos,
        },
        "trained": trained,
        "limits": {
            "context_tokens": config.context,
            "active_generations": ACTIVE,
            "waiting_generations": WAITING,
            "connections": CONNECTIONS,
            "body_bytes": state.arguments.limits.max_body_bytes,
            "stop_strings": MAX_STOPS,
            "stop_string_bytes": MAX_STOP_BYTES,
            "receipts": arguments.receipts,
            "prefix_cache_bytes": u64::from(arguments.prefix_cache) << 20,
        },
    });
    reply::json(StatusCode::OK, &info)
}

/// The OpenAPI document.
pub fn openapi() -> Response<Body> {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")];
    reply::reply(StatusCode::OK, &headers, reply::full(OPENAPI))
}
