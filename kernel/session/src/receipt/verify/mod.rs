//! Verifying: what a receipt tells is computed again, and the receipt of that is compared with it.

mod aggregation;
mod generation;
mod scoring;
mod training;

use bpe::Tokenizer;
use kernel::Exec;
use kernel::model::{Model, Sequence};
use kernel::transcript::{Identity, PROFILE, data_digest, hex};

use super::data::sequences;
use super::{Digest, Hex, Marked, ModelDigests, NOT_ONE, Receipt, ReceiptError};
use aggregation::AggregationCheck;
use generation::GenerationCheck;
use scoring::ScoringCheck;
use training::TrainingCheck;

/// What verifying a receipt says about the computation. Whose signature it has is another matter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Computed again, everything is as the receipt says.
    Match,
    /// Something is not.
    Mismatch {
        /// The first step that is not; none if all steps are as they should be, and something else is not.
        step: Option<u64>,
        /// What is not.
        why: String,
    },
    /// It cannot be computed again here.
    CannotVerify {
        /// Why not.
        why: String,
    },
    /// It is no receipt.
    Malformed {
        /// Why not.
        why: String,
    },
}

impl Verdict {
    /// `MATCH`, `MISMATCH`, `CANNOT_VERIFY` or `MALFORMED`.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Match => "MATCH",
            Verdict::Mismatch { .. } => "MISMATCH",
            Verdict::CannotVerify { .. } => "CANNOT_VERIFY",
            Verdict::Malformed { .. } => "MALFORMED",
        }
    }

    /// The first step that is not as the receipt says, where it is a step.
    pub fn step(&self) -> Option<u64> {
        match self {
            Verdict::Mismatch { step, .. } => *step,
            _ => None,
        }
    }

    /// Why it is not a match.
    pub fn why(&self) -> Option<&str> {
        match self {
            Verdict::Match => None,
            Verdict::Mismatch { why, .. } | Verdict::CannotVerify { why } | Verdict::Malformed { why } => Some(why),
        }
    }

    fn cannot(why: impl ToString) -> Verdict {
        Verdict::CannotVerify { why: why.to_string() }
    }
}

impl From<ReceiptError> for Verdict {
    fn from(error: ReceiptError) -> Verdict {
        let why = error.to_string();
        match error {
            ReceiptError::Version(_) => Verdict::CannotVerify { why },
            _ => Verdict::Malformed { why },
        }
    }
}

/// What a receipt leaves out, and how to verify.
#[derive(Clone, Default, Debug)]
pub struct Given {
    /// The prompt of a generation.
    pub prompt: Option<Vec<u32>>,
    /// The tokens that a generation gave: they are read at once then, and not generated again.
    pub output: Option<Vec<u32>>,
    /// The data of a training or a scoring.
    pub data: Option<Vec<Sequence>>,
    /// The model with the adapter of each client of an aggregation, in any order.
    pub adapters: Vec<Model>,
    /// Whether a generation is computed token by token instead of all at once.
    pub step_by_step: bool,
}

/// What a unit of work gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There is more to do.
    Going {
        /// Tokens read, or steps made of a training.
        done: u64,
        /// Of how many.
        total: u64,
    },
    /// That was all.
    Done(Verdict),
}

/// A receipt that is being verified, one unit of work at a time. Dropping it stops it.
#[derive(Debug)]
pub struct Verification {
    /// What the receipt says, without its signature.
    receipt: Receipt,
    identity: Identity,
    check: Check,
}

#[derive(Debug)]
enum Check {
    Generation(Box<GenerationCheck>),
    Training(Box<TrainingCheck>),
    Scoring(Box<ScoringCheck>),
    Aggregation(Box<AggregationCheck>),
}

