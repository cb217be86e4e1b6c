//! The receipt of a scoring, from its lines.

use kernel::model::Sequence;
use kernel::score::Scores;
use kernel::transcript::{Identity, data_digest, scoring_transcript};
use serde::{Deserialize, Serialize};

use super::data::{Marked, limit_tokens, sequences, shown};
use super::error::{content, limit};
use super::{Bits32, Digest, Hex, MAX_STEPS, Receipt, ReceiptError};

/// A scoring, as a receipt tells it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Scored {
    /// What was scored; left out of a private receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Vec<Marked>>,
    /// The digest of what was scored.
    pub data_sha256: Digest,
    /// `1` for each line whose tokens that count are what greedy choice says, otherwise `0`.
    pub greedy: String,
    /// The digest of the logits of every line's tokens that count.
    pub logits_sha256: Vec<Digest>,
    /// The bits of the sum of every line's log-probabilities.
    pub sum_bits: Vec<Bits32>,
}

/// Everything about a scoring that its receipt tells, but for what came out.
#[derive(Clone, Debug)]
pub struct ScoringTerms<'a> {
    /// What it is computed with.
    pub identity: &'a Identity,
    /// What is scored.
    pub data: &'a [Sequence],
    /// Whether the data is left out.
    pub private: bool,
}

impl ScoringTerms<'_> {
    /// The receipt of the scores of these lines, which are all that there were.
    ///
    /// # Errors
    /// If there are not as many scores as lines, or more of something than a receipt may hold.
    pub fn receipt(&self, scores: &[Scores]) -> Result<Receipt, ReceiptError> {
        let data_sha256 = data_digest(self.data);
        let (lines, data) = (scores.len(), self.data.len());
        content(lines == data, || format!("{lines} lines have scores, of {data}"))?;
        let record = Scored {
            data: shown(self.data, self.private),
            data_sha256: Hex(data_sha256),
            greedy: scores.iter().map(|scores| if scores.greedy { '1' } else { '0' }).collect(),
            logits_sha256: scores.iter().map(|scores| Hex(scores.logits_sha256)).collect(),
            sum_bits: scores.iter().map(|scores| scores.sum.into()).collect(),
        };
        record.check()?;
        let transcript = scoring_transcript(self.identity, &data_sha256, scores);
        Ok(Receipt { scoring: Some(record), ..Receipt::new(self.identity, transcript) })
    }
}

impl Receipt {
    /// Refuses, before anything is computed, a scoring that would exceed a receipt.
    ///
    /// # Errors
    /// With the numbers.
    pub fn check_scoring_limits(data: &[Sequence], private: bool) -> Result<(), ReceiptError> {
        limit("lines", data.len(), MAX_STEPS)?;
        if private { Ok(()) } else { limit_tokens(data) }
    }
}

impl Scored {
    /// Whether its contents can belong together.
    pub(super) fn check(&self) -> Result<(), ReceiptError> {
        let (lines, digests, marks) = (self.sum_bits.len(), self.logits_sha256.len(), self.greedy.len());
        limit("lines", lines, MAX_STEPS)?;
        content(lines > 0, || "the scoring has no lines".to_string())?;
        content(lines == digests && lines == marks, || {
            format!("{lines} sums, {digests} digests of logits and {marks} marks of greedy")
        })?;
        content(self.greedy.bytes().all(|mark| matches!(mark, b'0' | b'1')), || {
            "greedy has a 0 or a 1 for each line".to_string()
        })?;
        let bad = self.sum_bits.iter().position(|bits| !bits.value().is_finite());
        content(bad.is_none(), || format!("the sum of line {} is not a finite number", bad.unwrap_or(0) + 1))?;
        let Some(sequences) = sequences(self.data.as_ref(), self.data_sha256)? else { return Ok(()) };
        content(sequences.len() == lines, || format!("{} sequences and {lines} sums", sequences.len()))?;
        let none = sequences.iter().position(|sequence| sequence.count() == 0);
        content(none.is_none(), || format!("no token of line {} counts", none.unwrap_or(0) + 1))
    }
}
