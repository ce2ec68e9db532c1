//! What a verified ledger says, for people and for machines.

use std::fmt;

use chorale_dp::{
    Rational, Rho, Standing,
    accountant::{
        bridge::{self, GaussianRelease},
        sampler_delta, zcdp,
    },
};
use chorale_plan::graph_delta;
use chorale_wire::{AgentId, Epoch, FederationId, PublicKey, limits::COMPLETE_GRAPH_AGENTS_MAX};
use serde::{Serialize, Serializer};

use crate::{
    canary::{CanaryFigures, CanaryLine, CanaryOpening, RecountError},
    canonical::hex32,
    chain::{Head, Line},
    entry::{
        Adjacency, Entry, IdentityMethod, Predecessor, Privacy, RefusalKind, RefusalLine,
        ReserveEntry, Unit, cause_text,
    },
    rules::State,
};

/// What a verified ledger says.
///
/// ε counts what is charged and what open rounds hold, so that it never understates.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The federation's name.
    pub federation: String,
    /// What it is for, in its operator's words.
    pub purpose: String,
    /// Whom the figures protect.
    pub unit: Unit,
    /// What neighbouring data sets are.
    pub adjacency: Adjacency,
    /// How one person at several stores is bounded.
    pub identity_method: IdentityMethod,
    /// M_cap, where a person may count at several agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stores_max: Option<u32>,
    /// The key that signed every entry: compare it with the one the agents know.
    #[serde(with = "hex32")]
    pub coordinator: PublicKey,
    /// The key that signed every plan off: compare it with the compliance officer's.
    #[serde(with = "hex32")]
    pub compliance: PublicKey,
    /// Earlier federations over the same people ([`crate::lineage()`]).
    pub predecessors: Vec<Predecessor>,
    /// Identities enrolled, N.
    pub enrolled: u32,
    /// Agents assumed corrupt, A.
    pub corrupt: u32,
    /// Smallest admissible number of survivors, T_min.
    pub survivors_min: u32,
    /// Number of entries.
    pub entries: u64,
    /// Number of rosters.
    pub epochs: u32,
    /// Every reserved round, ascending.
    pub rounds: Vec<RoundLine>,
    /// Rounds released.
    pub released: u32,
    /// Rounds aborted.
    pub aborted: u32,
    /// Rounds neither released nor aborted.
    pub open: u32,
    /// The cap, exactly.
    pub cap: Privacy,
    /// Caps over windows and families, with what counts in them at the last entry's time.
    pub caps: Vec<Standing>,
    /// What is charged, exactly.
    pub spent: Privacy,
    /// What open rounds hold, exactly.
    pub reserved: Privacy,
    /// What is charged and reserved, as ε at δ.
    pub epsilon: Epsilon,
    /// What canary lanes showed; absent where no round had any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canaries: Option<CanaryFigures>,
    /// The last entry.
    pub head: Head,
    /// The last head that T agents of the roster in force have cosigned.
    pub cosigned: Option<Head>,
    /// How many agents have cosigned it.
    pub cosigners: u32,
    /// How much of the history the file can be said to hold.
    pub completeness: Completeness,
    /// [`Self::federation`] as an identifier.
    #[serde(skip)]
    pub(crate) federation_id: FederationId,
    /// The agents of each roster.
    #[serde(skip)]
    pub(crate) rosters: Vec<Vec<AgentId>>,
    /// What is charged or open, as the exact Gaussian figure sees it; `None` where that figure
    /// does not exist.
    #[serde(skip)]
    pub(crate) releases: Option<Vec<GaussianRelease>>,
}

