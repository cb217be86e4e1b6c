//! The arguments of `train` and `gradients`.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum};
use kernel::train::Range;
use loader::DType;

use super::{Compute, Method, Receipting, Special};

/// `lockstep gradients`
#[derive(Args, Clone, Debug)]
pub struct Gradients {
    #[command(flatten)]
    pub compute: Compute,
    #[command(flatten)]
    pub special: Special,
    /// Text whose mean loss over its next tokens is differentiated
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub text: String,
    /// File to write: safetensors with one F32 tensor for each parameter, under its name
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    #[command(flatten)]
    pub recompute: Recompute,
    /// Print one JSON object with the loss and the digest of the gradients
    #[arg(long)]
    pub json: bool,
}

/// Whether to save memory.
#[derive(Args, Clone, Copy, Debug)]
pub struct Recompute {
    /// Compute activations again instead of keeping them: less memory, more time, the same bits
    #[arg(long, env = "LOCKSTEP_RECOMPUTE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub recompute: bool,
}

/// `lockstep train`
#[derive(Args, Clone, Debug)]
pub struct Train {
    #[command(flatten)]
    pub compute: Compute,
    #[command(flatten)]
    pub special: Special,
    #[command(flatten)]
    pub source: TrainSource,
    #[command(flatten)]
    pub method: Method,
    /// Steps to train
    #[arg(long, env = "LOCKSTEP_STEPS", value_name = "N")]
    pub steps: NonZeroU64,
    /// Learning rate; the highest one where a schedule changes it
    #[arg(long, env = "LOCKSTEP_LEARNING_RATE", value_name = "X", value_parser = positive)]
    pub learning_rate: f64,
    /// How gradients change weights; adamw has betas 0.9 and 0.999 and eps 1e-8
    #[arg(long, env = "LOCKSTEP_OPTIMIZER", value_enum, default_value_t = OptimizerName::Sgd)]
    pub optimizer: OptimizerName,
    /// Momentum of sgd, below 1
    #[arg(long, env = "LOCKSTEP_MOMENTUM", value_name = "M", value_parser = fraction, default_value = "0")]
    pub momentum: f64,
    /// Decoupled weight decay of adamw
    #[arg(long, env = "LOCKSTEP_WEIGHT_DECAY", value_name = "W", value_parser = not_negative, default_value = "0")]
    pub weight_decay: f64,
    /// Scale the gradients down where their norm is above N [default: no clipping]
    #[arg(long, env = "LOCKSTEP_CLIP_NORM", value_name = "N", value_parser = positive)]
    pub clip_norm: Option<f64>,
    /// The learning rate after the warm-up: constant, or falling to 0 at the last step
    #[arg(long, env = "LOCKSTEP_SCHEDULE", value_enum, default_value_t = ScheduleName::Constant)]
    pub schedule: ScheduleName,
    /// Steps over which the learning rate rises
    #[arg(long, env = "LOCKSTEP_WARMUP", value_name = "N", default_value_t = 0)]
    pub warmup: u64,
    /// Lines of --data for each step. Each is a sequence of its own: there is no padding, nothing is packed into one context, and
    /// no text sees another; the gradients are those of all of them together, in their order
    #[arg(long, env = "LOCKSTEP_BATCH_SIZE", value_name = "N", default_value = "1")]
    pub batch_size: NonZeroUsize,
    /// Cut texts of --data and --eval-data that exceed the context, instead of refusing them
    #[arg(long, env = "LOCKSTEP_TRUNCATE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub truncate: bool,
    /// Seed of the order in which the lines of --data are taken, of what --eval-fraction sets apart, and of a new adapter
    #[arg(long, env = "LOCKSTEP_SEED", value_name = "S", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub evaluate: Evaluate,
    #[command(flatten)]
    pub recompute: Recompute,
    #[command(flatten)]
    pub checkpoints: Checkpointing,
    /// Write the trained model, or adapter, as a folder; DIR must be new or empty
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    #[command(flatten)]
    pub receipt: Receipting,
    /// How --save stores the weights; bf16 rounds them to nearest even
    #[arg(long, env = "LOCKSTEP_DTYPE", value_enum, default_value_t = SavedType::F32)]
    pub dtype: SavedType,
    /// Print one JSON object a line: one for each step, then one with the digests
    #[arg(long)]
    pub json: bool,
}

