//! The gate from persons to unmasked total, with four agents and real masks.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;

use chorale_dp::{FastDiscreteGaussian, LayeredNoise, Rational, Rho, SeededLayer};
use chorale_plan::{
    CohortRule, Derived, Mechanism, Parameters, PersonSink, PersonVector, Plan, Policy, Pseudonym,
    Refused, RoundSpec, Shape, SinkError, TaskSpec,
};
use chorale_secagg::{
    MaskedSum as _, Modulus, PairwiseOpening, PairwiseSecret, PairwiseTicket, SecretScalar, Sum,
    mask::{pairwise_keys, self_key},
    ticket::TicketBinding,
};
use chorale_wire::{
    Digest, Epoch, FederationId, RoundNumber, SessionId, Slot, SlotSet, VerifiedAbort, codec,
    message::MaskedHeader,
};
use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

use super::*;

const AGENTS: u16 = 4;
const SPEC: &[u8] = b"spec";

struct Memory(JournalState);

impl Memory {
    fn new() -> Self {
        Self(JournalState::new(Rho::new(Rational::from_integer(1_000_000)).unwrap()))
    }
}

impl Journal for Memory {
    type Error = JournalRefusal;

    fn charge(&mut self, charge: &Charge) -> Result<(), JournalRefusal> {
        self.0.apply(&Record::Charged(charge.clone()))
    }

    fn settle(
        &mut self,
        federation: &FederationId,
        round: RoundNumber,
        settlement: Settlement,
    ) -> Result<(), JournalRefusal> {
        self.0.apply(&Record::Settled { federation: federation.clone(), round, settlement })
    }

    fn reopen(
        &mut self,
        federation: &FederationId,
        abort: &VerifiedAbort,
    ) -> Result<RoundNumber, JournalRefusal> {
        let reopened = self.0.reopening(federation, abort)?;
        let round = reopened.round();
        self.0.apply(&reopened.into()).map(|()| round)
    }

    fn spent(&self, federation: &FederationId) -> Result<Rho, JournalRefusal> {
        Ok(self.0.spent(federation))
    }
}

struct Anything;
impl Policy for Anything {
    fn admits(&self, _: &RoundSpec, _: &Derived) -> Result<(), Refused> {
        Ok(())
    }
}

struct Nothing;
impl Policy for Nothing {
    fn admits(&self, spec: &RoundSpec, _: &Derived) -> Result<(), Refused> {
        let (round, plan) = (spec.round, spec.plan.name.clone());
        Err(Refused { round, plan, rule: "never".into() })
    }
}

/// σ² = 3·2^20, a share of variance 2^20; Δ = 2^16.
fn noisy() -> Mechanism {
    Mechanism::DiscreteGaussian {
        sigma_squared: Rational::from_integer(3u64 << 20),
        remove_surplus: false,
    }
}

fn spec(coordinates: u32, mechanism: Mechanism) -> RoundSpec {
    RoundSpec {
        federation: FederationId::new("test").unwrap(),
        epoch: Epoch(1),
        round: RoundNumber(1),
        key_index: 0,
        step: 0,
        plan: Plan {
            name: "plan".into(),
            task: TaskSpec { name: "popularity".into(), parameters: Parameters::default() },
            rounds: 1,
            mechanism,
            scale_bits: 16,
            persons_max: 4096,
            stores_max: 1,
            cohort: CohortRule { enrolled: 4, corrupt: 1, survivors_min: 4 },
            catalogue: Digest::plain(b"catalogue"),
            events_before_s: 0,
            canary_lanes: 0,
        },
        shape: Shape { coordinates, clip: Rational::one() },
        model: Digest::plain(b"model"),
        ready_within_ms: 1000,
        upload_within_ms: 1000,
        keystream: chorale_wire::Keystream::default(),
        sign_off: None,
    }
}

fn permit(spec: &RoundSpec) -> Permit {
    let derived = spec.derive(AGENTS.into()).unwrap();
    Permit::mint(spec, Digest::plain(SPEC), &derived, &Anything, &mut Memory::new(), 0).unwrap()
}

/// Keys of four agents in one session.
struct Session {
    session: SessionId,
    secrets: Vec<(PairwiseSecret, SecretScalar)>,
}

