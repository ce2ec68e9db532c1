//! The writer against the verifier, and both against tampering.
#![allow(clippy::unwrap_used)]

mod aborts;
mod canaries;
mod caps;
mod changes;
mod heads;
mod lineage;
mod page;
mod peer;
mod refusals;

use chorale_dp::{
    Rational, Rho, accountant::sampler_delta_under_cap, sampler::fast::total_variation_bound,
};
use chorale_plan::SignOff;
use chorale_wire::{
    AgentId, Digest, Epoch, FederationId, Membership, RoundNumber, SecretKey, SessionId, Signature,
    Signed, Slot, SlotSet,
    message::{AbortCause, SurvivorVote, Vote},
};
use proptest::prelude::*;

use super::*;
use crate::{
    canonical,
    chain::Line,
    entry::{AbortEntry, ReleaseEntry},
};

const AGENTS: u16 = 12;

fn key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn rho(numerator: u64, denominator: u64) -> Rho {
    Rho::new(Rational::new(numerator, denominator).unwrap()).unwrap()
}

fn agents(from: u16) -> Vec<AgentId> {
    (from..AGENTS).map(|i| AgentId::new(format!("store-{i:03}")).unwrap()).collect()
}

fn genesis(cap_rho: Privacy) -> GenesisEntry {
    GenesisEntry {
        federation: FederationId::new("test").unwrap(),
        unit: Unit::Person,
        adjacency: Adjacency::AddRemove,
        identity_method: IdentityMethod::HomeStore,
        stores_max: None,
        delta: Rational::new(1, 100_000).unwrap(),
        delta_reserved: Rational::new(1, 1_000_000_000).unwrap(),
        cap_rho,
        caps: Vec::new(),
        enrolled: 12,
        corrupt: 2,
        survivors_min: 10,
        catalogue: Digest::plain(b"catalogue"),
        coordinator: key().public(),
        authority: authority().public(),
        compliance: compliance().public(),
        predecessors: Vec::new(),
        accountant_version: ACCOUNTANT_VERSION.into(),
        software: "chorale 0.1.0".into(),
        purpose: "evaluation only".into(),
    }
}

fn compliance() -> SecretKey {
    SecretKey::from_seed(&[4; 32])
}

/// The compliance key's word for the plan of [`reserve`].
fn sign_off(federation: &str) -> Signature {
    let federation = FederationId::new(federation).unwrap();
    SignOff { federation, plan: Digest::plain(b"plan") }.sign(&compliance()).unwrap()
}

fn authority() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

fn agent_key(index: u16) -> SecretKey {
    SecretKey::from_seed(&[100 + index as u8; 32])
}

fn membership(index: u16, signer: &SecretKey) -> Signed<Membership> {
    let agent = AgentId::new(format!("store-{index:03}")).unwrap();
    let membership = Membership {
        tls_key: Digest::plain(agent.as_str().as_bytes()),
        agent,
        identity: agent_key(index).public(),
        administrator: SecretKey::from_seed(&[3; 32]).public(),
        not_before_s: 0,
        not_after_s: 4_000_000_000,
        enrolled: 12,
    };
    Signed::sign(&membership, signer).unwrap()
}

fn roster_entry(epoch: u64) -> RosterEntry {
    let memberships: Vec<_> = (0..AGENTS).map(|i| membership(i, &authority())).collect();
    let (roster, seed) = (Digest::plain(&epoch.to_be_bytes()), graph_seed(epoch));
    RosterEntry::of(Epoch(epoch), roster, seed, &memberships).unwrap()
}

fn roster(epoch: u64) -> Entry {
    Entry::Roster(roster_entry(epoch))
}

fn graph_seed(epoch: u64) -> Digest {
    Digest::of("graph seed", &[&epoch.to_be_bytes()])
}

/// What the agents sign to abort a round of epoch 1 whose cohort is everybody.
fn ballot(round: u64, slot: u16, vote: Vote) -> SurvivorVote {
    let cohort = SlotSet::from_slots(AGENTS.into(), (0..AGENTS).map(Slot));
    let spec = Digest::plain(b"spec");
    let session = SessionId::new(Epoch(1), RoundNumber(round), &graph_seed(1), &spec, &cohort);
    SurvivorVote { session, slot: Slot(slot), vote }
}

/// The votes of the first `voters` agents; T is 8 for 12 agents of whom 2 may be corrupt.
fn proof(round: u64, voters: u16) -> AbortProof {
    let sign = |slot| {
        Signed::sign(&ballot(round, slot, Vote::Abort), &agent_key(slot)).unwrap().signature()
    };
    AbortProof {
        spec: Digest::plain(b"spec"),
        cohort: agents(0),
        voters: agents(0)[..voters.into()].to_vec(),
        signatures: (0..voters).map(sign).collect(),
    }
}

