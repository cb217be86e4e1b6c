//! Tests of the `lockstep` binary with the real model.
#![allow(clippy::unwrap_used)] // As in any test; clippy does not take these helpers for tests.

mod adapters;
mod aggregate;
mod batch;
mod command;
mod commands;
mod diff;
mod doors;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod environment;
mod federated;
mod files;
mod guard;
mod invariance;
mod lifetime;
mod memory;
mod mixes;
mod model;
mod numerics;
mod receipts;
mod resume;
mod scores;
mod server;
mod stream;
mod tiny;
mod train_route;
mod training;
mod vectors;
