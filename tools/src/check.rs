//! `tools check`: the kernel's tests on other machines, under emulation. Every operator must have the bits of the contract
//! there, and the golden models theirs.
//!
//! rustup adds the standard library of each machine; Debian's packages bring its linker, its C library and QEMU.

use std::collections::BTreeSet;
use std::process::Command;

use crate::packages::{self, Need, PackageError};
use crate::process::{self, ProcessError};
use crate::workspace::{self, Workspace, WorkspaceError};

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Machine {
    /// 64-bit ARM, with NEON.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
    /// IBM Z, whose bytes are in the other order.
    S390x,
    /// 32-bit x86 with SSE2.
    I686,
}

impl Machine {
    /// The compiler's name for it.
    fn target(self) -> &'static str {
        match self {
            Machine::Aarch64 => "aarch64-unknown-linux-gnu",
            Machine::Riscv64 => "riscv64gc-unknown-linux-gnu",
            Machine::S390x => "s390x-unknown-linux-gnu",
            Machine::I686 => "i686-unknown-linux-gnu",
        }
    }

    /// What GNU's tools and the folder of its libraries are called after.
    fn gnu(self) -> &'static str {
        match self {
            Machine::Aarch64 => "aarch64-linux-gnu",
            Machine::Riscv64 => "riscv64-linux-gnu",
            Machine::S390x => "s390x-linux-gnu",
            Machine::I686 => "i686-linux-gnu",
        }
    }

    /// Debian's name for its C library.
    fn debian(self) -> &'static str {
        match self {
            Machine::Aarch64 => "arm64",
            Machine::Riscv64 => "riscv64",
            Machine::S390x => "s390x",
            Machine::I686 => "i386",
        }
    }

    fn emulator(self) -> &'static str {
        match self {
            Machine::Aarch64 => "qemu-aarch64",
            Machine::Riscv64 => "qemu-riscv64",
            Machine::S390x => "qemu-s390x",
            Machine::I686 => "qemu-i386",
        }
    }

    /// The backends that must be there.
    fn backends(self) -> &'static str {
        match self {
            Machine::Aarch64 => "aarch64-neon,scalar",
            _ => "scalar",
        }
    }

    fn needs(self) -> Vec<Need> {
        let (linker, library) = (format!("{}-gcc", self.gnu()), format!("libc6-dev-{}-cross", self.debian()));
        vec![
            Need::program(&[self.emulator()], "qemu-user", "runs the programs of other machines"),
            Need::program(&[&linker], &format!("gcc-{}", self.gnu()), "links programs for another machine"),
            Need { present: packages::version(&library).is_some(), package: library, why: "its C library" },
        ]
    }

    /// Cargo, set up to build for the machine and to run there.
    fn cargo(self, workspace: &Workspace) -> Command {
        let name = self.target().to_uppercase().replace('-', "_");
        let gnu = self.gnu();
        let mut cargo = workspace::cargo();
        cargo
            .current_dir(&workspace.root)
            .env(format!("CARGO_TARGET_{name}_LINKER"), format!("{gnu}-gcc"))
            .env(format!("CARGO_TARGET_{name}_RUNNER"), format!("{} -L /usr/{gnu}", self.emulator()))
            .env("LOCKSTEP_TEST_BACKENDS", self.backends());
        cargo
    }
}

/// The command line of `check`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// The machines: aarch64,riscv64,... [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    pub machines: Vec<Machine>,
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
    /// rustup could not add a machine's standard library.
    #[error("the standard library of {target} is missing: {source}")]
    Target {
        /// The compiler's name of the machine.
        target: &'static str,
        /// What rustup said.
        source: ProcessError,
    },
    /// Tests failed.
    #[error("the kernel's tests failed on: {}", .0.join(", "))]
    Failed(Vec<&'static str>),
}

/// Builds the kernel's tests for each machine and runs them there. A failing machine does not keep the next from running.
///
/// # Errors
/// If the set-up fails, or a test on a machine.
pub fn run(options: &Options) -> Result<(), CheckError> {
    let workspace = Workspace::find()?;
    let machines =
        crate::test::chosen(&options.machines, &[Machine::Aarch64, Machine::Riscv64, Machine::S390x, Machine::I686]);
    // Each package once, though several machines need QEMU.
    let mut seen = BTreeSet::new();
    let mut needs: Vec<Need> = machines.iter().flat_map(|machine| machine.needs()).collect();
    needs.retain(|need| seen.insert(need.package.clone()));
    packages::ensure(&needs)?;
    let mut failed = Vec::new();
    for machine in machines {
        let target = machine.target();
        let mut add = Command::new("rustup");
        process::run(add.args(["target", "add", target])).map_err(|source| CheckError::Target { target, source })?;
        let mut cargo = machine.cargo(&workspace);
        cargo.args(["test", "--locked", "-p", "kernel", "--target", target]);
        if options.golden {
            cargo.args(["--lib", "golden"]);
        } else {
            cargo.args(["--lib", "--tests"]);
        }
        if let Err(error) = process::run(&mut cargo) {
            eprintln!("{error}");
            failed.push(target);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(CheckError::Failed(failed)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_links_and_runs_for_the_machine() {
        let line = process::line(&Machine::Riscv64.cargo(&Workspace::find().unwrap()));
        for part in [
            "CARGO_TARGET_RISCV64GC_UNKNOWN_LINUX_GNU_LINKER=riscv64-linux-gnu-gcc",
            "CARGO_TARGET_RISCV64GC_UNKNOWN_LINUX_GNU_RUNNER='qemu-riscv64 -L /usr/riscv64-linux-gnu'",
            "LOCKSTEP_TEST_BACKENDS=scalar",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn packages_have_debians_names() {
        let names: Vec<String> = Machine::Aarch64.needs().into_iter().map(|need| need.package).collect();
        assert_eq!(names, ["qemu-user", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]);
    }
}
