//! Federations in which nobody lies: exact sums, drop-outs, reconnects, restarts.
#![allow(clippy::unwrap_used)]

mod support;

use chorale_round::agent::{self, RoundEnd};
use chorale_wire::{Epoch, RoundNumber, message::AbortCause};
use support::{Break, World, agent_id, identity, membership, rng};

#[test]
fn every_size_gives_the_exact_sum_over_several_rounds() {
    for size in 4..=8 {
        let mut world = World::new(size, 3);
        world.run_all();
        world.assert_at_rest();
        assert_eq!(world.completed.len(), 3, "{size} agents");
        assert!(world.faults.is_empty(), "{:?}", world.faults);
        for node in &world.nodes {
            assert!(node.faults.is_empty(), "{:?}", node.faults);
            assert_eq!(node.done.len(), 3);
            assert!(node.done.iter().all(|outcome| outcome.contributed));
        }
        for completed in &world.completed {
            assert_eq!(completed.agents.len(), size);
            assert_eq!(completed.certificate.signatures.len(), size);
        }
    }
}

#[test]
fn one_agent_dies_at_every_phase() {
    let mut outcomes = Vec::new();
    for agent in 0..6 {
        for sending in [false, true] {
            for after in 0..=9 {
                let mut world = World::new(6, 2);
                world.breaks = Some(Break { agent, after, sending, returns: false });
                world.run_all();
                world.assert_at_rest();
                let ended = world.completed.len() + world.aborted.len();
                assert!(ended == 2 || !world.failed.is_empty(), "{agent} {after}");
                // Five of six are enough: the federation always gets its sums.
                assert_eq!(world.completed.len(), 2, "{agent} {after} {sending}");
                let survivors = world.completed.iter().map(|c| c.agents.len());
                outcomes.push(survivors.collect::<Vec<_>>());
            }
        }
    }
    // The deaths really happened in different phases.
    assert!(outcomes.contains(&vec![6, 5]) && outcomes.contains(&vec![5, 5]));
    assert!(outcomes.contains(&vec![6, 6]));
}

#[test]
fn one_of_four_dies_at_every_phase() {
    // With four agents nobody can be spared: clean aborts and failed epochs, never a hang.
    for sending in [false, true] {
        for after in 0..=9 {
            let mut world = World::new(4, 1);
            world.breaks = Some(Break { agent: 2, after, sending, returns: false });
            world.run_all();
            world.assert_at_rest();
            let ended = world.completed.len() + world.aborted.len() + world.failed.len();
            assert_eq!(ended, 1, "{after} {sending}");
        }
    }
}

#[test]
fn a_short_disconnect_costs_nobody_the_round() {
    let mut short = 0;
    for sending in [false, true] {
        for after in 1..=9 {
            let mut world = World::new(6, 1);
            world.breaks = Some(Break { agent: 3, after, sending, returns: true });
            world.run_all();
            world.assert_at_rest();
            assert_eq!(world.completed.len(), 1, "{after} {sending}");
            // Only an upload that broke off is not repeated here: that is the transport's part.
            let survivors = world.completed[0].agents.len();
            short += usize::from(survivors < 6);
            if survivors == 6 {
                assert_eq!(world.nodes[3].done.len(), 1, "{after} {sending}");
            }
            assert_eq!(world.started, [Epoch(1)], "{after} {sending}");
        }
    }
    assert_eq!(short, 1);
}

/// Uploads that were held back, but for those of agents that are gone.
fn upload_held(world: &mut World) {
    for (index, header, bytes) in std::mem::take(&mut world.held_uploads) {
        if world.nodes[index].connected {
            let vector = chorale_wire::Hashed::of(bytes);
            let (agent, now_ms) = (agent_id(index), world.now_ms);
            let actions = world.coordinator.upload(&agent, &header, &vector, now_ms);
            world.act(actions);
        }
    }
}

