//! The test as a coordinator that says what it likes to the agents of a ready epoch.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub, missing_docs)]

use std::error::Error;

use chorale_plan::RoundSpec;
use chorale_round::agent::{Action, Fault, Machine};
use chorale_secagg::MaskTicket as _;
use chorale_wire::{
    Digest, Epoch, RoundNumber, SessionId, Signed, Slot, SlotSet, ToAgent, ToCoordinator,
    VoterSignature,
    message::{
        Abort, AbortCause, AbortCertificate, Ballot, Commit, MaskedHeader, ProvenSurvivors, Reason,
        SurvivorCertificate, SurvivorVote, Survivors,
    },
};
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

use super::{START_MS, agent_key, coordinator_key, ready_agents, values};

/// The agents of a ready epoch, with the test as a coordinator that says what it likes.
pub struct Liar {
    pub size: usize,
    pub agents: Vec<(Machine, ChaCha20Rng)>,
    pub epoch: Epoch,
    /// What each agent signed with its masked vector.
    pub headers: Vec<Option<Signed<MaskedHeader>>>,
}

impl Liar {
    pub fn new(size: usize) -> Self {
        let (agents, epoch) = ready_agents(size, 4);
        Self { size, agents, epoch, headers: vec![None; size] }
    }

    pub fn say(&mut self, to: usize, message: ToAgent) -> Result<Vec<Action>, Fault> {
        let (machine, rng) = &mut self.agents[to];
        machine.handle(message, START_MS, rng)
    }

    pub fn spec(&self, round: u64, key_index: u16) -> RoundSpec {
        super::spec(self.size, self.epoch, round, key_index)
    }

    /// ROUND-OPEN and READY; returns the spec's digest.
    pub fn open(&mut self, to: usize, spec: &RoundSpec) -> Result<Digest, Fault> {
        let signed = Signed::sign(spec, &coordinator_key()).unwrap();
        let digest = signed.payload_digest();
        self.say(to, ToAgent::RoundOpen(signed.into_bytes()))?;
        self.agents[to].0.ready()?;
        Ok(digest)
    }

    pub fn commit(&mut self, to: usize, commit: &Commit) -> Result<(SessionId, Vec<u8>), Fault> {
        let signed = Signed::sign(commit, &coordinator_key()).unwrap();
        let actions = self.say(to, ToAgent::Commit(signed))?;
        let Some(Action::Contribute { ticket, session, spec, .. }) =
            actions.into_iter().next_back()
        else {
            panic!("no ticket");
        };
        let packed = ticket.mask(Zeroizing::new(values(to, spec.round.0))).unwrap();
        let length = packed.bytes().len() as u64;
        self.headers[to] = Some(self.agents[to].0.masked(packed.digest(), length)?);
        Ok((session, packed.into_bytes()))
    }

    pub fn survivors(
        &mut self,
        to: usize,
        session: SessionId,
        set: &[u16],
    ) -> Result<Signed<SurvivorVote>, Fault> {
        let survivors = Survivors { session, survivors: self.slots(set) };
        let signed = Signed::sign(&survivors, &coordinator_key()).unwrap();
        let headers = set.iter().map(|slot| self.header(*slot, session)).collect();
        let proven = ProvenSurvivors { fixed: signed, headers };
        let mut actions = self.say(to, ToAgent::Survivors(proven))?;
        match actions.pop() {
            Some(Action::Send(ToCoordinator::SurvivorVote(vote))) => Ok(vote),
            other => panic!("{other:?}"),
        }
    }

    /// What the agent at `slot` signed; for one that masked nothing, what a corrupt agent in its
    /// place would sign.
    pub fn header(&self, slot: u16, session: SessionId) -> Signed<MaskedHeader> {
        let forged = || {
            let digest = Digest::plain(b"anything");
            let slot = Slot(slot);
            let header = MaskedHeader { session, slot, length: 1, digest, noise: None };
            Signed::sign(&header, &agent_key(slot.index())).unwrap()
        };
        self.headers[usize::from(slot)].clone().unwrap_or_else(forged)
    }

    pub fn certificate(
        &mut self,
        to: usize,
        session: SessionId,
        set: &[u16],
        votes: &[Signed<SurvivorVote>],
    ) -> Result<ToCoordinator, Fault> {
        let survivors = self.slots(set);
        let certificate = SurvivorCertificate { session, survivors, signatures: signatures(votes) };
        let mut actions = self.say(to, ToAgent::SurvivorCertificate(certificate))?;
        match actions.pop() {
            Some(Action::Send(message)) => Ok(message),
            other => panic!("{other:?}"),
        }
    }

    /// Everybody is ready and has masked for the same cohort of all.
    pub fn masked(size: usize, round: u64) -> (Self, SessionId) {
        let mut liar = Self::new(size);
        let spec = liar.spec(round, 0);
        let mut session = None;
        for to in 0..size {
            let digest = liar.open(to, &spec).unwrap();
            let commit = liar.cohort(round, digest, &liar.all());
            let (own, _) = liar.commit(to, &commit).unwrap();
            assert!(session.is_none_or(|session| session == own));
            session = Some(own);
        }
        (liar, session.unwrap())
    }

    /// Asks an agent to vote to abort the session over `set`; `None` where it has no vote left.
    pub fn abort(
        &mut self,
        to: usize,
        spec: &RoundSpec,
        set: &[u16],
    ) -> Result<Option<Signed<SurvivorVote>>, Fault> {
        let message = self.abort_message(spec, Some(set));
        let actions = self.say(to, message)?;
        Ok(actions.into_iter().find_map(|action| match action {
            Action::Send(ToCoordinator::SurvivorVote(vote)) => Some(vote),
            _ => None,
        }))
    }

    /// ABORT, with a ballot over `set` where there is one.
    pub fn abort_message(&self, spec: &RoundSpec, set: Option<&[u16]>) -> ToAgent {
        let signed = Signed::sign(spec, &coordinator_key()).unwrap().into_bytes();
        let abort = Abort {
            epoch: self.epoch,
            round: spec.round,
            cause: AbortCause::Survivors,
            reason: Reason::new("too few vectors"),
            ballot: set.map(|set| Ballot { spec: signed, cohort: self.slots(set) }),
        };
        ToAgent::Abort(Signed::sign(&abort, &coordinator_key()).unwrap())
    }

    pub fn abort_certificate(
        &mut self,
        to: usize,
        session: SessionId,
        votes: &[Signed<SurvivorVote>],
    ) -> Result<Vec<Action>, Fault> {
        let certificate = AbortCertificate { session, signatures: signatures(votes) };
        self.say(to, ToAgent::AbortCertificate { certificate, electorate: None })
    }

    pub fn all(&self) -> Vec<u16> {
        (0..self.size as u16).collect()
    }

    pub fn slots(&self, set: &[u16]) -> SlotSet {
        SlotSet::from_slots(self.size, set.iter().copied().map(Slot))
    }

    pub fn cohort(&self, round: u64, spec: Digest, set: &[u16]) -> Commit {
        Commit { epoch: self.epoch, round: RoundNumber(round), spec, cohort: self.slots(set) }
    }
}

/// Votes as a certificate lists them.
pub fn signatures(votes: &[Signed<SurvivorVote>]) -> Vec<VoterSignature> {
    votes
        .iter()
        .map(|vote| VoterSignature { slot: vote.peek().unwrap().slot, signature: vote.signature() })
        .collect()
}

/// The whole chain of causes as one text.
pub fn story(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
