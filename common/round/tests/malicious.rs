//! Federations in which somebody lies. Each test is named after the attack that must fail.
#![allow(clippy::unwrap_used)]

mod support;

use std::{cell::RefCell, rc::Rc};

use chorale_round::{
    AdvertError, CertificateError, RosterError, SetError,
    agent::{self, Action, Blame, Fault, InclusionError, Machine, SurvivorsError},
    coordinator::{self, ContributionError, FaultKind},
};
use chorale_secagg::{EnvelopeContext, RoundShares, SecretScalar, envelope, shamir};
use chorale_wire::{
    AgentId, Digest, Epoch, Hashed, SecretKey, Signed, Slot, SlotSet, ToAgent, ToCoordinator,
    VotesError,
    message::{
        AbortCause, Advert, Complaint, EpochOpen, MaskedHeader, ProvenSurvivors, Roster,
        ShareEnvelope, SurvivorVote, Survivors,
    },
};
use rand_chacha::ChaCha20Rng;
use support::{
    COORDINATES, START_MS, World, agent_id, agent_key, authority, coordinator_key,
    liar::{Liar, story},
    membership, rng, rule, values,
};

const SIZE: usize = 6;

const ALL: [u16; SIZE] = [0, 1, 2, 3, 4, 5];

fn slots(set: &[u16]) -> SlotSet {
    SlotSet::from_slots(SIZE, set.iter().copied().map(Slot))
}

#[test]
fn model_inconsistency_gives_garbage_and_no_certificate() {
    let mut liar = Liar::new(SIZE);
    let one = liar.spec(1, 0);
    let mut other = one.clone();
    other.model = Digest::plain(b"another model");
    let mut sums: Vec<u64> = vec![0; COORDINATES];
    let mut sessions = Vec::new();
    let bits = one.derive(SIZE as u32).unwrap().modulus_bits;
    let modulus = chorale_secagg::Modulus::new(bits).unwrap();
    for to in 0..SIZE {
        let spec = if to < 3 { &one } else { &other };
        let digest = liar.open(to, spec).unwrap();
        let commit = liar.cohort(1, digest, &ALL);
        let (session, bytes) = liar.commit(to, &commit).unwrap();
        sessions.push(session);
        let vector = chorale_secagg::packing::unpack(&bytes, COORDINATES, modulus).unwrap();
        sums.iter_mut().zip(vector).for_each(|(sum, x)| *sum = sum.wrapping_add(x));
    }
    assert_ne!(sessions[0], sessions[5]);
    // No part of the coordinates is the plain sum: the pairwise masks did not cancel.
    let plain: Vec<i64> =
        (0..COORDINATES).map(|i| (0..SIZE).map(|agent| values(agent, 1)[i]).sum()).collect();
    let mask = (1u64 << bits) - 1;
    let hits = sums
        .iter()
        .zip(&plain)
        .filter(|(sum, plain)| **sum & mask == (**plain as u64) & mask)
        .count();
    assert!(hits <= 1, "{hits}");
    // Nor does anybody vote for survivors of whom some are locked to the other session.
    for (to, session) in (0..SIZE).map(|to| (to, sessions[to])) {
        let refused = liar.survivors(to, session, &ALL).unwrap_err();
        let first_of_other = agent_id(if to < 3 { 3 } else { 0 });
        assert!(
            matches!(
                &refused,
                Fault::Survivors(SurvivorsError::Inclusion {
                    agent,
                    source: InclusionError::Session { given },
                }) if *agent == first_of_other && *given != session
            ),
            "{}",
            story(&refused)
        );
        assert_eq!(refused.blame(), Blame::Coordinator);
    }
}

#[test]
fn survivors_without_the_right_headers_get_no_vote() {
    let (mut liar, session) = Liar::masked(SIZE, 1);
    let fixed = Signed::sign(&Survivors { session, survivors: slots(&ALL) }, &coordinator_key());
    let fixed = fixed.unwrap();
    let honest: Vec<_> = ALL.iter().map(|slot| liar.header(*slot, session)).collect();
    let mut say = |headers: &[Signed<MaskedHeader>]| {
        let proven = ProvenSurvivors { fixed: fixed.clone(), headers: headers.to_vec() };
        liar.say(0, ToAgent::Survivors(proven))
    };
    let refusal = |answer: Result<Vec<Action>, Fault>| match answer {
        Err(Fault::Survivors(error)) => error,
        other => panic!("{other:?}"),
    };
    let missing = refusal(say(&honest[..5]));
    assert!(matches!(missing, SurvivorsError::Headers { given: 5, expected: 6 }), "{missing}");
    let inclusion = |answer| match refusal(answer) {
        SurvivorsError::Inclusion { agent, source } => (agent, source),
        other => panic!("{other}"),
    };
    // Another agent's header in the place of agent 3's.
    let mut other = honest.clone();
    other[3] = honest[4].clone();
    let (agent, why) = inclusion(say(&other));
    assert!(matches!(why, InclusionError::Signature(_)), "{why}");
    assert_eq!(agent, agent_id(3));
    // Signed by agent 3, in the name of another slot.
    let mut header = honest[3].peek().unwrap();
    header.slot = Slot(2);
    other[3] = Signed::sign(&header, &agent_key(3)).unwrap();
    let (_, why) = inclusion(say(&other));
    assert!(matches!(why, InclusionError::Slot { given: Slot(2) }), "{why}");
    // In the agent's own place, with its own signature: not what it signed.
    let mut header = honest[0].peek().unwrap();
    header.digest = Digest::plain(b"another vector");
    let mut own = honest.clone();
    own[0] = Signed::sign(&header, &agent_key(0)).unwrap();
    let (agent, why) = inclusion(say(&own));
    assert!(matches!(why, InclusionError::NotOwn), "{why}");
    assert_eq!(agent, agent_id(0));
    // The state is as it was.
    assert!(matches!(say(&honest).unwrap()[..], [Action::Send(ToCoordinator::SurvivorVote(_))]));
}

