//! Heads of the ledger: agents cosign one history and no other.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{cell::RefCell, rc::Rc};

use chorale_round::{
    agent::{self, Action, Fact, Fault, HeadError},
    coordinator::FaultKind,
};
use chorale_wire::{
    Digest, SecretKey, Signature, Signed, SignedBytes, ToAgent, ToCoordinator,
    message::{HeadLink, HeadOffer, LEDGER_ENTRY_CONTEXT, LedgerHead},
};
use support::*;

const SIZE: usize = 6;
/// ⌊(6 + 1)/2⌋ + 1.
const T: usize = 4;

/// A ledger as far as its heads go.
#[derive(Clone)]
struct History {
    heads: Vec<LedgerHead>,
    links: Vec<HeadLink>,
}

impl History {
    fn new(entries: u64) -> Self {
        let first = LedgerHead { seq: 0, hash: Digest::plain(b"genesis") };
        let mut history = Self { heads: vec![first], links: Vec::new() };
        (1..entries).for_each(|entry| history.append(&entry.to_be_bytes()));
        history
    }

    fn append(&mut self, entry: &[u8]) {
        let link = HeadLink { entry: Digest::plain(entry), time_s: 1_000 + entry.len() as u64 };
        self.heads.push(self.heads.last().unwrap().after(&link).unwrap());
        self.links.push(link);
    }

    /// The head of entry `to`, and how it follows entry `from`.
    fn offer(&self, from: usize, to: usize) -> HeadOffer {
        self.offer_signed(from, to, &coordinator_key())
    }

    fn offer_signed(&self, from: usize, to: usize, key: &SecretKey) -> HeadOffer {
        let head = self.heads[to];
        let signed = SignedBytes::sign(LEDGER_ENTRY_CONTEXT, head.hash.as_bytes().to_vec(), key);
        HeadOffer {
            head,
            signature: Signature::from_bytes(*signed.signature()),
            from: self.heads[from],
            links: self.links[from..to].to_vec(),
        }
    }
}

fn agent() -> agent::Machine {
    agent::Machine::new(identity(0, SIZE), None, None)
}

fn show(machine: &mut agent::Machine, offer: HeadOffer) -> Result<Vec<Action>, Fault> {
    machine.handle(ToAgent::LedgerHead(offer), START_MS, &mut rng(1))
}

fn cosigned(actions: &[Action]) -> LedgerHead {
    let Some(Action::Send(ToCoordinator::HeadVote(vote))) = actions.last() else {
        panic!("{actions:?}")
    };
    *vote.verify(&agent_key(0).public()).unwrap()
}

fn world() -> World {
    let mut world = World::new(SIZE, 1);
    world.run_all();
    assert!(world.faults.is_empty(), "{:?}", world.faults);
    world
}

#[test]
fn a_head_is_cosigned_on_the_disk_first_and_again_in_the_same_words() {
    let (mut machine, history) = (agent(), History::new(9));
    let actions = show(&mut machine, history.offer(0, 3)).unwrap();
    assert!(matches!(
        &actions[..],
        [Action::Remember(Fact::HeadCosigned { head }), Action::Send(_)] if *head == history.heads[3]
    ));
    assert_eq!(cosigned(&actions), history.heads[3]);
    // After a lost connection: the same signature, and nothing new to remember.
    let again = show(&mut machine, history.offer(1, 3)).unwrap();
    assert!(matches!(&again[..], [Action::Send(_)]));
    assert_eq!(cosigned(&again), history.heads[3]);
    // What extends it, wherever the links begin at or before it.
    for (from, to) in [(3, 5), (0, 6), (5, 8)] {
        let actions = show(&mut machine, history.offer(from, to)).unwrap();
        assert_eq!(cosigned(&actions), history.heads[to]);
    }
    assert_eq!(machine.memory().last_head(), Some(&history.heads[8]));
}

