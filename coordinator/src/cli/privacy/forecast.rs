//! Rounds that still fit into a budget.

use std::{fmt::Write as _, path::Path};

use chorale_dp::{
    Rational,
    accountant::{
        event::Event,
        figure::{self, Accountant, Fit},
    },
};
use serde::{Deserialize, Serialize};

use super::{AnyError, PrivacyError, accountant_name, parse, rounded_up};
use crate::{config::Config, service};

/// Plans of any mechanisms, as `--help` shows them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    epsilon: f64,
    delta: f64,
    #[serde(default = "pld")]
    accountant: Accountant,
    #[serde(default)]
    spent: Vec<Event>,
    plans: Vec<Candidate>,
}

fn pld() -> Accountant {
    Accountant::Pld
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Candidate {
    name: String,
    round: Vec<Event>,
}

#[derive(Debug, Serialize)]
struct Answer {
    epsilon: f64,
    delta: f64,
    accountant: Accountant,
    plans: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    name: String,
    #[serde(flatten)]
    fit: Fit,
}

/// What to print.
pub(super) fn answer(path: &Path, ledger: Option<&Path>, json: bool) -> Result<String, AnyError> {
    let is_toml = path.extension().is_some_and(|ending| ending == "toml");
    if is_toml {
        return federation(path, ledger, json);
    }
    if ledger.is_some() {
        return Err(PrivacyError::NoLedger.into());
    }
    let answer = of_list(&parse(path, "forecast")?)?;
    if json {
        return Ok(serde_json::to_string_pretty(&answer)?);
    }
    let mut text = format!(
        "rounds that fit into ε = {} at δ = {:e} ({}), each plan by itself\n{:<24} {:>9} {:>12}\n",
        answer.epsilon,
        answer.delta,
        accountant_name(answer.accountant),
        "plan",
        "rounds",
        "ε after them"
    );
    for Line { name, fit } in &answer.plans {
        let rounds =
            if fit.at_least { format!(">={}", fit.rounds) } else { fit.rounds.to_string() };
        writeln!(text, "{name:<24} {rounds:>9} {:>12}", rounded_up(fit.epsilon))?;
    }
    Ok(text)
}

fn of_list(question: &Question) -> Result<Answer, PrivacyError> {
    let Question { epsilon, delta, accountant, spent, plans } = question;
    let line = |candidate: &Candidate| {
        figure::rounds_that_fit(*accountant, spent, &candidate.round, *epsilon, *delta)
            .map(|fit| Line { name: candidate.name.clone(), fit })
            .map_err(|source| PrivacyError::Plan { plan: candidate.name.clone(), source })
    };
    let plans = plans.iter().map(line).collect::<Result<_, _>>()?;
    Ok(Answer { epsilon: *epsilon, delta: *delta, accountant: *accountant, plans })
}

/// A federation's plans against its cap in ρ.
#[derive(Debug, Serialize)]
struct Federation {
    federation: String,
    promise: String,
    /// The cap, exactly.
    cap_rho: Rational,
    /// What the ledger has charged and reserved, exactly; zero without one.
    spent_rho: Rational,
    plans: Vec<FederationLine>,
}

#[derive(Debug, Serialize)]
struct FederationLine {
    name: String,
    planned: u32,
    /// ρ of one round, exactly.
    round_rho: Rational,
    /// Rounds that fit into what is left, if no other plan runs.
    rounds: u64,
    /// Rounds beyond the programme, once all of it has run; without a ledger.
    beyond: Option<u64>,
}

fn federation(path: &Path, ledger: Option<&Path>, json: bool) -> Result<String, AnyError> {
    let config = Config::load(path)?;
    let forecast = service::forecast(&config)?;
    let name = forecast.federation.clone();
    let unprotected = || PrivacyError::Unprotected(name.clone());
    let cap = forecast.cap_rho.clone().ok_or_else(unprotected)?;
    let total = forecast.total_rho.clone().ok_or_else(unprotected)?;
    let spent = match ledger {
        None => Rational::zero(),
        Some(ledger) => spent_in(ledger, &name, &cap)?,
    };
    let left = &cap - &spent;
    let mut plans = Vec::with_capacity(forecast.plans.len());
    for plan in &forecast.plans {
        let all = plan.rho.as_ref().ok_or_else(unprotected)?;
        let each = all / &Rational::from_integer(plan.rounds.max(1));
        let beyond = ledger.is_none().then(|| whole_rounds(&(&cap - &total), &each));
        plans.push(FederationLine {
            name: plan.name.clone(),
            planned: plan.rounds,
            rounds: whole_rounds(&left, &each),
            round_rho: each,
            beyond,
        });
    }
    let promise = forecast.promise.clone();
    let answer = Federation { federation: name, promise, cap_rho: cap, spent_rho: spent, plans };
    if json {
        return Ok(serde_json::to_string_pretty(&answer)?);
    }
    Ok(answer.text()?)
}

/// What a verified ledger of this federation has charged and reserved.
fn spent_in(path: &Path, federation: &str, cap: &Rational) -> Result<Rational, AnyError> {
    let content = std::fs::read(path)
        .map_err(|source| PrivacyError::Read { path: path.to_path_buf(), source })?;
    let report = chorale_ledger::verify_with(&content, &chorale_ledger::Expect::default())?;
    let rho = |part: &chorale_ledger::Privacy| part.rho().map(|rho| rho.as_rational().clone());
    let caps_agree = rho(&report.cap).as_ref() == Some(cap);
    match (rho(&report.spent), rho(&report.reserved)) {
        (Some(spent), Some(reserved)) if caps_agree && report.federation == federation => {
            Ok(&spent + &reserved)
        }
        _ => Err(PrivacyError::OtherLedger {
            ledger: report.federation,
            config: federation.to_string(),
        }
        .into()),
    }
}

impl Federation {
    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = format!(
            "federation {}: {}\nrho {:.6} spent of a cap of {:.6}; rounds are counted exactly\n",
            self.federation,
            self.promise,
            self.spent_rho.to_f64_up(),
            self.cap_rho.to_f64_down()
        );
        writeln!(
            text,
            "{:<24} {:>8} {:>12} {:>16} {:>20}",
            "plan", "planned", "rho a round", "fit, on its own", "beyond the programme"
        )?;
        for plan in &self.plans {
            writeln!(
                text,
                "{:<24} {:>8} {:>12.8} {:>16} {:>20}",
                plan.name,
                plan.planned,
                plan.round_rho.to_f64_up(),
                plan.rounds,
                plan.beyond.map_or("-".into(), |rounds| rounds.to_string())
            )?;
        }
        Ok(text)
    }
}

/// ⌊left / each⌋, none where nothing is left; a round that costs nothing fits for ever.
fn whole_rounds(left: &Rational, each: &Rational) -> u64 {
    if !left.is_positive() {
        return 0;
    }
    left.checked_div(each)
        .map_or(u64::MAX, |rounds| u64::try_from(rounds.floor()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rounds_are_counted_exactly() {
        let rational = |n: i64, d: i64| Rational::new(n, d).unwrap();
        assert_eq!(whole_rounds(&rational(3, 10), &rational(1, 10)), 3);
        assert_eq!(whole_rounds(&rational(2_999_999_999, 10_000_000_000), &rational(1, 10)), 2);
        assert_eq!(whole_rounds(&rational(-1, 10), &rational(1, 10)), 0);
        assert_eq!(whole_rounds(&rational(1, 10), &Rational::zero()), u64::MAX);
    }
}
