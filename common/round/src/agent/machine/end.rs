//! How rounds and epochs end: RESULT, ABORT and its certificate, deadlines and newer ones.

use chorale_wire::{
    Electorate, Signed,
    message::{Abort, AbortCertificate, RoundResult},
};

use super::{
    super::{
        abort::{Past, abort_vote},
        action::{Action, RoundEnd},
        fault::Fault,
        identity::Kept,
        result::{EndError, check_abort, check_other},
        state::{RoundState, Running, State},
    },
    Machine,
};

impl Machine {
    pub(super) fn on_result(
        &mut self,
        signed: &Signed<RoundResult>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        if let Some(last) = self.last_result
            && signed.verify(&self.identity.coordinator).is_ok_and(|result| result.session == last)
        {
            return Ok(());
        }
        let name = self.state.name();
        let State::Keyed(keys, running) = &mut self.state else {
            return Err(Fault::Unexpected { message: "RESULT", state: name });
        };
        let outcome = match running.take() {
            Some(Running { state: RoundState::Revealed(state), deadline_ms }) => match state
                .on_result(signed)
            {
                Ok(outcome) => outcome,
                Err(Kept { state, error }) => {
                    *running = Some(Running { state: RoundState::Revealed(*state), deadline_ms });
                    return Err(error.into());
                }
            },
            earlier => {
                let round = earlier.as_ref().map(|running| running.state.party().round());
                let locked = earlier.as_ref().and_then(|running| running.state.session());
                match check_other(&self.identity, keys.slot(), round, locked, signed) {
                    Ok(outcome) => outcome,
                    Err(error) => {
                        *running = earlier;
                        return Err(error.into());
                    }
                }
            }
        };
        self.last_result = Some(outcome.result.session);
        self.past = None;
        actions.push(Action::RoundDone(outcome));
        Ok(())
    }

    /// ABORT wipes the round's secrets. Where it comes with a ballot, this agent votes to abort,
    /// unless it has voted for survivors. Whatever can be wrong with the ballot is found before
    /// anything changes: a refused one leaves the round in progress and its key alone.
    pub(super) fn on_abort(
        &mut self,
        signed: &Signed<Abort>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let State::Keyed(keys, running) = &mut self.state else {
            // No round of this agent's.
            return Ok(());
        };
        let abort = check_abort(&self.identity, signed)?;
        let here = abort.epoch == keys.roster().epoch();
        let current = running.as_ref().map(|running| &running.state);
        if let Some(state) = current
            && here
            && state.party().round() == abort.round
        {
            let vote = match &abort.ballot {
                // A ballot about another session ends nothing.
                Some(ballot) => abort_vote(state, ballot)?,
                None => None,
            };
            self.drop_round(RoundEnd::Aborted(abort.cause), abort.reason.as_str(), actions);
            if let (Some((session, signed)), Some(past)) = (vote, &mut self.past) {
                actions.push(Action::Send(past.cast(session, signed)));
            }
            return Ok(());
        }
        let missed = here && keys.last_round().is_none_or(|last| abort.round > last);
        let past = self.past.as_mut().filter(|past| here && past.round() == abort.round);
        match (&abort.ballot, past) {
            (Some(ballot), Some(past)) => actions.extend(past.vote(ballot)?.map(Action::Send)),
            (Some(ballot), None) if missed => {
                let (past, vote) = Past::missed(keys, ballot)?;
                self.memory.last_round = Some(past.round());
                self.refusal = None;
                self.drop_round(RoundEnd::Superseded, "a newer round began", actions);
                self.past = Some(past);
                actions.push(Action::Send(vote));
            }
            _ if current.is_some() => return Err(EndError::Elsewhere.into()),
            // The round is over already for this agent, or never was.
            _ => {}
        }
        Ok(())
    }

    /// Verifies an abort certificate: one of the round in progress against the agent's own roster;
    /// an earlier one against the electorate that came with it, which the journal compares.
    pub(super) fn on_abort_certificate(
        &mut self,
        certificate: &AbortCertificate,
        electorate: Option<&Electorate>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let own = match &self.state {
            State::Keyed(keys, _) => Some(keys.roster().electorate()),
            _ => None,
        };
        let session = self.running().and_then(|running| running.state.session());
        let in_progress = session == Some(certificate.session);
        let electorate = if in_progress { own } else { electorate.or(own) };
        let Some(electorate) = electorate else {
            let state = self.state.name();
            return Err(Fault::Unexpected { message: "abort certificate", state });
        };
        let verified = certificate.verify(electorate)?;
        if in_progress {
            self.drop_round(RoundEnd::Certified, "enough agents voted to abort it", actions);
        }
        actions.push(Action::AbortCertified(verified));
        Ok(())
    }

    pub(super) fn drop_round(&mut self, end: RoundEnd, reason: &str, actions: &mut Vec<Action>) {
        if let State::Keyed(_, running) = &mut self.state
            && let Some(running) = running.take()
        {
            actions.push(Action::RoundAborted {
                round: running.state.party().round(),
                end,
                reason: reason.to_string(),
            });
            // After its own deadline, or when others went on, an agent signs nothing more.
            let may_vote = matches!(end, RoundEnd::Aborted(_));
            self.past = Some(Past::of(running.state, may_vote));
        }
    }

    pub(super) fn drop_epoch(&mut self, reason: &str, actions: &mut Vec<Action>) {
        self.drop_round(RoundEnd::Superseded, reason, actions);
        self.past = None;
        if let Some(epoch) = self.epoch() {
            self.state = State::Idle;
            actions.push(Action::EpochLost { epoch, reason: reason.to_string() });
        }
    }
}
