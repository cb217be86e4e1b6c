//! WebAssembly outside of browsers: the kernel's tests are WASI programs, and the two runners beside this file start them.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::{CheckError, Way, add_target};
use crate::process;
use crate::python::{self, PythonError};
use crate::workspace::Workspace;

/// The wasmtime that runs the tests, from Python's package index.
const WASMTIME: &str = "50.0.1";
/// The Node that runs them, from npm's registry. In Node 20 a thread that waits on memory that has grown never sees what it waits for.
const NODE: &str = "22.23.3";

/// A build of the tests.
struct Build {
    name: &'static str,
    target: &'static str,
    features: &'static str,
    backends: &'static str,
    skip: &'static [&'static str],
    programs: bool,
}

const SCALAR: Build = Build {
    name: "scalar",
    target: "wasm32-wasip1",
    features: "-simd128",
    backends: "scalar",
    // There are no threads.
    skip: &["pool::crew"],
    programs: true,
};
const SIMD128: Build = Build { name: "simd128", features: "+simd128", backends: "wasm-simd128,scalar", ..SCALAR };
const THREADS: Build = Build {
    name: "threads",
    target: "wasm32-wasip1-threads",
    // A panic ends the program; no program can start another; and callers that wait for each other there look for long before
    // they sleep, which takes minutes in that many regions.
    skip: &["a_panic_reaches_the_caller", "a_lost_member_ends_the_process", "several_callers_share_a_crew"],
    // The tests of all operators start threads for each of them, which are workers here: that takes too long.
    programs: false,
    ..SIMD128
};

/// In Node, whose engine is that of Chromium.
pub(super) fn node(workspace: &Workspace) -> Result<Vec<Way>, CheckError> {
    let folder = workspace.target.join("check/node").join(NODE);
    let program = folder.join("node_modules/node/bin/node");
    if !program.exists() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-save", "--prefix"]).arg(&folder).arg(format!("node@{NODE}"));
        process::run(&mut npm)?;
    }
    // By its fast calls Node may collect the WASI object that is being called, and aborts (nodejs/node#46777).
    let flags = ["--no-warnings", "--no-turbo-fast-api-calls"].map(Into::into);
    let runner = [&[program], &flags[..], &[script(workspace, "run-wasi.mjs")]].concat();
    [SCALAR, SIMD128, THREADS].iter().map(|build| way(workspace, build, "Node", &runner)).collect()
}

/// In wasmtime.
pub(super) fn wasmtime(workspace: &Workspace) -> Result<Vec<Way>, CheckError> {
    let runner = wasmtime_runner(workspace)?;
    [SCALAR, SIMD128].iter().map(|build| way(workspace, build, "wasmtime", &runner)).collect()
}

/// Python, and the script that starts a program in wasmtime.
///
/// # Errors
/// If wasmtime cannot be installed.
pub(crate) fn wasmtime_runner(workspace: &Workspace) -> Result<[PathBuf; 2], PythonError> {
    let venv = workspace.target.join("wasmtime-venv");
    let python = python::with_package(&venv, "wasmtime", WASMTIME, "it runs WebAssembly")?;
    Ok([python, script(workspace, "run-wasi.py")])
}

fn script(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.root.join("tools/src/check").join(name)
}

fn way(workspace: &Workspace, build: &Build, engine: &str, runner: &[PathBuf]) -> Result<Way, CheckError> {
    add_target(build.target)?;
    let way = Way::new(format!("{engine}, {}", build.name), build.backends)
        .arg("--target", build.target)
        .arg("--target-dir", workspace.target.join("check").join(build.name))
        // Not by the environment, which is cut at blanks.
        .arg("--config", format!("target.{}.runner={}", build.target, json!(runner)))
        .env("CARGO_ENCODED_RUSTFLAGS", format!("-Ctarget-feature={}", build.features));
    Ok(way.without(build.skip, build.programs))
}
