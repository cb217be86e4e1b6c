//! Checkpoints: what a training needs to go on with the same bits, in one file.
//!
//! `DIR/checkpoint.safetensors` holds [`Trainer::state`], all F32, what the steps so far did ([`history`]), and as metadata the
//! step, the digest of the steps, the digest of the tensors, and everything else that decides the bits of the training (see
//! [`settings`]). It is written beside its place and renamed, so the file that stands there is always a whole one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{error, fmt, fs, io};

use kernel::model::{LoraConfig, Model};
use kernel::train::{Optimizer, Position, ResumeError, StepReport, TrainError, TrainOptions, Trainer};
use kernel::transcript::{Identity, PROFILE, Sha256Digest};
use loader::digest::{TensorDigest, from_hex, hex, sha256, weights_digest};
use loader::{Access, Checkpoint, DType, TensorSource, WriteError, write_safetensors};
use session::tensors::{digest, little_endian};

use super::history;

/// The file's name in its folder.
const FILE: &str = "checkpoint.safetensors";
/// The version of the format, under its key.
const FORMAT: (&str, &str) = ("format", "lockstep-checkpoint/1");
const STEP: &str = "step";
const STEPS_DIGEST: &str = "steps_sha256";
const TENSORS_DIGEST: &str = "tensors_sha256";

/// Why a checkpoint was not written, or cannot be gone on from.
#[derive(Debug)]
pub enum CheckpointError {
    /// The system refused.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        error: io::Error,
    },
    /// There is a checkpoint already, and nobody asked to go on from it.
    Taken(PathBuf),
    /// The file is not a whole safetensors file.
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: loader::CheckpointError,
    },
    /// The file is no checkpoint, or one of another version.
    Format {
        /// The file.
        path: PathBuf,
        /// The key of its metadata, or the tensor, that is missing or unknown.
        key: &'static str,
    },
    /// The tensors are not those that were written.
    Damaged(PathBuf),
    /// The training was another one.
    Differs {
        /// The file.
        path: PathBuf,
        /// What is different.
        name: &'static str,
        /// Its value in the checkpoint.
        found: String,
        /// Its value in this training.
        expected: String,
    },
    /// The training has come further than it is to go.
    Beyond {
        /// The file.
        path: PathBuf,
        /// Its step.
        step: u64,
        /// The steps asked for.
        steps: u64,
    },
    /// The tensors do not fit.
    State {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: ResumeError,
    },
    /// There is nothing to go on from any more.
    Train(TrainError),
    /// The file could not be written; the one before it is still there.
    Write(WriteError),
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Taken(path) => write!(
                f,
                "{} is there already: go on from it with --resume, or name another folder with --checkpoint",
                path.display()
            ),
            Self::File { path, error } => {
                write!(f, "{} is damaged ({error}); remove it to train from the beginning", path.display())
            }
            Self::Format { path, key } => {
                write!(f, "{} is no checkpoint of this version of lockstep: it lacks a valid {key:?}", path.display())
            }
            Self::Damaged(path) => write!(
                f,
                "{} is damaged: its tensors have another digest than when they were written; remove it to train from the \
                 beginning",
                path.display()
            ),
            Self::Differs { path, name, found, expected } => write!(
                f,
                "{} is of another training: {name} is {found} there and {expected} here; train as before, or name another \
                 folder with --checkpoint",
                path.display()
            ),
            Self::Beyond { path, step, steps } => write!(
                f,
                "{} is at step {step} already, and --steps {steps} ends before it; ask for at least {step} steps in all",
                path.display()
            ),
            Self::State { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Train(error) => write!(f, "no checkpoint is written: {error}"),
            Self::Write(error) => write!(f, "{error}; the checkpoint before it is as it was"),
        }
    }
}

impl error::Error for CheckpointError {}

