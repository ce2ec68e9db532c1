//! The time line of a federation, for people to read.

use chorale_round::{agent, coordinator};
use chorale_wire::{
    SlotSet, ToAgent, ToCoordinator,
    message::{ShareKind, Vote},
};

use crate::federation::START_MS;

/// Collects lines when it was asked to.
pub(crate) struct Timeline {
    lines: Option<Vec<String>>,
}

impl Timeline {
    pub(crate) fn new(wanted: bool) -> Self {
        Self { lines: wanted.then(Vec::new) }
    }

    pub(crate) fn note(&mut self, now_ms: u64, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let since_ms = now_ms.saturating_sub(START_MS);
            let (seconds, rest) = (since_ms / 1_000, since_ms % 1_000);
            lines.push(format!("{seconds:>6}.{rest:03}  {}", text()));
        }
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}

/// A message to an agent in a few words.
pub(crate) fn to_agent(message: &ToAgent) -> String {
    match message {
        ToAgent::Waiting(waiting) => format!("waiting for {}", waiting.what),
        ToAgent::EpochOpen(open) => match open.peek() {
            Ok(open) => format!("EPOCH-OPEN {} for {} rounds", open.epoch, open.rounds),
            Err(_) => "EPOCH-OPEN, unreadable".to_string(),
        },
        ToAgent::Roster(roster) => {
            format!("ROSTER of {} for epoch {}", roster.adverts.len(), roster.epoch)
        }
        ToAgent::RosterCertificate(certificate) => {
            format!("ROSTER-QC with {} votes", certificate.votes.len())
        }
        ToAgent::Shares(envelopes) => format!("SHARES, {} envelopes", envelopes.len()),
        ToAgent::RoundOpen(open) => {
            match open.clone().into_typed::<chorale_plan::RoundSpec>().peek() {
                Ok(spec) => format!("ROUND-OPEN {} with key {}", spec.round, spec.key_index),
                Err(_) => "ROUND-OPEN, unreadable".to_string(),
            }
        }
        ToAgent::Commit(commit) => match commit.peek() {
            Ok(commit) => format!("COMMIT {}", set(&commit.cohort)),
            Err(_) => "COMMIT, unreadable".to_string(),
        },
        ToAgent::Survivors(proven) => match proven.fixed.peek() {
            Ok(survivors) => {
                let (set, headers) = (set(&survivors.survivors), proven.headers.len());
                format!("SURVIVORS {set} with {headers} headers")
            }
            Err(_) => "SURVIVORS, unreadable".to_string(),
        },
        ToAgent::SurvivorCertificate(certificate) => {
            format!("QC with {} votes", certificate.signatures.len())
        }
        ToAgent::RoundResult(result) => match result.peek() {
            Ok(result) => format!("RESULT over {}", set(&result.survivors)),
            Err(_) => "RESULT, unreadable".to_string(),
        },
        ToAgent::Abort(abort) => match abort.peek() {
            Ok(abort) => {
                let ballot = if abort.ballot.is_some() { ", asks for votes" } else { "" };
                format!("ABORT of round {}: {}{ballot}", abort.round, abort.reason)
            }
            Err(_) => "ABORT, unreadable".to_string(),
        },
        ToAgent::AbortCertificate { certificate, .. } => {
            format!("abort certificate with {} votes", certificate.signatures.len())
        }
        ToAgent::EpochVoid { epoch, reason } => format!("epoch {epoch} is void: {reason}"),
        ToAgent::Finished { round, .. } => format!("finished after round {round}"),
        ToAgent::LedgerHead(offer) => format!("head {} of the ledger", offer.head.seq),
    }
}

/// A message to the coordinator in a few words.
pub(crate) fn to_coordinator(message: &ToCoordinator) -> String {
    match message {
        ToCoordinator::Hello(hello) => match hello.epoch {
            Some(epoch) => format!("Hello, with keys of epoch {epoch}"),
            None => "Hello, without keys".to_string(),
        },
        ToCoordinator::Advert(_) => "ADVERT".to_string(),
        ToCoordinator::RosterVote(_) => "roster vote".to_string(),
        ToCoordinator::Shares(envelopes) => format!("SHARES, {} envelopes", envelopes.len()),
        ToCoordinator::SharesAccepted(epoch) => format!("shares of epoch {epoch} accepted"),
        ToCoordinator::Complaint(complaint) => match complaint.peek() {
            Ok(complaint) => format!("complaint about slot {}", complaint.dealer),
            Err(_) => "complaint, unreadable".to_string(),
        },
        ToCoordinator::Ready(_) => "READY".to_string(),
        ToCoordinator::Refusal(refusal, reason) => match refusal.peek() {
            Ok(refusal) => format!("refusal of round {}: {reason}", refusal.round),
            Err(_) => "refusal, unreadable".to_string(),
        },
        ToCoordinator::SurvivorVote(vote) => match vote.peek().map(|vote| vote.vote) {
            Ok(Vote::Survivors(survivors)) => format!("vote for {}", set(&survivors)),
            Ok(Vote::Abort) => "vote to abort".to_string(),
            Err(_) => "vote, unreadable".to_string(),
        },
        ToCoordinator::Reveal(reveal) => match reveal.peek() {
            Ok(reveal) => {
                let of = |kind| reveal.shares.iter().filter(|share| share.kind == kind).count();
                let (seeds, keys) = (of(ShareKind::SelfSeed), of(ShareKind::PairwiseKey));
                format!("REVEAL of {seeds} seed shares and {keys} key shares")
            }
            Err(_) => "REVEAL, unreadable".to_string(),
        },
        ToCoordinator::HeadVote(vote) => match vote.peek() {
            Ok(head) => format!("cosignature under head {} of the ledger", head.seq),
            Err(_) => "cosignature, unreadable".to_string(),
        },
        ToCoordinator::HeadFrom(head) => format!("asks for the ledger after head {}", head.seq),
    }
}

