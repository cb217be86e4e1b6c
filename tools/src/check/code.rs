//! A look at the instructions that the kernel became: no fused multiply-add, no estimate, no dot product, no other maximum (N2,
//! N7). What the compiler makes of the sources is no more to be trusted than the sources.
//!
//! Sums of neighbours (`haddps`, `faddp`) may be there: the compiler makes them of an addition of two shuffles, and each sum is
//! rounded once, as in the sources. What must not be there is their order, which the tests of every operator see.
//!
//! objdump prints the functions of the kernel and of the mathematical functions that it calls; the words are compared with lists.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::file::{FileError, at};
use crate::packages::{self, Need, PackageError};
use crate::process::{self, ProcessError};
use crate::workspace::{self, Workspace};

/// What to look for in the instructions of a kind of machine.
pub(super) struct Lists {
    /// The compiler's name of it.
    pub(super) target: &'static str,
    /// What GNU's tools are called after.
    gnu: &'static str,
    /// The feature that has a fused multiply-add, where the target does not.
    fused: &'static str,
    /// How the words of instructions begin that must not be there.
    forbidden: &'static [&'static str],
    /// What must be there, or the wrong code was looked at: the product of each backend, as its word and a register.
    expected: &'static [(&'static str, &'static str)],
}

pub(super) const LISTS: [Lists; 4] = [
    Lists {
        target: "x86_64-unknown-linux-gnu",
        gnu: "x86_64-linux-gnu",
        fused: "+fma",
        forbidden: &[
            "vfmadd", "vfmsub", "vfnmadd", "vfnmsub", "rcp", "rsqrt", "vrcp", "vrsqrt", "dpp", "vdpp", "vdpbf16",
        ],
        expected: &[("mulps", "%xmm"), ("vmulps", "%ymm"), ("vmulps", "%zmm")],
    },
    Lists {
        target: "aarch64-unknown-linux-gnu",
        gnu: "aarch64-linux-gnu",
        fused: "",
        forbidden: &[
            "fmla", "fmls", "fmadd", "fmsub", "fnmadd", "fnmsub", "frecp", "frsqrt", "fmax", "fmin", "bfdot", "bfmla",
            "bfmmla", "fcmla",
        ],
        expected: &[("fmul", ".4s"), ("fmul", "s0")],
    },
    Lists {
        target: "riscv64gc-unknown-linux-gnu",
        gnu: "riscv64-linux-gnu",
        fused: "",
        forbidden: &["fmadd", "fmsub", "fnmadd", "fnmsub", "fmax", "fmin"],
        expected: &[("fmul.s", "f")],
    },
    Lists {
        target: "s390x-unknown-linux-gnu",
        gnu: "s390x-linux-gnu",
        fused: "",
        forbidden: &["mae", "mad", "mse", "msd", "vfma", "vfms", "vfnm", "wfma", "wfms", "wfnm"],
        expected: &[("meebr", "%f")],
    },
];

/// A function that multiplies and adds in one instruction: what the look must find before it is believed.
const PLANTED: &str = "#[inline(never)] pub fn planted(a: f32, b: f32, c: f32) -> f32 { a.mul_add(b, c) }";

/// What is wrong with the kernel's instructions, or why they could not be seen.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// objdump is missing.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// A program of the set-up failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// There is no list for this machine.
    #[error("no list says which instructions {0} must not have; there are lists for: {1}")]
    Unknown(String, String),
    /// Instructions that the contract does not have.
    #[error("the kernel for {target} has instructions that the contract does not have (N2):\n{}", .found.join("\n"))]
    Forbidden {
        /// The compiler's name of the machine.
        target: &'static str,
        /// Each with its function.
        found: Vec<String>,
    },
    /// The look was at something else.
    #[error("the code for {target} that was looked at is not the kernel's: it has no `{expected}`")]
    Elsewhere {
        /// The compiler's name of the machine.
        target: &'static str,
        /// An instruction that the kernel has.
        expected: String,
    },
    /// The look does not see what it is for.
    #[error("the instruction that was planted to be found in {0} was not found")]
    Blind(PathBuf),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What a look saw.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    functions: usize,
    instructions: usize,
    forbidden: Vec<String>,
    /// Of the expected ones, those that were there.
    expected: Vec<bool>,
}

