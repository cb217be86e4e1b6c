//! All tests of the crate against the reference and against a naive oracle; one binary, so that it links once.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod chat;
mod code_points;
mod definition;
mod families;
mod folder;
mod naive;
mod properties;
mod reference;
