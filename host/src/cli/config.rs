//! `serve --config FILE`: settings from a file. A flag wins over a variable, a variable over the file, the file over a default.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{OsStr, Resettable};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory, Error, FromArgMatches};
use toml::{Spanned, Value};

use super::Cli;
use super::headings::grouped;

/// The command that reads a file.
const COMMAND: &str = "serve";
/// Flags that are no settings.
const NO_KEYS: [&str; 3] = ["config", "help", "version"];
/// How alike an unknown key and the one that was meant are at least, from 0 to 1.
const ALIKE: f64 = 0.7;

/// Parses the words that the process was started with, and the file that they, or a variable, name.
///
/// # Errors
/// If they are wrong, or ask for help: as clap's own. If the file cannot be read or is wrong: with its line.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    let mut matches = grouped(Cli::command()).try_get_matches_from(&words)?;
    let file = matches.subcommand_matches(COMMAND).and_then(|serve| serve.get_one::<PathBuf>("config"));
    if let Some(file) = file {
        matches = configured(file)?.try_get_matches_from(&words)?;
    }
    Cli::from_arg_matches(&matches)
}

/// The definition of the command line with the values of the file as defaults.
fn configured(file: &Path) -> Result<Command, Error> {
    let refused = |what: String| Error::raw(ErrorKind::InvalidValue, format!("--config {}{what}\n", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| refused(format!(": {error}")))?;
    let settings: BTreeMap<String, Spanned<Value>> = toml::from_str(&text).map_err(|error| {
        let line = error.span().map(|span| line_of(&text, span.start)).unwrap_or_default();
        refused(format!("{line}: {}", error.message()))
    })?;
    let mut command = Cli::command();
    for (key, value) in settings {
        let refused = |what: String| refused(format!("{}: {key}: {what}", line_of(&text, value.span().start)));
        let Some(arg) = arg_of(&command, &key) else { return Err(refused(unknown(&command, &key))) };
        let values = values(arg, value.get_ref()).map_err(refused)?;
        check(&key, arg, &values).map_err(refused)?;
        let (id, values) = (arg.get_id().clone(), values.into_iter().map(|value| OsStr::from(OsString::from(value))));
        let values: Vec<OsStr> = values.collect();
        let set = |arg: Arg| {
            if values.is_empty() { arg.default_value(Resettable::Reset) } else { arg.default_values(values) }
        };
        command = if is_global(&command, id.as_str()) {
            command.mut_arg(id, set)
        } else {
            command.mut_subcommand(COMMAND, |serve| serve.mut_arg(id, set))
        };
    }
    Ok(command)
}

fn line_of(text: &str, at: usize) -> String {
    format!(", line {}", 1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count())
}

/// The flags that are settings: of the command, and those of all commands.
fn args(command: &Command) -> impl Iterator<Item = &Arg> {
    let serve = command.find_subcommand(COMMAND).into_iter().flat_map(Command::get_arguments);
    let args = serve.chain(command.get_arguments());
    args.filter(|arg| arg.get_long().is_some_and(|name| !NO_KEYS.contains(&name)))
}

fn arg_of<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    args(command).find(|arg| arg.get_long() == Some(key))
}

fn is_global(command: &Command, id: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_id() == id)
}

/// What to do about a key that there is not.
fn unknown(command: &Command, key: &str) -> String {
    let names = args(command).filter_map(Arg::get_long);
    let near = names.map(|name| (strsim::jaro(name, key), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((alike, name)) if alike >= ALIKE => format!("there is no such setting; the nearest one is {name}"),
        _ => format!("there is no such setting; the keys are the flags of `lockstep {COMMAND} --help` without --"),
    }
}

/// A value as the words of the command line.
fn values(arg: &Arg, value: &Value) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(switch) => Ok(switch.to_string()),
        _ => Err("give a text, a number, true or false, or a list of these".to_string()),
    };
    match (arg.get_action(), value) {
        (ArgAction::SetTrue, Value::Boolean(switch)) => Ok(vec![switch.to_string()]),
        (ArgAction::SetTrue, _) => Err("give true or false".to_string()),
        (ArgAction::Append, Value::Array(values)) => values.iter().map(one).collect(),
        (_, value) => one(value).map(|value| vec![value]),
    }
}

/// Checks values as if they stood on the command line.
fn check(key: &str, arg: &Arg, values: &[String]) -> Result<(), String> {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return Ok(());
    }
    let words = values.iter().map(|value| format!("--{key}={value}"));
    let words = ["lockstep".to_string(), COMMAND.to_string()].into_iter().chain(words);
    match Cli::command().try_get_matches_from(words) {
        Ok(_) => Ok(()),
        Err(error) => Err(why(&error)),
    }
}

