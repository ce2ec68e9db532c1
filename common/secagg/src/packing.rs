//! Packing of coordinates to w bits each, little-endian and without gaps.
//!
//! Coordinate `i` occupies bits `i·w` to `(i+1)·w - 1`; bit `k` of the vector is bit `k mod 8` of
//! byte `k / 8`. The bits that fill the last byte are zero.

use crate::{keystream::Lane, mask::Modulus};

/// Coordinates that are packed at a time: they fill w words of 64 bits exactly.
pub(crate) const GROUP: usize = 64;

/// Why bytes are no packed vector. Who sent them is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackingError {
    /// Too short or too long.
    #[error("a packed vector has {length} bytes instead of {expected}")]
    Length {
        /// Bytes found.
        length: usize,
        /// Bytes that the round's vector needs.
        expected: usize,
    },
    /// A bit after the last coordinate is set.
    #[error("the bits that fill the last byte of a packed vector are not zero")]
    Padding,
}

/// Bytes of a packed vector of `coordinates` coordinates.
#[must_use]
pub const fn packed_len(coordinates: usize, modulus: Modulus) -> usize {
    // In two parts, so that no vector overflows where usize has 32 bits.
    let bits = modulus.bits() as usize;
    coordinates / 8 * bits + (coordinates % 8 * bits).div_ceil(8)
}

/// Packs the low w bits of each value.
#[must_use]
pub fn pack(values: &[u64], modulus: Modulus) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(packed_len(values.len(), modulus));
    pack_onto(values, modulus, &mut bytes);
    bytes
}

/// Unpacks `coordinates` values below 2^w.
///
/// # Errors
/// [`PackingError`] when the length is wrong or a padding bit is set.
pub fn unpack(
    bytes: &[u8],
    coordinates: usize,
    modulus: Modulus,
) -> Result<Vec<u64>, PackingError> {
    check(bytes, coordinates, modulus)?;
    let mut values = vec![0; coordinates];
    add_packed(&mut values, bytes, modulus);
    Ok(values)
}

/// Checks that `bytes` are a packed vector of `coordinates` coordinates.
///
/// # Errors
/// [`PackingError`] when the length is wrong or a padding bit is set.
pub fn check(bytes: &[u8], coordinates: usize, modulus: Modulus) -> Result<(), PackingError> {
    let expected = packed_len(coordinates, modulus);
    if bytes.len() != expected {
        return Err(PackingError::Length { length: bytes.len(), expected });
    }
    let used = coordinates % 8 * usize::from(modulus.bits()) % 8;
    match bytes.last() {
        Some(last) if used != 0 && last >> used != 0 => Err(PackingError::Padding),
        _ => Ok(()),
    }
}

/// Appends packed lanes. Unless it is the last part of a vector, a part must be a multiple of
/// [`GROUP`] lanes, so that the next one starts at a whole byte.
pub(crate) fn pack_onto<L: Lane>(lanes: &[L], modulus: Modulus, bytes: &mut Vec<u8>) {
    let bits = usize::from(modulus.bits());
    let mask = modulus.mask();
    for group in lanes.chunks(GROUP) {
        let mut words = [0u64; GROUP];
        for (index, lane) in group.iter().enumerate() {
            let value = lane.to_u64() & mask;
            let (word, shift) = (index * bits / 64, index * bits % 64);
            // Two shifts, because one by 64 is not defined. The indices are below 64 as w is at
            // most 62; the masks let the compiler see it.
            words[word & 63] |= value << shift;
            words[(word + 1) & 63] |= (value >> 1) >> (63 - shift);
        }
        let mut left = (group.len() * bits).div_ceil(8);
        for word in words.iter().take(bits) {
            let take = left.min(8);
            bytes.extend_from_slice(&word.to_le_bytes()[..take]);
            left -= take;
        }
    }
}

