//! The rules that every entry must follow, run by the writer and by every verifier alike.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use chorale_dp::{
    Budgets, Cap, CapError, CapExceeded, Frees, Rational, Rho, Settlement, Standing,
    accountant::sampler_delta_under_cap,
};
use chorale_plan::{
    CohortError, CohortRule, MODULUS_BITS_MAX, SHARE_SIGMA_MIN, SPARSE_EPOCHS_MAX, SignOff,
    graph_delta, noise::REMOVABLE_LAYERS_MAX,
};
use chorale_wire::{
    AgentId, Digest, Electorate, Epoch, RoundNumber, SessionId, Slot, SlotSet, VoterSignature,
    VotesError,
    limits::{AGENTS_MAX, COMPLETE_GRAPH_AGENTS_MAX, COORDINATES_MAX},
    message::AbortCertificate,
};

mod canaries;
mod changes;
mod checks;
mod cosigned;

pub(crate) use cosigned::Links;

use self::{changes::Changes, checks::*, cosigned::Heads};
use crate::{
    chain::Head,
    entry::{
        ACCOUNTANT_VERSION, AbortEntry, AbortProof, Entry, GenesisEntry, IdentityMethod,
        MechanismName, Privacy, ReleaseEntry, ReserveEntry, RosterEntry, Unit,
    },
};

/// Longest free text in bytes: names, software, purpose.
pub const TEXT_BYTES_MAX: usize = 128;

/// Most predecessors that a federation names.
const PREDECESSORS_MAX: usize = 64;

