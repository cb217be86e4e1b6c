//! Runs other programs, says which, and turns their failures into errors that name the command line.

use std::io;
use std::process::{Command, Stdio};

/// Why another program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program could not be started.
    #[error("cannot start `{line}`: {source}{}", hint(.source))]
    Start {
        /// The command line.
        line: String,
        /// What the system said.
        source: io::Error,
    },
    /// The program ended with a failure.
    #[error("`{line}` failed ({status}){said}")]
    Failed {
        /// The command line.
        line: String,
        /// How it ended.
        status: String,
        /// What it wrote to its error output, where that was not shown already.
        said: String,
    },
}

fn hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::NotFound { " (is the program installed and on the PATH?)" } else { "" }
}

/// Prints the command line to the error output, runs it with our own input and outputs, and waits.
///
/// # Errors
/// If it cannot be started, or does not end with success.
pub fn run(command: &mut Command) -> Result<(), ProcessError> {
    let line = line(command);
    eprintln!("$ {line}");
    let status = command.status().map_err(|source| ProcessError::Start { line: line.clone(), source })?;
    if status.success() {
        Ok(())
    } else {
        Err(ProcessError::Failed { line, status: status.to_string(), said: String::new() })
    }
}

/// Runs the command quietly and returns what it wrote to its output, without the white space at the end.
///
/// # Errors
/// If it cannot be started, or does not end with success; the error carries what it wrote to its error output.
pub fn capture(command: &mut Command) -> Result<String, ProcessError> {
    let line = line(command);
    let output =
        command.stdin(Stdio::null()).output().map_err(|source| ProcessError::Start { line: line.clone(), source })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    } else {
        let said = format!(": {}", String::from_utf8_lossy(&output.stderr).trim_end());
        Err(ProcessError::Failed { line, status: output.status.to_string(), said })
    }
}

/// The command as a line for a shell: changed environment first, then the program and its arguments, quoted where needed.
pub fn line(command: &Command) -> String {
    let environment =
        command.get_envs().filter_map(|(name, value)| Some(format!("{}={}", text(name), quoted(&text(value?)))));
    let program = std::iter::once(quoted(&text(command.get_program())));
    environment.chain(program).chain(command.get_args().map(|a| quoted(&text(a)))).collect::<Vec<_>>().join(" ")
}

fn text(value: &std::ffi::OsStr) -> String {
    value.to_string_lossy().into_owned()
}

fn quoted(word: &str) -> String {
    // The separator of CARGO_ENCODED_RUSTFLAGS would vanish on a terminal.
    let word = word.replace('\u{1f}', "\\x1f");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else if word.contains("\\x1f") {
        format!("$'{}'", word.replace('\'', "\\'"))
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The value of the first line `name : value` of what a program or the system says.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':').map(str::trim))
}

/// The first of these programs that stands on the PATH, with its full path.
pub fn find(names: &[&str]) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    names.iter().find_map(|name| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_pasted_into_a_shell() {
        let mut command = Command::new("prog");
        command.args(["plain", "two words", "it's", ""]).env("A", "b c").env_remove("GONE");
        assert_eq!(line(&command), r"A='b c' prog plain 'two words' 'it'\''s' ''");
        let mut flags = Command::new("cargo");
        flags.env("CARGO_ENCODED_RUSTFLAGS", "-C\u{1f}x=y");
        assert_eq!(line(&flags), r"CARGO_ENCODED_RUSTFLAGS=$'-C\x1fx=y' cargo");
    }

    #[test]
    fn failures_name_the_command_and_what_it_said() {
        let error = capture(Command::new("sh").args(["-c", "echo sorry >&2; exit 7"])).unwrap_err().to_string();
        assert!(error.contains("exit 7") && error.contains("exit status: 7") && error.ends_with("sorry"), "{error}");
        let error = capture(&mut Command::new("no-such-program-of-ours")).unwrap_err().to_string();
        assert!(error.contains("no-such-program-of-ours") && error.contains("installed"), "{error}");
    }

    #[test]
    fn output_is_captured_without_its_last_line_end() {
        assert_eq!(capture(Command::new("sh").args(["-c", "printf 'a\\nb\\n'"])).unwrap(), "a\nb");
    }

    #[test]
    fn a_field_has_the_whole_name() {
        let text = "host: x86_64-unknown-linux-gnu\nLLVM version: 22.1.8\nmodel name\t: A CPU: fast\nmodel name : B\n";
        assert_eq!(field(text, "host"), Some("x86_64-unknown-linux-gnu"));
        assert_eq!(field(text, "LLVM version"), Some("22.1.8"));
        assert_eq!(field(text, "model name"), Some("A CPU: fast"));
        assert_eq!((field(text, "ost"), field(text, "LLVM")), (None, None));
    }

    #[test]
    fn find_takes_the_first_name_that_exists() {
        assert_eq!(find(&["no-such-program-of-ours", "sh"]).unwrap().file_name().unwrap(), "sh");
        assert_eq!(find(&["no-such-program-of-ours"]), None);
    }
}
