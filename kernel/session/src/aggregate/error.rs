//! Why adapters cannot be put together.

use std::{error, fmt};

use kernel::model::LoraConfig;

use crate::receipt::ReceiptError;

/// Why the adapters of a round make no aggregate, with the client and the numbers.
#[derive(Debug)]
pub enum AggregateError {
    /// There are no clients.
    NoClients,
    /// A client gives a model without an adapter.
    NoAdapter {
        /// The client.
        name: String,
    },
    /// There are more or fewer weights than clients.
    Weights {
        /// The weights.
        weights: usize,
        /// The clients.
        clients: usize,
    },
    /// A weight is zero.
    Weight {
        /// Its place, from 1.
        place: usize,
    },
    /// An adapter has another shape than the first one.
    Shape {
        /// The client.
        name: String,
        /// Its shape.
        found: Box<LoraConfig>,
        /// The first client.
        first: String,
        /// Its shape.
        expected: Box<LoraConfig>,
    },
    /// All ranks together are more than the model is wide.
    Rank {
        /// The rank of one adapter.
        rank: usize,
        /// The clients.
        clients: usize,
        /// The width of the model.
        dim: usize,
    },
    /// Alpha, as often as there are clients, is more than binary32 holds.
    Alpha(f64),
    /// There are receipts, and not one for each client.
    Receipts {
        /// The receipts.
        receipts: usize,
        /// The clients.
        clients: usize,
    },
    /// A client's receipt is not one of the training that gave its adapter, or not fit to be published.
    Receipt {
        /// The receipt.
        name: String,
        /// What is wrong with it.
        error: ReceiptError,
    },
    /// A receipt is of none of the adapters, or of one that has its receipt already.
    Stranger {
        /// The receipt.
        name: String,
        /// The digest of what it trained.
        trained: String,
    },
}

impl fmt::Display for AggregateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoClients => f.write_str("there are no adapters to put together: give at least one"),
            Self::NoAdapter { name } => write!(f, "{name} has no adapter"),
            Self::Weights { weights, clients } => write!(
                f,
                "there are {weights} weights and {clients} adapters: give one weight for each adapter, in the same order, or none"
            ),
            Self::Weight { place } => {
                write!(
                    f,
                    "weight {place} is 0: give integers from 1 on, and leave out the adapter that is not to count"
                )
            }
            Self::Shape { name, found, first, expected } => write!(
                f,
                "the adapter {name} has {}, and {first} has {}: the adapters of a round have one shape",
                shape(found),
                shape(expected)
            ),
            Self::Rank { rank, clients, dim } => write!(
                f,
                "{clients} adapters of rank {rank} make one of rank {}, and the model's width allows {dim}: put fewer \
                 together at once, or train adapters of a lower rank",
                clients.saturating_mul(*rank)
            ),
            Self::Alpha(alpha) => write!(f, "alpha would become {alpha}, which is too large: train with a smaller one"),
            Self::Receipts { receipts, clients } => {
                write!(f, "there are {receipts} receipts and {clients} adapters: give one of each client, or none")
            }
            Self::Receipt { name, error } => write!(f, "the receipt {name}: {error}"),
            Self::Stranger { name, trained } => write!(
                f,
                "the receipt {name} is of a training that gave {trained}; none of the adapters that are without a receipt has \
                 this digest"
            ),
        }
    }
}

impl error::Error for AggregateError {}

fn shape(lora: &LoraConfig) -> String {
    format!("rank {}, alpha {} and the targets {}", lora.rank(), lora.alpha(), lora.targets().join(", "))
}
