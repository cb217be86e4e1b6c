//! The shape of a model, read from the values of its `config.json` and validated once.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use core::fmt;

/// A value of `config.json`.
#[derive(Clone, PartialEq, Debug)]
pub enum Field<'a> {
    /// Not there, or null.
    Absent,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(f64),
    /// A list of numbers.
    Numbers(Vec<f64>),
    /// A string.
    Text(&'a str),
    /// Anything else.
    Other,
}

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
    /// What the norms add to the mean square.
    pub rms_norm_eps: f64,
    /// Whether the output head is the embedding table.
    pub tied: bool,
    /// Whether the projections of attention have biases.
    pub attention_bias: bool,
    /// Whether the projections of the feed-forward block have biases.
    pub mlp_bias: bool,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
}

/// Why a `config.json` cannot be used.
#[derive(Clone, PartialEq, Debug)]
pub enum ConfigError {
    /// A value that is needed is not there.
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A value is of the wrong type or out of range.
    Invalid {
        /// The key.
        key: &'static str,
        /// What was found.
        found: String,
        /// What is needed.
        expected: &'static str,
    },
    /// Two values contradict each other.
    Mismatch {
        /// Which, with their numbers.
        what: String,
    },
    /// The model asks for something that this program does not compute.
    Unsupported {
        /// The key.
        key: &'static str,
        /// What was found.
        found: String,
        /// What is supported.
        supported: &'static str,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { key } => write!(f, "config.json has no {key:?}, which a Llama model needs"),
            Self::Invalid { key, found, expected } => {
                write!(f, "config.json: {key:?} is {found}; expected {expected}")
            }
            Self::Mismatch { what } => write!(f, "config.json contradicts itself: {what}"),
            Self::Unsupported { key, found, supported } => {
                write!(f, "config.json: {key:?} is {found}, which is not supported; supported: {supported}")
            }
        }
    }
}

impl core::error::Error for ConfigError {}

/// The largest count that is believed; beyond it a file is damaged, and products of counts could overflow.
const MOST: f64 = (1 << 24) as f64;

impl Config {
    /// Reads and validates a configuration. `lookup` gives the value of a key; a dot goes into an object.
    ///
    /// # Errors
    /// If a value is missing, of the wrong type, out of range, contradicts another or asks for something unsupported.
    pub fn from_fields<'a>(lookup: impl Fn(&str) -> Field<'a>) -> Result<Config, ConfigError> {
        let lookup = &lookup;
        require_text(lookup, "model_type", "llama")?;
        if lookup("hidden_act") != Field::Absent {
            require_text(lookup, "hidden_act", "silu")?;
        }
        for key in ["rope_scaling", "rope_parameters.factor", "quantization_config"] {
            refuse(lookup, key, "none")?;
        }
        if lookup("rope_parameters.rope_type") != Field::Absent {
            require_text(lookup, "rope_parameters.rope_type", "default")?;
        }
        if flag(lookup, "rope_interleaved", false)? {
            let (key, found) = ("rope_interleaved", "true".to_string());
            return Err(ConfigError::Unsupported { key, found, supported: "false (the half-split layout)" });
        }
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
        let theta_key = match lookup("rope_theta") {
            Field::Absent => "rope_parameters.rope_theta",
            _ => "rope_theta",
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
            rope_theta: positive(lookup, theta_key)?,
            rms_norm_eps: positive(lookup, "rms_norm_eps")?,
            tied: flag(lookup, "tie_word_embeddings", false)?,
            attention_bias: flag(lookup, "attention_bias", false)?,
            mlp_bias: flag(lookup, "mlp_bias", false)?,
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

    fn check(&self) -> Result<(), ConfigError> {
        let mismatch = |what| Err(ConfigError::Mismatch { what });
        if !self.heads.is_multiple_of(self.kv_heads) {
            return mismatch(format!(
                "num_attention_heads {} is no multiple of num_key_value_heads {}",
                self.heads, self.kv_heads
            ));
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

fn describe(field: &Field<'_>) -> String {
    match field {
        Field::Absent => "missing".to_string(),
        Field::Bool(v) => v.to_string(),
        Field::Number(v) => v.to_string(),
        Field::Numbers(_) => "a list of numbers".to_string(),
        Field::Text(v) => format!("{v:?}"),
        Field::Other => "of another type".to_string(),
    }
}

fn invalid<T>(key: &'static str, field: &Field<'_>, expected: &'static str) -> Result<T, ConfigError> {
    Err(ConfigError::Invalid { key, found: describe(field), expected })
}

fn require_text<'a>(
    lookup: &impl Fn(&str) -> Field<'a>,
    key: &'static str,
    supported: &'static str,
) -> Result<(), ConfigError> {
    match lookup(key) {
        Field::Absent => Err(ConfigError::Missing { key }),
        Field::Text(text) if text == supported => Ok(()),
        other => Err(ConfigError::Unsupported { key, found: describe(&other), supported }),
    }
}

fn refuse<'a>(
    lookup: &impl Fn(&str) -> Field<'a>,
    key: &'static str,
    supported: &'static str,
) -> Result<(), ConfigError> {
    match lookup(key) {
        Field::Absent => Ok(()),
        other => Err(ConfigError::Unsupported { key, found: describe(&other), supported }),
    }
}

fn flag<'a>(lookup: &impl Fn(&str) -> Field<'a>, key: &'static str, default: bool) -> Result<bool, ConfigError> {
    match lookup(key) {
        Field::Absent => Ok(default),
        Field::Bool(value) => Ok(value),
        other => invalid(key, &other, "true or false"),
    }
}

/// Whether `v` is a whole number from `low` to below 2^24.
fn is_count(v: f64, low: f64) -> bool {
    v >= low && v <= MOST && v == (v as u32) as f64
}

fn count<'a>(lookup: &impl Fn(&str) -> Field<'a>, key: &'static str) -> Result<usize, ConfigError> {
    match lookup(key) {
        Field::Absent => Err(ConfigError::Missing { key }),
        Field::Number(value) if is_count(value, 1.0) => Ok(value as usize),
        other => invalid(key, &other, "a whole number from 1 to 16777216"),
    }
}

fn positive<'a>(lookup: &impl Fn(&str) -> Field<'a>, key: &'static str) -> Result<f64, ConfigError> {
    match lookup(key) {
        Field::Absent => Err(ConfigError::Missing { key }),
        Field::Number(value) if value > 0.0 && (value as f32).is_finite() && value as f32 > 0.0 => Ok(value),
        other => invalid(key, &other, "a positive number that binary32 can hold"),
    }
}

fn eos<'a>(lookup: &impl Fn(&str) -> Field<'a>) -> Result<Vec<u32>, ConfigError> {
    let key = "eos_token_id";
    let field = lookup(key);
    let ids = match &field {
        Field::Absent => vec![],
        Field::Number(id) => vec![*id],
        Field::Numbers(ids) => ids.clone(),
        other => return invalid(key, other, "a token id or a list of them"),
    };
    if ids.iter().all(|id| is_count(*id, 0.0)) {
        Ok(ids.into_iter().map(|id| id as u32).collect())
    } else {
        invalid(key, &field, "a token id or a list of them")
    }
}
