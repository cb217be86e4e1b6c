//! A generation that is computed again from its tokens has the same steps, however it was cut.

use crate::inputs::{Threads, backends};
use crate::invariance::{model, tiny};
use kernel::Exec;
use kernel::generate::{GenerateError, Generation, Progress, Replay, Request, Sampler, SamplerSettings, Step};
use kernel::model::{Config, ForwardError, Model};
use kernel::transcript::{Identity, transcript, transcript_of};
use proptest::prelude::*;

fn config() -> Config {
    Config { context: 300, ..tiny() }
}

fn generated(model: &Model, request: &Request) -> Vec<Step> {
    let mut generation = Generation::new(model, request.clone()).unwrap();
    while !matches!(generation.advance(model, Exec::serial()).unwrap(), Progress::Finished(_)) {}
    let identity = Identity { weights: [1; 32], adapter: None, tokenizer: [2; 32] };
    let steps = generation.steps().to_vec();
    assert_eq!(transcript(&identity, &generation), transcript_of(&identity, request, &steps));
    steps
}

fn replayed(model: &Model, exec: Exec<'_>, request: &Request, tokens: &[u32]) -> Vec<Step> {
    let mut replay = Replay::new(model, request.clone(), tokens).unwrap();
    let mut steps = Vec::new();
    while replay.progress().0 < replay.progress().1 {
        steps.extend(replay.advance(model, exec).unwrap());
    }
    assert_eq!(replay.advance(model, exec).unwrap(), []);
    steps
}

fn ids(steps: &[Step]) -> Vec<u32> {
    steps.iter().map(|step| step.token_id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Greedy and drawn, with prompts and outputs on both sides of the length that is read at once.
    #[test]
    fn replay_equals_generation(
        seed: u64,
        prompt in prop_oneof![1..4_usize, 62..67_usize, 127..131_usize],
        max_tokens in prop_oneof![1..4_usize, 62..68_usize],
        temperature in prop_oneof![Just(0.0), Just(1.0)],
        repetition_penalty in prop_oneof![Just(1.0), Just(1.5)],
        (frequency_penalty, presence_penalty) in prop_oneof![Just((0.0, 0.0)), Just((0.25, -1.0)), Just((0.0, 2.0))],
        biases in prop::collection::btree_map(0..5_u32, -3.0..3.0, 0..3),
        stream in 0..3_u32,
    ) {
        let config = config();
        let model = model(&config, seed);
        let prompt = (0..prompt as u64).map(|i| ((seed ^ (i * 31)) % config.vocab as u64) as u32).collect();
        let logit_bias = biases.into_iter().collect();
        let settings = SamplerSettings {
            temperature,
            repetition_penalty,
            frequency_penalty,
            presence_penalty,
            logit_bias,
            seed,
            stream,
            ..Default::default()
        };
        let sampler = Sampler::new(settings).unwrap();
        prop_assert_eq!(&Sampler::new(sampler.settings()).unwrap(), &sampler);
        let request = Request { prompt, max_tokens, ignore_eos: false, sampler, logprobs: None };
        let steps = generated(&model, &request);
        let tokens = ids(&steps);
        prop_assert_eq!(&replayed(&model, Exec::serial(), &request, &tokens), &steps);
        let threads = Threads::new(3);
        for backend in backends() {
            let exec = Exec { backend, pool: &threads };
            prop_assert_eq!(&replayed(&model, exec, &request, &tokens), &steps);
        }
    }
}

#[test]
fn a_replay_tells_the_first_token_that_was_not_chosen() {
    let model = model(&config(), 5);
    let request =
        Request { prompt: vec![1, 2, 3], max_tokens: 70, ignore_eos: true, sampler: Sampler::GREEDY, logprobs: None };
    let steps = generated(&model, &request);
    for wrong in [0, 40, 69] {
        let mut tokens = ids(&steps);
        tokens[wrong] = (tokens[wrong] + 1) % config().vocab as u32;
        let computed = replayed(&model, Exec::serial(), &request, &tokens);
        // The step is computed from what is before it: it has the token that belongs there, and so have those before.
        assert_eq!(computed[..=wrong], steps[..=wrong]);
        assert_eq!(computed.len(), 70);
    }
}

#[test]
fn what_cannot_be_replayed_is_refused() {
    let model = model(&config(), 5);
    let request =
        Request { prompt: vec![1], max_tokens: 2, ignore_eos: true, sampler: Sampler::GREEDY, logprobs: None };
    let vocab = config().vocab;
    let unknown = Replay::new(&model, request.clone(), &[vocab as u32]).unwrap_err();
    assert_eq!(unknown, GenerateError::Forward(ForwardError::Token { token: vocab as u32, vocab }));
    let long = Request { max_tokens: 300, ..request };
    assert!(matches!(Replay::new(&model, long, &[1]), Err(GenerateError::Context { .. })));
}
