//! Tiny seeded models whose generations and trainings have known bits: a self-test that native programs, wasm builds and the page run
//! alike. Their widths are no multiples of 16, so every tail is used.

use crate::Exec;
use crate::generate::{GenerateError, Generation, Progress, Request, Sampler};
use crate::model::{Config, DType, Model, Parameter, RawTensor, Sequence, SharedBytes, parameters};
use crate::ops::Weights;
use crate::random::{Purpose, uniform};
use crate::train::{Optimizer, Schedule, TrainError, TrainOptions, Trainer};
use crate::transcript::{Identity, Sha256, Sha256Digest, hex, logits_digest, transcript};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// The digest that [`train`] gives on every machine.
pub const EXPECTED_TRAINING: &str = "2d55cc4645080ce429b0d4cfa628529abe20e306d835ef8b44ab506097afeaac";

/// The digest that [`sample`] gives on every machine.
pub const EXPECTED_SAMPLING: &str = "aebb34b64ea38e05d96fa0dedc0bf2fc1e465d4bacb4075a4c1c54dffebbb59c";

/// The digest that [`generate`] gives on every machine.
pub const EXPECTED: &str = "e983895a80ce08ee68377aa365b0a8e8946127a755aa64899801fcd8cae9d252";

/// This machine or this build does not compute the bits of the contract.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GoldenError {
    /// The digest is another one.
    Mismatch {
        /// The digest that was computed.
        found: String,
        /// The digest of the contract.
        expected: &'static str,
    },
    /// The generation failed.
    Generate(GenerateError),
    /// The training failed.
    Train(TrainError),
}

impl fmt::Display for GoldenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch { found, expected } => write!(
                f,
                "the self-test computed {found} instead of {expected}: this machine or this build does not follow the \
                 numeric contract, and its results cannot be trusted"
            ),
            Self::Generate(error) => write!(f, "the self-test failed: {error}"),
            Self::Train(error) => write!(f, "the self-test failed: {error}"),
        }
    }
}

impl core::error::Error for GoldenError {}

/// One of the two models.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tiny {
    /// Tied, with bfloat16 weights.
    One,
    /// Untied, with binary32 weights and biases.
    Two,
}

impl Tiny {
    /// Both, in the order in which digests go over them.
    pub const ALL: [Tiny; 2] = [Tiny::One, Tiny::Two];

    /// Its number in the published vectors, which is the seed of its weights too.
    pub fn number(self) -> u64 {
        match self {
            Tiny::One => 1,
            Tiny::Two => 2,
        }
    }

    /// Its shape.
    pub fn config(self) -> Config {
        let tied = Config {
            vocab: 61,
            dim: 36,
            hidden: 53,
            layers: 2,
            heads: 6,
            kv_heads: 2,
            head_dim: 10,
            context: 256,
            rope_theta: 10_000.0,
            rope_scaling: None,
            rms_norm_eps: 1e-5,
            tied: true,
            attention_bias: false,
            attention_output_bias: false,
            mlp_bias: false,
            eos: vec![],
        };
        match self {
            Tiny::One => tied,
            Tiny::Two => {
                let biases = Config { attention_bias: true, attention_output_bias: true, mlp_bias: true, ..tied };
                Config { tied: false, heads: 3, kv_heads: 3, ..biases }
            }
        }
    }

    /// How its weights are stored.
    pub fn dtype(self) -> DType {
        match self {
            Tiny::One => DType::Bf16,
            Tiny::Two => DType::F32,
        }
    }

    /// The little-endian bytes of all its tensors, in the order of the table: numbers of the seeded generator, uniform in a unit
    /// interval around 1 for norms and 0 for all others.
    pub fn tensors(self) -> impl Iterator<Item = (Parameter, Vec<u8>)> {
        parameters(&self.config()).into_iter().zip(0..).map(move |(parameter, stream)| {
            let shift = if parameter.name.ends_with("norm.weight") { 0.5 } else { -0.5 };
            let count = parameter.shape.iter().product::<usize>() as u64;
            let values = (0..count).map(|i| uniform(self.number(), Purpose::Golden, stream, i) + shift);
            let bytes = match self.dtype() {
                DType::Bf16 => values.flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect(),
                _ => values.flat_map(f32::to_le_bytes).collect(),
            };
            (parameter, bytes)
        })
    }

    /// The model.
    pub fn model(self) -> Model {
        let tensors = self.tensors().map(|(Parameter { name, shape }, bytes)| {
            (name, RawTensor { dtype: self.dtype(), shape, bytes: SharedBytes::from(bytes) })
        });
        let tensors: BTreeMap<String, RawTensor> = tensors.collect();
        Model::load(self.config(), &|name| tensors.get(name).cloned()).expect("the tensors are those of the table")
    }

