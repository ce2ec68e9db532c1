//! What a corrupt agent says.

use chorale_plan::RoundSpec;
use chorale_round::agent::Identity;
use chorale_secagg::{EnvelopeContext, RoundShares, SecretScalar, envelope, shamir};
use chorale_wire::{
    Digest, EncodeError, Message, SecretKey, SessionId, Signed, SignedBytes, Slot, ToCoordinator,
    codec,
    message::{
        Advert, Complaint, MaskedHeader, Ready, Reason, Refusal, RefusalCode, Reveal, RosterVote,
        ShareEnvelope, ShareKind, SurvivorVote, Vote,
    },
};
use rand::RngExt as _;

use super::{Liar, Lie, altered};
use crate::world::Upload;

type Said = Result<Lie<ToCoordinator>, EncodeError>;

impl Liar {
    /// What the agent says instead of `message`; `None` where it has no lie for it.
    pub(crate) fn agent_says(
        &mut self,
        who: &Identity,
        message: &ToCoordinator,
    ) -> Result<Option<Lie<ToCoordinator>>, EncodeError> {
        let key = &who.key;
        let lie = match message {
            _ if self.luck.random_ratio(1, 6) && !matches!(message, ToCoordinator::Hello(_)) => {
                Lie::silence()
            }
            ToCoordinator::Advert(signed) => self.on_advert(key, signed)?,
            ToCoordinator::RosterVote(signed) => self.on_roster_vote(key, signed)?,
            ToCoordinator::Shares(envelopes) => self.on_shares(who, envelopes)?,
            ToCoordinator::SharesAccepted(epoch) => {
                let inbox = self.memory.get(&who.agent).map(|memory| memory.inbox.clone());
                let inbox = inbox.unwrap_or_default();
                if inbox.is_empty() {
                    return Ok(None);
                }
                if self.one_of(&[0, 1, 2, 3]) == 3 {
                    self.complain_of_all(key, &inbox, *epoch)?
                } else {
                    let evidence = inbox[self.place(inbox.len())].clone();
                    self.complain(key, &evidence, *epoch)?
                }
            }
            ToCoordinator::Ready(signed) => self.on_ready(key, signed)?,
            ToCoordinator::SurvivorVote(signed) => self.on_vote(key, signed)?,
            ToCoordinator::Reveal(signed) => self.on_reveal(key, signed)?,
            _ => return Ok(None),
        };
        Ok(Some(lie))
    }

    fn on_advert(&mut self, key: &SecretKey, honest: &Signed<Advert>) -> Said {
        let advert =
            |alter: fn(&mut Advert)| altered(honest, key, alter).map(ToCoordinator::Advert);
        let honest = ToCoordinator::Advert(honest.clone());
        Ok(match self.one_of(&[0, 1, 2, 3]) {
            0 => Lie::one(
                "advertises a key of small order",
                advert(|a| {
                    a.rounds[0].pairwise = [0; 32];
                })?,
            ),
            1 => Lie::one("advertises for another epoch", advert(|a| a.epoch.0 += 1)?),
            2 => Lie::both("advertises twice", advert(|a| a.hpke[0] ^= 1)?, honest),
            _ => Lie::both("advertises twice", honest, advert(|a| a.hpke[0] ^= 1)?),
        })
    }

    fn on_roster_vote(&mut self, key: &SecretKey, honest: &Signed<RosterVote>) -> Said {
        let vote =
            |alter: fn(&mut RosterVote)| altered(honest, key, alter).map(ToCoordinator::RosterVote);
        let honest = ToCoordinator::RosterVote(honest.clone());
        let other = || vote(|vote| vote.roster = Digest::plain(b"another roster"));
        Ok(match self.one_of(&[0, 1, 2, 3]) {
            0 => Lie::one("opens another nonce", vote(|vote| vote.nonce[0] ^= 1)?),
            1 => Lie::one("votes for another roster", other()?),
            2 => Lie::one("votes in another's place", vote(|vote| vote.slot.0 ^= 1)?),
            _ => Lie::both("votes for two rosters", honest, other()?),
        })
    }

    fn on_shares(&mut self, who: &Identity, honest: &[Signed<ShareEnvelope>]) -> Said {
        let mut envelopes = honest.to_vec();
        let place = self.place(envelopes.len());
        let what = match self.one_of(&[0, 1, 2, 3, 4]) {
            0 => {
                envelopes[place] =
                    altered(&envelopes[place], &who.key, |shares| shares.sealed[7] ^= 1)?;
                "deals an envelope that cannot be opened"
            }
            1 => {
                for envelope in &mut envelopes {
                    *envelope = altered(envelope, &who.key, |shares| shares.sealed[7] ^= 1)?;
                }
                "deals envelopes that cannot be opened"
            }
            2 => {
                envelopes.truncate(place);
                "deals too few envelopes"
            }
            3 => {
                envelopes[place] = self.junk(who, &envelopes[place])?;
                "deals one agent shares of something else"
            }
            _ => {
                for envelope in &mut envelopes {
                    *envelope = self.junk(who, envelope)?;
                }
                "deals shares of something else"
            }
        };
        Ok(Lie::one(what, ToCoordinator::Shares(envelopes)))
    }

