//! Low-rank adapters of a model (Hu et al. 2021): which layers have one, its tensors, and the merge.

use super::config::Config;
use super::llama::Model;
use super::params::{Layer, LoadError, Param, Parameter, load_one, parameters};
use super::tensor::{RawTensor, Tensor};
use crate::Exec;
use crate::ops::{Lora, Weights, lora_merge};
use crate::random::{Purpose, uniform};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use core::fmt;

/// The linear layers of a transformer layer that can have an adapter, in the order of the table.
pub const LORA_TARGETS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// The shape of an adapter.
#[derive(Clone, PartialEq, Debug)]
pub struct LoraConfig {
    rank: usize,
    alpha: f64,
    targets: Vec<String>,
}

/// Why an adapter cannot be made.
#[derive(Clone, PartialEq, Debug)]
pub enum LoraError {
    /// The rank is zero or larger than the model is wide.
    Rank {
        /// The rank.
        rank: usize,
        /// The width of the model.
        dim: usize,
    },
    /// Alpha is not a positive number that binary32 can hold, also divided by the rank.
    Alpha(f64),
    /// There are no target layers.
    NoTargets,
    /// A target is no linear layer of the model.
    Target(String),
    /// A tensor is missing or has another shape.
    Load(LoadError),
}

impl fmt::Display for LoraError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rank { rank, dim } => write!(f, "the adapter's rank is {rank}; choose one from 1 to {dim}"),
            Self::Alpha(alpha) => write!(f, "the adapter's alpha is {alpha}; choose a positive number"),
            Self::NoTargets => write!(f, "the adapter has no target layers; choose from {}", LORA_TARGETS.join(", ")),
            Self::Target(name) => {
                write!(f, "the adapter's target {name:?} is not supported; supported: {}", LORA_TARGETS.join(", "))
            }
            Self::Load(error) => write!(f, "the adapter does not fit the model: {error}"),
        }
    }
}

impl core::error::Error for LoraError {}

/// The adapter of a linear layer.
#[derive(Clone, Debug)]
pub(super) struct Adapter {
    pub a: Param,
    pub b: Param,
    pub scale: f32,
    pub rank: usize,
}

impl Adapter {
    pub fn lora(&self) -> Lora<'_> {
        Lora { a: self.a.weights(), b: self.b.weights(), scale: self.scale }
    }
}

impl LoraConfig {
    /// An adapter of `rank`, whose output is scaled by `alpha / rank`, for the layers in `targets` (see [`LORA_TARGETS`]).
    ///
    /// # Errors
    /// If a value is out of range or a target unknown.
    pub fn new(config: &Config, rank: usize, alpha: f64, targets: &[impl AsRef<str>]) -> Result<LoraConfig, LoraError> {
        let targets = targets.iter().map(|target| target.as_ref().to_string()).collect::<Vec<_>>();
        if rank == 0 || rank > config.dim {
            return Err(LoraError::Rank { rank, dim: config.dim });
        }
        let scale = (alpha / rank as f64) as f32;
        if !(scale > 0.0 && (alpha as f32).is_finite()) {
            return Err(LoraError::Alpha(alpha));
        }
        if targets.is_empty() {
            return Err(LoraError::NoTargets);
        }
        match targets.iter().find(|target| !LORA_TARGETS.contains(&target.as_str())) {
            Some(target) => Err(LoraError::Target(target.clone())),
            None => Ok(LoraConfig { rank, alpha, targets }),
        }
    }

    /// The rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// What is divided by the rank to scale the adapter's output.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// The layers that have an adapter.
    pub fn targets(&self) -> &[String] {
        &self.targets
    }

    /// The table of the adapter's parameters: A and B of each target, in the order of the model's own table.
    pub fn parameters(&self, config: &Config) -> Vec<Parameter> {
        let mut table = vec![];
        for Parameter { name, shape } in parameters(config) {
            let Some(linear) = name.strip_suffix(".weight") else { continue };
            if self.targets.iter().any(|target| linear.rsplit('.').next() == Some(target)) {
                let part = |part, shape| Parameter { name: format!("{linear}.lora_{part}.weight"), shape };
                table.push(part('A', vec![self.rank, shape[1]]));
                table.push(part('B', vec![shape[0], self.rank]));
            }
        }
        table
    }

