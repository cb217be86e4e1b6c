//! The spec oracle: the contract transcribed into plain loops, sharing nothing with the kernel.

/// The halving tree (N5) with any operation.
pub fn fold(mut a: [f32; 16], f: impl Fn(f32, f32) -> f32) -> f32 {
    for n in [8, 4, 2, 1] {
        for j in 0..n {
            a[j] = f(a[j], a[j + n]);
        }
    }
    a[0]
}

/// N3-N5 for a sum of terms.
pub fn sum(terms: &[f32]) -> f32 {
    let mut a = [0.0_f32; 16];
    for i in 0..terms.len().next_multiple_of(16) {
        a[i % 16] += if i < terms.len() { terms[i] } else { 0.0 };
    }
    fold(a, |x, y| x + y)
}

/// N7
pub fn max2(a: f32, b: f32) -> f32 {
    if a < b { b } else { a }
}

/// N3-N5 and N7 for the maximum.
pub fn max(values: &[f32]) -> f32 {
    let mut a = [f32::NEG_INFINITY; 16];
    for (i, v) in values.iter().enumerate() {
        a[i % 16] = max2(a[i % 16], *v);
    }
    fold(a, max2)
}

pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    let terms: Vec<f32> = x.iter().zip(y).map(|(x, y)| x * y).collect();
    sum(&terms)
}

/// N8: exp, one value at a time.
pub fn exp(x: f32) -> f32 {
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if 89.0 < x { 89.0 } else { x };
    if x.is_nan() {
        return x;
    }
    let n = (x * f32::from_bits(0x3fb8aa3b)).round_ties_even();
    let r = (x - n * f32::from_bits(0x3f317200)) - n * f32::from_bits(0x35bfbe8e);
    let mut q = f32::from_bits(0x3ab52767);
    for c in [0x3c091cce, 0x3d2aac58, 0x3e2aaa49, 0x3efffffe] {
        q = q * r + f32::from_bits(c);
    }
    let p = (q * r * r + r) + 1.0;
    let half = (n * 0.5).round_ties_even();
    p * 2.0_f32.powi_exact(half as i32) * 2.0_f32.powi_exact((n - half) as i32)
}

/// A power of two, written down bit by bit.
trait PowiExact {
    fn powi_exact(self, n: i32) -> f32;
}

impl PowiExact for f32 {
    fn powi_exact(self, n: i32) -> f32 {
        assert!(self == 2.0 && (-126..=127).contains(&n));
        f32::from_bits(((n + 127) as u32) << 23)
    }
}

pub fn softmax(x: &[f32]) -> Vec<f32> {
    let m = max(x);
    let e: Vec<f32> = x.iter().map(|x| exp(x - m)).collect();
    let z = sum(&e);
    e.iter().map(|e| e / z).collect()
}

pub fn rmsnorm(x: &[f32], w: &[f32], eps: f32) -> Vec<f32> {
    let squares: Vec<f32> = x.iter().map(|x| x * x).collect();
    let r = 1.0 / (sum(&squares) / x.len() as f32 + eps).sqrt();
    x.iter().zip(w).map(|(x, w)| (x * r) * w).collect()
}

pub fn swiglu(g: f32, u: f32) -> f32 {
    let z = 1.0 / (1.0 + exp(-g));
    let a = g * z;
    a * u
}

/// One head of one token at a position.
pub fn rope(head: &[f32], position: usize, theta: f32) -> Vec<f32> {
    scaled_rope(head, position, theta, |inv| inv)
}

/// The same with frequencies that something is made of.
pub fn scaled_rope(head: &[f32], position: usize, theta: f32, scaled: impl Fn(f32) -> f32) -> Vec<f32> {
    let half = head.len() / 2;
    let mut out = head.to_vec();
    for i in 0..half {
        let inv = scaled(1.0 / libm::powf(theta, (2 * i) as f32 / head.len() as f32));
        let angle = position as f32 * inv;
        let (c, s) = (libm::cosf(angle), libm::sinf(angle));
        let (a, b) = (head[i], head[i + half]);
        out[i] = a * c - b * s;
        out[i + half] = b * c + a * s;
    }
    out
}

/// What the scaling of Llama 3 makes of an inverse frequency.
pub fn llama3(inv: f32, [factor, low, high, original]: [f32; 4]) -> f32 {
    let wave = f32::from_bits(0x40c90fdb) / inv;
    if wave < original / high {
        return inv;
    }
    let long = inv / factor;
    if wave > original / low {
        return long;
    }
    let part = (original / wave - low) / (high - low);
    let (rest, short) = ((1.0 - part) * long, part * inv);
    rest + short
}

/// One head of one token over the positions that it sees.
pub fn attention(q: &[f32], keys: &[f32], values: &[f32], visible: usize) -> Vec<f32> {
    let dim = q.len();
    let scale = 1.0 / (dim as f32).sqrt();
    let scores: Vec<f32> = (0..visible).map(|j| dot(q, &keys[j * dim..(j + 1) * dim]) * scale).collect();
    let p = softmax(&scores);
    let mut out = vec![0.0_f32; dim];
    for d in 0..dim {
        for j in 0..visible {
            let term = p[j] * values[j * dim + d];
            out[d] += term;
        }
    }
    out
}

