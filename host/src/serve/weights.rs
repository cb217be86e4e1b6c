//! Which weights are served: those that the server was started with, or those of the last completed training; and those that a
//! request asks for by name.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kernel::model::Model;
use kernel::transcript::Sha256Digest;

/// What a training made: here, or before, if it is an adapter that the server was started with.
pub struct Trained {
    /// The model with the trained weights, or with the trained adapter.
    pub model: Model,
    /// The digest of what was trained, as binary32.
    pub sha256: Sha256Digest,
    /// Whether it is there as long as the server.
    pub stays: bool,
}

/// The weights that a generation asks for.
#[derive(Clone)]
pub enum Weights {
    /// Those that are served when it begins.
    Served,
    /// Those of the model folder, without an adapter.
    Base,
    /// An adapter that the server was started with.
    Loaded(Arc<Trained>),
    /// What a training made, with this digest.
    Trained(Sha256Digest),
}

/// The trained weights that a generation asks for are there no longer.
#[derive(Debug, PartialEq, Eq)]
pub struct Replaced;

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the trained weights were reset, or trained anew, while the request waited; send it again")
    }
}

impl std::error::Error for Replaced {}

impl Trained {
    /// The digests of the weights and of the adapter, given that of the base weights, which may not be known yet.
    pub fn digests<T: From<Sha256Digest>>(&self, base: T) -> (T, Option<Sha256Digest>) {
        match self.model.adapter() {
            Some(_) => (base, Some(self.sha256)),
            None => (self.sha256.into(), None),
        }
    }
}

/// The weights that new generations get, unless they ask for others; none are those of the model folder.
#[derive(Clone, Default)]
pub struct Served(Arc<Mutex<Sets>>);

#[derive(Default)]
struct Sets {
    /// What the server was started with, where that is an adapter.
    start: Option<Arc<Trained>>,
    /// What was trained since.
    trained: Option<Arc<Trained>>,
}

impl Served {
    /// The weights at this moment. Whoever holds them computes with them to the end, whatever is served by then.
    pub fn now(&self) -> Option<Arc<Trained>> {
        let sets = self.lock();
        sets.trained.as_ref().or(sets.start.as_ref()).cloned()
    }

    /// What was trained, where that is served.
    pub fn trained(&self) -> Option<Arc<Trained>> {
        self.lock().trained.clone()
    }

    /// The adapter that the server was started with, where there is one.
    pub fn start(&self) -> Option<Arc<Trained>> {
        self.lock().start.clone()
    }

    /// The digests of the weights and of the adapter at this moment, given that of the base weights, which may not be known yet.
    pub fn digests(&self, base: Option<Sha256Digest>) -> (Option<Sha256Digest>, Option<Sha256Digest>) {
        self.now().map_or((base, None), |served| served.digests(base))
    }

    /// Serves an adapter whenever nothing is trained.
    pub fn start_with(&self, adapter: Option<Arc<Trained>>) {
        self.lock().start = adapter;
    }

    /// Serves other weights from now on, or those that the server was started with.
    pub fn publish(&self, trained: Option<Arc<Trained>>) {
        self.lock().trained = trained;
    }

    /// The weights for a generation that begins.
    ///
    /// # Errors
    /// If it asks for trained ones that are there no longer.
    pub fn find(&self, weights: &Weights) -> Result<Option<Arc<Trained>>, Replaced> {
        match weights {
            Weights::Served => Ok(self.now()),
            Weights::Base => Ok(None),
            Weights::Loaded(adapter) => Ok(Some(adapter.clone())),
            Weights::Trained(sha256) => match self.trained() {
                Some(trained) if trained.sha256 == *sha256 => Ok(Some(trained)),
                _ => Err(Replaced),
            },
        }
    }

    /// Whether `weights` are trained ones that are served no longer.
    pub fn has_replaced(&self, weights: Option<&Arc<Trained>>) -> bool {
        let trained = self.trained();
        weights.is_some_and(|old| !old.stays && trained.is_none_or(|now| !Arc::ptr_eq(old, &now)))
    }

    fn lock(&self) -> MutexGuard<'_, Sets> {
        // Nothing is half done in there, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
