//! What changes weights: steps of the optimisers, the norm of a gradient, and the merge of an adapter.

use crate::forward::{DIM, HIDDEN, RANK};
use crate::{Case, numbers};
use kernel::ops::*;

/// Weights of one tensor: more than the caches of a core hold.
const WEIGHTS: usize = 8 * HIDDEN * DIM;

/// One case for every operator.
pub fn cases() -> Vec<Case> {
    let g = numbers(WEIGHTS, 1);
    let (g1, g2, g3) = (g.clone(), g.clone(), g.clone());
    let terms = AdamWTerms {
        keep: 0.9999,
        beta1: 0.9,
        one_minus_beta1: 0.1,
        beta2: 0.999,
        one_minus_beta2: 0.001,
        rate: 0.01,
        root: 0.0316,
        eps: 1e-8,
    };
    let before = || numbers(WEIGHTS, 2);
    let (a, b) = (numbers(RANK * DIM, 3), numbers(8 * HIDDEN * RANK, 4));
    vec![
        Case::new(format!("sgd_step [{WEIGHTS}]"), 2 * WEIGHTS, 12 * WEIGHTS, before(), move |exec, w| {
            sgd_step(exec, w, &g, 0.001);
        }),
        Case::new(format!("momentum_step [{WEIGHTS}]"), 2 * WEIGHTS, 12 * WEIGHTS, before(), move |exec, v| {
            momentum_step(exec, v, &g1, 0.9);
        }),
        Case::new(format!("scale_step [{WEIGHTS}]"), WEIGHTS, 8 * WEIGHTS, before(), |exec, g| {
            scale_step(exec, g, 0.5);
        }),
        Case::new(
            format!("adamw_step [{WEIGHTS}]"),
            15 * WEIGHTS,
            28 * WEIGHTS,
            // The second moments are not negative.
            [before(), before(), vec![0.25; WEIGHTS]].concat(),
            move |exec, state| {
                let (w, moments) = state.split_at_mut(WEIGHTS);
                let (m, v) = moments.split_at_mut(WEIGHTS);
                adamw_step(exec, [w, m, v], &g2, terms);
            },
        ),
        Case::new(
            format!("squares_forward [{}, {DIM}]", 8 * HIDDEN),
            2 * WEIGHTS,
            4 * WEIGHTS,
            vec![0.0],
            move |exec, sum| {
                sum[0] = squares_forward(exec, &g3, DIM);
            },
        ),
        Case::new(
            format!("lora_merge [{}, {DIM}], rank {RANK}", 8 * HIDDEN),
            (2 * RANK + 2) * WEIGHTS,
            8 * WEIGHTS,
            before(),
            move |exec, w| lora_merge(exec, w, &a, &b, 2.0, RANK),
        ),
    ]
}
