//! `lockstep merge`: a model folder whose weights have an adapter in them.

use std::io::{self, Write};

use kernel::transcript::{PROFILE, hex};
use serde::Serialize;
use serde_json::json;

use crate::save::{Target, provenance, write_model};
use crate::terminal::print_json;
use crate::{Outcome, cli};

/// What `merge --json` prints.
#[derive(Serialize)]
struct Report {
    saved: String,
    /// The digest of the weights as they were saved.
    weights_sha256: String,
    base_weights_sha256: String,
    adapter_sha256: String,
    model: String,
    profile: &'static str,
    backend: &'static str,
}

/// Runs the command: writes the folder, whole or not at all.
///
/// # Errors
/// If there is no adapter, the model or the adapter cannot be opened, a merged weight is not a finite number, or the folder
/// cannot be written.
pub fn merge(arguments: cli::Merge) -> Outcome {
    let target = Target::new(&arguments.save)?;
    let opened = arguments.model.open(cli::Context::default())?;
    let adapter = opened.adapter.ok_or("name the adapter to merge with --adapter DIR")?;
    let base_digest = opened.weights_digest();
    let pool = arguments.threads.pool()?;
    let exec = arguments.model.base.exec(&pool);
    let merged = opened.model.merged(exec);
    let tensors = || merged.tensors().map(|(row, weights)| (row, weights.widened()));
    if let Some((row, _)) = tensors().find(|(_, values)| !values.iter().all(|value| value.is_finite())) {
        return Err(format!("the merged weights of {} are not all finite numbers; nothing was saved", row.name).into());
    }
    let base = base_digest.finish()?;
    let dtype = arguments.dtype.dtype();
    let more = json!({ "adapter_sha256": hex(&adapter), "dtype": dtype.name() });
    let provenance = provenance("merged", &opened, (&base, None), more);
    let weights = target.fill(|folder| write_model(folder, &opened.dir, tensors(), dtype, &provenance))?;
    let report = Report {
        saved: arguments.save.display().to_string(),
        weights_sha256: hex(&weights),
        base_weights_sha256: hex(&base),
        adapter_sha256: hex(&adapter),
        model: opened.name,
        profile: PROFILE,
        backend: exec.backend.name(),
    };
    if arguments.json {
        return print_json(&report);
    }
    Ok(writeln!(io::stdout(), "weights {}\nsaved in {}", report.weights_sha256, report.saved)?)
}