/// ε of all that is charged and reserved, rounded up. Infinite figures are the text `infinity`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Epsilon {
    /// By the zCDP conversion of the exact sum of ρ.
    #[serde(serialize_with = "finite")]
    pub zcdp: f64,
    /// By the exact Gaussian curve, through the bridge of `docs/privacy.md`; holds for rounds
    /// and variances that are fixed in advance.
    #[serde(serialize_with = "finite")]
    pub gaussian: f64,
    /// The δ that GENESIS promises in all, rounded down.
    pub delta: f64,
    /// The δ at which the figures are computed: what GENESIS does not reserve, rounded down.
    pub delta_mechanism: f64,
    /// What the samplers' distance from the exact law adds to `delta_mechanism`, rounded up, at
    /// the larger ε.
    pub delta_samplers: f64,
    /// What the sparse graphs of epochs with more than 128 agents can have cost, rounded up.
    pub delta_graph: f64,
}

impl Epsilon {
    /// The smaller of both figures.
    #[must_use]
    pub fn best(&self) -> f64 {
        self.zcdp.min(self.gaussian)
    }

    /// Whether the samplers' and the graphs' parts fit what GENESIS reserved of δ for them.
    #[must_use]
    pub fn delta_holds(&self) -> bool {
        let elsewhere = (self.delta_samplers + self.delta_graph).next_up();
        self.delta_mechanism + elsewhere <= self.delta.next_up()
    }
}

/// One round of a report.
#[derive(Clone, Debug, Serialize)]
pub struct RoundLine {
    /// The round.
    pub round: u64,
    /// The epoch.
    pub epoch: u64,
    /// The plan's name.
    pub plan: String,
    /// The task's name.
    pub task: String,
    /// Length of the vector.
    pub coordinates: u32,
    /// Agents in the roster.
    pub agents: u32,
    /// Integer L2 bound Δ of one person's vector, in lattice units.
    pub delta: u64,
    /// σ² in squared lattice units, exactly; absent without noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma_squared: Option<Rational>,
    /// T_min of the round.
    pub survivors_min: u32,
    /// What it reserved, exactly.
    pub rho: Privacy,
    /// What its canary lanes showed, where it has a total and lanes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canaries: Option<CanaryLine>,
    /// How it ended.
    pub outcome: Outcome,
    /// Which agents refused it, and why, as they signed it; ascending. A coordinator can leave a
    /// refusal out, and invent none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
    /// Number of the RESERVE entry.
    pub reserved_at: u64,
    /// When it was reserved, in Unix seconds.
    pub time_s: u64,
    /// Which of the report's rosters it is of.
    #[serde(skip)]
    pub(crate) roster: usize,
    /// Whose vectors are in the total, ascending.
    #[serde(skip)]
    pub(crate) survivors: Vec<AgentId>,
    /// Its reservation and what was opened, where lanes were measured.
    #[serde(skip)]
    opened: Option<Box<(ReserveEntry, CanaryOpening)>>,
}

/// One agent's refusal of a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The agent.
    pub agent: AgentId,
    /// Why.
    pub why: RefusalKind,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.agent, self.why)
    }
}

/// How a round ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It has not ended in this file.
    Open,
    /// Its total was unmasked.
    Released {
        /// Number of survivors.
        survivors: u32,
    },
    /// It ended without a total.
    Aborted {
        /// Why.
        cause: String,
        /// Whether the charge stands.
        charged: bool,
        /// How many agents voted to abort, where their votes gave the charge back.
        #[serde(skip_serializing_if = "Option::is_none")]
        votes: Option<u32>,
    },
}

/// How much of the history a file can be said to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "proof", rename_all = "kebab-case")]
pub enum Completeness {
    /// No head was supplied: entries may be missing after the last one.
    UpTo {
        /// The last entry in the file.
        seq: u64,
    },
    /// Nothing is missing up to the head; entries after it rest on the coordinator's word.
    Head {
        /// The head's entry.
        seq: u64,
        /// The last entry in the file.
        last: u64,
    },
}

/// Collects the lines of a report while the ledger is replayed.
#[derive(Default)]
pub(crate) struct Recorder {
    entries: u64,
    /// Time of the last entry.
    time_s: u64,
    rosters: Vec<Vec<AgentId>>,
    cosigners: usize,
    /// The last epoch on a sparse graph.
    sparse_epoch: Option<Epoch>,
    rounds: Vec<(RoundLine, ReserveEntry, usize)>,
}

