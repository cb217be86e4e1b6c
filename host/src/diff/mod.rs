//! `lockstep diff`: the first step, layer, operator and element at which two results differ.

mod receipts;
mod report;
mod values;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use kernel::Exec;
use kernel::simd::Backend;
use kernel::transcript::{PROFILE, logits_digest};
use loader::{Access, Checkpoint};
use session::receipt::{Receipt, Verdict};

use crate::open::Opened;
use crate::receipt::bytes;
use crate::verify::recompute;
use crate::{Failure, cli};
use report::{Computed, Difference, Finding};
use values::{Near, Values};

/// What was named on the command line.
enum Side {
    Receipt(Box<Receipt>),
    Backend(Backend),
    Values(Values),
}

/// Runs the command: the finding on stdout, and as exit code 0, 3, 4 or 5.
///
/// # Errors
/// If a side is neither a backend nor a file that can be read, the model cannot be opened or computed with, or stdout cannot be
/// written.
pub fn diff(arguments: cli::Diff) -> Result<ExitCode, Failure> {
    let finding = match (side(&arguments.a)?, side(&arguments.b)?) {
        (Ok(a), Ok(b)) => find(&arguments, a, b)?,
        (Err(finding), _) | (_, Err(finding)) => finding,
    };
    report::print(&arguments, &finding)?;
    Ok(ExitCode::from(finding.code()))
}

/// What `name` stands for; the finding that ends the search, if it is a file of no use.
fn side(name: &str) -> Result<Result<Side, Finding>, Failure> {
    let path = Path::new(name);
    let backend = match Backend::from_name(name) {
        Ok(backend) => return Ok(Ok(Side::Backend(backend))),
        Err(error) => error,
    };
    let mut file =
        File::open(path).map_err(|error| format!("{name} cannot be read ({error}), and there is {backend}"))?;
    let mut start = Vec::new();
    let first = (&mut file).take(1).read_to_end(&mut start).map(|_| start.first() == Some(&b'{'));
    let receipt = first.map_err(|error| format!("{name} cannot be read: {error}"))?;
    if receipt {
        let bytes = bytes(start.chain(file)).map_err(|error| format!("{name} cannot be read: {error}"))?;
        return Ok(match Receipt::from_json(&bytes).map_err(Verdict::from) {
            Ok(receipt) if receipt.profile != PROFILE => Err(Finding::Cannot(format!(
                "{name}: the numeric contract is another one than {PROFILE}, by which this program computes"
            ))),
            Ok(receipt) => Ok(Side::Receipt(Box::new(receipt))),
            Err(Verdict::CannotVerify { why }) => Err(Finding::Cannot(format!("{name}: {why}"))),
            Err(verdict) => Err(Finding::Malformed(format!("{name}: {}", verdict.why().unwrap_or_default()))),
        });
    }
    Ok(match Checkpoint::open_file(path, Access::Read) {
        Ok(file) => Values::of_file(&file).map(Side::Values).map_err(|why| Finding::Cannot(format!("{name}: {why}"))),
        Err(error) => Err(Finding::Malformed(format!("{name} is neither a receipt nor a file of values: {error}"))),
    })
}

fn find(arguments: &cli::Diff, a: Side, b: Side) -> Result<Finding, Failure> {
    let near = Near { max_ulps: arguments.max_ulps, tolerance: arguments.tolerance };
    match (a, b) {
        (Side::Receipt(a), Side::Receipt(b)) => {
            let Some(difference) = receipts::compare(&a, &b) else { return Ok(Finding::Equal(None)) };
            let computed = Some(compute(arguments, &a, &b)?);
            Ok(Finding::Differ(Box::new(Difference { computed, ..difference })))
        }
        (Side::Receipt(receipt), Side::Values(values)) => Ok(with_values(&receipt, &values, false)),
        (Side::Values(values), Side::Receipt(receipt)) => Ok(with_values(&receipt, &values, true)),
        (Side::Receipt(_), Side::Backend(_)) | (Side::Backend(_), Side::Receipt(_)) => {
            Ok(Finding::Cannot("a receipt is computed again by `lockstep verify --backend NAME`".to_string()))
        }
        (Side::Values(a), Side::Values(b)) => Ok(values::compare(&a, &b, near)),
        (a, b) => {
            let opened = arguments.compute.open()?;
            let ids = match prompt(arguments, &opened, [&a, &b]) {
                Ok(ids) => ids,
                Err(why) => return Ok(Finding::Cannot(why)),
            };
            let pool = arguments.compute.pool()?;
            let values = |side| -> Result<Values, Failure> {
                match side {
                    Side::Backend(backend) => Values::of_backend(&opened, Exec { backend, pool: &pool }, &ids),
                    Side::Values(values) => Ok(values),
                    Side::Receipt(_) => unreachable!("receipts are handled above"),
                }
            };
            Ok(values::compare(&values(a)?, &values(b)?, near))
        }
    }
}