    /// The 70 tokens that it goes on from.
    pub fn prompt(self) -> Vec<u32> {
        (0..70).map(|i| i * 7 % self.config().vocab as u32).collect()
    }

    /// The two texts that it learns from in every step.
    pub fn batch(self) -> [Sequence; 2] {
        let text = |n: u32| Sequence::new((0..n).map(|i| i * i % self.config().vocab as u32).collect());
        [text(40), text(23)]
    }

    /// How it is trained: one by gradient descent, one by AdamW with clipping.
    pub fn training(self) -> TrainOptions {
        let (optimizer, clip_norm) = match self {
            Tiny::One => (Optimizer::Sgd { momentum: 0.9 }, None),
            Tiny::Two => (Optimizer::adamw(0.1), Some(0.5)),
        };
        let schedule = Schedule { learning_rate: 0.01, warmup: 2, cosine_steps: Some(10) };
        TrainOptions { optimizer, schedule, clip_norm, recompute: false }
    }
}

/// What the transcripts of the golden generations name as weights and tokenizer: zeros.
pub const IDENTITY: Identity = Identity { weights: [0; 32], adapter: None, tokenizer: [0; 32] };

/// Generates 40 tokens greedily from a prompt of 70 with each model and returns the digest of both transcripts.
///
/// # Errors
/// If a logit is not finite.
pub fn generate(exec: Exec<'_>) -> Result<Sha256Digest, GenerateError> {
    transcripts(exec, [Sampler::GREEDY; 2])
}

/// The same with tokens that are drawn: once with every cut, once from the whole distribution.
///
/// # Errors
/// If a logit is not finite.
pub fn sample(exec: Exec<'_>) -> Result<Sha256Digest, GenerateError> {
    let all = Sampler { temperature: 1.5, seed: 1, ..Sampler::GREEDY };
    let cut = Sampler { top_k: 20, top_p: 0.9, min_p: 0.01, repetition_penalty: 1.25, seed: 2, ..all.clone() };
    transcripts(exec, [cut, all])
}

fn transcripts(exec: Exec<'_>, samplers: [Sampler; 2]) -> Result<Sha256Digest, GenerateError> {
    let mut digest = Sha256::new();
    for (tiny, sampler) in Tiny::ALL.into_iter().zip(samplers) {
        let model = tiny.model();
        let request = Request { prompt: tiny.prompt(), max_tokens: 40, ignore_eos: true, sampler, logprobs: None };
        let mut generation = Generation::new(&model, request)?;
        while !matches!(generation.advance(&model, exec)?, Progress::Finished(_)) {}
        digest.update(&transcript(&IDENTITY, &generation));
    }
    Ok(digest.finish())
}

/// Trains each model for three steps and returns the digest of all reports and weights.
///
/// # Errors
/// If a loss or a gradient is not finite.
pub fn train(exec: Exec<'_>) -> Result<Sha256Digest, TrainError> {
    let mut digest = Sha256::new();
    for tiny in Tiny::ALL {
        let batch = tiny.batch();
        let mut trainer = Trainer::new(&tiny.model(), tiny.training());
        for _ in 0..3 {
            digest.update(&trainer.step(exec, &batch)?.digest);
        }
        for (_, weights) in trainer.model().tensors() {
            if let Weights::F32(weights) = weights {
                digest.update(&logits_digest(weights));
            }
        }
    }
    Ok(digest.finish())
}

/// Checks that this machine and this build compute the bits of the contract.
///
/// # Errors
/// If they do not.
pub fn check(exec: Exec<'_>) -> Result<(), GoldenError> {
    let generated = generate(exec).map_err(GoldenError::Generate)?;
    let sampled = sample(exec).map_err(GoldenError::Generate)?;
    let trained = train(exec).map_err(GoldenError::Train)?;
    for (found, expected) in [(generated, EXPECTED), (sampled, EXPECTED_SAMPLING), (trained, EXPECTED_TRAINING)] {
        let found = hex(&found);
        if found != expected {
            return Err(GoldenError::Mismatch { found, expected });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::simd::Backend;

    /// Those that `LOCKSTEP_TEST_BACKENDS` names (with commas) must be among them.
    #[test]
    fn golden_bits_on_every_backend() {
        let required = std::env::var("LOCKSTEP_TEST_BACKENDS").unwrap_or_default();
        for backend in Backend::available_with(&required).unwrap() {
            let exec = Exec { backend, ..Exec::serial() };
            assert_eq!(check(exec), Ok(()), "{}", backend.name());
        }
    }
}
