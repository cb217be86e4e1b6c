//! Receipts: what a generation, a training, a scoring or an aggregation of adapters was, so that anyone can compute it again. The
//! format is laid down in docs/receipt.md.
//!
//! A [`Receipt`] is canonical JSON (RFC 8785) of integers and strings. It is read strictly: [`Receipt::from_json`] refuses all
//! that [`Receipt::to_json`] would write otherwise. What makes a receipt from results, `generation`, `training`, `scoring` and
//! `aggregation`, makes it when it is issued and when it is verified: a [`Verification`] computes the results, builds the receipt
//! of what it has seen and compares the two.

mod aggregation;
mod data;
mod error;
mod fields;
mod generation;
mod scoring;
mod sign;
mod training;
mod verify;

use kernel::transcript::{Identity, PROFILE};
use serde::{Deserialize, Serialize};

pub(crate) use aggregation::check_client;
pub use aggregation::{Aggregated, Contribution};
pub use data::Marked;
pub use error::ReceiptError;
pub use fields::{Bits32, Bits64, Decimal, Digest, Hex};
pub use generation::{Generated, GenerationTerms};
pub use scoring::{Scored, ScoringTerms};
pub use sign::{PublicKey, SecretKey, SignatureState, Signed};
pub use training::{NewAdapter, Trained, TrainingTerms};
pub use verify::{Given, Progress, Verdict, Verification};

/// The version of the format.
pub const FORMAT: &str = "lockstep-receipt/1";
/// The most bytes that a receipt may have.
pub const MAX_BYTES: usize = 32 << 20;
/// The most steps of a generation or a training, or lines of a scoring.
pub const MAX_STEPS: usize = 1 << 17;
/// The most token ids of a prompt, or of the data of a training or a scoring.
pub const MAX_IDS: usize = 1 << 20;
/// The most tokens of a step of a training.
pub const MAX_BATCH_TOKENS: usize = 1 << 22;
/// The most clients of an aggregation.
pub const MAX_CLIENTS: usize = 1 << 12;

/// Why a receipt is none, whose kinds are not one.
const NOT_ONE: &str = "it has neither a generation nor a training nor a scoring nor an aggregation, or both of two";

/// What a result was computed from, and what came out. The members stand in the order of canonical JSON.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The aggregation of adapters, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregation: Option<Aggregated>,
    format: String,
    /// The generation, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generated>,
    /// What it was computed with.
    pub model: ModelDigests,
    /// Name and version of the numeric contract.
    pub profile: String,
    /// The scoring, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scoring: Option<Scored>,
    /// Who vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signed>,
    /// The training, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<Trained>,
    /// The transcript of what it tells of.
    pub transcript_sha256: Digest,
}

/// The digests of what a result was computed with.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct ModelDigests {
    /// The adapter, where there is one; of a training, the one that it began with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter_sha256: Option<Digest>,
    /// The bytes of `tokenizer.json`.
    pub tokenizer_sha256: Digest,
    /// The weights digest.
    pub weights_sha256: Digest,
}

impl From<&Identity> for ModelDigests {
    fn from(identity: &Identity) -> ModelDigests {
        ModelDigests {
            adapter_sha256: identity.adapter.map(Hex),
            tokenizer_sha256: Hex(identity.tokenizer),
            weights_sha256: Hex(identity.weights),
        }
    }
}

impl Receipt {
    /// A receipt of nothing yet, without a signature.
    fn new(identity: &Identity, transcript: [u8; 32]) -> Receipt {
        Receipt {
            aggregation: None,
            format: FORMAT.to_string(),
            generation: None,
            model: identity.into(),
            profile: PROFILE.to_string(),
            scoring: None,
            signature: None,
            training: None,
            transcript_sha256: Hex(transcript),
        }
    }

    /// Reads a receipt strictly.
    ///
    /// # Errors
    /// If it is no canonical JSON of this format, too long, or contradicts itself; nothing is computed for that.
    pub fn from_json(bytes: &[u8]) -> Result<Receipt, ReceiptError> {
        /// The one member that every version of the format has.
        #[derive(Deserialize)]
        struct Version {
            format: String,
        }
        if bytes.len() > MAX_BYTES {
            return Err(ReceiptError::Long { bytes: bytes.len() });
        }
        let Version { format } = serde_json::from_slice(bytes).map_err(ReceiptError::Json)?;
        if format != FORMAT {
            return Err(ReceiptError::Version(format.chars().take(40).collect()));
        }
        let receipt: Receipt = serde_json::from_slice(bytes).map_err(ReceiptError::Json)?;
        let canonical = receipt.to_json();
        if canonical != bytes {
            let at = canonical.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            return Err(ReceiptError::NotCanonical { at });
        }
        // A contract that is not known here may allow other contents.
        if receipt.profile == PROFILE {
            receipt.check()?;
        }
        Ok(receipt)
    }

    /// The receipt as canonical JSON, without a line feed.
    ///
    /// # Panics
    /// Never: a receipt has no maps, whose keys could be no strings, and no numbers that JSON does not have.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a receipt is JSON")
    }

    /// Whether its contents can belong together.
    fn check(&self) -> Result<(), ReceiptError> {
        match (&self.generation, &self.training, &self.scoring, &self.aggregation) {
            (Some(generation), None, None, None) => generation.check(),
            (None, Some(training), None, None) => training.check(&self.model),
            (None, None, Some(scoring), None) => scoring.check(),
            (None, None, None, Some(aggregation)) => aggregation.check(&self.model),
            _ => Err(ReceiptError::Content(NOT_ONE.to_string())),
        }
    }

    /// `generation`, `training`, `scoring` or `aggregation`.
    pub fn kind(&self) -> &'static str {
        match self {
            Receipt { training: Some(_), .. } => "training",
            Receipt { scoring: Some(_), .. } => "scoring",
            Receipt { aggregation: Some(_), .. } => "aggregation",
            _ => "generation",
        }
    }

    /// The steps that it tells of; of a scoring the lines, of an aggregation the clients.
    pub fn steps(&self) -> usize {
        let generation = self.generation.as_ref().map(|generation| generation.logits_sha256.len());
        let training = self.training.as_ref().map(|training| training.step_sha256.len());
        let scoring = self.scoring.as_ref().map(|scoring| scoring.sum_bits.len());
        let aggregation = self.aggregation.as_ref().map(|aggregation| aggregation.clients.len());
        generation.or(training).or(scoring).or(aggregation).unwrap_or(0)
    }

    /// Whether it leaves token ids out.
    pub fn is_private(&self) -> bool {
        let generation = self.generation.as_ref().is_some_and(|generation| generation.token_ids.is_none());
        let training = self.training.as_ref().is_some_and(|training| training.data.is_none());
        generation || training || self.scoring.as_ref().is_some_and(|scoring| scoring.data.is_none())
    }
}
