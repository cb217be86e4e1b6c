//! A training that was interrupted goes on with the same bits, and one that has lost itself cannot be saved.

use crate::inputs::{Threads, backends, same_bits};
use crate::invariance::{model, tiny};
use crate::training::{ADAMW, SGD, configs, options, text, weights};
use kernel::Exec;
use kernel::model::{LORA_TARGETS, LoadError, LoraConfig, Model, RawTensor, Sequence, parameters};
use kernel::train::{Optimizer, Position, ResumeError, Schedule, TrainError, TrainOptions, Trainer, gradients};
use std::collections::BTreeMap;

const MOMENTUM: Optimizer = Optimizer::Sgd { momentum: 0.9 };

type Saved = (Position, BTreeMap<String, RawTensor>);

/// The state of a trainer, as a file would have it.
fn save(trainer: &mut Trainer) -> Saved {
    let position = trainer.position();
    let tensors = trainer
        .state()
        .unwrap()
        .into_iter()
        .map(|tensor| (tensor.parameter.name, RawTensor::from_f32(tensor.parameter.shape, tensor.values)));
    (position, tensors.collect())
}

fn resume(base: &Model, options: TrainOptions, (position, tensors): &Saved) -> Result<Trainer, ResumeError> {
    Trainer::resume(base, options, *position, &|name| tensors.get(name).cloned())
}

fn values(trainer: &mut Trainer) -> Vec<f32> {
    trainer.state().unwrap().into_iter().flat_map(|tensor| tensor.values.to_vec()).collect()
}

