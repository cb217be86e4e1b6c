//! The model that the vectors are of, and what it generates and learns. docs/vectors/README.md says how to make it.

use bpe::Tokenizer;
use kernel::Exec;
use kernel::generate::{Request, Sampler, SamplerSettings};
use kernel::golden::Tiny;
use kernel::model::{Config, LoraConfig, Model, RawTensor, Sequence, parameters};
use kernel::ops::Weights;
use kernel::random::{Purpose, uniform};
use kernel::score::Scoring;
use kernel::train::{Optimizer, Schedule, StepReport, TrainOptions, Trainer};
use kernel::transcript::Identity;
use loader::digest::{sha256, weights_digest};
use session::adapter::adapter_digest;
use session::aggregate::{Client, Round};
use session::receipt::{Given, NewAdapter, Progress, Receipt, ScoringTerms, TrainingTerms, Verdict, Verification};
use session::tensors::{digest, model_digest};
use session::{Batches, Continuation, Progress as Advanced, Stop};

pub const SEED: u64 = 5;
pub const EOS: u32 = 7;
pub const PROMPT: [u32; 5] = [1, 2, 3, 50, 4];
pub const TOKENIZER: &[u8] = include_bytes!("../../../../docs/vectors/receipts/tokenizer.json");

/// The model of a seed.
pub fn model(seed: u64) -> Model {
    let config = Config { eos: vec![EOS], ..Tiny::One.config() };
    let table = parameters(&config);
    let source = |name: &str| {
        let row = table.iter().position(|row| row.name == name)?;
        let shape = table[row].shape.clone();
        let count = shape.iter().product::<usize>() as u64;
        let values: Vec<f32> = (0..count).map(|i| uniform(seed, Purpose::Golden, row as u32, i) - 0.5).collect();
        Some(RawTensor::from_f32(shape, &values))
    };
    Model::load(config, &source).unwrap()
}

/// What its results are known by.
pub fn identity(model: &Model) -> Identity {
    let tensors = model.tensors().map(|(row, weights)| match weights {
        Weights::F32(values) => digest(&row, values),
        Weights::Bf16(_) => unreachable!("the tensors are binary32"),
    });
    Identity { weights: weights_digest(tensors), adapter: adapter_digest(model), tokenizer: sha256(TOKENIZER) }
}

pub fn tokenizer() -> Tokenizer {
    Tokenizer::from_json(TOKENIZER).unwrap()
}

pub fn request(max_tokens: usize, change: impl FnOnce(&mut SamplerSettings)) -> Request {
    let mut settings = SamplerSettings::default();
    change(&mut settings);
    let sampler = Sampler::new(settings).unwrap();
    Request { prompt: PROMPT.to_vec(), max_tokens, ignore_eos: false, sampler, logprobs: None }
}

/// The receipt of a generation.
pub fn generated(model: &Model, request: &Request, private: bool) -> Receipt {
    stopped(model, request, &[], private)
}

/// The receipt of a generation that ends before these texts.
pub fn stopped(model: &Model, request: &Request, stop: &[&str], private: bool) -> Receipt {
    let stop = Stop::new(stop.iter().map(|text| text.to_string()).collect()).unwrap();
    let (mut text, tokenizer) = (Continuation::new(model, request.clone(), stop).unwrap(), tokenizer());
    while !matches!(text.advance(model, &tokenizer, Exec::serial()).unwrap(), Advanced::Finished(_)) {}
    text.receipt(model, &identity(model), private).unwrap()
}

pub fn options(optimizer: Optimizer) -> TrainOptions {
    let schedule = Schedule { learning_rate: 0.05, warmup: 2, cosine_steps: Some(6) };
    TrainOptions { optimizer, schedule, clip_norm: Some(1.0), recompute: false }
}

pub fn data() -> Vec<Sequence> {
    let marked = Sequence { tokens: vec![9, 8, 7, 6], counted: vec![false, false, true, true] };
    vec![Sequence::new(vec![1, 2, 3, 4, 5]), marked, Sequence::new(vec![30, 20, 10])]
}

