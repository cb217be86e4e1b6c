//! The arguments of `aggregate`.

use std::path::PathBuf;

use clap::Args;

use super::BaseModel;

/// `lockstep aggregate`
#[derive(Args, Clone, Debug)]
pub struct Aggregate {
    #[command(flatten)]
    pub model: BaseModel,
    /// Folder of a client's adapter as PEFT lays it out; once for each client, in any order
    #[arg(long = "adapter", value_name = "DIR", required = true)]
    pub adapters: Vec<PathBuf>,
    /// How much each adapter counts, in the order of --adapter: integers such as the numbers of tokens learnt from [default: all
    /// the same]
    #[arg(long, env = "LOCKSTEP_WEIGHTS", value_name = "N,N,...", value_delimiter = ',')]
    pub weights: Vec<u32>,
    /// Private receipt of the training that gave an adapter (train --private --receipt FILE); once for each client or not at all,
    /// in any order
    #[arg(long = "client-receipt", value_name = "FILE")]
    pub client_receipts: Vec<PathBuf>,
    /// Folder to write the adapter to; it must be new or empty
    #[arg(long, value_name = "DIR")]
    pub save: PathBuf,
    /// Write a receipt, from which anyone who has the clients' adapters can compute this one again (see `lockstep verify`); a file
    /// that is there is replaced
    #[arg(long, env = "LOCKSTEP_RECEIPT", value_name = "FILE")]
    pub receipt: Option<PathBuf>,
    /// Sign the receipt with the secret key in this file (see `lockstep keygen`)
    #[arg(long, env = "LOCKSTEP_SIGN", value_name = "KEY")]
    pub sign: Option<PathBuf>,
    /// Print one JSON object with the digests
    #[arg(long)]
    pub json: bool,
}
