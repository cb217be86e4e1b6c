//! What a training says: a bar on stderr where that is a terminal, lines on stdout.

use std::io::{self, Write};
use std::time::Instant;

use indicatif::ProgressBar;
use kernel::train::StepReport;
use kernel::transcript::hex;
use serde::Serialize;
use session::receipt::Bits32;

use crate::Outcome;
use crate::terminal::{bar, print_json};

/// A step, as `--json` prints it. The bits are those of binary32, in hexadecimal.
#[derive(Serialize)]
struct Step {
    step: u64,
    loss: f32,
    loss_bits: Bits32,
    grad_norm: f32,
    grad_norm_bits: Bits32,
    learning_rate: f32,
    learning_rate_bits: Bits32,
    tokens: usize,
    tokens_per_second: f64,
    /// The digest of all steps up to this one.
    step_sha256: String,
}

/// An evaluation, as `--json` prints it.
#[derive(Serialize)]
struct Evaluation {
    /// The step after which it was made.
    step: u64,
    eval_loss: f32,
    /// The bits of the loss, in hexadecimal.
    eval_loss_bits: Bits32,
}

/// The end, as `--json` prints it.
#[derive(Serialize)]
pub struct End {
    pub steps: u64,
    /// The digest of the weights afterwards: as binary32 where they were trained, and the base's beside a trained adapter.
    pub weights_sha256: String,
    /// The digest of the trained adapter, where one was trained.
    pub adapter_sha256: Option<String>,
    pub transcript_sha256: String,
    pub base_weights_sha256: String,
    /// The digest of the adapter that the training began with, where one was trained.
    pub base_adapter_sha256: Option<String>,
    pub tokenizer_sha256: String,
    pub data_sha256: String,
    /// The digest of the data whose loss was told, where there was some.
    pub eval_data_sha256: Option<String>,
    /// The digest of the weights as they were saved; that of the trained weights unless they were rounded, and
    /// none where an adapter was saved.
    pub saved_weights_sha256: Option<String>,
    pub saved: Option<String>,
    pub model: String,
    pub profile: &'static str,
    pub backend: &'static str,
    pub threads: usize,
}

/// Tells of a training.
pub struct Reporter {
    bar: ProgressBar,
    json: bool,
    before: Instant,
}

impl Reporter {
    /// Begins a training of some steps, of which some may be done.
    pub fn new(done: u64, steps: u64, json: bool) -> Reporter {
        let bar = bar(steps, "{bar:30} step {pos}/{len}, {msg}, {eta} left");
        bar.set_position(done);
        bar.set_message("loss unknown");
        bar.tick();
        Reporter { bar, json, before: Instant::now() }
    }

    /// Tells of a step.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn step(&mut self, report: &StepReport) -> Outcome {
        let &StepReport { step, loss, grad_norm, learning_rate, tokens, .. } = report;
        let speed = tokens as f64 / self.before.elapsed().as_secs_f64();
        self.before = Instant::now();
        let line = Step {
            step,
            loss,
            loss_bits: loss.into(),
            grad_norm,
            grad_norm_bits: grad_norm.into(),
            learning_rate,
            learning_rate_bits: learning_rate.into(),
            tokens,
            tokens_per_second: speed,
            step_sha256: hex(&report.digest),
        };
        self.bar.set_message(format!("loss {loss:.4}, {speed:.1} tokens/s"));
        self.bar.set_position(step);
        let json = self.json;
        self.bar.suspend(|| {
            if json {
                return print_json(&line);
            }
            let text =
                format!("step {step}: loss {loss:.6}, gradient norm {grad_norm:.4}, learning rate {learning_rate:e}");
            Ok(writeln!(io::stdout(), "{text}, {tokens} tokens, {speed:.1} tokens/s")?)
        })
    }

    /// Tells the loss of what is not learnt from.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn evaluation(&mut self, step: u64, eval_loss: f32) -> Outcome {
        self.before = Instant::now();
        let line = Evaluation { step, eval_loss, eval_loss_bits: eval_loss.into() };
        let json = self.json;
        self.bar.suspend(|| {
            if json {
                return print_json(&line);
            }
            Ok(writeln!(io::stdout(), "step {step}: evaluation loss {eval_loss:.6}")?)
        })
    }

    /// Tells of the end.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn end(&self, end: &End) -> Outcome {
        self.bar.finish_and_clear();
        if self.json {
            return print_json(end);
        }
        let mut stdout = io::stdout();
        match &end.adapter_sha256 {
            Some(adapter) => writeln!(stdout, "adapter {adapter}")?,
            None => writeln!(stdout, "weights {}", end.weights_sha256)?,
        }
        writeln!(stdout, "transcript {}", end.transcript_sha256)?;
        if let Some(dir) = &end.saved {
            writeln!(stdout, "saved in {dir}")?;
        }
        Ok(())
    }
}
