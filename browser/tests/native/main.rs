//! The parts of the browser engine that need no browser.

mod assembly;
mod engine;
