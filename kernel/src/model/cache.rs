//! Keys and values of the positions that a model has seen.

use super::config::Config;
use crate::ops::Keys;
use alloc::vec;
use alloc::vec::Vec;

/// Positions that are made room for at once, at least.
const STEP: usize = 128;
/// The part of the positions there are that is made room for at once: what was there is copied.
const GROWTH: usize = 8;

/// The rotated keys and the values of every layer and head, in binary32 (N1). It grows as positions are added.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    head_dim: usize,
    len: usize,
}

/// The cache of one layer, a key/value head each; values are `[positions, head_dim]`.
#[derive(Clone, Debug)]
pub(super) struct LayerCache {
    pub keys: Vec<Keys>,
    pub values: Vec<Vec<f32>>,
}

impl LayerCache {
    /// Makes room for `new` positions more, and for some beyond.
    fn reserve(&mut self, new: usize, head_dim: usize) {
        for (keys, values) in self.keys.iter_mut().zip(&mut self.values) {
            let step = (keys.len() / GROWTH).next_multiple_of(STEP).max(STEP);
            keys.reserve(new, step);
            if values.capacity() - values.len() < new * head_dim {
                values.reserve_exact(new.next_multiple_of(step) * head_dim);
            }
        }
    }
}

impl KvCache {
    /// An empty cache for a model of this shape.
    pub fn new(config: &Config) -> KvCache {
        let Config { layers, kv_heads, head_dim, .. } = *config;
        let layer = LayerCache { keys: vec![Keys::new(head_dim); kv_heads], values: vec![vec![]; kv_heads] };
        KvCache { layers: vec![layer; layers], head_dim, len: 0 }
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
        let keys = self.layers.iter().flat_map(|layer| &layer.keys).map(Keys::bytes);
        let values = self.layers.iter().flat_map(|layer| &layer.values).map(|head| head.capacity() * size_of::<f32>());
        keys.chain(values).sum()
    }

    /// A copy of the first `len` positions.
    pub fn prefix(&self, len: usize) -> KvCache {
        let len = self.len.min(len);
        let layer = |layer: &LayerCache| LayerCache {
            keys: layer.keys.iter().map(|head| head.prefix(len)).collect(),
            values: layer.values.iter().map(|head| head[..len * self.head_dim].to_vec()).collect(),
        };
        KvCache { layers: self.layers.iter().map(layer).collect(), head_dim: self.head_dim, len }
    }

    /// Makes room for the first `positions`, so that nothing is copied until there are more.
    pub fn reserve(&mut self, positions: usize) {
        let new = positions.saturating_sub(self.len);
        self.layers.iter_mut().for_each(|layer| layer.reserve(new, self.head_dim));
    }

    /// Gives back the memory of positions that there are not.
    pub fn shrink_to_fit(&mut self) {
        for layer in &mut self.layers {
            layer.keys.iter_mut().for_each(Keys::shrink_to_fit);
            layer.values.iter_mut().for_each(Vec::shrink_to_fit);
        }
    }

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        for layer in &mut self.layers {
            layer.keys.iter_mut().for_each(|head| head.truncate(self.len));
            layer.values.iter_mut().for_each(|head| head.truncate(self.len * self.head_dim));
        }
    }

    /// Adds the keys and values (`[tokens, kv_heads * head_dim]`) of new positions to a layer and returns it.
    pub(super) fn append(&mut self, layer: usize, keys: &[f32], values: &[f32]) -> &LayerCache {
        let (head_dim, layer) = (self.head_dim, &mut self.layers[layer]);
        let kv_heads = layer.keys.len();
        layer.reserve(keys.len() / (kv_heads * head_dim), head_dim);
        for (h, head) in layer.keys.iter_mut().enumerate() {
            keys.chunks_exact(head_dim).skip(h).step_by(kv_heads).for_each(|key| head.push(key));
        }
        for (h, head) in layer.values.iter_mut().enumerate() {
            values.chunks_exact(head_dim).skip(h).step_by(kv_heads).for_each(|row| head.extend_from_slice(row));
        }
        layer
    }

    /// Counts positions whose keys and values every layer has.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_copied_until_there_are_more_positions_than_were_made_room_for() {
        let (head_dim, layer) = (4, || LayerCache { keys: vec![Keys::new(4); 2], values: vec![vec![]; 2] });
        let mut cache = KvCache { layers: vec![layer(), layer()], head_dim, len: 0 };
        cache.reserve(1000);
        let room = cache.bytes();
        let mut add = |tokens: usize| {
            let rows = vec![1.0; tokens * 2 * head_dim];
            (0..2).for_each(|layer| _ = cache.append(layer, &rows, &rows));
            cache.advance(tokens);
            cache.bytes()
        };
        // Steps of 128: there is room for 1,024.
        assert!((0..8).all(|_| add(128) == room));
        // More by an eighth of what there is, or by a step.
        let more = add(1);
        assert_eq!(more, room / 8 * 9);
        assert!((1..128).all(|_| add(1) == more));
        assert!(add(1) > more);
        // Keys lie in blocks of 16 positions: 1,153 positions take 1,168 there.
        cache.shrink_to_fit();
        assert_eq!(cache.bytes(), 2 * 2 * (1168 + 1153) * head_dim * size_of::<f32>());
    }
}
