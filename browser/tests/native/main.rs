//! The parts of the browser engine that need no browser.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod aggregating;
mod assembly;
mod engine;
mod training;
mod verifying;