impl Session {
    fn new(round: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(round);
        let spec = Digest::plain(SPEC);
        let cohort = SlotSet::from_slots(AGENTS.into(), (0..AGENTS).map(Slot));
        let secrets = (0..AGENTS)
            .map(|_| {
                let seed = SecretScalar::random(&mut rng);
                (PairwiseSecret::derive(&seed), SecretScalar::random(&mut rng))
            })
            .collect();
        let session = SessionId::new(Epoch(1), RoundNumber(round), &spec, &spec, &cohort);
        Self { session, secrets }
    }

    fn ticket(&self, slot: u16, coordinates: usize, bits: u8, spec: &[u8]) -> PairwiseTicket {
        let (own, own_seed) = &self.secrets[usize::from(slot)];
        let peers = (0..AGENTS)
            .filter(|peer| *peer != slot)
            .map(|peer| (Slot(peer), self.secrets[usize::from(peer)].0.public()));
        let pairs = pairwise_keys(self.session, own, Slot(slot), peers).unwrap();
        let modulus = Modulus::new(bits).unwrap();
        let session = self.session;
        let keystream = chorale_wire::Keystream::default();
        let spec = Digest::plain(spec);
        let binding = TicketBinding { session, spec, coordinates, modulus, keystream };
        PairwiseTicket::new(binding, self_key(session, own_seed), pairs).unwrap()
    }

    /// Adds up what four agents released and takes the self masks off.
    fn unmask(&self, releases: &[Release], coordinates: usize, bits: u8) -> Vec<i64> {
        let keystream = chorale_wire::Keystream::default();
        let mut sum = Sum::new(coordinates, Modulus::new(bits).unwrap(), keystream);
        let mut opening = PairwiseOpening::new(self.session);
        for (release, (_, seed)) in releases.iter().zip(&self.secrets) {
            // Read in chunks, as an upload does.
            let bytes: Vec<u8> = (0..release.len())
                .step_by(1000)
                .flat_map(|offset| release.chunk(offset, 1000).to_vec())
                .collect();
            assert_eq!(Digest::plain(&bytes), release.digest());
            sum.add_packed(&bytes).unwrap();
            opening.survived(seed.clone());
        }
        sum.open(&opening, std::num::NonZeroUsize::MIN).unwrap()
    }
}

type People = Vec<(Pseudonym, Part)>;

#[derive(Clone, Debug)]
enum Part {
    Dense(Vec<f32>),
    Sparse(Vec<u32>, Vec<f32>),
}

impl Part {
    fn vector(&self) -> PersonVector<'_> {
        match self {
            Self::Dense(values) => PersonVector::Dense(values),
            Self::Sparse(index, value) => PersonVector::Sparse { index, value },
        }
    }
}

fn who(number: u32) -> Pseudonym {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Pseudonym::from_bytes(bytes)
}

fn give(people: &People) -> impl FnOnce(&mut dyn PersonSink) -> Result<(), SinkError> + '_ {
    move |sink| people.iter().try_for_each(|(who, part)| sink.person(*who, part.vector()))
}

/// What four agents' releases add up to, each with the people given.
fn total(spec: &RoundSpec, round: u64, people: &[People; 4], rng: &mut ChaCha20Rng) -> Vec<i64> {
    let derived = spec.derive(AGENTS.into()).unwrap();
    let (coordinates, bits) = (spec.vector_length(), derived.modulus_bits);
    let session = Session::new(round);
    let releases: Vec<Release> = (0..AGENTS)
        .map(|slot| {
            let ticket = session.ticket(slot, coordinates, bits, SPEC);
            let permit = permit(spec);
            let people = give(&people[usize::from(slot)]);
            match &derived.share_variance {
                None => release(permit, rng, Protection::None, ticket, people),
                Some(variance) => {
                    let seed = ChaCha20Rng::from_rng(rng);
                    let mut noise = FastDiscreteGaussian::new(variance, seed).unwrap();
                    release(permit, rng, Protection::Noise(&mut noise), ticket, people)
                }
            }
            .ok()
            .unwrap()
        })
        .collect();
    session.unmask(&releases, coordinates, bits)
}

