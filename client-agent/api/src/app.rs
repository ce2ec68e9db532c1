//! Everything that handlers work with.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, RwLock},
    time::Instant,
};

use chorale_people::{
    Explain,
    channel::Channels,
    features::Declared,
    hand_over::{LinkKeys, Linked},
    keys::Key,
    live::Purpose,
    pseudonym::Pseudonymiser,
    retention::Retention,
    store::{Served, Store},
};
use chorale_plan::Pseudonym;
use chorale_task::Catalogue;

use crate::{
    callers::Callers,
    clock::Clock,
    crowd::{Crowd, View},
    idempotency::Answered,
    keeper::{KeepError, Keeper, LoadError, Loaded, Shared},
    limit::Limiter,
    problem::{Kind, Problem},
    receipt::Receipts,
    settings::Settings,
    shelf::Shelf,
    sweep::Sweep,
    tokens::TokenError,
    world::{World, Worlds},
};

/// What an agent gives to its API.
pub struct Parts {
    /// The agent's name.
    pub agent: String,
    /// The home store that the agent answers for.
    pub home: String,
    /// End of the window that may be served from (Unix seconds, exclusive); `i64::MAX` where
    /// nothing is held out.
    pub window_end_s: i64,
    /// The federation's items.
    pub catalogue: Catalogue,
    /// Makes the pseudonyms.
    pub names: Pseudonymiser,
    /// The sealed data.
    pub store: Store,
    /// Section `[serve]` of the configuration.
    pub settings: Settings,
    /// The tokens' file.
    pub tokens: PathBuf,
    /// The key that signs receipts of erasure.
    pub receipt_key: Key,
    /// How long events are kept.
    pub retention: Retention,
    /// The present.
    pub clock: Clock,
    /// Features that the store declares.
    pub features: Vec<Declared>,
    /// Channels that the store tells apart.
    pub channels: Channels,
    /// Agents that the store's signed policy links this one with.
    pub linked: Vec<Linked>,
    /// Other places of the agent that hold something about people.
    pub elsewhere: Vec<Box<dyn Elsewhere>>,
}

/// A place beside the store that holds something about people.
pub trait Elsewhere: Send + Sync {
    /// Takes out what is there about a person, under any of these pseudonyms; how many entries
    /// that were. It may be called again.
    ///
    /// # Errors
    /// Whatever the place says; then the person is not erased anywhere else either.
    fn erase(&self, person: &[Pseudonym]) -> Result<u64, Box<dyn std::error::Error + Send + Sync>>;
}

