//! A model folder, prepared beside its place and moved there when it is complete.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use loader::digest::{Sha256Digest, hex, weights_digest};
use loader::manifest::{self, Manifest, ManifestFile};
use loader::{Access, Checkpoint, SafeFile, sync_folder_of};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::FetchError;
use super::pins::Pin;

/// File that tells where a folder's contents came from.
pub const PROVENANCE: &str = "provenance.json";

/// Longest manifest that is read, in bytes.
const MAX_MANIFEST_LEN: u64 = 100_000_000;

/// The right to fill a model folder, held by one run at a time.
#[derive(Debug)]
pub struct Lock {
    target: PathBuf,
    /// The lock is on this file, while it is open.
    _file: File,
}

/// The folder beside a model folder in which it is prepared.
///
/// It stays when a run is interrupted, with what the next run can use.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
    lock: Lock,
}

/// Where the contents of a folder came from.
#[derive(Debug)]
pub struct Origin {
    /// `hub` or `wheel`.
    pub source: &'static str,
    /// Revision at the source.
    pub revision: String,
    /// The files that belong to the folder.
    pub files: Vec<&'static str>,
    /// The contents of `provenance.json`.
    pub provenance: Json,
}

impl Lock {
    /// Waits until no other run fills the folder `target`.
    pub fn take(target: &Path) -> Result<Lock, FetchError> {
        let target = std::path::absolute(target).map_err(FetchError::io("find", target))?;
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(FetchError::NotAFolder { dir: target });
        };
        fs::create_dir_all(parent).map_err(FetchError::io("make the folder", parent))?;
        let path = target.with_file_name(format!(".{}.lock", name.to_string_lossy()));
        let file = lock_file(&path).map_err(FetchError::io("lock", &path))?;
        Ok(Lock { target, _file: file })
    }
}

impl Staging {
    /// Opens the staging folder, with what an interrupted run has left in it.
    pub fn open(lock: Lock) -> Result<Staging, FetchError> {
        let name = lock.target.file_name().unwrap_or_default().to_string_lossy();
        let dir = lock.target.with_file_name(format!("{name}.partial"));
        fs::create_dir_all(&dir).map_err(FetchError::io("make the folder", &dir))?;
        Ok(Staging { dir, lock })
    }

    /// The staging folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The model folder.
    pub fn target(&self) -> &Path {
        &self.lock.target
    }

    /// The place of that file while the folder is prepared.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a text file.
    pub fn write(&self, name: &str, contents: &str) -> Result<(), FetchError> {
        let path = self.path(name);
        SafeFile::write(&path, contents.as_bytes()).map_err(FetchError::io("write", &path))
    }

    /// Hashes the files, writes provenance and manifest, and moves everything into the model folder, the manifest
    /// last: a folder without one is not complete.
    pub fn finish(self, origin: &Origin) -> Result<Manifest, FetchError> {
        self.write(PROVENANCE, &format!("{:#}\n", origin.provenance))?;
        let manifest = self.manifest(origin)?;
        self.write(manifest::FILE_NAME, &manifest.to_json())?;

        fs::create_dir_all(&self.lock.target).map_err(FetchError::io("make the folder", &self.lock.target))?;
        let old = self.lock.target.join(manifest::FILE_NAME);
        match fs::remove_file(&old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FetchError::io("remove the outdated", &old)(error));
            }
            _ => sync_folder_of(&old).map_err(FetchError::io("synchronise the folder of", &old))?,
        }
        for name in manifest.files.iter().map(|file| file.name.as_str()).chain([manifest::FILE_NAME]) {
            let place = self.lock.target.join(name);
            fs::rename(self.path(name), &place).map_err(FetchError::io("put in place", &place))?;
            sync_folder_of(&place).map_err(FetchError::io("synchronise the folder of", &place))?;
        }
        fs::remove_dir_all(&self.dir).map_err(FetchError::io("remove", &self.dir))?;
        Ok(manifest)
    }

    fn manifest(&self, origin: &Origin) -> Result<Manifest, FetchError> {
        let checkpoint = Checkpoint::open(&self.dir, Access::Map)?;
        let tensors = checkpoint.tensor_digests();
        let entry = |name: &str| {
            let path = self.path(name);
            let (size, sha256) = hash_file(&path).map_err(FetchError::io("read", &path))?;
            Ok(ManifestFile { name: name.to_owned(), size, sha256 })
        };
        let name = self.lock.target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Manifest {
            name,
            source: origin.source.to_owned(),
            revision: Some(origin.revision.clone()),
            files: origin.files.iter().copied().chain([PROVENANCE]).map(entry).collect::<Result<_, FetchError>>()?,
            tensors: tensors.iter().map(|tensor| (tensor.name.clone(), tensor.sha256)).collect(),
            weights_sha256: weights_digest(tensors),
        })
    }
}

/// Opens and locks a file, for as long as the result lives.
fn lock_file(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("Waiting for another run that fills the same folder ...");
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    Ok(file)
}

/// The manifest of a complete model folder: one whose files all have the sizes and hashes that it lists.
///
/// Hashes every file. `None` also where a file cannot be read: it is then to be fetched again.
pub fn complete(dir: &Path) -> Option<Manifest> {
    let mut text = Vec::new();
    File::open(dir.join(manifest::FILE_NAME)).ok()?.take(MAX_MANIFEST_LEN).read_to_end(&mut text).ok()?;
    let manifest = Manifest::from_json(&text).ok()?;
    let unchanged = |file: &ManifestFile| {
        let path = dir.join(&file.name);
        fs::metadata(&path).is_ok_and(|metadata| metadata.len() == file.size)
            && hash_file(&path).is_ok_and(|(size, sha256)| size == file.size && sha256 == file.sha256)
    };
    manifest.files.iter().all(unchanged).then_some(manifest)
}

/// Whether the file has the size and hash of the pin.
pub fn is_pinned(path: &Path, pin: &Pin) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.len() == pin.size)
        && hash_file(path).is_ok_and(|(_, sha256)| hex(&sha256) == pin.sha256)
}

/// Size and SHA-256 of a file.
pub fn hash_file(path: &Path) -> io::Result<(u64, Sha256Digest)> {
    let (hash, size) = hash_of(&mut File::open(path)?)?;
    Ok((size, hash.finalize().into()))
}

/// The hash of what follows in an open file, which more can be added to, and how many bytes that is.
pub(super) fn hash_of(file: &mut File) -> io::Result<(Sha256, u64)> {
    let (mut hash, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hash, size)),
            read => {
                hash.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
}
