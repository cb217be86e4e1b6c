//! Draws over many seeds follow the distribution of the contract, also where all cuts and the repetition penalty come together.

use crate::invariance::{model, tiny};
use kernel::Exec;
use kernel::generate::{Generation, Progress, Request, Sampler, SamplerSettings};
use kernel::model::{Config, KvCache, Logits, Model, Workspace};

const PROMPT: [u32; 4] = [3, 9, 3, 17];
const DRAWS: u64 = 20_000;
/// What a statistic per degree of freedom stays below if the distribution is the right one.
const FITS: f64 = 3.0;

/// A seed for each number.
type Seeds = fn(u64) -> u64;

fn logits(model: &Model) -> Vec<f64> {
    let (mut cache, mut workspace) = (KvCache::new(model.config()), Workspace::default());
    model.forward(Exec::serial(), &mut cache, &PROMPT, Logits::Last, &mut workspace).unwrap();
    workspace.logits().iter().map(|l| f64::from(*l)).collect()
}

/// The probabilities that remain, in binary64, by the steps of the contract.
fn expected(logits: &[f64], s: SamplerSettings) -> Vec<f64> {
    let penalised = |(token, l): (usize, &f64)| match PROMPT.contains(&(token as u32)) {
        true if *l < 0.0 => l * s.repetition_penalty,
        true => l / s.repetition_penalty,
        false => *l,
    };
    let logits: Vec<f64> = logits.iter().enumerate().map(penalised).collect();
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = logits.iter().map(|l| ((l - most) / s.temperature).exp()).collect();
    let mut order: Vec<usize> = (0..e.len()).collect();
    order.sort_by(|a, b| e[*b].total_cmp(&e[*a]));
    order.truncate(if s.top_k == 0 { e.len() } else { s.top_k as usize });
    let total: f64 = order.iter().map(|token| e[*token]).sum();
    let mut sum = 0.0;
    let enough = order.iter().position(|token| {
        sum += e[*token];
        sum >= s.top_p * total
    });
    order.truncate(enough.map_or(order.len(), |last| last + 1));
    order.retain(|token| e[*token] >= s.min_p);
    let total: f64 = order.iter().map(|token| e[*token]).sum();
    (0..e.len()).map(|token| if order.contains(&token) { e[token] / total } else { 0.0 }).collect()
}

/// Without cuts, with the penalty, and with everything; temperatures that suit the logits.
fn settings(logits: &[f64]) -> [SamplerSettings; 3] {
    let mean = logits.iter().sum::<f64>() / logits.len() as f64;
    let spread = (logits.iter().map(|l| (l - mean) * (l - mean)).sum::<f64>() / logits.len() as f64).sqrt();
    let plain = SamplerSettings { temperature: 0.5 * spread, ..SamplerSettings::default() };
    let penalised = SamplerSettings { repetition_penalty: 1.6, ..plain };
    let all = SamplerSettings { temperature: 0.8 * spread, top_k: 20, top_p: 0.9, min_p: 0.05, ..penalised };
    [plain, penalised, all]
}

/// The first model of the seeds where the penalty shows among the tokens that remain, and where top-p and min-p cut some.
fn telling_model() -> (Model, Vec<f64>) {
    let telling = |logits: &[f64]| {
        let [.., all] = settings(logits);
        let (p, other) = (expected(logits, all), expected(logits, SamplerSettings { repetition_penalty: 1.0, ..all }));
        let apart: f64 = p.iter().zip(&other).map(|(p, q)| (p - q).abs()).sum();
        apart > 0.2 && (6..all.top_k as usize).contains(&p.iter().filter(|p| **p > 0.0).count())
    };
    let models = (1..1000).map(|seed| model(&Config { vocab: 40, ..tiny() }, seed));
    models.map(|model| (logits(&model), model)).find(|(logits, _)| telling(logits)).map(|(l, m)| (m, l)).unwrap()
}

