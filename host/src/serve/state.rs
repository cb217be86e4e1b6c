//! What all requests share.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use kernel::transcript::{PROFILE, Sha256Digest, hex};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::engine::Engine;
use super::gate::Gate;
use super::metrics::Metrics;
use super::openai::Models;
use super::receipts::Receipts;
use crate::open::{Opened, name_of};
use crate::receipt::IssueError;
use crate::{cli, receipt};

/// Files of a model folder that may be asked for besides its weights.
const MODEL_FILES: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "manifest.json",
    "model.safetensors.index.json",
    "provenance.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// What a path segment may not hold as it is (RFC 3986).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The state of the server.
pub struct State {
    /// How it was started.
    pub arguments: cli::Serve,
    /// Who may call.
    pub gate: Gate,
    /// The name of the model folder.
    pub model_name: String,
    /// The model, without an adapter, once it is loaded.
    pub model: OnceLock<Opened>,
    /// The models that a request may name.
    pub models: Models,
    /// The weights digest, once they are hashed.
    pub weights: OnceLock<Sha256Digest>,
    /// The thread that computes.
    pub engine: Engine,
    /// What is counted.
    pub metrics: Metrics,
    /// The receipts of the last results.
    pub receipts: Receipts,
    /// Cancelled when answers that are under way are to end.
    pub ending: CancellationToken,
}

impl State {
    /// The state before the model is loaded.
    ///
    /// # Errors
    /// If the key that receipts are to be signed with cannot be read.
    pub fn new(mut arguments: cli::Serve, mut engine: Engine, gate: Gate) -> Result<State, IssueError> {
        // The gate has their digests; as they were typed nobody needs them any more.
        arguments.clients.api_key.clear();
        engine.time = arguments.limits.request_timeout();
        let key = receipt::key(arguments.sign.as_deref())?;
        let model_name = name_of(&arguments.model.base.folder.model);
        Ok(State {
            gate,
            models: Models::new(model_name.clone()),
            model_name,
            metrics: Metrics::new(&arguments, &engine.counts),
            receipts: Receipts::new(arguments.receipts).signed(key),
            arguments,
            model: OnceLock::new(),
            weights: OnceLock::new(),
            engine,
            ending: CancellationToken::new(),
        })
    }

    /// The files of the model folder that may be asked for; none before the model is loaded.
    pub fn model_files(&self) -> BTreeSet<&str> {
        let Some(opened) = self.model.get() else { return BTreeSet::new() };
        opened.checkpoint.shards().iter().map(|shard| shard.file()).chain(MODEL_FILES).collect()
    }

    /// The answer of `/api/status`.
    pub fn status(&self) -> Value {
        let config = self.model.get().map(|opened| opened.model.config());
        let opened = self.model.get();
        let (weights, adapter) = self.engine.served.digests(self.weights.get().copied());
        json!({
            "ready": opened.is_some(),
            "model": self.model_name,
            "modelUrl": format!("/models/{}/", utf8_percent_encode(&self.model_name, RESERVED)),
            "hiddenSize": config.map(|c| c.dim),
            "intermediateSize": config.map(|c| c.hidden),
            "vocabSize": config.map(|c| c.vocab),
            "layers": config.map(|c| c.layers),
            "heads": config.map(|c| c.heads),
            "kvHeads": config.map(|c| c.kv_heads),
            "headDim": config.map(|c| c.head_dim),
            "contextLength": config.map(|c| c.context),
            "source": opened.and_then(|o| o.provenance.as_ref()),
            "weightsSha256": weights.as_ref().map(hex),
            "adapterSha256": adapter.as_ref().map(hex),
            "trained": self.engine.served.trained().is_some(),
            "training": self.engine.training.is_taken(),
            "tokenizerSha256": opened.map(|o| hex(&o.tokenizer_sha256)),
            "profile": PROFILE,
            "backend": self.arguments.model.base.backend.name(),
            "threads": self.arguments.threads.count(),
            "activeGenerations": self.engine.active(),
            "waitingGenerations": self.engine.waiting(),
            "version": env!("CARGO_PKG_VERSION"),
        })
    }
}
