//! Identifiers. Each is a type of its own, so that a round can never be passed for an epoch.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an identifier: use 1 to 64 characters out of a-z, 0-9 and '-'")]
pub struct IdError {
    text: String,
}

fn check_name(text: String) -> Result<String, IdError> {
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits { Ok(text) } else { Err(IdError { text: text.chars().take(80).collect() }) }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text`: 1 to 64 characters out of a-z, 0-9 and '-'.
            ///
            /// # Errors
            /// [`IdError`] for any other text.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                check_name(text.into()).map(Self)
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

name!(
    /// An agent as the enrolment authority named it, for example `store-367`.
    AgentId
);
name!(
    /// A federation: agents, coordinator, one privacy budget and one ledger.
    FederationId
);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number!(
    /// A key epoch of a federation, counted from 1 and never used twice.
    Epoch,
    u64
);
number!(
    /// A round of a federation, counted from 1 over its lifetime and never used twice.
    RoundNumber,
    u64
);
number!(
    /// An agent's place in an epoch's roster, counted from 0 in ascending order of agent ids.
    Slot,
    u16
);

impl Slot {
    /// The slot as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The evaluation point of this slot in Shamir sharing: slot + 1, never zero.
    #[must_use]
    pub const fn share_point(self) -> u64 {
        self.0 as u64 + 1
    }
}

/// The session that masks are bound to: H(epoch, round, roster, spec, cohort).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(Digest);

impl SessionId {
    /// Binds a round to everything its agents must agree on.
    #[must_use]
    pub fn new(
        epoch: Epoch,
        round: RoundNumber,
        roster: &Digest,
        spec: &Digest,
        cohort: &crate::SlotSet,
    ) -> Self {
        Self(Digest::of(
            "chorale/1 session",
            &[
                &epoch.0.to_be_bytes(),
                &round.0.to_be_bytes(),
                roster.as_bytes(),
                spec.as_bytes(),
                &cohort.to_bytes(),
            ],
        ))
    }

    /// The 32 bytes, used as salt of every mask key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.0.short())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_checked_also_when_decoded() {
        assert!(AgentId::new("store-367").is_ok());
        for bad in ["", "Store", "a b", "../x", &"x".repeat(65)] {
            assert!(AgentId::new(bad).is_err(), "{bad}");
        }
        let smuggled = crate::codec::encode(&"../x".to_string(), 64).unwrap();
        assert!(crate::codec::decode::<AgentId>(&smuggled, 64).is_err());
    }
}
