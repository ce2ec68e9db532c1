//! Agents of one process that share what they verified: nobody takes over a verdict that it would
//! not have come to itself.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use chorale_round::{
    VerifiedMemo,
    agent::{Action, Fault, Identity, Machine, RosterRefused},
};
use chorale_wire::{
    Epoch, SecretKey, Signed, ToAgent, ToCoordinator,
    message::{Advert, EpochOpen, Roster},
};
use rand_chacha::ChaCha20Rng;
use support::{START_MS, agent_key, authority, coordinator_key, federation, membership, rng, rule};

const SIZE: usize = 6;

/// An agent with a memory, and its advert for epoch 1.
fn advertised(
    index: usize,
    authority: &SecretKey,
    memo: &Arc<VerifiedMemo>,
) -> (Machine, ChaCha20Rng, Signed<Advert>) {
    let identity = Identity {
        agent: support::agent_id(index),
        key: agent_key(index),
        membership: Signed::sign(&membership(index, SIZE), authority).unwrap(),
        authority: authority.public(),
        coordinator: coordinator_key().public(),
        federation: federation(),
    };
    let mut machine = Machine::new(Arc::new(identity), None, None).share_verified(memo.clone());
    let mut rng = rng(index as u64);
    let open = EpochOpen { federation: federation(), epoch: Epoch(1), rounds: 2 };
    let open = ToAgent::EpochOpen(Signed::sign(&open, &coordinator_key()).unwrap());
    let mut actions = machine.handle(open, START_MS, &mut rng).unwrap();
    match actions.pop() {
        Some(Action::Send(ToCoordinator::Advert(advert))) => (machine, rng, advert),
        other => panic!("{other:?}"),
    }
}

fn roster(adverts: Vec<Signed<Advert>>) -> ToAgent {
    let survivors_min = rule(SIZE).survivors_min;
    ToAgent::Roster(Roster { epoch: Epoch(1), survivors_min, adverts })
}

fn refused(result: Result<Vec<Action>, Fault>) -> bool {
    matches!(result, Err(Fault::Roster(RosterRefused::Roster(_))))
}

#[test]
fn a_roster_with_a_forged_signature_is_refused_though_its_payloads_were_verified() {
    let memo = Arc::new(VerifiedMemo::new());
    let mut agents: Vec<_> =
        (0..SIZE).map(|index| advertised(index, &authority(), &memo)).collect();
    let adverts: Vec<_> = agents.iter().map(|(_, _, advert)| advert.clone()).collect();
    let (first, rng, _) = &mut agents[0];
    first.handle(roster(adverts.clone()), START_MS, rng).unwrap();
    // The same payload, so that the roster has the same digest, under another signature.
    let mut forged = adverts.clone();
    forged[3] = Signed::sign(&adverts[3].peek().unwrap(), &coordinator_key()).unwrap();
    let (second, rng, _) = &mut agents[1];
    assert!(refused(second.handle(roster(forged), START_MS, rng)));
    second.handle(roster(adverts), START_MS, rng).unwrap();
}

#[test]
fn an_agent_that_pins_another_authority_takes_no_verdict_over() {
    let memo = Arc::new(VerifiedMemo::new());
    let mut agents: Vec<_> =
        (0..SIZE).map(|index| advertised(index, &authority(), &memo)).collect();
    let mut adverts: Vec<_> = agents.iter().map(|(_, _, advert)| advert.clone()).collect();
    let other = SecretKey::from_seed(&[77; 32]);
    let (mut stranger, mut stranger_rng, own) = advertised(5, &other, &memo);
    let (first, rng, _) = &mut agents[0];
    first.handle(roster(adverts.clone()), START_MS, rng).unwrap();
    assert!(refused(stranger.handle(roster(adverts.clone()), START_MS, &mut stranger_rng)));
    adverts[5] = own;
    assert!(refused(stranger.handle(roster(adverts), START_MS, &mut stranger_rng)));
}

#[test]
fn a_membership_that_expires_between_two_agents_is_noticed_by_the_second() {
    let memo = Arc::new(VerifiedMemo::new());
    let mut agents: Vec<_> =
        (0..SIZE).map(|index| advertised(index, &authority(), &memo)).collect();
    let adverts: Vec<_> = agents.iter().map(|(_, _, advert)| advert.clone()).collect();
    let expires_ms = membership(0, SIZE).not_after_s * 1_000;
    let (first, rng, _) = &mut agents[0];
    first.handle(roster(adverts.clone()), expires_ms, rng).unwrap();
    let (second, rng, _) = &mut agents[1];
    assert!(refused(second.handle(roster(adverts), expires_ms + 1_000, rng)));
}
