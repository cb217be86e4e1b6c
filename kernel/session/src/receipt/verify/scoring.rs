//! A scoring that is verified: its lines are scored again.

use kernel::Exec;
use kernel::model::{Model, Sequence};
use kernel::score::{self, ScoreError, Scores, Scoring};
use kernel::transcript::Identity;

use super::{Progress, Verdict, compare};
use crate::receipt::scoring::{Scored, ScoringTerms};
use crate::receipt::{Bits32, Hex, Receipt};

/// The lines that were scored so far, and those to come.
#[derive(Debug)]
pub(super) struct ScoringCheck {
    data: Vec<Sequence>,
    /// The line after those with scores.
    line: Scoring,
    scores: Vec<Scores>,
    /// Tokens of the lines with scores.
    done: usize,
}

impl ScoringCheck {
    pub(super) fn begin(told: &Scored, model: &Model, data: Vec<Sequence>) -> Result<ScoringCheck, Verdict> {
        let (lines, sequences) = (told.sum_bits.len(), data.len());
        if lines != sequences {
            return Err(Verdict::Mismatch {
                step: Some(lines.min(sequences) as u64 + 1),
                why: format!("the data has {sequences} lines, and the receipt tells of {lines}"),
            });
        }
        for sequence in &data {
            score::check(model, sequence).map_err(refused)?;
        }
        let Some(first) = data.first() else { return Err(Verdict::cannot("there is no data")) };
        let line = Scoring::new(model, first.clone()).map_err(refused)?;
        Ok(ScoringCheck { data, line, scores: Vec::new(), done: 0 })
    }

    pub(super) fn advance(
        &mut self,
        receipt: &Receipt,
        identity: &Identity,
        model: &Model,
        exec: Exec<'_>,
    ) -> Result<Progress, Verdict> {
        let (Some(told), Some(sequence)) = (&receipt.scoring, self.data.get(self.scores.len())) else {
            return Err(Verdict::cannot("it is of no scoring that goes on"));
        };
        let step = Some(self.scores.len() as u64 + 1);
        let scored = self.line.advance(model, exec);
        let mut done = self.done + self.line.progress().0;
        if let Some(scores) = scored.map_err(|error| Verdict::Mismatch { step, why: error.to_string() })? {
            self.done += sequence.tokens.len();
            done = self.done;
            expect(told, self.scores.len(), &scores)?;
            self.scores.push(scores);
            if let Some(next) = self.data.get(self.scores.len()) {
                self.line.next(model, next.clone()).map_err(refused)?;
            }
        }
        if self.scores.len() < self.data.len() {
            let total: usize = self.data.iter().map(|sequence| sequence.tokens.len()).sum();
            return Ok(Progress::Going { done: done as u64, total: total as u64 });
        }
        let terms = ScoringTerms { identity, data: &self.data, private: told.data.is_none() };
        Ok(Progress::Done(compare(receipt, terms.receipt(&self.scores))))
    }
}

/// Whether the scores of a line are those that the receipt tells.
fn expect(told: &Scored, line: usize, scores: &Scores) -> Result<(), Verdict> {
    let mismatch = |why: String| Err(Verdict::Mismatch { step: Some(line as u64 + 1), why });
    let digest = told.logits_sha256.get(line).copied().unwrap_or(Hex([0; 32]));
    if digest != Hex(scores.logits_sha256) {
        let computed = Hex(scores.logits_sha256).digits();
        return mismatch(format!("the logits have the digest {computed}, and not {}", digest.digits()));
    }
    let (sum, computed) = (told.sum_bits.get(line), Bits32::from(scores.sum));
    if sum != Some(&computed) {
        let told = sum.map(Hex::digits).unwrap_or_default();
        return mismatch(format!("the sum is {} ({}), and not {told}", scores.sum, computed.digits()));
    }
    if told.greedy.as_bytes().get(line) != Some(&if scores.greedy { b'1' } else { b'0' }) {
        let is = if scores.greedy { "is" } else { "is not" };
        return mismatch(format!("the logits are as the receipt says; the line {is} what greedy choice says"));
    }
    Ok(())
}

/// A line that this model does not read.
fn refused(error: ScoreError) -> Verdict {
    Verdict::cannot(format_args!("the model here does not take it: {error}"))
}
