//! The weight files, watched: whether they are still those that the server opened.
//!
//! A mapped file is read when it is computed with. If someone changes it in place, results would no longer be those of the
//! weights that were hashed; if someone cuts it off, reading what is gone ends the process (SIGBUS). So both are looked for
//! before each computation, which leaves the moments within one. A file that is replaced, by another one of its name, is
//! still there as it was for who has it open.

use std::fs::{File, Metadata};
use std::path::Path;
use std::time::SystemTime;
use std::{fmt, io};

use loader::{Access, Checkpoint};

/// The files, held open.
pub struct OpenedFiles {
    files: Vec<Opened>,
    access: Access,
}

struct Opened {
    name: String,
    file: File,
    was: Stamp,
}

/// What changes when a file does.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// Which file it is, where the system says so.
    identity: (u64, u64),
}

/// A weight file is not what it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed {
    name: String,
    was: u64,
    is: Option<u64>,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Changed { name, was, is } = self;
        match is {
            Some(is) if is != was => write!(f, "{name} had {was} bytes when the server opened it and has {is} now")?,
            _ => write!(f, "{name} was changed after the server had opened it")?,
        }
        f.write_str(": put the file back as it was and start the server again (to put another one in the place of a file that is in use, rename it, or serve with --no-mmap)")
    }
}

impl std::error::Error for Changed {}

impl OpenedFiles {
    /// Watches the files of a checkpoint in the folder `dir`, as it was opened just now.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub fn open(dir: &Path, checkpoint: &Checkpoint, access: Access) -> io::Result<OpenedFiles> {
        let open = |name: &str| {
            let file = File::open(dir.join(name))?;
            let was = Stamp::of(&file.metadata()?);
            Ok(Opened { name: name.to_string(), file, was })
        };
        let files = checkpoint.shards().iter().map(|shard| open(shard.file())).collect::<io::Result<_>>()?;
        Ok(OpenedFiles { files, access })
    }

    /// Whether what is computed with is what was opened. What was read into memory always is.
    ///
    /// # Errors
    /// If a file was changed in place.
    pub fn check(&self) -> Result<(), Changed> {
        if self.access == Access::Read {
            return Ok(());
        }
        self.files.iter().try_for_each(|opened| opened.compare(opened.file.metadata().ok()))
    }

    /// Whether the file of this name, if it is one of them, is the one that was opened, by what the system says of it now.
    ///
    /// # Errors
    /// If it was changed or replaced.
    pub fn check_name(&self, name: &str, now: Option<Metadata>) -> Result<(), Changed> {
        self.files.iter().find(|opened| opened.name == name).map_or(Ok(()), |opened| opened.compare(now))
    }
}

impl Opened {
    fn compare(&self, now: Option<Metadata>) -> Result<(), Changed> {
        let now = now.map(|metadata| Stamp::of(&metadata));
        if now.as_ref() == Some(&self.was) {
            return Ok(());
        }
        Err(Changed { name: self.name.clone(), was: self.was.length, is: now.map(|now| now.length) })
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            (metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let identity = (0, 0);
        Stamp { length: metadata.len(), modified: metadata.modified().ok(), identity }
    }
}
