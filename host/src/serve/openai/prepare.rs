//! From a request to the generations that answer it.

use std::sync::Arc;
use std::time::Instant;

use kernel::generate::{Logprobs, Request, Sampler, SamplerSettings};
use session::{Continuation, MessagesError, chat_prompt};

use super::choice::Choice;
use super::request::{Asked, Prompt, Source};
use super::shapes::Head;
use crate::open::Opened;
use crate::serve::api_error::ApiError;
use crate::serve::state::State;
use crate::serve::weights::Weights;

/// What is known of an answer before anything is computed.
pub struct Prepared {
    pub head: Head,
    /// Whether it is one in a conversation.
    pub chat: bool,
    pub stream: bool,
    pub include_usage: bool,
    /// What it is computed with.
    pub weights: Weights,
}

impl Prepared {
    /// What the log calls it.
    pub fn kind(&self) -> &'static str {
        if self.chat { "chat" } else { "completion" }
    }
}

/// Tokenizes and validates: the choices, and a generation for each.
///
/// # Errors
/// If there is no such model, or it cannot continue a prompt.
pub fn prepare(state: &State, asked: Asked) -> Result<(Prepared, Vec<Choice>, Vec<Continuation>), ApiError> {
    let start = Instant::now();
    let opened = state.model.get().ok_or_else(ApiError::loading)?;
    let Asked { model, source, n, stream, include_usage, max_tokens, settings, stop, logprobs, ignore_eos } = asked;
    let model = state.models.find(state, model.as_deref())?;
    let config = opened.model.config();
    let (chat, field, default) = (matches!(source, Source::Messages(_)), source.field(), source.default_tokens());
    let echo = matches!(source, Source::Prompts { echo: true, .. });
    let logprobs = logprobs.map(|top| Logprobs { top, prompt: echo });
    let seed = settings.seed;
    let (mut choices, mut texts) = (Vec::new(), Vec::new());
    for prompt in prompts(opened, source)? {
        // What nobody asked for is no more than there is room for.
        let room = config.context.saturating_sub(prompt.len()).max(1);
        let max_tokens = max_tokens.unwrap_or(default.min(room));
        for stream in 0..n as u32 {
            let sampler = Sampler::new(SamplerSettings { stream, ..settings.clone() })?;
            let prompt_ids = prompt.to_vec();
            let request = Request { prompt: prompt_ids, max_tokens, ignore_eos, sampler, logprobs };
            let text = Continuation::new(&opened.model, request, stop.clone());
            texts.push(text.map_err(|error| ApiError::prompt(field, error))?);
            choices.push(Choice::new(prompt.clone(), stream == 0, start, chat, logprobs.is_some()));
        }
    }
    if echo {
        for choice in &mut choices {
            choice.echo(&opened.tokenizer)?;
        }
    }
    // Known already, unless the server has just started.
    let base = *state.weights.get_or_init(|| opened.checkpoint.digest());
    let fingerprint = model.fingerprint(base, &opened.tokenizer_sha256);
    let head = Head::new(chat, stream, model.name, fingerprint, seed)?;
    Ok((Prepared { head, chat, stream, include_usage, weights: model.weights }, choices, texts))
}

/// The token ids of each prompt.
fn prompts(opened: &Opened, source: Source) -> Result<Vec<Arc<[u32]>>, ApiError> {
    match source {
        Source::Prompts { prompts, special, .. } => {
            let ids = |prompt| match prompt {
                Prompt::Text(text) => opened.tokenizer.encode(&text, special).into(),
                Prompt::Ids(ids) => ids.into(),
            };
            Ok(prompts.into_iter().map(ids).collect())
        }
        Source::Messages(messages) => {
            let config = opened.tokenizer_config().map_err(ApiError::internal)?;
            let ids = chat_prompt(&opened.tokenizer, config.as_deref(), &messages);
            Ok(vec![ids.map_err(refused)?.into()])
        }
    }
}

fn refused(error: MessagesError) -> ApiError {
    ApiError::invalid("messages", error)
}
