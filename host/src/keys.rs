//! Keys that receipts are signed with, as files, and `lockstep keygen`, which makes them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::{error, fmt};

use loader::SafeFile;
use serde_json::json;
use session::receipt::{Hex, PublicKey, SecretKey};

use crate::terminal::print_json;
use crate::{Outcome, cli};

/// What stands before the digits of a secret key in its file.
const SECRET: &str = "lockstep-ed25519-secret";
/// What stands before the digits of a public key in its file.
const PUBLIC: &str = "lockstep-ed25519-public";
/// The most bytes of a file that are looked at.
const MAX_BYTES: u64 = 1 << 16;

/// Why there is no key.
#[derive(Debug)]
pub enum KeyError {
    /// The system refused.
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        error: io::Error,
    },
    /// The file is there already.
    Taken(PathBuf),
    /// The file holds no key of this kind.
    Content {
        /// The file.
        path: PathBuf,
        /// The word that its line should begin with.
        wanted: &'static str,
    },
    /// The text is neither a key nor a file.
    NoKey(String),
    /// The system has no random numbers.
    Random(getrandom::Error),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Taken(path) => {
                write!(f, "{} is there already, and a key is not replaced; name another file", path.display())
            }
            Self::Content { path, wanted } => write!(
                f,
                "{} is no key file: it should be the line `{wanted}` and 64 hexadecimal digits, as `lockstep keygen` writes it",
                path.display()
            ),
            Self::NoKey(text) => write!(f, "{text:?} is neither 64 hexadecimal digits nor a file with a public key"),
            Self::Random(error) => write!(f, "the system gives no random numbers: {error}"),
        }
    }
}

impl error::Error for KeyError {}

/// Runs `lockstep keygen`: writes a new secret key, and its public key beside it, and prints the public key.
///
/// # Errors
/// If one of the files is there already or cannot be written, or the system has no random numbers.
pub fn keygen(arguments: cli::Keygen) -> Outcome {
    let secret = arguments.file;
    let mut name = secret.clone().into_os_string();
    name.push(".pub");
    let public = PathBuf::from(name);
    if public.exists() {
        return Err(KeyError::Taken(public).into());
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(KeyError::Random)?;
    let key = SecretKey::from_bytes(&bytes).public_key().digits();
    write_secret(&secret, &format!("{SECRET} {}\n", Hex(bytes).digits()))?;
    let written = SafeFile::write(&public, format!("{PUBLIC} {key}\n").as_bytes());
    written.map_err(|error| KeyError::Io { path: public.clone(), error })?;
    if arguments.json {
        return print_json(&json!({ "public_key": key, "secret_file": secret, "public_file": public }));
    }
    Ok(writeln!(io::stdout(), "{key}")?)
}

/// Writes a file that only its owner may read, and that was not there before.
fn write_secret(path: &Path, text: &str) -> Result<(), KeyError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Taken(path.to_path_buf()),
        _ => KeyError::Io { path: path.to_path_buf(), error },
    };
    let mut file = options.open(path).map_err(refused)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a key is none; if it cannot be removed either, reading it says so.
        let _ = fs::remove_file(path);
        KeyError::Io { path: path.to_path_buf(), error }
    })
}

/// The secret key in a file.
///
/// # Errors
/// If it cannot be read or holds none.
pub fn read_secret(path: &Path) -> Result<SecretKey, KeyError> {
    Ok(SecretKey::from_bytes(&read(path, SECRET)?.0))
}

/// The public key that the text is, or that is in the file of that name.
///
/// # Errors
/// If it is neither.
pub fn public_key(text: &str) -> Result<PublicKey, KeyError> {
    if let Some(key) = Hex::parse(text) {
        return Ok(key);
    }
    let path = Path::new(text);
    if path.is_file() { read(path, PUBLIC) } else { Err(KeyError::NoKey(text.to_string())) }
}

fn read(path: &Path, wanted: &'static str) -> Result<Hex<32>, KeyError> {
    let io = |error| KeyError::Io { path: path.to_path_buf(), error };
    let file = fs::File::open(path).map_err(io)?;
    let text = io::read_to_string(io::Read::take(file, MAX_BYTES)).map_err(io)?;
    let digits = text.trim_end().strip_prefix(wanted).and_then(|rest| rest.strip_prefix(' '));
    digits.and_then(Hex::parse).ok_or_else(|| KeyError::Content { path: path.to_path_buf(), wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keygen_in(file: &Path) -> Outcome {
        keygen(cli::Keygen { file: file.to_path_buf(), json: false })
    }

    #[test]
    fn a_key_is_made_once_and_is_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        keygen_in(&path).unwrap();
        let public = public_key(&folder.path().join("key.pub").display().to_string()).unwrap();
        assert_eq!(read_secret(&path).unwrap().public_key(), public);
        assert_eq!(public_key(&public.digits()).unwrap(), public);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        let before = fs::read(&path).unwrap();
        assert!(keygen_in(&path).unwrap_err().to_string().contains("not replaced"));
        fs::remove_file(folder.path().join("key.pub")).unwrap();
        assert!(keygen_in(&path).unwrap_err().to_string().contains("not replaced"));
        assert_eq!(fs::read(&path).unwrap(), before);
        keygen_in(&folder.path().join("other")).unwrap();
        assert_ne!(read_secret(&folder.path().join("other")).unwrap().public_key(), public);
    }

    #[test]
    fn the_halves_of_a_key_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        keygen_in(&path).unwrap();
        let public = folder.path().join("key.pub");
        assert!(read_secret(&public).err().unwrap().to_string().contains(SECRET));
        assert!(public_key(&path.display().to_string()).unwrap_err().to_string().contains(PUBLIC));
        assert!(matches!(public_key("no such file"), Err(KeyError::NoKey(_))));
        fs::write(&path, "lockstep-ed25519-secret 12\n").unwrap();
        assert!(matches!(read_secret(&path), Err(KeyError::Content { .. })));
    }
}
