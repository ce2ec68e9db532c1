//! A memory of public objects that were verified, for several agents in one process.
//!
//! Whether a roster, a roster certificate, a survivor certificate or the header of a masked vector
//! is good depends on nothing but its bytes, the keys that the verifier pinned and, for rosters, the second at which memberships
//! are valid. Agents of one process that agree on all of these can verify an object once. The key
//! of an entry is a SHA-256 over all of them, so that no agent takes over a verdict that it would
//! not have come to itself; only good verdicts are kept, and they are few.
//!
//! An agent uses none unless its driver gives it one ([`crate::agent::Machine::share_verified`]).
//! The client agent does not: it has nobody to share with. The simulator does, because ten
//! thousand agents that verify ten thousand adverts each would take days.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use chorale_secagg::Graph;
use chorale_wire::{
    Digest, FederationId, PublicKey, SessionId, SignatureError, Signed, SlotSet, codec,
    limits::{AGENTS_MAX, CONTROL_BYTES_MAX},
    message::{MaskedHeader, Roster, RosterCertificate, SurvivorCertificate},
};

use crate::roster::{Expectation, VerifiedRoster};

/// Entries of each kind that are kept: the attempts of one epoch's setup.
const ENTRIES_MAX: usize = 5;

/// Verified public objects. Cheap to share: agents hold it in an [`Arc`].
#[derive(Default)]
pub struct VerifiedMemo {
    rosters: Table<Arc<VerifiedRoster>>,
    graphs: Table<Arc<Graph>>,
    survivors: Table<()>,
    /// Headers whose signatures were verified: at most one round's of the largest roster.
    headers: Mutex<BTreeMap<Digest, MaskedHeader>>,
}

/// The newest good verdicts by key. Whoever asks while an object is being verified waits for the
/// verdict instead of coming to it a second time.
type Table<T> = Mutex<VecDeque<(Digest, T)>>;

impl VerifiedMemo {
    /// An empty memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for VerifiedMemo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedMemo")
    }
}

/// Verifies a roster, or finds it verified.
pub(crate) fn roster<E>(
    memo: Option<&VerifiedMemo>,
    roster: &Roster,
    expect: &Expectation<'_>,
    check: impl FnOnce() -> Result<VerifiedRoster, E>,
) -> Result<Arc<VerifiedRoster>, E> {
    let check = || check().map(Arc::new);
    match memo {
        Some(memo) => once(&memo.rosters, roster_key(roster, expect), check),
        None => check(),
    }
}

/// Verifies a roster certificate, or finds it verified: the graph that it decides. The roster's
/// digest names its agents' identity keys, epoch and floors, because it covers their adverts with
/// the memberships in them.
pub(crate) fn graph<E>(
    memo: Option<&VerifiedMemo>,
    roster: &VerifiedRoster,
    federation: &FederationId,
    certificate: &RosterCertificate,
    check: impl FnOnce() -> Result<Arc<Graph>, E>,
) -> Result<Arc<Graph>, E> {
    let Some(memo) = memo else { return check() };
    // What cannot be encoded is not worth remembering.
    let Ok(bytes) = codec::encode(certificate, CONTROL_BYTES_MAX) else { return check() };
    let digest = roster.digest();
    let parts = [digest.as_bytes().as_slice(), federation.as_str().as_bytes(), &bytes];
    once(&memo.graphs, Digest::of("chorale/1 verified roster certificate", &parts), check)
}

/// Verifies a certificate for exactly these survivors of this session, or finds it verified.
pub(crate) fn survivors<E>(
    memo: Option<&VerifiedMemo>,
    roster: &VerifiedRoster,
    session: SessionId,
    survivors: &SlotSet,
    certificate: &SurvivorCertificate,
    check: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let Some(memo) = memo else { return check() };
    // What cannot be encoded is not worth remembering.
    let Ok(bytes) = codec::encode(certificate, CONTROL_BYTES_MAX) else { return check() };
    let (digest, set) = (roster.digest(), survivors.to_bytes());
    let parts = [digest.as_bytes().as_slice(), session.as_bytes(), &set, &bytes];
    once(&memo.survivors, Digest::of("chorale/1 verified survivor certificate", &parts), check)
}

/// Verifies that `signer` signed a masked vector's header, or finds it verified: its content. What
/// session it must be of is the caller's to check.
pub(crate) fn header(
    memo: Option<&VerifiedMemo>,
    signer: &PublicKey,
    signed: &Signed<MaskedHeader>,
) -> Result<MaskedHeader, SignatureError> {
    let verify = || Ok(signed.verify(signer)?.into_inner());
    let Some(memo) = memo else { return verify() };
    let bytes = signed.as_bytes();
    let parts = [signer.as_bytes().as_slice(), bytes.payload(), bytes.signature()];
    let key = Digest::of("chorale/1 verified masked header", &parts);
    let lock = || memo.headers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(header) = lock().get(&key) {
        return Ok(header.clone());
    }
    let header = verify()?;
    let mut headers = lock();
    if headers.len() >= AGENTS_MAX {
        headers.clear();
    }
    headers.insert(key, header.clone());
    Ok(header)
}

fn once<T: Clone, E>(
    table: &Table<T>,
    key: Digest,
    check: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    // A thread that panicked while it verified has left no half-made entry.
    let mut entries = table.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, verdict)) = entries.iter().find(|(known, _)| *known == key) {
        return Ok(verdict.clone());
    }
    let verdict = check()?;
    entries.truncate(ENTRIES_MAX - 1);
    entries.push_front((key, verdict.clone()));
    Ok(verdict)
}

/// Every byte that was received, and everything that it is verified against.
fn roster_key(roster: &Roster, expect: &Expectation<'_>) -> Digest {
    let Expectation { federation, epoch, rounds, authority, now_s } = expect;
    let numbers = [roster.epoch.0, epoch.0, *rounds as u64, *now_s].map(u64::to_be_bytes);
    let survivors_min = roster.survivors_min.to_be_bytes();
    let mut parts: Vec<&[u8]> = Vec::with_capacity(2 * roster.adverts.len() + 8);
    parts.extend([federation.as_str().as_bytes(), authority.as_bytes(), &survivors_min]);
    parts.extend(numbers.iter().map(<[u8; 8]>::as_slice));
    for advert in roster.adverts.iter().map(Signed::as_bytes) {
        parts.extend([advert.payload(), advert.signature().as_slice()]);
    }
    Digest::of("chorale/1 verified roster", &parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Digest {
        Digest::plain(&[byte])
    }

    #[test]
    fn a_verdict_is_come_to_once_and_refusals_are_not_kept() {
        let table: Table<u8> = Table::default();
        assert_eq!(once(&table, key(1), || Err::<u8, _>("bad")), Err("bad"));
        assert_eq!(once(&table, key(1), || Ok::<_, &str>(7)), Ok(7));
        assert_eq!(once(&table, key(1), || Err::<u8, _>("asked again")), Ok(7));
        assert_eq!(once(&table, key(2), || Err::<u8, _>("another object")), Err("another object"));
    }

    #[test]
    fn only_the_newest_are_kept() {
        let table: Table<u8> = Table::default();
        for byte in 0..20 {
            assert_eq!(once(&table, key(byte), || Ok::<_, ()>(byte)), Ok(byte));
        }
        assert_eq!(table.lock().map(|entries| entries.len()).ok(), Some(ENTRIES_MAX));
        assert_eq!(once(&table, key(0), || Err::<u8, _>("forgotten")), Err("forgotten"));
        assert_eq!(once(&table, key(19), || Err::<u8, _>("asked again")), Ok(19));
    }
}
