//! `lockstep logits`: the logits of every position of a prompt, as a file.

use kernel::Exec;
use kernel::model::{KvCache, Logits, Model, Place, Workspace};
use kernel::transcript::{PROFILE, hex, logits_digest};
use loader::{DType, TensorSource, write_safetensors};
use serde::Serialize;
use session::tensors::little_endian;

use crate::prompt::prompt_ids;
use crate::terminal::print_json;
use crate::trace::{IDS, trace};
use crate::{Failure, Outcome, cli};

/// Positions computed at a time.
const CHUNK: usize = 64;

/// What `logits --json` prints.
#[derive(Serialize)]
struct Report<'a> {
    output: String,
    prompt_token_ids: &'a [u32],
    shape: [usize; 2],
    /// SHA-256 of each position's logits, as `generate` reports them.
    logits_sha256: Vec<String>,
    /// The digest of the adapter, where there is one.
    adapter_sha256: Option<String>,
    profile: &'static str,
    backend: &'static str,
}

/// Runs the command: writes `logits`, F32 `[tokens, vocab]`, little-endian, whole or not at all.
///
/// # Errors
/// If the model cannot be opened, the prompt is empty, unknown to it or too long, or the file cannot be written.
pub fn logits(arguments: cli::Logits) -> Outcome {
    let opened = arguments.compute.open()?;
    let ids = prompt_ids(&arguments.prompt, &opened)?;
    let pool = arguments.compute.pool()?;
    let exec = arguments.compute.exec(&pool);
    check_length(&ids, &opened.model)?;
    // The logits come last.
    let tensors = if arguments.intermediates {
        let traced = trace(&opened.model, exec, &ids, 1)?;
        traced.into_iter().map(|traced| (traced.place.tensor(traced.layer), traced.values)).collect()
    } else {
        vec![(Place::Logits.op().to_string(), all_logits(&opened.model, exec, &ids)?)]
    };
    let shape = [ids.len(), opened.model.config().vocab];
    let adapter_sha256 = opened.adapter.as_ref().map(hex);
    let text: Vec<String> = ids.iter().map(u32::to_string).collect();
    let metadata = [
        ("model", Some(opened.name)),
        ("profile", Some(PROFILE.into())),
        ("adapter_sha256", adapter_sha256.clone()),
        (IDS, Some(text.join(","))),
    ];
    let metadata = metadata.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?))).collect();
    let shapes: Vec<[usize; 2]> = tensors.iter().map(|(_, values)| [ids.len(), values.len() / ids.len()]).collect();
    let bytes: Vec<_> = tensors.iter().map(|(_, values)| little_endian(values)).collect();
    let sources: Vec<TensorSource> = tensors
        .iter()
        .zip(shapes.iter().zip(&bytes))
        .map(|((name, _), (shape, bytes))| TensorSource { name, dtype: DType::F32, shape, bytes })
        .collect();
    write_safetensors(&arguments.output, &sources, &metadata)?;
    if arguments.json {
        let rows = tensors.last().map_or(&[][..], |(_, logits)| logits).chunks_exact(shape[1]);
        let report = Report {
            output: arguments.output.display().to_string(),
            prompt_token_ids: &ids,
            shape,
            logits_sha256: rows.map(|row| hex(&logits_digest(row))).collect(),
            adapter_sha256,
            profile: PROFILE,
            backend: exec.backend.name(),
        };
        print_json(&report)?;
    }
    Ok(())
}

fn check_length(ids: &[u32], model: &Model) -> Outcome {
    match (ids.len(), model.config().context) {
        (count, context) if (1..=context).contains(&count) => Ok(()),
        (count, context) => Err(format!("the prompt has {count} tokens: give 1 to {context}").into()),
    }
}

/// The logits after each of `ids`.
fn all_logits(model: &Model, exec: Exec<'_>, ids: &[u32]) -> Result<Vec<f32>, Failure> {
    let config = model.config();
    let (mut cache, mut workspace) = (KvCache::new(config), Workspace::default());
    let mut logits = Vec::with_capacity(ids.len() * config.vocab);
    for chunk in ids.chunks(CHUNK) {
        model.forward(exec, &mut cache, chunk, Logits::All, &mut workspace)?;
        logits.extend_from_slice(workspace.logits());
    }
    Ok(logits)
}
