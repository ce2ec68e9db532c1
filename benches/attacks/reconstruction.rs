//! What did this household buy?

use chorale_dp::Aes256CtrRng;
use chorale_task::{Model, gram::packed_index};
use serde::Serialize;

use crate::{
    AnyError,
    data::{Data, Household},
    round::Programme,
};

/// Share of a household's items among as many guesses, mean over the households tried.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Found {
    /// From a release, all other households' vectors, and how popular each item is.
    pub(crate) attacked: f64,
    /// By naming the most popular items, without the release.
    pub(crate) guessed: f64,
}

/// The attacker knows every other household, and how many items the target has: what is left of
/// the total is the target's vector and noise. It is read with the other households' purchases as
/// the prior.
pub(crate) fn attack(
    data: &Data,
    model: &Model,
    task: &str,
    epsilon: Option<f64>,
    targets: usize,
    coins: &mut Aes256CtrRng,
) -> Result<Found, AnyError> {
    let programme = Programme::new(&data.catalogue, model, task, 1, &[], epsilon)?;
    let items = data.catalogue.len();
    let mut buyers = vec![0f64; items];
    for (item, _) in data.households.iter().flatten() {
        buyers[*item as usize] += 1.0;
    }
    let (mut attacked, mut guessed) = (0.0, 0.0);
    let step = (data.households.len() / targets).max(1);
    let tried: Vec<&Household> = data.households.iter().step_by(step).take(targets).collect();
    for household in &tried {
        // Without the target's own purchases, which the attacker does not know.
        let mut others = buyers.clone();
        for (item, _) in *household {
            others[*item as usize] -= 1.0;
        }
        let all = data.households.len() as f64;
        let prior: Vec<f64> = others.iter().map(|n| ((n + 0.5) / (all - n + 0.5)).ln()).collect();
        let release = Release {
            rest: programme.total(model, &[household], coins)?,
            unit: programme.delta as f64,
            // Rounding leaves half a unit where there is no noise.
            variance: programme.variance().map_or(0.25, chorale_dp::Rational::to_f64_up),
            bought: household.len() as f64,
        };
        let posterior = if release.rest.len() == items {
            release.popularity(&prior)
        } else {
            release.cooccurrence(&prior)
        };
        attacked += precision(&posterior, household);
        guessed += precision(&prior, household);
    }
    let n = tried.len() as f64;
    Ok(Found { attacked: attacked / n, guessed: guessed / n })
}

/// A total without the vectors of all others.
struct Release {
    rest: Vec<i64>,
    /// One real unit in lattice units.
    unit: f64,
    variance: f64,
    /// Number n of items that the target bought.
    bought: f64,
}

impl Release {
    /// Log-likelihood ratio of a coordinate that is `value` against one that is zero.
    fn evidence(&self, coordinate: usize, value: f64) -> f64 {
        value * (self.rest[coordinate] as f64 - value / 2.0) / self.variance
    }

    /// The target's coordinates are 1/√n.
    fn popularity(&self, prior: &[f64]) -> Vec<f64> {
        let value = self.unit / self.bought.sqrt();
        prior.iter().enumerate().map(|(item, odds)| odds + self.evidence(item, value)).collect()
    }

    /// The target's pairs are √2/n, and 1/n on the diagonal. Whether both items of a pair were
    /// bought is found by mean-field iteration (Opper and Saad 2001): evidence of pairs counts as
    /// far as the other item is believed to be bought.
    fn cooccurrence(&self, prior: &[f64]) -> Vec<f64> {
        let side = prior.len();
        let single = self.unit / self.bought;
        let pair = single * std::f64::consts::SQRT_2;
        let mut odds = prior.to_vec();
        for _ in 0..30 {
            let belief: Vec<f64> = odds.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
            for (i, odds) in odds.iter_mut().enumerate() {
                let pairs: f64 = (0..side)
                    .filter(|j| *j != i)
                    .map(|j| {
                        belief[j] * self.evidence(packed_index(side, i.min(j), i.max(j)), pair)
                    })
                    .sum();
                let found = prior[i] + pairs + self.evidence(packed_index(side, i, i), single);
                // Half a step, so that beliefs do not swing.
                *odds = ((*odds + found) / 2.0).clamp(-500.0, 500.0);
            }
        }
        odds
    }
}

/// Share of the household's items among the best scores, as many as it has items.
fn precision(scores: &[f64], household: &Household) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let best = &order[..household.len()];
    let hits = household.iter().filter(|(item, _)| best.contains(&(*item as usize))).count();
    hits as f64 / household.len() as f64
}
