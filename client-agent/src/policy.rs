//! What this agent admits: the store's own rules, which no coordinator can loosen, and which only
//! the store's administrator can change.
//!
//! A [`StorePolicy`] is a policy file that makes sense. An agent runs on a [`VerifiedPolicy`] only,
//! which the administrator named in the agent's membership has signed for this agent and this
//! federation, and which is no older than what the agent obeyed before.

mod administrator;
mod caps;
mod seen;
mod statement;
mod verified;
mod words;

use std::{
    fs,
    path::{Path, PathBuf},
};

use chorale_dp::{Cap, Rational, Rho};
use chorale_gate::{AgentCap, AgentCaps};
use chorale_people::hand_over::Linked;
use chorale_plan::{
    CohortRule, Derived, Mechanism, Policy, Refused, RoundSpec, SignOff, gaussian_cap,
};
use chorale_wire::{Digest, PublicKey};
use serde::{Deserialize, Serialize};

pub use self::{
    administrator::{Administrator, AdministratorError, read_public_key},
    caps::PolicyCap,
    seen::SeenError,
    statement::{PolicyStatement, Signature, SignatureFileError, Terms},
    verified::{VerifiedPolicy, VerifyError},
    words::{Report, in_words},
};
use crate::{
    config::{ConfigError, parse_toml},
    error::Explain,
};

/// The policy file. Every key is optional; what is absent has the cautious default shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyFile {
    /// Largest ε that one person may be exposed to over the federation's lifetime, at `delta`.
    /// Default 1.
    pub epsilon_max: f64,
    /// The δ that goes with `epsilon_max`, as a fraction. Default `1/100000`.
    pub delta: Rational,
    /// Whether rounds without noise (ε = ∞) are allowed. Default false.
    pub allow_unprotected: bool,
    /// The tasks that may run. Default: all three of this version.
    pub tasks: Vec<String>,
    /// Longest vector, in coordinates. Default 4,000,000.
    pub coordinates_max: u32,
    /// Most rounds of one plan. Default 64.
    pub rounds_max: u32,
    /// Largest cap on persons at one agent that a plan may declare. Default 100,000.
    pub persons_max: u32,
    /// Smallest T_min. Default 10.
    pub survivors_min: u32,
    /// Largest share of a roster that may drop out of a round, as a fraction: T_min is at least
    /// the rest. Default `1/3`, which is the most.
    pub dropout_max: Rational,
    /// Fewest agents that a plan must assume corrupt, A. Default 1.
    pub corrupt_min: u32,
    /// Smallest share of enrolled agents that a plan must assume corrupt, in thousandths.
    /// Default 100.
    pub corrupt_per_mille_min: u32,
    /// Fewest agents enrolled in the federation, and fewest in a roster. Default 10.
    pub roster_min: u32,
    /// Smallest M_cap of plans that let a person count at several stores, at each with 1/M_cap of
    /// the bound. Default: absent, such plans are refused. Whoever is known at more than M_cap
    /// stores of the federation is protected less, so it should be the most there are.
    pub stores_max_min: Option<u32>,
    /// The compliance officer's public key, 64 hexadecimal digits. Where it is there, no round of
    /// a plan is admitted that this key has not signed off for the federation. Default: absent.
    pub compliance_key: Option<String>,
    /// Caps beside `epsilon_max`: rolling windows, families of tasks, all federations together.
    /// Default: none.
    pub caps: Vec<PolicyCap>,
    /// Agents that summaries of customers who agreed may be given to, or taken from.
    /// Default: none.
    pub hand_over: Vec<Linked>,
}

/// A policy as it was read from its file, with its budget worked out.
#[derive(Clone, Debug)]
pub struct StorePolicy {
    file: PolicyFile,
    path: PathBuf,
    cap: Rho,
    caps: Vec<AgentCap>,
    compliance: Option<PublicKey>,
}

