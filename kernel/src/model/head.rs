//! The loss, the output head and the embedding, backward.

use super::config::Config;
use super::gradients::{BackwardOptions, Gradients, Ready, Sequence, Tied};
use super::llama::{Model, sized};
use super::tape::{Buffers, Tape, zeroed};
use crate::Exec;
use crate::ops::{
    cross_entropy_backward, cross_entropy_forward, embedding_backward, matmul_backward_input, matmul_backward_sgd_step,
    matmul_backward_weight, matmul_forward, residual_forward, rmsnorm_backward, rmsnorm_forward, sgd_step,
    squares_forward,
};
use crate::pool::SerialPool;
use alloc::vec;
use alloc::vec::Vec;
use core::mem::take;

/// Rows of logits that a backward pass has in memory at a time.
pub const HEAD_ROWS: usize = 256;

impl Model {
    /// Loss, output head and final norm: from the last layer's output to its gradient, `tape.buffers.dx`. Stops where the
    /// loss is not finite.
    pub(super) fn head_backward(
        &mut self,
        exec: Exec<'_>,
        sequence: &Sequence,
        options: BackwardOptions,
        tape: &mut Tape,
        gradients: &mut Gradients,
        ready: &mut Ready<'_>,
    ) {
        let Config { vocab, dim, rms_norm_eps, .. } = self.config;
        let (eps, frozen) = (rms_norm_eps as f32, self.lora.is_some());
        let Tape { forward, buffers, .. } = tape;
        let last = &forward.x;
        let (positions, targets) = sequence.targets();
        // The loss is not known before the last rows: weights must not change until then.
        let descend = options.descend.filter(|_| positions.len() <= HEAD_ROWS && !frozen);
        zeroed(exec, &mut buffers.dx, last.len());
        for (positions, targets) in positions.chunks(HEAD_ROWS).zip(targets.chunks(HEAD_ROWS)) {
            let rows = positions.len();
            let (norm, head) = (&self.params.norm, self.params.head());
            let x: Vec<f32> = positions.iter().flat_map(|t| &last[t * dim..(t + 1) * dim]).copied().collect();
            let (mut losses, mut dx_rows) = (vec![0.0; rows], vec![0.0; rows * dim]);
            let (normed, logits) = (sized(&mut buffers.normed, rows * dim), sized(&mut buffers.logits, rows * vocab));
            rmsnorm_forward(exec, normed, &x, norm.weights(), eps);
            matmul_forward(exec, logits, normed, head.weights(), None, rows);
            cross_entropy_forward(exec, &mut losses, logits, targets);
            gradients.loss = losses.iter().fold(gradients.loss, |sum, loss| sum + loss);
            if !gradients.loss.is_finite() {
                return;
            }
            cross_entropy_backward(exec, logits, targets, options.count);
            let dnormed = zeroed(exec, &mut buffers.dnormed, rows * dim);
            match descend {
                Some(rate) => self.head_step(exec, &sequence.tokens, buffers, rate, gradients),
                None => {
                    matmul_backward_input(exec, dnormed, logits, head.weights(), rows);
                    if !frozen {
                        matmul_backward_weight(exec, gradients.sum(head.index, vocab * dim), logits, normed, rows);
                    }
                }
            }
            let norm = &self.params.norm;
            let dnorm = (!frozen).then(|| gradients.sum(norm.index, dim));
            rmsnorm_backward(exec, &mut dx_rows, dnorm, &buffers.dnormed, &x, norm.weights(), eps);
            for (t, row) in positions.iter().zip(dx_rows.chunks_exact(dim)) {
                buffers.dx[t * dim..(t + 1) * dim].copy_from_slice(row);
            }
        }
        if frozen {
            return;
        }
        ready(self.params.norm.index, &mut self.params.norm.tensor, gradients);
        if let Some(head) = &mut self.params.head
            && descend.is_none()
        {
            ready(head.index, &mut head.tensor, gradients);
        }
    }

