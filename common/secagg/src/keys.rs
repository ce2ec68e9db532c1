//! An agent's secrets of an epoch and of each of its rounds, and what it publishes of them.
//!
//! Two uniform scalars per round are the roots of everything: the *key seed* `ssk`, from which
//! the X25519 key of the pairwise masks is derived, and the *self seed* `b`. Scalars are shared
//! rather than X25519 keys because a clamped key is not a scalar modulo the group order, so it
//! would not survive Shamir sharing.

use std::fmt;

use chorale_wire::{Digest, limits::ROUNDS_PER_EPOCH_MAX, message::RoundPublicKeys};
use curve25519_dalek::Scalar;
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{envelope::HpkeSecret, shamir::NotCanonical};

/// Everything secret that an agent holds for one epoch. Lives in memory only.
pub struct EpochSecrets {
    hpke: HpkeSecret,
    rounds: Vec<Option<RoundSecret>>,
    public: Vec<RoundPublicKeys>,
    nonce: [u8; 32],
}

/// The number of rounds asked for is outside 1 to [`ROUNDS_PER_EPOCH_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an epoch has 1 to {ROUNDS_PER_EPOCH_MAX} rounds, not {rounds}")]
pub struct RoundsOutOfRange {
    /// The number asked for.
    pub rounds: usize,
}

impl EpochSecrets {
    /// Fresh secrets for an epoch of `rounds` rounds.
    ///
    /// # Errors
    /// [`RoundsOutOfRange`] unless `rounds` is 1 to [`ROUNDS_PER_EPOCH_MAX`].
    pub fn generate<R: CryptoRng + ?Sized>(
        rng: &mut R,
        rounds: usize,
    ) -> Result<Self, RoundsOutOfRange> {
        if !(1..=ROUNDS_PER_EPOCH_MAX).contains(&rounds) {
            return Err(RoundsOutOfRange { rounds });
        }
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let hpke = HpkeSecret::generate(rng);
        let rounds: Vec<RoundSecret> = (0..rounds).map(|_| RoundSecret::generate(rng)).collect();
        Ok(Self {
            hpke,
            public: rounds.iter().map(RoundSecret::public).collect(),
            rounds: rounds.into_iter().map(Some).collect(),
            nonce,
        })
    }

    /// What the agent's advert carries: HPKE public key, commitment to the nonce, and the public
    /// values of each round.
    #[must_use]
    pub fn advert_parts(&self) -> ([u8; 32], Digest, Vec<RoundPublicKeys>) {
        (self.hpke.public(), nonce_commitment(&self.nonce), self.public.clone())
    }

    /// The key that opens share envelopes sent to this agent.
    #[must_use]
    pub fn hpke(&self) -> &HpkeSecret {
        &self.hpke
    }

    /// The nonce that the agent reveals together with its roster vote, not before.
    #[must_use]
    pub fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// Number of rounds of the epoch, also of those already taken.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.rounds.len()
    }

    /// The secret of round `index` for dealing its shares; `None` once it was taken.
    #[must_use]
    pub fn round(&self, index: usize) -> Option<&RoundSecret> {
        self.rounds.get(index)?.as_ref()
    }

    /// Moves the secret of round `index` out, so that it serves one round only; `None` when it
    /// was taken before or the epoch has no such round.
    pub fn take_round(&mut self, index: usize) -> Option<RoundSecret> {
        self.rounds.get_mut(index)?.take()
    }
}

impl fmt::Debug for EpochSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochSecrets(redacted, {} rounds)", self.rounds.len())
    }
}

/// The commitment to a roster nonce. The nonce has 256 uniform bits, so its hash hides it.
#[must_use]
pub fn nonce_commitment(nonce: &[u8; 32]) -> Digest {
    Digest::of("chorale/1 roster nonce", &[nonce])
}

/// An agent's two secrets of one round.
pub struct RoundSecret {
    key_seed: SecretScalar,
    self_seed: SecretScalar,
}

