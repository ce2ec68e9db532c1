//! Caps over rolling windows and families of tasks, as the operator writes them.

use chorale_dp::{Cap, Rational, Rho};
use chorale_plan::gaussian_cap;
use serde::{Deserialize, Serialize};

use crate::{calibrate::CalibrateError, config::Privacy};

/// One `[[privacy.caps]]`: give it `days`, `tasks` or both, and one of `epsilon` and `share`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapConfig {
    /// Its name, by which refusals call it: a-z, 0-9 and '-'.
    pub name: String,
    /// Names of the tasks that it covers; all when absent.
    #[serde(default)]
    pub tasks: Vec<String>,
    /// Length of its rolling window in days; the lifetime when absent.
    pub days: Option<u32>,
    /// Its size as ε at the federation's δ.
    pub epsilon: Option<f64>,
    /// Its size as a share of the lifetime's ρ, such as `1/4`.
    pub share: Option<Rational>,
}

impl CapConfig {
    fn cap(&self, lifetime: &Rho, delta: &Rational) -> Result<Cap, String> {
        let name = self.name.clone();
        let rho = match (self.epsilon, &self.share) {
            (Some(epsilon), None) if epsilon.is_finite() && epsilon > 0.0 => {
                gaussian_cap(epsilon, delta)
            }
            (None, Some(share)) if share.is_positive() && *share <= Rational::one() => {
                Rho::new(lifetime.as_rational() * share).unwrap_or_else(|_| Rho::zero())
            }
            _ => {
                return Err(format!(
                    "privacy.caps '{name}': give either epsilon, above 0, or share, above 0 and at \
                     most 1"
                ));
            }
        };
        let mut tasks = self.tasks.clone();
        tasks.sort_unstable();
        Ok(Cap { name, tasks, days: self.days, rho })
    }
}

/// The caps of a federation whose lifetime's cap is `lifetime`, ascending by name.
///
/// # Errors
/// What is wrong with the first that cannot be meant, in words.
pub(crate) fn caps(privacy: &Privacy, lifetime: Option<&Rho>) -> Result<Vec<Cap>, String> {
    let Some(lifetime) = lifetime else {
        let none = privacy.caps.is_empty();
        return if none {
            Ok(Vec::new())
        } else {
            Err("privacy.caps need noise: ε is ∞".into())
        };
    };
    let of = |config: &CapConfig| config.cap(lifetime, &privacy.delta);
    let mut caps = privacy.caps.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    caps.sort_by(|a, b| a.name.cmp(&b.name));
    Cap::check_all(&caps).map_err(|error| format!("privacy.caps: {error}"))?;
    Ok(caps)
}

/// What a plan's rounds cost, as far as caps care.
pub(crate) struct PlanCost<'a> {
    pub(crate) plan: &'a str,
    pub(crate) task: &'a str,
    pub(crate) rounds: u32,
    /// ρ of one round.
    pub(crate) each: Rho,
}

/// How a programme stands to one cap.
#[derive(Clone, Debug, Serialize)]
pub struct CapForecast {
    /// The cap.
    #[serde(flatten)]
    pub cap: Cap,
    /// ρ of all rounds that it covers, exactly.
    pub covered_rho: Rational,
    /// How many windows the covered rounds need at least, run in order; 1 without a window.
    pub windows: u64,
}

/// Holds a programme against each cap.
///
/// # Errors
/// [`CalibrateError::Cap`] where a round would never fit.
pub(crate) fn forecast(
    caps: &[Cap],
    plans: &[PlanCost<'_>],
) -> Result<Vec<CapForecast>, CalibrateError> {
    caps.iter().map(|cap| of_one(cap, plans)).collect()
}

fn of_one(cap: &Cap, plans: &[PlanCost<'_>]) -> Result<CapForecast, CalibrateError> {
    let (mut covered, mut windows, mut inside) = (Rho::zero(), 1, Rho::zero());
    for plan in plans.iter().filter(|plan| cap.covers(Some(plan.task))) {
        for _ in 0..plan.rounds {
            covered = &covered + &plan.each;
            inside = &inside + &plan.each;
            if inside > cap.rho && cap.days.is_some() {
                // Where costs differ, the first of a window may leave before the last.
                windows += 1;
                inside = plan.each.clone();
            }
            if inside > cap.rho {
                let (plan, cap) = (plan.plan.to_string(), cap.clone());
                return Err(CalibrateError::Cap { plan, cap: Box::new(cap) });
            }
        }
    }
    let covered_rho = covered.as_rational().clone();
    Ok(CapForecast { cap: cap.clone(), covered_rho, windows })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rho(numerator: u64, denominator: u64) -> Rho {
        Rho::new(Rational::new(numerator, denominator).unwrap()).unwrap()
    }

    fn privacy(caps: &str) -> Privacy {
        toml::from_str(&format!("epsilon = 4.0\n{caps}")).unwrap()
    }

    #[test]
    fn a_cap_is_an_epsilon_or_a_share() {
        let text = "[[caps]]\nname = \"month\"\ndays = 30\nshare = \"1/4\"\n\
                    [[caps]]\nname = \"family\"\ntasks = [\"b\", \"a\"]\nepsilon = 1.0\n";
        let caps = caps(&privacy(text), Some(&rho(2, 1))).unwrap();
        assert_eq!((caps[0].name.as_str(), caps[1].name.as_str()), ("family", "month"));
        assert_eq!((caps[1].rho.clone(), caps[0].tasks.join(" ")), (rho(1, 2), "a b".into()));
        assert_eq!(caps[0].rho, gaussian_cap(1.0, &Rational::new(1, 100_000).unwrap()));
        for (text, word) in [
            ("[[caps]]\nname = \"a\"\ndays = 1\n", "either"),
            ("[[caps]]\nname = \"a\"\ndays = 1\nepsilon = 1.0\nshare = \"1/2\"\n", "either"),
            ("[[caps]]\nname = \"a\"\ndays = 1\nshare = \"3/2\"\n", "either"),
            ("[[caps]]\nname = \"a\"\nepsilon = 1.0\n", "lifetime's own"),
        ] {
            let error = super::caps(&privacy(text), Some(&rho(2, 1))).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert!(super::caps(&privacy(text), None).unwrap_err().contains("need noise"));
    }

    #[test]
    fn a_programme_is_held_against_every_cap_before_it_runs() {
        let cap = |tasks: &[&str], days, rho| Cap {
            name: "cap".into(),
            tasks: tasks.iter().map(ToString::to_string).collect(),
            days,
            rho,
        };
        let plans = [
            PlanCost { plan: "p", task: "a", rounds: 1, each: rho(1, 2) },
            PlanCost { plan: "q", task: "b", rounds: 4, each: rho(1, 4) },
        ];
        let one = |cap: Cap| {
            forecast(&[cap], &plans).map(|all| (all[0].covered_rho.clone(), all[0].windows))
        };
        assert_eq!(one(cap(&[], Some(30), rho(1, 2))).unwrap(), (Rational::new(3, 2).unwrap(), 3));
        assert_eq!(one(cap(&["b"], None, rho(1, 1))).unwrap(), (Rational::one(), 1));
        // A family that runs out, and a window that one round does not fit.
        let error = one(cap(&["b"], None, rho(3, 4))).unwrap_err();
        assert!(error.to_string().contains("plan 'q'"), "{error}");
        assert!(one(cap(&["a"], Some(1), rho(1, 3))).is_err());
    }
}