    /// The gradients of the normed rows, and gradient descent on the head. Of a tied one the rows of `tokens`, which receive more
    /// as a lookup table, stay as they are.
    fn head_step(
        &mut self,
        exec: Exec<'_>,
        tokens: &[u32],
        Buffers { dnormed, logits: dlogits, normed, sums, .. }: &mut Buffers,
        rate: f32,
        gradients: &mut Gradients,
    ) {
        let Config { vocab, dim, .. } = self.config;
        let rows = dlogits.len() / vocab;
        let mut squares = vec![0.0; vocab];
        if let Some(head) = &mut self.params.head {
            head.tensor.update(|w| {
                matmul_backward_sgd_step(exec, dnormed, [w, &mut squares], dlogits, normed, rows, rate, sums);
            });
            gradients.set_squares(head.index, squares.iter().fold(0.0, |sum, row| sum + row));
            return;
        }
        let mut tokens = tokens.to_vec();
        tokens.sort_unstable();
        tokens.dedup();
        let columns: Vec<f32> =
            dlogits.chunks_exact(vocab).flat_map(|row| tokens.iter().map(|token| row[*token as usize])).collect();
        let mut kept = vec![0.0; tokens.len() * dim];
        matmul_backward_weight(exec, &mut kept, &columns, normed, rows);
        self.params.embedding.tensor.update(|w| {
            let start = |token: &u32| *token as usize * dim;
            let old: Vec<f32> = tokens.iter().flat_map(|token| &w[start(token)..][..dim]).copied().collect();
            matmul_backward_sgd_step(exec, dnormed, [&mut *w, &mut squares], dlogits, normed, rows, rate, sums);
            for (token, old) in tokens.iter().zip(old.chunks_exact(dim)) {
                w[start(token)..][..dim].copy_from_slice(old);
            }
        });
        let rows = tokens.into_iter().zip(kept.chunks_exact(dim).map(<[f32]>::to_vec)).collect();
        gradients.tied = Tied { rows, squares };
    }

    /// Adds the gradients that a sequence gives the embedding as a lookup table.
    pub(super) fn lookup_backward(exec: Exec<'_>, tokens: &[u32], dx: &[f32], gradients: &mut Gradients) {
        let (dim, one) = (dx.len() / tokens.len(), Exec { pool: &SerialPool, ..exec });
        for (dx, token) in dx.chunks_exact(dim).zip(tokens) {
            let row = gradients.lookup.entry(*token).or_insert_with(|| vec![0.0; dim]);
            embedding_backward(one, row, dx, &[0], dim);
        }
    }

    /// Completes the gradient of the embedding after the last sequence of a batch: `dE = dHead + dLookup` (N11), where the
    /// first is zero unless the head is tied.
    pub fn finish_embedding(
        &mut self,
        exec: Exec<'_>,
        options: BackwardOptions,
        gradients: &mut Gradients,
        ready: &mut Ready<'_>,
    ) {
        if self.lora.is_some() {
            return;
        }
        let Config { vocab, dim, .. } = self.config;
        let one = Exec { pool: &SerialPool, ..exec };
        let embedding = &mut self.params.embedding;
        let lookup = take(&mut gradients.lookup);
        let row_of = |token: u32| token as usize * dim..(token as usize + 1) * dim;
        match options.descend {
            Some(rate) if gradients.get(embedding.index).is_none() => {
                let Tied { mut rows, mut squares } = take(&mut gradients.tied);
                squares.resize(vocab, 0.0);
                embedding.tensor.update(|w| {
                    for (token, row) in lookup {
                        let mut g = rows.remove(&token).unwrap_or_else(|| vec![0.0; dim]);
                        residual_forward(one, &mut g, &row);
                        squares[token as usize] = squares_forward(one, &g, dim);
                        sgd_step(one, &mut w[row_of(token)], &g, rate);
                    }
                });
                gradients.set_squares(embedding.index, squares.iter().fold(0.0, |sum, row| sum + row));
            }
            _ => {
                let table = gradients.sum(embedding.index, vocab * dim);
                for (token, row) in lookup {
                    residual_forward(one, &mut table[row_of(token)], &row);
                }
                ready(embedding.index, &mut embedding.tensor, gradients);
            }
        }
    }
}