    /// The tensors of a new adapter: A uniform between plus and minus `1 / sqrt(cols)`, from the generator, and B zero.
    pub fn initial(&self, config: &Config, seed: u64) -> Vec<(Parameter, Vec<f32>)> {
        let table = self.parameters(config).into_iter().zip(0..);
        let tensor = |(parameter, stream): (Parameter, u32)| {
            let count = parameter.shape.iter().product::<usize>();
            let bound = 1.0 / libm::sqrtf(parameter.shape[1] as f32);
            let random = |i| (uniform(seed, Purpose::Lora, stream, i) * 2.0 - 1.0) * bound;
            let is_a = parameter.name.ends_with("lora_A.weight");
            let values = if is_a { (0..count as u64).map(random).collect() } else { vec![0.0; count] };
            (parameter, values)
        };
        table.map(tensor).collect()
    }
}

impl Model {
    /// The same model with an adapter, whose tensors `source` gives by the names of [`LoraConfig::parameters`]. The base
    /// weights are shared, not copied; an adapter that the model has already is replaced.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn with_adapter(
        &self,
        lora: &LoraConfig,
        source: &dyn Fn(&str) -> Option<RawTensor>,
    ) -> Result<Model, LoraError> {
        let mut model = Model { lora: Some(lora.clone()), ..self.without_adapter() };
        let mut table = lora.parameters(&self.config).into_iter().enumerate();
        let mut next = || -> Result<Param, LoraError> {
            let (index, parameter) = table.next().expect("the table has every tensor");
            let tensor = load_one(parameter, source).map_err(LoraError::Load)?;
            Ok(Param { index, tensor: tensor.to_owned_f32() })
        };
        let scale = (lora.alpha / lora.rank as f64) as f32;
        for layer in &mut model.params.layers {
            for (linear, target) in layer.linears_mut().into_iter().zip(LORA_TARGETS) {
                if lora.targets.iter().any(|name| name == target) {
                    linear.adapter = Some(Adapter { a: next()?, b: next()?, scale, rank: lora.rank });
                }
            }
        }
        Ok(model)
    }

    /// The same model with a new adapter (see [`LoraConfig::initial`]), which changes nothing until it is trained.
    pub fn with_new_adapter(&self, lora: &LoraConfig, seed: u64) -> Model {
        let tensors = lora.initial(&self.config, seed);
        let source = |name: &str| {
            let (parameter, values) = tensors.iter().find(|(parameter, _)| parameter.name == name)?;
            Some(RawTensor::from_f32(parameter.shape.clone(), values))
        };
        self.with_adapter(lora, &source).expect("the tensors are those of the table")
    }

    /// The model without its adapter.
    pub fn without_adapter(&self) -> Model {
        let mut model = Model { lora: None, ..self.clone() };
        let layers = model.params.layers.iter_mut();
        layers.flat_map(Layer::linears_mut).for_each(|linear| linear.adapter = None);
        model
    }

    /// The shape of the model's adapter, where it has one.
    pub fn adapter(&self) -> Option<&LoraConfig> {
        self.lora.as_ref()
    }

    /// The tensors of the adapter, in the order of [`LoraConfig::parameters`].
    pub fn adapter_tensors(&self) -> Vec<Weights<'_>> {
        self.params.adapters().into_iter().map(Param::weights).collect()
    }

    /// The model with its adapter in the weights: `W + s * B A` in binary32. Its logits are not those of the model with the
    /// adapter beside it, bit for bit.
    pub fn merged(&self, exec: Exec<'_>) -> Model {
        let mut model = Model { lora: None, ..self.clone() };
        let layers = model.params.layers.iter_mut();
        for linear in layers.flat_map(Layer::linears_mut) {
            let Some(adapter) = linear.adapter.take() else { continue };
            let (Weights::F32(a), Weights::F32(b)) = (adapter.a.weights(), adapter.b.weights()) else { continue };
            let mut merged: Tensor = linear.weight.tensor.to_owned_f32();
            merged.update(|w| lora_merge(exec, w, a, b, adapter.scale, adapter.rank));
            linear.weight.tensor = merged;
        }
        model
    }
}
