//! What lies between the operators of a step, for whoever looks for the first difference between two machines.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// A place between two operators. Their order is that of the computation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// The rows of the tokens.
    Embedding,
    /// The input of the attention, normalised.
    InputNorm,
    /// Queries, not rotated yet.
    Query,
    /// Keys, not rotated yet.
    Key,
    /// Values.
    Value,
    /// Rotated queries.
    RotatedQuery,
    /// Rotated keys.
    RotatedKey,
    /// What the heads took from the values, side by side.
    Attended,
    /// The output projection of that.
    AttentionOutput,
    /// The residual stream with it.
    Middle,
    /// The input of the feed-forward layer, normalised.
    PostAttentionNorm,
    /// The gate.
    Gate,
    /// What it gates.
    Up,
    /// Both together.
    Activated,
    /// The projection of that.
    Down,
    /// The residual stream with it: the output of the layer.
    Output,
    /// The input of the head, normalised.
    Norm,
    /// The logits.
    Logits,
}

impl Place {
    /// All of them, in order.
    pub const ALL: [Place; 18] = [
        Place::Embedding,
        Place::InputNorm,
        Place::Query,
        Place::Key,
        Place::Value,
        Place::RotatedQuery,
        Place::RotatedKey,
        Place::Attended,
        Place::AttentionOutput,
        Place::Middle,
        Place::PostAttentionNorm,
        Place::Gate,
        Place::Up,
        Place::Activated,
        Place::Down,
        Place::Output,
        Place::Norm,
        Place::Logits,
    ];

    /// Whether every layer has it.
    pub fn in_layer(self) -> bool {
        !matches!(self, Place::Embedding | Place::Norm | Place::Logits)
    }

    /// The operator whose output it is. Where transformers has a module for it, it is that module's name.
    pub fn op(self) -> &'static str {
        match self {
            Place::Embedding => "model.embed_tokens",
            Place::InputNorm => "input_layernorm",
            Place::Query => "self_attn.q_proj",
            Place::Key => "self_attn.k_proj",
            Place::Value => "self_attn.v_proj",
            Place::RotatedQuery => "self_attn.q_rope",
            Place::RotatedKey => "self_attn.k_rope",
            Place::Attended => "self_attn.attention",
            Place::AttentionOutput => "self_attn.o_proj",
            Place::Middle => "self_attn.residual",
            Place::PostAttentionNorm => "post_attention_layernorm",
            Place::Gate => "mlp.gate_proj",
            Place::Up => "mlp.up_proj",
            Place::Activated => "mlp.swiglu",
            Place::Down => "mlp.down_proj",
            Place::Output => "mlp.residual",
            Place::Norm => "model.norm",
            Place::Logits => "logits",
        }
    }

    /// The name of its tensor: `model.layers.3.mlp.gate_proj`, `logits`.
    pub fn tensor(self, layer: usize) -> String {
        if self.in_layer() { format!("model.layers.{layer}.{}", self.op()) } else { self.op().to_string() }
    }
}

/// The values at a place.
#[derive(Clone, PartialEq, Debug)]
pub struct Traced {
    /// The layer, from 0; 0 too where the place is in none.
    pub layer: usize,
    /// The place.
    pub place: Place,
    /// One row for each new position; of the logits, and of the norm before them, for each that was wanted.
    pub values: Vec<f32>,
}

/// A record of the steps that a workspace is used for.
#[derive(Default, Debug)]
pub(super) struct Trace {
    /// The layer that is computed.
    pub layer: usize,
    pub traced: Vec<Traced>,
}

/// Records the values at a place, where there is a record.
pub(super) fn note(trace: &mut Option<Trace>, place: Place, values: &[f32]) {
    if let Some(trace) = trace {
        let layer = if place.in_layer() { trace.layer } else { 0 };
        trace.traced.push(Traced { layer, place, values: values.to_vec() });
    }
}
