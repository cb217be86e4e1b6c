//! N11: no bit of a generation depends on what advances with it, on when it joins, or on where its first positions come from.

use crate::inputs::{Threads, backends};
use crate::invariance::{model, tiny};
use crate::logprobs::bits;
use kernel::Exec;
use kernel::generate::{Generation, Logprobs, Progress, Request, Sampler, SamplerSettings, Turn, advance_each};
use kernel::model::{Config, Logits, Model, Workspace};
use kernel::pool::{Pool, SerialPool};
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

fn requests(config: &Config, seed: u64, shapes: &[(usize, usize)]) -> Vec<Request> {
    let request = |(number, &(prompt, max_tokens)): (usize, &(usize, usize))| {
        let seed = seed ^ number as u64;
        let prompt = (0..prompt as u64).map(|i| ((i * i + seed) % config.vocab as u64) as u32).collect();
        let temperature = if number.is_multiple_of(2) { 0.0 } else { 1.0 };
        let settings = SamplerSettings { temperature, seed, ..SamplerSettings::default() };
        let logprobs = [None, Some(Logprobs { top: 2, prompt: true }), Some(Logprobs { top: 0, prompt: false })];
        let sampler = Sampler::new(settings).unwrap();
        Request { prompt, max_tokens, ignore_eos: false, sampler, logprobs: logprobs[number % 3] }
    };
    shapes.iter().enumerate().map(request).collect()
}

fn alone(model: &Model, request: &Request) -> Generation {
    let mut generation = Generation::new(model, request.clone()).unwrap();
    while !matches!(generation.advance(model, Exec::serial()).unwrap(), Progress::Finished(_)) {}
    generation
}

/// Whether all that was told is the same, to the last bit.
fn same(a: &Generation, b: &Generation) -> bool {
    let told = |generation: &Generation| [bits(generation.logprobs()), bits(generation.prompt_logprobs())];
    a.steps() == b.steps() && told(a) == told(b)
}

/// Advances all to their ends; number `n` joins in round `joins[n]`, and at most `most` tokens of a prompt are read at a time.
fn together(model: &Model, exec: Exec<'_>, generations: &mut [Generation], joins: &[usize], most: usize) {
    let mut workspace = Workspace::default();
    for round in 0.. {
        let here = generations.iter_mut().zip(joins).filter(|(_, join)| **join <= round);
        let mut turns: Vec<Turn<'_>> = here.map(|(generation, _)| Turn { generation, most }).collect();
        let progress = advance_each(model, exec, &mut turns, &mut workspace);
        assert_eq!(progress.len(), turns.len());
        let ended = progress.into_iter().filter(|p| matches!(p.unwrap(), Progress::Finished(_))).count();
        if ended == generations.len() {
            return;
        }
    }
}

#[test]
fn a_cache_has_room_for_the_whole_prompt_at_once() {
    let config = Config { context: 400, ..tiny() };
    let model = model(&config, 1);
    let request = requests(&config, 1, &[(300, 2)]).remove(0);
    let mut generation = Generation::new(&model, request).unwrap();
    generation.advance(&model, Exec::serial()).unwrap();
    let (read, room) = (generation.cache().len(), generation.cache().bytes());
    while generation.steps().is_empty() {
        generation.advance(&model, Exec::serial()).unwrap();
    }
    assert!(read < 300 && generation.cache().len() == 300, "read in parts");
    assert_eq!(generation.cache().bytes(), room);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn together_equals_alone(
        seed: u64,
        shapes in prop::collection::vec((1..40_usize, 1..12_usize, 0..9_usize), 1..8),
        most in 1..20_usize,
        threads in 1..5_usize,
    ) {
        let config = Config { context: 64, ..tiny() };
        let model = model(&config, seed);
        let joins: Vec<usize> = shapes.iter().map(|(_, _, join)| *join).collect();
        let shapes: Vec<_> = shapes.iter().map(|(prompt, max_tokens, _)| (*prompt, *max_tokens)).collect();
        let requests = requests(&config, seed, &shapes);
        let expected: Vec<_> = requests.iter().map(|request| alone(&model, request)).collect();
        for backend in backends() {
            let pool = Threads::new(threads);
            let mut generations: Vec<_> = requests.iter().map(|r| Generation::new(&model, r.clone()).unwrap()).collect();
            together(&model, Exec { backend, pool: &pool }, &mut generations, &joins, most);
            for (generation, expected) in generations.iter().zip(&expected) {
                prop_assert!(same(generation, expected));
            }
        }
    }

    /// The beginning of the prompt is taken from a text that goes on in another way, and may be all of it.
    #[test]
    fn a_known_beginning_changes_nothing(seed: u64, prompt in 1..40_usize, known in 0..50_usize) {
        let config = Config { context: 64, ..tiny() };
        let model = model(&config, seed);
        let request = requests(&config, seed, &[(prompt, 5)]).remove(0);
        let known: Vec<u32> = request.prompt.iter().copied().chain(std::iter::repeat(1)).take(known).collect();
        let mut cache = kernel::model::KvCache::new(&config);
        if !known.is_empty() {
            model.forward(Exec::serial(), &mut cache, &known, Logits::None, &mut Workspace::default()).unwrap();
        }
        let cache = cache.prefix(request.prompt.len());
        let mut generation = Generation::new(&model, request.clone()).unwrap();
        generation.begin_with(cache);
        prop_assert_eq!(generation.cache().len(), known.len().min(prompt - 1));
        while !matches!(generation.advance(&model, Exec::serial()).unwrap(), Progress::Finished(_)) {}
        prop_assert!(same(&generation, &alone(&model, &request)));
        prop_assert_eq!(generation.cache().len(), prompt + 4);
        generation.release();
        prop_assert_eq!((generation.cache().bytes(), generation.steps().len()), (0, 5));
        prop_assert!(matches!(generation.advance(&model, Exec::serial()), Ok(Progress::Finished(_))));
    }
}

/// Panics in one of the regions that it runs.
struct Breaks(AtomicUsize, usize);

impl Pool for Breaks {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync)) {
        assert_ne!(self.0.fetch_add(1, Ordering::Relaxed), self.1, "a test's panic");
        SerialPool.run(parts, job);
    }
}

#[test]
fn after_a_panic_all_go_on_as_if_nothing_had_been() {
    let config = Config { context: 64, ..tiny() };
    let model = model(&config, 7);
    let requests = requests(&config, 7, &[(3, 6), (20, 4)]);
    let expected: Vec<_> = requests.iter().map(|request| alone(&model, request)).collect();
    let (mut broke, mut region) = (0, 0);
    loop {
        let pool = Breaks(AtomicUsize::new(0), region);
        let exec = Exec { pool: &pool, ..Exec::serial() };
        let mut generations: Vec<_> = requests.iter().map(|r| Generation::new(&model, r.clone()).unwrap()).collect();
        let mut run = || together(&model, exec, &mut generations, &[0, 0], 8);
        let panicked = catch_unwind(AssertUnwindSafe(&mut run)).is_err();
        if panicked {
            run();
            broke += 1;
        }
        for (generation, expected) in generations.iter().zip(&expected) {
            assert!(same(generation, expected), "after a panic in region {region}");
        }
        if !panicked {
            break;
        }
        region += 1;
    }
    assert!(broke > 50, "{broke} regions");
}
