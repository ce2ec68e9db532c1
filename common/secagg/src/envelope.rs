//! Share envelopes: HPKE (RFC 9180) in base mode from a dealer to one neighbour.
//!
//! The suite is DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. The additional data binds
//! everything that a share depends on, so an envelope opens in no other epoch, roster, graph,
//! direction or threshold. The dealer is authenticated by its signature around the envelope, not
//! by HPKE, so that a bad envelope is evidence that third parties can check.

use std::fmt;

use chorale_wire::{Digest, Epoch, Slot, limits::ROUNDS_PER_EPOCH_MAX};
use hpke::{
    Deserializable as _, HpkeError, Kem as _, OpModeR, OpModeS, Serializable as _, aead::AesGcm256,
    kdf::HkdfSha256, kem::X25519HkdfSha256, single_shot_open, single_shot_seal_with_rng,
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::shamir::{NotCanonical, Share};

const INFO: &[u8] = b"chorale/1 share envelope";

/// Bytes of one round in an envelope: the share of the key seed and the share of the self seed.
pub const ROUND_SHARES_BYTES: usize = 64;

type Kem = X25519HkdfSha256;

/// An HPKE secret key; wiped when dropped, never shown.
pub struct HpkeSecret {
    secret: <Kem as hpke::Kem>::PrivateKey,
    public: [u8; 32],
}

impl HpkeSecret {
    /// A fresh key.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut rng = rng;
        let (secret, public) = Kem::gen_keypair_with_rng(&mut rng);
        Self { secret, public: public.to_bytes().into() }
    }

    /// The public key under which others seal.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public
    }
}

impl fmt::Debug for HpkeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HpkeSecret(redacted)")
    }
}

/// What an envelope is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeContext {
    /// The epoch.
    pub epoch: Epoch,
    /// Digest of the roster.
    pub roster: Digest,
    /// [`crate::graph::seed`].
    pub graph_seed: Digest,
    /// The dealer.
    pub from: Slot,
    /// The neighbour.
    pub to: Slot,
    /// The Shamir threshold of the shares inside.
    pub threshold: u32,
}

impl EnvelopeContext {
    /// All fields at fixed widths, big-endian.
    fn additional_data(&self) -> Vec<u8> {
        [
            self.epoch.0.to_be_bytes().as_slice(),
            self.roster.as_bytes(),
            self.graph_seed.as_bytes(),
            &self.from.0.to_be_bytes(),
            &self.to.0.to_be_bytes(),
            &self.threshold.to_be_bytes(),
        ]
        .concat()
    }
}

/// Why an envelope could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The receiver's advertised HPKE key is unusable; the receiver is to blame.
    #[error("no envelope can be sealed to slot {to}: its HPKE key is unusable ({source})")]
    ReceiverKey {
        /// The receiver.
        to: Slot,
        /// What HPKE says.
        #[source]
        source: HpkeError,
    },
    /// The envelope was not sealed by `from` for this receiver and context, or was changed.
    #[error("the share envelope from slot {from} cannot be opened ({source})")]
    Sealed {
        /// The dealer.
        from: Slot,
        /// What HPKE says.
        #[source]
        source: HpkeError,
    },
    /// The envelope opens, but does not hold two shares for each round.
    #[error("an envelope holds {length} bytes of shares instead of {expected}")]
    Length {
        /// Bytes found.
        length: usize,
        /// Bytes that the epoch's number of rounds needs.
        expected: usize,
    },
    /// The envelope opens, but holds something that is not a share.
    #[error("an envelope holds a malformed share for round {index} of the epoch")]
    Share {
        /// Index of the round in the epoch.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: NotCanonical,
    },
}

/// Seals `plaintext` to the holder of `to_public`. Returns the encapsulated key and the
/// ciphertext, which is 16 bytes longer than the plaintext.
///
/// # Errors
/// [`EnvelopeError::ReceiverKey`] when `to_public` is a point of small order.
pub fn seal<R: CryptoRng + ?Sized>(
    to_public: &[u8; 32],
    context: &EnvelopeContext,
    plaintext: &[u8],
    rng: &mut R,
) -> Result<([u8; 32], Vec<u8>), EnvelopeError> {
    let refused = |source| EnvelopeError::ReceiverKey { to: context.to, source };
    let public = <Kem as hpke::Kem>::PublicKey::from_bytes(to_public).map_err(refused)?;
    let mut rng = rng;
    let (encapsulated, sealed) = single_shot_seal_with_rng::<AesGcm256, HkdfSha256, Kem>(
        &OpModeS::Base,
        &public,
        INFO,
        plaintext,
        &context.additional_data(),
        &mut rng,
    )
    .map_err(refused)?;
    Ok((encapsulated.to_bytes().into(), sealed))
}

