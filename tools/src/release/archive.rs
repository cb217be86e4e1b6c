//! Archives whose bytes depend on nothing but their files: names in order, no owner, one time for all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use flate2::{Compression, GzBuilder};

use crate::bundle::{relative, walk};

/// A `.tar.gz` on its way: files in one folder.
pub(super) struct Archive {
    folder: String,
    seconds: u64,
    /// The rights and the content of each, by its path inside the folder.
    files: BTreeMap<String, (u32, Vec<u8>)>,
}

impl Archive {
    /// An empty one, whose files will lie in `folder` and have the time `seconds` (since 1970).
    pub(super) fn new(folder: &str, seconds: u64) -> Archive {
        Archive { folder: folder.to_owned(), seconds, files: BTreeMap::new() }
    }

    /// The same with a file that everybody may read.
    pub(super) fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Archive {
        self.files.insert(name.to_owned(), (0o644, content.into()));
        self
    }

    /// The same with a program.
    pub(super) fn program(mut self, name: &str, content: Vec<u8>) -> Archive {
        self.files.insert(name.to_owned(), (0o755, content));
        self
    }

    /// The same with all files below `from`.
    ///
    /// # Errors
    /// If one cannot be read.
    pub(super) fn tree(mut self, from: &Path) -> io::Result<Archive> {
        for file in walk(from, &[])? {
            self = self.file(&relative(from, &file), fs::read(&file)?);
        }
        Ok(self)
    }

    /// Writes it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, (mode, content)) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(*mode);
            header.set_mtime(self.seconds);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, format!("{}/{name}", self.folder), &**content)?;
        }
        write_compressed(path, &tar.into_inner()?)
    }
}

/// Writes bytes as gzip: without a time and a name.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write_compressed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut gzip = GzBuilder::new().mtime(0).write(File::create(path)?, Compression::best());
    gzip.write_all(bytes)?;
    gzip.finish()?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn bytes(archive: &Archive) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar.gz");
        archive.write(&path).unwrap();
        fs::read(path).unwrap()
    }

    #[test]
    fn bytes_depend_on_nothing_but_the_files() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (folder, names) in [(&one, ["deep/x", "a"]), (&other, ["a", "deep/x"])] {
            fs::create_dir(folder.path().join("deep")).unwrap();
            names.iter().for_each(|name| fs::write(folder.path().join(name), *name).unwrap());
        }
        let of = |folder: &Path, seconds| bytes(&Archive::new("f", seconds).tree(folder).unwrap());
        assert_eq!(of(one.path(), 7), of(other.path(), 7));
        assert_ne!(of(one.path(), 7), of(one.path(), 8));
        fs::write(one.path().join("a"), "b").unwrap();
        assert_ne!(of(one.path(), 7), of(other.path(), 7));
    }

    #[test]
    fn names_rights_time_and_owner_are_as_said() {
        let archive = Archive::new("f", 7).file("b", "text").program("a", b"run".to_vec());
        let mut found = Vec::new();
        for entry in tar::Archive::new(flate2::read::GzDecoder::new(&*bytes(&archive))).entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header().clone();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (7, 0, 0));
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            found.push((entry.path().unwrap().display().to_string(), header.mode().unwrap(), content));
        }
        let want = [("f/a", 0o755, "run"), ("f/b", 0o644, "text")];
        assert_eq!(found, want.map(|(name, mode, content)| (name.to_owned(), mode, content.to_owned())));
    }
}
