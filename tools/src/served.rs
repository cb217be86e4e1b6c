//! A server that runs as long as someone of ours asks it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::process::{self, ProcessError};

/// How a server begins the line that says where it listens.
const LISTENING: &str = "listening on ";

/// A server; ended with the value.
pub struct Served {
    child: Child,
    /// Where it listens, with a slash at the end.
    pub origin: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell otherwise.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Served {
    /// Starts `lockstep serve`, as `command` has it, and waits until it says where it listens. What it says from then on goes
    /// to our error output.
    ///
    /// # Errors
    /// If it cannot be started, or ends without that line.
    pub fn start(command: &mut Command) -> Result<Served, ProcessError> {
        let line = process::line(command);
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let child = child.map_err(|source| ProcessError::Start { line: line.clone(), source })?;
        let mut served = Served { child, origin: String::new() };
        let said = served.child.stderr.take().map(BufReader::new);
        let mut said = said.into_iter().flat_map(BufRead::lines).map_while(Result::ok);
        let mut before = String::new();
        let origin = said.find_map(|line| {
            before = format!("{before}\n{line}");
            Some(line.strip_prefix(LISTENING)?.strip_suffix("web/")?.to_owned())
        });
        let silent =
            || ProcessError::Failed { line, status: "it did not say where it listens".to_owned(), said: before };
        served.origin = origin.ok_or_else(silent)?;
        std::thread::spawn(move || said.for_each(|line| eprintln!("{line}")));
        Ok(served)
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

/// The answer to a request, which is sent again as long as the server loads its model.
///
/// # Errors
/// If the server, or the way to it, fails.
pub fn when_loaded<A>(mut request: impl FnMut() -> Result<A, ureq::Error>) -> Result<A, ureq::Error> {
    loop {
        match request() {
            Err(ureq::Error::StatusCode(503)) => std::thread::sleep(std::time::Duration::from_millis(50)),
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str) -> Result<Served, ProcessError> {
        Served::start(Command::new("sh").args(["-c", script]))
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_server_is_asked_where_it_says_and_ends_with_the_value() {
        let served = start("echo hello >&2; echo listening on http://127.0.0.1:7/web/ >&2; exec sleep 1000").unwrap();
        assert_eq!(served.origin, "http://127.0.0.1:7/");
        let process = std::path::PathBuf::from(format!("/proc/{}", served.process()));
        assert!(process.exists());
        drop(served);
        assert!(!process.exists());
    }

    #[test]
    fn one_that_ends_before_is_an_error_with_what_it_said() {
        let error = start("echo no model folder >&2").map(|served| served.origin.clone()).unwrap_err().to_string();
        assert!(error.contains("no model folder") && error.contains("where it listens"), "{error}");
    }

    #[test]
    fn what_comes_while_the_model_loads_is_asked_again() {
        let mut answers =
            [Err(ureq::Error::StatusCode(503)), Ok("ready"), Err(ureq::Error::StatusCode(500))].into_iter();
        assert_eq!(when_loaded(|| answers.next().unwrap()).unwrap(), "ready");
        assert!(matches!(when_loaded(|| answers.next().unwrap()), Err(ureq::Error::StatusCode(500))));
    }
}
