//! The keys of the positions that a head has seen, laid out as attention reads them.

use crate::simd::LANES;
use crate::simd::tile::Block;
use alloc::vec::Vec;

/// Keys of one head, sixteen positions side by side: element `i` of positions `16b..16b + 16` is vector `b * head_dim + i`.
///
/// A query's scores of sixteen positions are one reduction for each lane then, and no lanes meet.
#[derive(Clone, PartialEq, Debug)]
pub struct Keys {
    vectors: Vec<Block>,
    head_dim: usize,
    len: usize,
}

impl Keys {
    /// No keys yet, of `head_dim` elements each.
    pub fn new(head_dim: usize) -> Keys {
        Keys { vectors: Vec::new(), head_dim, len: 0 }
    }

    /// One key each of `rows`, which are `[positions, head_dim]`.
    ///
    /// # Panics
    /// If `rows` is no multiple of `head_dim` long.
    pub fn of_rows(head_dim: usize, rows: &[f32]) -> Keys {
        assert!(rows.len().is_multiple_of(head_dim), "keys: {} values in rows of {head_dim}", rows.len());
        let mut keys = Keys::new(head_dim);
        keys.reserve(rows.len() / head_dim, LANES);
        rows.chunks_exact(head_dim).for_each(|row| keys.push(row));
        keys
    }

    /// How many positions there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Elements of a key.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// The bytes of memory that they occupy.
    pub fn bytes(&self) -> usize {
        self.vectors.capacity() * size_of::<Block>()
    }

    /// Makes room for `positions` more, in steps of `step`.
    pub fn reserve(&mut self, positions: usize, step: usize) {
        let vectors = |positions: usize| positions.div_ceil(LANES) * self.head_dim;
        if vectors(self.len + positions) > self.vectors.capacity() {
            let room = vectors((self.len + positions).next_multiple_of(step));
            self.vectors.reserve_exact(room - self.vectors.len());
        }
    }

    /// Adds the key of the next position.
    ///
    /// # Panics
    /// If it has another length than the others.
    pub fn push(&mut self, key: &[f32]) {
        assert_eq!(key.len(), self.head_dim, "keys: a key of another length");
        let (block, lane) = (self.len / LANES * self.head_dim, self.len % LANES);
        if lane == 0 {
            self.vectors.resize(block + self.head_dim, Block::ZERO);
        }
        for (vector, element) in self.vectors[block..].iter_mut().zip(key) {
            vector.0[lane] = *element;
        }
        self.len += 1;
    }

    /// A copy of the first `len` positions.
    pub fn prefix(&self, len: usize) -> Keys {
        let len = self.len.min(len);
        let vectors = self.vectors[..len.div_ceil(LANES) * self.head_dim].to_vec();
        Keys { vectors, len, ..*self }
    }

    /// Gives back the memory of positions that there are not.
    pub fn shrink_to_fit(&mut self) {
        self.vectors.shrink_to_fit();
    }

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.vectors.truncate(self.len.div_ceil(LANES) * self.head_dim);
    }

    /// Block `b`: one vector an element. Lanes beyond the last position hold anything.
    pub(super) fn block(&self, b: usize) -> &[[f32; LANES]] {
        bytemuck::cast_slice(&self.vectors[b * self.head_dim..(b + 1) * self.head_dim])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_lie_side_by_side() {
        let mut keys = Keys::new(3);
        keys.reserve(20, 128);
        let bytes = keys.bytes();
        for position in 0..20 {
            keys.push(&[0.0, 1.0, 2.0].map(|element| position as f32 + element / 4.0));
        }
        let at = |keys: &Keys, position: usize, element: usize| keys.block(position / 16)[element][position % 16];
        assert!((0..20).all(|p| (0..3).all(|e| at(&keys, p, e) == p as f32 + e as f32 / 4.0)));
        assert!(bytes == 128 * 3 * 4 && keys.bytes() == bytes, "room for 128 positions, used as it was made");
        keys.truncate(17);
        keys.push(&[50.0; 3]);
        assert!(keys.len() == 18 && at(&keys, 16, 1) == 16.25 && at(&keys, 17, 2) == 50.0);
        keys.truncate(0);
        assert!(keys.is_empty());
    }
}
