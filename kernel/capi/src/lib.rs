//! Lockstep as a C library; `include/lockstep.h`, which cbindgen writes from here, is its documentation for users.
//!
//! Handles and outputs are references and boxes, which are pointers to C: where one may be null it is an `Option`, so that the
//! compiler asks for the check. What it cannot ask for is in `foreign.rs`: a pointer with a length, and text. Every function goes
//! through [`status::guard`], which turns a failure into a number and a message, and a panic too: none may reach C.

mod foreign;
mod generation;
mod model;
mod status;
mod training;

pub use generation::{
    LockstepFinish, LockstepGeneration, LockstepSampling, LockstepStep, lockstep_generation_free,
    lockstep_generation_new, lockstep_generation_next, lockstep_generation_transcript, lockstep_sampling_greedy,
};
pub use model::{
    LockstepDigest, LockstepModel, LockstepShape, lockstep_model_free, lockstep_model_from_bytes,
    lockstep_model_logits, lockstep_model_open, lockstep_model_shape, lockstep_model_tiny,
    lockstep_model_weights_digest, lockstep_profile, lockstep_self_test,
};
pub use status::{LOCKSTEP_MESSAGE_SIZE, LockstepError, LockstepStatus};
pub use training::{
    LockstepOptimizer, LockstepReport, LockstepTrainer, LockstepTraining, lockstep_trainer_free,
    lockstep_trainer_model, lockstep_trainer_new, lockstep_trainer_step, lockstep_training_defaults,
};
