//! Membership: what the offline enrolment authority says about an agent.
//!
//! The authority's key is not on the coordinator, so a coordinator cannot invent agents. The
//! roster verifies the membership; the transport checks that the TLS key of the connection is
//! the one named here.

use serde::{Deserialize, Serialize};

use crate::{
    AgentId, Digest, PublicKey, Signed,
    sign::{Message, SignatureError, Verified},
};

/// One agent's certified identity, signed by the enrolment authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The agent.
    pub agent: AgentId,
    /// The agent's Ed25519 identity key; signs every protocol message.
    pub identity: PublicKey,
    /// SHA-256 of the DER `SubjectPublicKeyInfo` of the agent's TLS certificate.
    pub tls_key: Digest,
    /// The Ed25519 key of the store's administrator, whose signature alone puts a policy into
    /// force at this agent. It is certified here so that nobody at the store exchanges it without
    /// the authority.
    pub administrator: PublicKey,
    /// First second of validity (Unix time, UTC).
    pub not_before_s: u64,
    /// Last second of validity (Unix time, UTC).
    pub not_after_s: u64,
    /// Number of identities on the authority's enrolment list, N of the threat model: the
    /// number of corrupt agents to withstand is derived from it and never from a roster.
    pub enrolled: u32,
}

impl Message for Membership {
    const CONTEXT: &'static str = "membership";
    const BYTES_MAX: usize = 512;
}

/// Why a membership does not admit an agent.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// Not signed by the pinned enrolment authority.
    #[error("the membership is not signed by the pinned enrolment authority")]
    Signature(#[from] SignatureError),
    /// Not yet or no longer valid.
    #[error(
        "the membership of {agent} is valid from {not_before_s} to {not_after_s} (Unix seconds) \
         and it is {now_s}: check the clock, or enrol the agent again"
    )]
    NotValidNow {
        /// The agent.
        agent: AgentId,
        /// Start of validity.
        not_before_s: u64,
        /// End of validity.
        not_after_s: u64,
        /// The verifier's time.
        now_s: u64,
    },
}

impl Membership {
    /// Verifies `signed` against the pinned authority and the time.
    ///
    /// # Errors
    /// [`MembershipError`] when it is not the authority's or not valid at `now_s`.
    pub fn admit(
        signed: &Signed<Self>,
        authority: &PublicKey,
        now_s: u64,
    ) -> Result<Verified<Self>, MembershipError> {
        let membership = signed.verify(authority)?;
        if now_s < membership.not_before_s || now_s > membership.not_after_s {
            return Err(MembershipError::NotValidNow {
                agent: membership.agent.clone(),
                not_before_s: membership.not_before_s,
                not_after_s: membership.not_after_s,
                now_s,
            });
        }
        Ok(membership)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::SecretKey;

    #[test]
    fn validity_is_closed_at_both_ends() {
        let authority = SecretKey::from_seed(&[1; 32]);
        let membership = Membership {
            agent: AgentId::new("store-1").unwrap(),
            identity: SecretKey::from_seed(&[2; 32]).public(),
            tls_key: Digest::plain(b"key"),
            administrator: SecretKey::from_seed(&[4; 32]).public(),
            not_before_s: 100,
            not_after_s: 200,
            enrolled: 12,
        };
        let signed = Signed::sign(&membership, &authority).unwrap();
        for (now_s, admitted) in [(99, false), (100, true), (200, true), (201, false)] {
            assert_eq!(
                Membership::admit(&signed, &authority.public(), now_s).is_ok(),
                admitted,
                "{now_s}"
            );
        }
        let other = SecretKey::from_seed(&[3; 32]).public();
        assert!(Membership::admit(&signed, &other, 150).is_err());
    }
}
