//! The one thread that changes anything. It writes first and shows afterwards: what a caller was
//! told is on the disk. Changes that wait together become one transaction.
//!
//! It also looks whether another process of this agent has ingested files or received a model.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, PoisonError, RwLock,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use chorale_people::{
    event::Kind,
    features::PersonRecord,
    hand_over::{Disclosure, Received},
    live::{Consents, Erasure, ItemRecord, LiveEvent, MergeEntry},
    profiles::{Taste, TasteError},
    pseudonym::Pseudonymiser,
    store::{Change, Removed, Served, Store, StoreError},
};
use chorale_plan::Pseudonym;
use chorale_task::Catalogue;
use tokio::sync::oneshot;

use crate::{
    app::Elsewhere,
    bought::Bought,
    clock::Clock,
    crowd::Crowd,
    shelf::{Full, Shelf},
    sweep::Sweep,
    world::{Global, World, Worlds},
};

/// What the thread and the handlers share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) names: Pseudonymiser,
    pub(crate) catalogue: Catalogue,
    pub(crate) home: String,
    pub(crate) window_end_s: i64,
    pub(crate) clock: Clock,
    pub(crate) sweep: Sweep,
    pub(crate) elsewhere: Vec<Box<dyn Elsewhere>>,
    pub(crate) crowd: Crowd,
    pub(crate) bought: RwLock<Bought>,
    pub(crate) worlds: Worlds,
}

/// Asks the thread for changes.
#[derive(Clone)]
pub(crate) struct Keeper(SyncSender<Command>);

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    /// Too many changes wait, or the agent stops.
    #[error("too many changes wait")]
    Busy,
    /// The store refused it.
    #[error("the change cannot be stored")]
    Store,
    /// No room for another item.
    #[error(transparent)]
    Full(#[from] Full),
    /// The person was erased meanwhile.
    #[error("this user was erased")]
    Erased,
    /// A letter that is no newer than the last of its agent about the person.
    #[error("a letter as new as this one was taken before")]
    Stale,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Events that are new.
    pub(crate) accepted: usize,
    /// Events whose id was there before.
    pub(crate) duplicates: usize,
    /// Events of erased persons.
    pub(crate) ignored: usize,
}

/// A change that may share its transaction with others.
pub(crate) enum Work {
    /// Events by person.
    Events(Vec<(Pseudonym, Vec<LiveEvent>)>),
    /// All consents of a person.
    Consents(Pseudonym, Consents),
    /// A letter that is given or taken.
    Letter(Disclosure, Option<Received>),
    /// What the store says about items; each closure makes the new word out of the old one.
    Items(Vec<(String, ItemEdit)>),
}

/// Makes a new word on an item out of the one before.
pub(crate) type ItemEdit = Box<dyn FnOnce(Option<ItemRecord>) -> ItemRecord + Send>;

/// Makes the receipt of what was removed from the store, and how much elsewhere.
type Receipt = Box<dyn FnOnce(&Removed, u64) -> Erasure + Send>;

enum Command {
    Work(Work, oneshot::Sender<Result<Kept, KeepError>>),
    Merge(MergeEntry, oneshot::Sender<Result<(), KeepError>>),
    Erase(Vec<Pseudonym>, Receipt, oneshot::Sender<Result<Erasure, KeepError>>),
}

/// Changes that may wait; beyond, callers are told to come back.
const WAITING_MAX: usize = 1024;

/// Changes in one transaction.
const TOGETHER_MAX: usize = 256;

/// How often the store is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Popularity may lag behind by as much: a new world means that profiles are made anew.
const POPULARITY_EVERY: Duration = Duration::from_secs(30);

/// The present of a world may lag behind by as much.
const WORLD_AGE_MAX: Duration = Duration::from_secs(3600);

struct Thread {
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    global: Global,
    shelf: Arc<Shelf>,
    generation: u64,
    popularity_changed: bool,
    world_since: Instant,
}

/// Everything out of the store that serving needs.
pub(crate) struct Loaded {
    records: BTreeMap<Pseudonym, PersonRecord>,
    live: chorale_people::store::Live,
    global: Global,
    generation: u64,
}

