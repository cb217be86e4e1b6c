//! The receipts of the last results: `GET /v1/receipts/{id}`.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::{Response, StatusCode};
use serde_json::Value;
use session::receipt::{Hex, Receipt, SecretKey};

use super::api_error::ApiError;
use super::reply::{self, Body};
use crate::receipt::signed;

/// The most bytes of receipts that are kept, however few they are.
const MAX_BYTES: usize = 64 << 20;

/// Receipts, the oldest first, each under an id that cannot be guessed.
#[derive(Default)]
pub struct Receipts {
    /// How many are kept; none if nobody is to get any.
    most: usize,
    /// Who signs them.
    key: Option<SecretKey>,
    kept: Mutex<VecDeque<(String, Bytes)>>,
}

impl Receipts {
    /// Keeps the last `most` ones.
    pub fn new(most: usize) -> Receipts {
        Receipts { most, ..Receipts::default() }
    }

    /// The same, each signed with `key`, if there is one.
    pub fn signed(self, key: Option<SecretKey>) -> Receipts {
        Receipts { key, ..self }
    }

    /// Keeps a receipt, and adds it with its id to the data of an event: `receiptId` and `receipt`. Nothing is kept or added
    /// if that is turned off.
    pub fn tell(&self, receipt: &Receipt, event: &mut Value) {
        if self.most == 0 {
            return;
        }
        let json = self.json(receipt);
        event["receipt"] = serde_json::from_slice(&json).unwrap_or_default();
        if let Some(id) = self.keep_new(json) {
            event["receiptId"] = id.into();
        }
    }

    /// Keeps a receipt and returns its id; none if that is turned off.
    pub fn issue(&self, receipt: &Receipt) -> Option<String> {
        if self.most == 0 { None } else { self.keep_new(self.json(receipt)) }
    }

    fn json(&self, receipt: &Receipt) -> Vec<u8> {
        signed(receipt.clone(), self.key.as_ref()).to_json()
    }

    fn keep_new(&self, json: Vec<u8>) -> Option<String> {
        let mut random = [0; 16];
        match getrandom::fill(&mut random) {
            Ok(()) => {
                let id = Hex(random).digits();
                self.keep(id.clone(), json.into());
                Some(id)
            }
            Err(error) => {
                tracing::warn!("a receipt is not kept, since the system gives no random numbers: {error}");
                None
            }
        }
    }

    fn keep(&self, id: String, json: Bytes) {
        let mut kept = self.lock();
        kept.push_back((id, json));
        let mut bytes: usize = kept.iter().map(|(_, json)| json.len()).sum();
        while kept.len() > self.most || bytes > MAX_BYTES {
            let Some((_, json)) = kept.pop_front() else { return };
            bytes -= json.len();
        }
    }

    /// Answers with the receipt of this id, byte for byte.
    pub fn answer(&self, id: &str) -> Response<Body> {
        let found = self.lock().iter().find(|(other, _)| other == id).map(|(_, json)| json.clone());
        match found {
            Some(json) => {
                let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
                reply::reply(StatusCode::OK, &headers, reply::full(json))
            }
            None if self.most == 0 => ApiError::no_receipt("receipts are turned off (--receipts 0)").response(),
            None => {
                let message = format_args!("there is no such receipt among the last {}", self.most);
                ApiError::no_receipt(message).response()
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(String, Bytes)>> {
        // Nothing is half done in there, whoever panicked.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(receipts: &Receipts, id: usize) -> bool {
        receipts.answer(&id.to_string()).status() == StatusCode::OK
    }

    #[test]
    fn the_last_ones_are_kept() {
        let receipts = Receipts::new(3);
        for id in 0..5 {
            receipts.keep(id.to_string(), Bytes::from_static(b"{}"));
        }
        let kept: Vec<bool> = (0..6).map(|id| has(&receipts, id)).collect();
        assert_eq!(kept, [false, false, true, true, true, false]);
    }

    #[test]
    fn few_large_ones_are_as_many_as_fit() {
        let receipts = Receipts::new(1000);
        let large = Bytes::from(vec![b' '; MAX_BYTES / 2]);
        for id in 0..3 {
            receipts.keep(id.to_string(), large.clone());
        }
        let kept: Vec<bool> = (0..3).map(|id| has(&receipts, id)).collect();
        assert_eq!(kept, [false, true, true]);
    }
}
