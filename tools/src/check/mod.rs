//! `tools check`: other machines, other WebAssembly engines, and hostile builds. Every operator must have the bits of the contract
//! there, the golden models and the first tokens of the real model theirs, and every published receipt its verdict. And a look at
//! the instructions that the kernel became, at the memory that it touches, at the page's modules, and at what the manifests ask for.

mod builds;
pub mod code;
mod copy;
mod machine;
mod manifests;
mod memory;
mod tiers;
pub(crate) mod wasi;
mod wasm;
mod way;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use crate::fetch::{self, FetchError};
use crate::packages::{self, Need, PackageError};
use crate::parts;
use crate::process::{self, ProcessError};
use crate::python::PythonError;
use crate::results::Results;
use crate::workspace::{Workspace, WorkspaceError};
use machine::Machine;
use tiers::Tier;
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
    /// Every access to memory: AddressSanitizer, and Miri or valgrind.
    Memory,
    /// The page's modules, built twice: the same bytes.
    Wasm,
    /// The oldest versions that the manifests allow.
    Minimal,
    /// Dependencies that no source names.
    Unused,
}

/// What runs where no part is named.
const ALL: [Part; 8] =
    [Part::Aarch64, Part::Riscv64, Part::S390x, Part::I686, Part::Node, Part::Wasmtime, Part::Builds, Part::Code];
/// What runs where it is named, and in the last tier.
const LOOKS: [Part; 4] = [Part::Memory, Part::Wasm, Part::Minimal, Part::Unused];

impl Part {
    /// The emulated machine, where the part is one.
    fn machine(self) -> Option<Machine> {
        match self {
            Part::Aarch64 => Some(Machine::Aarch64),
            Part::Riscv64 => Some(Machine::Riscv64),
            Part::S390x => Some(Machine::S390x),
            Part::I686 => Some(Machine::I686),
            _ => None,
        }
    }

    /// As it is written after `--only`.
    fn name(self) -> String {
        parts::name(self)
    }

    fn needs(self) -> Vec<Need> {
        match self {
            Part::Node => vec![Need::program(&["npm"], "npm", "installs the Node that runs WebAssembly")],
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

    /// Whether the part computes, or only looks at what is there.
    fn computes(self) -> bool {
        self != Part::Code && !LOOKS.contains(&self)
    }

    /// What the part looks at beside its ways.
    fn look(self, workspace: &Workspace, results: &mut Results) {
        match self {
            Part::Code => {
                for lists in code::LISTS.iter() {
                    results.of(format!("{}: instructions", lists.target), || {
                        add_target(lists.target)?;
                        Ok::<_, CheckError>(code::check(workspace, lists)?)
                    });
                }
            }
            Part::Memory => memory::check(workspace, results),
            Part::Wasm => results.of(self.name(), || wasm::check(workspace)),
            Part::Minimal => results.of(self.name(), || manifests::minimal(workspace)),
            Part::Unused => results.of(self.name(), || manifests::unused(workspace)),
            _ => {}
        }
    }
}

/// How many of the real model's tokens.
const TOKENS: usize = 3;

/// The command line of `check`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Check this tier instead, which has more than machines.
    #[arg(value_enum, conflicts_with_all = ["only", "golden", "tokens"])]
    pub tier: Option<Tier>,
    /// Check only this part (can be given twice) [default: all that compute, and the instructions].
    #[arg(long, value_enum)]
    pub only: Vec<Part>,
    /// Only the published vectors: golden models, receipts, the real model's tokens, not the tests of all operators too.
    #[arg(long)]
    pub golden: bool,
    /// The real model's tokens to generate; 0 leaves the real model out.
    #[arg(long, default_value_t = TOKENS)]
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
    /// The kernel has an instruction that it may not have.
    #[error(transparent)]
    Code(#[from] code::CodeError),
    /// Tests failed.
    #[error("the check failed on: {}", .0.join(", "))]
    Failed(Vec<String>),
}

/// Builds the programs in each of the ways and runs them. One that fails, or cannot be set up, does not keep the next from running.
///
/// # Errors
/// If packages or the model are missing, or, at the end, if anything failed.
pub fn run(options: &Options) -> Result<(), CheckError> {
    let workspace = Workspace::find()?;
    if let Some(tier) = options.tier {
        return tiers::run(&workspace, tier);
    }
    let parts = parts::chosen(&options.only, &ALL);
    // Each package once, though several machines need QEMU.
    let mut seen = BTreeSet::new();
    let mut needs: Vec<Need> = parts.iter().flat_map(|part| part.needs()).collect();
    needs.retain(|need| seen.insert(need.package.clone()));
    packages::ensure(&needs)?;
    let computed = parts.iter().any(|part| part.computes());
    let model: Option<PathBuf> = if computed && options.tokens > 0 { Some(fetch::test_model()?) } else { None };
    let mut results = Results::default();
    for &part in &parts {
        match part.ways(&workspace) {
            Ok(ways) => {
                for way in ways {
                    for (what, mut command) in way.commands(&workspace, options, model.as_deref()) {
                        results.of(format!("{}: {what}", way.name), || process::run(&mut command));
                    }
                }
            }
            Err(error) => results.of(part.name(), || Err(error)),
        }
        part.look(&workspace, &mut results);
    }
    if parts.contains(&Part::Builds) && builds::others(&workspace.rust_version)?.is_empty() {
        eprintln!("NOT RUN: another compiler; only one of at least {} is installed", workspace.rust_version);
    }
    results.end().map_err(CheckError::Failed)
}

/// Has rustup add the standard library of a machine, where it is missing.
fn add_target(target: &'static str) -> Result<(), CheckError> {
    let mut add = Command::new("rustup");
    process::run(add.args(["target", "add", target])).map_err(|source| CheckError::Target { target, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_called_as_it_is_asked_for() {
        assert_eq!(ALL.map(Part::name).join(" "), "aarch64 riscv64 s390x i686 node wasmtime builds code");
    }
}
