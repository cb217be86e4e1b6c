//! Training in the engine is the kernel's, and leaves nothing behind after a reset.

use browser::engine::{Advance, Engine, Run};
use kernel::Exec;
use kernel::model::{Config, DType, Model, RawTensor, Sequence};
use kernel::ops::Weights;
use kernel::train::{self, Optimizer, Schedule, StepReport, TrainOptions, Trainer};
use loader::digest::{TensorDigest, sha256, weights_digest};

use crate::engine::{config, load_filled, tensors, tokenizer};

const TEXT: &str = "aéaéaaéé<end>";
const SGD: Optimizer = Optimizer::Sgd { momentum: 0.0 };
const ADAMW: Optimizer = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };

/// Numbers between -1 and 1, every one another.
fn fill() -> Vec<u8> {
    (0..64).flat_map(|i| ((i * 37 % 64) as f32 / 32.0 - 1.0).to_le_bytes()).collect()
}

fn engine() -> Engine {
    let (config, tokenizer) = (config().to_string(), tokenizer("a", "Ã").to_string());
    load_filled(&config, &tokenizer, tensors(), loader::DType::F32, &fill()).unwrap()
}

/// The engine's model, made without the engine.
fn model() -> Model {
    let config = Config {
        vocab: 4,
        dim: 2,
        hidden: 2,
        layers: 1,
        heads: 1,
        kv_heads: 1,
        head_dim: 2,
        context: 100,
        rope_theta: 10000.0,
        rms_norm_eps: 1e-5,
        tied: true,
        attention_bias: false,
        mlp_bias: false,
        eos: vec![3],
    };
    let source = |name: &str| {
        let (_, shape) = tensors().into_iter().find(|(known, _)| known == name)?;
        let bytes = fill()[..4 * shape.iter().product::<usize>()].to_vec();
        Some(RawTensor { dtype: DType::F32, shape, bytes: bytes.into() })
    };
    Model::load(config, &source).unwrap()
}

fn batch(engine: &Engine, text: &str) -> [Sequence; 1] {
    [Sequence::new(engine.encode(text, bpe::Special::Parse))]
}

fn digest_of(model: &Model) -> [u8; 32] {
    weights_digest(model.tensors().map(|(parameter, weights)| {
        let Weights::F32(values) = weights else { panic!("{} is not binary32", parameter.name) };
        tensor(parameter.name, parameter.shape, values)
    }))
}

fn tensor(name: String, shape: Vec<usize>, values: &[f32]) -> TensorDigest {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorDigest { name, dtype: loader::DType::F32, shape, sha256: sha256(&bytes) }
}

fn train(engine: &mut Engine, text: &str, rate: f64, optimizer: Optimizer, steps: usize) -> Vec<StepReport> {
    engine.begin_training(text, rate, optimizer).unwrap();
    (0..steps).map(|_| engine.train_step().unwrap()).collect()
}

/// Ids, digests of the logits, and the transcript.
fn generate(engine: &Engine) -> (Vec<(u32, [u8; 32])>, [u8; 32]) {
    let mut run = Run::new(engine, vec![1], 3).unwrap();
    let mut steps = Vec::new();
    loop {
        if let Advance::Token { token_id, logits_sha256, end, .. } = run.advance(engine).unwrap() {
            steps.push((token_id, logits_sha256));
            if let Some((_, transcript)) = end {
                return (steps, transcript);
            }
        }
    }
}

#[test]
fn steps_and_weights_are_those_of_the_kernel_trainer() {
    for optimizer in [SGD, ADAMW] {
        // The second text is long enough to have its activations computed again, which must not matter.
        for text in [TEXT.to_owned(), "aé".repeat(30)] {
            let mut engine = engine();
            let schedule = Schedule { learning_rate: 0.05, warmup: 0, cosine_steps: None };
            let options = TrainOptions { optimizer, schedule, clip_norm: None, recompute: false };
            let mut trainer = Trainer::new(&model(), options);
            let batch = batch(&engine, &text);
            let expected: Vec<_> = (0..3).map(|_| trainer.step(Exec::serial(), &batch).unwrap()).collect();
            assert_eq!(train(&mut engine, &text, 0.05, optimizer, 3), expected);
            assert_eq!(engine.finish_training().unwrap(), digest_of(trainer.model()));
            assert!(expected[2].loss < expected[0].loss);
        }
    }
}

