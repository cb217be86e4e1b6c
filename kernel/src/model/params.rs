//! The parameters of a model: one table names them and gives their shapes.

use super::adapter::Adapter;
use super::config::{Config, ConfigError};
use super::tensor::{RawTensor, Tensor};
use crate::ops::Weights;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::iter::once;

/// A parameter and its row in the table.
#[derive(Clone, Debug)]
pub(super) struct Param {
    pub index: usize,
    pub tensor: Tensor,
}

impl Param {
    pub fn weights(&self) -> Weights<'_> {
        self.tensor.weights()
    }
}

/// A linear layer.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    pub weight: Param,
    pub bias: Option<Param>,
    pub adapter: Option<Adapter>,
}

/// The parameters of one transformer layer.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub input_norm: Param,
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub o: Linear,
    pub post_attention_norm: Param,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

/// All parameters.
#[derive(Clone, Debug)]
pub(super) struct Params {
    pub embedding: Param,
    pub layers: Vec<Layer>,
    pub norm: Param,
    /// None where the head is tied to the embedding.
    pub head: Option<Param>,
}

/// Why there is no model of a configuration and weights.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// The configuration, made by hand, is none.
    Config(ConfigError),
    /// A tensor is not there.
    Missing {
        /// Its name.
        name: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the configuration asks for.
    Shape {
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor's bytes are not as many as its shape says.
    Size {
        /// Its name.
        name: String,
        /// Its bytes.
        found: usize,
        /// The bytes that its shape needs.
        expected: usize,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Missing { name, expected } => write!(f, "there is no tensor {name:?}, of shape {expected:?}"),
            Self::Shape { name, found, expected } => {
                write!(f, "tensor {name:?} has shape {found:?} where {expected:?} is needed")
            }
            Self::Size { name, found, expected } => {
                write!(f, "tensor {name:?} has {found} bytes where its shape needs {expected}")
            }
        }
    }
}

impl core::error::Error for LoadError {}

/// A row of the table of parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parameter {
    /// The name that Hugging Face gives it.
    pub name: String,
    /// The size of every axis, the outermost first.
    pub shape: Vec<usize>,
}

/// The table of all parameters of a model, in the order in which anything that goes over all of them does.
pub fn parameters(config: &Config) -> Vec<Parameter> {
    let &Config { vocab, dim, hidden, attention_bias, attention_output_bias, mlp_bias, .. } = config;
    let (q_dim, kv_dim) = (config.q_dim(), config.kv_dim());
    let mut table = vec![];
    let mut add = |name: String, shape: &[usize]| table.push(Parameter { name, shape: shape.to_vec() });
    add("model.embed_tokens.weight".to_string(), &[vocab, dim]);
    for layer in 0..config.layers {
        let mut linear = |name: &str, rows: usize, cols: usize, bias: bool| {
            add(format!("model.layers.{layer}.{name}.weight"), &[rows, cols]);
            if bias {
                add(format!("model.layers.{layer}.{name}.bias"), &[rows]);
            }
        };
        linear("self_attn.q_proj", q_dim, dim, attention_bias);
        linear("self_attn.k_proj", kv_dim, dim, attention_bias);
        linear("self_attn.v_proj", kv_dim, dim, attention_bias);
        linear("self_attn.o_proj", dim, q_dim, attention_output_bias);
        linear("mlp.gate_proj", hidden, dim, mlp_bias);
        linear("mlp.up_proj", hidden, dim, mlp_bias);
        linear("mlp.down_proj", dim, hidden, mlp_bias);
        add(format!("model.layers.{layer}.input_layernorm.weight"), &[dim]);
        add(format!("model.layers.{layer}.post_attention_layernorm.weight"), &[dim]);
    }
    add("model.norm.weight".to_string(), &[dim]);
    if !config.tied {
        add("lm_head.weight".to_string(), &[vocab, dim]);
    }
    table
}