/// The token ids that a backend computes: of the command line, or of the file that it is compared with.
fn prompt(arguments: &cli::Diff, opened: &Opened, sides: [&Side; 2]) -> Result<Vec<u32>, String> {
    let cli::DiffPrompt { prompt, prompt_ids } = &arguments.prompt;
    let told = sides.into_iter().find_map(|side| match side {
        Side::Values(values) => values.ids.clone(),
        _ => None,
    });
    let encode = |text: &String| opened.tokenizer.encode(text, arguments.special.mode());
    match (prompt_ids.clone().or_else(|| prompt.as_ref().map(encode)), told) {
        (Some(given), Some(told)) if given != told => {
            Err("the file of values is of another prompt than --prompt or --prompt-ids".to_string())
        }
        (Some(ids), _) | (None, Some(ids)) => Ok(ids),
        (None, None) => Err("a backend needs something to compute: give --prompt or --prompt-ids".to_string()),
    }
}

/// Compares the digests of a generation with the logits of a file.
fn with_values(receipt: &Receipt, values: &Values, values_first: bool) -> Finding {
    let Some(generation) = &receipt.generation else {
        return Finding::Cannot(format!("the receipt is of a {}, and the file has logits of a text", receipt.kind()));
    };
    let Some(prompt) = &generation.request.prompt_ids else {
        return Finding::Cannot("the receipt leaves the prompt out".to_string());
    };
    let Some(rows) = values.logits() else { return Finding::Cannot("the file has no logits".to_string()) };
    let told = &generation.logits_sha256;
    let text = [prompt.as_slice(), generation.token_ids.as_deref().unwrap_or_default()].concat();
    if values.ids.as_ref().is_some_and(|ids| !text.starts_with(&ids[..ids.len().min(text.len())])) {
        return Finding::Cannot("the file is of another text than the receipt".to_string());
    }
    let rows = rows.skip(prompt.len() - 1);
    let (mut compared, count) = (0, told.len());
    for (step, (row, told)) in rows.zip(told).enumerate() {
        let found = session::receipt::Hex(logits_digest(row)).digits();
        if found != told.digits() {
            let [a, b] = if values_first { [found, told.digits()] } else { [told.digits(), found] };
            return Finding::Differ(Box::new(Difference::of_member(step + 1, "logits_sha256", a.into(), b.into())));
        }
        compared = step + 1;
    }
    match compared {
        0 => Finding::Cannot("the file ends before the first step of the receipt".to_string()),
        _ => Finding::Equal(Some(format!("the logits of {compared} of {count} steps"))),
    }
}

/// What the model that is here says of two receipts.
fn compute(arguments: &cli::Diff, a: &Receipt, b: &Receipt) -> Result<Computed, Failure> {
    let opened = match arguments.compute.open() {
        Ok(opened) => opened,
        Err(error) => return Ok(Computed::not(error.to_string())),
    };
    let identity = opened.identity(opened.checkpoint.digest());
    let pool = arguments.compute.pool()?;
    let exec = arguments.compute.exec(&pool);
    let verdict = |receipt| recompute(&opened, exec, receipt, &identity, Default::default());
    Ok(Computed::new(verdict(a), verdict(b)))
}
