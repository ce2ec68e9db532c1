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
    sessions: Hmac<Sha256>,
    events: Hmac<Sha256>,
    items: Hmac<Sha256>,
}

impl Pseudonymiser {
    /// A pseudonymiser under `key`.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        Self {
            persons: keyed(key, b"chorale/1 person\0"),
            baskets: keyed(key, b"chorale/1 basket\0"),
            sessions: keyed(key, b"chorale/1 session\0"),
            events: keyed(key, b"chorale/1 event\0"),
            items: keyed(key, b"chorale/1 item\0"),
        }
    }

    /// The pseudonym of a raw customer id.
    #[must_use]
    pub fn person(&self, raw: &str) -> Pseudonym {
        Pseudonym::from_bytes(whole(&self.persons, raw))
    }

    /// The pseudonym of a visitor who is known by a session only.
    #[must_use]
    pub fn session(&self, raw: &str) -> Pseudonym {
        Pseudonym::from_bytes(whole(&self.sessions, raw))
    }

    /// Eight bytes that stand for an event's id, which is unique among one person's events.
    #[must_use]
    pub fn event(&self, raw: &str) -> u64 {
        first(whole(&self.events, raw))
    }

    /// The key under which what the store says about an item is kept.
    #[must_use]
    pub fn item(&self, raw: &str) -> [u8; 32] {
        whole(&self.items, raw)
    }

    /// Eight bytes that stand for a raw basket or receipt number: equal for equal numbers.
    #[must_use]
    pub fn basket(&self, raw: &str) -> u64 {
        first(whole(&self.baskets, raw))
    }
}

impl std::fmt::Debug for Pseudonymiser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonymiser(redacted)")
    }
}

fn whole(keyed: &Hmac<Sha256>, raw: &str) -> [u8; 32] {
    let mut mac = keyed.clone();
    mac.update(raw.as_bytes());
    mac.finalize().into_bytes().into()
}

fn first(bytes: [u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = bytes;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
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
        assert_ne!(one.session("42"), one.person("42"));
        assert_ne!(one.event("42"), one.basket("42"));
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