#[test]
fn an_agent_that_comes_back_in_the_next_round_hears_how_its_own_ended() {
    let mut world = World::new(6, 2);
    for index in 0..6 {
        world.connect(index);
    }
    world.settle_queue();
    world.hold_uploads = true;
    world.open_epoch();
    world.settle_queue();
    // It is locked to the first round's session when it goes.
    world.disconnect(4);
    upload_held(&mut world);
    world.now_ms = world.coordinator.poll_deadline(world.now_ms).unwrap();
    let actions = world.coordinator.tick(world.now_ms);
    world.act(actions);
    world.settle_queue();
    assert_eq!(world.completed.len(), 1);
    // The second round's cohort is fixed without it.
    assert_eq!(world.coordinator.phase(), "waiting for masked vectors");
    assert!(world.held_uploads.iter().all(|(index, ..)| *index != 4));
    assert_eq!(world.held_uploads.len(), 5);
    world.connect(4);
    world.settle_queue();
    let node = &world.nodes[4];
    assert_eq!(node.machine.round(), None, "in {}: {:?}", node.machine.phase(), node.faults);
    world.hold_uploads = false;
    upload_held(&mut world);
    world.run();
    world.assert_at_rest();
    assert_eq!(world.completed.len(), 2);
    let node = &world.nodes[4];
    assert!(node.faults.is_empty(), "{:?}", node.faults);
    assert_eq!(node.done.len(), 2);
    assert!(node.done.iter().all(|outcome| !outcome.contributed));
}

#[test]
fn an_agent_that_refuses_is_not_waited_for() {
    let mut world = World::new(6, 1);
    world.nodes[1].refuses = true;
    let start_ms = world.now_ms;
    world.run_all();
    world.assert_at_rest();
    assert_eq!(world.now_ms, start_ms, "somebody waited for a deadline");
    assert_eq!(world.completed[0].agents.len(), 5);
    // It still learns the new model.
    assert!(!world.nodes[1].done[0].contributed);
}

#[test]
fn too_many_refusals_abort_the_round() {
    let mut world = World::new(6, 1);
    for index in 0..3 {
        world.nodes[index].refuses = true;
    }
    world.run_all();
    world.assert_at_rest();
    assert_eq!(world.aborted[0].1, AbortCause::Cohort);
    assert_eq!(world.nodes[5].aborted, [(RoundNumber(1), RoundEnd::Aborted(AbortCause::Cohort))]);
}

#[test]
fn a_restarted_agent_waits_for_the_next_epoch() {
    let mut world = World::new(6, 2);
    for index in 0..6 {
        world.connect(index);
    }
    world.settle_queue();
    world.open_epoch();
    world.settle_queue();
    assert_eq!(world.completed.len(), 2);
    world.disconnect(4);
    world.nodes[4].machine = agent::Machine::new(identity(4, 6), None, Some(RoundNumber(2)));
    world.connect(4);
    world.settle_queue();
    assert_eq!(world.coordinator.able_agents().count(), 5);
    world.open_epoch();
    world.run();
    assert_eq!(world.epochs[1].0, Epoch(2));
    assert_eq!(world.completed.len(), 4);
    assert_eq!(world.completed[3].agents.len(), 6);
    world.assert_at_rest();
}

#[test]
fn a_restarted_coordinator_opens_a_higher_epoch() {
    let mut world = World::new(5, 1);
    world.run_all();
    let mut later = World::new(5, 1);
    let config = chorale_round::coordinator::CoordinatorConfig {
        key: support::coordinator_key(),
        federation: support::federation(),
        authority: support::authority().public(),
        rule: support::rule(5),
        timeouts: chorale_round::coordinator::Timeouts::default(),
        last_epoch: Epoch(1),
        last_round: RoundNumber(1),
        certified: Vec::new(),
        threads: std::num::NonZeroUsize::MIN,
    };
    later.coordinator = chorale_round::coordinator::Machine::new(config);
    later.nodes = world.nodes;
    later.run_all();
    later.assert_at_rest();
    assert_eq!(later.epochs[0].0, Epoch(2));
    assert_eq!(later.completed.len(), 1);
    assert_eq!(later.nodes[0].done.len(), 2);
}

