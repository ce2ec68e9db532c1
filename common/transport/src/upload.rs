//! The only bulk data that an agent can send: a release of the gate, behind its signed header.

use chorale_gate::Release;
use chorale_wire::{Digest, SessionId, Signed, message::MaskedHeader};

/// A masked vector on its way out. It owns the release, so that a broken connection resumes with
/// the same bytes and nothing is ever computed twice.
pub struct Upload {
    /// Signed by the agent.
    pub header: Signed<MaskedHeader>,
    /// From the gate.
    pub release: Release,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upload({} bytes, redacted)", self.release.len())
    }
}

/// What the link needs of a release. Private, so that nothing but a [`Release`] is ever sent.
pub(crate) trait Bulk: Send + Sync {
    fn session(&self) -> SessionId;
    fn digest(&self) -> Digest;
    fn len(&self) -> u64;
    /// At most `max` bytes from `offset` on; empty only at the end.
    fn chunk(&self, offset: usize, max: usize) -> &[u8];
}

impl Bulk for Release {
    fn session(&self) -> SessionId {
        Self::session(self)
    }

    fn digest(&self) -> Digest {
        Self::digest(self)
    }

    fn len(&self) -> u64 {
        Self::len(self) as u64
    }

    fn chunk(&self, offset: usize, max: usize) -> &[u8] {
        Self::chunk(self, offset, max)
    }
}
