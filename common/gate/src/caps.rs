//! The caps of an agent's own policy: for each federation by itself, or over all federations that
//! this agent's people are in.

use std::collections::BTreeMap;

use chorale_dp::{Budgets, Cap, CapExceeded, Rho, Settlement as Ended, Standing};
use chorale_plan::cost_of_units;
use chorale_wire::{FederationId, RoundNumber, message::StatedRound};

use crate::journal::Charge;

/// One cap of an agent beside the lifetime's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCap {
    /// The cap.
    pub cap: Cap,
    /// Whether the charges of all federations in this journal count together: a new federation over
    /// the same people then begins with what the old one left.
    pub across_federations: bool,
}

/// All caps of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCaps {
    /// Over the lifetime of each federation.
    pub lifetime: Rho,
    /// Windows, families, and caps over all federations.
    pub others: Vec<AgentCap>,
}

impl From<Rho> for AgentCaps {
    fn from(lifetime: Rho) -> Self {
        Self { lifetime, others: Vec::new() }
    }
}

/// What counts in the caps beside the lifetimes'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    caps: Vec<Cap>,
    each: BTreeMap<FederationId, Budgets<RoundNumber>>,
    across: Budgets<(FederationId, RoundNumber)>,
}

impl Kept {
    pub(crate) fn new(caps: &[AgentCap]) -> Self {
        let of = |across: bool| {
            let chosen = caps.iter().filter(move |own| own.across_federations == across);
            chosen.map(|own| own.cap.clone())
        };
        Self { caps: of(false).collect(), each: BTreeMap::new(), across: Budgets::new(of(true)) }
    }

    pub(crate) fn admit(&self, charge: &Charge) -> Result<(), Box<CapExceeded>> {
        let Some(rho) = &charge.rho else { return Ok(()) };
        match self.each.get(&charge.federation) {
            Some(budgets) => budgets.admit(&charge.task, rho, charge.time_s)?,
            None => Budgets::<RoundNumber>::new(self.caps.iter().cloned()).admit(
                &charge.task,
                rho,
                charge.time_s,
            )?,
        }
        self.across.admit(&charge.task, rho, charge.time_s)
    }

    pub(crate) fn charge(&mut self, charge: &Charge) {
        let Some(rho) = &charge.rho else { return };
        self.reserve(&charge.federation, charge.round, Some(&charge.task), rho, charge.time_s);
    }

    /// Rounds that others stated: nobody knows their task any more, and they ended by now.
    pub(crate) fn restore(
        &mut self,
        federation: &FederationId,
        rounds: &[StatedRound],
        time_s: u64,
    ) {
        for stated in rounds {
            let Some(units) = stated.cost else { continue };
            self.reserve(federation, stated.round, None, &cost_of_units(units), time_s);
            self.end(federation, stated.round, Ended::Spent, time_s);
        }
    }

    fn reserve(
        &mut self,
        federation: &FederationId,
        round: RoundNumber,
        task: Option<&str>,
        cost: &Rho,
        time_s: u64,
    ) {
        self.of(federation).reserve(round, task, cost, time_s);
        self.across.reserve((federation.clone(), round), task, cost, time_s);
    }

    pub(crate) fn end(
        &mut self,
        federation: &FederationId,
        round: RoundNumber,
        how: Ended,
        time_s: u64,
    ) {
        self.of(federation).settle(&round, how, time_s);
        self.across.settle(&(federation.clone(), round), how, time_s);
    }

    pub(crate) fn give_back(&mut self, federation: &FederationId, round: RoundNumber) {
        self.of(federation).give_back(&round);
        self.across.give_back(&(federation.clone(), round));
    }

    /// Every cap that holds for `federation`, those over all federations last.
    pub(crate) fn standing(&self, federation: &FederationId, now_s: u64) -> Vec<Standing> {
        let mut all = match self.each.get(federation) {
            Some(budgets) => budgets.standing(now_s),
            None => Budgets::<RoundNumber>::new(self.caps.iter().cloned()).standing(now_s),
        };
        all.extend(self.across.standing(now_s));
        all
    }

    fn of(&mut self, federation: &FederationId) -> &mut Budgets<RoundNumber> {
        let fresh = || Budgets::new(self.caps.iter().cloned());
        self.each.entry(federation.clone()).or_insert_with(fresh)
    }
}
