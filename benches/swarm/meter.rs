//! When each phase began at the first agent, and what everybody had used by then.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use chorale_transport::LinkSender;

use crate::process::Usage;

/// How often the coordinator's process is looked at, so that what it used last is known when it
/// has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The beginning of a phase, in order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    /// Keys and certificates are made; agents begin to connect.
    Connect,
    /// EPOCH-OPEN.
    Advertise,
    /// ROSTER.
    Roster,
    /// ROSTER-QC.
    Deal,
    /// SHARES.
    Accept,
    /// The epoch is ready.
    Ready,
    /// ROUND-OPEN of a round.
    Open(u64),
    /// COMMIT.
    Mask(u64),
    /// SURVIVORS.
    Vote(u64),
    /// The survivors' certificate.
    Reveal(u64),
    /// The coordinator has model and ledger of a round.
    Over(u64),
}

/// What everybody had used at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) coordinator: Usage,
    pub(crate) agents: Usage,
    /// Bytes on the wire that left and reached agents.
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// Shared by all agents and whoever follows the coordinator.
pub(crate) struct Meter {
    coordinator: u32,
    ended: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    last: Usage,
    links: Vec<LinkSender>,
    marks: BTreeMap<Mark, Moment>,
}

impl Meter {
    /// A meter of the coordinator's process and of this one.
    pub(crate) fn new(coordinator: u32) -> Self {
        Self { coordinator, ended: AtomicBool::new(false), inner: Mutex::default() }
    }

    /// Looks at the coordinator's process until [`Self::end`]; runs on a thread of its own.
    pub(crate) fn watch(&self) {
        while !self.ended.load(Ordering::Relaxed) {
            self.look();
            #[expect(clippy::disallowed_methods, reason = "a thread that looks at a process")]
            std::thread::sleep(LOOK);
        }
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// A link counts from now on.
    pub(crate) fn count(&self, link: LinkSender) {
        self.lock().links.push(link);
    }

    /// The first call with a mark counts.
    pub(crate) fn mark(&self, mark: Mark) {
        if !self.lock().marks.contains_key(&mark) {
            let moment = self.now();
            self.lock().marks.entry(mark).or_insert(moment);
        }
    }

    /// What everybody has used by now; of a coordinator that has ended, what was seen last.
    pub(crate) fn now(&self) -> Moment {
        let coordinator = self.look();
        let links = self.lock().links.clone();
        let (sent, received) = links
            .iter()
            .map(LinkSender::traffic)
            .fold((0, 0), |sum, link| (sum.0 + link.sent, sum.1 + link.received));
        let agents = Usage::of(std::process::id()).unwrap_or_default();
        Moment { at: Instant::now(), coordinator, agents, sent, received }
    }

    pub(crate) fn marks(&self) -> BTreeMap<Mark, Moment> {
        self.lock().marks.clone()
    }

    fn look(&self) -> Usage {
        let seen = Usage::of(self.coordinator);
        let mut inner = self.lock();
        if let Ok(usage) = seen {
            inner.last = usage;
        }
        inner.last
    }

    /// A thread that panicked has left no half-made figure.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
