//! `tools browser`: builds the browser module with threads, with simd128 alone and without, and puts it beside the page.

mod relaxed;
mod replace;
pub(crate) mod route;
mod stamp;

use std::fs;
use std::path::{Path, PathBuf};

use crate::file::{FileError, at};
use crate::process::{self, ProcessError};
use crate::workspace::{Workspace, WorkspaceError};
pub use replace::{FolderError, Replacement};
pub use route::{Choice, Route, RouteError, Std, Target};
pub(crate) use stamp::{Stamp, relative, walk};

/// A build of the module.
#[derive(Clone, Copy)]
struct Variant {
    /// The name of its folder.
    name: &'static str,
    /// Its target features. No relaxed SIMD: its bits differ between machines (N2).
    features: &'static str,
    std: Std,
    /// Arguments of the linker.
    link: &'static [&'static str],
}

const VARIANTS: [Variant; 3] = [
    Variant {
        name: "threads",
        features: "+simd128,+atomics,+bulk-memory",
        std: Std::Built,
        // Memory that the page brings and all workers share; a page that gets less than 4 GiB says so when it brings it.
        // wasm-bindgen gives each worker its stack and its thread-local values, by the exports.
        link: &[
            "--shared-memory",
            "--import-memory",
            "--max-memory=4294967296",
            "--export=__wasm_init_tls",
            "--export=__tls_size",
            "--export=__tls_align",
            "--export=__tls_base",
        ],
    },
    Variant { name: "simd128", features: "+simd128", std: Std::Shipped, link: &[] },
    Variant { name: "scalar", features: "-simd128", std: Std::Shipped, link: &[] },
];

/// What a bundle is made from.
const INPUTS: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "kernel",
    "bpe",
    "loader",
    "browser/Cargo.toml",
    "browser/src",
    "browser/page",
    "tools/src/bundle",
];
/// Folders among them that do not matter.
const NOT_INPUTS: [&str; 4] = ["tests", "benches", "examples", "capi"];

/// The command line of `browser`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// The folder to build [default: browser/dist in the repository].
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// How to get a compiler for WebAssembly.
    #[arg(long, value_enum, default_value = "auto")]
    pub route: Choice,
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The repository was not found.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// No compiler for WebAssembly.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The module does not build.
    #[error("the browser module does not build: {0}")]
    Build(#[from] ProcessError),
    /// wasm-bindgen refused the module.
    #[error("wasm-bindgen cannot make JavaScript for {module}: {message}")]
    Bindgen {
        /// The compiled module.
        module: PathBuf,
        /// What wasm-bindgen said.
        message: String,
    },
    /// The module has an instruction that the contract does not have, or is none.
    #[error("{module} must not be used: {source}")]
    Relaxed {
        /// The module that the page would load.
        module: PathBuf,
        /// Which instruction, and where.
        source: wasmparser::BinaryReaderError,
    },
    /// The folder is not ours, or cannot be replaced.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Builds the bundle, or finds that the one in place was made from the same inputs.
///
/// # Errors
/// If no compiler for WebAssembly can be had, the build fails, or the folder cannot be written.
pub fn run(options: &Options) -> Result<(), BundleError> {
    let workspace = Workspace::find()?;
    let out = match &options.out {
        Some(out) => std::path::absolute(out).map_err(at(out))?,
        None => workspace.bundle(),
    };
    build(&workspace, &out, options.route)
}

/// Builds the bundle into `out`, or finds that the one in place was made from the same inputs.
///
/// # Errors
/// As [`run`].
pub fn build(workspace: &Workspace, out: &Path, choice: Choice) -> Result<(), BundleError> {
    let inputs = stamp::inputs(&workspace.root, &INPUTS, &NOT_INPUTS).map_err(at(&workspace.root))?;
    if let Some(stamp) = Stamp::read(out)
        && stamp.inputs == inputs
        && suits(choice, &stamp.route)
        && stamp.holds(out)
    {
        eprintln!("The browser bundle in {} is up to date.", workspace.short(out));
        return Ok(());
    }
    let replacement = Replacement::of(out, stamp::NAME)?;
    let route = route::find(workspace, choice, Target::Wasm)?;
    for variant in VARIANTS {
        eprintln!("Building the browser module ({}).", variant.name);
        let module = compile(workspace, &route, variant)?;
        generate(&module, &replacement.path().join("wasm").join(variant.name))?;
    }
    copy_tree(&workspace.root.join("browser/page"), replacement.path())?;
    let (name, compiler) = (route.name(), route.compiler()?);
    let stamp = Stamp::of(replacement.path(), inputs, name, compiler).map_err(at(replacement.path()))?;
    stamp.write(replacement.path()).map_err(at(replacement.path()))?;
    replacement.finish()?;
    eprintln!("The browser bundle is in {}.", workspace.short(out));
    Ok(())
}

/// A bundle made on another way has the same function, unless this way was asked for by name.
fn suits(choice: Choice, route: &str) -> bool {
    match choice {
        Choice::Auto => true,
        Choice::Rustup => route == Route::Toolchain.name(),
        Choice::Debian => route != Route::Toolchain.name(),
    }
}

/// Compiles one variant in a target directory of its own, so that the variants do not throw out each other's work.
fn compile(workspace: &Workspace, route: &Route, variant: Variant) -> Result<PathBuf, BundleError> {
    let target = workspace.target.join("browser").join(variant.name);
    let mut cargo = route.cargo_build(Target::Wasm, variant.std);
    cargo.current_dir(&workspace.root);
    cargo.args(["--release", "--locked", "--package", "browser", "--lib", "--target-dir"]).arg(&target);
    // The encoded flags win over RUSTFLAGS, which may hold options for the native processor.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(folders(workspace, route)?, variant).join("\u{1f}"));
    process::run(&mut cargo)?;
    Ok(target.join(Target::Wasm.triple()).join("release/browser.wasm"))
}

/// The compiler's flags: the target features, the linker's, and no folders of this machine in what is published.
fn flags(folders: impl IntoIterator<Item = Folder>, variant: Variant) -> Vec<String> {
    let features = ["-C".to_owned(), format!("target-feature={}", variant.features)];
    let link = variant.link.iter().flat_map(|argument| ["-C".to_owned(), format!("link-arg={argument}")]);
    features.into_iter().chain(link).chain(renamed(folders)).collect()
}

/// A folder of this machine, and what it is called in what is published.
type Folder = (PathBuf, String);

fn renamed(folders: impl IntoIterator<Item = Folder>) -> impl Iterator<Item = String> {
    folders.into_iter().map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display()))
}