/// Why the store cannot be served from.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store cannot be read, or holds something for another catalogue or home.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The model does not fit.
    #[error(transparent)]
    Taste(#[from] TasteError),
}

impl Loaded {
    /// Reads the store. Without an ingest there are no records, which is no error.
    pub(crate) fn read(
        store: &Store,
        catalogue: &Catalogue,
        served: Served<'_>,
    ) -> Result<Self, LoadError> {
        // First, so that a change in the meantime is seen at the next look.
        let generation = store.generation()?;
        if store.ingest()?.is_some() {
            store.require_served(&catalogue.digest(), served)?;
        }
        let model = store.model()?.filter(|model| *model.catalogue() == catalogue.digest());
        let taste = Taste::new(catalogue, &vec![0; catalogue.len()], model.as_ref())?;
        let (records, live) = (store.persons()?, store.live()?);
        Ok(Self { records, live, global: Global { taste }, generation })
    }

    /// The shelf with what the store said about items.
    pub(crate) fn shelf(&self, mut shelf: Shelf) -> Shelf {
        for item in &self.live.items {
            if shelf.put(item.clone()).is_err() {
                tracing::error!("the store holds more items than the agent can serve");
                break;
            }
        }
        shelf
    }

    /// Who bought what before the end of the window.
    pub(crate) fn bought(&self, shelf: &Shelf, window_end_s: i64) -> Bought {
        let mut bought = Bought::default();
        for (who, record) in &self.records {
            let who = self.live.aliases.primary(*who);
            for event in record.before(window_end_s) {
                if event.kind == Kind::Purchase {
                    bought.add(who, event.item);
                }
            }
        }
        for (who, events) in &self.live.events {
            let who = self.live.aliases.primary(*who);
            for event in events {
                if let Some(item) = purchased(event, shelf, window_end_s) {
                    bought.add(who, item);
                }
            }
        }
        bought
    }

    pub(crate) fn global(&self) -> &Global {
        &self.global
    }

    /// Fills the shared persons and starts the thread.
    pub(crate) fn start(self, shared: &Arc<Shared>) -> std::io::Result<(Keeper, JoinHandle<()>)> {
        let (sender, commands) = sync_channel(WAITING_MAX);
        let thread = Thread {
            shared: Arc::clone(shared),
            commands,
            global: self.global,
            shelf: Arc::clone(&shared.worlds.now().shelf),
            generation: self.generation,
            popularity_changed: false,
            world_since: Instant::now(),
        };
        shared.crowd.load(self.records, self.live);
        let joined =
            std::thread::Builder::new().name("keeper".into()).spawn(move || thread.run())?;
        Ok((Keeper(sender), joined))
    }
}

impl Keeper {
    /// Makes a change durable and visible.
    pub(crate) async fn work(&self, work: Work) -> Result<Kept, KeepError> {
        self.ask(|reply| Command::Work(work, reply)).await
    }

    /// Merges two persons, or undoes it.
    pub(crate) async fn merge(&self, entry: MergeEntry) -> Result<(), KeepError> {
        self.ask(|reply| Command::Merge(entry, reply)).await
    }

    /// Erases a person.
    pub(crate) async fn erase(
        &self,
        members: Vec<Pseudonym>,
        receipt: Receipt,
    ) -> Result<Erasure, KeepError> {
        self.ask(|reply| Command::Erase(members, receipt, reply)).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, KeepError>>) -> Command,
    ) -> Result<T, KeepError> {
        let (reply, answer) = oneshot::channel();
        match self.0.try_send(command(reply)) {
            Ok(()) => answer.await.unwrap_or(Err(KeepError::Busy)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(KeepError::Busy),
        }
    }
}

