//! Log-probabilities are those of the contract and near the truth, and the same however a text is read.

use crate::inputs::{Threads, backends};
use crate::invariance::{model, tiny};
use crate::spec;
use kernel::Exec;
use kernel::generate::{
    FinishReason, GenerateError, Generation, Logprobs, Progress, Request, Sampler, SamplerSettings, TokenLogprob, Turn,
    advance_each,
};
use kernel::model::{Config, KvCache, Logits, Model, Sequence, Workspace};
use kernel::score::Scoring;
use proptest::prelude::*;

/// A token, and the bits of its log-probability and of those of the likelier ones.
type Bits = (u32, u32, Vec<(u32, u32)>);

/// All of it, numbers by their bits.
pub fn bits(told: &[TokenLogprob]) -> Vec<Bits> {
    let top = |told: &TokenLogprob| told.top.iter().map(|(token, logprob)| (*token, logprob.to_bits())).collect();
    told.iter().map(|told| (told.token_id, told.logprob.to_bits(), top(told))).collect()
}

fn config() -> Config {
    Config { context: 300, vocab: 37, ..tiny() }
}

fn request(config: &Config, seed: u64, prompt: usize, max_tokens: usize, logprobs: Option<Logprobs>) -> Request {
    let prompt = (0..prompt as u64).map(|i| ((seed ^ (i * 31)) % config.vocab as u64) as u32).collect();
    // Neither penalties nor bias nor temperature reach a log-probability.
    let settings = SamplerSettings {
        temperature: (seed % 3) as f64,
        frequency_penalty: 0.5,
        logit_bias: vec![(1, 2.5)],
        seed,
        ..SamplerSettings::default()
    };
    Request { prompt, max_tokens, ignore_eos: true, sampler: Sampler::new(settings).unwrap(), logprobs }
}

fn run(model: &Model, exec: Exec<'_>, request: &Request) -> Generation {
    let mut generation = Generation::new(model, request.clone()).unwrap();
    while !matches!(generation.advance(model, exec).unwrap(), Progress::Finished(_)) {}
    generation
}

/// The logits before each token but the first, of a text that is read token by token.
fn rows(model: &Model, tokens: &[u32]) -> Vec<Vec<f32>> {
    let (mut cache, mut workspace) = (KvCache::new(model.config()), Workspace::default());
    let row = |token: &u32| {
        model.forward(Exec::serial(), &mut cache, &[*token], Logits::Last, &mut workspace).unwrap();
        workspace.logits().to_vec()
    };
    tokens[..tokens.len() - 1].iter().map(row).collect()
}

/// What the contract says of `targets` after these logits.
fn plain(rows: &[Vec<f32>], targets: &[u32], top: usize) -> Vec<TokenLogprob> {
    let told = rows.iter().zip(targets).map(|(logits, target)| {
        let value = |token: u32| spec::log_probability(logits, token as usize);
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|a, b| logits[*b as usize].partial_cmp(&logits[*a as usize]).unwrap());
        let top = order.into_iter().take(top).map(|token| (token, value(token))).collect();
        TokenLogprob { token_id: *target, logprob: value(*target), top }
    });
    told.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Prompts on both sides of the length that is read at once; alone, and in turns beside a text that asks for nothing.
    #[test]
    fn n11_log_probabilities_are_those_of_reading_token_by_token(
        seed: u64,
        prompt in prop_oneof![1..6_usize, 126..131_usize],
        max_tokens in 0..5_usize,
        top in prop_oneof![0..4_usize, Just(50)],
        most in 1..40_usize,
    ) {
        let config = config();
        let model = model(&config, seed);
        let request = request(&config, seed, prompt, max_tokens, Some(Logprobs { top, prompt: true }));
        let expected = run(&model, Exec::serial(), &request);
        let generated = expected.steps().iter().map(|step| step.token_id);
        let tokens: Vec<u32> = request.prompt.iter().copied().chain(generated).collect();
        prop_assert_eq!(tokens.len(), prompt + max_tokens);
        let told = plain(&rows(&model, &tokens), &tokens[1..], top);
        prop_assert_eq!(bits(expected.prompt_logprobs()), bits(&told[..prompt - 1]));
        prop_assert_eq!(bits(expected.logprobs()), bits(&told[prompt - 1..]));
        let (threads, other) = (Threads::new(3), Request { logprobs: None, max_tokens: 30, ..request.clone() });
        for backend in backends() {
            let exec = Exec { backend, pool: &threads };
            let mut beside = Generation::new(&model, other.clone()).unwrap();
            let mut generation = Generation::new(&model, request.clone()).unwrap();
            let mut workspace = Workspace::default();
            loop {
                let turns = [&mut beside, &mut generation].map(|generation| Turn { generation, most });
                let progress = advance_each(&model, exec, &mut { turns }, &mut workspace);
                if matches!(progress[1], Ok(Progress::Finished(_))) {
                    break;
                }
            }
            for generation in [&generation, &run(&model, exec, &request)] {
                prop_assert_eq!(generation.steps(), expected.steps());
                prop_assert_eq!(bits(generation.logprobs()), bits(expected.logprobs()));
                prop_assert_eq!(bits(generation.prompt_logprobs()), bits(expected.prompt_logprobs()));
            }
            prop_assert!(beside.logprobs().is_empty() && beside.prompt_logprobs().is_empty());
        }
    }

    /// A prompt has the log-probabilities that its scoring has.
    #[test]
    fn a_prompt_is_told_what_it_is_scored(seed: u64, prompt in prop_oneof![2..6_usize, 126..131_usize], max_tokens in 0..2_usize) {
        let config = config();
        let model = model(&config, seed);
        let request = request(&config, seed, prompt, max_tokens, Some(Logprobs { top: 1, prompt: true }));
        let mut scoring = Scoring::new(&model, Sequence::new(request.prompt.clone())).unwrap();
        let scores = loop {
            if let Some(scores) = scoring.advance(&model, Exec::serial()).unwrap() {
                break scores;
            }
        };
        let generation = run(&model, Exec::serial(), &request);
        let told = generation.prompt_logprobs();
        let found: Vec<u32> = told.iter().map(|told| told.logprob.to_bits()).collect();
        let expected: Vec<u32> = scores.log_probabilities.iter().map(|value| value.to_bits()).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(told.iter().all(|told| told.top[0].0 == told.token_id), scores.greedy);
    }
}

