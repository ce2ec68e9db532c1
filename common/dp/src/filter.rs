//! The privacy filter: a round is admitted iff what is spent, reserved and asked fits the cap.
//!
//! zCDP costs chosen adaptively add up under a fixed cap (Feldman & Zrnic 2021; Rogers et al.
//! 2016), so the check may follow the rounds as they are planned. Every comparison is exact.

use std::collections::BTreeMap;

use crate::Rho;

/// A cap on ρ with what is spent and reserved, keyed by round number.
///
/// `spent + reserved <= cap` holds at all times, exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    cap: Rho,
    spent: Rho,
    reserved: BTreeMap<u64, Rho>,
    last: Option<u64>,
}

/// A cost that does not fit. Nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the privacy budget does not allow this: ρ cap {cap}, spent {spent}, reserved {reserved}, \
     asked {asked}; lower the plan's cost or end the federation"
)]
pub struct OverBudget {
    /// The cap.
    pub cap: Rho,
    /// What is spent.
    pub spent: Rho,
    /// What is reserved by rounds under way.
    pub reserved: Rho,
    /// What was asked.
    pub asked: Rho,
}

/// Why a step of the budget was refused. The caller is to blame; the budget is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// It does not fit.
    #[error(transparent)]
    Over(#[from] Box<OverBudget>),
    /// Round numbers only ascend, so that no round can be reserved or settled twice.
    #[error("round {round} was reserved before, or is below round {last}: rounds only ascend")]
    Stale {
        /// The round asked for.
        round: u64,
        /// The highest round ever reserved.
        last: u64,
    },
    /// The round holds no reservation.
    #[error("round {round} holds no reservation: never reserved, or settled already")]
    NotReserved {
        /// The round.
        round: u64,
    },
}

/// How a reservation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The total was released, or may have been seen: the charge stands.
    Spent,
    /// Proven that no total can be unmasked: the charge is given back.
    Refunded,
}

impl Budget {
    /// A fresh budget.
    #[must_use]
    pub fn new(cap: Rho) -> Self {
        Self { cap, spent: Rho::zero(), reserved: BTreeMap::new(), last: None }
    }

    /// A budget of which `spent` is gone, and whose rounds up to `last` are settled.
    ///
    /// # Errors
    /// [`OverBudget`] if more is spent than the cap allows.
    pub fn resume(cap: Rho, spent: Rho, last: Option<u64>) -> Result<Self, Box<OverBudget>> {
        let mut budget = Self::new(cap);
        budget.admit(&spent)?;
        budget.spent = spent;
        budget.last = last;
        Ok(budget)
    }

    /// Whether `asked` fits beside all that is spent and reserved. Changes nothing.
    ///
    /// # Errors
    /// [`OverBudget`] with the figures.
    pub fn admit(&self, asked: &Rho) -> Result<(), Box<OverBudget>> {
        let reserved = self.reserved();
        if &(&self.spent + &reserved) + asked <= self.cap {
            return Ok(());
        }
        Err(Box::new(OverBudget {
            cap: self.cap.clone(),
            spent: self.spent.clone(),
            reserved,
            asked: asked.clone(),
        }))
    }

    /// Sets `cost` aside for `round`.
    ///
    /// # Errors
    /// [`BudgetError::Over`], or [`BudgetError::Stale`] for a round not above all before it.
    pub fn reserve(&mut self, round: u64, cost: Rho) -> Result<(), BudgetError> {
        if let Some(last) = self.last.filter(|last| round <= *last) {
            return Err(BudgetError::Stale { round, last });
        }
        self.admit(&cost)?;
        self.reserved.insert(round, cost);
        self.last = Some(round);
        Ok(())
    }

    /// Ends a reservation, once; returns what it held.
    ///
    /// # Errors
    /// [`BudgetError::NotReserved`].
    pub fn settle(&mut self, round: u64, settlement: Settlement) -> Result<Rho, BudgetError> {
        let cost = self.reserved.remove(&round).ok_or(BudgetError::NotReserved { round })?;
        if settlement == Settlement::Spent {
            self.spent = &self.spent + &cost;
        }
        Ok(cost)
    }