#[test]
fn an_all_zero_input_shows_full_noise_on_every_coordinate() {
    let spec = spec(64, noisy());
    let nobody: [People; 4] = Default::default();
    let zeros: People = (0..3).map(|i| (who(i), Part::Dense(vec![0.0; 64]))).collect();
    let zeros = [zeros.clone(), zeros.clone(), zeros.clone(), zeros];
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let rounds = 1000;
    for (first, people) in [(0, &nobody), (rounds, &zeros)] {
        let mut squares = [0f64; 64];
        for round in 0..rounds {
            let total = total(&spec, first + round, people, &mut rng);
            for (square, value) in squares.iter_mut().zip(&total) {
                *square += (*value as f64).powi(2);
            }
        }
        // Four shares of 2^20; the mean of n squares deviates by √(2/n) of itself.
        let expected = 4.0 * f64::from(1 << 20);
        let error = expected * (2.0 / rounds as f64).sqrt();
        for (coordinate, square) in squares.iter().enumerate() {
            let variance = square / rounds as f64;
            assert!((variance - expected).abs() < 5.0 * error, "{coordinate}: {variance}");
        }
        let mean = squares.iter().sum::<f64>() / (64.0 * rounds as f64);
        assert!((mean - expected).abs() < 5.0 * error / 8.0, "{mean}");
        // Without any one agent's share, at least σ² is left.
        assert!(mean * 3.0 / 4.0 > f64::from(3 << 20) * 0.98);
    }
}

/// Lanes hold noise of the same variance as elsewhere, and nothing of any person.
#[test]
fn no_person_reaches_the_canary_lanes() {
    let mut spec = spec(64, noisy());
    spec.plan.canary_lanes = 4096;
    // Norm 1 in the task's last coordinate: 2^16 an agent, 64 standard deviations of one share.
    let mut last = vec![0.0; 64];
    last[63] = 1.0;
    let dense: People = vec![(who(1), Part::Dense(last))];
    let sparse: People = vec![(who(1), Part::Sparse(vec![63], vec![1.0]))];
    let people = [dense.clone(), sparse.clone(), dense, sparse];
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let total = total(&spec, 1, &people, &mut rng);
    assert_eq!(total.len(), 64 + 4096);
    assert!((total[63] - (4 << 16)).abs() < 10 << 11, "{}", total[63]);
    let variance = 4.0 * f64::from(1 << 20);
    assert!(total[64..].iter().all(|x| (*x as f64).powi(2) < 36.0 * variance));
    let squares: f64 = total[64..].iter().map(|x| (*x as f64).powi(2)).sum();
    let off = squares / (4096.0 * variance) - 1.0;
    assert!(off.abs() < 5.0 * (2.0f64 / 4096.0).sqrt(), "{off}");
    // A part that would reach a lane is refused, and a ticket without the lanes is for another
    // vector.
    let derived = spec.derive(AGENTS.into()).unwrap();
    let session = Session::new(2);
    let long: People = vec![(who(1), Part::Dense(vec![0.0; 65]))];
    let beyond: People = vec![(who(1), Part::Sparse(vec![64], vec![1.0]))];
    for people in [long, beyond] {
        let ticket = session.ticket(0, 64 + 4096, derived.modulus_bits, SPEC);
        let mut noise = source(&derived, &mut rng);
        let refused =
            release(permit(&spec), &mut rng, Protection::Noise(&mut noise), ticket, give(&people));
        assert!(matches!(refused, Err(ReleaseError::Sink { .. })));
    }
    let ticket = session.ticket(0, 64, derived.modulus_bits, SPEC);
    let mut noise = source(&derived, &mut rng);
    let protection = Protection::Noise(&mut noise);
    let refused = release(permit(&spec), &mut rng, protection, ticket, give(&People::new()));
    let field = "number of coordinates";
    assert!(matches!(refused, Err(ReleaseError::Ticket { field: found, .. }) if found == field));
}

fn source(derived: &Derived, rng: &mut ChaCha20Rng) -> FastDiscreteGaussian<ChaCha20Rng> {
    let variance = derived.share_variance.as_ref().unwrap();
    FastDiscreteGaussian::new(variance, ChaCha20Rng::from_rng(rng)).unwrap()
}

#[test]
fn noise_is_around_the_clipped_sum() {
    let spec = spec(4000, noisy());
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    // One person a store with 0.01 everywhere: norm 0.63, so not clipped. 655.36 a coordinate.
    let one: People = vec![(who(1), Part::Dense(vec![0.01; 4000]))];
    let people = [one.clone(), one.clone(), one.clone(), one];
    let total = total(&spec, 1, &people, &mut rng);
    let n = total.len() as f64;
    let mean = total.iter().sum::<i64>() as f64 / n;
    let variance = total.iter().map(|x| (*x as f64 - mean).powi(2)).sum::<f64>() / n;
    let (centre, spread) = (4.0 * 655.36, 4.0 * f64::from(1 << 20));
    assert!((mean - centre).abs() < 5.0 * (spread / n).sqrt(), "{mean}");
    assert!((variance - spread).abs() < 5.0 * spread * (2.0 / n).sqrt(), "{variance}");
}