impl Thread {
    fn run(mut self) {
        let mut looked = Instant::now();
        loop {
            match self.commands.recv_timeout(TICK) {
                Ok(first) => self.take(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if looked.elapsed() >= TICK {
                looked = Instant::now();
                self.look();
            }
        }
    }

    /// Carries a command out, with those that wait beside it.
    fn take(&mut self, first: Command) {
        let mut together = Vec::new();
        let mut next = Some(first);
        while let Some(command) = next.take() {
            match command {
                Command::Work(work, reply) => {
                    together.push((work, reply));
                    if together.len() < TOGETHER_MAX {
                        next = self.commands.try_recv().ok();
                    }
                }
                Command::Merge(entry, reply) => {
                    self.work(std::mem::take(&mut together));
                    let _ = reply.send(self.merge(entry));
                }
                Command::Erase(members, receipt, reply) => {
                    self.work(std::mem::take(&mut together));
                    let _ = reply.send(self.erase(members, receipt));
                }
            }
        }
        self.work(together);
    }

    fn work(&mut self, works: Vec<(Work, oneshot::Sender<Result<Kept, KeepError>>)>) {
        if works.is_empty() {
            return;
        }
        let mut changes = Vec::new();
        let mut replies = Vec::new();
        let mut shelf = None;
        let mut seen = HashSet::new();
        for (work, reply) in works {
            let result = match work {
                Work::Events(events) => Ok(self.events(events, &mut seen, &mut changes)),
                Work::Consents(who, consents) => {
                    changes.push(Change::Consents(who, consents));
                    Ok(Kept::default())
                }
                Work::Letter(line, received) => self.letter(line, received, &mut changes),
                Work::Items(edits) => {
                    let shelf = shelf.get_or_insert_with(|| Shelf::clone(&self.shelf));
                    self.items(edits, shelf, &mut changes).map_err(KeepError::Full)
                }
            };
            replies.push((result, reply));
        }
        let stored = self.store(&changes);
        if stored {
            self.show(changes, shelf);
        }
        for (result, reply) in replies {
            // A caller that went away needs no answer.
            let _ = reply.send(if stored { result } else { Err(KeepError::Store) });
        }
    }

    fn events(
        &self,
        events: Vec<(Pseudonym, Vec<LiveEvent>)>,
        seen: &mut HashSet<(Pseudonym, u64)>,
        changes: &mut Vec<Change>,
    ) -> Kept {
        let mut kept = Kept::default();
        let cut = self.shared.sweep.cut();
        for (who, mut events) in events {
            if self.shared.crowd.is_erased(who) {
                kept.ignored += events.len();
                continue;
            }
            if let Some(cut) = &cut {
                kept.ignored += cut.apply(&mut events).live as usize;
            }
            let sent = events.len();
            let mut fresh = self.shared.crowd.fresh(who, events);
            fresh.retain(|event| seen.insert((who, event.id)));
            kept.accepted += fresh.len();
            kept.duplicates += sent - fresh.len();
            if !fresh.is_empty() {
                changes.push(Change::Events(who, fresh));
            }
        }
        kept
    }

    /// Nobody is erased and no other letter is taken between this look and the change.
    fn letter(
        &self,
        line: Disclosure,
        received: Option<Received>,
        changes: &mut Vec<Change>,
    ) -> Result<Kept, KeepError> {
        let (crowd, who) = (&self.shared.crowd, Pseudonym::from_bytes(line.person));
        if crowd.is_erased(who) {
            return Err(KeepError::Erased);
        }
        let last_s = received.as_ref().and_then(|_| crowd.received_s(who, &line.agent));
        if let (Some(last_s), Some(received)) = (last_s, &received)
            && last_s >= received.summary.time_s
        {
            return Err(KeepError::Stale);
        }
        changes.push(Change::Letter(line, received));
        Ok(Kept::default())
    }

    fn items(
        &self,
        edits: Vec<(String, ItemEdit)>,
        shelf: &mut Shelf,
        changes: &mut Vec<Change>,
    ) -> Result<Kept, Full> {
        let mut next = shelf.lines().iter().filter(|line| line.says.is_some()).count() as u32;
        for (item, edit) in edits {
            let at = shelf.index_of(&item);
            let before = at.and_then(|at| shelf.line(at)).and_then(|line| line.says.clone());
            let position = before.as_ref().map_or(next, |says| says.position);
            next += u32::from(before.is_none());
            let says = ItemRecord { item: item.clone(), position, ..edit(before) };
            shelf.put(says.clone())?;
            changes.push(Change::Item(self.shared.names.item(&item), says));
        }
        Ok(Kept::default())
    }

    fn store(&self, changes: &[Change]) -> bool {
        match self.shared.store.change(changes) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(error = chain(&error), "a change cannot be stored");
                false
            }
        }
    }

