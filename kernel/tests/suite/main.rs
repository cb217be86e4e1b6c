//! The kernel against its contract, bit for bit, and against the truth, within bounds.

mod config;
mod inputs;
mod invariance;
mod ops;
mod spec;
mod teeth;
mod truth;
