//! Rounds that the agents voted to abort, and coordinators that say they did.

use super::*;

#[test]
fn votes_to_abort_give_a_charge_back() {
    let mut ledger = Ledger::example();
    let before = ledger.chain.spent();
    ledger.reserve(reserve(6, 1)).unwrap();
    let entry = ledger.chain.abort_certified(RoundNumber(6), AbortCause::Votes, proof(6, 8));
    ledger.append(entry.unwrap()).unwrap();
    assert_eq!(ledger.chain.spent(), before);
    assert!(ledger.chain.open_rounds().is_empty());
    let report = verify(ledger.file.as_bytes(), Some(ledger.chain.head())).unwrap();
    assert_eq!(report.spent, before);
    assert!(report.to_string().contains("aborted (votes), given back by 8 agents' votes"));
    assert_eq!(
        report.rounds.last().unwrap().outcome,
        Outcome::Aborted { cause: "votes".into(), charged: false, votes: Some(8) }
    );
    // Whoever goes on with the file can hand the votes out again.
    let resumed = Chain::resume(ledger.file.as_bytes()).unwrap();
    let [round] = &resumed.certified().collect::<Vec<_>>()[..] else { panic!() };
    let verified = round.certificate.verify(&round.electorate).unwrap();
    assert_eq!(verified.session(), ballot(6, 0, Vote::Abort).session);
    assert_eq!(round.agents, agents(0));
    // It ended: neither a second time nor by a release.
    assert!(matches!(ledger.release(6), Err(Violation::NotReserved { .. })));
    ledger.reserve(reserve(7, 1)).unwrap();
    let late = ledger.chain.abort_certified(RoundNumber(6), AbortCause::Votes, proof(6, 8));
    assert!(matches!(late, Err(Violation::NotReserved { .. })));
    // Without noise there is nothing to give back, and the votes are verified all the same.
    let mut bare = Ledger::new(Privacy::Unprotected);
    bare.append(roster(1)).unwrap();
    bare.reserve(ReserveEntry {
        mechanism: MechanismName::Unprotected,
        sigma_squared: None,
        share_variance: None,
        sampler_distance: None,
        rho: Privacy::Unprotected,
        ..reserve(6, 1)
    })
    .unwrap();
    let few = bare.chain.abort_certified(RoundNumber(6), AbortCause::Votes, proof(6, 7)).unwrap();
    assert!(matches!(bare.append(few), Err(Violation::TooFewVotes { votes: 7, needed: 8, .. })));
    let enough = bare.chain.abort_certified(RoundNumber(6), AbortCause::Votes, proof(6, 8));
    bare.append(enough.unwrap()).unwrap();
}

