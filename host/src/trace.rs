//! What every operator of the stack gives for a prompt, and the names under which it stands in a file.

use kernel::Exec;
use kernel::model::{Config, KvCache, Logits, Model, Traced, Workspace};

use crate::{Failure, memory};

/// The key under which a file of values tells the token ids that they were computed from: `1,2,3`.
pub const IDS: &str = "token_ids";

/// Computes a prompt at once and returns what every operator gave, in the order of the computation. `copies` is how often it is
/// held in memory.
///
/// # Errors
/// If the prompt is empty, unknown to the model or too long, or there is too little memory.
pub fn trace(model: &Model, exec: Exec<'_>, ids: &[u32], copies: u64) -> Result<Vec<Traced>, Failure> {
    let bytes = copies * ids.len() as u64 * bytes_of_a_position(model.config());
    memory::require("what every operator gives", bytes, vec!["a shorter prompt"])?;
    let mut workspace = Workspace::tracing();
    model.forward(exec, &mut KvCache::new(model.config()), ids, Logits::All, &mut workspace)?;
    Ok(workspace.take_trace())
}

/// What the places of one position take, as binary32.
fn bytes_of_a_position(config: &Config) -> u64 {
    let Config { dim, hidden, layers, vocab, .. } = *config;
    let layer = 6 * dim + 3 * config.q_dim() + 3 * config.kv_dim() + 3 * hidden;
    (size_of::<f32>() * (2 * dim + layers * layer + vocab)) as u64
}
