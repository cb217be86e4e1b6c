//! The targets, one in each file.

mod bpe;
mod chat;
mod gguf;
mod http;
mod receipt;
mod safetensors;
mod tokenizer;
mod vocabulary;

use crate::Target;

/// All targets.
pub const ALL: [Target; 7] =
    [safetensors::TARGET, gguf::TARGET, tokenizer::TARGET, bpe::TARGET, chat::TARGET, receipt::TARGET, http::TARGET];

/// The target of that name.
pub fn named(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}
