//! Who may be blamed, and for what: an agent that neither lied nor had trouble with its line must
//! not be left out of an epoch, and nobody but a liar may be blamed for a round.

use std::collections::BTreeSet;

use chorale_round::{
    AdvertError, VoteError, agent,
    coordinator::{ContributionError, EnvelopesError, Fault, FaultKind},
};
use chorale_wire::AgentId;

use crate::{oracle::Failure, trace::story};

/// What is known about everybody from outside.
#[derive(Default)]
pub(crate) struct Court {
    /// They lie.
    pub(crate) liars: BTreeSet<AgentId>,
    /// A message of theirs was lost, came late or came again, or they were gone for a while.
    troubled: BTreeSet<AgentId>,
    /// A liar's word stands against theirs.
    disputed: BTreeSet<AgentId>,
    /// The coordinator lies: what it says about others counts for nothing.
    coordinator_lies: bool,
    /// Messages arrive once and in order.
    quiet: bool,
}

impl Court {
    pub(crate) fn new(liars: BTreeSet<AgentId>, coordinator_lies: bool, quiet: bool) -> Self {
        Self { liars, coordinator_lies, quiet, ..Self::default() }
    }

    pub(crate) fn is_liar(&self, agent: &AgentId) -> bool {
        self.liars.contains(agent)
    }

    pub(crate) fn trouble(&mut self, agent: &AgentId) {
        self.troubled.insert(agent.clone());
    }

    /// `agent` complains about the shares of `dealer`, to which the coordinator listens.
    pub(crate) fn complaint(&mut self, agent: &AgentId, dealer: &AgentId) -> Result<(), Failure> {
        let lies = [agent, dealer].map(|party| self.is_liar(party));
        match lies {
            [true, _] => self.disputed.insert(dealer.clone()),
            [false, true] => self.disputed.insert(agent.clone()),
            [false, false] if self.coordinator_lies => true,
            [false, false] => {
                let what = format!("{agent} complains about its shares");
                return Err(Failure::Blamed { agent: dealer.clone(), what });
            }
        };
        Ok(())
    }

    /// Agents left out of an epoch.
    pub(crate) fn epoch(&self, blamed: &[(AgentId, String)]) -> Result<(), Failure> {
        self.all(blamed, |agent| {
            self.is_liar(agent) || self.troubled.contains(agent) || self.disputed.contains(agent)
        })
    }

    /// Agents blamed for an aborted round.
    pub(crate) fn round(&self, blamed: &[(AgentId, String)]) -> Result<(), Failure> {
        self.all(blamed, |agent| self.is_liar(agent))
    }

    /// A message that the coordinator dropped.
    pub(crate) fn fault(&self, fault: &Fault) -> Result<(), Failure> {
        let guilty = match &fault.kind {
            FaultKind::Share { dealer } => self.is_liar(&fault.agent) || self.is_liar(dealer),
            kind => {
                let late = harmless(kind) || (!self.quiet && from_another_epoch(kind));
                late || self.is_liar(&fault.agent)
            }
        };
        if guilty || self.coordinator_lies {
            return Ok(());
        }
        Err(Failure::Blamed { agent: fault.agent.clone(), what: story(fault) })
    }

    /// A message that an agent refused. An agent that has seen no votes since it started refuses a
    /// roster too small to hold a witness of what it may have forgotten, and is left out for it.
    pub(crate) fn agent_fault(
        &mut self,
        agent: &AgentId,
        fault: &agent::Fault,
    ) -> Result<(), Failure> {
        if matches!(fault, agent::Fault::Roster(agent::RosterRefused::Unwitnessed { .. })) {
            self.trouble(agent);
            return Ok(());
        }
        let own = fault.blame() == agent::Blame::Own;
        let expected = self.coordinator_lies || !self.quiet || self.is_liar(agent);
        if own || !expected {
            let what = format!("it refuses what an honest coordinator sent: {}", story(fault));
            return Err(Failure::Blamed { agent: agent.clone(), what });
        }
        Ok(())
    }

    fn all(
        &self,
        blamed: &[(AgentId, String)],
        guilty: impl Fn(&AgentId) -> bool,
    ) -> Result<(), Failure> {
        match blamed.iter().find(|(agent, _)| !guilty(agent)) {
            Some((agent, what)) if !self.coordinator_lies => {
                Err(Failure::Blamed { agent: agent.clone(), what: what.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// What happens to the honest too: a message that comes after its time.
fn harmless(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::OutOfPhase { .. }
            | FaultKind::BeforeHello { .. }
            | FaultKind::NoPart
            | FaultKind::Elsewhere { .. }
            | FaultKind::Advert(AdvertError::OtherEpoch)
            | FaultKind::Vote(VoteError::Elsewhere { .. })
            | FaultKind::Envelopes(EnvelopesError::Elsewhere)
            | FaultKind::Contribution(
                ContributionError::Late | ContributionError::Elsewhere | ContributionError::NoPart
            )
    )
}

/// A message of an epoch in which the agent had another place, or that it had no place in: only
/// a line that delays and repeats brings it.
fn from_another_epoch(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Vote(VoteError::Slot { .. })
            | FaultKind::Envelopes(EnvelopesError::Recipients)
            | FaultKind::Contribution(ContributionError::NotInRoster { .. })
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn agent(name: &str) -> AgentId {
        AgentId::new(name).unwrap()
    }

    fn court() -> Court {
        Court { liars: [agent("liar")].into(), ..Court::default() }
    }

    #[test]
    fn only_liars_and_the_unlucky_may_be_left_out() {
        let mut court = court();
        let blamed = |name| [(agent(name), "did not vote".to_string())];
        assert!(court.epoch(&blamed("liar")).is_ok());
        assert!(matches!(court.epoch(&blamed("honest")), Err(Failure::Blamed { .. })));
        court.trouble(&agent("honest"));
        assert!(court.epoch(&blamed("honest")).is_ok());
        // Trouble with the line is no excuse for blaming somebody for wrong shares.
        assert!(matches!(court.round(&blamed("honest")), Err(Failure::Blamed { .. })));
    }

    #[test]
    fn a_complaint_needs_a_liar_on_one_side() {
        let mut court = court();
        assert!(court.complaint(&agent("one"), &agent("two")).is_err());
        court.complaint(&agent("liar"), &agent("two")).unwrap();
        court.complaint(&agent("one"), &agent("liar")).unwrap();
        let reason = "word against word".to_string();
        assert!(court.epoch(&[(agent("one"), reason.clone()), (agent("two"), reason)]).is_ok());
    }

    #[test]
    fn a_share_that_does_not_fit_is_a_liars() {
        let share = |holder: &str, dealer: &str| Fault {
            agent: agent(holder),
            kind: FaultKind::Share { dealer: agent(dealer) },
        };
        assert!(court().fault(&share("one", "liar")).is_ok());
        assert!(court().fault(&share("liar", "one")).is_ok());
        assert!(court().fault(&share("one", "two")).is_err());
        let late = Fault { agent: agent("one"), kind: FaultKind::NoPart };
        assert!(court().fault(&late).is_ok());
    }
}
