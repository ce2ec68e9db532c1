//! What canary lanes say: whether noise is short, and a lower bound on ε that was measured.
//!
//! A lane is a coordinate that holds noise and nothing else. Of L lanes of one round the sum of
//! squares S is known, and each lane l is one experiment: a fair coin b_l, an insert b_l·Δ, and a
//! guess of b_l from what comes out. Guessed are the highest and the lowest lanes only
//! ([`guesses`]), since they tell most. `docs/privacy.md` has the arguments.

use num_bigint::BigInt;

use crate::Rational;

/// One lane in so many is guessed to hold an insert, and as many to hold none.
const GUESSED_OF: u32 = 40;

/// -ln of the false-alarm rate of [`noise_is_short`], in thousandths: e^-7.601 < 1/2000. A round
/// whose noise comes in layers is judged twice, and then too below 1/1000.
const ALARM_PER_MILLE: u32 = 7_601;

/// -ln of the chance that the guesses alone mislead: e^-3.02 < 0.049.
const GUESS_EXPONENT: f64 = 3.02;

/// -ln of the chance that more lanes than allowed for are the exceptions that δ grants:
/// e^-6.908 < 0.001. Together with the guesses below 0.05.
const EXCEPTION_EXPONENT: f64 = 6.908;

/// Confidence of [`epsilon_lower`].
pub const CONFIDENCE: f64 = 0.95;

/// Number of lanes, out of `lanes`, whose coin is guessed: the ⌊L/40⌋ highest and as many lowest.
#[must_use]
pub const fn guesses(lanes: u32) -> u32 {
    2 * (lanes / GUESSED_OF)
}

/// Whether `lanes` independent draws whose squares add up to `sum_of_squares` show less noise than
/// `variance` a draw, all in squared lattice units. Draws of that variance raise this alarm with
/// probability below 5e-4, whatever their number: χ² with L degrees of freedom is below
/// L - 2√(Lx) with probability at most e^-x (Laurent and Massart 2000, Lemma 1, here for sums of
/// discrete Gaussians). Exact; no float decides.
#[must_use]
pub fn noise_is_short(sum_of_squares: &Rational, lanes: u32, variance: &Rational) -> bool {
    let gap = &(&Rational::from_integer(lanes) * variance) - sum_of_squares;
    // L·v - S > 2v√(Lx), squared.
    let bound = &Rational::from_integer(BigInt::from(4 * u64::from(lanes)) * ALARM_PER_MILLE)
        * &(variance * variance);
    gap.is_positive() && &(&gap * &gap) * &Rational::from_integer(1_000) > bound
}

/// Lower bound on ε, rounded down, at confidence 0.95: if each of `lanes` experiments were
/// (ε, `delta`)-indistinguishable, `right` of `guesses` guesses would be right with probability
/// below 0.05. 0 where nothing follows.
///
/// An (ε, δ) pair gives its coin away with probability δ and is randomised response with
/// p = e^ε/(1 + e^ε) else (Kairouz, Oh and Viswanath 2015); so right guesses are at most f, plus a
/// binomial of the others with p (the argument of Steinke, Nasr and Jagielski 2023, for independent
/// lanes). Both tails are Chernoff's, so that nobody needs a table.
#[must_use]
pub fn epsilon_lower(right: u64, guesses: u64, lanes: u64, delta: f64) -> f64 {
    let exceptions = exceptions(lanes as f64 * delta);
    let (Some(right), Some(guesses)) =
        (right.checked_sub(exceptions), guesses.checked_sub(exceptions))
    else {
        return 0.0;
    };
    if guesses == 0 || right > guesses || 2 * right <= guesses {
        return 0.0;
    }
    let share = right as f64 / guesses as f64;
    // The largest p below `share` from which so many would be too surprising.
    let surprising = |p: f64| guesses as f64 * divergence(share, p) >= GUESS_EXPONENT;
    let (mut low, mut high) = (0.5, share);
    if !surprising(low) {
        return 0.0;
    }
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if surprising(middle) { low = middle } else { high = middle }
    }
    (libm::log(low / (1.0 - low)) * (1.0 - 1e-9)).max(0.0)
}

/// Fewest f such that more than f of lanes with `mean` exceptions together are improbable:
/// P[X >= k] <= e^-mean (e·mean/k)^k for k above the mean.
fn exceptions(mean: f64) -> u64 {
    let improbable = |k: f64| k > mean && mean - k + k * libm::log(k / mean) >= EXCEPTION_EXPONENT;
    let mut count = mean.floor() as u64;
    while mean > 0.0 && !improbable(count as f64 + 1.0) {
        count += 1;
    }
    count
}

