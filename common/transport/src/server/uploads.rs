//! Receiving masked vectors: at most one for each agent, resumable, in bounded memory.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    ops::Deref,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chorale_wire::{
    AgentId, Digest, Hashed, Hashing, SessionId, Signed, codec,
    message::{MaskedHeader, Reason},
};
use quinn::{Connection, RecvStream, SendStream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{ServerEvent, Shared};
use crate::{
    bounds::{CHUNK_BYTES, PARTIAL_UPLOAD_KEEP},
    fault::ConnectionFault,
    frame::{self, HEADER_BYTES_MAX, UploadAnswer},
};

/// Memory is counted in units of this many bytes.
const MEMORY_UNIT_BYTES: usize = 1024;

/// The vectors that are being received.
pub(super) struct UploadStore {
    vector_bytes_max: usize,
    memory: Arc<Semaphore>,
    expected: Mutex<Expected>,
    slots: Mutex<HashMap<AgentId, Arc<Mutex<Slot>>>>,
}

/// Which vectors are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Any,
    Nothing,
    One { session: SessionId, length: u64 },
}

/// One agent's upload.
enum Slot {
    Empty,
    Partial(Box<Partial>),
    /// Handed on; a repeated offer is acknowledged and not handed on again.
    Delivered(Digest),
}

struct Partial {
    /// Digest of the header: the same header, the same bytes.
    key: Digest,
    header: MaskedHeader,
    received: Hashing,
    touched: Instant,
    memory: OwnedSemaphorePermit,
}

/// A vector that arrived whole. It counts against the memory for uploads until it is dropped, so
/// that the vectors that wait to be added are bounded together with those on their way.
pub struct ArrivedVector {
    vector: Hashed,
    _memory: OwnedSemaphorePermit,
}

impl Deref for ArrivedVector {
    type Target = Hashed;

    fn deref(&self) -> &Hashed {
        &self.vector
    }
}

impl fmt::Debug for ArrivedVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.vector.fmt(f)
    }
}

/// A vector is not taken.
struct Refusal {
    reason: String,
    retry: bool,
}

impl Refusal {
    fn final_(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: false }
    }
}

