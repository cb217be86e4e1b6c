//! Under which headings `--help` of every command tells the flags that many of them have.

use clap::{Arg, Command};

/// Which model computes, and with what.
const MODEL: (&str, &[&str]) =
    ("Model and machine", &["model", "adapter", "backend", "no-mmap", "threads", "ctx-size"]);
/// How tokens are drawn.
const SAMPLING: (&str, &[&str]) = (
    "Choice of tokens",
    &[
        "temperature",
        "top-k",
        "top-p",
        "min-p",
        "repetition-penalty",
        "frequency-penalty",
        "presence-penalty",
        "logit-bias",
        "seed",
    ],
);
/// What proves a result.
const RECEIPT: (&str, &[&str]) = ("Receipt", &["receipt", "private", "sign"]);

/// The same command line, its flags under headings.
pub fn grouped(command: Command) -> Command {
    command.mut_subcommands(|command| {
        // A training has a seed of its own.
        let draws = command.get_arguments().any(|arg| arg.get_long() == Some("temperature"));
        command.mut_args(|arg| heading(&arg, draws).map_or(arg.clone(), |heading| arg.help_heading(heading)))
    })
}

fn heading(arg: &Arg, draws: bool) -> Option<&'static str> {
    let groups = [MODEL, SAMPLING, RECEIPT].into_iter().filter(|(heading, _)| draws || *heading != SAMPLING.0);
    let long = arg.get_long()?;
    groups.into_iter().find(|(_, names)| names.contains(&long)).map(|(heading, _)| heading)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    #[test]
    fn every_name_is_a_flag_and_flags_of_one_command_stay_without() {
        let cli = grouped(Cli::command());
        let of = |command: &str, flag: &str| {
            let command = cli.find_subcommand(command).unwrap();
            let arg = command.get_arguments().find(|arg| arg.get_long() == Some(flag)).unwrap();
            arg.get_help_heading().map(str::to_string)
        };
        for (heading, names) in [MODEL, SAMPLING, RECEIPT] {
            for name in names {
                assert_eq!(of("generate", name).as_deref(), Some(heading), "{name}");
            }
        }
        assert_eq!((of("generate", "prompt"), of("train", "seed")), (None, None));
    }
}
