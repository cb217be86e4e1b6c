//! `lockstep train`: changes all weights, or an adapter, so that a text becomes likely.

mod method;
mod report;

use std::fs;

use kernel::Exec;
use kernel::model::Sequence;
use kernel::train::{Optimizer, Order, Schedule, TrainOptions, Trainer};
use kernel::transcript::{Identity, PROFILE, TrainingTranscript, data_digest, hex};
use serde_json::json;
use session::adapter::{adapter_digest, export};
use session::data::{Reader, text};
use session::tensors::{model_digest, trained};

use crate::open::Opened;
use crate::pool::ThreadPool;
use crate::save::{Target, write_adapter, write_model};
use crate::{Failure, Outcome, cli};
use method::Method;
use report::{End, Reporter};

/// Runs the command: a line for each step and one for the end on stdout, JSON objects with `--json`.
///
/// # Errors
/// If the model cannot be opened, there is nothing to learn from, a loss, gradient or weight is not a finite number (then
/// nothing is saved), or the folder cannot be written.
pub fn train(arguments: cli::Train) -> Outcome {
    let options = options(&arguments)?;
    let method = Method::new(&arguments)?;
    let target = arguments.save.as_deref().map(Target::new).transpose()?;
    let opened = arguments.model.open(arguments.context)?;
    let base_model = method.begin(&opened, arguments.seed)?;
    let sequences = sequences(&arguments, &opened)?;
    let pool = ThreadPool::new(arguments.threads.count())?;
    let exec = Exec { backend: arguments.model.backend, pool: &pool };
    let base_digest = opened.weights_digest();

    let steps = arguments.steps.get();
    let mut reporter = Reporter::new(steps, arguments.json);
    let mut trainer = Trainer::new(&base_model, options);
    let mut order = Order::new(arguments.seed, sequences.len() as u32);
    let mut chain = [0; 32];
    let size = arguments.batch_size.get() as u64;
    for step in 0..steps {
        let batch: Vec<Sequence> = (0..size).map(|i| sequences[order.at(step * size + i)].clone()).collect();
        let report = trainer.step(exec, &batch)?;
        chain = report.digest;
        reporter.step(&report)?;
    }

    let model = trainer.into_model()?;
    let (learnt, adapter) = (model_digest(&model), adapter_digest(&model));
    let base = base_digest.join().map_err(|_| Failure::from("the weights could not be hashed"))?;
    // A new adapter's digest covers its rank, alpha, targets and seed.
    let identity = Identity { adapter: adapter_digest(&base_model), ..opened.identity(base) };
    let base_adapter = identity.adapter.as_ref().map(hex);
    let weights = if adapter.is_some() { base } else { learnt };
    let data = data_digest(&sequences);
    let transcript = TrainingTranscript { base: identity, data, options, steps: chain, trained: learnt }.digest();
    let saved = target.map(|target| {
        let dtype = arguments.dtype.dtype();
        let provenance = json!({
            "source": "trained",
            "base": {
                "name": opened.name,
                "weights_sha256": hex(&base),
                "adapter_sha256": base_adapter,
                "provenance": opened.provenance,
            },
            "tool": concat!("lockstep ", env!("CARGO_PKG_VERSION")),
            "profile": PROFILE,
            "steps": steps,
            "data_sha256": hex(&data),
            "trained_weights_sha256": hex(&weights),
            "adapter_sha256": adapter.as_ref().map(hex),
            "transcript_sha256": hex(&transcript),
            "dtype": dtype.name(),
        });
        target.fill(|folder| match export(&model, &opened.name) {
            Some(files) => write_adapter(folder, &files, &provenance).map(|()| None),
            None => {
                let tensors = trained(&model).map(|(row, values)| (row, values.into()));
                write_model(folder, &opened.dir, tensors, dtype, &provenance).map(Some)
            }
        })
    });
    reporter.end(&End {
        steps,
        weights_sha256: hex(&weights),
        adapter_sha256: adapter.as_ref().map(hex),
        transcript_sha256: hex(&transcript),
        base_weights_sha256: hex(&base),
        base_adapter_sha256: base_adapter,
        tokenizer_sha256: hex(&opened.tokenizer_sha256),
        data_sha256: hex(&data),
        saved_weights_sha256: saved.transpose()?.flatten().as_ref().map(hex),
        saved: arguments.save.map(|dir| dir.display().to_string()),
        model: opened.name,
        profile: PROFILE,
        backend: exec.backend.name(),
        threads: arguments.threads.count(),
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
        cli::OptimizerName::AdamW => Optimizer::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay },
    };
    let cosine = arguments.schedule == cli::ScheduleName::Cosine;
    let schedule = Schedule {
        learning_rate: arguments.learning_rate,
        warmup: arguments.warmup,
        cosine_steps: cosine.then_some(arguments.steps.get()),
    };
    Ok(TrainOptions { optimizer, schedule, clip_norm: arguments.clip_norm, recompute: arguments.recompute.recompute })
}

/// What there is to learn from.
fn sequences(arguments: &cli::Train, opened: &Opened) -> Result<Vec<Sequence>, Failure> {
    let (special, context) = (arguments.special.mode(), opened.model.config().context);
    let source = &arguments.source;
    let Some(path) = &source.data else {
        let tokens = opened.tokenizer.encode(source.text.as_deref().unwrap_or_default(), special);
        return Ok(vec![text(tokens, context)?]);
    };
    let lines = fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let tokenizer_config = opened.tokenizer_config()?;
    let reader = Reader {
        tokenizer: &opened.tokenizer,
        special,
        tokenizer_config: tokenizer_config.as_deref(),
        context,
        truncate: arguments.truncate,
    };
    reader.lines(&lines).map_err(|error| format!("{}: {error}", path.display()).into())
}