impl RoundSecret {
    /// Two fresh uniform scalars.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self { key_seed: SecretScalar::random(rng), self_seed: SecretScalar::random(rng) }
    }

    /// The scalar `ssk` behind the pairwise key, shared among the neighbours.
    #[must_use]
    pub fn key_seed(&self) -> &SecretScalar {
        &self.key_seed
    }

    /// The scalar `b` behind the self mask, shared among the neighbours.
    #[must_use]
    pub fn self_seed(&self) -> &SecretScalar {
        &self.self_seed
    }

    /// The X25519 key of the pairwise masks.
    #[must_use]
    pub fn pairwise(&self) -> PairwiseSecret {
        PairwiseSecret::derive(&self.key_seed)
    }

    /// What the agent publishes of this round.
    #[must_use]
    pub fn public(&self) -> RoundPublicKeys {
        RoundPublicKeys {
            pairwise: self.pairwise().public(),
            self_commitment: self_commitment(&self.self_seed),
        }
    }
}

impl fmt::Debug for RoundSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoundSecret(redacted)")
    }
}

/// A scalar modulo the order of the Curve25519 group that must stay secret: wiped when dropped,
/// compared in constant time, never shown.
#[derive(Clone)]
pub struct SecretScalar(Scalar);

impl SecretScalar {
    /// A uniform scalar, zero included: 512 random bits reduced, bias below 2^-256.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut wide = Zeroizing::new([0; 64]);
        rng.fill_bytes(wide.as_mut());
        Self(Scalar::from_bytes_mod_order_wide(&wide))
    }

    /// The scalar with this canonical little-endian encoding.
    ///
    /// # Errors
    /// [`NotCanonical`] when the bytes encode a number not below the group order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, NotCanonical> {
        Option::<Scalar>::from(Scalar::from_canonical_bytes(*bytes)).map(Self).ok_or(NotCanonical)
    }

    /// The canonical little-endian encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    pub(crate) fn from_scalar(scalar: Scalar) -> Self {
        Self(scalar)
    }

    pub(crate) fn as_scalar(&self) -> &Scalar {
        &self.0
    }
}

impl Drop for SecretScalar {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PartialEq for SecretScalar {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretScalar {}

impl fmt::Debug for SecretScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretScalar(redacted)")
    }
}

/// An X25519 secret key (RFC 7748) for the pairwise masks of one round; wiped when dropped.
pub struct PairwiseSecret(StaticSecret);

impl PairwiseSecret {
    /// The key that belongs to `key_seed`: 32 bytes of HKDF-SHA256 (RFC 5869) without salt under
    /// the info "chorale/1 x25519".
    #[must_use]
    pub fn derive(key_seed: &SecretScalar) -> Self {
        let mut key = hkdf_sha256(None, key_seed.to_bytes().as_ref(), &[b"chorale/1 x25519"]);
        let secret = StaticSecret::from(*key);
        key.zeroize();
        Self(secret)
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.0).to_bytes()
    }

    /// The X25519 shared secret with `their_public`; `None` when it is all zero because
    /// `their_public` has small order (RFC 7748, section 6.1).
    pub(crate) fn agree(&self, their_public: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let shared = self.0.diffie_hellman(&PublicKey::from(*their_public));
        shared.was_contributory().then(|| Zeroizing::new(shared.to_bytes()))
    }

    #[cfg(test)]
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(StaticSecret::from(bytes))
    }
}

impl fmt::Debug for PairwiseSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairwiseSecret(redacted)")
    }
}

/// Why an advertised X25519 public key is refused. Its owner is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPublicKey {
    /// A second spelling of some other key, so that equal keys could look different.
    #[error("the X25519 public key is not in its canonical encoding")]
    NotCanonical,
    /// A point of small order: the shared secret would be known to everybody.
    #[error("the X25519 public key is a point of small order")]
    LowOrder,
}

