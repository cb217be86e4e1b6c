//! One adapter of several: the weighted mean of what the clients of a round have learnt (federated averaging, McMahan et al.
//! 2017).
//!
//! What an adapter adds to a layer is the product `B A`. The mean of such products is not the product of the means of A and of
//! B, and it has a higher rank. So nothing is averaged: the A of all clients stand below each other, and their B, each
//! times the client's part of the weights, side by side (Wang et al. 2024, "FLoRA"). The product of these two *is* the weighted
//! mean, but for the rounding of each part and of each element of B. The clients stand in rising order of their digests, so
//! that the same adapters give the same bits, in whatever order they come.

mod error;
#[cfg(test)]
mod tests;

use kernel::Exec;
use kernel::model::{LoraConfig, Model, Parameter, RawTensor};
use kernel::ops::{Weights, scale_step};
use kernel::transcript::{Identity, Sha256Digest};

use crate::adapter::adapter_digest;
use crate::receipt::{Hex, ModelDigests, Receipt, ReceiptError, check_client};
pub use error::AggregateError;

/// What a client gives to a round.
#[derive(Clone, Debug)]
pub struct Client {
    /// What errors call it: its folder or file.
    pub name: String,
    /// The digest of its adapter.
    pub digest: Sha256Digest,
    /// How much it counts, beside the others: at least 1.
    pub weight: u32,
    /// The private receipt of its training, where it gives one.
    pub receipt: Option<Receipt>,
    /// The model with its adapter.
    adapted: Model,
}

impl Client {
    /// The client that gives the adapter of `adapted`.
    ///
    /// # Errors
    /// If the model has no adapter.
    pub fn new(name: String, adapted: Model, weight: u32) -> Result<Client, AggregateError> {
        match adapter_digest(&adapted) {
            Some(digest) => Ok(Client { name, digest, weight, receipt: None, adapted }),
            None => Err(AggregateError::NoAdapter { name }),
        }
    }
}

/// The weights of so many clients: those that are told, or 1 for each where none are.
///
/// # Errors
/// If there are more or fewer weights than clients.
pub fn weights(told: &[u32], clients: usize) -> Result<Vec<u32>, AggregateError> {
    match told.len() {
        0 => Ok(vec![1; clients]),
        count if count == clients => Ok(told.to_vec()),
        count => Err(AggregateError::Weights { weights: count, clients }),
    }
}

/// The clients of a round, whose adapters can be put together.
#[derive(Clone, Debug)]
pub struct Round {
    /// In rising order of digest, among equals of weight.
    clients: Vec<Client>,
    /// The shape of what comes out.
    lora: LoraConfig,
}

impl Round {
    /// A round of these clients, in any order; the models are of the same base. Two that give the same adapter both count.
    ///
    /// # Errors
    /// If there are none, a weight is 0, the adapters differ in rank, alpha or targets, or there are too many for the model's
    /// width.
    pub fn new(mut clients: Vec<Client>) -> Result<Round, AggregateError> {
        if let Some(place) = clients.iter().position(|client| client.weight == 0) {
            return Err(AggregateError::Weight { place: place + 1 });
        }
        clients.sort_by_key(|client| (client.digest, client.weight));
        let shapes = || clients.iter().filter_map(|client| Some((client, client.adapted.adapter()?)));
        let (first, lora) = shapes().next().ok_or(AggregateError::NoClients)?;
        if let Some((other, found)) = shapes().find(|(_, shape)| *shape != lora) {
            return Err(AggregateError::Shape {
                name: other.name.clone(),
                found: Box::new(found.clone()),
                first: first.name.clone(),
                expected: Box::new(lora.clone()),
            });
        }
        let (config, count) = (first.adapted.config(), clients.len());
        let (rank, alpha) = (lora.rank().saturating_mul(count), lora.alpha() * count as f64);
        if rank > config.dim {
            return Err(AggregateError::Rank { rank: lora.rank(), clients: count, dim: config.dim });
        }
        // Of rank, alpha and targets, only alpha can be out of range now.
        let lora = LoraConfig::new(config, rank, alpha, lora.targets()).map_err(|_| AggregateError::Alpha(alpha))?;
        Ok(Round { clients, lora })
    }

