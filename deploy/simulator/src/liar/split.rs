//! A coordinator that shows one agent another cohort than everybody else, and has the others certify
//! survivors as if that agent were one of them: with a share of its self seed from one half of its
//! neighbours, and the keys of the other half, its vector could be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chorale_round::agent::Identity;
use chorale_wire::{
    AgentId, EncodeError, SessionId, Signature, Signed, Slot, SlotSet, ToAgent, ToCoordinator,
    VoterSignature,
    message::{
        Commit, MaskedHeader, ProvenSurvivors, SurvivorCertificate, SurvivorVote, Survivors, Vote,
    },
};

use super::{Liar, Lie, altered};
use crate::oracle::Sharing;

/// One attempt: a round in which the cohort is split.
pub(super) struct Split {
    identities: BTreeMap<AgentId, Arc<Identity>>,
    plan: Option<Plan>,
    /// The last header of each slot.
    headers: BTreeMap<Slot, Signed<MaskedHeader>>,
    certificate: Option<Collecting>,
}

/// Who is had, and how.
struct Plan {
    commit: Commit,
    victim: Slot,
    /// The victim's neighbours that are missing in its own cohort.
    hidden: BTreeSet<Slot>,
    /// Those that the others are told have dropped out.
    dropped: BTreeSet<Slot>,
}

/// Votes for the survivors that the others were shown.
struct Collecting {
    session: SessionId,
    survivors: SlotSet,
    fixed: Signed<Survivors>,
    names: BTreeMap<Slot, AgentId>,
    votes: BTreeMap<Slot, Signature>,
    done: bool,
}

impl Liar {
    /// A cohort comes next, and is split or not.
    pub(crate) fn next_cohort(&mut self, splits: bool, identities: &[Arc<Identity>]) {
        let by_name = |identity: &Arc<Identity>| (identity.agent.clone(), identity.clone());
        self.split = splits.then(|| Split {
            identities: identities.iter().map(by_name).collect(),
            plan: None,
            headers: BTreeMap::new(),
            certificate: None,
        });
    }

    /// Every vector's header passes through the coordinator's hands.
    pub(crate) fn overhear(&mut self, header: &Signed<MaskedHeader>) {
        if let (Some(split), Ok(content)) = (&mut self.split, header.peek()) {
            split.headers.insert(content.slot, header.clone());
        }
    }

    /// What the coordinator says instead of `message` where a cohort is split.
    pub(crate) fn split(
        &mut self,
        sharing: &Sharing,
        agent: &AgentId,
        message: &ToAgent,
    ) -> Result<Option<Lie<ToAgent>>, EncodeError> {
        let survivors_min = self.rule.survivors_min as usize;
        let (Some(split), Some(to)) = (&mut self.split, sharing.slot_of(agent)) else {
            return Ok(None);
        };
        match message {
            ToAgent::Commit(signed) => {
                let Ok(commit) = signed.peek() else { return Ok(None) };
                if split.plan.is_none() {
                    split.plan = Plan::new(sharing, commit.clone(), survivors_min);
                }
                let Some(plan) = &split.plan else { return Ok(None) };
                if plan.commit != commit || plan.victim != to {
                    return Ok(None);
                }
                let cohort = without(&commit.cohort, &plan.hidden);
                let own = altered(signed, &self.coordinator, |commit| commit.cohort = cohort)?;
                Ok(Some(Lie::one("splits the cohort", ToAgent::Commit(own))))
            }
            ToAgent::Survivors(proven) => {
                let Some(plan) = &split.plan else { return Ok(None) };
                let dropped = plan.dropped.contains(&to);
                if split.certificate.is_none() {
                    let Ok(message) = proven.fixed.peek() else { return Ok(None) };
                    let survivors = with(&without(&message.survivors, &plan.dropped), plan.victim);
                    let set = survivors.clone();
                    let fixed = altered(&proven.fixed, &self.coordinator, |it| it.survivors = set)?;
                    split.certificate = Some(Collecting {
                        session: message.session,
                        names: survivors
                            .iter()
                            .filter_map(|slot| Some((slot, sharing.name(slot)?.clone())))
                            .collect(),
                        survivors,
                        fixed,
                        votes: BTreeMap::new(),
                        done: false,
                    });
                    split.vote_of_liars(sharing.liars())?;
                }
                let Some(collecting) = &split.certificate else { return Ok(None) };
                if dropped {
                    return Ok(Some(Lie::silence()));
                }
                let mut shown = sharing.graph().neighbours(to);
                shown.push(to);
                shown.sort_unstable();
                let shown = shown.iter().filter(|slot| collecting.survivors.contains(**slot));
                let headers = shown.filter_map(|slot| split.headers.get(slot).cloned()).collect();
                let fixed = collecting.fixed.clone();
                let proven = ToAgent::Survivors(ProvenSurvivors { fixed, headers });
                Ok(Some(Lie::one("counts an agent of another session", proven)))
            }
            _ => Ok(None),
        }
    }

