//! An answer that is sent when it is whole.
//!
//! When the client goes, hyper drops the future of its answer, and with it the choices: the engine stops.

use hyper::{Response, StatusCode};

use super::choice::{Choices, Heard};
use super::logprobs::Logprobs;
use super::prepare::Prepared;
use super::shapes::{Answer, ChoiceShape, Said};
use crate::serve::api_error::ApiError;
use crate::serve::reply::{self, Body};
use crate::serve::state::State;

/// Waits for all choices.
pub async fn answer(state: &State, prepared: Prepared, mut choices: Choices) -> Response<Body> {
    match collect(state, &prepared, &mut choices).await {
        Ok(shapes) => {
            let usage = choices.usage();
            tracing::debug!(choices = shapes.len(), tokens = usage.completion_tokens, "{}", prepared.kind());
            let answer = Answer { head: &prepared.head, choices: shapes, usage: Some(Some(usage)) };
            reply::json(StatusCode::OK, &answer)
        }
        Err(error) => {
            error.log(prepared.kind());
            error.response()
        }
    }
}

async fn collect(state: &State, prepared: &Prepared, choices: &mut Choices) -> Result<Vec<ChoiceShape>, ApiError> {
    let mut all: Vec<_> = (0..choices.len()).map(|_| (String::new(), None::<Logprobs>, None)).collect();
    while let Some((index, heard)) = choices.hear(state).await? {
        let (text, logprobs, end) = &mut all[index];
        match heard {
            Heard::Nothing => {}
            Heard::Piece(piece, told) => {
                text.push_str(&piece);
                match (logprobs, told) {
                    (Some(all), Some(more)) => all.join(more),
                    (logprobs, Some(told)) => *logprobs = Some(told),
                    (_, None) => {}
                }
            }
            Heard::End(reason, proof) => *end = Some((reason, proof)),
        }
    }
    let shape = |(index, (text, logprobs, end)): (usize, (String, Option<Logprobs>, Option<_>))| {
        let (finish_reason, proof) = end.unzip();
        ChoiceShape { index, said: Said::whole(prepared.chat, text), logprobs, finish_reason, proof }
    };
    Ok(all.into_iter().enumerate().map(shape).collect())
}
