//! The one codec, on every type that it reads from outside.

use std::fmt::Debug;

use chorale_wire::{
    Membership, Message, SecretKey, SignedBytes, ToAgent, ToCoordinator, codec,
    limits::{CONTROL_BYTES_MAX, ENROLMENT_BYTES_MAX},
    message::{
        Abort, Advert, Commit, Complaint, EnrolmentAnswer, EnrolmentBundle, EnrolmentRequest,
        EpochOpen, LedgerHead, MaskedHeader, Ready, Refusal, Reveal, RosterVote, RoundResult,
        ShareEnvelope, SurvivorVote, Survivors,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use crate::Verdict;

/// Decodes a `T` and checks what the codec promises: at most `limit` bytes, exactly one value,
/// and no other bytes for it.
pub fn canonical<T: Serialize + DeserializeOwned + Debug>(data: &[u8], limit: usize) -> Option<T> {
    let value: T = codec::decode(data, limit).ok()?;
    assert!(data.len() <= limit, "longer than the limit");
    let again = codec::encode(&value, limit).expect("what was decoded can be encoded");
    assert_eq!(again, data, "two encodings of one value");
    // Logs must survive whatever was decoded.
    assert!(!format!("{value:?}").is_empty());
    Some(value)
}

/// What a coordinator says.
pub fn to_agent(data: &[u8]) -> Verdict {
    let message = canonical::<ToAgent>(data, CONTROL_BYTES_MAX);
    if let Some(ToAgent::Roster(roster)) = &message {
        // Votes bind this digest: it must exist for any roster.
        let _ = roster.digest();
    }
    Verdict::of(message)
}

/// What an agent says.
pub fn to_coordinator(data: &[u8]) -> Verdict {
    Verdict::of(canonical::<ToCoordinator>(data, CONTROL_BYTES_MAX))
}

/// A signed payload of any type, chosen by the first byte. Verification and a look without it
/// must agree on what the payload says.
pub fn signed_message(data: &[u8]) -> Verdict {
    let Some((kind, payload)) = data.split_first() else { return Verdict::Refused };
    let kinds = signed_kinds();
    kinds[usize::from(*kind) % kinds.len()](payload)
}

/// The readers of [`signed_message`], in the order of its first byte.
#[must_use]
pub fn signed_kinds() -> [fn(&[u8]) -> Verdict; 18] {
    [
        signed::<EpochOpen>,
        signed::<Advert>,
        signed::<RosterVote>,
        signed::<ShareEnvelope>,
        signed::<Complaint>,
        signed::<Ready>,
        signed::<Refusal>,
        signed::<Commit>,
        signed::<MaskedHeader>,
        signed::<Survivors>,
        signed::<SurvivorVote>,
        signed::<Reveal>,
        signed::<RoundResult>,
        signed::<Abort>,
        signed::<EnrolmentRequest>,
        signed::<Membership>,
        signed::<chorale_plan::RoundSpec>,
        signed::<LedgerHead>,
    ]
}

fn signed<T: Message + Debug>(payload: &[u8]) -> Verdict {
    let value = canonical::<T>(payload, T::BYTES_MAX);
    if value.is_some() {
        let key = SecretKey::from_seed(&[7; 32]);
        let message = SignedBytes::sign(T::CONTEXT, payload.to_vec(), &key).into_typed::<T>();
        assert!(message.peek().is_ok(), "a look refuses what the codec accepts");
        let verified = message.verify(&key.public()).expect("what was signed is verified");
        let other = SecretKey::from_seed(&[8; 32]);
        assert!(message.verify(&other.public()).is_err(), "anybody's signature is good");
        let again = codec::encode(&verified.into_inner(), T::BYTES_MAX).expect("within its limit");
        assert_eq!(again, payload, "verification changed the message");
    }
    Verdict::of(value)
}

/// What the enrolment endpoint and the stores read.
pub fn enrolment(data: &[u8]) -> Verdict {
    let answer = canonical::<EnrolmentAnswer>(data, ENROLMENT_BYTES_MAX);
    let bundle = canonical::<EnrolmentBundle>(data, ENROLMENT_BYTES_MAX);
    let request = canonical::<chorale_wire::Signed<EnrolmentRequest>>(data, ENROLMENT_BYTES_MAX);
    if let Some(request) = &request {
        let _ = request.peek();
    }
    Verdict::of(answer.map(|_| ()).or(bundle.map(|_| ())).or(request.map(|_| ())))
}