/// Δ = 2^16, σ² = 2^33 and so ρ = 1/4 and a trace.
fn reserve(round: u64, epoch: u64) -> ReserveEntry {
    let sigma_squared = Rational::from_integer(1u64 << 33);
    let cost = Rho::of_distributed_gaussian(1 << 16, &sigma_squared, 8, 1847);
    ReserveEntry {
        round: RoundNumber(round),
        epoch: Epoch(epoch),
        plan: "taste".into(),
        plan_digest: Digest::plain(b"plan"),
        sign_off: sign_off("test"),
        task: "cooccurrence".into(),
        mechanism: MechanismName::DiscreteGaussian,
        coordinates: 1847,
        scale_bits: 16,
        delta: 1 << 16,
        share_variance: Some(&sigma_squared / &Rational::from_integer(8)),
        noise_levels: None,
        sigma_squared: Some(sigma_squared),
        survivors_min: 10,
        corrupt: 2,
        modulus_bits: 32,
        clip_share_rule: IdentityMethod::HomeStore,
        clip_share: None,
        rounding_rule: RoundingRule::UnbiasedPerCoordinate,
        sampler_distance: Some(total_variation_bound()),
        canaries: None,
        model: Digest::plain(b"model"),
        rho: Privacy::Rho(cost),
    }
}

fn released(round: u64, survivors: u16) -> Released {
    let spec = Digest::plain(b"spec");
    let cohort = SlotSet::empty(AGENTS.into());
    Released {
        round: RoundNumber(round),
        session: SessionId::new(Epoch(1), RoundNumber(round), &spec, &spec, &cohort),
        survivors: agents(AGENTS - survivors),
        vectors: vec![Digest::plain(b"vector"); survivors.into()],
        transcript: Digest::plain(b"transcript"),
        output_model: Digest::plain(b"output"),
        canaries: None,
    }
}

/// A chain together with the file that its lines make.
struct Ledger {
    chain: Chain,
    file: String,
    now: u64,
}

impl Ledger {
    fn new(cap: Privacy) -> Self {
        let (chain, file) = Chain::genesis(genesis(cap), &key(), 1000).unwrap();
        Self { chain, file, now: 1000 }
    }

    fn append(&mut self, entry: Entry) -> Result<(), Violation> {
        self.now += 1;
        match self.chain.append(entry, &key(), self.now) {
            Ok(line) => self.file.push_str(&line),
            Err(LedgerError::Rule { source, .. }) => return Err(source),
            Err(error) => panic!("{error}"),
        }
        Ok(())
    }

    fn reserve(&mut self, entry: ReserveEntry) -> Result<(), Violation> {
        self.append(Entry::Reserve(Box::new(entry)))
    }

    fn release(&mut self, round: u64) -> Result<(), Violation> {
        self.append(self.chain.release(released(round, 11))?)
    }

    /// Genesis, a roster, two rounds released, one aborted before and one after COMMIT.
    fn example() -> Self {
        let mut ledger = Self::new(Privacy::Rho(rho(2, 1)));
        ledger.append(roster(1)).unwrap();
        for round in [1, 2] {
            ledger.reserve(reserve(round, 1)).unwrap();
            ledger.release(round).unwrap();
        }
        for (round, committed) in [(3, false), (5, true)] {
            ledger.reserve(reserve(round, 1)).unwrap();
            let cause = AbortCause::Survivors;
            let abort = ledger.chain.abort(RoundNumber(round), cause, committed, false).unwrap();
            ledger.append(abort).unwrap();
        }
        ledger
    }

    fn lines(&self) -> Vec<&str> {
        self.file.split_inclusive('\n').collect()
    }
}

/// The file with `line` changed by `edit`, its hash recomputed, and everything from there on
/// chained and signed again with `signer`.
fn resign(file: &str, line: usize, signer: &SecretKey, edit: impl FnOnce(&mut Line)) -> String {
    let mut lines: Vec<Line> =
        file.lines().map(|text| serde_json::from_str(text).unwrap()).collect();
    edit(&mut lines[line]);
    let mut previous = lines[line].previous;
    let mut out: String = file.split_inclusive('\n').take(line).collect();
    for line in &mut lines[line..] {
        line.previous = previous;
        line.hash = line.expected_hash().unwrap();
        previous = line.hash;
        let hash = line.hash.as_bytes().to_vec();
        let signed = chorale_wire::SignedBytes::sign("ledger entry", hash, signer);
        line.signature = Signature::from_bytes(*signed.signature());
        out.push_str(&canonical::encode(line).unwrap());
        out.push('\n');
    }
    out
}

