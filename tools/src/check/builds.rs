//! This machine, with the flags and compilers that somebody else may build with.

use std::ffi::OsString;
use std::process::Command;

use super::{Case, CheckError, kernel_tests};
use crate::process;
use crate::workspace::Workspace;

/// Where Debian puts its compiler, beside those of rustup.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// The ways to build, each in a target directory of its own.
pub(super) fn cases(workspace: &Workspace) -> Result<Vec<Case>, CheckError> {
    let build = |name: &str| {
        let mut cargo = kernel_tests(workspace, "scalar");
        cargo.arg("--target-dir").arg(workspace.target.join("check").join(name));
        cargo
    };
    let mut cases = Vec::new();
    let mut native = build("native");
    native.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-cpu=native");
    cases.push(Case::new("-C target-cpu=native", native));
    for level in ["0", "s"] {
        let mut cargo = build(&format!("opt-{level}"));
        cargo.env("CARGO_PROFILE_TEST_OPT_LEVEL", level);
        cases.push(Case::new(format!("opt-level {level}"), cargo));
    }
    let mut release = build("release");
    release.arg("--release");
    cases.push(Case::new("opt-level 3, as released", release));
    for (version, rustc) in others(&workspace.rust_version)? {
        let mut cargo = build(&version.replace(['(', ')', ' '], "-"));
        cargo.env("RUSTC", rustc);
        cases.push(Case::new(version, cargo));
    }
    Ok(cases)
}

/// The compilers that are installed, but for the active one and those that are too old, with what they call themselves.
fn others(needed: &str) -> Result<Vec<(String, OsString)>, CheckError> {
    let mut compilers: Vec<OsString> = vec![DEBIAN_RUSTC.into()];
    // Without rustup there are none of its toolchains.
    for line in process::capture(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default().lines() {
        if let Some(name) = line.split(' ').next()
            && let Ok(path) = process::capture(Command::new("rustup").args(["which", "--toolchain", name, "rustc"]))
        {
            compilers.push(path.into());
        }
    }
    let mut seen = vec![process::capture(Command::new("rustc").arg("-V"))?];
    let mut others = Vec::new();
    for rustc in compilers {
        let Ok(version) = process::capture(Command::new(&rustc).arg("-V")) else { continue };
        if !seen.contains(&version) && is_new_enough(&version, needed) {
            others.push((version.clone(), rustc));
        }
        seen.push(version);
    }
    Ok(others)
}

/// Whether a compiler that calls itself `rustc 1.96.0 (...)` is at least of the version `1.89`.
fn is_new_enough(version: &str, needed: &str) -> bool {
    let minor = |version: &str| version.strip_prefix("1.")?.split('.').next()?.parse::<u32>().ok();
    let found = version.split(' ').nth(1).and_then(minor);
    found.is_some_and(|found| minor(needed).is_some_and(|needed| found >= needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_that_are_too_old_are_left_out() {
        let of = |version| is_new_enough(version, "1.89");
        assert!(of("rustc 1.89.0 (29483883e 2025-08-04)") && of("rustc 1.100.0-nightly (e50aa6fba 2026-05-19)"));
        assert!(!of("rustc 1.88.0 (6b00bc388 2025-06-23)") && !of("rustc") && !of("error: toolchain is not installed"));
    }

    #[test]
    fn every_build_has_a_target_directory_of_its_own() {
        let cases = cases(&Workspace::find().unwrap()).unwrap();
        let mut folders: Vec<_> = cases
            .iter()
            .map(|case| case.command.get_args().skip_while(|word| *word != "--target-dir").nth(1).unwrap())
            .collect();
        assert!(folders.len() >= 4);
        folders.sort();
        folders.dedup();
        assert_eq!(folders.len(), cases.len());
    }
}
