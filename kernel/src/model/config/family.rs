//! Families of models: in what those that are supported differ, and why others are refused.

use super::ConfigError;
use super::fields::{Field, describe, flag, require_text};

/// Which linear layers have biases.
pub(super) struct Family {
    pub attention_bias: bool,
    pub attention_output_bias: bool,
    pub mlp_bias: bool,
}

const SUPPORTED: &str = "\"llama\", \"qwen2\"";

/// What is not computed for some families that people try.
const OTHERS: [(&str, &str); 16] = [
    ("qwen3", "it normalises the queries and keys of each head"),
    ("qwen2_moe", "its layers choose among experts"),
    ("qwen3_moe", "its layers choose among experts"),
    ("mixtral", "its layers choose among experts"),
    ("mistral", "its attention sees a window only"),
    ("gemma", "its embeddings are scaled, its norms add 1 to their weights, and its activation is another"),
    ("gemma2", "its embeddings are scaled, its norms add 1 to their weights, and its activation is another"),
    ("gemma3_text", "its embeddings are scaled, its norms add 1 to their weights, and its activation is another"),
    ("phi3", "its projections are fused into one matrix"),
    ("smollm3", "some of its layers have no rotary embedding"),
    ("olmo2", "its norms are elsewhere"),
    ("granite", "its embeddings, residuals and logits are scaled"),
    ("cohere", "its norms subtract the mean, and its blocks are side by side"),
    ("gpt2", "its positions are learnt, and its norms subtract the mean"),
    ("gpt_neox", "its norms subtract the mean, and its blocks are side by side"),
    ("deepseek_v3", "its keys and values are compressed, and its layers choose among experts"),
];

/// Settings that are refused unless they have no effect: the key, what it may be, and why nothing else.
const SETTINGS: [(&str, Harmless, &str); 12] = [
    ("quantization_config", Harmless::Nothing, "none (weights in BF16, F16 or F32)"),
    ("rope_interleaved", Harmless::False, "false (the half-split layout)"),
    ("partial_rotary_factor", Harmless::One, "1 (all of a head is rotated)"),
    ("rope_parameters.partial_rotary_factor", Harmless::One, "1 (all of a head is rotated)"),
    ("use_sliding_window", Harmless::False, "false (each token sees all before it)"),
    ("layer_types", Harmless::Full, "\"full_attention\" for every layer (each token sees all before it)"),
    ("num_experts", Harmless::One, "none (layers that choose among experts are not computed)"),
    ("num_local_experts", Harmless::One, "none (layers that choose among experts are not computed)"),
    ("n_routed_experts", Harmless::One, "none (layers that choose among experts are not computed)"),
    ("qk_norm", Harmless::False, "false (queries and keys are not normalised)"),
    ("use_qk_norm", Harmless::False, "false (queries and keys are not normalised)"),
    ("qk_layernorm", Harmless::False, "false (queries and keys are not normalised)"),
];

/// The values of a setting that change nothing, besides its absence.
enum Harmless {
    Nothing,
    False,
    One,
    Full,
}

impl Harmless {
    fn includes(&self, field: &Field<'_>) -> bool {
        match (self, field) {
            (_, Field::Absent) => true,
            (Harmless::False, Field::Bool(value)) => !value,
            (Harmless::One, Field::Number(value)) => *value == 1.0,
            (Harmless::Full, Field::Texts(types)) => types.iter().all(|kind| *kind == "full_attention"),
            _ => false,
        }
    }
}

/// The biases that the model's family has; what is not computed is refused.
pub(super) fn read<'a>(lookup: &impl Fn(&str) -> Field<'a>) -> Result<Family, ConfigError> {
    let model_type = lookup("model_type");
    let family = match &model_type {
        Field::Text("llama") => {
            // The model knows no window; a file that names one is of something else.
            refuse_unless(lookup, "sliding_window", Harmless::Nothing, "none (each token sees all before it)")?;
            let attention_bias = flag(lookup, "attention_bias", false)?;
            let mlp_bias = flag(lookup, "mlp_bias", false)?;
            Family { attention_bias, attention_output_bias: attention_bias, mlp_bias }
        }
        Field::Text("qwen2") => {
            const OWN: &str = "none (the biases of \"qwen2\" are those of queries, keys and values)";
            refuse_unless(lookup, "attention_bias", Harmless::Nothing, OWN)?;
            refuse_unless(lookup, "mlp_bias", Harmless::False, "false (\"qwen2\" has no such biases)")?;
            Family { attention_bias: true, attention_output_bias: false, mlp_bias: false }
        }
        Field::Absent => return Err(ConfigError::Missing { key: "model_type" }),
        other => {
            let known = OTHERS.iter().find(|(name, _)| *other == Field::Text(name));
            let reason = known.map_or("this program does not know what it computes", |(_, reason)| reason);
            return Err(ConfigError::Family { found: describe(other), reason, supported: SUPPORTED });
        }
    };
    if lookup("hidden_act") != Field::Absent {
        require_text(lookup, "hidden_act", "silu")?;
    }
    for (key, harmless, supported) in SETTINGS {
        refuse_unless(lookup, key, harmless, supported)?;
    }
    Ok(family)
}

fn refuse_unless<'a>(
    lookup: &impl Fn(&str) -> Field<'a>,
    key: &'static str,
    harmless: Harmless,
    supported: &'static str,
) -> Result<(), ConfigError> {
    match lookup(key) {
        field if harmless.includes(&field) => Ok(()),
        other => Err(ConfigError::Unsupported { key, found: describe(&other), supported }),
    }
}
