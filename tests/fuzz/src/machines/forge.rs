//! What a liar says: messages of the federation changed at will, and signed anew with every key
//! that the liar has. Payloads are changed byte by byte, so that nothing here depends on what
//! fields a message has; only what no such change finds is made field by field.

use chorale_plan::RoundSpec;
use chorale_secagg::{EnvelopeContext, envelope};
use chorale_wire::{
    Digest, Electorate, Epoch, Message, RoundNumber, SecretKey, SessionId, Signed, SignedBytes,
    Slot, SlotSet, ToAgent, ToCoordinator, VoterSignature, codec,
    limits::CONTROL_BYTES_MAX,
    message::{
        Abort, AbortCause, AbortCertificate, Advert, Ballot, Commit, Complaint, MaskedHeader,
        ProvenSurvivors, Reason, Reveal, Roster, RoundResult, ShareEnvelope, ShareKind,
        SurvivorCertificate, SurvivorVote, Survivors, Vote,
    },
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    federation::{AGENTS, agent_key, coordinator_key, federation},
    oracle::set,
};
use crate::choices::{Choices, edit};

/// Who lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    /// The coordinator, with the keys of every agent but the first.
    Coordinator,
    /// The last agent.
    OneAgent,
}

/// The agent that lies alone.
pub(super) const LIAR: usize = AGENTS - 1;

/// What a liar knows when it makes a message up.
#[derive(Clone, Default)]
pub(super) struct Knowledge {
    pub(super) epoch: Option<Epoch>,
    pub(super) round: Option<RoundNumber>,
    pub(super) spec: Option<Digest>,
    pub(super) open: Option<SignedBytes>,
    pub(super) session: Option<SessionId>,
    pub(super) roster: Option<Roster>,
    /// The last header of an agent whose key the liar does not have.
    pub(super) header: Option<Signed<MaskedHeader>>,
    pub(super) vectors: Vec<Digest>,
    pub(super) envelopes: Vec<Signed<ShareEnvelope>>,
}

impl Power {
    /// The key of an agent, if the liar has it.
    fn agent_key(self, index: usize) -> Option<SecretKey> {
        let has = match self {
            Self::Coordinator => index > 0 && index < AGENTS,
            Self::OneAgent => index == LIAR,
        };
        has.then(|| agent_key(index))
    }

    /// A message to an agent, changed. Whatever can be signed again is.
    pub(super) fn change_to_agent(self, message: ToAgent, choices: &mut Choices<'_>) -> ToAgent {
        let key = coordinator_key();
        match message {
            ToAgent::EpochOpen(signed) => ToAgent::EpochOpen(resign(&signed, &key, choices)),
            ToAgent::RoundOpen(open) => {
                let typed = open.into_typed::<RoundSpec>();
                ToAgent::RoundOpen(resign(&typed, &key, choices).into_bytes())
            }
            ToAgent::Commit(signed) => ToAgent::Commit(resign(&signed, &key, choices)),
            ToAgent::Survivors(mut proven) => {
                match choices.below(2) {
                    0 => proven.fixed = resign(&proven.fixed, &key, choices),
                    _ => self.relist(&mut proven.headers, choices),
                }
                ToAgent::Survivors(proven)
            }
            ToAgent::RoundResult(signed) => ToAgent::RoundResult(resign(&signed, &key, choices)),
            ToAgent::Abort(signed) => ToAgent::Abort(resign(&signed, &key, choices)),
            ToAgent::Roster(mut roster) => {
                self.relist(&mut roster.adverts, choices);
                ToAgent::Roster(roster)
            }
            ToAgent::RosterCertificate(mut certificate) if choices.below(2) == 0 => {
                rearrange(&mut certificate.votes, choices);
                ToAgent::RosterCertificate(certificate)
            }
            ToAgent::Shares(mut envelopes) => {
                self.relist(&mut envelopes, choices);
                ToAgent::Shares(envelopes)
            }
            ToAgent::SurvivorCertificate(mut certificate) if choices.below(2) == 0 => {
                rearrange(&mut certificate.signatures, choices);
                ToAgent::SurvivorCertificate(certificate)
            }
            other => rewrite(&other, choices).unwrap_or(other),
        }
    }

