//! Tests of the `lockstep` binary with the real model.
#![allow(clippy::unwrap_used)] // As in any test; clippy does not take these helpers for tests.

mod access;
mod adapters;
mod aggregate;
mod batch;
mod broken_clients;
mod chat;
mod command;
mod commands;
mod config;
mod diff;
mod doctor;
mod doors;
#[cfg(unix)]
mod ending;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod environment;
mod faults;
mod federated;
mod files;
mod guard;
mod invariance;
mod lifetime;
mod memory;
mod mixes;
mod model;
mod numerics;
mod observability;
mod openai;
mod place;
mod receipts;
mod resume;
mod scores;
mod server;
mod soak;
mod stream;
#[cfg(target_os = "linux")]
mod terminal;
mod tiny;
mod train_route;
mod training;
mod vectors;
