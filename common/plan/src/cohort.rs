//! Cohort floors: how many agents must be there so that a sum hides each of them.

use chorale_wire::limits::COMPLETE_GRAPH_AGENTS_MAX;
use serde::{Deserialize, Serialize};

/// The threat model of a federation and the floors that follow from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CohortRule {
    /// Identities on the authority's enrolment list, N. Absolute: never a roster's size.
    pub enrolled: u32,
    /// Agents assumed corrupt, A = max(1, ⌈γN⌉).
    pub corrupt: u32,
    /// Smallest admissible number of survivors, T_min. Of a roster of n agents, D = n - T_min may
    /// thus drop out: the sparse graph is made for exactly that many, so that no second number
    /// could contradict the first.
    pub survivors_min: u32,
}

/// Why a rule does not protect anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CohortError {
    /// Fewer than four agents: masks cannot help.
    #[error("{enrolled} agents are enrolled; below 4 masks cannot hide one of them")]
    TooFew {
        /// Enrolled agents.
        enrolled: u32,
    },
    /// T_min leaves fewer than three honest survivors.
    #[error(
        "with {corrupt} agents assumed corrupt, {survivors_min} survivors leave fewer than 3 \
         honest ones: raise survivors_min to {needed}"
    )]
    Honest {
        /// A.
        corrupt: u32,
        /// T_min.
        survivors_min: u32,
        /// Smallest sound T_min.
        needed: u32,
    },
    /// T_min is below the vote threshold T, two thirds of the roster or another floor.
    #[error(
        "survivors_min is {survivors_min}; a roster of {agents} agents needs at least {needed}"
    )]
    Floor {
        /// T_min.
        survivors_min: u32,
        /// Agents in the roster.
        agents: u32,
        /// Smallest admissible T_min.
        needed: u32,
    },
    /// More survivors demanded than there are agents.
    #[error("survivors_min is {survivors_min}, more than the roster's {agents} agents")]
    Unreachable {
        /// T_min.
        survivors_min: u32,
        /// Agents in the roster.
        agents: u32,
    },
}

/// Floor on T_min for federations of at least ten agents.
pub const SURVIVORS_FLOOR: u32 = 10;

/// Least number of honest survivors, ever.
pub const HONEST_SURVIVORS_MIN: u32 = 3;

impl CohortRule {
    /// A = max(1, ⌈γN⌉) for γ in thousandths.
    #[must_use]
    pub fn corrupt_of(enrolled: u32, gamma_per_mille: u32) -> u32 {
        let scaled = u64::from(enrolled) * u64::from(gamma_per_mille);
        (scaled.div_ceil(1000) as u32).max(1)
    }

    /// Vote threshold T = ⌊(n + A)/2⌋ + 1 of a roster of `agents`: two different survivor sets
    /// would need 2T <= n + A signatures, so honest agents agree on one.
    #[must_use]
    pub fn votes_min(&self, agents: u32) -> u32 {
        agents.midpoint(self.corrupt).saturating_add(1)
    }

    /// Shamir threshold on the complete graph, t = max(A + 1, T - 1): more than the corrupt
    /// holders of shares. On the sparse graph every agent has fewer neighbours, and the graph's
    /// parameters name the threshold.
    #[must_use]
    pub fn share_threshold(&self, agents: u32) -> u32 {
        self.corrupt.saturating_add(1).max(self.votes_min(agents) - 1)
    }

    /// Number of honest noise shares that must suffice, T_min - A.
    #[must_use]
    pub fn honest_min(&self) -> u32 {
        self.survivors_min.saturating_sub(self.corrupt)
    }

    /// Drop-outs D = n - T_min that a roster of `agents` withstands.
    #[must_use]
    pub fn dropouts(&self, agents: u32) -> u32 {
        agents.saturating_sub(self.survivors_min)
    }

    /// Smallest admissible T_min for a roster of `agents`: A + 3, T, two thirds of the roster (no
    /// more than a third may drop out), in federations of at least ten agents 10, and on the
    /// complete graph one above the Shamir threshold, as a survivor needs so many others.
    #[must_use]
    pub fn survivors_floor(&self, agents: u32) -> u32 {
        let fixed = if self.enrolled >= SURVIVORS_FLOOR { SURVIVORS_FLOOR } else { 0 };
        let complete = agents as usize <= COMPLETE_GRAPH_AGENTS_MAX;
        let shares = if complete { self.share_threshold(agents).saturating_add(1) } else { 0 };
        [fixed, self.votes_min(agents), agents - agents / 3, shares]
            .into_iter()
            .fold(self.honest_floor(), u32::max)
    }

    /// A + 3. Saturating, as every sum here: a rule comes from outside, and no number in it may
    /// wrap into an admissible one.
    fn honest_floor(&self) -> u32 {
        self.corrupt.saturating_add(HONEST_SURVIVORS_MIN)
    }