/// Why a policy file was refused.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not readable, not TOML or with a key that does not exist.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// A value that cannot be meant.
    #[error("'{key}' must be {expected}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A cap that cannot be meant.
    #[error("'caps' cannot be used")]
    Caps {
        /// The file.
        path: PathBuf,
        /// Which, and why.
        #[source]
        source: caps::PolicyCapError,
    },
}

/// Why the policy refuses a roster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterRefused {
    /// Fewer agents than the policy demands.
    #[error("the roster has {agents} agents; this agent's policy demands {roster_min}")]
    Small {
        /// Agents in the roster.
        agents: u32,
        /// The policy's floor.
        roster_min: u32,
    },
    /// More of the roster may drop out than the policy tolerates.
    #[error(
        "{survivors_min} survivors of a roster of {agents} suffice; dropout_max = {dropout_max} of \
         this agent's policy demands at least {needed}"
    )]
    Dropouts {
        /// T_min.
        survivors_min: u32,
        /// Agents in the roster.
        agents: u32,
        /// The policy's share.
        dropout_max: Rational,
        /// Smallest T_min that the policy allows for this roster.
        needed: u32,
    },
}

/// Why the policy refuses a plan that its `compliance_key` has not signed off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignOffRefused {
    /// The coordinator handed over no sign-off.
    #[error(
        "plan '{plan}' comes without a sign-off; this agent's policy demands that of \
         compliance_key {compliance}: the compliance officer signs with `coordinator plan sign`"
    )]
    Missing {
        /// The plan's name.
        plan: String,
        /// The key that has to sign.
        compliance: PublicKey,
    },
    /// What it handed over is not that key's word for this plan in this federation.
    #[error(
        "the sign-off of plan '{plan}' is not that of compliance_key {compliance} for this plan in \
         this federation: the officer with that key signs it with `coordinator plan sign`, or the \
         store's administrator corrects compliance_key"
    )]
    Foreign {
        /// The plan's name.
        plan: String,
        /// The key that has to sign.
        compliance: PublicKey,
    },
}

impl Default for PolicyFile {
    fn default() -> Self {
        Self {
            epsilon_max: 1.0,
            // The denominator is not zero.
            delta: Rational::new(1, 100_000).expect("a fraction"),
            allow_unprotected: false,
            tasks: ["popularity", "cooccurrence", "matrix-factorisation"]
                .map(String::from)
                .to_vec(),
            coordinates_max: 4_000_000,
            rounds_max: 64,
            persons_max: 100_000,
            survivors_min: 10,
            dropout_max: third(),
            corrupt_min: 1,
            corrupt_per_mille_min: 100,
            roster_min: 10,
            stores_max_min: None,
            compliance_key: None,
            caps: Vec::new(),
            hand_over: Vec::new(),
        }
    }
}

/// The largest share of drop-outs that the protocol allows a policy to tolerate.
fn third() -> Rational {
    // The denominator is not zero.
    Rational::new(1, 3).expect("a fraction")
}

