//! How much a link has sent and received, on the wire.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quinn::Connection;

/// Bytes of UDP payload: messages, vectors and models with their framing and encryption,
/// acknowledgements, keep-alives and whatever had to be sent twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that left.
    pub sent: u64,
    /// Bytes that arrived.
    pub received: u64,
}

impl Traffic {
    fn of(connection: &Connection) -> Self {
        let stats = connection.stats();
        Self { sent: stats.udp_tx.bytes, received: stats.udp_rx.bytes }
    }

    fn plus(self, other: Self) -> Self {
        Self { sent: self.sent + other.sent, received: self.received + other.received }
    }
}

/// Counts the traffic of one link over all its connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    before: Traffic,
    current: Option<Connection>,
}

impl Counter {
    /// A connection stands. It counts until [`Self::end`].
    pub(crate) fn begin(&self, connection: &Connection) {
        self.lock().current = Some(connection.clone());
    }

    /// The connection is over.
    pub(crate) fn end(&self) {
        let mut counted = self.lock();
        if let Some(connection) = counted.current.take() {
            counted.before = counted.before.plus(Traffic::of(&connection));
        }
    }

    /// All connections so far.
    pub(crate) fn total(&self) -> Traffic {
        let counted = self.lock();
        counted
            .current
            .as_ref()
            .map_or(counted.before, |connection| counted.before.plus(Traffic::of(connection)))
    }

    /// A panic while the lock was held leaves the figures usable.
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
