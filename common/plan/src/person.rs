//! One person's part of a round, and where tasks put it.

use std::fmt;

/// A person as an agent knows them after pseudonymisation: HMAC-SHA-256 under a key that the
/// coordinator never has. It has no serialised form: it cannot be put into a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pseudonym([u8; 32]);

impl Pseudonym {
    /// A pseudonym from its 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonym(redacted)")
    }
}

/// One person's part: real values, not yet rounded, clipped or scaled.
#[derive(Clone, Copy)]
pub enum PersonVector<'a> {
    /// All coordinates; the length must be the shape's.
    Dense(&'a [f32]),
    /// Some coordinates; `index` strictly ascending, as long as `value`.
    Sparse {
        /// Coordinates, strictly ascending, each below the shape's length.
        index: &'a [u32],
        /// The value at each.
        value: &'a [f32],
    },
}

/// Why a person's part was not taken. The task is to blame in every variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// Persons must come in strictly ascending order of pseudonym, so that none comes twice.
    #[error("persons must be given in strictly ascending order, each once")]
    Order,
    /// A dense part of the wrong length.
    #[error("a dense part has {given} coordinates, the round has {expected}")]
    Length {
        /// Coordinates given.
        given: usize,
        /// Coordinates of the round.
        expected: usize,
    },
    /// Sparse coordinates out of order, out of range or not matching their values.
    #[error("sparse coordinates must be strictly ascending, below {coordinates}, one value each")]
    Index {
        /// Coordinates of the round.
        coordinates: usize,
    },
    /// More persons than the plan declares for one agent.
    #[error("the plan declares at most {persons_max} persons at one agent, and there are more")]
    TooMany {
        /// The declared cap P_max.
        persons_max: u32,
    },
}

/// Takes one part for each person.
pub trait PersonSink {
    /// Adds the part of `who`.
    ///
    /// # Errors
    /// [`SinkError`] when the order, the length, the coordinates or the cap are violated.
    fn person(&mut self, who: Pseudonym, part: PersonVector<'_>) -> Result<(), SinkError>;
}
