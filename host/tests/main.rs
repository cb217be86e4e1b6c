//! Tests of the `lockstep` binary with the real model.

mod command;
mod commands;
mod files;
mod guard;
mod lifetime;
mod model;
mod numerics;
mod server;
mod stream;
