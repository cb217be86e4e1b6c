//! `tools test`: sets up all that the tests need, and runs them. `tools bench-browser`: the same for the browsers' speed.

mod dependencies;
mod embedding;
mod openapi;
mod package;
mod setup;
mod tiny;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::bundle::{self, BundleError, Choice};
use crate::check::code;
use crate::fetch::{self, FetchError};
use crate::file::{FileError, at};
use crate::npm;
use crate::packages::PackageError;
use crate::parts::{chosen, name};
use crate::process::{self, ProcessError};
use crate::python::PythonError;
use crate::results::Results;
use crate::site::SiteError;
use crate::start;
use crate::workspace::{self, Workspace, WorkspaceError};
pub(crate) use setup::rust_components;

/// A part of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Part {
    /// Format, lints, documentation, and the tests of all crates.
    Rust,
    /// What the crates depend on: licences, bans, sources and advisories, by cargo-deny and deny.toml.
    Dependencies,
    /// The page's modules, in Node.
    Unit,
    /// The golden values of the numeric contract, computed a second time, in Python.
    Reference,
    /// What the server answers, beside what its OpenAPI document says.
    Openapi,
    /// The instructions that the kernel became: none that is fused or estimates.
    Code,
    /// The kernel in other programs: C, Python, firmware in an emulator, WASI.
    Embedding,
    /// The server with the real model, asked by OpenAI's client, LangChain, llm and lm-evaluation-harness.
    Clients,
    /// The page with the real model and the real server, in the browsers.
    E2e,
    /// The npm package in a project of its user: what is in it, its types, and the real model in the browsers.
    Package,
}

/// A browser of the end-to-end tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Browser {
    /// Chromium.
    Chromium,
    /// Firefox.
    Firefox,
    /// WebKitGTK: Safari's engine.
    Webkit,
}

/// The command line of `test`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Run only this part (can be given twice) [default: all].
    #[arg(long, value_enum)]
    pub only: Vec<Part>,
    /// Run the tests that need a browser only in this one (can be given twice) [default: all].
    #[arg(long, value_enum)]
    pub browser: Vec<Browser>,
}

/// The command line of `bench-browser`.
#[derive(clap::Args, Debug, Clone)]
pub struct BenchOptions {
    /// Measure only in this browser (can be given twice) [default: all].
    #[arg(long, value_enum)]
    pub browser: Vec<Browser>,
}