fn refused(file: &str) -> VerifyError {
    verify(file.as_bytes(), None).unwrap_err()
}

fn violation(file: &str) -> Violation {
    match refused(file) {
        VerifyError::Rule { source, .. } => source,
        other => panic!("{other}"),
    }
}

#[test]
fn what_was_written_is_what_is_reported() {
    let ledger = Ledger::example();
    let report = verify(ledger.file.as_bytes(), Some(ledger.chain.head())).unwrap();
    assert_eq!((report.entries, report.epochs), (10, 1));
    assert_eq!((report.released, report.aborted, report.open), (2, 1 + 1, 0));
    let cost = reserve(1, 1).rho.rho().unwrap().clone();
    let three: Rho = vec![cost.clone(); 3].into_iter().sum();
    assert_eq!(report.spent, Privacy::Rho(three.clone()));
    assert_eq!(ledger.chain.spent(), report.spent);
    assert_eq!(report.completeness, Completeness::Head { seq: 9, last: 9 });
    // ε of ρ = 3/4 at about 1e-5: 0.75 + 2√(0.75·ln 1e5) = 6.63 is the loose bound.
    assert!(report.epsilon.zcdp > 5.0 && report.epsilon.zcdp < 6.63, "{:?}", report.epsilon);
    assert!(report.epsilon.gaussian < report.epsilon.zcdp);
    assert!(report.epsilon.delta_holds());
    let text = report.to_string();
    for piece in ["released by 11 agents", "given back", "charged", "complete up to seq 9"] {
        assert!(text.contains(piece), "{piece} is missing in\n{text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["spent"], three.to_string());
    assert_eq!(json["rounds"].as_array().unwrap().len(), 4);
    assert_eq!(json["rounds"][2]["outcome"]["charged"], false);
}

#[test]
fn without_a_head_the_end_is_not_claimed() {
    let ledger = Ledger::example();
    let report = verify(ledger.file.as_bytes(), None).unwrap();
    assert!(report.to_string().contains("complete only up to seq 9"));
    // A file cut at an entry verifies on its own, and not against the head.
    let shorter: String = ledger.lines()[..8].concat();
    let report = verify(shorter.as_bytes(), None).unwrap();
    assert_eq!(report.completeness, Completeness::UpTo { seq: 7 });
    let error = verify(shorter.as_bytes(), Some(ledger.chain.head())).unwrap_err();
    assert!(matches!(error, VerifyError::Truncated { last: 7, head: 9 }), "{error}");
    let earlier: Head = report.head.to_string().parse().unwrap();
    let report = verify(ledger.file.as_bytes(), Some(earlier)).unwrap();
    assert_eq!(report.completeness, Completeness::Head { seq: 7, last: 9 });
}

#[test]
fn every_flipped_bit_is_noticed() {
    let ledger = Ledger::example();
    let bytes = ledger.file.as_bytes();
    // One bit of each byte, another in each: all of them would take half a minute.
    for bit in (0..bytes.len()).map(|byte| byte * 8 + byte * 5 % 8) {
        // It is noticed at its own line, whatever follows.
        let end = bit / 8 + bytes[bit / 8..].iter().position(|byte| *byte == b'\n').unwrap();
        let mut changed = bytes[..=end].to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&changed, None).is_err(), "bit {bit} of byte {}", bit / 8);
    }
}

#[test]
fn removed_reordered_and_repeated_entries() {
    let ledger = Ledger::example();
    let lines = ledger.lines();
    for missing in 0..lines.len() - 1 {
        let file: String =
            lines.iter().enumerate().filter(|(i, _)| *i != missing).map(|(_, l)| *l).collect();
        assert!(
            matches!(refused(&file), VerifyError::Sequence { line, .. } if line == missing + 1)
        );
    }
    for swapped in 0..lines.len() - 1 {
        let mut lines = lines.clone();
        lines.swap(swapped, swapped + 1);
        assert!(matches!(refused(&lines.concat()), VerifyError::Sequence { .. }));
    }
    let mut twice = lines.clone();
    twice.insert(4, lines[3]);
    assert!(matches!(
        refused(&twice.concat()),
        VerifyError::Sequence { line: 5, expected: 4, found: 3 }
    ));
    assert!(matches!(refused(""), VerifyError::Empty));
    let torn = &ledger.file[..ledger.file.len() - 20];
    assert!(matches!(refused(torn), VerifyError::Torn { line: 10 }));
    assert!(!torn_tail(torn.as_bytes()).is_empty() && torn_tail(ledger.file.as_bytes()).is_empty());
}