/// Opens what [`seal`] made for the holder of `secret` under the same context.
///
/// # Errors
/// [`EnvelopeError::Sealed`] when anything, also one bit of the context, is different.
pub fn open(
    secret: &HpkeSecret,
    context: &EnvelopeContext,
    encapsulated: &[u8; 32],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let refused = |source| EnvelopeError::Sealed { from: context.from, source };
    let encapsulated =
        <Kem as hpke::Kem>::EncappedKey::from_bytes(encapsulated).map_err(refused)?;
    single_shot_open::<AesGcm256, HkdfSha256, Kem>(
        &OpModeR::Base,
        &secret.secret,
        &encapsulated,
        INFO,
        sealed,
        &context.additional_data(),
    )
    .map(Zeroizing::new)
    .map_err(refused)
}

/// One dealer's two shares for one round and one neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundShares {
    /// Of the key seed, revealed when the dealer dropped out.
    pub key: Share,
    /// Of the self seed, revealed when the dealer survived.
    pub seed: Share,
}

/// The plaintext of an envelope: for each round 32 bytes of key share and 32 of seed share.
#[must_use]
pub fn encode_shares(rounds: &[RoundShares]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(rounds.len() * ROUND_SHARES_BYTES));
    for round in rounds {
        bytes.extend_from_slice(Zeroizing::new(round.key.to_bytes()).as_ref());
        bytes.extend_from_slice(Zeroizing::new(round.seed.to_bytes()).as_ref());
    }
    bytes
}

