//! An answer that is sent as it is made.

use std::sync::Arc;

use hyper::Response;
use serde::Serialize;

use super::choice::{Choices, Heard};
use super::prepare::Prepared;
use super::shapes::{Answer, ChoiceShape, Said};
use crate::serve::reply::Body;
use crate::serve::state::State;
use crate::serve::stream::{Events, Gone, events};

/// Answers with chunks, as `data:` lines.
pub fn answer(state: Arc<State>, prepared: Prepared, choices: Choices) -> Response<Body> {
    let (response, events) = events();
    tokio::spawn(tell(state, prepared, choices, events));
    response
}

/// Tells a client of its choices until they end, the client goes, or the server is asked to end.
///
/// When this returns, the choices are dropped, and the engine drops their generations.
async fn tell(state: Arc<State>, prepared: Prepared, mut choices: Choices, events: Events) {
    let told = tokio::select! {
        biased;
        gone = events.gone() => Err(gone),
        told = follow(&state, &prepared, &mut choices, &events) => told,
    };
    let (choices, tokens) = (choices.len(), choices.usage().completion_tokens);
    match told {
        Ok(()) => tracing::debug!(choices, tokens, "{}", prepared.kind()),
        Err(Gone) => tracing::debug!(choices, tokens, "{}: the client went away", prepared.kind()),
    }
}

async fn follow(state: &State, prepared: &Prepared, choices: &mut Choices, events: &Events) -> Result<(), Gone> {
    let Prepared { head, chat, include_usage, .. } = prepared;
    let chunk = |shape: ChoiceShape| {
        let usage = include_usage.then_some(None);
        line(&Answer { head, choices: vec![shape], usage })
    };
    if *chat {
        for index in 0..choices.len() {
            let said = Said::role();
            let shape = ChoiceShape { index, said, logprobs: None, finish_reason: None, proof: None };
            events.data(&chunk(shape)).await?;
        }
    }
    loop {
        let shape = match choices.hear(state).await {
            Ok(None) => break,
            Ok(Some((_, Heard::Nothing))) => continue,
            // The last token may add nothing, and so may one that ends within a character.
            Ok(Some((_, Heard::Piece(text, None)))) if text.is_empty() => continue,
            Ok(Some((index, Heard::Piece(text, logprobs)))) => {
                let said = Said::piece(*chat, text);
                ChoiceShape { index, said, logprobs, finish_reason: None, proof: None }
            }
            Ok(Some((index, Heard::End(reason, proof)))) => {
                let said = Said::end(*chat);
                ChoiceShape { index, said, logprobs: None, finish_reason: Some(reason), proof: Some(proof) }
            }
            Err(error) => {
                error.log(prepared.kind());
                return events.data(&line(&error.object())).await;
            }
        };
        events.data(&chunk(shape)).await?;
    }
    if *include_usage {
        let usage = Some(Some(choices.usage()));
        events.data(&line(&Answer { head, choices: vec![], usage })).await?;
    }
    events.data("[DONE]").await
}

/// One line of JSON.
fn line(value: &impl Serialize) -> String {
    // The shapes have no maps whose keys are no strings.
    serde_json::to_string(value).unwrap_or_default()
}
