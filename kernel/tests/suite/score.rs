//! Scores are those of the contract, and the same however a text is read.

use crate::inputs::{Threads, backends};
use crate::invariance::{model, tiny};
use crate::spec;
use kernel::Exec;
use kernel::generate::{Generation, Progress, Request, Sampler};
use kernel::model::{Config, ForwardError, KvCache, Logits, Model, Sequence, Workspace};
use kernel::score::{ScoreError, Scores, Scoring};
use kernel::train::{Optimizer, Schedule, TrainOptions, Trainer};
use kernel::transcript::{Identity, logits_digest, scoring_transcript};
use proptest::prelude::*;

fn config() -> Config {
    Config { context: 300, ..tiny() }
}

fn scores(model: &Model, exec: Exec<'_>, sequence: &Sequence) -> Scores {
    let mut scoring = Scoring::new(model, sequence.clone()).unwrap();
    loop {
        if let Some(scores) = scoring.advance(model, exec).unwrap() {
            assert_eq!(scoring.progress().0, scoring.progress().1);
            // Asked again, it says the same.
            assert_eq!(scoring.advance(model, exec).unwrap(), Some(scores.clone()));
            return scores;
        }
    }
}

/// What the contract says, from logits that are read token by token.
fn plain(model: &Model, sequence: &Sequence) -> Scores {
    let (mut cache, mut workspace) = (KvCache::new(model.config()), Workspace::default());
    let (mut log_probabilities, mut sum, mut greedy, mut all) = (vec![], 0.0, true, vec![]);
    for (at, token) in sequence.tokens.iter().enumerate() {
        if at > 0 && sequence.counted[at] {
            let logits = workspace.logits();
            let value = spec::log_probability(logits, *token as usize);
            sum += value;
            log_probabilities.push(value);
            let largest = logits.iter().fold(f32::NEG_INFINITY, |m, l| spec::max2(m, *l));
            greedy &= logits.iter().position(|l| *l == largest) == Some(*token as usize);
            all.extend_from_slice(logits);
        }
        model.forward(Exec::serial(), &mut cache, &[*token], Logits::Last, &mut workspace).unwrap();
    }
    Scores { log_probabilities, sum, greedy, logits_sha256: logits_digest(&all) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// On both sides of the length that is read at once, with any tokens that count.
    #[test]
    fn n11_scores_are_those_of_reading_token_by_token(
        seed: u64,
        marks in prop_oneof![
            prop::collection::vec(any::<bool>(), 2..6),
            prop::collection::vec(prop::bool::weighted(0.1), 126..132),
            prop::collection::vec(any::<bool>(), 250..260),
        ],
    ) {
        prop_assume!(marks[1..].contains(&true));
        let config = config();
        let model = model(&config, seed);
        let tokens = (0..marks.len() as u64).map(|i| ((seed ^ (i * 31)) % config.vocab as u64) as u32).collect();
        let sequence = Sequence { tokens, counted: marks };
        let expected = plain(&model, &sequence);
        prop_assert_eq!(&scores(&model, Exec::serial(), &sequence), &expected);
        let threads = Threads::new(3);
        for backend in backends() {
            prop_assert_eq!(&scores(&model, Exec { backend, pool: &threads }, &sequence), &expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever the texts share, and whatever counts in them.
    #[test]
    fn n11_a_text_after_another_one_has_the_scores_that_it_has_alone(
        seed: u64,
        texts in prop::collection::vec((0..140_usize, prop::collection::vec((0..5_u32, any::<bool>()), 2..9)), 2..5),
    ) {
        let model = model(&config(), seed);
        let mut scoring: Option<Scoring> = None;
        for (shared, rest) in texts {
            // A prompt as all of them have it, of this length, and then something else.
            let tokens = (0..shared as u32).map(|i| i * 7 % 5).chain(rest.iter().map(|(token, _)| *token)).collect();
            let counted = (0..shared).map(|i| seed.is_multiple_of(4) && i == 9).chain(rest.iter().map(|(_, counts)| *counts));
            let sequence = Sequence { tokens, counted: counted.collect() };
            if sequence.count() == 0 {
                continue;
            }
            let scoring = match &mut scoring {
                Some(scoring) => {
                    scoring.next(&model, sequence.clone()).unwrap();
                    scoring
                }
                None => scoring.insert(Scoring::new(&model, sequence.clone()).unwrap()),
            };
            let scored = loop {
                if let Some(scores) = scoring.advance(&model, Exec::serial()).unwrap() {
                    break scores;
                }
            };
            prop_assert_eq!(scored, scores(&model, Exec::serial(), &sequence));
        }
    }
}

#[test]
fn a_prompt_is_read_once_for_all_of_its_completions() {
    let model = model(&config(), 5);
    let text = |end: u32| Sequence { tokens: vec![1, 2, 3, end], counted: vec![false, false, false, true] };
    let mut scoring = Scoring::new(&model, text(4)).unwrap();
    scoring.advance(&model, Exec::serial()).unwrap().unwrap();
    scoring.next(&model, text(0)).unwrap();
    assert_eq!(scoring.progress(), (2, 3));
    // What cannot be scored changes nothing.
    assert!(scoring.next(&model, Sequence::new(vec![1])).is_err());
    assert_eq!(scoring.advance(&model, Exec::serial()).unwrap(), Some(scores(&model, Exec::serial(), &text(0))));
}

#[test]
fn what_is_generated_greedily_is_greedy_and_nothing_else_is() {
    let model = model(&config(), 5);
    let request =
        Request { prompt: vec![1, 2, 3], max_tokens: 20, ignore_eos: true, sampler: Sampler::GREEDY, logprobs: None };
    let mut generation = Generation::new(&model, request).unwrap();
    while !matches!(generation.advance(&model, Exec::serial()).unwrap(), Progress::Finished(_)) {}
    let generated = generation.steps().iter().map(|step| step.token_id);
    let tokens: Vec<u32> = [1, 2, 3].into_iter().chain(generated).collect();
    let counted: Vec<bool> = (0..tokens.len()).map(|at| at >= 3).collect();
    let mut sequence = Sequence { tokens, counted };
    assert!(scores(&model, Exec::serial(), &sequence).greedy);
    sequence.tokens[22] = (sequence.tokens[22] + 1) % config().vocab as u32;
    assert!(!scores(&model, Exec::serial(), &sequence).greedy);
    // The token before the first that counts is not asked about.
    sequence.counted[22] = false;
    assert!(scores(&model, Exec::serial(), &sequence).greedy);
}

#[test]
fn the_loss_of_a_training_is_the_mean_with_the_other_sign() {
    let model = model(&config(), 6);
    let sequence = Sequence::new((0..40).map(|i| i * 7 % config().vocab as u32).collect());
    let schedule = Schedule { learning_rate: 0.1, warmup: 0, cosine_steps: None };
    let options =
        TrainOptions { optimizer: Optimizer::Sgd { momentum: 0.0 }, schedule, clip_norm: None, recompute: false };
    let loss = Trainer::new(&model, options).evaluate(Exec::serial(), std::slice::from_ref(&sequence)).unwrap();
    assert_eq!(-scores(&model, Exec::serial(), &sequence).sum / 39.0, loss);
}

#[test]
fn what_cannot_be_scored_is_refused() {
    let model = model(&config(), 5);
    let new = |tokens: Vec<u32>| Scoring::new(&model, Sequence::new(tokens)).unwrap_err();
    let vocab = config().vocab;
    assert_eq!(new(vec![1, vocab as u32]), ScoreError::Forward(ForwardError::Token { token: vocab as u32, vocab }));
    let long = ForwardError::Context { positions: 301, context: 300 };
    assert_eq!(new(vec![1; 301]), ScoreError::Forward(long));
    assert_eq!((new(vec![1]), new(vec![])), (ScoreError::NoTargets, ScoreError::NoTargets));
    let broken = model.with_tensor(0, |w| w[0] = f32::NAN);
    let mut scoring = Scoring::new(&broken, Sequence::new(vec![1, 2, 3])).unwrap();
    assert_eq!(scoring.advance(&broken, Exec::serial()), Err(ScoreError::NotFinite { token: 2 }));
}

#[test]
fn a_scoring_is_known_by_everything_that_it_was() {
    let identity = Identity { weights: [1; 32], adapter: None, tokenizer: [2; 32] };
    let one = Scores { log_probabilities: vec![-1.0], sum: -1.0, greedy: true, logits_sha256: [4; 32] };
    let two = Scores { greedy: false, ..one.clone() };
    let digest = |lines: &[&Scores]| scoring_transcript(&identity, &[3; 32], lines.iter().copied());
    let all = [digest(&[&one]), digest(&[&two]), digest(&[&one, &two]), digest(&[&two, &one]), digest(&[])];
    assert!((0..5).all(|i| (0..i).all(|j| all[i] != all[j])));
    assert_ne!(scoring_transcript(&identity, &[5; 32], [&one]), all[0]);
    assert_ne!(digest(&[&Scores { sum: -2.0, ..one.clone() }]), all[0]);
    assert_ne!(digest(&[&Scores { logits_sha256: [9; 32], ..one }]), all[0]);
}
