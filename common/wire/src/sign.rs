//! Signatures: Ed25519 (RFC 8032, strict verification) over a context and the received bytes.
//!
//! [`Signed`] is what travels; its content cannot be read before [`Signed::verify`] has minted a
//! [`Verified`]. The signature covers the bytes as they arrived, never a re-encoding. Where a
//! message is put together from a statement and a signature ([`Signed::with_signature`]), its one
//! canonical encoding stands for them: other bytes are no encoding of that message.

use std::{fmt, marker::PhantomData, ops::Deref};

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{
    Digest,
    codec::{self, DecodeError, EncodeError},
};

/// A type that is signed as a message of its own kind.
pub trait Message: Serialize + DeserializeOwned {
    /// Separates this kind of message from every other under the same key.
    const CONTEXT: &'static str;
    /// Longest encoding in bytes.
    const BYTES_MAX: usize;
}

/// Why a signed message was refused.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The signature is not the claimed signer's over these bytes.
    #[error("the signature of a {context} message is not by the expected key")]
    Forged {
        /// The kind of message.
        context: &'static str,
    },
    /// The signature is right, the content is not a message.
    #[error("a correctly signed {context} message cannot be read")]
    Unreadable {
        /// The kind of message.
        context: &'static str,
        /// What the codec says.
        #[source]
        source: DecodeError,
    },
    /// The 32 bytes are no usable Ed25519 key (not a point, or of small order).
    #[error("these 32 bytes are no usable Ed25519 public key")]
    BadKey,
}

/// An Ed25519 signing key; wiped when dropped, never shown.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key with these 32 secret bytes (RFC 8032 seed).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// A fresh key.
    pub fn generate<R: rand_core::CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        Self::from_seed(&seed)
    }

    /// The 32 secret bytes, to be stored by their owner only.
    #[must_use]
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    fn sign_bytes(&self, context: &str, payload: &[u8]) -> [u8; 64] {
        self.0.sign(&to_be_signed(context, payload)).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}

/// An Ed25519 signature, of whatever kind of message and not verified.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature(#[serde(with = "signature_bytes")] [u8; 64]);

impl Signature {
    /// A signature from its 64 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", hex::encode(&self.0[..4]))
    }
}

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// A key from its 32 bytes; whether they are a curve point is checked at verification.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses 64 hexadecimal digits; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Digest::parse(text).map(|digest| Self(*digest.as_bytes()))
    }

    /// Verifies a bare signature over `payload` under `context` (RFC 8032, strict).
    ///
    /// # Errors
    /// [`SignatureError::BadKey`] or [`SignatureError::Forged`].
    pub fn verify_bytes(
        &self,
        context: &'static str,
        payload: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), SignatureError> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| SignatureError::BadKey)?;
        if key.is_weak() {
            return Err(SignatureError::BadKey);
        }
        key.verify_strict(
            &to_be_signed(context, payload),
            &ed25519_dalek::Signature::from_bytes(signature),
        )
        .map_err(|_| SignatureError::Forged { context })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(&self.0[..4]))
    }
}

/// A payload and a signature of a kind that the holder does not know. It is turned into a
/// [`Signed`] of a type before it is verified.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBytes {
    payload: Vec<u8>,
    #[serde(with = "signature_bytes")]
    signature: [u8; 64],
}

impl SignedBytes {
    /// Reads the payload as a message of type `T`; nothing is verified yet.
    #[must_use]
    pub fn into_typed<T: Message>(self) -> Signed<T> {
        Signed { bytes: self, kind: PhantomData }
    }

    /// Signs already encoded bytes under a context.
    #[must_use]
    pub fn sign(context: &str, payload: Vec<u8>, key: &SecretKey) -> Self {
        let signature = key.sign_bytes(context, &payload);
        Self { payload, signature }
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// The payload, unverified.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

impl fmt::Debug for SignedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedBytes({} bytes)", self.payload.len())
    }
}

/// A signed message of type `T` whose signature has not been verified.
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct Signed<T> {
    bytes: SignedBytes,
    #[serde(skip)]
    kind: PhantomData<fn() -> T>,
}

impl<T: Message> Signed<T> {
    /// Encodes and signs `message`.
    ///
    /// # Errors
    /// [`EncodeError`] when the message does not fit its type's limit.
    pub fn sign(message: &T, key: &SecretKey) -> Result<Self, EncodeError> {
        let payload = codec::encode(message, T::BYTES_MAX)?;
        Ok(SignedBytes::sign(T::CONTEXT, payload, key).into_typed())
    }

    /// The message as its sender signed it, put together from its content and the signature; not
    /// verified. For certificates, whose votes share one statement.
    ///
    /// # Errors
    /// [`EncodeError`] when the message does not fit its type's limit.
    pub fn with_signature(message: &T, signature: Signature) -> Result<Self, EncodeError> {
        let payload = codec::encode(message, T::BYTES_MAX)?;
        Ok(SignedBytes { payload, signature: signature.0 }.into_typed())
    }

    /// The signature, not verified.
    #[must_use]
    pub fn signature(&self) -> Signature {
        Signature(self.bytes.signature)
    }

