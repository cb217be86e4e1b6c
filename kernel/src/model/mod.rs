//! Models of the Llama family: their shape, their weights, their key/value cache, and the stack itself.

mod adapter;
mod backward;
mod cache;
mod config;
mod gradients;
mod head;
mod llama;
mod params;
mod tape;
mod tensor;
mod trace;

pub use adapter::{LORA_TARGETS, LoraConfig, LoraError};
pub use cache::KvCache;
pub use config::{Config, ConfigError, Field};
pub use gradients::{BackwardOptions, Gradients, Ready, Sequence};
pub use head::HEAD_ROWS;
pub use llama::{ForwardError, Logits, Model, Reading, Workspace};
pub(crate) use params::load_one;
pub use params::{LoadError, Parameter, parameters};
pub use tape::Tape;
pub use tensor::{DType, RawTensor, SharedBytes, Tensor};
pub use trace::{Place, Traced};
