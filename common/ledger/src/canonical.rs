//! Canonical JSON: one value has exactly one text.
//!
//! Keys sorted by their bytes, no white space, no fractions, no `null`. A whole number above
//! 2^53 - 1 is written as a decimal string, because many readers would round it. A line is
//! accepted only when it is byte-identical to the re-encoding of what it was read as.

use chorale_wire::{Digest, PublicKey, Signature};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

/// Largest whole number that every JSON reader keeps exactly.
const SAFE_MAX: u64 = (1 << 53) - 1;

/// Why a value has no canonical text. The program is to blame.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// Something inside cannot be serialised, for example a rational of more than 4,096 characters.
    #[error("an entry cannot be written")]
    Serialise(#[from] serde_json::Error),
    /// `null`, a negative number or a fraction.
    #[error("an entry holds {what}, which the ledger's format has no place for")]
    Foreign {
        /// What was found.
        what: &'static str,
    },
}

/// The canonical text of `value`.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<String, CanonicalError> {
    let mut text = String::new();
    write(&serde_json::to_value(value)?, &mut text)?;
    Ok(text)
}

fn write(value: &Value, text: &mut String) -> Result<(), CanonicalError> {
    match value {
        Value::Null => return Err(CanonicalError::Foreign { what: "null" }),
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => match number.as_u64() {
            Some(whole) if whole <= SAFE_MAX => text.push_str(&whole.to_string()),
            Some(whole) => text.push_str(&format!("\"{whole}\"")),
            None => return Err(CanonicalError::Foreign { what: "a negative number or fraction" }),
        },
        Value::String(string) => text.push_str(&serde_json::to_string(string)?),
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write(item, text)?;
            }
            text.push(']');
        }
        Value::Object(fields) => {
            // Sorted here, since another crate may switch the map's own order.
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| key.as_bytes());
            text.push('{');
            for (position, (key, value)) in fields.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                text.push_str(&serde_json::to_string(key)?);
                text.push(':');
                write(value, text)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

/// A whole number as the writer puts it: a number, or a string above 2^53 - 1.
pub(crate) fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Whole {
        Number(u64),
        Text(String),
    }
    match Whole::deserialize(from)? {
        Whole::Number(number) => Ok(number),
        Whole::Text(text) => text.parse().map_err(D::Error::custom),
    }
}

/// [`whole`] for the numbered identifiers.
pub(crate) fn number<'de, D: Deserializer<'de>, T: FromWhole>(from: D) -> Result<T, D::Error> {
    whole(from).map(T::from_whole)
}

/// The numbered identifiers.
pub(crate) trait FromWhole {
    fn from_whole(number: u64) -> Self;
}

impl FromWhole for chorale_wire::RoundNumber {
    fn from_whole(number: u64) -> Self {
        Self(number)
    }
}

impl FromWhole for chorale_wire::Epoch {
    fn from_whole(number: u64) -> Self {
        Self(number)
    }
}

/// 32 bytes in 64 lower-case hexadecimal digits.
pub(crate) trait Bytes32: Sized {
    fn bytes(&self) -> &[u8; 32];
    fn from_bytes32(bytes: [u8; 32]) -> Self;
}

impl Bytes32 for Digest {
    fn bytes(&self) -> &[u8; 32] {
        self.as_bytes()
    }
    fn from_bytes32(bytes: [u8; 32]) -> Self {
        Self::from_bytes(bytes)
    }
}

impl Bytes32 for PublicKey {
    fn bytes(&self) -> &[u8; 32] {
        self.as_bytes()
    }
    fn from_bytes32(bytes: [u8; 32]) -> Self {
        Self::from_bytes(bytes)
    }
}

/// Serde for one value of 32 bytes.
pub(crate) mod hex32 {
    use super::*;

    pub(crate) fn serialize<T: Bytes32, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(value.bytes()))
    }

    pub(crate) fn deserialize<'de, T: Bytes32, D: Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        parse(&String::deserialize(from)?).ok_or_else(|| D::Error::custom("expected 64 hex digits"))
    }

    pub(super) fn parse<T: Bytes32>(text: &str) -> Option<T> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(T::from_bytes32(bytes))
    }
}

/// Serde for one value of 32 bytes that may be absent.
pub(crate) mod hex32_option {
    use super::*;

    pub(crate) fn serialize<T: Bytes32, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(|value| hex::encode(value.bytes())).serialize(to)
    }

    pub(crate) fn deserialize<'de, T: Bytes32, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        hex32::deserialize(from).map(Some)
    }
}

/// Serde for a list of values of 32 bytes.
pub(crate) mod hex32_list {
    use super::*;

    pub(crate) fn serialize<T: Bytes32, S: Serializer>(
        values: &[T],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(|value| hex::encode(value.bytes())))
    }

    pub(crate) fn deserialize<'de, T: Bytes32, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        Vec::<String>::deserialize(from)?
            .iter()
            .map(|text| hex32::parse(text))
            .collect::<Option<Vec<T>>>()
            .ok_or_else(|| D::Error::custom("expected 64 hex digits each"))
    }
}

/// Serde for a signature.
pub(crate) mod hex64 {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(value: &Signature, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(value.as_bytes()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Signature, D::Error> {
        parse(&String::deserialize(from)?)
            .ok_or_else(|| D::Error::custom("expected 128 hex digits"))
    }

    pub(super) fn parse(text: &str) -> Option<Signature> {
        let mut bytes = [0; 64];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Signature::from_bytes(bytes))
    }
}

/// Serde for a list of signatures.
pub(crate) mod hex64_list {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(values: &[Signature], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(|value| hex::encode(value.as_bytes())))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Signature>, D::Error> {
        Vec::<String>::deserialize(from)?
            .iter()
            .map(|text| hex64::parse(text))
            .collect::<Option<Vec<Signature>>>()
            .ok_or_else(|| D::Error::custom("expected 128 hex digits each"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn one_text() {
        let value = json!({"b": [1, true, "x\"\\é"], "a": {"z": 0, "y": SAFE_MAX}});
        let text = r#"{"a":{"y":9007199254740991,"z":0},"b":[1,true,"x\"\\é"]}"#;
        assert_eq!(encode(&value).unwrap(), text);
        assert_eq!(encode(&json!([SAFE_MAX + 1])).unwrap(), "[\"9007199254740992\"]");
        for foreign in [json!(null), json!(-1), json!(0.5)] {
            assert!(matches!(encode(&foreign), Err(CanonicalError::Foreign { .. })));
        }
    }
}
