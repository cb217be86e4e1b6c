//! What of a model is trained.

use clap::{Args, ValueEnum};

use super::train::positive;

/// `--method`, and the shape of a new adapter.
#[derive(Args, Clone, Debug)]
pub struct Method {
    /// What is trained: all weights, or a low-rank adapter beside them [default: lora with --adapter, otherwise full]
    #[arg(long, env = "LOCKSTEP_METHOD", value_enum)]
    pub method: Option<MethodName>,
    /// Rank of a new adapter [default: 8]
    #[arg(long, env = "LOCKSTEP_LORA_RANK", value_name = "R")]
    pub lora_rank: Option<usize>,
    /// A new adapter's output is scaled by X / rank [default: 16]
    #[arg(long, env = "LOCKSTEP_LORA_ALPHA", value_name = "X", value_parser = positive)]
    pub lora_alpha: Option<f64>,
    /// Layers that get a new adapter, of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj [default:
    /// q_proj,v_proj]
    #[arg(long, env = "LOCKSTEP_LORA_TARGETS", value_name = "NAMES", value_delimiter = ',')]
    pub lora_targets: Option<Vec<String>>,
}

/// `--method`
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum MethodName {
    Full,
    Lora,
}