impl Recorder {
    pub(crate) fn record(&mut self, line: &Line) {
        self.entries += 1;
        self.time_s = line.time_s;
        match &line.entry {
            Entry::Genesis(_) | Entry::Change(_) => {}
            Entry::Roster(roster) => {
                self.rosters.push(roster.agents.clone());
                if roster.agents.len() > COMPLETE_GRAPH_AGENTS_MAX {
                    self.sparse_epoch = Some(roster.epoch);
                }
            }
            Entry::Reserve(reserve) => {
                let agents = self.rosters.last().map_or(0, Vec::len);
                let round = RoundLine {
                    agents: agents as u32,
                    delta: reserve.delta,
                    sigma_squared: reserve.sigma_squared.clone(),
                    roster: self.rosters.len().saturating_sub(1),
                    survivors: Vec::new(),
                    opened: None,
                    round: reserve.round.0,
                    epoch: reserve.epoch.0,
                    plan: reserve.plan.clone(),
                    task: reserve.task.clone(),
                    coordinates: reserve.coordinates,
                    survivors_min: reserve.survivors_min,
                    rho: reserve.rho.clone(),
                    canaries: None,
                    outcome: Outcome::Open,
                    refused: Vec::new(),
                    reserved_at: line.seq,
                    time_s: line.time_s,
                };
                self.rounds.push((round, (**reserve).clone(), agents));
            }
            Entry::Cosigned(cosigned) => self.cosigners = cosigned.voters.len(),
            Entry::Release(release) => {
                let survivors = release.survivors.len() as u32;
                self.end(release.round.0, Outcome::Released { survivors }, &release.refusals);
                if let Some((line, reserve, _)) =
                    self.rounds.iter_mut().find(|(line, _, _)| line.round == release.round.0)
                {
                    let opened = release.canaries.as_ref();
                    line.canaries = opened.and_then(|opened| opened.shows(reserve, survivors));
                    line.opened = opened.map(|opened| Box::new((reserve.clone(), opened.clone())));
                    line.survivors.clone_from(&release.survivors);
                }
            }
            Entry::Abort(abort) => {
                let charged = abort.rho_charged != Privacy::Rho(Rho::zero());
                let cause = cause_text(abort.cause).to_string();
                let votes = abort.certificate.as_ref().map(|proof| proof.voters.len() as u32);
                let outcome = Outcome::Aborted { cause, charged, votes };
                self.end(abort.round.0, outcome, &abort.refusals);
            }
        }
    }

    fn end(&mut self, round: u64, outcome: Outcome, refusals: &[RefusalLine]) {
        let refused = |line: &RefusalLine| Refused { agent: line.agent.clone(), why: line.why };
        if let Some((line, _, _)) = self.rounds.iter_mut().find(|(line, _, _)| line.round == round)
        {
            line.outcome = outcome;
            line.refused = refusals.iter().map(refused).collect();
        }
    }

