//! Training in the engine is the kernel's, and leaves nothing behind after a reset.

use bpe::Message;
use browser::engine::{Advance, Engine, Run};
use browser::training::{Lesson, Method, Settings};
use kernel::Exec;
use kernel::generate::Sampler;
use kernel::golden::Tiny;
use kernel::model::{Config, DType, LoraConfig, Model, RawTensor, Sequence};
use kernel::ops::Weights;
use kernel::train::{self, Optimizer, Schedule, StepReport, TrainOptions, Trainer};
use kernel::transcript::{Identity, TrainingTranscript, data_digest};
use loader::digest::{TensorDigest, sha256, weights_digest};
use session::adapter::{DEFAULT_TARGETS, Shape, adapter_digest, attach, export};

use crate::engine::{config, load_filled, tensors, tokenizer};

pub const TEXT: &str = "aéaéaaéé<end>";
pub const SGD: Optimizer = Optimizer::Sgd { momentum: 0.0 };
pub const ADAMW: Optimizer = Optimizer::adamw(0.0);

/// Numbers between -1 and 1, every one another.
fn fill() -> Vec<u8> {
    (0..64).flat_map(|i| ((i * 37 % 64) as f32 / 32.0 - 1.0).to_le_bytes()).collect()
}

pub fn engine() -> Engine {
    let (config, tokenizer) = (config().to_string(), tokenizer("a", "Ã").to_string());
    load_filled(&config, &tokenizer, tensors(), loader::DType::F32, &fill()).unwrap()
}

/// The engine's model, made without the engine.
pub fn model() -> Model {
    let config = Config {
        vocab: 4,
        dim: 2,
        hidden: 2,
        layers: 1,
        heads: 1,
        kv_heads: 1,
        head_dim: 2,
        context: 100,
        eos: vec![3],
        ..Tiny::One.config()
    };
    let source = |name: &str| {
        let (_, shape) = tensors().into_iter().find(|(known, _)| known == name)?;
        let bytes = fill()[..4 * shape.iter().product::<usize>()].to_vec();
        Some(RawTensor { dtype: DType::F32, shape, bytes: bytes.into() })
    };
    Model::load(config, &source).unwrap()
}

/// All weights, and an adapter so small that it fits them.
pub const FULL: Method = Method::Full;

pub fn lora(seed: u64) -> Method {
    Method::Lora { shape: Shape { rank: Some(2), ..Shape::default() }, seed }
}

pub fn begin(
    engine: &mut Engine,
    text: &str,
    learning_rate: f64,
    optimizer: Optimizer,
    method: Method,
) -> Result<usize, String> {
    let settings = Settings { learning_rate, optimizer, method, private: false };
    engine.begin_training(&Lesson::Text(text.to_owned()), &settings).map_err(|error| error.to_string())
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
    begin(engine, text, rate, optimizer, FULL).unwrap();
    (0..steps).map(|_| engine.train_step().unwrap()).collect()
}

