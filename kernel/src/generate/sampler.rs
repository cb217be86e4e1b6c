//! The choice of a token from its logits: the largest one, or a draw.
//!
//! A draw compares integers only: each token's weight, relative to the most likely one's 1, is cut to a multiple of 2^-40, and
//! the sums of such integers are exact in any order. So the tokens that remain after the cuts, and the one that a random
//! number names, do not depend on how they were found.

use crate::Exec;
use crate::math::exp;
use crate::random::{Purpose, random_u64};
use crate::simd::{LANES, Op, Simd, padded, store};
use alloc::collections::BinaryHeap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// How a token is chosen. The parameters are read as binary64 and rounded once to binary32 (N1).
#[derive(Clone, PartialEq, Debug)]
pub struct Sampler {
    pub(crate) temperature: f32,
    pub(crate) top_k: u32,
    pub(crate) top_p: f32,
    pub(crate) min_p: f32,
    pub(crate) repetition_penalty: f32,
    pub(crate) frequency_penalty: f32,
    pub(crate) presence_penalty: f32,
    /// By rising token; none is 0.
    pub(crate) logit_bias: Vec<(u32, f32)>,
    pub(crate) seed: u64,
    pub(crate) stream: u32,
}

/// What a user says about the choice of tokens; the default is greedy.
#[derive(Clone, PartialEq, Debug)]
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
    /// What is taken from the logits of generated tokens for each time that they occur in the output.
    pub frequency_penalty: f64,
    /// What is taken from the logits of generated tokens once.
    pub presence_penalty: f64,
    /// What is added to the logits of single tokens, each of which is named once; 0 adds nothing, as if the token were not named.
    pub logit_bias: Vec<(u32, f64)>,
    /// The key of the random generator.
    pub seed: u64,
    /// Which of the generator's streams is drawn from: several answers to one request are drawn from one each.
    pub stream: u32,
}

/// The most tokens that a logit bias names.
const MAX_BIASES: usize = 1024;

impl Default for SamplerSettings {
    fn default() -> SamplerSettings {
        SamplerSettings {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
            stream: 0,
        }
    }
}

/// A parameter is out of its range.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SamplerError {
    /// The parameter's name.
    pub parameter: &'static str,
    /// What of it is wrong, after a colon; nothing where it is a number.
    pub part: &'static str,
    /// Its value.
    pub value: f64,
    /// What it should be.
    pub wanted: &'static str,
}

impl fmt::Display for SamplerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} is {}; choose {}", self.parameter, self.part, self.value, self.wanted)
    }
}

impl core::error::Error for SamplerError {}

impl Sampler {
    /// The token with the largest logit, the lowest one among equals (N7).
    pub const GREEDY: Sampler = Sampler {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        frequency_penalty: 0.0,
        presence_penalty: 0.0,
        logit_bias: Vec::new(),
        seed: 0,
        stream: 0,
    };

    /// Checks what a user says.
    ///
    /// # Errors
    /// If a parameter is out of its range.
    pub fn new(settings: SamplerSettings) -> Result<Sampler, SamplerError> {
        let check = |parameter, value: f64, wanted, holds: fn(f32) -> bool| {
            let rounded = rounded(value);
            if holds(rounded) { Ok(rounded) } else { Err(SamplerError { parameter, part: "", value, wanted }) }
        };
        let penalty =
            |parameter, value| check(parameter, value, "a number from -2 to 2", |v| (-2.0..=2.0).contains(&v));
        let SamplerSettings { temperature, top_k, top_p, min_p, repetition_penalty, .. } = settings;
        Ok(Sampler {
            temperature: check("temperature", temperature, "a number from 0 to 1000", |v| (0.0..=1000.0).contains(&v))?,
            top_k,
            top_p: check("top_p", top_p, "a number above 0, at most 1", |v| v > 0.0 && v <= 1.0)?,
            min_p: check("min_p", min_p, "a number from 0 to 1", |v| (0.0..=1.0).contains(&v))?,
            repetition_penalty: check("repetition_penalty", repetition_penalty, "a number from 0.01 to 100", |v| {
                (0.01..=100.0).contains(&v)
            })?,
            frequency_penalty: penalty("frequency_penalty", settings.frequency_penalty)?,
            presence_penalty: penalty("presence_penalty", settings.presence_penalty)?,
            logit_bias: biases(settings.logit_bias)?,
            seed: settings.seed,
            stream: settings.stream,
        })
    }

    /// What it was made from, as rounded: [`Sampler::new`] gives the same sampler for it.
    pub fn settings(&self) -> SamplerSettings {
        SamplerSettings {
            temperature: self.temperature.into(),
            top_k: self.top_k,
            top_p: self.top_p.into(),
            min_p: self.min_p.into(),
            repetition_penalty: self.repetition_penalty.into(),
            frequency_penalty: self.frequency_penalty.into(),
            presence_penalty: self.presence_penalty.into(),
            logit_bias: self.logit_bias.iter().map(|(token, bias)| (*token, f64::from(*bias))).collect(),
            seed: self.seed,
            stream: self.stream,
        }
    }

    /// The highest token that a bias is for.
    pub(super) fn highest_bias(&self) -> Option<u32> {
        self.logit_bias.last().map(|(token, _)| *token)
    }