#[test]
fn shrinking_the_survivors_is_refused() {
    let (mut liar, session) = Liar::masked(SIZE, 1);
    for set in [&[0u16, 1, 2][..], &[0], &[0, 1]] {
        let fault = liar.survivors(0, session, set).unwrap_err();
        assert!(story(&fault).contains("demands at least 4"), "{}", story(&fault));
        assert_eq!(fault.blame(), Blame::Coordinator);
    }
    // The state is unchanged: the honest set still gets a vote.
    liar.survivors(0, session, &ALL).unwrap();
}

#[test]
fn survivors_without_the_agent_itself_are_refused() {
    let (mut liar, session) = Liar::masked(SIZE, 1);
    let fault = liar.survivors(0, session, &[1, 2, 3, 4, 5]).unwrap_err();
    assert!(story(&fault).contains("not among the survivors"));
}

#[test]
fn survivors_outside_the_cohort_are_refused() {
    let mut liar = Liar::new(SIZE);
    let spec = liar.spec(1, 0);
    let digest = liar.open(0, &spec).unwrap();
    let commit = liar.cohort(1, digest, &[0, 1, 2, 3, 4]);
    let (session, _) = liar.commit(0, &commit).unwrap();
    let fault = liar.survivors(0, session, &ALL).unwrap_err();
    assert!(story(&fault).contains("not a subset of the cohort"));
}

#[test]
fn a_second_survivor_set_for_the_same_session_is_refused() {
    let (mut liar, session) = Liar::masked(SIZE, 1);
    let vote = liar.survivors(0, session, &ALL).unwrap();
    let second = liar.survivors(0, session, &[0, 1, 2, 3, 4]);
    assert!(matches!(second, Err(Fault::Second { .. })));
    // A repetition gets the same vote, byte for byte.
    assert_eq!(liar.survivors(0, session, &ALL).unwrap(), vote);
}

#[test]
fn both_shares_of_one_agent_are_never_given() {
    let (mut liar, session) = Liar::masked(SIZE, 1);
    let votes: Vec<_> = (0..SIZE).map(|to| liar.survivors(to, session, &ALL).unwrap()).collect();
    let reveal = liar.certificate(0, session, &ALL, &votes).unwrap();
    let ToCoordinator::Reveal(signed) = &reveal else {
        panic!("{reveal:?}");
    };
    let content = signed.peek().unwrap();
    let subjects: Vec<u16> = content.shares.iter().map(|share| share.subject.0).collect();
    assert_eq!(subjects, [1, 2, 3, 4, 5]);
    assert!(
        content.shares.iter().all(|share| share.kind == chorale_wire::message::ShareKind::SelfSeed)
    );
    // Another set, to get the pairwise shares of agent 5: no second vote, no second reveal.
    let signed = Signed::sign(
        &Survivors { session, survivors: slots(&[0, 1, 2, 3, 4]) },
        &coordinator_key(),
    )
    .unwrap();
    let proven = ProvenSurvivors { fixed: signed, headers: Vec::new() };
    let second = liar.say(0, ToAgent::Survivors(proven));
    assert!(matches!(second, Err(Fault::Second { .. })));
    let forged: Vec<_> = (0..5)
        .map(|index| {
            let vote = SurvivorVote {
                session,
                slot: Slot(index),
                vote: chorale_wire::message::Vote::Survivors(slots(&[0, 1, 2, 3, 4])),
            };
            Signed::sign(&vote, &agent_key(usize::from(index))).unwrap()
        })
        .collect();
    let again = liar.certificate(0, session, &[0, 1, 2, 3, 4], &forged).unwrap();
    assert_eq!(again, reveal);
    // An agent that has voted for all reveals nothing on votes for fewer, even genuine ones.
    let other = liar.certificate(1, session, &[0, 1, 2, 3, 4], &forged).unwrap_err();
    assert!(story(&other).contains("for other survivors"));
    liar.certificate(1, session, &ALL, &votes).unwrap();
}

