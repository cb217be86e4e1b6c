//! The Llama stack, backward: the gradients of the loss over a batch of sequences with respect to every parameter.

use super::cache::KvCache;
use super::config::Config;
use super::llama::{Model, Workspace, sized};
use super::params::{Layer, Linear, Param};
use super::tensor::Tensor;
use crate::Exec;
use crate::ops::{
    AttentionDims, attention_backward, cross_entropy_backward, cross_entropy_forward, embedding_backward,
    embedding_forward, lora_backward, matmul_backward_bias, matmul_backward_input, matmul_backward_weight,
    matmul_forward, residual_forward, rmsnorm_backward, rmsnorm_forward, rope_backward, swiglu_backward,
    swiglu_forward,
};
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::mem::take;

/// Rows of logits that are in memory at a time.
const HEAD_ROWS: usize = 32;

/// A text to learn from: its token ids, and which of them count as targets (the first one never does).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sequence {
    /// The token ids.
    pub tokens: Vec<u32>,
    /// For each token, whether its prediction counts in the loss.
    pub counted: Vec<bool>,
}

impl Sequence {
    /// A text of which every token but the first counts.
    pub fn new(tokens: Vec<u32>) -> Sequence {
        let counted = vec![true; tokens.len()];
        Sequence { tokens, counted }
    }

    /// The positions whose next token counts, and those tokens.
    fn targets(&self) -> (Vec<usize>, Vec<u32>) {
        (1..self.tokens.len()).filter(|t| self.counted[*t]).map(|t| (t - 1, self.tokens[t])).unzip()
    }

    /// How many targets count.
    pub fn count(&self) -> usize {
        self.targets().0.len()
    }
}

/// What the backward pass keeps of a layer's forward pass.
#[derive(Default)]
struct Saved {
    x: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    middle: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
}

/// Gradients by parameter, as many as are being summed up at the moment.
///
/// The gradients that a tied embedding receives as a lookup table are kept apart, and added to those that it receives as
/// the output head once, when the batch is complete (N11).
#[derive(Default, Debug)]
pub struct Gradients {
    tensors: BTreeMap<usize, Vec<f32>>,
    lookup: BTreeMap<u32, Vec<f32>>,
    loss: f32,
}

impl Gradients {
    /// The sum of the losses of all targets so far (N6).
    pub fn loss(&self) -> f32 {
        self.loss
    }

    /// The gradient of parameter `index` of the table, which is taken out.
    pub fn take(&mut self, index: usize) -> Option<Vec<f32>> {
        self.tensors.remove(&index)
    }

    /// The gradient of parameter `index` of the table.
    pub fn get(&self, index: usize) -> Option<&[f32]> {
        self.tensors.get(&index).map(Vec::as_slice)
    }

    fn sum(&mut self, index: usize, len: usize) -> &mut [f32] {
        self.tensors.entry(index).or_insert_with(|| vec![0.0; len])
    }
}

/// How to go over a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackwardOptions {
    /// Whether to compute the activations of a layer again when its gradients are computed, instead of keeping them: the
    /// same bits in less memory and more time.
    pub recompute: bool,
    /// The targets of the whole batch, by whose number the loss is divided.
    pub count: usize,
}

/// Told that the gradient of a parameter (its row in the table) has all that a sequence adds to it.
pub type Ready<'a> = dyn FnMut(usize, &mut Tensor, &mut Gradients) + 'a;

impl Model {
    /// Adds the gradients and losses of one sequence of a batch to `gradients`: of the adapter where the model has one,
    /// otherwise of all parameters.
    ///
    /// `ready` is called for each parameter as soon as its gradient has all that this sequence adds, from the last layer
    /// to the first; the weights that it may change are not read again for this sequence. The embedding is not among them:
    /// it is final after [`Model::finish_embedding`].
    ///
    /// # Panics
    /// If no target of the sequence counts or a token is outside the vocabulary.
    pub fn backward(
        &mut self,
        exec: Exec<'_>,
        sequence: &Sequence,
        options: BackwardOptions,
        gradients: &mut Gradients,
        ready: &mut Ready<'_>,
    ) {
        let (dim, tokens, frozen) = (self.config.dim, sequence.tokens.len(), self.lora.is_some());
        let mut w = Workspace::default();
        let (mut saved, last) = self.forward_saving(exec, &sequence.tokens, options.recompute, &mut w);
        let mut dx = self.head_backward(exec, sequence, &last, options.count, gradients, ready);
        for (number, mut saved) in saved.drain(..).enumerate().rev() {
            if options.recompute {
                w.x = saved.x;
                saved = self.layer_saving(exec, number, tokens, &mut w);
            }
            let config = &self.config;
            let layer = &mut self.params.layers[number];
            let mut pass = Pass { exec, config, gradients: &mut *gradients, ready: &mut *ready, tokens, frozen };
            pass.feed_forward(layer, &mut saved, &mut dx);
            pass.attention(layer, &saved, &mut dx, &w);
        }
        if frozen {
            return;
        }
        for (dx, token) in dx.chunks_exact(dim).zip(&sequence.tokens) {
            let row = gradients.lookup.entry(*token).or_insert_with(|| vec![0.0; dim]);
            embedding_backward(exec, row, dx, &[0], dim);
        }
    }

