//! `lockstep doctor`: whether this machine, this model folder and this port are fit, and what to do where they are not.
//!
//! [`machine`] computes and measures, [`folder`] reads the model, [`server`] looks at the port, the page and a server that
//! answers there.

mod folder;
mod machine;
mod server;

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::terminal::{line, print_json};
use crate::{Failure, cli};

/// How a check came out.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    /// It works, but not as well as it could.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Serialize, Debug)]
struct Check {
    name: String,
    status: Status,
    /// What was found.
    found: String,
    /// What to do, where something is to be done.
    advice: Option<String>,
}

/// What `doctor --json` prints.
#[derive(Serialize)]
struct Report {
    ok: bool,
    version: &'static str,
    profile: &'static str,
    checks: Vec<Check>,
}

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Check {
        Check { name: name.into(), status: Status::Ok, found: found.into(), advice: None }
    }

    fn warn(name: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { status: Status::Warn, advice: Some(advice.into()), ..Check::ok(name, found) }
    }

    fn fail(name: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { status: Status::Fail, ..Check::warn(name, found, advice) }
    }
}

/// Runs the command: a line for each check on stdout; the exit code is 1 if one failed.
///
/// # Errors
/// If stdout cannot be written.
pub fn doctor(arguments: cli::Doctor) -> Result<ExitCode, Failure> {
    let mut show = Show { json: arguments.json, checks: Vec::new() };
    machine::checks(&arguments, &mut |check| show.add(check))?;
    folder::checks(&arguments, &mut |check| show.add(check))?;
    server::checks(&arguments, &mut |check| show.add(check))?;
    show.end()
}

/// Where checks are told, each as soon as it is known.
type Tell<'a> = &'a mut dyn FnMut(Check) -> io::Result<()>;

struct Show {
    json: bool,
    checks: Vec<Check>,
}

impl Show {
    fn add(&mut self, check: Check) -> io::Result<()> {
        if !self.json {
            let mut stdout = io::stdout().lock();
            let status = match check.status {
                Status::Ok => "ok  ",
                Status::Warn => "WARN",
                Status::Fail => "FAIL",
            };
            writeln!(stdout, "{status}  {:<18} {}", check.name, line(&check.found))?;
            if let Some(advice) = &check.advice {
                writeln!(stdout, "{:25}-> {}", "", line(advice))?;
            }
            stdout.flush()?;
        }
        self.checks.push(check);
        Ok(())
    }

    fn end(self) -> Result<ExitCode, Failure> {
        let count = |status| self.checks.iter().filter(|check| check.status == status).count();
        let (warned, failed) = (count(Status::Warn), count(Status::Fail));
        if self.json {
            let (version, profile) = (env!("CARGO_PKG_VERSION"), kernel::transcript::PROFILE);
            print_json(&Report { ok: failed == 0, version, profile, checks: self.checks })?;
        } else {
            writeln!(io::stdout(), "{} checks, {warned} warnings, {failed} failures", self.checks.len())?;
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