/// The receipt of a training of all weights, or of a new adapter.
pub fn trained(model: &Model, adapter: Option<u64>, options: &TrainOptions, private: bool) -> Receipt {
    train(model, adapter, options, &data(), private).0
}

/// The receipt of a training on `data`, and what came out.
pub fn train(
    model: &Model,
    adapter: Option<u64>,
    options: &TrainOptions,
    data: &[Sequence],
    private: bool,
) -> (Receipt, Model) {
    let (seed, batch_size, steps) = (3, 2, 5);
    let lora = LoraConfig::new(model.config(), 3, 6.0, &["q_proj", "down_proj"]).unwrap();
    let start = adapter.map(|seed| model.with_new_adapter(&lora, seed));
    let start = start.as_ref().unwrap_or(model);
    let base = identity(start);
    let adapter = adapter.map(|seed| NewAdapter::new(&lora, seed));
    let terms = TrainingTerms { base: &base, adapter, options, batch_size, seed, data, private };
    let (mut trainer, mut batches) = (Trainer::new(start, *options), Batches::new(data, seed, batch_size));
    let reports: Vec<StepReport> =
        (0..steps).map(|step| trainer.step(Exec::serial(), &batches.after(step)).unwrap()).collect();
    let trained = trainer.into_model().unwrap();
    (terms.receipt(&reports, model_digest(&trained)).unwrap(), trained)
}

/// What three clients give, of which each learnt one of the sequences: weight, receipt and the model with their adapter.
pub fn clients(model: &Model) -> Vec<(u32, Receipt, Model)> {
    let adamw = options(Optimizer::adamw(0.0));
    let client = |(sequence, weight): (Sequence, u32)| {
        let (receipt, trained) = train(model, Some(11), &adamw, &[sequence], true);
        (weight, receipt, trained)
    };
    data().into_iter().zip([4, 2, 3]).map(client).collect()
}

/// The adapters of [`clients`].
pub fn adapters(model: &Model) -> Vec<Model> {
    clients(model).into_iter().map(|(_, _, adapted)| adapted).collect()
}

/// The receipt of the round of [`clients`], with the receipts of their trainings or without.
pub fn aggregated(model: &Model, with_receipts: bool) -> Receipt {
    let (clients, receipts): (Vec<Client>, Vec<(String, Vec<u8>)>) = clients(model)
        .into_iter()
        .map(|(weight, receipt, adapted)| {
            (Client::new(weight.to_string(), adapted, weight).unwrap(), (weight.to_string(), receipt.to_json()))
        })
        .unzip();
    let base = identity(model);
    let receipts = if with_receipts { &receipts[..] } else { &[] };
    let round = Round::new(clients).unwrap().with_receipts(&base, receipts).unwrap();
    round.receipt(&base, adapter_digest(&round.aggregate(Exec::serial())).unwrap()).unwrap()
}

/// The receipt of a scoring of the data.
pub fn scored(model: &Model, private: bool) -> Receipt {
    let data = data();
    let scores = data.iter().map(|sequence| {
        let mut scoring = Scoring::new(model, sequence.clone()).unwrap();
        loop {
            if let Some(scores) = scoring.advance(model, Exec::serial()).unwrap() {
                return scores;
            }
        }
    });
    let scores: Vec<_> = scores.collect();
    ScoringTerms { identity: &identity(model), data: &data, private }.receipt(&scores).unwrap()
}

/// The verdict on the bytes of a receipt, with this model.
pub fn verify(bytes: &[u8], model: &Model, given: Given) -> Verdict {
    let (identity, tokenizer) = (identity(model), tokenizer());
    let begin = |receipt: Receipt| Verification::begin(&receipt, model, &identity, given, &|_| Ok(()));
    let mut verification = match Receipt::from_json(bytes).map_err(Verdict::from).and_then(begin) {
        Ok(verification) => verification,
        Err(verdict) => return verdict,
    };
    let mut last = (0, u64::MAX);
    loop {
        match verification.advance(model, &tokenizer, Exec::serial()) {
            Progress::Done(verdict) => return verdict,
            Progress::Going { done, total } => {
                assert!(done <= total && (done >= last.0 || total != last.1), "{done} of {total} after {last:?}");
                last = (done, total);
            }
        }
    }
}
