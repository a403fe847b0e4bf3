//! One actor per bot's memory. It starts on the first use of the bot, creates the bot's partitions before anything is
//! written to them, runs the commands that change the bot's memory one after the other (`exclusive.rs`), and rests when
//! nothing was asked of it for a while. What it can be asked stands beside what it concerns: `history.rs`, `memories/`,
//! `forget/`, `import.rs`, `export.rs`, `stats.rs`, `retrieval/`, `summaries/`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use greenroom_embedder::Embedder;
use greenroom_kit::{Address, AskError, Policy, State, Supervisor, Told, child};
use greenroom_protocol::BotSlug;
use greenroom_store::Store;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::{Mutex, Semaphore};

use crate::MemoryError;
use crate::exclusive::{JobSlot, MOST_WAITING, run_job};
use crate::index::Recall;
use crate::memory::MemorySettings;
use crate::repository::Partitions;

/// How long a namespace may be idle before its actor rests.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// How long a question to the actor may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The name under which a bot's tables go: computed once, when the bot is created, and read from its profile after.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamespaceName(String);

impl NamespaceName {
    /// Takes a name from a bot's profile row; anything but 1 to 48 characters of `[a-z0-9_]` is refused.
    #[must_use]
    pub fn from_profile(name: &str) -> Option<Self> {
        let fits = (1..=48).contains(&name.len());
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        (fits && plain).then(|| Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Cheap handle to one bot's memory.
#[derive(Debug, Clone)]
pub struct Namespace {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bot: BotSlug,
    name: NamespaceName,
    group: Supervisor,
    store: Store,
    embedder: Embedder,
    settings: Arc<MemorySettings>,
    recall: Recall,
    address: Address<NamespaceMsg>,
    ready: AtomicBool,
    starting: Mutex<()>,
    places: Semaphore,
    born: Instant,
    /// Seconds from birth to the last use.
    used: AtomicU64,
}

impl Shared {
    fn touch(&self) {
        self.used.store(self.born.elapsed().as_secs(), Ordering::Relaxed);
    }

    fn is_idle(&self) -> bool {
        self.born.elapsed().saturating_sub(Duration::from_secs(self.used.load(Ordering::Relaxed))) >= IDLE
    }
}

pub(crate) enum NamespaceMsg {
    /// Public: create what is missing and say so.
    Open(RpcReplyPort<Result<(), MemoryError>>),
    /// Public: a command; its answer goes by a channel of its own.
    Run(JobSlot),
    /// Internal: has anybody asked lately?
    RestIfIdle,
}

/// What namespaces share.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    pub(crate) group: Supervisor,
    pub(crate) store: Store,
    pub(crate) embedder: Embedder,
    pub(crate) settings: Arc<MemorySettings>,
}

impl Namespace {
    pub(crate) fn new(room: &Room, bot: BotSlug, name: NamespaceName) -> Self {
        let Room { group, store, embedder, settings } = room.clone();
        let card = group.card(format!("namespace:{bot}"), "namespace");
        let shared = Shared {
            recall: Recall::new(bot.clone(), store.clone(), embedder.clone(), settings.recall.clone()),
            bot,
            name,
            group,
            store,
            embedder,
            settings,
            address: Address::vacant(card),
            ready: AtomicBool::new(false),
            starting: Mutex::new(()),
            places: Semaphore::new(MOST_WAITING),
            born: Instant::now(),
            used: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The bot whose memory this is.
    #[must_use]
    pub fn bot(&self) -> &BotSlug {
        &self.shared.bot
    }

    /// The name of its tables.
    #[must_use]
    pub fn name(&self) -> &NamespaceName {
        &self.shared.name
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// What turns texts into vectors.
    #[must_use]
    pub fn embedder(&self) -> &Embedder {
        &self.shared.embedder
    }

    /// The room's settings.
    #[must_use]
    pub fn settings(&self) -> &MemorySettings {
        &self.shared.settings
    }

    /// The indexes; asking for them counts as use.
    pub(crate) fn recall(&self) -> &Recall {
        self.shared.touch();
        &self.shared.recall
    }

    pub(crate) fn places(&self) -> &Semaphore {
        &self.shared.places
    }

    /// Makes sure the partitions exist; costs nothing after the first time. Must precede writing.
    ///
    /// # Errors
    /// [`MemoryError`]; the next call makes what is still missing.
    pub async fn open(&self) -> Result<(), MemoryError> {
        if self.shared.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        let _one_at_a_time = self.shared.starting.lock().await;
        if self.shared.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        if let Ok(answer) = self.shared.address.ask(LIMIT, NamespaceMsg::Open).await {
            answer?;
        } else {
            self.start().await?;
            self.shared.address.ask(LIMIT, NamespaceMsg::Open).await??;
        }
        self.shared.ready.store(true, Ordering::Release);
        self.shared.recall.wake();
        Ok(())
    }

    /// Gives a command to the actor, which is started if it rests. One that failed is left to its supervisor.
    pub(crate) async fn tell_job(&self, slot: JobSlot) -> Result<(), MemoryError> {
        if self.shared.address.tell(NamespaceMsg::Run(slot.clone())).is_ok() {
            return Ok(());
        }
        let _one_at_a_time = self.shared.starting.lock().await;
        if self.shared.address.tell(NamespaceMsg::Run(slot.clone())).is_ok() {
            return Ok(());
        }
        if matches!(self.shared.address.card().state(), State::Restarting | State::Down) {
            return Err(MemoryError::Actor(AskError::Gone));
        }
        self.start().await?;
        Ok(self.shared.address.tell(NamespaceMsg::Run(slot))?)
    }

    async fn start(&self) -> Result<(), MemoryError> {
        self.shared.group.remove(self.shared.address.card().name()).await?;
        let shared = self.shared.clone();
        let spec = child(&self.shared.address, Policy::WORKER, move || (NamespaceActor, shared.clone()));
        self.shared.group.add(spec).await?;
        Ok(())
    }

    /// The partitions are gone (the bot was purged): the next use creates them again.
    pub fn forget_partitions(&self) {
        self.shared.ready.store(false, Ordering::Release);
        self.shared.recall.rest();
    }

    /// Makes the actor panic at its next message, to test supervision.
    #[doc(hidden)]
    pub fn crash(&self) {
        let _ = self.shared.address.crash();
    }
}

struct NamespaceActor;

struct NamespaceState {
    shared: Arc<Shared>,
}

impl Actor for NamespaceActor {
    type Msg = Told<NamespaceMsg>;
    type State = NamespaceState;
    type Arguments = Arc<Shared>;

    async fn pre_start(
        &self,
        me: ActorRef<Told<NamespaceMsg>>,
        shared: Arc<Shared>,
    ) -> Result<NamespaceState, ActorProcessingErr> {
        let address = shared.address.clone();
        me.send_interval(IDLE, move || address.told(NamespaceMsg::RestIfIdle));
        shared.touch();
        Ok(NamespaceState { shared })
    }

    async fn handle(
        &self,
        me: ActorRef<Told<NamespaceMsg>>,
        told: Told<NamespaceMsg>,
        st: &mut NamespaceState,
    ) -> Result<(), ActorProcessingErr> {
        let (msg, _work) = told.open();
        match msg {
            NamespaceMsg::Open(reply) => {
                st.shared.touch();
                let made = match st.shared.store.connection().await {
                    Ok(mut db) => Partitions::ensure(&mut db, &st.shared.bot, &st.shared.name).await,
                    Err(error) => Err(error),
                };
                let _ = reply.send(made.map_err(MemoryError::from));
            }
            NamespaceMsg::Run(slot) => {
                st.shared.touch();
                run_job(&slot).await;
            }
            NamespaceMsg::RestIfIdle => {
                if st.shared.is_idle() {
                    me.stop(Some("ended".into()));
                }
            }
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<Told<NamespaceMsg>>,
        st: &mut NamespaceState,
    ) -> Result<(), ActorProcessingErr> {
        st.shared.recall.rest();
        Ok(())
    }
}
