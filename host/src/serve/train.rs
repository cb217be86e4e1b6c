//! `POST /api/train`: trains all weights on a text, as a stream of events; `/stop` and `/reset` beside it.
//!
//! A training always begins with the weights of the model folder, so that its result depends on the request alone. It is plain
//! SGD. What it made is served by `/api/generate` once it has ended or was stopped; a client that goes away gives it up, and
//! the weights of the training before it stay.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Response, StatusCode};
use kernel::train::{Optimizer, Schedule, StepReport, TrainOptions};
use kernel::transcript::{PROFILE, hex};
use serde::Deserialize;
use serde_json::{Value, json};
use session::data::text;
use tokio::sync::mpsc::UnboundedReceiver;

use super::engine::{TrainEvent, TrainFinished, TrainRequest};
use super::reply::{self, Body};
use super::state::State;
use super::stream::{Events, Gone, events};
use crate::Failure;

/// The steps of a request that does not say how many, and the most that one may ask for.
const STEPS: u64 = 5;
const MAX_STEPS: u64 = 10_000;
/// The learning rate of a request that has none.
const LEARNING_RATE: f64 = 0.001;
/// The bytes that a request may have.
const MAX_BODY: usize = 1 << 20;
/// From how many tokens on activations are computed again instead of kept, which bounds what a token needs.
const RECOMPUTE_FROM: usize = 256;

/// What a request asks for; null is as good as absent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    text: String,
    steps: Option<u64>,
    learning_rate: Option<f64>,
}

/// What is trained, and how: a valid request.
struct Settings {
    text: String,
    steps: u64,
    learning_rate: f64,
}

impl Settings {
    fn parse(body: &[u8]) -> Result<Settings, String> {
        let asked: Asked = serde_json::from_slice(body).map_err(|error| {
            format!("the body is not {{\"text\":\"...\",\"steps\":5,\"learningRate\":0.001}}: {error}")
        })?;
        let (steps, learning_rate) = (asked.steps.unwrap_or(STEPS), asked.learning_rate.unwrap_or(LEARNING_RATE));
        if !(1..=MAX_STEPS).contains(&steps) {
            return Err(format!("steps={steps}: give an integer from 1 to {MAX_STEPS}"));
        }
        if learning_rate <= 0.0 {
            return Err(format!("learningRate={learning_rate}: give a number above 0"));
        }
        Ok(Settings { text: asked.text, steps, learning_rate })
    }
}

/// Answers with the events `init`, `step`..., `done`; or with the status that says why not.
pub async fn train<B>(state: &Arc<State>, headers: &HeaderMap, body: B) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Failure>>,
{
    // A type that no form of another site's page can send without asking first.
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        return reply::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the request as Content-Type: application/json");
    }
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return reply::error(StatusCode::PAYLOAD_TOO_LARGE, format_args!("a request has at most {MAX_BODY} bytes"));
        }
        Err(error) => return reply::error(StatusCode::BAD_REQUEST, error),
    };
    let settings = match Settings::parse(&body) {
        Ok(settings) => settings,
        Err(error) => return reply::error(StatusCode::BAD_REQUEST, error),
    };
    if state.model.get().is_none() {
        return reply::try_again(StatusCode::SERVICE_UNAVAILABLE, "the model is still loading");
    }
    let Settings { steps, learning_rate, .. } = settings;
    let text = settings.text.clone();
    let shared = state.clone();
    let request = match tokio::task::spawn_blocking(move || prepare(&shared, &settings)).await {
        Ok(Ok(request)) => request,
        Ok(Err(error)) => return reply::error(StatusCode::BAD_REQUEST, error),
        Err(error) => return reply::error(StatusCode::INTERNAL_SERVER_ERROR, error),
    };
    let tokens = request.sequence.tokens.len();
    let init = json!({ "text": text, "tokens": tokens, "steps": steps, "learningRate": learning_rate });
    match state.engine.train(request) {
        Ok(progress) => {
            let (response, events) = events();
            tokio::spawn(tell(state.clone(), init, progress, events));
            response
        }
        Err(error) => reply::refused(&error),
    }
}

/// `POST /api/train/stop`: the training ends after its step, and what it has learnt is served.
pub fn stop(state: &State) -> Response<Body> {
    reply::json(StatusCode::OK, &json!({ "stopping": state.engine.training.stop() }))
}

