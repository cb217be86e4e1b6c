//! What a training needs, before it begins.

use kernel::model::{Config, HEAD_ROWS, LoraConfig, Model, Parameter, parameters};
use kernel::ops::waiting_sums;
use kernel::train::Optimizer;

/// Where memory is scarce, texts of up to so many tokens keep their activations, and those of longer ones are computed again,
/// which gives the same bits.
pub const KEPT_TOKENS: usize = 128;
/// Room for what is small: one layer's buffers, attention scores, the allocator's gaps.
const SLACK: u64 = 64 << 20;

/// A training, as far as its memory depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Tokens of the longest sequence.
    pub tokens: usize,
    /// What changes the weights, and remembers something of each.
    pub optimizer: Optimizer,
    /// Whether activations are computed again instead of kept.
    pub recompute: bool,
    /// Whether all gradients are held until the end of a step: for clipping, for several sequences in a step.
    pub hold_gradients: bool,
    /// The adapter that is trained while the weights stay as they are; none if all weights are trained.
    pub adapter: Option<&'a LoraConfig>,
}

/// Bytes that a training takes beside the loaded model, about and not less.
///
/// That is what is trained (all weights, or those of the adapter) in binary32, what the optimiser remembers of each, and
/// gradients: all of them where they are held, otherwise the embedding's, which is final last, and those of one layer. Plain
/// gradient descent stores none of a matrix, but those of a head whose logits are too many for the memory of one time.
pub fn training_bytes(config: &Config, plan: Plan<'_>) -> u64 {
    let weights = match plan.adapter {
        Some(adapter) => table_bytes(&adapter.parameters(config)),
        None => weight_bytes(config),
    };
    let head = match plan.adapter {
        Some(_) => 0,
        None => 4 * (config.vocab as u64) * (config.dim as u64) * if config.tied { 1 } else { 2 },
    };
    let few = head + weights.saturating_sub(head) / (config.layers.max(1) as u64);
    let gradients = match plan.optimizer {
        _ if plan.hold_gradients => weights,
        // The last token predicts nothing.
        Optimizer::Sgd { momentum: 0.0 } if plan.tokens <= HEAD_ROWS + 1 => sums_bytes(config, plan.tokens),
        Optimizer::Sgd { momentum: 0.0 } => head,
        _ => few,
    };
    let memory = match plan.optimizer {
        Optimizer::Sgd { momentum: 0.0 } => 0,
        Optimizer::Sgd { .. } => weights,
        Optimizer::AdamW { .. } => 2 * weights,
    };
    weights + gradients + memory + activation_bytes(config, plan.tokens, plan.recompute) + SLACK
}

/// Bytes that the gradients of what can be trained, all weights or those of the adapter, take beside the loaded model, about
/// and not less; `trained` if that is binary32 of the model's own already, which is copied.
pub fn gradients_bytes(model: &Model, tokens: usize, recompute: bool, trained: bool) -> u64 {
    let copies = if trained { 2 } else { 1 };
    copies * table_bytes(&model.trainable()) + activation_bytes(model.config(), tokens, recompute) + SLACK
}

/// Bytes of the sums that wait while a step goes down the largest matrix. The last token predicts nothing, so the head sees one less.
fn sums_bytes(config: &Config, tokens: usize) -> u64 {
    let sums = |parameter: &Parameter| match parameter.shape[..] {
        [rows, cols] => [tokens, tokens.saturating_sub(1)].map(|tokens| waiting_sums(rows, cols, tokens)),
        _ => [0; 2],
    };
    4 * parameters(config).iter().flat_map(sums).max().unwrap_or(0) as u64
}

/// Bytes of all weights in binary32.
fn weight_bytes(config: &Config) -> u64 {
    table_bytes(&parameters(config))
}

/// Bytes of the values of a table in binary32.
fn table_bytes(table: &[Parameter]) -> u64 {
    table.iter().map(|parameter| 4 * parameter.shape.iter().map(|axis| *axis as u64).product::<u64>()).sum()
}

