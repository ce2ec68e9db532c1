//! What the coordinator sends, as bytes that any number of connections share.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use chorale_wire::{EncodeError, ToAgent, codec, limits::CONTROL_BYTES_MAX};

/// A control message that was encoded once, for any number of agents. Clones share its bytes, and
/// so do the connections that carry it: a roster of megabytes exists once for thousands of agents.
#[derive(Clone)]
pub struct EncodedMessage(Bytes);

impl EncodedMessage {
    /// Encodes a message.
    ///
    /// # Errors
    /// [`EncodeError`]: the message is too long, a mistake of the caller.
    pub fn new(message: &ToAgent) -> Result<Self, EncodeError> {
        codec::encode(message, CONTROL_BYTES_MAX).map(|bytes| Self(bytes.into()))
    }

    /// Its length in bytes, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no encoded message is empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl fmt::Debug for EncodedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedMessage({} bytes)", self.len())
    }
}

/// A model as the caller shares it.
pub(super) struct Shared(pub(super) Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