/// What is wrong with a value, without the advice on flags.
fn why(error: &Error) -> String {
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => format!("{value:?} will not do"),
        _ => "the value will not do".to_string(),
    };
    match std::error::Error::source(error) {
        Some(source) => format!("{value}: {source}"),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use std::fs;

    /// Parses `serve` with a file of this content.
    fn serve(content: &str, words: &[&str]) -> Result<cli::Serve, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lockstep.toml");
        fs::write(&file, content).unwrap();
        let config = format!("--config={}", file.display());
        let words = ["lockstep", "serve", &config].into_iter().chain(words.iter().copied()).map(OsString::from);
        let cli = parse(words).map_err(|error| {
            assert_eq!(error.exit_code(), 2);
            error.to_string().replace(&file.display().to_string(), "FILE")
        })?;
        let cli::Command::Serve(serve) = cli.command else { unreachable!("the command is serve") };
        Ok(serve)
    }

    #[test]
    fn a_file_sets_what_flags_set_and_a_flag_wins() {
        let content = "# settings\nport = 9090\nhost = \"::1\"\nallowed-hosts = [\"a.example\", \"b.example\"]\n\
                       no-mmap = true\nthreads = 2\n";
        let read = serve(content, &[]).unwrap();
        assert_eq!((read.listening.port, read.listening.host.as_str(), read.threads.count()), (9090, "::1", 2));
        assert_eq!(read.allowed_hosts, ["a.example", "b.example"]);
        assert!(read.model.base.no_mmap);
        assert_eq!(read.receipts, 1000); // the default
        let flags = serve(content, &["--port=1", "--allowed-hosts=c.example"]).unwrap();
        assert_eq!((flags.listening.port, flags.listening.host.as_str()), (1, "::1"));
        assert_eq!(flags.allowed_hosts, ["c.example"]);
        let off = serve("no-mmap = false\nallowed-hosts = []\n", &[]).unwrap();
        assert!(!off.model.base.no_mmap && off.allowed_hosts.is_empty());
        assert!(serve("no-mmap = false", &["--no-mmap"]).unwrap().model.base.no_mmap);
    }

    #[test]
    fn flags_of_all_commands_are_settings_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        fs::write(&file, "log-level = \"debug\"").unwrap();
        let words = ["lockstep", "serve", "--config", file.to_str().unwrap()].map(OsString::from);
        assert_eq!(parse(words.clone()).unwrap().log_level, tracing::level_filters::LevelFilter::DEBUG);
        let [first, rest @ ..] = words;
        let flag = [first, "--log-level".into(), "error".into()].into_iter().chain(rest);
        assert_eq!(parse(flag).unwrap().log_level, tracing::level_filters::LevelFilter::ERROR);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (content, words) in [
            ("port = 1\n\nprot = 2", &["FILE, line 3", "prot", "nearest one is port"][..]),
            ("zzz = 1", &["line 1", "zzz", "serve --help"]),
            ("config = \"x\"", &["line 1", "no such setting"]),
            ("port = 99999", &["line 1", "port", "99999", "65535"]),
            ("\nthreads = 0", &["line 2", "threads", "1024"]),
            ("port = [1, 2]", &["line 1", "port", "a text, a number"]),
            ("no-mmap = 1", &["line 1", "no-mmap", "true or false"]),
            ("[server]\nport = 1", &["server", "no such setting"]),
            ("allowed-hosts = [{ a = 1 }]", &["line 1", "allowed-hosts", "a list of these"]),
            ("port = 1\nport = 2", &["line 2", "duplicate key"]),
            ("port 1", &["line 1"]),
        ] {
            let error = serve(content, &[]).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{content}: {error}");
        }
        let missing = parse(["lockstep", "serve", "--config", "no such file"].map(OsString::from)).unwrap_err();
        assert!(missing.exit_code() == 2 && missing.to_string().contains("no such file"), "{missing}");
    }
    /// The examples in docs, and the table of keys, which is complete.
    #[test]
    fn what_the_documentation_says_is_true() {
        let settings = serve(include_str!("../../../docs/examples/lockstep.toml"), &[]).unwrap();
        let unit = include_str!("../../../docs/examples/lockstep.service");
        let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        let exec = value("ExecStart=/usr/local/bin/").split(' ');
        assert!(Cli::command().try_get_matches_from(exec).is_ok());
        assert!(value("TimeoutStopSec=").parse::<u32>().unwrap() > settings.shutdown_timeout);
        let text = include_str!("../../../docs/operation.md");
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.map(|row| row.split('|').nth(1).unwrap_or_default());
        let mut told: Vec<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        let command = Cli::command();
        let mut keys: Vec<&str> = args(&command).filter_map(Arg::get_long).collect();
        told.sort_unstable();
        keys.sort_unstable();
        assert_eq!(told, keys);
    }
}
