//! The part of a file that has arrived: `<name>.part`, with the entity tag of the whole beside it.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use loader::digest::hex;
use loader::sync_folder_of;
use sha2::{Digest, Sha256};

use crate::fetch::folder::hash_of;

/// A file that is arriving, hashed as it grows.
pub struct Part {
    file: File,
    hash: Sha256,
    len: u64,
    etag: Option<String>,
    path: PathBuf,
    etag_path: PathBuf,
    target: PathBuf,
}

impl Part {
    /// Opens the part of `target`; what an earlier run left is kept if its entity tag is known and it is no longer
    /// than `limit`.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn open(target: &Path, limit: Option<u64>) -> io::Result<Part> {
        let with = |suffix: &str| {
            let name = target.file_name().unwrap_or_default().to_string_lossy();
            target.with_file_name(format!("{name}{suffix}"))
        };
        let (path, etag_path) = (with(".part"), with(".part.etag"));
        let etag = fs::read_to_string(&etag_path).ok().filter(|etag| is_strong(etag));
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
        let (hash, len) = hash_of(&mut file)?;
        let mut part = Part { file, hash, len, etag, path, etag_path, target: target.to_owned() };
        if part.etag.is_none() || limit.is_some_and(|limit| part.len > limit) {
            part.restart()?;
        }
        Ok(part)
    }

    /// Bytes that are here.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Entity tag of the file whose beginning this is, if there is a beginning.
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|_| self.len > 0)
    }

    /// Where the part lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets everything that has arrived.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.hash, self.len) = (Sha256::new(), 0);
        self.set_etag(None)
    }

    /// Remembers the entity tag of the file that is arriving; a weak one is not good for resuming.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set_etag(&mut self, etag: Option<String>) -> io::Result<()> {
        self.etag = etag.filter(|etag| is_strong(etag));
        match &self.etag {
            Some(etag) => fs::write(&self.etag_path, etag),
            None => remove(&self.etag_path),
        }
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// SHA-256 of what is here, in hexadecimal.
    pub fn sha256(&self) -> String {
        hex(&self.hash.clone().finalize())
    }

    /// Makes the bytes durable and gives the file its name.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        remove(&self.etag_path)?;
        sync_folder_of(&self.target)
    }

    /// Removes what has arrived.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn discard(self) -> io::Result<()> {
        remove(&self.etag_path)?;
        remove(&self.path)
    }
}

fn is_strong(etag: &str) -> bool {
    etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"') && etag.bytes().all(|byte| (32..127).contains(&byte))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