    pub(crate) fn finish(self, state: &State, head: Head, expected: Option<Head>) -> Report {
        let genesis = state.genesis();
        let count = |kind: fn(&Outcome) -> bool| {
            self.rounds.iter().filter(|(line, _, _)| kind(&line.outcome)).count() as u32
        };
        Report {
            federation: genesis.federation.to_string(),
            purpose: genesis.purpose.clone(),
            unit: genesis.unit,
            adjacency: genesis.adjacency,
            identity_method: genesis.identity_method,
            stores_max: genesis.stores_max,
            coordinator: genesis.coordinator,
            compliance: genesis.compliance,
            predecessors: genesis.predecessors.clone(),
            federation_id: genesis.federation.clone(),
            releases: self.releases(),
            enrolled: genesis.enrolled,
            corrupt: genesis.corrupt,
            survivors_min: genesis.survivors_min,
            entries: self.entries,
            epochs: self.rosters.len() as u32,
            released: count(|outcome| matches!(outcome, Outcome::Released { .. })),
            aborted: count(|outcome| matches!(outcome, Outcome::Aborted { .. })),
            open: count(|outcome| *outcome == Outcome::Open),
            cap: genesis.cap_rho.clone(),
            caps: state.standing(self.time_s),
            spent: state.spent(),
            reserved: state.reserved(),
            epsilon: self.epsilon(state),
            canaries: self.canaries(state),
            head,
            cosigned: state.cosigned(),
            cosigners: self.cosigners as u32,
            completeness: match expected {
                None => Completeness::UpTo { seq: head.seq },
                Some(known) => Completeness::Head { seq: known.seq, last: head.seq },
            },
            rosters: self.rosters,
            rounds: self.rounds.into_iter().map(|(line, _, _)| line).collect(),
        }
    }

    /// What the canary lanes of all measured rounds show.
    fn canaries(&self, state: &State) -> Option<CanaryFigures> {
        let genesis = state.genesis();
        let delta = (&genesis.delta - &genesis.delta_reserved).to_f64_down();
        let rounds = self.rounds.iter();
        let measured =
            rounds.filter_map(|(line, reserve, _)| Some((reserve, line.canaries.as_ref()?)));
        CanaryFigures::of(measured, delta)
    }

    /// Every round that is charged or open, with its roster's size.
    fn counted(&self) -> Vec<(&ReserveEntry, usize)> {
        self.rounds
            .iter()
            .filter(|(line, _, _)| !matches!(line.outcome, Outcome::Aborted { charged: false, .. }))
            .map(|(_, reserve, agents)| (reserve, *agents))
            .collect()
    }

    /// The same as the exact Gaussian figure sees it; `None` where one has no noise.
    fn releases(&self) -> Option<Vec<GaussianRelease>> {
        let release = |(reserve, _): &(&ReserveEntry, usize)| {
            Some(GaussianRelease {
                delta: reserve.delta,
                sigma_squared: reserve.sigma_squared.clone()?,
                honest_min: reserve.survivors_min - reserve.corrupt,
                coordinates: reserve.coordinates,
            })
        };
        self.counted().iter().map(release).collect()
    }

    /// ε of every round that is charged or open.
    fn epsilon(&self, state: &State) -> Epsilon {
        let genesis = state.genesis();
        let delta_mechanism = (&genesis.delta - &genesis.delta_reserved).to_f64_down();
        let mut figures = Epsilon {
            zcdp: f64::INFINITY,
            gaussian: f64::INFINITY,
            delta: genesis.delta.to_f64_down(),
            delta_mechanism,
            delta_samplers: 0.0,
            delta_graph: graph_delta(self.sparse_epoch.unwrap_or(Epoch(0))).to_f64_up(),
        };
        let (Privacy::Rho(spent), Privacy::Rho(reserved)) = (state.spent(), state.reserved())
        else {
            return figures;
        };
        let counted = self.counted();
        if counted.is_empty() {
            return Epsilon { zcdp: 0.0, gaussian: 0.0, ..figures };
        }
        figures.zcdp = zcdp::epsilon(&(&spent + &reserved), delta_mechanism);
        // The rules admit no release outside the theorem; were there one, there is no figure.
        if let Some(releases) = self.releases() {
            figures.gaussian = bridge::epsilon(&releases, delta_mechanism).unwrap_or(f64::INFINITY);
        }
        let worst = figures.zcdp.max(figures.gaussian);
        let samplers = counted.iter().fold(Rational::zero(), |sum, (reserve, agents)| {
            let distance = reserve.sampler_distance.clone().unwrap_or_else(Rational::one);
            let shares = *agents as u32;
            &sum + &sampler_delta(shares, u64::from(reserve.coordinates), &distance, worst)
        });
        figures.delta_samplers = samplers.to_f64_up();
        figures
    }
}