/// Which rule an entry breaks. Whoever wrote the entry is to blame.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Violation {
    /// GENESIS is the first entry and no other.
    #[error("a ledger begins with one genesis entry and has no other")]
    Genesis,
    /// A field of the entry alone is out of its range.
    #[error("{field} must be {expected}")]
    Range {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The ledger was written for another way of computing costs.
    #[error("this ledger counts by '{found}'; this program knows '{ACCOUNTANT_VERSION}' only")]
    Accountant {
        /// What GENESIS names.
        found: String,
    },
    /// The cohort floors do not protect anybody.
    #[error("the cohort floors are not admissible for {agents} agents")]
    Cohort {
        /// Agents of the roster, or enrolled.
        agents: u32,
        /// Which floor.
        #[source]
        source: CohortError,
    },
    /// Epochs on a sparse graph cost δ, and GENESIS has set aside no more of it.
    #[error(
        "epoch {epoch} has more than {COMPLETE_GRAPH_AGENTS_MAX} agents, and 2^-40 for each epoch \
         number up to it exceeds delta_reserved or the largest such number, {SPARSE_EPOCHS_MAX}"
    )]
    SparseEpoch {
        /// The epoch.
        epoch: Epoch,
    },
    /// Epoch numbers only ascend.
    #[error("epoch {epoch} does not follow epoch {last}: epochs only ascend")]
    EpochOrder {
        /// The epoch of the entry.
        epoch: Epoch,
        /// The last one.
        last: Epoch,
    },
    /// No roster of this epoch is in force.
    #[error("round {round} names epoch {epoch}, which is not that of the latest roster")]
    EpochUnknown {
        /// The round.
        round: RoundNumber,
        /// The epoch it names.
        epoch: Epoch,
    },
    /// Round numbers only ascend.
    #[error("round {round} does not follow round {last}: rounds only ascend")]
    RoundOrder {
        /// The round of the entry.
        round: RoundNumber,
        /// The last one.
        last: RoundNumber,
    },
    /// The round holds no reservation.
    #[error("round {round} holds no reservation: never reserved, or ended already")]
    NotReserved {
        /// The round.
        round: RoundNumber,
    },
    /// A field differs from what GENESIS or RESERVE fixed.
    #[error("round {round}: {field} differs from what {fixed_by} fixed")]
    Differs {
        /// The round.
        round: RoundNumber,
        /// The field.
        field: &'static str,
        /// The kind of entry that fixed it.
        fixed_by: &'static str,
    },
    /// A figure is not what follows from the entry's own numbers.
    #[error("round {round}: {field} is {found}, but the entry's own numbers give {expected}")]
    Recomputed {
        /// The round.
        round: RoundNumber,
        /// The field.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// A plan that the compliance key did not sign off.
    #[error("round {round}: plan '{plan}' is not signed off by the compliance key of genesis")]
    SignOff {
        /// The round.
        round: RoundNumber,
        /// The plan's name.
        plan: String,
    },
    /// A cap beside the lifetime's that cannot be meant.
    #[error("the caps of genesis are not admissible")]
    Caps(#[from] CapError),
    /// The round does not fit a cap.
    #[error("round {round} does not fit what the federation promised")]
    OverCap {
        /// The round.
        round: RoundNumber,
        /// Which cap, what is left of it and when it has room.
        #[source]
        source: Box<CapExceeded>,
    },
    /// The samplers' distance from the exact law costs δ, and GENESIS has set aside no more of it.
    #[error(
        "round {round}: with it the samplers' distance from the exact law costs {needed:e} of δ; \
         delta_reserved leaves {left:e} for it"
    )]
    Samplers {
        /// The round.
        round: RoundNumber,
        /// What all counted rounds and this one cost, rounded up.
        needed: f64,
        /// What the graphs leave of the reserve, rounded down.
        left: f64,
    },
    /// A survivor who is not in the roster, out of order or twice.
    #[error("round {round}: the survivors must be agents of the roster, ascending, each once")]
    Survivors {
        /// The round.
        round: RoundNumber,
    },
    /// Fewer survivors than T_min.
    #[error("round {round} was released with {survivors} survivors; it needs {survivors_min}")]
    TooFew {
        /// The round.
        round: RoundNumber,
        /// Survivors.
        survivors: usize,
        /// T_min.
        survivors_min: u32,
    },
    /// A session id that stands in an earlier entry.
    #[error("round {round} names the session of an earlier round")]
    SessionTwice {
        /// The round.
        round: RoundNumber,
    },
    /// An abort that asks for its charge back although vectors may have left, without the agents'
    /// votes.
    #[error(
        "round {round}: agents may have sent vectors and did not vote to abort, so the charge stands"
    )]
    Refund {
        /// The round.
        round: RoundNumber,
    },
    /// An agent whose identity key the enrolment authority did not sign.
    #[error("the membership of {agent} is not signed by the authority that GENESIS names")]
    Membership {
        /// The agent.
        agent: AgentId,
    },
    /// One identity in two places of a roster, or a vote threshold that it cannot reach.
    #[error(
        "epoch {epoch}: one identity key stands for two agents, or {agents} are too few to vote"
    )]
    Electorate {
        /// The epoch.
        epoch: Epoch,
        /// Agents in the roster.
        agents: usize,
    },
    /// A cohort or voters that are not agents of the roster, out of order or twice.
    #[error("round {round}: {field} must be agents of the roster, ascending, each once")]
    Voters {
        /// The round.
        round: RoundNumber,
        /// `cohort` or `voters`.
        field: &'static str,
    },
    /// Too few votes to abort.
    #[error("round {round}: {votes} agents voted to abort and {needed} are needed")]
    TooFewVotes {
        /// The round.
        round: RoundNumber,
        /// Votes.
        votes: usize,
        /// T.
        needed: usize,
    },
    /// A vote that the agent did not sign, or not for this session.
    #[error("round {round}: {voter} did not sign a vote to abort this round's session")]
    ForgedVote {
        /// The round.
        round: RoundNumber,
        /// The claimed voter.
        voter: AgentId,
    },
    /// Refusals by agents that are not of the roster, are out of order or gave a vector.
    #[error(
        "round {round}: who refused must be agents of the roster, ascending, each once, and no \
         survivors"
    )]
    Refusals {
        /// The round.
        round: RoundNumber,
    },
    /// A refusal that the agent did not sign, or not of this round's plan.
    #[error("round {round}: {agent} did not sign this refusal of the round's plan")]
    ForgedRefusal {
        /// The round.
        round: RoundNumber,
        /// Who is said to have refused.
        agent: AgentId,
    },
    /// A change that the compliance key did not sign for this ledger.
    #[error("change {serial} is not signed by the compliance key for this ledger")]
    ChangeUnsigned {
        /// Its serial number.
        serial: u32,
    },
    /// A cosigned head that is none, or an old one.
    #[error("entry {seq} is none after the last cosigned head, or has another hash")]
    HeadUnknown {
        /// The entry that is said to be cosigned.
        seq: u64,
    },
    /// Cosigners that are not agents of the roster in force, out of order or twice.
    #[error(
        "the cosigners of entry {seq} must be agents of the roster in force, ascending, each once"
    )]
    Cosigners {
        /// The entry.
        seq: u64,
    },
    /// Too few cosignatures.
    #[error("entry {seq} is cosigned by {given} agents and {needed} are needed")]
    TooFewCosigners {
        /// The entry.
        seq: u64,
        /// Cosignatures.
        given: usize,
        /// T.
        needed: usize,
    },
    /// A cosignature that the agent did not give.
    #[error("{voter} did not cosign entry {seq}")]
    Cosignature {
        /// The entry.
        seq: u64,
        /// The claimed cosigner.
        voter: AgentId,
    },
}

