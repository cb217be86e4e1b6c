//! Choices and draws, against the contract's words and against probabilities.

use super::*;
use crate::math;
use crate::simd::{Backend, scalar::Scalar};
use alloc::string::ToString;
use alloc::vec;

fn sampler(change: impl Fn(&mut SamplerSettings)) -> Sampler {
    let mut settings = SamplerSettings { temperature: 1.0, seed: 11, ..SamplerSettings::default() };
    change(&mut settings);
    Sampler::new(settings).unwrap()
}

fn choose(sampler: &Sampler, step: usize, logits: &[f32], prompt: &[u32]) -> Result<u32, usize> {
    choose_after(sampler, step, logits, prompt, &[])
}

fn choose_after(
    sampler: &Sampler,
    step: usize,
    logits: &[f32],
    prompt: &[u32],
    generated: &[u32],
) -> Result<u32, usize> {
    sampler.choose(Exec::serial(), step, logits, prompt, generated.iter().copied(), &mut Vec::new())
}

/// What the contract makes of the raw logits, one after the other.
fn adjusted(sampler: &Sampler, logits: &[f32], prompt: &[u32], generated: &[u32]) -> Vec<f32> {
    let adjusted = (0..).zip(logits).map(|(token, l)| {
        let (mut l, count) = (*l, generated.iter().filter(|t| **t == token).count());
        if count > 0 || prompt.contains(&token) {
            l = if l < 0.0 { l * sampler.repetition_penalty } else { l / sampler.repetition_penalty };
        }
        if count > 0 {
            let frequency = count as f32 * sampler.frequency_penalty;
            l -= frequency;
            l -= sampler.presence_penalty;
        }
        for (_, bias) in sampler.logit_bias.iter().filter(|(t, _)| *t == token) {
            l += bias;
        }
        l
    });
    adjusted.collect()
}

/// The rules as the contract words them: everything sorted, nothing found by a shorter way.
fn plain(sampler: &Sampler, step: usize, logits: &[f32], prompt: &[u32], generated: &[u32]) -> u32 {
    let l = adjusted(sampler, logits, prompt, generated);
    let m = l.iter().fold(f32::NEG_INFINITY, |m, v| if m < *v { *v } else { m });
    if sampler.temperature == 0.0 {
        return l.iter().position(|l| *l == m).unwrap() as u32;
    }
    let e: Vec<f32> = l.iter().map(|l| math::exp(Scalar, [(l - m) / sampler.temperature; 16])[0]).collect();
    let integer = |token: usize| (f64::from(e[token]) * libm::scalbn(1.0, 40)).floor() as u128;
    let mut order: Vec<usize> = (0..l.len()).collect();
    order.sort_by(|a, b| e[*b].partial_cmp(&e[*a]).unwrap().then(a.cmp(b)));
    if sampler.top_k > 0 {
        order.truncate(sampler.top_k as usize);
    }
    let total: u128 = order.iter().map(|token| integer(*token)).sum();
    let part = (f64::from(sampler.top_p) * libm::scalbn(1.0, 32)).floor() as u128;
    let reached = |n: &usize| order[..*n].iter().map(|token| integer(*token)).sum::<u128>() * (1 << 32) >= part * total;
    let n = (1..=order.len()).find(reached).unwrap();
    order.truncate(n);
    order.retain(|token| e[*token] >= sampler.min_p);
    order.sort_unstable();
    let total: u128 = order.iter().map(|token| integer(*token)).sum();
    let words = crate::random::philox(sampler.seed, [4, sampler.stream, step as u32, 0]);
    let random = u128::from(words[0]) | (u128::from(words[1]) << 32);
    let (target, mut sum) = ((random * total) >> 64, 0);
    for token in order {
        sum += integer(token);
        if target < sum {
            return token as u32;
        }
    }
    panic!("no token was drawn")
}

