//! The forward operators, in the sizes of SmolLM2-135M.

use crate::{Case, narrow, numbers};
use kernel::ops::*;

/// The model's sizes: tokens of a chunk, width, feed-forward width, heads, positions in the cache, rank of an adapter.
pub const TOKENS: usize = 64;
pub const DIM: usize = 576;
pub const HIDDEN: usize = 1536;
pub const VOCAB: usize = 49152;
pub const DIMS: AttentionDims = AttentionDims { heads: 9, kv_heads: 3, head_dim: 64 };
pub const POSITIONS: usize = 1024;
pub const RANK: usize = 8;

/// Arithmetic of one element: an exponential function, and what a softmax and a SwiGLU do besides.
pub const EXP: usize = 21;
const SOFTMAX: usize = EXP + 4;
const SWIGLU: usize = EXP + 5;

/// One case or more for every operator.
pub fn cases() -> Vec<Case> {
    let mut all = vec![];
    for (rows, cols, tokens) in [
        (DIM, DIM, 1),
        (HIDDEN, DIM, 1),
        (VOCAB, DIM, 1),
        (HIDDEN, DIM, 2),
        (HIDDEN, DIM, 8),
        (DIM, HIDDEN, 8),
        (HIDDEN, DIM, TOKENS),
        (DIM, HIDDEN, TOKENS),
    ] {
        all.extend(matmul(rows, cols, tokens));
    }
    all.push(gate_and_up());
    let (x, w) = (numbers(TOKENS * DIM, 3), narrow(&numbers(DIM, 4)));
    all.push(Case::new(
        format!("rmsnorm_forward [{TOKENS}, {DIM}]"),
        4 * x.len(),
        8 * x.len(),
        vec![0.0; x.len()],
        move |exec, out| rmsnorm_forward(exec, out, &x, Weights::Bf16(&w), 1e-5),
    ));
    let (gate, up) = (numbers(TOKENS * HIDDEN, 5), numbers(TOKENS * HIDDEN, 6));
    all.push(Case::new(
        format!("swiglu_forward [{TOKENS}, {HIDDEN}]"),
        SWIGLU * gate.len(),
        12 * gate.len(),
        vec![0.0; gate.len()],
        move |exec, out| swiglu_forward(exec, out, &gate, &up),
    ));
    all.push(Case::new(
        format!("softmax_forward [{TOKENS}, {POSITIONS}]"),
        SOFTMAX * TOKENS * POSITIONS,
        8 * TOKENS * POSITIONS,
        numbers(TOKENS * POSITIONS, 7),
        |exec, out| softmax_forward(exec, out, POSITIONS),
    ));
    let y = numbers(TOKENS * DIM, 9);
    all.push(Case::new(
        format!("residual_forward [{TOKENS}, {DIM}]"),
        y.len(),
        12 * y.len(),
        numbers(y.len(), 8),
        move |exec, out| residual_forward(exec, out, &y),
    ));
    let angles = angles();
    all.push(Case::new(
        format!("rope_forward [{TOKENS}, {DIM}]"),
        3 * TOKENS * DIM,
        8 * TOKENS * DIM,
        numbers(TOKENS * DIM, 10),
        move |exec, out| rope_forward(exec, out, &angles, TOKENS, DIMS.head_dim),
    ));
    let (table, tokens) = (narrow(&numbers(1000 * DIM, 11)), tokens(1000));
    all.push(Case::new(
        format!("embedding_forward [{TOKENS}, {DIM}]"),
        0,
        6 * TOKENS * DIM,
        vec![0.0; TOKENS * DIM],
        move |exec, out| embedding_forward(exec, out, Weights::Bf16(&table), &tokens, DIM),
    ));
    let (a, b, x) = (numbers(RANK * DIM, 12), numbers(DIM * RANK, 13), numbers(TOKENS * DIM, 14));
    all.push(Case::new(
        format!("lora_forward [{DIM}, {DIM}], rank {RANK} x {TOKENS}"),
        TOKENS * (4 * RANK * DIM + 2 * DIM),
        4 * (2 * RANK * DIM + 3 * x.len()),
        numbers(x.len(), 15),
        move |exec, out| {
            let lora = Lora { a: Weights::F32(&a), b: Weights::F32(&b), scale: 2.0 };
            lora_forward(exec, out, &x, lora, TOKENS);
        },
    ));
    all.extend([1, TOKENS].map(attention));
    let (logits, targets) = (numbers(TOKENS * VOCAB, 16), tokens_of_vocabulary());
    all.push(Case::new(
        format!("cross_entropy_forward [{TOKENS}, {VOCAB}]"),
        (EXP + 3) * logits.len(),
        4 * logits.len(),
        vec![0.0; TOKENS],
        move |exec, losses| cross_entropy_forward(exec, losses, &logits, &targets),
    ));
    let (logits, targets) = (numbers(TOKENS * VOCAB, 16), tokens_of_vocabulary());
    all.push(Case::new(
        format!("log_probability_forward [{TOKENS}, {VOCAB}]"),
        (EXP + 3) * logits.len(),
        4 * logits.len(),
        vec![0.0; TOKENS],
        move |exec, out| log_probability_forward(exec, out, &logits, &targets),
    ));
    all
}

