//! The arguments of `bench`.

use clap::{Args, ValueEnum};

use super::ModelArguments;
use super::compute::threads;

/// `lockstep bench`
#[derive(Args, Clone, Debug)]
pub struct Bench {
    #[command(flatten)]
    pub model: ModelArguments,
    /// Numbers of threads to measure with: 1,2,4 [default: 1, 2, 4, ... up to one per processor core]
    #[arg(long, env = "LOCKSTEP_THREADS", value_parser = threads, value_delimiter = ',')]
    pub threads: Vec<usize>,
    /// Measure these parts only [default: all for which the model's context suffices]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// What is measured.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// A prompt of 256 tokens, until the first token is there
    Prefill,
    /// A prompt of 2,048 tokens
    PrefillLong,
    /// The 64 tokens that follow the first one after "Once upon a time"
    Decode,
    /// The same of eight texts that advance together, tokens of all of them
    DecodeEight,
    /// 16 tokens around position 16
    DecodeShort,
    /// 16 tokens around position 4,000
    DecodeLong,
    /// A step of SGD on 11 tokens: of all weights, or of the adapter with --adapter
    Train,
    /// The same on 256 tokens
    TrainLong,
}
