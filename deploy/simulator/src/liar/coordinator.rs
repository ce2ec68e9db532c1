//! What a corrupt coordinator says, to each agent something else.

use chorale_plan::RoundSpec;
use chorale_wire::{
    Digest, EncodeError, RoundNumber, SecretKey, Signed, SignedBytes, ToAgent,
    message::{
        Abort, AbortCause, Ballot, Commit, EpochOpen, MaskedHeader, ProvenSurvivors, Reason,
        Roster, RosterCertificate, RoundResult, ShareEnvelope, SurvivorCertificate,
    },
};
use rand::RngExt as _;

use super::{Liar, Lie, altered};

type Said = Result<Lie<ToAgent>, EncodeError>;

impl Liar {
    /// What the coordinator says to one agent instead of `message`; `None` where it has no lie.
    pub(crate) fn coordinator_says(
        &mut self,
        message: &ToAgent,
    ) -> Result<Option<Lie<ToAgent>>, EncodeError> {
        let lie = match message {
            _ if self.luck.random_ratio(1, 6) => Lie::silence(),
            ToAgent::EpochOpen(signed) => self.on_epoch_open(signed)?,
            ToAgent::Roster(roster) => self.on_roster(roster.clone()),
            ToAgent::RosterCertificate(certificate) => {
                self.on_roster_certificate(certificate.clone())
            }
            ToAgent::Shares(envelopes) => self.on_envelopes(envelopes.clone())?,
            ToAgent::RoundOpen(signed) => self.on_round_open(signed)?,
            ToAgent::Commit(signed) => self.on_commit(signed)?,
            ToAgent::Survivors(proven) => self.on_survivors(proven)?,
            ToAgent::SurvivorCertificate(certificate) => {
                self.on_survivor_certificate(certificate.clone())
            }
            ToAgent::RoundResult(signed) => self.on_round_result(signed)?,
            _ => return Ok(None),
        };
        Ok(Some(lie))
    }

    fn key(&self) -> &SecretKey {
        &self.coordinator
    }

    fn on_epoch_open(&mut self, honest: &Signed<EpochOpen>) -> Said {
        let open = |alter: fn(&mut EpochOpen)| {
            altered(honest, &self.coordinator, alter).map(ToAgent::EpochOpen)
        };
        let (older, longer) = (open(|open| open.epoch.0 -= 1)?, open(|open| open.rounds ^= 1)?);
        Ok(match self.one_of(&[0, 1]) {
            0 => Lie::one("opens an older epoch", older),
            _ => Lie::one("opens an epoch of another length", longer),
        })
    }

    fn on_roster(&mut self, mut roster: Roster) -> Lie<ToAgent> {
        let honest = ToAgent::Roster(roster.clone());
        let place = self.place(roster.adverts.len());
        match self.one_of(&[0, 1, 2, 3]) {
            0 => {
                roster.adverts.remove(place);
                Lie::one("hides an agent from the roster", ToAgent::Roster(roster))
            }
            1 => {
                roster.adverts.swap(0, place);
                Lie::one("orders the roster otherwise", ToAgent::Roster(roster))
            }
            2 => {
                roster.adverts[place] = roster.adverts[0].clone();
                Lie::one("puts an agent in two places", ToAgent::Roster(roster))
            }
            _ => {
                roster.adverts.remove(place);
                Lie::both("shows two rosters", honest, ToAgent::Roster(roster))
            }
        }
    }

    fn on_roster_certificate(&mut self, mut certificate: RosterCertificate) -> Lie<ToAgent> {
        let place = self.place(certificate.votes.len());
        let what = if self.luck.random_bool(0.5) {
            certificate.votes.remove(place);
            "hides a nonce"
        } else {
            certificate.votes[place] = certificate.votes[0].clone();
            "shows a nonce twice"
        };
        Lie::one(what, ToAgent::RosterCertificate(certificate))
    }

    fn on_envelopes(&mut self, mut envelopes: Vec<Signed<ShareEnvelope>>) -> Said {
        let place = self.place(envelopes.len());
        let what = match self.one_of(&[0, 1, 2]) {
            0 => {
                envelopes.remove(place);
                "holds an envelope back"
            }
            1 => {
                envelopes.swap(0, place);
                "mixes the envelopes up"
            }
            _ => {
                envelopes[place] =
                    altered(&envelopes[place], self.key(), |shares| shares.sealed[3] ^= 1)?;
                "bends an envelope"
            }
        };
        Ok(Lie::one(what, ToAgent::Shares(envelopes)))
    }

    fn on_round_open(&mut self, honest: &SignedBytes) -> Said {
        let spec = |alter: fn(&mut RoundSpec)| {
            let signed = honest.clone().into_typed::<RoundSpec>();
            altered(&signed, &self.coordinator, alter).map(|it| ToAgent::RoundOpen(it.into_bytes()))
        };
        let other_model = spec(|spec| spec.model = Digest::plain(b"another model"))?;
        let few = spec(|spec| spec.plan.cohort.survivors_min = 3)?;
        let trusting = spec(|spec| spec.plan.cohort.corrupt = 0)?;
        let other_key = spec(|spec| spec.key_index ^= 1)?;
        let older = spec(|spec| spec.round = RoundNumber(spec.round.0 - 1))?;
        let honest = ToAgent::RoundOpen(honest.clone());
        Ok(match self.one_of(&[0, 1, 2, 3, 4, 5]) {
            0 => Lie::one("shows another model", other_model),
            1 => Lie::one("lowers the floor", few),
            2 => Lie::one("assumes that nobody is corrupt", trusting),
            3 => Lie::one("names another key", other_key),
            4 => Lie::one("opens an older round", older),
            _ => Lie::both("opens the round twice", honest, other_model),
        })
    }

