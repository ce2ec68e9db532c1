//! One task as a federation runs it, with the least noise that its rules admit: all agents beyond
//! T_min dropped out and the A corrupt ones gave the attacker their shares, so that exactly σ²
//! is left. Kernels, noise and update are the product's own; masks cancel and are left out.

use chorale_dp::{Aes256CtrRng, FastDiscreteGaussian, Noise as _, Rational, clip, rounding};
use chorale_plan::{
    CohortRule, Mechanism, Parameter, Parameters, PersonSink, PersonVector, Plan, Pseudonym,
    RoundSpec, SinkError, TaskSpec, gaussian_cap,
};
use chorale_task::{Catalogue, Model, Next, NoisyTotal, Progress, Task};
use chorale_wire::{Digest, Epoch, FederationId, RoundNumber};
use rand_core::SeedableRng as _;

use crate::{
    AnyError,
    data::{Household, people},
};

const SCALE_BITS: u8 = 16;
/// As in the demo: twelve agents of which one may be corrupt.
const AGENTS: u32 = 12;
const SURVIVORS_MIN: u32 = 10;
/// δ of every promise here.
pub(crate) const DELTA: (u64, u64) = (1, 100_000);

/// A task with all of a budget for its rounds.
pub(crate) struct Programme {
    plan: Plan,
    task: Box<dyn Task>,
    pub(crate) delta: u64,
}

/// A person's vector on the lattice: coordinates and integers.
pub(crate) type Part = Vec<(u32, i64)>;

impl Programme {
    /// `epsilon` of `None` is a federation without noise.
    pub(crate) fn new(
        catalogue: &Catalogue,
        model: &Model,
        name: &str,
        rounds: u32,
        parameters: &[(&str, Parameter)],
        epsilon: Option<f64>,
    ) -> Result<Self, AnyError> {
        let parameters = parameters.iter().map(|(name, value)| ((*name).into(), value.clone()));
        let mut plan = Plan {
            name: name.into(),
            task: TaskSpec { name: name.into(), parameters: Parameters(parameters.collect()) },
            rounds,
            mechanism: Mechanism::Unprotected,
            scale_bits: SCALE_BITS,
            persons_max: 512,
            stores_max: 1,
            cohort: CohortRule { enrolled: AGENTS, corrupt: 2, survivors_min: SURVIVORS_MIN },
            catalogue: catalogue.digest(),
            events_before_s: 0,
            canary_lanes: 0,
        };
        let task = chorale_task::from_plan(&plan, catalogue.len())?;
        let spec = RoundSpec {
            federation: FederationId::new("attacked")?,
            epoch: Epoch(1),
            round: RoundNumber(1),
            key_index: 0,
            step: 0,
            shape: task.shape(model),
            plan: plan.clone(),
            model: Digest::plain(b""),
            ready_within_ms: 1000,
            upload_within_ms: 1000,
            keystream: chorale_wire::Keystream::default(),
            sign_off: None,
        };
        let delta = spec.derive(AGENTS)?.delta;
        if let Some(epsilon) = epsilon {
            let promised = Rational::new(DELTA.0, DELTA.1).ok_or("δ is a rational")?;
            let rho = gaussian_cap(epsilon, &promised);
            let square = Rational::from_integer(u128::from(delta) * u128::from(delta));
            let twice = &(rho.as_rational() + rho.as_rational()) / &Rational::from_integer(rounds);
            plan.mechanism = Mechanism::DiscreteGaussian {
                sigma_squared: &square / &twice,
                remove_surplus: false,
            };
        }
        Ok(Self { plan, task, delta })
    }

    /// σ², or `None` without noise.
    pub(crate) fn variance(&self) -> Option<&Rational> {
        match &self.plan.mechanism {
            Mechanism::DiscreteGaussian { sigma_squared, .. } => Some(sigma_squared),
            Mechanism::Unprotected => None,
        }
    }

    /// What one household adds on `model`, rounded and clipped.
    pub(crate) fn part(
        &self,
        model: &Model,
        household: &Household,
        coins: &mut Aes256CtrRng,
    ) -> Result<Part, AnyError> {
        let mut sink = Sink { coins, delta: self.delta, parts: Vec::new() };
        self.task.contribute(model, &mut people(&[household])?, &mut sink)?;
        Ok(sink.parts.pop().unwrap_or_default())
    }

    /// Adds the noise of a whole total to `values`.
    pub(crate) fn add_noise(
        &self,
        values: &mut [i64],
        coins: &mut Aes256CtrRng,
    ) -> Result<(), AnyError> {
        if let Some(variance) = self.variance() {
            let rng = Aes256CtrRng::from_rng(coins);
            FastDiscreteGaussian::new(variance, rng)?.add_to(values);
        }
        Ok(())
    }

    /// The total of one round over `households`, noise included.
    pub(crate) fn total(
        &self,
        model: &Model,
        households: &[&Household],
        coins: &mut Aes256CtrRng,
    ) -> Result<Vec<i64>, AnyError> {
        let mut total = vec![0; self.task.shape(model).coordinates as usize];
        let mut sink = Sink { coins, delta: self.delta, parts: Vec::new() };
        self.task.contribute(model, &mut people(households)?, &mut sink)?;
        for part in sink.parts {
            for (index, value) in part {
                total[index as usize] += value;
            }
        }
        self.add_noise(&mut total, coins)?;
        Ok(total)
    }

    /// The model that all rounds over `households` make of `model`.
    pub(crate) fn run(
        &self,
        mut model: Model,
        households: &[&Household],
        coins: &mut Aes256CtrRng,
    ) -> Result<Model, AnyError> {
        let mut progress = Progress::default();
        loop {
            let total = self.total(&model, households, coins)?;
            let total =
                NoisyTotal::from_lattice(&total, SCALE_BITS, SURVIVORS_MIN, self.variance())?;
            match self.task.update(model, progress, &total)? {
                Next::Round(next, state) => (model, progress) = (next, state),
                Next::Done(model) => return Ok(model),
            }
        }
    }
}

struct Sink<'a> {
    coins: &'a mut Aes256CtrRng,
    delta: u64,
    parts: Vec<Part>,
}

impl PersonSink for Sink<'_> {
    fn person(&mut self, _: Pseudonym, part: PersonVector<'_>) -> Result<(), SinkError> {
        let (index, values): (Vec<u32>, &[f32]) = match part {
            PersonVector::Dense(values) => ((0..values.len() as u32).collect(), values),
            PersonVector::Sparse { index, value } => (index.to_vec(), value),
        };
        let mut row = vec![0; values.len()];
        rounding::round_dense(values, SCALE_BITS, &mut row, self.coins)
            .expect("both have one length");
        clip::clip_to(&mut row, self.delta);
        self.parts.push(index.into_iter().zip(row).collect());
        Ok(())
    }
}
