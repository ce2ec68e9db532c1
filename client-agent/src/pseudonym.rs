//! Keyed pseudonyms: what the rest of the agent knows instead of a customer's id.
//!
//! HMAC-SHA-256 (RFC 2104) under a key that only this store (or the stores that share a linkage
//! key) holds. Without the key a pseudonym can be neither made nor guessed back from a list of
//! customer ids; the coordinator never has it.

use chorale_plan::Pseudonym;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::keys::Key;

/// Turns raw ids into pseudonyms.
#[derive(Clone)]
pub struct Pseudonymiser {
    persons: Hmac<Sha256>,
    baskets: Hmac<Sha256>,
}

impl Pseudonymiser {
    /// A pseudonymiser under `key`.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        Self {
            persons: keyed(key, b"chorale/1 person\0"),
            baskets: keyed(key, b"chorale/1 basket\0"),
        }
    }

    /// The pseudonym of a raw customer id.
    #[must_use]
    pub fn person(&self, raw: &str) -> Pseudonym {
        let mut mac = self.persons.clone();
        mac.update(raw.as_bytes());
        Pseudonym::from_bytes(mac.finalize().into_bytes().into())
    }

    /// Eight bytes that stand for a raw basket or receipt number: equal for equal numbers.
    #[must_use]
    pub fn basket(&self, raw: &str) -> u64 {
        let mut mac = self.baskets.clone();
        mac.update(raw.as_bytes());
        let bytes: [u8; 32] = mac.finalize().into_bytes().into();
        let mut first = [0; 8];
        first.copy_from_slice(&bytes[..8]);
        u64::from_be_bytes(first)
    }
}

impl std::fmt::Debug for Pseudonymiser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonymiser(redacted)")
    }
}

/// An HMAC that has already taken the purpose, so that a person and a basket of the same number
/// get unrelated names.
fn keyed(key: &Key, purpose: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length, so 32 bytes cannot be refused.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length is a key");
    mac.update(purpose);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ids_and_only_those_are_equal() {
        let one = Pseudonymiser::new(&Key::from_bytes([1; 32]));
        let two = Pseudonymiser::new(&Key::from_bytes([2; 32]));
        assert_eq!(one.person("42"), one.person("42"));
        assert_ne!(one.person("42"), one.person("43"));
        assert_ne!(one.person("42"), two.person("42"));
        assert_ne!(one.basket("42").to_be_bytes(), one.person("42").as_bytes()[..8]);
    }

    #[test]
    fn known_answer() {
        // Computed with Python: hmac.new(bytes(32), b"chorale/1 person\x00" + b"42", "sha256").
        let zero = Pseudonymiser::new(&Key::from_bytes([0; 32]));
        assert_eq!(
            hex::encode(zero.person("42").as_bytes()),
            "7e2981613862c6704437c802753d195f69b42e32edc2198c9896c76992cbc63b"
        );
    }
}
