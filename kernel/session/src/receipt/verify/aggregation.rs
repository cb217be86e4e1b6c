//! An aggregation that is verified: the adapters are put together again.

use kernel::Exec;
use kernel::model::Model;
use kernel::transcript::{Identity, hex};

use super::{Progress, Verdict, compare};
use crate::adapter::adapter_digest;
use crate::aggregate::{AggregateError, Client, Round};
use crate::receipt::{Aggregated, Hex, Receipt};

/// An aggregation whose adapters are all there.
#[derive(Debug)]
pub(super) struct AggregationCheck {
    round: Round,
}

impl AggregationCheck {
    /// `adapters` are the models with an adapter that were given, in any order.
    ///
    /// # Errors
    /// If there are fewer than clients, which leaves it open; if one of as many is none of theirs, which is a mismatch.
    pub(super) fn begin(told: &Aggregated, adapters: Vec<Model>) -> Result<AggregationCheck, Verdict> {
        let (needed, found) = (told.clients.len(), adapters.len());
        let digested = |model: Model| (adapter_digest(&model).map(Hex), model);
        let mut adapters: Vec<_> = adapters.into_iter().map(digested).collect();
        let mut clients = Vec::new();
        for (client, number) in told.clients.iter().zip(1_u64..) {
            let digest = client.adapter_sha256;
            let Some(place) = adapters.iter().position(|(found, _)| *found == Some(digest)) else {
                let digest = digest.digits();
                return Err(match found < needed {
                    true => Verdict::cannot(format_args!(
                        "it needs the adapters of its {needed} clients, and {found} are here: that of client {number} is \
                         missing, which has the digest {digest}"
                    )),
                    false => Verdict::Mismatch {
                        step: Some(number),
                        why: format!("no adapter here has the digest of client {number}, {digest}"),
                    },
                });
            };
            let name = format!("of client {number}");
            let mut made = Client::new(name, adapters.swap_remove(place).1, client.weight).map_err(impossible)?;
            made.receipt = client.receipt.clone();
            clients.push(made);
        }
        Ok(AggregationCheck { round: Round::new(clients).map_err(impossible)? })
    }

    pub(super) fn advance(&self, receipt: &Receipt, base: &Identity, exec: Exec<'_>) -> Result<Progress, Verdict> {
        let Some(told) = &receipt.aggregation else { return Err(Verdict::cannot("it is of no aggregation")) };
        let digest = adapter_digest(&self.round.aggregate(exec));
        let Some(digest) = digest.filter(|digest| told.aggregate_sha256 == Hex(*digest)) else {
            let computed = digest.as_ref().map(hex).unwrap_or_default();
            let why = format!("the aggregate has the digest {computed}, and not {}", told.aggregate_sha256.digits());
            return Err(Verdict::Mismatch { step: None, why });
        };
        Ok(Progress::Done(compare(receipt, self.round.receipt(base, digest))))
    }
}

/// The verdict on adapters that are as told and make no aggregate.
fn impossible(error: AggregateError) -> Verdict {
    Verdict::Mismatch { step: None, why: error.to_string() }
}
