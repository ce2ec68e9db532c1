//! Every table of the store, and where pseudonyms stand in it.

use std::error::Error;

use chorale_plan::Pseudonym;
use chorale_wire::codec;
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{Layout, Named, RECORD_BYTES_MAX};
use crate::{
    hand_over::{Disclosure, Received},
    live::MergeEntry,
    pseudonym::Renames,
};

/// Where names stand. A table that is missing here makes every rotation of the pseudonym key fail.
pub(super) const LAYOUT: Layout = Layout {
    tables: &[
        Named::by_person("persons"),
        Named::by_person("origins"),
        Named::by_person("profiles"),
        Named::nobody("models"),
        Named::nobody("meta"),
        // The pseudonym and a number.
        Named::by_person("live"),
        Named::by_person("consents"),
        Named::by_person("merges").and_in_values(merge),
        Named::nobody("merge_log").and_in_values(merge_entry),
        // The receipt says who it was by a digest of the names of that time.
        Named::by_person("erased"),
        // Keyed hashes of items, under the first key.
        Named::nobody("items"),
        // The pseudonym and the agent that gave it.
        Named::by_person("received").and_in_values(received),
        Named::nobody("disclosures").and_in_values(disclosure),
    ],
    mark_table: "meta",
    mark_key: b"names",
};

type Renamed = Result<Zeroizing<Vec<u8>>, Box<dyn Error + Send + Sync>>;

/// Who stands for an alias.
fn merge(renames: &Renames, value: &[u8]) -> Renamed {
    changed(value, |into: [u8; 32]| new_name(renames, into))
}

fn merge_entry(renames: &Renames, value: &[u8]) -> Renamed {
    changed(value, |entry: MergeEntry| {
        let (alias, into) = (new_name(renames, entry.alias), new_name(renames, entry.into));
        MergeEntry { alias, into, ..entry }
    })
}

fn received(renames: &Renames, value: &[u8]) -> Renamed {
    changed(value, |mut received: Received| {
        received.summary.person = new_name(renames, received.summary.person);
        received
    })
}

fn disclosure(renames: &Renames, value: &[u8]) -> Renamed {
    changed(value, |line: Disclosure| {
        let person = new_name(renames, line.person);
        Disclosure { person, ..line }
    })
}

fn new_name(renames: &Renames, name: [u8; 32]) -> [u8; 32] {
    *renames.of(Pseudonym::from_bytes(name)).as_bytes()
}

fn changed<T: Serialize + DeserializeOwned>(value: &[u8], change: impl FnOnce(T) -> T) -> Renamed {
    let value = codec::decode(value, RECORD_BYTES_MAX)?;
    Ok(Zeroizing::new(codec::encode(&change(value), RECORD_BYTES_MAX)?))
}