#[test]
fn the_agents_deadline_wipes_a_round_that_never_ends() {
    let (mut agents, epoch) = support::ready_agents(5, 1);
    let (machine, rng) = &mut agents[0];
    let spec = support::spec(5, epoch, 9, 0);
    let open = chorale_wire::Signed::sign(&spec, &support::coordinator_key()).unwrap();
    let message = chorale_wire::ToAgent::RoundOpen(open.into_bytes());
    machine.handle(message, support::START_MS, rng).unwrap();
    let deadline_ms = machine.poll_deadline().unwrap();
    assert!(machine.tick(deadline_ms - 1).is_empty());
    assert!(matches!(
        machine.tick(deadline_ms)[..],
        [agent::Action::RoundAborted { end: RoundEnd::Deadline, .. }]
    ));
    assert_eq!(machine.poll_deadline(), None);
}

#[test]
fn no_coordinator_keeps_an_agents_secrets_longer_than_a_few_days() {
    let (mut agents, epoch) = support::ready_agents(5, 1);
    let (machine, rng) = &mut agents[0];
    let mut spec = support::spec(5, epoch, 9, 0);
    let mut open = |spec: &chorale_plan::RoundSpec| {
        let open = chorale_wire::Signed::sign(spec, &support::coordinator_key()).unwrap();
        let message = chorale_wire::ToAgent::RoundOpen(open.into_bytes());
        machine.handle(message, support::START_MS, rng)
    };
    (spec.ready_within_ms, spec.upload_within_ms) = (u32::MAX, 7_000);
    let refused = open(&spec).unwrap_err();
    assert!(matches!(refused, agent::Fault::Open(agent::OpenError::Context(_))), "{refused}");
    let day = chorale_plan::PHASE_WITHIN_MS_MAX;
    (spec.ready_within_ms, spec.upload_within_ms) = (day, day);
    open(&spec).unwrap();
    let deadline_ms = machine.poll_deadline().unwrap();
    assert_eq!(deadline_ms, support::START_MS + 2 * u64::from(day) + 180_000);
    assert!(matches!(
        machine.tick(deadline_ms)[..],
        [agent::Action::RoundAborted { end: RoundEnd::Deadline, .. }]
    ));
    assert_eq!(machine.round(), None);
}

#[test]
fn a_late_message_reports_the_end_of_the_round() {
    let (mut agents, epoch) = support::ready_agents(5, 1);
    let (machine, rng) = &mut agents[0];
    let spec = support::spec(5, epoch, 9, 0);
    let open = chorale_wire::Signed::sign(&spec, &support::coordinator_key()).unwrap();
    let message = chorale_wire::ToAgent::RoundOpen(open.into_bytes());
    machine.handle(message.clone(), support::START_MS, rng).unwrap();
    let deadline_ms = machine.poll_deadline().unwrap();
    let late = machine.handle(message.clone(), deadline_ms, rng).unwrap();
    assert!(matches!(late[..], [agent::Action::RoundAborted { end: RoundEnd::Deadline, .. }]));
    assert!(machine.handle(message, deadline_ms, rng).is_err());
}

#[test]
fn an_expired_membership_keeps_an_agent_out() {
    let mut world = World::new(6, 1);
    let mut expired = membership(2, 6);
    expired.not_after_s = 1;
    let own = identity(2, 6);
    let expired = agent::Identity {
        agent: agent_id(2),
        key: support::agent_key(2),
        membership: chorale_wire::Signed::sign(&expired, &support::authority()).unwrap(),
        authority: own.authority,
        coordinator: own.coordinator,
        federation: own.federation.clone(),
    };
    world.nodes[2].machine = agent::Machine::new(std::sync::Arc::new(expired), None, None);
    world.run_all();
    world.assert_at_rest();
    assert_eq!(world.completed[0].agents.len(), 5);
    assert_eq!(world.excluded[0].0, agent_id(2));
    assert!(world.faults[0].to_string().contains("store-02"));
}

#[test]
fn debug_output_holds_no_secret() {
    let mut random = rng(5);
    let secrets = chorale_secagg::EpochSecrets::generate(&mut random, 1).unwrap();
    assert!(format!("{secrets:?}").contains("redacted"));
    let (agents, _) = support::ready_agents(5, 2);
    let text = format!("{:?}", agents[0].0);
    assert!(text.contains("SecretKey(redacted)"), "{text}");
    assert!(!text.contains("held"), "{text}");
}