#[test]
fn a_fork_is_seen_by_whoever_holds_a_head() {
    let mut ledger = Ledger::example();
    let mut other = Ledger { chain: ledger.chain.clone(), file: ledger.file.clone(), now: 2000 };
    ledger.reserve(reserve(6, 1)).unwrap();
    other.reserve(reserve(7, 1)).unwrap();
    assert!(verify(other.file.as_bytes(), None).is_ok());
    let error = verify(other.file.as_bytes(), Some(ledger.chain.head())).unwrap_err();
    assert!(matches!(error, VerifyError::Forked { line: 11, seq: 10, .. }), "{error}");
    // A splice of both histories is broken where they meet.
    ledger.release(6).unwrap();
    let spliced = other.file.clone() + ledger.lines()[11];
    assert!(matches!(refused(&spliced), VerifyError::Link { line: 12, seq: 11 }));
}

#[test]
fn signatures_and_keys() {
    let ledger = Ledger::example();
    let thief = SecretKey::from_seed(&[9; 32]);
    let bigger = |line: &mut Line| {
        let Entry::Reserve(entry) = &mut line.entry else { panic!() };
        let sigma_squared = Rational::from_integer(1u64 << 34);
        entry.share_variance = Some(&sigma_squared / &Rational::from_integer(8));
        entry.rho = Privacy::Rho(Rho::of_distributed_gaussian(1 << 16, &sigma_squared, 8, 1847));
        entry.sigma_squared = Some(sigma_squared);
    };
    // A changed σ, consistent in itself, signed by somebody else.
    let forged = resign(&ledger.file, 2, &thief, bigger);
    assert!(matches!(refused(&forged), VerifyError::Signature { line: 3, seq: 2, .. }));
    // Only the hash recomputed, the signature left.
    let mut lines: Vec<String> = ledger.lines().iter().map(ToString::to_string).collect();
    lines[2] = resign(&ledger.file, 2, &key(), bigger).split_inclusive('\n').nth(2).unwrap().into();
    assert!(matches!(refused(&lines.concat()), VerifyError::Link { line: 4, .. }));
    // The key in GENESIS swapped, everything signed again: a valid ledger of somebody else.
    let swapped = resign(&ledger.file, 0, &thief, |line| {
        let Entry::Genesis(entry) = &mut line.entry else { panic!() };
        entry.coordinator = thief.public();
    });
    assert!(verify(swapped.as_bytes(), None).is_ok());
    let expect = Expect { coordinator: Some(key().public()), head: None };
    let error = verify_with(swapped.as_bytes(), &expect).unwrap_err();
    assert!(matches!(error, VerifyError::Coordinator { .. }));
    assert!(verify_with(ledger.file.as_bytes(), &expect).is_ok());
    let error = verify(swapped.as_bytes(), Some(ledger.chain.head())).unwrap_err();
    assert!(matches!(error, VerifyError::Forked { .. }));
    // The key swapped without signing again.
    let unsigned =
        ledger.file.replacen(&key().public().to_string(), &thief.public().to_string(), 1);
    assert!(matches!(refused(&unsigned), VerifyError::Hash { line: 1, seq: 0 }));

    let mut chain = ledger.chain.clone();
    let error = chain.append(roster(2), &thief, 3000).unwrap_err();
    assert!(matches!(error, LedgerError::WrongKey { seq: 10 }));
}

