//! One-time enrolment tokens.

use std::fmt;

use chorale_wire::Digest;
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// 32 random bytes that a store shows to have been invited; wiped when dropped, never shown. In
/// files it stands as 64 hexadecimal digits.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Token(Zeroizing<[u8; 32]>);

/// Not 64 hexadecimal digits. What was there instead is not repeated.
#[derive(Debug, thiserror::Error)]
#[error("a token has 64 hexadecimal digits")]
pub(crate) struct TokenError;

impl Token {
    pub(crate) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut());
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// SHA-256, by which authority and coordinator know the token.
    pub(crate) fn digest(&self) -> Digest {
        Digest::plain(self.0.as_ref())
    }
}

impl TryFrom<String> for Token {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, TokenError> {
        let text = Zeroizing::new(text);
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.as_bytes(), bytes.as_mut()).map_err(|_| TokenError)?;
        Ok(Self(bytes))
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        hex::encode(token.bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}