/// Ids, digests of the logits, and the transcript.
fn generate(engine: &Engine) -> (Vec<(u32, [u8; 32])>, [u8; 32]) {
    let mut run = Run::new(engine, vec![1], 3, Sampler::GREEDY, vec![]).unwrap();
    let mut steps = Vec::new();
    loop {
        if let Advance::Token { token_id, logits_sha256, end, .. } = run.advance(engine).unwrap() {
            steps.push((token_id, logits_sha256));
            if let Some(end) = end {
                return (steps, end.transcript);
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
            engine.finish_training().unwrap();
            assert_eq!(engine.identity().weights, digest_of(trainer.model()));
            assert!(expected[2].loss < expected[0].loss);
        }
    }
}

#[test]
fn texts_are_generated_with_the_trained_weights_and_name_them_until_the_reset() {
    let mut engine = engine();
    let (weights, before) = (engine.identity().weights, generate(&engine));
    train(&mut engine, TEXT, 0.1, SGD, 4);
    engine.finish_training().unwrap();
    assert_ne!(engine.identity().weights, weights);
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
    let transcript = engine.finish_training().unwrap();
    let weights = engine.identity().weights;
    assert_eq!(train(&mut engine, TEXT, 0.1, SGD, 2), first);
    assert_eq!(engine.finish_training().unwrap(), transcript);
    assert_eq!(engine.identity().weights, weights);
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
    let run = Run::new(&engine, vec![1], 3, Sampler::GREEDY, vec![]).unwrap();
    let refusal = begin(&mut engine, TEXT, 0.1, SGD, FULL).unwrap_err();
    assert!(refusal.contains("a text is being generated"), "{refusal}");
    assert!(engine.reset().is_err());
    assert!(engine.load_adapter(b"{}", 0, |_| ()).unwrap_err().to_string().contains("a text is being generated"));
    drop(run);
    train(&mut engine, TEXT, 0.1, SGD, 1);
    for refusal in [
        Run::new(&engine, vec![1], 3, Sampler::GREEDY, vec![]).err().unwrap().to_string(),
        engine.gradients(TEXT).unwrap_err().to_string(),
        engine.export_adapter().unwrap_err().to_string(),
        engine.load_adapter(b"{}", 0, |_| ()).unwrap_err().to_string(),
        begin(&mut engine, TEXT, 0.1, SGD, FULL).unwrap_err(),
    ] {
        assert!(refusal.contains("is being trained"), "{refusal}");
    }
    engine.reset().unwrap();
    assert!(Run::new(&engine, vec![1], 3, Sampler::GREEDY, vec![]).is_ok());
}

#[test]
fn what_cannot_be_trained_is_refused_with_its_numbers() {
    let mut engine = engine();
    let mut refusal = |text: &str, rate, method| begin(&mut engine, text, rate, SGD, method).unwrap_err();
    for method in [FULL, lora(0)] {
        assert!(refusal("a", 0.1, method.clone()).contains("at least 2 are needed"));
        assert!(refusal(&"a".repeat(101), 0.1, method.clone()).contains("101 tokens, more than the context of 100"));
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 1e-60] {
            assert!(refusal(TEXT, rate, method.clone()).contains(&format!("learningRate is {rate:?}")));
        }
    }
    let shape = |rank, alpha, target: &str| {
        let targets = Some(vec![target.to_owned()]);
        Method::Lora { shape: Shape { rank: Some(rank), alpha: Some(alpha), targets }, seed: 0 }
    };
    assert!(refusal(TEXT, 0.1, shape(3, 1.0, "q_proj")).contains("rank is 3; choose one from 1 to 2"));
    assert!(refusal(TEXT, 0.1, shape(2, -1.0, "q_proj")).contains("alpha is -1"));
    assert!(refusal(TEXT, 0.1, shape(2, 1.0, "lm_head")).contains("target \"lm_head\" is not supported"));
    assert!(engine.gradients("a").unwrap_err().to_string().contains("at least 2 are needed"));
    assert!(engine.export_adapter().unwrap_err().to_string().contains("no adapter is in use"));
    for error in [engine.train_step().unwrap_err(), engine.finish_training().unwrap_err()] {
        assert!(error.to_string().contains("no training is under way"));
    }
}

#[test]
fn a_training_that_leaves_the_finite_numbers_ends_at_the_base_weights() {
    let mut engine = engine();
    let before = (engine.identity().weights, generate(&engine));
    begin(&mut engine, TEXT, 1e38, SGD, FULL).unwrap();
    let error = (0..9).find_map(|_| engine.train_step().err()).expect("the rate is far too high").to_string();
    assert!(error.contains("is not a finite number"), "{error}");
    assert!(engine.train_step().is_err());
    assert_eq!((engine.identity().weights, generate(&engine)), before);
}

/// AdamW divides the rate by 0.1 in its first step, which makes it infinite here; loss and gradients are finite.
#[test]
fn weights_that_are_not_finite_are_refused_at_the_end() {
    for method in [FULL, lora(0)] {
        let mut engine = engine();
        let before = (engine.identity().clone(), generate(&engine));
        begin(&mut engine, TEXT, 1e38, ADAMW, method).unwrap();
        engine.train_step().unwrap();
        let error = engine.finish_training().unwrap_err().to_string();
        assert!(error.contains("are not all finite numbers"), "{error}");
        assert_eq!((engine.identity().clone(), generate(&engine)), before);
    }
}

