//! Canary lanes: coordinates behind the task's that hold noise alone, so that everybody can see how
//! much noise a total carries.
//!
//! An agent adds its noise to lanes as to any coordinate, and no person reaches them (the gate). The
//! coordinator draws a seed before the round and commits to it in RESERVE. The seed gives each lane
//! a fair coin. When the total is unmasked the lanes hold pure noise; an insert of Δ, the most that
//! one person can add, goes into the lanes whose coin says so, and the highest and lowest lanes are
//! guessed. That is the experiment that differential privacy bounds, once for each lane. RELEASE
//! opens the seed and says how many guesses were right and what the squares of the noise add up to.

use std::ops::RangeInclusive;

use chorale_dp::{Rational, accountant::canary::guesses};
use chorale_wire::{Digest, RoundNumber, limits::COORDINATES_MAX};

/// How many lanes a plan with lanes can have.
pub const LANES: RangeInclusive<u32> = 256..=1 << 20;

/// Lanes of a plan whose operator says nothing and whose vector is long enough: so many that one
/// silent agent of 20 shows within a round.
pub const LANES_DEFAULT: u32 = 30_000;

/// Lanes are the default where they lengthen the vector by a tenth at most.
const COORDINATES_PER_LANE: u32 = 10;

/// Lanes of a plan for a vector of `coordinates` whose operator says nothing.
#[must_use]
pub const fn default_lanes(coordinates: u32) -> u32 {
    let fits = coordinates as usize + LANES_DEFAULT as usize <= COORDINATES_MAX;
    if fits && coordinates / COORDINATES_PER_LANE >= LANES_DEFAULT { LANES_DEFAULT } else { 0 }
}

/// What RESERVE says of a seed: it binds the coins to the round before anybody adds noise.
#[must_use]
pub fn commitment(seed: &[u8; 32], round: RoundNumber) -> Digest {
    Digest::of("chorale/1 canary commitment", &[seed, &round.0.to_be_bytes()])
}

/// The coins of `lanes` lanes: bit l mod 8, from the least significant, of byte ⌊l/8⌋ of the stream
/// H(seed, 0), H(seed, 1), ...
#[must_use]
pub fn coins(seed: &[u8; 32], lanes: usize) -> Vec<bool> {
    let blocks = lanes.div_ceil(256) as u64;
    (0..blocks)
        .flat_map(|block| {
            let digest = Digest::of("chorale/1 canary coins", &[seed, &block.to_be_bytes()]);
            let bits = (0..256).map(move |bit| digest.as_bytes()[bit / 8] >> (bit % 8) & 1 == 1);
            bits.collect::<Vec<bool>>()
        })
        .take(lanes)
        .collect()
}

/// What the lanes of one total show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Sum of the squares of the noise in all lanes, in squared lattice units.
    pub sum_of_squares: Rational,
    /// How many of the [`guesses`] are right.
    pub right: u32,
}

/// Sum of the squares of the lanes' totals, in squared lattice units.
#[must_use]
pub fn sum_of_squares(lanes: &[i64]) -> Rational {
    let square = |x: &i64| u128::from(x.unsigned_abs()) * u128::from(x.unsigned_abs());
    // At most 2^126 each, so that two fit; the rest is added up without a limit.
    lanes
        .chunks(2)
        .map(|chunk| Rational::from_integer(chunk.iter().map(square).sum::<u128>()))
        .fold(Rational::zero(), |sum, part| &sum + &part)
}

