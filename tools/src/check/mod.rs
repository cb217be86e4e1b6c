//! `tools check`: the kernel's tests on other machines, in other WebAssembly engines, and in hostile builds. Every operator must
//! have the bits of the contract there, and the golden models theirs. And a look at the instructions that the kernel became.

mod builds;
pub mod code;
mod machine;
mod wasi;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use crate::packages::{self, Need, PackageError};
use crate::process::{self, ProcessError};
use crate::python::PythonError;
use crate::workspace::{self, Workspace, WorkspaceError};
use code::CodeError;
use machine::Machine;

/// A part of the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Part {
    /// 64-bit ARM, with NEON.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
    /// IBM Z, whose bytes are in the other order.
    S390x,
    /// 32-bit x86 with SSE2.
    I686,
    /// WebAssembly in Node, with and without simd128 and threads.
    Node,
    /// WebAssembly in wasmtime, with and without simd128.
    Wasmtime,
    /// This machine, with other flags and other compilers.
    Builds,
    /// The kernel's instructions, here and on 64-bit ARM, RISC-V and IBM Z: none that is fused or estimates.
    Code,
}

const ALL: [Part; 8] =
    [Part::Aarch64, Part::Riscv64, Part::S390x, Part::I686, Part::Node, Part::Wasmtime, Part::Builds, Part::Code];

impl Part {
    /// The emulated machine, where the part is one.
    fn machine(self) -> Option<Machine> {
        match self {
            Part::Aarch64 => Some(Machine::Aarch64),
            Part::Riscv64 => Some(Machine::Riscv64),
            Part::S390x => Some(Machine::S390x),
            Part::I686 => Some(Machine::I686),
            Part::Node | Part::Wasmtime | Part::Builds | Part::Code => None,
        }
    }

    fn needs(self) -> Vec<Need> {
        match self {
            Part::Node => vec![Need::program(&["node"], "nodejs", "runs WebAssembly")],
            Part::Code => code::needs(),
            _ => self.machine().map(Machine::needs).unwrap_or_default(),
        }
    }

    fn cases(self, workspace: &Workspace) -> Result<Vec<Case>, CheckError> {
        match self {
            Part::Node => wasi::node(workspace),
            Part::Wasmtime => wasi::wasmtime(workspace),
            Part::Builds => builds::cases(workspace),
            _ => self.machine().map(|machine| machine.case(workspace)).into_iter().collect(),
        }
    }
}

/// The kernel's tests, built and run in one way.
struct Case {
    /// The way, in a few words.
    name: String,
    command: Command,
    /// Tests that this way cannot run: what their names contain.
    skip: &'static [&'static str],
    /// Whether the tests of all operators run too, or those inside the library alone.
    operators: bool,
}

impl Case {
    fn new(name: impl Into<String>, command: Command) -> Case {
        Case { name: name.into(), command, skip: &[], operators: true }
    }
}

/// The command line of `check`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Check only this part (can be given twice) [default: all].
    #[arg(long, value_enum)]
    pub only: Vec<Part>,
    /// Only the golden models, which takes seconds, not the tests of all operators too.
    #[arg(long)]
    pub golden: bool,
}

/// Why the check did not pass.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The repository was not found.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// A package is missing.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// There is no Python for wasmtime.
    #[error(transparent)]
    Python(#[from] PythonError),
    /// A program of the set-up failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// rustup could not add a machine's standard library.
    #[error("the standard library of {target} is missing: {source}")]
    Target {
        /// The compiler's name of the machine.
        target: &'static str,
        /// What rustup said.
        source: ProcessError,
    },
    /// The kernel's instructions are not what they should be.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// Tests failed.
    #[error("the kernel's tests failed on: {}", .0.join(", "))]
    Failed(Vec<String>),
}

/// Builds the kernel's tests in each of the ways and runs them. A way that fails does not keep the next from running.
///
/// # Errors
/// If the set-up fails, a test in one of the ways, or an instruction is none that the contract has.
pub fn run(options: &Options) -> Result<(), CheckError> {
    let workspace = Workspace::find()?;
    let parts = crate::test::chosen(&options.only, &ALL);
    // Each package once, though several machines need QEMU.
    let mut seen = BTreeSet::new();
    let mut needs: Vec<Need> = parts.iter().flat_map(|part| part.needs()).collect();
    needs.retain(|need| seen.insert(need.package.clone()));
    packages::ensure(&needs)?;
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    for &part in &parts {
        for Case { name, mut command, skip, operators } in part.cases(&workspace)? {
            command.args(match (options.golden, operators) {
                (true, _) => &["--lib", "golden"][..],
                (false, true) => &["--lib", "--tests"],
                (false, false) => &["--lib"],
            });
            command.args(["--", "--quiet"]).args(skip.iter().flat_map(|name| ["--skip", name]));
            let start = Instant::now();
            match process::run(&mut command) {
                Ok(()) => passed.push(format!("{name} ({} s)", start.elapsed().as_secs())),
                Err(error) => {
                    eprintln!("{error}");
                    failed.push(name);
                }
            }
        }
    }
    if parts.contains(&Part::Code) {
        code::check_all(&workspace)?;
    }
    passed.iter().for_each(|name| eprintln!("passed: {name}"));
    if failed.is_empty() { Ok(()) } else { Err(CheckError::Failed(failed)) }
}

/// `cargo test` of the kernel; these backends must be among those that are tested.
fn kernel_tests(workspace: &Workspace, backends: &str) -> Command {
    let mut cargo = workspace::cargo();
    cargo.current_dir(&workspace.root).env("LOCKSTEP_TEST_BACKENDS", backends);
    cargo.args(["test", "--locked", "-p", "kernel"]);
    cargo
}

/// Has rustup add the standard library of a machine, where it is missing.
fn add_target(target: &'static str) -> Result<(), CheckError> {
    let mut add = Command::new("rustup");
    process::run(add.args(["target", "add", target])).map_err(|source| CheckError::Target { target, source })
}
