//! The federated sum against the pooled one: equal without noise, and with noise of exactly the
//! stated variance on every coordinate.
#![allow(missing_docs, clippy::unwrap_used)]

use std::convert::Infallible;

use chorale_coordinator::events::Event;
use chorale_dp::{FastDiscreteGaussian, Noise as _, Rational, clip, rounding};
use chorale_gate::{
    Charge, Journal, JournalRefusal, JournalState, Permit, Protection, Record, Release, Settlement,
    release,
};
use chorale_plan::{
    CohortRule, Mechanism, Parameters, PersonSink, PersonVector, Plan, Pseudonym, RoundSpec, Shape,
    SinkError, TaskSpec,
};
use chorale_secagg::{
    MaskedSum as _, Modulus, PairwiseOpening, PairwiseSecret, PairwiseTicket, SecretScalar, Sum,
    mask::{pairwise_keys, self_key},
    ticket::TicketBinding,
};
use chorale_task::{Catalogue, Gram, MemoryPeople, Model, Task};
use chorale_tests::{
    Federation, Setup, Shop,
    federation::{plan, policy},
    shop,
};
use chorale_wire::{
    Digest, Epoch, FederationId, RoundNumber, SessionId, Slot, SlotSet, VerifiedAbort,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

const AGENTS: u16 = 6;
const SURVIVORS_MIN: u32 = 5;
const CORRUPT: u32 = 1;
/// Δ = 2^16.
const SCALE_BITS: u8 = 16;
/// σ² = 2^34, 4Δ²; one share is a quarter of it.
const SIGMA_SQUARED: u64 = 1 << 34;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_federated_gram_matrix_is_the_pooled_one() {
    let (agents, customers, items) = (5, 40, 24);
    let federation = Federation::new(Setup {
        agents,
        survivors_min: 4,
        epsilon: None,
        customers,
        items,
        plans: plan("gram", "cooccurrence", 1, "1", ""),
        ..Setup::default()
    })
    .await;
    let coordinator = federation.start_coordinator();
    let running = federation.start_agents(0..agents);
    let (result, events) = coordinator.finish().await;
    result.unwrap();
    for agent in running {
        assert_eq!(agent.finish().await.completed, 1);
    }
    let (survivors, digest) = events
        .iter()
        .find_map(|event| match event {
            Event::Round { survivors, model, .. } => Some((*survivors, model)),
            _ => None,
        })
        .unwrap();
    assert_eq!(survivors, agents);
    let path = federation.root().join("state/models").join(format!("{digest}.model"));
    let model = Model::decode(&std::fs::read(path).unwrap()).unwrap();
    let gram = Gram::from_model(&model).unwrap();
    // Straight from the shops' histories: normalised baskets, never seen by any agent.
    let mut pooled = vec![vec![0f64; items as usize]; items as usize];
    for number in 0..agents {
        for customer in 0..customers {
            let history = Shop { number, customers, items }.history(customer);
            for (i, _) in &history {
                for (j, _) in &history {
                    pooled[*i as usize][*j as usize] += 1.0 / history.len() as f64;
                }
            }
        }
    }
    let (mut error, mut norm) = (0f64, 0f64);
    for (i, row) in pooled.iter().enumerate() {
        for (j, value) in row.iter().enumerate() {
            error += (gram.matrix()[[i, j]] - value).powi(2);
            norm += value.powi(2);
        }
    }
    let relative = (error / norm).sqrt();
    assert!(relative <= 1e-3, "relative Frobenius error {relative}");
    assert!(norm > 1.0);
}

#[test]
fn integer_totals_are_exactly_the_pooled_ones() {
    let shops: Vec<Shop> =
        (0..AGENTS.into()).map(|number| Shop { number, customers: 30, items: 24 }).collect();
    let round = Round::new(24, Mechanism::Unprotected);
    for dropped in [None, Some(2)] {
        let total = round.total(7, dropped, |slot| people(&shops[usize::from(slot)]));
        let mut pooled = Pooled::new(&round, total.len());
        for slot in (0..AGENTS).filter(|slot| Some(*slot) != dropped) {
            pooled.rng = rounding_rng(slot);
            let mut people = people(&shops[usize::from(slot)]);
            round.task.contribute(&round.model, &mut people, &mut pooled).unwrap();
        }
        assert_eq!(total, pooled.sum);
        assert!(total.iter().filter(|value| **value != 0).count() > 100);
        assert!(pooled.clipped_norm_max <= round.delta());
    }
}

/// 180,300 coordinates: an empirical variance of n samples has a relative standard deviation of
/// √(2/n) = 0.33 %; five of them are allowed, which a correct program exceeds once in 10^6 runs.
#[test]
fn the_noise_of_a_total_has_the_stated_variance() {
    let round = Round::new(600, noisy());
    let coordinates = f64::from(round.spec.shape.coordinates);
    assert!(coordinates > 180_000.0);
    let tolerance = 5.0 * (2.0 / coordinates).sqrt();
    let sigma_squared = SIGMA_SQUARED as f64;
    for (session, dropped, survivors) in [(1, None, 6.0), (2, Some(4), 5.0)] {
        let total = round.total(session, dropped, |_| nobody());
        let expected = survivors * sigma_squared / f64::from(SURVIVORS_MIN - CORRUPT);
        let measured = variance(&total);
        assert!((measured / expected - 1.0).abs() < tolerance, "{measured} for {expected}");
        let mean = total.iter().sum::<i64>() as f64 / coordinates;
        assert!(mean.abs() < 5.0 * (expected / coordinates).sqrt(), "mean {mean}");
        // The colluders know their own shares and take them off; any one of them does.
        for colluder in (0..AGENTS).filter(|slot| Some(*slot) != dropped) {
            let rest = without_share(&round, &total, session, colluder);
            let left = variance(&rest);
            assert!(left > sigma_squared * (1.0 - tolerance), "{left} without {colluder}");
        }
    }
}

#[test]
fn any_admissible_set_without_a_colluders_shares_keeps_sigma_squared() {
    let round = Round::new(24, noisy());
    let derived = round.spec.derive(AGENTS.into()).unwrap();
    let share = derived.share_variance.unwrap();
    for survivors in SURVIVORS_MIN..=AGENTS.into() {
        let left = &share * &Rational::from_integer(survivors - CORRUPT);
        assert!(left >= Rational::from_integer(SIGMA_SQUARED));
    }
    let fewest = &share * &Rational::from_integer(SURVIVORS_MIN - CORRUPT);
    assert_eq!(fewest, Rational::from_integer(SIGMA_SQUARED), "no more noise than needed");
}

/// The noise is the same whatever the data: with real parts and the same rounding coins, the
/// total less the noiseless total has the stated variance.
#[test]
fn noise_does_not_depend_on_the_data() {
    let shops: Vec<Shop> =
        (0..AGENTS.into()).map(|number| Shop { number, customers: 20, items: 200 }).collect();
    let of = |slot: u16| people(&shops[usize::from(slot)]);
    let noisy = Round::new(200, noisy()).total(3, None, of);
    let bare = Round::new(200, Mechanism::Unprotected).total(3, None, of);
    let noise: Vec<i64> = noisy.iter().zip(&bare).map(|(noisy, bare)| noisy - bare).collect();
    let expected = 6.0 * SIGMA_SQUARED as f64 / 4.0;
    let measured = variance(&noise) / expected - 1.0;
    assert!(measured.abs() < 5.0 * (2.0 / noise.len() as f64).sqrt(), "{measured}");
}

/// 200 rounds of nothing: the sum of squares of each of 300 coordinates over its expectation is a
/// chi-square variable with 200 degrees of freedom over 200, of standard deviation 0.1; all lie
/// within 6 of them of 1 (probability of a false alarm below 10^-5).
#[test]
fn an_all_zero_input_shows_full_noise_on_every_coordinate() {
    const ROUNDS: u64 = 200;
    let round = Round::new(24, noisy());
    let coordinates = round.spec.shape.coordinates as usize;
    let mut squares = vec![0f64; coordinates];
    let mut first = vec![0; coordinates];
    let mut constant = vec![true; coordinates];
    for session in 0..ROUNDS {
        let total = round.total(100 + session, None, |_| nobody());
        for (coordinate, value) in total.into_iter().enumerate() {
            squares[coordinate] += (value as f64).powi(2);
            if session == 0 {
                first[coordinate] = value;
            } else if value != first[coordinate] {
                constant[coordinate] = false;
            }
        }
    }
    let expected = ROUNDS as f64 * 6.0 * SIGMA_SQUARED as f64 / 4.0;
    for (coordinate, square) in squares.iter().enumerate() {
        let relative = square / expected;
        assert!((relative - 1.0).abs() < 0.6, "coordinate {coordinate}: {relative}");
        assert!(!constant[coordinate], "coordinate {coordinate} never changes");
    }
}

fn noisy() -> Mechanism {
    Mechanism::DiscreteGaussian {
        sigma_squared: Rational::from_integer(SIGMA_SQUARED),
        remove_surplus: false,
    }
}

fn variance(values: &[i64]) -> f64 {
    values.iter().map(|value| (*value as f64).powi(2)).sum::<f64>() / values.len() as f64
}

fn people(shop: &Shop) -> MemoryPeople {
    let person = |customer: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&customer.to_be_bytes());
        bytes[4..8].copy_from_slice(&shop.number.to_be_bytes());
        let items = shop.history(customer).into_iter().map(|(item, n)| (item, n as f32)).collect();
        (Pseudonym::from_bytes(bytes), items)
    };
    MemoryPeople::new((0..shop.customers).map(person).collect()).unwrap()
}

