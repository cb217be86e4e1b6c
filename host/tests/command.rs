//! Runs the binary.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::model;

/// A program from which this machine's own settings are taken away.
pub fn without_settings(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LOCKSTEP_")) {
        command.env_remove(name);
    }
    command
}

/// The binary with a command.
pub fn lockstep(command: &str) -> Command {
    let mut lockstep = without_settings(env!("CARGO_BIN_EXE_lockstep"));
    lockstep.arg(command);
    lockstep
}

/// The program, arguments and folder of a command, within a limit as `ulimit` takes it. `-f 8` is a disk that is full: no file
/// can become longer than eight blocks of 512 bytes.
pub fn limited(limit: &str, command: &Command) -> Command {
    let mut shell = without_settings("sh");
    // The signal that would end the process at the limit of a file is passed over.
    shell.arg("-c").arg(format!("trap '' XFSZ; ulimit {limit}; exec \"$@\"")).arg("sh");
    shell.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell
}

/// What a finished process left.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// The one JSON object on stdout.
    pub fn json(&self) -> Value {
        assert_eq!((self.code, self.stdout.lines().count()), (Some(0), 1), "{self:?}");
        assert!(self.stdout.ends_with('\n'));
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command, stdin: &[u8]) -> Finished {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // The process may end before it has read everything: then nobody needs the rest.
    let writer = std::thread::spawn(move || pipe.write_all(&stdin));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs a command with the real model.
pub fn run_with_model(command: &str, arguments: &[&str]) -> Finished {
    run(lockstep(command).arg("--model").arg(model::dir()).args(arguments), b"")
}