#[test]
fn unprotected_equals_the_plain_clipped_sum_exactly() {
    let spec = spec(300, Mechanism::Unprotected);
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    // Multiples of 2^-16 round to themselves; every second person is too long and is clipped.
    let value = |i: u32, j: u32| {
        let step = ((i * 7919 + j * 104_729) % 2001) as f32 - 1000.0;
        step * if i.is_multiple_of(2) { 1.0 } else { 64.0 } / 65536.0
    };
    let mut expected = vec![0i64; 300];
    let people: [People; 4] = std::array::from_fn(|agent| {
        (0..20)
            .map(|person| {
                let i = agent as u32 * 20 + person;
                let index: Vec<u32> = if i.is_multiple_of(3) {
                    (0..300).step_by(7).collect()
                } else {
                    (0..300).collect()
                };
                let values: Vec<f32> = index.iter().map(|j| value(i, *j)).collect();
                let mut integers: Vec<i64> =
                    values.iter().map(|v| (f64::from(*v) * 65536.0) as i64).collect();
                let norm = integers.iter().map(|x| (*x as f64).powi(2)).sum::<f64>().sqrt();
                assert_eq!(norm > 65536.0, i % 2 == 1, "{norm}");
                chorale_dp::clip::clip_to(&mut integers, 65536);
                for (j, x) in index.iter().zip(&integers) {
                    expected[*j as usize] += x;
                }
                let part = if i.is_multiple_of(3) {
                    Part::Sparse(index, values)
                } else {
                    Part::Dense(values)
                };
                (who(i), part)
            })
            .collect()
    });
    assert_eq!(total(&spec, 1, &people, &mut rng), expected);
}

#[test]
fn what_leaves_says_nothing_without_the_others() {
    let spec = spec(1000, Mechanism::Unprotected);
    let derived = spec.derive(AGENTS.into()).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let session = Session::new(1);
    let people: People = vec![(who(1), Part::Dense(vec![0.0; 1000]))];
    let ticket = session.ticket(0, 1000, derived.modulus_bits, SPEC);
    let release = release(permit(&spec), &mut rng, Protection::None, ticket, give(&people));
    let release = release.ok().unwrap();
    // All coordinates are zero, and the bytes are not: about half of all bits are set.
    let bytes = release.chunk(0, usize::MAX);
    let ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
    let bits = bytes.len() as f64 * 8.0;
    assert!((f64::from(ones) - bits / 2.0).abs() < 5.0 * (bits / 4.0).sqrt());
    assert_eq!(release.session(), session.session);
    assert!(!release.is_empty() && release.chunk(release.len(), 5).is_empty());
    assert!(release.chunk(usize::MAX, usize::MAX).is_empty());
    assert_eq!(release.chunk(release.len() - 2, 5).len(), 2);
}

/// Weights that travel beside the vector, such as the number of persons, would be read in the
/// clear. Here all that precedes a vector is a header with these four fields; with one person or
/// with a thousand, it has the same bytes but for the vector's digest, and the vector the same
/// length.
#[test]
fn weights_leaking_beside_the_vector() {
    let spec = spec(300, noisy());
    let bits = spec.derive(AGENTS.into()).unwrap().modulus_bits;
    let variance = spec.derive(AGENTS.into()).unwrap().share_variance.unwrap();
    let session = Session::new(1);
    let uploads: Vec<(Vec<u8>, Digest)> = [0, 1, 1000]
        .into_iter()
        .map(|persons| {
            let people: People =
                (0..persons).map(|i| (who(i), Part::Sparse(vec![i % 300], vec![1.0]))).collect();
            let mut rng = ChaCha20Rng::seed_from_u64(u64::from(persons));
            let mut noise =
                FastDiscreteGaussian::new(&variance, ChaCha20Rng::seed_from_u64(7)).unwrap();
            let ticket = session.ticket(0, 300, bits, SPEC);
            let protection = Protection::Noise(&mut noise);
            let released = release(permit(&spec), &mut rng, protection, ticket, give(&people));
            let released = released.ok().unwrap();
            let header = MaskedHeader {
                session: released.session(),
                slot: Slot(0),
                length: released.len() as u64,
                digest: released.digest(),
                noise: None,
            };
            (codec::encode(&header, 200).unwrap(), header.digest)
        })
        .collect();
    let length = 300 / 8 * usize::from(bits) + (300 % 8 * usize::from(bits)).div_ceil(8);
    for (header, digest) in &uploads {
        // The session, slot 0 in one byte, a length that needs three, the digest, and that there is
        // no removable noise; nothing else.
        let fields = [
            session.session.as_bytes().as_slice(),
            &[0, 251],
            &(length as u16).to_be_bytes(),
            digest.as_bytes(),
            &[0],
        ];
        assert_eq!(*header, fields.concat());
    }
    assert!(uploads[0].1 != uploads[1].1 && uploads[1].1 != uploads[2].1);
}

