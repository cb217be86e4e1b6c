//! Text and tokens: `POST /tokenize`, `/detokenize`, `/apply-template`, with the names that llama.cpp's server has.

use std::sync::Arc;

use bpe::{Message, Special, Tokenizer};
use bytes::Bytes;
use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};
use loader::Object;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use session::{chat_prompt, read_messages};

use super::api_error::ApiError;
use super::body;
use super::reply::{self, Body};
use super::state::State;
use crate::Failure;
use crate::open::Opened;

/// What a request asks for: a valid one.
enum Asked {
    Tokens { content: String, special: Special, bare: bool, with_pieces: bool },
    Content(Vec<u32>),
    Prompt(Vec<Message>),
}

/// Answers any of the three.
pub async fn answer<B>(state: &Arc<State>, path: &str, headers: &HeaderMap, body: B) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Failure>>,
{
    match try_answer(state, path, headers, body).await {
        Ok(value) => reply::json(StatusCode::OK, &value),
        Err(error) => error.response(),
    }
}

async fn try_answer<B>(state: &Arc<State>, path: &str, headers: &HeaderMap, body: B) -> Result<Value, ApiError>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Failure>>,
{
    let body = body::json(headers, body, &state.arguments.limits).await?;
    let asked = match path {
        "/tokenize" => tokenize(&body),
        "/detokenize" => detokenize(&body),
        _ => apply_template(&body),
    }?;
    if state.model.get().is_none() {
        return Err(ApiError::loading());
    }
    // A megabyte takes a while: not on the threads that serve connections.
    let shared = state.clone();
    let worked = tokio::task::spawn_blocking(move || match shared.model.get() {
        Some(opened) => asked.answer(opened),
        None => Err(ApiError::loading()),
    });
    worked.await.map_err(ApiError::internal)?
}

/// The members of a body; null is as good as absent.
fn members<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map(|Object(members)| members)
        .map_err(|error| ApiError::json(format_args!("the body is not like {example}: {error}")))
}

fn tokenize(body: &[u8]) -> Result<Asked, ApiError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Members {
        content: String,
        /// Whether what the tokenizer puts before a text is wanted, too.
        add_special: Option<bool>,
        parse_special: Option<bool>,
        plain_special: Option<bool>,
        with_pieces: Option<bool>,
    }
    let Members { content, add_special, parse_special, plain_special, with_pieces } =
        members(body, r#"{"content":"Hello"}"#)?;
    let plain = match (parse_special, plain_special) {
        (Some(parse), Some(plain)) if parse == plain => {
            let message = "parse_special and plain_special contradict each other: give one of them";
            return Err(ApiError::invalid("plain_special", message));
        }
        (parse, plain) => plain.or(parse.map(|parse| !parse)).unwrap_or(false),
    };
    let special = if plain { Special::Plain } else { Special::Parse };
    let (bare, with_pieces) = (!add_special.unwrap_or(false), with_pieces.unwrap_or(false));
    Ok(Asked::Tokens { content, special, bare, with_pieces })
}

fn detokenize(body: &[u8]) -> Result<Asked, ApiError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Members {
        tokens: Vec<u32>,
    }
    members(body, r#"{"tokens":[1,2]}"#).map(|Members { tokens }| Asked::Content(tokens))
}

fn apply_template(body: &[u8]) -> Result<Asked, ApiError> {
    read_messages(body).map(Asked::Prompt).map_err(|error| ApiError::invalid("messages", error))
}

impl Asked {
    fn answer(self, opened: &Opened) -> Result<Value, ApiError> {
        let tokenizer = &opened.tokenizer;
        match self {
            Asked::Tokens { content, special, bare, with_pieces } => {
                let ids =
                    if bare { tokenizer.encode_bare(&content, special) } else { tokenizer.encode(&content, special) };
                let tokens = if with_pieces { pieces(tokenizer, &ids)? } else { json!(ids) };
                Ok(json!({ "tokens": tokens }))
            }
            Asked::Content(tokens) => {
                let content = tokenizer.decode(&tokens).map_err(|error| ApiError::invalid("tokens", error))?;
                Ok(json!({ "content": content }))
            }
            Asked::Prompt(messages) => {
                let config = opened.tokenizer_config().map_err(ApiError::internal)?;
                let ids = chat_prompt(tokenizer, config.as_deref(), &messages)
                    .map_err(|error| ApiError::invalid("messages", error))?;
                let prompt = tokenizer.decode(&ids).map_err(ApiError::internal)?;
                // The text alone would not do: in it, a message's "<|im_end|>" looks like the end of the message.
                Ok(json!({ "prompt": prompt, "tokens": ids }))
            }
        }
    }
}

/// Each id with its text; with its bytes, where they are no text by themselves.
fn pieces(tokenizer: &Tokenizer, ids: &[u32]) -> Result<Value, ApiError> {
    let piece = |&id: &u32| {
        let bytes = tokenizer.token_bytes(id).map_err(ApiError::internal)?;
        let piece = std::str::from_utf8(bytes).map_or_else(|_| json!(bytes), |text| json!(text));
        Ok(json!({ "id": id, "piece": piece }))
    };
    ids.iter().map(piece).collect()
}
