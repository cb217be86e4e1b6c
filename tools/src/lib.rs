//! Fetches the model, builds the browser bundle, starts the server, runs every test.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod check;
pub mod fetch;
pub mod file;
pub mod measure;
mod metadata;
pub mod npm;
pub mod packages;
mod parts;
pub mod process;
pub mod python;
pub mod release;
mod results;
pub mod served;
pub mod site;
pub mod soak;
pub mod start;
pub mod test;
pub mod workspace;
