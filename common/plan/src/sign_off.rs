//! The compliance officer's word for a plan.

use chorale_wire::{
    Digest, EncodeError, FederationId, Message, PublicKey, SecretKey, Signature, Signed,
};
use serde::{Deserialize, Serialize};

/// What the compliance key signs so that a plan may run: this plan, with its noise, its data window
/// and its cohort floors, in this federation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignOff {
    /// The federation.
    pub federation: FederationId,
    /// [`crate::Plan::digest`].
    pub plan: Digest,
}

impl Message for SignOff {
    const CONTEXT: &'static str = "plan sign-off";
    const BYTES_MAX: usize = 128;
}

impl SignOff {
    /// Signs it.
    ///
    /// # Errors
    /// [`EncodeError`]: a defect, as every sign-off fits its limit.
    pub fn sign(&self, compliance: &SecretKey) -> Result<Signature, EncodeError> {
        Ok(Signed::sign(self, compliance)?.signature())
    }

    /// Whether `signature` is that of the compliance key.
    #[must_use]
    pub fn is_signed(&self, compliance: &PublicKey, signature: Signature) -> bool {
        Signed::with_signature(self, signature)
            .is_ok_and(|signed| signed.verify(compliance).is_ok())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sign_off_holds_for_one_plan_of_one_federation() {
        let key = SecretKey::from_seed(&[7; 32]);
        let sign_off = SignOff {
            federation: FederationId::new("demo").unwrap(),
            plan: Digest::plain(b"plan"),
        };
        let signature = sign_off.sign(&key).unwrap();
        assert!(sign_off.is_signed(&key.public(), signature));
        let other_plan = SignOff { plan: Digest::plain(b"other"), ..sign_off.clone() };
        let federation = FederationId::new("other").unwrap();
        let other_place = SignOff { federation, ..sign_off.clone() };
        let other_key = SecretKey::from_seed(&[8; 32]).public();
        assert!(!other_plan.is_signed(&key.public(), signature));
        assert!(!other_place.is_signed(&key.public(), signature));
        assert!(!sign_off.is_signed(&other_key, signature));
    }
}
