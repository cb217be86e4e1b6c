//! `tools check 0`, `1` and `2`: lists of what is there already, from minutes to everything.

use std::error::Error;
use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use super::{ALL, CheckError, LOOKS, Options, Part, TOKENS, builds};
use crate::bundle;
use crate::process;
use crate::release::{self, ReleaseError};
use crate::results::Results;
use crate::soak;
use crate::test;
use crate::workspace::{self, Workspace};

/// How much to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Tier {
    /// Minutes: format, lints, and the unit tests of kernel, session, tokenizer and loader.
    #[value(name = "0")]
    Quick,
    /// What a change must pass: all of `tools test`.
    #[value(name = "1")]
    Usual,
    /// What a release must pass: that, all parts of `check`, more fuzzing, a soak, and a release that is made and tried.
    #[value(name = "2")]
    Whole,
}

/// The crates that decide what a bit is.
const CORE: [&str; 8] = ["-p", "kernel", "-p", "session", "-p", "bpe", "-p", "loader"];

/// What an item says in the end.
type Outcome = Result<(), Box<dyn Error>>;

/// A name, and what to do.
type Item = (String, Box<dyn Fn(&Workspace) -> Outcome>);

fn items(tier: Tier) -> Vec<Item> {
    match tier {
        Tier::Quick => vec![item("format", format), item("lints", lints), item("unit tests", units)],
        Tier::Usual => vec![item("tools test", all_tests)],
        Tier::Whole => {
            let parts = ALL
                .iter()
                .chain(&LOOKS)
                .map(|&part| item(&format!("tools check --only {}", part.name()), part_of(part)));
            let ends = [item("fuzz all", fuzz), item("tools soak", soak), item("tools release", made_release)];
            items(Tier::Usual).into_iter().chain(parts).chain(ends).collect()
        }
    }
}

fn item(name: &str, run: impl Fn(&Workspace) -> Outcome + 'static) -> Item {
    (name.to_owned(), Box::new(run))
}

/// Runs all items of the tier. One that fails does not keep the next from running.
///
/// # Errors
/// Those that failed.
pub(super) fn run(workspace: &Workspace, tier: Tier) -> Result<(), CheckError> {
    run_all(workspace, &items(tier))
}

fn run_all(workspace: &Workspace, items: &[Item]) -> Result<(), CheckError> {
    let mut results = Results::default();
    for (number, (name, run)) in items.iter().enumerate() {
        eprintln!("[{}/{}] {name}", number + 1, items.len());
        results.of(name, || run(workspace));
    }
    results.end().map_err(CheckError::Failed)
}

fn cargo(workspace: &Workspace, arguments: &[&[&str]]) -> Outcome {
    let mut cargo = workspace::cargo();
    cargo.current_dir(&workspace.root).args(arguments.concat());
    Ok(process::run(&mut cargo)?)
}

fn format(workspace: &Workspace) -> Outcome {
    test::rust_components()?;
    cargo(workspace, &[&["fmt", "--all", "--check"]])
}

fn lints(workspace: &Workspace) -> Outcome {
    test::rust_components()?;
    cargo(workspace, &[&["clippy", "--locked", "--all-targets"], &CORE, &["--", "-D", "warnings"]])
}

fn units(workspace: &Workspace) -> Outcome {
    cargo(workspace, &[&["test", "--locked", "--lib"], &CORE])
}

/// In a process of its own, whose environment names the backends that must have run.
fn all_tests(workspace: &Workspace) -> Outcome {
    let mut tools = Command::new(std::env::current_exe()?);
    tools.current_dir(&workspace.root).arg("test").env("LOCKSTEP_TEST_BACKENDS", builds::backends());
    Ok(process::run(&mut tools)?)
}

fn part_of(part: Part) -> impl Fn(&Workspace) -> Outcome {
    move |_| Ok(super::run(&Options { tier: None, only: vec![part], golden: false, tokens: TOKENS })?)
}

fn fuzz(workspace: &Workspace) -> Outcome {
    let jobs = available_parallelism().map_or(1, usize::from).to_string();
    let program = ["run", "--locked", "--profile", "fuzz", "-p", "fuzz", "--"];
    cargo(workspace, &[&program, &["all", "--runs", "100000", "--jobs", &jobs]])
}

fn soak(_: &Workspace) -> Outcome {
    Ok(soak::run(&soak::Options { minutes: 2, model: None })?)
}

/// Makes a release and tries it: its digests are right, and the program of its archive tells its version.
fn made_release(workspace: &Workspace) -> Outcome {
    let out = workspace.target.join("check/release");
    let make =
        |pre: Option<&str>| release::run(&release::Options { out: Some(out.clone()), pre: pre.map(str::to_owned) });
    match make(Some("check")) {
        // Nothing is new since the version that is about to be released.
        Err(ReleaseError::Changelog { .. }) => make(None)?,
        made => made?,
    }
    process::run(Command::new("sha256sum").args(["--check", release::SUMS]).current_dir(&out))?;
    let (ending, unpacked) =
        (format!("-{}.tar.gz", workspace::host()?), workspace.target.join("check/release-unpacked"));
    let archive = bundle::walk(&out, &[])?.into_iter().find(|file| file.to_string_lossy().ends_with(ending.as_str()));
    let archive = archive.ok_or_else(|| format!("the release has no archive that ends with {ending}"))?;
    fs::create_dir_all(&unpacked)?;
    process::run(Command::new("tar").arg("-xzf").arg(archive).arg("--strip-components=1").arg("-C").arg(&unpacked))?;
    let told = process::capture(Command::new(unpacked.join("lockstep")).arg("--version"))?;
    let expected = format!("lockstep {}", workspace.version);
    if told.starts_with(&expected) {
        Ok(())
    } else {
        Err(format!("the program says {told:?}, not {expected:?}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    fn names(tier: Tier) -> Vec<String> {
        items(tier).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_failing_item_does_not_keep_the_next_from_running_and_is_named_at_the_end() {
        let ran = Rc::new(Cell::new(0));
        let counted = |name: &str, ends_well: bool| {
            let ran = ran.clone();
            item(name, move |_| {
                ran.set(ran.get() + 1);
                if ends_well { Ok(()) } else { Err("it is broken".into()) }
            })
        };
        let workspace = Workspace::find().unwrap();
        let items = [counted("a", false), counted("b", true), counted("c", false)];
        assert_eq!(run_all(&workspace, &items).unwrap_err().to_string(), "the check failed on: a, c");
        assert_eq!(ran.get(), 3);
        assert!(run_all(&workspace, &items[1..2]).is_ok());
    }

    #[test]
    fn the_last_tier_has_the_one_before_and_every_part() {
        let whole = names(Tier::Whole);
        assert!(names(Tier::Usual).iter().all(|name| whole.contains(name)));
        for &part in <Part as clap::ValueEnum>::value_variants() {
            assert!(whole.contains(&format!("tools check --only {}", part.name())), "{part:?}");
        }
    }
}
