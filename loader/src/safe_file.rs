//! Files that appear whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A file that is written under another name beside its target and takes the target's place in [`SafeFile::commit`].
///
/// Dropped before that, it leaves the target as it was and removes what it wrote.
#[derive(Debug)]
pub struct SafeFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl SafeFile {
    /// Begins a file that is to stand at `target`, whose folder must exist.
    ///
    /// # Errors
    /// If `target` names no file, or none can be made beside it.
    pub fn create(target: &Path) -> io::Result<SafeFile> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Some(name) = target.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} names no file", target.display())));
        };
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{}-{number}.tmp", std::process::id()));
            let temporary = target.with_file_name(hidden);
            match OpenOptions::new().write(true).create_new(true).open(&temporary) {
                // One of an earlier process that was killed; ids of processes repeat, in a container at once.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return Ok(SafeFile { file: made?, temporary, target: target.to_owned(), committed: false }),
            }
        }
    }

    /// Makes the bytes durable and puts the file in the target's place.
    ///
    /// # Errors
    /// If the bytes cannot be written out or the file cannot be renamed; the target is then as it was.
    pub fn commit(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.target)?;
        self.committed = true;
        sync_folder_of(&self.target)
    }

    /// Writes a whole file in one step.
    ///
    /// # Errors
    /// As [`SafeFile::create`] and [`SafeFile::commit`].
    pub fn write(target: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = SafeFile::create(target)?;
        file.write_all(bytes)?;
        file.commit()
    }
}

impl Write for SafeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for SafeFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing more can be done about a file that cannot be removed; its name says that it is temporary.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Makes the entry of `path` in its folder durable. Only Unix lets a folder be opened for that.
///
/// # Errors
/// If the folder cannot be opened or synchronised.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_of_the_same_id_left_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        let stale = SafeFile::create(&target).unwrap().temporary.clone();
        let name = stale.file_name().unwrap().to_str().unwrap();
        let (begin, number) = name.strip_suffix(".tmp").unwrap().rsplit_once('-').unwrap();
        let number: u64 = number.parse().unwrap();
        // Other tests may take numbers meanwhile.
        for number in number..number + 100 {
            fs::write(folder.path().join(format!("{begin}-{number}.tmp")), "half").unwrap();
        }
        SafeFile::write(&target, b"whole").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert_eq!(fs::read(&stale).unwrap(), b"half");
    }
}