#[test]
fn a_fork_is_refused_at_the_same_number_and_at_a_later_one() {
    let mut history = History::new(4);
    let mut other = history.clone();
    (0..3).for_each(|_| history.append(b"one"));
    (0..3).for_each(|_| other.append(b"other"));
    let mut machine = agent();
    show(&mut machine, history.offer(0, 5)).unwrap();
    for offer in [other.offer(0, 5), other.offer(0, 6), other.offer(5, 6)] {
        let fault = show(&mut machine, offer).unwrap_err();
        assert!(
            matches!(fault, Fault::Head(HeadError::Fork { signed: 5, .. })),
            "{fault:?}: {fault}"
        );
    }
    assert_eq!(machine.memory().last_head(), Some(&history.heads[5]));
    assert_eq!(cosigned(&show(&mut machine, history.offer(5, 6)).unwrap()), history.heads[6]);
}

#[test]
fn a_ledger_that_goes_back_is_refused() {
    let (mut machine, history) = (agent(), History::new(8));
    show(&mut machine, history.offer(0, 6)).unwrap();
    let fault = show(&mut machine, history.offer(0, 4)).unwrap_err();
    assert!(matches!(fault, Fault::Head(HeadError::Back { given: 4, signed: 6 })), "{fault}");
}

#[test]
fn links_that_lead_elsewhere_and_foreign_signatures_are_refused() {
    let (mut machine, history) = (agent(), History::new(8));
    show(&mut machine, history.offer(0, 3)).unwrap();
    let mut short = history.offer(0, 6);
    short.links.pop();
    let mut long = history.offer(0, 6);
    long.links.push(long.links[0]);
    let mut changed = history.offer(0, 6);
    changed.links[5].time_s += 1;
    let mut swapped = history.offer(0, 6);
    swapped.head.seq = 7;
    let mut backwards = history.offer(0, 6);
    backwards.from.seq = u64::MAX;
    for (offer, asks) in
        [(short, false), (long, false), (changed, false), (swapped, false), (backwards, true)]
    {
        match show(&mut machine, offer) {
            Err(fault) => {
                assert!(matches!(fault, Fault::Head(HeadError::Links { .. })), "{fault}");
                assert!(!asks);
            }
            // Links that begin beyond the own last head: it asks for those before.
            Ok(actions) => assert!(
                asks && matches!(&actions[..], [Action::Send(ToCoordinator::HeadFrom(_))]),
                "{actions:?}"
            ),
        }
    }
    let forged = history.offer_signed(0, 6, &agent_key(1));
    let fault = show(&mut machine, forged).unwrap_err();
    assert!(matches!(fault, Fault::Head(HeadError::Signature { seq: 6, .. })), "{fault}");
    assert_eq!(machine.memory().last_head(), Some(&history.heads[3]));
}

#[test]
fn a_restarted_agent_holds_to_what_its_disk_says() {
    let mut history = History::new(4);
    let mut world = world();
    let actions = world.coordinator.offer_head(history.offer(0, 3));
    world.act(actions);
    world.settle_queue();
    let disk = world.nodes[2].disk.clone();
    world.restart(2, disk);
    let mut other = history.clone();
    history.append(b"one");
    other.append(b"other");
    other.heads[3].hash = Digest::plain(b"rewritten");
    other.heads[4] = other.heads[3].after(&other.links[3]).unwrap();
    let message = ToAgent::LedgerHead(other.offer(3, 4));
    let fault = world.nodes[2].machine.handle(message, START_MS, &mut rng(2)).unwrap_err();
    assert!(matches!(fault, Fault::Head(HeadError::Fork { .. })), "{fault}");
}

#[test]
fn t_cosignatures_make_a_head_and_fewer_do_not() {
    let (mut world, history) = (world(), History::new(8));
    let answers = Rc::new(RefCell::new(0));
    let counter = answers.clone();
    // Only T - 1 of the cosignatures arrive.
    world.forge = Some(Box::new(move |_, message| {
        if matches!(message, ToCoordinator::HeadVote(_)) {
            *counter.borrow_mut() += 1;
            if *counter.borrow() >= T {
                return Vec::new();
            }
        }
        vec![message]
    }));
    let actions = world.coordinator.offer_head(history.offer(0, 3));
    world.act(actions);
    world.settle_queue();
    assert_eq!((*answers.borrow(), world.cosigned.len()), (SIZE, 0));
    world.forge = None;
    let actions = world.coordinator.offer_head(history.offer(3, 5));
    world.act(actions);
    world.settle_queue();
    let [cosigned] = &world.cosigned[..] else { panic!("{:?}", world.cosigned) };
    assert_eq!((cosigned.head, cosigned.votes.len()), (history.heads[5], T));
    for (agent, signature) in &cosigned.votes {
        let index = (0..SIZE).find(|index| agent_id(*index) == *agent).unwrap();
        let vote = Signed::with_signature(&cosigned.head, *signature).unwrap();
        vote.verify(&agent_key(index).public()).unwrap();
    }
    assert!(world.faults.is_empty(), "{:?}", world.faults);
}

