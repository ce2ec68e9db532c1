//! One attempt after the other to set up an epoch, each under a new epoch number.

use std::collections::BTreeSet;

use chorale_wire::{
    AgentId, Epoch, ToAgent,
    message::{EpochOpen, Reason},
};

use super::{action::Action, advertise::Advertising, desk::Desk, stage::Stage};
use crate::roster::Expectation;

/// Most restarts of an epoch's setup. Each gives whoever can make a restart happen one more draw
/// of the graph seed, under an epoch number of its own: δ is charged by epoch numbers
/// ([`chorale_plan::graph_delta`]), so that a restart is paid for like an epoch.
pub(super) const RESTARTS_MAX: u32 = 4;

/// What stays the same over the attempts, and the current attempt's number and epoch.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) epoch: Epoch,
    pub(super) rounds: u16,
    /// Agents that are still invited.
    pub(super) invited: BTreeSet<AgentId>,
    restarts: u32,
    excluded: Vec<(AgentId, String)>,
}

impl Setup {
    pub(super) fn begin(
        invited: BTreeSet<AgentId>,
        rounds: u16,
        desk: &mut Desk,
        now_ms: u64,
    ) -> Stage {
        let setup = Self { epoch: Epoch(0), rounds, invited, restarts: 0, excluded: Vec::new() };
        setup.attempt(desk, now_ms)
    }

    /// Starts an attempt under the next epoch number.
    fn attempt(mut self, desk: &mut Desk, now_ms: u64) -> Stage {
        if let Err(error) = desk.config.rule.check(self.invited.len() as u32) {
            return self.fail(desk, format!("too few agents are left: {error}"));
        }
        let Some(number) = desk.last_epoch.0.checked_add(1) else {
            return self.fail(desk, "no epoch number is left".to_string());
        };
        self.epoch = Epoch(number);
        desk.last_epoch = self.epoch;
        let open = EpochOpen {
            federation: desk.config.federation.clone(),
            epoch: self.epoch,
            rounds: self.rounds,
        };
        let Some(signed) = desk.sign(&open) else {
            return self.fail(desk, "EPOCH-OPEN could not be encoded".to_string());
        };
        desk.act(Action::EpochStarted { epoch: self.epoch });
        Stage::Advertising(Advertising::open(self, signed, desk, now_ms))
    }

    /// Gives up this attempt's epoch number and starts another attempt without `excluded`.
    pub(super) fn restart(
        mut self,
        excluded: Vec<(AgentId, String)>,
        desk: &mut Desk,
        now_ms: u64,
    ) -> Stage {
        let names: Vec<String> =
            excluded.iter().map(|(agent, why)| format!("{agent}: {why}")).collect();
        let reason = format!("setup starts again without {}", names.join("; "));
        self.void(desk, &reason);
        for (agent, why) in excluded {
            self.exclude(agent, why);
        }
        if self.restarts == RESTARTS_MAX {
            return self.fail(desk, format!("{RESTARTS_MAX} restarts did not suffice"));
        }
        self.restarts += 1;
        self.attempt(desk, now_ms)
    }

    /// Gives the epoch up.
    pub(super) fn fail(mut self, desk: &mut Desk, reason: String) -> Stage {
        if self.epoch != Epoch(0) {
            self.void(desk, &reason);
        }
        desk.act(Action::EpochFailed {
            epoch: self.epoch,
            reason,
            blamed: std::mem::take(&mut self.excluded),
        });
        Stage::Idle
    }

    /// Leaves an agent out of this epoch.
    pub(super) fn exclude(&mut self, agent: AgentId, why: String) {
        if self.invited.remove(&agent) {
            self.excluded.push((agent, why));
        }
    }

    pub(super) fn into_excluded(self) -> Vec<(AgentId, String)> {
        self.excluded
    }

    /// What this attempt's adverts are verified against.
    pub(super) fn expectation<'a>(&self, desk: &'a Desk, now_ms: u64) -> Expectation<'a> {
        Expectation {
            federation: &desk.config.federation,
            epoch: self.epoch,
            rounds: usize::from(self.rounds),
            authority: &desk.config.authority,
            now_s: now_ms / 1000,
        }
    }

    fn void(&self, desk: &mut Desk, reason: &str) {
        for agent in &self.invited {
            let void = ToAgent::EpochVoid { epoch: self.epoch, reason: Reason::new(reason) };
            desk.send(agent, void);
        }
    }
}
