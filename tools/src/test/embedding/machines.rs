//! Programs without an operating system: firmware in QEMU, and a WASI program in wasmtime.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::elf::{self, Sizes};
use super::{BOTH, EmbeddingError, Golden};
use crate::bundle::{Choice, Std, Target, route};
use crate::check::wasi::wasmtime_runner;
use crate::file::at;
use crate::packages::{self, Need};
use crate::process;
use crate::workspace::Workspace;

/// A build of the firmware, and the most memory that it may take: what docs/embedding.md promises.
struct Firmware {
    name: &'static str,
    arguments: &'static [&'static str],
    /// The published values that it computes.
    values: &'static [&'static str],
    flash: u64,
    /// For each part of a run, the most bytes of the arena.
    arena: &'static [(&'static str, u64)],
    /// The static array, which is no more than room.
    room: u64,
}

const KIB: u64 = 1024;
/// The most bytes of variables but for the arena, and of the stack.
const VARIABLES: u64 = KIB;
const STACK: u64 = 24 * KIB;

const BUILDS: [Firmware; 2] = [
    Firmware {
        name: "forward only",
        arguments: &["--no-default-features"],
        values: &["profile", "logits 1"],
        flash: 192 * KIB,
        arena: &[("forward", 192 * KIB)],
        room: 256 * KIB,
    },
    Firmware {
        name: "with training",
        arguments: &[],
        values: &["profile", "logits 1", "training 1, step 1", "generation", "sampling", "training"],
        flash: 448 * KIB,
        arena: &[("forward", 192 * KIB), ("backward", 480 * KIB), ("training", 576 * KIB), ("self-test", 720 * KIB)],
        room: 768 * KIB,
    },
];

/// Builds the firmware for a Cortex-M4 and runs it in QEMU.
pub(super) fn firmware(workspace: &Workspace) -> Result<(), EmbeddingError> {
    packages::ensure(&[Need::program(&["qemu-system-arm"], "qemu-system-arm", "emulates a microcontroller")])?;
    let golden = Golden::read(workspace)?;
    for build in BUILDS {
        let program = compile(workspace, Target::CortexM4, "firmware", build.arguments, "")?;
        let mut qemu = Command::new("timeout");
        qemu.args(["300", "qemu-system-arm", "-machine", "mps2-an386", "-display", "none", "-monitor", "none"]);
        qemu.args(["-serial", "none", "-semihosting-config", "enable=on,target=native", "-kernel"]).arg(&program);
        eprintln!("$ {}", process::line(&qemu));
        let printed = process::capture(&mut qemu)?;
        eprintln!("{printed}");
        let found = golden.compare("the firmware", &printed, build.values)?;
        let file = fs::read(&program).map_err(at(&program))?;
        measure(&build, elf::sizes(&file).ok_or(EmbeddingError::Elf(program))?, &found)?;
    }
    Ok(())
}

/// Compares a program's memory with what it may take, and prints it.
fn measure(build: &Firmware, sizes: Sizes, found: &BTreeMap<String, String>) -> Result<(), EmbeddingError> {
    let Firmware { name, flash, arena, room, .. } = build;
    let told = |what: &str| found.get(what).and_then(|value| value.parse().ok()).unwrap_or(u64::MAX);
    let mut all = vec![
        ("flash".to_owned(), sizes.flash, *flash),
        ("variables".to_owned(), sizes.ram.saturating_sub(*room), VARIABLES),
        ("stack".to_owned(), told("stack"), STACK),
    ];
    all.extend(arena.iter().map(|(part, limit)| {
        let what = format!("arena, {part}");
        let found = told(&what);
        (what, found, *limit)
    }));
    for (what, found, limit) in all {
        eprintln!("firmware, {name}: {what}: {found} bytes (at most {limit})");
        if found > limit {
            return Err(EmbeddingError::Size { what: format!("firmware, {name}: {what}"), found, limit });
        }
    }
    Ok(())
}

/// Builds the WASI program and runs it in wasmtime.
pub(super) fn wasi(workspace: &Workspace) -> Result<(), EmbeddingError> {
    let [python, script] = wasmtime_runner(workspace)?;
    let program = compile(workspace, Target::Wasm, "wasi", &[], "-Ctarget-feature=+simd128")?.with_extension("wasm");
    let printed = process::capture(Command::new(&python).arg(&script).arg(&program))?;
    eprintln!("{printed}");
    let found = Golden::read(workspace)?.compare("the WASI program", &printed, &BOTH)?;
    let backend = found.get("backend").map_or("none", String::as_str);
    if backend != "wasm-simd128" {
        let wrong = vec![format!("  backend: wasm-simd128 was built, {backend} computed")];
        return Err(EmbeddingError::Values { program: "the WASI program".to_owned(), wrong });
    }
    let size = fs::metadata(&program).map_err(at(&program))?.len();
    eprintln!("WASI program: {size} bytes");
    Ok(())
}

/// Builds a package of `kernel/examples`, and returns the program. One folder for all: they share what runs on this machine.
fn compile(
    workspace: &Workspace,
    target: Target,
    package: &str,
    arguments: &[&str],
    flags: &str,
) -> Result<PathBuf, EmbeddingError> {
    let folder = workspace.target.join("embedding");
    let mut cargo = route::find(workspace, Choice::Auto, target)?.cargo_build(target, Std::None);
    cargo.args(["--release", "--locked", "--target-dir"]).arg(&folder).args(arguments);
    // Where cargo is called from: the settings of the folders above it would be read otherwise.
    cargo.current_dir(workspace.root.join("kernel/examples").join(package));
    process::run(cargo.env("CARGO_ENCODED_RUSTFLAGS", flags))?;
    Ok(folder.join(target.triple()).join("release").join(package))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_than_promised_is_a_failure_and_so_is_none_told() {
        let build = &BUILDS[0];
        let sizes = Sizes { flash: build.flash, ram: build.room + VARIABLES };
        let found = |stack: &str, arena: &str| {
            let all = [("stack", stack), ("arena, forward", arena)];
            all.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        };
        assert!(measure(build, sizes, &found("100", "100")).is_ok());
        for (sizes, found, part) in [
            (Sizes { flash: build.flash + 1, ..sizes }, found("100", "100"), "flash"),
            (Sizes { ram: sizes.ram + 1, ..sizes }, found("100", "100"), "variables"),
            (sizes, found("24577", "100"), "stack"),
            (sizes, found("100", "196609"), "arena, forward"),
            (sizes, found("100", "much"), "arena, forward"),
            (sizes, BTreeMap::new(), "stack"),
        ] {
            let error = measure(build, sizes, &found).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