/// Where a ledger stands after some entries.
#[derive(Clone, Debug)]
pub(crate) struct State {
    genesis: GenesisEntry,
    roster: Option<Arc<RosterInForce>>,
    last_round: Option<RoundNumber>,
    open: BTreeMap<RoundNumber, Reservation>,
    sessions: BTreeSet<Digest>,
    /// The latest rounds that the agents voted to abort, oldest first.
    certified: VecDeque<CertifiedRound>,
    spent: Rho,
    /// What counts in the caps beside the lifetime's.
    budgets: Budgets<RoundNumber>,
    /// δ that the samplers of charged rounds cost.
    samplers_spent: Rational,
    /// δ that the sparse graphs cost.
    graphs_spent: Rational,
    /// The last round whose noise was short.
    noise_short: Option<RoundNumber>,
    heads: Heads,
    changes: Changes,
}

/// A roster, and whose votes count in it.
#[derive(Debug)]
pub(crate) struct RosterInForce {
    entry: RosterEntry,
    electorate: Electorate,
}

impl RosterInForce {
    /// The memberships of `entry` are verified elsewhere.
    fn new(entry: &RosterEntry, genesis: &GenesisEntry) -> Result<Self, Violation> {
        let (epoch, agents) = (entry.epoch, entry.agents.len());
        let voters = entry.memberships.iter().map(|membership| membership.identity).collect();
        let rule = CohortRule {
            enrolled: genesis.enrolled,
            corrupt: genesis.corrupt,
            survivors_min: genesis.survivors_min,
        };
        let electorate = Electorate::new(voters, rule.votes_min(agents as u32) as u16)
            .map_err(|_| Violation::Electorate { epoch, agents })?;
        Ok(Self { entry: entry.clone(), electorate })
    }

    /// The slots of `agents`; `None` unless they are of this roster, ascending, each once.
    fn slots(&self, agents: &[AgentId]) -> Option<Vec<Slot>> {
        let place = |agent| self.entry.agents.binary_search(agent).ok();
        let slots: Option<Vec<Slot>> =
            agents.iter().map(|agent| Some(Slot(place(agent)? as u16))).collect();
        slots.filter(|slots| slots.is_sorted_by(|a, b| a < b))
    }
}

/// A round that the agents voted to abort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifiedRound {
    /// The agents of its roster, ascending.
    pub agents: Vec<AgentId>,
    /// Who could vote.
    pub electorate: Electorate,
    /// The votes.
    pub certificate: AbortCertificate,
}

/// Certificates of how many aborted rounds are kept at hand for agents that missed them.
const CERTIFIED_KEPT: usize = 8;

/// A round under way.
#[derive(Clone, Debug)]
pub(crate) struct Reservation {
    pub(crate) entry: ReserveEntry,
    roster: Option<Arc<RosterInForce>>,
    /// δ that its samplers cost.
    samplers: Rational,
}

