//! The receipt of an aggregation: whose adapters were put together, and what came out.

use kernel::transcript::{AggregationTranscript, Identity, PROFILE, Sha256Digest, TrainingTranscript};
use serde::{Deserialize, Serialize};

use super::error::{content, limit};
use super::{Digest, FORMAT, Hex, MAX_BYTES, MAX_CLIENTS, ModelDigests, Receipt, ReceiptError, SignatureState};
use crate::aggregate::Client;

/// An aggregation of adapters, as a receipt tells it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Aggregated {
    /// The digest of the adapter that came out.
    pub aggregate_sha256: Digest,
    /// The clients in rising order of their adapters' digests, among equals of their weights.
    pub clients: Vec<Contribution>,
}

/// What a client gave to an aggregation.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Contribution {
    /// The digest of its adapter.
    pub adapter_sha256: Digest,
    /// The private receipt of the training that gave the adapter; all clients have one, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// How much it counts beside the others.
    pub weight: u32,
}

impl Receipt {
    /// The receipt of an aggregation of these clients' adapters, which are in order; `aggregate` is the digest of what came out.
    ///
    /// # Errors
    /// If it would hold more than a receipt may.
    pub(crate) fn of_aggregation(
        base: &Identity,
        clients: &[Client],
        aggregate: Sha256Digest,
    ) -> Result<Receipt, ReceiptError> {
        let contribution = |client: &Client| Contribution {
            adapter_sha256: Hex(client.digest),
            receipt: client.receipt.clone(),
            weight: client.weight,
        };
        let record =
            Aggregated { aggregate_sha256: Hex(aggregate), clients: clients.iter().map(contribution).collect() };
        record.check(&base.into())?;
        let bytes = |client: &Contribution| client.receipt.as_ref().map(Receipt::to_json).unwrap_or_default();
        let hashed: Vec<(Sha256Digest, u32, Vec<u8>)> =
            record.clients.iter().map(|client| (client.adapter_sha256.0, client.weight, bytes(client))).collect();
        let held: usize = hashed.iter().map(|(_, _, receipt)| receipt.len()).sum();
        // What is beside the clients' own receipts is far less than a mebibyte.
        limit("bytes of the clients' receipts", held, MAX_BYTES - (1 << 20))?;
        let transcript = AggregationTranscript { base, clients: &hashed, aggregate }.digest();
        Ok(Receipt { aggregation: Some(record), ..Receipt::new(base, transcript) })
    }
}

impl Aggregated {
    /// Whether its contents can belong together.
    pub(super) fn check(&self, model: &ModelDigests) -> Result<(), ReceiptError> {
        let Aggregated { clients, .. } = self;
        limit("clients", clients.len(), MAX_CLIENTS)?;
        content(!clients.is_empty(), || "the aggregation has no clients".to_string())?;
        content(model.adapter_sha256.is_none(), || "an aggregation is of a base model without an adapter".to_string())?;
        let weightless = clients.iter().position(|client| client.weight == 0);
        content(weightless.is_none(), || format!("the weight of client {} is 0", weightless.unwrap_or(0) + 1))?;
        let rising = clients.is_sorted_by_key(|client| (client.adapter_sha256.0, client.weight));
        content(rising, || "the clients are not in rising order of digest and weight".to_string())?;
        let with = clients.iter().filter(|client| client.receipt.is_some()).count();
        content(with == 0 || with == clients.len(), || {
            format!("{with} of {} clients have a receipt: all have one, or none", clients.len())
        })?;
        let start = clients[0].receipt.as_ref().and_then(|receipt| receipt.model.adapter_sha256);
        for (place, client) in clients.iter().enumerate() {
            let Some(receipt) = &client.receipt else { continue };
            check_client(receipt, client.adapter_sha256, model, start)
                .map_err(|error| ReceiptError::Content(format!("the receipt of client {}: {error}", place + 1)))?;
        }
        Ok(())
    }
}

/// Whether `receipt` can be the private one of a training that began with the adapter `start` beside the model `base`, and gave
/// `adapter`. Nothing is computed again: for that the client's data is needed.
pub(crate) fn check_client(
    receipt: &Receipt,
    adapter: Digest,
    base: &ModelDigests,
    start: Option<Digest>,
) -> Result<(), ReceiptError> {
    let known = receipt.format == FORMAT && receipt.profile == PROFILE;
    content(known, || format!("it is not of the format {FORMAT} and the contract {PROFILE}"))?;
    let Receipt { training: Some(training), generation: None, scoring: None, aggregation: None, .. } = receipt else {
        return Err(ReceiptError::Content(format!("it is of a {}, and not of a training", receipt.kind())));
    };
    content(training.data.is_none(), || {
        "it has the data that was learnt from, which would be published with it: have the client issue a private one"
            .to_string()
    })?;
    training.check(&receipt.model)?;
    let ModelDigests { adapter_sha256, tokenizer_sha256, weights_sha256 } = &receipt.model;
    for (what, told, here) in
        [("weights", weights_sha256, base.weights_sha256), ("tokenizer", tokenizer_sha256, base.tokenizer_sha256)]
    {
        content(*told == here, || {
            format!("its {what} have the digest {}, and those of the round {}", told.digits(), here.digits())
        })?;
    }
    content(*adapter_sha256 == start, || {
        let digits = |digest: Option<Digest>| digest.map_or("none".to_string(), |digest| digest.digits());
        format!("it began with the adapter {}, and another client with {}", digits(*adapter_sha256), digits(start))
    })?;
    content(training.trained_sha256 == adapter, || {
        format!("it gave {}, and the client's adapter is {}", training.trained_sha256.digits(), adapter.digits())
    })?;
    let transcript = TrainingTranscript {
        base: Identity {
            weights: weights_sha256.0,
            adapter: adapter_sha256.map(|digest| digest.0),
            tokenizer: tokenizer_sha256.0,
        },
        data: training.data_sha256.0,
        options: training.hyper_parameters.options(false),
        steps: training.step_sha256.last().map_or([0; 32], |digest| digest.0),
        trained: training.trained_sha256.0,
    };
    content(transcript.digest() == receipt.transcript_sha256.0, || {
        "its transcript is not that of its contents".to_string()
    })?;
    let state = receipt.signature_state();
    content(!matches!(state, SignatureState::Invalid(_)), || "its signature is not one of its key".to_string())
}
