//! What one agent can say about a round that it saw another agent take part in.

use chorale_dp::{Rational, Rho};
use chorale_wire::{Digest, message::StatedRound};

use crate::{Derived, PlanError, RoundSpec};

/// Bits after the point in which a stated cost is written.
const COST_BITS: u64 = 64;

/// Digest of the question that a round asks: two rounds with equal plan, model and data window
/// (events before this instant, Unix seconds) ask the same, and the difference of two answers to
/// one question would say too much.
#[must_use]
pub fn question(plan: &Digest, model: &Digest, window: u64) -> Digest {
    Digest::of("chorale/1 question", &[plan.as_bytes(), model.as_bytes(), &window.to_be_bytes()])
}

/// `rho` in units of 2^-64, rounded up, so that whoever charges it charges at least `rho`. What
/// would not fit, from 2^64 on, is above every cap and saturates.
#[must_use]
pub fn cost_units(rho: &Rho) -> u128 {
    let scaled = rho.as_rational() * &Rational::from_integer(1u128 << COST_BITS);
    u128::try_from(scaled.ceil()).unwrap_or(u128::MAX)
}

/// The cost that `units` of 2^-64 stand for; never below the ρ that they were made from by
/// [`cost_units`].
#[must_use]
pub fn cost_of_units(units: u128) -> Rho {
    // The denominator is not zero and the value not negative.
    Rational::new(units, 1u128 << COST_BITS)
        .and_then(|value| Rho::new(value).ok())
        .unwrap_or_else(Rho::zero)
}

impl RoundSpec {
    /// The round as a witness states it. `derived` is what [`Self::derive`] gave.
    ///
    /// # Errors
    /// [`PlanError::Encode`] when the plan is longer than its limit.
    pub fn stated(&self, derived: &Derived) -> Result<StatedRound, PlanError> {
        let plan = self.plan.digest()?;
        Ok(StatedRound {
            round: self.round,
            question: question(&plan, &self.model, self.plan.events_before_s),
            cost: derived.rho.as_ref().map(cost_units),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_part_of_a_question_counts() {
        let (plan, model) = (Digest::plain(b"plan"), Digest::plain(b"model"));
        let asked = question(&plan, &model, 7);
        assert_eq!(asked, question(&plan, &model, 7));
        for other in [question(&model, &model, 7), question(&plan, &plan, 7)] {
            assert_ne!(asked, other);
        }
        assert_ne!(asked, question(&plan, &model, 8));
    }

    #[test]
    fn what_is_above_every_cap_saturates() {
        let huge = Rho::new(Rational::from_integer(u128::MAX)).unwrap();
        assert_eq!(cost_units(&huge), u128::MAX);
        assert_eq!(cost_of_units(0), Rho::zero());
    }

    #[test]
    fn a_stated_cost_is_never_too_low() {
        let step = Rho::new(Rational::power_of_half(COST_BITS)).unwrap();
        for numerator in [0u64, 1, 2, 3, 65_537, u64::MAX - 1, u64::MAX] {
            for denominator in [1u64, 2, 3, 7, 10, 1 << 40, u64::MAX] {
                let rho = Rho::new(Rational::new(numerator, denominator).unwrap()).unwrap();
                let back = cost_of_units(cost_units(&rho));
                assert!(back >= rho && back < &rho + &step, "{numerator}/{denominator}");
            }
        }
        // What fits the 64 bits after the point is exact.
        let rho = Rho::new(Rational::power_of_half(COST_BITS)).unwrap();
        assert_eq!((cost_units(&rho), cost_of_units(1)), (1, rho));
    }
}
