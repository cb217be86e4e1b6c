//! Training the real model: as exact as the contract, as correct as torch (see `reference/README.md`).

use std::collections::BTreeMap;

use host::open::open;
use kernel::Exec;
use kernel::model::Sequence;
use kernel::pool::ThreadPool;
use kernel::simd::Backend;
use kernel::train::{Optimizer, Schedule, TrainOptions, Trainer, gradients};
use loader::{Access, Checkpoint};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::command::{Finished, lockstep, run, run_with_model};
use crate::model;

#[derive(Deserialize)]
struct Reference {
    text: String,
    ids: Vec<u32>,
    loss: f64,
    gradients: BTreeMap<String, Gradient>,
    loss_trajectories: BTreeMap<String, Vec<f64>>,
}

/// The norm of a tensor's gradient and a sample of its entries.
#[derive(Deserialize)]
struct Gradient {
    l2: f64,
    index: Vec<usize>,
    value: Vec<f64>,
}

fn references() -> Vec<Reference> {
    serde_json::from_str(include_str!("reference/train.json")).unwrap()
}

#[test]
fn gradients_equal_those_of_torch() {
    let opened = open(&model::dir(), Access::Map, None).unwrap();
    let pool = ThreadPool::new(ThreadPool::cores()).unwrap();
    let exec = Exec { backend: Backend::detect(), pool: &pool };
    for reference in references() {
        assert_eq!(opened.tokenizer.encode(&reference.text, bpe::Special::Parse), reference.ids);
        let batch = [Sequence::new(reference.ids)];
        let (loss, gradients) = gradients(exec, &opened.model, &batch, false).unwrap();
        let error = (f64::from(loss) - reference.loss).abs() / reference.loss;
        assert!(error <= 1e-5, "loss {loss}, not {}", reference.loss);
        let table = opened.model.trainable();
        assert_eq!(table.len(), reference.gradients.len());
        for (index, parameter) in table.iter().enumerate() {
            let (name, values) = (&parameter.name, gradients.get(index).unwrap());
            let expected = &reference.gradients[name];
            let l2 = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            assert!((l2 - expected.l2).abs() <= 5e-4 * expected.l2, "{name}: norm {l2}, not {}", expected.l2);
            let largest = values.iter().fold(0.0, |largest, v| f64::max(largest, f64::from(*v).abs()));
            for (at, truth) in expected.index.iter().zip(&expected.value) {
                let error = (f64::from(values[*at]) - truth).abs();
                assert!(error <= f64::max(1e-4 * largest, 1e-3 * truth.abs()), "{name}[{at}] is off by {error}");
            }
        }
    }
}

/// The curves are compared up to two steps before the loss of the reference first rises. It rises in one of them, the first text
/// with SGD at 0.01 (2.7312, 2.1983, 9.9415), and the step before the rise is as chaotic as those after it: there torch's own
/// float32 is off from its float64 by 2.8e-3 to 1.6e-1, depending on its threads and its attention (`reference/README.md`), and
/// this kernel by 1.0e-2. The bounds of this test do not hold there for anyone.
#[test]
fn losses_follow_those_of_torch() {
    let opened = open(&model::dir(), Access::Map, None).unwrap();
    let pool = ThreadPool::new(ThreadPool::cores()).unwrap();
    let exec = Exec { backend: Backend::detect(), pool: &pool };
    let sgd = Optimizer::Sgd { momentum: 0.0 };
    let adamw = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };
    for reference in references() {
        for (name, optimizer, learning_rate, bound) in [
            ("sgd_lr_0.001", sgd, 1e-3, 1e-4),
            ("sgd_lr_0.01", sgd, 1e-2, 1e-3),
            ("adamw_lr_1e-05_wd_0.01", adamw, 1e-5, 1e-3),
        ] {
            let curve = &reference.loss_trajectories[name];
            let rise = curve.windows(2).position(|pair| pair[1] > pair[0]);
            let compared = &curve[..rise.unwrap_or(curve.len())];
            assert!(compared.len() >= 3);
            let schedule = Schedule { learning_rate, warmup: 0, cosine_steps: None };
            let options = TrainOptions { optimizer, schedule, clip_norm: None, recompute: false };
            let mut trainer = Trainer::new(&opened.model, options);
            for expected in compared {
                let report = trainer.step(exec, &[Sequence::new(reference.ids.clone())]).unwrap();
                let error = (f64::from(report.loss) - expected).abs();
                assert!(error <= bound, "{name}, step {}: {}, not {expected}", report.step, report.loss);
            }
        }
    }
}

