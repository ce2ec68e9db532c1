//! Surplus noise: what comes off, what must stay, and who can spoil it.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;

use chorale_dp::Rational;
use chorale_plan::Mechanism;
use chorale_round::coordinator::{FaultKind, SurplusError};
use chorale_wire::{
    Signed, ToAgent, ToCoordinator,
    message::{NoiseLink, Reveal},
};
use support::{Break, World, agent_key};

const SIZE: usize = 9;

/// Nine agents of which three may drop out: three removable layers.
fn world() -> World {
    let mut world = World::new(SIZE, 1);
    world.mechanism = Mechanism::DiscreteGaussian {
        sigma_squared: Rational::from_integer(1u64 << 20),
        remove_surplus: true,
    };
    world
}

/// The links that agents revealed.
fn revealed(
    world: &mut World,
) -> std::rc::Rc<std::cell::RefCell<BTreeMap<usize, Option<NoiseLink>>>> {
    let links: std::rc::Rc<std::cell::RefCell<BTreeMap<usize, Option<NoiseLink>>>> =
        std::rc::Rc::default();
    let seen = std::rc::Rc::clone(&links);
    world.forge = Some(Box::new(move |index, message| {
        if let ToCoordinator::Reveal(reveal) = &message {
            seen.borrow_mut().insert(index, reveal.peek().unwrap().surplus);
        }
        vec![message]
    }));
    links
}

/// What is left is exactly the base layer when everybody survives; [`World`] checks the total.
#[test]
fn at_full_attendance_only_the_base_layer_stays() {
    let mut world = world();
    world.run_all();
    assert_eq!(world.completed.len(), 1);
    let completed = &world.completed[0];
    let layers = world.noise[&(0, 1)].len();
    assert!(layers > 1, "the rule tolerates drop-outs, so there are removable layers");
    let base = world.noise[&(0, 1)][0].variance.clone();
    let nine = Rational::from_integer(SIZE as u64);
    assert_eq!(completed.noise_variance, Some(&base * &nine));
    assert!(world.faults.is_empty(), "{:?}", world.faults);
}

/// An agent is lost before its vector: one layer more stays, and no link of it is known.
#[test]
fn noise_is_given_up_for_the_certified_survivors_only() {
    let mut whole = world();
    let all = revealed(&mut whole);
    whole.run_all();
    // Six messages before the vector: hello, advert, vote, shares, acceptance, READY.
    let mut short = world();
    let fewer = revealed(&mut short);
    short.breaks = Some(Break { agent: 4, after: 6, sending: true, returns: false });
    short.run_all();
    assert_eq!(short.completed[0].agents.len(), SIZE - 1);
    // The same seeds were drawn in both; the links differ, because they open other layers.
    for index in (0..SIZE).filter(|index| *index != 4) {
        let (all, fewer) = (all.borrow()[&index].clone(), fewer.borrow()[&index].clone());
        assert!(all.is_some() && all != fewer, "{index}");
    }
    assert!(!fewer.borrow().contains_key(&4));
}

/// Without a certificate nothing is revealed: neither shares nor noise.
#[test]
fn an_aborted_round_gives_up_no_noise() {
    let mut world = world();
    let links = revealed(&mut world);
    world.tamper = Some(Box::new(|_, message| match message {
        ToAgent::SurvivorCertificate(_) => ToAgent::Waiting(chorale_wire::message::Waiting {
            what: chorale_wire::message::Reason::new("lost on the way"),
        }),
        other => other,
    }));
    world.run_all();
    assert!(world.completed.is_empty());
    assert!(links.borrow().is_empty());
}

#[test]
fn a_wrong_or_missing_link_is_named_and_its_noise_stays() {
    let lies: [fn(Option<NoiseLink>) -> Option<NoiseLink>; 2] =
        [|_| None, |link| link.map(|link| NoiseLink(link.0.map(|byte| byte ^ 1)))];
    for lie in lies {
        let mut world = world();
        world.keep_surplus.insert(3);
        world.forge = Some(Box::new(move |index, message| match message {
            ToCoordinator::Reveal(reveal) if index == 3 => {
                let mut reveal: Reveal = reveal.peek().unwrap();
                reveal.surplus = lie(reveal.surplus);
                let signed = Signed::sign(&reveal, &agent_key(index)).unwrap();
                vec![ToCoordinator::Reveal(signed)]
            }
            other => vec![other],
        }));
        world.run_all();
        // The total is right, with agent 3's surplus in it, and its variance says so.
        assert_eq!(world.completed.len(), 1);
        let layers = &world.noise[&(0, 1)];
        let sum = layers.iter().fold(Rational::zero(), |sum, layer| &sum + &layer.variance);
        let eight = &layers[0].variance * &Rational::from_integer(8u64);
        assert_eq!(world.completed[0].noise_variance, Some(&eight + &sum));
        let blamed = world.faults.iter().any(|fault| {
            let surplus = matches!(
                fault.kind,
                FaultKind::Surplus(SurplusError::Missing | SurplusError::NotInChain(_))
            );
            surplus && fault.agent == support::agent_id(3)
        });
        assert!(blamed, "{:?}", world.faults);
    }
}
