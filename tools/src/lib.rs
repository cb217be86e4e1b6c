//! Fetches the model, builds the browser bundle, starts the server, runs every test.
#![forbid(unsafe_code)]

pub mod fetch;