impl State {
    /// The state after the first entry.
    pub(crate) fn begin(entry: &Entry) -> Result<Self, Violation> {
        let Entry::Genesis(genesis) = entry else { return Err(Violation::Genesis) };
        check_genesis(genesis)?;
        Ok(Self {
            genesis: (**genesis).clone(),
            roster: None,
            last_round: None,
            open: BTreeMap::new(),
            sessions: BTreeSet::new(),
            certified: VecDeque::new(),
            spent: Rho::zero(),
            budgets: Budgets::new(genesis.caps.iter().cloned()),
            samplers_spent: Rational::zero(),
            graphs_spent: Rational::zero(),
            noise_short: None,
            heads: Heads::default(),
            changes: Changes::default(),
        })
    }

    /// The last entry that was taken over is this one.
    pub(crate) fn passed(&mut self, head: Head) {
        self.changes.genesis.get_or_insert(head.hash);
        self.heads.passed(head, self.roster.clone());
    }

    /// The last cosigned head.
    pub(crate) fn cosigned(&self) -> Option<Head> {
        self.heads.last()
    }

    pub(crate) fn genesis(&self) -> &GenesisEntry {
        &self.genesis
    }

    pub(crate) fn open(&self) -> &BTreeMap<RoundNumber, Reservation> {
        &self.open
    }

    pub(crate) fn noise_short(&self) -> Option<RoundNumber> {
        self.noise_short
    }

    pub(crate) fn certified(&self) -> impl Iterator<Item = &CertifiedRound> {
        self.certified.iter()
    }

    /// What is charged; `Unprotected` in a federation without noise.
    pub(crate) fn spent(&self) -> Privacy {
        self.as_privacy(self.spent.clone())
    }

    /// What open rounds hold.
    pub(crate) fn reserved(&self) -> Privacy {
        self.as_privacy(self.reserved_rho())
    }

    /// The running sum after a charge of `rho`.
    pub(crate) fn spent_with(&self, charge: &Privacy) -> Privacy {
        match charge {
            Privacy::Rho(rho) => self.as_privacy(&self.spent + rho),
            Privacy::Unprotected => Privacy::Unprotected,
        }
    }

    /// No charge, in this federation's terms.
    pub(crate) fn no_charge(&self) -> Privacy {
        self.as_privacy(Rho::zero())
    }

    fn as_privacy(&self, rho: Rho) -> Privacy {
        match self.genesis.cap_rho {
            Privacy::Rho(_) => Privacy::Rho(rho),
            Privacy::Unprotected => Privacy::Unprotected,
        }
    }

    fn reserved_rho(&self) -> Rho {
        self.open.values().filter_map(|held| held.entry.rho.rho().cloned()).sum()
    }

    /// The caps beside the lifetime's, with what counts in them at `time_s`.
    pub(crate) fn standing(&self, time_s: u64) -> Vec<Standing> {
        self.budgets.standing(time_s)
    }

    /// Whether a round of `task` that costs `cost` fits every cap at `time_s`.
    pub(crate) fn admits(
        &self,
        task: &str,
        cost: &Rho,
        time_s: u64,
    ) -> Result<(), Box<CapExceeded>> {
        if let Privacy::Rho(cap) = &self.genesis.cap_rho {
            let used = &self.spent + &self.reserved_rho();
            if &used + cost > *cap {
                let fits = &self.spent + cost <= *cap;
                let frees = if fits { Frees::WhenRoundsEnd } else { Frees::Never };
                let (cap, asked) = (Cap::lifetime(cap.clone()), cost.clone());
                return Err(Box::new(CapExceeded { cap, used, asked, frees }));
            }
        }
        self.budgets.admit(task, cost, time_s)
    }

    /// Whether `entry`, dated `time_s`, may follow.
    pub(crate) fn check(&self, entry: &Entry, time_s: u64) -> Result<(), Violation> {
        match entry {
            Entry::Genesis(_) => Err(Violation::Genesis),
            Entry::Roster(roster) => self.check_roster(roster),
            Entry::Reserve(reserve) => self.check_reserve(reserve, time_s),
            Entry::Release(release) => self.check_release(release),
            Entry::Abort(abort) => self.check_abort(abort),
            Entry::Cosigned(cosigned) => self.heads.check(cosigned),
            Entry::Change(change) => self.check_change(change),
        }
    }

