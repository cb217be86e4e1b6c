//! The ways to a compiler for machines without an operating system, `wasm32-unknown-unknown` above all: the active toolchain with
//! the target's library, and for browsers its sources, added by rustup where they are missing, or Debian's compiler and its
//! library sources.
//!
//! Threads need a standard library that was compiled for them, and no toolchain ships one: it is built from its sources.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages::{self, Need, PackageError};
use crate::process::{self, ProcessError, field};
use crate::workspace::{self, Workspace, rustc};

/// Where Debian puts its compiler, beside those of rustup.
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LIBRARY: &str = "/usr/lib/rustlib/src/rust/library/Cargo.lock";

/// What is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// WebAssembly.
    Wasm,
    /// A microcontroller: Cortex-M4 with its unit for binary32.
    CortexM4,
}

impl Target {
    /// The compiler's name of it.
    pub fn triple(self) -> &'static str {
        match self {
            Target::Wasm => "wasm32-unknown-unknown",
            Target::CortexM4 => "thumbv7em-none-eabihf",
        }
    }

    /// What it is, in a few words.
    fn name(self) -> &'static str {
        match self {
            Target::Wasm => "WebAssembly",
            Target::CortexM4 => "a microcontroller",
        }
    }

    /// What LLVM calls the linker.
    fn linker(self) -> &'static str {
        match self {
            Target::Wasm => "wasm-ld",
            Target::CortexM4 => "ld.lld",
        }
    }

    /// The variable that tells cargo the linker.
    fn linker_variable(self) -> String {
        format!("CARGO_TARGET_{}_LINKER", self.triple().to_uppercase().replace('-', "_"))
    }
}

/// Which standard library a build links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Std {
    /// The one that comes with the target, where one does.
    Shipped,
    /// One compiled with the build's own target features.
    Built,
    /// None: what every machine has, and allocation.
    None,
}

/// Which way to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// The first way that is open.
    Auto,
    /// The active toolchain; its target and library sources are added by rustup where they are missing.
    Rustup,
    /// Debian's rustc-web and rust-web-src; they are installed where they are missing.
    Debian,
}

/// A way to build for a [`Target`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The active toolchain has the target, and for WebAssembly the sources of the standard library.
    Toolchain,
    /// Debian's compiler builds the standard library too, and `linker` links.
    Debian {
        /// `rust-lld` of the active toolchain, or Debian's.
        linker: PathBuf,
    },
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The compiler does not answer.
    #[error(transparent)]
    Compiler(#[from] ProcessError),
    /// A part of the toolchain is missing, and rustup too.
    #[error(
        "the active Rust toolchain has no {0}, and there is no rustup to add it; add it, or take the Debian way with `--route debian`"
    )]
    NoRustup(&'static str),
    /// rustup ran, but what it was to add is not there.
    #[error(
        "rustup could not add the {part} ({reason}); where its server cannot be reached, `--route debian` takes Debian's packages"
    )]
    Rustup {
        /// What is missing.
        part: &'static str,
        /// What rustup said.
        reason: String,
    },
    /// A package is missing.
    #[error("the target cannot be added by rustup here, and for the Debian way {0}")]
    Packages(#[from] PackageError),
    /// The packages do not fit each other.
    #[error(
        "Debian's rustc-web is {rustc} and rust-web-src is {library}: both must be installed, in the same version, at least {needed}; `apt-get update && apt-get install rustc-web rust-web-src` brings the newest"
    )]
    DebianVersions {
        /// The compiler's version, or "missing".
        rustc: String,
        /// The library sources' version, or "missing".
        library: String,
        /// The `rust-version` of the workspace.
        needed: String,
    },
}

/// Finds a way and opens it, by rustup or by Debian's packages, saying what it installs and why.
///
/// # Errors
/// If no way is open, with what to do.
pub fn find(workspace: &Workspace, choice: Choice, target: Target) -> Result<Route, RouteError> {
    match choice {
        Choice::Rustup => by_rustup(target),
        Choice::Debian => by_debian(workspace, target),
        Choice::Auto => by_rustup(target).or_else(|error| {
            eprintln!("The active toolchain cannot build for {}: {error}.", target.name());
            eprintln!("Taking Debian's compiler (rustc-web) and library sources (rust-web-src).");
            by_debian(workspace, target)
        }),
    }
}

impl Route {
    /// Cargo for a build on this way; the caller adds the package and the flags.
    pub fn cargo_build(&self, target: Target, std: Std) -> Command {
        let mut cargo = workspace::cargo();
        cargo.args(["build", "--target", target.triple()]);
        if let Route::Debian { linker } = self {
            cargo.env("RUSTC", DEBIAN_RUSTC).env(target.linker_variable(), linker);
        }
        let built = match std {
            Std::None => "-Zbuild-std=core,alloc",
            Std::Shipped | Std::Built => "-Zbuild-std=std,panic_abort",
        };
        if std == Std::Built || matches!(self, Route::Debian { .. }) {
            // Building the standard library is an unstable option of a stable compiler.
            cargo.env("RUSTC_BOOTSTRAP", "1").arg(built);
        }
        cargo
    }