/// The programs that the look takes, for all machines.
pub(super) fn needs() -> Vec<Need> {
    LISTS.iter().map(need).collect()
}

fn need(machine: &Lists) -> Need {
    let package = format!("binutils-{}", machine.gnu.replace('_', "-"));
    Need::program(&[&objdump(machine)], &package, "prints the instructions of a program")
}

/// Debian's name of the program; every Debian has that of its own machine.
fn objdump(machine: &Lists) -> String {
    format!("{}-objdump", machine.gnu)
}

/// Looks at the kernel for this machine.
///
/// # Errors
/// As `check`, and if there are no lists for this machine.
pub fn check_here(workspace: &Workspace) -> Result<(), CodeError> {
    let host = workspace::host()?;
    let machine = LISTS.iter().find(|machine| machine.target == host);
    let targets: Vec<&str> = LISTS.iter().map(|machine| machine.target).collect();
    let machine = machine.ok_or_else(|| CodeError::Unknown(host.clone(), targets.join(", ")))?;
    packages::ensure(&[need(machine)])?;
    check(workspace, machine)
}

/// Looks at the kernel for a machine, whose standard library is there.
///
/// # Errors
/// If an instruction is none that the contract has, or the kernel cannot be built.
pub(super) fn check(workspace: &Workspace, machine: &Lists) -> Result<(), CodeError> {
    let folder = workspace.target.join("check/code").join(machine.target);
    std::fs::create_dir_all(&folder).map_err(at(&folder))?;
    let planted = plant(machine, &folder, machine.fused)?;
    if look(machine, &planted)?.forbidden.is_empty() {
        return Err(CodeError::Blind(planted));
    }
    let mut all = Seen { expected: vec![false; machine.expected.len()], ..Seen::default() };
    for package in ["kernel", "libm"] {
        let object = folder.join(format!("{package}.o"));
        let mut cargo = workspace::cargo();
        cargo.current_dir(&workspace.root).env("CARGO_PROFILE_RELEASE_LTO", "off");
        cargo.args(["rustc", "--release", "--locked", "--quiet", "--lib", "-p", package, "--target", machine.target]);
        cargo.arg("--target-dir").arg(workspace.target.join("check/code"));
        cargo.args(["--", "-Ccodegen-units=1"]).arg(format!("--emit=obj={}", object.display()));
        process::run(&mut cargo)?;
        let seen = look(machine, &object)?;
        all.functions += seen.functions;
        all.instructions += seen.instructions;
        all.forbidden.extend(seen.forbidden);
        all.expected.iter_mut().zip(seen.expected).for_each(|(all, seen)| *all |= seen);
    }
    if let Some(missing) = all.expected.iter().position(|seen| !seen) {
        let (word, register) = machine.expected[missing];
        return Err(CodeError::Elsewhere { target: machine.target, expected: format!("{word} {register}") });
    }
    if !all.forbidden.is_empty() {
        return Err(CodeError::Forbidden { target: machine.target, found: all.forbidden });
    }
    let Seen { functions, instructions, .. } = all;
    eprintln!(
        "{}: {instructions} instructions in {functions} functions, none of them fused or an estimate",
        machine.target
    );
    Ok(())
}

/// Compiles the planted function for `machine`, with `features`.
fn plant(machine: &Lists, folder: &Path, features: &str) -> Result<PathBuf, CodeError> {
    let (source, object) = (folder.join("planted.rs"), folder.join("planted.o"));
    std::fs::write(&source, PLANTED).map_err(at(&source))?;
    let mut rustc = Command::new("rustc");
    rustc.args(["--crate-name=kernel", "--crate-type=lib", "-O", "--emit=obj", "--target", machine.target]);
    process::capture(rustc.arg(format!("-Ctarget-feature={features}")).arg("-o").arg(&object).arg(&source))?;
    Ok(object)
}

