//! Messages, and the keys and values of what was read of them.

use std::{error, fmt};

use bpe::Message;
use kernel::Exec;
use kernel::generate::{FinishReason, Generation, Request, Sampler};
use kernel::model::KvCache;
use serde_json::{Value, json};
use session::{Continuation, MessagesError, Stop, chat_prompt};

use crate::open::Opened;
use crate::run::{Timings, run};
use crate::{Failure, Outcome};

/// How answers are made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How tokens are chosen.
    pub sampler: Sampler,
    /// Where answers end, besides where the model ends them.
    pub stop: Stop,
    /// The most tokens of an answer, where there is a limit besides the context's.
    pub max_tokens: Option<usize>,
}

/// A conversation with a model.
///
/// What is read for an answer is what a fresh generation of the same messages would read; keys and values of the last one are
/// kept for as much of it as begins alike, which changes no bit (N11).
pub struct Conversation<'a> {
    opened: &'a Opened,
    tokenizer_config: Option<Vec<u8>>,
    settings: Settings,
    system: Option<String>,
    messages: Vec<Message>,
    /// The generation of the last answer.
    last: Option<Generation>,
}

/// An answer.
pub struct Answer<'a> {
    /// Its tokens.
    pub generation: &'a Generation,
    /// Its text.
    pub text: String,
    /// Why it ended; nothing if it was stopped.
    pub reason: Option<FinishReason>,
    /// How long it took.
    pub timings: Timings,
    /// How many tokens of its prompt were known from the answer before.
    pub cached: usize,
}

/// The conversation, with a new message, is as long as the context.
#[derive(Debug)]
pub struct FullError {
    tokens: usize,
    context: usize,
}

impl fmt::Display for FullError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, context } = self;
        write!(
            f,
            "with this message the conversation has {tokens} tokens, and the context of {context} has no room for an answer; \
             the message is left out: write a shorter one, or begin anew with /reset (/save FILE keeps what was said)"
        )
    }
}

impl error::Error for FullError {}

impl<'a> Conversation<'a> {
    /// Nothing is said yet.
    ///
    /// # Errors
    /// If the model has no chat template, or one that does not take messages.
    pub fn new(opened: &'a Opened, settings: Settings, system: Option<String>) -> Result<Conversation<'a>, Failure> {
        let tokenizer_config = opened.tokenizer_config()?;
        let conversation =
            Conversation { opened, tokenizer_config, settings, system, messages: Vec::new(), last: None };
        conversation.prompt("Hello")?;
        Ok(conversation)
    }

    /// Answers `message`: `on_piece` gets the text as it comes, and `stopped` is asked before each unit of work. An answer that
    /// is stopped before its first token is left out of the conversation, with the message.
    ///
    /// # Errors
    /// If there is no room for an answer, the template refuses the message, a logit is not finite, and those of `on_piece`; the
    /// conversation is as it was then.
    pub fn answer(
        &mut self,
        message: &str,
        exec: Exec<'_>,
        stopped: impl Fn() -> bool,
        mut on_piece: impl FnMut(&str) -> Outcome,
    ) -> Result<Answer<'_>, Failure> {
        let model = &self.opened.model;
        let prompt = self.prompt(message)?;
        let (tokens, context) = (prompt.len(), model.config().context);
        let room = context.saturating_sub(tokens);
        if room == 0 {
            return Err(FullError { tokens, context }.into());
        }
        let max_tokens = self.settings.max_tokens.map_or(room, |most| most.min(room));
        let known = self.known(&prompt);
        let sampler = self.settings.sampler.clone();
        let request = Request { prompt, max_tokens, ignore_eos: false, sampler, logprobs: None };
        let mut text = Continuation::new(model, request, self.settings.stop.clone())?;
        if let Some(cache) = known {
            text.generation_mut().begin_with(cache);
        }
        let (cached, mut whole) = (text.generation().cache().len(), String::new());
        let (reason, timings) = run(self.opened, exec, &mut text, stopped, |_, piece| {
            whole.push_str(piece);
            on_piece(piece)
        })?;
        if timings.predicted_n > 0 {
            self.messages.extend([said("user", message), said("assistant", &whole)]);
        }
        let generation = self.last.insert(text.into_generation());
        Ok(Answer { generation, text: whole, reason, timings, cached })
    }

    /// Forgets what was said; what the model is told before stays.
    pub fn reset(&mut self) {
        self.messages.clear();
    }

    /// Tells the model something else before the conversation, from its next answer on.
    pub fn tell(&mut self, system: Option<String>) {
        self.system = system;
    }

    /// The messages as JSON, as `generate --messages` takes them.
    pub fn to_json(&self) -> String {
        let turn = |message: Message| json!({ "role": message.role, "content": message.content });
        let messages: Vec<Value> = self.messages().map(turn).collect();
        format!("{:#}\n", json!({ "messages": messages }))
    }

    fn messages(&self) -> impl Iterator<Item = Message> {
        self.system.iter().map(|system| said("system", system)).chain(self.messages.iter().cloned())
    }

    /// The token ids of the conversation with a message more, and of the head of the answer to it.
    fn prompt(&self, message: &str) -> Result<Vec<u32>, MessagesError> {
        let messages: Vec<Message> = self.messages().chain([said("user", message)]).collect();
        chat_prompt(&self.opened.tokenizer, self.tokenizer_config.as_deref(), &messages)
    }

    /// The keys and values of as much of `prompt` as the last generation began with or gave.
    fn known(&mut self, prompt: &[u32]) -> Option<KvCache> {
        let last = self.last.take()?;
        let generated = last.steps().iter().map(|step| &step.token_id);
        let same = last.prompt().iter().chain(generated).zip(prompt).take_while(|(a, b)| a == b).count();
        let mut cache = last.into_cache();
        cache.truncate(same);
        Some(cache)
    }
}

fn said(role: &str, content: &str) -> Message {
    Message { role: role.to_string(), content: content.to_string() }
}
