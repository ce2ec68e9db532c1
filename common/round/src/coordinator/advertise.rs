//! ADVERTISE: every invited agent sends its public keys for the epoch.

use std::{collections::BTreeMap, sync::Arc};

use chorale_wire::{
    AgentId, Signed, ToAgent,
    message::{Advert, EpochOpen, Roster},
};

use super::{desk::Desk, fault::FaultKind, roster::RosterVoting, setup::Setup, stage::Stage};
use crate::roster::{RosterError, VerifiedRoster, check_advert};

/// Adverts are coming in.
#[derive(Debug)]
pub(super) struct Advertising {
    setup: Setup,
    open: Signed<EpochOpen>,
    adverts: BTreeMap<AgentId, Signed<Advert>>,
    pub(super) deadline_ms: u64,
}

impl Advertising {
    pub(super) fn open(
        setup: Setup,
        open: Signed<EpochOpen>,
        desk: &mut Desk,
        now_ms: u64,
    ) -> Self {
        desk.broadcast(setup.invited.iter(), ToAgent::EpochOpen(open.clone()));
        Self {
            setup,
            open,
            adverts: BTreeMap::new(),
            deadline_ms: now_ms.saturating_add(desk.config.timeouts.advert_ms),
        }
    }

    pub(super) fn on_advert(
        &mut self,
        agent: &AgentId,
        signed: Signed<Advert>,
        desk: &Desk,
        now_ms: u64,
    ) -> Result<(), FaultKind> {
        if !self.setup.invited.contains(agent) {
            return Err(FaultKind::NoPart);
        }
        let (entry, membership) = check_advert(&signed, &self.setup.expectation(desk, now_ms))
            .map_err(FaultKind::Advert)?;
        if entry.agent != *agent {
            return Err(FaultKind::AdvertOfOther);
        }
        if desk.peers.tls_key(agent).is_some_and(|key| key != membership.tls_key) {
            return Err(FaultKind::TlsKey);
        }
        // Until the roster is fixed, an agent that restarted may replace its keys.
        self.adverts.insert(agent.clone(), signed);
        Ok(())
    }

    /// Sends an agent that said hello what it needs.
    pub(super) fn resume(&mut self, agent: &AgentId, keys: bool, desk: &mut Desk) {
        if !self.setup.invited.contains(agent) {
            return;
        }
        if !keys {
            self.adverts.remove(agent);
        }
        if !self.adverts.contains_key(agent) {
            desk.send(agent, ToAgent::EpochOpen(self.open.clone()));
        }
    }

    pub(super) fn settled(&self, desk: &Desk, now_ms: u64) -> bool {
        self.setup.invited.iter().all(|agent| {
            self.adverts.contains_key(agent) || !desk.peers.worth_waiting_for(agent, now_ms)
        })
    }

    pub(super) fn epoch(&self) -> chorale_wire::Epoch {
        self.setup.epoch
    }

    /// Makes the roster of those who advertised.
    pub(super) fn close(self, desk: &mut Desk, now_ms: u64) -> Stage {
        let Self { mut setup, adverts, .. } = self;
        let missing: Vec<AgentId> =
            setup.invited.iter().filter(|agent| !adverts.contains_key(*agent)).cloned().collect();
        for agent in missing {
            setup.exclude(agent, "sent no valid advert in time".to_string());
        }
        let rule = desk.config.rule.clone();
        let roster = Roster {
            epoch: setup.epoch,
            survivors_min: rule.survivors_min,
            adverts: adverts.into_values().collect(),
        };
        if let Err(error) = rule.check(roster.adverts.len() as u32) {
            let agents = roster.adverts.len();
            return setup.fail(desk, format!("only {agents} agents advertised: {error}"));
        }
        match VerifiedRoster::check(&roster, &setup.expectation(desk, now_ms)) {
            Ok(verified)
                if verified.corrupt() != rule.corrupt || verified.enrolled() > rule.enrolled =>
            {
                let reason = format!(
                    "the memberships say {} enrolled agents, thus {} corrupt; the configured rule \
                     says {} and {}",
                    verified.enrolled(),
                    verified.corrupt(),
                    rule.enrolled,
                    rule.corrupt
                );
                setup.fail(desk, reason)
            }
            Ok(verified) => Stage::RosterVoting(RosterVoting::open(
                setup,
                roster,
                Arc::new(verified),
                desk,
                now_ms,
            )),
            Err(RosterError::Reused { agent }) => {
                let why = "shows a key that another agent shows too".to_string();
                setup.restart(vec![(agent, why)], desk, now_ms)
            }
            Err(error) => setup.fail(desk, error.to_string()),
        }
    }
}
