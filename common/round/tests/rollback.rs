//! Agents that crash, and agents whose disk is rolled back to an old backup. Each test is named
//! after the attack that must fail.
#![allow(clippy::unwrap_used)]

mod support;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use chorale_dp::Rational;
use chorale_plan::{Mechanism, cost_of_units};
use chorale_round::{
    CertificateError, VoteError, WitnessBook,
    agent::{
        Action, AdvertiseError, DealError, Fact, Fault, Machine, Memory, OpenError, RosterRefused,
    },
    coordinator::FaultKind,
};
use chorale_wire::{
    AgentId, Digest, Epoch, RoundNumber, SessionId, Signed, Slot, SlotSet, ToAgent, ToCoordinator,
    message::{
        Advert, Commit, EpochOpen, Roster, RosterCertificate, RosterOpening, RosterVote,
        StatedRound, Statement,
    },
};
use rand_chacha::ChaCha20Rng;
use support::{Disk, START_MS, World, agent_id, agent_key, coordinator_key, identity, rng};

const SIZE: usize = 6;

/// A federation with noise, so that rounds cost something, after one epoch of `rounds` rounds.
fn after(rounds: u64) -> World {
    let mut world = World::new(SIZE, rounds);
    world.mechanism = Mechanism::DiscreteGaussian {
        sigma_squared: Rational::from_integer(1u64 << 30),
        remove_surplus: false,
    };
    world.run_all();
    assert_eq!(world.completed.len() as u64, rounds);
    world
}

fn epoch(world: &mut World, rounds: u64) {
    world.rounds = rounds;
    world.open_epoch();
    world.run();
    world.assert_at_rest();
}

fn rounds(disk: &Disk) -> Vec<u64> {
    disk.charged.iter().map(|stated| stated.round.0).collect()
}

/// Changes the statements of one agent's roster votes and signs them again.
fn lie(
    world: &mut World,
    liar: usize,
    statements: impl Fn(&Advertised) -> Vec<Statement> + 'static,
) {
    let seen: Advertised = Rc::default();
    let noted = seen.clone();
    world.forge = Some(Box::new(move |index, message| match message {
        ToCoordinator::Advert(advert) => {
            noted.borrow_mut().insert(index, advert.clone());
            vec![ToCoordinator::Advert(advert)]
        }
        ToCoordinator::RosterVote(vote) if index == liar => {
            let mut vote: RosterVote = vote.peek().unwrap();
            vote.statements = statements(&seen);
            let signed = Signed::sign(&vote, &agent_key(liar)).unwrap();
            vec![ToCoordinator::RosterVote(signed)]
        }
        other => vec![other],
    }));
}

type Advertised = Rc<RefCell<BTreeMap<usize, Signed<Advert>>>>;

fn invented(round: u64, cost: u128) -> StatedRound {
    StatedRound { round: RoundNumber(round), question: Digest::plain(b"lie"), cost: Some(cost) }
}

#[test]
fn a_restored_backup_is_noticed_charged_and_answers_nothing_again() {
    let mut world = after(1);
    let backup = world.nodes[2].disk.clone();
    epoch(&mut world, 3);
    let lost = world.nodes[2].disk.clone();
    assert_eq!((rounds(&backup), rounds(&lost)), (vec![1], vec![1, 2, 3, 4]));

    world.restart(2, backup);
    epoch(&mut world, 1);
    let node = &world.nodes[2];
    assert_eq!(node.behind.len(), 1);
    let behind = &node.behind[0];
    assert_eq!(behind.witnesses.len(), SIZE - 1);
    assert!(!behind.more);
    // Exactly what was lost: the same rounds, the same questions, never less than they cost.
    assert_eq!(node.disk.charged, lost.charged);
    let mut spec = support::spec(SIZE, Epoch(1), 2, 0);
    spec.plan.mechanism = world.mechanism.clone();
    let rho = spec.derive(SIZE as u32).unwrap().rho.unwrap();
    assert!(rho > chorale_dp::Rho::zero());
    for stated in &behind.rounds {
        assert!(cost_of_units(stated.cost.unwrap()) >= rho);
    }
    // It dealt nothing, and the others went on without it.
    assert_eq!(world.completed.len(), 5);
    assert_eq!(world.completed[4].agents.len(), SIZE - 1);
    assert!(world.excluded.iter().any(|(agent, _)| *agent == agent_id(2)));

    // The next votes say that nothing is missing any more, and it takes part again.
    epoch(&mut world, 2);
    assert_eq!(world.nodes[2].behind.len(), 1);
    assert_eq!(world.completed[6].agents.len(), SIZE);
    // An old round number is refused for ever.
    let ready = *world.started.last().unwrap();
    for old in 1..=4 {
        let spec = support::spec(SIZE, ready, old, 1);
        let open = Signed::sign(&spec, &coordinator_key()).unwrap();
        let node = &mut world.nodes[2];
        let fault =
            node.machine.handle(ToAgent::RoundOpen(open.into_bytes()), START_MS, &mut node.rng);
        assert!(matches!(fault, Err(Fault::Open(OpenError::Replay { .. }))), "{fault:?}");
    }
}