#[test]
fn a_draw_is_what_the_contract_says() {
    let value = |i: u64| crate::random::uniform(5, Purpose::Golden, 9, i);
    for case in 0..400 {
        let len = 1 + case as usize % 53;
        let spread = [1.0, 8.0, 60.0][case as usize % 3];
        let mut logits: Vec<f32> = (0..len as u64).map(|i| (value(case * 100 + i) - 0.5) * spread).collect();
        logits[len / 2] = logits[0]; // a tie
        let sampler = sampler(|s| {
            s.temperature = [0.1, 0.7, 1.0, 3.0, 0.0][case as usize % 5];
            s.top_k = [0, 1, 5, 40][case as usize / 4 % 4];
            s.top_p = [1.0, 0.9, 0.3, 1e-12][case as usize / 16 % 4];
            s.min_p = [0.0, 0.05, 1.0][case as usize / 7 % 3];
            s.repetition_penalty = [1.0, 1.3, 0.5][case as usize / 5 % 3];
            s.frequency_penalty = [0.0, 0.3, -2.0, 1.1][case as usize / 3 % 4];
            s.presence_penalty = [0.0, 0.7, -0.1][case as usize / 2 % 3];
            s.logit_bias =
                (0..case % 5).map(|i| ((i * 7 % 11) as u32, f64::from(value(i + case) - 0.5) * 9.1)).collect();
            s.logit_bias.retain(|(token, _)| (*token as usize) < len);
            s.seed = case;
            s.stream = case as u32 / 11 % 3;
        });
        let (prompt, last) = ([0, (len - 1) as u32, 0], (len as u32 - 1) / 2);
        let generated = [last, 0, last, last / 2, last];
        for step in 1..20 {
            let generated = &generated[..(step - 1).min(5)];
            let found = choose_after(&sampler, step, &logits, &prompt, generated).unwrap();
            let expected = plain(&sampler, step, &logits, &prompt, generated);
            assert_eq!(found, expected, "case {case}, step {step}: {sampler:?}");
            let mut found = logits.clone();
            sampler.adjust(&mut found, &logits, &prompt, generated.iter().copied());
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            // A bias of 0 is none, a penalty of 0 takes 0: that is no other number.
            let expected = adjusted(&sampler, &logits, &prompt, generated);
            assert_eq!(bits(found), bits(expected), "case {case}, step {step}: {sampler:?}");
        }
    }
}

/// The chi-square statistic of 20,000 draws against expected probabilities, per degree of freedom.
fn chi_square(sampler: &Sampler, logits: &[f32], expected: &[f64]) -> f64 {
    const DRAWS: usize = 20_000;
    let mut counts = vec![0.0_f64; logits.len()];
    (1..=DRAWS).for_each(|step| counts[choose(sampler, step, logits, &[]).unwrap() as usize] += 1.0);
    let (mut sum, mut cells) = (0.0, 0);
    for (count, p) in counts.iter().zip(expected) {
        let wanted = p * DRAWS as f64;
        if *p == 0.0 {
            assert_eq!(*count, 0.0, "a token was drawn that must not be");
        } else {
            sum += (count - wanted) * (count - wanted) / wanted;
            cells += 1;
        }
    }
    sum / f64::from((cells - 1).max(1))
}

fn normalised(weights: &[f64]) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

#[test]
fn draws_follow_the_distribution() {
    let p = [0.4, 0.25, 0.15, 0.1, 0.06, 0.04];
    let logits = p.map(|p: f64| libm::log(p) as f32 + 3.0);
    let cut = |kept: usize| {
        normalised(&p.iter().enumerate().map(|(i, p)| if i < kept { *p } else { 0.0 }).collect::<Vec<_>>())
    };
    let squared = normalised(&p.map(|p| p * p));
    // With 5 degrees of freedom 4 is exceeded once in 800 experiments, and these are seeded.
    assert!(chi_square(&sampler(|_| ()), &logits, &p) < 4.0);
    assert!(chi_square(&sampler(|s| s.temperature = 0.5), &logits, &squared) < 4.0);
    assert!(chi_square(&sampler(|s| s.top_k = 3), &logits, &cut(3)) < 4.0);
    assert!(chi_square(&sampler(|s| s.top_p = 0.75), &logits, &cut(3)) < 4.0);
    assert!(chi_square(&sampler(|s| s.min_p = 0.2), &logits, &cut(4)) < 4.0);
    // The comparator has teeth.
    assert!(chi_square(&sampler(|_| ()), &logits, &squared) > 100.0);
    assert!(chi_square(&sampler(|s| s.temperature = 1.1), &logits, &p) > 4.0);
}

#[test]
fn a_low_temperature_and_every_narrowest_cut_are_greedy() {
    let logits = [0.5, -1.0, 2.0, 1.999, 0.0];
    for step in 1..200 {
        assert_eq!(choose(&sampler(|s| s.temperature = 0.0), step, &logits, &[]), Ok(2));
        assert_eq!(choose(&sampler(|s| s.temperature = 1e-5), step, &logits, &[]), Ok(2));
        assert_eq!(choose(&sampler(|s| s.top_k = 1), step, &logits, &[]), Ok(2));
        assert_eq!(choose(&sampler(|s| s.top_p = 1e-30), step, &logits, &[]), Ok(2));
        assert_eq!(choose(&sampler(|s| s.min_p = 1.0), step, &logits, &[]), Ok(2));
    }
}