/// What the coordinator reports, where it is worth a line.
pub(crate) fn coordinator_action(action: &coordinator::Action) -> Option<String> {
    let blame = |blamed: &[(chorale_wire::AgentId, String)]| -> String {
        blamed.iter().map(|(agent, why)| format!("; {agent} {why}")).collect()
    };
    match action {
        coordinator::Action::EpochStarted { epoch } => {
            Some(format!("tries to set up epoch {epoch}"))
        }
        coordinator::Action::EpochReady { epoch, agents, excluded, .. } => {
            Some(format!("epoch {epoch} of {} agents is ready{}", agents.len(), blame(excluded)))
        }
        coordinator::Action::EpochFailed { reason, blamed, .. } => {
            Some(format!("no epoch: {reason}{}", blame(blamed)))
        }
        coordinator::Action::CohortFixed { round, agents } => {
            Some(format!("the cohort of round {round} has {} agents", agents.len()))
        }
        coordinator::Action::RoundComplete(completed) => {
            let survivors = completed.agents.len();
            Some(format!("ROUND {} COMPLETE: the sum of {survivors}", completed.round))
        }
        coordinator::Action::RoundAborted { round, cause, reason, blamed, certificate, .. } => {
            let how = if certificate.is_some() { "CERTIFIED AS ABORTED" } else { "ABORTED" };
            Some(format!("ROUND {round} {how} ({cause:?}): {reason}{}", blame(blamed)))
        }
        coordinator::Action::HeadCosigned(cosigned) => Some(format!(
            "head {} of the ledger is cosigned by {}",
            cosigned.head.seq,
            cosigned.votes.len()
        )),
        coordinator::Action::HeadWanted { agent, from } => {
            Some(format!("{agent} wants the ledger after head {}", from.seq))
        }
        coordinator::Action::Fault(fault) => Some(format!("drops a message: {}", story(fault))),
        coordinator::Action::Send(..)
        | coordinator::Action::Broadcast(..)
        | coordinator::Action::SendEach(..)
        | coordinator::Action::Refused { .. } => None,
    }
}

/// What an agent reports, where it is worth a line.
pub(crate) fn agent_action(action: &agent::Action) -> Option<String> {
    match action {
        agent::Action::EpochReady { epoch, .. } => Some(format!("holds the keys of epoch {epoch}")),
        agent::Action::EpochLost { epoch, reason } => {
            Some(format!("loses epoch {epoch}: {reason}"))
        }
        agent::Action::RoundDone(outcome) if outcome.contributed => {
            Some("is done, its vector is in the sum".to_string())
        }
        agent::Action::RoundDone(_) => Some("is done, without its vector".to_string()),
        agent::Action::RoundAborted { round, end, .. } => {
            Some(format!("ends round {round} without a result ({end:?})"))
        }
        agent::Action::AbortCertified(_) => Some("takes its charge back".to_string()),
        _ => None,
    }
}

/// An error with the chain of its causes.
pub(crate) fn story(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn set(set: &SlotSet) -> String {
    let members: Vec<u16> = set.iter().map(|slot| slot.0).collect();
    let mut text = String::new();
    let mut place = 0;
    while place < members.len() {
        let mut end = place;
        while end + 1 < members.len() && members[end + 1] == members[end] + 1 {
            end += 1;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&match end - place {
            0 => members[place].to_string(),
            _ => format!("{}-{}", members[place], members[end]),
        });
        place = end + 1;
    }
    format!("{{{text}}}")
}

#[cfg(test)]
mod tests {
    use chorale_wire::Slot;

    use super::*;

    #[test]
    fn sets_are_written_as_runs() {
        let of = |slots: &[u16]| set(&SlotSet::from_slots(20, slots.iter().copied().map(Slot)));
        assert_eq!(of(&[0, 1, 2, 5, 7, 8]), "{0-2 5 7-8}");
        assert_eq!(of(&[]), "{}");
    }

    #[test]
    fn lines_carry_the_time_since_the_beginning() {
        let mut timeline = Timeline::new(true);
        timeline.note(START_MS + 1_234, || "store-1 says READY".to_string());
        assert_eq!(timeline.into_lines(), ["     1.234  store-1 says READY"]);
        let mut silent = Timeline::new(false);
        silent.note(START_MS, || unreachable!("nobody reads it"));
        assert!(silent.into_lines().is_empty());
    }
}
