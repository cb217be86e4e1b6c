//! A way to build our programs and to run them, and what runs in it.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use super::Options;
use crate::workspace::{self, Workspace};

/// Cargo's arguments and environment for one machine, engine or build.
pub(super) struct Way {
    /// The way, in a few words.
    pub(super) name: String,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// The backends that must be there, with commas.
    backends: String,
    /// Tests of the kernel that this way cannot run: what their names contain.
    skip: &'static [&'static str],
    /// Whether programs of tests run too, or the tests inside the kernel's library alone.
    programs: bool,
}

impl Way {
    pub(super) fn new(name: impl Into<String>, backends: impl Into<String>) -> Way {
        let (arguments, environment) = (Vec::new(), Vec::new());
        Way { name: name.into(), arguments, environment, backends: backends.into(), skip: &[], programs: true }
    }

    /// The same with an argument of cargo and its value.
    pub(super) fn arg(mut self, name: &str, value: impl AsRef<OsStr>) -> Way {
        self.arguments.extend([name.into(), value.as_ref().into()]);
        self
    }

    pub(super) fn flag(mut self, name: &str) -> Way {
        self.arguments.push(name.into());
        self
    }

    pub(super) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Way {
        self.environment.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    pub(super) fn without(self, skip: &'static [&'static str], programs: bool) -> Way {
        Way { skip, programs, ..self }
    }

    /// What runs in this way, each with its name: the kernel's tests, those of the receipts, the real model in the folder `model`.
    pub(super) fn commands(
        &self,
        workspace: &Workspace,
        options: &Options,
        model: Option<&Path>,
    ) -> Vec<(&'static str, Command)> {
        let mut all = Vec::new();
        let golden = options.golden;
        let mut kernel = self.cargo(workspace, &["test", "--no-fail-fast", "-p", "kernel", "--lib"]);
        if self.programs {
            kernel.arg("--tests");
        }
        kernel.args(["--", "--quiet"]).args(self.skip.iter().flat_map(|name| ["--skip", name]));
        // The names of the tests of the golden models and of the published vectors.
        kernel.args(if golden { &["golden", "vectors"][..] } else { &[] });
        all.push((if golden { "golden models and vectors" } else { "all operators" }, kernel));
        if self.programs {
            let mut receipts = self.cargo(workspace, &["test", "-p", "session", "--test", "receipts", "--", "--quiet"]);
            receipts.args(if golden { &["vectors"][..] } else { &[] });
            all.push(("receipts", receipts));
        }
        if let Some(model) = model {
            // Optimised and with the checks of the tests, of which it shares what is built.
            let release = self.arguments.iter().any(|argument| argument == "--release");
            let profile = if release { &[][..] } else { &["--profile", "test"] };
            let mut real = self.cargo(workspace, &["run", "-p", "session", "--example", "real_tokens"]);
            real.args(profile).arg("--").arg(model).arg(options.tokens.to_string());
            all.push(("the real model's tokens", real));
        }
        // What programs in a sandbox may read: the vectors and the model.
        let folders = [Some(&*workspace.root), model].into_iter().flatten().map(Path::as_os_str);
        let folders = folders.collect::<Vec<_>>().join(OsStr::new(":"));
        for (_, command) in &mut all {
            command.env("LOCKSTEP_WASI_DIRS", &folders);
        }
        all
    }

    fn cargo(&self, workspace: &Workspace, words: &[&str]) -> Command {
        let mut cargo = workspace::cargo();
        cargo.current_dir(&workspace.root).env("LOCKSTEP_TEST_BACKENDS", &self.backends);
        cargo.envs(self.environment.iter().map(|(name, value)| (name, value)));
        cargo.arg(words[0]).arg("--locked").args(&self.arguments).args(&words[1..]);
        cargo
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    fn lines(golden: bool, programs: bool, model: Option<&Path>) -> Vec<String> {
        let way = Way::new("x", "scalar").arg("--target", "t").without(&["crew"], programs);
        let options = Options { tier: None, only: vec![], golden, tokens: 2 };
        let commands = way.commands(&Workspace::find().unwrap(), &options, model);
        commands.iter().map(|(_, command)| process::line(command)).collect()
    }

    #[test]
    fn every_program_is_told_which_backends_must_be_there_and_what_it_may_read() {
        for line in lines(true, true, Some(Path::new("/m"))) {
            assert!(line.contains("LOCKSTEP_TEST_BACKENDS=scalar") && line.contains(":/m"), "{line}");
            assert!(line.contains("--locked --target t"), "{line}");
        }
    }

    #[test]
    fn golden_runs_have_the_published_vectors_and_nothing_else() {
        let [kernel, receipts, real] = &lines(true, true, Some(Path::new("/m")))[..] else { panic!("three programs") };
        assert!(kernel.ends_with("-p kernel --lib --tests -- --quiet --skip crew golden vectors"), "{kernel}");
        assert!(receipts.ends_with("--test receipts -- --quiet vectors"), "{receipts}");
        assert!(real.ends_with("--example real_tokens --profile test -- /m 2"), "{real}");
        assert!(lines(false, true, None)[0].ends_with("--tests -- --quiet --skip crew"));
        assert_eq!(lines(false, false, None).len(), 1);
    }
}
