//! A cap on ρ beside the lifetime's: over a rolling window of days, over a family of tasks, or both.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Rational, Rho};

/// Seconds of a day as windows count it; there are no leap seconds in Unix time.
pub const DAY_S: u64 = 86_400;

/// Longest window in days: ten years.
pub const WINDOW_DAYS_MAX: u32 = 3_660;

/// Most caps beside the lifetime's.
pub const CAPS_MAX: usize = 32;

/// Most tasks that one cap names.
pub const CAP_TASKS_MAX: usize = 64;

/// A cap on the sum of ρ of the rounds that it covers.
///
/// A cap without `days` is for the lifetime. A round that ended at second t counts at every second
/// now < t + `days`·86,400, and one that has not ended always counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// Its name: 1 to 64 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// The tasks that it covers, strictly ascending; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
    /// Length of the rolling window in days, 1 to [`WINDOW_DAYS_MAX`]; absent for the lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// The largest sum.
    pub rho: Rho,
}

/// Why a list of caps cannot be meant. Its author is to blame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapError {
    /// A name out of its alphabet.
    #[error("a cap's name has 1 to 64 characters out of a-z, 0-9 and '-'; '{name}' does not")]
    Name {
        /// The name.
        name: String,
    },
    /// Two caps of one name, or names out of order.
    #[error("caps must stand in ascending order of their names, each once; '{name}' does not")]
    Order {
        /// The name.
        name: String,
    },
    /// Tasks out of order, empty or too many.
    #[error("cap '{name}': tasks must be 1 to 128 bytes long, ascending, each once, at most 64")]
    Tasks {
        /// The cap's name.
        name: String,
    },
    /// A window that is none.
    #[error("cap '{name}': a window has 1 to {WINDOW_DAYS_MAX} days")]
    Days {
        /// The cap's name.
        name: String,
    },
    /// Neither a window nor a family: that is the lifetime's cap once more.
    #[error(
        "cap '{name}' covers everything for ever: that is the lifetime's own cap; give it days or tasks"
    )]
    Lifetime {
        /// The cap's name.
        name: String,
    },
    /// More than anybody can keep in mind.
    #[error("there are {count} caps; at most {CAPS_MAX} are possible")]
    Many {
        /// How many.
        count: usize,
    },
}

impl Cap {
    /// The cap over everything and the whole lifetime.
    #[must_use]
    pub fn lifetime(rho: Rho) -> Self {
        Self { name: "lifetime".into(), tasks: Vec::new(), days: None, rho }
    }

    /// Checks a list of caps that stand beside the lifetime's.
    ///
    /// # Errors
    /// [`CapError`] names the first that cannot be meant.
    pub fn check_all(caps: &[Self]) -> Result<(), CapError> {
        if caps.len() > CAPS_MAX {
            return Err(CapError::Many { count: caps.len() });
        }
        caps.iter().try_for_each(Self::check)?;
        match caps.windows(2).find(|pair| pair[0].name >= pair[1].name) {
            Some(pair) => Err(CapError::Order { name: pair[1].name.clone() }),
            None => Ok(()),
        }
    }

    fn check(&self) -> Result<(), CapError> {
        let name = self.name.clone();
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
            return Err(CapError::Name { name });
        }
        let whole = |task: &String| {
            !task.is_empty() && task.len() <= 128 && !task.chars().any(char::is_control)
        };
        if self.tasks.len() > CAP_TASKS_MAX
            || !self.tasks.iter().all(whole)
            || !self.tasks.is_sorted_by(|a, b| a < b)
        {
            return Err(CapError::Tasks { name });
        }
        if self.days.is_some_and(|days| !(1..=WINDOW_DAYS_MAX).contains(&days)) {
            return Err(CapError::Days { name });
        }
        if self.tasks.is_empty() && self.days.is_none() {
            return Err(CapError::Lifetime { name });
        }
        Ok(())
    }

    /// Whether a round of `task` counts. One whose task is not known counts in every cap.
    #[must_use]
    pub fn covers(&self, task: Option<&str>) -> bool {
        self.tasks.is_empty() || task.is_none_or(|task| self.tasks.iter().any(|own| own == task))
    }

    /// The window in seconds; `None` for the lifetime.
    #[must_use]
    pub fn window_s(&self) -> Option<u64> {
        self.days.map(|days| u64::from(days) * DAY_S)
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' (ρ = {:.6} ", self.name, self.rho.as_rational().to_f64_down())?;
        match self.days {
            None => f.write_str("over the lifetime")?,
            Some(1) => f.write_str("in any day")?,
            Some(days) => write!(f, "in any {days} days")?,
        }
        match self.tasks.as_slice() {
            [] => f.write_str(")"),
            tasks => write!(f, ", tasks {})", tasks.join(", ")),
        }
    }
}

