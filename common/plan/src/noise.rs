//! How an agent's share of the noise is cut into layers, so that surplus can come off again.
//!
//! Each share must be large enough for the fewest admissible survivors: σ²/(T_min − A), of which
//! T_min − A honest ones carry σ². When more survive, the total carries |U|/(T_min − A) times σ².
//! With removable layers it carries less: for levels n = u_0 > u_1 > ... > u_m = T_min, layer 0 has
//! variance σ²/(n − A) and layer j > 0 has σ²/(u_j − A) − σ²/(u_{j−1} − A). Layers 0 to j of one
//! agent add up to σ²/(u_j − A), and that is what stays when at least u_j survive: any u_j − A
//! honest survivors then carry exactly σ². Idea: Jiang et al., "Dordis", EuroSys 2024, there
//! called XNoise.

use chorale_dp::Rational;

use crate::CohortRule;

/// Drop-outs, as a share of the roster, up to which a share in one piece is used: what a total
/// carries beyond σ² is then little, and each layer costs a draw per coordinate.
pub const ONE_PIECE_DROPOUTS: (u32, u32) = (1, 10);

/// Most removable layers: a third of the roster in four steps leaves at most some 6% of surplus.
pub const REMOVABLE_LAYERS_MAX: u32 = 4;

/// One layer of an agent's noise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoiseLayer {
    /// u_j: with at least so many survivors, every later layer is surplus.
    pub survivors: u32,
    /// Variance in squared lattice units.
    pub variance: Rational,
}

/// Whether a rule tolerates so many drop-outs that removable layers are worth their cost: more
/// than [`ONE_PIECE_DROPOUTS`] of a roster of `agents`.
#[must_use]
pub fn removal_is_worth_it(rule: &CohortRule, agents: u32) -> bool {
    let (part, whole) = ONE_PIECE_DROPOUTS;
    let dropouts = u64::from(agents.saturating_sub(rule.survivors_min));
    dropouts * u64::from(whole) > u64::from(agents) * u64::from(part)
}

/// The layers of one share. In one piece where nothing is to be removed, or nobody may drop out.
/// `rule` was checked for a roster of `agents`.
pub(crate) fn layers(
    rule: &CohortRule,
    agents: u32,
    sigma_squared: &Rational,
    removable: bool,
) -> Vec<NoiseLayer> {
    let whole = |survivors: u32| sigma_squared / &Rational::from_integer(survivors - rule.corrupt);
    let dropouts = agents.saturating_sub(rule.survivors_min);
    let steps = if removable { dropouts.min(REMOVABLE_LAYERS_MAX) } else { 0 };
    if steps == 0 {
        let survivors = rule.survivors_min;
        return vec![NoiseLayer { survivors, variance: whole(survivors) }];
    }
    // Level j is n less j/m of the drop-outs, rounded up; the last one is T_min.
    let level = |step: u32| {
        agents - (u64::from(dropouts) * u64::from(step)).div_ceil(u64::from(steps)) as u32
    };
    let mut below = Rational::zero();
    (0..=steps)
        .map(|step| {
            let survivors = level(step);
            let sum = whole(survivors);
            let variance = &sum - &below;
            below = sum;
            NoiseLayer { survivors, variance }
        })
        .collect()
}

/// How many of `layers`, from the first, must stay in the total of `survivors` agents: the fewest
/// whose level they reach. All of them below the last level, where no total is unmasked anyway.
#[must_use]
pub fn layers_kept(layers: &[NoiseLayer], survivors: usize) -> usize {
    layers
        .iter()
        .position(|layer| survivors >= layer.survivors as usize)
        .map_or(layers.len(), |index| index + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(layers: &[NoiseLayer]) -> Rational {
        layers.iter().fold(Rational::zero(), |sum, layer| &sum + &layer.variance)
    }

    #[test]
    fn figures_by_hand() {
        let rule = CohortRule { enrolled: 100, corrupt: 10, survivors_min: 70 };
        assert!(removal_is_worth_it(&rule, 100));
        assert!(!removal_is_worth_it(&CohortRule { survivors_min: 90, ..rule.clone() }, 100));
        let layers = layers(&rule, 100, &Rational::from_integer(63_000u64), true);
        let levels: Vec<u32> = layers.iter().map(|layer| layer.survivors).collect();
        assert_eq!(levels, [100, 92, 85, 77, 70]);
        assert_eq!(layers[0].variance, Rational::from_integer(700u64));
        assert_eq!(sum(&layers), Rational::from_integer(1_050u64));
        let kept: Vec<usize> =
            [100, 99, 92, 91, 85, 77, 76, 70].map(|u| layers_kept(&layers, u)).to_vec();
        assert_eq!(kept, [1, 2, 2, 3, 3, 4, 5, 5]);
    }

    #[test]
    fn in_one_piece_nothing_is_ever_removed() {
        let rule = CohortRule { enrolled: 12, corrupt: 2, survivors_min: 10 };
        for (agents, removable) in [(12, false), (10, true)] {
            let layers = layers(&rule, agents, &Rational::from_integer(800u64), removable);
            assert_eq!(layers.len(), 1);
            assert_eq!(layers[0].variance, Rational::from_integer(100u64));
            assert_eq!(layers_kept(&layers, 12), 1);
        }
    }

    proptest! {
        /// The promise: whoever survives and whoever colludes, the honest survivors' kept layers
        /// carry σ² or more; and never more than the shares in one piece would.
        #[test]
        fn what_stays_is_enough(
            agents in 4u32..2_000,
            corrupt_of in 0.0f64..0.3,
            tolerance in 0.0f64..0.34,
            lost_of in 0.0f64..=1.0,
        ) {
            let corrupt = ((f64::from(agents) * corrupt_of) as u32).max(1);
            let survivors_min = (f64::from(agents) * (1.0 - tolerance)).ceil() as u32;
            prop_assume!(survivors_min >= corrupt + 3);
            let rule = CohortRule { enrolled: agents, corrupt, survivors_min };
            let sigma_squared = Rational::from_integer(1u64 << 40);
            let layers = layers(&rule, agents, &sigma_squared, true);
            prop_assert!(layers.iter().all(|layer| layer.variance.is_positive()));
            prop_assert!(layers.windows(2).all(|pair| pair[0].survivors > pair[1].survivors));
            let in_one_piece = &sigma_squared / &Rational::from_integer(rule.honest_min());
            prop_assert_eq!(sum(&layers), in_one_piece);
            let lost = (f64::from(agents - survivors_min) * lost_of) as u32;
            let survivors = agents - lost;
            let kept = sum(&layers[..layers_kept(&layers, survivors as usize)]);
            let honest = Rational::from_integer(survivors - corrupt);
            prop_assert!(&kept * &honest >= sigma_squared);
            // One layer less would not do, unless only the base stays.
            let kept_count = layers_kept(&layers, survivors as usize);
            if kept_count > 1 {
                let fewer = sum(&layers[..kept_count - 1]);
                prop_assert!(&fewer * &honest < sigma_squared);
            }
        }
    }
}
