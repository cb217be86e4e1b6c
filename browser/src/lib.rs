//! The kernel, tokenizer and loader as a WebAssembly engine, and the page that shows it.
//!
//! * [`assembly`] takes the model's files as they stream in, checks every byte and hands over a checkpoint;
//!
//! The page, its worker and the JavaScript face of the engine are in `page/`.

#![forbid(unsafe_code)]

pub mod assembly;
mod incoming;