    /// A message of the lying agent, changed.
    pub(super) fn change_to_coordinator(
        self,
        message: ToCoordinator,
        choices: &mut Choices<'_>,
    ) -> ToCoordinator {
        let key = agent_key(LIAR);
        match message {
            ToCoordinator::Advert(signed) => ToCoordinator::Advert(resign(&signed, &key, choices)),
            ToCoordinator::RosterVote(signed) => {
                ToCoordinator::RosterVote(resign(&signed, &key, choices))
            }
            ToCoordinator::Shares(mut envelopes) => {
                self.relist(&mut envelopes, choices);
                ToCoordinator::Shares(envelopes)
            }
            ToCoordinator::Complaint(signed) => {
                ToCoordinator::Complaint(resign(&signed, &key, choices))
            }
            ToCoordinator::Ready(signed) => ToCoordinator::Ready(resign(&signed, &key, choices)),
            ToCoordinator::Refusal(signed, reason) => {
                ToCoordinator::Refusal(resign(&signed, &key, choices), reason)
            }
            ToCoordinator::SurvivorVote(signed) => {
                ToCoordinator::SurvivorVote(resign(&signed, &key, choices))
            }
            ToCoordinator::Reveal(signed) => ToCoordinator::Reveal(match choices.below(2) {
                0 => resign(&signed, &key, choices),
                _ => rekind(&signed, &key, choices).unwrap_or(signed),
            }),
            other => rewrite(&other, choices).unwrap_or(other),
        }
    }

    /// A list of signed messages with one left out, doubled, moved or changed.
    fn relist<T: Signatory>(self, list: &mut Vec<Signed<T>>, choices: &mut Choices<'_>) {
        match choices.below(2) {
            0 => rearrange(list, choices),
            _ if list.is_empty() => {}
            _ => {
                let one = choices.below(list.len());
                let signer = list[one].peek().ok().and_then(|message| message.signatory());
                // Without the signer's key a changed payload keeps a signature that is wrong.
                let key = signer.and_then(|index| self.agent_key(index));
                list[one] = resign(&list[one], &key.unwrap_or_else(coordinator_key), choices);
            }
        }
    }

    /// A message to an agent out of nothing but what the liar knows.
    pub(super) fn invent_to_agent(
        self,
        known: &Knowledge,
        choices: &mut Choices<'_>,
    ) -> Option<ToAgent> {
        let key = coordinator_key();
        let agents = known.roster.as_ref().map_or(AGENTS, |roster| roster.adverts.len());
        Some(match choices.below(8) {
            0 => ToAgent::Commit(sign(
                &Commit {
                    epoch: known.epoch?,
                    round: known.round?,
                    spec: known.spec?,
                    cohort: set(choices.byte(), agents),
                },
                &key,
            )?),
            1 => {
                let (session, survivors) = (known.session?, set(choices.byte(), agents));
                let headers = self.headers(session, &survivors, known);
                let fixed = sign(&Survivors { session, survivors }, &key)?;
                ToAgent::Survivors(ProvenSurvivors { fixed, headers })
            }
            2 => ToAgent::SurvivorCertificate(self.certificate(known.session?, agents, choices)?),
            3 => ToAgent::RoundResult(sign(
                &RoundResult {
                    session: known.session?,
                    survivors: set(choices.byte(), agents),
                    vectors: known.vectors.clone(),
                    model: Digest::plain(b"model"),
                    ledger_sequence: 3,
                    ledger_head: Digest::plain(b"head"),
                },
                &key,
            )?),
            4 => ToAgent::Abort(sign(
                &Abort {
                    epoch: known.epoch?,
                    round: known.round?,
                    cause: AbortCause::Stopped,
                    reason: Reason::new("a lie"),
                    ballot: match choices.byte() {
                        0 => None,
                        bits => {
                            Some(Ballot { spec: known.open.clone()?, cohort: set(bits, agents) })
                        }
                    },
                },
                &key,
            )?),
            5 => ToAgent::EpochVoid { epoch: known.epoch?, reason: Reason::new("a lie") },
            6 => {
                let session = known.session?;
                let signatures = self.signatures(session, &Vote::Abort, agents, choices);
                let certificate = AbortCertificate { session, signatures };
                ToAgent::AbortCertificate { certificate, electorate: electorate(agents, choices) }
            }
            _ => {
                let mut envelopes = known.envelopes.clone();
                let one = choices.below(envelopes.len());
                let changed = self.reseal(envelopes.get(one)?, known, choices)?;
                envelopes[one] = changed;
                ToAgent::Shares(envelopes)
            }
        })
    }