#[test]
fn forged_or_repeated_votes_make_no_certificate() {
    let (mut liar, session) = Liar::masked(SIZE, 1);
    let vote = liar.survivors(0, session, &ALL).unwrap();
    let forged: Vec<_> = (0..4u16)
        .map(|index| {
            let vote = SurvivorVote {
                session,
                slot: Slot(index),
                vote: chorale_wire::message::Vote::Survivors(slots(&ALL)),
            };
            Signed::sign(&vote, &coordinator_key()).unwrap()
        })
        .collect();
    let fault = liar.certificate(0, session, &ALL, &forged).unwrap_err();
    assert!(story(&fault).contains("not signed by its certified identity"));
    let fault = liar.certificate(0, session, &ALL, &vec![vote; 4]).unwrap_err();
    assert!(matches!(
        fault,
        Fault::Reveal(agent::RevealError::Certificate(CertificateError::Votes(VotesError::Order)))
    ));
}

#[test]
fn a_second_cohort_for_the_same_round_is_refused() {
    let mut liar = Liar::new(SIZE);
    let spec = liar.spec(1, 0);
    let digest = liar.open(0, &spec).unwrap();
    let commit = liar.cohort(1, digest, &ALL);
    liar.commit(0, &commit).unwrap();
    let other = liar.cohort(1, digest, &[0, 1, 2, 3, 4]);
    assert!(matches!(liar.commit(0, &other), Err(Fault::Second { .. })));
}

#[test]
fn a_small_or_foreign_cohort_is_refused() {
    let mut liar = Liar::new(SIZE);
    let spec = liar.spec(1, 0);
    let digest = liar.open(0, &spec).unwrap();
    let small = liar.cohort(1, digest, &[0, 1, 2]);
    assert!(matches!(
        liar.commit(0, &small),
        Err(Fault::Commit(agent::CommitError::Cohort(SetError::TooSmall { given: 3, needed: 4 })))
    ));
    let without = liar.cohort(1, digest, &[1, 2, 3, 4, 5]);
    assert!(matches!(
        liar.commit(0, &without),
        Err(Fault::Commit(agent::CommitError::NotInCohort))
    ));
    let other_spec = liar.cohort(1, Digest::plain(b"other"), &ALL);
    assert!(matches!(
        liar.commit(0, &other_spec),
        Err(Fault::Commit(agent::CommitError::Elsewhere))
    ));
    let honest = liar.cohort(1, digest, &ALL);
    let forged = Signed::sign(&honest, &agent_key(3)).unwrap();
    assert!(matches!(
        liar.say(0, ToAgent::Commit(forged)),
        Err(Fault::Commit(agent::CommitError::Signature(_)))
    ));
    liar.commit(0, &honest).unwrap();
}

#[test]
fn replayed_rounds_and_keys_are_refused() {
    let mut liar = Liar::new(SIZE);
    liar.open(0, &liar.spec(7, 0)).unwrap();
    let mut replay = liar.spec(7, 1);
    replay.model = Digest::plain(b"other");
    assert!(matches!(liar.open(0, &replay), Err(Fault::Open(agent::OpenError::Replay { .. }))));
    assert!(matches!(
        liar.open(0, &liar.spec(6, 1)),
        Err(Fault::Open(agent::OpenError::Replay { .. }))
    ));
    assert!(matches!(
        liar.open(0, &liar.spec(8, 0)),
        Err(Fault::Open(agent::OpenError::KeyUsed { .. }))
    ));
    assert!(matches!(
        liar.open(0, &liar.spec(8, 4)),
        Err(Fault::Open(agent::OpenError::KeyUsed { .. }))
    ));
    assert_eq!(liar.agents[0].0.round(), Some(chorale_wire::RoundNumber(7)));
    liar.open(0, &liar.spec(8, 1)).unwrap();
}

#[test]
fn weaker_rules_than_the_epochs_are_refused() {
    let mut liar = Liar::new(SIZE);
    let mut spec = liar.spec(1, 0);
    spec.plan.cohort.survivors_min = 3;
    assert!(story(&liar.open(0, &spec).unwrap_err()).contains("survivors"));
    let mut spec = liar.spec(1, 0);
    spec.plan.cohort.enrolled = 5;
    assert!(story(&liar.open(0, &spec).unwrap_err()).contains("enrolled"));
    let mut spec = liar.spec(1, 0);
    spec.plan.cohort.corrupt = 0;
    assert!(story(&liar.open(0, &spec).unwrap_err()).contains("corrupt"));
    let mut spec = liar.spec(1, 0);
    spec.federation = chorale_wire::FederationId::new("other").unwrap();
    assert!(story(&liar.open(0, &spec).unwrap_err()).contains("federation"));
}