    /// Checks the rule on its own and for a roster of `agents`.
    ///
    /// # Errors
    /// [`CohortError`] when any floor is violated.
    pub fn check(&self, agents: u32) -> Result<(), CohortError> {
        let Self { enrolled, corrupt, survivors_min } = *self;
        if enrolled < 4 || agents < 4 {
            return Err(CohortError::TooFew { enrolled: enrolled.min(agents) });
        }
        let needed = self.honest_floor();
        if survivors_min < needed {
            return Err(CohortError::Honest { corrupt, survivors_min, needed });
        }
        let needed = self.survivors_floor(agents);
        if survivors_min < needed {
            return Err(CohortError::Floor { survivors_min, agents, needed });
        }
        if survivors_min > agents {
            return Err(CohortError::Unreachable { survivors_min, agents });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_the_two_settings() {
        assert_eq!(CohortRule::corrupt_of(99, 100), 10);
        assert_eq!(CohortRule::corrupt_of(12, 100), 2);
        assert_eq!(CohortRule::corrupt_of(4, 100), 1);
        let full = CohortRule { enrolled: 99, corrupt: 10, survivors_min: 90 };
        assert_eq!((full.votes_min(99), full.share_threshold(99)), (55, 54));
        assert_eq!(full.check(99), Ok(()));
        let demo = CohortRule { enrolled: 12, corrupt: 2, survivors_min: 10 };
        assert_eq!((demo.votes_min(12), demo.share_threshold(12)), (8, 7));
        assert_eq!(demo.check(12), Ok(()));
    }

    #[test]
    fn weak_rules_are_refused() {
        let rule =
            |enrolled, corrupt, survivors_min| CohortRule { enrolled, corrupt, survivors_min };
        assert!(matches!(rule(3, 1, 3).check(3), Err(CohortError::TooFew { .. })));
        assert!(matches!(rule(12, 2, 4).check(12), Err(CohortError::Honest { needed: 5, .. })));
        assert!(matches!(rule(12, 2, 9).check(12), Err(CohortError::Floor { needed: 10, .. })));
        assert!(matches!(rule(12, 2, 11).check(10), Err(CohortError::Unreachable { .. })));
    }

    #[test]
    fn numbers_at_the_end_of_their_range_do_not_wrap() {
        for corrupt in [u32::MAX, u32::MAX - 1, u32::MAX - 3, u32::MAX / 2] {
            for survivors_min in [0, 2, 10, u32::MAX] {
                for agents in [4, 12, 1_000] {
                    let rule = CohortRule { enrolled: u32::MAX, corrupt, survivors_min };
                    assert!(rule.check(agents).is_err(), "{rule:?}, {agents}");
                }
            }
        }
    }

    #[test]
    fn no_more_than_a_third_may_drop_out() {
        for agents in [12, 99, 128, 129, 300, 1_000, 10_000] {
            let corrupt = CohortRule::corrupt_of(agents, 100);
            let floor =
                CohortRule { enrolled: agents, corrupt, survivors_min: 0 }.survivors_floor(agents);
            let rule = |survivors_min| CohortRule { enrolled: agents, corrupt, survivors_min };
            assert_eq!(rule(floor).check(agents), Ok(()));
            assert!(3 * rule(floor).dropouts(agents) <= agents);
            assert!(rule(floor - 1).check(agents).is_err(), "{agents}");
            // T needs more than that only where more agents are corrupt.
            assert_eq!(floor, agents.div_ceil(3).max(agents - agents / 3).max(10), "{agents}");
        }
    }

    #[test]
    fn two_certificates_cannot_coexist() {
        for agents in 4..200 {
            for corrupt in 1..agents / 3 {
                let rule = CohortRule { enrolled: agents, corrupt, survivors_min: agents };
                assert!(2 * rule.votes_min(agents) > agents + corrupt);
                assert!(rule.share_threshold(agents) > corrupt);
            }
        }
    }

    /// For every rule that is admissible: T + T_min > n + A.
    #[test]
    fn a_certificate_and_a_cohort_share_an_honest_agent() {
        let mut admissible = 0;
        for agents in (4..200).chain([1_000, 10_000]) {
            for corrupt in 1..=agents / 3 {
                let rule = |survivors_min| CohortRule { enrolled: agents, corrupt, survivors_min };
                let floor = rule(0).survivors_floor(agents);
                if rule(floor).check(agents).is_ok() {
                    admissible += 1;
                    assert!(rule(floor).votes_min(agents) + floor > agents + corrupt);
                }
                // And nothing below that floor is admissible.
                assert!(rule(floor - 1).check(agents).is_err(), "{agents}, {corrupt}");
            }
        }
        assert!(admissible > 5_000, "{admissible}");
    }
}