#[test]
fn a_training_that_goes_on_has_the_bits_of_one_that_never_stopped() {
    let config = tiny();
    let lora = LoraConfig::new(&config, 2, 4.0, &LORA_TARGETS).unwrap();
    let mut bases: Vec<Model> = configs().iter().map(|config| model(config, 5)).collect();
    bases.push(model(&config, 5).with_new_adapter(&lora, 3));
    for base in bases {
        for optimizer in [SGD, MOMENTUM, ADAMW] {
            let schedule = Schedule { learning_rate: 0.01, warmup: 2, cosine_steps: Some(9) };
            let options = TrainOptions { schedule, clip_norm: Some(0.5), ..options(optimizer) };
            let batch = |step: u32| [text(step, 9), text(2 * step, 12)];
            let mut whole = Trainer::new(&base, options);
            let reports: Vec<_> = (1..=5).map(|step| whole.step(Exec::serial(), &batch(step)).unwrap()).collect();
            for stop in 0..5 {
                let mut first = Trainer::new(&base, options);
                for step in 1..=stop {
                    first.step(Exec::serial(), &batch(step)).unwrap();
                }
                // What goes on may run elsewhere.
                let exec = Exec { backend: backends()[stop as usize % backends().len()], pool: &Threads::new(3) };
                let mut second = resume(&base, options, &save(&mut first)).unwrap();
                assert_eq!(second.position(), first.position());
                for step in stop + 1..=5 {
                    assert_eq!(second.step(exec, &batch(step)).unwrap(), reports[step as usize - 1]);
                }
                assert!(same_bits(&values(&mut second), &values(&mut whole)), "{optimizer:?}, stopped after {stop}");
            }
        }
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused_by_name() {
    let base = model(&tiny(), 5);
    let mut trainer = Trainer::new(&base, options(ADAMW));
    trainer.step(Exec::serial(), &[text(1, 9)]).unwrap();
    let (position, tensors) = save(&mut trainer);
    let (weight, memory) = ("model.norm.weight", "optimizer.exp_avg_sq.model.norm.weight");
    for name in [weight, memory] {
        let refused = |tensor: Option<RawTensor>| {
            let mut tensors = tensors.clone();
            tensors.remove(name);
            tensors.extend(tensor.map(|tensor| (name.to_string(), tensor)));
            resume(&base, options(ADAMW), &(position, tensors)).unwrap_err()
        };
        let named = |found: &str| found == name;
        assert!(matches!(refused(None), ResumeError::Load(LoadError::Missing { name, .. }) if named(&name)));
        let long = RawTensor::from_f32(vec![13], &[1.0; 13]);
        assert!(matches!(refused(Some(long)), ResumeError::Load(LoadError::Shape { name, .. }) if named(&name)));
        let short = RawTensor { shape: vec![12], ..RawTensor::from_f32(vec![11], &[1.0; 11]) };
        assert!(matches!(refused(Some(short)), ResumeError::Load(LoadError::Size { name, .. }) if named(&name)));
        let broken = RawTensor::from_f32(vec![12], &[f32::NAN; 12]);
        assert!(matches!(refused(Some(broken)), ResumeError::NotFinite { tensor } if named(&tensor)));
    }
    // Another optimiser remembers something else.
    assert!(resume(&base, options(MOMENTUM), &(position, tensors)).is_err());
}

/// Everything that a closed trainer refuses.
fn assert_closed(mut trainer: Trainer) {
    assert_eq!(trainer.step(Exec::serial(), &[text(1, 9)]), Err(TrainError::Closed));
    assert_eq!(trainer.state().err(), Some(TrainError::Closed));
    assert_eq!(trainer.into_model().err(), Some(TrainError::Closed));
}

#[test]
fn a_loss_that_is_not_finite_is_refused_before_any_weight_changes() {
    let base = model(&configs()[0], 5);
    let last = parameters(base.config()).len() - 1;
    // Logits of opposite infinities for some texts only: the token 4 occurs in one of them.
    let embedding = base.with_tensor(0, |w| w[4 * 12..].fill(f32::MAX));
    for optimizer in [SGD, ADAMW] {
        let base = embedding.with_tensor(last, |w| w.fill(f32::MAX));
        let mut trainer = Trainer::new(&base, options(optimizer));
        let before = weights(trainer.model());
        let error = trainer.step(Exec::serial(), &[Sequence::new(vec![1, 4, 2])]);
        assert_eq!(error, Err(TrainError::Loss { step: 1 }));
        assert!(same_bits(&weights(trainer.model()), &before));
        // Nothing was lost: the state can be saved.
        assert_eq!(trainer.position().step, 0);
        assert!(trainer.state().is_ok());
    }
}

/// Infinity times zero in the backward pass alone: the loss is finite.
#[test]
fn a_gradient_that_is_not_finite_is_never_given() {
    let base = model(&configs()[2], 5);
    let of =
        |name: &str| parameters(base.config()).iter().position(|p| p.name.contains(&format!("0.mlp.{name}"))).unwrap();
    let steep = base.with_tensor(of("gate_proj.weight"), |w| w.iter_mut().for_each(|w| *w *= 1e37));
    let flat = steep.with_tensor(of("up_proj.weight"), |w| w.fill(0.0));
    let model = flat.with_tensor(of("down_proj.weight"), |w| w.iter_mut().for_each(|w| *w *= 1e10));
    let trainer = Trainer::new(&model, options(SGD));
    assert!(trainer.evaluate(Exec::serial(), &[text(1, 9)]).unwrap().is_finite());
    let Err(TrainError::Gradient { step: 1, tensor }) = gradients(Exec::serial(), &model, &[text(1, 9)], false) else {
        panic!("the gradient was taken for finite")
    };
    assert!(tensor.starts_with("model."), "{tensor}");
}

/// A head with huge weights: losses that are finite, and gradients below it that are not.
#[test]
fn a_gradient_that_is_not_finite_closes_the_trainer_and_names_step_and_tensor() {
    let base = model(&configs()[0], 5);
    let last = parameters(base.config()).len() - 1;
    for clip_norm in [None, Some(1.0)] {
        let mut trainer = Trainer::new(&base, TrainOptions { clip_norm, ..options(SGD) });
        trainer.step(Exec::serial(), &[text(1, 9)]).unwrap();
        let mut saved = save(&mut trainer);
        let steep = base.with_tensor(last, |w| w.iter_mut().for_each(|w| *w *= 1e37));
        let head = &parameters(base.config())[last];
        let values: Vec<f32> = weights(&steep).split_off(weights(&steep).len() - head.shape.iter().product::<usize>());
        saved.1.insert(head.name.clone(), RawTensor::from_f32(head.shape.clone(), &values));
        let mut trainer = resume(&base, TrainOptions { clip_norm, ..options(SGD) }, &saved).unwrap();
        let loss = trainer.evaluate(Exec::serial(), &[text(1, 9)]).unwrap();
        assert!(loss.is_finite() && loss > 1e30);
        let Err(TrainError::Gradient { step: 2, tensor }) = trainer.step(Exec::serial(), &[text(1, 9)]) else {
            panic!("the gradient was taken for finite")
        };
        assert!(tensor.starts_with("model."), "{tensor}");
        assert_closed(trainer);
    }
}

#[test]
fn weights_that_overflow_in_an_update_are_never_handed_out() {
    let base = model(&tiny(), 5);
    let schedule = Schedule { learning_rate: 3e38, warmup: 0, cosine_steps: None };
    let overflown = || {
        let mut trainer = Trainer::new(&base, TrainOptions { schedule, ..options(MOMENTUM) });
        assert_eq!(trainer.step(Exec::serial(), &[text(1, 9)]).map(|report| report.step), Ok(1));
        trainer
    };
    let named = |error| matches!(error, Some(TrainError::Weight { step: 1, tensor }) if tensor.starts_with("model."));
    let mut trainer = overflown();
    assert!(named(trainer.step(Exec::serial(), &[text(1, 9)]).err()));
    assert_closed(trainer);
    let mut trainer = overflown();
    assert!(named(trainer.state().err()));
    assert_closed(trainer);
    assert!(named(overflown().into_model().err()));
}

#[test]
fn n6_the_loss_of_an_evaluation_is_that_of_a_step() {
    for config in configs() {
        let base = model(&config, 5);
        let mut answers = text(3, 64);
        answers.counted[..20].fill(false);
        answers.counted[30] = false;
        let batch = [text(1, 40), answers, text(2, 2)];
        let mut trainer = Trainer::new(&base, options(SGD));
        for backend in backends() {
            let exec = Exec { backend, pool: &Threads::new(3) };
            let before = weights(trainer.model());
            let loss = trainer.evaluate(exec, &batch).unwrap();
            assert!(same_bits(&before, &weights(trainer.model())));
            assert_eq!(loss.to_bits(), trainer.step(exec, &batch).unwrap().loss.to_bits());
        }
        assert_eq!(trainer.evaluate(Exec::serial(), &[]), Err(TrainError::NoTargets));
        let broken = Trainer::new(&base.with_tensor(0, |w| w.fill(f32::NAN)), options(SGD));
        assert_eq!(broken.evaluate(Exec::serial(), &batch), Err(TrainError::Evaluation { step: 0 }));
    }
}
