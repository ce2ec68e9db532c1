//! Packed vectors, and the plaintext of share envelopes.

use chorale_secagg::{Modulus, envelope, packing, shamir};
use chorale_wire::limits::ROUNDS_PER_EPOCH_MAX;

use crate::{Verdict, choices::Choices};

/// A packed vector: bits, number of coordinates (two bytes), then the vector.
pub fn packing(data: &[u8]) -> Verdict {
    let mut choices = Choices::new(data);
    let Ok(modulus) = Modulus::new(choices.byte()) else { return Verdict::Refused };
    let coordinates = usize::from(u16::from_be_bytes([choices.byte(), choices.byte()]));
    let bytes = choices.rest();
    let checked = packing::check(bytes, coordinates, modulus);
    let unpacked = packing::unpack(bytes, coordinates, modulus);
    assert_eq!(checked.is_ok(), unpacked.is_ok(), "checking and unpacking disagree");
    let Ok(values) = unpacked else { return Verdict::Refused };
    assert_eq!(values.len(), coordinates);
    assert!(values.iter().all(|value| value >> modulus.bits() == 0), "a value above the modulus");
    assert_eq!(packing::pack(&values, modulus), bytes, "two packings of one vector");
    Verdict::Accepted
}

/// The shares of an epoch: number of rounds, threshold, then the plaintext of an envelope.
/// Whatever shares a dealer sends, reconstruction from them fails or gives a scalar.
pub fn share_plaintext(data: &[u8]) -> Verdict {
    let mut choices = Choices::new(data);
    let rounds = usize::from(choices.byte());
    let threshold = usize::from(choices.byte());
    let bytes = choices.rest();
    let Ok(shares) = envelope::decode_shares(bytes, rounds) else { return Verdict::Refused };
    assert!(rounds <= ROUNDS_PER_EPOCH_MAX && shares.len() == rounds);
    assert_eq!(envelope::encode_shares(&shares).as_slice(), bytes, "two plaintexts for one set");
    // The shares of all rounds as if they were of one secret, at points that the input chooses.
    let points: Vec<_> = shares
        .iter()
        .enumerate()
        .map(|(index, share)| {
            let point = u64::from(bytes[64 * index]) % 70;
            (point, share.key.clone())
        })
        .collect();
    let distinct =
        points.iter().map(|(point, _)| *point).collect::<std::collections::BTreeSet<_>>();
    let usable = distinct.len() == points.len() && !distinct.contains(&0);
    let enough = threshold > 0 && points.len() >= threshold;
    let secret = shamir::reconstruct(&points, threshold);
    assert_eq!(secret.is_ok(), usable && enough, "points or threshold were not checked");
    Verdict::Accepted
}
