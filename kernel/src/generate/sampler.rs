//! The choice of a token from its logits: the largest one, or a draw.
//!
//! A draw compares integers only: each token's weight, relative to the most likely one's 1, is cut to a multiple of 2^-40, and
//! the sums of such integers are exact in any order. So the tokens that remain after the cuts, and the one that a random
//! number names, do not depend on how they were found.

use crate::Exec;
use crate::math::exp;
use crate::random::{Purpose, random_u64};
use crate::simd::{LANES, Op, Simd, padded};
use alloc::collections::BinaryHeap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// How a token is chosen. The parameters are read as binary64 and rounded once to binary32 (N1).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sampler {
    pub(crate) temperature: f32,
    pub(crate) top_k: u32,
    pub(crate) top_p: f32,
    pub(crate) min_p: f32,
    pub(crate) repetition_penalty: f32,
    pub(crate) seed: u64,
}

/// What a user says about the choice of tokens; the default is greedy.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SamplerSettings {
    /// What logits are divided by; 0 takes the most likely token.
    pub temperature: f64,
    /// How many of the most likely tokens remain; 0 for all.
    pub top_k: u32,
    /// The part of the probability that the most likely tokens which remain must reach together (Holtzman et al. 2019).
    pub top_p: f64,
    /// The part of the most likely token's probability that a token must reach to remain (Nguyen et al. 2024).
    pub min_p: f64,
    /// What the logits of tokens that occur already are divided by, or multiplied by where they are negative (Keskar et al. 2019).
    pub repetition_penalty: f64,
    /// The key of the random generator.
    pub seed: u64,
}

impl Default for SamplerSettings {
    fn default() -> SamplerSettings {
        SamplerSettings { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

/// A parameter is out of its range.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SamplerError {
    /// The parameter's name.
    pub parameter: &'static str,
    /// Its value.
    pub value: f64,
    /// What it should be.
    pub wanted: &'static str,
}

impl fmt::Display for SamplerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}; choose {}", self.parameter, self.value, self.wanted)
    }
}

impl core::error::Error for SamplerError {}

impl Sampler {
    /// The token with the largest logit, the lowest one among equals (N7).
    pub const GREEDY: Sampler =
        Sampler { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 };

    /// Checks what a user says.
    ///
    /// # Errors
    /// If a parameter is out of its range.
    pub fn new(settings: SamplerSettings) -> Result<Sampler, SamplerError> {
        let SamplerSettings { temperature, top_k, top_p, min_p, repetition_penalty, seed } = settings;
        let check = |parameter, value: f64, wanted, holds: fn(f32) -> bool| {
            // -0 is 0.
            let rounded = value as f32 + 0.0;
            if holds(rounded) { Ok(rounded) } else { Err(SamplerError { parameter, value, wanted }) }
        };
        Ok(Sampler {
            temperature: check("temperature", temperature, "a number from 0 to 1000", |v| (0.0..=1000.0).contains(&v))?,
            top_k,
            top_p: check("top_p", top_p, "a number above 0, at most 1", |v| v > 0.0 && v <= 1.0)?,
            min_p: check("min_p", min_p, "a number from 0 to 1", |v| (0.0..=1.0).contains(&v))?,
            repetition_penalty: check("repetition_penalty", repetition_penalty, "a number from 0.01 to 100", |v| {
                (0.01..=100.0).contains(&v)
            })?,
            seed,
        })
    }

    /// What it was made from, as rounded: [`Sampler::new`] gives the same sampler for it.
    pub fn settings(&self) -> SamplerSettings {
        let &Sampler { temperature, top_k, top_p, min_p, repetition_penalty, seed } = self;
        let [temperature, top_p, min_p, repetition_penalty] =
            [temperature, top_p, min_p, repetition_penalty].map(f64::from);
        SamplerSettings { temperature, top_k, top_p, min_p, repetition_penalty, seed }
    }

    /// The sampler as a transcript hashes it; binary32 parameters as the hexadecimal digits of their bits.
    pub(crate) fn text(&self) -> String {
        let Sampler { temperature, top_k, top_p, min_p, repetition_penalty, seed } = self;
        let [temperature, top_p, min_p, penalty] = [temperature, top_p, min_p, repetition_penalty].map(|v| v.to_bits());
        format!(
            "temperature={temperature:08x} top_k={top_k} top_p={top_p:08x} min_p={min_p:08x} \
             repetition_penalty={penalty:08x} seed={seed}"
        )
    }