/// Exactly one of the two.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct TrainSource {
    /// Text to train on, at every step
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub text: Option<String>,
    /// JSON lines to train on: {"text":"..."}, {"prompt":"...","completion":"..."}, of which only the completion counts, or
    /// {"messages":[...]}, of which only the assistant's answers count
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
}

/// What is not learnt from, and when its loss is told.
#[derive(Args, Clone, Debug)]
pub struct Evaluate {
    /// JSON lines, as those of --data, whose mean loss is told; they are not learnt from
    #[arg(long, value_name = "FILE", conflicts_with = "eval_fraction")]
    pub eval_data: Option<PathBuf>,
    /// Set this part of the lines of --data apart and tell its mean loss; --seed decides which lines
    #[arg(long, env = "LOCKSTEP_EVAL_FRACTION", value_name = "X", value_parser = fraction, conflicts_with = "text")]
    pub eval_fraction: Option<f64>,
    /// Tell the loss after every N steps, too, and not only after the last one
    #[arg(long, env = "LOCKSTEP_EVAL_EVERY", value_name = "N")]
    pub eval_every: Option<NonZeroU64>,
}

/// Where checkpoints are, and whether to go on from one.
#[derive(Args, Clone, Debug)]
pub struct Checkpointing {
    /// Folder to keep a checkpoint in, from which --resume goes on; it is replaced as a whole, or not at all
    #[arg(long, env = "LOCKSTEP_CHECKPOINT", value_name = "DIR")]
    pub checkpoint: Option<PathBuf>,
    /// Write the checkpoint after every N steps, and after the last one
    #[arg(long, env = "LOCKSTEP_CHECKPOINT_EVERY", value_name = "N", default_value = "100")]
    pub checkpoint_every: NonZeroU64,
    /// Go on from the checkpoint, with the bits of a training that was never interrupted; begin where there is none. --steps
    /// counts from the beginning
    #[arg(long, requires = "checkpoint")]
    pub resume: bool,
}

/// `--optimizer`
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum OptimizerName {
    Sgd,
    #[value(name = "adamw")]
    AdamW,
}

/// `--schedule`
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScheduleName {
    Constant,
    Cosine,
}

/// `--dtype`
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum SavedType {
    F32,
    Bf16,
}

impl SavedType {
    /// The word of the files for it.
    pub fn dtype(self) -> DType {
        match self {
            SavedType::F32 => DType::F32,
            SavedType::Bf16 => DType::Bf16,
        }
    }
}

fn number(text: &str, range: Range) -> Result<f64, String> {
    text.parse().ok().filter(|value| range.contains(*value)).ok_or_else(|| format!("give {range}"))
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    number(text, Range::Positive)
}

pub(super) fn not_negative(text: &str) -> Result<f64, String> {
    number(text, Range::NotNegative)
}

fn fraction(text: &str) -> Result<f64, String> {
    number(text, Range::Part)
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, Command};
    use clap::Parser;

    #[test]
    fn a_training_is_plain_sgd_unless_told_otherwise() {
        let words = ["lockstep", "train", "--text", "x", "--steps", "5", "--learning-rate", "1e-3"];
        let Command::Train(train) = Cli::parse_from(words).command else { unreachable!("the command is train") };
        assert_eq!((train.steps.get(), train.learning_rate, train.warmup, train.seed), (5, 0.001, 0, 0));
        assert_eq!((train.optimizer, train.momentum, train.weight_decay), (super::OptimizerName::Sgd, 0.0, 0.0));
        assert_eq!((train.schedule, train.clip_norm), (super::ScheduleName::Constant, None));
        for [flag, value] in [
            ["--learning-rate", "0"],
            ["--learning-rate", "inf"],
            ["--learning-rate", "NaN"],
            ["--learning-rate", "1e-60"],
            ["--learning-rate", "1e300"],
            ["--momentum", "-0.1"],
            ["--weight-decay", "-1"],
            ["--batch-size", "0"],
            ["--steps", "0"],
            ["--optimizer", "adam"],
        ] {
            let pair = format!("{flag}={value}");
            let others = words[2..].chunks(2).filter(|other| other[0] != flag).flatten().copied();
            let words = words[..2].iter().copied().chain(others).chain([pair.as_str()]);
            let error = Cli::try_parse_from(words).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(value), "{pair}: {error}");
        }
    }
}
