//! The end: everybody is at rest, every round ended once, and the ledger adds up.

use chorale_ledger::verify;

use super::{Summary, World};
use crate::{federation::START_MS, oracle::Failure, trace::story};

impl World {
    pub(super) fn judge(&self) -> Result<Summary, Failure> {
        let phase = self.coordinator.phase();
        if !["between rounds", "without an epoch"].contains(&phase) {
            return Err(Failure::Restless { who: "the coordinator".to_string(), phase });
        }
        for (agent, node) in self.federation.agents.iter().zip(&self.nodes) {
            if !node.dead && node.machine.round().is_some() {
                let phase = node.machine.phase();
                return Err(Failure::Restless { who: agent.to_string(), phase });
            }
        }
        self.oracle.all_ended(&self.opened)?;
        let report = verify(self.ledger.as_bytes(), Some(self.chain.head())).map_err(ledger)?;
        if report.open != 0 || report.spent.rho() != Some(&self.charged) {
            return Err(Failure::Ledger(format!(
                "{} rounds are open and {} is charged instead of {}",
                report.open, report.spent, self.charged
            )));
        }
        let (completed, wanted) = (self.counts.completed, self.scenario.rounds);
        if self.scenario.calm() && self.scenario.honest() && (completed as u64) < wanted {
            return Err(Failure::Lazy { completed, wanted });
        }
        Ok(Summary {
            scenario: self.scenario.clone(),
            completed,
            aborted: self.counts.aborted,
            certified: self.counts.certified,
            epochs: self.counts.epochs,
            disconnects: self.counts.disconnects,
            restarts: self.counts.restarts,
            lies: self.counts.lies,
            faults: self.counts.faults,
            virtual_ms: self.now_ms - START_MS,
            trace: self.trace,
        })
    }
}

pub(super) fn ledger(error: impl std::error::Error) -> Failure {
    Failure::Ledger(story(&error))
}