/// Reads the plaintext of an envelope of an epoch of `rounds` rounds.
///
/// # Errors
/// [`EnvelopeError::Length`] or [`EnvelopeError::Share`]; the dealer is to blame.
pub fn decode_shares(plaintext: &[u8], rounds: usize) -> Result<Vec<RoundShares>, EnvelopeError> {
    let expected = rounds.min(ROUNDS_PER_EPOCH_MAX) * ROUND_SHARES_BYTES;
    if plaintext.len() != expected || rounds > ROUNDS_PER_EPOCH_MAX {
        return Err(EnvelopeError::Length { length: plaintext.len(), expected });
    }
    let (halves, _) = plaintext.as_chunks::<32>();
    halves
        .chunks_exact(2)
        .enumerate()
        .map(|(index, pair)| {
            let share = |bytes| {
                Share::from_bytes(bytes).map_err(|source| EnvelopeError::Share { index, source })
            };
            Ok(RoundShares { key: share(&pair[0])?, seed: share(&pair[1])? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

    use super::*;
    use crate::{SecretScalar, keys::LOW_ORDER, shamir};

    fn context() -> EnvelopeContext {
        EnvelopeContext {
            epoch: Epoch(3),
            roster: Digest::plain(b"roster"),
            graph_seed: Digest::plain(b"seed"),
            from: Slot(4),
            to: Slot(9),
            threshold: 7,
        }
    }

    /// The first ciphertext of a base-mode vector. The sender's side cannot be given its ephemeral
    /// key, but whatever it seals must open on this one.
    fn open_vector<A: hpke::aead::Aead>(secret: &str, encapsulated: &str, sealed: &str) {
        let bytes = |text| hex::decode(text).unwrap();
        let secret = <Kem as hpke::Kem>::PrivateKey::from_bytes(&bytes(secret));
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(&bytes(encapsulated));
        let opened = single_shot_open::<A, HkdfSha256, Kem>(
            &OpModeR::Base,
            &secret.unwrap(),
            &encapsulated.unwrap(),
            b"Ode on a Grecian Urn",
            &bytes(sealed),
            b"Count-0",
        );
        assert_eq!(opened.unwrap(), b"Beauty is truth, truth beauty");
    }

    /// Appendix A.1.1, the one with our key encapsulation that the RFC prints: AES-128-GCM.
    #[test]
    fn rfc_9180_x25519_base_mode() {
        open_vector::<hpke::aead::AesGcm128>(
            "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8",
            "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431",
            concat!(
                "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a9",
                "6d8770ac83d07bea87e13c512a"
            ),
        );
    }

    /// Our own suite, from the collection of vectors that accompanies the RFC: mode 0, KEM 0x20,
    /// KDF 1, AEAD 2.
    #[test]
    fn rfc_9180_companion_vector_of_this_suite() {
        open_vector::<AesGcm256>(
            "497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d",
            "6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256",
            concat!(
                "e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be99319",
                "80a41de125a925cdad859d5b7a"
            ),
        );
    }

    #[test]
    fn any_other_context_is_refused() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let receiver = HpkeSecret::generate(&mut rng);
        let (encapsulated, sealed) =
            seal(&receiver.public(), &context(), b"shares", &mut rng).unwrap();
        assert_eq!(**open(&receiver, &context(), &encapsulated, &sealed).unwrap(), *b"shares");

        let right = context();
        for wrong in [
            EnvelopeContext { epoch: Epoch(4), ..right },
            EnvelopeContext { roster: Digest::plain(b"other"), ..right },
            EnvelopeContext { graph_seed: Digest::plain(b"other"), ..right },
            EnvelopeContext { from: Slot(5), ..right },
            EnvelopeContext { to: Slot(8), ..right },
            EnvelopeContext { from: right.to, to: right.from, ..right },
            EnvelopeContext { threshold: 6, ..right },
        ] {
            let refused = open(&receiver, &wrong, &encapsulated, &sealed);
            assert!(
                matches!(refused, Err(EnvelopeError::Sealed { from, .. }) if from == wrong.from)
            );
        }
        let other = HpkeSecret::generate(&mut rng);
        assert!(open(&other, &context(), &encapsulated, &sealed).is_err());
        assert!(open(&receiver, &context(), &other.public(), &sealed).is_err());
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let receiver = HpkeSecret::generate(&mut rng);
        let (encapsulated, sealed) =
            seal(&receiver.public(), &context(), &[5; 64], &mut rng).unwrap();
        for bit in 0..8 * sealed.len() {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&receiver, &context(), &encapsulated, &changed).is_err(), "bit {bit}");
        }
        // Bit 255 of the key is ignored by X25519, but HPKE hashes the key as it was sent.
        for bit in 0..256 {
            let mut changed = encapsulated;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&receiver, &context(), &changed, &sealed).is_err(), "bit {bit}");
        }
        for length in [0, 15, 16, sealed.len() - 1] {
            assert!(open(&receiver, &context(), &encapsulated, &sealed[..length]).is_err());
        }
    }

    #[test]
    fn low_order_points_are_refused() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let receiver = HpkeSecret::generate(&mut rng);
        for point in LOW_ORDER {
            let point: [u8; 32] = hex::decode(point).unwrap().try_into().unwrap();
            assert!(matches!(
                seal(&point, &context(), b"", &mut rng),
                Err(EnvelopeError::ReceiverKey { to: Slot(9), .. })
            ));
            assert!(open(&receiver, &context(), &point, &[0; 80]).is_err());
        }
    }

    #[test]
    fn shares_survive_an_envelope_and_malformed_ones_are_refused() {
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        let mut share = || {
            let secret = SecretScalar::random(&mut rng);
            shamir::split(&secret, 2, &[1, 2], &mut rng).unwrap().remove(0)
        };
        let rounds: Vec<RoundShares> =
            (0..3).map(|_| RoundShares { key: share(), seed: share() }).collect();
        let plaintext = encode_shares(&rounds);
        assert_eq!(decode_shares(&plaintext, 3).unwrap(), rounds);
        for wrong in [0, 2, 4, 1000] {
            assert!(matches!(
                decode_shares(&plaintext, wrong),
                Err(EnvelopeError::Length { length: 192, .. })
            ));
        }
        let mut bad = plaintext.to_vec();
        bad[3 * 32 + 31] = 0xff;
        assert!(matches!(decode_shares(&bad, 3), Err(EnvelopeError::Share { index: 1, .. })));
    }

    proptest! {
        #[test]
        fn one_flipped_bit_of_the_context_is_refused(bit in 0usize..8 * 80) {
            let mut rng = ChaCha20Rng::from_seed([5; 32]);
            let receiver = HpkeSecret::generate(&mut rng);
            let (encapsulated, sealed) = seal(&receiver.public(), &context(), b"x", &mut rng).unwrap();
            let mut data = context().additional_data();
            prop_assert_eq!(data.len(), 80);
            data[bit / 8] ^= 1 << (bit % 8);
            let digest = |bytes: &[u8]| Digest::from_bytes(bytes.try_into().unwrap());
            let changed = EnvelopeContext {
                epoch: Epoch(u64::from_be_bytes(data[..8].try_into().unwrap())),
                roster: digest(&data[8..40]),
                graph_seed: digest(&data[40..72]),
                from: Slot(u16::from_be_bytes(data[72..74].try_into().unwrap())),
                to: Slot(u16::from_be_bytes(data[74..76].try_into().unwrap())),
                threshold: u32::from_be_bytes(data[76..].try_into().unwrap()),
            };
            prop_assert!(open(&receiver, &changed, &encapsulated, &sealed).is_err());
        }
    }
}