/// A coordinator that wants its budget back although vectors left.
#[test]
fn a_refund_without_the_agents_votes_is_refused() {
    let mut ledger = Ledger::example();
    ledger.reserve(reserve(6, 1)).unwrap();
    let mut refused = |proof: AbortProof| {
        let abort = ledger.chain.abort_certified(RoundNumber(6), AbortCause::Votes, proof);
        ledger.append(abort.unwrap()).unwrap_err()
    };
    let round = RoundNumber(6);
    let few = refused(proof(6, 7));
    assert_eq!(few, Violation::TooFewVotes { round, votes: 7, needed: 8 });
    let names = agents(0);
    let forged_by = |voter: usize| Violation::ForgedVote { round, voter: names[voter].clone() };
    let sign = |vote: &SurvivorVote, key: &SecretKey| Signed::sign(vote, key).unwrap().signature();
    let mut forged = proof(6, 8);
    forged.signatures[5] = sign(&ballot(6, 5, Vote::Abort), &key());
    assert_eq!(refused(forged), forged_by(5));
    let mut survivors = proof(6, 8);
    let all = SlotSet::from_slots(AGENTS.into(), (0..AGENTS).map(Slot));
    survivors.signatures[2] = sign(&ballot(6, 2, Vote::Survivors(all)), &agent_key(2));
    assert_eq!(refused(survivors), forged_by(2));
    // The genuine votes of another round, cohort or spec.
    assert_eq!(refused(proof(5, 8)), forged_by(0));
    let mut cohort = proof(6, 8);
    cohort.cohort.pop();
    assert_eq!(refused(cohort), forged_by(0));
    let mut spec = proof(6, 8);
    spec.spec = Digest::plain(b"other");
    assert_eq!(refused(spec), forged_by(0));
    // One voter twice, out of order, a stranger, and one signature too many.
    for change in [
        |names: &mut Vec<AgentId>| names[1] = names[0].clone(),
        |names: &mut Vec<AgentId>| names.swap(0, 1),
        |names: &mut Vec<AgentId>| names[7] = AgentId::new("stranger").unwrap(),
    ] {
        let (mut voters, mut cohort) = (proof(6, 8), proof(6, 8));
        change(&mut voters.voters);
        assert_eq!(refused(voters), Violation::Voters { round, field: "voters" });
        change(&mut cohort.cohort);
        assert_eq!(refused(cohort), Violation::Voters { round, field: "cohort" });
    }
    let mut more = proof(6, 8);
    more.signatures.push(more.signatures[0]);
    assert!(matches!(refused(more), Violation::Range { field: "signatures", .. }));
    let mut small = proof(6, 8);
    small.cohort.truncate(9);
    assert!(matches!(refused(small), Violation::Range { field: "cohort", .. }));
    // By hand: no votes at all, votes beside an unmasking, votes beside a charge.
    let by_hand = |change: &dyn Fn(&mut AbortEntry)| {
        let votes = ledger.chain.abort_certified(round, AbortCause::Votes, proof(6, 8)).unwrap();
        let Entry::Abort(mut entry) = votes else { panic!() };
        change(&mut entry);
        ledger.chain.clone().append(Entry::Abort(entry), &key(), 5000).unwrap_err()
    };
    let violation = |error| match error {
        LedgerError::Rule { source, .. } => source,
        other => panic!("{other}"),
    };
    let bare = violation(by_hand(&|entry| entry.certificate = None));
    assert_eq!(bare, Violation::Refund { round });
    for change in [
        |entry: &mut AbortEntry| entry.unmask_started = true,
        |entry: &mut AbortEntry| entry.committed = false,
    ] {
        let odd = violation(by_hand(&|entry| change(entry)));
        assert!(matches!(odd, Violation::Range { .. }), "{odd}");
    }
    let charged = violation(by_hand(&|entry| entry.rho_charged = reserve(6, 1).rho));
    assert!(matches!(charged, Violation::Range { field: "rho_charged", .. }));
}

/// Keys of the coordinator's own making would certify whatever it likes.
#[test]
fn a_roster_holds_identities_of_the_authority_each_once() {
    let write = |change: &dyn Fn(&mut RosterEntry)| {
        let mut entry = roster_entry(1);
        change(&mut entry);
        Ledger::new(Privacy::Rho(rho(2, 1))).append(Entry::Roster(entry)).unwrap_err()
    };
    let agent = agents(3).swap_remove(0);
    let own = write(&|entry| {
        let by_coordinator = membership(3, &key());
        entry.memberships[3].signature = by_coordinator.signature();
    });
    assert_eq!(own, Violation::Membership { agent: agent.clone() });
    let swapped = write(&|entry| entry.memberships[3].identity = key().public());
    assert_eq!(swapped, Violation::Membership { agent: agent.clone() });
    let other_name = write(&|entry| entry.memberships[3] = entry.memberships[4].clone());
    assert_eq!(other_name, Violation::Membership { agent });
    let missing = write(&|entry| entry.memberships.truncate(11));
    assert!(matches!(missing, Violation::Range { field: "memberships", .. }));
    // The authority itself signed one key for two agents.
    let twice = write(&|entry| {
        let name = entry.agents[1].clone();
        let mut copy = membership(0, &authority()).peek().unwrap();
        copy.agent = name;
        let signed = Signed::sign(&copy, &authority()).unwrap();
        entry.memberships[1].identity = copy.identity;
        entry.memberships[1].tls_key = copy.tls_key;
        entry.memberships[1].signature = signed.signature();
    });
    assert!(matches!(twice, Violation::Electorate { .. }));
}
