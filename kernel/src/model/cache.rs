//! Keys and values of the positions that a model has seen.

use super::config::Config;
use alloc::vec;
use alloc::vec::Vec;

/// Positions that are made room for at once.
const STEP: usize = 128;

/// The rotated keys and the values of every layer and head, in binary32 (N1). It grows as positions are added.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    head_dim: usize,
    len: usize,
}

/// The cache of one layer: `[positions, head_dim]` a key/value head.
#[derive(Clone, Debug)]
pub(super) struct LayerCache {
    pub keys: Vec<Vec<f32>>,
    pub values: Vec<Vec<f32>>,
}

impl KvCache {
    /// An empty cache for a model of this shape.
    pub fn new(config: &Config) -> KvCache {
        let layer = LayerCache { keys: vec![vec![]; config.kv_heads], values: vec![vec![]; config.kv_heads] };
        KvCache { layers: vec![layer; config.layers], head_dim: config.head_dim, len: 0 }
    }

    /// How many positions it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes that it occupies.
    pub fn bytes(&self) -> usize {
        self.heads().map(|head| head.capacity() * size_of::<f32>()).sum()
    }

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        let keep = self.len * self.head_dim;
        for layer in &mut self.layers {
            layer.keys.iter_mut().chain(&mut layer.values).for_each(|head| head.truncate(keep));
        }
    }

    fn heads(&self) -> impl Iterator<Item = &Vec<f32>> {
        self.layers.iter().flat_map(|layer| layer.keys.iter().chain(&layer.values))
    }

    /// Adds the keys and values (`[tokens, kv_heads * head_dim]`) of new positions to a layer and returns it.
    pub(super) fn append(&mut self, layer: usize, keys: &[f32], values: &[f32]) -> &LayerCache {
        let layer = &mut self.layers[layer];
        for (heads, rows) in [(&mut layer.keys, keys), (&mut layer.values, values)] {
            let kv_heads = heads.len();
            for (h, head) in heads.iter_mut().enumerate() {
                let new = rows.len() / kv_heads;
                if head.capacity() - head.len() < new {
                    head.reserve_exact(new.next_multiple_of(STEP * self.head_dim));
                }
                rows.chunks_exact(self.head_dim).skip(h).step_by(kv_heads).for_each(|row| head.extend_from_slice(row));
            }
        }
        layer
    }

    /// Counts positions whose keys and values every layer has.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }
}
