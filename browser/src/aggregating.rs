//! Adapters of several clients, put together beside the loaded model.

use kernel::model::Model;
use session::adapter::{AdapterFiles, adapter_digest, attach, export};
use session::aggregate::{Client, Round, weights};

use crate::engine::{Engine, EngineError, text_of};
use crate::training::reserve;

/// What an aggregation gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Aggregate {
    /// The adapter, as the two files that Python's `peft` loads.
    pub files: AdapterFiles,
    /// Its digest, in hexadecimal.
    pub digest: String,
    /// The receipt, as canonical JSON.
    pub receipt: String,
}

impl Engine {
    /// The base model with an adapter, which is not used for anything yet: the bytes of `adapter_config.json`, and those of
    /// `adapter_model.safetensors`, as many as `len`, which `fill` puts in place.
    ///
    /// # Errors
    /// If there is not enough memory, or the files are no adapter of this model.
    pub fn adapted(&self, config: &[u8], len: usize, fill: impl FnOnce(&mut [u8])) -> Result<Model, EngineError> {
        // The file's bytes, and what is made of them in binary32.
        reserve(3 * len as u64)?;
        let mut weights = vec![0; len];
        fill(&mut weights);
        attach(&self.base, config, weights).map_err(EngineError::Adapter)
    }

    /// One adapter of several, each of which [`Engine::adapted`] gave; errors call them by their places, from 1. `told` are the
    /// weights, one for each or none, and `receipts` the receipts of the clients' trainings, one of each or none, in any order.
    ///
    /// # Errors
    /// If they do not fit together.
    pub fn aggregate(
        &self,
        adapters: Vec<Model>,
        told: &[u32],
        receipts: Vec<Vec<u8>>,
    ) -> Result<Aggregate, EngineError> {
        let refused = EngineError::Aggregate;
        let weights = weights(told, adapters.len()).map_err(refused)?;
        let clients = adapters.into_iter().zip(weights).zip(1..);
        let clients = clients.map(|((adapted, weight), place)| Client::new(place.to_string(), adapted, weight));
        let round = Round::new(clients.collect::<Result<_, _>>().map_err(refused)?).map_err(refused)?;
        let named = receipts.into_iter().zip(1..).map(|(bytes, place)| (place.to_string(), bytes));
        let base = self.base_identity();
        let round = round.with_receipts(&base, &named.collect::<Vec<_>>()).map_err(refused)?;
        let aggregate = round.aggregate(self.exec);
        let made = adapter_digest(&aggregate).zip(export(&aggregate, self.name()));
        let (digest, files) = made.ok_or(EngineError::NoAdapter)?;
        let receipt = round.receipt(&base, digest).map_err(EngineError::Receipt)?;
        Ok(Aggregate { files, digest: loader::digest::hex(&digest), receipt: text_of(&receipt) })
    }
}