/// Measures the lanes of an unmasked total: `lanes` is its tail, in lattice units, and `delta` is Δ.
///
/// With inserts, the ⌊L/40⌋ highest lanes are guessed to hold one and the ⌊L/40⌋ lowest to hold
/// none; of equal lanes the later one counts as higher.
#[must_use]
pub fn measure(lanes: &[i64], delta: u64, seed: &[u8; 32]) -> Measured {
    let coins = coins(seed, lanes.len());
    let mut seen: Vec<(i128, usize)> = lanes
        .iter()
        .zip(&coins)
        .map(|(noise, coin)| i128::from(*noise) + if *coin { i128::from(delta) } else { 0 })
        .zip(0..)
        .collect();
    seen.sort_unstable();
    let each = guesses(lanes.len() as u32) as usize / 2;
    let low = seen.iter().take(each).filter(|(_, lane)| !coins[*lane]).count();
    let high = seen.iter().rev().take(each).filter(|(_, lane)| coins[*lane]).count();
    Measured { sum_of_squares: sum_of_squares(lanes), right: (low + high) as u32 }
}

/// Variance of each coordinate of a total of `survivors` agents that all added their noise:
/// |U|·σ²/(u - A), with u the first of `levels` that they reach ([`crate::noise`]). Noise in one
/// piece has the one level T_min. Where a survivor vanished before it gave its surplus up there is
/// more. `None` where they reach no level, or a level does not exceed `corrupt`.
#[must_use]
pub fn variance_of_total(
    sigma_squared: &Rational,
    levels: &[u32],
    corrupt: u32,
    survivors: u32,
) -> Option<Rational> {
    let level = levels.iter().find(|level| survivors >= **level)?;
    let honest = level.checked_sub(corrupt)?;
    (sigma_squared * &Rational::from_integer(survivors))
        .checked_div(&Rational::from_integer(honest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn coins_and_commitments_are_fixed() {
        let seed = [7; 32];
        let coins = coins(&seed, 1_000);
        assert_eq!(coins.len(), 1_000);
        assert_eq!(super::coins(&seed, 300), coins[..300]);
        let digest = Digest::of("chorale/1 canary coins", &[&seed, &3u64.to_be_bytes()]);
        assert_eq!(coins[3 * 256 + 9], digest.as_bytes()[1] & 2 != 0);
        let heads = coins.iter().filter(|coin| **coin).count();
        assert!((400..600).contains(&heads), "{heads}");
        assert_ne!(commitment(&seed, RoundNumber(1)), commitment(&seed, RoundNumber(2)));
    }

    #[test]
    fn a_measurement_by_hand() {
        let (seed, delta) = ([1; 32], 100);
        // No noise: every guess is right, as long as there are enough of both sides.
        let silent = measure(&[0; 400], delta, &seed);
        assert_eq!(silent, Measured { sum_of_squares: Rational::zero(), right: 20 });
        // Noise that tells the opposite of the coin: none is.
        let against: Vec<i64> =
            coins(&seed, 400).into_iter().map(|coin| if coin { -1_000 } else { 1_000 }).collect();
        let wrong = measure(&against, delta, &seed);
        assert_eq!(wrong.sum_of_squares, Rational::from_integer(400_000_000u64));
        assert_eq!(wrong.right, 0);
        let most = measure(&[i64::MIN; 256], u64::MAX, &seed);
        assert_eq!(
            most.sum_of_squares,
            &Rational::from_integer(1u128 << 126) * &Rational::from_integer(256)
        );
    }

    #[test]
    fn the_variance_of_a_total_by_hand() {
        let sigma_squared = Rational::from_integer(800);
        let of =
            |levels: &[u32], survivors| variance_of_total(&sigma_squared, levels, 2, survivors);
        // Shares of 100; and with layers, 800/(12 - 2) = 80 at full attendance.
        assert_eq!(of(&[10], 12), Some(Rational::from_integer(1_200)));
        assert_eq!(of(&[12, 11, 10], 12), Some(Rational::from_integer(960)));
        assert_eq!(of(&[12, 11, 10], 10), Some(Rational::from_integer(1_000)));
        assert_eq!((of(&[10], 9), of(&[2], 9)), (None, None));
    }

    #[test]
    fn short_vectors_have_no_lanes_unless_asked() {
        assert_eq!([299_999, 300_000, 1 << 24].map(default_lanes), [0, 30_000, 0]);
    }
}