    /// Makes what was stored visible.
    fn show(&mut self, changes: Vec<Change>, shelf: Option<Shelf>) {
        let shared = Arc::clone(&self.shared);
        // Prices and stocks come often, and no profile shows them.
        let mut shows = false;
        if let Some(shelf) = shelf {
            shows = !shelf.is_named_as(&self.shelf);
            self.shelf = Arc::new(shelf);
        }
        let mut items = false;
        for change in changes {
            match change {
                Change::Events(who, events) => {
                    let mut bought = shared.bought.write().unwrap_or_else(PoisonError::into_inner);
                    let primary = shared.crowd.primary(who);
                    for event in &events {
                        if let Some(item) = purchased(event, &self.shelf, shared.window_end_s) {
                            self.popularity_changed |= bought.add(primary, item);
                        }
                    }
                    drop(bought);
                    shared.crowd.add_events(who, events);
                }
                Change::Consents(who, consents) => shared.crowd.set_consents(who, consents),
                Change::Merge(entry) => shared.crowd.merge(entry),
                Change::Letter(line, received) => shared.crowd.add_letter(line, received),
                Change::Item(..) => items = true,
            }
        }
        if items {
            self.new_world(shows);
        }
    }

    fn merge(&mut self, entry: MergeEntry) -> Result<(), KeepError> {
        if !self.store(&[Change::Merge(entry)]) {
            return Err(KeepError::Store);
        }
        self.shared.crowd.merge(entry);
        Ok(())
    }

    fn erase(&mut self, members: Vec<Pseudonym>, receipt: Receipt) -> Result<Erasure, KeepError> {
        let mut elsewhere = 0;
        // First, since whoever asks again after a failure must not be told that all is done.
        for place in &self.shared.elsewhere {
            elsewhere += place.erase(&members).map_err(|error| {
                tracing::error!(error = chain(error.as_ref()), "a person cannot be erased");
                KeepError::Store
            })?;
        }
        let receipt = |removed: &Removed| receipt(removed, elsewhere);
        let erasure = self.shared.store.erase(&members, receipt).map_err(|error| {
            tracing::error!(error = chain(&error), "a person cannot be erased");
            KeepError::Store
        })?;
        self.shared.crowd.erase(&members);
        self.shared.bought.write().unwrap_or_else(PoisonError::into_inner).remove(&members);
        self.new_world(true);
        Ok(erasure)
    }

    /// Whether another process changed the store, and whether the world is too old.
    fn look(&mut self) {
        if self.shared.sweep.is_due() {
            self.shared.sweep.run(&self.shared.store, &self.shared.catalogue);
        }
        match self.shared.store.generation() {
            Ok(generation) if generation != self.generation => self.reload(),
            Ok(_) => {}
            Err(error) => tracing::error!(error = chain(&error), "the store cannot be looked at"),
        }
        let age = self.world_since.elapsed();
        if age > WORLD_AGE_MAX || (self.popularity_changed && age > POPULARITY_EVERY) {
            self.new_world(true);
        }
    }

    fn reload(&mut self) {
        let shared = Arc::clone(&self.shared);
        let served = Served { home: &shared.home, window_end_s: shared.window_end_s };
        match Loaded::read(&shared.store, &shared.catalogue, served) {
            Ok(loaded) => {
                self.shelf = Arc::new(loaded.shelf(Shelf::clone(&self.shelf)));
                let bought = loaded.bought(&self.shelf, shared.window_end_s);
                *shared.bought.write().unwrap_or_else(PoisonError::into_inner) = bought;
                self.global = loaded.global;
                self.generation = loaded.generation;
                shared.crowd.load(loaded.records, loaded.live);
                self.new_world(true);
                tracing::info!(generation = self.generation, "the store was read again");
            }
            // What was there before still answers.
            Err(error) => tracing::error!(error = chain(&error), "the store cannot be read"),
        }
    }