fn nobody() -> MemoryPeople {
    MemoryPeople::new(Vec::new()).unwrap()
}

fn rounding_rng(slot: u16) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1000 + u64::from(slot))
}

/// Known seeds here only, so that a share can be taken off again.
fn noise_of(round: &Round, session: u64, slot: u16) -> FastDiscreteGaussian<ChaCha20Rng> {
    let derived = round.spec.derive(AGENTS.into()).unwrap();
    let rng = ChaCha20Rng::seed_from_u64(session << 16 | u64::from(slot));
    FastDiscreteGaussian::new(&derived.share_variance.unwrap(), rng).unwrap()
}

fn without_share(round: &Round, total: &[i64], session: u64, slot: u16) -> Vec<i64> {
    let mut share = vec![0; total.len()];
    noise_of(round, session, slot).add_to(&mut share);
    total.iter().zip(&share).map(|(total, share)| total - share).collect()
}

/// One round of `cooccurrence`, gate and masks included, the network left out.
struct Round {
    spec: RoundSpec,
    task: Box<dyn Task>,
    model: Model,
}

impl Round {
    fn new(items: u32, mechanism: Mechanism) -> Self {
        let catalogue = Catalogue::read_csv(shop::catalogue(items).as_bytes()).unwrap();
        let model = Model::for_catalogue(&catalogue).unwrap();
        let plan = Plan {
            name: "gram".into(),
            task: TaskSpec { name: "cooccurrence".into(), parameters: Parameters::default() },
            rounds: 1,
            mechanism,
            scale_bits: SCALE_BITS,
            persons_max: 512,
            stores_max: 1,
            cohort: CohortRule {
                enrolled: AGENTS.into(),
                corrupt: CORRUPT,
                survivors_min: SURVIVORS_MIN,
            },
            catalogue: catalogue.digest(),
            events_before_s: 0,
            canary_lanes: 0,
        };
        let task = chorale_task::from_plan(&plan, items as usize).unwrap();
        let shape: Shape = task.shape(&model);
        let spec = RoundSpec {
            federation: FederationId::new("exact").unwrap(),
            epoch: Epoch(1),
            round: RoundNumber(1),
            key_index: 0,
            step: 0,
            plan,
            shape,
            model: model.digest().unwrap(),
            ready_within_ms: 1000,
            upload_within_ms: 1000,
            keystream: chorale_wire::Keystream::default(),
            sign_off: None,
        };
        Self { spec, task, model }
    }

