//! Rounds that are aborted after vectors left, with a coordinator that is honest, unlucky or a
//! liar. Each attack test is named after the attack that must fail.
#![allow(clippy::unwrap_used)]

mod support;

use chorale_round::{
    SetError,
    agent::{self, AbortError, Action, EndError, Fault, RoundEnd},
    coordinator::FaultKind,
};
use chorale_wire::{
    AgentId, Digest, Electorate, RoundNumber, SessionId, Signed, Slot, ToAgent, ToCoordinator,
    VotesError,
    message::{AbortCause, AbortCertificate, SurvivorVote, Vote},
};
use support::{
    World, agent_id, agent_key, coordinator_key, identity,
    liar::{Liar, signatures, story},
    rule,
};

const SIZE: usize = 6;

/// T for [`SIZE`] agents of whom one may be corrupt.
const VOTES_MIN: usize = 4;

/// A federation in whose first round every vector left its agent and none arrived.
fn vectors_on_the_way(rounds: u64) -> World {
    let mut world = World::new(SIZE, rounds);
    for index in 0..SIZE {
        world.connect(index);
    }
    world.settle_queue();
    world.hold_uploads = true;
    world.open_epoch();
    world.settle_queue();
    world.hold_uploads = false;
    assert_eq!(world.held_uploads.len(), SIZE);
    world
}

/// The coordinator's upload deadline passes.
fn pass_deadline(world: &mut World) {
    world.now_ms = world.coordinator.poll_deadline(world.now_ms).unwrap();
    let actions = world.coordinator.tick(world.now_ms);
    world.act(actions);
}

fn electorate(size: usize) -> Electorate {
    let keys = (0..size).map(|index| agent_key(index).public()).collect();
    Electorate::new(keys, rule(size).votes_min(size as u32) as u16).unwrap()
}

#[test]
fn an_aborted_round_is_certified_and_the_epoch_goes_on() {
    let mut world = vectors_on_the_way(2);
    pass_deadline(&mut world);
    world.run();
    world.assert_at_rest();
    assert_eq!(world.aborted, [(RoundNumber(1), AbortCause::Survivors, Vec::new())]);
    let certified = &world.certified[0];
    assert_eq!((certified.cohort.len(), certified.votes.len()), (SIZE, VOTES_MIN));
    // The next round came from the same epoch, and everybody is in it.
    assert_eq!((world.epochs.len(), world.completed.len()), (1, 1));
    assert_eq!(world.completed[0].agents.len(), SIZE);
    assert!(world.faults.is_empty(), "{:?}", world.faults);
    for node in &world.nodes {
        assert!(node.faults.is_empty(), "{:?}", node.faults);
        let proof = &node.certified[0];
        assert_eq!((proof.session(), proof.electorate()), node.masked[0]);
        assert_eq!(proof.session(), certified.session);
    }
    // What the auditor is given is what the agents signed.
    let ballot = |agent: &AgentId| {
        let index = (0..SIZE).find(|index| agent_id(*index) == *agent).unwrap();
        SurvivorVote { session: certified.session, slot: Slot(index as u16), vote: Vote::Abort }
    };
    for (agent, signature) in &certified.votes {
        let index = usize::from(ballot(agent).slot.0);
        let vote = Signed::with_signature(&ballot(agent), *signature).unwrap();
        vote.verify(&agent_key(index).public()).unwrap();
    }
}

#[test]
fn an_operators_stop_after_the_cohort_is_voted_on_first() {
    let mut world = vectors_on_the_way(1);
    let actions = world.coordinator.abort_round("maintenance", world.now_ms);
    world.act(actions);
    assert!(world.aborted.is_empty());
    assert_eq!(world.coordinator.phase(), "waiting for votes to abort");
    world.settle_queue();
    world.assert_at_rest();
    assert_eq!(world.aborted[0].1, AbortCause::Stopped);
    assert_eq!(world.certified.len(), 1);
    assert!(world.nodes.iter().all(|node| node.certified.len() == 1));
}

