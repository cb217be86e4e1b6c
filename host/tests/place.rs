//! A folder to work in, with a tiny model; what a test does there, it adds itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::command::{Finished, lockstep, run};
use crate::tiny;

/// A folder, and the model in it that commands work with.
pub struct Place {
    pub folder: TempDir,
    pub model: PathBuf,
}

impl Place {
    pub fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let model = tiny::write(folder.path(), 1);
        Place { folder, model }
    }

    /// The path of a file in the folder.
    pub fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A command in the folder, with the model.
    pub fn command(&self, command: &str, arguments: &[&str]) -> Command {
        let mut command = lockstep(command);
        command.current_dir(self.folder.path()).arg("--model").arg(&self.model).args(arguments);
        command
    }

    /// Runs a command in the folder, with the model.
    pub fn run(&self, command: &str, arguments: &[&str]) -> Finished {
        run(&mut self.command(command, arguments), b"")
    }
}

/// The names in a folder, sorted.
pub fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
