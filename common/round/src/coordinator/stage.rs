//! The phase at hand, and what differs from phase to phase.

use std::collections::BTreeSet;

use chorale_wire::{AgentId, Epoch, Slot};

use super::{
    abort::{Aborting, End},
    accept::Accepting,
    advertise::Advertising,
    agree::Agreeing,
    collect::Collecting,
    conclude::Concluding,
    deal::Dealing,
    desk::Desk,
    gather::Gathering,
    in_round::{EpochState, InRound},
    reveal::Revealing,
    roster::RosterVoting,
};
use crate::roster::VerifiedRoster;

/// The phase at hand.
#[derive(Debug)]
pub(super) enum Stage {
    Idle,
    Advertising(Advertising),
    RosterVoting(RosterVoting),
    Dealing(Dealing),
    Accepting(Accepting),
    Between(EpochState),
    Gathering(Gathering),
    Collecting(Collecting),
    Agreeing(Agreeing),
    Revealing(Revealing),
    Concluding(Concluding),
    Aborting(Aborting),
}

impl Stage {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Idle => "without an epoch",
            Self::Advertising(_) => "waiting for adverts",
            Self::RosterVoting(_) => "waiting for roster votes",
            Self::Dealing(_) => "waiting for dealt shares",
            Self::Accepting(_) => "waiting for the shares to be accepted",
            Self::Between(_) => "between rounds",
            Self::Gathering(_) => "waiting for agents to be ready",
            Self::Collecting(_) => "waiting for masked vectors",
            Self::Agreeing(_) => "waiting for survivor votes",
            Self::Revealing(_) => "waiting for revealed shares",
            Self::Concluding(_) => "waiting for the model and the ledger",
            Self::Aborting(_) => "waiting for votes to abort",
        }
    }

    pub(super) fn deadline_ms(&self) -> Option<u64> {
        match self {
            Self::Idle | Self::Between(_) | Self::Concluding(_) => None,
            Self::Advertising(stage) => Some(stage.deadline_ms),
            Self::RosterVoting(stage) => Some(stage.deadline_ms),
            Self::Dealing(stage) => Some(stage.deadline_ms),
            Self::Accepting(stage) => Some(stage.deadline_ms),
            Self::Gathering(stage) => Some(stage.deadline_ms),
            Self::Collecting(stage) => Some(stage.deadline_ms),
            Self::Agreeing(stage) => Some(stage.deadline_ms),
            Self::Revealing(stage) => Some(stage.deadline_ms),
            Self::Aborting(stage) => Some(stage.deadline_ms),
        }
    }

    pub(super) fn is_due(&self, desk: &Desk, now_ms: u64) -> bool {
        let settled = match self {
            Self::Idle | Self::Between(_) | Self::Concluding(_) => return false,
            Self::Advertising(stage) => stage.settled(desk, now_ms),
            Self::RosterVoting(stage) => stage.settled(desk, now_ms),
            Self::Dealing(stage) => stage.settled(desk, now_ms),
            Self::Accepting(stage) => stage.settled(desk, now_ms),
            Self::Gathering(stage) => stage.settled(desk, now_ms),
            Self::Collecting(stage) => stage.settled(desk, now_ms),
            Self::Agreeing(stage) => stage.settled(desk, now_ms),
            Self::Revealing(stage) => stage.settled(desk, now_ms),
            Self::Aborting(stage) => stage.settled(),
        };
        settled || self.deadline_ms().is_some_and(|deadline_ms| now_ms >= deadline_ms)
    }

    pub(super) fn close(self, desk: &mut Desk, now_ms: u64) -> Self {
        match self {
            Self::Idle | Self::Between(_) | Self::Concluding(_) => self,
            Self::Advertising(stage) => stage.close(desk, now_ms),
            Self::RosterVoting(stage) => stage.close(desk, now_ms),
            Self::Dealing(stage) => stage.close(desk, now_ms),
            Self::Accepting(stage) => stage.close(desk, now_ms),
            Self::Gathering(stage) => stage.close(desk, now_ms),
            Self::Collecting(stage) => stage.close(desk, now_ms),
            Self::Agreeing(stage) => stage.close(desk, now_ms),
            Self::Revealing(stage) => stage.close(desk),
            Self::Aborting(stage) => stage.close(desk),
        }
    }

    pub(super) fn roster(&self) -> Option<&VerifiedRoster> {
        match self {
            Self::Idle | Self::Advertising(_) => None,
            Self::RosterVoting(stage) => Some(&stage.roster),
            Self::Dealing(stage) => Some(&stage.roster),
            Self::Accepting(stage) => Some(&stage.roster),
            other => other.epoch_state().map(|epoch| &*epoch.roster),
        }
    }

    pub(super) fn slot_of(&self, agent: &AgentId) -> Option<Slot> {
        self.roster()?.slot_of(agent)
    }

    pub(super) fn epoch_number(&self) -> Option<Epoch> {
        match self {
            Self::Advertising(stage) => Some(stage.epoch()),
            other => other.roster().map(VerifiedRoster::epoch),
        }
    }

    pub(super) fn epoch_state(&self) -> Option<&EpochState> {
        match self {
            Self::Between(epoch) => Some(epoch),
            other => other.round().map(|round| &round.epoch),
        }
    }

    pub(super) fn round(&self) -> Option<&InRound> {
        match self {
            Self::Gathering(stage) => Some(&stage.round),
            Self::Collecting(stage) => Some(&stage.round),
            Self::Agreeing(stage) => Some(&stage.round),
            Self::Revealing(stage) => Some(&stage.round),
            Self::Aborting(stage) => Some(&stage.round),
            Self::Concluding(stage) => Some(stage.round()),
            _ => None,
        }
    }

    /// Ends the round in progress, if there is one. Between COMMIT and the survivor certificate
    /// the agents vote on it first.
    pub(super) fn abort(self, end: End, desk: &mut Desk, now_ms: u64) -> Self {
        match self {
            Self::Gathering(stage) => stage.round.abort(end, desk),
            Self::Collecting(stage) => stage.abort(end, desk, now_ms),
            Self::Agreeing(stage) => stage.abort(end, desk, now_ms),
            Self::Revealing(stage) => stage.round.abort(end, desk),
            Self::Concluding(stage) => stage.into_round().abort(end, desk),
            other => other,
        }
    }

    pub(super) fn lost_mut(&mut self) -> Option<&mut BTreeSet<Slot>> {
        match self {
            Self::Between(epoch) => Some(&mut epoch.lost),
            Self::Gathering(stage) => Some(&mut stage.round.epoch.lost),
            Self::Collecting(stage) => Some(&mut stage.round.epoch.lost),
            Self::Agreeing(stage) => Some(&mut stage.round.epoch.lost),
            Self::Revealing(stage) => Some(&mut stage.round.epoch.lost),
            Self::Aborting(stage) => Some(&mut stage.round.epoch.lost),
            Self::Concluding(stage) => Some(stage.lost_mut()),
            _ => None,
        }
    }

    /// Sends an agent that said hello what it needs in this phase. `keys` says whether it holds
    /// the keys of the epoch at hand.
    pub(super) fn resume(&mut self, agent: &AgentId, keys: bool, desk: &mut Desk) {
        if let Self::Advertising(stage) = self {
            return stage.resume(agent, keys, desk);
        }
        let Some(slot) = self.slot_of(agent) else {
            let what = match self {
                Self::Idle => "an epoch to begin",
                _ => "the next epoch; the current one began without this agent",
            };
            return desk.waiting(agent, what);
        };
        if !keys && let Some(lost) = self.lost_mut() {
            lost.insert(slot);
            if let Self::Gathering(stage) = self {
                stage.lose(slot);
            }
            let what = "the next epoch; this agent restarted and lost its keys of the current one";
            return desk.waiting(agent, what);
        }
        match self {
            Self::Idle | Self::Advertising(_) => {}
            Self::RosterVoting(stage) => stage.resume(agent, slot, keys, desk),
            Self::Dealing(stage) => stage.resume(agent, slot, keys, desk),
            Self::Accepting(stage) => stage.resume(agent, slot, keys, desk),
            Self::Between(epoch) => match epoch.last_end.clone() {
                Some(message) => desk.send(agent, message),
                None => desk.waiting(agent, "the next round"),
            },
            Self::Gathering(stage) => stage.resume(slot, desk),
            Self::Collecting(stage) => stage.resume(slot, desk),
            Self::Agreeing(stage) => stage.resume(slot, desk),
            Self::Revealing(stage) => stage.resume(slot, desk),
            Self::Aborting(stage) => stage.resume(slot, desk),
            Self::Concluding(stage) => stage.round().send_waiting(slot, desk),
        }
    }
}