    /// The token of a step, which counts from 1, from its raw logits; `seen` names the tokens that occur already, repeated or
    /// not. `room` is working memory.
    ///
    /// # Errors
    /// The lowest token whose logit is not finite (N9).
    pub(super) fn choose(
        &self,
        exec: Exec<'_>,
        step: usize,
        logits: &[f32],
        seen: impl Iterator<Item = u32>,
        room: &mut Vec<f32>,
    ) -> Result<u32, usize> {
        room.clear();
        room.extend_from_slice(logits);
        if self.repetition_penalty != 1.0 {
            for token in seen {
                // From the raw logit, so that a token that occurs twice is penalised once.
                let (l, penalised) = (logits[token as usize], &mut room[token as usize]);
                *penalised = if l < 0.0 { l * self.repetition_penalty } else { l / self.repetition_penalty };
            }
        }
        let best = argmax(room)?;
        if self.temperature == 0.0 {
            return Ok(best);
        }
        let m = room[best as usize];
        exec.backend.run(Falloff { x: room, m, temperature: self.temperature });
        let kept = self.kept(room);
        let total: u64 = kept.iter().map(|token| integer(room[*token as usize])).sum();
        let random = random_u64(self.seed, Purpose::Sample, 0, step as u64);
        let mut left = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        for token in kept {
            let weight = integer(room[token as usize]);
            if left < weight {
                return Ok(token);
            }
            left -= weight;
        }
        // The best token's weight is 2^40, so `left` began below the sum of all weights.
        Ok(best)
    }

    /// The tokens that remain, rising, by the weights of all.
    fn kept(&self, weights: &[f32]) -> Vec<u32> {
        let all = self.top_k == 0 || self.top_k as usize >= weights.len();
        let mut kept: Vec<u32> = if all && self.top_p == 1.0 {
            (0..weights.len() as u32).collect()
        } else {
            let mut falling = Falling::new(weights);
            let limit = if all { weights.len() } else { self.top_k as usize };
            if all {
                let total = weights.iter().map(|weight| integer(*weight)).sum();
                self.nucleus(falling, weights, total)
            } else {
                let top: Vec<u32> = falling.by_ref().take(limit).collect();
                let total = top.iter().map(|token| integer(weights[*token as usize])).sum();
                self.nucleus(top.into_iter(), weights, total)
            }
        };
        kept.retain(|token| weights[*token as usize] >= self.min_p);
        kept.sort_unstable();
        kept
    }

    /// The first of these tokens that together reach `top_p` of the total weight.
    fn nucleus(&self, falling: impl Iterator<Item = u32>, weights: &[f32], total: u64) -> Vec<u32> {
        // top_p as a multiple of 2^-32, which is exact from 2^-8 up and cut below.
        let part = u128::from((self.top_p * TWO_32) as u64);
        let (mut sum, mut kept) = (0_u128, Vec::new());
        for token in falling {
            sum += u128::from(integer(weights[token as usize]));
            kept.push(token);
            if (sum << 32) >= part * u128::from(total) {
                break;
            }
        }
        kept
    }
}

const TWO_32: f32 = 4_294_967_296.0;
const TWO_40: f32 = 1_099_511_627_776.0;

/// A weight from 0 to 1 as a multiple of 2^-40, cut.
fn integer(weight: f32) -> u64 {
    (weight * TWO_40) as u64
}

/// The token with the largest logit, the lowest one among equals (N7).
///
/// # Errors
/// The lowest token whose logit is not finite (N9).
pub(crate) fn argmax(logits: &[f32]) -> Result<u32, usize> {
    if let Some(token) = logits.iter().position(|v| !v.is_finite()) {
        return Err(token);
    }
    let mut best = 0;
    for (token, v) in logits.iter().enumerate() {
        if logits[best] < *v {
            best = token;
        }
    }
    Ok(best as u32)
}

/// Tokens by falling weight, the lowest first among equals, as far as they are asked for.
struct Falling(BinaryHeap<u64>);

impl Falling {
    fn new(weights: &[f32]) -> Falling {
        // Weights are not negative, so their bits are ordered as they are.
        let entry = |(token, weight): (u32, &f32)| (u64::from(weight.to_bits()) << 32) | u64::from(!token);
        Falling((0..).zip(weights).map(entry).collect::<Vec<_>>().into())
    }
}

impl Iterator for Falling {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.0.pop().map(|entry| !(entry as u32))
    }
}

/// `exp((x - m) / temperature)`, in place.
struct Falloff<'a> {
    x: &'a mut [f32],
    m: f32,
    temperature: f32,
}

impl Op for Falloff<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let (m, t) = (s.splat(self.m), s.splat(self.temperature));
        let (blocks, tail) = self.x.as_chunks_mut::<LANES>();
        for block in blocks {
            s.store(exp(s, s.div(s.sub(s.load(block), m), t)), block);
        }
        let mut last = padded(tail);
        s.store(exp(s, s.div(s.sub(s.load(&last), m), t)), &mut last);
        tail.copy_from_slice(&last[..tail.len()]);
    }
}