    fn delta(&self) -> u64 {
        self.spec.derive(AGENTS.into()).unwrap().delta
    }

    /// What the coordinator reads off six masked vectors, or off five when one agent dropped out.
    fn total(
        &self,
        session: u64,
        dropped: Option<u16>,
        people: impl Fn(u16) -> MemoryPeople,
    ) -> Vec<i64> {
        let derived = self.spec.derive(AGENTS.into()).unwrap();
        let coordinates = self.spec.shape.coordinates as usize;
        let modulus = Modulus::new(derived.modulus_bits).unwrap();
        let digest = Digest::plain(b"spec");
        let cohort = SlotSet::from_slots(AGENTS.into(), (0..AGENTS).map(Slot));
        let id = SessionId::new(Epoch(1), RoundNumber(session), &digest, &digest, &cohort);
        let mut rng = ChaCha20Rng::seed_from_u64(session);
        let mut secrets: Vec<(PairwiseSecret, SecretScalar)> = (0..AGENTS)
            .map(|_| {
                let seed = SecretScalar::random(&mut rng);
                (PairwiseSecret::derive(&seed), SecretScalar::random(&mut rng))
            })
            .collect();
        let keystream = self.spec.keystream;
        let mut sum = Sum::new(coordinates, modulus, keystream);
        let mut opening = PairwiseOpening::new(id);
        let survivors = || (0..AGENTS).filter(|slot| Some(*slot) != dropped);
        for slot in survivors() {
            let (own, own_seed) = &secrets[usize::from(slot)];
            let peers = (0..AGENTS)
                .filter(|peer| *peer != slot)
                .map(|peer| (Slot(peer), secrets[usize::from(peer)].0.public()));
            let pairs = pairwise_keys(id, own, Slot(slot), peers).unwrap();
            let binding =
                TicketBinding { session: id, spec: digest, coordinates, modulus, keystream };
            let ticket = PairwiseTicket::new(binding, self_key(id, own_seed), pairs).unwrap();
            let permit =
                Permit::mint(&self.spec, digest, &derived, &policy(), &mut Memory::new(), 0)
                    .unwrap();
            let mut people = people(slot);
            let train = |sink: &mut dyn PersonSink| {
                self.task.contribute(&self.model, &mut people, sink).unwrap();
                Ok::<(), Infallible>(())
            };
            let mut coins = rounding_rng(slot);
            let released: Release = if derived.share_variance.is_some() {
                let mut noise = noise_of(self, session, slot);
                release(permit, &mut coins, Protection::Noise(&mut noise), ticket, train)
            } else {
                release(permit, &mut coins, Protection::None, ticket, train)
            }
            .unwrap();
            sum.add_packed(released.chunk(0, released.len())).unwrap();
            opening.survived(own_seed.clone());
        }
        if let Some(dropped) = dropped {
            let alive = survivors().map(|slot| (Slot(slot), secrets[usize::from(slot)].0.public()));
            let alive: Vec<(Slot, [u8; 32])> = alive.collect();
            let (key, _) = secrets.swap_remove(usize::from(dropped));
            opening.dropped_out(Slot(dropped), key, alive);
        }
        sum.open(&opening, std::num::NonZeroUsize::MIN).unwrap()
    }
}

