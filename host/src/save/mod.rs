//! `--save DIR`: a model, or an adapter, as a folder.

mod adapter;
mod model;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::{error, fmt};

use kernel::transcript::{PROFILE, Sha256Digest, hex};
use loader::{SafeFile, WriteError, sync_folder_of};
use serde_json::{Value, json};

use crate::open::Opened;

pub use adapter::write_adapter;
pub use model::write_model;

/// Why a folder was not saved.
#[derive(Debug)]
pub enum SaveError {
    /// There is something in the way.
    Taken(PathBuf),
    /// The path names no folder.
    Unnamed(PathBuf),
    /// The system refused.
    Io { path: PathBuf, error: io::Error },
    /// `config.json` of the base is not a JSON object (any more).
    Config { path: PathBuf, error: serde_json::Error },
    /// The weights could not be written.
    Weights(WriteError),
}

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SaveError::Taken(path) => {
                write!(f, "--save {}: it exists already and is not an empty folder; name a new one", path.display())
            }
            SaveError::Unnamed(path) => write!(f, "--save {}: give the folder a name", path.display()),
            SaveError::Io { path, error } => write!(f, "{}: {error}", path.display()),
            SaveError::Config { path, error } => write!(f, "{} is not a JSON object: {error}", path.display()),
            SaveError::Weights(error) => error.fmt(f),
        }
    }
}

impl error::Error for SaveError {}

/// A folder to be, checked before the computation that fills it.
#[derive(Debug)]
pub struct Target {
    dir: PathBuf,
    /// Where it is made, beside its place.
    temporary: PathBuf,
}

impl Target {
    /// # Errors
    /// If there is something in the way, or the path names no folder.
    pub fn new(dir: &Path) -> Result<Target, SaveError> {
        let Some(name) = dir.file_name() else { return Err(SaveError::Unnamed(dir.to_path_buf())) };
        let free = match fs::read_dir(dir) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !free {
            return Err(SaveError::Taken(dir.to_path_buf()));
        }
        let temporary = dir.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
        Ok(Target { dir: dir.to_path_buf(), temporary })
    }

    /// Makes the folder, whole or not at all: `fill` writes the files into the folder that it is given.
    ///
    /// # Errors
    /// Those of `fill`, and if the system refuses; nothing is left behind.
    pub fn fill<T>(&self, fill: impl FnOnce(&Path) -> Result<T, SaveError>) -> Result<T, SaveError> {
        let filled = self.make(fill);
        if filled.is_err() {
            // Nothing more can be done about a folder that cannot be removed; its name says that it is temporary.
            let _ = fs::remove_dir_all(&self.temporary);
        }
        filled
    }

    fn make<T>(&self, fill: impl FnOnce(&Path) -> Result<T, SaveError>) -> Result<T, SaveError> {
        let folder = &self.temporary;
        // One of an earlier process that was killed; ids of processes repeat, in a container at once.
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(folder)(error)),
            _ => {}
        }
        fs::create_dir_all(folder).map_err(refused(folder))?;
        let filled = fill(folder)?;
        // An empty folder may stand in the place; rename replaces one on some systems only.
        match fs::remove_dir(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(&self.dir)(error)),
            _ => fs::rename(folder, &self.dir).map_err(refused(&self.dir))?,
        }
        sync_folder_of(&self.dir).map_err(refused(&self.dir))?;
        Ok(filled)
    }
}

/// Writes a file of the folder.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), SaveError> {
    let path = folder.join(name);
    SafeFile::write(&path, bytes).map_err(refused(&path))
}

/// How a folder came to be, which is `source`: of the opened model with weights and an adapter of these digests, and what there is
/// `more` to say.
pub fn provenance(
    source: &str,
    opened: &Opened,
    (weights, adapter): (&Sha256Digest, Option<&Sha256Digest>),
    more: Value,
) -> Value {
    let mut provenance = json!({
        "source": source,
        "base": {
            "name": opened.name,
            "weights_sha256": hex(weights),
            "adapter_sha256": adapter.map(hex),
            "provenance": opened.provenance,
        },
        "tool": concat!("lockstep ", env!("CARGO_PKG_VERSION")),
        "profile": PROFILE,
    });
    if let (Value::Object(members), Value::Object(more)) = (&mut provenance, more) {
        members.extend(more);
    }
    provenance
}

/// Writes how the folder came to be.
fn write_provenance(folder: &Path, provenance: &Value) -> Result<(), SaveError> {
    write(folder, "provenance.json", format!("{provenance:#}\n").as_bytes())
}

fn refused(path: &Path) -> impl FnOnce(io::Error) -> SaveError + use<> {
    let path = path.to_path_buf();
    move |error| SaveError::Io { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_or_empty_folder_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(Target::new(&path.join("new")).is_ok());
        assert!(Target::new(path).is_ok());
        fs::write(path.join("file"), "x").unwrap();
        assert!(matches!(Target::new(path), Err(SaveError::Taken(_))));
        assert!(matches!(Target::new(&path.join("file")), Err(SaveError::Taken(_))));
        assert!(matches!(Target::new(Path::new("..")), Err(SaveError::Unnamed(_))));
    }

    #[test]
    fn a_folder_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::new(&folder.path().join("saved")).unwrap();
        let fill = |last: &str| {
            target.fill(|folder| {
                write(folder, "first", b"1")?;
                write(folder, last, b"2")
            })
        };
        assert!(matches!(fill("no/such/folder"), Err(SaveError::Io { .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        // A process of the same id was killed here.
        fs::create_dir(&target.temporary).unwrap();
        fs::write(target.temporary.join("half"), "h").unwrap();
        fill("last").unwrap();
        assert_eq!(fs::read(folder.path().join("saved/last")).unwrap(), b"2");
        assert!(!folder.path().join("saved/half").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
