//! N11, on the real model: generations from long prompts, read in random pieces, beside each other, from known beginnings, greedy
//! and drawn, have the steps of generations on their own, on every backend and however many threads.
//!
//! `LOCKSTEP_TEST_CASES` says how many mixes, `LOCKSTEP_TEST_SEED` which.

use host::open::open;
use kernel::Exec;
use kernel::generate::{
    Generation, PREFILL_CHUNK, Progress, Replay, Request, Sampler, SamplerSettings, Step, Turn, advance_each,
};
use kernel::model::{KvCache, Logits, Model, Workspace};
use kernel::pool::SerialPool;
use kernel::pool::ThreadPool;
use kernel::random::philox;
use kernel::simd::Backend;
use loader::Access;

use crate::invariance::{backends, from_environment};

const CASES: u64 = 2;
const SEED: u64 = 20_261_127;
/// The positions from which an attention is shared out among threads otherwise.
const LONG: usize = 512;

struct Random {
    seed: u64,
    drawn: u32,
}

impl Random {
    /// A number from `low` to below `high`.
    fn within(&mut self, low: usize, high: usize) -> usize {
        self.drawn += 1;
        low + philox(self.seed, [u32::MAX, 1, 0, self.drawn])[0] as usize % (high - low)
    }

    fn ids(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.within(0, 49_152) as u32).collect()
    }
}

/// Prompts below, around and beyond a chunk, and in the first case one beyond [`LONG`]; each with another choice of tokens.
fn requests(random: &mut Random, long: bool) -> Vec<Request> {
    let length = random.within(PREFILL_CHUNK + 1, PREFILL_CHUNK + 40);
    let long = if long { LONG - 3 } else { PREFILL_CHUNK };
    let cut = SamplerSettings {
        temperature: 0.9,
        top_k: 30,
        top_p: 0.95,
        min_p: 0.01,
        repetition_penalty: 1.2,
        frequency_penalty: 0.3,
        presence_penalty: -0.2,
        logit_bias: vec![(28, -1.5)],
        seed: random.within(0, 1 << 20) as u64,
        stream: 1,
    };
    let open = SamplerSettings { temperature: 1.3, seed: u64::MAX, ..SamplerSettings::default() };
    let samplers = [cut, SamplerSettings::default(), open];
    let lengths = [length, long, random.within(1, 30)];
    let request = |(prompt, settings): (usize, SamplerSettings)| Request {
        prompt: random.ids(prompt),
        max_tokens: 6,
        ignore_eos: true,
        sampler: Sampler::new(settings).unwrap(),
        logprobs: None,
    };
    lengths.into_iter().zip(samplers).map(request).collect()
}

/// Each on its own, on one thread.
fn alone(model: &Model, request: &Request) -> Vec<Step> {
    let exec = Exec { backend: Backend::detect(), pool: &SerialPool };
    let mut generation = Generation::new(model, request.clone()).unwrap();
    while !matches!(generation.advance(model, exec).unwrap(), Progress::Finished(_)) {}
    generation.steps().to_vec()
}

/// The keys and values of the beginning of a prompt, read with another text after it that is taken back.
fn beginning(model: &Model, exec: Exec<'_>, prompt: &[u32], length: usize, random: &mut Random) -> KvCache {
    let (mut cache, mut workspace) = (KvCache::new(model.config()), Workspace::default());
    let text = [&prompt[..length], &random.ids(5)].concat();
    let mut rest = &text[..];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.within(1, 60).min(rest.len()));
        model.forward(exec, &mut cache, piece, Logits::None, &mut workspace).unwrap();
        rest = after;
    }
    cache.prefix(length)
}

/// All of them in one mix: who takes part in a round, and how much of its prompt it reads, is drawn.
fn together(model: &Model, exec: Exec<'_>, requests: &[Request], random: &mut Random) -> Vec<Vec<Step>> {
    let mut all: Vec<Generation> = requests.iter().map(|r| Generation::new(model, r.clone()).unwrap()).collect();
    let known = random.within(0, all.len());
    let prompt = requests[known].prompt.clone();
    let length = random.within(1, prompt.len().min(PREFILL_CHUNK) + 1);
    all[known].begin_with(beginning(model, exec, &prompt, length, random));
    let mut workspace = Workspace::default();
    while all.iter().any(|g| g.steps().len() < g.request().max_tokens) {
        let mut turns: Vec<Turn<'_>> = Vec::new();
        for generation in &mut all {
            if random.within(0, 4) > 0 {
                turns.push(Turn { generation, most: random.within(0, 200) });
            }
        }
        if random.within(0, 2) > 0 {
            turns.reverse();
        }
        for progress in advance_each(model, exec, &mut turns, &mut workspace) {
            progress.unwrap();
        }
    }
    all.iter().map(|generation| generation.steps().to_vec()).collect()
}

/// All tokens of a generation, read at once.
fn replayed(model: &Model, exec: Exec<'_>, request: &Request, steps: &[Step]) -> Vec<Step> {
    let ids: Vec<u32> = steps.iter().map(|step| step.token_id).collect();
    let mut replay = Replay::new(model, request.clone(), &ids).unwrap();
    let mut found = Vec::new();
    while found.len() < steps.len() {
        found.extend(replay.advance(model, exec).unwrap());
    }
    found
}

#[test]
fn n11_one_transcript_however_generations_of_the_real_model_are_mixed() {
    let [cases, seed] = [("LOCKSTEP_TEST_CASES", CASES), ("LOCKSTEP_TEST_SEED", SEED)]
        .map(|(name, value)| from_environment(name, value));
    println!("LOCKSTEP_TEST_SEED={seed} LOCKSTEP_TEST_CASES={cases}");
    let model = open(&crate::model::dir(), Access::Map, None).unwrap().model;
    for case in 0..cases {
        let mut random = Random { seed: seed + case, drawn: 0 };
        let requests = requests(&mut random, case == 0);
        let expected: Vec<Vec<Step>> = requests.iter().map(|request| alone(&model, request)).collect();
        for (place, backend) in backends().into_iter().enumerate() {
            // One, two and three threads, each with another backend in each case.
            let threads = 1 + (place + 1 + case as usize) % 3;
            let pool = ThreadPool::new(threads).unwrap();
            let exec = Exec { backend, pool: &pool };
            let what = format!("case {case}, {}, {threads} threads", backend.name());
            assert_eq!(together(&model, exec, &requests, &mut random), expected, "{what}");
            let one = random.within(0, requests.len());
            assert_eq!(replayed(&model, exec, &requests[one], &expected[one]), expected[one], "{what}, replayed");
        }
    }
}