#[test]
fn an_adapter_is_trained_as_the_kernel_does_and_leaves_the_weights_alone() {
    for optimizer in [SGD, ADAMW] {
        let mut engine = engine();
        let (identity, before) = (engine.identity().clone(), generate(&engine));
        begin(&mut engine, TEXT, 0.05, optimizer, lora(7)).unwrap();
        let steps: Vec<_> = (0..3).map(|_| engine.train_step().unwrap()).collect();
        let transcript = engine.finish_training().unwrap();

        let schedule = Schedule { learning_rate: 0.05, warmup: 0, cosine_steps: None };
        let options = TrainOptions { optimizer, schedule, clip_norm: None, recompute: false };
        let shape = LoraConfig::new(model().config(), 2, 16.0, &DEFAULT_TARGETS).unwrap();
        let start = model().with_new_adapter(&shape, 7);
        let mut trainer = Trainer::new(&start, options);
        let batch = batch(&engine, TEXT);
        let expected: Vec<_> = (0..3).map(|_| trainer.step(Exec::serial(), &batch).unwrap()).collect();
        assert_eq!(steps, expected);
        assert_eq!(engine.identity().weights, identity.weights);
        let trained = adapter_digest(trainer.model()).unwrap();
        assert_eq!(engine.identity().adapter, Some(trained));
        let base = Identity { adapter: adapter_digest(&start), ..identity.clone() };
        let expected_transcript =
            TrainingTranscript { base, data: data_digest(&batch), options, steps: expected[2].digest, trained };
        assert_eq!(transcript.transcript, expected_transcript.digest());
        assert_eq!(engine.export_adapter().unwrap(), export(trainer.model(), "zero").unwrap());
        assert_ne!(generate(&engine), before);

        engine.reset().unwrap();
        assert_eq!((engine.identity().clone(), generate(&engine)), (identity, before));
        // Another seed is another adapter.
        begin(&mut engine, TEXT, 0.05, optimizer, lora(8)).unwrap();
        assert_ne!((0..3).map(|_| engine.train_step().unwrap()).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn an_adapter_that_was_exported_gives_the_same_texts_when_it_is_loaded() {
    let mut engine = engine();
    begin(&mut engine, TEXT, 0.1, SGD, lora(0)).unwrap();
    engine.train_step().unwrap();
    engine.finish_training().unwrap();
    let learnt = (engine.identity().clone(), generate(&engine), engine.gradients(TEXT).unwrap());
    let files = engine.export_adapter().unwrap();
    // Neither a reset nor other weights in between matter.
    train(&mut engine, TEXT, 0.1, SGD, 1);
    engine.finish_training().unwrap();
    let load = |engine: &mut Engine, config: &[u8], weights: &[u8]| {
        engine
            .load_adapter(config, weights.len(), |room| room.copy_from_slice(weights))
            .map_err(|error| error.to_string())
    };
    load(&mut engine, &files.adapter_config, &files.adapter_model).unwrap();
    assert_eq!((engine.identity().clone(), generate(&engine), engine.gradients(TEXT).unwrap()), learnt);
    assert_eq!(engine.export_adapter().unwrap(), files);

    let cut = &files.adapter_model[..files.adapter_model.len() - 1];
    assert!(load(&mut engine, &files.adapter_config, cut).unwrap_err().starts_with("adapter_model.safetensors"));
    assert!(load(&mut engine, b"{}", &files.adapter_model).unwrap_err().starts_with("adapter_config.json"));
    let mut infinite = files.adapter_model.clone();
    let end = infinite.len();
    infinite[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    assert!(load(&mut engine, &files.adapter_config, &infinite).unwrap_err().contains("not finite numbers"));
    assert_eq!((engine.identity().clone(), generate(&engine)), (learnt.0, learnt.1), "a refusal changes nothing");
    assert!(attach(&model(), &files.adapter_config, files.adapter_model).is_ok());
}

#[test]
fn of_a_conversation_the_answers_are_learnt() {
    let told =
        [("user", "aé"), ("assistant", "é")].map(|(role, text)| Message { role: role.into(), content: text.into() });
    let settings = Settings { learning_rate: 0.1, optimizer: SGD, method: FULL, private: false };
    let mut engine = engine();
    let tokens = engine.begin_training(&Lesson::Messages(told.to_vec()), &settings).unwrap();
    let step = engine.train_step().unwrap();
    // The template of the test model writes the messages and an end after each.
    let (ids, answer) = (engine.encode("aé<end>é<end>", bpe::Special::Parse), 3);
    let counted = (0..ids.len()).map(|at| at + answer >= ids.len()).collect();
    assert_eq!(tokens, ids.len());
    let (loss, _) = train::gradients(Exec::serial(), &model(), &[Sequence { tokens: ids, counted }], false).unwrap();
    assert_eq!(step.loss, loss);
    engine.reset().unwrap();
    let question = Lesson::Messages(told[..1].to_vec());
    let error = engine.begin_training(&question, &settings).unwrap_err().to_string();
    assert!(error.contains("the conversation: no message is the assistant's"), "{error}");
}