#[test]
fn a_deleted_journal_is_a_restored_backup_too() {
    let mut world = after(3);
    let lost = world.nodes[5].disk.clone();
    world.restart(5, Disk::default());
    epoch(&mut world, 1);
    assert_eq!(world.nodes[5].disk.charged, lost.charged);
}

#[test]
fn a_crash_alone_is_no_restored_backup() {
    let mut world = after(2);
    let disk = world.nodes[3].disk.clone();
    world.restart(3, disk);
    epoch(&mut world, 2);
    assert!(world.nodes.iter().all(|node| node.behind.is_empty() && node.disputed.is_empty()));
    assert_eq!(world.completed[3].agents.len(), SIZE);
    // A restarted witness still has its book.
    assert_eq!(world.nodes[3].machine.memory().book().len(), 4);
}

#[test]
fn several_agents_rolled_back_together_are_told_together() {
    let mut world = after(3);
    let lost = world.nodes[1].disk.charged.clone();
    for index in [1, 4] {
        world.restart(index, Disk::default());
    }
    epoch(&mut world, 1);
    for node in [&world.nodes[1], &world.nodes[4]] {
        assert_eq!(node.behind.len(), 1);
        assert_eq!(node.behind[0].rounds, lost.iter().copied().collect::<Vec<_>>());
        assert_eq!(node.behind[0].witnesses.len(), SIZE - 2);
    }
}

#[test]
fn a_long_loss_is_repaired_over_several_epochs() {
    let mut world = after(1);
    let agents: Vec<AgentId> = (0..SIZE).map(agent_id).collect();
    // The others saw a hundred rounds of agent 0, which knows of none.
    for index in 1..SIZE {
        let mut book = WitnessBook::new();
        book.vote(Epoch(1), agents.clone());
        for round in 1..=100 {
            book.see(Epoch(1), invented(round, 1), SlotSet::from_slots(SIZE, [Slot(0)]));
        }
        let memory = Memory::new(Some(Epoch(1)), Some(RoundNumber(100))).with_book(book);
        world.nodes[index].machine = Machine::with_memory(identity(index, SIZE), memory);
    }
    world.nodes[0].machine = Machine::new(identity(0, SIZE), None, None);
    world.nodes[0].disk = Disk::default();
    for (epochs, known) in [(1, 64), (2, 100)] {
        world.open_epoch();
        world.settle_queue();
        let node = &world.nodes[0];
        assert_eq!((node.behind.len(), node.disk.charged.len()), (epochs, known));
        assert_eq!(node.behind[epochs - 1].more, known < 100);
        world.run();
    }
    world.open_epoch();
    world.settle_queue();
    assert_eq!(world.nodes[0].behind.len(), 2);
    assert_eq!(world.epochs.last().unwrap().1.len(), SIZE);
}

#[test]
fn a_coordinator_that_hides_votes_makes_no_epoch() {
    let old_votes: Rc<RefCell<Vec<Signed<RosterVote>>>> = Rc::default();
    for hide in 0..3 {
        let mut world = after(1);
        let backup = Disk::default();
        world.restart(2, backup);
        let old = old_votes.clone();
        world.tamper = Some(Box::new(move |index, message| match message {
            ToAgent::RosterCertificate(certificate) if index == 2 => {
                let mut votes = certificate.votes;
                if hide == 0 {
                    votes.retain(|vote| vote.statements.is_empty());
                } else if hide == 1 {
                    votes.iter_mut().for_each(|vote| vote.statements.clear());
                } else {
                    // The vote of a voter in another epoch, when it had nothing to state.
                    let vote = &old.borrow()[4];
                    votes[4] = RosterOpening::of(vote.peek().unwrap(), vote.signature());
                }
                ToAgent::RosterCertificate(RosterCertificate { epoch: certificate.epoch, votes })
            }
            other => other,
        }));
        if hide == 2 {
            old_votes.borrow_mut().extend(first_votes());
        }
        world.open_epoch();
        world.settle_queue();
        let node = &world.nodes[2];
        assert!(node.behind.is_empty());
        let fault = node.faults.last().unwrap();
        let hidden = matches!(
            fault,
            Fault::Deal(DealError::Certificate(
                CertificateError::Missing { .. }
                    | CertificateError::Vote(VoteError::Signature { .. })
            ))
        );
        assert!(hidden, "{fault:?}");
        assert_eq!(node.machine.phase(), "waiting for all votes on the roster");
    }
}