/// Everything but the step that decides the bits of a training, by name: what a checkpoint is compared by, in this order.
pub fn settings(
    options: &TrainOptions,
    adapter: Option<&LoraConfig>,
    (batch_size, seed): (usize, u64),
    base: &Identity,
    data: &Sha256Digest,
) -> Vec<(&'static str, String)> {
    let &TrainOptions { optimizer, schedule, clip_norm, recompute: _ } = options;
    let none = || "none".to_string();
    let (name, numbers) = match optimizer {
        Optimizer::Sgd { momentum } => ("sgd", vec![("momentum", momentum)]),
        Optimizer::AdamW { beta1, beta2, eps, weight_decay } => {
            ("adamw", vec![("beta1", beta1), ("beta2", beta2), ("eps", eps), ("weight_decay", weight_decay)])
        }
    };
    // A binary64 is written with as many digits as tell it from all others.
    let numbers = numbers.into_iter().map(|(name, value)| (name, value.to_string()));
    let kinds = [
        ("profile", PROFILE.to_string()),
        ("method", if adapter.is_some() { "lora" } else { "full" }.to_string()),
        ("optimizer", name.to_string()),
    ];
    let others = [
        ("learning_rate", schedule.learning_rate.to_string()),
        ("warmup", schedule.warmup.to_string()),
        ("cosine_steps", schedule.cosine_steps.map_or_else(none, |steps| steps.to_string())),
        ("clip_norm", clip_norm.map_or_else(none, |norm| norm.to_string())),
        ("batch_size", batch_size.to_string()),
        ("seed", seed.to_string()),
        ("base_weights_sha256", hex(&base.weights)),
        ("tokenizer_sha256", hex(&base.tokenizer)),
        ("data_sha256", hex(data)),
    ];
    let adapter = adapter.into_iter().flat_map(|lora| {
        let digest = base.adapter.as_ref().map_or_else(none, |sha256| hex(sha256));
        let (rank, alpha) = (lora.rank().to_string(), lora.alpha().to_string());
        [("rank", rank), ("alpha", alpha), ("targets", lora.targets().join(",")), ("base_adapter_sha256", digest)]
    });
    kinds.into_iter().chain(numbers).chain(others).chain(adapter).collect()
}

/// The checkpoints of a training: where they are, and how often they are written.
#[derive(Debug)]
pub struct Checkpoints {
    path: PathBuf,
    every: u64,
    settings: Vec<(&'static str, String)>,
}

impl Checkpoints {
    /// The checkpoints in the folder `dir`, which is made where there is none. What a process that was killed left of its
    /// last one is removed.
    ///
    /// # Errors
    /// If the folder cannot be made or read.
    pub fn new(dir: &Path, every: u64, settings: Vec<(&'static str, String)>) -> Result<Checkpoints, CheckpointError> {
        let refused = |error| CheckpointError::Io { path: dir.to_path_buf(), error };
        fs::create_dir_all(dir).map_err(refused)?;
        for entry in fs::read_dir(dir).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!(".{FILE}.")) && name.ends_with(".tmp") {
                fs::remove_file(entry.path()).map_err(refused)?;
            }
        }
        Ok(Checkpoints { path: dir.join(FILE), every, settings })
    }

    /// A trainer that begins anew, or goes on from the checkpoint where there is one and `resume` asks for that; with the steps
    /// that it has made.
    ///
    /// # Errors
    /// If there is a checkpoint and `resume` is false; if it is damaged, of another training, or further than `steps`.
    pub fn trainer(
        &self,
        base: &Model,
        options: TrainOptions,
        steps: u64,
        resume: bool,
    ) -> Result<(Trainer, Vec<StepReport>), CheckpointError> {
        let path = &self.path;
        match (path.exists(), resume) {
            (true, true) => self.read(base, options, steps),
            (true, false) => Err(CheckpointError::Taken(path.clone())),
            (false, resume) => {
                if resume {
                    tracing::info!("there is no {} yet: the training begins with step 1", path.display());
                }
                Ok((Trainer::new(base, options), Vec::new()))
            }
        }
    }