/// Bytes of what the backward pass keeps of the forward pass, and of the logits that it holds.
fn activation_bytes(config: &Config, tokens: usize, recompute: bool) -> u64 {
    let (dim, hidden, layers) = (config.dim as u64, config.hidden as u64, config.layers as u64);
    let (q, kv) = (config.q_dim() as u64, config.kv_dim() as u64);
    let layer = 2 * dim + 2 * q + 2 * kv + 2 * hidden;
    // A layer's buffers and their gradients are there three times at most while it is computed.
    let kept = if recompute { layers * dim + 3 * layer } else { (layers + 3) * layer };
    // The backward pass of attention holds two values for each pair of positions, of the heads that share a key at a time.
    let logits = tokens.min(HEAD_ROWS) as u64 * config.vocab as u64;
    let (tokens, group) = (tokens as u64, (config.heads / config.kv_heads.max(1)) as u64);
    4 * (tokens * (kept + 2 * group * tokens) + logits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_a_few_tokens_wait() {
        // Of the head: 768 blocks of 64 rows. Seventeen tokens are sixteen there.
        let head = |tokens: u64| 4 * 768 * 576 * tokens;
        assert_eq!([11, 16, 17, 18].map(|tokens| sums_bytes(&config(), tokens)), [head(11), head(16), head(16), 0]);
    }

    /// SmolLM2-135M.
    fn config() -> Config {
        Config {
            vocab: 49152,
            dim: 576,
            hidden: 1536,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            context: 8192,
            rope_theta: 1e5,
            rope_scaling: None,
            rms_norm_eps: 1e-5,
            tied: true,
            attention_bias: false,
            attention_output_bias: false,
            mlp_bias: false,
            eos: vec![],
        }
    }

    const BASE: u64 = 269_060_552;
    const SGD: Optimizer = Optimizer::Sgd { momentum: 0.0 };
    const ADAMW: Optimizer = Optimizer::adamw(0.0);

    fn bytes(tokens: usize, optimizer: Optimizer, recompute: bool, hold_gradients: bool) -> u64 {
        BASE + training_bytes(&config(), Plan { tokens, optimizer, recompute, hold_gradients, adapter: None })
    }

    #[test]
    fn an_adapter_needs_little() {
        let config = config();
        let adapter = LoraConfig::new(&config, 8, 16.0, &["q_proj", "v_proj"]).unwrap();
        let plan =
            Plan { tokens: 128, optimizer: ADAMW, recompute: false, hold_gradients: true, adapter: Some(&adapter) };
        let activations = activation_bytes(&config, 128, false);
        // 460,800 values, four times: themselves, their gradients, and both moments.
        assert_eq!(training_bytes(&config, plan), 4 * 4 * 460_800 + activations + SLACK);
        assert!(BASE + training_bytes(&config, plan) < 600_000_000);
    }

    #[test]
    fn estimates_of_135_million_parameters() {
        assert_eq!(weight_bytes(&config()), 538_060_032);
        let sgd = bytes(128, SGD, false, false);
        assert!((950_000_000..1_050_000_000).contains(&sgd), "{sgd}");
        let adamw = bytes(128, ADAMW, false, false);
        assert!((2_000_000_000..2_300_000_000).contains(&adamw), "{adamw}");
        // Longer texts are computed again rather than kept.
        let long = bytes(1024, SGD, true, false);
        assert!(long < 1_250_000_000, "{long}");
        // All gradients instead of none; of momentum, instead of the embedding's and a layer's.
        assert_eq!(bytes(128, SGD, false, true) - sgd, 538_060_032);
        let (embedding, momentum) = (4 * 49152 * 576, Optimizer::Sgd { momentum: 0.9 });
        let held = bytes(128, momentum, false, true) - bytes(128, momentum, false, false);
        assert_eq!(held, 538_060_032 - embedding - (538_060_032 - embedding) / 30);
        // The head's, where the logits of a text are more than are in memory at a time; one token more is 0.8 MB.
        let (whole, more) = (bytes(HEAD_ROWS + 1, SGD, false, false), bytes(HEAD_ROWS + 2, SGD, false, false));
        assert!((embedding..embedding + 1_000_000).contains(&(more - whole)), "{whole} {more}");
    }
}