#[test]
fn agents_that_come_back_in_time_complete_the_certificate() {
    let mut world = vectors_on_the_way(1);
    for index in 0..3 {
        world.disconnect(index);
    }
    while world.coordinator.phase() != "waiting for votes to abort" {
        pass_deadline(&mut world);
    }
    world.settle_queue();
    assert!(world.aborted.is_empty(), "three votes are not enough, and others may come back");
    world.connect(1);
    world.settle_queue();
    assert_eq!((world.aborted.len(), world.certified.len()), (1, 1));
    // Whoever comes back later gets it too, whether it kept its keys or not.
    let restarted = agent::Machine::new(identity(2, SIZE), None, Some(RoundNumber(1)));
    world.nodes[2].machine = restarted;
    for index in [0, 2] {
        world.connect(index);
        world.settle_queue();
        let proof = &world.nodes[index].certified[0];
        assert_eq!((proof.session(), proof.electorate()), world.nodes[index].masked[0]);
    }
    assert_eq!(world.nodes[0].aborted, [(RoundNumber(1), RoundEnd::Certified)]);
    world.assert_at_rest();
}

#[test]
fn without_enough_votes_there_is_no_certificate() {
    let mut world = vectors_on_the_way(1);
    for index in 0..3 {
        world.disconnect(index);
        world.nodes[index].dead = true;
    }
    world.run();
    world.assert_at_rest();
    assert_eq!((world.aborted.len(), world.certified.len()), (1, 0));
    assert!(world.nodes.iter().all(|node| node.certified.is_empty()));
    // Agents that lost their keys cannot vote: nobody waits when too few others are left.
    let mut world = vectors_on_the_way(1);
    let start_ms = world.now_ms;
    for index in 0..3 {
        world.disconnect(index);
        world.nodes[index].machine =
            agent::Machine::new(identity(index, SIZE), None, Some(RoundNumber(1)));
        world.connect(index);
    }
    world.settle_queue();
    let actions = world.coordinator.abort_round("maintenance", start_ms);
    world.act(actions);
    world.settle_queue();
    assert_eq!((world.aborted.len(), world.certified.len()), (1, 0));
}

#[test]
fn after_the_survivor_certificate_nobody_is_asked_to_abort() {
    let mut world = World::new(SIZE, 1);
    world.forge = Some(Box::new(|_, message| match message {
        ToCoordinator::Reveal(_) => Vec::new(),
        other => vec![other],
    }));
    world.tamper = Some(Box::new(|_, message| {
        if let ToAgent::Abort(abort) = &message {
            assert!(abort.peek().unwrap().ballot.is_none());
        }
        message
    }));
    world.run_all();
    world.assert_at_rest();
    assert_eq!(world.aborted[0].1, AbortCause::Shares);
    assert!(world.certified.is_empty());
    assert!(world.nodes.iter().all(|node| node.aborted.len() == 1));
    // Neither by a coordinator that asks all the same.
    let (mut liar, session) = Liar::masked(SIZE, 1);
    let all = liar.all();
    let votes: Vec<_> = (0..SIZE).map(|to| liar.survivors(to, session, &all).unwrap()).collect();
    liar.certificate(0, session, &all, &votes).unwrap();
    let spec = liar.spec(1, 0);
    assert!(liar.abort(0, &spec, &all).unwrap().is_none());
}

#[test]
fn forged_duplicate_and_foreign_abort_votes_are_not_counted() {
    let mut world = vectors_on_the_way(1);
    let session = world.coordinator.receiving().unwrap().session();
    let other = SessionId::new(
        chorale_wire::Epoch(1),
        RoundNumber(9),
        &Digest::plain(b""),
        &Digest::plain(b""),
        &chorale_wire::SlotSet::empty(SIZE),
    );
    let sign = |session, slot: u16, key: usize| {
        let vote = SurvivorVote { session, slot: Slot(slot), vote: Vote::Abort };
        ToCoordinator::SurvivorVote(Signed::sign(&vote, &agent_key(key)).unwrap())
    };
    world.forge = Some(Box::new(move |index, message| match (index, message) {
        // Signed by another, for another, for another session, and one again and again.
        (0, ToCoordinator::SurvivorVote(_)) => vec![sign(session, 0, 5)],
        (1, ToCoordinator::SurvivorVote(_)) => vec![sign(session, 5, 1)],
        (2, ToCoordinator::SurvivorVote(_)) => vec![sign(other, 2, 2)],
        (3, vote @ ToCoordinator::SurvivorVote(_)) => vec![vote; 4],
        (_, message) => vec![message],
    }));
    pass_deadline(&mut world);
    world.settle_queue();
    assert!(world.aborted.is_empty(), "three agents voted");
    assert_eq!(world.coordinator.phase(), "waiting for votes to abort");
    let refused = world.faults.iter().filter(|fault| matches!(fault.kind, FaultKind::Vote(_)));
    assert_eq!(refused.count(), 3);
    world.run();
    assert_eq!((world.aborted.len(), world.certified.len()), (1, 0));
}

