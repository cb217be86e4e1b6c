//! Byte-level BPE tokenizer, equal to Hugging Face tokenizers on every text.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod added;
mod alphabet;
#[cfg(feature = "chat")]
mod chat;
mod classes;
mod definition;
mod error;
mod merge;
mod pieces;
mod stream;
mod tokenizer;

#[cfg(feature = "chat")]
pub use chat::{ChatError, ChatTemplate, Message};
pub use error::{TokenizerError, UnknownToken};
pub use stream::StreamDecoder;
pub use tokenizer::{Special, Tokenizer};
