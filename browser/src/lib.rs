//! The kernel, tokenizer and loader as a WebAssembly engine, and the page that shows it.
//!
//! * [`assembly`] takes a model's files as they stream in, checks every byte and hands over a checkpoint;
//! * [`engine`] generates with it, [`training`] trains it, [`aggregating`] makes one adapter of several, and [`verifying`] computes
//!   again what a receipt tells;
//! * `binding` is the thin layer that JavaScript calls.
//!
//! `page/` holds the rest: `worker.js` owns the WebAssembly module, `engine.js` (with `engine.d.ts`) is the public face for
//! any page, and `page.js` is our own.

#![forbid(unsafe_code)]

pub mod aggregating;
pub mod assembly;
mod binding;
pub mod engine;
mod incoming;
pub mod training;
pub mod verifying;
