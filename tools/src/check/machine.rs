//! Other machines, under QEMU: Debian's packages bring the linker, the C library and the emulator of each.

use super::{CheckError, Way, add_target};
use crate::packages::{self, Need};

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
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
    pub(super) fn target(self) -> &'static str {
        match self {
            Machine::Aarch64 => "aarch64-unknown-linux-gnu",
            Machine::Riscv64 => "riscv64gc-unknown-linux-gnu",
            Machine::S390x => "s390x-unknown-linux-gnu",
            Machine::I686 => "i686-unknown-linux-gnu",
        }
    }

    /// What GNU's tools and the folder of its libraries are called after.
    pub(super) fn gnu(self) -> &'static str {
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

    /// What building for it and running there takes.
    pub(super) fn needs(self) -> Vec<Need> {
        let (linker, library) = (format!("{}-gcc", self.gnu()), format!("libc6-dev-{}-cross", self.debian()));
        vec![
            Need::program(&[self.emulator()], "qemu-user", "runs the programs of other machines"),
            Need::program(&[&linker], &format!("gcc-{}", self.gnu()), "links programs for another machine"),
            Need { present: packages::version(&library).is_some(), package: library, why: "its C library" },
        ]
    }

    /// Building for the machine and running there.
    ///
    /// # Errors
    /// If rustup cannot add the machine's standard library.
    pub(super) fn way(self) -> Result<Way, CheckError> {
        add_target(self.target())?;
        Ok(self.emulated())
    }

    fn emulated(self) -> Way {
        let name = self.target().to_uppercase().replace('-', "_");
        let gnu = self.gnu();
        let emulator = format!("{} -L /usr/{gnu}", self.emulator());
        Way::new(self.target(), self.backends())
            .arg("--target", self.target())
            .env(format!("CARGO_TARGET_{name}_LINKER"), format!("{gnu}-gcc"))
            .env(format!("CARGO_TARGET_{name}_RUNNER"), &emulator)
            .env("LOCKSTEP_TEST_EMULATOR", emulator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Options;
    use crate::process;
    use crate::workspace::Workspace;

    #[test]
    fn cargo_links_and_runs_for_the_machine() {
        let options = Options { tier: None, only: vec![], golden: true, tokens: 0 };
        let commands = Machine::Riscv64.emulated().commands(&Workspace::find().unwrap(), &options, None);
        let line = process::line(&commands[0].1);
        for part in [
            "CARGO_TARGET_RISCV64GC_UNKNOWN_LINUX_GNU_LINKER=riscv64-linux-gnu-gcc",
            "CARGO_TARGET_RISCV64GC_UNKNOWN_LINUX_GNU_RUNNER='qemu-riscv64 -L /usr/riscv64-linux-gnu'",
            "LOCKSTEP_TEST_BACKENDS=scalar",
            "LOCKSTEP_TEST_EMULATOR='qemu-riscv64 -L /usr/riscv64-linux-gnu'",
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
