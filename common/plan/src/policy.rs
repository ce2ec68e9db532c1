//! What an agent's own policy says about a round. The coordinator cannot loosen it.

use crate::{Derived, RoundSpec};

/// Why an agent's policy refuses a round: public parameters only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this agent's policy refuses round {round} of plan '{plan}': {rule}")]
pub struct Refused {
    /// The round.
    pub round: chorale_wire::RoundNumber,
    /// The plan's name.
    pub plan: String,
    /// The rule, what was asked and what is allowed.
    pub rule: String,
}

/// Judges a round before any data is touched.
pub trait Policy {
    /// Admits the round or says which rule forbids it.
    ///
    /// # Errors
    /// [`Refused`] names the rule.
    fn admits(&self, spec: &RoundSpec, derived: &Derived) -> Result<(), Refused>;
}
