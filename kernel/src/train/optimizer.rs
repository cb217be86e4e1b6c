//! Optimisers and the schedule of their learning rate.

use crate::Exec;
use crate::ops::{AdamWTerms, adamw_step, momentum_step, sgd_step};
use alloc::vec;
use alloc::vec::Vec;

/// How gradients change weights. Hyper-parameters are binary64 and rounded once where a step uses them (N1).
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Optimizer {
    /// Gradient descent.
    Sgd {
        /// The part of the last step that goes on; 0 for none.
        momentum: f64,
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// The decay of the first moments.
        beta1: f64,
        /// The decay of the second moments.
        beta2: f64,
        /// What keeps the divisor from zero.
        eps: f64,
        /// The part of a weight that a step of rate 1 takes away.
        weight_decay: f64,
    },
}

impl Optimizer {
    /// AdamW with the moments' usual decay (0.9 and 0.999) and divisor (1e-8), those of PyTorch.
    pub const fn adamw(weight_decay: f64) -> Optimizer {
        Optimizer::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay }
    }
}

/// The learning rate over the steps.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Schedule {
    /// The highest rate.
    pub learning_rate: f64,
    /// Steps over which the rate rises to it, in equal parts.
    pub warmup: u64,
    /// For a cosine: the step at which the rate has fallen to zero. None: the rate stays.
    pub cosine_steps: Option<u64>,
}

impl Schedule {
    /// The rate of a step, which counts from 1.
    pub fn rate(&self, step: u64) -> f64 {
        if step <= self.warmup {
            return self.learning_rate * (step as f64 / self.warmup as f64);
        }
        match self.cosine_steps {
            None => self.learning_rate,
            Some(total) if step >= total => 0.0,
            Some(total) => {
                let done = (step - self.warmup) as f64 / (total - self.warmup) as f64;
                self.learning_rate * (0.5 * (1.0 + libm::cos(core::f64::consts::PI * done)))
            }
        }
    }
}

/// What an optimiser remembers of a parameter: nothing, the momentum, or both moments.
#[derive(Clone, Default, Debug)]
pub(super) struct Memory(pub Vec<Vec<f32>>);

impl Optimizer {
    /// What it remembers of a parameter once there was a step, by the names that PyTorch gives it.
    pub(super) fn remembers(self) -> &'static [&'static str] {
        match self {
            Optimizer::Sgd { momentum: 0.0 } => &[],
            Optimizer::Sgd { .. } => &["momentum_buffer"],
            Optimizer::AdamW { .. } => &["exp_avg", "exp_avg_sq"],
        }
    }

    /// The rate of plain gradient descent, which remembers nothing; none for anything else.
    pub(super) fn plain_rate(self, rate: f64) -> Option<f32> {
        (self == Optimizer::Sgd { momentum: 0.0 }).then_some(rate as f32)
    }

    /// Changes the weights `w` by their gradients `g`; `step` counts from 1.
    pub(super) fn step(self, exec: Exec<'_>, w: &mut [f32], g: &[f32], memory: &mut Memory, rate: f64, step: u64) {
        match self {
            Optimizer::Sgd { momentum: 0.0 } => sgd_step(exec, w, g, rate as f32),
            Optimizer::Sgd { momentum } => {
                memory.0.resize_with(1, || vec![0.0; w.len()]);
                momentum_step(exec, &mut memory.0[0], g, momentum as f32);
                sgd_step(exec, w, &memory.0[0], rate as f32);
            }
            Optimizer::AdamW { beta1, beta2, eps, weight_decay } => {
                memory.0.resize_with(2, || vec![0.0; w.len()]);
                let terms = AdamWTerms {
                    keep: (1.0 - rate * weight_decay) as f32,
                    beta1: beta1 as f32,
                    one_minus_beta1: (1.0 - beta1) as f32,
                    beta2: beta2 as f32,
                    one_minus_beta2: (1.0 - beta2) as f32,
                    rate: (rate / (1.0 - libm::pow(beta1, step as f64))) as f32,
                    root: libm::sqrt(1.0 - libm::pow(beta2, step as f64)) as f32,
                    eps: eps as f32,
                };
                if let [m, v] = &mut memory.0[..] {
                    adamw_step(exec, [w, m, v], g, terms);
                }
            }
        }
    }
}
