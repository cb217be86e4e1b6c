//! `GET /v1/models`, and the weights behind each name.

use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::{Response, StatusCode};
use kernel::transcript::{PROFILE, Sha256Digest, hex};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::json;

use crate::cli::TRAINED;
use crate::serve::api_error::{ApiError, shown};
use crate::serve::reply::{self, Body};
use crate::serve::state::State;
use crate::serve::weights::{Trained, Weights};

/// The models that the server was started with.
pub struct Models {
    /// The name of the model folder.
    base: String,
    /// When, in seconds of Unix.
    started: u64,
    /// The adapters, each under its name, once they are loaded.
    adapters: OnceLock<Vec<(String, Arc<Trained>)>>,
}

/// A model under its name.
pub struct Named {
    pub name: String,
    pub weights: Weights,
    /// The digests of weights and adapter, where those of the base weights are known.
    digests: (Option<Sha256Digest>, Option<Sha256Digest>),
}

/// A model as a list of models tells it.
#[derive(Serialize)]
struct Listed {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    weights_sha256: Option<String>,
    adapter_sha256: Option<String>,
}

impl Models {
    /// The models of a server whose model folder has this name, before any adapter is loaded.
    pub fn new(base: String) -> Models {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Models { base, started, adapters: OnceLock::new() }
    }

    /// Offers these adapters from now on.
    pub fn load(&self, adapters: Vec<(String, Arc<Trained>)>) {
        // The model is loaded once.
        let _ = self.adapters.set(adapters);
    }

    /// All models that may be asked for at this moment.
    fn all(&self, state: &State) -> Vec<Named> {
        let base = state.weights.get().copied();
        let mut all = vec![Named { name: self.base.clone(), weights: Weights::Base, digests: (base, None) }];
        all.extend(self.adapters.get().into_iter().flatten().map(|(name, adapter)| Named {
            name: name.clone(),
            weights: Weights::Loaded(adapter.clone()),
            digests: adapter.digests(base),
        }));
        all.extend(state.engine.served.trained().map(|trained| Named {
            name: format!("{}{TRAINED}", self.base),
            weights: Weights::Trained(trained.sha256),
            digests: trained.digests(base),
        }));
        all
    }

    /// The model of this name; the base weights if none is given.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(&self, state: &State, name: Option<&str>) -> Result<Named, ApiError> {
        let name = name.unwrap_or(&self.base);
        let all = self.all(state);
        let names: Vec<&str> = all.iter().map(|model| model.name.as_str()).collect();
        let message = match name.strip_suffix(TRAINED) {
            Some(base) if base == self.base => {
                format!("{name} is there once something was trained: POST /api/train trains it")
            }
            _ => format!("there is no model {:?}; there are: {}", shown(name), names.join(", ")),
        };
        all.into_iter().find(|model| model.name == name).ok_or_else(|| ApiError::no_model(message))
    }

    fn listed(&self, Named { name, digests: (weights, adapter), .. }: Named) -> Listed {
        Listed {
            id: name,
            object: "model",
            created: self.started,
            owned_by: "lockstep",
            weights_sha256: weights.as_ref().map(hex),
            adapter_sha256: adapter.as_ref().map(hex),
        }
    }
}

impl Named {
    /// What names the profile, the weights and the tokenizer: the beginnings of their digests. `base` is that of the base
    /// weights.
    pub fn fingerprint(&self, base: Sha256Digest, tokenizer: &Sha256Digest) -> String {
        let (weights, adapter) = self.digests;
        let beginning = |digest: &Sha256Digest| hex(digest)[..16].to_string();
        let adapter = adapter.map_or(String::new(), |adapter| format!("-{}", beginning(&adapter)));
        format!("{PROFILE}-{}-{}{adapter}", beginning(&weights.unwrap_or(base)), beginning(tokenizer))
    }
}

/// All models.
pub fn list(state: &State) -> Response<Body> {
    if state.model.get().is_none() {
        return ApiError::loading().response();
    }
    let models = &state.models;
    let data: Vec<Listed> = models.all(state).into_iter().map(|model| models.listed(model)).collect();
    reply::json(StatusCode::OK, &json!({ "object": "list", "data": data }))
}

/// One model, whose name is percent-encoded.
pub fn one(state: &State, name: &str) -> Response<Body> {
    if state.model.get().is_none() {
        return ApiError::loading().response();
    }
    let found = match percent_decode_str(name).decode_utf8() {
        Ok(name) => state.models.find(state, Some(&name)),
        Err(_) => Err(ApiError::invalid("model", "the name's percent-encoding is not UTF-8")),
    };
    match found {
        Ok(model) => reply::json(StatusCode::OK, &state.models.listed(model)),
        Err(error) => error.response(),
    }
}