/// Runs one release at slot 0 and gives its error.
fn refusal(
    spec: &RoundSpec,
    protection: Protection<'_>,
    ticket: PairwiseTicket,
    people: impl FnOnce(&mut dyn PersonSink) -> Result<(), SinkError>,
) -> ReleaseError<SinkError> {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    release(permit(spec), &mut rng, protection, ticket, people).err().unwrap()
}

#[test]
fn protection_and_ticket_must_be_those_of_the_spec() {
    let (noisy, bare) = (spec(64, noisy()), spec(64, Mechanism::Unprotected));
    let bits = noisy.derive(4).unwrap().modulus_bits;
    let bare_bits = bare.derive(4).unwrap().modulus_bits;
    let session = Session::new(1);
    let sampler = |variance: Rational| {
        FastDiscreteGaussian::new(&variance, ChaCha20Rng::seed_from_u64(6)).unwrap()
    };
    let mut short = sampler(Rational::from_integer((1 << 20) - 1));
    let mut right = sampler(Rational::from_integer(1 << 20));
    let nobody = |_: &mut dyn PersonSink| Ok(());
    for (spec, bits, protection) in [
        (&noisy, bits, Protection::None),
        (&noisy, bits, Protection::Noise(&mut short)),
        (&bare, bare_bits, Protection::Noise(&mut right)),
    ] {
        let error = refusal(spec, protection, session.ticket(0, 64, bits, SPEC), nobody);
        assert!(matches!(error, ReleaseError::Protection { .. }), "{error}");
    }
    for (ticket, what) in [
        (session.ticket(0, 64, bits, b"other spec"), "round spec"),
        (session.ticket(0, 65, bits, SPEC), "number of coordinates"),
        (session.ticket(0, 64, bits + 1, SPEC), "modulus"),
    ] {
        let mut right = sampler(Rational::from_integer(1 << 20));
        let error = refusal(&noisy, Protection::Noise(&mut right), ticket, nobody);
        assert!(matches!(error, ReleaseError::Ticket { field, .. } if field == what), "{error}");
    }
}

#[test]
fn the_sink_has_rules_and_remembers() {
    let spec = RoundSpec {
        plan: Plan { persons_max: 3, ..spec(64, noisy()).plan },
        ..spec(64, Mechanism::Unprotected)
    };
    let spec = RoundSpec { plan: Plan { mechanism: Mechanism::Unprotected, ..spec.plan }, ..spec };
    let bits = spec.derive(4).unwrap().modulus_bits;
    let session = Session::new(1);
    let zeros = Part::Dense(vec![0.0; 64]);
    let sparse = |index: &[u32], values: usize| Part::Sparse(index.to_vec(), vec![0.1; values]);
    let one = |part: Part| vec![(who(1), part)];
    let many = |numbers: &[u32]| numbers.iter().map(|i| (who(*i), zeros.clone())).collect();
    let cases: Vec<(People, SinkError)> = vec![
        (many(&[1, 1]), SinkError::Order),
        (many(&[2, 1]), SinkError::Order),
        (many(&[1, 2, 3, 4]), SinkError::TooMany { persons_max: 3 }),
        (one(Part::Dense(vec![0.0; 63])), SinkError::Length { given: 63, expected: 64 }),
        (one(Part::Dense(vec![0.0; 65])), SinkError::Length { given: 65, expected: 64 }),
        (one(sparse(&[1, 1], 2)), SinkError::Index { coordinates: 64 }),
        (one(sparse(&[2, 1], 2)), SinkError::Index { coordinates: 64 }),
        (one(sparse(&[1, 64], 2)), SinkError::Index { coordinates: 64 }),
        (one(sparse(&[1, 2], 1)), SinkError::Index { coordinates: 64 }),
    ];
    for (people, expected) in cases {
        for swallow in [false, true] {
            // A task that ignores the refusal, and goes on, does not get a release either.
            let task = |sink: &mut dyn PersonSink| {
                let outcome = give(&people)(sink);
                if swallow { Ok(()) } else { outcome }
            };
            let ticket = session.ticket(0, 64, bits, SPEC);
            match refusal(&spec, Protection::None, ticket, task) {
                ReleaseError::Sink { source, .. } => assert_eq!(source, expected),
                error => panic!("{error}"),
            }
        }
    }
    let failing = |_: &mut dyn PersonSink| Err(SinkError::Order);
    let error = refusal(&spec, Protection::None, session.ticket(0, 64, bits, SPEC), failing);
    assert!(matches!(error, ReleaseError::People { .. }));
    let fine: People = vec![
        (who(1), sparse(&[], 0)),
        (who(2), sparse(&[0, 63], 2)),
        (who(9), Part::Dense(vec![f32::NAN; 64])),
    ];
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let ticket = session.ticket(0, 64, bits, SPEC);
    assert!(release(permit(&spec), &mut rng, Protection::None, ticket, give(&fine)).is_ok());
}

