//! Changes of what GENESIS fixed.

use super::*;
use crate::change::{Change, ChangeEntry};

fn genesis_hash(ledger: &Ledger) -> Digest {
    serde_json::from_str::<Line>(ledger.lines()[0]).unwrap().hash
}

/// A change with these fields, signed by the compliance key.
pub(super) fn change(
    ledger: &Ledger,
    what: Change,
    serial: u32,
    fill: impl FnOnce(&mut ChangeEntry),
) -> Entry {
    let mut entry = ChangeEntry::new(what, serial);
    fill(&mut entry);
    Entry::Change(Box::new(entry.sign(&genesis_hash(ledger), &compliance()).unwrap()))
}

fn begun() -> Ledger {
    let mut ledger = Ledger::new(Privacy::Rho(rho(2, 1)));
    ledger.append(roster(1)).unwrap();
    ledger
}

#[test]
fn signed_changes_hold_from_there_on() {
    let mut ledger = begun();
    let next = change(&ledger, Change::Catalogue, 1, |c| c.catalogue = Some(Digest::plain(b"new")));
    ledger.append(next).unwrap();
    let next = change(&ledger, Change::Upgrade, 2, |c| c.software = Some("chorale 0.2.0".into()));
    ledger.append(next).unwrap();
    // Half of the cap: two rounds of a quarter and a trace do not fit any more.
    let half = Some(Privacy::Rho(rho(1, 2)));
    let next = change(&ledger, Change::Policy, 3, |c| c.cap_rho = half);
    ledger.append(next).unwrap();
    ledger.reserve(reserve(1, 1)).unwrap();
    ledger.release(1).unwrap();
    assert!(matches!(ledger.reserve(reserve(2, 1)), Err(Violation::OverCap { .. })));
    assert_eq!(ledger.chain.promise().catalogue, Digest::plain(b"new"));
    let report = verify(ledger.file.as_bytes(), None).unwrap();
    assert_eq!(report.cap, Privacy::Rho(rho(1, 2)));
    let resumed = Chain::resume(ledger.file.as_bytes()).unwrap();
    assert_eq!(resumed.promise(), ledger.chain.promise());
    assert_eq!(resumed.next_change().unwrap(), (4, genesis_hash(&ledger)));
}

#[test]
fn a_larger_enrolment_needs_a_new_roster_first() {
    let mut ledger = begun();
    let more = |c: &mut ChangeEntry| (c.enrolled, c.corrupt) = (Some(13), Some(2));
    let next = change(&ledger, Change::Roster, 1, more);
    ledger.append(next).unwrap();
    assert!(matches!(ledger.reserve(reserve(1, 1)), Err(Violation::EpochUnknown { .. })));
    ledger.append(roster(2)).unwrap();
    ledger.reserve(reserve(1, 2)).unwrap();
}

#[test]
fn changes_that_loosen_or_nobody_signed_are_refused() {
    let mut ledger = begun();
    let cap = |cap: Privacy| move |c: &mut ChangeEntry| c.cap_rho = Some(cap);
    for (field, entry) in [
        ("cap_rho", change(&ledger, Change::Policy, 1, cap(Privacy::Rho(rho(3, 1))))),
        ("cap_rho", change(&ledger, Change::Policy, 1, cap(Privacy::Unprotected))),
        ("survivors_min", change(&ledger, Change::Policy, 1, |c| c.survivors_min = Some(9))),
        ("serial", change(&ledger, Change::Policy, 2, |c| c.survivors_min = Some(11))),
        ("serial", change(&ledger, Change::Policy, 0, |c| c.survivors_min = Some(11))),
        ("what", change(&ledger, Change::Policy, 1, |_| {})),
        ("what", change(&ledger, Change::Upgrade, 1, |c| c.survivors_min = Some(11))),
        ("what", change(&ledger, Change::Roster, 1, |c| c.enrolled = Some(13))),
        ("software", change(&ledger, Change::Upgrade, 1, |c| c.software = Some(String::new()))),
        (
            "enrolled, corrupt",
            change(&ledger, Change::Roster, 1, |c| {
                (c.enrolled, c.corrupt) = (Some(13), Some(1));
            }),
        ),
    ] {
        match ledger.append(entry).unwrap_err() {
            Violation::Range { field: found, .. } => assert_eq!(found, field),
            other => panic!("{field}: {other}"),
        }
    }
    // T_min above N, signed or not.
    let reach = change(&ledger, Change::Policy, 1, |c| c.survivors_min = Some(13));
    assert!(ledger.append(reach).is_err());
    // By another key, of another ledger, and changed after it was signed.
    let good = |ledger: &Ledger| change(ledger, Change::Policy, 1, |c| c.survivors_min = Some(11));
    let mut by_coordinator = ChangeEntry::new(Change::Policy, 1);
    by_coordinator.survivors_min = Some(11);
    let by_coordinator = by_coordinator.sign(&genesis_hash(&ledger), &key()).unwrap();
    let elsewhere = Ledger::new(Privacy::Rho(rho(1, 1)));
    let Entry::Change(mut altered) = good(&ledger) else { panic!() };
    altered.survivors_min = Some(12);
    let by_coordinator = Entry::Change(Box::new(by_coordinator));
    for entry in [by_coordinator, good(&elsewhere), Entry::Change(altered)] {
        assert_eq!(ledger.append(entry).unwrap_err(), Violation::ChangeUnsigned { serial: 1 });
    }
    // Not while a round runs.
    ledger.reserve(reserve(1, 1)).unwrap();
    let next = good(&ledger);
    assert!(matches!(ledger.append(next), Err(Violation::Range { field: "what", .. })));
    ledger.release(1).unwrap();
    let next = good(&ledger);
    ledger.append(next).unwrap();
}
