//! What changes of the promise after GENESIS, and who must have signed it.

use chorale_wire::{Digest, PublicKey, SecretKey, Signature, SignedBytes};
use serde::{Deserialize, Serialize};

use crate::{
    canonical::{self, CanonicalError, hex32_option, hex64},
    entry::{Entry, Privacy},
};

/// Context under which the compliance key signs a change.
const CONTEXT: &str = "ledger change";

/// A change of what GENESIS fixed, signed by the compliance key. Budgets only shrink and floors only
/// rise; δ, the unit, the keys and the predecessors never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeEntry {
    /// Which part changes.
    pub what: Change,
    /// 1 for the first change of a ledger, one more for each that follows.
    pub serial: u32,
    /// The new item catalogue; exactly in a [`Change::Catalogue`].
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex32_option")]
    pub catalogue: Option<Digest>,
    /// The coordinator's software from here on; exactly in a [`Change::Upgrade`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<String>,
    /// The cap from here on, at most the one before; in a [`Change::Policy`] only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_rho: Option<Privacy>,
    /// T_min from here on, at least the one before; in a [`Change::Policy`] only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survivors_min: Option<u32>,
    /// N from here on, at least the one before; exactly in a [`Change::Roster`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled: Option<u32>,
    /// A from here on, at least the one before; exactly in a [`Change::Roster`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<u32>,
    /// The compliance key's signature over [`Self::statement`].
    #[serde(with = "hex64")]
    pub signature: Signature,
}

/// Which part of the promise changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The declared item catalogue.
    Catalogue,
    /// The coordinator's software.
    Upgrade,
    /// Who is enrolled, and how many of them are assumed corrupt.
    Roster,
    /// The budget or the floor of survivors.
    Policy,
}

impl ChangeEntry {
    /// A change without content and signature, to be filled in.
    #[must_use]
    pub fn new(what: Change, serial: u32) -> Self {
        Self {
            what,
            serial,
            catalogue: None,
            software: None,
            cap_rho: None,
            survivors_min: None,
            enrolled: None,
            corrupt: None,
            signature: Signature::from_bytes([0; 64]),
        }
    }

    /// What is signed: the hash of the genesis entry, so that it holds in one ledger only, and the
    /// SHA-256 of this entry's canonical text without its signature.
    ///
    /// # Errors
    /// [`CanonicalError`] when it has no canonical text.
    pub fn statement(&self, genesis: &Digest) -> Result<[u8; 64], CanonicalError> {
        let mut value = serde_json::to_value(Entry::Change(Box::new(self.clone())))?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("signature");
        }
        let mut statement = [0; 64];
        statement[..32].copy_from_slice(genesis.as_bytes());
        let content = Digest::plain(canonical::encode(&value)?.as_bytes());
        statement[32..].copy_from_slice(content.as_bytes());
        Ok(statement)
    }

    /// The same, signed for the ledger that begins with `genesis`.
    ///
    /// # Errors
    /// [`CanonicalError`] when it has no canonical text.
    pub fn sign(mut self, genesis: &Digest, key: &SecretKey) -> Result<Self, CanonicalError> {
        let statement = self.statement(genesis)?.to_vec();
        let signed = SignedBytes::sign(CONTEXT, statement, key);
        self.signature = Signature::from_bytes(*signed.signature());
        Ok(self)
    }

    /// Whether the signature is that of the compliance key, for the ledger that begins so.
    pub(crate) fn is_signed(&self, genesis: &Digest, compliance: &PublicKey) -> bool {
        let signed = |statement: [u8; 64]| {
            compliance.verify_bytes(CONTEXT, &statement, self.signature.as_bytes()).is_ok()
        };
        self.statement(genesis).is_ok_and(signed)
    }

    /// Whether exactly the fields are there that this change is about.
    pub(crate) fn is_whole(&self) -> bool {
        let present = [
            self.catalogue.is_some(),
            self.software.is_some(),
            self.enrolled.is_some(),
            self.corrupt.is_some(),
            self.cap_rho.is_some(),
            self.survivors_min.is_some(),
        ];
        match self.what {
            Change::Catalogue => present == [true, false, false, false, false, false],
            Change::Upgrade => present == [false, true, false, false, false, false],
            Change::Roster => present == [false, false, true, true, false, false],
            Change::Policy => present[..4] == [false; 4] && (present[4] || present[5]),
        }
    }
}
