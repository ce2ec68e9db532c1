//! What travels between an agent, the coordinator and the enrolment authority.
//!
//! This crate holds identifiers, size limits, the one codec, signatures and every message of the
//! protocol. It depends on no other crate of the workspace, owns no socket and no clock, and
//! never sees an event, a person or a model: those have no type here, so that they cannot be
//! sent by accident.
//!
//! Reading order: [`id`], [`codec`], [`sign`], [`membership`], then [`message`] and
//! [`certificate`].

pub mod certificate;
pub mod codec;
pub mod digest;
pub mod id;
pub mod keystream;
pub mod limits;
pub mod membership;
pub mod message;
pub mod sign;
pub mod slots;

pub use certificate::{Electorate, ElectorateError, VerifiedAbort, VoterSignature, VotesError};
pub use codec::{DecodeError, EncodeError};
pub use digest::{Digest, Hashed, Hashing};
pub use id::{AgentId, Epoch, FederationId, IdError, RoundNumber, SessionId, Slot};
pub use keystream::Keystream;
pub use membership::{Membership, MembershipError};
pub use message::{ToAgent, ToCoordinator};
pub use sign::{
    Message, PublicKey, SecretKey, Signature, SignatureError, Signed, SignedBytes, Verified,
};
pub use slots::SlotSet;
