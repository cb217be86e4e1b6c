//! Low-rank adapters: what they change, what they leave alone, and the merge.

use crate::inputs::{Threads, backends, same_bits};
use crate::invariance::{model, tiny};
use kernel::Exec;
use kernel::model::{Config, KvCache, LORA_TARGETS, Logits, LoraConfig, LoraError, Model, Sequence, Workspace};
use kernel::ops::Weights;
use kernel::train::{Optimizer, Schedule, TrainOptions, Trainer};

const TOKENS: [u32; 12] = [1, 4, 2, 2, 0, 3, 1, 1, 4, 0, 2, 3];

fn logits(model: &Model) -> Vec<f32> {
    let (mut cache, mut workspace) = (KvCache::new(model.config()), Workspace::default());
    model.forward(Exec::serial(), &mut cache, &TOKENS, Logits::All, &mut workspace).unwrap();
    workspace.logits().to_vec()
}

fn tensors(model: &Model) -> Vec<f32> {
    let values = |weights: Weights<'_>| match weights {
        Weights::F32(values) => values.to_vec(),
        Weights::Bf16(_) => panic!("an adapter is binary32"),
    };
    model.adapter_tensors().into_iter().flat_map(values).collect()
}

fn trained(exec: Exec<'_>, base: &Model, lora: &LoraConfig, recompute: bool) -> Model {
    let optimizer = Optimizer::adamw(0.01);
    let schedule = Schedule { learning_rate: 0.05, warmup: 0, cosine_steps: None };
    let options = TrainOptions { optimizer, schedule, clip_norm: None, recompute };
    let mut trainer = Trainer::new(&base.with_new_adapter(lora, 3), options);
    let losses: Vec<f32> =
        (0..8).map(|_| trainer.step(exec, &[Sequence::new(TOKENS.to_vec())]).unwrap().loss).collect();
    assert!(losses[7] < losses[0], "{losses:?}");
    trainer.model().clone()
}

#[test]
fn a_new_adapter_changes_nothing_and_a_trained_one_leaves_the_base_alone() {
    let config = Config { attention_bias: true, ..tiny() };
    let base = model(&config, 5);
    for targets in [&LORA_TARGETS[..], &["q_proj", "v_proj"], &["down_proj"]] {
        let lora = LoraConfig::new(&config, 2, 4.0, targets).unwrap();
        assert_eq!(lora.parameters(&config).len(), config.layers * targets.len() * 2);
        let new = base.with_new_adapter(&lora, 3);
        assert!(same_bits(&logits(&new), &logits(&base)));
        let trained = trained(Exec::serial(), &base, &lora, false);
        assert!(!same_bits(&logits(&trained), &logits(&base)));
        assert!(same_bits(&logits(&trained.without_adapter()), &logits(&base)));

        let merged = trained.merged(Exec::serial());
        assert!(merged.adapter().is_none());
        let (beside, inside) = (logits(&trained), logits(&merged));
        assert!(beside.iter().zip(&inside).all(|(a, b)| (a - b).abs() < 1e-3 * (1.0 + a.abs())), "{targets:?}");
    }
}

#[test]
fn n11_no_bit_of_an_adapter_depends_on_how_it_is_trained() {
    let config = tiny();
    let base = model(&config, 5);
    let lora = LoraConfig::new(&config, 3, 6.0, &LORA_TARGETS).unwrap();
    let expected = tensors(&trained(Exec::serial(), &base, &lora, false));
    for backend in backends() {
        let exec = Exec { backend, pool: &Threads::new(3) };
        for recompute in [false, true] {
            assert!(same_bits(&tensors(&trained(exec, &base, &lora, recompute)), &expected), "{}", backend.name());
        }
    }
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let config = tiny();
    assert_eq!(LoraConfig::new(&config, 0, 1.0, &["q_proj"]), Err(LoraError::Rank { rank: 0, dim: 12 }));
    for alpha in [-1.0, 0.0, 1e-50, 1e39] {
        assert_eq!(LoraConfig::new(&config, 2, alpha, &["q_proj"]), Err(LoraError::Alpha(alpha)));
    }
    assert_eq!(LoraConfig::new(&config, 2, 1.0, &[""; 0]), Err(LoraError::NoTargets));
    assert_eq!(LoraConfig::new(&config, 2, 1.0, &["lm_head"]), Err(LoraError::Target("lm_head".into())));
    let lora = LoraConfig::new(&config, 2, 1.0, &["q_proj"]).unwrap();
    let error = model(&config, 5).with_adapter(&lora, &|_| None).unwrap_err().to_string();
    assert!(error.contains("model.layers.0.self_attn.q_proj.lora_A.weight"), "{error}");
}