/// The repository, cargo's sources of dependencies, and the compiler's of the standard library, which has the name that it has in
/// the compiled one.
fn folders(workspace: &Workspace, route: &Route) -> Result<Vec<Folder>, RouteError> {
    let named = |folder: PathBuf, name: &str| (folder, name.to_owned());
    let cargo = cargo_home().map(|folder| named(folder, "cargo"));
    Ok([named(workspace.root.clone(), ".")].into_iter().chain(cargo).chain([route.library()?]).collect())
}

/// The flags of the active compiler for a program that is published: no folders of this machine.
pub(crate) fn without_folders(workspace: &Workspace) -> Result<Vec<String>, RouteError> {
    Ok(renamed(folders(workspace, &Route::Toolchain)?).collect())
}

/// Where cargo keeps the sources of dependencies.
fn cargo_home() -> Option<PathBuf> {
    let by_default = || Some(std::env::home_dir()?.join(".cargo"));
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(by_default)
}

/// Makes the JavaScript side: `browser.js`, its type declarations and `browser_bg.wasm`, and looks at the instructions of the
/// latter.
fn generate(module: &Path, out: &Path) -> Result<(), BundleError> {
    let failed = |error: &dyn std::fmt::Display| BundleError::Bindgen {
        module: module.to_owned(),
        message: format!("{error:#}"),
    };
    fs::create_dir_all(out).map_err(at(out))?;
    let mut bindgen = wasm_bindgen_cli_support::Bindgen::new();
    bindgen.web(true).map_err(|e| failed(&e))?;
    bindgen.input_path(module).out_name("browser").typescript(true);
    bindgen.generate(out).map_err(|e| failed(&e))?;
    let module = out.join("browser_bg.wasm");
    relaxed::check(&fs::read(&module).map_err(at(&module))?).map_err(|source| BundleError::Relaxed { module, source })
}

/// Copies all files below `from`, with their folders.
///
/// # Errors
/// If one cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path) -> Result<(), BundleError> {
    for file in walk(from, &[]).map_err(at(from))? {
        let copy = to.join(file.strip_prefix(from).unwrap_or(&file));
        if let Some(folder) = copy.parent() {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        fs::copy(&file, &copy).map_err(at(&file))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_of_another_way_is_rebuilt_only_when_a_way_is_named() {
        assert!(suits(Choice::Auto, "debian") && suits(Choice::Auto, "rustup"));
        assert!(suits(Choice::Debian, "debian") && !suits(Choice::Debian, "rustup"));
        assert!(suits(Choice::Rustup, "rustup") && !suits(Choice::Rustup, "debian"));
    }

    #[test]
    fn no_folder_of_this_machine_is_published() {
        let variant = Variant { name: "x", features: "+simd128", std: Std::Shipped, link: &["--import-memory"] };
        let flags = flags([("/r".into(), ".".into()), ("/h/.cargo".into(), "cargo".into())], variant).join(" ");
        let expected = "-C target-feature=+simd128 -C link-arg=--import-memory --remap-path-prefix=/r=. \
                        --remap-path-prefix=/h/.cargo=cargo";
        assert_eq!(flags, expected);
    }

    #[test]
    fn pages_are_copied_with_their_folders() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("deep")).unwrap();
        fs::write(from.path().join("deep/file"), "content").unwrap();
        copy_tree(from.path(), to.path()).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("deep/file")).unwrap(), "content");
    }
}
