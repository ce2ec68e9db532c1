//! Enrolment: from an invitation to a membership. The coordinator only relays.

use serde::{Deserialize, Serialize};

use super::control::Reason;
use crate::{
    AgentId, Digest, PublicKey, Signed,
    limits::{ENROLMENT_BYTES_MAX, REASON_BYTES_MAX},
    membership::Membership,
    sign::Message,
};

/// Agent to authority, relayed by the coordinator, signed by the new identity key. The private
/// keys never leave the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentRequest {
    /// The agent as named in the invitation.
    pub agent: AgentId,
    /// The new Ed25519 identity key.
    pub identity: PublicKey,
    /// DER of a PKCS#10 request for the TLS certificate, which proves possession of its key.
    pub tls_request: Vec<u8>,
    /// The Ed25519 key of the store's administrator, to be certified in the membership.
    pub administrator: PublicKey,
    /// SHA-256 of the one-time token, by which the authority finds the invitation.
    pub token: Digest,
    /// HMAC-SHA-256 under the one-time token over the agent, the identity key, the TLS
    /// request and the administrator's key: a relay that swaps a key is found out.
    pub proof: [u8; 32],
}

impl Message for EnrolmentRequest {
    const CONTEXT: &'static str = "enrolment request";
    const BYTES_MAX: usize = ENROLMENT_BYTES_MAX / 2;
}

/// What the authority gives back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnrolmentBundle {
    /// The signed membership.
    pub membership: Signed<Membership>,
    /// DER of the TLS leaf certificate.
    pub tls_certificate: Vec<u8>,
    /// DER of the authority's TLS root certificate; its SHA-256 stands in the invitation.
    pub tls_root: Vec<u8>,
    /// The authority's Ed25519 key that signs memberships.
    pub authority: PublicKey,
    /// The coordinator's Ed25519 key that signs round specs and the ledger.
    pub coordinator: PublicKey,
}

/// Coordinator to a store that asks for its certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EnrolmentAnswer {
    /// The request is stored; the authority has not signed it yet.
    Pending(Reason),
    /// Here it is.
    Issued(Box<EnrolmentBundle>),
    /// The token is unknown or used, or the request is malformed.
    Refused(Reason),
}

const _: () = assert!(REASON_BYTES_MAX < ENROLMENT_BYTES_MAX);
