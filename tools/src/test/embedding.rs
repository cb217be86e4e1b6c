//! The kernel in other programs: the C library with a C program and Python's ctypes, firmware in QEMU, a WASI program in wasmtime.
//! All of them compute golden values, which are compared with the published ones.

mod c;
mod elf;
mod machines;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;

use super::TestError;
use crate::bundle::RouteError;
use crate::fetch::{self, FetchError};
use crate::file::{FileError, at};
use crate::packages::PackageError;
use crate::process::ProcessError;
use crate::python::PythonError;
use crate::results::Results;
use crate::workspace::Workspace;

/// What is wrong with a program that has the kernel inside, or why it could not be built.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddingError {
    /// A package is missing.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// There is no compiler for the machine.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// There is no wasmtime.
    #[error(transparent)]
    Python(#[from] PythonError),
    /// The model is not there.
    #[error(transparent)]
    Model(#[from] FetchError),
    /// A program did not build, or failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of published values is none.
    #[error("{0}: {1}")]
    Vectors(PathBuf, serde_json::Error),
    /// Values are not those that were published, or are not there.
    #[error("{program} did not compute what was published:\n{}", .wrong.join("\n"))]
    Values {
        /// The program.
        program: String,
        /// Each value with what it should be.
        wrong: Vec<String>,
    },
    /// A program that must fail did not.
    #[error("`{line}` must fail and say {wanted:?}; it said: {said}")]
    Passed {
        /// The command line.
        line: String,
        /// A part of what it should say.
        wanted: &'static str,
        /// What it said.
        said: String,
    },
    /// Firmware takes more memory than it may.
    #[error("{what}: {found} bytes, more than the {limit} that docs/embedding.md promises")]
    Size {
        /// Which memory of which program.
        what: String,
        /// Its bytes.
        found: u64,
        /// The most that there may be.
        limit: u64,
    },
    /// The firmware is no program for its machine.
    #[error("{0} is no ELF file of 32 bits")]
    Elf(PathBuf),
}

/// Builds and runs all of it. A part that fails does not keep the next from running.
///
/// # Errors
/// Those that failed.
pub(super) fn check(workspace: &Workspace) -> Result<(), TestError> {
    eprintln!("The kernel in other programs: C, Python, firmware, WASI.");
    type Part = fn(&Workspace) -> Result<(), EmbeddingError>;
    let parts: [(&str, Part); 4] =
        [("C", c::programs), ("Python", c::python), ("firmware", machines::firmware), ("WASI", machines::wasi)];
    let mut results = Results::default();
    for (name, part) in parts {
        results.of(name, || part(workspace));
    }
    results.end().map_err(TestError::Failed)
}

/// The published values of the tiny models, by name.
struct Golden(BTreeMap<String, String>);

impl Golden {
    fn read(workspace: &Workspace) -> Result<Golden, EmbeddingError> {
        #[derive(Deserialize)]
        struct Vectors {
            profile: String,
            values: BTreeMap<String, String>,
        }
        let path = workspace.root.join("docs/vectors/tiny.json");
        let text = std::fs::read(&path).map_err(at(&path))?;
        let Vectors { profile, mut values } =
            serde_json::from_slice(&text).map_err(|error| EmbeddingError::Vectors(path, error))?;
        values.insert("profile".to_owned(), profile);
        Ok(Golden(values))
    }

    /// Compares what a program printed, lines of a name, a tab and a value: the published values with the names `wanted` must be
    /// there, and be right, and so must any other published value that it printed. Returns all that it printed.
    fn compare(
        &self,
        program: &str,
        printed: &str,
        wanted: &[&str],
    ) -> Result<BTreeMap<String, String>, EmbeddingError> {
        let lines = printed.lines().filter_map(|line| line.split_once('\t'));
        let found: BTreeMap<String, String> = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut wrong = Vec::new();
        let names =
            wanted.iter().copied().chain(found.keys().map(String::as_str).filter(|name| self.0.contains_key(*name)));
        for name in names.collect::<BTreeSet<_>>() {
            let (published, computed) = (self.0.get(name), found.get(name));
            if published.is_none() || published != computed {
                let told = |value: Option<&String>| value.cloned().unwrap_or_else(|| "nothing".to_owned());
                wrong.push(format!("  {name}: {} is published, {} computed", told(published), told(computed)));
            }
        }
        if wrong.is_empty() { Ok(found) } else { Err(EmbeddingError::Values { program: program.to_owned(), wrong }) }
    }
}

/// What the programs that generate and train with both tiny models print.
const BOTH: [&str; 10] = [
    "logits 1",
    "logits 2",
    "generation 1",
    "generation 2",
    "training 1, step 1",
    "training 1, step 2",
    "training 1, step 3",
    "training 2, step 1",
    "training 2, step 2",
    "training 2, step 3",
];

/// The first tokens of the real model, as published, and the folder that has it.
struct Real {
    folder: PathBuf,
    prompt: Vec<u32>,
    /// Each token with the digest of the logits that it was chosen from.
    steps: Vec<(u32, String)>,
}

impl Real {
    fn read(workspace: &Workspace) -> Result<Real, EmbeddingError> {
        #[derive(Deserialize)]
        struct Vector {
            prompt_token_ids: Vec<u32>,
            token_ids: Vec<u32>,
            logits_sha256: Vec<String>,
        }
        let path = workspace.root.join("docs/vectors/real.json");
        let text = std::fs::read(&path).map_err(at(&path))?;
        let vector: Vector = serde_json::from_slice(&text).map_err(|error| EmbeddingError::Vectors(path, error))?;
        let steps = vector.token_ids.into_iter().zip(vector.logits_sha256).collect();
        Ok(Real { folder: fetch::test_model()?, prompt: vector.prompt_token_ids, steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_must_be_there_and_right() {
        let golden = Golden([("a", "x"), ("b", "z")].map(|(n, v)| (n.to_owned(), v.to_owned())).into());
        let of =
            |printed: &str, wanted: &[&str]| golden.compare("p", printed, wanted).map_err(|error| error.to_string());
        assert_eq!(of("a\tx\nmore\t3\n", &["a"]).unwrap()["more"], "3");
        for (printed, wanted, part) in [
            ("b\tz\n", &["a"][..], "a: x is published, nothing computed"),
            ("a\tz\n", &["a"], "a: x is published, z computed"),
            ("a\tx\nb\tx\n", &["a"], "b: z is published, x computed"),
            ("a x\n", &["a"], "nothing computed"),
            ("", &["c"], "c: nothing is published"),
        ] {
            let error = of(printed, wanted).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn published_values_are_read() {
        let golden = Golden::read(&Workspace::find().unwrap()).unwrap();
        assert!(BOTH.iter().all(|name| golden.0.contains_key(*name)));
    }
}
