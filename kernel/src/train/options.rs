//! How to train, and the numbers that may say so.

use super::optimizer::{Optimizer, Schedule};
use core::fmt;

/// How to train.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TrainOptions {
    /// How gradients change weights.
    pub optimizer: Optimizer,
    /// The learning rate.
    pub schedule: Schedule,
    /// The largest norm of all gradients together; longer ones are scaled down to it.
    pub clip_norm: Option<f64>,
    /// Whether to compute activations again instead of keeping them: the same bits in less memory and more time.
    pub recompute: bool,
}

impl TrainOptions {
    /// Whether every number is in its range.
    ///
    /// # Errors
    /// With the first one that is not.
    pub fn check(&self) -> Result<(), OutOfRange> {
        Range::Positive.check("learning_rate", self.schedule.learning_rate)?;
        if let Some(norm) = self.clip_norm {
            Range::Positive.check("clip_norm", norm)?;
        }
        match self.optimizer {
            Optimizer::Sgd { momentum } => Range::Part.check("momentum", momentum),
            Optimizer::AdamW { beta1, beta2, eps, weight_decay } => {
                Range::Part.check("beta1", beta1)?;
                Range::Part.check("beta2", beta2)?;
                Range::Positive.check("eps", eps)?;
                Range::NotNegative.check("weight_decay", weight_decay)
            }
        }
    }
}

/// The numbers that a setting may be: as it is given, and rounded to binary32, in which steps compute with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Range {
    /// Above 0.
    Positive,
    /// At least 0.
    NotNegative,
    /// From 0 to below 1.
    Part,
}

/// A setting that is not in its range.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct OutOfRange {
    /// The setting.
    pub name: &'static str,
    /// What it is.
    pub value: f64,
    /// What it may be.
    pub range: Range,
}

impl Range {
    /// Whether `value` may be taken.
    pub fn contains(self, value: f64) -> bool {
        [value, f64::from(value as f32)].into_iter().all(|value| {
            value.is_finite()
                && match self {
                    Range::Positive => value > 0.0,
                    Range::NotNegative => value >= 0.0,
                    Range::Part => (0.0..1.0).contains(&value),
                }
        })
    }

    /// Whether the setting `name` may be `value`.
    ///
    /// # Errors
    /// If it may not.
    pub fn check(self, name: &'static str, value: f64) -> Result<(), OutOfRange> {
        if self.contains(value) { Ok(()) } else { Err(OutOfRange { name, value, range: self }) }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Range::Positive => "a number above 0 that binary32 can hold",
            Range::NotNegative => "a number of at least 0 that binary32 can hold",
            Range::Part => "a number from 0 to below 1, in binary32, too",
        })
    }
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, range } = self;
        write!(f, "{name} is {value:?}: give {range}")
    }
}

impl core::error::Error for OutOfRange {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_in_range_as_given_and_as_binary32() {
        for (range, good, bad) in [
            (Range::Positive, &[1e-45, 3.4e38][..], &[0.0, -1.0, 1e-46, 3.5e38, f64::NAN, f64::INFINITY][..]),
            (Range::NotNegative, &[0.0, 1e-46, 3.4e38], &[-1e-9, 3.5e38, f64::NAN, f64::INFINITY]),
            (Range::Part, &[0.0, 1e-46, 0.99999994], &[-1e-9, 0.99999999, 1.0, f64::NAN]),
        ] {
            assert!(good.iter().all(|value| range.contains(*value)), "{range:?}");
            bad.iter().for_each(|value| assert!(!range.contains(*value), "{range:?} {value}"));
        }
    }

    #[test]
    fn each_setting_has_its_range() {
        let schedule = Schedule { learning_rate: 0.1, warmup: 0, cosine_steps: None };
        let sgd =
            TrainOptions { optimizer: Optimizer::Sgd { momentum: 0.0 }, schedule, clip_norm: None, recompute: false };
        let adamw = |change: fn([&mut f64; 4])| {
            let [mut beta1, mut beta2, mut eps, mut weight_decay] = [0.9, 0.999, 1e-8, 0.0];
            change([&mut beta1, &mut beta2, &mut eps, &mut weight_decay]);
            TrainOptions { optimizer: Optimizer::AdamW { beta1, beta2, eps, weight_decay }, ..sgd }
        };
        assert_eq!((sgd.check(), adamw(|_| ()).check()), (Ok(()), Ok(())));
        for (options, name) in [
            (TrainOptions { schedule: Schedule { learning_rate: 0.0, ..schedule }, ..sgd }, "learning_rate"),
            (TrainOptions { clip_norm: Some(0.0), ..sgd }, "clip_norm"),
            (TrainOptions { optimizer: Optimizer::Sgd { momentum: 1.0 }, ..sgd }, "momentum"),
            (adamw(|[beta1, ..]| *beta1 = 1.0), "beta1"),
            (adamw(|[_, beta2, ..]| *beta2 = 1.0), "beta2"),
            (adamw(|[_, _, eps, _]| *eps = 0.0), "eps"),
            (adamw(|[.., weight_decay]| *weight_decay = -1.0), "weight_decay"),
        ] {
            assert_eq!(options.check().map_err(|error| error.name), Err(name));
        }
    }
}
