//! The one codec: bincode 2 behind a canonical check.
//!
//! bincode accepts over-long integers, so two byte strings can decode to one value. Signatures
//! and hashes cover bytes, therefore [`decode`] re-encodes what it read and refuses any input
//! that is not its own encoding, and refuses trailing bytes. A length is checked against the
//! caller's limit before anything is allocated.

use bincode::config::{self, Config};
use serde::{Serialize, de::DeserializeOwned};

use crate::limits::MODEL_BYTES_MAX;

/// Why a value could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The value holds something the format cannot express.
    #[error("this value cannot be encoded")]
    Unsupported(#[source] bincode::error::EncodeError),
    /// The encoding is longer than the limit given by the caller.
    #[error("the encoding has {length} bytes; at most {limit} are allowed here")]
    TooLong {
        /// Length of the encoding in bytes.
        length: usize,
        /// The caller's limit in bytes.
        limit: usize,
    },
}

/// Why received bytes were refused. The sender is to blame in every variant.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than the limit given by the caller; nothing was read.
    #[error("the message has {length} bytes; at most {limit} are allowed here")]
    TooLong {
        /// Length of the input in bytes.
        length: usize,
        /// The caller's limit in bytes.
        limit: usize,
    },
    /// Not a message of this type.
    #[error("the bytes are not a message of the expected type")]
    Malformed(#[source] bincode::error::DecodeError),
    /// A message of this type followed by something else.
    #[error("{extra} bytes follow the end of the message")]
    Trailing {
        /// Number of bytes after the message.
        extra: usize,
    },
    /// Decodes, but is not the canonical encoding of what it decodes to.
    #[error("the message is not in its canonical encoding")]
    NotCanonical,
}

/// Encodes `value`, at most `limit` bytes.
///
/// # Errors
/// [`EncodeError`] when the value does not fit the format or the limit.
pub fn encode<T: Serialize>(value: &T, limit: usize) -> Result<Vec<u8>, EncodeError> {
    let bytes = bincode::serde::encode_to_vec(value, format()).map_err(EncodeError::Unsupported)?;
    if bytes.len() > limit {
        return Err(EncodeError::TooLong { length: bytes.len(), limit });
    }
    Ok(bytes)
}

/// Decodes exactly one canonical `T` from `bytes`, at most `limit` bytes.
///
/// # Errors
/// [`DecodeError`] when the input is too long, malformed, followed by other bytes or not canonical.
pub fn decode<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    limit: usize,
) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong { length: bytes.len(), limit });
    }
    let (value, read) = read(bytes).map_err(DecodeError::Malformed)?;
    if read != bytes.len() {
        return Err(DecodeError::Trailing { extra: bytes.len() - read });
    }
    match bincode::serde::encode_to_vec(&value, format()) {
        Ok(again) if again == bytes => Ok(value),
        _ => Err(DecodeError::NotCanonical),
    }
}

/// Reads one value. bincode reserves a text's claimed length before it reads it, so what a message
/// may claim follows from how long it is. A whole number of 16 bytes can stand in one byte, and
/// nothing claims more for what it takes: sixteen times its length suffices for every message.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), bincode::error::DecodeError> {
    const SHORT: usize = 4 << 10;
    const MEDIUM: usize = 1 << 20;
    match bytes.len() {
        length if length <= SHORT => {
            bincode::serde::decode_from_slice(bytes, limited::<{ 16 * SHORT }>())
        }
        length if length <= MEDIUM => {
            bincode::serde::decode_from_slice(bytes, limited::<{ 16 * MEDIUM }>())
        }
        _ => bincode::serde::decode_from_slice(bytes, format()),
    }
}

/// The only bincode configuration in the product. Of models, the longest messages, almost all
/// bytes are values that claim no more than they take.
fn format() -> impl Config {
    limited::<{ 2 * MODEL_BYTES_MAX }>()
}

fn limited<const CLAIM_BYTES_MAX: usize>() -> impl Config {
    config::standard().with_big_endian().with_limit::<CLAIM_BYTES_MAX>()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn over_long_integer_is_refused() {
        // 251 announces a u16; the value 5 needs one byte only.
        assert!(matches!(decode::<u64>(&[251, 0, 5], 16), Err(DecodeError::NotCanonical)));
        assert_eq!(decode::<u64>(&[5], 16).unwrap(), 5);
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert!(matches!(decode::<u64>(&[5, 0], 16), Err(DecodeError::Trailing { extra: 1 })));
    }

    #[test]
    fn a_claimed_length_does_not_allocate() {
        // 253 announces a u64 length of 2^62 elements.
        let claim = [253, 0x40, 0, 0, 0, 0, 0, 0, 0];
        assert!(matches!(decode::<Vec<u8>>(&claim, 64), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn a_short_message_cannot_claim_a_long_text() {
        // 252 announces a u32 length of 2^26 bytes, of which not one follows.
        let claim = [252, 0x04, 0, 0, 0];
        let refused = decode::<String>(&claim, 64);
        assert!(matches!(
            refused,
            Err(DecodeError::Malformed(bincode::error::DecodeError::LimitExceeded))
        ));
    }

    #[test]
    fn what_claims_most_for_its_length_is_read() {
        // One byte each, sixteen when read; around both steps of what may be claimed.
        for count in [4090, 5000, 1 << 20] {
            let numbers = vec![1u128; count];
            let bytes = encode(&numbers, 2 << 20).unwrap();
            assert_eq!(decode::<Vec<u128>>(&bytes, 2 << 20).unwrap(), numbers);
        }
    }

    #[test]
    fn limits_hold_both_ways() {
        assert!(matches!(encode(&[0u8; 100].as_slice(), 50), Err(EncodeError::TooLong { .. })));
        assert!(matches!(decode::<Vec<u8>>(&[0; 100], 50), Err(DecodeError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn round_trip(value: (u64, String, Vec<(u16, bool)>, Option<i128>)) {
            let bytes = encode(&value, 1 << 20).unwrap();
            prop_assert_eq!(decode::<(u64, String, Vec<(u16, bool)>, Option<i128>)>(&bytes, 1 << 20).unwrap(), value);
        }

        #[test]
        fn whatever_decodes_is_canonical(bytes: Vec<u8>) {
            if let Ok(value) = decode::<(u64, Vec<u16>)>(&bytes, 1 << 16) {
                prop_assert_eq!(encode(&value, 1 << 16).unwrap(), bytes);
            }
        }
    }
}
