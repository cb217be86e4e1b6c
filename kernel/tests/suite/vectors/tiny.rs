//! The golden models, made here from what docs/numerics.md says of them: each of their values, and what `kernel::golden` makes of
//! them.

use super::{write, writing};
use crate::inputs::{Threads, backends};
use kernel::generate::{Generation, Progress, Request, Sampler, SamplerSettings};
use kernel::golden;
use kernel::model::{Config, DType, KvCache, Logits, Model, RawTensor, Sequence, SharedBytes, Workspace, parameters};
use kernel::ops::Weights;
use kernel::random::{Purpose, uniform};
use kernel::train::{Optimizer, Schedule, TrainOptions, Trainer};
use kernel::transcript::{Identity, PROFILE, Sha256, hex, logits_digest, transcript};
use kernel::{Exec, pool::SerialPool};
use serde::Deserialize;
use std::collections::BTreeMap;

const STORED: &str = include_str!("../../../../docs/vectors/tiny.json");
const PAGE: &str = include_str!("../../../../docs/numerics.md");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    profile: String,
    values: BTreeMap<String, String>,
}

fn stored() -> BTreeMap<String, String> {
    let stored: Stored = serde_json::from_str(STORED).unwrap();
    assert_eq!(stored.profile, PROFILE);
    stored.values
}

fn model(number: u64) -> Model {
    let tied = number == 1;
    let (heads, kv_heads) = if tied { (6, 2) } else { (3, 3) };
    let config = Config {
        vocab: 61,
        dim: 36,
        hidden: 53,
        layers: 2,
        heads,
        kv_heads,
        head_dim: 10,
        context: 256,
        rope_theta: 10_000.0,
        rope_scaling: None,
        rms_norm_eps: 1e-5,
        tied,
        attention_bias: !tied,
        attention_output_bias: !tied,
        mlp_bias: !tied,
        eos: vec![],
    };
    let table = parameters(&config);
    let source = |name: &str| {
        let stream = table.iter().position(|row| row.name == name)?;
        let shape = table[stream].shape.clone();
        let shift = if name.ends_with("norm.weight") { 0.5 } else { -0.5 };
        let count = shape.iter().product::<usize>() as u64;
        let values = (0..count).map(|i| uniform(number, Purpose::Golden, stream as u32, i) + shift);
        let (dtype, bytes): (DType, Vec<u8>) = if tied {
            (DType::Bf16, values.flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect())
        } else {
            (DType::F32, values.flat_map(f32::to_le_bytes).collect())
        };
        Some(RawTensor { dtype, shape, bytes: SharedBytes::from(bytes) })
    };
    Model::load(config, &source).unwrap()
}

fn prompt() -> Vec<u32> {
    (0..70).map(|i| i * 7 % 61).collect()
}

fn samplers(number: u64) -> [(&'static str, Sampler); 2] {
    let all = SamplerSettings { temperature: 1.5, seed: 1, ..SamplerSettings::default() };
    let cut = SamplerSettings { top_k: 20, top_p: 0.9, min_p: 0.01, repetition_penalty: 1.25, seed: 2, ..all.clone() };
    let drawn = Sampler::new(if number == 1 { cut } else { all }).unwrap();
    [("generation", Sampler::GREEDY), ("sampling", drawn)]
}

fn training(number: u64) -> TrainOptions {
    let sgd = Optimizer::Sgd { momentum: 0.9 };
    let adamw = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1 };
    let (optimizer, clip_norm) = if number == 1 { (sgd, None) } else { (adamw, Some(0.5)) };
    let schedule = Schedule { learning_rate: 0.01, warmup: 2, cosine_steps: Some(10) };
    TrainOptions { optimizer, schedule, clip_norm, recompute: false }
}

/// The values of the two models, by their names on the page.
fn values(exec: Exec<'_>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let identity = Identity { weights: [0; 32], adapter: None, tokenizer: [0; 32] };
    let models = [1, 2].map(|number| (number, model(number)));
    for (number, model) in &models {
        let (mut cache, mut workspace) = (KvCache::new(model.config()), Workspace::default());
        model.forward(exec, &mut cache, &prompt(), Logits::Last, &mut workspace).unwrap();
        all.push((format!("logits {number}"), hex(&logits_digest(workspace.logits()))));
    }
    for which in 0..2 {
        let mut digest = Sha256::new();
        for (number, model) in &models {
            let (name, sampler) = samplers(*number)[which].clone();
            let request = Request { prompt: prompt(), max_tokens: 40, ignore_eos: true, sampler, logprobs: None };
            let mut generation = Generation::new(model, request).unwrap();
            while !matches!(generation.advance(model, exec).unwrap(), Progress::Finished(_)) {}
            let transcript = transcript(&identity, &generation);
            digest.update(&transcript);
            all.push((format!("{name} {number}"), hex(&transcript)));
        }
        all.push((samplers(1)[which].0.to_string(), hex(&digest.finish())));
    }
    let mut digest = Sha256::new();
    for (number, model) in &models {
        let batch = [40, 23].map(|n| Sequence::new((0..n).map(|i| i * i % 61).collect()));
        let mut trainer = Trainer::new(model, training(*number));
        for step in 1..=3 {
            let report = trainer.step(exec, &batch).unwrap();
            digest.update(&report.digest);
            let (loss, norm) = (report.loss.to_bits(), report.grad_norm.to_bits());
            let value = format!("{} loss {loss:08x} norm {norm:08x}", hex(&report.digest));
            all.push((format!("training {number}, step {step}"), value));
        }
        for (_, weights) in trainer.model().tensors() {
            let Weights::F32(weights) = weights else { panic!("trained weights are binary32") };
            digest.update(&logits_digest(weights));
        }
    }
    all.push(("training".to_string(), hex(&digest.finish())));
    all
}

#[test]
fn vectors_of_the_tiny_models_are_what_every_backend_gives() {
    if writing() {
        let lines = values(Exec::serial()).into_iter().map(|(name, value)| format!("  \"{name}\": \"{value}\""));
        let lines: Vec<String> = lines.collect();
        write("tiny.json", &format!("{{\"profile\": \"{PROFILE}\", \"values\": {{\n{}\n}}}}\n", lines.join(",\n")));
        return;
    }
    for backend in backends() {
        for pool in [&SerialPool as &dyn kernel::pool::Pool, &Threads::new(3)] {
            let found: BTreeMap<String, String> = values(Exec { backend, pool }).into_iter().collect();
            assert_eq!(found, stored(), "{}", backend.name());
        }
    }
}

#[test]
fn vectors_of_the_tiny_models_are_those_of_the_self_test_and_of_the_page() {
    let stored = stored();
    for (name, digest) in [
        ("generation", golden::EXPECTED),
        ("sampling", golden::EXPECTED_SAMPLING),
        ("training", golden::EXPECTED_TRAINING),
    ] {
        assert_eq!(stored[name], digest, "{name}");
    }
    let rows: BTreeMap<String, String> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix("` |")?.split_once("` | `"))
        .filter(|(name, _)| stored.contains_key(*name))
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    assert_eq!(rows, stored, "the golden values of docs/numerics.md");
}
