//! Signatures: who vouches for a receipt, by Ed25519 (RFC 8032).

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::{Hex, Receipt};

/// What is signed begins with this, so that a signature of a receipt can be taken for no other.
const DOMAIN: &[u8] = b"lockstep-receipt/1 signature\n";

/// The signature of a receipt.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The key that it can be checked with.
    pub public_key: Hex<32>,
    /// The signature over the domain and the canonical JSON of the receipt without its member `signature`.
    pub value: Hex<64>,
}

/// What receipts are signed with.
pub struct SecretKey(SigningKey);

/// What signatures are checked with; it names who signs.
pub type PublicKey = Hex<32>;

/// What the signature of a receipt is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignatureState {
    /// There is none.
    None,
    /// It is one of this key.
    Valid(PublicKey),
    /// It says that it is one of this key, and is not.
    Invalid(PublicKey),
}

impl SignatureState {
    /// `none`, `valid` or `invalid`.
    pub fn word(self) -> &'static str {
        match self {
            SignatureState::None => "none",
            SignatureState::Valid(_) => "valid",
            SignatureState::Invalid(_) => "invalid",
        }
    }

    /// The key that it names.
    pub fn public_key(self) -> Option<PublicKey> {
        match self {
            SignatureState::None => None,
            SignatureState::Valid(key) | SignatureState::Invalid(key) => Some(key),
        }
    }
}

impl SecretKey {
    /// The key of 32 random bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> SecretKey {
        SecretKey(SigningKey::from_bytes(bytes))
    }

    /// Its other half.
    pub fn public_key(&self) -> PublicKey {
        Hex(self.0.verifying_key().to_bytes())
    }
}

impl Receipt {
    /// The same receipt, signed; a signature that it has is replaced.
    pub fn sign(self, key: &SecretKey) -> Receipt {
        let value = key.0.sign(&self.signed_bytes());
        let signature = Signed { public_key: key.public_key(), value: Hex(value.to_bytes()) };
        Receipt { signature: Some(signature), ..self }
    }

    /// Whether it has a signature, and one of its public key over this receipt. This says nothing about the computation.
    pub fn signature_state(&self) -> SignatureState {
        let Some(Signed { public_key, value }) = &self.signature else { return SignatureState::None };
        let key = VerifyingKey::from_bytes(&public_key.0);
        let signature = Signature::from_bytes(&value.0);
        match key.is_ok_and(|key| key.verify_strict(&self.signed_bytes(), &signature).is_ok()) {
            true => SignatureState::Valid(*public_key),
            false => SignatureState::Invalid(*public_key),
        }
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let unsigned = Receipt { signature: None, ..self.clone() };
        [DOMAIN, &unsigned.to_json()].concat()
    }
}