fn look(machine: &Lists, object: &Path) -> Result<Seen, CodeError> {
    let mut command = Command::new(objdump(machine));
    let listing = process::capture(command.args(["-d", "-C", "-w", "--no-show-raw-insn"]).arg(object))?;
    Ok(read(machine, &listing))
}

/// Reads what objdump prints: a line `0000 <function>:` before each function, then lines `  0:\tword\toperands`.
fn read(machine: &Lists, listing: &str) -> Seen {
    let mut seen = Seen { expected: vec![false; machine.expected.len()], ..Seen::default() };
    let mut function = "";
    for line in listing.lines() {
        if let Some(name) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
            function = name.1;
            seen.functions += 1;
            continue;
        }
        let Some((_, instruction)) = line.split_once(":\t") else { continue };
        let (word, operands) = instruction.split_once(char::is_whitespace).unwrap_or((instruction, ""));
        seen.instructions += 1;
        if machine.forbidden.iter().any(|forbidden| word.starts_with(forbidden)) {
            seen.forbidden.push(format!("  {word} {} in {function}", operands.trim()));
        }
        for ((expected, register), seen) in machine.expected.iter().zip(&mut seen.expected) {
            *seen |= word == *expected && operands.contains(register);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(target: &str) -> &'static Lists {
        LISTS.iter().find(|machine| machine.target.starts_with(target)).unwrap()
    }

    #[test]
    fn forbidden_instructions_are_found_in_their_functions() {
        let cases = [
            ("x86_64", "vfmadd213ss %xmm2,%xmm1,%xmm0"),
            ("x86_64", "vfnmsub231ps %zmm2,%zmm1,%zmm0"),
            ("x86_64", "vrcp14ps %zmm1,%zmm0"),
            ("x86_64", "rsqrtss %xmm1,%xmm0"),
            ("x86_64", "dpps $0xff,%xmm1,%xmm0"),
            ("aarch64", "fmla\tv0.4s, v1.4s, v2.4s"),
            ("aarch64", "fmadd\ts0, s1, s2, s3"),
            ("aarch64", "fmaxnm\ts0, s1, s2"),
            ("riscv64", "fmadd.s\tfa0,fa1,fa2,fa3"),
            ("s390x", "maebr\t%f0,%f2,%f4"),
        ];
        for (target, instruction) in cases {
            let listing =
                format!("k.o:     file format elf64\n\n0000 <kernel::f>:\n   0:\tret\n   4:\t{instruction}\n");
            let seen = read(machine(target), &listing);
            let (word, operands) = instruction.split_once([' ', '\t']).unwrap();
            assert_eq!(seen.forbidden, [format!("  {word} {operands} in kernel::f")]);
            assert_eq!((seen.functions, seen.instructions), (1, 2));
        }
    }

    #[test]
    fn other_instructions_are_not() {
        let listing = "0000 <f>:\n   0:\tvmulps (%rdi),%ymm1,%ymm0\n   4:\tvaddps %ymm1,%ymm0,%ymm0\n   8:\tvhaddps %xmm0,%xmm0,%xmm0\n";
        let seen = read(machine("x86_64"), listing);
        assert_eq!((seen.forbidden, seen.expected), (vec![], vec![false, true, false]));
        let listing = "0000 <f>:\n   0:\tfmul\tv0.4s, v1.4s, v2.4s\n   4:\tfadd\tv0.4s, v0.4s, v1.4s\n";
        let seen = read(machine("aarch64"), listing);
        assert_eq!((seen.forbidden, seen.expected), (vec![], vec![true, false]));
    }

    #[test]
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    fn a_planted_instruction_is_found_in_an_object_file() {
        let folder = tempfile::tempdir().unwrap();
        let machine = machine("x86_64");
        let found = |features| look(machine, &plant(machine, folder.path(), features).unwrap()).unwrap().forbidden;
        let fused = found("+fma");
        assert!(
            fused.len() == 1 && fused[0].contains("vfmadd") && fused[0].ends_with("in kernel::planted"),
            "{fused:?}"
        );
        // Without the instruction it is a call.
        assert!(found("-fma").is_empty());
    }
}