#[test]
fn repeated_tokens_are_penalised_once() {
    let greedy = sampler(|s| (s.temperature, s.repetition_penalty) = (0.0, 2.0));
    assert_eq!(choose(&greedy, 1, &[3.0, 2.0, -1.0], &[]), Ok(0));
    assert_eq!(choose(&greedy, 1, &[3.0, 2.0, -1.0], &[0]), Ok(1));
    assert_eq!(choose(&greedy, 1, &[3.0, 1.0, -1.0], &[0, 0]), Ok(0));
    assert_eq!(choose(&greedy, 1, &[-2.0, -3.5, -9.0], &[0]), Ok(1));
}

#[test]
fn generated_tokens_are_penalised_for_each_time_and_once_and_those_of_the_prompt_are_not() {
    let choose = |(frequency, presence), generated: &[u32]| {
        let greedy = sampler(|s| (s.temperature, s.frequency_penalty, s.presence_penalty) = (0.0, frequency, presence));
        choose_after(&greedy, 1, &[3.0, 2.5, 0.0], &[0, 0, 0, 0], generated)
    };
    assert_eq!(choose((0.4, 0.0), &[]), Ok(0));
    assert_eq!(choose((0.4, 0.0), &[0]), Ok(0));
    assert_eq!(choose((0.4, 0.0), &[0, 2, 0]), Ok(1));
    assert_eq!(choose((0.0, 0.4), &[0, 0, 0, 0]), Ok(0));
    assert_eq!(choose((0.0, 0.6), &[0]), Ok(1));
    assert_eq!(choose((0.3, 0.3), &[0]), Ok(1));
    assert_eq!(choose((-2.0, -1.5), &[2]), Ok(2));
}

#[test]
fn a_bias_is_added_to_the_logits_of_its_tokens() {
    let biased = |biases: &[(u32, f64)], temperature| {
        let sampler = sampler(|s| (s.temperature, s.logit_bias) = (temperature, biases.to_vec()));
        choose(&sampler, 1, &[3.0, 2.0, -1.0], &[])
    };
    for temperature in [0.0, 1.0] {
        assert_eq!(biased(&[(2, 100.0)], temperature), Ok(2));
        assert_eq!(biased(&[(2, -100.0), (0, -100.0)], temperature), Ok(1));
    }
    assert_eq!(biased(&[(1, 0.75)], 0.0), Ok(0));
    assert_eq!(biased(&[(1, 1.0), (0, -0.5)], 0.0), Ok(1));
    // In any order, and what adds nothing is not there.
    let [one, other] = [&[(5, 1.0), (2, 0.0), (1, -2.0)][..], &[(1, -2.0), (5, 1.0), (7, -0.0)]]
        .map(|biases| sampler(|s| s.logit_bias = biases.to_vec()));
    assert_eq!((&one, one.highest_bias()), (&other, Some(5)));
    assert_eq!(one.settings().logit_bias, [(1, -2.0), (5, 1.0)]);
}

/// The first draw of each of many streams.
#[test]
fn streams_are_drawn_from_independently() {
    let draws = |change: fn(&mut SamplerSettings, u32)| {
        let count = (0..20_000).filter(|i| choose(&sampler(|s| change(s, *i)), 1, &[0.0, 0.0], &[]) == Ok(0)).count();
        (9_700..10_300).contains(&count)
    };
    assert!(draws(|s, i| s.stream = i));
    assert!(draws(|s, i| s.stream = u32::MAX - i));
    assert!(!draws(|s, _| s.stream = 7));
}

#[test]
fn n7_the_lowest_token_wins_a_tie() {
    let choose = |logits: &[f32]| choose(&Sampler::GREEDY, 1, logits, &[]);
    assert_eq!(choose(&[1.0, 3.0, 3.0, 2.0]), Ok(1));
    assert_eq!(choose(&[-0.0, 0.0]), Ok(0));
    assert_eq!(choose(&[-5.0]), Ok(0));
    // Among equals a cut keeps the lower tokens.
    let kept = sampler(|s| s.top_k = 2).kept(&[0.5, 1.0, 0.5, 0.5]);
    assert_eq!(kept, [0, 1]);
}

#[test]
fn n7_the_lowest_of_the_highest_is_found_in_any_part() {
    for len in [1, 63, 64, 65, 200] {
        for at in 0..len {
            let mut logits = vec![-3.0; len];
            logits[at..].fill(-1.0);
            assert_eq!(argmax(&logits), Ok(at as u32), "{len}");
            logits[at] = f32::NEG_INFINITY;
            logits[len - 1] = if at == len - 1 { f32::NEG_INFINITY } else { f32::NAN };
            assert_eq!(argmax(&logits), Err(at), "{len}");
        }
    }
    assert_eq!(argmax(&[-0.0, 0.0]), Ok(0));
}