/// When a cap has room for what was asked, if nothing else is charged until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Frees {
    /// At this second, Unix time: the window has moved on by then.
    At(u64),
    /// Once rounds under way have ended; how they end decides.
    WhenRoundsEnd,
    /// Never: the lifetime's budget is used up, or the cap is smaller than what was asked.
    Never,
}

impl fmt::Display for Frees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(second) => write!(f, "it has room for that from {} on", utc(*second)),
            Self::WhenRoundsEnd => {
                f.write_str("whether it has room depends on how rounds end that are under way")
            }
            Self::Never => f.write_str("it never has room for that: ask for less or end here"),
        }
    }
}

/// A cost that does not fit a cap, in public figures. Nothing was charged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the privacy budget does not allow this: cap {cap} has {left:.6} left and {asked:.6} is asked; \
     {frees}", left = self.left().to_f64_down(), asked = self.asked.as_rational().to_f64_up()
)]
pub struct CapExceeded {
    /// The cap.
    pub cap: Cap,
    /// What counts in it already: rounds that ended, and rounds under way.
    pub used: Rho,
    /// What was asked.
    pub asked: Rho,
    /// When it fits.
    pub frees: Frees,
}

impl CapExceeded {
    /// What is left of the cap, exactly; zero where a cap was lowered below what is used.
    #[must_use]
    pub fn left(&self) -> Rational {
        let left = self.cap.rho.as_rational() - self.used.as_rational();
        if left < Rational::zero() { Rational::zero() } else { left }
    }
}

/// `2026-11-24T15:00:00Z`, proleptic Gregorian calendar.
fn utc(second: u64) -> String {
    let (days, rest) = (second / DAY_S, second % DAY_S);
    // Days since 1 March of year 0 in 400-year eras, as in RFC 3339's calendar.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cap(name: &str, tasks: &[&str], days: Option<u32>) -> Cap {
        let tasks = tasks.iter().map(ToString::to_string).collect();
        Cap { name: name.into(), tasks, days, rho: Rho::zero() }
    }

    #[test]
    fn caps_that_cannot_be_meant_are_refused() {
        let good =
            [cap("a", &[], Some(30)), cap("b", &["x", "y"], None), cap("c", &["x"], Some(1))];
        assert_eq!(Cap::check_all(&good), Ok(()));
        for (caps, word) in [
            (vec![cap("", &[], Some(1))], "name"),
            (vec![cap("Monthly", &[], Some(1))], "name"),
            (vec![cap("a", &[], Some(0))], "window"),
            (vec![cap("a", &[], Some(3661))], "window"),
            (vec![cap("a", &[], None)], "lifetime's own"),
            (vec![cap("a", &["y", "x"], None)], "ascending"),
            (vec![cap("a", &["x", "x"], None)], "each once"),
            (vec![cap("a", &[""], None)], "128 bytes"),
            (vec![cap("b", &["x"], None), cap("a", &["x"], None)], "order"),
            (vec![cap("a", &["x"], None), cap("a", &["y"], None)], "each once"),
            (vec![cap("a", &[], Some(1)); 33], "33 caps"),
        ] {
            let error = Cap::check_all(&caps).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_round_of_unknown_task_counts_everywhere() {
        let family = cap("a", &["popularity"], None);
        assert!(family.covers(Some("popularity")) && family.covers(None));
        assert!(!family.covers(Some("cooccurrence")));
        assert!(cap("a", &[], Some(1)).covers(Some("cooccurrence")));
    }

    #[test]
    fn instants_are_written_for_people() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(utc(1_512_190_800), "2017-12-02T05:00:00Z");
        assert_eq!(utc(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
