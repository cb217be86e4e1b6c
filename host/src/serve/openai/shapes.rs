//! The JSON of answers.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use session::receipt::Hex;

use super::logprobs::Logprobs;
use crate::run::Timings;
use crate::serve::api_error::ApiError;

/// What an answer, or every chunk of it, begins with.
#[derive(Serialize)]
pub struct Head {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    system_fingerprint: String,
    /// The seed that was used, given or not.
    seed: u64,
}

impl Head {
    /// A new one, under an id that cannot be guessed.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn new(
        chat: bool,
        stream: bool,
        model: String,
        system_fingerprint: String,
        seed: u64,
    ) -> Result<Head, ApiError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| ApiError::internal(format_args!("the system gives no random numbers: {error}")))?;
        let (prefix, object) = match (chat, stream) {
            (false, _) => ("cmpl", "text_completion"),
            (true, false) => ("chatcmpl", "chat.completion"),
            (true, true) => ("chatcmpl", "chat.completion.chunk"),
        };
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let id = format!("{prefix}-{}", Hex(random).digits());
        Ok(Head { id, object, created, model, system_fingerprint, seed })
    }
}

/// An answer, or a chunk of one.
#[derive(Serialize)]
pub struct Answer<'a> {
    #[serde(flatten)]
    pub head: &'a Head,
    pub choices: Vec<ChoiceShape>,
    /// Null in the chunks before the one that tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
}

/// A choice, or a piece of one.
#[derive(Serialize)]
pub struct ChoiceShape {
    pub index: usize,
    #[serde(flatten)]
    pub said: Said,
    pub logprobs: Option<Logprobs>,
    pub finish_reason: Option<&'static str>,
    #[serde(flatten)]
    pub proof: Option<Proof>,
}

/// What is said, under the name of its kind.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    Text(String),
    Message(Message),
    Delta(Delta),
}

#[derive(Serialize)]
pub struct Message {
    role: &'static str,
    content: String,
    refusal: Option<()>,
}

#[derive(Serialize, Default)]
pub struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

/// What a choice can be verified by, and how long it took.
#[derive(Serialize)]
pub struct Proof {
    /// Where its receipt is: `/v1/receipts/{id}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt_id: Option<String>,
    pub transcript_sha256: String,
    pub timings: Timings,
}

/// How many tokens there were.
#[derive(Serialize, Default)]
pub struct Usage {
    /// Of the prompts, each counted once.
    pub prompt_tokens: usize,
    /// Generated, in all choices.
    pub completion_tokens: usize,
    pub total_tokens: usize,
    pub prompt_tokens_details: PromptDetails,
}

#[derive(Serialize, Default)]
pub struct PromptDetails {
    /// Tokens of prompts that were known from texts before.
    pub cached_tokens: usize,
}

impl Said {
    /// A whole text.
    pub fn whole(chat: bool, text: String) -> Said {
        match chat {
            false => Said::Text(text),
            true => Said::Message(Message { role: "assistant", content: text, refusal: None }),
        }
    }

    /// A piece of a text.
    pub fn piece(chat: bool, text: String) -> Said {
        match chat {
            false => Said::Text(text),
            true => Said::Delta(Delta { role: None, content: Some(text) }),
        }
    }

    /// What stands in the chunk that tells why the text has ended.
    pub fn end(chat: bool) -> Said {
        if chat { Said::Delta(Delta::default()) } else { Said::Text(String::new()) }
    }

    /// The beginning of an answer in a conversation.
    pub fn role() -> Said {
        Said::Delta(Delta { role: Some("assistant"), content: Some(String::new()) })
    }
}