/// The votes of a first epoch, in slot order.
fn first_votes() -> Vec<Signed<RosterVote>> {
    let votes: Rc<RefCell<BTreeMap<usize, Signed<RosterVote>>>> = Rc::default();
    let mut world = World::new(SIZE, 1);
    let seen = votes.clone();
    world.forge = Some(Box::new(move |index, message| {
        if let ToCoordinator::RosterVote(vote) = &message {
            seen.borrow_mut().insert(index, vote.clone());
        }
        vec![message]
    }));
    world.run_all();
    votes.take().into_values().collect()
}

#[test]
fn one_lying_witness_is_named_and_believed_by_nobody() {
    let mut world = after(1);
    lie(&mut world, 1, |_| {
        let rounds = vec![invented(900, u128::MAX)];
        vec![Statement { about: Slot(2), rounds, more: false }]
    });
    let before = world.nodes[2].disk.charged.clone();
    epoch(&mut world, 1);
    let node = &world.nodes[2];
    assert!(node.behind.is_empty());
    assert_eq!(node.disputed, [agent_id(1)]);
    assert_eq!(node.disk.charged.len(), before.len() + 1, "only the round that it answered");
    assert_eq!(world.completed[1].agents.len(), SIZE);
}

#[test]
fn where_one_witness_must_do_a_liar_costs_no_budget_and_is_named() {
    let mut world = after(1);
    // One agent is away: only one honest witness is sure to be among the others.
    world.disconnect(5);
    world.nodes[5].dead = true;
    lie(&mut world, 1, |_| {
        let rounds = vec![invented(900, 1 << 60)];
        vec![Statement { about: Slot(2), rounds, more: false }]
    });
    let before = world.nodes[2].disk.clone();
    epoch(&mut world, 1);
    let node = &world.nodes[2];
    assert!(node.behind.is_empty());
    assert_eq!(node.doubted, [agent_id(1)]);
    assert_eq!(node.disk.charged, before.charged, "nothing is charged on a liar's word");
    // In a whole roster it takes two to be believed.
    world.nodes[5].dead = false;
    world.connect(5);
    world.settle_queue();
    epoch(&mut world, 1);
    assert_eq!(world.nodes[2].disputed, [agent_id(1)]);
    assert_eq!(world.completed[1].agents.len(), SIZE);
}

/// A list that says "there is more" costs nothing either while nobody honest need have written it.
#[test]
fn a_liar_that_only_hints_charges_nobody() {
    let mut world = after(1);
    world.disconnect(5);
    world.nodes[5].dead = true;
    lie(&mut world, 1, |_| {
        vec![Statement { about: Slot(2), rounds: vec![invented(900, 1)], more: true }]
    });
    epoch(&mut world, 1);
    assert!(world.nodes[2].behind.is_empty());
    assert_eq!(world.nodes[2].doubted, [agent_id(1)]);
}

#[test]
fn malformed_statements_cost_the_voter_its_place() {
    let stated = invented(900, 1);
    let about = |slot, rounds, more| Statement { about: Slot(slot), rounds, more };
    let bad: [Vec<Statement>; 7] = [
        vec![about(1, vec![stated], false)],
        vec![about(6, vec![stated], false)],
        vec![about(2, Vec::new(), false)],
        vec![about(2, vec![invented(1, 1)], false)],
        vec![about(2, vec![stated, stated], false)],
        vec![about(3, vec![stated], false), about(2, vec![stated], false)],
        vec![about(2, (900..965).map(|round| invented(round, 1)).collect(), false)],
    ];
    for statements in bad {
        let mut world = after(1);
        lie(&mut world, 1, move |_| statements.clone());
        world.open_epoch();
        world.settle_queue();
        // The coordinator does not count the vote; agents would refuse the certificate.
        let fault = &world.faults.last().unwrap().kind;
        assert!(matches!(fault, FaultKind::Vote(VoteError::Statements { .. })), "{fault}");
    }
}

