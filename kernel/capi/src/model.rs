//! Models: opened, read, and known by their digest.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use kernel::Exec;
use kernel::golden::{self, Tiny};
use kernel::model::{KvCache, Logits, Model, Workspace};
use kernel::ops::Weights;
use kernel::transcript::Sha256Digest;
use loader::digest::{TensorDigest, sha256, weights_digest};
use loader::{Access, Checkpoint, CheckpointError, Header, Part};

use crate::foreign;
use crate::status::{Failure, LockstepError, LockstepStatus, environment, given, guard, quietly};

/// A model: its shape and weights, which nothing changes.
pub struct LockstepModel {
    pub(crate) model: Arc<Model>,
    /// The files that the weights are in, where they are those of a checkpoint: its digest is that of the stored numbers.
    checkpoint: Option<Checkpoint>,
}

/// The numbers of a model's config.json that its user needs.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockstepShape {
    /// Tokens of the vocabulary: ids are below.
    pub vocab: usize,
    /// The most tokens of a text, prompt and output together.
    pub context: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub dim: usize,
}

/// A SHA-256 digest.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockstepDigest {
    /// Its bytes, the first one first.
    pub bytes: [u8; 32],
}

impl From<Sha256Digest> for LockstepDigest {
    fn from(bytes: Sha256Digest) -> LockstepDigest {
        LockstepDigest { bytes }
    }
}

impl LockstepModel {
    pub(crate) fn new(model: Model) -> Box<LockstepModel> {
        Box::new(LockstepModel { model: Arc::new(model), checkpoint: None })
    }

    fn load(config: &[u8], checkpoint: Checkpoint) -> Result<Box<LockstepModel>, Failure> {
        let config = session::config(config).map_err(refused)?;
        let model = session::model(config, &checkpoint).map_err(refused)?;
        Ok(Box::new(LockstepModel { model: Arc::new(model), checkpoint: Some(checkpoint) }))
    }

    fn weights_digest(&self) -> Sha256Digest {
        if let Some(checkpoint) = &self.checkpoint {
            return checkpoint.digest();
        }
        weights_digest(self.model.tensors().map(|(row, weights)| match weights {
            Weights::F32(values) => session::tensors::digest(&row, values),
            Weights::Bf16(values) => {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.0.to_le_bytes()).collect();
                let dtype = loader::DType::Bf16;
                TensorDigest { name: row.name, dtype, shape: row.shape, sha256: sha256(&bytes) }
            }
        }))
    }
}

fn refused(error: impl std::error::Error) -> Failure {
    Failure::new(LockstepStatus::Model, error)
}

/// Puts a new handle where the caller looks for it: null until there is one.
pub(crate) fn hand_over<T>(
    place: Option<&mut MaybeUninit<*mut T>>,
    error: Option<&mut MaybeUninit<LockstepError>>,
    make: impl FnOnce() -> Result<Box<T>, Failure>,
) -> LockstepStatus {
    guard(error, || {
        let place = given("the place for the handle", place)?;
        place.write(ptr::null_mut());
        place.write(Box::into_raw(make()?));
        Ok(())
    })
}

/// The name and version of the numeric contract that this library computes by.
#[unsafe(no_mangle)]
pub extern "C" fn lockstep_profile() -> *const c_char {
    const TEXT: &[u8] = kernel::transcript::PROFILE.as_bytes();
    static ENDED: [u8; TEXT.len() + 1] = {
        let mut ended = [0; TEXT.len() + 1];
        ended.split_at_mut(TEXT.len()).0.copy_from_slice(TEXT);
        ended
    };
    ENDED.as_ptr().cast()
}

/// Checks that this machine and this build compute the bits of the contract: some tens of milliseconds.
#[unsafe(no_mangle)]
pub extern "C" fn lockstep_self_test(error: Option<&mut MaybeUninit<LockstepError>>) -> LockstepStatus {
    guard(error, || {
        environment()?;
        golden::check(Exec::serial()).map_err(|error| Failure::new(LockstepStatus::Mismatch, error))
    })
}

/// Opens a model folder as Hugging Face lays it out: config.json, and model.safetensors or shards with an index.
///
/// The weights are mapped into memory, not read: nobody may change the files while the model is used. `folder` is UTF-8, or on
/// Unix whatever the system takes as a path.
///
/// # Safety
/// `folder` is null or a text that ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lockstep_model_open(
    folder: *const c_char,
    model: Option<&mut MaybeUninit<*mut LockstepModel>>,
    error: Option<&mut MaybeUninit<LockstepError>>,
) -> LockstepStatus {
    hand_over(model, error, || {
        // SAFETY: as this function asks for.
        let folder = unsafe { foreign::path("folder", folder) }?;
        let message = |what: &Path, error: &dyn std::error::Error| Failure {
            status: LockstepStatus::Model,
            message: format!("{}: {error}", what.display()),
        };
        let path = folder.join("config.json");
        let config = std::fs::read(&path).map_err(|error| message(&path, &error))?;
        let checkpoint = Checkpoint::open(&folder, Access::Map).map_err(|error| match error {
            // These name the folder themselves.
            CheckpointError::NotFound { .. } | CheckpointError::Io { .. } => {
                Failure { status: LockstepStatus::Model, message: error.to_string() }
            }
            error => message(&folder, &error),
        })?;
        LockstepModel::load(&config, checkpoint)
            .map_err(|failure| Failure { message: format!("{}: {}", folder.display(), failure.message), ..failure })
    })
}

