//! What users type. Every setting has an environment twin, `LOCKSTEP_` and the flag's name; a flag wins.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::logs::LogFormat;

mod adapters;
mod aggregate;
mod batch;
mod bench;
mod chat;
mod clients;
mod completions;
mod compute;
mod config;
mod diff;
mod doctor;
mod examples;
mod headings;
mod listening;
mod lora;
mod merge;
mod receipt;
mod sampling;
mod score;
mod train;

pub use adapters::{ServedModel, TRAINED};
pub use aggregate::Aggregate;
pub use batch::Batch;
pub use bench::{Bench, Part};
pub use chat::Chat;
pub use clients::{Clients, Limits};
pub use completions::{Completions, completions};
pub use compute::{BaseModel, Compute, Context, Folder, ModelArguments, Threads};
pub use config::parse;
pub use diff::{Diff, DiffPrompt};
pub use doctor::Doctor;
pub use listening::Listening;
pub use lora::{Method, MethodName};
pub use merge::Merge;
pub use receipt::{Keygen, Missing, Receipting, Verify};
pub use sampling::Sampling;
pub use score::Score;
pub use train::{Checkpointing, Gradients, OptimizerName, SavedType, ScheduleName, Train};

/// One language model, natively and in the browser, the same bits
#[derive(Parser, Debug)]
#[command(name = "lockstep", version, arg_required_else_help = true)]
#[command(after_help = examples::LOCKSTEP)]
pub struct Cli {
    /// What to log on stderr: off, error, warn, info, debug or trace
    #[arg(long, env = "LOCKSTEP_LOG_LEVEL", default_value = "info", global = true)]
    pub log_level: LevelFilter,
    /// How to log: lines of text, or JSON, one object a line
    #[arg(long, env = "LOCKSTEP_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, global = true)]
    pub log_format: LogFormat,
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Serve the page, the model files and the HTTP API
    #[command(after_help = examples::SERVE)]
    Serve(Serve),
    /// Continue a prompt and print the text as it comes
    #[command(after_help = examples::GENERATE)]
    Generate(Generate),
    /// Talk with the model in the terminal
    #[command(after_help = examples::CHAT)]
    Chat(Chat),
    /// Turn JSON lines {"text":...} on stdin into {"ids":[...]} on stdout
    #[command(after_help = examples::TOKENIZE)]
    Tokenize(Tokenize),
    /// Write the logits of every position of a prompt to a safetensors file
    #[command(after_help = examples::LOGITS)]
    Logits(Logits),
    /// Tell how likely the tokens of given texts are
    #[command(after_help = examples::SCORE)]
    Score(Score),
    /// Measure the speed of prefill, decoding and training with one thread and with more
    #[command(after_help = examples::BENCH)]
    Bench(Bench),
    /// Train all weights, or an adapter, on a text or a file of texts and conversations
    #[command(after_help = examples::TRAIN)]
    Train(Train),
    /// Write the gradients of the loss of a text to a safetensors file
    #[command(after_help = examples::GRADIENTS)]
    Gradients(Gradients),
    /// Write a model folder whose weights have an adapter in them
    #[command(after_help = examples::MERGE)]
    Merge(Merge),
    /// Make one adapter of several, the weighted mean of what they have learnt
    #[command(after_help = examples::AGGREGATE)]
    Aggregate(Aggregate),
    /// Compute again what a receipt tells, and say whether it is the result
    #[command(after_help = examples::VERIFY)]
    Verify(Verify),
    /// Name the first step, layer, operator and element at which two results differ
    #[command(after_help = examples::DIFF)]
    Diff(Diff),
    /// Make a key that receipts are signed with
    #[command(after_help = examples::KEYGEN)]
    Keygen(Keygen),
    /// Check this machine, the model folder and the port, and tell what to do where something is wrong
    #[command(after_help = examples::DOCTOR)]
    Doctor(Doctor),
    /// Print a script that completes commands and flags in a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions(Completions),
}

/// A prompt as text, as token ids or as a conversation.
#[derive(Args, Clone, Debug)]
pub struct Prompt {
    #[command(flatten)]
    pub source: PromptSource,
    #[command(flatten)]
    pub special: Special,
}

/// Exactly one of the three.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct PromptSource {
    /// Prompt as text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Prompt as token ids: 1,2,3
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub prompt_ids: Option<Vec<u32>>,
    /// Prompt as a conversation, which the assistant's answer follows: a file of JSON, [{"role":"user","content":"Hello"}] or
    /// {"messages":[...]}; - reads it from stdin
    #[arg(long, value_name = "FILE")]
    pub messages: Option<PathBuf>,
}

/// What `<|im_start|>` and its like are in a text.
#[derive(Args, Clone, Copy, Debug)]
pub struct Special {
    /// Take special tokens such as <|im_start|> in the text as plain text
    #[arg(long, env = "LOCKSTEP_PLAIN_SPECIAL", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub plain_special: bool,
}