/// Each is within two units in the last place of the magnitudes that it is computed from.
#[test]
fn log_probabilities_are_near_the_truth() {
    let config = config();
    for seed in 0..20 {
        let model = model(&config, seed);
        let request = request(&config, seed, 40, 9, Some(Logprobs { top: config.vocab, prompt: true }));
        let generation = run(&model, Exec::serial(), &request);
        let generated = generation.steps().iter().map(|step| step.token_id);
        let tokens: Vec<u32> = request.prompt.iter().copied().chain(generated).collect();
        let told = generation.prompt_logprobs().iter().chain(generation.logprobs());
        let mut count = 0;
        for (told, logits) in told.zip(rows(&model, &tokens)) {
            let wide = |token: u32| f64::from(logits[token as usize]);
            let m = (0..config.vocab as u32).map(wide).fold(f64::NEG_INFINITY, f64::max);
            let ln_z = (0..config.vocab as u32).map(|token| (wide(token) - m).exp()).sum::<f64>().ln();
            for (token, logprob) in told.top.iter().chain([&(told.token_id, told.logprob)]) {
                let truth = (wide(*token) - m) - ln_z;
                let bound = 2.0 * 2.0_f64.powi(-23) * (1.0 + truth.abs() + m.abs());
                let err = (f64::from(*logprob) - truth).abs();
                assert!(err <= bound, "seed {seed}, token {token}: {logprob} for {truth}");
                count += 1;
            }
            let total: f64 = told.top.iter().map(|(_, logprob)| f64::from(*logprob).exp()).sum();
            assert!((total - 1.0).abs() <= 1e-5, "seed {seed}: {total}");
        }
        assert_eq!(count, 48 * (config.vocab + 1));
    }
}

#[test]
fn a_prompt_is_scored_without_a_token() {
    let config = config();
    let model = model(&config, 3);
    let scored = |prompt| request(&config, 3, prompt, 0, Some(Logprobs { top: 1, prompt: true }));
    let mut generation = Generation::new(&model, scored(130)).unwrap();
    let mut advance = || generation.advance(&model, Exec::serial()).unwrap();
    assert_eq!(advance(), Progress::Prefill { done: 128, total: 130 });
    assert_eq!([advance(), advance()], [Progress::Finished(FinishReason::Length); 2]);
    assert_eq!((generation.steps().len(), generation.prompt_logprobs().len()), (0, 129));
    generation.end();
    generation.release();
    assert_eq!((generation.cache().bytes(), generation.prompt_logprobs().len()), (0, 129));
    assert_eq!(run(&model, Exec::serial(), &scored(1)).prompt_logprobs(), []);
    // Without that it has nothing to do.
    for logprobs in [None, Some(Logprobs { top: 1, prompt: false })] {
        let refused = Generation::new(&model, request(&config, 3, 5, 0, logprobs)).unwrap_err();
        assert_eq!(refused, GenerateError::NoMaxTokens);
    }
    assert!(matches!(Generation::new(&model, scored(301)), Err(GenerateError::Context { .. })));
    assert_eq!(run(&model, Exec::serial(), &scored(300)).prompt_logprobs().len(), 299);
}

#[test]
fn what_is_known_of_a_prompt_does_not_tell_its_log_probabilities() {
    let config = config();
    let model = model(&config, 4);
    for max_tokens in [0, 3] {
        let request = request(&config, 4, 20, max_tokens, Some(Logprobs { top: 2, prompt: true }));
        let mut cache = KvCache::new(&config);
        model.forward(Exec::serial(), &mut cache, &request.prompt, Logits::None, &mut Workspace::default()).unwrap();
        let mut generation = Generation::new(&model, request.clone()).unwrap();
        generation.begin_with(cache);
        assert_eq!(generation.cache().len(), 0);
        while !matches!(generation.advance(&model, Exec::serial()).unwrap(), Progress::Finished(_)) {}
        let expected = run(&model, Exec::serial(), &request);
        assert_eq!(bits(generation.prompt_logprobs()), bits(expected.prompt_logprobs()));
        assert_eq!((generation.prompt_logprobs().len(), generation.logprobs().len()), (19, max_tokens));
    }
}

#[test]
fn n9_logits_of_a_prompt_that_are_not_finite_are_refused() {
    let config = config();
    let broken = model(&config, 5).with_tensor(0, |w| w[0] = f32::NAN);
    let prompt = |logprobs| Request { prompt: vec![1, 2, 3], ..request(&config, 5, 1, 2, logprobs) };
    let advance = |logprobs| {
        let mut generation = Generation::new(&broken, prompt(logprobs)).unwrap();
        [(); 2].map(|()| generation.advance(&broken, Exec::serial()))
    };
    let scored = GenerateError::PromptNotFinite { place: 2, token: 0 };
    assert_eq!(advance(Some(Logprobs { top: 0, prompt: true })), [Err(scored); 2]);
    assert_eq!(advance(None), [Err(GenerateError::NotFinite { step: 1, token: 0 }); 2]);
    assert!(scored.to_string().starts_with("token 2 of the prompt: the logit of token 0"));
}
