//! The rows of what changes weights and gradients.

use super::{Kind, Row, f32s, input};
use kernel::ops::*;

const LIST: &[&[usize]] = &[&[1], &[2], &[15], &[16], &[17], &[53]];

/// The scalar terms of AdamW's second step with the contract's usual numbers, rounded once.
const TERMS: &[(&str, f32)] = &[
    ("keep", (1.0 - 0.01 * 0.1_f64) as f32),
    ("beta1", 0.9),
    ("one_minus_beta1", (1.0 - 0.9_f64) as f32),
    ("beta2", 0.999),
    ("one_minus_beta2", (1.0 - 0.999_f64) as f32),
    ("rate", (0.01 / (1.0 - 0.9_f64 * 0.9)) as f32),
    ("root", 0.044_710_18),
    ("eps", 1e-8),
];

pub const ROWS: &[Row] = &[
    Row {
        operator: "sgd_step",
        dims: &["count"],
        shapes: LIST,
        scalars: &[("rate", 0.01)],
        inputs: |g| vec![f32s("w", &[g.dim("count")]), f32s("g", &[g.dim("count")])],
        outputs: &["w"],
        run: |exec, g| vec![g.changed("w", |w| sgd_step(exec, w, g.values("g"), g.scalar("rate")))],
        spec: |g| {
            let each = g.values("w").iter().zip(g.values("g"));
            vec![each.map(|(w, gradient)| w - g.scalar("rate") * gradient).collect()]
        },
    },
    Row {
        operator: "momentum_step",
        dims: &["count"],
        shapes: LIST,
        scalars: &[("mu", 0.9)],
        inputs: |g| vec![f32s("v", &[g.dim("count")]), f32s("g", &[g.dim("count")])],
        outputs: &["v"],
        run: |exec, g| vec![g.changed("v", |v| momentum_step(exec, v, g.values("g"), g.scalar("mu")))],
        spec: |g| {
            let each = g.values("v").iter().zip(g.values("g"));
            vec![each.map(|(v, gradient)| g.scalar("mu") * v + gradient).collect()]
        },
    },
    Row {
        operator: "scale_step",
        dims: &["count"],
        shapes: LIST,
        scalars: &[("factor", 0.3)],
        inputs: |g| vec![f32s("g", &[g.dim("count")])],
        outputs: &["g"],
        run: |exec, g| vec![g.changed("g", |values| scale_step(exec, values, g.scalar("factor")))],
        spec: |g| vec![g.values("g").iter().map(|value| value * g.scalar("factor")).collect()],
    },
    Row {
        operator: "adamw_step",
        dims: &["count"],
        shapes: LIST,
        scalars: TERMS,
        inputs: |g| {
            let count = [g.dim("count")];
            vec![f32s("w", &count), f32s("m", &count), input("v", Kind::Square, &count), f32s("g", &count)]
        },
        outputs: &["w", "m", "v"],
        run: |exec, g| {
            let [keep, beta1, one_minus_beta1, beta2, one_minus_beta2, rate, root, eps] =
                ["keep", "beta1", "one_minus_beta1", "beta2", "one_minus_beta2", "rate", "root", "eps"]
                    .map(|name| g.scalar(name));
            let terms = AdamWTerms { keep, beta1, one_minus_beta1, beta2, one_minus_beta2, rate, root, eps };
            let [mut m, mut v] = ["m", "v"].map(|name| g.values(name).to_vec());
            let w = g.changed("w", |w| adamw_step(exec, [w, &mut m, &mut v], g.values("g"), terms));
            vec![w, m, v]
        },
        spec: |g| {
            let [mut w, mut m, mut v] = ["w", "m", "v"].map(|name| g.values(name).to_vec());
            let s = |name| g.scalar(name);
            for (i, gradient) in g.values("g").iter().enumerate() {
                m[i] = s("beta1") * m[i] + s("one_minus_beta1") * gradient;
                v[i] = s("beta2") * v[i] + s("one_minus_beta2") * (gradient * gradient);
                w[i] = w[i] * s("keep") - s("rate") * (m[i] / (v[i].sqrt() / s("root") + s("eps")));
            }
            vec![w, m, v]
        },
    },
];