/// A model from the bytes of a config.json and of a safetensors file, which are copied.
///
/// # Safety
/// `config` has `config_len` bytes, and `weights` has `weights_len`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lockstep_model_from_bytes(
    config: *const u8,
    config_len: usize,
    weights: *const u8,
    weights_len: usize,
    model: Option<&mut MaybeUninit<*mut LockstepModel>>,
    error: Option<&mut MaybeUninit<LockstepError>>,
) -> LockstepStatus {
    hand_over(model, error, || {
        // SAFETY: as this function asks for.
        let config = unsafe { foreign::slice("config", config, config_len) }?;
        // SAFETY: the same.
        let weights = unsafe { foreign::slice("weights", weights, weights_len) }?;
        let header = Header::parse(weights, weights.len() as u64).map_err(refused)?;
        let part = Part { file: "model.safetensors".to_owned(), header, bytes: Arc::new(weights.to_vec()) };
        LockstepModel::load(config, Checkpoint::from_parts(vec![part], None).map_err(refused)?)
    })
}

/// One of the two tiny models of the contract, 1 or 2, whose results docs/vectors/tiny.json has.
#[unsafe(no_mangle)]
pub extern "C" fn lockstep_model_tiny(
    number: u32,
    model: Option<&mut MaybeUninit<*mut LockstepModel>>,
    error: Option<&mut MaybeUninit<LockstepError>>,
) -> LockstepStatus {
    hand_over(model, error, || {
        let tiny = Tiny::ALL.into_iter().find(|tiny| tiny.number() == u64::from(number));
        let tiny = tiny.ok_or_else(|| Failure::argument(format!("there is no tiny model {number}: choose 1 or 2")))?;
        Ok(LockstepModel::new(tiny.model()))
    })
}

/// The model's shape.
#[unsafe(no_mangle)]
pub extern "C" fn lockstep_model_shape(
    model: Option<&LockstepModel>,
    shape: Option<&mut MaybeUninit<LockstepShape>>,
    error: Option<&mut MaybeUninit<LockstepError>>,
) -> LockstepStatus {
    guard(error, || {
        let (model, shape) = (given("model", model)?, given("shape", shape)?);
        let &kernel::model::Config { vocab, context, layers, dim, .. } = model.model.config();
        shape.write(LockstepShape { vocab, context, layers, dim });
        Ok(())
    })
}

/// The digest by which receipts and transcripts know the weights, of the stored numbers of all tensors. Reads all weights.
#[unsafe(no_mangle)]
pub extern "C" fn lockstep_model_weights_digest(
    model: Option<&LockstepModel>,
    digest: Option<&mut MaybeUninit<LockstepDigest>>,
    error: Option<&mut MaybeUninit<LockstepError>>,
) -> LockstepStatus {
    guard(error, || {
        let (model, digest) = (given("model", model)?, given("digest", digest)?);
        digest.write(model.weights_digest().into());
        Ok(())
    })
}

/// The logits of the token after `ids`: as many as the vocabulary has tokens, which is `logits_len`.
///
/// # Safety
/// `ids` has `ids_len` values, and `logits` has `logits_len` places.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lockstep_model_logits(
    model: Option<&LockstepModel>,
    ids: *const u32,
    ids_len: usize,
    logits: *mut f32,
    logits_len: usize,
    error: Option<&mut MaybeUninit<LockstepError>>,
) -> LockstepStatus {
    guard(error, || {
        let model = &given("model", model)?.model;
        // SAFETY: as this function asks for.
        let ids = unsafe { foreign::slice("ids", ids, ids_len) }?;
        let vocab = model.config().vocab;
        if logits_len != vocab {
            return Err(Failure::argument(format!("logits has {logits_len} places for {vocab} values")));
        }
        environment()?;
        let (mut cache, mut workspace) = (KvCache::new(model.config()), Workspace::default());
        let read = model.forward(Exec::serial(), &mut cache, ids, Logits::Last, &mut workspace);
        read.map_err(|error| Failure::new(LockstepStatus::Argument, error))?;
        // SAFETY: as this function asks for.
        unsafe { foreign::write("logits", logits, logits_len, &workspace.logits()[..vocab]) }
    })
}

/// Ends a handle.
#[unsafe(no_mangle)]
pub extern "C" fn lockstep_model_free(model: Option<Box<LockstepModel>>) {
    quietly(|| drop(model));
}

/// Threads may share a model, and any handle may go to another thread.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn sent<T: Send>() {}
    shared::<LockstepModel>();
    sent::<crate::LockstepGeneration>();
    sent::<crate::LockstepTrainer>();
};
