//! Throughput of every operator on every backend, one thread: `cargo bench -p kernel --bench throughput [-- FILTER]`.
//!
//! Columns: the time of one call (the best of many), arithmetic and memory traffic by formula, and how much of the
//! machine's measured limit that is: of the separate multiply-add peak of the backend, or of the read bandwidth. The
//! digest of a result must be the same on every backend, or the program fails.

use kernel::Exec;
use kernel::ops::*;
use kernel::pool::SerialPool;
use kernel::random::philox;
use kernel::simd::{Backend, Bf16, Op, Simd};
use kernel::transcript::{Sha256Digest, logits_digest};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The model's sizes: tokens of a chunk, width, feed-forward width, heads, positions in the cache.
const TOKENS: usize = 64;
const DIM: usize = 576;
const HIDDEN: usize = 1536;
const VOCAB: usize = 49152;
const DIMS: AttentionDims = AttentionDims { heads: 9, kv_heads: 3, head_dim: 64 };
const POSITIONS: usize = 1024;

/// Fills the output.
type Run = Box<dyn Fn(Exec<'_>, &mut [f32])>;

/// A case: what one call costs, and the call, which fills the output.
struct Case {
    name: String,
    flops: f64,
    bytes: f64,
    output: usize,
    run: Run,
}

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let bandwidth = read_bandwidth();
    println!("read bandwidth, one thread: {bandwidth:.1} GB/s");
    let mut digests: BTreeMap<String, Sha256Digest> = BTreeMap::new();
    for backend in Backend::available() {
        let peak = peak_gflops(backend);
        println!("\n{}: multiply-add peak {peak:.1} GFlop/s", backend.name());
        println!("{:<34} {:>10} {:>9} {:>6} {:>8} {:>6}", "operator", "time", "GFlop/s", "peak", "GB/s", "limit");
        for case in cases().into_iter().filter(|c| filter.is_empty() || filter.iter().any(|f| c.name.contains(f))) {
            let exec = Exec { backend, pool: &SerialPool };
            let mut output = vec![0.0; case.output];
            let seconds = best(|| (case.run)(exec, &mut output)).as_secs_f64();
            let digest = logits_digest(&output);
            let expected = *digests.entry(case.name.clone()).or_insert(digest);
            assert_eq!(digest, expected, "{} on {} has other bits", case.name, backend.name());
            let (gflops, rate) = (case.flops / seconds / 1e9, case.bytes / seconds / 1e9);
            println!(
                "{:<34} {:>8.1}us {gflops:>9.1} {:>5.0}% {rate:>8.1} {:>5.0}%",
                case.name,
                seconds * 1e6,
                100.0 * gflops / peak,
                100.0 * rate / bandwidth,
            );
        }
    }
}

