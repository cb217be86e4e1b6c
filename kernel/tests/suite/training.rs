//! Training: the bits do not depend on how a step is computed, and optimisers follow the contract.

use crate::inputs::{Threads, backends, same_bits};
use crate::invariance::{model, tiny};
use kernel::Exec;
use kernel::model::{Config, HEAD_ROWS, Model, Sequence, parameters};
use kernel::ops::Weights;
use kernel::train::{Optimizer, Schedule, TrainError, TrainOptions, Trainer, gradients};

pub const ADAMW: Optimizer = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1 };
pub const SGD: Optimizer = Optimizer::Sgd { momentum: 0.0 };

pub fn options(optimizer: Optimizer) -> TrainOptions {
    let schedule = Schedule { learning_rate: 0.01, warmup: 0, cosine_steps: None };
    TrainOptions { optimizer, schedule, clip_norm: None, recompute: false }
}

pub fn configs() -> [Config; 3] {
    let tied = tiny();
    let biased = Config { tied: false, attention_bias: true, heads: 4, kv_heads: 2, ..tied.clone() };
    [Config { attention_output_bias: true, mlp_bias: true, ..biased.clone() }, biased, tied]
}

/// All weights of a model, as it computes with them.
pub fn weights(model: &Model) -> Vec<f32> {
    let widen = |(_, weights): (_, Weights<'_>)| match weights {
        Weights::F32(w) => w.to_vec(),
        Weights::Bf16(w) => w.iter().map(|w| kernel::simd::Weight::widen(*w)).collect(),
    };
    model.tensors().flat_map(widen).collect()
}

pub fn text(seed: u32, len: u32) -> Sequence {
    Sequence::new((0..len).map(|i| (i * i + seed) % 5).collect())
}

/// The weights after three steps, and the digest of the training.
fn train(exec: Exec<'_>, config: &Config, options: TrainOptions, batch: &[Sequence]) -> (Vec<f32>, [u8; 32]) {
    let mut trainer = Trainer::new(&model(config, 5), options);
    let reports: Vec<_> = (0..3).map(|_| trainer.step(exec, batch).unwrap()).collect();
    assert!(reports.iter().zip(1..).all(|(report, step)| report.step == step && report.loss.is_finite()));
    (weights(trainer.model()), reports[2].digest)
}

#[test]
fn n11_no_bit_of_a_training_depends_on_how_it_is_computed() {
    for config in configs() {
        for optimizer in [SGD, Optimizer::Sgd { momentum: 0.9 }, ADAMW] {
            let batch = [text(1, 20)];
            let expected = train(Exec::serial(), &config, options(optimizer), &batch);
            for backend in backends() {
                let exec = Exec { backend, pool: &Threads::new(3) };
                // Holding all gradients until the end, as clipping does, changes nothing either.
                let held = TrainOptions { clip_norm: Some(1e9), ..options(optimizer) };
                let recomputed = TrainOptions { recompute: true, ..options(optimizer) };
                for options in [options(optimizer), held, recomputed] {
                    let (weights, digest) = train(exec, &config, options, &batch);
                    assert!(same_bits(&weights, &expected.0) && digest == expected.1, "{} {options:?}", backend.name());
                }
            }
        }
    }
}

/// Weights that change while the gradients are computed have the bits of weights that change afterwards: with more rows of
/// the vocabulary than are summed up together, and texts shorter and longer than what the head takes at a time.
#[test]
fn n11_a_step_on_the_way_down_is_a_step_at_the_end() {
    for config in configs() {
        let config = Config { vocab: 150, dim: 52, context: 512, ..config };
        for tokens in [7, HEAD_ROWS as u32 + 1, HEAD_ROWS as u32 + 20] {
            let ids = (0..tokens).map(|i| (i * i + 3) % 41).collect();
            let batch = [Sequence { counted: (0..tokens).map(|i| i % 5 != 2).collect(), ..Sequence::new(ids) }];
            let all = [Sequence::new(batch[0].tokens.clone())];
            for batch in [batch, all] {
                let held = TrainOptions { clip_norm: Some(1e9), ..options(SGD) };
                let expected = train(Exec::serial(), &config, held, &batch);
                for (backend, threads) in backends().into_iter().zip((1..=4).rev().cycle()) {
                    let exec = Exec { backend, pool: &Threads::new(threads) };
                    let (weights, digest) = train(exec, &config, options(SGD), &batch);
                    let equal = same_bits(&weights, &expected.0) && digest == expected.1;
                    assert!(equal, "{} with {threads} threads, {tokens} tokens, tied: {}", backend.name(), config.tied);
                }
            }
        }
    }
}

/// A loss that is no finite number is found before the head changes, whose gradients come first.
#[test]
fn a_step_on_the_way_down_ends_before_the_first_change() {
    for config in configs() {
        let base = model(&config, 5);
        let last = parameters(&config).len() - 1;
        // The final norm, or the head.
        let broken = base.with_tensor(last, |w| w[3] = f32::INFINITY);
        let mut trainer = Trainer::new(&broken, options(SGD));
        assert_eq!(trainer.step(Exec::serial(), &[text(1, 9)]), Err(TrainError::Loss { step: 1 }));
        assert!(same_bits(&weights(trainer.model()), &weights(&broken)));
    }
}

