//! The keys that clients have to send, where the server was given any.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::{error, fmt, fs, io};

use hyper::header::{AUTHORIZATION, HeaderMap};
use loader::digest::{Sha256Digest, sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::cli;

/// The longest key.
const MAX_LENGTH: usize = 512;
/// Shorter keys can be found by trying.
const SAFE_LENGTH: usize = 16;

/// The keys, by their digests: comparing these takes as long whatever a client sends.
pub struct Keys(Vec<Sha256Digest>);

/// Whose request it is: the number of its key. What the server keeps of one caller's texts is of no use to another's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Caller(pub(super) u64);

/// The request has no key, or one that is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoKey;

/// Why the keys cannot be used; without a word of them.
#[derive(Debug)]
pub enum KeysError {
    /// The file cannot be read.
    File {
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The file holds no key.
    Empty(PathBuf),
    /// A key is none that a header can hold.
    Key,
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeysError::File { path, error } => write!(f, "--api-key-file {}: {error}", path.display()),
            KeysError::Empty(path) => {
                write!(f, "--api-key-file {}: it holds no key; write one, on a line", path.display())
            }
            KeysError::Key => write!(
                f,
                "an API key has 1 to {MAX_LENGTH} visible ASCII characters, without spaces and commas; one that was given has not"
            ),
        }
    }
}

impl error::Error for KeysError {}

impl Caller {
    /// Anyone, where there are no keys.
    pub const ANYONE: Caller = Caller(0);
}

impl Keys {
    /// The keys of the command line and of the file that it names.
    ///
    /// # Errors
    /// If the file cannot be read or holds none, or one is no key.
    pub fn new(clients: &cli::Clients) -> Result<Keys, KeysError> {
        let mut keys: Vec<String> = clients.api_key.iter().map(|key| key.0.clone()).collect();
        if let Some(path) = &clients.api_key_file {
            keys.extend(read(path)?);
        }
        if keys.iter().any(|key| !is_key(key)) {
            return Err(KeysError::Key);
        }
        if keys.iter().any(|key| key.len() < SAFE_LENGTH) {
            tracing::warn!("an API key has less than {SAFE_LENGTH} characters: it can be found by trying");
        }
        Ok(Keys(keys.iter().map(|key| sha256(key.as_bytes())).collect()))
    }

    /// Whether there are none, so that anyone may call.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many may call, each with a key of its own; one, whoever it is, where there are no keys.
    pub fn callers(&self) -> usize {
        self.0.len().max(1)
    }

    /// Whose request has these headers. Where there are no keys, any that a client sends is ignored.
    ///
    /// # Errors
    /// If there are keys, and the request has none of them.
    pub fn check(&self, headers: &HeaderMap) -> Result<Caller, NoKey> {
        if self.is_empty() {
            return Ok(Caller::ANYONE);
        }
        let sent = sha256(bearer(headers).ok_or(NoKey)?);
        let (mut number, mut known) = (0, Choice::from(0));
        for (key, index) in self.0.iter().zip(1..) {
            let same = key.ct_eq(&sent);
            number.conditional_assign(&index, same);
            known |= same;
        }
        if bool::from(known) { Ok(Caller(number)) } else { Err(NoKey) }
    }
}

/// What follows `Bearer` in the one header that says so.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(key.trim_ascii())
}

fn is_key(text: &str) -> bool {
    (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

fn read(path: &Path) -> Result<Vec<String>, KeysError> {
    let refused = |error| KeysError::File { path: path.to_path_buf(), error };
    let text = fs::read_to_string(path).map_err(refused)?;
    if fs::metadata(path).is_ok_and(|metadata| others_may_read(&metadata)) {
        tracing::warn!("others on this machine may read {}: chmod 600 keeps them out", path.display());
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<String> = lines.map(str::to_string).collect();
    if keys.is_empty() { Err(KeysError::Empty(path.to_path_buf())) } else { Ok(keys) }
}

#[cfg(unix)]
fn others_may_read(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn others_may_read(_: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn clients(keys: &[&str], file: Option<PathBuf>) -> cli::Clients {
        let api_key = keys.iter().map(|key| key.parse().unwrap()).collect();
        cli::Clients { api_key, api_key_file: file, allow_unauthenticated: false, cors_origins: vec![] }
    }

    fn sent(value: &'static [u8]) -> HeaderMap {
        [(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap())].into_iter().collect()
    }

    #[test]
    fn each_key_is_a_caller_and_nothing_else_is() {
        let keys = Keys::new(&clients(&["first-key", "second-key"], None)).unwrap();
        let check = |value: &'static [u8]| keys.check(&sent(value));
        assert_eq!([check(b"Bearer first-key"), check(b"bearer  second-key")], [Ok(Caller(1)), Ok(Caller(2))]);
        for wrong in [
            &b"first-key"[..],
            b"Basic first-key",
            b"Bearer first-ke",
            b"Bearer first-keys",
            b"Bearer first-key second-key",
            b"Bearer ",
            b"Bearer",
            b"",
            b"Bearer \xff",
        ] {
            assert_eq!(check(wrong), Err(NoKey), "{wrong:?}");
        }
        assert_eq!(keys.check(&HeaderMap::new()), Err(NoKey));
    }

    #[test]
    fn where_there_are_no_keys_any_is_ignored() {
        let keys = Keys::new(&clients(&[], None)).unwrap();
        assert_eq!([keys.check(&HeaderMap::new()), keys.check(&sent(b"Bearer x"))], [Ok(Caller::ANYONE); 2]);
    }

    #[test]
    fn a_file_has_a_key_on_each_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let keys = |text: &str| {
            fs::write(&path, text).unwrap();
            Keys::new(&clients(&["typed"], Some(path.clone())))
        };
        let three = keys("# of the team\n\n  first \r\nsecond").unwrap();
        assert_eq!(three.0, ["typed", "first", "second"].map(|key| sha256(key.as_bytes())));
        assert!(matches!(keys("# none\n"), Err(KeysError::Empty(_))));
        assert!(matches!(keys("a b"), Err(KeysError::Key)));
        fs::remove_file(&path).unwrap();
        assert!(matches!(Keys::new(&clients(&[], Some(path.clone()))), Err(KeysError::File { .. })));
    }

    #[test]
    fn what_a_header_cannot_hold_is_no_key() {
        let long = "x".repeat(MAX_LENGTH + 1);
        for key in ["", "a b", "é", "a\n", &long] {
            let error = Keys::new(&clients(&[key], None)).err().unwrap();
            assert!(matches!(error, KeysError::Key) && (key.is_empty() || !error.to_string().contains(key)), "{key:?}");
        }
    }
}