/// Checks an advertised X25519 public key: a number below 2^255 - 19, and not of small order.
///
/// # Errors
/// [`BadPublicKey`] says which of the two it is.
pub fn check_public(public: &[u8; 32]) -> Result<(), BadPublicKey> {
    // 2^255 - 19 is, in little-endian bytes, ED FF .. FF 7F.
    let top = public[31] > 0x7f;
    let wraps = public[31] == 0x7f && public[1..31].iter().all(|b| *b == 0xff) && public[0] >= 0xed;
    if top || wraps {
        return Err(BadPublicKey::NotCanonical);
    }
    // Compared, not multiplied out: a roster of a thousand agents has thousands of keys.
    if SMALL_ORDER.contains(public) { Err(BadPublicKey::LowOrder) } else { Ok(()) }
}

/// The points of small order of Curve25519 and its twist in canonical encoding: 0 (order 2), 1
/// and -1 (order 4, the latter on the twist) and the two of order 8. Every clamped scalar is a
/// multiple of 8 and not of the large prime orders, so that exactly these give a shared secret of
/// zero (RFC 7748, section 6.1).
#[rustfmt::skip]
const SMALL_ORDER: [[u8; 32]; 5] = [
    [
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    ],
    [
        0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    ],
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
        0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
        0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
];

/// A reconstructed secret is not the one that its owner committed to in its advert: a share, or
/// the dealing of it, was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCommitted {
    /// The X25519 key derived from it is not the advertised one.
    #[error("the reconstructed pairwise key is not the advertised one")]
    Pairwise,
    /// Its hash is not the advertised commitment.
    #[error("the reconstructed self-mask seed is not the one committed to")]
    SelfSeed,
}

/// Checks a reconstructed key seed against its owner's advert.
///
/// # Errors
/// [`NotCommitted::Pairwise`].
pub fn check_pairwise(
    key_seed: &SecretScalar,
    public: &RoundPublicKeys,
) -> Result<PairwiseSecret, NotCommitted> {
    let secret = PairwiseSecret::derive(key_seed);
    if secret.public() == public.pairwise { Ok(secret) } else { Err(NotCommitted::Pairwise) }
}

/// Checks a reconstructed self seed against its owner's advert.
///
/// # Errors
/// [`NotCommitted::SelfSeed`].
pub fn check_self(self_seed: &SecretScalar, public: &RoundPublicKeys) -> Result<(), NotCommitted> {
    if self_commitment(self_seed) == public.self_commitment {
        Ok(())
    } else {
        Err(NotCommitted::SelfSeed)
    }
}

/// The commitment to a self seed: 252 uniform bits, so the hash hides it.
fn self_commitment(self_seed: &SecretScalar) -> Digest {
    Digest::of("chorale/1 self seed", &[self_seed.to_bytes().as_ref()])
}

/// 32 bytes of HKDF-SHA256 (RFC 5869); `info` is concatenated.
pub(crate) fn hkdf_sha256(
    salt: Option<&[u8]>,
    key_material: &[u8],
    info: &[&[u8]],
) -> Zeroizing<[u8; 32]> {
    let mut output = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(salt, key_material)
        .expand_multi_info(info, output.as_mut())
        .expect("32 bytes are far below HKDF's limit of 255 blocks");
    output
}