    fn read(
        &self,
        base: &Model,
        options: TrainOptions,
        steps: u64,
    ) -> Result<(Trainer, Vec<StepReport>), CheckpointError> {
        let path = || self.path.clone();
        let file = Checkpoint::open_file(&self.path, Access::Map)
            .map_err(|error| CheckpointError::File { path: path(), error })?;
        let metadata = file.shards()[0].header().metadata();
        let value = |key: &str| metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let lacks = |key| CheckpointError::Format { path: path(), key };
        let hash = |key| value(key).and_then(from_hex).ok_or(lacks(key));
        value(FORMAT.0).filter(|version| *version == FORMAT.1).ok_or(lacks(FORMAT.0))?;
        let step = value(STEP).and_then(|step| step.parse().ok()).ok_or(lacks(STEP))?;
        for (name, expected) in &self.settings {
            let found = value(name).unwrap_or("none");
            if found != expected {
                let (name, found, expected) = (*name, found.to_string(), expected.clone());
                return Err(CheckpointError::Differs { path: path(), name, found, expected });
            }
        }
        if step > steps {
            return Err(CheckpointError::Beyond { path: path(), step, steps });
        }
        let position = Position { step, digest: hash(STEPS_DIGEST)? };
        if hash(TENSORS_DIGEST)? != file.digest() {
            return Err(CheckpointError::Damaged(path()));
        }
        let history = file.tensor_bytes(history::TENSOR).and_then(history::steps).ok_or(lacks(history::TENSOR))?;
        if (history.len() as u64, history.last().map(|last| last.digest)) != (step, Some(position.digest)) {
            return Err(CheckpointError::Damaged(path()));
        }
        let trainer = Trainer::resume(base, options, position, &|name| session::tensor(&file, name).ok().flatten());
        trainer.map(|trainer| (trainer, history)).map_err(|error| CheckpointError::State { path: path(), error })
    }

    /// Writes a checkpoint after every so many steps, and after the last one; `steps` are all that were made.
    ///
    /// # Errors
    /// If a value is not a finite number, or the system refuses; the checkpoint before is still there then.
    pub fn after_step(&self, trainer: &mut Trainer, steps: &[StepReport], last: bool) -> Result<(), CheckpointError> {
        let position = trainer.position();
        if !last && !position.step.is_multiple_of(self.every) {
            return Ok(());
        }
        let tensors = trainer.state().map_err(CheckpointError::Train)?;
        let (rows, shape) = (history::rows(steps), [steps.len(), history::ROW]);
        let digests = tensors.iter().map(|tensor| digest(&tensor.parameter, tensor.values)).chain([TensorDigest {
            name: history::TENSOR.to_string(),
            dtype: DType::U8,
            shape: shape.to_vec(),
            sha256: sha256(&rows),
        }]);
        let own = [
            (FORMAT.0, FORMAT.1.to_string()),
            (STEP, position.step.to_string()),
            (STEPS_DIGEST, hex(&position.digest)),
            (TENSORS_DIGEST, hex(&weights_digest(digests))),
        ];
        let metadata = self.settings.iter().cloned().chain(own).map(|(key, value)| (key.to_string(), value));
        let metadata: BTreeMap<String, String> = metadata.collect();
        let bytes: Vec<_> = tensors.iter().map(|tensor| little_endian(tensor.values)).collect();
        let sources = tensors.iter().zip(&bytes).map(|(tensor, bytes)| TensorSource {
            name: &tensor.parameter.name,
            dtype: DType::F32,
            shape: &tensor.parameter.shape,
            bytes,
        });
        let history = TensorSource { name: history::TENSOR, dtype: DType::U8, shape: &shape, bytes: &rows };
        write_safetensors(&self.path, &sources.chain([history]).collect::<Vec<_>>(), &metadata)
            .map_err(CheckpointError::Write)
    }
}
