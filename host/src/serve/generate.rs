//! `GET /api/generate`: continues a prompt as a stream of events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::{Response, StatusCode};
use kernel::generate::{Request, Sampler, Step};
use kernel::transcript::{PROFILE, hex};
use serde_json::{Value, json};
use session::{Continuation, Stop, chat_prompt, read_messages};
use tokio::sync::mpsc::UnboundedReceiver;

use super::api_error::ApiError;
use super::engine::{ENDED, Event, Finished};
use super::keys::Caller;
use super::query::{Query, QueryError};
use super::reply::{self, Body};
use super::state::State;
use super::stream::{Events, Gone, events};
use crate::Failure;

/// The prompt of a request that has none, or an empty one.
const PROMPT: &str = "Once upon a time";
/// The tokens of a request that does not say how many.
const MAX_TOKENS: usize = 25;

/// What a query asks for.
struct Asked {
    prompt: Prompt,
    max_tokens: usize,
    sampler: Sampler,
    stop: Stop,
    /// Whether the receipt leaves token ids out.
    private: bool,
}

/// What is continued.
enum Prompt {
    Text {
        text: String,
        special: bpe::Special,
    },
    /// The JSON of a conversation.
    Messages(String),
}

impl Asked {
    fn parse(query: &str) -> Result<Asked, QueryError> {
        let query = Query::parse(query)?;
        let plain = query.switch("plain_special")?;
        let prompt = match (query.get("prompt").filter(|prompt| !prompt.is_empty()), query.get("messages")) {
            (Some(_), Some(_)) => return Err(QueryError::Both("prompt", "messages")),
            (None, Some(messages)) => Prompt::Messages(messages.to_string()),
            (prompt, None) => Prompt::Text {
                text: prompt.unwrap_or(PROMPT).to_string(),
                special: if plain { bpe::Special::Plain } else { bpe::Special::Parse },
            },
        };
        Ok(Asked {
            prompt,
            max_tokens: query.count("max_tokens")?.unwrap_or(MAX_TOKENS),
            sampler: query.sampler()?,
            stop: Stop::new(query.all("stop")).map_err(QueryError::Stop)?,
            private: query.switch("private")?,
        })
    }
}

/// Answers with the events `init`, `token`..., `done`; or with the status that says why not.
pub async fn generate(state: &Arc<State>, caller: Caller, query: &str) -> Response<Body> {
    let asked = match Asked::parse(query) {
        Ok(asked) => asked,
        Err(error) => return reply::error(StatusCode::BAD_REQUEST, error),
    };
    if state.model.get().is_none() {
        return ApiError::loading().plain();
    }
    let private = asked.private;
    // Tokenizing a long prompt takes a while: not on the threads that serve connections.
    let shared = state.clone();
    let (generation, init) = match tokio::task::spawn_blocking(move || prepare(&shared, asked)).await {
        Ok(Ok(prepared)) => prepared,
        Ok(Err(error)) => return reply::error(StatusCode::BAD_REQUEST, error),
        Err(error) => return ApiError::internal(error).plain(),
    };
    match state.engine.submit(generation, caller) {
        Ok(progress) => {
            let (response, events) = events();
            tokio::spawn(tell(state.clone(), init, private, progress, events));
            response
        }
        Err(error) => ApiError::from(error).plain(),
    }
}

/// Tokenizes and validates; with the data of the event `init`.
fn prepare(state: &State, asked: Asked) -> Result<(Continuation, Value), Failure> {
    let opened = state.model.get().ok_or("the model is still loading")?;
    let Asked { prompt, max_tokens, sampler, stop, private: _ } = asked;
    let (text, prompt) = match prompt {
        Prompt::Text { text, special } => {
            let ids = opened.tokenizer.encode(&text, special);
            (text, ids)
        }
        Prompt::Messages(json) => {
            let (messages, config) = (read_messages(json.as_bytes())?, opened.tokenizer_config()?);
            let ids = chat_prompt(&opened.tokenizer, config.as_deref(), &messages)?;
            (opened.tokenizer.decode(&ids)?, ids)
        }
    };
    let init = json!({ "prompt": text, "inputTokens": prompt, "maxTokens": max_tokens });
    let request = Request { prompt, max_tokens, ignore_eos: false, sampler, logprobs: None };
    Ok((Continuation::new(&opened.model, request, stop)?, init))
}

