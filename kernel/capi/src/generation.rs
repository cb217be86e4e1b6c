//! Generation, token by token.

use std::mem::MaybeUninit;
use std::sync::Arc;

use kernel::Exec;
use kernel::generate::{FinishReason, GenerateError, Generation, Progress, Request, Sampler, SamplerSettings};
use kernel::model::Model;
use kernel::transcript::{Identity, transcript};

use crate::foreign;
use crate::model::{LockstepDigest, LockstepModel, hand_over};
use crate::status::{Failure, LockstepError, LockstepStatus, Whole, environment, given, guard, quietly};

/// A generation under way.
pub struct LockstepGeneration {
    model: Arc<Model>,
    generation: Whole<Generation>,
}

/// How a token is chosen.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LockstepSampling {
    /// What logits are divided by; 0 takes the most likely token.
    pub temperature: f64,
    /// The part of the probability that the most likely tokens which remain must reach together; 1 for all.
    pub top_p: f64,
    /// The part of the most likely token's probability that a token must reach to remain; 0 for all.
    pub min_p: f64,
    /// What the logits of tokens that occur already are divided by, or multiplied by where they are negative; 1 for none.
    pub repetition_penalty: f64,
    /// What is taken from the logits of generated tokens for each time that they occur in the output.
    pub frequency_penalty: f64,
    /// What is taken from the logits of generated tokens once.
    pub presence_penalty: f64,
    /// The key of the random generator.
    pub seed: u64,
    /// How many of the most likely tokens remain; 0 for all.
    pub top_k: u32,
    /// Not 0: a token that ends a text does not end the generation.
    pub ignore_eos: u32,
}

/// Why a token is the last one.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockstepFinish {
    /// It is not.
    None = 0,
    /// It ends a text.
    Stop = 1,
    /// It is as many as were asked for.
    Length = 2,
}

/// A generated token.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockstepStep {
    /// Its number, from 1.
    pub step: usize,
    /// The token.
    pub token_id: u32,
    /// Why it is the last one, if it is.
    pub finish: LockstepFinish,
    /// The digest of the logits that it was chosen from.
    pub logits_sha256: LockstepDigest,
}

/// The most likely token, until one ends the text: what a null pointer stands for, and the values to begin with.
#[unsafe(no_mangle)]
pub extern "C" fn lockstep_sampling_greedy() -> LockstepSampling {
    let greedy = SamplerSettings::default();
    LockstepSampling {
        temperature: greedy.temperature,
        top_p: greedy.top_p,
        min_p: greedy.min_p,
        repetition_penalty: greedy.repetition_penalty,
        frequency_penalty: greedy.frequency_penalty,
        presence_penalty: greedy.presence_penalty,
        seed: greedy.seed,
        top_k: greedy.top_k,
        ignore_eos: 0,
    }
}

impl LockstepSampling {
    fn sampler(self) -> Result<Sampler, Failure> {
        let settings = SamplerSettings {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            logit_bias: Vec::new(),
            seed: self.seed,
            stream: 0,
        };
        Sampler::new(settings).map_err(|error| Failure::new(LockstepStatus::Argument, error))
    }
}

fn failure(error: GenerateError) -> Failure {
    let status = match error {
        GenerateError::NotFinite { .. } | GenerateError::PromptNotFinite { .. } => LockstepStatus::Compute,
        _ => LockstepStatus::Argument,
    };
    Failure::new(status, error)
}

/// Begins a generation of at most `max_tokens` tokens after `prompt`; nothing is computed yet. `sampling` may be null.
///
/// # Safety
/// `prompt` has `prompt_len` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lockstep_generation_new(
    model: Option<&LockstepModel>,
    prompt: *const u32,
    prompt_len: usize,
    max_tokens: usize,
    sampling: Option<&LockstepSampling>,
    generation: Option<&mut MaybeUninit<*mut LockstepGeneration>>,
    error: Option<&mut MaybeUninit<LockstepError>>,
) -> LockstepStatus {
    hand_over(generation, error, || {
        let model = given("model", model)?.model.clone();
        // SAFETY: as this function asks for.
        let prompt = unsafe { foreign::slice("prompt", prompt, prompt_len) }?.to_vec();
        let sampling = sampling.copied().unwrap_or_else(|| lockstep_sampling_greedy());
        let (sampler, ignore_eos) = (sampling.sampler()?, sampling.ignore_eos != 0);
        let request = Request { prompt, max_tokens, ignore_eos, sampler, logprobs: None };
        let generation = Whole::new(Generation::new(&model, request).map_err(failure)?);
        Ok(Box::new(LockstepGeneration { model, generation }))
    })
}

/// Computes the next token. After the last one it returns LOCKSTEP_STATUS_END and writes nothing.
#[unsafe(no_mangle)]
pub extern "C" fn lockstep_generation_next(
    generation: Option<&mut LockstepGeneration>,
    step: Option<&mut MaybeUninit<LockstepStep>>,
    error: Option<&mut MaybeUninit<LockstepError>>,
) -> LockstepStatus {
    guard(error, || {
        let LockstepGeneration { model, generation } = given("generation", generation)?;
        let place = given("step", step)?;
        environment()?;
        let step = generation.change(|generation| {
            loop {
                match generation.advance(model, Exec::serial()).map_err(failure)? {
                    Progress::Prefill { .. } => {}
                    Progress::Token(step) => return Ok(step),
                    Progress::Finished(_) => {
                        let message = "the generation has ended".to_owned();
                        return Err(Failure { status: LockstepStatus::End, message });
                    }
                }
            }
        })?;
        place.write(LockstepStep {
            step: step.step,
            token_id: step.token_id,
            finish: match step.finish_reason {
                None => LockstepFinish::None,
                Some(FinishReason::Stop) => LockstepFinish::Stop,
                Some(FinishReason::Length) => LockstepFinish::Length,
            },
            logits_sha256: step.logits_sha256.into(),
        });
        Ok(())
    })
}

/// The digest of all that was generated so far and of what it was generated with. The digests of the weights
/// (lockstep_model_weights_digest) and of the bytes of tokenizer.json are the caller's to give.
#[unsafe(no_mangle)]
pub extern "C" fn lockstep_generation_transcript(
    generation: Option<&LockstepGeneration>,
    weights: Option<&LockstepDigest>,
    tokenizer: Option<&LockstepDigest>,
    digest: Option<&mut MaybeUninit<LockstepDigest>>,
    error: Option<&mut MaybeUninit<LockstepError>>,
) -> LockstepStatus {
    guard(error, || {
        let generation = given("generation", generation)?.generation.get()?;
        let (weights, tokenizer) = (given("weights", weights)?.bytes, given("tokenizer", tokenizer)?.bytes);
        let identity = Identity { weights, adapter: None, tokenizer };
        given("digest", digest)?.write(transcript(&identity, generation).into());
        Ok(())
    })
}

/// Ends a handle.
#[unsafe(no_mangle)]
pub extern "C" fn lockstep_generation_free(generation: Option<Box<LockstepGeneration>>) {
    quietly(|| drop(generation));
}
