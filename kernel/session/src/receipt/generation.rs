//! The receipt of a generation, from its steps.

use kernel::generate::{FinishReason, Request, Sampler, SamplerSettings, Step};
use kernel::transcript::{Identity, PROFILE, ids_digest, transcript_of};
use serde::{Deserialize, Serialize};

use super::error::{content, limit};
use super::{Bits32, Decimal, Digest, FORMAT, Hex, MAX_IDS, MAX_STEPS, Receipt, ReceiptError};
use crate::Stop;

/// A generation, as a receipt tells it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// Why it ended.
    pub finish_reason: Finish,
    /// The digest of the logits of every step.
    pub logits_sha256: Vec<Digest>,
    /// What was asked for.
    pub request: Asked,
    /// The generated tokens; left out of a private receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
    /// The digest of the generated tokens, in a private receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids_sha256: Option<Digest>,
}

/// What was asked for.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The tokens at which it was to end: those of the model's `config.json`, or none.
    pub end_tokens: Vec<u32>,
    /// The most tokens to generate.
    pub max_tokens: u32,
    /// The prompt; left out of a private receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_ids: Option<Vec<u32>>,
    /// The digest of the prompt, in a private receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_sha256: Option<Digest>,
    /// How tokens were chosen.
    pub sampler: SamplerBits,
    /// The texts before which it was to end, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Vec<String>>,
}

/// How tokens were chosen; real numbers by their bits. What is optional is left out where it is the default.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the contract")]
pub struct SamplerBits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<Bits32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logit_bias: Option<Vec<(u32, Bits32)>>,
    pub min_p: Bits32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<Bits32>,
    pub repetition_penalty: Bits32,
    pub seed: Decimal,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<u32>,
    pub temperature: Bits32,
    pub top_k: u32,
    pub top_p: Bits32,
}

/// Why a generation ended.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// At one of the tokens or the texts that end it.
    Stop,
    /// After as many tokens as were asked for.
    Length,
}

impl From<FinishReason> for Finish {
    fn from(reason: FinishReason) -> Finish {
        match reason {
            FinishReason::Stop => Finish::Stop,
            FinishReason::Length => Finish::Length,
        }
    }
}

impl From<&Sampler> for SamplerBits {
    fn from(sampler: &Sampler) -> SamplerBits {
        let settings = sampler.settings();
        // These are binary32 values, as binary64.
        let bits = |value: f64| Bits32::from(value as f32);
        let penalty = |value: f64| (value != 0.0).then(|| bits(value));
        let biases = settings.logit_bias.iter().map(|(token, bias)| (*token, bits(*bias)));
        SamplerBits {
            frequency_penalty: penalty(settings.frequency_penalty),
            logit_bias: (!settings.logit_bias.is_empty()).then(|| biases.collect()),
            min_p: bits(settings.min_p),
            presence_penalty: penalty(settings.presence_penalty),
            repetition_penalty: bits(settings.repetition_penalty),
            seed: Decimal(settings.seed),
            stream: (settings.stream != 0).then_some(settings.stream),
            temperature: bits(settings.temperature),
            top_k: settings.top_k,
            top_p: bits(settings.top_p),
        }
    }
}

impl SamplerBits {
    /// The sampler, if it is one that can be and that writes itself like this.
    fn sampler(&self) -> Result<Sampler, ReceiptError> {
        let value = |bits: &Bits32| f64::from(bits.value());
        let biases = self.logit_bias.iter().flatten();
        let sampler = Sampler::new(SamplerSettings {
            temperature: value(&self.temperature),
            top_k: self.top_k,
            top_p: value(&self.top_p),
            min_p: value(&self.min_p),
            repetition_penalty: value(&self.repetition_penalty),
            frequency_penalty: self.frequency_penalty.as_ref().map_or(0.0, value),
            presence_penalty: self.presence_penalty.as_ref().map_or(0.0, value),
            logit_bias: biases.map(|(token, bias)| (*token, value(bias))).collect(),
            seed: self.seed.0,
            stream: self.stream.unwrap_or(0),
        });
        let sampler = sampler.map_err(|error| ReceiptError::Content(format!("sampler: {error}")))?;
        let spelling = || {
            "sampler: -0 is written as 00000000, the biases by rising token, and what has no effect is left out"
                .to_string()
        };
        content(SamplerBits::from(&sampler) == *self, spelling).map(|()| sampler)
    }
}

/// Everything about a generation that its receipt tells, but for its steps.
#[derive(Clone, Debug)]
pub struct GenerationTerms<'a> {
    /// What it is computed with.
    pub identity: &'a Identity,
    /// What is asked for.
    pub request: &'a Request,
    /// The tokens at which the model's texts end.
    pub eos: &'a [u32],
    /// The texts before which it ends.
    pub stop: &'a Stop,
    /// Whether token ids are left out.
    pub private: bool,
}

