//! The stamp in a bundle: what it was made from, so that a second call finds nothing to do.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use loader::digest::{hex, sha256};

/// The stamp's name in the bundle.
pub const NAME: &str = "bundle.json";

/// What a bundle was made from, and its files.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// SHA-256 over the names and contents of all inputs.
    pub inputs: String,
    /// The way the compiler was found (`--route`).
    pub route: String,
    /// What the compiler calls itself.
    pub compiler: String,
    /// SHA-256 of each file of the bundle, the stamp excepted.
    pub files: BTreeMap<String, String>,
}

impl Stamp {
    /// The stamp of a bundle, if there is a readable one.
    pub fn read(bundle: &Path) -> Option<Stamp> {
        serde_json::from_slice(&std::fs::read(bundle.join(NAME)).ok()?).ok()
    }

    /// The stamp for the files that stand in `bundle`.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn of(bundle: &Path, inputs: String, route: &str, compiler: String) -> io::Result<Stamp> {
        Ok(Stamp { inputs, route: route.to_owned(), compiler, files: files(bundle)? })
    }

    /// Writes the stamp into its bundle.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, bundle: &Path) -> io::Result<()> {
        std::fs::write(bundle.join(NAME), serde_json::to_string_pretty(self)? + "\n")
    }

    /// Whether the bundle still consists of exactly the files that were stamped.
    pub fn holds(&self, bundle: &Path) -> bool {
        files(bundle).is_ok_and(|files| files == self.files)
    }
}

/// The digests of all files below `bundle`, the stamp excepted, by their path with `/`.
fn files(bundle: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut digests = BTreeMap::new();
    for file in walk(bundle, &[])? {
        let name = relative(bundle, &file);
        if name != NAME {
            digests.insert(name, hex(&sha256(&std::fs::read(file)?)));
        }
    }
    Ok(digests)
}

/// One digest over the relative paths and contents of the inputs: files, or folders with all in them except the
/// folders named in `without`.
///
/// # Errors
/// If an input is missing or cannot be read.
pub fn inputs(root: &Path, inputs: &[&str], without: &[&str]) -> io::Result<String> {
    let mut lines = String::new();
    for input in inputs {
        let path = root.join(input);
        let files = if path.is_dir() { walk(&path, without)? } else { vec![path] };
        for file in files {
            let content = std::fs::read(&file)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
            lines += &format!("{} {}\n", hex(&sha256(&content)), relative(root, &file));
        }
    }
    Ok(hex(&sha256(lines.as_bytes())))
}

/// All files below `dir` in the order of their paths, without the folders of these names.
pub fn walk(dir: &Path, without: &[&str]) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let skipped = entry.file_name().to_str().is_some_and(|name| without.contains(&name));
        if !entry.file_type()?.is_dir() {
            files.push(entry.path());
        } else if !skipped {
            files.extend(walk(&entry.path(), without)?);
        }
    }
    files.sort();
    Ok(files)
}

/// The path of a file below `root`, with slashes.
pub(crate) fn relative(root: &Path, file: &Path) -> String {
    let path = file.strip_prefix(root).unwrap_or(file);
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        dir
    }

    #[test]
    fn inputs_see_contents_names_and_new_files_but_not_what_is_left_out() {
        let base = [("a/x", "1"), ("a/y", "2"), ("b", "3")];
        let of = |files: &[(&str, &str)]| inputs(tree(files).path(), &["a", "b"], &["dist"]).unwrap();
        let digest = of(&base);
        assert_eq!(digest, of(&base));
        assert_eq!(digest, of(&[("a/x", "1"), ("a/y", "2"), ("a/dist/z", "9"), ("b", "3"), ("c", "9")]));
        assert_ne!(digest, of(&[("a/x", "1"), ("a/y", "2!"), ("b", "3")]));
        assert_ne!(digest, of(&[("a/x", "1"), ("a/z", "2"), ("b", "3")]));
        assert_ne!(digest, of(&[("a/x", "1"), ("a/y", "2"), ("a/z", ""), ("b", "3")]));
    }

    #[test]
    fn a_missing_input_is_an_error_with_its_name() {
        let error = inputs(tree(&[("a", "")]).path(), &["a", "gone"], &[]).unwrap_err().to_string();
        assert!(error.contains("gone"), "{error}");
    }

    #[test]
    fn a_stamp_holds_until_a_file_is_changed_lost_or_added() {
        let dir = tree(&[("index.html", "page"), ("wasm/x.wasm", "code")]);
        let stamp = Stamp::of(dir.path(), "inputs".into(), "rustup", "rustc 1".into()).unwrap();
        stamp.write(dir.path()).unwrap();
        assert_eq!(Stamp::read(dir.path()), Some(stamp.clone()));
        assert!(stamp.holds(dir.path()));
        std::fs::write(dir.path().join("wasm/x.wasm"), "other").unwrap();
        assert!(!stamp.holds(dir.path()));
        std::fs::write(dir.path().join("wasm/x.wasm"), "code").unwrap();
        assert!(stamp.holds(dir.path()));
        std::fs::write(dir.path().join("extra"), "").unwrap();
        assert!(!stamp.holds(dir.path()));
        std::fs::remove_file(dir.path().join("extra")).unwrap();
        std::fs::remove_file(dir.path().join("index.html")).unwrap();
        assert!(!stamp.holds(dir.path()));
    }

    #[test]
    fn a_broken_stamp_is_no_stamp() {
        assert_eq!(Stamp::read(tree(&[(NAME, "{")]).path()), None);
        assert_eq!(Stamp::read(tree(&[]).path()), None);
    }
}