/// The rotations of a chunk.
pub fn angles() -> RopeAngles {
    let mut angles = RopeAngles::default();
    RopeTable::new(1e5, DIMS.head_dim).angles(0, TOKENS, &mut angles);
    angles
}

/// A chunk of tokens of a vocabulary.
pub fn tokens(vocab: u32) -> Vec<u32> {
    (0..TOKENS as u32).map(|i| i * 7 % vocab).collect()
}

/// A chunk of tokens of the model's vocabulary.
pub fn tokens_of_vocabulary() -> Vec<u32> {
    tokens(VOCAB as u32)
}

/// With bfloat16 weights, and with binary32.
fn matmul(rows: usize, cols: usize, tokens: usize) -> [Case; 2] {
    let (x, w) = (numbers(tokens * cols, 1), numbers(rows * cols, 2));
    let (stored, x2) = (narrow(&w), x.clone());
    let (flops, traffic) = (2 * rows * cols * tokens, 4 * tokens * (rows + cols));
    let before = vec![0.0; tokens * rows];
    [
        Case::new(
            format!("matmul_forward bf16 [{rows}, {cols}] x {tokens}"),
            flops,
            2 * rows * cols + traffic,
            before.clone(),
            move |exec, out| matmul_forward(exec, out, &x, Weights::Bf16(&stored), None, tokens),
        ),
        Case::new(
            format!("matmul_forward f32 [{rows}, {cols}] x {tokens}"),
            flops,
            4 * rows * cols + traffic,
            before,
            move |exec, out| matmul_forward(exec, out, &x2, Weights::F32(&w), None, tokens),
        ),
    ]
}

/// Two layers with the same input.
fn gate_and_up() -> Case {
    let x = numbers(TOKENS * DIM, 1);
    let [gate, up] = [2, 3].map(|seed| narrow(&numbers(HIDDEN * DIM, seed)));
    Case::new(
        format!("matmul_forward_each bf16 2 x [{HIDDEN}, {DIM}] x {TOKENS}"),
        4 * HIDDEN * DIM * TOKENS,
        4 * HIDDEN * DIM + 4 * TOKENS * (DIM + 2 * HIDDEN),
        vec![0.0; 2 * TOKENS * HIDDEN],
        move |exec, out| {
            let (a, b) = out.split_at_mut(TOKENS * HIDDEN);
            let layers = [(a, Weights::Bf16(&gate), None), (b, Weights::Bf16(&up), None)];
            matmul_forward_each(exec, layers, &x, TOKENS);
        },
    )
}

/// The last `tokens` of [`POSITIONS`], which see all before them.
fn attention(tokens: usize) -> Case {
    let AttentionDims { heads, kv_heads, head_dim } = DIMS;
    let cache = |seed| (0..kv_heads as u64).map(|h| numbers(POSITIONS * head_dim, seed + h)).collect::<Vec<_>>();
    let (q, rows, values) = (numbers(tokens * heads * head_dim, 12), cache(20), cache(30));
    let keys: Vec<Keys> = rows.iter().map(|rows| Keys::of_rows(head_dim, rows)).collect();
    let seen: usize = (0..tokens).map(|t| POSITIONS - tokens + t + 1).sum();
    Case::new(
        format!("attention_forward {tokens} of {POSITIONS}"),
        seen * heads * (4 * head_dim + SOFTMAX),
        8 * kv_heads * POSITIONS * head_dim,
        vec![0.0; q.len()],
        move |exec, out| attention_forward(exec, out, &q, &keys, &values, DIMS),
    )
}
