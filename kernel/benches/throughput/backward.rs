//! The backward operators, in the sizes of SmolLM2-135M.

use crate::forward::{DIM, DIMS, EXP, HIDDEN, POSITIONS, RANK, TOKENS, VOCAB, angles, tokens, tokens_of_vocabulary};
use crate::{Case, numbers};
use kernel::ops::*;

/// Tokens of a text whose attention is differentiated.
const TEXT: usize = 256;
/// Tokens of a short text.
const FEW: usize = 11;

/// One case or more for every operator.
pub fn cases() -> Vec<Case> {
    let mut all = vec![];
    for (rows, cols) in [(HIDDEN, DIM), (DIM, HIDDEN)] {
        all.extend(matmul(rows, cols));
    }
    let (x, dout, w) = (numbers(TOKENS * DIM, 3), numbers(TOKENS * DIM, 4), numbers(DIM, 5));
    all.push(Case::new(
        format!("rmsnorm_backward [{TOKENS}, {DIM}]"),
        14 * x.len(),
        16 * x.len(),
        numbers(x.len() + DIM, 6),
        move |exec, out| {
            let (dx, dw) = out.split_at_mut(x.len());
            rmsnorm_backward(exec, dx, Some(dw), &dout, &x, Weights::F32(&w), 1e-5);
        },
    ));
    let dout = numbers(TOKENS * HIDDEN, 7);
    all.push(Case::new(
        format!("swiglu_backward [{TOKENS}, {HIDDEN}]"),
        (EXP + 11) * dout.len(),
        20 * dout.len(),
        numbers(2 * dout.len(), 8),
        move |exec, out| {
            let (gate, up) = out.split_at_mut(dout.len());
            swiglu_backward(exec, gate, up, &dout);
        },
    ));
    let p: Vec<f32> = numbers(TOKENS * POSITIONS, 9).iter().map(|x| (x + 1.0) / POSITIONS as f32).collect();
    all.push(Case::new(
        format!("softmax_backward [{TOKENS}, {POSITIONS}]"),
        4 * p.len(),
        12 * p.len(),
        numbers(p.len(), 10),
        move |exec, out| softmax_backward(exec, out, &p, POSITIONS),
    ));
    let angles = angles();
    all.push(Case::new(
        format!("rope_backward [{TOKENS}, {DIM}]"),
        3 * TOKENS * DIM,
        8 * TOKENS * DIM,
        numbers(TOKENS * DIM, 11),
        move |exec, out| rope_backward(exec, out, &angles, TOKENS, DIMS.head_dim),
    ));
    let (dout, tokens) = (numbers(TOKENS * DIM, 12), tokens(1000));
    all.push(Case::new(
        format!("embedding_backward [{TOKENS}, {DIM}]"),
        dout.len(),
        12 * dout.len(),
        vec![0.0; 1000 * DIM],
        move |exec, out| embedding_backward(exec, out, &dout, &tokens, DIM),
    ));
    let (a, b) = (numbers(RANK * DIM, 13), numbers(DIM * RANK, 14));
    let (x, dout) = (numbers(TOKENS * DIM, 15), numbers(TOKENS * DIM, 16));
    all.push(Case::new(
        format!("lora_backward [{DIM}, {DIM}], rank {RANK} x {TOKENS}"),
        TOKENS * (10 * RANK * DIM + DIM),
        4 * (4 * x.len() + 6 * RANK * DIM),
        numbers(x.len() + a.len() + b.len(), 17),
        move |exec, out| {
            let (dx, rest) = out.split_at_mut(x.len());
            let (da, db) = rest.split_at_mut(a.len());
            let lora = Lora { a: Weights::F32(&a), b: Weights::F32(&b), scale: 2.0 };
            lora_backward(exec, [dx, da, db], &dout, &x, lora, TOKENS);
        },
    ));
    all.push(attention());
    let targets = tokens_of_vocabulary();
    all.push(Case::new(
        format!("cross_entropy_backward [{TOKENS}, {VOCAB}]"),
        (EXP + 5) * TOKENS * VOCAB,
        8 * TOKENS * VOCAB,
        numbers(TOKENS * VOCAB, 18),
        move |exec, logits| cross_entropy_backward(exec, logits, &targets, TOKENS),
    ));
    all
}