/// One half sees one history, the other half another: neither gets T honest cosignatures.
#[test]
fn a_fork_shown_to_two_halves_is_cosigned_by_neither() {
    let mut history = History::new(4);
    let mut world = world();
    let mut other = history.clone();
    history.append(b"one");
    other.append(b"other");
    let shown = other.offer(0, 4);
    world.tamper = Some(Box::new(move |index, message| match message {
        ToAgent::LedgerHead(_) if index < SIZE / 2 => ToAgent::LedgerHead(shown.clone()),
        other => other,
    }));
    let actions = world.coordinator.offer_head(history.offer(0, 4));
    world.act(actions);
    world.settle_queue();
    assert!(world.cosigned.is_empty());
    let foreign = |fault: &chorale_round::coordinator::Fault| {
        matches!(fault.kind, FaultKind::Elsewhere { message: "cosignature" })
    };
    assert_eq!(world.faults.iter().filter(|fault| foreign(fault)).count(), SIZE / 2);
    // From here on each half holds to its own, and no later head can be cosigned by T.
    world.tamper = None;
    history.append(b"later");
    let actions = world.coordinator.offer_head(history.offer(0, 5));
    world.act(actions);
    world.settle_queue();
    assert!(world.cosigned.is_empty());
    for node in &world.nodes[..SIZE / 2] {
        assert!(
            node.faults.iter().any(|fault| matches!(fault, Fault::Head(HeadError::Fork { .. })))
        );
    }
}

#[test]
fn forged_and_foreign_cosignatures_do_not_count() {
    let (mut world, history) = (world(), History::new(5));
    let head = history.heads[4];
    world.forge = Some(Box::new(move |index, message| match message {
        // Three agents sign with another key, or another head.
        ToCoordinator::HeadVote(_) if index < 2 => {
            vec![ToCoordinator::HeadVote(Signed::sign(&head, &agent_key(5)).unwrap())]
        }
        ToCoordinator::HeadVote(_) if index == 2 => {
            let other = LedgerHead { hash: Digest::plain(b"other"), ..head };
            vec![ToCoordinator::HeadVote(Signed::sign(&other, &agent_key(2)).unwrap())]
        }
        other => vec![other],
    }));
    let actions = world.coordinator.offer_head(history.offer(0, 4));
    world.act(actions);
    world.settle_queue();
    assert!(world.cosigned.is_empty());
    assert_eq!(world.faults.len(), 3, "{:?}", world.faults);
}

#[test]
fn who_was_away_is_shown_what_came_since_and_who_comes_back_is_asked_again() {
    let (mut world, history) = (world(), History::new(12));
    let actions = world.coordinator.offer_head(history.offer(0, 3));
    world.act(actions);
    world.settle_queue();
    world.disconnect(4);
    let actions = world.coordinator.offer_head(history.offer(3, 6));
    world.act(actions);
    world.settle_queue();
    // Back for the head after next: the links begin after its own last head.
    let actions = world.coordinator.offer_head(history.offer(6, 9));
    world.act(actions);
    world.settle_queue();
    world.connect(4);
    world.settle_queue();
    assert_eq!(world.wanted, [(agent_id(4), history.heads[3])]);
    let message = ToAgent::LedgerHead(history.offer(3, 9));
    let machine = &mut world.nodes[4].machine;
    let actions = machine.handle(message, START_MS, &mut rng(3)).unwrap();
    assert_eq!(machine.memory().last_head(), Some(&history.heads[9]));
    world.act_at_agent(4, actions);
    world.settle_queue();
    assert!(world.faults.is_empty(), "{:?}", world.faults);
}