/// The tensor of a row of the table, where it has the row's shape.
pub(crate) fn load_one(parameter: Parameter, find: &dyn Fn(&str) -> Option<RawTensor>) -> Result<Tensor, LoadError> {
    let Parameter { name, shape: expected } = parameter;
    let Some(raw) = find(&name) else {
        return Err(LoadError::Missing { name, expected });
    };
    if raw.shape != expected {
        return Err(LoadError::Shape { name, found: raw.shape, expected });
    }
    let size = expected.iter().product::<usize>() * raw.dtype.size();
    match raw.bytes.len() {
        found if found == size => Ok(Tensor::new(raw.dtype, raw.bytes)),
        found => Err(LoadError::Size { name, found, expected: size }),
    }
}

impl Params {
    /// Takes the tensors of the table from `find`.
    pub fn load(config: &Config, find: &dyn Fn(&str) -> Option<RawTensor>) -> Result<Params, LoadError> {
        let mut table = parameters(config).into_iter().enumerate();
        let mut next = || {
            let (index, parameter) = table.next().expect("the table has every parameter");
            load_one(parameter, find).map(|tensor| Param { index, tensor })
        };
        let embedding = next()?;
        let mut layers = vec![];
        for _ in 0..config.layers {
            let mut linear = |bias| -> Result<Linear, LoadError> {
                Ok(Linear { weight: next()?, bias: if bias { Some(next()?) } else { None }, adapter: None })
            };
            layers.push(Layer {
                q: linear(config.attention_bias)?,
                k: linear(config.attention_bias)?,
                v: linear(config.attention_bias)?,
                o: linear(config.attention_output_bias)?,
                gate: linear(config.mlp_bias)?,
                up: linear(config.mlp_bias)?,
                down: linear(config.mlp_bias)?,
                input_norm: next()?,
                post_attention_norm: next()?,
            });
        }
        let norm = next()?;
        let head = if config.tied { None } else { Some(next()?) };
        Ok(Params { embedding, layers, norm, head })
    }

    /// The output head, which may be the embedding.
    pub fn head(&self) -> &Param {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// All parameters, in the order of the table.
    pub fn all(&self) -> Vec<&Param> {
        let Params { embedding, layers, norm, head } = self;
        let layers = layers.iter().flat_map(|layer| {
            let linears = layer.linears().into_iter().flat_map(|linear| once(&linear.weight).chain(&linear.bias));
            linears.chain([&layer.input_norm, &layer.post_attention_norm])
        });
        once(embedding).chain(layers).chain([norm]).chain(head).collect()
    }

    /// All parameters, in the order of the table.
    pub fn all_mut(&mut self) -> Vec<&mut Param> {
        let Params { embedding, layers, norm, head } = self;
        let layers = layers.iter_mut().flat_map(|layer| {
            let Layer { input_norm, q, k, v, o, post_attention_norm, gate, up, down } = layer;
            let linears = [q, k, v, o, gate, up, down].into_iter();
            let linears = linears.flat_map(|linear| once(&mut linear.weight).chain(&mut linear.bias));
            linears.chain([input_norm, post_attention_norm])
        });
        once(embedding).chain(layers).chain([norm]).chain(head).collect()
    }

    /// The parameters of all adapters, in the order of their table.
    pub fn adapters(&self) -> Vec<&Param> {
        let adapters = self.layers.iter().flat_map(Layer::linears).filter_map(|linear| linear.adapter.as_ref());
        adapters.flat_map(|adapter| [&adapter.a, &adapter.b]).collect()
    }

    /// What a trainer changes: the adapters where there are some, otherwise everything.
    pub fn trainable_mut(&mut self) -> Vec<&mut Param> {
        if self.adapters().is_empty() {
            return self.all_mut();
        }
        let linears = self.layers.iter_mut().flat_map(Layer::linears_mut);
        let adapters = linears.filter_map(|linear| linear.adapter.as_mut());
        adapters.flat_map(|adapter| [&mut adapter.a, &mut adapter.b]).collect()
    }
}

impl Layer {
    /// The linear layers, in the order of [`LORA_TARGETS`](super::LORA_TARGETS).
    fn linears(&self) -> [&Linear; 7] {
        let Layer { q, k, v, o, gate, up, down, .. } = self;
        [q, k, v, o, gate, up, down]
    }

    /// [`linears`](Self::linears), to be changed.
    pub fn linears_mut(&mut self) -> [&mut Linear; 7] {
        let Layer { q, k, v, o, gate, up, down, .. } = self;
        [q, k, v, o, gate, up, down]
    }
}