/// The lines of `train --json`.
fn lines(finished: &Finished) -> Vec<Value> {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.stderr, "");
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn train(arguments: &[&str]) -> Vec<Value> {
    lines(&run_with_model("train", &[&["--learning-rate", "0.001", "--json"], arguments].concat()))
}

fn without(mut lines: Vec<Value>, keys: &[&str]) -> Vec<Value> {
    lines.iter_mut().for_each(|line| keys.iter().for_each(|key| drop(line.as_object_mut().unwrap().remove(*key))));
    lines
}

const TEXT: &str = "The cat sat on the mat and purred loudly.";

/// One training, saved; every other way to compute it gives the same bits, and what was saved generates.
#[test]
fn a_training_is_the_same_however_it_runs_and_can_be_saved() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("trained");
    let dir = dir.to_str().unwrap();
    let text = ["--text", TEXT, "--steps", "2"];
    let saved = train(&[&text[..], &["--save", dir]].concat());
    let [first, second, end] = &saved[..] else { panic!("{saved:?}") };
    assert_eq!((&first["step"], &first["tokens"], &second["step"]), (&json!(1), &json!(11), &json!(2)));
    let bits = |line: &Value, key: &str| {
        let value: f32 = serde_json::from_value(line[key].clone()).unwrap();
        assert_eq!(line[format!("{key}_bits")], format!("{:08x}", value.to_bits()), "{key}");
        value
    };
    let reference = references()[0].loss_trajectories["sgd_lr_0.001"].clone();
    for (line, expected) in [first, second].into_iter().zip(reference) {
        assert!((f64::from(bits(line, "loss")) - expected).abs() < 1e-4);
        assert!(bits(line, "grad_norm") > 1.0);
        assert_eq!(bits(line, "learning_rate"), 0.001);
    }
    assert_eq!(end["saved_weights_sha256"], end["weights_sha256"]);

    let timeless = |lines| without(lines, &["tokens_per_second", "saved", "saved_weights_sha256", "threads"]);
    let expected = timeless(saved.clone());
    assert_eq!(timeless(train(&[&text[..], &["--threads", "1", "--recompute"]].concat())), expected);

    let mut command = lockstep("generate");
    command.args(["--model", dir, "--prompt", "The cat sat", "--max-tokens", "6", "--json"]);
    let generated = run(&mut command, b"").json();
    assert_eq!(generated["weights_sha256"], end["weights_sha256"]);
    assert_eq!(generated["model"], "trained");

    let provenance: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("trained/provenance.json")).unwrap()).unwrap();
    assert_eq!((&provenance["source"], &provenance["steps"]), (&json!("trained"), &json!(2)));
    assert_eq!(provenance["transcript_sha256"], end["transcript_sha256"]);

    let again = run_with_model("train", &[&text[..], &["--learning-rate", "1", "--save", dir]].concat());
    assert!(again.code == Some(1) && again.stderr.contains("trained"), "{again:?}");
}

#[test]
fn bf16_weights_are_rounded_and_have_a_digest_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("small");
    let all = train(&["--text", "The cat", "--steps", "1", "--save", dir.to_str().unwrap(), "--dtype", "bf16"]);
    let end = &all[1];
    assert_ne!(end["saved_weights_sha256"], end["weights_sha256"]);
    let checkpoint = Checkpoint::open(&dir, Access::Map).unwrap();
    assert_eq!(json!(loader::digest::hex(&checkpoint.digest())), end["saved_weights_sha256"]);
    assert!(checkpoint.tensors().all(|(info, _)| info.dtype == loader::DType::Bf16));
    let config: Value = serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["torch_dtype"], "bfloat16");
}

