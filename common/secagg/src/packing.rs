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
    let mut bytes = vec![0; packed_len(values.len(), modulus)];
    pack_into(values, modulus, &mut bytes);
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

/// Packs lanes into as many bytes as [`packed_len`] says. Unless it is the last part of a vector,
/// a part must be a multiple of [`GROUP`] lanes, so that the next one starts at a whole byte.
pub(crate) fn pack_into<L: Lane>(lanes: &[L], modulus: Modulus, bytes: &mut [u8]) {
    if modulus.bits() == 32 {
        for (bytes, lane) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(lanes) {
            *bytes = (lane.to_u64() as u32).to_le_bytes();
        }
        return;
    }
    let bits = usize::from(modulus.bits());
    let mask = modulus.mask();
    for (lanes, bytes) in lanes.chunks(GROUP).zip(bytes.chunks_mut(GROUP / 8 * bits)) {
        let mut values = [0u64; GROUP];
        for (value, lane) in values.iter_mut().zip(lanes) {
            *value = lane.to_u64() & mask;
        }
        let mut words = [0u64; GROUP];
        if bits <= 32 {
            let mut pairs = [0u64; GROUP / 2];
            for (pair, two) in pairs.iter_mut().zip(values.as_chunks::<2>().0) {
                *pair = two[0] | two[1] << bits;
            }
            join(&pairs, 2 * bits, &mut words);
        } else {
            join(&values, bits, &mut words);
        }
        for (bytes, word) in bytes.chunks_mut(8).zip(&words) {
            bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
        }
    }
}

/// Writes values of at most 64 bits one after another. Without branches: whether a word is full is
/// a different question for every width and place.
fn join(values: &[u64], bits: usize, words: &mut [u64; GROUP]) {
    let (mut word, mut index, mut filled) = (0u64, 0usize, 0usize);
    for value in values {
        word |= value << filled;
        // The mask lets the compiler see that the index is in range; there are at most 62 words.
        words[index % GROUP] = word;
        let end = filled + bits;
        let full = end / 64;
        // What did not fit: two shifts, because one by 64 is not defined.
        let spilt = (value >> 1) >> (63 - filled);
        word = if full == 1 { spilt } else { word };
        index += full;
        filled = end % 64;
    }
}

/// Adds a packed vector that [`check`] accepted to as many lanes. Lanes are not reduced.
pub(crate) fn add_packed<L: Lane>(lanes: &mut [L], bytes: &[u8], modulus: Modulus) {
    if modulus.bits() == 32 {
        for (lane, bytes) in lanes.iter_mut().zip(bytes.as_chunks().0) {
            *lane = lane.plus(L::from_u64(u32::from_le_bytes(*bytes).into()));
        }
        return;
    }
    // A value of up to 57 bits lies in 8 bytes, wherever in the first of them it starts.
    if modulus.bits() <= 57 {
        add_groups(lanes, bytes, modulus, |bytes, start, shift| {
            u64::from_le_bytes(bytes_at(bytes, start)) >> shift
        });
    } else {
        add_groups(lanes, bytes, modulus, |bytes, start, shift| {
            (u128::from_le_bytes(bytes_at(bytes, start)) >> shift) as u64
        });
    }
}

/// Bytes that a group is read from: values start in the first 496, and 16 more hold the last one.
const WINDOW: usize = 512 + 16;

#[inline(always)]
fn add_groups<L: Lane>(
    lanes: &mut [L],
    bytes: &[u8],
    modulus: Modulus,
    value_at: impl Fn(&[u8; WINDOW], usize, usize) -> u64,
) {
    let bits = usize::from(modulus.bits());
    let mask = modulus.mask();
    let mut padded = [0; WINDOW];
    for (group, lanes) in lanes.chunks_mut(GROUP).enumerate() {
        let bytes = &bytes[group * (GROUP / 8) * bits..];
        // Only the last groups have to be copied to where more bytes follow.
        let window = bytes.first_chunk().unwrap_or_else(|| {
            padded[..bytes.len()].copy_from_slice(bytes);
            &padded
        });
        for (index, lane) in lanes.iter_mut().enumerate() {
            let value = value_at(window, index * bits / 8 % 512, index * bits % 8);
            *lane = lane.plus(L::from_u64(value & mask));
        }
    }
}

#[inline(always)]
fn bytes_at<const N: usize>(bytes: &[u8; WINDOW], start: usize) -> [u8; N] {
    let mut found = [0; N];
    found.copy_from_slice(&bytes[start..start + N]);
    found
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
            let mut joined = vec![0; packed_len(values.len(), modulus)];
            let parts = values.chunks(2 * GROUP);
            for (part, bytes) in parts.zip(joined.chunks_mut(GROUP / 4 * usize::from(bits))) {
                pack_into(part, modulus, bytes);
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
