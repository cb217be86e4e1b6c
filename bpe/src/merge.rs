//! Byte-pair encoding of one piece: while a pair of neighbours has a merge, merge the one of lowest rank, among equals
//! the leftmost.
//!
//! Two ways to find that pair, with the same answer: a scan, best for short pieces (quadratic), and a queue beside
//! a linked list for long ones (`n log m` for `m` different merges, so that no input is slow).

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use hashbrown::HashMap;

/// No token, no merge.
const NONE: u32 = u32::MAX;

/// Longer pieces, in bytes, go through the queue. Measured: the two are equally fast at 96 to 256 bytes, depending on
/// how much merges.
const LONGEST_SCANNED: usize = 128;

/// The merges of a tokenizer.
pub(crate) struct Merges {
    /// The token of each byte, or `NONE`: such a byte is dropped, and its neighbours meet.
    byte_tokens: [u32; 256],
    /// Rank of the merge of two tokens.
    ranks: HashMap<(u32, u32), u32>,
    /// What the merge of each rank makes.
    merged: Vec<u32>,
}

impl Merges {
    /// No merges yet, but room for `count`.
    pub(crate) fn new(byte_tokens: [Option<u32>; 256], count: usize) -> Self {
        Merges {
            byte_tokens: byte_tokens.map(|token| token.unwrap_or(NONE)),
            ranks: HashMap::with_capacity(count),
            merged: Vec::with_capacity(count),
        }
    }

    /// Adds the merge of the next rank: of two tokens to `merged`. False, and nothing to use, if the pair has one.
    pub(crate) fn add(&mut self, pair: (u32, u32), merged: u32) -> bool {
        let rank = self.merged.len() as u32;
        self.merged.push(merged);
        self.ranks.insert(pair, rank).is_none()
    }

    fn rank(&self, left: u32, right: u32) -> u32 {
        self.ranks.get(&(left, right)).copied().unwrap_or(NONE)
    }

    /// Appends the tokens of `piece` to `out`. `scratch` holds nothing between calls but its memory.
    pub(crate) fn encode(&self, piece: &[u8], scratch: &mut Scratch, out: &mut Vec<u32>) {
        let symbols = piece.iter().map(|&byte| self.byte_tokens[usize::from(byte)]).filter(|&token| token != NONE);
        if piece.len() <= LONGEST_SCANNED {
            self.scan(symbols, &mut scratch.symbols, out);
        } else {
            self.queue(symbols, scratch, out);
        }
    }

    /// Finds the lowest rank by looking at all of them.
    fn scan(&self, tokens: impl Iterator<Item = u32>, symbols: &mut Vec<Symbol>, out: &mut Vec<u32>) {
        symbols.clear();
        for token in tokens {
            if let Some(last) = symbols.last_mut() {
                last.rank = self.rank(last.token, token);
            }
            symbols.push(Symbol { token, rank: NONE });
        }
        // `min_by_key` takes the first among equals: the leftmost.
        while let Some((at, &Symbol { rank, .. })) = symbols.iter().enumerate().min_by_key(|(_, symbol)| symbol.rank)
            && rank != NONE
        {
            let token = self.merged[rank as usize];
            symbols.remove(at + 1);
            let rank = symbols.get(at + 1).map_or(NONE, |next| self.rank(token, next.token));
            symbols[at] = Symbol { token, rank };
            if let Some(before) = at.checked_sub(1) {
                symbols[before].rank = self.rank(symbols[before].token, token);
            }
        }
        out.extend(symbols.iter().map(|symbol| symbol.token));
    }

    /// Finds the lowest rank in a queue of places by rank. A place is out of date, and skipped, if its pair has another
    /// rank by now; every pair is in the queue, so the first that is not out of date is the one to merge.
    fn queue(&self, tokens: impl Iterator<Item = u32>, scratch: &mut Scratch, out: &mut Vec<u32>) {
        let Scratch { nodes, queue, .. } = scratch;
        nodes.clear();
        for (at, token) in tokens.enumerate() {
            if let Some(last) = nodes.last_mut() {
                last.rank = self.rank(last.token, token);
                queue.push(last.rank, at - 1);
            }
            nodes.push(Node { token, rank: NONE, before: at.wrapping_sub(1), after: at + 1 });
        }
        while let Some((rank, at)) = queue.pop() {
            if nodes[at].rank != rank {
                continue;
            }
            let token = self.merged[rank as usize];
            let gone = nodes[at].after;
            nodes[gone].rank = NONE;
            let Node { before, .. } = nodes[at];
            let Node { after, .. } = nodes[gone];
            if before < nodes.len() {
                nodes[before].rank = self.rank(nodes[before].token, token);
                queue.push(nodes[before].rank, before);
            }
            let mut rank = NONE;
            if after < nodes.len() {
                nodes[after].before = at;
                rank = self.rank(token, nodes[after].token);
                queue.push(rank, at);
            }
            nodes[at] = Node { token, rank, before, after };
        }
        let mut at = 0;
        while let Some(node) = nodes.get(at) {
            out.push(node.token);
            at = node.after;
        }
    }
}

/// Memory that encoding reuses from piece to piece.
#[derive(Default)]
pub(crate) struct Scratch {
    symbols: Vec<Symbol>,
    nodes: Vec<Node>,
    queue: Queue,
}

/// A token and the rank of its merge with the next one.
struct Symbol {
    token: u32,
    rank: u32,
}

/// A [`Symbol`] in a linked list; `before` and `after` are places, out of range at the two ends.
struct Node {
    token: u32,
    rank: u32,
    before: usize,
    after: usize,
}

/// Places by rank: the lowest rank first, in it the leftmost place.
///
/// The places of one rank are added in rising order, so that first in, first out is leftmost first. Why: what happens
/// inside the bytes of a token until it is whole does not depend on its surroundings (it is the lowest and leftmost
/// in there, too). Let `m` be the highest rank in that history. The token becomes whole between two merges of rank `m`:
/// lower ones always come first. Those go from left to right once, because a pair that is new by then contains
/// a token longer than what `m` merges. So equal tokens become whole from left to right; and so do equal pairs, each with
/// that one of its two tokens whose `m` is higher, or with its right one.
#[derive(Default)]
struct Queue {
    by_rank: BTreeMap<u32, VecDeque<usize>>,
}

impl Queue {
    fn push(&mut self, rank: u32, at: usize) {
        if rank != NONE {
            let places = self.by_rank.entry(rank).or_default();
            debug_assert!(places.back().is_none_or(|&last| last < at), "rank {rank}: {at} after {places:?}");
            places.push_back(at);
        }
    }

    fn pop(&mut self) -> Option<(u32, usize)> {
        let mut first = self.by_rank.first_entry()?;
        let rank = *first.key();
        let at = first.get_mut().pop_front();
        if first.get().is_empty() {
            first.remove();
        }
        Some((rank, at?))
    }
}