#[test]
fn n6_gradients_of_a_batch_are_sums_over_its_tokens() {
    for config in configs() {
        let model = model(&config, 6);
        let (a, b) = (text(1, 9), text(2, 12));
        let both = gradients(Exec::serial(), &model, &[a.clone(), b.clone()], false).unwrap();
        let swapped = gradients(Exec::serial(), &model, &[b, a], false).unwrap();
        assert!((both.0 - swapped.0).abs() < 1e-5);
        let table = parameters(&config);
        let differing = (0..table.len()).filter(|i| both.1.get(*i).unwrap() != swapped.1.get(*i).unwrap()).count();
        assert!(differing > 0, "the order of a batch must show in some bit");
        for (i, parameter) in table.iter().enumerate() {
            let (x, y) = (both.1.get(i).unwrap(), swapped.1.get(i).unwrap());
            let scale = x.iter().fold(1e-6, |m: f32, v| if v.abs() > m { v.abs() } else { m });
            assert!(x.iter().zip(y).all(|(x, y)| (x - y).abs() <= 1e-4 * scale), "{}", parameter.name);
        }
    }
}

/// The loss in the direction of each parameter's gradient, by differences of the loss itself.
#[test]
fn gradients_of_the_stack_are_slopes_of_the_loss() {
    for config in configs() {
        let base = model(&config, 7);
        let mut sequence = text(3, 15);
        sequence.counted[4] = false;
        let batch = [sequence];
        let (_, found) = gradients(Exec::serial(), &base, &batch, true).unwrap();
        for (i, parameter) in parameters(&config).iter().enumerate() {
            let g = found.get(i).unwrap();
            let square: f64 = g.iter().map(|g| f64::from(*g) * f64::from(*g)).sum();
            let step = 1e-3 / square.sqrt();
            let loss = |sign: f64| {
                let moved = base.with_tensor(i, |w| {
                    w.iter_mut().zip(g).for_each(|(w, g)| *w += (sign * step * f64::from(*g)) as f32);
                });
                f64::from(gradients(Exec::serial(), &moved, &batch, false).unwrap().0)
            };
            let slope = (loss(1.0) - loss(-1.0)) / (2.0 * step);
            assert!((slope - square).abs() < 0.03 * square + 1e-6, "{}: {slope} against {square}", parameter.name);
        }
    }
}

#[test]
fn optimisers_follow_the_contract() {
    let config = tiny();
    let base = model(&config, 5);
    let batch = [text(1, 20)];
    let (_, g) = gradients(Exec::serial(), &base, &batch, false).unwrap();
    let g: Vec<f32> = (0..parameters(&config).len()).flat_map(|i| g.get(i).unwrap().to_vec()).collect();
    let after = |options: TrainOptions| {
        let mut trainer = Trainer::new(&base, options);
        let report = trainer.step(Exec::serial(), &batch).unwrap();
        (weights(trainer.model()), report)
    };
    let start = weights(&base);
    let each = |f: &dyn Fn(f32, f32) -> f32| start.iter().zip(&g).map(|(w, g)| f(*w, *g)).collect::<Vec<f32>>();

    let (w, report) = after(options(SGD));
    assert!(same_bits(&w, &each(&|w, g| w - 0.01 * g)));
    let norm = g.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt();
    assert!((f64::from(report.grad_norm) / norm - 1.0).abs() < 1e-6);

    let factor = 0.5 / report.grad_norm;
    let (w, clipped) = after(TrainOptions { clip_norm: Some(0.5), ..options(SGD) });
    assert!(report.grad_norm > 0.5 && clipped.grad_norm == report.grad_norm);
    assert!(same_bits(&w, &each(&|w, g| w - 0.01 * (g * factor))));

    let (rate, root) = ((0.01 / (1.0 - 0.9_f64)) as f32, (1.0 - 0.999_f64).sqrt() as f32);
    let keep = (1.0 - 0.01 * 0.1_f64) as f32;
    let adamw = |w: f32, g: f32| {
        let m = 0.9_f32 * 0.0 + ((1.0 - 0.9_f64) as f32) * g;
        let v = 0.999_f32 * 0.0 + ((1.0 - 0.999_f64) as f32) * (g * g);
        w * keep - rate * (m / (v.sqrt() / root + 1e-8))
    };
    assert!(same_bits(&after(options(ADAMW)).0, &each(&adamw)));
}

#[test]
fn schedules_rise_and_fall() {
    let constant = Schedule { learning_rate: 2.0, warmup: 4, cosine_steps: None };
    assert_eq!([1, 2, 4, 5, 100].map(|step| constant.rate(step)), [0.5, 1.0, 2.0, 2.0, 2.0]);
    let cosine = Schedule { cosine_steps: Some(12), ..constant };
    assert_eq!((cosine.rate(4), cosine.rate(12), cosine.rate(13)), (2.0, 0.0, 0.0));
    assert!((cosine.rate(8) - 1.0).abs() < 1e-12 && cosine.rate(5) < 2.0);
}

#[test]
fn what_cannot_be_learnt_changes_nothing() {
    let config = tiny();
    let base = model(&config, 5);
    let mut trainer = Trainer::new(&base, options(SGD));
    let mut step = |tokens: Vec<u32>| trainer.step(Exec::serial(), &[Sequence::new(tokens)]).map(|report| report.step);
    assert_eq!(step(vec![1]), Err(TrainError::NoTargets));
    assert_eq!(step(vec![]), Err(TrainError::NoTargets));
    assert_eq!(step(vec![1, 5]), Err(TrainError::Token { token: 5, vocab: 5 }));
    assert_eq!(step(vec![1; 65]), Err(TrainError::Context { tokens: 65, context: 64 }));
    assert_eq!(step(vec![1, 2]), Ok(1));

    let broken = base.with_tensor(0, |w| w[7] = f32::NAN);
    let mut trainer = Trainer::new(&broken, options(SGD));
    assert_eq!(trainer.step(Exec::serial(), &[text(1, 9)]), Err(TrainError::Loss { step: 1 }));
    assert!(same_bits(&weights(trainer.model()), &weights(&broken)));
}