/// Fresh machines that have advertised epoch 1, and their adverts.
fn advertised() -> (Vec<(Machine, ChaCha20Rng)>, Vec<Signed<Advert>>) {
    let open = EpochOpen { federation: support::federation(), epoch: Epoch(1), rounds: 2 };
    let open = Signed::sign(&open, &coordinator_key()).unwrap();
    (0..SIZE)
        .map(|index| {
            let mut machine = Machine::new(support::identity(index, SIZE), None, None);
            let mut rng = rng(index as u64);
            let message = ToAgent::EpochOpen(open.clone());
            let mut actions = machine.handle(message, START_MS, &mut rng).unwrap();
            let Some(Action::Send(ToCoordinator::Advert(advert))) = actions.pop() else {
                panic!("no advert");
            };
            ((machine, rng), advert)
        })
        .unzip()
}

fn refuse_roster(adverts: Vec<Signed<Advert>>, machine: &mut (Machine, ChaCha20Rng)) -> Fault {
    let roster = Roster { epoch: Epoch(1), survivors_min: rule(SIZE).survivors_min, adverts };
    let (machine, rng) = machine;
    machine.handle(ToAgent::Roster(roster), START_MS, rng).unwrap_err()
}

#[test]
fn swapped_public_keys_in_the_roster_are_noticed() {
    let (mut agents, adverts) = advertised();
    let mut swapped = adverts[1].peek().unwrap();
    let (_, _, keys) =
        chorale_secagg::EpochSecrets::generate(&mut rng(99), 2).unwrap().advert_parts();
    swapped.rounds = keys;
    // The coordinator cannot sign for agent 1.
    let mut forged = adverts.clone();
    forged[1] = Signed::sign(&swapped, &coordinator_key()).unwrap();
    let fault = refuse_roster(forged, &mut agents[0]);
    assert!(story(&fault).contains("store-01"), "{}", story(&fault));
    assert!(story(&fault).contains("not signed by the certified identity"));
    // Even agent 1 itself sees another advert than the one that it sent.
    let mut resigned = adverts.clone();
    resigned[1] = Signed::sign(&swapped, &agent_key(1)).unwrap();
    assert!(matches!(
        refuse_roster(resigned, &mut agents[1]),
        Fault::Roster(agent::RosterRefused::Roster(RosterError::OwnEntry))
    ));
    // The honest roster is still accepted.
    let roster = Roster { epoch: Epoch(1), survivors_min: rule(SIZE).survivors_min, adverts };
    let (machine, rng) = &mut agents[0];
    machine.handle(ToAgent::Roster(roster), START_MS, rng).unwrap();
}

#[test]
fn a_second_roster_for_an_epoch_number_is_refused() {
    let (mut agents, adverts) = advertised();
    let (machine, rng) = &mut agents[0];
    let roster = |adverts: &[Signed<Advert>]| {
        ToAgent::Roster(Roster {
            epoch: Epoch(1),
            survivors_min: rule(SIZE).survivors_min,
            adverts: adverts.to_vec(),
        })
    };
    machine.handle(roster(&adverts), START_MS, rng).unwrap();
    assert!(matches!(
        machine.handle(roster(&adverts[..5]), START_MS, rng),
        Err(Fault::Second { .. })
    ));
    // Neither by opening the same or an older epoch number again.
    let open = EpochOpen { federation: support::federation(), epoch: Epoch(1), rounds: 2 };
    let open = Signed::sign(&open, &coordinator_key()).unwrap();
    assert!(matches!(
        machine.handle(ToAgent::EpochOpen(open), START_MS, rng),
        Err(Fault::Advertise(agent::AdvertiseError::Stale { .. }))
    ));
}

#[test]
fn sybils_that_the_authority_does_not_know_are_refused() {
    let (mut agents, mut adverts) = advertised();
    let mut sybil = adverts[5].peek().unwrap();
    let mut claim = membership(5, SIZE);
    claim.identity = agent_key(9).public();
    sybil.membership = Signed::sign(&claim, &coordinator_key()).unwrap();
    adverts[5] = Signed::sign(&sybil, &agent_key(9)).unwrap();
    let fault = refuse_roster(adverts, &mut agents[0]);
    assert!(matches!(
        &fault,
        Fault::Roster(agent::RosterRefused::Roster(RosterError::Advert {
            source: AdvertError::Membership(_),
            ..
        }))
    ));
    assert!(story(&fault).contains("pinned enrolment authority"));
}

