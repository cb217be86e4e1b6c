//! The shape of a model, read from the values of its `config.json` and validated once.

mod error;
mod family;
mod fields;
mod rope;

use crate::ops::RopeScaling;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use family::Family;

pub use error::ConfigError;
pub use fields::Field;
use fields::{MOST, above_zero, count, eos, flag, from_one, positive, whole};

/// The most layers that are believed: a table of tensors is made of them before the first one is looked for.
const MOST_LAYERS: usize = 4096;

/// The shape of a Llama-family model and the numbers that its arithmetic needs.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub dim: usize,
    /// Width of the feed-forward block.
    pub hidden: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// The most positions that the model was made for.
    pub context: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How they are scaled, if they are.
    pub rope_scaling: Option<RopeScaling>,
    /// What the norms add to the mean square.
    pub rms_norm_eps: f64,
    /// Whether the output head is the embedding table.
    pub tied: bool,
    /// Whether the projections to queries, keys and values have biases.
    pub attention_bias: bool,
    /// Whether the projection of what attention gives has a bias.
    pub attention_output_bias: bool,
    /// Whether the projections of the feed-forward block have biases.
    pub mlp_bias: bool,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
}

impl Config {
    /// Reads and validates a configuration. `lookup` gives the value of a key; a dot goes into an object.
    ///
    /// # Errors
    /// If a value is missing, of the wrong type, out of range, contradicts another or asks for something unsupported.
    pub fn from_fields<'a>(lookup: impl Fn(&str) -> Field<'a>) -> Result<Config, ConfigError> {
        let lookup = &lookup;
        let Family { attention_bias, attention_output_bias, mlp_bias } = family::read(lookup)?;
        let (rope_theta, rope_scaling) = rope::read(lookup)?;
        let heads = count(lookup, "num_attention_heads")?;
        let dim = count(lookup, "hidden_size")?;
        let head_dim = match lookup("head_dim") {
            Field::Absent if dim.is_multiple_of(heads) => dim / heads,
            Field::Absent => {
                let what = format!("hidden_size {dim} is no multiple of num_attention_heads {heads}");
                return Err(ConfigError::Mismatch { what });
            }
            _ => count(lookup, "head_dim")?,
        };
        let kv_heads = match lookup("num_key_value_heads") {
            Field::Absent => heads,
            _ => count(lookup, "num_key_value_heads")?,
        };
        let config = Config {
            vocab: count(lookup, "vocab_size")?,
            dim,
            hidden: count(lookup, "intermediate_size")?,
            layers: count(lookup, "num_hidden_layers")?,
            heads,
            kv_heads,
            head_dim,
            context: count(lookup, "max_position_embeddings")?,
            rope_theta,
            rope_scaling,
            rms_norm_eps: positive(lookup, "rms_norm_eps")?,
            tied: flag(lookup, "tie_word_embeddings", false)?,
            attention_bias,
            attention_output_bias,
            mlp_bias,
            eos: eos(lookup)?,
        };
        config.check()?;
        Ok(config)
    }

    /// The elements of a key or value of all heads.
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The elements of a query of all heads.
    pub fn q_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// What [`Model::load`](super::Model::load) asks of one that was made by hand.
    ///
    /// # Errors
    /// If a value is out of range or contradicts another.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (key, count) in [
            ("vocab_size", self.vocab),
            ("hidden_size", self.dim),
            ("intermediate_size", self.hidden),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.context),
        ] {
            whole(key, count as f64)?;
        }
        from_one("rope_theta", self.rope_theta)?;
        self.rope_scaling.as_ref().map_or(Ok(()), rope::check)?;
        above_zero("rms_norm_eps", self.rms_norm_eps)?;
        let mismatch = |what| Err(ConfigError::Mismatch { what });
        if !self.heads.is_multiple_of(self.kv_heads) {
            return mismatch(format!(
                "num_attention_heads {} is no multiple of num_key_value_heads {}",
                self.heads, self.kv_heads
            ));
        }
        if self.layers > MOST_LAYERS {
            let found = self.layers.to_string();
            return Err(ConfigError::Invalid { key: "num_hidden_layers", found, expected: "at most 4096" });
        }
        // So many query heads of so many elements; those of keys are no more.
        if self.heads.checked_mul(self.head_dim).is_none_or(|elements| elements > MOST) {
            let Config { heads, head_dim, .. } = self;
            return mismatch(format!("{heads} heads of {head_dim} elements are more than {MOST} elements"));
        }
        if !self.head_dim.is_multiple_of(2) {
            return mismatch(format!("head_dim {} is odd, but rotary embedding pairs its elements", self.head_dim));
        }
        match self.eos.iter().find(|id| **id as usize >= self.vocab) {
            Some(id) => mismatch(format!("eos_token_id {id} is outside the vocabulary of {}", self.vocab)),
            None => Ok(()),
        }
    }
}
