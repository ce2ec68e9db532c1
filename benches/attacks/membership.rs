//! Was this household among those who were summed?

use chorale_dp::{Aes256CtrRng, accountant::guess};
use chorale_plan::Parameter;
use chorale_task::{
    Catalogue, Gram, Model, Weighting,
    scorers::{Ease, EaseOptions, PopularityScorer, Scorer},
};
use rand_core::Rng as _;
use serde::Serialize;

use crate::{
    AnyError,
    data::{Data, Household},
    round::{DELTA, Programme},
};

/// A measured share with its 95% interval (Wilson 1927).
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Share {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Share {
    fn of(hits: u64, trials: u64) -> Self {
        let (n, z) = (trials as f64, 1.959_964);
        let p = hits as f64 / n;
        let scale = 1.0 + z * z / n;
        let middle = (p + z * z / (2.0 * n)) / scale;
        let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt() / scale;
        Self { value: p, low: middle - half, high: middle + half }
    }

    /// The mean of some figures and 1.96 of its standard errors.
    fn mean(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let value = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|x| (x - value).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let half = 1.959_964 * (variance / n).sqrt();
        Self { value, low: value - half, high: value + half }
    }
}

/// The best success of any attacker at guessing membership from an even prior, for Gaussian
/// releases of the largest μ that (ε, δ) allows: Φ(μ/2).
pub(crate) fn bound(epsilon: Option<f64>) -> f64 {
    epsilon.map_or(1.0, |epsilon| {
        guess::success_of_gaussian_at(epsilon, DELTA.0 as f64 / DELTA.1 as f64)
    })
}

/// The attacker of the definition: knows every other household's vector and the target's, and only
/// not whether the target is in. Guesses by the likelihood ratio. The share of right guesses.
pub(crate) fn insider(
    data: &Data,
    model: &Model,
    task: &str,
    epsilon: Option<f64>,
    trials: u64,
    coins: &mut Aes256CtrRng,
) -> Result<Share, AnyError> {
    let programme = Programme::new(&data.catalogue, model, task, 1, &[], epsilon)?;
    let mut hits = 0;
    for trial in 0..trials {
        let target = &data.households[trial as usize % data.households.len()];
        let part = programme.part(model, target, coins)?;
        let joined = coins.next_u32() & 1 == 1;
        // What is left of the total once all others are taken off, where the target's vector is
        // not zero; elsewhere there is noise that says nothing.
        let mut rest: Vec<i64> =
            part.iter().map(|(_, value)| if joined { *value } else { 0 }).collect();
        programme.add_noise(&mut rest, coins)?;
        let along: f64 = part.iter().zip(&rest).map(|((_, v), x)| *v as f64 * *x as f64).sum();
        let square: f64 = part.iter().map(|(_, v)| (*v as f64).powi(2)).sum();
        hits += u64::from((along > square / 2.0) == joined);
    }
    Ok(Share::of(hits, trials))
}

/// What an attacker who has the broadcast model and the target's history, and knows nobody else,
/// looks at: how well the model predicts one half of the history from the other.
pub(crate) struct Outsider<'a> {
    pub(crate) data: &'a Data,
    pub(crate) start: &'a Model,
    pub(crate) repeats: u32,
}

impl Outsider<'_> {
    /// Area under the curve between members and households left out: 0.5 is a guess. With
    /// `secret` of some households in, the others out, anew in each repeat.
    pub(crate) fn area(
        &self,
        task: Attacked,
        epsilon: Option<f64>,
        coins: &mut Aes256CtrRng,
    ) -> Result<Share, AnyError> {
        let mut areas = Vec::new();
        for _ in 0..self.repeats {
            let (mut members, mut others) = (Vec::new(), Vec::new());
            for household in &self.data.households {
                if coins.next_u32() & 1 == 1 { &mut members } else { &mut others }.push(household);
            }
            let model = task.train(&self.data.catalogue, self.start, &members, epsilon, coins)?;
            let scorer = task.scorer(&model)?;
            let fit = |households: &[&Household]| -> Vec<f64> {
                households.iter().filter_map(|it| self_prediction(&*scorer, it)).collect()
            };
            areas.push(area_under_curve(&fit(&members), &fit(&others)));
        }
        Ok(Share::mean(&areas))
    }
}

/// As the agents' own.
const EASE: EaseOptions = EaseOptions { lambda: 2.0, weighting: Weighting::Binary };

/// Which model is attacked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attacked {
    Popularity,
    Cooccurrence,
}

impl Attacked {
    fn train(
        self,
        catalogue: &Catalogue,
        start: &Model,
        households: &[&Household],
        epsilon: Option<f64>,
        coins: &mut Aes256CtrRng,
    ) -> Result<Model, AnyError> {
        let none: &[(&str, Parameter)] = &[];
        let name = match self {
            Self::Popularity => "popularity",
            Self::Cooccurrence => "cooccurrence",
        };
        Programme::new(catalogue, start, name, 1, none, epsilon)?.run(
            start.clone(),
            households,
            coins,
        )
    }

    fn scorer(self, model: &Model) -> Result<Box<dyn Scorer>, AnyError> {
        Ok(match self {
            Self::Popularity => Box::new(PopularityScorer::from_model(model)?),
            Self::Cooccurrence => Box::new(Ease::fit(Gram::from_model(model)?, &EASE)?),
        })
    }
}

/// Mean rank, from 0 (worst) to 1, of every second item when the others are the history.
fn self_prediction(scorer: &dyn Scorer, household: &Household) -> Option<f64> {
    let half = |parity: usize| household.iter().skip(parity).step_by(2).copied();
    let scores = scorer.scores(&half(0).collect::<Vec<_>>());
    let ranks: Vec<f64> = half(1)
        .map(|(item, _)| {
            let own = scores[item as usize];
            scores.iter().filter(|score| **score < own).count() as f64 / scores.len() as f64
        })
        .collect();
    (!ranks.is_empty()).then(|| ranks.iter().sum::<f64>() / ranks.len() as f64)
}

/// The probability that a member's figure is above another's, ties counted half.
fn area_under_curve(members: &[f64], others: &[f64]) -> f64 {
    let above: f64 = members
        .iter()
        .flat_map(|member| others.iter().map(move |other| (member, other)))
        .map(|(member, other)| match member.total_cmp(other) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        })
        .sum();
    above / (members.len() * others.len()) as f64
}
