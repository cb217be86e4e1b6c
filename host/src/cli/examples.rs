//! What `--help` of each command ends with: lines to try.

/// Of the program.
pub const LOCKSTEP: &str = "\
To begin with:
  lockstep doctor                                  is all well on this machine?
  lockstep chat                                    talk with the model
  lockstep generate --prompt 'Once upon a time'    go on with a text
  lockstep serve                                   the page, and the HTTP API

Exit codes: 0 ok, 1 failure, 2 usage; `verify` and `diff` have more. Every LOCKSTEP_* variable sets the flag of its name.";

/// Of `serve`.
pub const SERVE: &str = "\
Examples:
  lockstep serve                                   then open http://127.0.0.1:8080/web/
  lockstep serve --port 0 --threads 2 --ctx-size 4096
  lockstep serve --config /etc/lockstep.toml       settings from a file";

/// Of `generate`.
pub const GENERATE: &str = "\
Examples:
  lockstep generate --prompt 'The capital of France is' --max-tokens 2
  lockstep generate --messages talk.json --temperature 0.7 --seed 1
  echo '[{\"role\":\"user\",\"content\":\"Hello\"}]' | lockstep generate --messages - --max-tokens 100
  lockstep generate --prompt 'Once upon a time' --json --receipt receipt.json
  lockstep generate --input prompts.jsonl --output answers.jsonl";

/// Of `chat`.
pub const CHAT: &str = "\
In the conversation /help tells what else there is: /system, /save, /reset, /quit. Ctrl-C stops an answer.

Examples:
  lockstep chat
  lockstep chat --system 'You answer in one sentence.' --temperature 0.7 --seed 1
  echo 'What is the capital of France?' | lockstep chat --json";

/// Of `tokenize`.
pub const TOKENIZE: &str = "\
Examples:
  echo '{\"text\":\"Hello world\"}' | lockstep tokenize
  echo '{\"ids\":[19556,905]}' | lockstep tokenize --decode";

/// Of `logits`.
pub const LOGITS: &str = "\
Example:
  lockstep logits --prompt 'Once upon a time' --output logits.safetensors";

/// Of `score`.
pub const SCORE: &str = "\
Example:
  lockstep score --data texts.jsonl --output scores.jsonl";

/// Of `bench`.
pub const BENCH: &str = "\
Example:
  lockstep bench --threads 1,2 --only prefill,decode";

/// Of `train`.
pub const TRAIN: &str = "\
Examples:
  lockstep train --text 'The cat sat on the mat.' --steps 5 --learning-rate 0.001 --save trained
  lockstep train --data talks.jsonl --method lora --optimizer adamw --learning-rate 0.002 --steps 100 --save adapter
  lockstep generate --adapter adapter --prompt 'The cat'";

/// Of `gradients`.
pub const GRADIENTS: &str = "\
Example:
  lockstep gradients --text 'The cat sat on the mat.' --output gradients.safetensors";

/// Of `merge`.
pub const MERGE: &str = "\
Example:
  lockstep merge --adapter adapter --save merged";

/// Of `aggregate`.
pub const AGGREGATE: &str = "\
Example:
  lockstep aggregate --adapter first --adapter second --weights 120,80 --save round-1";

/// Of `keygen`.
pub const KEYGEN: &str = "\
Examples:
  lockstep keygen key
  lockstep generate --prompt 'Once upon a time' --receipt receipt.json --sign key
  lockstep verify receipt.json --require-signature key.pub";

/// Of `verify`.
pub const VERIFY: &str = "\
Exit codes: 0 MATCH, 3 MISMATCH, 4 CANNOT_VERIFY, 5 MALFORMED, 6 the signature that --require-signature asks for is missing or \
bad, 1 failure, 2 usage.

Examples:
  lockstep generate --prompt 'Once upon a time' --receipt receipt.json
  lockstep verify receipt.json";

/// Of `diff`.
pub const DIFF: &str = "\
Exit codes: 0 equal, 3 they differ, 4 they cannot be compared, 5 a file is neither a receipt nor safetensors, 1 failure, 2 usage.

Examples:
  lockstep diff mine.json theirs.json
  lockstep diff scalar x86-avx2 --prompt 'Once upon a time'";

/// Of `doctor`.
pub const DOCTOR: &str = "\
Exit codes: 0 nothing failed, 1 something did, 2 usage.

Examples:
  lockstep doctor
  lockstep doctor --model models/SmolLM2-135M-Instruct --port 80 --json";

/// Of `completions`.
pub const COMPLETIONS: &str = "\
Examples:
  lockstep completions bash > /etc/bash_completion.d/lockstep
  lockstep completions zsh > ~/.zfunc/_lockstep
  lockstep completions fish > ~/.config/fish/completions/lockstep.fish";

#[cfg(test)]
mod tests {
    use crate::cli::Cli;
    use clap::{CommandFactory, Parser};

    /// The words of a line as a shell takes them, up to a `>` or the explanation that stands far to the right.
    fn words(line: &str) -> Vec<String> {
        let line = line.split("   ").next().unwrap_or_default().split(" > ").next().unwrap_or_default();
        let mut words = Vec::new();
        for (quoted, part) in line.split('\'').enumerate().map(|(i, part)| (i % 2 == 1, part)) {
            if quoted {
                words.push(part.to_string());
            } else {
                words.extend(part.split_whitespace().map(str::to_string));
            }
        }
        words
    }

    #[test]
    fn every_command_has_an_example_and_all_of_them_are_valid() {
        let cli = Cli::command();
        let mut commands: Vec<_> = cli.get_subcommands().collect();
        commands.push(&cli);
        for command in commands {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let lines = help.lines().filter(|line| line.starts_with("  ") && line.contains("lockstep "));
            let lines: Vec<&str> = lines.map(|line| &line[line.find("lockstep ").unwrap()..]).collect();
            let own = format!("lockstep {}", command.get_name().trim_start_matches("lockstep"));
            assert!(lines.iter().any(|line| line.starts_with(own.trim())), "{} has no example", command.get_name());
            for line in lines {
                if let Err(error) = Cli::try_parse_from(words(line)) {
                    panic!("{line}: {error}");
                }
            }
        }
    }
}
