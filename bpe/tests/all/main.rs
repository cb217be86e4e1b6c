//! All tests of the crate against the reference and against a naive oracle; one binary, so that it links once.

mod chat;
mod code_points;
mod definition;
mod folder;
mod naive;
mod properties;
mod reference;