    fn rustc(&self) -> Command {
        match self {
            Route::Toolchain => rustc(),
            Route::Debian { .. } => Command::new(DEBIAN_RUSTC),
        }
    }

    /// What the compiler calls itself, with its version.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn compiler(&self) -> Result<String, RouteError> {
        Ok(process::capture(self.rustc().arg("-V"))?)
    }

    /// Where the sources of the standard library are, and what they are called in the library that comes compiled.
    ///
    /// # Errors
    /// If the compiler does not answer.
    pub fn library(&self) -> Result<(PathBuf, String), RouteError> {
        let sysroot = process::capture(self.rustc().args(["--print", "sysroot"]))?;
        let version = process::capture(self.rustc().arg("-vV"))?;
        let name = format!("/rustc/{}", field(&version, "commit-hash").unwrap_or("unknown"));
        Ok((Path::new(&sysroot).join("lib/rustlib/src/rust"), name))
    }

    /// The way in one word, as the `--route` option has it.
    pub fn name(&self) -> &'static str {
        match self {
            Route::Toolchain => "rustup",
            Route::Debian { .. } => "debian",
        }
    }
}

fn sysroot() -> Result<PathBuf, ProcessError> {
    Ok(process::capture(rustc().args(["--print", "sysroot"]))?.into())
}

fn has_target(sysroot: &Path, target: Target) -> bool {
    let library = sysroot.join("lib/rustlib").join(target.triple()).join("lib");
    library.read_dir().is_ok_and(|mut files| files.next().is_some())
}

fn has_sources(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").is_file()
}

fn by_rustup(target: Target) -> Result<Route, RouteError> {
    let sysroot = sysroot()?;
    let part = match target {
        Target::Wasm => "target wasm32-unknown-unknown",
        Target::CortexM4 => "target thumbv7em-none-eabihf",
    };
    add(part, &["target", "add", target.triple()], || has_target(&sysroot, target))?;
    if target == Target::Wasm {
        add("sources of the standard library", &["component", "add", "rust-src"], || has_sources(&sysroot))?;
    }
    Ok(Route::Toolchain)
}

/// Adds a part of the toolchain by rustup if it is not `there`.
fn add(part: &'static str, arguments: &[&str], there: impl Fn() -> bool) -> Result<(), RouteError> {
    if there() {
        return Ok(());
    }
    if process::find(&["rustup"]).is_none() {
        return Err(RouteError::NoRustup(part));
    }
    eprintln!("Adding the {part} to the active toolchain.");
    let added = process::run(Command::new("rustup").args(arguments));
    if there() {
        return Ok(());
    }
    let reason = added.err().map_or_else(|| "it is still missing".into(), |error| error.to_string());
    Err(RouteError::Rustup { part, reason })
}

fn by_debian(workspace: &Workspace, target: Target) -> Result<Route, RouteError> {
    let present = |package, file: &str| packages::version(package).is_some() && Path::new(file).exists();
    packages::ensure(&[
        Need {
            package: "rustc-web".into(),
            why: "a Rust compiler that can make WebAssembly and firmware",
            present: present("rustc-web", DEBIAN_RUSTC),
        },
        Need {
            package: "rust-web-src".into(),
            why: "the sources of its standard library, to build it for that",
            present: present("rust-web-src", DEBIAN_LIBRARY),
        },
    ])?;
    let (rustc, library) = (packages::version("rustc-web"), packages::version("rust-web-src"));
    if !versions_fit(rustc.as_deref(), library.as_deref(), &workspace.rust_version) {
        let or_missing = |version: Option<String>| version.unwrap_or_else(|| "missing".into());
        return Err(RouteError::DebianVersions {
            rustc: or_missing(rustc),
            library: or_missing(library),
            needed: workspace.rust_version.clone(),
        });
    }
    Ok(Route::Debian { linker: linker(target)? })
}

/// The linker of the active toolchain, or Debian's of the compiler's own LLVM version.
fn linker(target: Target) -> Result<PathBuf, RouteError> {
    let version = process::capture(rustc().arg("-vV"))?;
    if let Some(host) = field(&version, "host") {
        let bundled = sysroot()?.join("lib/rustlib").join(host).join("bin/rust-lld");
        if bundled.is_file() {
            return Ok(bundled);
        }
    }
    let debian = process::capture(Command::new(DEBIAN_RUSTC).arg("-vV"))?;
    let llvm = field(&debian, "LLVM version").and_then(|v| v.split('.').next()).unwrap_or("22").to_owned();
    let name = format!("{}-{llvm}", target.linker());
    packages::ensure(&[Need::program(&[&name], &format!("lld-{llvm}"), "the linker for WebAssembly and firmware")])?;
    Ok(process::find(&[&name]).unwrap_or_else(|| name.into()))
}