/// The points of small order of Curve25519 and its twist that are in canonical encoding.
#[cfg(test)]
pub(crate) const LOW_ORDER: [&str; 5] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

    use super::*;

    fn bytes(text: &str) -> [u8; 32] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    #[test]
    fn rfc_7748_x25519() {
        // Section 5.2, then Bob's view of section 6.1.
        for (secret, public, shared) in [
            (
                "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
                "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
                "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
            ),
            (
                "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
                "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
                "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
            ),
            (
                "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
                "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
                "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
            ),
        ] {
            let secret = PairwiseSecret::from_bytes(bytes(secret));
            assert_eq!(*secret.agree(&bytes(public)).unwrap(), bytes(shared));
        }
        let alice = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
        assert_eq!(
            PairwiseSecret::from_bytes(bytes(alice)).public(),
            bytes("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
        );
    }

    #[test]
    fn rfc_5869_hkdf_sha256() {
        // Appendix A, cases 1, 3 and 2; the first 32 bytes of each output.
        let salt: Vec<u8> = (0..13).collect();
        let info: Vec<u8> = (0xf0..0xfa).collect();
        assert_eq!(
            *hkdf_sha256(Some(&salt), &[0x0b; 22], &[&info[..3], &info[3..]]),
            bytes("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf")
        );
        assert_eq!(
            *hkdf_sha256(None, &[0x0b; 22], &[]),
            bytes("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d")
        );
        let range = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
        let (salt, info) = (range(0x60, 0xaf), range(0xb0, 0xff));
        assert_eq!(
            *hkdf_sha256(Some(&salt), &range(0, 0x4f), &[&info]),
            bytes("b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c")
        );
    }

    #[test]
    fn low_order_points_are_refused() {
        let secret =
            PairwiseSecret::derive(&SecretScalar::random(&mut ChaCha20Rng::from_seed([1; 32])));
        for point in LOW_ORDER {
            assert_eq!(check_public(&bytes(point)), Err(BadPublicKey::LowOrder), "{point}");
            assert!(secret.agree(&bytes(point)).is_none(), "{point}");
        }
        assert_eq!(SMALL_ORDER, LOW_ORDER.map(bytes));
        // Nothing near them is refused that would give a secret.
        for value in 0..64_u8 {
            let mut point = [0; 32];
            point[0] = value;
            assert_eq!(check_public(&point).is_ok(), secret.agree(&point).is_some(), "{value}");
        }
        assert_eq!(check_public(&secret.public()), Ok(()));
    }

    #[test]
    fn second_spellings_of_a_key_are_refused() {
        let p = bytes("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
        for low in [0xed, 0xee, 0xff] {
            let mut above = p;
            above[0] = low;
            assert_eq!(check_public(&above), Err(BadPublicKey::NotCanonical));
        }
        let mut top_bit = PairwiseSecret::from_bytes([7; 32]).public();
        top_bit[31] |= 0x80;
        assert_eq!(check_public(&top_bit), Err(BadPublicKey::NotCanonical));
        // The largest number below p that is not of small order: p - 3 (u = -3) or its neighbour.
        let mut below = p;
        below[0] = 0xea;
        assert_eq!(check_public(&below), Ok(()));
    }

    #[test]
    fn a_round_is_taken_once_and_matches_its_advert() {
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let mut epoch = EpochSecrets::generate(&mut rng, 3).unwrap();
        let (_, commitment, public) = epoch.advert_parts();
        assert_eq!(nonce_commitment(epoch.nonce()), commitment);
        let secret = epoch.take_round(1).unwrap();
        assert!(epoch.take_round(1).is_none() && epoch.round(1).is_none());
        assert!(epoch.take_round(3).is_none());
        assert_eq!(secret.public(), public[1]);
        assert_eq!(epoch.advert_parts().2, public);

        let key = check_pairwise(secret.key_seed(), &public[1]).unwrap();
        assert_eq!(key.public(), public[1].pairwise);
        check_self(secret.self_seed(), &public[1]).unwrap();
        for wrong in [0, 2] {
            assert!(check_pairwise(secret.key_seed(), &public[wrong]).is_err());
            assert!(check_self(secret.self_seed(), &public[wrong]).is_err());
        }
        for rounds in [0, ROUNDS_PER_EPOCH_MAX + 1] {
            assert!(EpochSecrets::generate(&mut rng, rounds).is_err());
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let mut epoch = EpochSecrets::generate(&mut rng, 1).unwrap();
        assert_eq!(format!("{epoch:?}"), "EpochSecrets(redacted, 1 rounds)");
        assert_eq!(format!("{:?}", epoch.hpke()), "HpkeSecret(redacted)");
        let round = epoch.take_round(0).unwrap();
        assert_eq!(format!("{round:?}"), "RoundSecret(redacted)");
        assert_eq!(format!("{:?}", round.key_seed()), "SecretScalar(redacted)");
        assert_eq!(format!("{:?}", round.pairwise()), "PairwiseSecret(redacted)");
    }
}
