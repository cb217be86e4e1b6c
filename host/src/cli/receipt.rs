//! The arguments that issue, sign and verify receipts.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

use super::{BaseModel, Context, Special, Threads};

/// Whether a receipt is written, and how.
#[derive(Args, Clone, Debug, Default)]
pub struct Receipting {
    /// Write a receipt of the result, from which anyone can compute it again (see `lockstep verify`); a file that is there is
    /// replaced
    #[arg(long, env = "LOCKSTEP_RECEIPT", value_name = "FILE")]
    pub receipt: Option<PathBuf>,
    /// Leave the token ids out of the receipt; whoever verifies it needs the prompt or the data
    #[arg(long, env = "LOCKSTEP_PRIVATE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub private: bool,
    /// Sign the receipt with the secret key in this file (see `lockstep keygen`)
    #[arg(long, env = "LOCKSTEP_SIGN", value_name = "KEY")]
    pub sign: Option<PathBuf>,
}

/// `lockstep keygen`
#[derive(Args, Clone, Debug)]
pub struct Keygen {
    /// File to write the secret key to; the public key is written beside it, with `.pub` after the name
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print one JSON object with the public key
    #[arg(long)]
    pub json: bool,
}

/// `lockstep verify`
#[derive(Args, Clone, Debug)]
pub struct Verify {
    /// The receipt; - reads it from stdin
    #[arg(value_name = "RECEIPT")]
    pub receipt: PathBuf,
    #[command(flatten)]
    pub model: BaseModel,
    /// Folder of the adapter that the receipt is of; of an aggregation, one for each client, in any order
    #[arg(long = "adapter", env = "LOCKSTEP_ADAPTER", value_name = "DIR")]
    pub adapters: Vec<PathBuf>,
    #[command(flatten)]
    pub threads: Threads,
    #[command(flatten)]
    pub context: Context,
    #[command(flatten)]
    pub special: Special,
    #[command(flatten)]
    pub missing: Missing,
    /// Refuse a receipt that is not signed by this public key: 64 hexadecimal digits, or the file that has them
    #[arg(long, env = "LOCKSTEP_REQUIRE_SIGNATURE", value_name = "KEY")]
    pub require_signature: Option<String>,
    /// Cut texts of --data that exceed the context, instead of refusing them
    #[arg(long, env = "LOCKSTEP_TRUNCATE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub truncate: bool,
    /// Generate token by token, instead of reading all tokens at once; the verdict is the same
    #[arg(long)]
    pub step_by_step: bool,
    /// Print one JSON object with the verdict
    #[arg(long)]
    pub json: bool,
}

/// What a private receipt leaves out.
#[derive(Args, Clone, Debug)]
#[group(multiple = false)]
pub struct Missing {
    /// The prompt of a private receipt, as text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// The prompt of a private receipt, as token ids: 1,2,3
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub prompt_ids: Option<Vec<u32>>,
    /// The prompt of a private receipt, as a conversation in a file of JSON (see `lockstep generate --help`)
    #[arg(long, value_name = "FILE")]
    pub messages: Option<PathBuf>,
    /// The text of the training or the scoring of a private receipt
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub text: Option<String>,
    /// The JSON lines of the training or the scoring of a private receipt
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
}
