//! The sequences of a receipt: what was learnt from, or scored.

use kernel::model::Sequence;
use kernel::transcript::data_digest;
use serde::{Deserialize, Serialize};

use super::error::{content, limit};
use super::{Digest, MAX_IDS, ReceiptError};
use crate::data;

/// One sequence of the data.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Marked {
    /// `1` for each token that counts, otherwise `0`.
    pub counted: String,
    /// Its tokens.
    pub ids: Vec<u32>,
}

impl From<&Sequence> for Marked {
    fn from(sequence: &Sequence) -> Marked {
        let counted = sequence.counted.iter().map(|counts| if *counts { '1' } else { '0' }).collect();
        Marked { counted, ids: sequence.tokens.clone() }
    }
}

impl Marked {
    fn sequence(&self) -> Result<Sequence, ReceiptError> {
        let why = || format!("counted has a 0 or a 1 for each of the {} tokens of a sequence", self.ids.len());
        data::marked(self.ids.clone(), &self.counted).ok_or_else(|| ReceiptError::Content(why()))
    }
}

/// The data as a receipt holds it; none in a private one.
pub(super) fn shown(data: &[Sequence], private: bool) -> Option<Vec<Marked>> {
    (!private).then(|| data.iter().map(Marked::from).collect())
}

/// The sequences, where the receipt has them.
///
/// # Errors
/// If they are none, too many, or not those of the digest.
pub(super) fn sequences(data: Option<&Vec<Marked>>, digest: Digest) -> Result<Option<Vec<Sequence>>, ReceiptError> {
    let Some(data) = data else { return Ok(None) };
    let sequences: Vec<Sequence> = data.iter().map(Marked::sequence).collect::<Result<_, _>>()?;
    content(!sequences.is_empty(), || "the data has no sequences".to_string())?;
    limit_tokens(&sequences)?;
    content(data_digest(&sequences) == digest.0, || "the data has another digest".to_string())?;
    Ok(Some(sequences))
}

/// Whether the data fits a receipt.
pub(super) fn limit_tokens(data: &[Sequence]) -> Result<(), ReceiptError> {
    limit("tokens of the data", data.iter().map(|sequence| sequence.tokens.len()).sum(), MAX_IDS)
}
