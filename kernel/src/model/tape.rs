//! What the backward pass keeps of the forward pass.

use super::cache::KvCache;
use super::config::Config;
use super::llama::{Model, Workspace, sized};
use crate::Exec;
use crate::ops::{AttentionScratch, embedding_forward};
use crate::pool::split_values;
use alloc::vec::Vec;
use core::mem::swap;

/// Memory of backward passes. One value serves any number of sequences of any length, of one model.
#[derive(Default, Debug)]
pub struct Tape {
    /// Of the forward pass; `x` becomes the output of the last layer.
    pub(super) forward: Workspace,
    /// Of each layer.
    pub(super) saved: Vec<Saved>,
    /// Of the layer that is computed again.
    pub(super) again: Saved,
    pub(super) buffers: Buffers,
    cache: Option<KvCache>,
}

/// What is kept of a layer.
#[derive(Default, Debug)]
pub(super) struct Saved {
    pub x: Vec<f32>,
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
    pub attended: Vec<f32>,
    pub middle: Vec<f32>,
    pub gate: Vec<f32>,
    pub up: Vec<f32>,
}

/// What is between the operators of the backward pass.
#[derive(Default, Debug)]
pub(super) struct Buffers {
    pub dx: Vec<f32>,
    pub normed: Vec<f32>,
    pub dnormed: Vec<f32>,
    pub activated: Vec<f32>,
    pub dactivated: Vec<f32>,
    pub dattended: Vec<f32>,
    pub dq: Vec<f32>,
    pub dk: Vec<f32>,
    pub dv: Vec<f32>,
    pub attention: AttentionScratch,
    /// Of parts of a linear layer's rows.
    pub sums: Vec<f32>,
    pub logits: Vec<f32>,
}

/// Gives `buffer` the length `len` and fills it with zeros: gradients are added to them.
pub(super) fn zeroed<'a>(exec: Exec<'_>, buffer: &'a mut Vec<f32>, len: usize) -> &'a mut [f32] {
    let buffer = sized(buffer, len);
    split_values(exec.pool, buffer, |_, part| part.fill(0.0));
    buffer
}

/// Makes `buffer` a copy of `values`.
fn copy(exec: Exec<'_>, buffer: &mut Vec<f32>, values: &[f32]) {
    split_values(exec.pool, sized(buffer, values.len()), |range, part| part.copy_from_slice(&values[range]));
}

impl Saved {
    /// Exchanges what the forward pass leaves in its workspace.
    fn exchange(&mut self, w: &mut Workspace) {
        swap(&mut self.q, &mut w.q);
        swap(&mut self.k, &mut w.k);
        swap(&mut self.v, &mut w.v);
        swap(&mut self.attended, &mut w.attended);
        swap(&mut self.gate, &mut w.gate);
        swap(&mut self.up, &mut w.up);
    }
}

impl Model {
    /// Runs the stack over one text and keeps what the backward pass needs: of each layer everything, or its input alone.
    pub(super) fn forward_saving(&self, exec: Exec<'_>, tokens: &[u32], recompute: bool, tape: &mut Tape) {
        let (count, dim) = (tokens.len(), self.config.dim);
        let Tape { forward, saved, again, cache, .. } = tape;
        forward.angles.clear();
        self.rope.angles(0, count, &mut forward.angles);
        embedding_forward(exec, sized(&mut forward.x, count * dim), self.params.embedding.weights(), tokens, dim);
        saved.resize_with(self.config.layers, Saved::default);
        for (number, saved) in saved.iter_mut().enumerate() {
            copy(exec, &mut saved.x, &forward.x);
            self.layer_saving(exec, number, if recompute { &mut *again } else { saved }, forward, cache);
        }
    }

    /// Runs a layer on what was kept of its input once more.
    pub(super) fn layer_again(&self, exec: Exec<'_>, number: usize, tape: &mut Tape) {
        let Tape { forward, saved, again, cache, .. } = tape;
        copy(exec, &mut forward.x, &saved[number].x);
        copy(exec, &mut again.x, &saved[number].x);
        self.layer_saving(exec, number, again, forward, cache);
    }

    /// Runs one layer on `w.x`.
    fn layer_saving(
        &self,
        exec: Exec<'_>,
        number: usize,
        saved: &mut Saved,
        w: &mut Workspace,
        cache: &mut Option<KvCache>,
    ) {
        let count = w.x.len() / self.config.dim;
        let layer = &self.params.layers[number];
        let cache = cache.get_or_insert_with(|| KvCache::new(&Config { layers: 1, ..self.config.clone() }));
        cache.truncate(0);
        saved.exchange(w);
        self.attend(exec, layer, 0, &mut [(cache, count)], w);
        copy(exec, &mut saved.middle, &w.x);
        self.feed_forward(exec, layer, count, w);
        saved.exchange(w);
    }
}
