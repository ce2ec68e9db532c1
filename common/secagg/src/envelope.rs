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
