//! The Llama stack (Touvron et al. 2023), forward.

use super::adapter::LoraConfig;
use super::cache::KvCache;
use super::config::Config;
use super::params::{Layer, Linear, LoadError, Param, Parameter, Params, parameters};
use super::tensor::RawTensor;
use super::trace::{Place, Trace, Traced, note};
use crate::Exec;
use crate::ops::{
    AttentionDims, RopeAngles, RopeTable, Weights, attention_forward, embedding_forward, lora_forward, matmul_forward,
    matmul_forward_each, residual_forward, rmsnorm_forward, rope_forward, swiglu_forward,
};
use alloc::vec::Vec;
use core::fmt;

/// A model: its shape and its weights, which it reads where they are. Sharing it among threads is safe; a clone shares
/// weights that are not its own.
#[derive(Clone, Debug)]
pub struct Model {
    pub(super) config: Config,
    pub(super) params: Params,
    pub(super) rope: RopeTable,
    pub(super) lora: Option<LoraConfig>,
}

/// Of which of the new positions the logits are wanted; they cost most of a short step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Logits {
    /// Of none.
    None,
    /// Of the last one.
    Last,
    /// Of so many at the end; of all if there are not so many.
    Tail(usize),
    /// Of all.
    All,
}

impl Logits {
    /// Of how many of so many new positions.
    pub(crate) fn rows(self, tokens: usize) -> usize {
        match self {
            Logits::None => 0,
            Logits::Last => tokens.min(1),
            Logits::Tail(rows) => rows.min(tokens),
            Logits::All => tokens,
        }
    }
}

/// What a step reads of one text.
#[derive(Debug)]
pub struct Reading<'a> {
    /// The positions before; those of the tokens are added.
    pub cache: &'a mut KvCache,
    /// The tokens at the positions that follow.
    pub tokens: &'a [u32],
    /// Of which of them the logits are wanted.
    pub wanted: Logits,
}

impl Reading<'_> {
    /// The rows of logits that are wanted.
    pub(crate) fn rows(&self) -> usize {
        self.wanted.rows(self.tokens.len())
    }
}

/// Memory between the operators of a step. One value serves any number of steps of any length.
#[derive(Default, Debug)]
pub struct Workspace {
    pub(super) x: Vec<f32>,
    normed: Vec<f32>,
    pub(super) q: Vec<f32>,
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
    pub(super) attended: Vec<f32>,
    pub(super) gate: Vec<f32>,
    pub(super) up: Vec<f32>,
    activated: Vec<f32>,
    projected: Vec<f32>,
    pub(super) angles: RopeAngles,
    logits: Vec<f32>,
    trace: Option<Trace>,
}

impl Workspace {
    /// A workspace that keeps a copy of what every operator gives, for [`Workspace::take_trace`].
    pub fn tracing() -> Workspace {
        Workspace { trace: Some(Trace::default()), ..Workspace::default() }
    }

    /// What the operators gave since the last call, in the order of the computation. Nothing, unless this is a workspace of
    /// [`Workspace::tracing`].
    pub fn take_trace(&mut self) -> Vec<Traced> {
        self.trace.as_mut().map(|trace| core::mem::take(&mut trace.traced)).unwrap_or_default()
    }

    /// The logits of the last step: `[rows, vocab]`, with as many rows as were wanted, of one text after the other.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }
}

/// Why a step cannot be computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForwardError {
    /// There are no tokens.
    NoTokens,
    /// A token is not in the vocabulary.
    Token {
        /// The token.
        token: u32,
        /// Tokens of the vocabulary.
        vocab: usize,
    },
    /// The positions are more than the model was made for.
    Context {
        /// Positions after the step.
        positions: usize,
        /// Positions of the model.
        context: usize,
    },
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTokens => f.write_str("there are no tokens; a prompt needs at least one"),
            Self::Token { token, vocab } => {
                write!(f, "token {token} is outside the vocabulary, whose ids end at {}", vocab - 1)
            }
            Self::Context { positions, context } => {
                write!(f, "{positions} positions are more than the model's context of {context}; shorten the text")
            }
        }
    }
}

impl core::error::Error for ForwardError {}

impl Config {
    /// Whether the vocabulary has all these tokens.
    pub(crate) fn check_tokens(&self, tokens: &[u32]) -> Result<(), ForwardError> {
        match tokens.iter().find(|token| **token as usize >= self.vocab) {
            Some(&token) => Err(ForwardError::Token { token, vocab: self.vocab }),
            None => Ok(()),
        }
    }
}

/// Gives `buffer` the length `len`; what it holds is written before it is read.
pub(super) fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    buffer.resize(len, 0.0);
    buffer
}

impl Model {
    /// Takes the tensors that `config` asks for from `source`, under the names that Hugging Face gives them. Weights are
    /// not copied (see [`super::Tensor`]).
    ///
    /// # Errors
    /// If a value of `config` is out of range or contradicts another, or a tensor is missing or has another shape.
    pub fn load(config: Config, source: &dyn Fn(&str) -> Option<RawTensor>) -> Result<Model, LoadError> {
        config.check().map_err(LoadError::Config)?;
        let params = Params::load(&config, source)?;
        let rope = RopeTable::new(config.rope_theta as f32, config.head_dim);
        let rope = match config.rope_scaling {
            Some(scaling) => rope.scaled(scaling),
            None => rope,
        };
        Ok(Model { config, params, rope, lora: None })
    }

