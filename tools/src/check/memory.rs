//! Every access to memory, watched while the tests of kernel, loader and tokenizer run: by AddressSanitizer, on every backend, and
//! by Miri, on the scalar one. Both take a nightly compiler; where rustup has no Miri, valgrind takes its place.
//!
//! Tests that read the real model are left out, and what a checker cannot run stands with its reason beside it.

use std::process::Command;

use super::builds;
use crate::packages::{self, Need};
use crate::process::{self, ProcessError};
use crate::results::Results;
use crate::workspace::{self, Workspace};

/// The tests of a crate: its name, cargo's arguments, and names that are left out.
#[derive(Clone, Copy)]
struct Tests {
    of: &'static str,
    cargo: &'static [&'static str],
    without: &'static [&'static str],
}

const KERNEL: Tests = Tests { of: "kernel", cargo: &["-p", "kernel", "--lib", "--tests"], without: &[] };
const LOADER: Tests =
    Tests { of: "loader", cargo: &["-p", "loader", "--features", "loader/mmap", "--lib", "--tests"], without: &[] };
/// Those that need no vocabulary of the real model.
const BPE: Tests = Tests {
    of: "bpe",
    cargo: &["-p", "bpe", "--test", "all"],
    without: &["code_points::", "reference::", "properties::", "chat::"],
};
/// What an interpreter can run: the tests inside the crates, and those of the tokenizer. It knows no registers of the processor, and maps
/// no file; what goes over many values and has no unsafe code takes it hours.
const INSIDE: [Tests; 3] = [
    Tests { cargo: &["-p", "kernel", "--lib"], without: &["environment::", "generate::", "math::"], ..KERNEL },
    Tests { cargo: &["-p", "loader", "--lib"], ..LOADER },
    BPE,
];

/// Runs the tests under what can be had. A checker that finds something does not keep the next from running.
pub(super) fn check(workspace: &Workspace, results: &mut Results) {
    let host = match workspace::host() {
        Ok(host) => host,
        Err(error) => return results.of("memory", || Err(error)),
    };
    let has_nightly = process::capture(&mut nightly(&["rustc", "-V"]));
    match &has_nightly {
        Ok(_) => run(address(workspace, &host), results),
        Err(reason) => eprintln!("NOT RUN: AddressSanitizer, which takes a nightly compiler: {reason}"),
    }
    match has_nightly.and_then(|_| nightly_has_miri()) {
        Ok(()) => run(miri(workspace), results),
        Err(reason) => {
            eprintln!("NOT RUN: Miri, instead of which there is valgrind: {reason}");
            let need = Need::program(&["valgrind"], "valgrind", "watches every access to memory");
            match packages::ensure(&[need]) {
                Ok(()) => run(valgrind(workspace, &host), results),
                Err(error) => results.of("valgrind", || Err(error)),
            }
        }
    }
}

fn run(commands: Vec<(String, Command)>, results: &mut Results) {
    for (name, mut command) in commands {
        results.of(name, || process::run(&mut command));
    }
}

fn nightly(words: &[&str]) -> Command {
    let mut rustup = Command::new("rustup");
    rustup.args(["run", "nightly"]).args(words);
    rustup
}

/// Has rustup add Miri, where it is missing.
fn nightly_has_miri() -> Result<(), ProcessError> {
    let ask = || process::capture(&mut nightly(&["cargo", "miri", "--version"]));
    if ask().is_err() {
        let components = ["component", "add", "--toolchain", "nightly", "miri", "rust-src"];
        process::capture(Command::new("rustup").args(components))?;
    }
    ask().map(|_| ())
}

/// `cargo`, with its first words and environment, for tests under a checker of this name.
fn command(workspace: &Workspace, mut cargo: Command, checker: &str, tests: Tests) -> (String, Command) {
    cargo.current_dir(&workspace.root).arg("--locked").args(tests.cargo);
    cargo.arg("--target-dir").arg(workspace.target.join("check").join(checker)).args(["--", "--quiet"]);
    cargo.args(tests.without.iter().flat_map(|name| ["--skip", name]));
    (format!("{checker}: {}", tests.of), cargo)
}

/// The interpreter of Rust's own rules of memory: there the kernel is scalar.
fn miri(workspace: &Workspace) -> Vec<(String, Command)> {
    let cargo = || {
        let mut cargo = nightly(&["cargo", "miri", "test"]);
        // Tests read files.
        cargo.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "4");
        cargo.env("LOCKSTEP_TEST_BACKENDS", "scalar");
        cargo
    };
    INSIDE.map(|tests| command(workspace, cargo(), "miri", tests)).into()
}

/// Accesses outside of what was allocated, after it was freed or its function returned: on every backend.
fn address(workspace: &Workspace, host: &str) -> Vec<(String, Command)> {
    let cargo = || {
        let mut cargo = nightly(&["cargo", "test", "--target", host]);
        cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Zsanitizer=address").env("LOCKSTEP_TEST_BACKENDS", builds::backends());
        cargo.env("ASAN_OPTIONS", "detect_stack_use_after_return=1:strict_string_checks=1");
        cargo
    };
    [KERNEL, LOADER, BPE].map(|tests| command(workspace, cargo(), "address", tests)).into()
}

/// The same on the heap, and values that nobody wrote. It knows no AVX-512.
fn valgrind(workspace: &Workspace, host: &str) -> Vec<(String, Command)> {
    let name = host.to_uppercase().replace('-', "_");
    let runner =
        "valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --fair-sched=yes";
    let cargo = || {
        let mut cargo = workspace::cargo();
        cargo.arg("test").env(format!("CARGO_TARGET_{name}_RUNNER"), runner);
        cargo
    };
    [KERNEL, LOADER, BPE].map(|tests| command(workspace, cargo(), "valgrind", tests)).into()
}