    /// Takes over an entry that [`Self::check`] let pass.
    pub(crate) fn commit(&mut self, entry: &Entry, time_s: u64) {
        match entry {
            Entry::Genesis(_) => {}
            Entry::Roster(roster) => {
                self.graphs_spent = self.graphs_with(roster);
                // It was checked, so there is one.
                self.roster = RosterInForce::new(roster, &self.genesis).ok().map(Arc::new);
                self.changes.roster_is_old = false;
            }
            Entry::Reserve(reserve) => {
                let agents = self.roster.as_ref().map_or(0, |roster| roster.entry.agents.len());
                let samplers = self.samplers_of(reserve, agents);
                let roster = self.roster.clone();
                let held = Reservation { entry: (**reserve).clone(), roster, samplers };
                self.open.insert(reserve.round, held);
                if let Privacy::Rho(rho) = &reserve.rho {
                    self.budgets.reserve(reserve.round, Some(&reserve.task), rho, time_s);
                }
                self.last_round = Some(reserve.round);
            }
            Entry::Release(release) => {
                let held = self.open.get(&release.round);
                let survivors = release.survivors.len() as u32;
                let shown = release.canaries.as_ref().zip(held);
                let line = shown.and_then(|(opened, held)| opened.shows(&held.entry, survivors));
                if line.is_some_and(|line| line.short) {
                    self.noise_short = Some(release.round);
                }
                self.charge(release.round, &release.rho, time_s);
                self.sessions.insert(release.session);
            }
            Entry::Abort(abort) => {
                let held = self.open.get(&abort.round);
                let votes = held.zip(abort.certificate.as_ref());
                if let Some(round) = votes.and_then(|(held, proof)| certificate(held, proof).ok()) {
                    let surplus = (self.certified.len() + 1).saturating_sub(CERTIFIED_KEPT);
                    self.certified.drain(..surplus);
                    self.certified.push_back(round);
                }
                self.charge(abort.round, &abort.rho_charged, time_s);
            }
            Entry::Cosigned(cosigned) => self.heads.commit(cosigned),
            Entry::Change(change) => self.commit_change(change),
        }
    }

    /// Ends an open round. Its samplers cost δ whenever it costs ρ.
    fn charge(&mut self, round: RoundNumber, charge: &Privacy, time_s: u64) {
        let held = self.open.remove(&round);
        if let Privacy::Rho(rho) = charge {
            let nothing = *rho == Rho::zero();
            let how = if nothing { Settlement::Refunded } else { Settlement::Spent };
            self.budgets.settle(&round, how, time_s);
            self.spent = &self.spent + rho;
            if let Some(held) = held.filter(|_| *rho != Rho::zero()) {
                self.samplers_spent = &self.samplers_spent + &held.samplers;
            }
        }
    }

    /// What sparse graphs have cost once `roster` is in force.
    fn graphs_with(&self, roster: &RosterEntry) -> Rational {
        if roster.agents.len() > COMPLETE_GRAPH_AGENTS_MAX {
            graph_delta(roster.epoch)
        } else {
            self.graphs_spent.clone()
        }
    }

    /// δ that the samplers of a round cost at any ε up to that of the whole cap.
    fn samplers_of(&self, entry: &ReserveEntry, agents: usize) -> Rational {
        let (Privacy::Rho(cap), Some(distance)) = (&self.genesis.cap_rho, &entry.sampler_distance)
        else {
            return Rational::zero();
        };
        let delta = &self.genesis.delta - &self.genesis.delta_reserved;
        let coordinates = u64::from(entry.coordinates);
        sampler_delta_under_cap(agents as u32, coordinates, distance, cap, &delta)
    }

    /// δ that the samplers of charged and open rounds cost.
    fn samplers(&self) -> Rational {
        self.open.values().fold(self.samplers_spent.clone(), |sum, held| &sum + &held.samplers)
    }

