//! The states that the machine holds, and how one round's state becomes the next.

use chorale_wire::{Digest, SessionId};

use super::{
    advertise::Advertised,
    commit::{AwaitingCommit, Committed, Locked},
    deal::Dealt,
    fault::Fault,
    identity::Kept,
    keys::EpochKeys,
    masked::Masked,
    open::{Party, RoundOpened},
    reveal::Revealed,
    roster::RosterVoted,
    survivors::SurvivorVoted,
};

#[derive(Debug)]
pub(super) enum State {
    Idle,
    Advertised(Advertised),
    RosterVoted(RosterVoted),
    Dealt(Dealt),
    Keyed(Box<EpochKeys>, Option<Running>),
}

/// A round in progress.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) state: RoundState,
    pub(super) deadline_ms: u64,
}

#[derive(Debug)]
pub(super) enum RoundState {
    Opened(RoundOpened),
    AwaitingCommit(AwaitingCommit),
    Committed(Committed),
    Masked(Masked),
    SurvivorVoted(SurvivorVoted),
    Revealed(Revealed),
}

/// The next state and what came out of it, or the state as it was and the fault; `None` when the
/// state does not know the message at all.
pub(super) type Transition<T> = Result<(RoundState, T), Box<(RoundState, Option<Fault>)>>;

pub(super) fn foreign<T>(state: RoundState) -> Transition<T> {
    Err(Box::new((state, None)))
}

pub(super) fn step<S, N, T, E: Into<Fault>>(
    result: Result<(N, T), Kept<S, E>>,
    next: impl FnOnce(N) -> RoundState,
    back: impl FnOnce(S) -> RoundState,
) -> Transition<T> {
    match result {
        Ok((state, value)) => Ok((next(state), value)),
        Err(Kept { state, error }) => Err(Box::new((back(*state), Some(error.into())))),
    }
}

impl State {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Idle => "without an epoch",
            Self::Advertised(_) => "waiting for the roster",
            Self::RosterVoted(_) => "waiting for all votes on the roster",
            Self::Dealt(_) => "waiting for the other agents' shares",
            Self::Keyed(_, None) => "between rounds",
            Self::Keyed(_, Some(running)) => running.state.name(),
        }
    }
}

impl RoundState {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Opened(_) => "training",
            Self::AwaitingCommit(_) => "waiting for the cohort",
            Self::Committed(_) => "masking its vector",
            Self::Masked(_) => "waiting for the survivors",
            Self::SurvivorVoted(_) => "waiting for the survivors' votes",
            Self::Revealed(_) => "waiting for the result",
        }
    }

    pub(super) fn party(&self) -> &Party {
        match self {
            Self::Opened(state) => &state.party,
            Self::AwaitingCommit(state) => &state.party,
            Self::Committed(state) => &state.party,
            Self::Masked(state) => &state.party,
            Self::SurvivorVoted(state) => &state.party,
            Self::Revealed(state) => &state.party,
        }
    }

    /// Whether the agent has voted for survivors.
    pub(super) fn has_voted(&self) -> bool {
        matches!(self, Self::SurvivorVoted(_) | Self::Revealed(_))
    }

    /// What is left when the round's secrets are wiped.
    pub(super) fn into_party(self) -> Party {
        match self {
            Self::Opened(state) => state.party,
            Self::AwaitingCommit(state) => state.party,
            Self::Committed(state) => state.party,
            Self::Masked(state) => state.party,
            Self::SurvivorVoted(state) => state.party,
            Self::Revealed(state) => state.party,
        }
    }

    pub(super) fn locked(&self) -> Option<&Locked> {
        match self {
            Self::Opened(_) | Self::AwaitingCommit(_) => None,
            Self::Committed(state) => Some(&state.locked),
            Self::Masked(state) => Some(&state.locked),
            Self::SurvivorVoted(state) => Some(&state.locked),
            Self::Revealed(state) => Some(&state.locked),
        }
    }

    pub(super) fn session(&self) -> Option<SessionId> {
        self.locked().map(|locked| locked.session)
    }

    pub(super) fn commit(&self) -> Option<Digest> {
        self.locked().map(|locked| locked.commit)
    }
}