/// Lines written by a coordinator that does not use this crate's writer, with its own key.
#[test]
fn a_dishonest_coordinator_cannot_tell_another_sum() {
    let file = Ledger::example().file;
    let edit = |line: usize, edit: &dyn Fn(&mut Entry)| {
        violation(&resign(&file, line, &key(), |line| edit(&mut line.entry)))
    };
    let with_reserve = |change: &dyn Fn(&mut ReserveEntry)| {
        edit(2, &|entry| match entry {
            Entry::Reserve(entry) => change(entry),
            _ => panic!(),
        })
    };
    let with_release = |change: &dyn Fn(&mut ReleaseEntry)| {
        edit(3, &|entry| match entry {
            Entry::Release(entry) => change(entry),
            _ => panic!(),
        })
    };
    let with_abort = |line, change: &dyn Fn(&mut AbortEntry)| {
        edit(line, &|entry| match entry {
            Entry::Abort(entry) => change(entry),
            _ => panic!(),
        })
    };
    let recomputed = |violation, name| {
        assert!(matches!(violation, Violation::Recomputed { field, .. } if field == name));
    };
    recomputed(with_release(&|entry| entry.spent = Privacy::Rho(rho(1, 5))), "spent");
    recomputed(with_abort(7, &|entry| entry.spent = Privacy::Rho(rho(1, 5))), "spent");
    recomputed(with_reserve(&|entry| entry.rho = Privacy::Rho(rho(1, 4))), "rho");
    recomputed(with_reserve(&|entry| entry.delta += 1), "rho");
    recomputed(with_reserve(&|entry| entry.coordinates += 1), "rho");
    recomputed(
        with_reserve(&|entry| entry.sigma_squared = Some(Rational::from_integer(1u64 << 34))),
        "share_variance",
    );
    let differs = |violation, name| {
        assert!(matches!(violation, Violation::Differs { field, .. } if field == name));
    };
    differs(with_reserve(&|entry| entry.corrupt = 1), "corrupt");
    differs(with_reserve(&|entry| entry.survivors_min = 9), "survivors_min");
    differs(
        with_reserve(&|entry| entry.clip_share_rule = IdentityMethod::PerAgent),
        "clip_share_rule",
    );
    differs(with_reserve(&|entry| entry.mechanism = MechanismName::Unprotected), "mechanism");
    differs(with_release(&|entry| entry.rho = Privacy::Rho(Rho::zero())), "rho");
    let unknown = with_reserve(&|entry| entry.epoch = Epoch(2));
    assert!(matches!(unknown, Violation::EpochUnknown { .. }));
    let refund = with_abort(9, &|entry| entry.rho_charged = Privacy::Rho(Rho::zero()));
    assert_eq!(refund, Violation::Refund { round: RoundNumber(5) });
    let stranger = with_release(&|entry| entry.survivors[0] = AgentId::new("stranger").unwrap());
    assert_eq!(stranger, Violation::Survivors { round: RoundNumber(1) });
    let twice = with_release(&|entry| entry.survivors[1] = entry.survivors[0].clone());
    assert_eq!(twice, Violation::Survivors { round: RoundNumber(1) });
    let few = with_release(&|entry| {
        entry.survivors.truncate(9);
        entry.vectors.truncate(9);
    });
    assert!(matches!(few, Violation::TooFew { survivors: 9, survivors_min: 10, .. }));
    let again = edit(5, &|entry| match entry {
        Entry::Release(entry) => {
            entry.session = {
                let first = released(1, 11).session;
                Digest::from_bytes(*first.as_bytes())
            }
        }
        _ => panic!(),
    });
    assert_eq!(again, Violation::SessionTwice { round: RoundNumber(2) });
    let backdated = resign(&file, 4, &key(), |line| line.time_s = 5);
    assert!(matches!(refused(&backdated), VerifyError::Time { line: 5, seq: 4 }));
}

#[test]
fn the_cap_is_exact_and_counts_open_rounds() {
    let cost = reserve(1, 1).rho.rho().unwrap().clone();
    let two = &cost + &cost;
    let mut ledger = Ledger::new(Privacy::Rho(two.clone()));
    ledger.append(roster(1)).unwrap();
    ledger.reserve(reserve(1, 1)).unwrap();
    ledger.reserve(reserve(2, 1)).unwrap();
    assert!(matches!(ledger.reserve(reserve(3, 1)), Err(Violation::OverCap { .. })));
    ledger.release(2).unwrap();
    assert!(matches!(ledger.reserve(reserve(3, 1)), Err(Violation::OverCap { .. })));
    let refund = ledger.chain.abort(RoundNumber(1), AbortCause::Cohort, false, false).unwrap();
    ledger.append(refund).unwrap();
    ledger.reserve(reserve(3, 1)).unwrap();
    ledger.release(3).unwrap();
    assert_eq!(ledger.chain.spent(), Privacy::Rho(two.clone()));
    assert!(verify(ledger.file.as_bytes(), None).is_ok());

    // Less by the smallest trace, and the second round does not fit.
    let trace = Rational::power_of_half(2000);
    let short = Rho::new(two.as_rational() - &trace).unwrap();
    let mut ledger = Ledger::new(Privacy::Rho(short));
    ledger.append(roster(1)).unwrap();
    ledger.reserve(reserve(1, 1)).unwrap();
    assert!(matches!(ledger.reserve(reserve(2, 1)), Err(Violation::OverCap { .. })));
}