#[test]
fn a_small_roster_that_never_saw_the_agent_is_refused_after_a_restart() {
    let mut world = after(2);
    for index in [4, 5] {
        world.disconnect(index);
        world.nodes[index].dead = true;
    }
    // Four of six: two are away, and only two are sure to have seen a round of agent 0.
    world.restart(0, Disk::default());
    world.open_epoch();
    world.run();
    let small = world.nodes[0].faults.iter().any(|fault| {
        matches!(fault, Fault::Roster(RosterRefused::Unwitnessed { agents: 4, needed: 5 }))
    });
    assert!(small, "{:?}", world.nodes[0].faults);
    assert_eq!(world.completed.len(), 2);
    // Those that were not started again know that nothing is missing, and may go on.
    assert!(world.nodes[1].faults.is_empty());
    // With a fifth the agent is told.
    world.nodes[5].dead = false;
    world.connect(5);
    world.settle_queue();
    world.open_epoch();
    world.run();
    assert_eq!(rounds(&world.nodes[0].disk), [1, 2]);
}

#[test]
fn the_smallest_roster_after_a_restart_always_holds_an_honest_witness() {
    // N + A + 2 - T_min: T_min - A - 1 honest others saw each readable round, N - n are away.
    for enrolled in 4u32..=60 {
        let corrupt = chorale_plan::CohortRule::corrupt_of(enrolled, 100);
        let least = (corrupt + 3).max(if enrolled >= 10 { 10 } else { 4 });
        for survivors_min in least..=enrolled {
            let smallest = (enrolled + corrupt + 2).saturating_sub(survivors_min);
            let away = enrolled.saturating_sub(smallest);
            assert!(survivors_min - corrupt - 1 > away);
            // Where T_min is the vote threshold of all, T_min agents are enough, or one more.
            let rule = chorale_plan::CohortRule { enrolled, corrupt, survivors_min };
            if survivors_min >= rule.votes_min(enrolled) {
                assert!(smallest <= survivors_min + 1);
            }
        }
    }
}

#[test]
fn shares_and_keys_are_never_used_again_after_a_crash() {
    let mut crashes = 0;
    for sending in [false, true] {
        for after in 1..=11 {
            let mut world = World::new(SIZE, 2);
            let said: Rc<RefCell<Vec<ToCoordinator>>> = Rc::default();
            let noted = said.clone();
            world.forge = Some(Box::new(move |index, message| {
                if index == 3 {
                    noted.borrow_mut().push(message.clone());
                }
                vec![message]
            }));
            world.breaks = Some(support::Break { agent: 3, after, sending, returns: false });
            world.run_all();
            if !world.nodes[3].dead {
                continue;
            }
            crashes += 1;
            world.nodes[3].dead = false;
            let disk = world.nodes[3].disk.clone();
            let reached = disk.memory();
            world.restart(3, disk);
            epoch(&mut world, 2);
            assert!(world.nodes[3].behind.is_empty(), "{after} {sending}");
            check_said(&said.borrow());
            assert_eq!(world.completed.last().unwrap().agents.len(), SIZE, "{after} {sending}");
            assert!(reached.book().len() <= 2);
        }
    }
    assert!(crashes > 10, "{crashes}");
}

/// One roster for an epoch number, one spec for a round number, one set and one reveal for a
/// session, over all lives of an agent.
fn check_said(said: &[ToCoordinator]) {
    let mut rosters: BTreeMap<Epoch, Digest> = BTreeMap::new();
    let mut specs: BTreeMap<RoundNumber, Digest> = BTreeMap::new();
    let mut votes: BTreeMap<SessionId, Digest> = BTreeMap::new();
    let mut reveals: BTreeMap<SessionId, Digest> = BTreeMap::new();
    for message in said {
        let (before, now) = match message {
            ToCoordinator::RosterVote(vote) => {
                let content = vote.peek().unwrap();
                (rosters.insert(content.epoch, content.roster), content.roster)
            }
            ToCoordinator::Ready(ready) => {
                let content = ready.peek().unwrap();
                (specs.insert(content.round, content.spec), content.spec)
            }
            ToCoordinator::SurvivorVote(vote) => {
                let digest = vote.payload_digest();
                (votes.insert(vote.peek().unwrap().session, digest), digest)
            }
            ToCoordinator::Reveal(reveal) => {
                let digest = reveal.payload_digest();
                (reveals.insert(reveal.peek().unwrap().session, digest), digest)
            }
            _ => continue,
        };
        assert!(before.is_none_or(|before| before == now), "{message:?}");
    }
}

