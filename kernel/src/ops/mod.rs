//! The operators, one a file: the public function, which shares its outputs out among threads, and right below it the one
//! body for all instruction sets.
//!
//! All matrices are row-major. Every operator computes each output in the order that rule N12 gives, so none depends on
//! the threads, on the number of tokens, or on what else is computed with it (N10, N11). Lengths that do not fit are a bug
//! of the caller and panic, with the operator's name and the numbers.

mod adamw;
mod attention;
mod attention_backward;
mod cross_entropy;
mod embedding;
mod keys;
mod log_probability;
mod lora;
mod matmul;
mod matmul_descent;
mod matmul_gradients;
mod matmul_weights;
mod queries;
mod residual;
mod rmsnorm;
mod rope;
mod sgd;
mod softmax;
mod squares;
mod swiglu;

pub use adamw::{AdamWTerms, adamw_step};
pub use attention::{AttentionDims, attention_forward};
pub use attention_backward::{AttentionScratch, attention_backward};
pub use cross_entropy::{cross_entropy_backward, cross_entropy_forward};
pub use embedding::{embedding_backward, embedding_forward};
pub use keys::Keys;
pub use log_probability::log_probability_forward;
pub(crate) use log_probability::{log_normalisers, log_probability};
pub use lora::{Lora, lora_backward, lora_forward, lora_merge};
pub use matmul::{matmul_forward, matmul_forward_each};
pub use matmul_descent::{matmul_backward_sgd_step, waiting_sums};
pub use matmul_gradients::{matmul_backward_bias, matmul_backward_input};
pub use matmul_weights::{matmul_backward_weight, matmul_sgd_step};
pub use residual::residual_forward;
pub use rmsnorm::{rmsnorm_backward, rmsnorm_forward};
pub use rope::{RopeAngles, RopeScaling, RopeTable, rope_backward, rope_forward};
pub use sgd::{momentum_step, scale_step, sgd_step};
pub use softmax::{softmax_backward, softmax_forward};
pub use squares::squares_forward;
pub use swiglu::{swiglu_backward, swiglu_forward};

use crate::simd::{Bf16, Weight};
use alloc::borrow::Cow;

/// Stored weights in one of the widths that operators read (N1); row-major where they are a matrix.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// binary32
    F32(&'a [f32]),
    /// bfloat16, widened exactly as it is read
    Bf16(&'a [Bf16]),
}

impl<'a> Weights<'a> {
    /// The weights in binary32: where they are, or widened, which is exact (N1).
    pub fn widened(self) -> Cow<'a, [f32]> {
        match self {
            Weights::F32(w) => Cow::Borrowed(w),
            Weights::Bf16(w) => w.iter().map(|w| w.widen()).collect(),
        }
    }

    /// The number of weights.
    pub fn len(&self) -> usize {
        match self {
            Weights::F32(w) => w.len(),
            Weights::Bf16(w) => w.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
