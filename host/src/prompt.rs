//! What the command line says a prompt is, as token ids.

use std::io::{self, Read};
use std::path::Path;

use session::{chat_prompt, read_messages};

use crate::open::Opened;
use crate::{Failure, cli};

/// The prompt as token ids.
///
/// # Errors
/// If it is a conversation and the file cannot be read, is none, or the model has no template for it.
pub fn prompt_ids(prompt: &cli::Prompt, opened: &Opened) -> Result<Vec<u32>, Failure> {
    let cli::PromptSource { prompt: text, prompt_ids, messages } = &prompt.source;
    match (prompt_ids, messages) {
        (Some(ids), _) => Ok(ids.clone()),
        (None, Some(file)) => messages_ids(file, opened),
        (None, None) => Ok(opened.tokenizer.encode(text.as_deref().unwrap_or_default(), prompt.special.mode())),
    }
}

/// The token ids of the conversation in a file of JSON, and of the head of the answer to it.
///
/// # Errors
/// If the file cannot be read, is no conversation, or the model has no template for it.
pub fn messages_ids(file: &Path, opened: &Opened) -> Result<Vec<u32>, Failure> {
    let mut json = Vec::new();
    let read = match file.to_str() {
        Some("-") => io::stdin().lock().read_to_end(&mut json).map(|_| ()),
        _ => std::fs::read(file).map(|bytes| json = bytes),
    };
    let wrong = |error: &dyn std::fmt::Display| Failure::from(format!("--messages {}: {error}", file.display()));
    read.map_err(|error| wrong(&error))?;
    let config = opened.tokenizer_config()?;
    let messages = read_messages(&json).map_err(|error| wrong(&error))?;
    chat_prompt(&opened.tokenizer, config.as_deref(), &messages).map_err(|error| wrong(&error))
}