    /// Completes the gradient of the embedding after the last sequence of a batch: `dE = dHead + dLookup` (N11), where the
    /// first is zero unless the head is tied.
    pub fn finish_embedding(&mut self, exec: Exec<'_>, gradients: &mut Gradients, ready: &mut Ready<'_>) {
        if self.lora.is_some() {
            return;
        }
        let Config { vocab, dim, .. } = self.config;
        let embedding = &mut self.params.embedding;
        let lookup = take(&mut gradients.lookup);
        let table = gradients.sum(embedding.index, vocab * dim);
        for (token, row) in lookup {
            let start = token as usize * dim;
            residual_forward(exec, &mut table[start..start + dim], &row);
        }
        ready(embedding.index, &mut embedding.tensor, gradients);
    }

    /// Runs the stack over one text and keeps what the backward pass needs; also returns the output of the last layer.
    fn forward_saving(
        &self,
        exec: Exec<'_>,
        tokens: &[u32],
        recompute: bool,
        w: &mut Workspace,
    ) -> (Vec<Saved>, Vec<f32>) {
        let (count, dim) = (tokens.len(), self.config.dim);
        self.rope.angles(0, count, &mut w.angles);
        embedding_forward(exec, sized(&mut w.x, count * dim), self.params.embedding.weights(), tokens, dim);
        let mut saved = vec![];
        for number in 0..self.config.layers {
            let layer = self.layer_saving(exec, number, count, w);
            saved.push(if recompute { Saved { x: layer.x, ..Saved::default() } } else { layer });
        }
        (saved, take(&mut w.x))
    }

    /// Runs one layer on `w.x`.
    fn layer_saving(&self, exec: Exec<'_>, number: usize, count: usize, w: &mut Workspace) -> Saved {
        let mut cache = KvCache::new(&Config { layers: 1, ..self.config.clone() });
        let layer = &self.params.layers[number];
        let x = w.x.clone();
        self.attend(exec, layer, 0, &mut cache, count, w);
        let middle = w.x.clone();
        self.feed_forward(exec, layer, count, w);
        Saved {
            x,
            q: take(&mut w.q),
            k: take(&mut w.k),
            v: take(&mut w.v),
            attended: take(&mut w.attended),
            middle,
            gate: take(&mut w.gate),
            up: take(&mut w.up),
        }
    }

    /// Loss, output head and final norm; returns the gradient of the last layer's output.
    fn head_backward(
        &mut self,
        exec: Exec<'_>,
        sequence: &Sequence,
        last: &[f32],
        count: usize,
        gradients: &mut Gradients,
        ready: &mut Ready<'_>,
    ) -> Vec<f32> {
        let Config { vocab, dim, rms_norm_eps, .. } = self.config;
        let (eps, frozen) = (rms_norm_eps as f32, self.lora.is_some());
        let (norm, head) = (&self.params.norm, self.params.head());
        let (positions, targets) = sequence.targets();
        let mut dx = vec![0.0; last.len()];
        for (positions, targets) in positions.chunks(HEAD_ROWS).zip(targets.chunks(HEAD_ROWS)) {
            let rows = positions.len();
            let x: Vec<f32> = positions.iter().flat_map(|t| &last[t * dim..(t + 1) * dim]).copied().collect();
            let (mut normed, mut logits, mut losses) =
                (vec![0.0; rows * dim], vec![0.0; rows * vocab], vec![0.0; rows]);
            rmsnorm_forward(exec, &mut normed, &x, norm.weights(), eps);
            matmul_forward(exec, &mut logits, &normed, head.weights(), None, rows);
            cross_entropy_forward(exec, &mut losses, &logits, targets);
            gradients.loss = losses.iter().fold(gradients.loss, |sum, loss| sum + loss);
            cross_entropy_backward(exec, &mut logits, targets, count);
            let (mut dnormed, mut dx_rows) = (vec![0.0; rows * dim], vec![0.0; rows * dim]);
            matmul_backward_input(exec, &mut dnormed, &logits, head.weights(), rows);
            if frozen {
                rmsnorm_backward(exec, &mut dx_rows, None, &dnormed, &x, norm.weights(), eps);
            } else {
                matmul_backward_weight(exec, gradients.sum(head.index, vocab * dim), &logits, &normed, rows);
                let dnorm = gradients.sum(norm.index, dim);
                rmsnorm_backward(exec, &mut dx_rows, Some(dnorm), &dnormed, &x, norm.weights(), eps);
            }
            for (t, row) in positions.iter().zip(dx_rows.chunks_exact(dim)) {
                dx[t * dim..(t + 1) * dim].copy_from_slice(row);
            }
        }
        if frozen {
            return dx;
        }
        ready(self.params.norm.index, &mut self.params.norm.tensor, gradients);
        if let Some(head) = &mut self.params.head {
            ready(head.index, &mut head.tensor, gradients);
        }
        dx
    }
}

