//! Which cipher makes the masks of a round.

use serde::{Deserialize, Serialize};

/// The cipher whose keystream masks vectors: a public parameter of the round, since both ends of
/// a pair must use the same. It stands in the signed round spec, whose digest the session id
/// binds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keystream {
    /// AES-256 in counter mode (NIST SP 800-38A) from a zero counter block: the fastest where the
    /// agents' processors have AES instructions, and constant-time in software where not.
    #[default]
    Aes256Ctr,
    /// ChaCha20 (RFC 8439) with a zero nonce from block 0: for federations whose agents mostly
    /// have no AES instructions.
    #[serde(rename = "chacha20")]
    ChaCha20,
}

impl Keystream {
    /// Every keystream offered.
    pub const ALL: [Self; 2] = [Self::Aes256Ctr, Self::ChaCha20];
}