pub(crate) fn finite<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() { to.serialize_f64(*value) } else { to.serialize_str("infinity") }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open: counted as spent"),
            Self::Released { survivors } => write!(f, "released by {survivors} agents"),
            Self::Aborted { cause, votes: Some(votes), .. } => {
                write!(f, "aborted ({cause}), given back by {votes} agents' votes")
            }
            Self::Aborted { cause, charged: true, .. } => write!(f, "aborted ({cause}), charged"),
            Self::Aborted { cause, charged: false, .. } => {
                write!(f, "aborted ({cause}), given back")
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "federation     {} ({})", self.federation, self.purpose)?;
        writeln!(f, "protects       {}", self.protection())?;
        if let Some(stores) = self.stores_max {
            writeln!(
                f,
                "people         count at up to {stores} agents, at each with 1/{stores} of the bound"
            )?;
            if stores < self.enrolled {
                writeln!(
                    f,
                    "               whoever is known at more than {stores} agents is protected less: \
                     at m of them ρ is (m/{stores})² times as large"
                )?;
            }
        }
        writeln!(
            f,
            "threat model   {} agents enrolled, {} assumed corrupt, at least {} survivors a round",
            self.enrolled, self.corrupt, self.survivors_min
        )?;
        writeln!(f, "signed by      {}", self.coordinator)?;
        writeln!(f, "signed off by  {} (every plan)", self.compliance)?;
        writeln!(
            f,
            "entries        {} ({} epochs; {} rounds released, {} aborted, {} open)",
            self.entries, self.epochs, self.released, self.aborted, self.open
        )?;
        self.figures(f)?;
        self.measured(f)?;
        if !self.rounds.is_empty() {
            writeln!(f)?;
            self.table(f)?;
            writeln!(f)?;
        }
        writeln!(f, "head           {}", self.head)?;
        match &self.cosigned {
            Some(head) => writeln!(f, "cosigned       by {} agents up to {head}", self.cosigners)?,
            None => {
                writeln!(f, "cosigned       no: the coordinator alone vouches for this history")?
            }
        }
        match self.completeness {
            Completeness::UpTo { seq } => writeln!(
                f,
                "verified       complete only up to seq {seq}: no head was supplied, so entries \
                 could be missing at the end"
            ),
            Completeness::Head { seq, last } if seq == last => {
                writeln!(f, "verified       complete up to seq {seq}, the supplied head")
            }
            Completeness::Head { seq, last } => writeln!(
                f,
                "verified       complete up to seq {seq}, the supplied head; seq {} to {last} \
                 came after it",
                seq + 1
            ),
        }
    }
}

impl Report {
    /// What is charged and what open rounds hold.
    pub(crate) fn counted_rho(&self) -> Privacy {
        match (&self.spent, &self.reserved) {
            (Privacy::Rho(spent), Privacy::Rho(reserved)) => Privacy::Rho(spent + reserved),
            _ => Privacy::Unprotected,
        }
    }

