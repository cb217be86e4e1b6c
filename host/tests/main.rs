//! Tests of the `lockstep` binary with the real model.
#![allow(clippy::unwrap_used)] // As in any test; clippy does not take these helpers for tests.

mod adapters;
mod aggregate;
mod batch;
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
mod files;
mod guard;
mod invariance;
mod lifetime;
mod memory;
mod model;
mod numerics;
mod receipts;
mod resume;
mod scores;
mod server;
mod stream;
#[cfg(target_os = "linux")]
mod terminal;
mod tiny;
mod train_route;
mod training;