/// `POST /api/train/reset`: the weights of the model folder are served again.
pub fn reset(state: &State) -> Response<Body> {
    if state.engine.training.is_taken() {
        return reply::error(StatusCode::CONFLICT, "a training runs; wait for it, or end it with POST /api/train/stop");
    }
    state.engine.served.publish(None);
    reply::json(StatusCode::OK, &json!({ "trained": false, "weightsSha256": state.weights.get().map(hex) }))
}

/// Tokenizes and validates.
fn prepare(state: &State, settings: &Settings) -> Result<TrainRequest, String> {
    let opened = state.model.get().ok_or("the model is still loading")?;
    let tokens = opened.tokenizer.encode(&settings.text, bpe::Special::Parse);
    let sequence = text(tokens, opened.model.config().context).map_err(|error| error.to_string())?;
    let schedule = Schedule { learning_rate: settings.learning_rate, warmup: 0, cosine_steps: None };
    let recompute = sequence.tokens.len() >= RECOMPUTE_FROM;
    let optimizer = Optimizer::Sgd { momentum: 0.0 };
    let options = TrainOptions { optimizer, schedule, clip_norm: None, recompute };
    Ok(TrainRequest { sequence, steps: settings.steps, options })
}

/// Tells a client of its training until it ends, the client goes, or the server is asked to end.
///
/// When this returns, the receiver of the training's events is dropped, and the engine drops the training.
async fn tell(state: Arc<State>, init: Value, progress: UnboundedReceiver<TrainEvent>, events: Events) {
    let told = tokio::select! {
        biased;
        gone = events.gone() => Err(gone),
        told = follow(&state, &init, progress, &events) => told,
    };
    match told {
        Ok((steps, reason)) => tracing::info!(steps, reason, "train"),
        Err(Gone) => tracing::info!("train: the client went away"),
    }
}

/// Returns the steps done, and why there were no more.
async fn follow(
    state: &State,
    init: &Value,
    mut progress: UnboundedReceiver<TrainEvent>,
    events: &Events,
) -> Result<(u64, &'static str), Gone> {
    events.send(0, "init", init).await?;
    let start = Instant::now();
    let mut steps = 0;
    let (mut data, reason) = loop {
        let event = tokio::select! {
            biased;
            () = state.ending.cancelled() => break (json!({}), "shutdown"),
            event = progress.recv() => event,
        };
        let error = match event {
            Some(TrainEvent::Step(report)) => {
                steps = report.step;
                events.send(steps as usize, "step", &step(&report)).await?;
                continue;
            }
            Some(TrainEvent::Finished(finished)) => {
                let whole = init["steps"] == json!(finished.steps);
                break (proof(&finished), if whole { "completed" } else { "stopped" });
            }
            Some(TrainEvent::Stopped) => break (json!({}), "stopped"),
            Some(TrainEvent::Failed(error)) => error,
            None => "the engine has ended; restart the server".to_string(),
        };
        tracing::error!(steps, error, "train");
        events.send(steps as usize, "error", &json!({ "error": error })).await?;
        break (json!({}), "error");
    };
    data["totalSteps"] = steps.into();
    data["elapsedMs"] = (start.elapsed().as_secs_f64() * 1e3).into();
    data["finishReason"] = reason.into();
    data["profile"] = PROFILE.into();
    events.send(steps as usize, "done", &data).await?;
    Ok((steps, reason))
}

fn step(report: &StepReport) -> Value {
    let bits = |value: f32| format!("{:08x}", value.to_bits());
    json!({
        "step": report.step,
        "loss": report.loss,
        "lossBits": bits(report.loss),
        "gradNorm": report.grad_norm,
        "gradNormBits": bits(report.grad_norm),
        "learningRate": report.learning_rate,
        "tokens": report.tokens,
        "stepSha256": hex(&report.digest),
    })
}

fn proof(TrainFinished { transcript, .. }: &TrainFinished) -> Value {
    json!({
        "weightsSha256": hex(&transcript.trained),
        "baseWeightsSha256": hex(&transcript.base.weights),
        "dataSha256": hex(&transcript.data),
        "transcriptSha256": hex(&transcript.digest()),
    })
}
