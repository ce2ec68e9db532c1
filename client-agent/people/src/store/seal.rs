//! Sealing: AES-256-GCM with a random 96-bit nonce before each value, bound to where it stands.

use std::{fs::File, sync::Arc};

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead, KeyInit, Payload},
};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::keys::{Key, StoreKey};

/// Seals values under one key, and opens what that key or the one before it sealed. Random nonces
/// are safe for 2^32 values of one key (NIST SP 800-38D, 8.3); a store of a million persons reaches
/// that after four thousand full ingests, and `client-agent keys rotate` makes a new key.
pub struct Sealer {
    current: Aes256Gcm,
    before: Option<Aes256Gcm>,
    /// Nobody rotates the key while this is there.
    _held: Option<Arc<File>>,
}

/// Why a value could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The operating system gave no randomness.
    #[error("the operating system gives no randomness for a nonce")]
    Randomness,
    /// Sealed under another key, moved to another place or changed.
    #[error("a sealed value cannot be opened: another key, or the data was changed")]
    Open,
    /// The value is too long to seal.
    #[error("the value is too long to be sealed")]
    TooLong,
}

const NONCE_BYTES: usize = 12;

impl Sealer {
    /// Derives the sealing key from the store's key (HKDF-SHA-256, RFC 5869).
    #[must_use]
    pub fn new(key: &Key) -> Self {
        Self { current: derive(key, b"chorale/1 store seal"), before: None, _held: None }
    }

    /// Seals other keys.
    pub(crate) fn over_keys(key: &Key) -> Self {
        Self { current: derive(key, b"chorale/1 key wrap"), before: None, _held: None }
    }

    /// Seals `value` for the place `key` of `table`.
    ///
    /// # Errors
    /// [`SealError`] without randomness, or for a value of 64 GiB and more.
    pub fn seal(&self, table: &str, key: &[u8], value: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Randomness)?;
        let aad = place(table, key);
        let sealed = self
            .current
            .encrypt(&Nonce::from(nonce), Payload { msg: value, aad: &aad })
            .map_err(|_| SealError::TooLong)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// [`SealError::Open`] under another key, in another place or when it was changed.
    pub fn open(
        &self,
        table: &str,
        key: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let opened = open(&self.current, table, key, sealed);
        match (&self.before, opened) {
            (Some(before), Err(SealError::Open)) => open(before, table, key, sealed),
            (_, opened) => opened,
        }
    }

    /// The value sealed anew, where it stands under the key before; `None` where it need not be.
    ///
    /// # Errors
    /// [`SealError::Open`] when neither key opens it.
    pub(crate) fn renew(
        &self,
        table: &str,
        key: &[u8],
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, SealError> {
        if open(&self.current, table, key, sealed).is_ok() {
            return Ok(None);
        }
        self.seal(table, key, &self.open(table, key, sealed)?).map(Some)
    }
}

impl From<&Key> for Sealer {
    fn from(key: &Key) -> Self {
        Self::new(key)
    }
}

/// While the sealer lives, the key is not rotated by another process.
impl From<&StoreKey> for Sealer {
    fn from(key: &StoreKey) -> Self {
        let before = key.file().before().map(|key| Self::new(key).current);
        Self { before, _held: Some(key.lock()), ..Self::new(key.file().current()) }
    }
}

fn derive(key: &Key, purpose: &[u8]) -> Aes256Gcm {
    let mut derived = Zeroizing::new([0u8; 32]);
    // 32 bytes are far below the limit of 255 hash lengths.
    Hkdf::<Sha256>::new(None, key.as_bytes())
        .expand(purpose, derived.as_mut())
        .expect("32 bytes can be derived");
    Aes256Gcm::new((&*derived).into())
}

fn open(
    cipher: &Aes256Gcm,
    table: &str,
    key: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(SealError::Open)?;
    let aad = place(table, key);
    cipher
        .decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: &aad })
        .map(Zeroizing::new)
        .map_err(|_| SealError::Open)
}

/// Table and key, unambiguous because the table's length comes first.
fn place(table: &str, key: &[u8]) -> Vec<u8> {
    [&(table.len() as u64).to_be_bytes(), table.as_bytes(), key].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn opens_only_where_it_was_sealed() {
        let sealer = Sealer::new(&Key::from_bytes([1; 32]));
        let sealed = sealer.seal("persons", b"k", b"apples").unwrap();
        assert_eq!(*sealer.open("persons", b"k", &sealed).unwrap(), b"apples");
        assert_eq!(sealer.open("persons", b"other", &sealed), Err(SealError::Open));
        assert_eq!(sealer.open("profiles", b"k", &sealed), Err(SealError::Open));
        assert_eq!(sealer.open("persons", b"k", &sealed[..8]), Err(SealError::Open));
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert_eq!(sealer.open("persons", b"k", &changed), Err(SealError::Open));
        }
        let other = Sealer::new(&Key::from_bytes([2; 32]));
        assert_eq!(other.open("persons", b"k", &sealed), Err(SealError::Open));
    }

    #[test]
    fn equal_values_look_different() {
        let sealer = Sealer::new(&Key::from_bytes([1; 32]));
        let seal = || sealer.seal("persons", b"k", b"apples").unwrap();
        let (one, two) = (seal(), seal());
        assert_ne!(one, two);
        assert!(!one.windows(6).any(|window| window == b"apples"));
    }
}