/// The first token for each seed that `seed` makes of a number.
fn drawn(model: &Model, settings: SamplerSettings, seed: Seeds) -> Vec<usize> {
    let (mut cache, mut workspace) = (KvCache::new(model.config()), Workspace::default());
    model.forward(Exec::serial(), &mut cache, &PROMPT, Logits::None, &mut workspace).unwrap();
    let draw = |number| {
        let sampler = Sampler::new(SamplerSettings { seed: seed(number), ..settings }).unwrap();
        let request = Request { prompt: PROMPT.to_vec(), max_tokens: 1, ignore_eos: true, sampler };
        let mut generation = Generation::new(model, request).unwrap();
        generation.begin_with(cache.prefix(PROMPT.len()));
        let Progress::Token(step) = generation.advance(model, Exec::serial()).unwrap() else { panic!("a token") };
        step.token_id as usize
    };
    (0..DRAWS).map(draw).collect()
}

/// The chi-square statistic of what was found, per degree of freedom; infinite where something was found that cannot be.
fn chi_square(found: impl Iterator<Item = usize>, expected: &[f64]) -> f64 {
    let mut counts = vec![0.0; expected.len()];
    let mut all = 0.0;
    found.for_each(|kind| (counts[kind], all) = (counts[kind] + 1.0, all + 1.0));
    let kinds: Vec<(f64, f64)> = counts.into_iter().zip(expected.iter().map(|p| p * all)).collect();
    if kinds.iter().any(|(count, expected)| *expected == 0.0 && *count > 0.0) {
        return f64::INFINITY;
    }
    let possible = kinds.iter().filter(|(_, expected)| *expected > 0.0);
    let (sum, count) = possible.fold((0.0, 0.0), |(sum, n), (count, e)| (sum + (count - e) * (count - e) / e, n + 1.0));
    sum / (count - 1.0)
}

#[test]
fn draws_over_seeds_follow_the_distribution_with_all_cuts_and_the_penalty() {
    let (model, logits) = telling_model();
    let [plain, penalised, all] = settings(&logits);
    let seeds: [(&str, Seeds); 3] =
        [("rising", |n| n), ("the upper half", |n| n << 32), ("far apart", |n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))];
    for settings in [plain, penalised, all] {
        let p = expected(&logits, settings);
        for (what, seed) in seeds {
            let found = drawn(&model, settings, seed);
            let statistic = chi_square(found.iter().copied(), &p);
            assert!(statistic < FITS, "{settings:?}, seeds {what}: {statistic}");
            // What one seed draws says nothing about what the next one draws.
            let kept: Vec<usize> = (0..p.len()).filter(|token| p[*token] * p[*token] * DRAWS as f64 > 2.0).collect();
            let place = |token: &usize| kept.iter().position(|other| other == token);
            let rest = 1.0 - kept.iter().map(|token| p[*token]).sum::<f64>();
            let kinds: Vec<f64> = kept.iter().map(|token| p[*token]).chain((rest > 1e-9).then_some(rest)).collect();
            let pairs: Vec<f64> = kinds.iter().flat_map(|a| kinds.iter().map(move |b| a * b)).collect();
            let found = found.chunks_exact(2).map(|pair| {
                let [a, b] = [&pair[0], &pair[1]].map(|token| place(token).unwrap_or(kept.len()));
                a * kinds.len() + b
            });
            let statistic = chi_square(found, &pairs);
            assert!(statistic < FITS, "{settings:?}, seeds {what}, two by two: {statistic}");
        }
    }
    // The statistic sees what is left out, and what is slightly off.
    let found = drawn(&model, all, |n| n);
    for other in [
        SamplerSettings { repetition_penalty: 1.0, ..all },
        SamplerSettings { temperature: 0.85 * all.temperature, ..all },
        SamplerSettings { top_k: 3, ..all },
        SamplerSettings { min_p: 0.5, ..all },
    ] {
        let statistic = chi_square(found.iter().copied(), &expected(&logits, other));
        assert!(statistic > FITS, "{other:?}: {statistic}");
    }
}