/// Adds a packed vector that [`check`] accepted to as many lanes. Lanes are not reduced.
pub(crate) fn add_packed<L: Lane>(lanes: &mut [L], bytes: &[u8], modulus: Modulus) {
    let bits = usize::from(modulus.bits());
    let mask = modulus.mask();
    let groups = lanes.chunks_mut(GROUP).zip(bytes.chunks(GROUP / 8 * bits));
    for (group, packed) in groups {
        let mut words = [0u64; GROUP];
        for (word, part) in words.iter_mut().zip(packed.chunks(8)) {
            let mut padded = [0; 8];
            padded[..part.len()].copy_from_slice(part);
            *word = u64::from_le_bytes(padded);
        }
        for (index, lane) in group.iter_mut().enumerate() {
            let (word, shift) = (index * bits / 64, index * bits % 64);
            let low = words[word & 63] >> shift;
            let high = (words[(word + 1) & 63] << 1) << (63 - shift);
            *lane = lane.plus(L::from_u64((low | high) & mask));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn modulus(bits: u8) -> Modulus {
        Modulus::new(bits).unwrap()
    }

    #[test]
    fn known_layout() {
        // 0x123, 0xabc, 0x7ff at 12 bits: nibbles 3 2 1 c b a f f 7 and a zero one.
        let bytes = pack(&[0x123, 0xabc, 0x7ff], modulus(12));
        assert_eq!(bytes, [0x23, 0xc1, 0xab, 0xff, 0x07]);
        assert_eq!(unpack(&bytes, 3, modulus(12)).unwrap(), [0x123, 0xabc, 0x7ff]);
    }

    #[test]
    fn wrong_length_and_padding_are_refused() {
        let good = pack(&[1, 2, 3], modulus(12));
        for bytes in [&good[..4], &[&good[..], &[0]].concat(), &[]] {
            assert!(matches!(
                unpack(bytes, 3, modulus(12)),
                Err(PackingError::Length { expected: 5, .. })
            ));
        }
        for bit in 4..8 {
            let mut bad = good.clone();
            bad[4] |= 1 << bit;
            assert_eq!(unpack(&bad, 3, modulus(12)), Err(PackingError::Padding));
        }
        // Without padding every bit is a coordinate's.
        assert_eq!(unpack(&[0xff; 3], 2, modulus(12)).unwrap(), [0xfff; 2]);
    }

    /// Bit by bit, as the module's documentation words it.
    fn slow_pack(values: &[u64], bits: usize) -> Vec<u8> {
        let mut bytes = vec![0u8; (values.len() * bits).div_ceil(8)];
        for (index, value) in values.iter().enumerate() {
            for bit in (0..bits).filter(|bit| value >> bit & 1 == 1) {
                let position = index * bits + bit;
                bytes[position / 8] |= 1 << (position % 8);
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn round_trip(bits in Modulus::BITS_MIN..=Modulus::BITS_MAX, values in proptest::collection::vec(any::<u64>(), 0..300)) {
            let modulus = modulus(bits);
            let bytes = pack(&values, modulus);
            prop_assert_eq!(bytes.len(), packed_len(values.len(), modulus));
            let reduced: Vec<u64> = values.iter().map(|value| value & modulus.mask()).collect();
            prop_assert_eq!(&bytes, &slow_pack(&reduced, usize::from(bits)));
            prop_assert_eq!(unpack(&bytes, values.len(), modulus).unwrap(), reduced);
        }

        #[test]
        fn parts_join_without_a_seam(bits in Modulus::BITS_MIN..=32, values in proptest::collection::vec(any::<u32>(), 129..300)) {
            let modulus = modulus(bits);
            let mut joined = Vec::new();
            for part in values.chunks(2 * GROUP) {
                pack_onto(part, modulus, &mut joined);
            }
            let wide: Vec<u64> = values.iter().copied().map(u64::from).collect();
            prop_assert_eq!(joined, pack(&wide, modulus));
        }

        #[test]
        fn whatever_unpacks_is_canonical(bits in Modulus::BITS_MIN..=Modulus::BITS_MAX, coordinates in 0usize..40, noise in proptest::collection::vec(any::<u8>(), 320)) {
            let modulus = modulus(bits);
            let bytes = &noise[..packed_len(coordinates, modulus)];
            if let Ok(values) = unpack(bytes, coordinates, modulus) {
                prop_assert_eq!(pack(&values, modulus), bytes);
            }
        }
    }
}
