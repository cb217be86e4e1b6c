//! The targets, one in each file.

mod bpe;
mod chat;
mod gguf;
mod http;
mod receipt;
mod safetensors;
mod tokenizer;
mod vocabulary;

use crate::{Seen, Target};

/// All targets.
pub const ALL: [Target; 7] =
    [safetensors::TARGET, gguf::TARGET, tokenizer::TARGET, bpe::TARGET, chat::TARGET, receipt::TARGET, http::TARGET];

/// The target of that name.
pub fn named(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}

/// Runs the target of that name with an input, for drivers that make the inputs themselves.
///
/// # Panics
/// If there is no such target, or its oracle is not content.
pub fn once(name: &str, input: &[u8]) {
    let target = named(name).expect("one of the targets");
    (target.run)(input, &mut Seen::new(target.outcomes));
}