#[test]
fn n9_values_that_are_not_finite_are_refused() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for sampler in [Sampler::GREEDY, sampler(|s| s.repetition_penalty = 2.0)] {
            assert_eq!(choose(&sampler, 1, &[1.0, bad, 9.0, bad], &[1]), Err(1));
        }
        let biased = sampler(|s| s.logit_bias = vec![(1, -100.0), (3, 100.0)]);
        assert_eq!(choose(&biased, 1, &[1.0, bad, 9.0, bad], &[1]), Err(1));
    }
    // So are those that are made.
    let divided = sampler(|s| s.repetition_penalty = 0.01);
    assert_eq!(choose(&divided, 1, &[1.0, 2.0, 1e38], &[2]), Err(2));
}

#[test]
fn every_backend_draws_the_same() {
    let logits: Vec<f32> = (0..1000).map(|i| (i * 7919 % 1000) as f32 * 0.01).collect();
    let sampler = sampler(|s| s.top_p = 0.95);
    for step in 1..100 {
        let draw = |backend| {
            let exec = Exec { backend, ..Exec::serial() };
            sampler.choose(exec, step, &logits, &[], [].into_iter(), &mut Vec::new()).unwrap()
        };
        assert!(Backend::available().into_iter().all(|backend| draw(backend) == draw(Backend::SCALAR)));
    }
}

#[test]
fn parameters_out_of_range_are_refused_by_name() {
    let name = |change: fn(&mut SamplerSettings)| {
        let mut settings = SamplerSettings::default();
        change(&mut settings);
        Sampler::new(settings).unwrap_err().to_string()
    };
    assert!(name(|s| s.temperature = -0.1).starts_with("temperature is -0.1; choose"));
    assert!(name(|s| s.temperature = f64::NAN).starts_with("temperature is NaN"));
    assert!(name(|s| s.top_p = 0.0).starts_with("top_p"));
    assert!(name(|s| s.top_p = 1.1).starts_with("top_p"));
    assert!(name(|s| s.min_p = -1.0).starts_with("min_p"));
    assert!(name(|s| s.repetition_penalty = 0.0).starts_with("repetition_penalty"));
    assert!(name(|s| s.frequency_penalty = 2.1).starts_with("frequency_penalty is 2.1; choose a number from -2 to 2"));
    assert!(name(|s| s.presence_penalty = f64::NAN).starts_with("presence_penalty is NaN"));
    let bias = name(|s| s.logit_bias = vec![(1, 2.0), (0, -100.5)]);
    assert_eq!(bias, "logit_bias: a bias is -100.5; choose a number from -100 to 100");
    let twice = name(|s| s.logit_bias = vec![(9, 0.0), (3, 1.0), (9, 0.0)]);
    assert_eq!(twice, "logit_bias: a token with two biases is 9; choose one bias for each");
    let many = name(|s| s.logit_bias = (0..1025).map(|token| (token, 1.0)).collect());
    assert_eq!(many, "logit_bias: the number of tokens is 1025; choose at most 1024");
    let most = SamplerSettings { logit_bias: (0..1024).map(|token| (token, 100.0)).collect(), ..Default::default() };
    assert!(Sampler::new(most).is_ok());
}

#[test]
fn a_transcript_names_the_sampler_by_its_bits() {
    let greedy = "temperature=00000000 top_k=0 top_p=3f800000 min_p=00000000 repetition_penalty=3f800000 seed=0";
    assert_eq!(Sampler::GREEDY.text(), greedy);
    assert_eq!(Sampler::new(SamplerSettings { temperature: -0.0, ..Default::default() }).unwrap().text(), greedy);
    let other = sampler(|s| (s.top_k, s.top_p, s.min_p, s.repetition_penalty) = (40, 0.5, 0.25, 2.0)).text();
    let expected = "temperature=3f800000 top_k=40 top_p=3f000000 min_p=3e800000 repetition_penalty=40000000 seed=11";
    assert_eq!(other, expected);
    let all = sampler(|s| {
        (s.frequency_penalty, s.presence_penalty, s.stream) = (0.5, -2.0, 3);
        s.logit_bias = vec![(70, 1.0), (9, -100.0)];
    });
    let draw = "temperature=3f800000 top_k=0 top_p=3f800000 min_p=00000000 repetition_penalty=3f800000 seed=11";
    let told = "frequency_penalty=3f000000 presence_penalty=c0000000 logit_bias=9:c2c80000,70:3f800000 stream=3";
    assert_eq!(all.text(), format!("{draw} {told}"));
    assert_eq!(sampler(|s| s.presence_penalty = 1.0).text(), format!("{draw} presence_penalty=3f800000"));
    let none = sampler(|s| (s.frequency_penalty, s.presence_penalty, s.logit_bias) = (-0.0, 0.0, vec![(4, -0.0)]));
    assert_eq!(none.text(), draw);
}
