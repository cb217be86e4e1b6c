//! The Llama stack, backward: the gradients of the loss over a batch of sequences with respect to every parameter.

use super::config::Config;
use super::gradients::{BackwardOptions, Gradients, Ready, Sequence};
use super::llama::{Model, sized};
use super::params::{Layer, Linear, Param};
use super::tape::{Buffers, Saved, Tape, zeroed};
use crate::Exec;
use crate::ops::{
    AttentionDims, RopeAngles, attention_backward, lora_backward, matmul_backward_bias, matmul_backward_input,
    matmul_backward_sgd_step, matmul_backward_weight, rmsnorm_backward, rmsnorm_forward, rope_backward,
    swiglu_backward, swiglu_forward,
};
use alloc::vec;
use alloc::vec::Vec;

impl Model {
    /// Adds the gradients and losses of one sequence of a batch to `gradients`: of the adapter where the model has one,
    /// otherwise of all parameters. Stops where the loss is not finite; no weight has changed then.
    ///
    /// `ready` is called for each parameter as soon as its gradient has all that this sequence adds, from the last layer
    /// to the first, unless its weights have changed by then ([`BackwardOptions::descend`]); the weights that it may change
    /// are not read again for this sequence. The embedding is not among them: it is final after [`Model::finish_embedding`].
    ///
    /// # Panics
    /// If no target of the sequence counts or a token is outside the vocabulary.
    pub fn backward(
        &mut self,
        exec: Exec<'_>,
        sequence: &Sequence,
        options: BackwardOptions,
        tape: &mut Tape,
        gradients: &mut Gradients,
        ready: &mut Ready<'_>,
    ) {
        let (tokens, frozen) = (sequence.tokens.len(), self.lora.is_some());
        self.forward_saving(exec, &sequence.tokens, options.recompute, tape);
        self.head_backward(exec, sequence, options, tape, gradients, ready);
        if !gradients.loss.is_finite() {
            return;
        }
        for number in (0..self.config.layers).rev() {
            if options.recompute {
                self.layer_again(exec, number, tape);
            }
            let Tape { forward, saved, again, buffers, .. } = &mut *tape;
            let saved = if options.recompute { again } else { &mut saved[number] };
            let (config, layer) = (&self.config, &mut self.params.layers[number]);
            let mut pass =
                Pass { exec, config, options, gradients: &mut *gradients, ready: &mut *ready, tokens, frozen };
            pass.feed_forward(layer, saved, buffers);
            pass.attention(layer, saved, buffers, &forward.angles);
        }
        if !frozen {
            Model::lookup_backward(exec, &sequence.tokens, &tape.buffers.dx, gradients);
        }
    }
}

/// The backward pass of one layer.
struct Pass<'a, 'r> {
    exec: Exec<'a>,
    config: &'a Config,
    options: BackwardOptions,
    gradients: &'a mut Gradients,
    ready: &'a mut Ready<'r>,
    tokens: usize,
    /// Whether an adapter is trained, and nothing else.
    frozen: bool,
}

impl Pass<'_, '_> {
    /// From the gradient of `x + down(silu(gate(norm(x))) * up(norm(x)))` to that of `x`.
    fn feed_forward(&mut self, layer: &mut Layer, saved: &mut Saved, buffers: &mut Buffers) {
        let Saved { middle, gate, up, .. } = saved;
        let Buffers { dx, normed, dnormed, activated, dactivated, sums, .. } = buffers;
        let (activated, dactivated) = (sized(activated, gate.len()), zeroed(self.exec, dactivated, gate.len()));
        swiglu_forward(self.exec, activated, gate, up);
        self.linear(&mut layer.down, dactivated, dx, activated, sums);
        swiglu_backward(self.exec, gate, up, dactivated);
        let (normed, dnormed) = (sized(normed, middle.len()), zeroed(self.exec, dnormed, middle.len()));
        self.normed(&layer.post_attention_norm, middle, normed);
        self.linear(&mut layer.gate, dnormed, gate, normed, sums);
        self.linear(&mut layer.up, dnormed, up, normed, sums);
        self.norm(&mut layer.post_attention_norm, dx, dnormed, middle);
    }

