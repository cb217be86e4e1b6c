//! The kernel against its contract, bit for bit, and against the truth, within bounds.

#![allow(clippy::unwrap_used, reason = "a test that unwraps nothing fails, as it should")]

mod adapters;
mod batch;
mod config;
mod differences;
mod gradients;
mod inputs;
mod invariance;
mod logprobs;
mod ops;
mod replay;
mod resume;
mod sampling;
mod score;
mod sequences;
mod spec;
mod teeth;
mod training;
mod truth;
mod vectors;