    /// The round in which every client gives the receipt of its training, in any order: names and bytes. None is as good as
    /// before. All must be private, of the base `base`, and have begun with the same adapter.
    ///
    /// # Errors
    /// If there is not one for each client, or one is not of the training that gave a client's adapter.
    pub fn with_receipts(mut self, base: &Identity, receipts: &[(String, Vec<u8>)]) -> Result<Round, AggregateError> {
        if receipts.is_empty() {
            return Ok(self);
        }
        if receipts.len() != self.clients.len() {
            return Err(AggregateError::Receipts { receipts: receipts.len(), clients: self.clients.len() });
        }
        // So that it does not matter in which order they come, where adapters are equal.
        let mut receipts: Vec<&(String, Vec<u8>)> = receipts.iter().collect();
        receipts.sort_by_key(|(_, bytes)| bytes);
        let (base, mut start) = (ModelDigests::from(base), None);
        for (name, bytes) in receipts {
            let refused = |error| AggregateError::Receipt { name: name.clone(), error };
            let receipt = Receipt::from_json(bytes).map_err(refused)?;
            let Some(trained) = receipt.training.as_ref().map(|training| training.trained_sha256) else {
                let why = format!("it is of a {}, and not of a training", receipt.kind());
                return Err(refused(ReceiptError::Content(why)));
            };
            let mut without = self.clients.iter_mut().filter(|client| client.receipt.is_none());
            let Some(client) = without.find(|client| Hex(client.digest) == trained) else {
                return Err(AggregateError::Stranger { name: name.clone(), trained: trained.digits() });
            };
            check_client(&receipt, trained, &base, *start.get_or_insert(receipt.model.adapter_sha256))
                .map_err(refused)?;
            client.receipt = Some(receipt);
        }
        Ok(self)
    }

    /// The clients, in the order in which their adapters are put together.
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// The model with the adapter that comes out: its rank and alpha are those of one client times their number.
    ///
    /// Shapes, for `n` clients of rank `r` and the part `c` that a client has of all weights: A, `[n r, cols]`, has the rows of
    /// every A; B, `[rows, n r]`, the columns of every `c * B`.
    ///
    /// # Panics
    /// Never: the tensors are made as the table asks for them.
    pub fn aggregate(&self, exec: Exec<'_>) -> Model {
        let first = &self.clients[0].adapted;
        let total: u64 = self.clients.iter().map(|client| u64::from(client.weight)).sum();
        // Divided in binary64, where the sum is exact, and rounded once.
        let parts: Vec<f32> =
            self.clients.iter().map(|client| (f64::from(client.weight) / total as f64) as f32).collect();
        let given: Vec<Vec<Weights<'_>>> = self.clients.iter().map(|client| client.adapted.adapter_tensors()).collect();
        let rank = self.lora.rank() / self.clients.len();
        let table = self.lora.parameters(first.config());
        let tensor = |index: usize| {
            let tensors = given.iter().map(|tensors| tensors[index].widened());
            // A stands before B in the table.
            if index.is_multiple_of(2) {
                return tensors.collect::<Vec<_>>().concat();
            }
            let scaled = tensors.zip(&parts).map(|(b, part)| {
                let mut b = b.into_owned();
                scale_step(exec, &mut b, *part);
                b
            });
            side_by_side(&scaled.collect::<Vec<_>>(), rank)
        };
        let source = |name: &str| {
            let index = table.iter().position(|row| row.name == name)?;
            let Parameter { shape, .. } = &table[index];
            Some(RawTensor::from_f32(shape.clone(), &tensor(index)))
        };
        first.with_adapter(&self.lora, &source).expect("the tensors are those of the table")
    }

    /// The receipt of the round; `aggregate` is the digest of the adapter that came out of it.
    ///
    /// # Errors
    /// If there are more clients than a receipt may hold, or their receipts make it too long.
    pub fn receipt(&self, base: &Identity, aggregate: Sha256Digest) -> Result<Receipt, ReceiptError> {
        Receipt::of_aggregation(base, &self.clients, aggregate)
    }
}

/// One matrix of several `[rows, width]`, of which each row has those of all, one after the other.
fn side_by_side(matrices: &[Vec<f32>], width: usize) -> Vec<f32> {
    let rows = matrices.first().map_or(0, |matrix| matrix.len() / width);
    let row = |row: usize| matrices.iter().flat_map(move |matrix| &matrix[row * width..][..width]);
    (0..rows).flat_map(row).copied().collect()
}
