#![allow(clippy::unwrap_used)]
use chorale_secagg::GraphParameters;
use chorale_wire::{
    SecretKey, Signed,
    message::{RevealedShare, SurvivorCertificate, SurvivorVote},
};

use super::*;
use crate::federation::Federation;

const AGENTS: usize = 6;
const BITS: u8 = 30;

fn session(round: u64) -> SessionId {
    let none = Digest::plain(b"");
    SessionId::new(Epoch(1), RoundNumber(round), &none, &none, &SlotSet::empty(AGENTS))
}

fn agent(index: usize) -> AgentId {
    AgentId::new(format!("store-{index}")).unwrap()
}

fn spec(round: u64, key_index: u16) -> RoundSpec {
    let federation = Federation::new(1, AGENTS).unwrap();
    federation.spec(Epoch(1), RoundNumber(round), key_index, Digest::plain(b"model"))
}

/// T_min = 1, T = t + 1 = 4; the last agents lie.
fn oracle(liars: usize) -> Oracle {
    let rule = CohortRule { enrolled: AGENTS as u32, corrupt: 1, survivors_min: 1 };
    let liars: BTreeSet<AgentId> = (AGENTS - liars..AGENTS).map(agent).collect();
    let parameters = GraphParameters::Complete { agents: AGENTS as u16 };
    let graph = Graph::new(parameters, Digest::plain(b"seed"));
    let sharing = Sharing::new((0..AGENTS).map(agent).collect(), graph, 3, &liars);
    let mut oracle = Oracle::new(Floors { rule, liars });
    oracle.sharing.insert(Epoch(1), sharing);
    oracle
}

fn slots(set: &[u16]) -> SlotSet {
    SlotSet::from_slots(AGENTS, set.iter().copied().map(Slot))
}

fn completed(totals: Vec<i64>) -> Completed {
    Completed {
        session: session(1),
        epoch: Epoch(1),
        round: RoundNumber(1),
        spec: Digest::plain(b""),
        transcript: Digest::plain(b""),
        cohort: SlotSet::empty(AGENTS),
        survivors: SlotSet::empty(AGENTS),
        agents: vec![agent(0)],
        vector_digests: vec![Digest::plain(b"vector")],
        certificate: SurvivorCertificate {
            session: session(1),
            survivors: SlotSet::empty(AGENTS),
            signatures: Vec::new(),
        },
        noise_variance: None,
        totals,
        whole_lanes: Vec::new(),
    }
}

fn contribute(oracle: &mut Oracle, index: usize, of: u64, spec: &RoundSpec) -> Result<(), Failure> {
    let vector = Digest::plain(b"vector");
    let cohort = slots(&[0, 1, 2, 3, 4, 5]);
    oracle.contributed(&agent(index), spec, (session(of), cohort), vector, vec![7; 3])
}

fn seen() -> Oracle {
    let mut oracle = oracle(0);
    contribute(&mut oracle, 0, 1, &spec(1, 0)).unwrap();
    oracle
}

fn sign<T: chorale_wire::Message>(message: &T) -> Signed<T> {
    Signed::sign(message, &SecretKey::from_seed(&[1; 32])).unwrap()
}

fn vote(of: u64, set: &[u16]) -> ToCoordinator {
    let vote = Vote::Survivors(slots(set));
    let vote = SurvivorVote { session: session(of), slot: Slot(0), vote };
    ToCoordinator::SurvivorVote(sign(&vote))
}

fn reveal(of: u64, subject: u16, kind: ShareKind, byte: u8) -> ToCoordinator {
    let share = RevealedShare { subject: Slot(subject), kind, share: [byte; 32] };
    let (session, shares) = (session(of), vec![share]);
    let reveal = Reveal { session, slot: Slot(0), shares, surplus: None };
    ToCoordinator::Reveal(sign(&reveal))
}

#[test]
fn wrong_sums_floors_and_phantoms_are_seen() {
    assert_eq!(seen().completed(&completed(vec![7; 3]), BITS), Ok(()));
    let verdict = seen().completed(&completed(vec![7, 7, 8]), BITS);
    assert!(matches!(verdict, Err(Failure::WrongSum { .. })));
    let mut strict = seen();
    strict.floors.rule.survivors_min = 2;
    let verdict = strict.completed(&completed(vec![7; 3]), BITS);
    assert!(matches!(verdict, Err(Failure::BelowFloor { .. })));
    let verdict = oracle(0).completed(&completed(vec![0; 3]), BITS);
    assert!(matches!(verdict, Err(Failure::Phantom { .. })));
}

#[test]
fn a_session_is_not_unmasked_and_aborted() {
    let mut aborted = seen();
    let early = aborted.given_back(&agent(0), session(1));
    assert!(matches!(early, Err(Failure::Unrecorded { .. })));
    aborted.abort_recorded(session(1)).unwrap();
    aborted.given_back(&agent(0), session(1)).unwrap();
    let verdict = aborted.completed(&completed(vec![7; 3]), BITS);
    assert!(matches!(verdict, Err(Failure::BothCertified { .. })));
}

#[test]
fn sums_are_compared_as_they_are_read() {
    let mut liar = seen();
    let other = Digest::plain(b"other");
    liar.second_vector(&agent(0), session(1), other, vec![(1 << BITS) - 5, -(1 << BITS), 7]);
    let mut sum = completed(vec![-5, 0, 7]);
    sum.vector_digests = vec![other];
    assert_eq!(liar.completed(&sum, BITS), Ok(()));
}

