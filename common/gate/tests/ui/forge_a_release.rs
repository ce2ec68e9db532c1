//! A release cannot be put together from bytes.
use chorale_gate::Release;
use chorale_wire::{Digest, SessionId};

fn release(session: SessionId, digest: Digest, bytes: Vec<u8>) -> Release {
    Release { session, digest, bytes }
}

fn main() {}