#[test]
fn one_agent_in_two_places_is_refused() {
    let (mut agents, mut adverts) = advertised();
    adverts[5] = adverts[4].clone();
    assert!(matches!(
        refuse_roster(adverts.clone(), &mut agents[0]),
        Fault::Roster(agent::RosterRefused::Roster(RosterError::Order { .. }))
    ));
    // Two names over the same keys.
    let mut copy = adverts[4].peek().unwrap();
    copy.agent = agent_id(5);
    copy.membership = Signed::sign(&membership(5, SIZE), &authority()).unwrap();
    adverts[5] = Signed::sign(&copy, &agent_key(5)).unwrap();
    assert!(matches!(
        refuse_roster(adverts, &mut agents[0]),
        Fault::Roster(agent::RosterRefused::Roster(RosterError::Reused { .. }))
    ));
}

#[test]
fn low_order_keys_are_refused_by_agents_and_coordinator() {
    let (mut agents, mut adverts) = advertised();
    let mut weak = adverts[5].peek().unwrap();
    weak.rounds[1].pairwise = [0; 32];
    adverts[5] = Signed::sign(&weak, &agent_key(5)).unwrap();
    assert!(matches!(
        refuse_roster(adverts, &mut agents[0]),
        Fault::Roster(agent::RosterRefused::Roster(RosterError::Advert {
            source: AdvertError::Key(_),
            ..
        }))
    ));

    let mut world = World::new(SIZE, 1);
    world.forge = Some(Box::new(|index, message| match message {
        ToCoordinator::Advert(advert) if index == 5 => {
            let mut weak = advert.peek().unwrap();
            weak.rounds[0].pairwise = [0; 32];
            vec![ToCoordinator::Advert(Signed::sign(&weak, &agent_key(5)).unwrap())]
        }
        other => vec![other],
    }));
    world.run_all();
    world.assert_at_rest();
    assert_eq!(world.excluded[0].0, agent_id(5));
    assert_eq!(world.completed[0].agents.len(), 5);
}

#[test]
fn another_tls_key_than_the_certified_one_keeps_an_agent_out() {
    let mut world = World::new(SIZE, 1);
    for index in 0..SIZE {
        world.connect(index);
    }
    world.coordinator.connected(&agent_id(2), Some(Digest::plain(b"other key")));
    let hello = world.nodes[2].machine.hello(None);
    let actions = world.coordinator.handle(&agent_id(2), hello, START_MS);
    world.act(actions);
    world.open_epoch();
    world.run();
    world.assert_at_rest();
    assert_eq!(world.excluded[0].0, agent_id(2));
    assert!(world.faults.iter().any(|fault| matches!(fault.kind, FaultKind::TlsKey)));
}

/// The holder of an older certificate of an agent that was enrolled anew comes in mid-epoch.
#[test]
fn another_tls_key_in_mid_epoch_speaks_for_nobody() {
    let mut world = World::new(SIZE, 2);
    world.hold_uploads = true;
    for index in 0..SIZE {
        world.connect(index);
    }
    world.settle_queue();
    world.open_epoch();
    world.settle_queue();
    assert_eq!(world.coordinator.phase(), "waiting for masked vectors");
    let stale = |world: &mut World| {
        world.coordinator.connected(&agent_id(2), Some(Digest::plain(b"older key")));
    };
    stale(&mut world);
    // Without keys, as if the agent had restarted, and with the epoch's.
    let with_keys = world.nodes[2].machine.hello(None);
    let ToCoordinator::Hello(mut hello) = with_keys.clone() else { unreachable!() };
    hello.epoch = None;
    for hello in [ToCoordinator::Hello(hello), with_keys] {
        let actions = world.coordinator.handle(&agent_id(2), hello, START_MS);
        assert!(
            matches!(
                &actions[..],
                [coordinator::Action::Fault(fault)]
                    if fault.agent == agent_id(2) && matches!(fault.kind, FaultKind::TlsKey)
            ),
            "{actions:?}"
        );
    }
    assert!(world.coordinator.able_agents().all(|agent| *agent != agent_id(2)));
    // Nothing that comes on that connection counts.
    let accepted = ToCoordinator::SharesAccepted(Epoch(1));
    let actions = world.coordinator.handle(&agent_id(2), accepted, START_MS);
    assert!(
        matches!(
            &actions[..],
            [coordinator::Action::Fault(fault)]
                if matches!(fault.kind, FaultKind::BeforeHello { .. })
        ),
        "{actions:?}"
    );
    // The agent itself comes back with its certified key, and the epoch goes on with it.
    world.connect(2);
    world.hold_uploads = false;
    world.settle_queue();
    for (index, header, bytes) in std::mem::take(&mut world.held_uploads) {
        let vector = Hashed::of(bytes);
        let actions = world.coordinator.upload(&agent_id(index), &header, &vector, world.now_ms);
        world.act(actions);
    }
    world.run();
    world.assert_at_rest();
    assert!(world.completed.iter().all(|completed| completed.agents.len() == SIZE));
    assert_eq!(world.completed.len(), 2);
    // An agent that was enrolled anew waits for the next epoch, and is asked to it.
    stale(&mut world);
    let hello = ToCoordinator::Hello(chorale_wire::message::Hello {
        federation: support::federation(),
        agent: agent_id(2),
        epoch: None,
        model: None,
    });
    world.coordinator.handle(&agent_id(2), hello, world.now_ms);
    assert!(world.coordinator.connected_agents().any(|agent| *agent == agent_id(2)));
    let everybody = (0..SIZE).map(agent_id).collect();
    let actions = world.coordinator.open_epoch(everybody, 1, world.now_ms).unwrap();
    let asked = actions.iter().any(|action| {
        matches!(
            action,
            coordinator::Action::Broadcast(agents, ToAgent::EpochOpen(_))
                if agents.contains(&agent_id(2))
        )
    });
    assert!(asked, "{actions:?}");
}