/// The best time of a call within about a third of a second.
fn best(mut f: impl FnMut()) -> Duration {
    let start = Instant::now();
    let mut best = Duration::MAX;
    while start.elapsed() < Duration::from_millis(300) {
        let call = Instant::now();
        f();
        best = best.min(call.elapsed());
    }
    best
}

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let word = |i: usize| philox(seed, [0, 0, 0, i as u32])[0];
    (0..count).map(|i| (word(i) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn narrow(values: &[f32]) -> Vec<Bf16> {
    values.iter().map(|v| Bf16((v.to_bits() >> 16) as u16)).collect()
}

fn cases() -> Vec<Case> {
    let mut all = vec![];
    let mut case = |name: String, flops: usize, bytes: usize, output: usize, run: Run| {
        all.push(Case { name, flops: flops as f64, bytes: bytes as f64, output, run });
    };
    for (rows, cols, tokens) in
        [(DIM, DIM, 1), (HIDDEN, DIM, 1), (VOCAB, DIM, 1), (HIDDEN, DIM, TOKENS), (DIM, HIDDEN, TOKENS)]
    {
        let (x, w) = (numbers(tokens * cols, 1), numbers(rows * cols, 2));
        let (stored, x2) = (narrow(&w), x.clone());
        let (flops, traffic) = (2 * rows * cols * tokens, 4 * tokens * (rows + cols));
        case(
            format!("matmul bf16 [{rows}, {cols}] x {tokens}"),
            flops,
            2 * rows * cols + traffic,
            tokens * rows,
            Box::new(move |exec, out| matmul_forward(exec, out, &x, Weights::Bf16(&stored), None, tokens)),
        );
        case(
            format!("matmul f32 [{rows}, {cols}] x {tokens}"),
            flops,
            4 * rows * cols + traffic,
            tokens * rows,
            Box::new(move |exec, out| matmul_forward(exec, out, &x2, Weights::F32(&w), None, tokens)),
        );
    }
    let (x, w) = (numbers(TOKENS * DIM, 3), narrow(&numbers(DIM, 4)));
    case(
        format!("rmsnorm [{TOKENS}, {DIM}]"),
        4 * x.len(),
        8 * x.len(),
        x.len(),
        Box::new(move |exec, out| rmsnorm_forward(exec, out, &x, Weights::Bf16(&w), 1e-5)),
    );
    let (gate, up) = (numbers(TOKENS * HIDDEN, 5), numbers(TOKENS * HIDDEN, 6));
    case(
        format!("swiglu [{TOKENS}, {HIDDEN}]"),
        26 * gate.len(),
        12 * gate.len(),
        gate.len(),
        Box::new(move |exec, out| swiglu_forward(exec, out, &gate, &up)),
    );
    let x = numbers(TOKENS * POSITIONS, 7);
    case(
        format!("softmax [{TOKENS}, {POSITIONS}]"),
        25 * x.len(),
        8 * x.len(),
        x.len(),
        Box::new(move |exec, out| {
            out.copy_from_slice(&x);
            softmax_forward(exec, out, POSITIONS);
        }),
    );
    let (x, y) = (numbers(TOKENS * DIM, 8), numbers(TOKENS * DIM, 9));
    case(
        format!("residual [{TOKENS}, {DIM}]"),
        x.len(),
        12 * x.len(),
        x.len(),
        Box::new(move |exec, out| {
            out.copy_from_slice(&x);
            residual_forward(exec, out, &y);
        }),
    );
    let (x, mut angles) = (numbers(TOKENS * DIM, 10), RopeAngles::default());
    RopeTable::new(1e5, DIMS.head_dim).angles(0, TOKENS, &mut angles);
    case(
        format!("rope [{TOKENS}, {DIM}]"),
        3 * x.len(),
        8 * x.len(),
        x.len(),
        Box::new(move |exec, out| {
            out.copy_from_slice(&x);
            rope_forward(exec, out, &angles, TOKENS, DIMS.head_dim);
        }),
    );
    let (table, tokens) = (narrow(&numbers(1000 * DIM, 11)), (0..TOKENS as u32).map(|i| i * 7).collect::<Vec<_>>());
    case(
        format!("embedding [{TOKENS}, {DIM}]"),
        0,
        6 * TOKENS * DIM,
        TOKENS * DIM,
        Box::new(move |exec, out| embedding_forward(exec, out, Weights::Bf16(&table), &tokens, DIM)),
    );
    for tokens in [1, TOKENS] {
        let AttentionDims { heads, kv_heads, head_dim } = DIMS;
        let cache = |seed| (0..kv_heads as u64).map(|h| numbers(POSITIONS * head_dim, seed + h)).collect::<Vec<_>>();
        let (q, rows, values) = (numbers(tokens * heads * head_dim, 12), cache(20), cache(30));
        let mut keys = vec![Keys::new(head_dim); kv_heads];
        for (keys, rows) in keys.iter_mut().zip(&rows) {
            rows.chunks_exact(head_dim).for_each(|key| keys.push(key));
        }
        let seen: usize = (0..tokens).map(|t| POSITIONS - tokens + t + 1).sum();
        case(
            format!("attention {tokens} of {POSITIONS}"),
            seen * heads * (4 * head_dim + 25),
            8 * kv_heads * POSITIONS * head_dim,
            q.len(),
            Box::new(move |exec, out| attention_forward(exec, out, &q, &keys, &values, DIMS)),
        );
    }
    all
}

/// The bandwidth at which one thread reads memory: a matmul kernel's access, whose result nobody can foresee, over 256 MB.
fn read_bandwidth() -> f64 {
    let (rows, cols) = (1 << 15, 1 << 12);
    let (x, w) = (vec![1.0; cols], vec![Bf16(0x3f80); rows * cols]);
    let mut out = vec![0.0; rows];
    let exec = Exec::serial();
    let time = best(|| matmul_forward(exec, black_box(&mut out), &x, Weights::Bf16(&w), None, 1));
    (2 * rows * cols) as f64 / time.as_secs_f64() / 1e9
}

/// Separate multiplications and additions in registers, as many chains as hide their latency.
struct Peak(usize);

impl Op for Peak {
    type Output = f32;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> f32 {
        let (factor, mut acc) = (s.part_splat(black_box(0.999)), [s.part_splat(black_box(1.0)); CHAINS]);
        for _ in 0..self.0 {
            for a in &mut acc {
                *a = s.part_mul_then_add(factor, *a, factor);
            }
        }
        let mut sum = 0.0;
        for a in acc {
            let mut lanes = [0.0; 16];
            s.part_store(a, &mut lanes, 0);
            sum += lanes.iter().sum::<f32>();
        }
        sum
    }
}

/// Registers that [`Peak`] computes in.
const CHAINS: usize = 14;

fn peak_gflops(backend: Backend) -> f64 {
    const ROUNDS: usize = 100_000;
    let lanes = 16 / backend.run(Parts);
    let time = best(|| {
        black_box(backend.run(Peak(black_box(ROUNDS))));
    });
    (ROUNDS * CHAINS * lanes * 2) as f64 / time.as_secs_f64() / 1e9
}

/// How many registers sixteen lanes take.
struct Parts;

impl Op for Parts {
    type Output = usize;

    #[inline(always)]
    fn eval<S: Simd>(self, _: S) -> usize {
        S::PARTS
    }
}