impl Special {
    /// The tokenizer's word for it.
    pub fn mode(self) -> bpe::Special {
        if self.plain_special { bpe::Special::Plain } else { bpe::Special::Parse }
    }
}

/// `lockstep serve`
#[derive(Args, Clone, Debug)]
pub struct Serve {
    #[command(flatten)]
    pub model: ServedModel,
    #[command(flatten)]
    pub threads: Threads,
    #[command(flatten)]
    pub context: Context,
    #[command(flatten)]
    pub listening: Listening,
    /// Keep the receipts of the last N results for GET /v1/receipts/ID; 0 issues none
    #[arg(long, env = "LOCKSTEP_RECEIPTS", value_name = "N", default_value_t = 1000)]
    pub receipts: usize,
    /// Sign the receipts with the secret key in this file (see `lockstep keygen`)
    #[arg(long, env = "LOCKSTEP_SIGN", value_name = "KEY")]
    pub sign: Option<PathBuf>,
    /// Keep up to MIB mebibytes of keys and values of past texts, for prompts that begin like them; 0 keeps none
    #[arg(long, env = "LOCKSTEP_PREFIX_CACHE", value_name = "MIB", default_value_t = 32)]
    pub prefix_cache: u32,
    /// Names other than localhost under which browsers may reach the server: a.example,b.example
    #[arg(long, env = "LOCKSTEP_ALLOWED_HOSTS", value_name = "NAMES", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,
    #[command(flatten)]
    pub clients: Clients,
    #[command(flatten)]
    pub limits: Limits,
    /// After Ctrl-C or SIGTERM let answers and trainings go on for up to SECONDS; a second one ends them at once
    #[arg(long, env = "LOCKSTEP_SHUTDOWN_TIMEOUT", value_name = "SECONDS", default_value_t = 5)]
    pub shutdown_timeout: u32,
    /// Read what neither a flag nor a variable sets from FILE: TOML, the keys are the flags without -- (port = 8080)
    #[arg(long, env = "LOCKSTEP_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `lockstep generate`
#[derive(Args, Clone, Debug)]
pub struct Generate {
    #[command(flatten)]
    pub compute: Compute,
    #[command(flatten)]
    pub prompt: Prompt,
    #[command(flatten)]
    pub batch: Batch,
    #[command(flatten)]
    pub sampling: Sampling,
    /// End the text before TEXT; may be given several times
    #[arg(long, env = "LOCKSTEP_STOP", value_name = "TEXT", allow_hyphen_values = true)]
    pub stop: Vec<String>,
    /// Generate at most N tokens
    #[arg(long, env = "LOCKSTEP_MAX_TOKENS", value_name = "N", default_value = "25")]
    pub max_tokens: NonZeroUsize,
    /// Go on after the end-of-text token
    #[arg(long, env = "LOCKSTEP_IGNORE_EOS", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub ignore_eos: bool,
    #[command(flatten)]
    pub receipt: Receipting,
    /// Print one JSON object with ids, digests, transcript and timings instead of the text
    #[arg(long)]
    pub json: bool,
}

/// `lockstep tokenize`
#[derive(Args, Clone, Debug)]
pub struct Tokenize {
    #[command(flatten)]
    pub folder: Folder,
    #[command(flatten)]
    pub special: Special,
    /// The reverse: {"ids":[...]} on stdin, {"text":...} on stdout, special tokens kept
    #[arg(long)]
    pub decode: bool,
}

/// `lockstep logits`
#[derive(Args, Clone, Debug)]
pub struct Logits {
    #[command(flatten)]
    pub compute: Compute,
    #[command(flatten)]
    pub prompt: Prompt,
    /// File to write: safetensors with `logits`, F32 [tokens, vocab]
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// Write what every operator of every layer gives too, for `lockstep diff`
    #[arg(long)]
    pub intermediates: bool,
    /// Print one JSON object with the ids and the digest of each position's logits
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_prompt_is_text_or_ids_or_messages_and_never_two_or_none() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["lockstep", "generate"], words].concat());
        assert!(parse(&["--prompt", "-- x"]).is_ok());
        assert!(parse(&["--prompt-ids", "1,2,3"]).is_ok());
        assert!(parse(&["--messages", "-", "--stop", "-a", "--stop", "b,c"]).is_ok());
        let both = ["--prompt", "x", "--messages", "m.json"];
        for words in [&[][..], &["--prompt", "x", "--prompt-ids", "1"], &["--prompt-ids", "1,x"], &both] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn wrong_numbers_and_backends_are_usage_errors() {
        let wrong = [["--threads", "0"], ["--max-tokens", "0"], ["--ctx-size", "0"], ["--backend", "x87"]];
        for [flag, value] in wrong {
            let error = Cli::try_parse_from(["lockstep", "generate", "--prompt", "x", flag, value]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{flag} {value}");
        }
    }
}