#[test]
fn tampered_envelopes_name_their_dealer() {
    let mut world = World::new(SIZE, 1);
    world.forge = Some(Box::new(|index, message| match message {
        ToCoordinator::Shares(envelopes) if index == 2 => {
            let bent = envelopes.iter().map(|signed| {
                let mut envelope = signed.peek().unwrap();
                envelope.sealed[7] ^= 1;
                Signed::sign(&envelope, &agent_key(2)).unwrap()
            });
            vec![ToCoordinator::Shares(bent.collect())]
        }
        other => vec![other],
    }));
    world.run_all();
    world.assert_at_rest();
    assert_eq!(world.excluded.len(), 1);
    assert_eq!(world.excluded[0].0, agent_id(2));
    assert_eq!(world.epochs[0].0, Epoch(2));
    assert_eq!(world.completed[0].agents.len(), 5);
}

#[test]
fn a_false_complaint_costs_the_liar_its_place() {
    let mut world = World::new(SIZE, 1);
    let inbox: Rc<RefCell<Vec<Signed<ShareEnvelope>>>> = Rc::default();
    let seen = inbox.clone();
    world.tamper = Some(Box::new(move |index, message| {
        if let (3, ToAgent::Shares(envelopes)) = (index, &message) {
            *seen.borrow_mut() = envelopes.clone();
        }
        message
    }));
    world.forge = Some(Box::new(move |index, message| match message {
        ToCoordinator::SharesAccepted(epoch) if index == 3 && epoch == Epoch(1) => {
            let complaint = Complaint {
                epoch,
                from: Slot(3),
                dealer: Slot(0),
                evidence: inbox.borrow()[0].clone(),
            };
            let signed = Signed::sign(&complaint, &agent_key(3)).unwrap();
            vec![ToCoordinator::Complaint(signed)]
        }
        other => vec![other],
    }));
    world.run_all();
    world.assert_at_rest();
    let excluded: Vec<&AgentId> = world.excluded.iter().map(|(agent, _)| agent).collect();
    assert_eq!(excluded, [&agent_id(0), &agent_id(3)]);
    assert_eq!(world.completed[0].agents.len(), 4);
}

#[test]
fn complaints_about_everybody_cost_nobody_but_the_liar() {
    let mut world = World::new(SIZE, 1);
    let inbox: Rc<RefCell<Vec<Signed<ShareEnvelope>>>> = Rc::default();
    let seen = inbox.clone();
    world.tamper = Some(Box::new(move |index, message| {
        if let (3, ToAgent::Shares(envelopes)) = (index, &message) {
            *seen.borrow_mut() = envelopes.clone();
        }
        message
    }));
    world.forge = Some(Box::new(move |index, message| match message {
        ToCoordinator::SharesAccepted(epoch) if index == 3 => {
            let complain = |evidence: &Signed<ShareEnvelope>| {
                let dealer = evidence.peek().unwrap().from;
                let evidence = evidence.clone();
                let complaint = Complaint { epoch, from: Slot(3), dealer, evidence };
                ToCoordinator::Complaint(Signed::sign(&complaint, &agent_key(3)).unwrap())
            };
            inbox.borrow().iter().map(complain).collect()
        }
        other => vec![other],
    }));
    world.run_all();
    world.assert_at_rest();
    // Five complaints of one agent: the first four that contradict it are faults of the liar.
    let excluded: Vec<&AgentId> = world.excluded.iter().map(|(agent, _)| agent).collect();
    assert_eq!(excluded, [&agent_id(3)]);
    let faults: Vec<_> = world.faults.iter().map(|fault| (&fault.agent, story(fault))).collect();
    assert_eq!(faults.len(), 4, "{faults:?}");
    for (agent, what) in faults {
        assert_eq!(*agent, agent_id(3));
        assert!(what.contains("two different messages of kind complaint"), "{what}");
    }
    assert_eq!(world.epochs[0].0, Epoch(2));
    assert_eq!(world.completed[0].agents.len(), SIZE - 1);
}

