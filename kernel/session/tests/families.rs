//! Families of models: what transformers computes with tiny ones of each (see `families/README.md`), computed here.
#![allow(clippy::unwrap_used)] // As in any test; clippy does not take these helpers for tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kernel::Exec;
use kernel::generate::{Generation, Progress, Request, Sampler};
use kernel::model::{KvCache, Logits, LoraConfig, Model, Sequence, Workspace};
use kernel::pool::{SerialPool, ThreadPool};
use kernel::simd::Backend;
use kernel::train::{Optimizer, Schedule, TrainOptions, Trainer, gradients};
use loader::{Access, Checkpoint, TensorSource, write_safetensors};
use serde::Deserialize;
use serde_json::{Value, json};
use session::ModelError;
use session::adapter::{adapter_digest, attach, export};

const FAMILIES: [&str; 3] = ["llama3", "qwen2", "sharded"];

#[derive(Deserialize)]
struct Reference {
    prompt: Vec<u32>,
    greedy: Vec<u32>,
    torch_f32_max_abs_logit_error: f64,
    last_logits: Vec<f64>,
    sampled: Vec<Sample>,
    text: Vec<u32>,
    loss: f64,
    gradients: BTreeMap<String, Gradient>,
    torch_f32_max_gradient_error: f64,
    rate: f64,
    losses: Vec<f64>,
}

#[derive(Deserialize)]
struct Sample {
    at: Vec<usize>,
    values: Vec<f64>,
}

#[derive(Deserialize)]
struct Gradient {
    norm: f64,
    at: Vec<usize>,
    values: Vec<f64>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families").join(name)
}

fn read(name: &str, file: &str) -> Vec<u8> {
    std::fs::read(folder(name).join(file)).unwrap()
}

fn reference(name: &str) -> Reference {
    serde_json::from_slice(&read(name, "reference.json")).unwrap()
}

fn checkpoint(name: &str) -> Checkpoint {
    Checkpoint::open(&folder(name), Access::Read).unwrap()
}

fn load(name: &str) -> Model {
    session::model(session::config(&read(name, "config.json")).unwrap(), &checkpoint(name)).unwrap()
}

/// The same with another config.json.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> Result<Model, ModelError> {
    let mut config: Value = serde_json::from_slice(&read(name, "config.json")).unwrap();
    change(&mut config);
    session::model(session::config(config.to_string().as_bytes())?, &checkpoint(name))
}