/// N6: sums along an outer axis, from what is there: `out[i][c] += Σ_k factor(k, i) * vector(k, c)`.
pub fn accumulate(
    out: &mut [f32],
    columns: usize,
    terms: usize,
    factor: impl Fn(usize, usize) -> f32,
    vector: impl Fn(usize, usize) -> f32,
) {
    for (i, row) in out.chunks_exact_mut(columns).enumerate() {
        for (c, out) in row.iter_mut().enumerate() {
            for k in 0..terms {
                let product = factor(k, i) * vector(k, c);
                *out += product;
            }
        }
    }
}

/// N6 in blocks: every 64 terms are summed up from +0.0, and added to what is there.
pub fn accumulate_blocks(
    out: &mut [f32],
    columns: usize,
    terms: usize,
    factor: impl Fn(usize, usize) -> f32,
    vector: impl Fn(usize, usize) -> f32,
) {
    for first in (0..terms).step_by(64) {
        let mut block = vec![0.0; out.len()];
        let count = 64.min(terms - first);
        accumulate(&mut block, columns, count, |k, i| factor(first + k, i), |k, c| vector(first + k, c));
        out.iter_mut().zip(block).for_each(|(out, sum)| *out += sum);
    }
}

/// One row: what is added to `dx`, and the terms that `dw` receives.
pub fn rmsnorm_backward(dout: &[f32], x: &[f32], w: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let squares: Vec<f32> = x.iter().map(|x| x * x).collect();
    let r = 1.0 / (sum(&squares) / x.len() as f32 + eps).sqrt();
    let n: Vec<f32> = x.iter().map(|x| x * r).collect();
    let g: Vec<f32> = dout.iter().zip(w).map(|(d, w)| d * w).collect();
    let c = dot(&g, &n) / x.len() as f32;
    let dx = g.iter().zip(&n).map(|(g, n)| r * (g - n * c)).collect();
    (dx, dout.iter().zip(&n).map(|(d, n)| d * n).collect())
}

pub fn softmax_backward(dp: &[f32], p: &[f32]) -> Vec<f32> {
    let c = dot(p, dp);
    p.iter().zip(dp).map(|(p, dp)| p * (dp - c)).collect()
}

/// `(dgate, dup)`
pub fn swiglu_backward(dh: f32, g: f32, u: f32) -> (f32, f32) {
    let z = 1.0 / (1.0 + exp(-g));
    let a = g * z;
    ((dh * u) * (z * (1.0 + g * (1.0 - z))), dh * a)
}

/// N8: ln, one value at a time, for positive normal numbers.
pub fn ln(x: f32) -> f32 {
    assert!(x.is_normal() && x > 0.0);
    let (mut m, mut k) = (f32::from_bits((x.to_bits() & 0x7fffff) | 0x3f800000), (x.to_bits() >> 23) as i32 - 127);
    if m.to_bits() & 0x7fffff >= 0x3504f3 {
        (m, k) = (m * 0.5, k + 1);
    }
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let c = [0x3f2aaaaa, 0x3eccce13, 0x3e91e9ee, 0x3e789e26].map(f32::from_bits);
    let r = z * (c[0] + z * (c[1] + z * (c[2] + z * c[3])));
    let h = (f * f) * 0.5;
    let k = k as f32;
    k * f32::from_bits(0x3f317180) - ((h - (s * (h + r) + k * f32::from_bits(0x3717f7d1))) - f)
}

pub fn cross_entropy(logits: &[f32], target: usize) -> f32 {
    let m = max(logits);
    let e: Vec<f32> = logits.iter().map(|l| exp(l - m)).collect();
    ln(sum(&e)) - (logits[target] - m)
}

pub fn log_probability(logits: &[f32], target: usize) -> f32 {
    let m = max(logits);
    let e: Vec<f32> = logits.iter().map(|l| exp(l - m)).collect();
    (logits[target] - m) - ln(sum(&e))
}

/// `[dq, dk, dv]` of one sequence, as the contract writes them.
pub fn attention_backward(dout: &[f32], q: &[f32], k: &[f32], v: &[f32], shape: [usize; 3]) -> [Vec<f32>; 3] {
    let [heads, kv_heads, dim] = shape;
    let tokens = q.len() / (heads * dim);
    let scale = 1.0 / (dim as f32).sqrt();
    let at = |j: usize, heads: usize, h: usize| (j * heads + h) * dim;
    let (mut dq, mut dk, mut dv) = (vec![0.0_f32; q.len()], vec![0.0_f32; k.len()], vec![0.0_f32; v.len()]);
    for h in 0..heads {
        let kv = h / (heads / kv_heads);
        for t in 0..tokens {
            let (query, d) = (&q[at(t, heads, h)..][..dim], &dout[at(t, heads, h)..][..dim]);
            let scores: Vec<f32> = (0..=t).map(|j| dot(query, &k[at(j, kv_heads, kv)..][..dim]) * scale).collect();
            let p = softmax(&scores);
            let dp: Vec<f32> = (0..=t).map(|j| dot(d, &v[at(j, kv_heads, kv)..][..dim])).collect();
            let ds: Vec<f32> = softmax_backward(&dp, &p).iter().map(|ds| ds * scale).collect();
            for j in 0..=t {
                for c in 0..dim {
                    dq[at(t, heads, h) + c] += ds[j] * k[at(j, kv_heads, kv) + c];
                    dk[at(j, kv_heads, kv) + c] += ds[j] * query[c];
                    dv[at(j, kv_heads, kv) + c] += p[j] * d[c];
                }
            }
        }
    }
    [dq, dk, dv]
}