/// The backward pass of one layer.
struct Pass<'a, 'r> {
    exec: Exec<'a>,
    config: &'a Config,
    gradients: &'a mut Gradients,
    ready: &'a mut Ready<'r>,
    tokens: usize,
    /// Whether an adapter is trained, and nothing else.
    frozen: bool,
}

impl Pass<'_, '_> {
    /// From the gradient of `x + down(silu(gate(norm(x))) * up(norm(x)))` to that of `x`.
    fn feed_forward(&mut self, layer: &mut Layer, saved: &mut Saved, dx: &mut [f32]) {
        let Saved { middle, gate, up, .. } = saved;
        let (mut activated, mut dactivated) = (vec![0.0; gate.len()], vec![0.0; gate.len()]);
        swiglu_forward(self.exec, &mut activated, gate, up);
        self.linear(&mut layer.down, &mut dactivated, dx, &activated);
        swiglu_backward(self.exec, gate, up, &dactivated);
        let (normed, mut dnormed) = self.normed(&layer.post_attention_norm, middle);
        self.linear(&mut layer.gate, &mut dnormed, gate, &normed);
        self.linear(&mut layer.up, &mut dnormed, up, &normed);
        self.norm(&mut layer.post_attention_norm, dx, &dnormed, middle);
    }

    /// From the gradient of `x + o(attention(rope(q(norm(x))), rope(k(norm(x))), v(norm(x))))` to that of `x`.
    fn attention(&mut self, layer: &mut Layer, saved: &Saved, dx: &mut [f32], w: &Workspace) {
        let &Config { heads, kv_heads, head_dim, .. } = self.config;
        let Saved { x, q, k, v, attended, .. } = saved;
        let mut dattended = vec![0.0; attended.len()];
        self.linear(&mut layer.o, &mut dattended, dx, attended);
        let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
        let dims = AttentionDims { heads, kv_heads, head_dim };
        attention_backward(self.exec, [&mut dq, &mut dk, &mut dv], &dattended, [q, k, v], dims);
        rope_backward(self.exec, &mut dq, &w.angles, self.tokens, head_dim);
        rope_backward(self.exec, &mut dk, &w.angles, self.tokens, head_dim);
        let (normed, mut dnormed) = self.normed(&layer.input_norm, x);
        self.linear(&mut layer.q, &mut dnormed, &dq, &normed);
        self.linear(&mut layer.k, &mut dnormed, &dk, &normed);
        self.linear(&mut layer.v, &mut dnormed, &dv, &normed);
        self.norm(&mut layer.input_norm, dx, &dnormed, x);
    }

    /// A norm's output, as in the forward pass, and room for its gradient.
    fn normed(&self, norm: &Param, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let mut normed = vec![0.0; x.len()];
        rmsnorm_forward(self.exec, &mut normed, x, norm.weights(), self.config.rms_norm_eps as f32);
        (normed, vec![0.0; x.len()])
    }

    fn linear(&mut self, layer: &mut Linear, dx: &mut [f32], dout: &[f32], x: &[f32]) {
        matmul_backward_input(self.exec, dx, dout, layer.weight.weights(), self.tokens);
        if let Some(adapter) = &mut layer.adapter {
            let (len_a, len_b) = (adapter.a.weights().len(), adapter.b.weights().len());
            let [mut da, mut db] = [(adapter.a.index, len_a), (adapter.b.index, len_b)]
                .map(|(index, len)| self.gradients.take(index).unwrap_or_else(|| vec![0.0; len]));
            lora_backward(self.exec, [dx, &mut da, &mut db], dout, x, adapter.lora(), self.tokens);
            for (param, gradient) in [(&mut adapter.a, da), (&mut adapter.b, db)] {
                self.gradients.tensors.insert(param.index, gradient);
                (self.ready)(param.index, &mut param.tensor, self.gradients);
            }
        }
        if self.frozen {
            return;
        }
        let dw = self.gradients.sum(layer.weight.index, layer.weight.weights().len());
        matmul_backward_weight(self.exec, dw, dout, x, self.tokens);
        (self.ready)(layer.weight.index, &mut layer.weight.tensor, self.gradients);
        if let Some(bias) = &mut layer.bias {
            matmul_backward_bias(self.exec, self.gradients.sum(bias.index, bias.weights().len()), dout);
            (self.ready)(bias.index, &mut bias.tensor, self.gradients);
        }
    }

    fn norm(&mut self, norm: &mut Param, dx: &mut [f32], dout: &[f32], x: &[f32]) {
        let eps = self.config.rms_norm_eps as f32;
        if self.frozen {
            return rmsnorm_backward(self.exec, dx, None, dout, x, norm.weights(), eps);
        }
        let dw = self.gradients.sum(norm.index, self.config.dim);
        rmsnorm_backward(self.exec, dx, Some(dw), dout, x, norm.weights(), eps);
        (self.ready)(norm.index, &mut norm.tensor, self.gradients);
    }
}
