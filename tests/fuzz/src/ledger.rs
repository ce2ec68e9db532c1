//! Ledger files, from anybody and from a coordinator that signs what it likes.

use chorale_ledger::{Chain, Entry, Expect, Head, torn_tail, verify, verify_with};
use chorale_wire::SecretKey;

use crate::Verdict;

/// The key under which [`entries`] signs; its public half stands in the seeds' genesis.
#[must_use]
pub fn key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

/// A ledger file as an auditor gets it. What it accepts has one text, so no byte can change.
pub fn file(data: &[u8]) -> Verdict {
    let tail = torn_tail(data);
    assert!(data.ends_with(tail));
    let Ok(report) = verify(data, None) else { return Verdict::Refused };
    let resumed = Chain::resume(data).expect("the verifier accepted the file");
    let head = resumed.head();
    assert!(verify(data, Some(head)).is_ok(), "a ledger misses its own head");
    let later = Head { seq: head.seq + 1, hash: head.hash };
    assert!(verify(data, Some(later)).is_err(), "a missing entry is not missed");
    let key = SecretKey::from_seed(&[9; 32]).public();
    let expect = Expect { head: None, coordinator: Some(key) };
    assert!(verify_with(data, &expect).is_err(), "another coordinator's ledger");
    assert!(!format!("{report:?}").is_empty());
    Verdict::Accepted
}

/// Entries in JSON, one a line, that a coordinator chains and signs: the first is its genesis.
/// Whatever the writer lets pass, the verifier accepts, and with a head misses no entry of it.
pub fn entries(data: &[u8]) -> Verdict {
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = lines.next().and_then(|line| serde_json::from_slice::<Entry>(line).ok());
    let Some(Entry::Genesis(genesis)) = first else { return Verdict::Refused };
    let Ok((mut chain, mut text)) = Chain::genesis(*genesis, &key(), 1000) else {
        return Verdict::Refused;
    };
    for (index, line) in lines.enumerate() {
        let Ok(entry) = serde_json::from_slice::<Entry>(line) else { continue };
        let before = chain.head();
        match chain.append(entry, &key(), 1000 + index as u64) {
            Ok(line) => {
                assert_eq!(chain.head().seq, before.seq + 1);
                text.push_str(&line);
            }
            Err(_) => assert_eq!(chain.head(), before, "a refused entry moved the head"),
        }
    }
    let report = verify(text.as_bytes(), Some(chain.head()));
    assert!(report.is_ok(), "the verifier refuses what the writer wrote: {report:?}\n{text}");
    assert_eq!(Chain::resume(text.as_bytes()).expect("as above").head(), chain.head());
    Verdict::Accepted
}
