//! Why something is no receipt.

use std::{error, fmt};

use super::{FORMAT, MAX_BYTES};

/// Why bytes are no receipt that can be verified, or why no receipt can be made.
#[derive(Debug)]
pub enum ReceiptError {
    /// There are more bytes than a receipt may have.
    Long {
        /// Their number.
        bytes: usize,
    },
    /// It is no JSON, or has members that the format does not have, lacks some, or has some of other types.
    Json(serde_json::Error),
    /// It is of another version of the format.
    Version(String),
    /// It is JSON, and not in the canonical form.
    NotCanonical {
        /// The first byte that is not as it should be, from 0.
        at: usize,
    },
    /// Its contents do not belong together, or exceed what a receipt may hold.
    Content(String),
}

impl fmt::Display for ReceiptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Long { bytes } => write!(f, "{bytes} bytes are more than a receipt has ({MAX_BYTES})"),
            Self::Json(error) => write!(f, "it is not JSON as the receipt format wants it: {error}"),
            Self::Version(format) => write!(f, "the format {format:?} is not known here; this program reads {FORMAT}"),
            Self::NotCanonical { at } => write!(
                f,
                "it is not in canonical form (RFC 8785) from byte {at} on: members are sorted, none is null, there is no \
                 space between them and nothing after the last brace"
            ),
            Self::Content(why) => f.write_str(why),
        }
    }
}

impl error::Error for ReceiptError {}

/// What a receipt has to hold.
pub(super) fn content(holds: bool, why: impl FnOnce() -> String) -> Result<(), ReceiptError> {
    if holds { Ok(()) } else { Err(ReceiptError::Content(why())) }
}

/// That there are no more of something than a receipt holds.
pub(super) fn limit(what: &str, count: usize, most: usize) -> Result<(), ReceiptError> {
    content(count <= most, || format!("{count} {what} are more than a receipt holds ({most})"))
}
