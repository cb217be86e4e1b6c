//! The real model: as exact as the contract, as correct as transformers (see `reference/README.md`).

use std::path::PathBuf;

use host::open::{Opened, open};
use kernel::Exec;
use kernel::generate::{Generation, Progress, Request, Sampler};
use kernel::model::{KvCache, Logits, Workspace};
use kernel::pool::SerialPool;
use kernel::pool::ThreadPool;
use kernel::simd::Backend;
use kernel::transcript::{Sha256Digest, logits_digest};
use loader::Access;
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    prompt: String,
    prompt_ids: Vec<u32>,
    greedy_ids: Vec<u32>,
    text: String,
    torch_f32_max_abs_logit_error: f64,
    logit_ids: Vec<usize>,
    logits_f64: Vec<f64>,
}

fn references() -> Vec<Reference> {
    let all: Vec<Reference> = serde_json::from_str(include_str!("reference/greedy.json")).unwrap();
    assert_eq!(all.len(), 16);
    all
}

fn opened() -> Opened {
    let dir: PathBuf = crate::model::dir();
    open(&dir, Access::Map, None).unwrap()
}

/// The logits of the last of `tokens`, read in pieces of `piece`.
fn last_logits(model: &Opened, exec: Exec<'_>, tokens: &[u32], piece: usize) -> Vec<f32> {
    let (mut cache, mut workspace) = (KvCache::new(model.model.config()), Workspace::default());
    for piece in tokens.chunks(piece) {
        model.model.forward(exec, &mut cache, piece, Logits::Last, &mut workspace).unwrap();
    }
    workspace.logits().to_vec()
}

#[test]
fn greedy_ids_and_text_equal_the_reference() {
    let model = opened();
    let pool = ThreadPool::new(ThreadPool::cores()).unwrap();
    let exec = Exec { backend: Backend::detect(), pool: &pool };
    for reference in references() {
        let Reference { prompt, prompt_ids, greedy_ids, text, .. } = reference;
        assert_eq!(model.tokenizer.encode(&prompt, bpe::Special::Parse), prompt_ids, "{prompt:?}");
        let request =
            Request { prompt: prompt_ids, max_tokens: 64, ignore_eos: true, sampler: Sampler::GREEDY, logprobs: None };
        let mut generation = Generation::new(&model.model, request).unwrap();
        while !matches!(generation.advance(&model.model, exec).unwrap(), Progress::Finished(_)) {}
        let ids: Vec<u32> = generation.steps().iter().map(|step| step.token_id).collect();
        assert_eq!(ids, greedy_ids, "{prompt:?}");
        assert_eq!(model.tokenizer.decode(&ids).unwrap(), text, "{prompt:?}");
    }
}

#[test]
fn logits_are_nearly_as_close_to_binary64_as_those_of_torch() {
    let model = opened();
    for reference in references() {
        let logits = last_logits(&model, Exec::serial(), &reference.prompt_ids, 64);
        assert_eq!(reference.logit_ids.len(), reference.logits_f64.len());
        let bound = 1.5 * reference.torch_f32_max_abs_logit_error;
        for (id, truth) in reference.logit_ids.iter().zip(reference.logits_f64) {
            let error = (f64::from(logits[*id]) - truth).abs();
            assert!(error <= bound, "{:?}: logit {id} is off by {error}, more than {bound}", reference.prompt);
        }
    }
}

#[test]
fn n11_no_bit_depends_on_backend_threads_or_chunks() {
    let model = opened();
    let tokens: Vec<u32> = (0..40).map(|i| (i * 37) % 40_000 + 20).collect();
    let digest =
        |exec: Exec<'_>, piece: usize| -> Sha256Digest { logits_digest(&last_logits(&model, exec, &tokens, piece)) };
    let expected = digest(Exec { backend: Backend::SCALAR, pool: &SerialPool }, 40);
    for backend in Backend::available() {
        for (threads, piece) in [(1, 1), (2, 7), (3, 64), (5, 16)] {
            let pool = ThreadPool::new(threads).unwrap();
            let got = digest(Exec { backend, pool: &pool }, piece);
            assert_eq!(got, expected, "{}, {threads} threads, pieces of {piece}", backend.name());
        }
    }
}