    /// A well-formed envelope in which the shares are of secrets that nobody committed to.
    fn junk(
        &mut self,
        who: &Identity,
        honest: &Signed<ShareEnvelope>,
    ) -> Result<Signed<ShareEnvelope>, EncodeError> {
        let Ok(mut message) = honest.peek() else { return Ok(honest.clone()) };
        let memory = self.memory.get(&who.agent);
        let Some((agents, receiver)) = memory
            .and_then(|memory| Some((memory.hpke.len(), *memory.hpke.get(message.to.index())?)))
        else {
            return Ok(honest.clone());
        };
        let context = EnvelopeContext {
            epoch: message.epoch,
            roster: message.roster,
            graph_seed: message.graph_seed,
            from: message.from,
            to: message.to,
            threshold: self.rule.share_threshold(agents as u32),
        };
        // What sealing adds is the same for every length.
        let rounds = message.sealed.len() / envelope::ROUND_SHARES_BYTES;
        let mut shares = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let secret = SecretScalar::random(&mut self.luck);
            let split = shamir::split(&secret, 1, &[1, 2], &mut self.luck);
            let Some([key, seed]) = split.ok().and_then(|split| <[_; 2]>::try_from(split).ok())
            else {
                return Ok(honest.clone());
            };
            shares.push(RoundShares { key, seed });
        }
        let plaintext = envelope::encode_shares(&shares);
        if let Ok((encapsulated, sealed)) =
            envelope::seal(&receiver, &context, &plaintext, &mut self.luck)
        {
            message.encapsulated = encapsulated;
            message.sealed = sealed;
        }
        Signed::sign(&message, &who.key)
    }

    fn complain(
        &mut self,
        key: &SecretKey,
        evidence: &Signed<ShareEnvelope>,
        epoch: chorale_wire::Epoch,
    ) -> Said {
        let accepted = ToCoordinator::SharesAccepted(epoch);
        let Ok(envelope) = evidence.peek() else { return Ok(Lie::silence()) };
        let complaint = |evidence: Signed<ShareEnvelope>| {
            let (from, dealer) = (envelope.to, envelope.from);
            let complaint = Complaint { epoch, from, dealer, evidence };
            Signed::sign(&complaint, key).map(ToCoordinator::Complaint)
        };
        Ok(match self.one_of(&[0, 1, 2]) {
            0 => Lie::one("complains about good shares", complaint(evidence.clone())?),
            1 => {
                let forged = altered(evidence, key, |shares| shares.sealed[0] ^= 1)?;
                Lie::one("complains with forged evidence", complaint(forged)?)
            }
            _ => Lie::both("accepts and complains", accepted, complaint(evidence.clone())?),
        })
    }

    /// Complaints about all dealers, to have them all left out.
    fn complain_of_all(
        &mut self,
        key: &SecretKey,
        inbox: &[Signed<ShareEnvelope>],
        epoch: chorale_wire::Epoch,
    ) -> Said {
        let mut messages = Vec::with_capacity(inbox.len());
        for evidence in inbox {
            let Ok(envelope) = evidence.peek() else { continue };
            let (from, dealer, evidence) = (envelope.to, envelope.from, evidence.clone());
            let complaint = Complaint { epoch, from, dealer, evidence };
            messages.push(ToCoordinator::Complaint(Signed::sign(&complaint, key)?));
        }
        Ok(Lie { what: "complains about everybody", messages })
    }

    fn on_ready(&mut self, key: &SecretKey, honest: &Signed<Ready>) -> Said {
        let other = altered(honest, key, |ready| ready.spec = Digest::plain(b"another spec"))?;
        let Ok(ready) = honest.peek() else { return Ok(Lie::silence()) };
        let open = self.open.as_ref().map(SignedBytes::payload);
        let spec =
            open.and_then(|open| codec::decode::<RoundSpec>(open, RoundSpec::BYTES_MAX).ok());
        let Some((spec, plan)) = spec.and_then(|spec| spec.plan.digest().ok().map(|of| (spec, of)))
        else {
            return Ok(Lie::silence());
        };
        let refusal = Refusal {
            federation: spec.federation,
            epoch: ready.epoch,
            round: ready.round,
            slot: ready.slot,
            plan,
            code: RefusalCode::Unable,
        };
        let refusal = ToCoordinator::Refusal(Signed::sign(&refusal, key)?, Reason::new("a lie"));
        let honest = ToCoordinator::Ready(honest.clone());
        Ok(match self.one_of(&[0, 1, 2]) {
            0 => Lie::one("is ready for another spec", ToCoordinator::Ready(other)),
            1 => Lie::both("is ready and refuses", honest, refusal),
            _ => Lie::both("refuses and is ready", refusal, honest),
        })
    }

    fn on_vote(&mut self, key: &SecretKey, honest: &Signed<SurvivorVote>) -> Said {
        let Ok(vote) = honest.peek() else { return Ok(Lie::silence()) };
        let set = match &vote.vote {
            Vote::Survivors(set) => self.smaller(set),
            Vote::Abort => return Ok(Lie::silence()),
        };
        let signed = |vote: Vote, of: &SurvivorVote| {
            Signed::sign(&SurvivorVote { vote, ..of.clone() }, key).map(ToCoordinator::SurvivorVote)
        };
        let elsewhere = altered(honest, key, |vote| vote.slot.0 ^= 1)?;
        let other = signed(Vote::Survivors(set), &vote)?;
        let honest = ToCoordinator::SurvivorVote(honest.clone());
        Ok(match self.one_of(&[0, 1, 2, 3]) {
            0 => Lie::one("votes to abort", signed(Vote::Abort, &vote)?),
            1 => Lie::one("votes for another set", other),
            2 => Lie::both("votes twice", other, honest),
            _ => Lie::one("votes in another's place", ToCoordinator::SurvivorVote(elsewhere)),
        })
    }

    fn on_reveal(&mut self, key: &SecretKey, honest: &Signed<Reveal>) -> Said {
        let subjects = honest.peek().map_or(0, |reveal| reveal.shares.len());
        let place = self.place(subjects);
        let reveal =
            |alter: &dyn Fn(&mut Reveal)| altered(honest, key, alter).map(ToCoordinator::Reveal);
        let flip = |reveal: &mut Reveal| {
            reveal.shares.iter_mut().for_each(|share| share.share[3] ^= 0x11);
        };
        Ok(match self.one_of(&[0, 1, 2, 3, 4, 5]) {
            0 => Lie::one("alters the shares", reveal(&flip)?),
            1 => Lie::one(
                "alters a share",
                reveal(&|reveal| {
                    reveal.shares[place].share[3] ^= 0x11;
                })?,
            ),
            2 => Lie::one(
                "reveals the share of the other secret",
                reveal(&|reveal| {
                    let kind = &mut reveal.shares[place].kind;
                    *kind = match *kind {
                        ShareKind::SelfSeed => ShareKind::PairwiseKey,
                        ShareKind::PairwiseKey => ShareKind::SelfSeed,
                    };
                })?,
            ),
            3 => Lie::one(
                "keeps a share",
                reveal(&|reveal| {
                    reveal.shares.remove(place);
                })?,
            ),
            4 => Lie::one(
                "reveals no scalar",
                reveal(&|reveal| {
                    reveal.shares[place].share = [0xff; 32];
                })?,
            ),
            _ => Lie::both("reveals twice", reveal(&flip)?, ToCoordinator::Reveal(honest.clone())),
        })
    }

    /// What the agent uploads instead of `bytes`.
    pub(crate) fn agent_uploads(
        &mut self,
        key: &SecretKey,
        header: &Signed<MaskedHeader>,
        bytes: &[u8],
    ) -> Result<Lie<Upload>, EncodeError> {
        let honest = (header.clone(), bytes.to_vec());
        let mut other = bytes.to_vec();
        other[0] ^= 1;
        let second = altered(header, key, |header| header.digest = Digest::plain(&other))?;
        let second = (second, other.clone());
        let head = |alter: &dyn Fn(&mut MaskedHeader)| altered(header, key, alter);
        Ok(match self.one_of(&[0, 1, 2, 3, 4, 5, 6]) {
            0 => Lie::silence(),
            1 => Lie::both("uploads a second vector", honest, second),
            2 => Lie::both("uploads another vector first", second, honest),
            3 => Lie::one("uploads bytes that it did not sign", (header.clone(), other)),
            4 => {
                other.push(0);
                let length = other.len() as u64;
                let digest = Digest::plain(&other);
                let header = head(&|header| (header.length, header.digest) = (length, digest))?;
                Lie::one("uploads a longer vector", (header, other))
            }
            5 => {
                let session = SessionId::new(
                    chorale_wire::Epoch(1),
                    chorale_wire::RoundNumber(1),
                    &Digest::plain(b"seed"),
                    &Digest::plain(b"spec"),
                    &chorale_wire::SlotSet::empty(4),
                );
                let header = head(&|header| header.session = session)?;
                Lie::one("uploads for another session", (header, bytes.to_vec()))
            }
            _ => {
                let header = head(&|header| header.slot = Slot(header.slot.0 ^ 1))?;
                Lie::one("uploads in another's place", (header, bytes.to_vec()))
            }
        })
    }
}