impl GenerationTerms<'_> {
    /// What is asked for, as a receipt tells it.
    fn asked(&self) -> Result<Asked, ReceiptError> {
        let Request { prompt, max_tokens, ignore_eos, sampler, logprobs: _ } = self.request;
        Ok(Asked {
            end_tokens: if *ignore_eos { Vec::new() } else { self.eos.to_vec() },
            max_tokens: u32::try_from(*max_tokens)
                .map_err(|_| ReceiptError::Content(format!("max_tokens is {max_tokens}, above 2^32")))?,
            prompt_ids: (!self.private).then(|| prompt.clone()),
            prompt_sha256: self.private.then(|| Hex(ids_digest(prompt))),
            sampler: sampler.into(),
            stop: (!self.stop.is_empty()).then(|| self.stop.strings().to_vec()),
        })
    }

    /// The receipt of these steps, which are all that there were.
    ///
    /// # Errors
    /// If there are no steps, or more of something than a receipt may hold.
    pub fn receipt(&self, steps: &[Step]) -> Result<Receipt, ReceiptError> {
        let Some(finish_reason) = steps.last().and_then(|step| step.finish_reason) else {
            return Err(ReceiptError::Content("the generation has not ended, or has no tokens".to_string()));
        };
        let ids: Vec<u32> = steps.iter().map(|step| step.token_id).collect();
        let generated = Generated {
            finish_reason: finish_reason.into(),
            logits_sha256: steps.iter().map(|step| Hex(step.logits_sha256)).collect(),
            request: self.asked()?,
            token_ids_sha256: self.private.then(|| Hex(ids_digest(&ids))),
            token_ids: (!self.private).then_some(ids),
        };
        generated.check()?;
        let transcript = transcript_of(self.identity, self.request, steps);
        Ok(Receipt { generation: Some(generated), ..Receipt::new(self.identity, transcript) })
    }
}

impl Receipt {
    /// Whether it is of a generation on these terms, whatever came out, and its contents can belong together.
    pub fn is_of(&self, terms: &GenerationTerms<'_>) -> bool {
        let told = self.generation.as_ref().map(|generation| &generation.request);
        let same = self.format == FORMAT && self.model == terms.identity.into() && self.profile == PROFILE;
        same && told.is_some() && told == terms.asked().ok().as_ref() && self.check().is_ok()
    }

    /// The same with the digests of prompt and output in place of their ids, as a private one has them. What is of no generation
    /// stays as it is. A signature would not hold any more, and goes.
    pub fn without_ids(mut self) -> Receipt {
        if let Some(told) = &mut self.generation {
            let digest = |ids: Vec<u32>| Hex(ids_digest(&ids));
            told.request.prompt_sha256 = told.request.prompt_ids.take().map(digest).or(told.request.prompt_sha256);
            told.token_ids_sha256 = told.token_ids.take().map(digest).or(told.token_ids_sha256);
            self.signature = None;
        }
        self
    }

    /// Refuses, before anything is computed, a generation that would exceed a receipt.
    ///
    /// # Errors
    /// With the numbers.
    pub fn check_generation_limits(request: &Request) -> Result<(), ReceiptError> {
        limit("tokens of the prompt", request.prompt.len(), MAX_IDS)?;
        limit("tokens to generate", request.max_tokens, MAX_STEPS)
    }
}

impl Generated {
    /// The request, with this prompt.
    pub(super) fn request(&self, prompt: Vec<u32>) -> Result<Request, ReceiptError> {
        let sampler = self.request.sampler.sampler()?;
        let ignore_eos = self.request.end_tokens.is_empty();
        let max_tokens = self.request.max_tokens as usize;
        Ok(Request { prompt, max_tokens, ignore_eos, sampler, logprobs: None })
    }

    /// The texts before which it was to end.
    pub(super) fn stop(&self) -> Result<Stop, ReceiptError> {
        let Some(strings) = &self.request.stop else { return Ok(Stop::default()) };
        content(!strings.is_empty(), || "stop has no texts: it is left out then".to_string())?;
        Stop::new(strings.clone()).map_err(|error| ReceiptError::Content(error.to_string()))
    }

    /// Whether its contents can belong together.
    pub(super) fn check(&self) -> Result<(), ReceiptError> {
        let Asked { end_tokens, max_tokens, prompt_ids, prompt_sha256, sampler, stop: _ } = &self.request;
        sampler.sampler()?;
        let stop = self.stop()?;
        let steps = self.logits_sha256.len();
        limit("steps", steps, MAX_STEPS)?;
        limit("end_tokens", end_tokens.len(), MAX_IDS)?;
        let kinds = (prompt_ids, prompt_sha256, &self.token_ids, &self.token_ids_sha256);
        let ids = match kinds {
            (Some(prompt), None, Some(ids), None) => {
                limit("tokens of the prompt", prompt.len(), MAX_IDS)?;
                content(!prompt.is_empty(), || "the prompt has no tokens".to_string())?;
                Some(ids)
            }
            (None, Some(_), None, Some(_)) => None,
            _ => {
                return Err(ReceiptError::Content(
                    "token ids are there, of prompt and output, or the digests of both are: one of the two".to_string(),
                ));
            }
        };
        let most = *max_tokens as usize;
        content((1..=most).contains(&steps), || format!("{steps} steps, where at least 1 and at most {most} can be"))?;
        let length = self.finish_reason == Finish::Length;
        content(!length || steps == most, || format!("the finish reason is length after {steps} of {most} tokens"))?;
        let ending = !(end_tokens.is_empty() && stop.is_empty());
        content(length || ending, || "the finish reason is stop, and nothing ends it".to_string())?;
        let Some(ids) = ids else { return Ok(()) };
        content(ids.len() == steps, || format!("{} token ids and {steps} digests of logits", ids.len()))?;
        let ends = |id: &u32| end_tokens.contains(id);
        let early = ids[..steps - 1].iter().position(ends).map(|index| index + 1);
        content(early.is_none(), || format!("token {} ends the text, and it goes on", early.unwrap_or_default()))?;
        // Whether a text ended it is seen when it is computed.
        let last = ids.last().is_some_and(ends);
        let fits = if length { !last } else { last || !stop.is_empty() };
        content(fits, || "the last token does not fit the finish reason".to_string())
    }
}
