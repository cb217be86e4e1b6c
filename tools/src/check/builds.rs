//! This machine, with the flags and compilers that somebody else may build with.

use std::ffi::OsString;
use std::process::Command;

use super::{CheckError, Way};
use crate::bundle::route::DEBIAN_RUSTC;
use crate::process;
use crate::workspace::Workspace;

/// The ways to build, each in a target directory of its own.
pub(super) fn ways(workspace: &Workspace) -> Result<Vec<Way>, CheckError> {
    let build = |name: &str, folder: &str| {
        Way::new(name, backends()).arg("--target-dir", workspace.target.join("check").join(folder))
    };
    let mut ways = vec![
        build("-C target-cpu=native", "native").env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-cpu=native"),
        build("opt-level 0", "opt-0").env("CARGO_PROFILE_TEST_OPT_LEVEL", "0"),
        build("opt-level s", "opt-s").env("CARGO_PROFILE_TEST_OPT_LEVEL", "s"),
        build("opt-level 3, as released", "release").flag("--release"),
    ];
    for (version, rustc) in others(&workspace.rust_version)? {
        ways.push(build(&version, &version.replace(['(', ')', ' '], "-")).env("RUSTC", rustc));
    }
    Ok(ways)
}

/// The backends of this machine, by what the system says of it: all of them must be there, whatever the build.
pub(super) fn backends() -> String {
    #[cfg(target_arch = "x86_64")]
    let fast = [
        std::arch::is_x86_feature_detected!("avx512f").then_some("x86-avx512"),
        std::arch::is_x86_feature_detected!("avx512f").then_some("x86-avx512-streams"),
        std::arch::is_x86_feature_detected!("avx512f").then_some("x86-avx512-halves"),
        std::arch::is_x86_feature_detected!("avx2").then_some("x86-avx2"),
    ];
    #[cfg(target_arch = "aarch64")]
    let fast = [Some("aarch64-neon")];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let fast = [None];
    let names: Vec<&str> = fast.into_iter().flatten().chain(["scalar"]).collect();
    names.join(",")
}

/// The compilers that are installed, but for the active one and those that are too old, with what they call themselves.
pub(super) fn others(needed: &str) -> Result<Vec<(String, OsString)>, CheckError> {
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
    use crate::check::Options;

    #[test]
    fn compilers_that_are_too_old_are_left_out() {
        let of = |version| is_new_enough(version, "1.89");
        assert!(of("rustc 1.89.0 (29483883e 2025-08-04)") && of("rustc 1.100.0-nightly (e50aa6fba 2026-05-19)"));
        assert!(!of("rustc 1.88.0 (6b00bc388 2025-06-23)") && !of("rustc") && !of("error: toolchain is not installed"));
    }

    #[test]
    fn every_build_has_a_target_directory_of_its_own_and_needs_all_backends() {
        let workspace = Workspace::find().unwrap();
        let options = Options { tier: None, only: vec![], golden: true, tokens: 0 };
        let ways = ways(&workspace).unwrap();
        let mut folders: Vec<_> = ways
            .iter()
            .map(|way| {
                let (_, command) = way.commands(&workspace, &options, None).swap_remove(0);
                assert!(process::line(&command).contains(&format!("LOCKSTEP_TEST_BACKENDS={}", backends())));
                command.get_args().skip_while(|word| *word != "--target-dir").nth(1).unwrap().to_owned()
            })
            .collect();
        assert!(folders.len() >= 4);
        folders.sort();
        folders.dedup();
        assert_eq!(folders.len(), ways.len());
    }
}