/// Kullback-Leibler divergence of two coins, in nats.
fn divergence(a: f64, b: f64) -> f64 {
    let part = |a: f64, b: f64| if a > 0.0 { a * libm::log(a / b) } else { 0.0 };
    part(a, b) + part(1.0 - a, 1.0 - b)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Aes256CtrRng, FastDiscreteGaussian, Noise as _};
    use rand_core::SeedableRng as _;

    fn whole(value: u64) -> Rational {
        Rational::from_integer(value)
    }

    #[test]
    fn the_alarm_by_hand() {
        // L = 10,000, v = 1: the threshold is 10,000 - 2·√76,010 = 9,448.60.
        assert!(noise_is_short(&whole(9_448), 10_000, &whole(1)));
        assert!(!noise_is_short(&whole(9_449), 10_000, &whole(1)));
        // It scales with the variance, and more noise than asked for is never short.
        assert!(noise_is_short(&whole(944_800), 10_000, &whole(100)));
        assert!(!noise_is_short(&whole(944_900), 10_000, &whole(100)));
        assert!(!noise_is_short(&whole(20_000), 10_000, &whole(1)));
        assert!(noise_is_short(&whole(0), 256, &whole(1)));
        // Too few lanes never alarm: 4·7.601 of them could all be 0 by chance.
        assert!(!noise_is_short(&whole(0), 30, &whole(1)));
    }

    /// Sum of squares of the total of `adding` agents over `lanes` lanes.
    fn drawn(adding: u64, lanes: usize, variance: &Rational, seed: u64) -> Rational {
        let mut total = vec![0i64; lanes];
        for agent in 0..adding {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_be_bytes());
            bytes[8..16].copy_from_slice(&agent.to_be_bytes());
            let rng = Aes256CtrRng::from_seed(bytes);
            FastDiscreteGaussian::new(variance, rng).unwrap().add_to(&mut total);
        }
        let squares = total.iter().map(|x| x.unsigned_abs().pow(2)).sum::<u64>();
        whole(squares)
    }

    /// One of 20 agents that omits its share shows within one round at 3e4 lanes.
    #[test]
    fn one_of_twenty_is_seen_at_thirty_thousand_lanes() {
        let (lanes, share, expected) = (30_000u32, whole(256), whole(20 * 256));
        for (adding, short) in [(20, false), (19, true)] {
            let squares = drawn(adding, lanes as usize, &share, 1);
            assert_eq!(noise_is_short(&squares, lanes, &expected), short, "{adding}");
        }
        // 200 rounds of each kind, with one draw for the agents' sum. The threshold is 2.34 standard
        // deviations above the mean of 19 agents: 0.990 of such rounds are seen, 198 ± 1.4.
        let (mut alarms, mut seen) = (0, 0);
        for seed in 2..202 {
            let [all, fewer] = [20u64, 19].map(|adding| {
                drawn(1, lanes as usize, &whole(adding * 256), 1_000 * adding + seed)
            });
            alarms += u32::from(noise_is_short(&all, lanes, &expected));
            seen += u32::from(noise_is_short(&fewer, lanes, &expected));
        }
        assert!(alarms == 0 && seen >= 194, "{alarms} false alarms, {seen} of 200 seen");
    }

    /// The rate is bounded for every number of lanes; at 256 it can be counted.
    #[test]
    fn false_alarms_stay_below_their_rate() {
        let (lanes, rounds) = (256u32, 20_000u64);
        let variance = whole(256);
        let mut total = vec![0i64; lanes as usize];
        let rng = Aes256CtrRng::from_seed([3; 32]);
        let mut sampler = FastDiscreteGaussian::new(&variance, rng).unwrap();
        let mut alarms = 0;
        for _ in 0..rounds {
            total.fill(0);
            sampler.add_to(&mut total);
            let squares = total.iter().map(|x| x.unsigned_abs().pow(2)).sum::<u64>();
            alarms += u32::from(noise_is_short(&whole(squares), lanes, &variance));
        }
        // 10 are allowed in the mean.
        assert!(alarms <= 10, "{alarms} of {rounds}");
    }

    #[test]
    fn the_lower_bound_by_hand() {
        // All of 1,000 right: p^1000 = e^-3.02, and so ε = ln(p/(1 - p)) with p = 0.996984...
        let p = (-3.02f64 / 1_000.0).exp();
        let expected = (p / (1.0 - p)).ln();
        let found = epsilon_lower(1_000, 1_000, 20_000, 0.0);
        assert!((found / expected - 1.0).abs() < 1e-6, "{found}, {expected}");
        // No better than chance says nothing, and neither does no guess at all.
        assert_eq!(epsilon_lower(500, 1_000, 20_000, 0.0), 0.0);
        assert_eq!(epsilon_lower(510, 1_000, 20_000, 0.0), 0.0);
        assert_eq!(epsilon_lower(0, 0, 0, 1e-5), 0.0);
        assert_eq!(epsilon_lower(2_000, 1_000, 20_000, 0.0), 0.0);
        // At δ = 1e-5 three exceptions are allowed for, and they cost a little.
        let granted = epsilon_lower(1_000, 1_000, 20_000, 1e-5);
        assert!(granted < found && granted > found - 0.01, "{granted}");
        assert_eq!(guesses(30_000), 1_500);
        assert_eq!(guesses(39), 0);
    }

    #[test]
    fn exceptions_by_hand() {
        assert_eq!(exceptions(0.0), 0);
        // Mean 0.3: k = 5 gives 0.3 - 5 + 5 ln(16.67) = 9.37 and k = 4 gives 6.66, below 6.908.
        assert_eq!(exceptions(0.3), 4);
        assert!(exceptions(100.0) > 100);
    }

    /// Where experiments are exactly randomised response, the bound is below its ε.
    #[test]
    fn the_bound_stays_below_the_truth() {
        use rand_core::Rng as _;
        let mut coins = rand_chacha::ChaCha20Rng::from_seed([9; 32]);
        for epsilon in [0.1f64, 0.5, 1.0, 3.0] {
            let p = epsilon.exp() / (1.0 + epsilon.exp());
            let mut above = 0;
            for _ in 0..400 {
                let right = (0..1_500)
                    .filter(|_| (coins.next_u32() as f64) < p * (1u64 << 32) as f64)
                    .count() as u64;
                let bound = epsilon_lower(right, 1_500, 30_000, 1e-5);
                above += u32::from(bound > epsilon);
                assert!(bound > epsilon - 0.45 - epsilon / 10.0, "{bound} for {epsilon}");
            }
            assert!(above <= 20, "{above} of 400 above {epsilon}");
        }
    }
}