/// All persons in one place: the same kernels, no gate, no masks.
struct Pooled {
    sum: Vec<i64>,
    rng: ChaCha20Rng,
    delta: u64,
    clipped_norm_max: u64,
}

impl Pooled {
    fn new(round: &Round, coordinates: usize) -> Self {
        let rng = rounding_rng(0);
        Self { sum: vec![0; coordinates], rng, delta: round.delta(), clipped_norm_max: 0 }
    }
}

impl PersonSink for Pooled {
    fn person(&mut self, _: Pseudonym, part: PersonVector<'_>) -> Result<(), SinkError> {
        let (index, values): (Vec<usize>, &[f32]) = match part {
            PersonVector::Dense(values) => ((0..values.len()).collect(), values),
            PersonVector::Sparse { index, value } => {
                (index.iter().map(|index| *index as usize).collect(), value)
            }
        };
        let mut row = vec![0; values.len()];
        rounding::round_dense(values, SCALE_BITS, &mut row, &mut self.rng).unwrap();
        clip::clip_to(&mut row, self.delta);
        let square: u128 =
            row.iter().map(|value| value.unsigned_abs() as u128).map(|v| v * v).sum();
        self.clipped_norm_max = self.clipped_norm_max.max(square.isqrt() as u64);
        for (index, value) in index.into_iter().zip(row) {
            self.sum[index] += value;
        }
        Ok(())
    }
}

struct Memory(JournalState);

impl Memory {
    fn new() -> Self {
        Self(JournalState::new(policy().cap().clone()))
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

    fn spent(&self, federation: &FederationId) -> Result<chorale_dp::Rho, JournalRefusal> {
        Ok(self.0.spent(federation))
    }
}