    /// From the gradient of `x + o(attention(rope(q(norm(x))), rope(k(norm(x))), v(norm(x))))` to that of `x`.
    fn attention(&mut self, layer: &mut Layer, saved: &Saved, buffers: &mut Buffers, angles: &RopeAngles) {
        let &Config { heads, kv_heads, head_dim, .. } = self.config;
        let Saved { x, q, k, v, attended, .. } = saved;
        let Buffers { dx, normed, dnormed, dattended, dq, dk, dv, attention, sums, .. } = buffers;
        let dattended = zeroed(self.exec, dattended, attended.len());
        self.linear(&mut layer.o, dattended, dx, attended, sums);
        let (dq, dk, dv) = (sized(dq, q.len()), sized(dk, k.len()), sized(dv, v.len()));
        let dims = AttentionDims { heads, kv_heads, head_dim };
        attention_backward(self.exec, [&mut *dq, &mut *dk, &mut *dv], dattended, [q, k, v], dims, attention);
        rope_backward(self.exec, dq, angles, self.tokens, head_dim);
        rope_backward(self.exec, dk, angles, self.tokens, head_dim);
        let (normed, dnormed) = (sized(normed, x.len()), zeroed(self.exec, dnormed, x.len()));
        self.normed(&layer.input_norm, x, normed);
        self.linear(&mut layer.q, dnormed, dq, normed, sums);
        self.linear(&mut layer.k, dnormed, dk, normed, sums);
        self.linear(&mut layer.v, dnormed, dv, normed, sums);
        self.norm(&mut layer.input_norm, dx, dnormed, x);
    }

    /// A norm's output, as in the forward pass.
    fn normed(&self, norm: &Param, x: &[f32], out: &mut [f32]) {
        rmsnorm_forward(self.exec, out, x, norm.weights(), self.config.rms_norm_eps as f32);
    }

    fn linear(&mut self, layer: &mut Linear, dx: &mut [f32], dout: &[f32], x: &[f32], sums: &mut Vec<f32>) {
        match self.options.descend.filter(|_| !self.frozen) {
            Some(rate) => self.step(&mut layer.weight, dx, dout, x, rate, sums),
            None => self.weight(layer, dx, dout, x),
        }
        if let Some(bias) = &mut layer.bias
            && !self.frozen
        {
            matmul_backward_bias(self.exec, self.gradients.sum(bias.index, bias.weights().len()), dout);
            (self.ready)(bias.index, &mut bias.tensor, self.gradients);
        }
    }

    /// The gradients of the input, and a step down the matrix's.
    fn step(&mut self, weight: &mut Param, dx: &mut [f32], dout: &[f32], x: &[f32], rate: f32, sums: &mut Vec<f32>) {
        let Pass { exec, tokens, .. } = *self;
        let mut squares = vec![0.0; dout.len() / tokens];
        let step = |w: &mut [f32]| {
            matmul_backward_sgd_step(exec, dx, [w, &mut squares], dout, x, tokens, rate, sums);
        };
        weight.tensor.update(step);
        self.gradients.set_squares(weight.index, squares.iter().fold(0.0, |sum, row| sum + row));
    }

    /// The gradients of the input, and of the matrix, or of its adapter.
    fn weight(&mut self, layer: &mut Linear, dx: &mut [f32], dout: &[f32], x: &[f32]) {
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
        if !self.frozen {
            let Param { index, tensor } = &mut layer.weight;
            let dw = self.gradients.sum(*index, tensor.weights().len());
            matmul_backward_weight(self.exec, dw, dout, x, self.tokens);
            (self.ready)(*index, tensor, self.gradients);
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
