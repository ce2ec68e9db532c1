//! What is released: events, as the accountants that mix mechanisms see them.
//!
//! A plan is a list of events, in any order; all of them compose. Its form in JSON is described
//! in `docs/privacy.md`, section 10.

use serde::{Deserialize, Serialize};

use crate::Rational;

/// Most releases that one plan may hold.
pub const COUNT_MAX: u64 = 1_000_000_000;
/// Largest integer sensitivity that is enumerated for discrete noise.
pub const DISCRETE_SENSITIVITY_MAX: u64 = 1 << 20;

/// One mechanism on data that differ by one person, added or removed.
#[derive(Clone, Debug, PartialEq)]
pub enum Mechanism {
    /// A vector plus N(0, σ²) on every coordinate; `sensitivity` is in L2.
    Gaussian {
        /// σ.
        sigma: f64,
        /// Δ.
        sensitivity: f64,
        /// q: each person is in the round with this probability, independently. 1 for everybody.
        sampling: f64,
    },
    /// A number plus Laplace noise; `sensitivity` is in L1.
    Laplace {
        /// b.
        scale: f64,
        /// Δ.
        sensitivity: f64,
        /// q, as above.
        sampling: f64,
    },
    /// An integer vector plus N_Z(0, σ²) on every coordinate.
    DiscreteGaussian {
        /// σ: the parameter, not quite the standard deviation.
        sigma: f64,
        /// Δ, an integer, in L2.
        sensitivity: u64,
        /// Coordinates. With more than one the figure is that of the Gaussian bridge.
        dimension: u32,
    },
    /// An integer plus noise of mass proportional to e^{-a|x|}.
    DiscreteLaplace {
        /// a.
        parameter: f64,
        /// Δ, an integer.
        sensitivity: u64,
    },
    /// Something of which only its cost in zero-concentrated privacy is known.
    Zcdp {
        /// ρ, exactly.
        rho: Rational,
    },
}

/// A mechanism and how often it is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Event {
    mechanism: Mechanism,
    count: u64,
}

/// An event that cannot be accounted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EventError {
    /// A number outside its range.
    #[error("{field} = {value}: {expected}")]
    Range {
        /// Which number.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What is accepted.
        expected: &'static str,
    },
    /// A field that this mechanism does not have, or one that it lacks.
    #[error("a {mechanism} event {problem}")]
    Field {
        /// The mechanism's name.
        mechanism: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
}

impl Event {
    /// `count` uses of a mechanism.
    ///
    /// # Errors
    /// [`EventError::Range`] for a number that is not positive and finite, q outside (0, 1], or
    /// a count of zero or above [`COUNT_MAX`].
    pub fn new(mechanism: Mechanism, count: u64) -> Result<Self, EventError> {
        check(&mechanism)?;
        if count == 0 || count > COUNT_MAX {
            let expected = "must be a whole number from 1 to 1,000,000,000";
            return Err(EventError::Range { field: "steps", value: count as f64, expected });
        }
        Ok(Self { mechanism, count })
    }

    /// Gaussian noise on the nodes of a binary tree over `leaves` steps, in which one person's
    /// leaf adds `sensitivity` to each node above it: one Gaussian release of sensitivity
    /// Δ·√⌈log2(leaves + 1)⌉, rounded up (Kairouz et al. 2021, arXiv:2103.00039, appendix D; one
    /// contribution per person, restarts only between persons).
    ///
    /// # Errors
    /// As [`Event::new`]; `leaves` must be positive.
    pub fn tree_aggregation(sigma: f64, sensitivity: f64, leaves: u64) -> Result<Self, EventError> {
        if leaves == 0 {
            let expected = "a tree needs at least one leaf";
            return Err(EventError::Range { field: "leaves", value: 0.0, expected });
        }
        let depth = f64::from(64 - leaves.leading_zeros());
        let sensitivity = (sensitivity * depth.sqrt().next_up()).next_up();
        Self::new(Mechanism::Gaussian { sigma, sensitivity, sampling: 1.0 }, 1)
    }

    /// The mechanism.
    #[must_use]
    pub fn mechanism(&self) -> &Mechanism {
        &self.mechanism
    }

    /// How often it is used.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The same event `times` times over; `None` above [`COUNT_MAX`].
    #[must_use]
    pub fn repeated(&self, times: u64) -> Option<Self> {
        let count =
            self.count.checked_mul(times).filter(|count| (1..=COUNT_MAX).contains(count))?;
        Some(Self { mechanism: self.mechanism.clone(), count })
    }