/// Machines that advertised an epoch, and the roster of all.
fn advertised(
    machines: &mut [(Machine, ChaCha20Rng)],
    number: u64,
) -> Result<(Roster, Signed<EpochOpen>), Fault> {
    let open = EpochOpen { federation: support::federation(), epoch: Epoch(number), rounds: 2 };
    let open = Signed::sign(&open, &coordinator_key()).unwrap();
    let mut adverts = Vec::new();
    for (machine, rng) in machines {
        let actions = machine.handle(ToAgent::EpochOpen(open.clone()), START_MS, rng)?;
        let Some(Action::Send(ToCoordinator::Advert(advert))) = actions.into_iter().next_back()
        else {
            panic!("no advert");
        };
        adverts.push(advert);
    }
    let survivors_min = support::rule(SIZE).survivors_min;
    Ok((Roster { epoch: Epoch(number), survivors_min, adverts }, open))
}

fn fresh() -> Vec<(Machine, ChaCha20Rng)> {
    let machine = |index| Machine::new(identity(index, SIZE), None, None);
    (0..SIZE).map(|index| (machine(index), rng(index as u64))).collect()
}

#[test]
fn two_rosters_for_one_epoch_number_over_a_restart() {
    let mut machines = fresh();
    let (roster, open) = advertised(&mut machines, 7).unwrap();
    let (machine, random) = &mut machines[0];
    let actions = machine.handle(ToAgent::Roster(roster.clone()), START_MS, random).unwrap();
    // The number is to be on the disk before the vote leaves.
    let [Action::Remember(fact), Action::Send(ToCoordinator::RosterVote(_))] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert!(matches!(fact, Fact::RosterVoted { epoch: Epoch(7), agents } if agents.len() == SIZE));
    let disk = Disk { facts: vec![fact.clone()], ..Disk::default() };
    let mut restarted = Machine::with_memory(identity(0, SIZE), disk.memory());
    for number in [7, 6] {
        let open = EpochOpen { epoch: Epoch(number), ..open.peek().unwrap() };
        let open = Signed::sign(&open, &coordinator_key()).unwrap();
        let again = restarted.handle(ToAgent::EpochOpen(open), START_MS, random);
        assert!(matches!(again, Err(Fault::Advertise(AdvertiseError::Stale { .. }))));
    }
    // Before it voted, the number is still free: a restarted agent advertises fresh keys.
    let mut unvoted = Machine::with_memory(identity(1, SIZE), Disk::default().memory());
    unvoted.handle(ToAgent::EpochOpen(open.clone()), START_MS, random).unwrap();
    // A disk that was rolled back has forgotten the number; whoever else voted has not, and
    // without them the roster is too small.
    for (machine, random) in &mut machines[1..] {
        machine.handle(ToAgent::Roster(roster.clone()), START_MS, random).unwrap();
        let again = advertised(&mut [(std::mem::replace(machine, fresh().remove(0).0), rng(1))], 6);
        assert!(matches!(again, Err(Fault::Advertise(AdvertiseError::Stale { .. }))));
    }
    let mut rolled_back = fresh().into_iter().take(4).collect::<Vec<_>>();
    let (small, _) = advertised(&mut rolled_back, 7).unwrap();
    let (machine, random) = &mut rolled_back[0];
    assert!(matches!(
        machine.handle(ToAgent::Roster(small), START_MS, random),
        Err(Fault::Roster(RosterRefused::Unwitnessed { agents: 4, needed: 5 }))
    ));
}

#[test]
fn a_witness_writes_before_it_masks() {
    let (mut agents, ready) = support::ready_agents(SIZE, 1);
    let spec = support::spec(SIZE, ready, 1, 0);
    let signed = Signed::sign(&spec, &coordinator_key()).unwrap();
    let digest = signed.payload_digest();
    let (machine, random) = &mut agents[0];
    machine.handle(ToAgent::RoundOpen(signed.into_bytes()), START_MS, random).unwrap();
    machine.ready().unwrap();
    let cohort = SlotSet::from_slots(SIZE, (0..5).map(Slot));
    let commit = Commit { epoch: ready, round: spec.round, spec: digest, cohort: cohort.clone() };
    let commit = Signed::sign(&commit, &coordinator_key()).unwrap();
    let actions = machine.handle(ToAgent::Commit(commit), START_MS, random).unwrap();
    let [
        Action::Remember(Fact::CohortSeen { epoch, round, cohort: seen }),
        Action::Contribute { .. },
    ] = &actions[..]
    else {
        panic!("{actions:?}");
    };
    let derived = spec.derive(SIZE as u32).unwrap();
    assert_eq!((*epoch, *round), (ready, spec.stated(&derived).unwrap()));
    assert_eq!(*seen, cohort);
}
