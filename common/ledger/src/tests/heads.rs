//! Heads that agents have cosigned.

use chorale_wire::message::LedgerHead;

use super::*;

/// The cosignatures of the first `voters` agents under `head`; T is 8.
pub(super) fn cosigned(head: Head, voters: u16) -> CosignedEntry {
    let statement = LedgerHead::from(head);
    let sign = |slot| Signed::sign(&statement, &agent_key(slot)).unwrap().signature();
    CosignedEntry {
        seq: head.seq,
        hash: head.hash,
        voters: agents(0)[..voters.into()].to_vec(),
        signatures: (0..voters).map(sign).collect(),
    }
}

fn refused(ledger: &mut Ledger, entry: CosignedEntry) -> Violation {
    let before = ledger.chain.head();
    let violation = ledger.append(Entry::Cosigned(entry)).unwrap_err();
    assert_eq!(ledger.chain.head(), before);
    violation
}

#[test]
fn a_cosigned_head_is_reported_and_carries_over_a_restart() {
    let mut ledger = Ledger::example();
    let report = verify(ledger.file.as_bytes(), None).unwrap();
    assert_eq!((report.cosigned, report.cosigners), (None, 0));
    assert!(report.to_string().contains("cosigned       no"));
    let head = ledger.chain.head();
    ledger.append(Entry::Cosigned(cosigned(head, 9))).unwrap();
    ledger.reserve(reserve(6, 1)).unwrap();
    let report = verify(ledger.file.as_bytes(), None).unwrap();
    assert_eq!((report.cosigned, report.cosigners), (Some(head), 9));
    assert!(report.to_string().contains(&format!("by 9 agents up to {head}")));
    let resumed = Chain::resume(ledger.file.as_bytes()).unwrap();
    assert_eq!((resumed.cosigned(), ledger.chain.cosigned()), (Some(head), Some(head)));
    // A tail that is cut off takes the cosignatures with it; a head from an agent shows that.
    let cut: String = ledger.lines()[..head.seq as usize + 1].concat();
    assert_eq!(verify(cut.as_bytes(), None).unwrap().cosigned, None);
    let later = resumed.head();
    assert!(matches!(
        verify(cut.as_bytes(), Some(later)),
        Err(VerifyError::Truncated { last: 9, head: 11 })
    ));
}

#[test]
fn what_is_no_cosigned_head() {
    let mut ledger = Ledger::example();
    let head = ledger.chain.head();
    let other = Head { hash: Digest::plain(b"fork"), ..head };
    for (entry, seq) in [(cosigned(other, 8), 9), (cosigned(Head { seq: 10, ..head }, 8), 10)] {
        assert_eq!(refused(&mut ledger, entry), Violation::HeadUnknown { seq });
    }
    let few = Violation::TooFewCosigners { seq: 9, given: 7, needed: 8 };
    assert_eq!(refused(&mut ledger, cosigned(head, 7)), few);
    let mut swapped = cosigned(head, 8);
    swapped.signatures.swap(2, 3);
    let voter = agents(2).remove(0);
    assert_eq!(refused(&mut ledger, swapped), Violation::Cosignature { seq: 9, voter });
    let mut twice = cosigned(head, 8);
    twice.voters[3] = twice.voters[2].clone();
    assert_eq!(refused(&mut ledger, twice), Violation::Cosigners { seq: 9 });
    let mut short = cosigned(head, 9);
    short.signatures.pop();
    assert!(matches!(refused(&mut ledger, short), Violation::Range { field: "signatures", .. }));
    // Before the first roster nobody can cosign.
    let genesis = Ledger::new(Privacy::Rho(rho(1, 1)));
    let first = cosigned(genesis.chain.head(), 8);
    assert_eq!(refused(&mut ledger, first), Violation::HeadUnknown { seq: 0 });
    // Heads only ascend, and none is cosigned twice.
    ledger.append(Entry::Cosigned(cosigned(head, 8))).unwrap();
    assert_eq!(refused(&mut ledger, cosigned(head, 8)), Violation::HeadUnknown { seq: 9 });
}

#[test]
fn an_offer_leads_from_an_earlier_head_to_the_last() {
    let mut ledger = Ledger::example();
    let early = ledger.chain.head();
    ledger.append(Entry::Cosigned(cosigned(early, 8))).unwrap();
    ledger.reserve(reserve(6, 1)).unwrap();
    for chain in [ledger.chain.clone(), Chain::resume(ledger.file.as_bytes()).unwrap()] {
        for from in 0..=chain.head().seq {
            let offer = chain.offer(from).unwrap();
            let at = offer.links.iter().fold(offer.from, |at, link| at.after(link).unwrap());
            assert_eq!((at, Head::from(offer.head)), (offer.head, chain.head()));
            let signature = offer.signature.as_bytes();
            let hash = offer.head.hash;
            key().public().verify_bytes("ledger entry", hash.as_bytes(), signature).unwrap();
        }
        assert_eq!(Head::from(chain.offer(early.seq).unwrap().from), early);
        assert!(chain.offer(chain.head().seq + 1).is_none());
    }
}