/// Every backend of this machine, alone and on three threads.
fn everywhere(mut f: impl FnMut(Exec<'_>)) {
    let threads = ThreadPool::new(3).unwrap();
    for backend in Backend::available() {
        f(Exec { backend, pool: &SerialPool });
        f(Exec { backend, pool: &threads });
    }
}

/// The logits of all positions, read in pieces of so many tokens.
fn logits(exec: Exec<'_>, model: &Model, ids: &[u32], piece: usize) -> Vec<f32> {
    let (mut cache, mut workspace, mut all) = (KvCache::new(model.config()), Workspace::default(), vec![]);
    for piece in ids.chunks(piece) {
        model.forward(exec, &mut cache, piece, Logits::All, &mut workspace).unwrap();
        all.extend_from_slice(workspace.logits());
    }
    all
}

/// The largest distance of the logits from those of the reference.
fn error(model: &Model, reference: &Reference) -> f64 {
    let logits = logits(Exec::serial(), model, &reference.prompt, usize::MAX);
    let rows: Vec<&[f32]> = logits.chunks_exact(model.config().vocab).collect();
    assert_eq!(rows.len(), reference.sampled.len());
    let sampled = rows.iter().zip(&reference.sampled).flat_map(|(row, Sample { at, values })| {
        at.iter().zip(values).map(|(at, value)| (f64::from(row[*at]) - value).abs())
    });
    assert_eq!(rows[rows.len() - 1].len(), reference.last_logits.len());
    let last = rows[rows.len() - 1].iter().zip(&reference.last_logits).map(|(ours, value)| f64::from(*ours) - value);
    sampled.chain(last.map(f64::abs)).fold(0.0, |largest, error| if error <= largest { largest } else { error })
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn logits_are_as_near_to_float64_as_those_of_torch() {
    for name in FAMILIES {
        let (model, reference) = (load(name), reference(name));
        let (error, bound) = (error(&model, &reference), 1.5 * reference.torch_f32_max_abs_logit_error);
        assert!(error <= bound, "{name}: {error:e} is more than {bound:e}");
    }
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    for name in FAMILIES {
        let (model, Reference { prompt, greedy, .. }) = (load(name), reference(name));
        everywhere(|exec| {
            let (prompt, max_tokens) = (prompt.clone(), greedy.len());
            let request = Request { prompt, max_tokens, ignore_eos: true, sampler: Sampler::GREEDY, logprobs: None };
            let mut generation = Generation::new(&model, request).unwrap();
            while !matches!(generation.advance(&model, exec).unwrap(), Progress::Finished(_)) {}
            let ids: Vec<u32> = generation.steps().iter().map(|step| step.token_id).collect();
            assert_eq!(ids, greedy, "{name} on {}", exec.backend.name());
        });
    }
}

#[test]
fn n11_no_bit_depends_on_backend_threads_or_pieces() {
    for name in FAMILIES {
        let (model, Reference { prompt, .. }) = (load(name), reference(name));
        let expected = bits(&logits(Exec { backend: Backend::SCALAR, pool: &SerialPool }, &model, &prompt, 1));
        everywhere(|exec| {
            for piece in [3, 16, usize::MAX] {
                assert!(bits(&logits(exec, &model, &prompt, piece)) == expected, "{name} on {}", exec.backend.name());
            }
        });
    }
}

#[test]
fn gradients_are_those_of_transformers() {
    for name in FAMILIES {
        let (model, reference) = (load(name), reference(name));
        let batch = [Sequence::new(reference.text.clone())];
        let table = model.trainable();
        let names: Vec<&str> = table.iter().map(|row| &*row.name).collect();
        assert!(
            reference.gradients.keys().all(|name| names.contains(&&**name)) && names.len() == reference.gradients.len()
        );
        let (mut worst, mut first) = (0.0, None);
        everywhere(|exec| {
            let (loss, found) = gradients(exec, &model, &batch, false).unwrap();
            assert!((f64::from(loss) - reference.loss).abs() <= 2e-6 * reference.loss, "{name}: {loss}");
            let all: Vec<&[f32]> = (0..table.len()).map(|index| found.get(index).unwrap()).collect();
            let all_bits = bits(&all.concat());
            assert!(*first.get_or_insert(all_bits.clone()) == all_bits, "{name} on {}", exec.backend.name());
            for (row, ours) in table.iter().zip(all) {
                let Gradient { norm, at, values } = &reference.gradients[&row.name];
                let length = ours.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
                let differences = at.iter().zip(values).map(|(at, value)| f64::from(ours[*at]) - value);
                for difference in differences.chain([length - norm]) {
                    let difference = difference.abs() / norm;
                    worst = if difference <= worst { worst } else { difference };
                }
            }
        });
        let bound = 3.0 * reference.torch_f32_max_gradient_error;
        assert!(worst <= bound, "{name}: {worst:e} of the norm is more than {bound:e}");
    }
}

#[test]
fn training_goes_as_in_transformers() {
    for name in FAMILIES {
        let (model, reference) = (load(name), reference(name));
        let batch = [Sequence::new(reference.text.clone())];
        let schedule = Schedule { learning_rate: reference.rate, warmup: 0, cosine_steps: None };
        let optimizer = Optimizer::Sgd { momentum: 0.0 };
        let options = TrainOptions { optimizer, schedule, clip_norm: None, recompute: false };
        let mut digest = None;
        everywhere(|exec| {
            let mut trainer = Trainer::new(&model, options);
            let losses: Vec<f32> =
                (1..reference.losses.len()).map(|_| trainer.step(exec, &batch).unwrap().loss).collect();
            let report = trainer.step(exec, &batch).unwrap();
            for (ours, theirs) in losses.into_iter().chain([report.loss]).zip(&reference.losses) {
                let difference = (f64::from(ours) - theirs).abs() / theirs;
                assert!(difference <= 1e-5, "{name}: {ours} instead of {theirs}");
            }
            assert_eq!(*digest.get_or_insert(report.digest), report.digest, "{name} on {}", exec.backend.name());
        });
        assert!(reference.losses.last() < reference.losses.first(), "it learns");
    }
}

#[test]
fn adapters_go_with_every_family() {
    for name in FAMILIES {
        let (model, Reference { prompt, text, .. }) = (load(name), reference(name));
        let lora = LoraConfig::new(model.config(), 3, 6.0, &["q_proj", "v_proj", "o_proj", "up_proj"]).unwrap();
        let schedule = Schedule { learning_rate: 0.01, warmup: 0, cosine_steps: None };
        let optimizer = Optimizer::adamw(0.0);
        let options = TrainOptions { optimizer, schedule, clip_norm: None, recompute: true };
        let mut trainer = Trainer::new(&model.with_new_adapter(&lora, 1), options);
        let losses: Vec<f32> =
            (0..6).map(|_| trainer.step(Exec::serial(), &[Sequence::new(text.clone())]).unwrap().loss).collect();
        assert!(losses[5] < losses[0], "{name}: {losses:?}");
        let adapted = trainer.into_model().unwrap();
        let files = export(&adapted, name).unwrap();
        let again = attach(&model, &files.adapter_config, files.adapter_model).unwrap();
        assert_eq!(adapter_digest(&again), adapter_digest(&adapted));
        let of = |model: &Model| logits(Exec::serial(), model, &prompt, usize::MAX);
        let (beside, base) = (of(&again), of(&model));
        assert!(bits(&beside) == bits(&of(&adapted)) && bits(&beside) != bits(&base));
        let merged = of(&adapted.merged(Exec::serial()));
        let near = beside.iter().zip(&merged).all(|(a, b)| (a - b).abs() <= 1e-3);
        assert!(near, "{name}: merged, it is another model");
    }
}

/// Each part of what is special about these models shows in the logits: without it the comparison fails.
#[test]
fn what_is_left_out_shows() {
    let error_of = |name: &str, model: &Model| error(model, &reference(name));
    for (name, key, value) in [
        ("llama3", "rope_type", json!("default")),
        ("llama3", "factor", json!(8.01)),
        ("llama3", "low_freq_factor", json!(1.01)),
        ("llama3", "high_freq_factor", json!(4.04)),
        ("llama3", "original_max_position_embeddings", json!(65)),
        ("sharded", "factor", json!(2.51)),
        ("qwen2", "rope_theta", json!(1.01e6)),
    ] {
        let model = changed(name, |config| {
            config["rope_parameters"][key] = value;
            if config["rope_parameters"]["rope_type"] == "default" {
                config["rope_parameters"].as_object_mut().unwrap().remove("factor");
            }
        });
        assert!(error_of(name, &model.unwrap()) > 1e-3, "{name} {key}");
    }
    let at_zero = |name: &str, part: &str| {
        let model = load(name);
        let rows = model.trainable().into_iter().enumerate().filter(|(_, row)| row.name.contains(part));
        rows.fold(model, |model, (index, _)| model.with_tensor(index, |values| values.fill(0.0)))
    };
    for (name, part) in [
        ("qwen2", "q_proj.bias"),
        ("qwen2", "k_proj.bias"),
        ("qwen2", "v_proj.bias"),
        ("sharded", "o_proj.bias"),
        ("sharded", "gate_proj.bias"),
        ("sharded", "up_proj.bias"),
        ("sharded", "down_proj.bias"),
    ] {
        assert!(error_of(name, &at_zero(name, part)) > 1e-3, "{name} {part}");
    }
}

#[test]
fn both_layouts_of_a_configuration_are_read() {
    for name in FAMILIES {
        let old = changed(name, |config| {
            let mut rope = config["rope_parameters"].take();
            config["rope_theta"] = rope["rope_theta"].take();
            config["rope_scaling"] = if rope["rope_type"] == "default" { Value::Null } else { rope };
        });
        assert_eq!(old.unwrap().config(), load(name).config(), "{name}");
    }
    let config = load("llama3").config().clone();
    assert_eq!((config.head_dim, config.q_dim(), config.dim, config.tied), (16, 64, 32, false));
    assert_eq!(config.eos, [596, 599]);
    assert!(checkpoint("sharded").shards().len() > 1);
}

#[test]
fn a_tensor_that_is_not_read_is_refused() {
    let message = |name: &str, key: &str, value: Value| {
        changed(name, |config| config[key] = value).map(|_| ()).unwrap_err().to_string()
    };
    let unread = message("sharded", "mlp_bias", json!(false));
    assert!(unread.contains("tensor \"model.layers.0.mlp.") && unread.contains("does not read"), "{unread}");
    let unread = message("sharded", "attention_bias", json!(false));
    assert!(unread.contains(".bias\", which the model"), "{unread}");
    let unread = message("llama3", "tie_word_embeddings", json!(true));
    assert!(unread.contains("tensor \"lm_head.weight\", which the model"), "{unread}");
    let missing = message("llama3", "attention_bias", json!(true));
    assert!(missing.contains("no tensor \"model.layers.0.self_attn.q_proj.bias\""), "{missing}");
    let missing = message("qwen2", "tie_word_embeddings", json!(false));
    assert!(missing.contains("no tensor \"lm_head.weight\""), "{missing}");
    let family = message("qwen2", "model_type", json!("qwen3"));
    assert!(family.contains("normalises the queries and keys"), "{family}");
    assert_eq!(family.matches("config.json").count(), 1, "{family}");
}

/// The model with a further tensor: another one under a new name.
fn with_copy(name: &str, of: &str, new: &str) -> Result<Model, ModelError> {
    let checkpoint = checkpoint(name);
    let names = checkpoint.tensors().map(|(info, _)| (info.name.as_str(), info.name.as_str()));
    let all: Vec<(&str, &str)> = names.chain([(of, new)]).collect();
    let tensors: Vec<TensorSource> = all
        .iter()
        .map(|(of, name)| {
            let (info, _) = checkpoint.tensor(of).unwrap();
            let bytes = checkpoint.tensor_bytes(of).unwrap();
            TensorSource { name, dtype: info.dtype, shape: &info.shape, bytes }
        })
        .collect();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{new}.safetensors"));
    write_safetensors(&path, &tensors, &BTreeMap::new()).unwrap();
    session::model(
        session::config(&read(name, "config.json")).unwrap(),
        &Checkpoint::open_file(&path, Access::Read).unwrap(),
    )
}

#[test]
fn a_tensor_that_says_nothing_new_is_not_refused() {
    assert!(with_copy("qwen2", "model.embed_tokens.weight", "lm_head.weight").is_ok(), "the tied head once more");
    assert!(with_copy("llama3", "model.norm.weight", "model.layers.0.self_attn.rotary_emb.inv_freq").is_ok());
    let another = with_copy("qwen2", "model.norm.weight", "lm_head.weight").unwrap_err().to_string();
    assert!(another.contains("\"lm_head.weight\""), "{another}");
    let another =
        with_copy("qwen2", "model.norm.weight", "model.layers.0.self_attn.q_norm.weight").unwrap_err().to_string();
    assert!(another.contains("q_norm"), "{another}");
}