    /// A new world; profiles of before are made anew only where it `shows` in them.
    fn new_world(&mut self, shows: bool) {
        let shared = &self.shared;
        let bought = shared.bought.read().unwrap_or_else(PoisonError::into_inner);
        let world = World::new(
            shared.worlds.now().number + u64::from(shows),
            Arc::clone(&self.shelf),
            &self.global,
            &bought,
            shared.window_end_s,
            shared.clock.now_s(),
        );
        drop(bought);
        if let Some(world) = world {
            shared.worlds.replace(world);
        }
        if shows {
            self.popularity_changed = false;
            self.world_since = Instant::now();
        }
    }
}

fn purchased(event: &LiveEvent, shelf: &Shelf, window_end_s: i64) -> Option<u32> {
    let counts = Kind::parse(&event.kind) == Some(Kind::Purchase) && event.time_s < window_end_s;
    event.item.as_deref().filter(|_| counts).and_then(|item| shelf.index_of(item))
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::UNIX_EPOCH;

    use chorale_people::{features::Features, hand_over::Summary, keys::Key, retention::Retention};

    use super::*;
    use crate::{
        app::{App, Parts},
        settings::Settings,
    };

    fn app(dir: &std::path::Path) -> App {
        let catalogue = b"index,item_id,department,category\n0,APPLES,PRODUCE,FRUIT\n";
        std::fs::create_dir_all(dir.join("keys")).unwrap();
        App::start(Parts {
            agent: "web-shop".into(),
            home: "1".into(),
            window_end_s: i64::MAX,
            catalogue: Catalogue::read_csv(catalogue).unwrap(),
            names: Pseudonymiser::new(&Key::from_bytes([7; 32])),
            store: Store::open(&dir.join("data"), &Key::from_bytes([5; 32])).unwrap(),
            settings: Settings::default(),
            tokens: dir.join("keys/tokens.toml"),
            receipt_key: Key::from_bytes([3; 32]),
            retention: Retention::default(),
            features: Vec::new(),
            channels: chorale_people::channel::Channels::default(),
            linked: Vec::new(),
            clock: Clock::System,
            elsewhere: Vec::new(),
        })
        .unwrap()
    }

    /// A letter that was begun before the person was erased, or before a newer one came.
    #[tokio::test]
    async fn a_letter_that_was_overtaken_is_neither_given_nor_taken() {
        let dir = tempfile::tempdir().unwrap();
        let app = app(dir.path());
        let who = Pseudonym::from_bytes([9; 32]);
        let now_s = UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
        let letter = |time_s: i64, taken: bool| {
            let agents = ("store-1", "web-shop");
            let summary = Summary::of(&Features::default(), who, agents, time_s, |_| None);
            let line = Disclosure {
                time_s,
                given: !taken,
                agent: "store-1".into(),
                person: *who.as_bytes(),
                items: 0,
                letter: chorale_wire::Digest::plain(b"letter"),
            };
            let until_s = now_s + 86_400;
            Work::Letter(line, taken.then_some(Received { summary, until_s }))
        };
        app.keeper.work(letter(now_s, true)).await.unwrap();
        for time_s in [now_s, now_s - 1] {
            let late = app.keeper.work(letter(time_s, true)).await;
            assert!(matches!(late, Err(KeepError::Stale)));
        }
        app.keeper.work(letter(now_s - 1, false)).await.unwrap();
        let receipt = move |_: &Removed, _| Erasure { time_s: now_s, receipt: String::new() };
        app.keeper.erase(vec![who], Box::new(receipt)).await.unwrap();
        for taken in [true, false] {
            let late = app.keeper.work(letter(now_s + 1, taken)).await;
            assert!(matches!(late, Err(KeepError::Erased)));
        }
        let live = app.shared.store.live().unwrap();
        assert_eq!((live.disclosures.len(), live.received.len()), (2, 0));
    }
}