    /// The sampler as a transcript hashes it; binary32 parameters as the hexadecimal digits of their bits. Those that came after
    /// the others are told where they are not the default.
    pub(crate) fn text(&self) -> String {
        let Sampler { temperature, top_k, top_p, min_p, repetition_penalty, seed, .. } = self;
        let [temperature, top_p, min_p, penalty] = [temperature, top_p, min_p, repetition_penalty].map(|v| v.to_bits());
        let mut text = format!(
            "temperature={temperature:08x} top_k={top_k} top_p={top_p:08x} min_p={min_p:08x} \
             repetition_penalty={penalty:08x} seed={seed}"
        );
        let penalties = [("frequency_penalty", self.frequency_penalty), ("presence_penalty", self.presence_penalty)];
        for (name, value) in penalties.into_iter().filter(|(_, value)| *value != 0.0) {
            text += &format!(" {name}={:08x}", value.to_bits());
        }
        for (index, (token, bias)) in self.logit_bias.iter().enumerate() {
            text += if index == 0 { " logit_bias=" } else { "," };
            text += &format!("{token}:{:08x}", bias.to_bits());
        }
        if self.stream != 0 {
            text += &format!(" stream={}", self.stream);
        }
        text
    }

    /// The logits, raw before, with what is said about single tokens.
    fn adjust(&self, logits: &mut [f32], raw: &[f32], prompt: &[u32], generated: impl Iterator<Item = u32> + Clone) {
        if self.repetition_penalty != 1.0 {
            for token in prompt.iter().copied().chain(generated.clone()) {
                // From the raw logit, so that a token that occurs twice is penalised once.
                let (l, penalised) = (raw[token as usize], &mut logits[token as usize]);
                *penalised = if l < 0.0 { l * self.repetition_penalty } else { l / self.repetition_penalty };
            }
        }
        if self.frequency_penalty != 0.0 || self.presence_penalty != 0.0 {
            let mut tokens: Vec<u32> = generated.collect();
            tokens.sort_unstable();
            for same in tokens.chunk_by(|a, b| a == b) {
                let l = &mut logits[same[0] as usize];
                *l = (*l - same.len() as f32 * self.frequency_penalty) - self.presence_penalty;
            }
        }
        for (token, bias) in &self.logit_bias {
            logits[*token as usize] += bias;
        }
    }

    /// The token of a step, which counts from 1, from its raw logits and the tokens before it; `room` is working memory.
    ///
    /// # Errors
    /// The lowest token whose logit is not finite, as it is or as it was made (N9).
    pub(super) fn choose(
        &self,
        exec: Exec<'_>,
        step: usize,
        logits: &[f32],
        prompt: &[u32],
        generated: impl Iterator<Item = u32> + Clone,
        room: &mut Vec<f32>,
    ) -> Result<u32, usize> {
        room.clear();
        room.extend_from_slice(logits);
        self.adjust(room, logits, prompt, generated);
        let best = argmax(room)?;
        if self.temperature == 0.0 {
            return Ok(best);
        }
        let m = room[best as usize];
        exec.backend.run(Falloff { x: room, m, temperature: self.temperature });
        let kept = self.kept(room);
        let total: u64 = kept.iter().map(|token| integer(room[*token as usize])).sum();
        let random = random_u64(self.seed, Purpose::Sample, self.stream, step as u64);
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
            let falling = Falling::new(weights);
            if all {
                let total = weights.iter().map(|weight| integer(*weight)).sum();
                self.nucleus(falling, weights, total)
            } else {
                let top: Vec<u32> = falling.take(self.top_k as usize).collect();
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

/// A binary32 value for what a user says (N1); -0 is 0.
fn rounded(value: f64) -> f32 {
    value as f32 + 0.0
}

/// The biases by rising token, without those of 0, which change nothing.
fn biases(said: Vec<(u32, f64)>) -> Result<Vec<(u32, f32)>, SamplerError> {
    let error = |part, value, wanted| Err(SamplerError { parameter: "logit_bias", part, value, wanted });
    if said.len() > MAX_BIASES {
        return error(": the number of tokens", said.len() as f64, "at most 1024");
    }
    if let Some((_, value)) = said.iter().find(|(_, value)| !(-100.0..=100.0).contains(&rounded(*value))) {
        return error(": a bias", *value, "a number from -100 to 100");
    }
    let mut biases: Vec<(u32, f32)> = said.into_iter().map(|(token, value)| (token, rounded(value))).collect();
    biases.sort_unstable_by_key(|(token, _)| *token);
    if let Some(twice) = biases.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return error(": a token with two biases", twice[0].0.into(), "one bias for each");
    }
    biases.retain(|(_, bias)| *bias != 0.0);
    Ok(biases)
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
    let (mut best, mut highest) = (0, f32::NEG_INFINITY);
    for (part, first) in logits.chunks(64).zip((0..).step_by(64)) {
        // Nothing depends on what came before it, so many are looked at together.
        let (mut finite, mut higher) = (true, false);
        for v in part {
            finite &= v.is_finite();
            higher |= highest < *v;
        }
        if !finite {
            return Err(first + part.iter().take_while(|v| v.is_finite()).count());
        }
        if higher {
            for (token, v) in (first..).zip(part) {
                if highest < *v {
                    (best, highest) = (token, *v);
                }
            }
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
        store(s, exp(s, s.div(s.sub(s.load(&padded(tail)), m), t)), tail);
    }
}

#[cfg(test)]
mod tests;
