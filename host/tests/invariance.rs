//! N11, on the real model: random texts, read and learnt from in random ways, have one digest.
//!
//! `LOCKSTEP_TEST_CASES` says how many texts, `LOCKSTEP_TEST_SEED` which.

use host::open::open;
use kernel::Exec;
use kernel::model::{
    BackwardOptions, Gradients, KvCache, LORA_TARGETS, Logits, LoraConfig, Model, Sequence, Tape, Workspace,
};
use kernel::pool::SerialPool;
use kernel::pool::ThreadPool;
use kernel::simd::Backend;
use kernel::train::gradients;
use kernel::transcript::{Sha256, Sha256Digest, hex, logits_digest};
use loader::Access;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const CASES: u64 = 3;
const SEED: u64 = 20_261_123;

/// A way to read a text and to learn from it. No bit depends on it.
#[derive(Clone, Debug)]
struct Way {
    threads: usize,
    /// The lengths of the pieces that a text is read in, over and over.
    pieces: Vec<usize>,
    /// How much of the text is read at first, before something else follows and is taken back.
    kept: prop::sample::Index,
    recompute: bool,
    /// Whether each sequence of a batch comes with a memory of its own, or all share one that has held a longer text.
    apart: bool,
}

/// The backends of this machine. Those that `LOCKSTEP_TEST_BACKENDS` names (with commas) must be among them.
pub fn backends() -> Vec<Backend> {
    Backend::available_with(&std::env::var("LOCKSTEP_TEST_BACKENDS").unwrap_or_default()).unwrap()
}

/// One for each backend.
fn ways() -> impl Strategy<Value = Vec<Way>> {
    let pieces = prop::collection::vec(1..24_usize, 1..4);
    let way = (1..6_usize, pieces, any::<prop::sample::Index>(), any::<(bool, bool)>());
    let way =
        way.prop_map(|(threads, pieces, kept, (recompute, apart))| Way { threads, pieces, kept, recompute, apart });
    let count = backends().len();
    prop::collection::vec(way, count..=count)
}

fn texts() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(0..49_152_u32, 2..16), 2..4)
}

/// The digest of the logits of all positions of `text`.
fn read(model: &Model, exec: Exec<'_>, text: &[u32], way: &Way) -> Sha256Digest {
    let (mut cache, mut workspace, mut digest) = (KvCache::new(model.config()), Workspace::default(), Sha256::new());
    // A prefix, then another text, which is taken back: what was read of the prefix is used again.
    let kept = way.kept.index(text.len());
    let other: Vec<u32> = text.iter().rev().copied().collect();
    for start in [&text[..kept], &other[..]] {
        for token in start.chunks(7) {
            model.forward(exec, &mut cache, token, Logits::All, &mut workspace).unwrap();
            if cache.len() <= kept {
                digest.update(&all(&workspace, model));
            }
        }
    }
    cache.truncate(kept);
    let mut rest = &text[kept..];
    for length in way.pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(rest.len().min(*length));
        model.forward(exec, &mut cache, piece, Logits::All, &mut workspace).unwrap();
        digest.update(&all(&workspace, model));
        rest = after;
    }
    digest.finish()
}

/// The digests of the rows of the last step.
fn all(workspace: &Workspace, model: &Model) -> Vec<u8> {
    workspace.logits().chunks_exact(model.config().vocab).flat_map(logits_digest).collect()
}

/// The digest of loss and gradients of a batch, one sequence after the other.
fn learn(model: &Model, exec: Exec<'_>, batch: &[Sequence], way: &Way) -> Sha256Digest {
    let mut model = model.clone();
    let count = batch.iter().map(Sequence::count).sum();
    let options = BackwardOptions { recompute: way.recompute, count, descend: None };
    let (mut tape, mut found) = (Tape::default(), Gradients::default());
    let mut ready = |_: usize, _: &mut kernel::model::Tensor, _: &mut Gradients| {};
    if !way.apart {
        let longer = Sequence::new((0..40).collect());
        model.backward(exec, &longer, options, &mut tape, &mut Gradients::default(), &mut ready);
    }
    for sequence in batch {
        if way.apart {
            tape = Tape::default();
        }
        model.backward(exec, sequence, options, &mut tape, &mut found, &mut ready);
    }
    model.finish_embedding(exec, options, &mut found, &mut ready);
    digest_of(&model, found.loss() / count as f32, &found)
}

fn digest_of(model: &Model, loss: f32, gradients: &Gradients) -> Sha256Digest {
    let mut digest = Sha256::new();
    digest.update(&loss.to_le_bytes());
    for index in 0..model.trainable().len() {
        digest.update(&logits_digest(gradients.get(index).unwrap()));
    }
    digest.finish()
}

pub fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn n11_one_digest_however_the_real_model_reads_and_learns() {
    let [cases, seed] = [("LOCKSTEP_TEST_CASES", CASES), ("LOCKSTEP_TEST_SEED", SEED)]
        .map(|(name, value)| from_environment(name, value));
    println!("LOCKSTEP_TEST_SEED={seed} LOCKSTEP_TEST_CASES={cases}");
    let model = open(&crate::model::dir(), Access::Map, None).unwrap().model;
    let lora = LoraConfig::new(model.config(), 2, 4.0, &LORA_TARGETS).unwrap();
    let learner = model.with_new_adapter(&lora, 1);
    let bytes: Vec<u8> = (0..4).flat_map(|i| (seed + i).to_le_bytes()).collect();
    let config = Config { cases: cases as u32, failure_persistence: None, max_shrink_iters: 8, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let checked = runner.run(&(texts(), ways()), |(texts, ways)| {
        // All at once, on one thread.
        let exec = Exec { backend: Backend::detect(), pool: &SerialPool };
        let (mut cache, mut workspace, mut digest) =
            (KvCache::new(model.config()), Workspace::default(), Sha256::new());
        model.forward(exec, &mut cache, &texts[0], Logits::All, &mut workspace).unwrap();
        digest.update(&all(&workspace, &model));
        let text = digest.finish();
        let batch: Vec<Sequence> = texts.iter().cloned().map(Sequence::new).collect();
        let (loss, found) = gradients(exec, &learner, &batch, false).unwrap();
        let batch_digest = digest_of(&learner, loss, &found);
        for (way, backend) in ways.into_iter().zip(backends()) {
            let pool = ThreadPool::new(way.threads).unwrap();
            let exec = Exec { backend, pool: &pool };
            prop_assert_eq!(hex(&read(&model, exec, &texts[0], &way)), hex(&text), "read, {}", backend.name());
            prop_assert_eq!(hex(&learn(&learner, exec, &batch, &way)), hex(&batch_digest), "learn, {}", backend.name());
        }
        Ok(())
    });
    checked.unwrap();
}