    /// A message of the lying agent out of nothing but what it knows.
    pub(super) fn invent_to_coordinator(
        self,
        known: &Knowledge,
        own: &[Signed<ShareEnvelope>],
        choices: &mut Choices<'_>,
    ) -> Option<ToCoordinator> {
        let key = agent_key(LIAR);
        let agents = known.roster.as_ref().map_or(AGENTS, |roster| roster.adverts.len());
        let slot = Slot(agents.saturating_sub(1) as u16);
        Some(match choices.below(4) {
            0 => {
                let vote = match choices.below(2) {
                    0 => Vote::Abort,
                    _ => Vote::Survivors(set(choices.byte(), agents)),
                };
                let vote = SurvivorVote { session: known.session?, slot, vote };
                ToCoordinator::SurvivorVote(sign(&vote, &key)?)
            }
            1 => {
                let one = choices.below(known.envelopes.len());
                let evidence = known.envelopes.get(one)?.clone();
                let evidence = match choices.below(2) {
                    0 => evidence,
                    _ => resign(&evidence, &key, choices),
                };
                let dealer = Slot(choices.below(agents) as u16);
                let complaint = Complaint { epoch: known.epoch?, from: slot, dealer, evidence };
                ToCoordinator::Complaint(sign(&complaint, &key)?)
            }
            2 => ToCoordinator::SharesAccepted(known.epoch?),
            _ => {
                let mut envelopes = own.to_vec();
                let one = choices.below(envelopes.len());
                envelopes[one] = self.reseal(own.get(one)?, known, choices)?;
                ToCoordinator::Shares(envelopes)
            }
        })
    }

    /// Votes of every colluder that the choices name, for a set that they name.
    fn certificate(
        self,
        session: SessionId,
        agents: usize,
        choices: &mut Choices<'_>,
    ) -> Option<SurvivorCertificate> {
        let survivors = set(choices.byte(), agents);
        let vote = Vote::Survivors(survivors.clone());
        let signatures = self.signatures(session, &vote, agents, choices);
        Some(SurvivorCertificate { session, survivors, signatures })
    }

    /// Headers of all survivors for this session: signed by the colluders, and of an honest agent
    /// what it signed last, in whatever session.
    fn headers(
        self,
        session: SessionId,
        survivors: &SlotSet,
        known: &Knowledge,
    ) -> Vec<Signed<MaskedHeader>> {
        let header = |slot: Slot| match self.agent_key(slot.index()) {
            Some(key) => {
                let digest = Digest::plain(b"whatever");
                sign(&MaskedHeader { session, slot, length: 1, digest, noise: None }, &key)
            }
            None => known.header.clone(),
        };
        survivors.iter().filter_map(header).collect()
    }

    /// The signatures of the colluders that the choices name under one vote.
    fn signatures(
        self,
        session: SessionId,
        vote: &Vote,
        agents: usize,
        choices: &mut Choices<'_>,
    ) -> Vec<VoterSignature> {
        let signature = |slot: Slot| {
            let vote = SurvivorVote { session, slot, vote: vote.clone() };
            let signature = sign(&vote, &self.agent_key(slot.index())?)?.signature();
            Some(VoterSignature { slot, signature })
        };
        set(choices.byte(), agents).iter().filter_map(signature).collect()
    }

    /// An envelope sealed and signed anew around shares that are wrong, malformed or too few.
    fn reseal(
        self,
        envelope: &Signed<ShareEnvelope>,
        known: &Knowledge,
        choices: &mut Choices<'_>,
    ) -> Option<Signed<ShareEnvelope>> {
        let mut message = envelope.peek().ok()?;
        let adverts = &known.roster.as_ref()?.adverts;
        let receiver = adverts.get(message.to.index())?.peek().ok()?;
        let context = EnvelopeContext {
            epoch: message.epoch,
            roster: message.roster,
            graph_seed: message.graph_seed,
            from: message.from,
            to: message.to,
            threshold: federation().rule.share_threshold(adverts.len() as u32),
        };
        let length = message.sealed.len().saturating_sub(16);
        let mut plaintext = vec![choices.pick(&[0, 1, 0xff]); length];
        match choices.below(3) {
            0 => {}
            1 => plaintext.truncate(choices.below(length)),
            // Still canonical: only the lowest byte of some shares differs.
            _ => plaintext.iter_mut().step_by(32).for_each(|low| *low ^= choices.byte()),
        }
        let mut rng = ChaCha20Rng::seed_from_u64(u64::from(choices.byte()));
        let (encapsulated, sealed) =
            envelope::seal(&receiver.hpke, &context, &plaintext, &mut rng).ok()?;
        (message.encapsulated, message.sealed) = (encapsulated, sealed);
        sign(&message, &self.agent_key(message.from.index())?)
    }