    /// Verifies the signature of `signer` and decodes the message.
    ///
    /// # Errors
    /// [`SignatureError`]: a bad key, a forged signature or an unreadable payload.
    pub fn verify(&self, signer: &PublicKey) -> Result<Verified<T>, SignatureError> {
        signer.verify_bytes(T::CONTEXT, &self.bytes.payload, &self.bytes.signature)?;
        let message = codec::decode(&self.bytes.payload, T::BYTES_MAX)
            .map_err(|source| SignatureError::Unreadable { context: T::CONTEXT, source })?;
        Ok(Verified { message, digest: self.payload_digest(), signer: *signer })
    }

    /// Decodes the content without verifying it, to learn which key it claims. Nothing else may
    /// be concluded from it.
    ///
    /// # Errors
    /// [`DecodeError`] when the payload is not a message of this type.
    pub fn peek(&self) -> Result<T, DecodeError> {
        codec::decode(&self.bytes.payload, T::BYTES_MAX)
    }

    /// Digest of the signed payload under the message's context.
    #[must_use]
    pub fn payload_digest(&self) -> Digest {
        Digest::of(T::CONTEXT, &[&self.bytes.payload])
    }

    /// The message without its type, for a crate that only carries it.
    #[must_use]
    pub fn into_bytes(self) -> SignedBytes {
        self.bytes
    }

    /// The payload and signature.
    #[must_use]
    pub fn as_bytes(&self) -> &SignedBytes {
        &self.bytes
    }
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), kind: PhantomData }
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<T: Message> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed<{}>({} bytes)", T::CONTEXT, self.bytes.payload.len())
    }
}

/// A message whose signature was verified. Only [`Signed::verify`] makes one.
#[derive(Debug, Clone)]
pub struct Verified<T> {
    message: T,
    digest: Digest,
    signer: PublicKey,
}

impl<T> Verified<T> {
    /// Digest of the payload as received ([`Signed::payload_digest`]).
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The key that signed.
    #[must_use]
    pub fn signer(&self) -> PublicKey {
        self.signer
    }

    /// The message itself.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.message
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.message
    }
}

fn to_be_signed(context: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + context.len() + payload.len());
    bytes.extend_from_slice(b"chorale/1\0");
    bytes.extend_from_slice(&(context.len() as u16).to_be_bytes());
    bytes.extend_from_slice(context.as_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Serde for 64 bytes, which serde's arrays do not reach.
mod signature_bytes {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 64], to: S) -> Result<S::Ok, S::Error> {
        let halves: [&[u8; 32]; 2] = [
            bytes[..32].try_into().map_err(serde::ser::Error::custom)?,
            bytes[32..].try_into().map_err(serde::ser::Error::custom)?,
        ];
        halves.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 64], D::Error> {
        let halves = <[[u8; 32]; 2]>::deserialize(from)?;
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&halves[0]);
        bytes[32..].copy_from_slice(&halves[1]);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Ping(u32);
    impl Message for Ping {
        const CONTEXT: &'static str = "test ping";
        const BYTES_MAX: usize = 16;
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Pong(u32);
    impl Message for Pong {
        const CONTEXT: &'static str = "test pong";
        const BYTES_MAX: usize = 16;
    }

    #[test]
    fn only_the_signer_and_only_this_kind() {
        let key = SecretKey::from_seed(&[7; 32]);
        let other = SecretKey::from_seed(&[8; 32]);
        let signed = Signed::sign(&Ping(5), &key).unwrap();
        assert_eq!(*signed.verify(&key.public()).unwrap(), Ping(5));
        assert!(matches!(signed.verify(&other.public()), Err(SignatureError::Forged { .. })));
        let as_other_kind = signed.into_bytes().into_typed::<Pong>();
        assert!(matches!(as_other_kind.verify(&key.public()), Err(SignatureError::Forged { .. })));
    }

    #[test]
    fn content_and_signature_make_the_message_that_was_signed() {
        let key = SecretKey::from_seed(&[7; 32]);
        let signed = Signed::sign(&Ping(5), &key).unwrap();
        let again = Signed::with_signature(&Ping(5), signed.signature()).unwrap();
        assert_eq!(again, signed);
        again.verify(&key.public()).unwrap();
        let other = Signed::with_signature(&Ping(6), signed.signature()).unwrap();
        assert!(matches!(other.verify(&key.public()), Err(SignatureError::Forged { .. })));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let key = SecretKey::from_seed(&[7; 32]);
        let signed = Signed::sign(&Ping(300), &key).unwrap();
        let bytes = codec::encode(&signed, 200).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let accepted = codec::decode::<Signed<Ping>>(&bent, 200)
                .is_ok_and(|message| message.verify(&key.public()).is_ok());
            assert!(!accepted, "bit {bit}");
        }
    }

    #[test]
    fn small_order_keys_are_refused() {
        let key = SecretKey::from_seed(&[7; 32]);
        let signed = Signed::sign(&Ping(5), &key).unwrap();
        let mut identity = [0; 32];
        identity[0] = 1;
        assert!(matches!(
            signed.verify(&PublicKey::from_bytes(identity)),
            Err(SignatureError::BadKey)
        ));
    }

    #[test]
    fn rfc_8032_test_2() {
        let seed = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let key = SecretKey::from_seed(&seed.unwrap().try_into().unwrap());
        assert_eq!(
            key.public().to_string(),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        assert_eq!(
            hex::encode(key.0.sign(&[0x72]).to_bytes()),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }
}