    /// The cap.
    #[must_use]
    pub fn cap(&self) -> &Rho {
        &self.cap
    }

    /// What is spent for good.
    #[must_use]
    pub fn spent(&self) -> &Rho {
        &self.spent
    }

    /// What rounds under way hold.
    #[must_use]
    pub fn reserved(&self) -> Rho {
        self.reserved.values().cloned().sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::Rational;

    fn rho(numerator: u64, denominator: u64) -> Rho {
        Rho::new(Rational::new(numerator, denominator).unwrap()).unwrap()
    }

    #[test]
    fn the_cap_is_exact() {
        // In floats 0.1 + 0.2 exceeds 0.3; here three tenths are three tenths.
        let mut budget = Budget::new(rho(3, 10));
        budget.reserve(1, rho(1, 10)).unwrap();
        budget.settle(1, Settlement::Spent).unwrap();
        budget.reserve(2, rho(2, 10)).unwrap();
        let trace = Rho::new(Rational::power_of_half(4000)).unwrap();
        let error = budget.reserve(3, trace.clone()).unwrap_err();
        let BudgetError::Over(over) = error else { panic!("{error}") };
        assert_eq!((over.spent, over.reserved, over.asked), (rho(1, 10), rho(2, 10), trace));
        // The refused round may ask again when there is room.
        budget.settle(2, Settlement::Refunded).unwrap();
        budget.reserve(3, rho(2, 10)).unwrap();
    }

    #[test]
    fn nothing_happens_twice() {
        let mut budget = Budget::new(rho(1, 1));
        budget.reserve(5, rho(1, 2)).unwrap();
        assert_eq!(budget.reserve(5, rho(0, 1)), Err(BudgetError::Stale { round: 5, last: 5 }));
        assert_eq!(budget.reserve(4, rho(0, 1)), Err(BudgetError::Stale { round: 4, last: 5 }));
        budget.settle(5, Settlement::Refunded).unwrap();
        for settlement in [Settlement::Refunded, Settlement::Spent] {
            let again = budget.settle(5, settlement);
            assert_eq!(again, Err(BudgetError::NotReserved { round: 5 }));
        }
        assert_eq!(budget.reserve(5, rho(0, 1)), Err(BudgetError::Stale { round: 5, last: 5 }));
        assert!(Budget::resume(rho(1, 2), rho(2, 3), None).is_err());
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Reserve(u64, u64),
        Settle(u64, bool),
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let reserve = (0u64..30, 0u64..50).prop_map(|(r, c)| Operation::Reserve(r, c));
        let settle = (0u64..30, any::<bool>()).prop_map(|(r, spent)| Operation::Settle(r, spent));
        proptest::collection::vec(prop_oneof![reserve, settle], 0..80)
    }

    proptest! {
        /// Against a model in whole numbers: thirds of a hundred.
        #[test]
        fn the_invariant_holds_in_any_order(operations in operations()) {
            let mut budget = Budget::new(rho(100, 3));
            let (mut spent, mut open, mut last) = (0u64, BTreeMap::new(), None);
            for operation in operations {
                match operation {
                    Operation::Reserve(round, cost) => {
                        let fits = spent + open.values().sum::<u64>() + cost <= 100;
                        let fresh = last.is_none_or(|last| round > last);
                        prop_assert_eq!(budget.reserve(round, rho(cost, 3)).is_ok(), fits && fresh);
                        if fits && fresh {
                            open.insert(round, cost);
                            last = Some(round);
                        }
                    }
                    Operation::Settle(round, stands) => {
                        let how = if stands { Settlement::Spent } else { Settlement::Refunded };
                        let held = open.remove(&round);
                        prop_assert_eq!(budget.settle(round, how).ok(), held.map(|c| rho(c, 3)));
                        if stands { spent += held.unwrap_or(0); }
                    }
                }
                prop_assert_eq!(budget.spent(), &rho(spent, 3));
                prop_assert_eq!(budget.reserved(), rho(open.values().sum::<u64>(), 3));
                prop_assert!(&(budget.spent() + &budget.reserved()) <= budget.cap());
            }
        }
    }
}