/// Gradients of input, weights and bias, and a step down the weights.
fn matmul(rows: usize, cols: usize) -> [Case; 5] {
    let (x, w, dout) = (numbers(TOKENS * cols, 1), numbers(rows * cols, 2), numbers(TOKENS * rows, 19));
    let (dout2, dout3, dout4, x2) = (dout.clone(), dout.clone(), dout.clone(), x.clone());
    let (dout5, x3) = (numbers(FEW * rows, 30), numbers(FEW * cols, 31));
    let flops = 2 * rows * cols * TOKENS;
    [
        Case::new(
            format!("matmul_backward_input [{rows}, {cols}] x {TOKENS}"),
            flops,
            4 * rows * cols + 4 * TOKENS * (rows + 2 * cols),
            numbers(TOKENS * cols, 20),
            move |exec, dx| matmul_backward_input(exec, dx, &dout, Weights::F32(&w), TOKENS),
        ),
        Case::new(
            format!("matmul_backward_weight [{rows}, {cols}] x {TOKENS}"),
            flops,
            8 * rows * cols + 4 * TOKENS * (rows + cols),
            numbers(rows * cols, 21),
            move |exec, dw| matmul_backward_weight(exec, dw, &dout2, &x, TOKENS),
        ),
        Case::new(
            format!("matmul_backward_bias [{rows}] x {TOKENS}"),
            TOKENS * rows,
            4 * TOKENS * rows + 8 * rows,
            numbers(rows, 22),
            move |exec, dbias| matmul_backward_bias(exec, dbias, &dout3),
        ),
        Case::new(
            format!("matmul_sgd_step [{rows}, {cols}] x {TOKENS}"),
            flops + 4 * rows * cols,
            8 * rows * cols + 4 * TOKENS * (rows + cols),
            numbers(rows * cols + rows, 28),
            move |exec, out| {
                let (w, squares) = out.split_at_mut(rows * cols);
                matmul_sgd_step(exec, [w, squares], &dout4, &x2, TOKENS, 0.001);
            },
        ),
        Case::new(
            format!("matmul_backward_sgd_step [{rows}, {cols}] x {FEW}"),
            2 * FEW * 2 * rows * cols + 4 * rows * cols,
            8 * rows * cols + 4 * FEW * (rows + 3 * cols),
            numbers(rows * cols + rows + FEW * cols, 29),
            move |exec, out| {
                let (w, out) = out.split_at_mut(rows * cols);
                let (squares, dx) = out.split_at_mut(rows);
                matmul_backward_sgd_step(exec, dx, [w, squares], &dout5, &x3, FEW, 0.001, &mut vec![]);
            },
        ),
    ]
}

/// A whole text from its start: scores and probabilities again, then five products for each pair of positions.
fn attention() -> Case {
    let AttentionDims { heads, kv_heads, head_dim } = DIMS;
    let (row, kv_row) = (TEXT * heads * head_dim, TEXT * kv_heads * head_dim);
    let (dout, q, k, v) = (numbers(row, 23), numbers(row, 24), numbers(kv_row, 25), numbers(kv_row, 26));
    Case::new(
        format!("attention_backward {TEXT}"),
        TEXT * (TEXT + 1) / 2 * heads * (10 * head_dim + EXP + 9),
        4 * (4 * row + 6 * kv_row),
        numbers(row + 2 * kv_row, 27),
        move |exec, out| {
            let (dq, rest) = out.split_at_mut(row);
            let (dk, dv) = rest.split_at_mut(kv_row);
            attention_backward(exec, [dq, dk, dv], &dout, [&q, &k, &v], DIMS, &mut AttentionScratch::default());
        },
    )
}
