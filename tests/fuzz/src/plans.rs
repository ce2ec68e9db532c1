//! Round specs, plans as text, and the rationals in both.

use chorale_dp::Rational;
use chorale_plan::{Mechanism, Plan, RoundSpec};
use chorale_wire::{Message as _, codec};

use crate::{Verdict, wire::canonical};

/// A round spec and the number of agents in its first two bytes. What is derived from an
/// admissible one must hold every sum that the plan allows, and cost nothing only without noise.
pub fn round_spec(data: &[u8]) -> Verdict {
    let Some((agents, payload)) = data.split_first_chunk::<2>() else { return Verdict::Refused };
    let agents = u32::from(u16::from_be_bytes(*agents));
    let Some(spec) = canonical::<RoundSpec>(payload, RoundSpec::BYTES_MAX) else {
        return Verdict::Refused;
    };
    let Ok(derived) = spec.derive(agents) else { return Verdict::Refused };
    let largest = u128::from(agents) * u128::from(spec.plan.persons_max) * u128::from(derived.clip);
    assert!(2 * largest < 1 << derived.modulus_bits, "an admissible sum would wrap");
    let parts = u128::from(derived.clip) * u128::from(spec.plan.stores_max);
    assert!(parts <= u128::from(derived.delta), "a person's parts exceed Δ together");
    let scale = Rational::from_integer(1u64 << spec.plan.scale_bits);
    let bound = &spec.shape.clip * &scale;
    assert!(Rational::from_integer(derived.delta) <= bound, "Δ is above the clip");
    let noisy = matches!(spec.plan.mechanism, Mechanism::DiscreteGaussian { .. });
    assert_eq!(derived.rho.is_some(), noisy);
    assert_eq!(derived.share_variance.is_some(), noisy);
    let layers = derived.layers.iter().map(|layer| &layer.variance);
    let together = layers.fold(Rational::zero(), |sum, variance| &sum + variance);
    assert_eq!(together, derived.share_variance.unwrap_or_else(Rational::zero));
    if let Some(rho) = &derived.rho {
        assert!(rho.as_rational().is_positive(), "a round for nothing");
    }
    Verdict::Accepted
}

/// A plan in JSON (even first byte) or TOML (odd). All its forms must mean the same plan.
pub fn plan_text(data: &[u8]) -> Verdict {
    let Some((form, text)) = data.split_first() else { return Verdict::Refused };
    let plan = if form % 2 == 0 {
        serde_json::from_slice::<Plan>(text).ok()
    } else {
        std::str::from_utf8(text).ok().and_then(|text| toml::from_str::<Plan>(text).ok())
    };
    let Some(plan) = plan else { return Verdict::Refused };
    if plan.check().is_err() {
        return Verdict::Refused;
    }
    let Ok(digest) = plan.digest() else { return Verdict::Refused };
    let bytes = codec::encode(&plan, usize::MAX).expect("a plan with a digest can be encoded");
    let decoded: Plan = codec::decode(&bytes, bytes.len()).expect("and is canonical");
    assert_eq!(decoded.digest().expect("as before"), digest);
    // Infinity and NaN are possible in TOML and have no text in JSON.
    if let Ok(json) = serde_json::to_string(&plan)
        && let Ok(again) = serde_json::from_str::<Plan>(&json)
    {
        assert_eq!(again.digest().ok(), Some(digest), "JSON tells another plan: {json}");
    }
    Verdict::Accepted
}

/// A rational as text.
pub fn rational(data: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(data) else { return Verdict::Refused };
    let parsed = Rational::parse(text).ok();
    let in_json = serde_json::to_string(text).expect("a text is JSON");
    let from_json = serde_json::from_str::<Rational>(&in_json).ok();
    assert_eq!(parsed, from_json, "JSON and text are read differently");
    let Some(value) = parsed else { return Verdict::Refused };
    // Lowest terms are never longer, but for a denominator that was left out.
    let shown = value.to_string();
    assert!(shown.len() <= text.len() + 2);
    if shown.len() <= 4096 {
        assert_eq!(Rational::parse(&shown).expect("its own text"), value);
    }
    let floor = Rational::from_integer(value.floor());
    assert!(floor <= value && value < &floor + &Rational::one());
    let ceiling = Rational::from_integer(value.ceil());
    assert!(ceiling >= value && &ceiling - &Rational::one() < value);
    let up = value.round_up(16);
    assert!(up >= value && &up - &value < Rational::power_of_half(16));
    let (low, high) = (value.to_f64_down(), value.to_f64_up());
    assert!(low <= high);
    if let Some(low) = Rational::from_f64_exact(low) {
        assert!(low <= value, "rounded up instead of down");
    }
    if let Some(high) = Rational::from_f64_exact(high) {
        assert!(high >= value, "rounded down instead of up");
    }
    Verdict::Accepted
}
