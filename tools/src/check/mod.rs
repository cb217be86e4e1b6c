//! `tools check`: other machines, other WebAssembly engines, and hostile builds. Every operator must have the bits of the contract
//! there, the golden models and the first tokens of the real model theirs, and every published receipt its verdict. And a look at
//! the instructions that the kernel became.

mod builds;
pub mod code;
mod machine;
mod wasi;
mod way;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::fetch::{self, FetchError};
use crate::packages::{self, Need, PackageError};
use crate::process::{self, ProcessError};
use crate::python::PythonError;
use crate::workspace::{Workspace, WorkspaceError};
use code::CodeError;
use machine::Machine;
use way::Way;

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

    fn ways(self, workspace: &Workspace) -> Result<Vec<Way>, CheckError> {
        match self {
            Part::Node => wasi::node(workspace),
            Part::Wasmtime => wasi::wasmtime(workspace),
            Part::Builds => builds::ways(workspace),
            _ => self.machine().map(Machine::way).into_iter().collect(),
        }
    }
}

/// The command line of `check`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Check only this part (can be given twice) [default: all].
    #[arg(long, value_enum)]
    pub only: Vec<Part>,
    /// Only the published vectors: golden models, receipts, the real model's tokens, not the tests of all operators too.
    #[arg(long)]
    pub golden: bool,
    /// The real model's tokens to generate; 0 leaves the real model out.
    #[arg(long, default_value_t = 3)]
    pub tokens: usize,
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
    /// The model is not there.
    #[error(transparent)]
    Model(#[from] FetchError),
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
    #[error("the check failed on: {}", .0.join(", "))]
    Failed(Vec<String>),
}

/// Builds the programs in each of the ways and runs them. One that fails does not keep the next from running.
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
    let computed = parts.iter().any(|part| *part != Part::Code);
    let model: Option<PathBuf> = if computed && options.tokens > 0 { Some(fetch::test_model()?) } else { None };
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    for &part in &parts {
        for way in part.ways(&workspace)? {
            for (what, mut command) in way.commands(&workspace, options, model.as_deref()) {
                let start = Instant::now();
                let name = format!("{}: {what}", way.name);
                match process::run(&mut command) {
                    Ok(()) => passed.push(format!("{name} ({} s)", start.elapsed().as_secs())),
                    Err(error) => {
                        eprintln!("{error}");
                        failed.push(name);
                    }
                }
            }
        }
    }
    if parts.contains(&Part::Code) {
        code::check_all(&workspace)?;
    }
    passed.iter().for_each(|name| eprintln!("passed: {name}"));
    if parts.contains(&Part::Builds) && builds::others(&workspace.rust_version)?.is_empty() {
        eprintln!("NOT RUN: another compiler; only one of at least {} is installed", workspace.rust_version);
    }
    if failed.is_empty() { Ok(()) } else { Err(CheckError::Failed(failed)) }
}

/// Has rustup add the standard library of a machine, where it is missing.
fn add_target(target: &'static str) -> Result<(), CheckError> {
    let mut add = Command::new("rustup");
    process::run(add.args(["target", "add", target])).map_err(|source| CheckError::Target { target, source })
}