#[test]
fn altered_shares_are_found_and_the_sum_stays_exact() {
    let mut world = World::new(SIZE, 1);
    world.forge = Some(Box::new(|index, message| match message {
        ToCoordinator::Reveal(reveal) if index == 0 || index == 3 => {
            let mut bent = reveal.peek().unwrap();
            for share in &mut bent.shares {
                share.share[3] ^= 0x11;
            }
            let signed = Signed::sign(&bent, &agent_key(index)).unwrap();
            vec![ToCoordinator::Reveal(signed)]
        }
        other => vec![other],
    }));
    world.run_all();
    world.assert_at_rest();
    assert_eq!(world.completed.len(), 1);
    let mut blamed: Vec<&AgentId> = world
        .faults
        .iter()
        .filter(|fault| matches!(fault.kind, FaultKind::Share { .. }))
        .map(|fault| &fault.agent)
        .collect();
    blamed.dedup();
    blamed.sort();
    blamed.dedup();
    assert_eq!(blamed, [&agent_id(0), &agent_id(3)]);
}

#[test]
fn altered_shares_are_found_when_an_agent_dropped_out_too() {
    let mut world = World::new(SIZE, 1);
    // Agent 1 dies after READY, so that both kinds of secrets are reconstructed.
    world.breaks = Some(support::Break { agent: 1, after: 6, sending: true, returns: false });
    world.forge = Some(Box::new(|index, message| match message {
        ToCoordinator::Reveal(reveal) if index == 0 => {
            let mut bent = reveal.peek().unwrap();
            for share in &mut bent.shares {
                share.share[3] ^= 0x11;
            }
            let signed = Signed::sign(&bent, &agent_key(index)).unwrap();
            vec![ToCoordinator::Reveal(signed)]
        }
        other => vec![other],
    }));
    world.run_all();
    world.assert_at_rest();
    let completed = &world.completed[0];
    assert_eq!((completed.cohort.len(), completed.agents.len()), (6, 5));
    assert!(world.faults.iter().all(|fault| fault.agent == agent_id(0)));
    assert!(!world.faults.is_empty());
}

#[test]
fn a_share_of_the_wrong_secret_is_refused() {
    let mut world = World::new(SIZE, 1);
    world.forge = Some(Box::new(|index, message| match message {
        ToCoordinator::Reveal(reveal) if index == 0 => {
            let mut bent = reveal.peek().unwrap();
            bent.shares[0].kind = chorale_wire::message::ShareKind::PairwiseKey;
            let signed = Signed::sign(&bent, &agent_key(index)).unwrap();
            vec![ToCoordinator::Reveal(signed)]
        }
        other => vec![other],
    }));
    world.run_all();
    world.assert_at_rest();
    assert_eq!(world.completed.len(), 1);
    assert!(matches!(world.faults[0].kind, FaultKind::Reveal(coordinator::RevealError::Kind)));
}

#[test]
fn too_many_altered_shares_abort_and_never_give_a_wrong_sum() {
    let mut world = World::new(SIZE, 1);
    world.forge = Some(Box::new(|index, message| match message {
        ToCoordinator::Reveal(reveal) if index < 4 => {
            let mut bent = reveal.peek().unwrap();
            for share in &mut bent.shares {
                share.share[3] ^= 0x11;
            }
            let signed = Signed::sign(&bent, &agent_key(index)).unwrap();
            vec![ToCoordinator::Reveal(signed)]
        }
        other => vec![other],
    }));
    world.run_all();
    world.assert_at_rest();
    assert!(world.completed.is_empty());
    assert_eq!(world.aborted[0].1, AbortCause::Shares);
}

#[test]
fn a_dealer_of_malformed_shares_is_named_at_the_reveal() {
    let mut world = World::new(SIZE, 1);
    let roster: Rc<RefCell<Vec<[u8; 32]>>> = Rc::default();
    let seen = roster.clone();
    world.tamper = Some(Box::new(move |_, message| {
        if let ToAgent::Roster(roster) = &message {
            let keys = roster.adverts.iter().map(|advert| advert.peek().unwrap().hpke);
            *seen.borrow_mut() = keys.collect();
        }
        message
    }));
    world.forge = Some(Box::new(move |index, message| match message {
        ToCoordinator::Shares(envelopes) if index == 2 => {
            vec![ToCoordinator::Shares(junk_shares(&envelopes, &roster.borrow()))]
        }
        other => vec![other],
    }));
    world.run_all();
    world.assert_at_rest();
    assert!(world.completed.is_empty());
    let (_, cause, blamed) = &world.aborted[0];
    assert_eq!(*cause, AbortCause::Shares);
    assert_eq!(blamed[0].0, agent_id(2));
}