#[cfg(test)]
mod tests {
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

    fn choose(sampler: &Sampler, step: usize, logits: &[f32], seen: &[u32]) -> Result<u32, usize> {
        sampler.choose(Exec::serial(), step, logits, seen.iter().copied(), &mut Vec::new())
    }

    /// The rules as the contract words them: everything sorted, nothing found by a shorter way.
    fn plain(sampler: &Sampler, step: usize, logits: &[f32], seen: &[u32]) -> u32 {
        let mut l = logits.to_vec();
        for (token, l) in l.iter_mut().enumerate() {
            if seen.contains(&(token as u32)) {
                *l = if *l < 0.0 { *l * sampler.repetition_penalty } else { *l / sampler.repetition_penalty };
            }
        }
        let m = l.iter().fold(f32::NEG_INFINITY, |m, v| if m < *v { *v } else { m });
        let e: Vec<f32> = l.iter().map(|l| math::exp(Scalar, [(l - m) / sampler.temperature; 16])[0]).collect();
        let integer = |token: usize| (f64::from(e[token]) * 2.0_f64.powi(40)).floor() as u128;
        let mut order: Vec<usize> = (0..l.len()).collect();
        order.sort_by(|a, b| e[*b].partial_cmp(&e[*a]).unwrap().then(a.cmp(b)));
        if sampler.top_k > 0 {
            order.truncate(sampler.top_k as usize);
        }
        let total: u128 = order.iter().map(|token| integer(*token)).sum();
        let part = (f64::from(sampler.top_p) * 2.0_f64.powi(32)).floor() as u128;
        let reached =
            |n: &usize| order[..*n].iter().map(|token| integer(*token)).sum::<u128>() * (1 << 32) >= part * total;
        let n = (1..=order.len()).find(reached).unwrap();
        order.truncate(n);
        order.retain(|token| e[*token] >= sampler.min_p);
        order.sort_unstable();
        let total: u128 = order.iter().map(|token| integer(*token)).sum();
        let words = crate::random::philox(sampler.seed, [4, 0, step as u32, 0]);
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
                s.temperature = [0.1, 0.7, 1.0, 3.0][case as usize % 4];
                s.top_k = [0, 1, 5, 40][case as usize / 4 % 4];
                s.top_p = [1.0, 0.9, 0.3, 1e-12][case as usize / 16 % 4];
                s.min_p = [0.0, 0.05, 1.0][case as usize / 7 % 3];
                s.repetition_penalty = [1.0, 1.3, 0.5][case as usize / 5 % 3];
                s.seed = case;
            });
            let seen = [0, (len - 1) as u32, 0];
            for step in 1..20 {
                let found = choose(&sampler, step, &logits, &seen).unwrap();
                assert_eq!(found, plain(&sampler, step, &logits, &seen), "case {case}, step {step}: {sampler:?}");
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
    fn n9_values_that_are_not_finite_are_refused() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for sampler in [Sampler::GREEDY, sampler(|s| s.repetition_penalty = 2.0)] {
                assert_eq!(choose(&sampler, 1, &[1.0, bad, 9.0, bad], &[1]), Err(1));
            }
        }
    }

    #[test]
    fn every_backend_draws_the_same() {
        let logits: Vec<f32> = (0..1000).map(|i| (i * 7919 % 1000) as f32 * 0.01).collect();
        let sampler = sampler(|s| s.top_p = 0.95);
        for step in 1..100 {
            let draw = |backend| {
                let exec = Exec { backend, ..Exec::serial() };
                sampler.choose(exec, step, &logits, [].into_iter(), &mut Vec::new()).unwrap()
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
    }

    #[test]
    fn a_transcript_names_the_sampler_by_its_bits() {
        let greedy = "temperature=00000000 top_k=0 top_p=3f800000 min_p=00000000 repetition_penalty=3f800000 seed=0";
        assert_eq!(Sampler::GREEDY.text(), greedy);
        assert_eq!(Sampler::new(SamplerSettings { temperature: -0.0, ..Default::default() }).unwrap().text(), greedy);
        let other = sampler(|s| (s.top_k, s.top_p, s.min_p, s.repetition_penalty) = (40, 0.5, 0.25, 2.0)).text();
        let expected =
            "temperature=3f800000 top_k=40 top_p=3f000000 min_p=3e800000 repetition_penalty=40000000 seed=11";
        assert_eq!(other, expected);
    }
}