#[test]
fn rounds_and_epochs_only_ascend_and_end_once() {
    let mut ledger = Ledger::example();
    let stale = ledger.reserve(reserve(5, 1));
    assert!(matches!(stale, Err(Violation::RoundOrder { last: RoundNumber(5), .. })));
    assert!(matches!(ledger.append(roster(1)), Err(Violation::EpochOrder { .. })));
    assert!(matches!(ledger.release(2), Err(Violation::NotReserved { .. })));
    assert!(matches!(ledger.release(99), Err(Violation::NotReserved { .. })));
    ledger.append(roster(2)).unwrap();
    assert!(matches!(ledger.reserve(reserve(6, 1)), Err(Violation::EpochUnknown { .. })));
    ledger.reserve(reserve(6, 2)).unwrap();
    assert_eq!(ledger.chain.open_rounds(), [RoundNumber(6)]);
    ledger.release(6).unwrap();
    let again = ledger.append(Entry::Genesis(Box::new(genesis(Privacy::Unprotected))));
    assert_eq!(again, Err(Violation::Genesis));
}

#[test]
fn a_federation_without_noise_says_infinity() {
    let mut ledger = Ledger::new(Privacy::Unprotected);
    ledger.append(roster(1)).unwrap();
    assert!(matches!(ledger.reserve(reserve(1, 1)), Err(Violation::Differs { .. })));
    let bare = |round| ReserveEntry {
        mechanism: MechanismName::Unprotected,
        sigma_squared: None,
        share_variance: None,
        sampler_distance: None,
        rho: Privacy::Unprotected,
        ..reserve(round, 1)
    };
    ledger.reserve(bare(1)).unwrap();
    ledger.release(1).unwrap();
    ledger.reserve(bare(2)).unwrap();
    let abort = ledger.chain.abort(RoundNumber(2), AbortCause::Stopped, false, false).unwrap();
    ledger.append(abort).unwrap();
    let report = verify(ledger.file.as_bytes(), None).unwrap();
    assert_eq!(report.epsilon.best(), f64::INFINITY);
    assert!(report.to_string().contains("infinity: this federation has no noise"));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        (&json["epsilon"]["zcdp"], &json["spent"]),
        (&"infinity".into(), &"unprotected".into())
    );
}

#[test]
fn other_spellings_are_refused() {
    let ledger = Ledger::example();
    let first = ledger.lines()[0].trim_end();
    for other in [
        first.replacen("\"seq\":0", "\"seq\": 0", 1),
        first.replacen("\"seq\":0", "\"seq\":\"0\"", 1),
        first.replacen("\"cap_rho\":\"2/1\"", "\"cap_rho\":\"4/2\"", 1),
        first.replacen("\"cap_rho\":\"2/1\"", "\"cap_rho\":\"2\"", 1),
        first.replacen("\"seq\":0", "\"seq\":0,\"note\":\"x\"", 1),
        first.replacen("\"seq\":0,", "\"seq\":0,\"seq\":0,", 1),
        first.replacen("evaluation", "\\u0065valuation", 1),
        format!("{first}\r"),
    ] {
        assert_ne!(other, first);
        let error = refused(&format!("{other}\n"));
        let known = matches!(
            error,
            VerifyError::NotCanonical { line: 1, .. } | VerifyError::Unreadable { line: 1, .. }
        );
        assert!(known, "{error}: {other}");
    }
}