/// Why the tests did not all pass.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The repository was not found.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// A package is missing.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// There is no Python for the second implementation of the contract.
    #[error(transparent)]
    Python(#[from] PythonError),
    /// The model is not there.
    #[error(transparent)]
    Model(#[from] FetchError),
    /// The page is not there.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The static site is not there.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The npm package is not there.
    #[error(transparent)]
    Package(#[from] npm::NpmError),
    /// A program of the set-up failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A folder of tests holds none.
    #[error("there is no *.test.mjs in {0}")]
    NoTests(PathBuf),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel has an instruction that it may not have.
    #[error(transparent)]
    Code(#[from] code::CodeError),
    /// Tests failed.
    #[error("these tests failed:\n  {}", .0.join("\n  "))]
    Failed(Vec<String>),
}

/// Sets up and runs the parts asked for. A failing part does not keep the next from running.
///
/// # Errors
/// If the set-up or a part fails.
pub fn run(options: &Options) -> Result<(), TestError> {
    let workspace = Workspace::find()?;
    let browsers = chosen(&options.browser, Browser::value_variants());
    let mut results = Results::default();
    for part in chosen(&options.only, Part::value_variants()) {
        results.of(format!("--only {}", name(part)), || tests(&workspace, part, &browsers));
    }
    results.end().map_err(TestError::Failed)?;
    eprintln!("All tests passed.");
    Ok(())
}

/// Sets up and runs one part. A command that fails does not keep the next from running.
fn tests(workspace: &Workspace, part: Part, browsers: &[Browser]) -> Result<(), TestError> {
    // Asked by the commands, and ended after them.
    let mut _served = None;
    let commands = match part {
        Part::Rust => rust(workspace)?,
        Part::Dependencies => {
            eprintln!("What the crates depend on.");
            dependencies::checks(workspace)?
        }
        Part::Unit => vec![node_tests(workspace, "unit")?],
        Part::Reference => vec![reference(workspace)?],
        Part::Openapi => {
            let (served, command) = openapi::requests(workspace)?;
            _served = Some(served);
            vec![command]
        }
        Part::Code => {
            eprintln!("The instructions that the kernel became.");
            return Ok(code::check_here(workspace)?);
        }
        Part::Embedding => return embedding::check(workspace),
        Part::Clients => vec![clients(workspace)?],
        Part::E2e => vec![end_to_end(workspace, browsers)?],
        Part::Package => package::tests(workspace, browsers)?,
    };
    let mut results = Results::default();
    for mut command in commands {
        results.of(process::line(&command), || process::run(&mut command));
    }
    results.end().map_err(TestError::Failed)
}

/// Measures the engine's speed in the browsers, with one thread and with all.
///
/// # Errors
/// If the set-up or a browser fails, or runs differ in a bit.
pub fn bench(options: &BenchOptions) -> Result<(), TestError> {
    let workspace = Workspace::find()?;
    let browsers = chosen(&options.browser, Browser::value_variants());
    Ok(process::run(&mut speed(&workspace, &browsers, "measure.mjs")?)?)
}

/// A program of `browser/tests/speed`, with all that it needs built and installed.
///
/// # Errors
/// If the set-up fails.
pub(crate) fn speed(workspace: &Workspace, browsers: &[Browser], program: &str) -> Result<Command, TestError> {
    setup::node()?;
    let model = fetch::test_model()?;
    bundle::build(workspace, &workspace.bundle(), Choice::Auto)?;
    start::build_server(workspace)?;
    let mut command = Command::new("node");
    command.arg(format!("speed/{program}"));
    in_browsers(&mut command, workspace, browsers, &model)?;
    Ok(command)
}

fn rust(workspace: &Workspace) -> Result<Vec<Command>, TestError> {
    eprintln!("The crates: format, lints, documentation, tests.");
    setup::rust_components()?;
    fetch::test_model()?;
    let cargo = |arguments: &[&str]| {
        let mut command = workspace::cargo();
        command.args(arguments).current_dir(&workspace.root);
        command
    };
    // Links that lead nowhere, and the like.
    let mut doc = cargo(&["doc", "--locked", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-Dwarnings");
    Ok(vec![
        cargo(&["fmt", "--all", "--check"]),
        // Workspaces of their own.
        cargo(&["fmt", "--check", "--manifest-path", "kernel/examples/firmware/Cargo.toml"]),
        cargo(&["fmt", "--check", "--manifest-path", "kernel/examples/wasi/Cargo.toml"]),
        cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        doc,
        cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]),
    ])
}

/// Node's test runner with all test files of a folder of `browser/tests`.
fn node_tests(workspace: &Workspace, folder: &str) -> Result<Command, TestError> {
    let tests = workspace.root.join("browser/tests");
    eprintln!("The tests in {}.", workspace.short(&tests.join(folder)));
    setup::node()?;
    let mut command = Command::new("node");
    // One file at a time: two browsers at once would only wait for each other.
    command.args(["--test", "--test-concurrency=1", "--test-reporter=spec"]);
    command.args(test_files(&tests, folder)?).current_dir(tests);
    Ok(command)
}

/// The second implementation of the numeric contract.
fn reference(workspace: &Workspace) -> Result<Command, TestError> {
    let script = workspace.root.join("docs/reference.py");
    eprintln!("The golden values, by {}.", workspace.short(&script));
    let mut command = Command::new(setup::numpy(&workspace.target)?);
    command.arg(script);
    Ok(command)
}

/// Programs of others that speak to the server.
fn clients(workspace: &Workspace) -> Result<Command, TestError> {
    let tests = workspace.root.join("host/tests/clients");
    eprintln!("The server's clients, in {}.", workspace.short(&tests));
    let python = setup::clients(&workspace.target, &tests)?;
    let model = fetch::test_model()?;
    start::build_server(workspace)?;
    let mut command = Command::new(python);
    command.args(["-m", "pytest", "-p", "no:cacheprovider", "--quiet"]).current_dir(tests);
    command.env("LOCKSTEP_CLIENTS_SERVER", workspace.lockstep()).env("LOCKSTEP_CLIENTS_MODEL", model);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// The names of the test files, relative to the folder `tests`.
fn test_files(tests: &Path, folder: &str) -> Result<Vec<String>, TestError> {
    let path = tests.join(folder);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&path).map_err(at(&path))? {
        let name = entry.map_err(at(&path))?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".test.mjs") {
            names.push(format!("{folder}/{name}"));
        }
    }
    names.sort();
    if names.is_empty() { Err(TestError::NoTests(path)) } else { Ok(names) }
}

fn end_to_end(workspace: &Workspace, browsers: &[Browser]) -> Result<Command, TestError> {
    let mut command = node_tests(workspace, "e2e")?;
    let model = fetch::test_model()?;
    // The site's bundle and server are those of the other tests too.
    let site = workspace.target.join("e2e-site");
    crate::site::build(workspace, &model, &site)?;
    in_browsers(&mut command, workspace, browsers, &model)?.env("LOCKSTEP_E2E_SITE", site);
    Ok(command)
}

/// Sets up the browsers, and tells a program of `browser/tests` which, and what to serve.
fn in_browsers<'a>(
    command: &'a mut Command,
    workspace: &Workspace,
    browsers: &[Browser],
    model: &Path,
) -> Result<&'a mut Command, TestError> {
    let tests = workspace.root.join("browser/tests");
    setup::browsers(browsers)?;
    setup::node_packages(&tests)?;
    let names: Vec<String> = browsers.iter().map(|browser| name(*browser)).collect();
    Ok(command
        .current_dir(tests)
        .env("LOCKSTEP_E2E_BROWSERS", names.join(","))
        .env("LOCKSTEP_E2E_SERVER", workspace.lockstep())
        .env("LOCKSTEP_E2E_MODEL", model)
        .env("LOCKSTEP_E2E_WEB_ROOT", workspace.bundle()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_files_are_run_and_none_is_an_error() {
        let tests = tempfile::tempdir().unwrap();
        let folder = tests.path().join("unit");
        std::fs::create_dir(&folder).unwrap();
        assert!(test_files(tests.path(), "unit").is_err());
        for name in ["b.test.mjs", "a.test.mjs", "server.mjs"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        assert_eq!(test_files(tests.path(), "unit").unwrap(), ["unit/a.test.mjs", "unit/b.test.mjs"]);
    }
}