    /// The same event with `factor` times the noise: σ·f, b·f, a/f, ρ/f².
    ///
    /// # Errors
    /// [`EventError::Range`] where that leaves the range of floats.
    pub fn with_noise_times(&self, factor: f64) -> Result<Self, EventError> {
        let mut mechanism = self.mechanism.clone();
        match &mut mechanism {
            Mechanism::Gaussian { sigma, .. } | Mechanism::DiscreteGaussian { sigma, .. } => {
                *sigma *= factor;
            }
            Mechanism::Laplace { scale, .. } => *scale *= factor,
            Mechanism::DiscreteLaplace { parameter, .. } => *parameter /= factor,
            Mechanism::Zcdp { rho } => {
                let expected = "the factor of the noise must be positive and finite";
                let error = EventError::Range { field: "factor", value: factor, expected };
                let exact = Rational::from_f64_exact(factor).ok_or_else(|| error.clone())?;
                *rho = rho.checked_div(&(&exact * &exact)).ok_or(error)?;
            }
        }
        Self::new(mechanism, self.count)
    }
}

fn check(mechanism: &Mechanism) -> Result<(), EventError> {
    let positive = |field, value: f64| {
        // Between these bounds no square leaves the range of floats.
        let expected = "must be a number between 1e-100 and 1e100";
        let good = (1e-100..=1e100).contains(&value);
        if good { Ok(()) } else { Err(EventError::Range { field, value, expected }) }
    };
    let share = |value: f64| {
        let expected = "must be from 1e-15 to 1";
        let good = (1e-15..=1.0).contains(&value);
        if good { Ok(()) } else { Err(EventError::Range { field: "sampling", value, expected }) }
    };
    let whole = |value: u64| {
        let expected = "must be a whole number from 1 to 1,048,576 for discrete noise";
        let error = EventError::Range { field: "sensitivity", value: value as f64, expected };
        let good = (1..=DISCRETE_SENSITIVITY_MAX).contains(&value);
        if good { Ok(()) } else { Err(error) }
    };
    match mechanism {
        Mechanism::Gaussian { sigma, sensitivity, sampling } => {
            positive("sigma", *sigma)?;
            positive("sensitivity", *sensitivity)?;
            share(*sampling)
        }
        Mechanism::Laplace { scale, sensitivity, sampling } => {
            positive("sigma", *scale)?;
            positive("sensitivity", *sensitivity)?;
            share(*sampling)
        }
        Mechanism::DiscreteGaussian { sigma, sensitivity, dimension } => {
            positive("sigma", *sigma)?;
            if *dimension == 0 {
                let expected = "must be at least 1";
                return Err(EventError::Range { field: "dimension", value: 0.0, expected });
            }
            // The bridge needs no enumeration.
            if *dimension > 1 && *sensitivity > 0 { Ok(()) } else { whole(*sensitivity) }
        }
        Mechanism::DiscreteLaplace { parameter, sensitivity } => {
            positive("sigma", *parameter)?;
            whole(*sensitivity)
        }
        Mechanism::Zcdp { rho } => {
            let expected = "must be positive";
            let error = EventError::Range { field: "rho", value: rho.to_f64_up(), expected };
            if rho.is_positive() { Ok(()) } else { Err(error) }
        }
    }
}

/// An event as people write it: the names of the command line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fields {
    /// The mechanism's name.
    pub mechanism: Name,
    /// σ; for Laplace the scale b, for discrete Laplace the parameter a.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigma: Option<f64>,
    /// Δ; 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<f64>,
    /// q; only for Poisson-sampled mechanisms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<f64>,
    /// Coordinates of discrete Gaussian noise; 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<u32>,
    /// ρ, only for `zcdp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rho: Option<Rational>,
    /// How often; 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
}

/// Names of mechanisms as people write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Name {
    Gaussian,
    PoissonGaussian,
    Laplace,
    PoissonLaplace,
    DiscreteGaussian,
    DiscreteLaplace,
    Zcdp,
}

impl Name {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gaussian => "gaussian",
            Self::PoissonGaussian => "poisson-gaussian",
            Self::Laplace => "laplace",
            Self::PoissonLaplace => "poisson-laplace",
            Self::DiscreteGaussian => "discrete-gaussian",
            Self::DiscreteLaplace => "discrete-laplace",
            Self::Zcdp => "zcdp",
        }
    }
}