#[test]
fn not_a_number_counts_as_zero_and_infinity_is_clipped() {
    let spec = spec(64, Mechanism::Unprotected);
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    let nan: People = vec![(who(1), Part::Dense(vec![f32::NAN; 64]))];
    let huge = |value| vec![(who(1), Part::Sparse(vec![5], vec![value]))];
    let people = [nan, huge(f32::INFINITY), huge(f32::MAX), huge(1.0)];
    let mut expected = vec![0; 64];
    expected[5] = 3 << 16;
    assert_eq!(total(&spec, 1, &people, &mut rng), expected);
}

#[test]
fn a_permit_needs_policy_and_journal_and_true_numbers() {
    let spec = spec(64, noisy());
    let derived = spec.derive(4).unwrap();
    let digest = Digest::plain(SPEC);
    let mut journal = Memory::new();
    let refused = Permit::mint(&spec, digest, &derived, &Nothing, &mut journal, 0);
    assert!(matches!(refused, Err(PermitError::Refused(_))));
    let forged = [
        Derived { delta: derived.delta * 2, ..derived.clone() },
        Derived { share_variance: None, ..derived.clone() },
        Derived { share_variance: Some(Rational::from_integer(256)), ..derived.clone() },
        Derived { rho: Some(Rho::zero()), ..derived.clone() },
        Derived { rho: None, ..derived.clone() },
        Derived { modulus_bits: 8, ..derived.clone() },
    ];
    for forged in forged {
        let refused = Permit::mint(&spec, digest, &forged, &Anything, &mut journal, 0);
        assert!(matches!(refused, Err(PermitError::Derived { .. })));
    }
    let federation = spec.federation.clone();
    assert_eq!(journal.spent(&federation).unwrap(), Rho::zero());

    let permit = Permit::mint(&spec, digest, &derived, &Anything, &mut journal, 0).ok().unwrap();
    assert_eq!(journal.spent(&federation).unwrap(), derived.rho.clone().unwrap());
    let again = Permit::mint(&spec, digest, &derived, &Anything, &mut journal, 0);
    assert!(matches!(again, Err(PermitError::Journal(JournalRefusal::Stale { .. }))));
    permit.refund(&mut journal).unwrap();
    assert_eq!(journal.spent(&federation).unwrap(), Rho::zero());
    // The number stays used up; the question may be asked under the next one.
    let again = Permit::mint(&spec, digest, &derived, &Anything, &mut journal, 0);
    assert!(again.is_err());
    let next = RoundSpec { round: RoundNumber(2), ..spec };
    assert!(Permit::mint(&next, digest, &derived, &Anything, &mut journal, 0).is_ok());
}

/// Pseudonyms and squared norms, as an agent's odometer takes them.
#[derive(Default)]
struct Norms(Vec<(Pseudonym, u128)>);

impl Meter for Norms {
    fn person(&mut self, who: Pseudonym, norm_squared: u128) {
        self.0.push((who, norm_squared));
    }
}

