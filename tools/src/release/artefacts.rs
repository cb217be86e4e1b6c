//! How each file of a release is made.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::archive::{Archive, write_compressed};
use super::{Release, ReleaseError, licences};
use crate::bundle::{self, BundleError, Choice};
use crate::file::{FileError, at};
use crate::npm;
use crate::process;
use crate::workspace;

/// The shells that `lockstep completions` knows, with the names that they look for.
const SHELLS: [(&str, &str); 5] = [
    ("bash", "lockstep.bash"),
    ("elvish", "lockstep.elv"),
    ("fish", "lockstep.fish"),
    ("powershell", "_lockstep.ps1"),
    ("zsh", "_lockstep"),
];

/// A part of a release.
pub(super) struct Artefact {
    /// The part, in a few words.
    pub(super) what: &'static str,
    /// Writes it into the release's folder, and notes there what it is made by.
    pub(super) make: fn(&mut Release) -> Result<(), ReleaseError>,
}

/// The sources, as git has them.
pub(super) const SOURCE: Artefact = Artefact { what: "The source archive", make: source };
/// docs/vectors.
pub(super) const VECTORS: Artefact = Artefact { what: "The published vectors", make: vectors };
/// The page, which `lockstep serve --web-root` serves, and its engine as an npm package.
pub(super) const PAGE: Artefact =
    Artefact { what: "The page with its WebAssembly modules, and its engine as an npm package", make: page };
/// `lockstep` for this machine.
pub(super) const PROGRAM: Artefact = Artefact { what: "The program for this machine", make: program };

impl Release<'_> {
    /// `lockstep-<version>`, with a word for what else the name tells.
    fn name(&self, what: &str) -> String {
        format!("lockstep-{}{what}", self.state.version)
    }

    fn archive(&self, name: &str) -> Archive {
        Archive::new(name, self.state.seconds)
    }

    fn write(&self, name: &str, archive: &Archive) -> Result<(), ReleaseError> {
        let path = self.folder.join(format!("{name}.tar.gz"));
        Ok(archive.write(&path).map_err(at(&path))?)
    }

    /// A file of the repository.
    fn read(&self, name: &str) -> Result<Vec<u8>, FileError> {
        let path = self.workspace.root.join(name);
        fs::read(&path).map_err(at(&path))
    }
}

fn source(release: &mut Release) -> Result<(), ReleaseError> {
    let name = release.name("-src");
    let (tar, packed) = (release.folder.join(format!("{name}.tar")), release.folder.join(format!("{name}.tar.gz")));
    // The rights of files follow a setting of git otherwise.
    let mut git = Command::new("git");
    git.current_dir(&release.workspace.root).args(["-c", "tar.umask=0022", "archive", "--format=tar"]);
    git.arg(format!("--prefix={name}/")).arg("--output").arg(&tar).arg(&release.state.commit);
    process::run(&mut git)?;
    write_compressed(&packed, &fs::read(&tar).map_err(at(&tar))?).map_err(at(&packed))?;
    Ok(fs::remove_file(&tar).map_err(at(&tar))?)
}

fn vectors(release: &mut Release) -> Result<(), ReleaseError> {
    let name = release.name("-vectors");
    let folder = release.workspace.root.join("docs/vectors");
    let archive = release.archive(&name).tree(&folder).map_err(at(&folder))?;
    release.write(&name, &archive.file("LICENSE", release.read("LICENSE")?))
}

fn page(release: &mut Release) -> Result<(), ReleaseError> {
    let name = release.name("-web");
    // Made anew, so that the compiler is the one that is named.
    let folder = release.folder.join("web");
    bundle::build(release.workspace, &folder, Choice::Auto)?;
    let stamp = bundle::Stamp::read(&folder);
    release.about.insert(name.clone(), json!(stamp));
    let licences = licences::of(release.workspace, "browser", "wasm32-unknown-unknown")?;
    let archive = release.archive(&name).tree(&folder).map_err(at(&folder))?;
    let archive = archive.file("LICENSE", release.read("LICENSE")?).file("THIRD-PARTY.txt", licences);
    release.write(&name, &archive)?;
    let scratch = release.folder.join("npm");
    let package = npm::pack(release.workspace, &folder, &release.state.version, &scratch)?;
    let tarball = release.folder.join(release.name("-npm.tgz"));
    fs::rename(&package.tarball, &tarball).map_err(at(&tarball))?;
    Ok([folder, scratch].iter().try_for_each(|folder| fs::remove_dir_all(folder).map_err(at(folder)))?)
}

fn program(release: &mut Release) -> Result<(), ReleaseError> {
    let name = release.name(&format!("-{}", release.target));
    let target = release.workspace.target.join("release-program");
    let mut cargo = workspace::cargo();
    cargo.current_dir(&release.workspace.root).args(["build", "--release", "--locked", "--package", "host"]);
    cargo.args(["--target", &release.target, "--target-dir"]).arg(&target);
    // These flags win over RUSTFLAGS, which may hold options for this machine's processor.
    let flags = bundle::without_folders(release.workspace).map_err(BundleError::Route)?.join("\u{1f}");
    process::run(cargo.env("CARGO_ENCODED_RUSTFLAGS", flags))?;
    let lockstep = target.join(&release.target).join("release/lockstep");
    let mut archive = release.archive(&name).program("lockstep", fs::read(&lockstep).map_err(at(&lockstep))?);
    for (shell, file) in SHELLS {
        let script = process::capture(Command::new(&lockstep).args(["completions", shell]))?;
        archive = archive.file(&format!("completions/{file}"), script + "\n");
    }
    for file in ["LICENSE", "README.md", "CHANGELOG.md"] {
        archive = archive.file(file, release.read(file)?);
    }
    let licences = licences::of(release.workspace, "host", &release.target)?;
    release.write(&name, &archive.file("THIRD-PARTY.txt", licences))
}
