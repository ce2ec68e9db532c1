//! The ledger of a running federation: the chain in memory and its file move together.

use std::path::{Path, PathBuf};

use chorale_dp::{CapExceeded, Rho};
use chorale_ledger::{
    ACCOUNTANT_VERSION, AbortProof, Adjacency, CertifiedRound, Chain, CosignedEntry, Entry,
    GenesisEntry, Head, Outcome, Privacy, RefusalLine, Unit, chain::Released, torn_tail,
};
use chorale_plan::delta_reserved;
use chorale_round::coordinator::{CosignedHead, KeptCertificate};
use chorale_wire::{
    PublicKey, RoundNumber, SecretKey,
    message::{AbortCause, HeadOffer, LedgerHead},
};

use crate::{
    changes, config::Config, error::RunError, ledger_file::LedgerFile, programme::Programme,
};

/// Chain and file.
pub(crate) struct Records {
    path: PathBuf,
    chain: Chain,
    file: LedgerFile,
    /// Who refused the open round, for the entry that ends it.
    refusals: Vec<RefusalLine>,
}

impl Records {
    /// Opens the federation's ledger, or begins it with GENESIS. A torn last line of a crash is
    /// cut off; anything else that does not verify is refused.
    pub(crate) fn open(
        path: &Path,
        config: &Config,
        programme: &Programme,
        key: &SecretKey,
        authority: PublicKey,
        compliance: PublicKey,
        time_s: u64,
    ) -> Result<Self, RunError> {
        let (mut file, content) = LedgerFile::open(path)?;
        let torn = torn_tail(&content).len();
        let whole = &content[..content.len() - torn];
        if torn > 0 {
            tracing::warn!(bytes = torn, "a torn last line of the ledger is cut off");
            file.cut(whole.len() as u64)?;
        }
        let mut expected = genesis(config, programme, key.public(), authority);
        expected.compliance = compliance;
        if whole.is_empty() {
            let (chain, line) = Chain::genesis(expected, key, time_s).map_err(RunError::Refused)?;
            file.append(&line)?;
            return Ok(Self { path: path.into(), chain, file, refusals: Vec::new() });
        }
        let chain = Chain::resume(whole)
            .map_err(|source| RunError::Ledger { path: path.into(), source: Box::new(source) })?;
        let mut records = Self { path: path.into(), chain, file, refusals: Vec::new() };
        records.change(&config.state, key, time_s)?;
        records.same_federation(&expected)?;
        Ok(records)
    }

    /// Appends an entry durably and gives the new head.
    pub(crate) fn append(
        &mut self,
        entry: Entry,
        key: &SecretKey,
        time_s: u64,
    ) -> Result<Head, RunError> {
        // The chain is advanced on a copy: what the disk refused did not happen.
        let mut next = self.chain.clone();
        let line = next.append(entry, key, time_s).map_err(RunError::Refused)?;
        self.file.append(&line)?;
        self.chain = next;
        Ok(self.chain.head())
    }

    /// Whether a round of `task` that costs `cost` fits every cap now.
    pub(crate) fn admits(
        &self,
        task: &str,
        cost: &Rho,
        time_s: u64,
    ) -> Result<(), Box<CapExceeded>> {
        self.chain.admits(task, cost, time_s)
    }

    pub(crate) fn release(
        &mut self,
        released: Released,
        key: &SecretKey,
        time_s: u64,
    ) -> Result<Head, RunError> {
        let entry = self.chain.release(released).map_err(RunError::Rule)?;
        self.end(entry, key, time_s)
    }

    /// An agent refused the open round before its cohort was fixed.
    pub(crate) fn refused(&mut self, line: RefusalLine) {
        self.refusals.push(line);
    }

    /// Ends the open round with the refusals of its agents.
    fn end(&mut self, entry: Entry, key: &SecretKey, time_s: u64) -> Result<Head, RunError> {
        let mut refusals = std::mem::take(&mut self.refusals);
        refusals.sort_by(|a, b| a.agent.cmp(&b.agent));
        self.append(entry.with_refusals(refusals), key, time_s)
    }

    pub(crate) fn abort(
        &mut self,
        round: RoundNumber,
        cause: AbortCause,
        committed: bool,
        unmask_started: bool,
        key: &SecretKey,
        time_s: u64,
    ) -> Result<Head, RunError> {
        let entry =
            self.chain.abort(round, cause, committed, unmask_started).map_err(RunError::Rule)?;
        self.end(entry, key, time_s)
    }

    /// The ABORT of a round that the agents voted to abort: the charge is given back.
    pub(crate) fn abort_certified(
        &mut self,
        round: RoundNumber,
        cause: AbortCause,
        proof: AbortProof,
        key: &SecretKey,
        time_s: u64,
    ) -> Result<Head, RunError> {
        let entry = self.chain.abort_certified(round, cause, proof).map_err(RunError::Rule)?;
        self.end(entry, key, time_s)
    }

    /// The COSIGNED of a head under which T agents have put their signatures.
    pub(crate) fn cosigned(
        &mut self,
        head: CosignedHead,
        key: &SecretKey,
        time_s: u64,
    ) -> Result<Head, RunError> {
        let (voters, signatures) = head.votes.into_iter().unzip();
        let LedgerHead { seq, hash } = head.head;
        let entry = CosignedEntry { seq, hash, voters, signatures };
        self.append(Entry::Cosigned(entry), key, time_s)
    }