impl TryFrom<Fields> for Event {
    type Error = EventError;

    fn try_from(fields: Fields) -> Result<Self, EventError> {
        let name = fields.mechanism;
        let problem = |problem| EventError::Field { mechanism: name.as_str(), problem };
        let sampled = matches!(name, Name::PoissonGaussian | Name::PoissonLaplace);
        if !sampled && fields.sampling.is_some_and(|q| q != 1.0) {
            return Err(problem(
                "has no sampling: use poisson-gaussian or poisson-laplace where each person is \
                 sampled independently",
            ));
        }
        if sampled && fields.sampling.is_none() {
            return Err(problem("needs its sampling rate"));
        }
        if name != Name::DiscreteGaussian && fields.dimension.is_some() {
            return Err(problem("has no dimension: give the sensitivity of the whole vector"));
        }
        if (name == Name::Zcdp) != fields.rho.is_some() {
            return Err(problem("needs rho if it is zcdp, and has none otherwise"));
        }
        if (name == Name::Zcdp) == fields.sigma.is_some() {
            return Err(problem("needs sigma, unless it is zcdp"));
        }
        let sigma = fields.sigma.unwrap_or(1.0);
        let sensitivity = fields.sensitivity.unwrap_or(1.0);
        let sampling = fields.sampling.unwrap_or(1.0);
        let whole = || {
            let expected = "must be a whole number for discrete noise";
            let error = EventError::Range { field: "sensitivity", value: sensitivity, expected };
            let good = sensitivity.fract() == 0.0 && (1.0..=9e15).contains(&sensitivity);
            if good { Ok(sensitivity as u64) } else { Err(error) }
        };
        let mechanism = match (name, fields.rho) {
            (Name::Gaussian | Name::PoissonGaussian, _) => {
                Mechanism::Gaussian { sigma, sensitivity, sampling }
            }
            (Name::Laplace | Name::PoissonLaplace, _) => {
                Mechanism::Laplace { scale: sigma, sensitivity, sampling }
            }
            (Name::DiscreteGaussian, _) => Mechanism::DiscreteGaussian {
                sigma,
                sensitivity: whole()?,
                dimension: fields.dimension.unwrap_or(1),
            },
            (Name::DiscreteLaplace, _) => {
                Mechanism::DiscreteLaplace { parameter: sigma, sensitivity: whole()? }
            }
            (Name::Zcdp, rho) => Mechanism::Zcdp { rho: rho.unwrap_or(Rational::zero()) },
        };
        Self::new(mechanism, fields.steps.unwrap_or(1))
    }
}

impl From<Event> for Fields {
    fn from(event: Event) -> Fields {
        let mut fields = Fields {
            mechanism: Name::Zcdp,
            sigma: None,
            sensitivity: None,
            sampling: None,
            dimension: None,
            rho: None,
            steps: Some(event.count),
        };
        let sampled = |q: f64| (q != 1.0).then_some(q);
        match event.mechanism {
            Mechanism::Gaussian { sigma, sensitivity, sampling } => {
                let plain = sampling == 1.0;
                fields.mechanism = if plain { Name::Gaussian } else { Name::PoissonGaussian };
                (fields.sigma, fields.sensitivity) = (Some(sigma), Some(sensitivity));
                fields.sampling = sampled(sampling);
            }
            Mechanism::Laplace { scale, sensitivity, sampling } => {
                let plain = sampling == 1.0;
                fields.mechanism = if plain { Name::Laplace } else { Name::PoissonLaplace };
                (fields.sigma, fields.sensitivity) = (Some(scale), Some(sensitivity));
                fields.sampling = sampled(sampling);
            }
            Mechanism::DiscreteGaussian { sigma, sensitivity, dimension } => {
                fields.mechanism = Name::DiscreteGaussian;
                (fields.sigma, fields.sensitivity) = (Some(sigma), Some(sensitivity as f64));
                fields.dimension = Some(dimension);
            }
            Mechanism::DiscreteLaplace { parameter, sensitivity } => {
                fields.mechanism = Name::DiscreteLaplace;
                (fields.sigma, fields.sensitivity) = (Some(parameter), Some(sensitivity as f64));
            }
            Mechanism::Zcdp { rho } => fields.rho = Some(rho),
        }
        fields
    }
}
