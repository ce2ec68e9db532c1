//! Keyed pseudonyms: what the rest of the agent knows instead of a customer's id.
//!
//! HMAC-SHA-256 (RFC 2104) under a key that only this store (or the stores that share a linkage
//! key) holds. Without the key a pseudonym can be neither made nor guessed back from a list of
//! customer ids; the coordinator never has it.
//!
//! Keys form a chain. The first key names raw ids; each later one renames what the chain before it
//! came to, so that a store whose key was rotated needs no raw ids to rename what it holds, and
//! whoever knows only the keys before can neither make nor confirm a name under the new one. Persons
//! and sessions are renamed: they stand in the clear as keys of tables. Baskets, events and items
//! stay under the first key: they stand inside sealed values, or name nobody.

use std::path::Path;

use chorale_plan::Pseudonym;
use chorale_wire::Digest;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::keys::{Key, KeyError, NameKeys, Unlock};

/// Turns raw ids into pseudonyms.
#[derive(Clone)]
pub struct Pseudonymiser {
    persons: Hmac<Sha256>,
    baskets: Hmac<Sha256>,
    sessions: Hmac<Sha256>,
    events: Hmac<Sha256>,
    items: Hmac<Sha256>,
    later: Renames,
}

/// Turns pseudonyms under a part of a chain into those under the whole.
#[derive(Clone, Default)]
pub struct Renames(Vec<Hmac<Sha256>>);

/// Says which chain of keys names stand under, and nothing about the keys.
pub type Mark = Digest;

impl Pseudonymiser {
    /// A pseudonymiser under `key` alone.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        Self {
            later: Renames::default(),
            persons: keyed(key, b"chorale/1 person\0"),
            baskets: keyed(key, b"chorale/1 basket\0"),
            sessions: keyed(key, b"chorale/1 session\0"),
            events: keyed(key, b"chorale/1 event\0"),
            items: keyed(key, b"chorale/1 item\0"),
        }
    }

    /// The pseudonymiser of the keys in `path`.
    ///
    /// # Errors
    /// [`KeyError`] when the file cannot be read or opened, and [`KeyError::Pending`] while a
    /// rotation of it is not finished.
    pub fn open(path: &Path, unlock: &Unlock) -> Result<Self, KeyError> {
        NameKeys::open(path, unlock)?.names()
    }

    /// The chain with one more key at its end.
    #[must_use]
    pub fn then(mut self, key: &Key) -> Self {
        self.later.0.push(keyed(key, b"chorale/1 renamed person\0"));
        self
    }

    /// The pseudonym of a raw customer id.
    #[must_use]
    pub fn person(&self, raw: &str) -> Pseudonym {
        self.later.of(Pseudonym::from_bytes(whole(&self.persons, raw)))
    }

    /// The pseudonym of a visitor who is known by a session only.
    #[must_use]
    pub fn session(&self, raw: &str) -> Pseudonym {
        self.later.of(Pseudonym::from_bytes(whole(&self.sessions, raw)))
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

    /// Says which first key it is, without telling anything about it: a rotation does not change
    /// this.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        whole(&self.persons, "")
    }

    /// Says which chain it is.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.mark_of(self.later.0.len())
    }

    /// What turns names under the chain that `mark` says into those under this one; `None` where
    /// this chain does not begin with that one.
    #[must_use]
    pub fn since(&self, mark: &Mark) -> Option<Renames> {
        (0..=self.later.0.len()).find_map(|keys| {
            let rest = self.later.0.get(keys..).unwrap_or_default();
            (self.mark_of(keys) == *mark).then(|| Renames(rest.to_vec()))
        })
    }

    /// What turns names under the first key alone into those under this chain.
    #[must_use]
    pub fn since_first(&self) -> &Renames {
        &self.later
    }

    /// The mark of the chain's first key and `later` more.
    fn mark_of(&self, later: usize) -> Mark {
        let keys = self.later.0.get(..later).unwrap_or_default();
        let nobody = keys.iter().fold(self.root(), |name, key| mac_of(key, &name));
        Digest::of("chorale/1 chain of pseudonym keys", &[&nobody])
    }
}

impl Renames {
    /// The pseudonym that `who` has from now on.
    #[must_use]
    pub fn of(&self, who: Pseudonym) -> Pseudonym {
        let name = self.0.iter().fold(*who.as_bytes(), |name, key| mac_of(key, &name));
        Pseudonym::from_bytes(name)
    }

    /// Whether every name stays as it is.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }
}

crate::error::redacted!(Pseudonymiser, Renames);

fn whole(keyed: &Hmac<Sha256>, raw: &str) -> [u8; 32] {
    mac_of(keyed, raw.as_bytes())
}

fn mac_of(keyed: &Hmac<Sha256>, bytes: &[u8]) -> [u8; 32] {
    let mut mac = keyed.clone();
    mac.update(bytes);
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
        // hmac.new(bytes([1] * 32), b"chorale/1 renamed person\x00" + the name before, "sha256"),
        // then the same under bytes([2] * 32).
        let one = zero.then(&Key::from_bytes([1; 32]));
        assert_eq!(
            hex::encode(one.person("42").as_bytes()),
            "e84327d43141ca83b74f2fb1002b324a45d0c186b434eb6dcbec359692a56889"
        );
        assert_eq!(
            hex::encode(one.then(&Key::from_bytes([2; 32])).person("42").as_bytes()),
            "5178d1488dcc33ba005e5e99fc0cbf9b31775bfeb7a701f335cd7b28147d4400"
        );
    }

    #[test]
    fn a_longer_chain_renames_persons_and_sessions_alone() {
        let one = Pseudonymiser::new(&Key::from_bytes([1; 32]));
        let two = one.clone().then(&Key::from_bytes([2; 32]));
        let three = two.clone().then(&Key::from_bytes([3; 32]));
        for before in [&one, &two] {
            let renames = three.since(&before.mark()).expect("the chain begins so");
            assert!(!renames.is_nothing());
            assert_eq!(renames.of(before.person("42")), three.person("42"));
            assert_eq!(renames.of(before.session("42")), three.session("42"));
            assert_ne!(before.person("42"), three.person("42"));
            assert_ne!(before.session("42"), three.session("42"));
            assert_ne!(before.mark(), three.mark());
            assert!(before.since(&three.mark()).is_none());
        }
        assert!(three.since(&three.mark()).is_some_and(|renames| renames.is_nothing()));
        assert_eq!((one.basket("42"), one.event("42")), (three.basket("42"), three.event("42")));
        assert_eq!((one.item("42"), one.root()), (three.item("42"), three.root()));
        // The order of the keys counts, and so does the first.
        let swapped = one.clone().then(&Key::from_bytes([3; 32])).then(&Key::from_bytes([2; 32]));
        let other = Pseudonymiser::new(&Key::from_bytes([2; 32])).then(&Key::from_bytes([3; 32]));
        for stranger in [swapped, other] {
            assert_ne!(stranger.person("42"), three.person("42"));
            assert!(three.since(&stranger.mark()).is_none());
        }
    }
}
