//! SHA-256 digests with a context and unambiguous framing.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `parts` under `context`: SHA-256 over the context and every part, each
    /// preceded by its length as eight big-endian bytes, so that no two lists collide by
    /// concatenation.
    #[must_use]
    pub fn of(context: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in std::iter::once(context.as_bytes()).chain(parts.iter().copied()) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The plain SHA-256 of `bytes`, for values that other tools must recompute.
    #[must_use]
    pub fn plain(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest from its 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight hexadecimal digits, for logs.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }

    /// Parses 64 hexadecimal digits; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = hex::decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

/// Bytes with their plain SHA-256, computed from these very bytes and nowhere else, so that who
/// needs the digest need not compute it again.
#[derive(PartialEq, Eq)]
pub struct Hashed {
    bytes: Vec<u8>,
    digest: Digest,
}

impl Hashed {
    /// Hashes `bytes`.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::plain(&bytes), bytes }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Their plain SHA-256.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hashed({} bytes, {})", self.bytes.len(), self.digest.short())
    }
}

/// Collects bytes that arrive in parts and hashes them on the way.
pub struct Hashing {
    bytes: Vec<u8>,
    hash: Sha256,
}

impl Hashing {
    /// Nothing yet, with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), hash: Sha256::new() }
    }

    /// Appends the next part.
    pub fn push(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
        self.hash.update(part);
    }

    /// Number of bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has arrived yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All that has arrived.
    #[must_use]
    pub fn finish(self) -> Hashed {
        Hashed { digest: Digest(self.hash.finalize().into()), bytes: self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_in_parts_is_hashed_as_a_whole() {
        let bytes: Vec<u8> = (0..1000u32).map(|i| i as u8).collect();
        for part in [1, 7, 64, 1000] {
            let mut hashing = Hashing::with_capacity(10);
            bytes.chunks(part).for_each(|part| hashing.push(part));
            assert_eq!(hashing.len(), bytes.len());
            assert_eq!(hashing.finish(), Hashed::of(bytes.clone()));
        }
        assert_eq!(Hashed::of(bytes.clone()).digest(), Digest::plain(&bytes));
    }

    #[test]
    fn framing_tells_lists_apart() {
        assert_ne!(Digest::of("c", &[b"ab", b"c"]), Digest::of("c", &[b"a", b"bc"]));
        assert_ne!(Digest::of("c", &[b"ab"]), Digest::of("ca", &[b"b"]));
        assert_ne!(Digest::of("c", &[]), Digest::of("c", &[b""]));
    }

    #[test]
    fn known_answer() {
        // FIPS 180-4 example for "abc".
        assert_eq!(
            Digest::plain(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
