//! Rules over one person's record: segments, triggers, risk. Each answer names the rule that fired,
//! so that a person can judge it.

pub(crate) mod risk;
pub(crate) mod segments;
pub(crate) mod triggers;

use chorale_people::calendar::DAY_S;

/// Days from `from_s` to `to_s`, never below 0.
fn days(from_s: i64, to_s: i64) -> f64 {
    (to_s - from_s).max(0) as f64 / DAY_S as f64
}
