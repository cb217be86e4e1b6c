//! The C library: its static form in C programs under the address sanitizer, its shared form in Python.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BOTH, EmbeddingError, Golden, Real};
use crate::file::at;
use crate::packages::{self, Need};
use crate::process::{self, ProcessError};
use crate::workspace::{self, Workspace};

/// What every C program is compiled with: what the compiler sees is an error, and so is what the sanitizers see.
const STRICT: [&str; 10] = [
    "-std=c11",
    "-g",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Werror",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
];
/// What Rust's standard library takes from the system.
const LIBRARIES: [&str; 3] = ["-lpthread", "-ldl", "-lm"];
/// The tokens of the real model that a C program generates.
const TOKENS: usize = 5;

/// The folder of the crate.
fn source(workspace: &Workspace) -> PathBuf {
    workspace.root.join("kernel/capi")
}

/// Builds both forms of the library.
fn build(workspace: &Workspace) -> Result<(), ProcessError> {
    let mut cargo = workspace::cargo();
    process::run(cargo.args(["build", "--release", "--locked", "--package", "capi"]).current_dir(&workspace.root))
}

/// Compiles a C program of the crate, `examples/NAME.c` or `tests/NAME.c`, against the static library.
fn compile(workspace: &Workspace, folder: &Path, file: &str) -> Result<PathBuf, ProcessError> {
    let file = source(workspace).join(file);
    let program = folder.join(file.file_stem().unwrap_or_default());
    let mut gcc = Command::new("gcc");
    gcc.args(STRICT).arg("-I").arg(source(workspace).join("include")).arg(file).arg("-o").arg(&program);
    process::run(gcc.arg(workspace.target.join("release/liblockstep.a")).args(LIBRARIES))?;
    Ok(program)
}

/// Compiles and runs the C programs.
pub(super) fn programs(workspace: &Workspace) -> Result<(), EmbeddingError> {
    packages::ensure(&[
        Need::program(&["gcc"], "gcc", "compiles the C examples"),
        Need::program(&["g++"], "g++", "reads the header as C++"),
    ])?;
    build(workspace)?;
    let folder = workspace.target.join("embedding/c");
    fs::create_dir_all(&folder).map_err(at(&folder))?;

    let golden = compile(workspace, &folder, "examples/golden.c")?;
    let printed = process::capture(&mut Command::new(&golden))?;
    Golden::read(workspace)?.compare("examples/golden.c", &printed, &BOTH)?;

    let generate = compile(workspace, &folder, "examples/generate.c")?;
    real(workspace, &generate)?;
    fails(Command::new(&generate).args(["/no/such/folder", "1", "2"]), "/no/such/folder/config.json")?;

    let misuse = compile(workspace, &folder, "tests/misuse.c")?;
    let damaged = folder.join("damaged");
    if damaged.exists() {
        fs::remove_dir_all(&damaged).map_err(at(&damaged))?;
    }
    fs::create_dir_all(&damaged).map_err(at(&damaged))?;
    process::run(Command::new(misuse).arg(&damaged))?;
    process::run(&mut Command::new(compile(workspace, &folder, "tests/environment.c")?))?;

    // The sanitizer sees into the library: it must find a handle that nobody freed.
    let leak = compile(workspace, &folder, "tests/leak.c")?;
    fails(&mut Command::new(leak), "LeakSanitizer")?;

    let header = source(workspace).join("include/lockstep.h");
    process::run(
        Command::new("g++")
            .args(["-std=c++11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++"])
            .arg(header),
    )?;
    Ok(())
}

/// The first tokens of the real model, as published.
fn real(workspace: &Workspace, generate: &Path) -> Result<(), EmbeddingError> {
    let Real { folder, prompt, steps } = Real::read(workspace)?;
    let mut command = Command::new(generate);
    command.arg(folder).arg(TOKENS.to_string()).args(prompt.iter().map(u32::to_string));
    let printed = process::capture(&mut command)?;
    let expected: Vec<String> = steps.iter().take(TOKENS).map(|(token, digest)| format!("{token} {digest}")).collect();
    if printed.lines().eq(&expected) {
        return Ok(());
    }
    let wrong =
        vec![format!("it printed:\n{printed}"), format!("docs/vectors/real.json has:\n{}", expected.join("\n"))];
    Err(EmbeddingError::Values { program: "examples/generate.c".to_owned(), wrong })
}

/// Runs a program that must fail, and say why.
fn fails(command: &mut Command, wanted: &'static str) -> Result<(), EmbeddingError> {
    let line = process::line(command);
    match process::capture(command) {
        Err(ProcessError::Failed { said, .. }) if said.contains(wanted) => Ok(()),
        Err(ProcessError::Failed { said, .. }) => Err(EmbeddingError::Passed { line, wanted, said }),
        Err(error) => Err(error.into()),
        Ok(said) => Err(EmbeddingError::Passed { line, wanted, said }),
    }
}

/// The tests of the Python module, with the shared library.
pub(super) fn python(workspace: &Workspace) -> Result<(), EmbeddingError> {
    packages::ensure(&[Need::program(&["python3"], "python3", "calls the shared library")])?;
    build(workspace)?;
    let mut python = Command::new("python3");
    python.args(["-m", "unittest", "--verbose"]).current_dir(source(workspace).join("python"));
    python.env("LOCKSTEP_LIBRARY", workspace.target.join("release/liblockstep.so")).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(process::run(&mut python)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_fail_as_it_must_is_a_failure() {
        let shell = |script: &str| fails(Command::new("sh").args(["-c", script]), "sorry").map_err(|e| e.to_string());
        assert_eq!(shell("echo sorry >&2; exit 1"), Ok(()));
        assert!(shell("echo sorry >&2").unwrap_err().contains("must fail"));
        assert!(shell("echo no >&2; exit 1").unwrap_err().contains("it said: : no"));
        assert!(fails(&mut Command::new("no-such-program-of-ours"), "").is_err());
    }
}