/// The meter sees the integers that are added, after the clip, and changes nothing.
#[test]
fn the_meter_reads_what_was_added() {
    let mut spec = spec(64, Mechanism::Unprotected);
    spec.plan.stores_max = 4;
    let people: People = vec![
        (who(1), Part::Dense(vec![0.0; 64])),
        (who(2), Part::Sparse(vec![3], vec![2.0f32.powi(-10)])),
        (who(3), Part::Dense(vec![5.0; 64])),
    ];
    let clip = u128::from(spec.derive(AGENTS.into()).unwrap().clip);
    assert_eq!(clip, 1 << 14);
    let release = |meter: Option<&mut dyn Meter>| {
        let session = Session::new(1);
        let bits = spec.derive(AGENTS.into()).unwrap().modulus_bits;
        let ticket = session.ticket(0, 64, bits, SPEC);
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let (permit, none) = (permit(&spec), Protection::None);
        match meter {
            Some(meter) => {
                release_metered(permit, &mut rng, none, ticket, give(&people), meter).unwrap()
            }
            None => release(permit, &mut rng, none, ticket, give(&people)).unwrap(),
        }
    };
    let mut norms = Norms::default();
    assert_eq!(release(Some(&mut norms)).digest(), release(None).digest());
    assert_eq!(norms.0[..2], [(who(1), 0), (who(2), 64 * 64)]);
    // A quarter of Δ, less what cutting 64 coordinates towards zero takes off.
    let (last, square) = norms.0[2];
    assert!(last == who(3) && square <= clip * clip && square.isqrt() + 8 >= clip, "{square}");
}

/// Sparse persons with 20,000 of 2 million coordinates each: what is done for a person does not
/// grow with the coordinates that others have.
#[test]
fn sparse_persons_cost_what_they_hold() {
    let coordinates = 2_000_000;
    let spec = spec(coordinates, Mechanism::Unprotected);
    let bits = spec.derive(4).unwrap().modulus_bits;
    let index: Vec<u32> = (0..20_000).map(|i| i * 100).collect();
    let value: Vec<f32> = (0..20_000).map(|i| 0.001 + i as f32 * 1e-7).collect();
    let ticket = Session::new(1).ticket(0, coordinates as usize, bits, SPEC);
    let mut rng = Counted(rand_chacha::ChaCha8Rng::seed_from_u64(9), 0);
    let people = |sink: &mut dyn PersonSink| {
        (0..300).try_for_each(|i| {
            sink.person(who(i), PersonVector::Sparse { index: &index, value: &value })
        })
    };
    let release = release(permit(&spec), &mut rng, Protection::None, ticket, people);
    assert_eq!(release.ok().unwrap().len(), coordinates as usize * usize::from(bits) / 8);
    // Four bytes of coins for each coordinate that a person has, and none for the others.
    assert_eq!(rng.1, 300 * 4 * 20_000);
}

/// A generator that counts the bytes drawn.
struct Counted(rand_chacha::ChaCha8Rng, usize);

impl rand_core::TryRng for Counted {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.1 += 4;
        self.0.try_next_u32()
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.1 += 8;
        self.0.try_next_u64()
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.1 += bytes.len();
        self.0.try_fill_bytes(bytes)
    }
}

impl rand_core::TryCryptoRng for Counted {}

/// The integer total of one agent before noise, each person rounded with randomness of their own.
fn integers(spec: &RoundSpec, people: &People) -> Vec<i64> {
    let derived = spec.derive(AGENTS.into()).unwrap();
    let (coordinates, bits) = (spec.shape.coordinates as usize, derived.modulus_bits);
    let session = Session::new(1);
    let releases: Vec<Release> = (0..AGENTS)
        .map(|slot| {
            let ticket = session.ticket(slot, coordinates, bits, SPEC);
            let nobody = People::new();
            let people = if slot == 0 { people } else { &nobody };
            let mut rng = PerPerson::new();
            release(
                permit(spec),
                &mut rng,
                Protection::None,
                ticket,
                |sink: &mut dyn PersonSink| {
                    people.iter().try_for_each(|(who, part)| {
                        PerPerson::switch_to(*who);
                        sink.person(*who, part.vector())
                    })
                },
            )
            .ok()
            .unwrap()
        })
        .collect();
    session.unmask(&releases, coordinates, bits)
}

/// Randomness that starts anew for each person, so that one person more does not change how the
/// others are rounded.
struct PerPerson;