    /// Collects votes for the survivors of a split cohort; with enough of them, a certificate for
    /// each of those survivors.
    pub(crate) fn hear_vote(
        &mut self,
        message: &ToCoordinator,
    ) -> Result<Vec<(AgentId, ToAgent)>, EncodeError> {
        let Some(split) = &mut self.split else { return Ok(Vec::new()) };
        let (Some(collecting), ToCoordinator::SurvivorVote(signed)) =
            (&mut split.certificate, message)
        else {
            return Ok(Vec::new());
        };
        let Ok(vote) = signed.peek() else { return Ok(Vec::new()) };
        if vote.session != collecting.session
            || vote.vote != Vote::Survivors(collecting.survivors.clone())
        {
            return Ok(Vec::new());
        }
        collecting.votes.insert(vote.slot, signed.signature());
        let agents = collecting.survivors.agents() as u32;
        if collecting.done || collecting.votes.len() < self.rule.votes_min(agents) as usize {
            return Ok(Vec::new());
        }
        collecting.done = true;
        let votes = collecting.votes.iter();
        let certificate = SurvivorCertificate {
            session: collecting.session,
            survivors: collecting.survivors.clone(),
            signatures: votes
                .map(|(slot, signature)| VoterSignature { slot: *slot, signature: *signature })
                .collect(),
        };
        let message = ToAgent::SurvivorCertificate(certificate);
        Ok(collecting.names.values().map(|name| (name.clone(), message.clone())).collect())
    }
}

impl Split {
    /// Liars vote for whatever the coordinator wants.
    fn vote_of_liars(&mut self, liars: &BTreeSet<Slot>) -> Result<(), EncodeError> {
        let Some(collecting) = &mut self.certificate else { return Ok(()) };
        for slot in liars.iter().copied() {
            let name = collecting.names.get(&slot);
            if let Some(identity) = name.and_then(|name| self.identities.get(name)) {
                let vote = Vote::Survivors(collecting.survivors.clone());
                let vote = SurvivorVote { session: collecting.session, slot, vote };
                let signature = Signed::sign(&vote, &identity.key)?.signature();
                collecting.votes.insert(slot, signature);
            }
        }
        Ok(())
    }
}

impl Plan {
    /// The honest agent with the most liars around it, and its honest neighbours in two halves, as
    /// far as drop-outs are admissible.
    fn new(sharing: &Sharing, commit: Commit, survivors_min: usize) -> Option<Self> {
        let liars = sharing.liars();
        let around = |slot: Slot| -> Vec<Slot> {
            let neighbours = sharing.graph().neighbours(slot).into_iter();
            neighbours.filter(|slot| commit.cohort.contains(*slot)).collect()
        };
        let honest = commit.cohort.iter().filter(|slot| !liars.contains(slot));
        let victim = honest.max_by_key(|slot| {
            around(*slot).iter().filter(|neighbour| liars.contains(neighbour)).count()
        })?;
        let spare = commit.cohort.len().saturating_sub(survivors_min);
        let honest: Vec<Slot> =
            around(victim).into_iter().filter(|slot| !liars.contains(slot)).collect();
        let half = |first: usize| honest.iter().copied().skip(first).step_by(2).take(spare);
        let (hidden, dropped) = (half(0).collect(), half(1).collect());
        Some(Self { victim, hidden, dropped, commit })
    }
}

fn without(set: &SlotSet, gone: &BTreeSet<Slot>) -> SlotSet {
    SlotSet::from_slots(set.agents(), set.iter().filter(|slot| !gone.contains(slot)))
}

fn with(set: &SlotSet, slot: Slot) -> SlotSet {
    let mut set = set.clone();
    set.insert(slot);
    set
}
