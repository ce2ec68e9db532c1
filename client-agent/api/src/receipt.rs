//! Receipts of erasure: a statement and an Ed25519 signature (RFC 8032) over its exact bytes, so
//! that anybody with the public key can check it with any tool.

use chorale_people::{calendar, keys::Key, store::Removed};
use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

/// Signs receipts.
pub(crate) struct Receipts {
    key: SigningKey,
    agent: String,
}

/// A receipt as it is given out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// What was done, as JSON; the signature covers exactly these bytes.
    pub statement: String,
    /// Ed25519 over the statement's bytes, as hexadecimal digits.
    pub signature: String,
    /// The key that signs this agent's receipts, as hexadecimal digits.
    pub public_key: String,
}

/// What a statement says.
#[derive(Serialize)]
struct Statement<'a> {
    kind: &'static str,
    agent: &'a str,
    erased_at: String,
    /// SHA-256 over the person's pseudonyms in order: it tells nobody who it was, and the store
    /// can compute it again from the customer's id and its key.
    person: String,
    pseudonyms: u64,
    records: u64,
    profiles: u64,
    live_rows: u64,
    consents: u64,
    merges: u64,
    /// Summaries that linked agents had given.
    received: u64,
    /// Agents that summaries of the person were given to: they have to be told.
    given_to: &'a std::collections::BTreeSet<String>,
    /// Entries in other places of the agent, such as what the person lost in each round.
    elsewhere: u64,
    note: &'static str,
}

/// What an erasure does not reach, in every receipt.
const NOTE: &str = "Excluded from every later round and ingest of this agent. Noisy sums of \
    rounds that were closed before cannot be taken back. Source files and backups of the store \
    are the store's to clean; freed pages of the data file hold sealed bytes until reused.";

impl Receipts {
    pub(crate) fn new(key: &Key, agent: &str) -> Self {
        Self { key: SigningKey::from_bytes(key.as_bytes()), agent: agent.to_owned() }
    }

    /// The receipt for what was removed at `now_s`, as JSON.
    pub(crate) fn sign(
        &self,
        members: &[chorale_plan::Pseudonym],
        removed: &Removed,
        elsewhere: u64,
        now_s: i64,
    ) -> Receipt {
        let mut person = Sha256::new();
        members.iter().for_each(|who| person.update(who.as_bytes()));
        let statement = Statement {
            kind: "chorale/1 erasure",
            agent: &self.agent,
            erased_at: calendar::instant(now_s),
            person: hex::encode(person.finalize()),
            pseudonyms: removed.pseudonyms,
            records: removed.records,
            profiles: removed.profiles,
            live_rows: removed.live_rows,
            consents: removed.consents,
            merges: removed.merges,
            received: removed.received,
            given_to: &removed.given_to,
            elsewhere,
            note: NOTE,
        };
        // A struct of texts and numbers always has a JSON form.
        let statement = serde_json::to_string(&statement).unwrap_or_default();
        let signature = self.key.sign(statement.as_bytes());
        Receipt {
            statement,
            signature: hex::encode(signature.to_bytes()),
            public_key: hex::encode(self.key.verifying_key().to_bytes()),
        }
    }
}