/// Tells a client of its generation until it ends, the client goes, or the server is asked to end.
///
/// When this returns, the receiver of the generation's events is dropped, and the engine drops the generation.
async fn tell(state: Arc<State>, init: Value, private: bool, progress: UnboundedReceiver<Event>, events: Events) {
    let told = tokio::select! {
        biased;
        gone = events.gone() => Err(gone),
        told = follow(&state, &init, private, progress, &events) => told,
    };
    match told {
        Ok(Told { tokens, reason }) => tracing::debug!(tokens, reason, "generate"),
        Err(Gone) => tracing::debug!("generate: the client went away"),
    }
}

/// How a stream of events ended.
struct Told {
    tokens: usize,
    reason: &'static str,
}

async fn follow(
    state: &State,
    init: &Value,
    private: bool,
    mut progress: UnboundedReceiver<Event>,
    events: &Events,
) -> Result<Told, Gone> {
    events.send(0, "init", init).await?;
    let start = Instant::now();
    let (mut tokens, mut elapsed) = (0, Duration::ZERO);
    loop {
        let event = tokio::select! {
            biased;
            () = state.ending.cancelled() => {
                let reason = "shutdown";
                events.send(tokens, "done", &done(tokens, start.elapsed(), reason)).await?;
                return Ok(Told { tokens, reason });
            }
            event = progress.recv() => event,
        };
        match event {
            Some(Event::Begun(_) | Event::Prompt(_)) => {}
            Some(Event::Token(step, text, _)) => {
                (tokens, elapsed) = (step.step, start.elapsed());
                events.send(tokens, "token", &token(&step, &text)).await?;
            }
            Some(Event::Finished(finished)) => {
                let Finished { reason, identity, transcript, receipt } = *finished;
                let mut data = done(tokens, elapsed, reason.as_str());
                data["transcriptSha256"] = hex(&transcript).into();
                data["weightsSha256"] = hex(&identity.weights).into();
                data["adapterSha256"] = identity.adapter.as_ref().map(hex).into();
                data["tokenizerSha256"] = hex(&identity.tokenizer).into();
                if let Some(receipt) = receipt {
                    let receipt = if private { receipt.without_ids() } else { receipt };
                    state.receipts.tell(&receipt, &mut data);
                }
                events.send(tokens, "done", &data).await?;
                return Ok(Told { tokens, reason: reason.as_str() });
            }
            Some(Event::Replaced(replaced)) => return fail(events, tokens, &replaced.to_string()).await,
            Some(Event::Failed(error)) => return fail(events, tokens, &error).await,
            None => return fail(events, tokens, ENDED).await,
        }
    }
}

fn token(step: &Step, text: &str) -> Value {
    json!({
        "step": step.step,
        "tokenId": step.token_id,
        "tokenText": text,
        "done": step.finish_reason.is_some(),
        "logitsSha256": hex(&step.logits_sha256),
    })
}

fn done(tokens: usize, elapsed: Duration, reason: &str) -> Value {
    let seconds = elapsed.as_secs_f64();
    json!({
        "totalTokens": tokens,
        "elapsedMs": seconds * 1e3,
        "tokensPerSec": tokens as f64 / seconds,
        "finishReason": reason,
        "profile": PROFILE,
    })
}

/// Sends `error`, and `done` after it: clients wait for that.
async fn fail(events: &Events, tokens: usize, error: &str) -> Result<Told, Gone> {
    tracing::error!(tokens, error, "generate");
    let reason = "error";
    events.send(tokens, "error", &json!({ "error": error })).await?;
    events.send(tokens, "done", &json!({ "totalTokens": tokens, "finishReason": reason })).await?;
    Ok(Told { tokens, reason })
}