/// Why the API cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be served from.
    #[error("the agent's data cannot be served")]
    Load(#[from] LoadError),
    /// The tokens cannot be read.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// The thread that makes changes cannot start.
    #[error("a thread cannot be started")]
    Thread(#[source] io::Error),
    /// The address cannot be listened on.
    #[error("the address cannot be listened on")]
    Listen {
        /// The address.
        address: String,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// Nothing to recommend.
    #[error("the catalogue is empty")]
    Empty,
}

/// The state of all handlers.
pub(crate) struct App {
    pub(crate) shared: Arc<Shared>,
    pub(crate) keeper: Keeper,
    pub(crate) settings: Settings,
    pub(crate) callers: Callers,
    pub(crate) limiter: Limiter,
    pub(crate) receipts: Receipts,
    pub(crate) agent: String,
    pub(crate) link_keys: LinkKeys,
    pub(crate) linked: Vec<Linked>,
    pub(crate) features: Vec<Declared>,
    pub(crate) channels: Channels,
    pub(crate) answered: Answered,
    pub(crate) started: Instant,
}

/// Longest id of a customer, session, item, basket or event in bytes.
pub(crate) const ID_BYTES_MAX: usize = 256;

impl App {
    pub(crate) fn start(parts: Parts) -> Result<Self, StartError> {
        let Parts { agent, home, window_end_s, catalogue, names, store, settings, .. } = parts;
        let callers = Callers::read(&parts.tokens)?;
        let served = Served { home: &home, window_end_s };
        let sweep = Sweep::new(parts.retention, parts.clock);
        sweep.run(&store, &catalogue);
        let loaded = Loaded::read(&store, &catalogue, served)?;
        let shelf = Arc::new(loaded.shelf(Shelf::new(&catalogue)));
        let bought = loaded.bought(&shelf, window_end_s);
        let world =
            World::new(1, shelf, loaded.global(), &bought, window_end_s, parts.clock.now_s())
                .ok_or(StartError::Empty)?;
        let shared = Arc::new(Shared {
            store,
            names,
            catalogue,
            home,
            window_end_s,
            clock: parts.clock,
            sweep,
            elsewhere: parts.elsewhere,
            crowd: Crowd::new(window_end_s),
            bought: RwLock::new(bought),
            worlds: Worlds::new(world),
        });
        let (keeper, _) = loaded.start(&shared).map_err(StartError::Thread)?;
        Ok(Self {
            shared,
            keeper,
            limiter: Limiter::new(settings.requests_per_second, settings.burst),
            settings,
            callers,
            receipts: Receipts::new(&parts.receipt_key, &agent),
            agent,
            link_keys: LinkKeys::new(&parts.receipt_key),
            linked: parts.linked,
            features: parts.features,
            channels: parts.channels,
            answered: Answered::default(),
            started: Instant::now(),
        })
    }

    pub(crate) fn now_s(&self) -> i64 {
        self.shared.clock.now_s()
    }

    pub(crate) fn world(&self) -> Arc<World> {
        self.shared.worlds.now()
    }

    /// The pseudonym of a customer's id.
    pub(crate) fn user(&self, raw: &str) -> Result<Pseudonym, Problem> {
        checked("user", raw).map(|raw| self.shared.names.person(raw))
    }

    /// The pseudonym of a user, or of a visitor who is known by a session only.
    pub(crate) fn subject(
        &self,
        user: Option<&str>,
        session: Option<&str>,
    ) -> Result<Pseudonym, Problem> {
        match (user, session) {
            (Some(user), _) => self.user(user),
            (None, Some(session)) => {
                checked("session", session).map(|raw| self.shared.names.session(raw))
            }
            (None, None) => Err(Problem::bad("give 'user' or 'session'")),
        }
    }

    pub(crate) fn view(&self, who: Pseudonym, world: &World) -> Option<Arc<View>> {
        self.shared.crowd.view(who, &world.shelf)
    }

    /// Whether a person's data may be used so, also for somebody of whom only a word is known.
    pub(crate) fn allows(&self, view: &View, purpose: Purpose) -> bool {
        view.allows(purpose, self.settings.asks_first(purpose))
    }
}

/// An id of 1 to [`ID_BYTES_MAX`] bytes without control characters. Its text is in no message.
pub(crate) fn checked<'a>(what: &str, raw: &'a str) -> Result<&'a str, Problem> {
    let fits = !raw.trim().is_empty() && raw.len() <= ID_BYTES_MAX;
    if fits && !raw.chars().any(char::is_control) {
        return Ok(raw);
    }
    Err(Problem::bad(format!(
        "'{what}' must have 1 to {ID_BYTES_MAX} bytes, without control characters"
    )))
}

impl From<KeepError> for Problem {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Busy => Self::new(Kind::Busy, "too many changes wait; try again").after(1),
            KeepError::Store => {
                Self::new(Kind::Internal, "nothing was changed; the agent's log says why")
            }
            KeepError::Full(full) => Self::bad(full.to_string()),
            KeepError::Erased => Self::new(Kind::UnknownUser, error.to_string()),
            KeepError::Stale => Self::new(Kind::Stale, error.to_string()),
        }
    }
}

impl Explain for StartError {
    fn place(&self) -> String {
        match self {
            Self::Load(LoadError::Store(error)) => error.place(),
            Self::Load(LoadError::Taste(error)) => error.place(),
            Self::Tokens(error) => error.place(),
            Self::Thread(_) => "this machine".into(),
            Self::Listen { address, .. } => address.clone(),
            Self::Empty => "the federation's catalogue".into(),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Load(LoadError::Store(error)) => error.remedy(),
            Self::Load(LoadError::Taste(error)) => error.remedy(),
            Self::Tokens(error) => error.remedy(),
            Self::Thread(_) => "check the limits on threads (ulimit -u)".into(),
            Self::Listen { .. } => {
                "choose another port with --listen, or stop what listens there".into()
            }
            Self::Empty => "get the catalogue from the federation".into(),
        }
    }
}