#[test]
fn a_genesis_that_promises_too_much_is_not_written() {
    let write = |change: &dyn Fn(&mut GenesisEntry)| {
        let mut entry = genesis(Privacy::Rho(rho(1, 1)));
        change(&mut entry);
        match Chain::genesis(entry, &key(), 0) {
            Err(LedgerError::Rule { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(write(&|g| g.survivors_min = 4), Violation::Cohort { .. }));
    assert!(matches!(write(&|g| g.survivors_min = 13), Violation::Range { .. }));
    assert!(matches!(write(&|g| g.corrupt = 0), Violation::Range { .. }));
    assert!(matches!(write(&|g| g.delta = Rational::one()), Violation::Range { .. }));
    assert!(matches!(write(&|g| g.delta_reserved = g.delta.clone()), Violation::Range { .. }));
    assert!(matches!(write(&|g| g.purpose = "a\nb".into()), Violation::Range { .. }));
    assert!(matches!(
        write(&|g| g.identity_method = IdentityMethod::PerAgent),
        Violation::Range { field: "unit", .. }
    ));
    assert!(matches!(write(&|g| g.accountant_version = "2".into()), Violation::Accountant { .. }));
}

#[test]
fn sparse_graphs_are_paid_from_the_reserved_delta() {
    let begin = |delta_reserved: Rational| {
        let wide = GenesisEntry {
            enrolled: 150,
            corrupt: 15,
            survivors_min: 130,
            delta_reserved,
            ..genesis(Privacy::Rho(rho(1, 1)))
        };
        Chain::genesis(wide, &key(), 0).unwrap().0
    };
    let sparse = |epoch: u64, agents: u16| {
        let memberships: Vec<_> = (0..agents).map(|i| membership(i, &authority())).collect();
        let (roster, seed) = (Digest::plain(&epoch.to_be_bytes()), graph_seed(epoch));
        Entry::Roster(RosterEntry::of(Epoch(epoch), roster, seed, &memberships).unwrap())
    };
    let refused = |chain: &mut Chain, entry: Entry| match chain.append(entry, &key(), 1) {
        Err(LedgerError::Rule { source, .. }) => source,
        other => panic!("{other:?}"),
    };
    let mut chain = begin(Rational::new(100, 1u64 << 40).unwrap());
    chain.append(sparse(100, 150), &key(), 1).unwrap();
    let above = refused(&mut chain, sparse(101, 150));
    assert!(matches!(above, Violation::SparseEpoch { epoch: Epoch(101) }), "{above}");
    // However much is reserved, agents join no sparse epoch above the last number.
    let mut chain = begin(Rational::new(1, 1_000_000).unwrap());
    let above = refused(&mut chain, sparse(1025, 150));
    assert!(matches!(above, Violation::SparseEpoch { .. }), "{above}");
    chain.append(sparse(1024, 150), &key(), 1).unwrap();
}

/// Every round's samplers cost n·d·TV·(1 + 2^g) of δ; a round that the reserve does not hold is
/// refused, however much ρ is left.
#[test]
fn the_samplers_are_paid_from_the_reserved_delta() {
    let cap = rho(2, 1);
    let delta = Rational::new(1, 100_000).unwrap();
    let reserved = Rational::new(1, 1_000_000_000).unwrap();
    // δ is short of 1e-5 by the reserve, which g does not notice.
    let one = sampler_delta_under_cap(
        AGENTS.into(),
        1847,
        &total_variation_bound(),
        &cap,
        &(&delta - &reserved),
    );
    let begin = |delta_reserved: Rational| {
        let mut ledger = Ledger::new(Privacy::Rho(cap.clone()));
        let entry = GenesisEntry { delta_reserved, ..genesis(Privacy::Rho(cap.clone())) };
        (ledger.chain, ledger.file) = Chain::genesis(entry, &key(), 1000).unwrap();
        ledger.append(roster(1)).unwrap();
        ledger
    };
    let refused = |result: Result<(), Violation>| matches!(result, Err(Violation::Samplers { needed, left, .. }) if needed > left);
    let two = &one + &one;
    let mut ledger = begin(two.clone());
    ledger.reserve(reserve(1, 1)).unwrap();
    ledger.reserve(reserve(2, 1)).unwrap();
    assert!(refused(ledger.reserve(reserve(3, 1))), "two are open");
    ledger.release(1).unwrap();
    assert!(refused(ledger.reserve(reserve(3, 1))), "one is open, one is charged");
    let refund = ledger.chain.abort(RoundNumber(2), AbortCause::Cohort, false, false).unwrap();
    ledger.append(refund).unwrap();
    ledger.reserve(reserve(3, 1)).unwrap();
    assert!(verify(ledger.file.as_bytes(), None).unwrap().epsilon.delta_holds());
    // Less by a trace, and the second does not fit; nor does a round of twice the coordinates.
    let mut ledger = begin(&two - &Rational::power_of_half(200));
    let mut longer = reserve(1, 1);
    longer.coordinates *= 2;
    let cost =
        Rho::of_distributed_gaussian(1 << 16, &longer.sigma_squared.clone().unwrap(), 8, 2 * 1847);
    longer.rho = Privacy::Rho(cost);
    assert!(refused(ledger.reserve(longer)));
    ledger.reserve(reserve(1, 1)).unwrap();
    assert!(refused(ledger.reserve(reserve(2, 1))));
}

/// The example of `docs/ledger.md`, kept true. To write it again, set `CHORALE_WRITE_EXAMPLE`.
#[test]
fn the_documented_example_verifies() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ledger.md");
    let document = std::fs::read_to_string(path).unwrap();
    let start = document.find("```jsonl\n").unwrap() + "```jsonl\n".len();
    let end = start + document[start..].find("```").unwrap();
    let file = &document[start..end];
    let mut ledger = Ledger::new(Privacy::Rho(rho(2, 1)));
    ledger.append(roster(1)).unwrap();
    ledger.reserve(reserve(1, 1)).unwrap();
    ledger.append(ledger.chain.release(released(1, 10)).unwrap()).unwrap();
    ledger.reserve(reserve(2, 1)).unwrap();
    let abort = ledger.chain.abort_certified(RoundNumber(2), AbortCause::Survivors, proof(2, 8));
    ledger.append(abort.unwrap()).unwrap();
    ledger.append(Entry::Cosigned(heads::cosigned(ledger.chain.head(), 8))).unwrap();
    let head = format!("head {}.", ledger.chain.head());
    if std::env::var_os("CHORALE_WRITE_EXAMPLE").is_some() {
        let before = &document[..start];
        let said = before.rfind("head ").unwrap();
        let rest = said + before[said..].find('.').unwrap() + 1;
        let written = [&before[..said], &head, &before[rest..], &ledger.file, &document[end..]];
        std::fs::write(path, written.concat()).unwrap();
        return;
    }
    assert_eq!(file, ledger.file, "docs/ledger.md should hold:\n{}", ledger.file);
    assert!(document.contains(&head), "docs/ledger.md should say: {head}");
    verify(file.as_bytes(), Some(ledger.chain.head())).unwrap();
}

#[derive(Clone, Debug)]
enum Operation {
    Roster(u64),
    Reserve { round: u64, epoch: u64, sigma_bits: u32 },
    Release { round: u64, survivors: u16 },
    Abort { round: u64, committed: bool, unmask_started: bool },
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        1 => (0u64..4).prop_map(Operation::Roster),
        4 => (0u64..12, 0u64..4, 32u32..37)
            .prop_map(|(round, epoch, sigma_bits)| Operation::Reserve { round, epoch, sigma_bits }),
        3 => (0u64..12, 8u16..=12).prop_map(|(round, survivors)| Operation::Release { round, survivors }),
        2 => (0u64..12, any::<bool>(), any::<bool>()).prop_map(|(round, committed, unmask_started)| {
            Operation::Abort { round, committed, unmask_started }
        }),
    ];
    proptest::collection::vec(operation, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the writer lets pass, the verifier accepts, with the same sums; and the chain
    /// resumed from the file goes on like the one that wrote it.
    #[test]
    fn verify_accepts_exactly_what_append_wrote(operations in operations(), cut in any::<prop::sample::Index>()) {
        let mut ledger = Ledger::new(Privacy::Rho(rho(1, 1)));
        let mut written = 1;
        for operation in operations {
            let entry = match operation {
                Operation::Roster(epoch) => Ok(roster(epoch)),
                Operation::Reserve { round, epoch, sigma_bits } => {
                    let sigma_squared = Rational::from_integer(1u64 << sigma_bits);
                    Ok(Entry::Reserve(Box::new(ReserveEntry {
                        share_variance: Some(&sigma_squared / &Rational::from_integer(8)),
                        rho: Privacy::Rho(Rho::of_distributed_gaussian(1 << 16, &sigma_squared, 8, 1847)),
                        sigma_squared: Some(sigma_squared),
                        ..reserve(round, epoch)
                    })))
                }
                Operation::Release { round, survivors } => ledger.chain.release(released(round, survivors)),
                Operation::Abort { round, committed, unmask_started } => {
                    ledger.chain.abort(RoundNumber(round), AbortCause::Votes, committed, unmask_started)
                }
            };
            let before = (ledger.chain.head(), ledger.chain.spent(), ledger.chain.reserved());
            match entry.and_then(|entry| ledger.append(entry)) {
                Ok(()) => written += 1,
                Err(_) => prop_assert_eq!(
                    before,
                    (ledger.chain.head(), ledger.chain.spent(), ledger.chain.reserved())
                ),
            }
        }
        let report = verify(ledger.file.as_bytes(), Some(ledger.chain.head())).unwrap();
        prop_assert_eq!(report.entries, written);
        prop_assert_eq!(&report.spent, &ledger.chain.spent());
        prop_assert_eq!(&report.reserved, &ledger.chain.reserved());
        let (Privacy::Rho(spent), Privacy::Rho(reserved)) = (&report.spent, &report.reserved) else { panic!() };
        prop_assert!(spent + reserved <= rho(1, 1));
        let mut resumed = Chain::resume(ledger.file.as_bytes()).unwrap();
        prop_assert_eq!(
            resumed.append(roster(9), &key(), 9999).unwrap(),
            ledger.chain.append(roster(9), &key(), 9999).unwrap()
        );
        // Anything shorter than the file is a shorter ledger or none.
        let cut = cut.index(ledger.file.len());
        let whole = cut > 0 && ledger.file.as_bytes()[cut - 1] == b'\n';
        prop_assert_eq!(verify(&ledger.file.as_bytes()[..cut], None).is_ok(), whole);
    }
}
