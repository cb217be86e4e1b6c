//! `lockstep train`: changes all weights, or an adapter, so that a text becomes likely.

mod checkpoint;
mod data;
mod history;
mod method;
mod report;
mod trained;

use std::cell::LazyCell;

use kernel::train::{Optimizer, Schedule, TrainOptions, Trainer};
use kernel::transcript::{Identity, PROFILE, data_digest, hex};
use session::Batches;
use session::adapter::adapter_digest;
use session::memory::{Plan, training_bytes};
use session::receipt::{Receipt, TrainingTerms};

use crate::open::HashError;
use crate::receipt::{Issue, IssueError};
use crate::save::Target;
use crate::{Outcome, cli, memory};
use checkpoint::{Checkpoints, settings};
use data::Data;
use method::Method;
use report::{End, Reporter};
use trained::{Course, Trained};

/// Runs the command: a line for each step and evaluation, and one for the end, on stdout, JSON objects with `--json`.
///
/// # Errors
/// If the model cannot be opened, there is nothing to learn from, the memory does not suffice, a loss, gradient or weight is
/// not a finite number (then nothing is saved), a checkpoint cannot be gone on from, or a file cannot be written.
pub fn train(arguments: cli::Train) -> Outcome {
    let options = options(&arguments)?;
    let method = Method::new(&arguments)?;
    let target = arguments.save.as_deref().map(Target::new).transpose()?;
    let opened = arguments.compute.open()?;
    let base_model = method.begin(&opened, arguments.seed)?;
    let data = Data::read(&arguments, &opened)?;
    let data_sha256 = data_digest(&data.sequences);
    let size = arguments.batch_size.get();
    let plan = Plan {
        tokens: data.longest(),
        optimizer: options.optimizer,
        recompute: options.recompute,
        hold_gradients: size > 1 || options.clip_norm.is_some(),
        adapter: base_model.adapter(),
    };
    memory::require("this training", training_bytes(base_model.config(), plan), advice(plan))?;
    let issue = Issue::new(&arguments.receipt)?;
    if let Some(issue) = &issue {
        Receipt::check_training_limits(arguments.steps.get(), &data.sequences, size, issue.private)
            .map_err(IssueError::Receipt)?;
    }
    let pool = arguments.compute.pool()?;
    let exec = arguments.compute.exec(&pool);
    let base_digest = opened.weights_digest();
    // Hashed beside the computation, unless a checkpoint needs it before. A new adapter's digest covers its rank, alpha,
    // targets and seed.
    let identity = LazyCell::new(|| {
        let base = base_digest.finish()?;
        Ok::<_, HashError>(Identity { adapter: adapter_digest(&base_model), ..opened.identity(base) })
    });

    let steps = arguments.steps.get();
    let cli::Checkpointing { checkpoint, checkpoint_every, resume } = &arguments.checkpoints;
    let checkpoints = match checkpoint {
        Some(dir) => {
            let base = (*identity).clone()?;
            let settings = settings(&options, base_model.adapter(), (size, arguments.seed), &base, &data_sha256);
            Some(Checkpoints::new(dir, checkpoint_every.get(), settings)?)
        }
        None => None,
    };
    let (mut trainer, mut reports) = match &checkpoints {
        Some(checkpoints) => checkpoints.trainer(&base_model, options, steps, *resume)?,
        None => (Trainer::new(&base_model, options), Vec::new()),
    };
    let mut reporter = Reporter::new(trainer.position().step, steps, arguments.json);
    let mut batches = Batches::new(&data.sequences, arguments.seed, size);
    while trainer.position().step < steps {
        let report = trainer.step(exec, &batches.after(trainer.position().step))?;
        reporter.step(&report)?;
        reports.push(report);
        let (step, last) = (report.step, report.step == steps);
        let told = last || arguments.evaluate.eval_every.is_some_and(|every| step.is_multiple_of(every.get()));
        if told && !data.evaluation.is_empty() {
            reporter.evaluation(step, trainer.evaluate(exec, &data.evaluation)?)?;
        }
        if let Some(checkpoints) = &checkpoints {
            checkpoints.after_step(&mut trainer, &reports, last)?;
        }
    }

    let course =
        Course { base: (*identity).clone()?, data: data_sha256, options, steps: (steps, trainer.position().digest) };
    let trained = Trained::new(trainer.into_model()?, course);
    let base = &trained.course.base;
    let saved = target.map(|target| trained.save(&target, arguments.dtype.dtype(), &opened));
    if let Some(issue) = issue {
        let terms = TrainingTerms {
            base,
            adapter: method.new_adapter(&base_model, arguments.seed),
            options: &options,
            batch_size: size,
            seed: arguments.seed,
            data: &data.sequences,
            private: issue.private,
        };
        issue.write(terms.receipt(&reports, trained.learnt()))?;
    }
    reporter.end(&End {
        steps,
        weights_sha256: hex(&trained.weights),
        adapter_sha256: trained.adapter.as_ref().map(hex),
        transcript_sha256: hex(&trained.transcript),
        base_weights_sha256: hex(&base.weights),
        base_adapter_sha256: base.adapter.as_ref().map(hex),
        tokenizer_sha256: hex(&opened.tokenizer_sha256),
        data_sha256: hex(&data_sha256),
        eval_data_sha256: (!data.evaluation.is_empty()).then(|| hex(&data_digest(&data.evaluation))),
        saved_weights_sha256: saved.transpose()?.flatten().as_ref().map(hex),
        saved: arguments.save.map(|dir| dir.display().to_string()),
        model: opened.name,
        profile: PROFILE,
        backend: exec.backend.name(),
        threads: arguments.compute.threads.count(),
    })
}

/// The hyper-parameters, where they fit together.
fn options(arguments: &cli::Train) -> Result<TrainOptions, &'static str> {
    let &cli::Train { momentum, weight_decay, .. } = arguments;
    let optimizer = match arguments.optimizer {
        cli::OptimizerName::Sgd if weight_decay != 0.0 => {
            return Err("--weight-decay goes with --optimizer adamw: sgd has no weight decay here");
        }
        cli::OptimizerName::AdamW if momentum != 0.0 => {
            return Err("--momentum goes with --optimizer sgd: adamw has its own moments");
        }
        cli::OptimizerName::Sgd => Optimizer::Sgd { momentum },
        cli::OptimizerName::AdamW => Optimizer::adamw(weight_decay),
    };
    let cosine = arguments.schedule == cli::ScheduleName::Cosine;
    let schedule = Schedule {
        learning_rate: arguments.learning_rate,
        warmup: arguments.warmup,
        cosine_steps: cosine.then_some(arguments.steps.get()),
    };
    Ok(TrainOptions { optimizer, schedule, clip_norm: arguments.clip_norm, recompute: arguments.recompute.recompute })
}

/// What makes a training that does not fit into memory smaller.
fn advice(plan: Plan<'_>) -> Vec<&'static str> {
    let adamw = matches!(plan.optimizer, Optimizer::AdamW { .. });
    [
        (!plan.recompute, "--recompute"),
        (true, "shorter texts (--ctx-size N with --truncate)"),
        (plan.hold_gradients, "--batch-size 1 without --clip-norm"),
        (adamw, "--optimizer sgd"),
        (plan.adapter.is_none(), "an adapter (--method lora)"),
    ]
    .into_iter()
    .filter_map(|(helps, what)| helps.then_some(what))
    .collect()
}