    fn check_roster(&self, entry: &RosterEntry) -> Result<(), Violation> {
        let last = self.roster.as_ref().map(|roster| roster.entry.epoch);
        if let Some(last) = last.filter(|last| entry.epoch <= *last) {
            return Err(Violation::EpochOrder { epoch: entry.epoch, last });
        }
        if entry.epoch.0 == 0 {
            return Err(range("epoch", "1 or more"));
        }
        let agents = entry.agents.len();
        if agents > AGENTS_MAX || agents > self.genesis.enrolled as usize {
            return Err(range("agents", "at most as many as are enrolled"));
        }
        if !entry.agents.is_sorted_by(|a, b| a < b) {
            return Err(range("agents", "strictly ascending"));
        }
        if agents > COMPLETE_GRAPH_AGENTS_MAX
            && (entry.epoch.0 > SPARSE_EPOCHS_MAX
                || &self.graphs_with(entry) + &self.samplers() > self.genesis.delta_reserved)
        {
            return Err(Violation::SparseEpoch { epoch: entry.epoch });
        }
        check_cohort(&self.genesis, self.genesis.survivors_min, agents as u32)?;
        if entry.memberships.len() != agents {
            return Err(range("memberships", "one for each agent"));
        }
        for (agent, membership) in entry.agents.iter().zip(&entry.memberships) {
            let signed = membership.signed(agent).ok();
            if signed.is_none_or(|signed| signed.verify(&self.genesis.authority).is_err()) {
                return Err(Violation::Membership { agent: agent.clone() });
            }
        }
        RosterInForce::new(entry, &self.genesis).map(drop)
    }

    fn check_reserve(&self, entry: &ReserveEntry, time_s: u64) -> Result<(), Violation> {
        let round = entry.round;
        if let Some(last) = self.last_round.filter(|last| round <= *last) {
            return Err(Violation::RoundOrder { round, last });
        }
        if round.0 == 0 {
            return Err(range("round", "1 or more"));
        }
        let roster = self.roster.as_ref().map(|roster| &roster.entry);
        let in_force =
            |roster: &&RosterEntry| roster.epoch == entry.epoch && !self.changes.roster_is_old;
        let Some(roster) = roster.filter(in_force) else {
            return Err(Violation::EpochUnknown { round, epoch: entry.epoch });
        };
        check_numbers(entry)?;
        canaries::check_committed(entry)?;
        let (federation, plan) = (self.genesis.federation.clone(), entry.plan_digest);
        let sign_off = SignOff { federation, plan };
        if !sign_off.is_signed(&self.genesis.compliance, entry.sign_off) {
            return Err(Violation::SignOff { round, plan: entry.plan.clone() });
        }
        let differs = |field| Err(Violation::Differs { round, field, fixed_by: "GENESIS" });
        if entry.corrupt != self.genesis.corrupt {
            return differs("corrupt");
        }
        if entry.survivors_min < self.genesis.survivors_min {
            return differs("survivors_min");
        }
        if entry.clip_share_rule != self.genesis.identity_method {
            return differs("clip_share_rule");
        }
        let share = self.genesis.stores_max.and_then(|stores| Rational::new(1, stores));
        if entry.clip_share != share {
            return differs("clip_share");
        }
        check_cohort(&self.genesis, entry.survivors_min, roster.agents.len() as u32)?;
        let first_level = entry.noise_levels.as_ref().and_then(|levels| levels.first());
        if first_level.is_some_and(|level| *level as usize != roster.agents.len()) {
            return Err(range("noise_levels", "led by the size of the roster"));
        }
        match (&self.genesis.cap_rho, entry.mechanism) {
            (Privacy::Rho(_), MechanismName::DiscreteGaussian) => {
                self.check_cost(entry, time_s)?;
                self.check_samplers(entry, roster.agents.len())
            }
            (Privacy::Unprotected, MechanismName::Unprotected) => check_no_cost(entry),
            _ => differs("mechanism"),
        }
    }

