//! `lockstep aggregate`: one adapter of several.

use std::io::{self, Write};

use kernel::Exec;
use kernel::pool::SerialPool;
use kernel::transcript::{PROFILE, Sha256Digest, hex};
use serde::Serialize;
use serde_json::{Value, json};
use session::adapter::{adapter_digest, export};
use session::aggregate::{Client, Round, weights};

use crate::open::Opened;
use crate::receipt::{Issue, read};
use crate::save::{Target, write_adapter};
use crate::terminal::print_json;
use crate::{Failure, Outcome, cli, save};

/// What `aggregate --json` prints.
#[derive(Serialize)]
struct Report {
    saved: String,
    /// The digest of the adapter that came out.
    adapter_sha256: String,
    rank: usize,
    alpha: f64,
    /// The clients, in the order in which their adapters were put together.
    clients: Vec<Contribution>,
    /// The transcript of the aggregation, as its receipt has it.
    transcript_sha256: String,
    weights_sha256: String,
    model: String,
    profile: &'static str,
}

#[derive(Serialize)]
struct Contribution {
    adapter: String,
    adapter_sha256: String,
    weight: u32,
}

/// Runs the command: writes the folder and the receipt, each whole or not at all.
///
/// # Errors
/// If the model or an adapter cannot be opened, the adapters do not fit together, a receipt is not of the training that gave one
/// of them, or a file cannot be written.
pub fn aggregate(arguments: cli::Aggregate) -> Outcome {
    let target = Target::new(&arguments.save)?;
    let issue = issue(&arguments)?;
    let opened = arguments.model.open(cli::Context::default())?;
    let base_digest = opened.weights_digest();
    let round = Round::new(clients(&arguments, &opened)?)?;
    let receipts = arguments.client_receipts.iter().map(|path| Ok((path.display().to_string(), read(path)?)));
    let receipts: Vec<(String, Vec<u8>)> = receipts.collect::<Result<_, Failure>>()?;
    let weights = base_digest.finish()?;
    let base = opened.identity(weights);
    let round = round.with_receipts(&base, &receipts)?;

    let aggregate = round.aggregate(Exec { backend: arguments.model.backend, pool: &SerialPool });
    let made = adapter_digest(&aggregate).zip(export(&aggregate, &opened.name)).zip(aggregate.adapter());
    let ((digest, files), lora) = made.ok_or("the aggregate has no adapter")?;
    let receipt = round.receipt(&base, digest)?;
    let report = Report {
        saved: arguments.save.display().to_string(),
        adapter_sha256: hex(&digest),
        rank: lora.rank(),
        alpha: lora.alpha(),
        clients: round.clients().iter().map(contribution).collect(),
        transcript_sha256: receipt.transcript_sha256.digits(),
        weights_sha256: hex(&weights),
        model: opened.name.clone(),
        profile: PROFILE,
    };
    let provenance = provenance(&report, &opened, &weights);
    target.fill(|folder| write_adapter(folder, &files, &provenance))?;
    if let Some(issue) = issue {
        issue.write(Ok(receipt))?;
    }
    if arguments.json {
        return print_json(&report);
    }
    Ok(writeln!(io::stdout(), "adapter {}\nsaved in {}", report.adapter_sha256, report.saved)?)
}

fn issue(arguments: &cli::Aggregate) -> Result<Option<Issue>, Failure> {
    let cli::Aggregate { receipt, sign, .. } = arguments.clone();
    Ok(Issue::new(&cli::Receipting { receipt, sign, private: false })?)
}

fn clients(arguments: &cli::Aggregate, opened: &Opened) -> Result<Vec<Client>, Failure> {
    let weights = weights(&arguments.weights, arguments.adapters.len())?;
    let client = |(dir, weight): (&std::path::PathBuf, u32)| -> Result<Client, Failure> {
        Ok(Client::new(dir.display().to_string(), opened.adapted(dir)?, weight)?)
    };
    arguments.adapters.iter().zip(weights).map(client).collect()
}

fn contribution(client: &Client) -> Contribution {
    Contribution { adapter: client.name.clone(), adapter_sha256: hex(&client.digest), weight: client.weight }
}

fn provenance(report: &Report, opened: &Opened, base: &Sha256Digest) -> Value {
    let client = |client: &Contribution| json!({ "adapter_sha256": client.adapter_sha256, "weight": client.weight });
    let more = json!({
        "clients": report.clients.iter().map(client).collect::<Vec<_>>(),
        "adapter_sha256": report.adapter_sha256,
        "transcript_sha256": report.transcript_sha256,
    });
    save::provenance("aggregated", opened, (base, None), more)
}
