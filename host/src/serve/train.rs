//! `POST /api/train`: trains all weights, or an adapter, on a text, as a stream of events; `/stop` and `/reset` beside it.
//!
//! A training always begins with the weights of the model folder and no adapter but a new one, so that its result depends on
//! the request alone. It is plain SGD, or for an adapter AdamW. What it made is served by `/api/generate` once it has ended or was stopped; a client that goes away gives it up, and
//! the weights of the training before it stay.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};
use kernel::train::StepReport;
use kernel::transcript::{PROFILE, hex};
use serde_json::{Value, json};
use session::data::text;
use session::memory::{Plan, training_bytes};
use session::receipt::Bits32;
use tokio::sync::mpsc::UnboundedReceiver;

use super::api_error::ApiError;
use super::body;
use super::engine::{ENDED, TrainEvent, TrainFinished, TrainRequest};
use super::reply::{self, Body};
use super::state::State;
use super::stream::{Events, Gone, events};
use crate::Failure;
use crate::memory::{self, MemoryError};
use settings::Settings;

mod settings;

/// Answers with the events `init`, `step`..., `done`; or with the status that says why not.
pub async fn train<B>(state: &Arc<State>, headers: &HeaderMap, body: B) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Failure>>,
{
    let body = match body::json(headers, body, &state.arguments.limits).await {
        Ok(body) => body,
        Err(refused) => return refused.plain(),
    };
    let settings = match Settings::parse(&body) {
        Ok(settings) => settings,
        Err(error) => return reply::error(StatusCode::BAD_REQUEST, error),
    };
    if state.model.get().is_none() {
        return ApiError::loading().plain();
    }
    let Settings { steps, learning_rate, method, .. } = settings;
    let text = settings.text.clone();
    let shared = state.clone();
    let request = match tokio::task::spawn_blocking(move || prepare(&shared, &settings)).await {
        Ok(Ok(request)) => request,
        Ok(Err(error)) => return reply::error(StatusCode::BAD_REQUEST, error),
        Err(error) => return ApiError::internal(error).plain(),
    };
    if let Err(error) = fits(state, &request) {
        return ApiError::memory(&error).plain();
    }
    let tokens = request.sequence.tokens.len();
    let init =
        json!({ "text": text, "tokens": tokens, "steps": steps, "learningRate": learning_rate, "method": method });
    match state.engine.train(request) {
        Ok(progress) => {
            let (response, events) = events();
            tokio::spawn(tell(state.clone(), init, progress, events));
            response
        }
        Err(error) => ApiError::from(error).plain(),
    }
}

/// `POST /api/train/stop`: the training ends after its step, and what it has learnt is served.
pub fn stop(state: &State) -> Response<Body> {
    reply::json(StatusCode::OK, &json!({ "stopping": state.engine.training.stop() }))
}

/// `POST /api/train/reset`: what the server was started with is served again.
pub fn reset(state: &State) -> Response<Body> {
    if state.engine.training.is_taken() {
        return ApiError::training_runs().plain();
    }
    state.engine.served.publish(None);
    let (weights, adapter) = state.engine.served.digests(state.weights.get().copied());
    let [weights, adapter] = [weights, adapter].map(|digest| digest.as_ref().map(hex));
    reply::json(StatusCode::OK, &json!({ "trained": false, "weightsSha256": weights, "adapterSha256": adapter }))
}

/// Tokenizes and validates.
fn prepare(state: &State, settings: &Settings) -> Result<TrainRequest, String> {
    let opened = state.model.get().ok_or("the model is still loading")?;
    let tokens = opened.tokenizer.encode(&settings.text, bpe::Special::Parse);
    let sequence = text(tokens, opened.model.config().context).map_err(|error| error.to_string())?;
    let options = settings.options(sequence.tokens.len());
    let adapter = settings.adapter(opened.model.config()).map_err(|error| error.to_string())?;
    Ok(TrainRequest { sequence, steps: settings.steps, options, adapter })
}

/// Refuses a training for which there is too little memory, before it begins.
fn fits(state: &State, TrainRequest { sequence, options, adapter, .. }: &TrainRequest) -> Result<(), MemoryError> {
    let Some(opened) = state.model.get() else { return Ok(()) };
    let plan = Plan {
        tokens: sequence.tokens.len(),
        optimizer: options.optimizer,
        recompute: options.recompute,
        hold_gradients: false,
        adapter: adapter.as_ref(),
    };
    memory::require("this training", training_bytes(opened.model.config(), plan), vec!["a shorter text"])
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
        Ok((steps, reason)) => tracing::debug!(steps, reason, "train"),
        Err(Gone) => tracing::debug!("train: the client went away"),
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
                let mut data = proof(&finished);
                if let Some(receipt) = &finished.receipt {
                    state.receipts.tell(receipt, &mut data);
                }
                break (data, if whole { "completed" } else { "stopped" });
            }
            Some(TrainEvent::Stopped) => break (json!({}), "stopped"),
            Some(TrainEvent::Failed(error)) => error,
            None => ENDED.to_string(),
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
    json!({
        "step": report.step,
        "loss": report.loss,
        "lossBits": Bits32::from(report.loss),
        "gradNorm": report.grad_norm,
        "gradNormBits": Bits32::from(report.grad_norm),
        "learningRate": report.learning_rate,
        "tokens": report.tokens,
        "stepSha256": hex(&report.digest),
    })
}

fn proof(TrainFinished { transcript, .. }: &TrainFinished) -> Value {
    let learnt = hex(&transcript.trained);
    let base = hex(&transcript.base.weights);
    // Beside an adapter the weights stay as they were.
    let base_adapter = transcript.base.adapter.as_ref().map(hex);
    let (weights, adapter) = if base_adapter.is_some() { (base.clone(), Some(learnt)) } else { (learnt, None) };
    json!({
        "weightsSha256": weights,
        "adapterSha256": adapter,
        "baseWeightsSha256": base,
        "baseAdapterSha256": base_adapter,
        "dataSha256": hex(&transcript.data),
        "transcriptSha256": hex(&transcript.digest()),
    })
}