#[test]
fn forged_abort_certificates_end_nothing() {
    let (mut liar, session) = Liar::masked(SIZE, 1);
    let (spec, all) = (liar.spec(1, 0), liar.all());
    let votes: Vec<_> = (1..5).map(|to| liar.abort(to, &spec, &all).unwrap().unwrap()).collect();
    let few = liar.abort_certificate(0, session, &votes[..3]).unwrap_err();
    assert!(matches!(few, Fault::AbortCertificate(VotesError::TooFew { given: 3, needed: 4 })));
    let repeated = [&votes[..3], &votes[2..3]].concat();
    let repeated = liar.abort_certificate(0, session, &repeated).unwrap_err();
    assert!(matches!(repeated, Fault::AbortCertificate(VotesError::Order)));
    let vote = SurvivorVote { session, slot: Slot(5), vote: Vote::Abort };
    let by_coordinator = Signed::sign(&vote, &coordinator_key()).unwrap();
    let forged = [&votes[..3], &[by_coordinator]].concat();
    let forged = liar.abort_certificate(0, session, &forged).unwrap_err();
    assert!(story(&forged).contains("not signed by its certified identity"));
    // The round in progress is judged by the agent's own roster, whatever electorate is sent.
    let puppets: Vec<_> =
        (0..3u8).map(|seed| chorale_wire::SecretKey::from_seed(&[200 + seed; 32])).collect();
    let puppet_votes: Vec<_> = (0..)
        .zip(&puppets)
        .map(|(slot, key)| {
            let vote = SurvivorVote { session, slot: Slot(slot), vote: Vote::Abort };
            Signed::sign(&vote, key).unwrap()
        })
        .collect();
    let electorate = Electorate::new(puppets.iter().map(|key| key.public()).collect(), 3).unwrap();
    let certificate = AbortCertificate { session, signatures: signatures(&puppet_votes) };
    certificate.verify(&electorate).unwrap();
    let message = ToAgent::AbortCertificate { certificate, electorate: Some(electorate.clone()) };
    let fault = liar.say(0, message.clone()).unwrap_err();
    assert!(matches!(fault, Fault::AbortCertificate(VotesError::TooFew { .. })));
    assert_eq!(liar.agents[0].0.round(), Some(RoundNumber(1)));
    // An agent whose round is over passes it on with the puppets' name, which no journal knows.
    let actions = liar.say(1, message).unwrap();
    let [Action::AbortCertified(proof)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(proof.electorate(), electorate.digest());
    assert_ne!(proof.electorate(), self::electorate(SIZE).digest());
    // The genuine one ends the round.
    let actions = liar.abort_certificate(0, session, &votes).unwrap();
    assert!(matches!(
        &actions[..],
        [Action::RoundAborted { end: RoundEnd::Certified, .. }, Action::AbortCertified(proof)]
            if proof.session() == session
    ));
    // And leaves the agent no vote: neither to abort nor for survivors.
    assert!(liar.abort(0, &spec, &all).unwrap().is_none());
    assert!(liar.survivors(0, session, &all).is_err());
}

#[test]
fn an_agent_that_voted_for_survivors_never_votes_to_abort() {
    let (mut liar, session) = Liar::masked(SIZE, 1);
    let (spec, all) = (liar.spec(1, 0), liar.all());
    let vote = liar.survivors(0, session, &all).unwrap();
    // After a reconnect it repeats its vote, byte for byte.
    assert_eq!(liar.survivors(0, session, &all).unwrap(), vote);
    for _ in 0..2 {
        assert!(liar.abort(0, &spec, &all).unwrap().is_none());
    }
    assert_eq!(liar.agents[0].0.round(), None, "its secrets are wiped all the same");
    // Neither if the round ended by an ABORT without a ballot first.
    let vote = liar.survivors(1, session, &all).unwrap();
    liar.say(1, liar.abort_message(&spec, None)).unwrap();
    assert!(liar.abort(1, &spec, &all).unwrap().is_none());
    assert!(matches!(vote.peek().unwrap().vote, Vote::Survivors(_)));
}

#[test]
fn an_agent_that_voted_to_abort_never_votes_for_survivors() {
    let (mut liar, session) = Liar::masked(SIZE, 1);
    let (spec, all) = (liar.spec(1, 0), liar.all());
    let vote = liar.abort(0, &spec, &all).unwrap().unwrap();
    assert_eq!(vote.peek().unwrap().vote, Vote::Abort);
    for _ in 0..2 {
        assert!(matches!(
            liar.survivors(0, session, &all).unwrap_err(),
            Fault::Unexpected { message: "SURVIVORS", .. }
        ));
        assert_eq!(liar.abort(0, &spec, &all).unwrap().unwrap(), vote, "the same vote again");
    }
    // The round cannot be opened again, nor its key.
    assert!(liar.open(0, &spec).is_err());
    assert!(matches!(
        liar.open(0, &liar.spec(2, 0)),
        Err(Fault::Open(agent::OpenError::KeyUsed { .. }))
    ));
}

#[test]
fn asking_some_to_abort_and_others_for_survivors_certifies_one_at_most() {
    let (mut liar, session) = Liar::masked(SIZE, 1);
    let (spec, all) = (liar.spec(1, 0), liar.all());
    let survivors: Vec<_> = (0..3).map(|to| liar.survivors(to, session, &all).unwrap()).collect();
    let aborts: Vec<_> =
        (3..SIZE).map(|to| liar.abort(to, &spec, &all).unwrap().unwrap()).collect();
    // The corrupt agent, whose key the coordinator has, signs both: the scale tips one way only.
    let both = |vote| {
        let vote = SurvivorVote { session, slot: Slot(2), vote };
        Signed::sign(&vote, &agent_key(2)).unwrap()
    };
    let aborts = [&[both(Vote::Abort)], &aborts[..]].concat();
    assert!(liar.certificate(0, session, &all, &survivors).is_err());
    let [Action::RoundAborted { .. }, Action::AbortCertified(_)] =
        &liar.abort_certificate(0, session, &aborts).unwrap()[..]
    else {
        panic!("four votes to abort are a certificate");
    };
    assert!(liar.certificate(1, session, &all, &survivors).is_err(), "three votes are none");
}

/// What one honest agent's two orders of questions give: its vote when it is asked for survivors
/// first, and its vote when it is asked to abort first.
fn votes_of_all(size: usize) -> (SessionId, Vec<[Signed<SurvivorVote>; 2]>) {
    // The same seeds make the same federation and so the same session.
    let (mut first, session) = Liar::masked(size, 1);
    let (mut second, again) = Liar::masked(size, 1);
    assert_eq!(session, again);
    let (spec, all) = (first.spec(1, 0), first.all());
    let votes = (0..size)
        .map(|to| {
            let survivors = first.survivors(to, session, &all).unwrap();
            assert!(first.abort(to, &spec, &all).unwrap().is_none());
            let abort = second.abort(to, &spec, &all).unwrap().unwrap();
            assert!(second.survivors(to, session, &all).is_err());
            [survivors, abort]
        })
        .collect();
    (session, votes)
}

#[test]
fn an_abort_and_a_survivor_certificate_cannot_both_exist() {
    for size in 4..=6 {
        let (session, votes) = votes_of_all(size);
        let electorate = electorate(size);
        let set = chorale_wire::SlotSet::from_slots(size, (0..size as u16).map(Slot));
        let (mut with_survivors, mut with_abort, mut nearly_both) = (0, 0, 0);
        // Every agent may be the corrupt one, who signs both; each other one is asked for
        // survivors first, to abort first, or nothing.
        for corrupt in 0..size {
            for choices in 0..3usize.pow(size as u32 - 1) {
                let mut rest = choices;
                let mut given: [Vec<Signed<SurvivorVote>>; 2] = [Vec::new(), Vec::new()];
                for (agent, votes) in votes.iter().enumerate() {
                    let choice = if agent == corrupt { 3 } else { rest % 3 };
                    rest /= if agent == corrupt { 1 } else { 3 };
                    for kind in 0..2 {
                        if choice == kind || choice == 3 {
                            given[kind].push(votes[kind].clone());
                        }
                    }
                }
                let nearly = electorate.votes_min() - 1;
                nearly_both += usize::from(given.iter().all(|votes| votes.len() >= nearly));
                // Only what reaches T is worth verifying; the count alone refuses the rest.
                let survivors = electorate
                    .check(&signatures(&given[0]), |slot| SurvivorVote {
                        session,
                        slot,
                        vote: Vote::Survivors(set.clone()),
                    })
                    .is_ok();
                let abort = AbortCertificate { session, signatures: signatures(&given[1]) };
                let abort = abort.verify(&electorate).is_ok();
                assert!(!(survivors && abort), "{size} agents: {choices} with {corrupt} corrupt");
                with_survivors += usize::from(survivors);
                with_abort += usize::from(abort);
            }
        }
        assert!(with_survivors > 0 && with_survivors == with_abort);
        assert!(nearly_both > 0, "one vote less would not do");
    }
}

#[test]
fn a_ballot_about_another_session_or_spec_gets_no_vote() {
    let (mut liar, _) = Liar::masked(SIZE, 1);
    let (spec, all) = (liar.spec(1, 0), liar.all());
    let other_cohort = liar.abort(0, &spec, &[0, 1, 2, 3, 4]).unwrap_err();
    assert!(matches!(other_cohort, Fault::Abort(AbortError::OtherSession { .. })));
    let small = liar.abort(0, &spec, &[0, 1]).unwrap_err();
    assert!(matches!(small, Fault::Abort(AbortError::Cohort(SetError::TooSmall { .. }))));
    let mut other = spec.clone();
    other.model = Digest::plain(b"other");
    let other = liar.abort(0, &other, &all).unwrap_err();
    assert!(matches!(other, Fault::Abort(AbortError::OtherSpec)));
    // Signed by anybody else than the coordinator.
    let ToAgent::Abort(abort) = liar.abort_message(&spec, Some(&all)) else { panic!() };
    let forged = Signed::sign(&abort.peek().unwrap(), &agent_key(3)).unwrap();
    let forged = liar.say(0, ToAgent::Abort(forged)).unwrap_err();
    assert!(matches!(forged, Fault::End(EndError::Signature(_))));
    assert_eq!(liar.agents[0].0.round(), Some(RoundNumber(1)), "the round goes on");
    assert!(liar.abort(0, &spec, &all).unwrap().is_some());
    // An agent that is locked to no session votes about one of them only.
    let mut liar = Liar::new(SIZE);
    liar.open(0, &spec).unwrap();
    liar.abort(0, &spec, &[0, 1, 2, 3, 4]).unwrap().unwrap();
    let second = liar.abort(0, &spec, &all).unwrap_err();
    assert!(matches!(second, Fault::Abort(AbortError::Voted { .. })));
}

#[test]
fn a_missed_round_can_be_voted_on_and_uses_up_its_key() {
    let mut liar = Liar::new(SIZE);
    let (spec, all) = (liar.spec(3, 1), liar.all());
    let vote = liar.abort(0, &spec, &all).unwrap().unwrap();
    assert_eq!(liar.abort(0, &spec, &all).unwrap().unwrap(), vote);
    assert!(matches!(liar.open(0, &spec), Err(Fault::Open(agent::OpenError::Replay { .. }))));
    assert!(matches!(
        liar.open(0, &liar.spec(4, 1)),
        Err(Fault::Open(agent::OpenError::KeyUsed { .. }))
    ));
    // A vote about a key that served another round is not given.
    assert!(matches!(
        liar.abort(0, &liar.spec(5, 1), &all),
        Err(Fault::Open(agent::OpenError::KeyUsed { .. }))
    ));
    liar.open(0, &liar.spec(5, 0)).unwrap();
    // Whoever refused the round may vote too; once a newer one began, nobody does.
    let refused = liar.spec(6, 2);
    let signed = Signed::sign(&refused, &coordinator_key()).unwrap();
    liar.say(0, ToAgent::RoundOpen(signed.into_bytes())).unwrap();
    liar.agents[0].0.refuse(chorale_wire::message::RefusalCode::Policy, "no").unwrap();
    assert!(liar.abort(0, &refused, &all).unwrap().is_some());
    liar.open(0, &liar.spec(7, 3)).unwrap();
    assert!(liar.abort(0, &refused, &all).is_err());
}

#[test]
fn a_ballot_that_is_refused_ends_no_round_and_uses_up_no_key() {
    let mut liar = Liar::new(SIZE);
    let (one, two, all) = (liar.spec(1, 0), liar.spec(2, 1), liar.all());
    liar.open(0, &one).unwrap();
    // A newer round, with a cohort that no agent may vote on: were the round in progress dropped
    // here, nobody would hear of it and its charge would never be given back.
    let refused = liar.abort(0, &two, &all[..2]).unwrap_err();
    assert!(matches!(refused, Fault::Abort(AbortError::Cohort(_))), "{}", story(&refused));
    assert_eq!(liar.agents[0].0.round(), Some(one.round));
    assert_eq!(liar.agents[0].0.memory().last_round(), Some(one.round));
    // The same ballot with a proper cohort: the end of the first round is told, before the vote.
    let actions = liar.say(0, liar.abort_message(&two, Some(&all))).unwrap();
    assert!(
        matches!(
            &actions[..],
            [
                Action::RoundAborted { round, end: RoundEnd::Superseded, .. },
                Action::Send(ToCoordinator::SurvivorVote(_)),
            ] if *round == one.round
        ),
        "{actions:?}"
    );
    // A refused ballot about the round in progress leaves it too.
    liar.open(1, &one).unwrap();
    assert!(liar.abort(1, &one, &all[..2]).is_err());
    assert_eq!(liar.agents[1].0.round(), Some(one.round));
    let vote = liar.abort(1, &one, &all).unwrap();
    assert!(vote.is_some());
    assert_eq!(liar.agents[1].0.round(), None);
}

#[test]
fn after_its_deadline_an_agent_signs_nothing_more() {
    let (mut liar, _) = Liar::masked(SIZE, 1);
    let (spec, all) = (liar.spec(1, 0), liar.all());
    let machine = &mut liar.agents[0].0;
    let deadline_ms = machine.poll_deadline().unwrap();
    machine.tick(deadline_ms);
    assert!(liar.abort(0, &spec, &all).unwrap().is_none());
    // But it verifies what others voted.
    let votes: Vec<_> = (1..5).map(|to| liar.abort(to, &spec, &all).unwrap().unwrap()).collect();
    let session = votes[0].peek().unwrap().session;
    let actions = liar.abort_certificate(0, session, &votes).unwrap();
    assert!(matches!(&actions[..], [Action::AbortCertified(_)]));
}

#[test]
fn the_certificate_of_another_session_does_not_end_a_round() {
    let (mut liar, session) = Liar::masked(SIZE, 1);
    let (spec, all) = (liar.spec(1, 0), liar.all());
    let votes: Vec<_> = (0..4).map(|to| liar.abort(to, &spec, &all).unwrap().unwrap()).collect();
    let next = liar.spec(2, 1);
    let digest = liar.open(0, &next).unwrap();
    let commit = liar.cohort(2, digest, &all);
    let (own, _) = liar.commit(0, &commit).unwrap();
    let actions = liar.abort_certificate(0, session, &votes).unwrap();
    assert!(matches!(&actions[..], [Action::AbortCertified(proof)] if proof.session() == session));
    assert_eq!(liar.agents[0].0.round(), Some(RoundNumber(2)));
    // Nor do the votes of one session make the certificate of another.
    let fault = liar.abort_certificate(0, own, &votes).unwrap_err();
    assert!(matches!(fault, Fault::AbortCertificate(VotesError::Signature { .. })));
}