#[test]
fn texts_are_generated_with_the_trained_weights_and_name_them_until_the_reset() {
    let mut engine = engine();
    let (weights, before) = (engine.identity().weights, generate(&engine));
    train(&mut engine, TEXT, 0.1, SGD, 4);
    let trained = engine.finish_training().unwrap();
    assert_eq!(engine.identity().weights, trained);
    assert_ne!(trained, weights);
    let after = generate(&engine);
    assert!(after.0.iter().zip(&before.0).all(|(a, b)| a.1 != b.1), "other weights, other logits");
    assert_ne!(after.1, before.1);
    engine.reset().unwrap();
    assert_eq!((engine.identity().weights, generate(&engine)), (weights, before));
}

#[test]
fn every_training_begins_with_the_base_weights() {
    let mut engine = engine();
    let first = train(&mut engine, TEXT, 0.1, SGD, 2);
    let digest = engine.finish_training().unwrap();
    assert_eq!(train(&mut engine, TEXT, 0.1, SGD, 2), first);
    assert_eq!(engine.finish_training().unwrap(), digest);
}

#[test]
fn gradients_are_those_of_the_present_weights() {
    let mut engine = engine();
    let expected = |model: &Model, batch: &[Sequence]| {
        let (loss, gradients) = train::gradients(Exec::serial(), model, batch, false).unwrap();
        let table = model.trainable().into_iter().enumerate();
        let digests = table.map(|(index, row)| tensor(row.name, row.shape, gradients.get(index).unwrap()));
        (loss, weights_digest(digests))
    };
    let batch = batch(&engine, TEXT);
    let base = expected(&model(), &batch);
    assert_eq!(engine.gradients(TEXT).unwrap(), base);
    let steps = train(&mut engine, TEXT, 0.1, SGD, 1);
    assert_eq!(steps[0].loss, base.0);
    engine.finish_training().unwrap();
    let schedule = Schedule { learning_rate: 0.1, warmup: 0, cosine_steps: None };
    let options = TrainOptions { optimizer: SGD, schedule, clip_norm: None, recompute: false };
    let mut trainer = Trainer::new(&model(), options);
    trainer.step(Exec::serial(), &batch).unwrap();
    assert_eq!(engine.gradients(TEXT).unwrap(), expected(trainer.model(), &batch));
}

#[test]
fn weights_do_not_change_under_a_generation() {
    let mut engine = engine();
    let run = Run::new(&engine, vec![1], 3).unwrap();
    let refusal = engine.begin_training(TEXT, 0.1, SGD).unwrap_err().to_string();
    assert!(refusal.contains("a text is being generated"), "{refusal}");
    assert!(engine.reset().is_err());
    drop(run);
    train(&mut engine, TEXT, 0.1, SGD, 1);
    for refusal in [
        Run::new(&engine, vec![1], 3).err().unwrap(),
        engine.gradients(TEXT).unwrap_err(),
        engine.begin_training(TEXT, 0.1, SGD).unwrap_err(),
    ] {
        assert!(refusal.to_string().contains("is being trained"), "{refusal}");
    }
    engine.reset().unwrap();
    assert!(Run::new(&engine, vec![1], 3).is_ok());
}

#[test]
fn what_cannot_be_trained_is_refused_with_its_numbers() {
    let mut engine = engine();
    let mut refusal = |text: &str, rate| engine.begin_training(text, rate, SGD).unwrap_err().to_string();
    assert!(refusal("a", 0.1).contains("at least 2 tokens"));
    assert!(refusal(&"a".repeat(101), 0.1).contains("101 tokens exceeds the context of 100"));
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
        assert!(refusal(TEXT, rate).contains(&format!("the learning rate is {rate}")));
    }
    assert!(engine.gradients("a").unwrap_err().to_string().contains("at least 2 tokens"));
    for error in [engine.train_step().unwrap_err(), engine.finish_training().unwrap_err()] {
        assert!(error.to_string().contains("no training is under way"));
    }
}

#[test]
fn a_training_that_leaves_the_finite_numbers_ends_at_the_base_weights() {
    let mut engine = engine();
    let before = (engine.identity().weights, generate(&engine));
    engine.begin_training(TEXT, 1e38, SGD).unwrap();
    let error = (0..9).find_map(|_| engine.train_step().err()).expect("the rate is far too high").to_string();
    assert!(error.contains("is not a finite number"), "{error}");
    assert!(engine.train_step().is_err());
    assert_eq!((engine.identity().weights, generate(&engine)), before);
}
