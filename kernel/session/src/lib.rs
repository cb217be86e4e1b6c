//! What the native program and the browser both do with a model: written once, so that the two cannot drift apart.
//!
//! The kernel computes, the tokenizer knows texts, the loader knows files, and none of them knows the others. Here they
//! meet: [`model`] binds the tensors of a checkpoint to the parameters of a model, [`Continuation`] generates tokens with their
//! text, which may end at [`Stop`] strings, [`chat_prompt`] turns conversations into prompts, [`data`] turns texts and
//! conversations into what a training learns from, [`tensors`] gives trained weights their digests, [`adapter`] reads and writes
//! low-rank adapters, [`aggregate`] makes one of several, [`memory`] says what a training needs, and [`receipt`] says what a
//! result was, so that anyone can compute it again.
//!
//! The crate opens no files and no sockets: it takes bytes.

#![forbid(unsafe_code)]

pub mod adapter;
pub mod aggregate;
mod batches;
mod chat;
mod continuation;
pub mod data;
pub mod memory;
mod open;
pub mod receipt;
mod stop;
pub mod tensors;
mod text;

pub use batches::Batches;
pub use chat::{MessagesError, chat_prompt, read_messages};
pub use continuation::{Continuation, ContinueError, Progress};
pub use open::{ModelError, config, model, tensor};
pub use stop::{MAX_STOP_BYTES, MAX_STOPS, Stop, StopError};
pub use text::TextStream;
