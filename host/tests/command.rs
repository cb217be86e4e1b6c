//! Runs the binary.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::model;

/// The binary with a command, this machine's own settings taken away.
pub fn lockstep(command: &str) -> Command {
    let mut lockstep = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LOCKSTEP_") {
            lockstep.env_remove(name);
        }
    }
    lockstep.arg(command);
    lockstep
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