impl UploadStore {
    pub(super) fn new(vector_bytes_max: usize, memory_bytes_max: usize) -> Self {
        let units = (memory_bytes_max / MEMORY_UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self {
            vector_bytes_max: vector_bytes_max.min(memory_bytes_max),
            memory: Arc::new(Semaphore::new(units)),
            expected: Mutex::new(Expected::Any),
            slots: Mutex::default(),
        }
    }

    pub(super) fn expect(&self, session: SessionId, length: u64) {
        *lock(&self.expected) = Expected::One { session, length };
        self.keep_only(|partial| partial.header.session == session);
    }

    pub(super) fn expect_none(&self) {
        *lock(&self.expected) = Expected::Nothing;
        self.keep_only(|_| false);
    }

    /// Forgets partial vectors that nobody resumed in time.
    pub(super) fn sweep(&self) {
        self.keep_only(|partial| partial.touched.elapsed() < PARTIAL_UPLOAD_KEEP);
    }

    fn keep_only(&self, keep: impl Fn(&Partial) -> bool) {
        for slot in lock(&self.slots).values() {
            let mut slot = lock(slot);
            if matches!(&*slot, Slot::Partial(partial) if !keep(partial)) {
                *slot = Slot::Empty;
            }
        }
    }

    fn slot(&self, agent: &AgentId) -> Arc<Mutex<Slot>> {
        lock(&self.slots)
            .entry(agent.clone())
            .or_insert_with(|| Arc::new(Mutex::new(Slot::Empty)))
            .clone()
    }

    /// Makes room for a vector, or finds what has arrived of it; the bytes present. Nothing is
    /// allocated for a vector that is too long, not expected, or above the memory for all.
    fn begin(
        &self,
        slot: &Mutex<Slot>,
        key: Digest,
        header: &MaskedHeader,
    ) -> Result<u64, Refusal> {
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        if length == 0 || length > self.vector_bytes_max {
            return Err(Refusal::final_(format!(
                "a vector of {length} bytes; 1 to {} are allowed",
                self.vector_bytes_max
            )));
        }
        let mut slot = lock(slot);
        match &mut *slot {
            Slot::Delivered(delivered) if *delivered == key => return Ok(header.length),
            _ => {}
        }
        match *lock(&self.expected) {
            Expected::Any => {}
            Expected::One { session, length } if header.session == session => {
                if header.length != length {
                    return Err(Refusal::final_(format!(
                        "the vectors of this session have {length} bytes, not {}",
                        header.length
                    )));
                }
            }
            _ => {
                return Err(Refusal::final_(
                    "no vector of this session is taken: it is over, or declared without it",
                ));
            }
        }
        if let Slot::Partial(partial) = &mut *slot
            && partial.key == key
        {
            partial.touched = Instant::now();
            return Ok(partial.received.len() as u64);
        }
        *slot = Slot::Empty;
        let units = u32::try_from(length.div_ceil(MEMORY_UNIT_BYTES)).unwrap_or(u32::MAX);
        let memory = self.memory.clone().try_acquire_many_owned(units).map_err(|_| Refusal {
            reason: "other vectors fill the memory for uploads; try again".into(),
            retry: true,
        })?;
        *slot = Slot::Partial(Box::new(Partial {
            key,
            header: header.clone(),
            received: Hashing::with_capacity(length),
            touched: Instant::now(),
            memory,
        }));
        Ok(0)
    }
}

/// The partial vector behind `key`; `None` where it was forgotten or replaced meanwhile.
fn partial(slot: &mut Slot, key: Digest) -> Option<&mut Partial> {
    match slot {
        Slot::Partial(partial) if partial.key == key => Some(partial),
        _ => None,
    }
}

/// A panic while a lock was held leaves the value usable: every change is one operation.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Receiving<'a> = Pin<Box<dyn Future<Output = Result<(), ConnectionFault>> + Send + 'a>>;

/// Takes upload streams for as long as the connection lives. A newer stream ends an older one.
pub(super) async fn receive_all(
    shared: &Shared,
    agent: &AgentId,
    connection: &Connection,
) -> ConnectionFault {
    let mut current: Option<Receiving<'_>> = None;
    loop {
        tokio::select! {
            accepted = connection.accept_bi() => match accepted {
                Ok((send, receive)) => {
                    current = Some(Box::pin(receive_one(shared, agent, send, receive)));
                }
                Err(lost) => return lost.into(),
            },
            outcome = async { match current.as_mut() {
                Some(receiving) => receiving.await,
                None => std::future::pending().await,
            } } => {
                current = None;
                match outcome {
                    Err(fault @ ConnectionFault::Protocol { .. }) => return fault,
                    Err(fault) => tracing::debug!(%agent, %fault, "upload interrupted"),
                    Ok(()) => {}
                }
            }
        }
    }
}

async fn receive_one(
    shared: &Shared,
    agent: &AgentId,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<(), ConnectionFault> {
    if frame::read_kind(&mut receive).await? != frame::STREAM_UPLOAD {
        return Err(ConnectionFault::protocol("an unknown kind of stream"));
    }
    let bytes = frame::read_frame(&mut receive, HEADER_BYTES_MAX)
        .await?
        .ok_or_else(|| ConnectionFault::protocol("an upload without a header"))?;
    let malformed = |error| ConnectionFault::protocol(format!("header of an upload: {error}"));
    let signed: Signed<MaskedHeader> =
        codec::decode(&bytes, HEADER_BYTES_MAX).map_err(malformed)?;
    let header = signed.peek().map_err(malformed)?;
    let key = Digest::plain(&bytes);
    let slot = shared.uploads.slot(agent);
    let offset = match shared.uploads.begin(&slot, key, &header) {
        Ok(offset) => offset,
        Err(refusal) => return refuse(&mut send, refusal).await,
    };
    answer(&mut send, &UploadAnswer::Continue { offset }).await?;
    if !matches!(&*lock(&slot), Slot::Delivered(delivered) if *delivered == key) {
        if let Err(refusal) = receive_bytes(&slot, key, header.length, &mut receive).await? {
            return refuse(&mut send, refusal).await;
        }
        if let Err(refusal) = deliver(shared, agent, &slot, key, signed).await {
            return refuse(&mut send, refusal).await;
        }
    }
    answer(&mut send, &UploadAnswer::Accepted).await?;
    // An error means that the stream is finished already.
    let _ = send.finish();
    Ok(())
}

/// Appends what arrives until the vector is whole.
async fn receive_bytes(
    slot: &Mutex<Slot>,
    key: Digest,
    length: u64,
    receive: &mut RecvStream,
) -> Result<Result<(), Refusal>, ConnectionFault> {
    loop {
        let chunk =
            frame::within_stall(async { Ok(receive.read_chunk(CHUNK_BYTES, true).await?) }).await?;
        let mut slot = lock(slot);
        let Some(partial) = partial(&mut slot, key) else {
            return Ok(Err(Refusal::final_("the session ended while its vector was on the way")));
        };
        let Some(chunk) = chunk else {
            if partial.received.len() as u64 == length {
                return Ok(Ok(()));
            }
            return Err(ConnectionFault::Lost { detail: "the vector ended early".into() });
        };
        if (partial.received.len() + chunk.bytes.len()) as u64 > length {
            *slot = Slot::Empty;
            return Err(ConnectionFault::protocol(format!(
                "more than the {length} bytes that the header announced"
            )));
        }
        partial.received.push(&chunk.bytes);
        partial.touched = Instant::now();
    }
}

/// Hands the vector to the driver. The place in the queue is taken first, so that the vector is
/// either kept here or handed on, however the connection ends.
async fn deliver(
    shared: &Shared,
    agent: &AgentId,
    slot: &Mutex<Slot>,
    key: Digest,
    header: Signed<MaskedHeader>,
) -> Result<(), Refusal> {
    let Ok(place) = shared.events.reserve().await else {
        return Err(Refusal { reason: "the coordinator stops".into(), retry: true });
    };
    let mut slot = lock(slot);
    if partial(&mut slot, key).is_none() {
        return Err(Refusal::final_("the session ended while its vector was on the way"));
    }
    let Slot::Partial(whole) = std::mem::replace(&mut *slot, Slot::Delivered(key)) else {
        return Err(Refusal::final_("no such upload"));
    };
    let Partial { header: expected, received, memory, .. } = *whole;
    let vector = received.finish();
    if vector.digest() != expected.digest {
        *slot = Slot::Empty;
        return Err(Refusal::final_("the vector's SHA-256 is not the one in its signed header"));
    }
    let vector = ArrivedVector { vector, _memory: memory };
    place.send(ServerEvent::Vector { agent: agent.clone(), header, vector });
    Ok(())
}

async fn refuse(send: &mut SendStream, refusal: Refusal) -> Result<(), ConnectionFault> {
    let reason = Reason::new(&refusal.reason);
    answer(send, &UploadAnswer::Refused { reason, retry: refusal.retry }).await?;
    // An error means that the stream is finished already.
    let _ = send.finish();
    Ok(())
}

async fn answer(send: &mut SendStream, answer: &UploadAnswer) -> Result<(), ConnectionFault> {
    let bytes = codec::encode(answer, frame::ANSWER_BYTES_MAX)
        .map_err(|error| ConnectionFault::protocol(error.to_string()))?;
    frame::write_frame(send, &bytes).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chorale_wire::{Epoch, RoundNumber, SlotSet};

    use super::*;

    fn header(round: u64, length: u64) -> MaskedHeader {
        let digest = Digest::plain(b"any");
        let cohort = SlotSet::empty(4);
        let session = SessionId::new(Epoch(1), RoundNumber(round), &digest, &digest, &cohort);
        MaskedHeader { session, slot: chorale_wire::Slot(0), length, digest, noise: None }
    }

    fn key(name: &str) -> Digest {
        Digest::plain(name.as_bytes())
    }

    #[test]
    fn memory_is_bounded_and_a_partial_vector_gives_way_to_a_newer_session() {
        let store = UploadStore::new(2_000_000, 1_500_000);
        let (one, two) = (AgentId::new("a").unwrap(), AgentId::new("b").unwrap());
        let (one, two) = (store.slot(&one), store.slot(&two));
        let first = header(1, 1_000_000);
        assert_eq!(store.begin(&one, key("1"), &first).ok(), Some(0));
        // The other one has to wait, and is not refused for good.
        assert!(store.begin(&two, key("2"), &first).is_err_and(|refusal| refusal.retry));
        // The same header resumes; it takes no memory twice.
        if let Slot::Partial(partial) = &mut *lock(&one) {
            partial.received.push(&[0; 10]);
        }
        assert_eq!(store.begin(&one, key("1"), &first).ok(), Some(10));
        // A new session frees what was kept for the old one.
        let second = header(2, 1_000_000);
        store.expect(second.session, 1_000_000);
        assert!(matches!(&*lock(&one), Slot::Empty));
        assert_eq!(store.begin(&two, key("3"), &second).ok(), Some(0));
        assert!(store.begin(&one, key("1"), &first).is_err_and(|refusal| !refusal.retry));
        // Longer than all the memory is refused for good.
        let over_long = header(2, 1_600_000);
        assert!(store.begin(&one, key("4"), &over_long).is_err_and(|refusal| !refusal.retry));
    }

    #[test]
    fn a_vector_that_was_handed_on_is_acknowledged_again_and_not_taken_again() {
        let store = UploadStore::new(1000, 1000);
        let slot = store.slot(&AgentId::new("a").unwrap());
        *lock(&slot) = Slot::Delivered(key("1"));
        store.expect_none();
        assert_eq!(store.begin(&slot, key("1"), &header(1, 700)).ok(), Some(700));
        assert!(store.begin(&slot, key("2"), &header(1, 700)).is_err());
    }
}
