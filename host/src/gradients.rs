//! `lockstep gradients`: the gradient of every parameter for one text, as a file.

use kernel::model::Sequence;
use kernel::train;
use kernel::transcript::PROFILE;
use loader::digest::{hex, weights_digest};
use loader::{DType, TensorSource, write_safetensors};
use serde::Serialize;
use session::memory::gradients_bytes;
use session::receipt::Bits32;
use session::tensors::{digest, little_endian};

use crate::terminal::print_json;
use crate::{Outcome, cli, memory};

/// What `gradients --json` prints.
#[derive(Serialize)]
struct Report<'a> {
    output: String,
    token_ids: &'a [u32],
    tokens: usize,
    loss: f32,
    /// The bits of the loss, in hexadecimal.
    loss_bits: Bits32,
    /// The weights digest, taken over the gradients.
    gradients_sha256: String,
    profile: &'static str,
    backend: &'static str,
}

/// Runs the command: writes every gradient, F32, under its parameter's name, whole or not at all, with the loss and its bits
/// as metadata.
///
/// # Errors
/// If the model cannot be opened, the text has fewer than 2 tokens or too many, the memory does not suffice, the loss is not
/// finite, or the file cannot be written.
pub fn gradients(arguments: cli::Gradients) -> Outcome {
    let opened = arguments.compute.open()?;
    let ids = opened.tokenizer.encode(&arguments.text, arguments.special.mode());
    let recompute = arguments.recompute.recompute;
    let needed = gradients_bytes(&opened.model, ids.len(), recompute, false);
    let advice = if recompute { vec!["a shorter text"] } else { vec!["--recompute", "a shorter text"] };
    memory::require("the gradient computation of this text", needed, advice)?;
    let pool = arguments.compute.pool()?;
    let exec = arguments.compute.exec(&pool);
    let batch = [Sequence::new(ids)];
    let (loss, gradients) = train::gradients(exec, &opened.model, &batch, recompute)?;
    let table = opened.model.trainable();
    let tensors = || table.iter().enumerate().filter_map(|(index, row)| Some((row, gradients.get(index)?)));
    let loss_bits = Bits32::from(loss);

    let bytes: Vec<_> = tensors().map(|(_, values)| little_endian(values)).collect();
    let sources = tensors().zip(&bytes).map(|((row, _), bytes)| TensorSource {
        name: &row.name,
        dtype: DType::F32,
        shape: &row.shape,
        bytes,
    });
    let metadata = [
        ("loss", loss.to_string()),
        ("loss_bits", loss_bits.digits()),
        ("model", opened.name),
        ("profile", PROFILE.into()),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_string(), value)).into();
    write_safetensors(&arguments.output, &sources.collect::<Vec<_>>(), &metadata)?;
    if arguments.json {
        print_json(&Report {
            output: arguments.output.display().to_string(),
            token_ids: &batch[0].tokens,
            tokens: batch[0].tokens.len(),
            loss,
            loss_bits,
            gradients_sha256: hex(&weights_digest(tensors().map(|(row, values)| digest(row, values)))),
            profile: PROFILE,
            backend: exec.backend.name(),
        })?;
    }
    Ok(())
}