    /// Recomputes the cost from the entry's own numbers and holds it against every cap, exactly.
    fn check_cost(&self, entry: &ReserveEntry, time_s: u64) -> Result<(), Violation> {
        let round = entry.round;
        let missing = range("sigma_squared, share_variance, sampler_distance", "present");
        let (Some(sigma_squared), Some(share), Some(distance)) =
            (&entry.sigma_squared, &entry.share_variance, &entry.sampler_distance)
        else {
            return Err(missing);
        };
        if *distance < Rational::zero() || *distance >= Rational::one() {
            return Err(range("sampler_distance", "at least 0 and below 1"));
        }
        let recomputed = |field, found: &dyn ToString, expected: &dyn ToString| {
            let (found, expected) = (found.to_string(), expected.to_string());
            Err(Violation::Recomputed { round, field, found, expected })
        };
        let honest_min = entry.survivors_min - entry.corrupt;
        let expected = sigma_squared / &Rational::from_integer(honest_min);
        if *share != expected {
            return recomputed("share_variance", share, &expected);
        }
        if *share < Rational::from_integer(SHARE_SIGMA_MIN * SHARE_SIGMA_MIN) {
            return Err(range("share_variance", "at least 16 squared"));
        }
        check_layers(entry, sigma_squared)?;
        let cost =
            Rho::of_distributed_gaussian(entry.delta, sigma_squared, honest_min, entry.coordinates);
        if entry.rho != Privacy::Rho(cost.clone()) {
            return recomputed("rho", &entry.rho, &cost);
        }
        self.admits(&entry.task, &cost, time_s)
            .map_err(|source| Violation::OverCap { round, source })
    }

    /// What GENESIS set aside of δ holds the samplers' distance of every round, exactly.
    fn check_samplers(&self, entry: &ReserveEntry, agents: usize) -> Result<(), Violation> {
        let needed = &self.samplers() + &self.samplers_of(entry, agents);
        let left = &self.genesis.delta_reserved - &self.graphs_spent;
        if needed <= left {
            return Ok(());
        }
        let (needed, left) = (needed.to_f64_up(), left.to_f64_down());
        Err(Violation::Samplers { round: entry.round, needed, left })
    }

    fn check_release(&self, entry: &ReleaseEntry) -> Result<(), Violation> {
        let round = entry.round;
        let held = self.open.get(&round).ok_or(Violation::NotReserved { round })?;
        let survivors = &entry.survivors;
        if held.roster.as_ref().and_then(|roster| roster.slots(survivors)).is_none() {
            return Err(Violation::Survivors { round });
        }
        let survivors_min = held.entry.survivors_min;
        if survivors.len() < survivors_min as usize {
            return Err(Violation::TooFew { round, survivors: survivors.len(), survivors_min });
        }
        if entry.vectors.len() != survivors.len() {
            return Err(range("vectors", "one digest for each survivor"));
        }
        if self.sessions.contains(&entry.session) {
            return Err(Violation::SessionTwice { round });
        }
        canaries::check_opened(&held.entry, entry)?;
        check_refusals(&self.genesis.federation, held, &entry.refusals, survivors)?;
        if entry.rho != held.entry.rho {
            return Err(Violation::Differs { round, field: "rho", fixed_by: "RESERVE" });
        }
        self.check_spent(round, &entry.rho, &entry.spent)
    }

    fn check_abort(&self, entry: &AbortEntry) -> Result<(), Violation> {
        let round = entry.round;
        let held = self.open.get(&round).ok_or(Violation::NotReserved { round })?;
        if entry.unmask_started && !entry.committed {
            return Err(range("unmask_started", "false unless the cohort was committed"));
        }
        if let Some(proof) = &entry.certificate {
            if !entry.committed || entry.unmask_started {
                let expected = "absent unless the cohort was committed and nothing was unmasked";
                return Err(range("certificate", expected));
            }
            if entry.rho_charged != self.no_charge() {
                return Err(range("rho_charged", "nothing where the agents voted to abort"));
            }
            check_votes(held, proof)?;
        } else if entry.committed && entry.rho_charged != held.entry.rho {
            return Err(Violation::Refund { round });
        }
        if entry.rho_charged != held.entry.rho && entry.rho_charged != self.no_charge() {
            return Err(Violation::Differs { round, field: "rho_charged", fixed_by: "RESERVE" });
        }
        check_refusals(&self.genesis.federation, held, &entry.refusals, &[])?;
        self.check_spent(round, &entry.rho_charged, &entry.spent)
    }

    fn check_spent(
        &self,
        round: RoundNumber,
        charge: &Privacy,
        spent: &Privacy,
    ) -> Result<(), Violation> {
        let expected = self.spent_with(charge);
        if *spent == expected {
            return Ok(());
        }
        let (found, expected) = (spent.to_string(), expected.to_string());
        Err(Violation::Recomputed { round, field: "spent", found, expected })
    }
}