impl Verification {
    /// Prepares to compute what `receipt` tells with `model`, of which `identity` has the digests. Before a training takes
    /// memory, `reserve` is asked for so many bytes.
    ///
    /// # Errors
    /// The verdict, where it is known already: the profile, the model or the adapter is another one, ids are missing, or
    /// there is not enough memory.
    pub fn begin(
        receipt: &Receipt,
        model: &Model,
        identity: &Identity,
        given: Given,
        reserve: &dyn Fn(u64) -> Result<(), String>,
    ) -> Result<Verification, Verdict> {
        let receipt = Receipt { signature: None, ..receipt.clone() };
        if receipt.profile != PROFILE {
            let profile: String = receipt.profile.chars().take(40).collect();
            return Err(Verdict::cannot(format_args!(
                "the numeric contract is {profile:?}; this program computes by {PROFILE}"
            )));
        }
        let ModelDigests { weights_sha256, tokenizer_sha256, .. } = &receipt.model;
        for (what, told, here) in
            [("weights", weights_sha256, &identity.weights), ("tokenizer", tokenizer_sha256, &identity.tokenizer)]
        {
            if told.0 != *here {
                return Err(Verdict::cannot(format_args!(
                    "it is of another model: its {what} have the digest {}, those here {}",
                    told.digits(),
                    hex(here)
                )));
            }
        }
        let Receipt { generation, training, scoring, aggregation, .. } = &receipt;
        let check = match (generation, training, scoring, aggregation) {
            (Some(generated), None, None, None) => {
                expect_adapter(&receipt.model, identity)?;
                Check::Generation(Box::new(GenerationCheck::begin(generated, model, given)?))
            }
            (None, Some(trained), None, None) => {
                let check = TrainingCheck::begin(trained, &receipt.model, model, identity, given, reserve)?;
                Check::Training(Box::new(check))
            }
            (None, None, Some(scored), None) => {
                expect_adapter(&receipt.model, identity)?;
                let data = data_of(scored.data.as_ref(), scored.data_sha256, given.data)?;
                Check::Scoring(Box::new(ScoringCheck::begin(scored, model, data)?))
            }
            (None, None, None, Some(told)) => {
                expect_adapter(&receipt.model, identity)?;
                Check::Aggregation(Box::new(AggregationCheck::begin(told, given.adapters)?))
            }
            _ => return Err(Verdict::Malformed { why: NOT_ONE.to_string() }),
        };
        Ok(Verification { receipt, identity: identity.clone(), check })
    }

    /// Does one unit of work: reads a part of the tokens, or makes a step. `model` is that of [`Verification::begin`], and
    /// `tokenizer` the one of which its `identity` has the digest.
    pub fn advance(&mut self, model: &Model, tokenizer: &Tokenizer, exec: Exec<'_>) -> Progress {
        let advanced = match &mut self.check {
            Check::Generation(check) => check.advance(&self.receipt, &self.identity, model, tokenizer, exec),
            Check::Training(check) => check.advance(&self.receipt, exec),
            Check::Scoring(check) => check.advance(&self.receipt, &self.identity, model, exec),
            Check::Aggregation(check) => check.advance(&self.receipt, &self.identity, exec),
        };
        match advanced {
            Ok(going) => going,
            Err(verdict) => Progress::Done(verdict),
        }
    }
}

/// The verdict once all steps are as they should be: whether the receipt of what was computed is this one.
fn compare(receipt: &Receipt, computed: Result<Receipt, ReceiptError>) -> Verdict {
    match computed {
        Ok(computed) if computed == *receipt => Verdict::Match,
        Ok(computed) => {
            let transcript = computed.transcript_sha256 != receipt.transcript_sha256;
            let what = if transcript { "the transcript" } else { "something else in the receipt" };
            Verdict::Mismatch { step: None, why: format!("every step is as the receipt says; {what} is not") }
        }
        Err(error) => Verdict::Mismatch { step: None, why: error.to_string() },
    }
}

/// The data of the receipt, or that which a private one leaves out.
fn data_of(told: Option<&Vec<Marked>>, digest: Digest, given: Option<Vec<Sequence>>) -> Result<Vec<Sequence>, Verdict> {
    match (sequences(told, digest).map_err(Verdict::from)?, given) {
        (Some(data), None) => Ok(data),
        (_, Some(given)) if Hex(data_digest(&given)) == digest => Ok(given),
        (_, Some(_)) => Err(Verdict::cannot("the data that was given is not that of the receipt")),
        (None, None) => Err(Verdict::cannot("it is private: it has no data. Give the data to verify it")),
    }
}

/// Whether the adapter in use is that of the receipt.
fn expect_adapter(told: &ModelDigests, identity: &Identity) -> Result<(), Verdict> {
    match (told.adapter_sha256, identity.adapter.map(Hex)) {
        (told, here) if told == here => Ok(()),
        (Some(told), None) => {
            Err(Verdict::cannot(format_args!("it needs the adapter with the digest {}", told.digits())))
        }
        (None, _) => Err(Verdict::cannot("it is of the model without an adapter; verify it without one")),
        (Some(told), Some(here)) => Err(Verdict::cannot(format_args!(
            "it needs the adapter with the digest {}, and the one here has {}",
            told.digits(),
            here.digits()
        ))),
    }
}