    fn on_commit(&mut self, honest: &Signed<Commit>) -> Said {
        let Ok(commit) = honest.peek() else { return Ok(Lie::silence()) };
        let cohort = self.smaller(&commit.cohort);
        let smaller = ToAgent::Commit(altered(honest, self.key(), |it| it.cohort = cohort)?);
        let other = altered(honest, self.key(), |it| it.spec = Digest::plain(b"another spec"))?;
        // ABORT out of the blue, for one agent only.
        let (epoch, round, reason) = (commit.epoch, commit.round, Reason::new("a lie"));
        let abort = Abort { epoch, round, cause: AbortCause::Stopped, reason, ballot: None };
        let abort = ToAgent::Abort(Signed::sign(&abort, self.key())?);
        Ok(match self.one_of(&[0, 1, 2, 3]) {
            3 => Lie::one("aborts the round", abort),
            0 => Lie::one("shows another cohort", smaller),
            1 => Lie::both("shows two cohorts", ToAgent::Commit(honest.clone()), smaller),
            _ => Lie::one("commits to another spec", ToAgent::Commit(other)),
        })
    }

    fn on_survivors(&mut self, honest: &ProvenSurvivors) -> Said {
        let Ok(message) = honest.fixed.peek() else { return Ok(Lie::silence()) };
        let set = self.smaller(&message.survivors);
        let of_set = |header: &&Signed<MaskedHeader>| {
            header.peek().is_ok_and(|header| set.contains(header.slot))
        };
        let headers = honest.headers.iter().filter(of_set).cloned().collect();
        let fixed = altered(&honest.fixed, self.key(), |it| it.survivors = set.clone())?;
        let smaller = ToAgent::Survivors(ProvenSurvivors { fixed, headers });
        let place = self.place(honest.headers.len());
        let mut unproven = honest.clone();
        let unproven = match self.one_of(&[0, 1]) {
            0 => {
                unproven.headers.remove(place);
                Lie::one("keeps a header back", ToAgent::Survivors(unproven))
            }
            _ => {
                let forged = altered(&honest.headers[place], self.key(), |it| it.length += 1)?;
                unproven.headers[place] = forged;
                Lie::one("forges a header", ToAgent::Survivors(unproven))
            }
        };
        let honest = ToAgent::Survivors(honest.clone());
        let ballot = self.ballot()?;
        Ok(match (self.one_of(&[0, 1, 2, 3, 4, 5]), ballot) {
            (3, Some(ballot)) => Lie::both("asks for both votes", honest, ballot),
            (4, Some(ballot)) => Lie::both("asks for both votes", ballot, honest),
            (5, _) => unproven,
            (lie, _) => self.other_survivors(lie, honest, smaller),
        })
    }

    fn other_survivors(&self, lie: u8, honest: ToAgent, smaller: ToAgent) -> Lie<ToAgent> {
        match lie {
            0 => Lie::one("shrinks the survivors", smaller),
            1 => Lie::both("shrinks the survivors later", honest, smaller),
            _ => Lie::both("shrinks the survivors first", smaller, honest),
        }
    }

    /// ABORT of the last round, with a ballot: agents that vote for it could at the same time be
    /// got to vote for survivors.
    fn ballot(&self) -> Result<Option<ToAgent>, EncodeError> {
        let (Some(open), Some(commit)) = (&self.open, &self.commit) else { return Ok(None) };
        let ballot = Ballot { spec: open.clone(), cohort: commit.cohort.clone() };
        let abort = Abort {
            epoch: commit.epoch,
            round: commit.round,
            cause: AbortCause::Stopped,
            reason: Reason::new("a lie"),
            ballot: Some(ballot),
        };
        Ok(Some(ToAgent::Abort(Signed::sign(&abort, self.key())?)))
    }

    fn on_survivor_certificate(&mut self, mut certificate: SurvivorCertificate) -> Lie<ToAgent> {
        let set = self.smaller(&certificate.survivors);
        let votes = &mut certificate.signatures;
        let what = match self.luck.random_range(0..4) {
            3 => {
                certificate.survivors = set;
                "certifies other survivors"
            }
            0 => {
                votes.truncate(3);
                "certifies with three votes"
            }
            1 => {
                let first = votes.first().copied();
                votes.iter_mut().for_each(|vote| *vote = first.unwrap_or(*vote));
                "certifies with one vote many times"
            }
            _ => {
                votes.reverse();
                "certifies out of order"
            }
        };
        Lie::one(what, ToAgent::SurvivorCertificate(certificate))
    }

    fn on_round_result(&mut self, honest: &Signed<RoundResult>) -> Said {
        let Ok(result) = honest.peek() else { return Ok(Lie::silence()) };
        let set = self.smaller(&result.survivors);
        let length = set.len();
        let other_set = altered(honest, self.key(), |it| {
            it.survivors = set;
            it.vectors.truncate(length);
        })?;
        let other_vectors = altered(honest, self.key(), |it| {
            it.vectors.iter_mut().for_each(|digest| *digest = Digest::plain(b"another vector"));
        })?;
        Ok(match self.one_of(&[0, 1]) {
            0 => Lie::one("tells of other survivors", ToAgent::RoundResult(other_set)),
            _ => Lie::one("tells of other vectors", ToAgent::RoundResult(other_vectors)),
        })
    }
}