    /// The last entry, to be cosigned by agents that have cosigned what the ledger says they have.
    pub(crate) fn offer(&self) -> Option<HeadOffer> {
        self.chain.offer(self.chain.cosigned().map_or(0, |head| head.seq))
    }

    /// The same for an agent that has cosigned `from` last; `None` where this ledger has no such
    /// entry, so that one of both is another history.
    pub(crate) fn offer_after(&self, from: &LedgerHead) -> Option<HeadOffer> {
        self.chain.offer(from.seq).filter(|offer| offer.from == *from)
    }

    /// The latest rounds that the agents voted to abort, for agents that missed it.
    pub(crate) fn certified(&self) -> Vec<KeptCertificate> {
        let kept = |round: &CertifiedRound| KeptCertificate {
            agents: round.agents.clone(),
            electorate: round.electorate.clone(),
            certificate: round.certificate.clone(),
        };
        self.chain.certified().map(kept).collect()
    }

    /// The last released round whose canary lanes show too little noise.
    pub(crate) fn noise_short(&self) -> Option<RoundNumber> {
        self.chain.noise_short()
    }

    /// Rounds that a crash left open.
    pub(crate) fn open_rounds(&self) -> Vec<RoundNumber> {
        self.chain.open_rounds()
    }

    /// Whether the ledger holds the RELEASE of `round`.
    pub(crate) fn released(&self, round: u64) -> Result<bool, RunError> {
        let failed = |source| RunError::File { action: "read", path: self.path.clone(), source };
        let content = std::fs::read(&self.path).map_err(failed)?;
        let report = chorale_ledger::verify(&content, None).map_err(|source| RunError::Ledger {
            path: self.path.clone(),
            source: Box::new(source),
        })?;
        let line = report.rounds.iter().find(|line| line.round == round);
        Ok(line.is_some_and(|line| matches!(line.outcome, Outcome::Released { .. })))
    }

    /// Takes over the signed changes that lie in the state folder and are not in the ledger yet.
    fn change(&mut self, state: &Path, key: &SecretKey, time_s: u64) -> Result<(), RunError> {
        for entry in changes::read_all(state)? {
            if self.chain.next_change().is_some_and(|(next, _)| entry.serial < next) {
                continue;
            }
            // Changes come between rounds; what a crash left open is charged, as ever.
            for round in self.open_rounds() {
                self.abort(round, AbortCause::Stopped, true, true, key, time_s)?;
            }
            tracing::info!(serial = entry.serial, what = ?entry.what, "the promise changes");
            self.append(Entry::Change(Box::new(entry)), key, time_s)?;
        }
        Ok(())
    }

    fn same_federation(&self, expected: &GenesisEntry) -> Result<(), RunError> {
        let found = self.chain.promise();
        let differs = [
            (found.federation != expected.federation, "federation name"),
            (found.cap_rho != expected.cap_rho || found.delta != expected.delta, "privacy budget"),
            (
                (found.enrolled, found.corrupt, found.survivors_min)
                    != (expected.enrolled, expected.corrupt, expected.survivors_min),
                "cohort rule",
            ),
            (found.caps != expected.caps, "list of caps"),
            (
                (found.identity_method, found.stores_max)
                    != (expected.identity_method, expected.stores_max),
                "rule for one person at several stores",
            ),
            (found.catalogue != expected.catalogue, "catalogue"),
            (found.coordinator != expected.coordinator, "coordinator key"),
            (found.authority != expected.authority, "enrolment authority"),
            (found.compliance != expected.compliance, "compliance key"),
            (found.predecessors != expected.predecessors, "list of predecessors"),
        ];
        match differs.iter().find(|(differs, _)| *differs) {
            Some((_, what)) => Err(RunError::OtherFederation { path: self.path.clone(), what }),
            None => Ok(()),
        }
    }
}

fn genesis(
    config: &Config,
    programme: &Programme,
    coordinator: PublicKey,
    authority: PublicKey,
) -> GenesisEntry {
    let rule = config.cohort.rule();
    GenesisEntry {
        federation: config.federation.clone(),
        unit: Unit::Person,
        adjacency: Adjacency::AddRemove,
        identity_method: config.identity_method,
        stores_max: config.stores_max,
        delta: config.privacy.delta.clone(),
        delta_reserved: delta_reserved(&config.privacy.delta),
        cap_rho: programme.cap().cloned().map_or(Privacy::Unprotected, Privacy::Rho),
        caps: programme.caps().to_vec(),
        enrolled: rule.enrolled,
        corrupt: rule.corrupt,
        survivors_min: rule.survivors_min,
        catalogue: programme.catalogue(),
        coordinator,
        authority,
        compliance: authority,
        // Read once before, when the configuration was checked.
        predecessors: config.named_predecessors().unwrap_or_default(),
        accountant_version: ACCOUNTANT_VERSION.into(),
        software: concat!("chorale-coordinator ", env!("CARGO_PKG_VERSION")).into(),
        purpose: config.purpose.clone(),
    }
}