    /// The header of another vector than the one that the machine masked.
    pub(super) fn header(
        self,
        header: &Signed<MaskedHeader>,
        bytes: &[u8],
        choices: &mut Choices<'_>,
    ) -> Option<Signed<MaskedHeader>> {
        let key = agent_key(LIAR);
        if choices.below(4) == 3 {
            return Some(resign(header, &key, choices));
        }
        let mut message = header.peek().ok()?;
        (message.digest, message.length) = (Digest::plain(bytes), bytes.len() as u64);
        sign(&message, &key)
    }
}

/// The federation's voters with a threshold that the choices name, or none.
fn electorate(agents: usize, choices: &mut Choices<'_>) -> Option<Electorate> {
    let threshold = choices.byte();
    let voters = (0..agents).map(|index| agent_key(index).public()).collect();
    Electorate::new(voters, u16::from(threshold)).ok()
}

/// A list with one element left out, doubled or moved.
fn rearrange<T: Clone>(list: &mut Vec<T>, choices: &mut Choices<'_>) {
    if list.is_empty() {
        return;
    }
    let (one, other) = (choices.below(list.len()), choices.below(list.len()));
    match choices.below(3) {
        0 => {
            list.remove(one);
        }
        1 => list.insert(other, list[one].clone()),
        _ => list.swap(one, other),
    }
}

/// A message in a list that names who signed it.
pub(super) trait Signatory: Message {
    /// The agent's index, if the message names one.
    fn signatory(&self) -> Option<usize>;
}

impl Signatory for Advert {
    fn signatory(&self) -> Option<usize> {
        federation().agents.iter().position(|agent| *agent == self.agent)
    }
}

impl Signatory for MaskedHeader {
    fn signatory(&self) -> Option<usize> {
        Some(self.slot.index())
    }
}

impl Signatory for ShareEnvelope {
    fn signatory(&self) -> Option<usize> {
        Some(self.from.index())
    }
}

fn sign<T: Message>(message: &T, key: &SecretKey) -> Option<Signed<T>> {
    Signed::sign(message, key).ok()
}

fn resign<T: Message>(signed: &Signed<T>, key: &SecretKey, choices: &mut Choices<'_>) -> Signed<T> {
    let mut payload = signed.as_bytes().payload().to_vec();
    edit(&mut payload, choices);
    SignedBytes::sign(T::CONTEXT, payload, key).into_typed()
}

/// A reveal that shows the other secret's share of somebody, or both.
fn rekind(
    signed: &Signed<Reveal>,
    key: &SecretKey,
    choices: &mut Choices<'_>,
) -> Option<Signed<Reveal>> {
    let mut reveal = signed.peek().ok()?;
    let one = choices.below(reveal.shares.len());
    let mut other = reveal.shares.get(one)?.clone();
    other.kind = match other.kind {
        ShareKind::SelfSeed => ShareKind::PairwiseKey,
        ShareKind::PairwiseKey => ShareKind::SelfSeed,
    };
    match choices.below(2) {
        0 => reveal.shares[one] = other,
        _ => reveal.shares.insert(one, other),
    }
    sign(&reveal, key)
}

/// The message with its bytes changed and no signature renewed; `None` when nothing decodes.
pub(super) fn rewrite<T: Serialize + DeserializeOwned>(
    message: &T,
    choices: &mut Choices<'_>,
) -> Option<T> {
    let mut bytes = codec::encode(message, CONTROL_BYTES_MAX).ok()?;
    edit(&mut bytes, choices);
    codec::decode(&bytes, CONTROL_BYTES_MAX).ok()
}
