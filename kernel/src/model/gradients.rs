//! What a backward pass is given, and what it adds up.

use super::tensor::Tensor;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

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
    pub(super) fn targets(&self) -> (Vec<usize>, Vec<u32>) {
        (1..self.tokens.len()).filter(|t| self.counted[*t]).map(|t| (t - 1, self.tokens[t])).unzip()
    }

    /// How many targets count.
    pub fn count(&self) -> usize {
        self.targets().0.len()
    }
}

/// How to go over a batch.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BackwardOptions {
    /// Whether to compute the activations of a layer again when its gradients are computed, instead of keeping them: the
    /// same bits in less memory and more time.
    pub recompute: bool,
    /// The targets of the whole batch, by whose number the loss is divided.
    pub count: usize,
    /// The rate of plain gradient descent, where a weight may change as soon as its gradient is known: the batch is one
    /// sequence, and nothing needs all gradients together. The gradient of a matrix is not stored then. None: gradients are
    /// summed up.
    pub descend: Option<f32>,
}

/// Gradients by parameter, as many as are being summed up at the moment.
///
/// The gradients that a tied embedding receives as a lookup table are kept apart, and added to those that it receives as
/// the output head once, when the batch is complete (N11).
#[derive(Default, Debug)]
pub struct Gradients {
    pub(super) tensors: BTreeMap<usize, Vec<f32>>,
    pub(super) lookup: BTreeMap<u32, Vec<f32>>,
    pub(super) tied: Tied,
    pub(super) loss: f32,
    squares: BTreeMap<usize, f32>,
}

/// What gradient descent on a tied head leaves to the lookup.
#[derive(Default, Debug)]
pub(super) struct Tied {
    /// The gradients of the rows that are looked up, too; their weights have not changed.
    pub rows: BTreeMap<u32, Vec<f32>>,
    /// The sums of the squares of the other rows' gradients.
    pub squares: Vec<f32>,
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

    /// The sum of the squares of the gradient of parameter `index`, where it was used up.
    pub fn squares(&self, index: usize) -> Option<f32> {
        self.squares.get(&index).copied()
    }

    /// Notes the sum of the squares of a gradient that is used up.
    pub fn set_squares(&mut self, index: usize, squares: f32) {
        self.squares.insert(index, squares);
    }

    pub(super) fn sum(&mut self, index: usize, len: usize) -> &mut [f32] {
        self.tensors.entry(index).or_insert_with(|| vec![0.0; len])
    }
}

/// Told that the gradient of a parameter (its row in the table) has all that a sequence adds to it.
pub type Ready<'a> = dyn FnMut(usize, &mut Tensor, &mut Gradients) + 'a;