thread_local! {
    static CURRENT: std::cell::RefCell<ChaCha20Rng> =
        std::cell::RefCell::new(ChaCha20Rng::seed_from_u64(0));
}

impl PerPerson {
    fn new() -> Self {
        Self
    }

    fn switch_to(who: Pseudonym) {
        CURRENT.set(ChaCha20Rng::from_seed(*who.as_bytes()));
    }
}

impl rand_core::TryRng for PerPerson {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        CURRENT.with_borrow_mut(|rng| rng.try_next_u32())
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        CURRENT.with_borrow_mut(|rng| rng.try_next_u64())
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        CURRENT.with_borrow_mut(|rng| rng.try_fill_bytes(bytes))
    }
}
impl rand_core::TryCryptoRng for PerPerson {}

fn part(coordinates: u32) -> impl Strategy<Value = Part> {
    // Also hostile values: far beyond the clip, infinite, not a number.
    let value = prop_oneof![
        6 => -1f32..1.0,
        2 => -1e6f32..1e6,
        1 => any::<f32>(),
    ];
    let dense =
        proptest::collection::vec(value.clone(), coordinates as usize).prop_map(Part::Dense);
    let sparse = proptest::collection::btree_map(0..coordinates, value, 0..20).prop_map(|map| {
        Part::Sparse(map.keys().copied().collect(), map.values().copied().collect())
    });
    prop_oneof![dense, sparse]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The sensitivity, end to end: one person more or less moves the integer total by at most Δ.
    #[test]
    fn neighbours_differ_by_at_most_delta(
        scale_bits in 9u8..30,
        parts in proptest::collection::btree_map(any::<u32>(), part(40), 1..6),
        removed in any::<prop::sample::Index>(),
    ) {
        let mut spec = spec(40, Mechanism::Unprotected);
        spec.plan.scale_bits = scale_bits;
        let delta = u128::from(spec.derive(4).unwrap().delta);
        let all: People = parts.into_iter().map(|(i, part)| (who(i), part)).collect();
        let mut fewer = all.clone();
        fewer.remove(removed.index(all.len()));
        let distance: u128 = integers(&spec, &all)
            .iter()
            .zip(integers(&spec, &fewer))
            .map(|(a, b)| u128::from(a.abs_diff(b)).pow(2))
            .sum();
        prop_assert!(distance <= delta * delta, "{distance} > {delta}²");
    }
}

/// A removable layer must not carry what has to stay: the gate wants the spec's layers, not only
/// noise of the right size.
#[test]
fn noise_in_other_layers_than_the_specs_is_refused() {
    let mechanism = Mechanism::DiscreteGaussian {
        sigma_squared: Rational::from_integer(3u64 << 20),
        remove_surplus: true,
    };
    let mut spec = spec(64, mechanism);
    spec.plan.cohort = CohortRule { enrolled: 5, corrupt: 1, survivors_min: 4 };
    let derived = spec.derive(5).unwrap();
    let [base, removable] = &derived.layers[..] else { panic!("{:?}", derived.layers) };
    let seed = zeroize::Zeroizing::new([3; 32]);
    let layer =
        |variance: &Rational| SeededLayer { variance: variance.clone(), seed: seed.clone() };
    let whole = &base.variance + &removable.variance;
    let splits = [
        (base.variance.clone(), vec![layer(&removable.variance)], true),
        (removable.variance.clone(), vec![layer(&base.variance)], false),
        (whole, vec![], false),
        (base.variance.clone(), vec![], false),
    ];
    for (kept, seeded, admitted) in splits {
        let permit =
            Permit::mint(&spec, Digest::plain(SPEC), &derived, &Anything, &mut Memory::new(), 0)
                .unwrap();
        let ticket = Session::new(1).ticket(0, 64, derived.modulus_bits, SPEC);
        let mut rng = ChaCha20Rng::seed_from_u64(11);
        let source = ChaCha20Rng::from_rng(&mut rng);
        let mut noise = LayeredNoise::new(&kept, source, &seeded).unwrap();
        let nobody: People = Vec::new();
        let protection = Protection::Noise(&mut noise);
        let released = release(permit, &mut rng, protection, ticket, give(&nobody));
        assert_eq!(released.is_ok(), admitted);
        if let Err(error) = released {
            assert!(matches!(error, ReleaseError::Protection { .. }));
        }
    }
}