    fn protection(&self) -> &'static str {
        match self.unit {
            Unit::Person => "one person, over all agents and rounds; add or remove",
            Unit::PersonPerAgent => {
                "one person at one agent, over all rounds (weaker than per person); add or remove"
            }
        }
    }

    fn figures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let approximate = |privacy: &Privacy| match privacy {
            Privacy::Rho(rho) => format!("{:.6}, exactly {rho}", rho.as_rational().to_f64_up()),
            Privacy::Unprotected => "unprotected: no noise".into(),
        };
        writeln!(f, "ρ spent        {}", approximate(&self.spent))?;
        if self.open > 0 {
            writeln!(f, "ρ reserved     {}", approximate(&self.reserved))?;
        }
        writeln!(f, "ρ cap          {}", approximate(&self.cap))?;
        for standing in &self.caps {
            let counted = &standing.spent + &standing.reserved;
            let counted = counted.as_rational().to_f64_up();
            writeln!(f, "cap            {}: {counted:.6} counts at the last entry", standing.cap)?;
        }
        if self.cap == Privacy::Unprotected {
            return writeln!(f, "ε              infinity: this federation has no noise");
        }
        let figures = &self.epsilon;
        writeln!(
            f,
            "ε              {} by zCDP, {} by the exact Gaussian, at δ = {:.3e}",
            round_up(figures.zcdp),
            round_up(figures.gaussian),
            figures.delta_mechanism
        )?;
        writeln!(
            f,
            "δ              {:.3e} promised in all; the samplers' distance from the exact law \
             adds {:.1e}, that of the sparse graphs {:.1e}{}",
            figures.delta,
            figures.delta_samplers,
            figures.delta_graph,
            if figures.delta_holds() { "" } else { ", which GENESIS did not reserve" }
        )
    }

    /// What canary lanes showed, beside what is proven.
    fn measured(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(canaries) = &self.canaries else { return Ok(()) };
        writeln!(
            f,
            "ε of a round   at least {} measured (confidence {:.0} %, {} of {} guesses right in {} \
             rounds), at most {} proven, at δ = {:.3e}{}",
            round_down(canaries.epsilon_lower),
            canaries.confidence * 100.0,
            canaries.right,
            canaries.guesses,
            canaries.rounds,
            round_up(canaries.epsilon_upper),
            self.epsilon.delta_mechanism,
            if canaries.contradict() { ": A CONTRADICTION" } else { "" }
        )?;
        if canaries.short.is_empty() {
            return writeln!(f, "noise          as much as is owed in every measured round");
        }
        let short: Vec<String> = canaries.short.iter().map(u64::to_string).collect();
        writeln!(
            f,
            "noise          SHORT in round {}: not every survivor added its share; find out which \
             before anything else is released",
            short.join(", ")
        )
    }

    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>5}  {:>5}  {:<24}  {:>11}  {:>12}  outcome",
            "round", "epoch", "plan", "coordinates", "ρ"
        )?;
        for line in &self.rounds {
            let rho = match &line.rho {
                Privacy::Rho(rho) => format!("{:.6}", rho.as_rational().to_f64_up()),
                Privacy::Unprotected => "no noise".into(),
            };
            let outcome = &line.outcome;
            let short = line.canaries.as_ref().is_some_and(|canaries| canaries.short);
            let flag = if short { "; NOISE SHORT" } else { "" };
            writeln!(
                f,
                "{:>5}  {:>5}  {:<24}  {:>11}  {:>12}  {outcome}{flag}",
                line.round, line.epoch, line.plan, line.coordinates, rho
            )?;
            if !line.refused.is_empty() {
                writeln!(f, "{:>14}refused by {}", "", line.refused_by())?;
            }
        }
        Ok(())
    }
}

impl RoundLine {
    /// Counts the round's canary lanes again from their totals as the coordinator keeps them;
    /// whether it has any.
    ///
    /// # Errors
    /// [`RecountError`]: the totals are not what the ledger says of them.
    pub fn recount(&self, totals: &[u8]) -> Result<bool, RecountError> {
        let Some((reserve, opened)) = self.opened.as_deref() else { return Ok(false) };
        opened.recount(reserve, totals).map(|()| true)
    }

    /// Who refused it and why, as text.
    pub(crate) fn refused_by(&self) -> String {
        let refused: Vec<String> = self.refused.iter().map(Refused::to_string).collect();
        refused.join(", ")
    }
}

/// Four decimals, never more than the figure.
pub(crate) fn round_down(value: f64) -> String {
    format!("{:.4}", (value * 10_000.0).floor() / 10_000.0)
}

/// Four decimals, never less than the figure.
pub(crate) fn round_up(value: f64) -> String {
    if value.is_finite() {
        format!("{:.4}", (value * 10_000.0).ceil() / 10_000.0)
    } else {
        "infinity".into()
    }
}
