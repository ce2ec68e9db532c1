//! The present.

use std::time::{SystemTime, UNIX_EPOCH};

/// Where the present comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// One instant for ever, Unix seconds: for old data and for tests.
    Fixed(i64),
}

impl Clock {
    /// The present, Unix seconds.
    #[must_use]
    pub fn now_s(self) -> i64 {
        match self {
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs() as i64),
            Self::Fixed(now_s) => now_s,
        }
    }
}