    /// The same model with binary32 copies of what a trainer changes: of the adapter, or of all weights.
    pub(crate) fn to_trainable(&self) -> Model {
        let mut model = self.clone();
        model.params.trainable_mut().into_iter().for_each(|param| param.tensor = param.tensor.to_owned_f32());
        model
    }

    /// All parameters with their weights, in the order of the table.
    pub fn tensors(&self) -> impl Iterator<Item = (Parameter, Weights<'_>)> {
        parameters(&self.config).into_iter().zip(self.params.all().into_iter().map(Param::weights))
    }

    /// The table of what a trainer changes: the parameters of the adapter where there is one, otherwise all.
    pub fn trainable(&self) -> Vec<Parameter> {
        match &self.lora {
            Some(lora) => lora.parameters(&self.config),
            None => parameters(&self.config),
        }
    }

    /// The weights of what a trainer changes, in the order of [`Model::trainable`].
    pub(crate) fn trainable_weights(&self) -> Vec<Weights<'_>> {
        match &self.lora {
            Some(_) => self.adapter_tensors(),
            None => self.params.all().into_iter().map(Param::weights).collect(),
        }
    }

    /// A copy with other weights for parameter `index` of the table: `change` receives them in binary32.
    pub fn with_tensor(&self, index: usize, change: impl FnOnce(&mut [f32])) -> Model {
        let mut model = self.clone();
        if let Some(param) = model.params.all_mut().into_iter().nth(index) {
            param.tensor = param.tensor.to_owned_f32();
            param.tensor.update(change);
        }
        model
    }

    /// Changes what a trainer changes of a model of [`Model::to_trainable`]; `change` receives the row in its table with it.
    pub(crate) fn update(&mut self, mut change: impl FnMut(usize, &mut [f32])) {
        self.params.trainable_mut().into_iter().for_each(|param| param.tensor.update(|w| change(param.index, w)));
    }

    /// The shape of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Reads `tokens` at the positions that follow those in `cache` and adds theirs; `workspace` has the logits after it.
    /// The bits do not depend on how a text is cut into steps (N11).
    ///
    /// # Errors
    /// If there are no tokens, one is outside the vocabulary, or they exceed the context; nothing has changed then.
    pub fn forward(
        &self,
        exec: Exec<'_>,
        cache: &mut KvCache,
        tokens: &[u32],
        wanted: Logits,
        workspace: &mut Workspace,
    ) -> Result<(), ForwardError> {
        self.forward_each(exec, &mut [Reading { cache, tokens, wanted }], workspace)
    }

    /// [`Model::forward`] of several texts: each weight is read once for all of them. No bit of a text depends on the others (N11).
    ///
    /// # Errors
    /// As [`Model::forward`], for any of the texts; nothing has changed then.
    pub fn forward_each(
        &self,
        exec: Exec<'_>,
        readings: &mut [Reading<'_>],
        workspace: &mut Workspace,
    ) -> Result<(), ForwardError> {
        let Config { dim, context, .. } = self.config;
        for Reading { cache, tokens, .. } in readings.iter() {
            let positions = cache.len() + tokens.len();
            self.config.check_tokens(tokens)?;
            if positions > context {
                return Err(ForwardError::Context { positions, context });
            }
        }
        if readings.is_empty() || readings.iter().any(|reading| reading.tokens.is_empty()) {
            return Err(ForwardError::NoTokens);
        }
        let w = workspace;
        w.angles.clear();
        for Reading { cache, tokens, .. } in readings.iter() {
            self.rope.angles(cache.len(), tokens.len(), &mut w.angles);
        }
        let tokens: Vec<u32> = readings.iter().flat_map(|reading| reading.tokens).copied().collect();
        let count = tokens.len();
        embedding_forward(exec, sized(&mut w.x, count * dim), self.params.embedding.weights(), &tokens, dim);
        note(&mut w.trace, Place::Embedding, &w.x);
        let mut texts: Vec<(&mut KvCache, usize)> =
            readings.iter_mut().map(|reading| (&mut *reading.cache, reading.tokens.len())).collect();
        for (number, layer) in self.params.layers.iter().enumerate() {
            if let Some(trace) = &mut w.trace {
                trace.layer = number;
            }
            self.attend(exec, layer, number, &mut texts, w);
            self.feed_forward(exec, layer, count, w);
        }
        texts.into_iter().for_each(|(cache, count)| cache.advance(count));
        self.head(exec, readings, w);
        Ok(())
    }

    /// The logits that are wanted.
    fn head(&self, exec: Exec<'_>, readings: &[Reading<'_>], w: &mut Workspace) {
        let Config { vocab, dim, .. } = self.config;
        let (mut last, mut end) = (Vec::new(), 0);
        for reading in readings {
            let rows = reading.rows();
            end += reading.tokens.len();
            last.extend_from_slice(&w.x[(end - rows) * dim..end * dim]);
        }
        let rows = last.len() / dim;
        w.logits.resize(rows * vocab, 0.0);
        if rows > 0 {
            self.norm(exec, &self.params.norm, &last, &mut w.normed);
            matmul_forward(exec, &mut w.logits, &w.normed, self.params.head().weights(), None, rows);
            note(&mut w.trace, Place::Norm, &w.normed);
            note(&mut w.trace, Place::Logits, &w.logits);
        }
    }

    fn norm(&self, exec: Exec<'_>, weight: &Param, x: &[f32], out: &mut Vec<f32>) {
        rmsnorm_forward(exec, sized(out, x.len()), x, weight.weights(), self.config.rms_norm_eps as f32);
    }

    /// `x += o(attention(rope(q(norm(x))), rope(k(norm(x))), v(norm(x))))` of texts, each with the positions before and the tokens
    /// that are new.
    pub(super) fn attend(
        &self,
        exec: Exec<'_>,
        layer: &Layer,
        number: usize,
        texts: &mut [(&mut KvCache, usize)],
        w: &mut Workspace,
    ) {
        let Config { dim, heads, kv_heads, head_dim, .. } = self.config;
        let count = texts.iter().map(|(_, count)| count).sum();
        let (q_dim, kv_dim) = (self.config.q_dim(), self.config.kv_dim());
        self.norm(exec, &layer.input_norm, &w.x, &mut w.normed);
        note(&mut w.trace, Place::InputNorm, &w.normed);
        let q = (&layer.q, sized(&mut w.q, count * q_dim));
        let k = (&layer.k, sized(&mut w.k, count * kv_dim));
        let v = (&layer.v, sized(&mut w.v, count * kv_dim));
        linear(exec, [q, k, v], &w.normed, count);
        note(&mut w.trace, Place::Query, &w.q);
        note(&mut w.trace, Place::Key, &w.k);
        note(&mut w.trace, Place::Value, &w.v);
        rope_forward(exec, &mut w.q, &w.angles, count, head_dim);
        rope_forward(exec, &mut w.k, &w.angles, count, head_dim);
        note(&mut w.trace, Place::RotatedQuery, &w.q);
        note(&mut w.trace, Place::RotatedKey, &w.k);
        let dims = AttentionDims { heads, kv_heads, head_dim };
        let (mut attended, mut start) = (sized(&mut w.attended, count * q_dim), 0);
        for (cache, count) in texts {
            let (out, rest) = attended.split_at_mut(*count * q_dim);
            let (q, kv) = (start * q_dim..(start + *count) * q_dim, start * kv_dim..(start + *count) * kv_dim);
            let cached = cache.append(number, &w.k[kv.clone()], &w.v[kv]);
            attention_forward(exec, out, &w.q[q], &cached.keys, &cached.values, dims);
            (attended, start) = (rest, start + *count);
        }
        linear(exec, [(&layer.o, sized(&mut w.projected, count * dim))], &w.attended, count);
        residual_forward(exec, &mut w.x, &w.projected);
        note(&mut w.trace, Place::Attended, &w.attended);
        note(&mut w.trace, Place::AttentionOutput, &w.projected);
        note(&mut w.trace, Place::Middle, &w.x);
    }

    /// `x += down(silu(gate(norm(x))) * up(norm(x)))`
    pub(super) fn feed_forward(&self, exec: Exec<'_>, layer: &Layer, count: usize, w: &mut Workspace) {
        let Config { dim, hidden, .. } = self.config;
        self.norm(exec, &layer.post_attention_norm, &w.x, &mut w.normed);
        note(&mut w.trace, Place::PostAttentionNorm, &w.normed);
        let gate = (&layer.gate, sized(&mut w.gate, count * hidden));
        let up = (&layer.up, sized(&mut w.up, count * hidden));
        linear(exec, [gate, up], &w.normed, count);
        swiglu_forward(exec, sized(&mut w.activated, count * hidden), &w.gate, &w.up);
        linear(exec, [(&layer.down, sized(&mut w.projected, count * dim))], &w.activated, count);
        residual_forward(exec, &mut w.x, &w.projected);
        note(&mut w.trace, Place::Gate, &w.gate);
        note(&mut w.trace, Place::Up, &w.up);
        note(&mut w.trace, Place::Activated, &w.activated);
        note(&mut w.trace, Place::Down, &w.projected);
        note(&mut w.trace, Place::Output, &w.x);
    }
}

/// Linear layers of the same input, each with where its output goes.
fn linear<const N: usize>(exec: Exec<'_>, mut layers: [(&Linear, &mut [f32]); N], x: &[f32], tokens: usize) {
    let bare = layers.each_mut().map(|(layer, out)| {
        let bias = layer.bias.as_ref().map(Param::weights);
        (&mut **out, layer.weight.weights(), bias)
    });
    matmul_forward_each(exec, bare, x, tokens);
    for (layer, out) in layers {
        if let Some(adapter) = &layer.adapter {
            lora_forward(exec, out, x, adapter.lora(), tokens);
        }
    }
}