/// Both are there, of one upstream version, and new enough.
fn versions_fit(rustc: Option<&str>, library: Option<&str>, needed: &str) -> bool {
    match (rustc.and_then(upstream), library.and_then(upstream), upstream(needed)) {
        (Some(rustc), Some(library), Some(needed)) => rustc == library && rustc >= needed,
        _ => false,
    }
}

/// The upstream part of a Debian version: `1.96.0+dfsg1-1~deb12u2` is 1.96.0. A missing patch number is 0.
fn upstream(version: &str) -> Option<[u32; 3]> {
    let numbers = version.split(['+', '-', '~']).next()?;
    let mut parts = numbers.split('.').map(|part| part.parse::<u32>());
    let (major, minor) = (parts.next()?.ok()?, parts.next()?.ok()?);
    let patch = parts.next().unwrap_or(Ok(0)).ok()?;
    Some([major, minor, patch])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_versions_are_read() {
        assert_eq!(upstream("1.96.0+dfsg1-1~deb12u2"), Some([1, 96, 0]));
        assert_eq!(upstream("1.88"), Some([1, 88, 0]));
        assert_eq!(upstream("1.88.2-1"), Some([1, 88, 2]));
        for bad in ["", "1", "x.y", "1.x", "1.2.beta"] {
            assert_eq!(upstream(bad), None, "{bad}");
        }
    }

    #[test]
    fn compiler_and_library_must_be_one_version_and_new_enough() {
        let new = Some("1.96.0+dfsg1-1~deb12u2");
        assert!(versions_fit(new, new, "1.88"));
        assert!(versions_fit(Some("1.88.0-1"), Some("1.88.0-2"), "1.88"));
        assert!(!versions_fit(new, Some("1.85.0+dfsg3-1~deb12u3"), "1.80"));
        assert!(!versions_fit(Some("1.85.0-1"), Some("1.85.0-1"), "1.88"));
        assert!(!versions_fit(new, None, "1.88"));
        assert!(!versions_fit(None, new, "1.88"));
        // As numbers, not as text.
        assert!(versions_fit(Some("1.100.0"), Some("1.100.0"), "1.88"));
    }

    #[test]
    fn a_toolchain_has_what_its_folders_hold() {
        let sysroot = tempfile::tempdir().unwrap();
        let has_target = |target| has_target(sysroot.path(), target);
        assert!(!has_target(Target::Wasm));
        let library = sysroot.path().join("lib/rustlib/wasm32-unknown-unknown/lib");
        std::fs::create_dir_all(&library).unwrap();
        assert!(!has_target(Target::Wasm), "an empty folder is no library");
        std::fs::write(library.join("libcore.rlib"), "").unwrap();
        assert!(has_target(Target::Wasm) && !has_target(Target::CortexM4));
        assert!(!has_sources(sysroot.path()));
        let sources = sysroot.path().join("lib/rustlib/src/rust/library");
        std::fs::create_dir_all(&sources).unwrap();
        std::fs::write(sources.join("Cargo.lock"), "").unwrap();
        assert!(has_sources(sysroot.path()));
    }

    #[test]
    fn the_debian_way_names_compiler_and_linker_and_always_builds_std() {
        let debian = Route::Debian { linker: "/x/rust-lld".into() };
        for std in [Std::Built, Std::Shipped] {
            let line = process::line(&debian.cargo_build(Target::Wasm, std));
            for part in
                ["RUSTC=/usr/bin/rustc", "RUSTC_BOOTSTRAP=1", "LINKER=/x/rust-lld", "-Zbuild-std=std,panic_abort"]
            {
                assert!(line.contains(part), "{part} in {line}");
            }
        }
        let line = process::line(&debian.cargo_build(Target::CortexM4, Std::None));
        for part in ["CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER=/x", "RUSTC_BOOTSTRAP=1", "-Zbuild-std=core,alloc"] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn the_toolchain_builds_std_where_it_must_differ() {
        let line = |std| process::line(&Route::Toolchain.cargo_build(Target::Wasm, std));
        assert!(line(Std::Built).contains("RUSTC_BOOTSTRAP=1") && line(Std::Built).contains("-Zbuild-std"));
        for std in [Std::Shipped, Std::None] {
            assert!(!line(std).contains("BOOTSTRAP") && !line(std).contains("-Zbuild-std"));
        }
    }

    #[test]
    fn a_part_that_cannot_be_added_is_named() {
        let error = add("thing", &["no-such-command"], || false).unwrap_err().to_string();
        assert!(error.contains("thing"), "{error}");
        add("thing", &["no-such-command"], || true).unwrap();
    }
}