/// Texts and conversations, in batches and in a shuffled order; the seed decides it.
#[test]
fn lines_of_a_file_are_learnt_in_shuffled_batches() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data.jsonl");
    let chat = json!({ "messages": [
        { "role": "user", "content": "Hi" }, { "role": "assistant", "content": "Hello" } ] });
    let texts = ["One two.", "Three four five.", "Six seven eight nine."].map(|text| json!({ "text": text }));
    let lines: Vec<String> = texts.iter().chain([&chat]).map(Value::to_string).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let data = ["--data", file.to_str().unwrap(), "--steps", "2", "--batch-size", "2", "--clip-norm", "1"];
    let run = |flags: &[&str]| without(train(&[&data[..], flags].concat()), &["tokens_per_second"]);
    let expected = run(&[]);
    // An epoch is two batches of two: every line has been read.
    let tokens = |lines: &[Value]| lines[..2].iter().map(|line| line["tokens"].as_u64().unwrap()).sum::<u64>();
    let other = run(&["--seed", "2"]);
    assert_eq!(tokens(&expected), tokens(&other));
    assert_ne!(expected[0]["step_sha256"], other[0]["step_sha256"]);
    assert_eq!(expected[2]["data_sha256"], other[2]["data_sha256"]);
    assert_ne!(expected[2]["transcript_sha256"], other[2]["transcript_sha256"]);
}

#[test]
fn what_cannot_be_trained_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data.jsonl");
    std::fs::write(&file, "{\"text\":\"a b c\"}\n{\"text\":\"a b c d e f g h i j\"}\n").unwrap();
    let file = file.to_str().unwrap();
    let bad = folder.path().join("bad.jsonl");
    std::fs::write(&bad, "{\"text\":\"a b c\"}\n{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}\n").unwrap();
    for (arguments, code, words) in [
        (&["--text", "a"][..], 1, &["1 tokens", "at least 2"][..]),
        (&["--text", ""], 1, &["0 tokens"]),
        (&["--text", "a b c d e f", "--ctx-size", "4"], 1, &["6", "4"]),
        (&["--data", file, "--ctx-size", "4"], 1, &["line 2", "--truncate"]),
        (&["--data", bad.to_str().unwrap()], 1, &["line 2", "answer"]),
        (&["--data", "none.jsonl"], 1, &["none.jsonl"]),
        (&["--text", "a b", "--weight-decay", "0.1"], 1, &["--weight-decay", "adamw"]),
        (&["--text", "a b", "--optimizer", "adamw", "--momentum", "0.1"], 1, &["--momentum", "sgd"]),
        (&["--text", "a b", "--data", file], 2, &["--data"]),
        (&["--text", "a b", "--momentum", "1"], 2, &["below 1"]),
        (&["--text", "a b", "--clip-norm", "0"], 2, &["above 0"]),
        (&[], 2, &["--text"]),
    ] {
        let finished = run_with_model("train", &[&["--steps", "1", "--learning-rate", "0.1"], arguments].concat());
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(code), ""), "{arguments:?}: {finished:?}");
        assert!(words.iter().all(|word| finished.stderr.contains(word)), "{arguments:?}: {}", finished.stderr);
    }
}

#[test]
fn a_training_that_loses_itself_ends_with_the_step_and_saves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("trained");
    let arguments = ["--text", TEXT, "--steps", "4", "--learning-rate", "1e30", "--save", dir.to_str().unwrap()];
    let finished = run_with_model("train", &arguments);
    assert!(finished.code == Some(1) && finished.stderr.contains("step 2"), "{finished:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn gradients_are_written_with_their_loss() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let gradients = |flags: &[&str]| {
        let arguments = [&["--text", TEXT, "--output", file.to_str().unwrap(), "--json"], flags].concat();
        run_with_model("gradients", &arguments).json()
    };
    let report = gradients(&[]);
    let loss: f32 = serde_json::from_value(report["loss"].clone()).unwrap();
    assert!((f64::from(loss) / references()[0].loss - 1.0).abs() < 1e-5);
    assert_eq!((&report["tokens"], &report["loss_bits"]), (&json!(11), &json!(format!("{:08x}", loss.to_bits()))));
    let checkpoint = Checkpoint::open(folder.path(), Access::Map).unwrap();
    assert_eq!(json!(loader::digest::hex(&checkpoint.digest())), report["gradients_sha256"]);
    let header = checkpoint.shards()[0].header();
    let metadata = |key: &str| header.metadata().iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    assert_eq!(metadata("loss_bits"), report["loss_bits"].as_str().map(str::to_string));
    assert_eq!(metadata("loss"), Some(loss.to_string()));
    assert_eq!(header.tensors().len(), references()[0].gradients.len());
    assert_eq!(gradients(&["--threads", "1", "--recompute"])["gradients_sha256"], report["gradients_sha256"]);

    let refused = run_with_model("gradients", &["--text", "a", "--output", file.to_str().unwrap()]);
    assert!(refused.code == Some(1) && refused.stderr.contains("2 tokens"), "{refused:?}");
}