/// Envelopes of agent 2 with well-formed shares of something else.
fn junk_shares(
    envelopes: &[Signed<ShareEnvelope>],
    hpke: &[[u8; 32]],
) -> Vec<Signed<ShareEnvelope>> {
    let mut random = rng(1234);
    let reseal = |signed: &Signed<ShareEnvelope>| {
        let mut message = signed.peek().unwrap();
        let context = EnvelopeContext {
            epoch: message.epoch,
            roster: message.roster,
            graph_seed: message.graph_seed,
            from: message.from,
            to: message.to,
            threshold: rule(SIZE).share_threshold(SIZE as u32),
        };
        let secret = SecretScalar::random(&mut random);
        let mut shares = shamir::split(&secret, 1, &[1, 2], &mut random).unwrap();
        let junk = RoundShares { key: shares.pop().unwrap(), seed: shares.pop().unwrap() };
        let plaintext = envelope::encode_shares(&[junk]);
        let key = &hpke[message.to.index()];
        let (encapsulated, sealed) =
            envelope::seal(key, &context, &plaintext, &mut random).unwrap();
        message.encapsulated = encapsulated;
        message.sealed = sealed;
        Signed::sign(&message, &agent_key(2)).unwrap()
    };
    envelopes.iter().map(reseal).collect()
}

#[test]
fn duplicate_second_foreign_and_late_vectors() {
    let mut world = World::new(SIZE, 1);
    for index in 0..SIZE {
        world.connect(index);
    }
    world.settle_queue();
    // The agents' uploads are held back: the test uploads for them.
    world.hold_uploads = true;
    world.open_epoch();
    world.settle_queue();
    let uploads = std::mem::take(&mut world.held_uploads);
    assert_eq!(uploads.len(), SIZE);
    let length = uploads[0].2.len();
    let now_ms = world.now_ms;
    let upload = |world: &mut World, as_agent: usize, key: &SecretKey, bytes: Vec<u8>, slot| {
        let header = MaskedHeader {
            session: world.coordinator.receiving().unwrap().session(),
            slot,
            length: bytes.len() as u64,
            digest: Digest::plain(&bytes),
            noise: None,
        };
        let header = Signed::sign(&header, key).unwrap();
        let actions =
            world.coordinator.upload(&agent_id(as_agent), &header, &Hashed::of(bytes), now_ms);
        world.act(actions);
        world.faults.pop().map(|fault| match fault.kind {
            FaultKind::Contribution(error) => error,
            other => panic!("{other}"),
        })
    };
    let (index, _, bytes) = &uploads[0];
    let own = agent_key(*index);
    let slot = Slot(*index as u16);
    assert!(matches!(
        upload(&mut world, *index, &agent_key(4), bytes.clone(), slot),
        Some(ContributionError::Signature(_))
    ));
    assert!(matches!(
        upload(&mut world, *index, &own, bytes.clone(), Slot(5)),
        Some(ContributionError::Elsewhere)
    ));
    assert!(matches!(
        upload(&mut world, *index, &own, vec![0; length + 1], slot),
        Some(ContributionError::Length { .. })
    ));
    assert!(upload(&mut world, *index, &own, bytes.clone(), slot).is_none());
    assert!(upload(&mut world, *index, &own, bytes.clone(), slot).is_none());
    assert!(matches!(
        upload(&mut world, *index, &own, vec![0; length], slot),
        Some(ContributionError::Second)
    ));
    for (index, header, bytes) in &uploads[1..5] {
        let actions =
            world.coordinator.upload(&agent_id(*index), header, &Hashed::of(bytes.clone()), now_ms);
        world.act(actions);
    }
    let deadline_ms = world.coordinator.poll_deadline(now_ms).unwrap();
    let (index, header, bytes) = &uploads[5];
    let actions = world.coordinator.upload(
        &agent_id(*index),
        header,
        &Hashed::of(bytes.clone()),
        deadline_ms,
    );
    world.act(actions);
    assert!(matches!(
        world.faults.pop().unwrap().kind,
        FaultKind::Contribution(ContributionError::Late)
    ));
    world.now_ms = deadline_ms;
    world.run();
    world.assert_at_rest();
    assert_eq!(world.completed[0].agents.len(), 5);
}

#[test]
fn messages_of_strangers_and_before_hello_are_dropped() {
    let mut world = World::new(SIZE, 1);
    world.connect(0);
    world.settle_queue();
    let stranger = AgentId::new("stranger").unwrap();
    let accepted = ToCoordinator::SharesAccepted(Epoch(1));
    let actions = world.coordinator.handle(&stranger, accepted.clone(), START_MS);
    world.act(actions);
    let hello = world.nodes[1].machine.hello(None);
    world.coordinator.connected(&stranger, None);
    let actions = world.coordinator.handle(&stranger, hello, START_MS);
    world.act(actions);
    let actions = world.coordinator.handle(&agent_id(0), accepted, START_MS);
    world.act(actions);
    let kinds: Vec<&FaultKind> = world.faults.iter().map(|fault| &fault.kind).collect();
    assert!(matches!(
        kinds[..],
        [FaultKind::BeforeHello { .. }, FaultKind::Hello, FaultKind::OutOfPhase { .. }]
    ));
}
