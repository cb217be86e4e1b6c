//! Why a training cannot go on.

use alloc::string::String;
use core::fmt;

/// Why a step was not done, or not completely.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrainError {
    /// No token of the batch counts as a target.
    NoTargets,
    /// A sequence has more tokens than the model has positions.
    Context {
        /// Its tokens.
        tokens: usize,
        /// The model's positions.
        context: usize,
    },
    /// A token is not in the vocabulary.
    Token {
        /// The token.
        token: u32,
        /// Tokens of the vocabulary.
        vocab: usize,
    },
    /// The loss is not a finite number; no weight was changed.
    Loss {
        /// The step.
        step: u64,
    },
    /// A gradient, or the norm of all up to it, is not a finite number; weights may have been changed before it was found,
    /// and the trainer is closed.
    Gradient {
        /// The step.
        step: u64,
        /// The parameter.
        tensor: String,
    },
    /// A weight, or what the optimiser remembers of it, is not a finite number; the trainer is closed.
    Weight {
        /// The last step that was done.
        step: u64,
        /// The parameter.
        tensor: String,
    },
    /// The loss of data that was set apart is not a finite number.
    Evaluation {
        /// The last step that was done.
        step: u64,
    },
    /// An earlier step closed the trainer.
    Closed,
}

impl fmt::Display for TrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTargets => f.write_str(
                "there is nothing to learn from: a text needs at least 2 tokens, and some of them must count",
            ),
            Self::Context { tokens, context } => {
                write!(f, "a text of {tokens} tokens exceeds the context of {context} tokens; split or shorten it")
            }
            Self::Token { token, vocab } => {
                write!(f, "token {token} is outside the vocabulary, whose ids end at {}", vocab - 1)
            }
            Self::Loss { step } => write!(
                f,
                "step {step}: the loss is not a finite number; no weight was changed. Choose a lower learning rate"
            ),
            Self::Gradient { step, tensor } => write!(
                f,
                "step {step}: the gradient of {tensor} or its norm is not a finite number; training cannot go on from here. \
                 Reset to the base weights or to the last checkpoint, and choose a lower learning rate"
            ),
            Self::Weight { step, tensor } => write!(
                f,
                "after step {step} the weights of {tensor} are not all finite numbers; training cannot go on from here. \
                 Reset to the base weights or to the last checkpoint, and choose a lower learning rate"
            ),
            Self::Evaluation { step } => write!(
                f,
                "after step {step} the loss of the evaluation data is not a finite number. Choose a lower learning rate"
            ),
            Self::Closed => f.write_str("training has failed before; reset to the base weights or to a checkpoint"),
        }
    }
}

impl core::error::Error for TrainError {}