impl StorePolicy {
    /// Reads and checks a policy file, whoever wrote it, and gives the SHA-256 of exactly the
    /// bytes that were read.
    ///
    /// # Errors
    /// [`PolicyError`] names the file, the line and the key.
    pub fn read(path: &Path) -> Result<(Self, Digest), PolicyError> {
        let bytes =
            fs::read(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Ok((Self::parse(&bytes, path)?, Digest::plain(&bytes)))
    }

    /// Checks the content of the policy file in `path`.
    fn parse(bytes: &[u8], path: &Path) -> Result<Self, PolicyError> {
        let text = str::from_utf8(bytes).map_err(|error| ConfigError::Read {
            path: path.into(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        })?;
        Self::new(parse_toml(text, path)?, path)
    }

    /// Checks `file`, which was read from `path`.
    ///
    /// # Errors
    /// [`PolicyError::Value`] names the key.
    pub fn new(file: PolicyFile, path: &Path) -> Result<Self, PolicyError> {
        let wrong = |key, expected| Err(PolicyError::Value { path: path.into(), key, expected });
        if !(file.epsilon_max > 0.0 && file.epsilon_max <= 100.0) {
            return wrong("epsilon_max", "above 0 and at most 100");
        }
        let largest = Rational::new(1, 100).unwrap_or_else(Rational::zero);
        let smallest = Rational::new(1, 500_000_000u64).unwrap_or_else(Rational::one);
        if file.delta < smallest || file.delta > largest {
            return wrong("delta", "a fraction from 1/500000000 to 1/100, such as '1/100000'");
        }
        if file.corrupt_per_mille_min > 333 {
            return wrong("corrupt_per_mille_min", "0 to 333 thousandths");
        }
        if file.survivors_min < 4 || file.roster_min < 4 {
            return wrong("survivors_min and roster_min", "at least 4");
        }
        if file.dropout_max < Rational::zero() || file.dropout_max > third() {
            return wrong("dropout_max", "a fraction from 0/1 to 1/3");
        }
        if file.stores_max_min.is_some_and(|least| least < 2) {
            return wrong("stores_max_min", "2 or more, or absent");
        }
        let once = |(at, linked): (usize, &Linked)| {
            linked.is_possible() && file.hand_over[..at].iter().all(|l| l.agent != linked.agent)
        };
        if !file.hand_over.iter().enumerate().all(once) {
            return wrong(
                "hand_over",
                "agents named once each, with both keys as `client-agent keys link` prints them \
                 and 1 to 366 days",
            );
        }
        let compliance = file.compliance_key.as_deref().map(PublicKey::parse);
        if compliance == Some(None) {
            return wrong("compliance_key", "64 hexadecimal digits, or absent");
        }
        let rho = gaussian_cap(file.epsilon_max, &file.delta);
        let caps = caps::agent_caps(&file.caps, &file.delta)
            .map_err(|source| PolicyError::Caps { path: path.into(), source })?;
        Ok(Self { file, path: path.into(), cap: rho, caps, compliance: compliance.flatten() })
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &PolicyFile {
        &self.file
    }

    /// The file they stand in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The budget of a federation's lifetime in ρ: [`gaussian_cap`] of `epsilon_max` and `delta`,
    /// by which coordinators calibrate too.
    #[must_use]
    pub fn cap(&self) -> &Rho {
        &self.cap
    }

    /// The smallest T_min of any round that this policy admits: its own `survivors_min`, and what the
    /// largest share of drop-outs leaves of the smallest roster.
    #[must_use]
    pub fn survivors_floor(&self) -> u32 {
        let roster = self.file.roster_min;
        let stay = &Rational::one() - &self.file.dropout_max;
        let stay = (&Rational::from_integer(roster) * &stay).ceil();
        u32::try_from(&stay).unwrap_or(roster).max(self.file.survivors_min)
    }

    /// All budgets of this agent, as its journal keeps them.
    #[must_use]
    pub fn budgets(&self) -> AgentCaps {
        AgentCaps { lifetime: self.cap.clone(), others: self.caps.clone() }
    }

    /// Judges a roster of `agents`, and a round over it in which `survivors_min` suffice, before
    /// any key is used for that round.
    ///
    /// # Errors
    /// [`RosterRefused`] says which rule forbids it.
    pub fn admits_roster(&self, agents: u32, survivors_min: u32) -> Result<(), RosterRefused> {
        let roster_min = self.file.roster_min;
        if agents < roster_min {
            return Err(RosterRefused::Small { agents, roster_min });
        }
        let dropout_max = self.file.dropout_max.clone();
        let roster = Rational::from_integer(agents);
        let may_drop = &roster * &dropout_max;
        let fits = |survivors: u32| Rational::from_integer(agents - survivors) <= may_drop;
        if survivors_min > agents || fits(survivors_min) {
            return Ok(());
        }
        // At most a third may drop out, so this ends.
        let needed = (survivors_min..=agents).find(|survivors| fits(*survivors)).unwrap_or(agents);
        Err(RosterRefused::Dropouts { survivors_min, agents, dropout_max, needed })
    }

    /// Judges whether the plan was signed off for this federation, where the policy demands it.
    ///
    /// # Errors
    /// [`SignOffRefused`] says what is missing, and who has to do what.
    pub fn admits_sign_off(&self, spec: &RoundSpec) -> Result<(), SignOffRefused> {
        let Some(compliance) = self.compliance else { return Ok(()) };
        let plan = spec.plan.name.clone();
        let Some(signature) = spec.sign_off else {
            return Err(SignOffRefused::Missing { plan, compliance });
        };
        // A plan without a digest was signed off by nobody.
        let signed = spec.plan.digest().is_ok_and(|digest| {
            let sign_off = SignOff { federation: spec.federation.clone(), plan: digest };
            sign_off.is_signed(&compliance, signature)
        });
        if signed { Ok(()) } else { Err(SignOffRefused::Foreign { plan, compliance }) }
    }

    /// The first rule that forbids the round, as text.
    fn forbids(&self, spec: &RoundSpec, derived: &Derived) -> Option<String> {
        let rules = &self.file;
        let plan = &spec.plan;
        let CohortRule { enrolled, corrupt, survivors_min } = plan.cohort;
        let above = |what: &str, asked: u32, key: &str, allowed: u32| {
            (asked > allowed).then(|| format!("{what} is {asked}; {key} allows at most {allowed}"))
        };
        let below = |what: &str, asked: u32, key: &str, needed: u32| {
            (asked < needed).then(|| format!("{what} is {asked}; {key} demands at least {needed}"))
        };
        let corrupt_min = CohortRule::corrupt_of(enrolled, rules.corrupt_per_mille_min);
        let sign_off = self.admits_sign_off(spec).err().map(|refused| refused.to_string());
        sign_off
            .or_else(|| self.forbids_task(spec))
            .or_else(|| self.forbids_cost(spec, derived))
            .or_else(|| self.forbids_division(plan.stores_max))
            .or_else(|| above("rounds", plan.rounds, "rounds_max", rules.rounds_max))
            .or_else(|| {
                let asked = u32::try_from(spec.vector_length()).unwrap_or(u32::MAX);
                above("the vector's length", asked, "coordinates_max", rules.coordinates_max)
            })
            .or_else(|| above("persons_max", plan.persons_max, "persons_max", rules.persons_max))
            .or_else(|| below("enrolled agents", enrolled, "roster_min", rules.roster_min))
            .or_else(|| below("survivors_min", survivors_min, "survivors_min", rules.survivors_min))
            .or_else(|| {
                below("agents assumed corrupt", corrupt, "corrupt_per_mille_min", corrupt_min)
            })
            .or_else(|| below("agents assumed corrupt", corrupt, "corrupt_min", rules.corrupt_min))
    }

    fn forbids_task(&self, spec: &RoundSpec) -> Option<String> {
        let name = &spec.plan.task.name;
        let allowed = &self.file.tasks;
        (!allowed.contains(name))
            .then(|| format!("task '{name}' is not among tasks = [{}]", allowed.join(", ")))
    }

    fn forbids_division(&self, stores_max: u32) -> Option<String> {
        match self.file.stores_max_min {
            _ if stores_max == 1 => None,
            None => Some(format!(
                "persons may count at {stores_max} stores; stores_max_min is absent, so only home \
                 customers contribute here"
            )),
            Some(least) => (stores_max < least).then(|| {
                format!("persons may count at {stores_max} stores; stores_max_min demands {least}")
            }),
        }
    }

    /// A plan must fit the budget as a whole: half a plan would spend and train nothing.
    fn forbids_cost(&self, spec: &RoundSpec, derived: &Derived) -> Option<String> {
        match (&spec.plan.mechanism, &derived.rho) {
            (Mechanism::Unprotected, _) if self.file.allow_unprotected => None,
            (Mechanism::Unprotected, _) => {
                Some("the plan adds no noise (ε = ∞) and allow_unprotected is false".into())
            }
            (Mechanism::DiscreteGaussian { .. }, None) => {
                Some("the cost of the round is unknown".into())
            }
            (Mechanism::DiscreteGaussian { .. }, Some(rho)) => {
                let rounds = Rational::from_integer(spec.plan.rounds);
                let whole = &rounds * rho.as_rational();
                let task = &spec.plan.task.name;
                let covering = self.caps.iter().map(|own| &own.cap);
                let mut covering = covering.filter(|cap| cap.covers(Some(task)));
                // A window need not hold the whole plan at once, but a round of it.
                let needs = |cap: &Cap| if cap.days.is_some() { rho.as_rational() } else { &whole };
                if let Some(cap) = covering.find(|cap| needs(cap) > cap.rho.as_rational()) {
                    let asked = needs(cap).to_f64_up();
                    return Some(format!("ρ = {asked:.6} is asked; the cap {cap} never has room"));
                }
                (whole > *self.cap.as_rational()).then(|| {
                    format!(
                        "all {} rounds cost ρ = {:.6}; epsilon_max = {} at delta = {} allows {:.6}",
                        spec.plan.rounds,
                        whole.to_f64_up(),
                        self.file.epsilon_max,
                        self.file.delta,
                        self.cap.as_rational().to_f64_down()
                    )
                })
            }
        }
    }
}

impl Policy for StorePolicy {
    fn admits(&self, spec: &RoundSpec, derived: &Derived) -> Result<(), Refused> {
        match self.forbids(spec, derived) {
            None => Ok(()),
            Some(rule) => Err(Refused { round: spec.round, plan: spec.plan.name.clone(), rule }),
        }
    }
}

impl Explain for PolicyError {
    fn place(&self) -> String {
        match self {
            Self::File(file) => file.place(),
            Self::Value { path, key, .. } => format!("{}, key '{key}'", path.display()),
            Self::Caps { path, .. } => format!("{}, key 'caps'", path.display()),
        }
    }

    fn remedy(&self) -> String {
        "correct the policy; `client-agent init --print` shows every key with its meaning".into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chorale_plan::{Parameters, Plan, Shape, TaskSpec};
    use chorale_wire::{Digest, Epoch, FederationId, RoundNumber, SecretKey};

    use super::*;

    pub(crate) fn spec() -> RoundSpec {
        RoundSpec {
            federation: FederationId::new("demo").unwrap(),
            epoch: Epoch(1),
            round: RoundNumber(7),
            key_index: 0,
            step: 0,
            plan: Plan {
                name: "taste".into(),
                task: TaskSpec { name: "popularity".into(), parameters: Parameters::default() },
                rounds: 1,
                mechanism: Mechanism::DiscreteGaussian {
                    // Δ = 2^16, so that ρ = 2^32 / (2·2^37) = 1/64.
                    sigma_squared: Rational::from_integer(1u64 << 37),
                    remove_surplus: false,
                },
                scale_bits: 16,
                persons_max: 256,
                stores_max: 1,
                cohort: CohortRule { enrolled: 12, corrupt: 2, survivors_min: 10 },
                catalogue: Digest::plain(b"catalogue"),
                events_before_s: 0,
                canary_lanes: 0,
            },
            shape: Shape { coordinates: 451, clip: Rational::one() },
            model: Digest::plain(b"model"),
            ready_within_ms: 1,
            upload_within_ms: 1,
            keystream: chorale_wire::Keystream::default(),
            sign_off: None,
        }
    }

    fn refusal(policy: &PolicyFile, spec: &RoundSpec) -> Option<String> {
        let policy = StorePolicy::new(policy.clone(), Path::new("policy.toml")).unwrap();
        let derived = spec.derive(12).unwrap();
        policy.admits(spec, &derived).err().map(|refused| refused.to_string())
    }

    #[test]
    fn a_modest_plan_is_admitted() {
        assert_eq!(refusal(&PolicyFile::default(), &spec()), None);
    }

    #[test]
    fn a_plan_that_the_officer_did_not_sign_off_is_refused() {
        let key = SecretKey::from_seed(&[7; 32]);
        let demanding =
            PolicyFile { compliance_key: Some(key.public().to_string()), ..PolicyFile::default() };
        let sign_off = |spec: &RoundSpec| {
            let plan = spec.plan.digest().unwrap();
            SignOff { federation: spec.federation.clone(), plan }
        };
        let good = sign_off(&spec());
        let with = |signature| RoundSpec { sign_off: Some(signature), ..spec() };
        let signed = with(good.sign(&key).unwrap());
        assert_eq!(refusal(&demanding, &signed), None);
        // Nobody else has to hand one over.
        assert_eq!(refusal(&PolicyFile::default(), &spec()), None);
        let missing = refusal(&demanding, &spec()).unwrap();
        assert!(missing.contains("without a sign-off"), "{missing}");
        let other_key = with(good.sign(&SecretKey::from_seed(&[8; 32])).unwrap());
        let federation = FederationId::new("other").unwrap();
        let other_federation = with(SignOff { federation, ..good.clone() }.sign(&key).unwrap());
        // Signed off for one round; the coordinator wants two.
        let other_plan = RoundSpec { plan: Plan { rounds: 2, ..spec().plan }, ..signed.clone() };
        for forged in [other_key, other_federation, other_plan] {
            let said = refusal(&demanding, &forged).unwrap();
            assert!(said.contains(&key.public().to_string()), "{said}");
            assert!(said.contains("coordinator plan sign"), "{said}");
        }
        let file = PolicyFile { compliance_key: Some("abc".into()), ..PolicyFile::default() };
        let error = StorePolicy::new(file, Path::new("policy.toml")).unwrap_err();
        assert!(error.place().contains("compliance_key"), "{}", error.place());
    }

    #[test]
    fn each_rule_refuses_and_says_why() {
        let strict = PolicyFile::default;
        let family = |epsilon_max: f64, days: Option<u32>| PolicyCap {
            name: "counts".into(),
            tasks: vec!["popularity".into()],
            days,
            epsilon_max,
            across_federations: false,
        };
        let cases: [(PolicyFile, &str); 11] = [
            (PolicyFile { caps: vec![family(0.5, None)], ..strict() }, "cap 'counts' (ρ = "),
            (PolicyFile { caps: vec![family(0.5, Some(7))], ..strict() }, "in any 7 days, tasks"),
            (PolicyFile { tasks: vec!["cooccurrence".into()], ..strict() }, "task 'popularity'"),
            (PolicyFile { epsilon_max: 0.5, ..strict() }, "epsilon_max = 0.5"),
            (PolicyFile { coordinates_max: 450, ..strict() }, "coordinates_max allows at most 450"),
            (PolicyFile { persons_max: 255, ..strict() }, "persons_max allows at most 255"),
            (PolicyFile { survivors_min: 11, ..strict() }, "survivors_min demands at least 11"),
            (PolicyFile { corrupt_per_mille_min: 200, ..strict() }, "demands at least 3"),
            (PolicyFile { corrupt_min: 3, ..strict() }, "corrupt_min demands at least 3"),
            (PolicyFile { roster_min: 13, ..strict() }, "roster_min demands at least 13"),
            (PolicyFile { rounds_max: 0, ..strict() }, "rounds_max allows at most 0"),
        ];
        for (policy, words) in cases {
            let text = refusal(&policy, &spec()).unwrap();
            assert!(text.starts_with("this agent's policy refuses round 7"), "{text}");
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn persons_are_divided_only_where_the_store_says_so() {
        let mut divided = spec();
        divided.plan.stores_max = 4;
        let text = refusal(&PolicyFile::default(), &divided).unwrap();
        assert!(text.contains("only home customers contribute"), "{text}");
        let allows = |least| PolicyFile { stores_max_min: Some(least), ..PolicyFile::default() };
        assert_eq!(refusal(&allows(4), &divided), None);
        let text = refusal(&allows(5), &divided).unwrap();
        assert!(text.contains("stores_max_min demands 5"), "{text}");
        assert_eq!(refusal(&allows(5), &spec()), None);
        assert!(StorePolicy::new(allows(1), Path::new("policy.toml")).is_err());
    }

    #[test]
    fn the_whole_plan_must_fit_the_budget() {
        let mut long = spec();
        long.plan.rounds = 3;
        assert!(refusal(&PolicyFile::default(), &long).is_some());
    }

    #[test]
    fn noise_may_only_be_missing_where_the_store_says_so() {
        let mut bare = spec();
        bare.plan.mechanism = Mechanism::Unprotected;
        let text = refusal(&PolicyFile::default(), &bare).unwrap();
        assert!(text.contains("allow_unprotected is false"), "{text}");
        let open = PolicyFile { allow_unprotected: true, ..PolicyFile::default() };
        assert_eq!(refusal(&open, &bare), None);
    }

    #[test]
    fn the_file_is_strict() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.toml");
        let load = |text: &str| {
            fs::write(&path, text).unwrap();
            StorePolicy::read(&path).map(|(policy, _)| policy)
        };
        assert_eq!(load("").unwrap().rules(), &PolicyFile::default());
        let error = load("epsilon_max = 2.0\nepsilom_max = 1.0\n").unwrap_err();
        assert!(error.place().ends_with("line 2"));
        assert!(crate::error::Failure::from(error).to_string().contains("epsilom_max"));
        assert!(load("epsilon_max = 0.0").is_err());
        assert!(load("delta = \"1/2\"").is_err());
        assert!(load("delta = \"nothing\"").is_err());
        let cap = load("epsilon_max = 8.0").unwrap();
        assert!(cap.cap() > load("epsilon_max = 1.0").unwrap().cap());
        assert!(load("dropout_max = \"1/2\"").is_err());
        assert!(load("dropout_max = \"-1/4\"").is_err());
        fs::write(&path, b"# \xff").unwrap();
        assert!(matches!(
            StorePolicy::read(&path),
            Err(PolicyError::File(ConfigError::Read { .. }))
        ));
    }

    #[test]
    fn small_rosters_and_too_many_dropouts_are_refused() {
        let policy = |dropout_max: &str| {
            let dropout_max = dropout_max.parse().unwrap();
            let file = PolicyFile { dropout_max, ..PolicyFile::default() };
            StorePolicy::new(file, Path::new("policy.toml")).unwrap()
        };
        assert!(matches!(
            policy("1/3").admits_roster(9, 9),
            Err(RosterRefused::Small { agents: 9, roster_min: 10 })
        ));
        // 33 of 99 is a third; one survivor fewer is not admitted.
        assert_eq!(policy("1/3").admits_roster(99, 66), Ok(()));
        let refused = policy("1/3").admits_roster(99, 65).unwrap_err();
        assert!(matches!(refused, RosterRefused::Dropouts { needed: 66, .. }), "{refused}");
        let refused = policy("1/10").admits_roster(99, 66).unwrap_err();
        assert!(matches!(refused, RosterRefused::Dropouts { needed: 90, .. }), "{refused}");
        assert!(refused.to_string().contains("dropout_max = 1/10"), "{refused}");
        assert_eq!(policy("0/1").admits_roster(12, 12), Ok(()));
        assert!(policy("0/1").admits_roster(12, 11).is_err());
    }
}
