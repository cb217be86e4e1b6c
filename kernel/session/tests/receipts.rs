//! Receipts of a tiny model: what is issued, what is verified, what is refused. The vectors in `docs/vectors/receipts` are read here.

#![allow(clippy::unwrap_used, reason = "a test that unwraps nothing fails, as it should")]

#[path = "receipts/changes.rs"]
mod changes;
#[path = "receipts/model.rs"]
mod model;
#[path = "receipts/rounds.rs"]
mod rounds;
#[path = "receipts/vectors.rs"]
mod vectors;