#[test]
fn second_vectors_ends_and_keys_are_seen() {
    let mut oracle = seen();
    let again = contribute(&mut oracle, 0, 2, &spec(1, 1));
    assert!(matches!(again, Err(Failure::Twice { .. })));
    let same_key = contribute(&mut oracle, 0, 2, &spec(2, 0));
    assert!(matches!(same_key, Err(Failure::Twice { .. })));
    oracle.end(RoundNumber(1)).unwrap();
    assert!(matches!(oracle.end(RoundNumber(1)), Err(Failure::Ended { times: 2, .. })));
    assert!(matches!(
        oracle.all_ended(&[RoundNumber(1), RoundNumber(2)]),
        Err(Failure::Ended { times: 0, .. })
    ));
}

#[test]
fn second_votes_and_reveals_are_seen() {
    let mut oracle = seen();
    let unasked = oracle.said(&agent(0), &reveal(1, 1, ShareKind::SelfSeed, 1));
    assert!(matches!(unasked, Err(Failure::Unasked { .. })));
    oracle.said(&agent(0), &vote(1, &[0, 1, 2])).unwrap();
    oracle.said(&agent(0), &vote(1, &[0, 1, 2])).unwrap();
    oracle.said(&agent(0), &reveal(1, 1, ShareKind::SelfSeed, 1)).unwrap();
    oracle.said(&agent(0), &reveal(1, 1, ShareKind::SelfSeed, 1)).unwrap();
    let other = oracle.said(&agent(0), &reveal(1, 1, ShareKind::SelfSeed, 2));
    assert!(matches!(other, Err(Failure::Twice { .. })));
    let both = oracle.said(&agent(0), &reveal(1, 1, ShareKind::PairwiseKey, 1));
    assert!(matches!(both, Err(Failure::BothShares { .. })));
    let second = oracle.said(&agent(0), &vote(1, &[0, 1]));
    assert!(matches!(second, Err(Failure::Twice { .. })));
    let none = oracle.said(&agent(1), &vote(1, &[]));
    assert!(matches!(none, Err(Failure::SmallVote { .. })));
}

#[test]
fn two_sets_for_the_same_keys_are_seen() {
    // Another session of the same round: other agents were shown another cohort.
    let mut oracle = seen();
    contribute(&mut oracle, 1, 2, &spec(1, 0)).unwrap();
    oracle.said(&agent(0), &vote(1, &[0, 2, 3])).unwrap();
    oracle.said(&agent(1), &vote(2, &[1, 4, 5])).unwrap();
    oracle.said(&agent(0), &reveal(1, 2, ShareKind::SelfSeed, 1)).unwrap();
    let other = oracle.said(&agent(1), &reveal(2, 2, ShareKind::PairwiseKey, 1));
    assert!(matches!(other, Err(Failure::TwoSets { .. })));
}

#[test]
fn two_known_secrets_of_one_agent_are_seen() {
    // t = 3: with two liars one honest share of each secret is enough to know both.
    for (liars, known) in [(0, false), (1, false), (2, true)] {
        let mut oracle = oracle(liars);
        for index in 0..2 {
            contribute(&mut oracle, index, 1, &spec(1, 0)).unwrap();
            oracle.said(&agent(index), &vote(1, &[0, 1, 2])).unwrap();
        }
        oracle.said(&agent(0), &reveal(1, 2, ShareKind::SelfSeed, 1)).unwrap();
        let verdict = oracle.said(&agent(1), &reveal(1, 2, ShareKind::PairwiseKey, 1));
        assert_eq!(matches!(verdict, Err(Failure::Secrets { .. })), known, "{liars}");
    }
}

/// Agent 0 locked a session of its own, with a cohort of agents 0, 1 and 2, and the others reveal
/// in theirs as if it were a survivor of it.
#[test]
fn a_vector_whose_masks_are_all_known_is_seen() {
    for (gone, readable) in [(&[1u16, 2][..], true), (&[1], false)] {
        let mut oracle = oracle(0);
        oracle.floors.rule.survivors_min = 4;
        let (own, theirs) = ((session(1), slots(&[0, 1, 2])), session(2));
        let vector = Digest::plain(b"vector");
        oracle.contributed(&agent(0), &spec(1, 0), own, vector, vec![7; 3]).unwrap();
        let mut survivors = vec![0, 3, 4, 5];
        survivors.extend([1, 2].iter().filter(|slot| !gone.contains(slot)));
        let mut verdicts = Vec::new();
        for index in 3..6 {
            contribute(&mut oracle, index, 2, &spec(1, 0)).unwrap();
            oracle.said(&agent(index), &vote(2, &survivors)).unwrap();
            let shares = (0..3).map(|subject| {
                let kind = if gone.contains(&subject) {
                    ShareKind::PairwiseKey
                } else {
                    ShareKind::SelfSeed
                };
                RevealedShare { subject: Slot(subject), kind, share: [1; 32] }
            });
            let shares = shares.collect();
            let reveal = Reveal { session: theirs, slot: Slot(0), shares, surplus: None };
            verdicts.push(oracle.said(&agent(index), &ToCoordinator::Reveal(sign(&reveal))));
        }
        // The third share opens agent 0's self mask and the keys of whoever is gone.
        assert!(verdicts[..2].iter().all(Result::is_ok), "{verdicts:?}");
        let seen = matches!(verdicts[2], Err(Failure::Readable { agents: 1, floor: 3, .. }));
        assert_eq!(seen, readable, "{verdicts:?}");
    }
}
