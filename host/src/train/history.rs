//! The steps of a training as a checkpoint keeps them, so that a receipt can tell of those before an interruption too.

use kernel::train::StepReport;

/// The tensor that holds them: U8 `[steps, ROW]`.
pub const TENSOR: &str = "steps";
/// Bytes of a step, little-endian: loss, norm of the gradients and learning rate (binary32 each), tokens (64 bits), and the digest of
/// the steps up to it.
pub const ROW: usize = 52;

/// The rows of all steps from the first one on.
pub fn rows(steps: &[StepReport]) -> Vec<u8> {
    let mut rows = Vec::with_capacity(steps.len() * ROW);
    for &StepReport { step: _, loss, grad_norm, tokens, learning_rate, digest } in steps {
        for value in [loss, grad_norm, learning_rate] {
            rows.extend(value.to_le_bytes());
        }
        rows.extend((tokens as u64).to_le_bytes());
        rows.extend(digest);
    }
    rows
}

/// The steps of these rows; none if the last row is cut.
pub fn steps(rows: &[u8]) -> Option<Vec<StepReport>> {
    let (rows, rest) = rows.as_chunks::<ROW>();
    rest.is_empty().then(|| rows.iter().zip(1..).map(|(row, step)| report(step, row)).collect())
}

fn report(step: u64, row: &[u8; ROW]) -> StepReport {
    let (values, rest) = row.split_at(12);
    let (tokens, digest) = rest.split_at(8);
    let value = |at: usize| f32::from_le_bytes(std::array::from_fn(|byte| values[at + byte]));
    StepReport {
        step,
        loss: value(0),
        grad_norm: value(4),
        learning_rate: value(8),
        tokens: u64::from_le_bytes(std::array::from_fn(|byte| tokens[byte])) as usize,
        digest: std::array::from_fn(|byte| digest[byte]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_back_as_they_were() {
        let step = |step: u64| StepReport {
            step,
            loss: step as f32 / 3.0,
            grad_norm: 1e-40,
            tokens: 70_000 + step as usize,
            learning_rate: -0.0,
            digest: [step as u8; 32],
        };
        let all: Vec<StepReport> = (1..4).map(step).collect();
        assert_eq!(steps(&rows(&all)), Some(all.clone()));
        assert_eq!(steps(&[]), Some(vec![]));
        assert_eq!(steps(&rows(&all)[1..]), None);
    }
}
