//! One actor per bot's memory. It starts on the first use of the bot, creates the bot's partitions before anything is
//! written to them, and rests when nothing was asked of it for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use greenroom_kit::{Address, Policy, Supervisor, Told, child};
use greenroom_protocol::{BotSlug, UserId};
use greenroom_store::Store;
use jiff::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::Mutex;

use crate::MemoryError;
use crate::message::StoredMessage;
use crate::repository::MessageRepository;

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

    pub(crate) fn messages_table(&self) -> String {
        format!("{}_messages", self.0)
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
    address: Address<NamespaceMsg>,
    ready: AtomicBool,
    starting: Mutex<()>,
}

pub(crate) enum NamespaceMsg {
    /// Public: create what is missing and say so.
    Open(RpcReplyPort<Result<(), MemoryError>>),
    /// Internal: has anybody asked lately?
    RestIfIdle,
}

impl Namespace {
    pub(crate) fn new(group: Supervisor, store: Store, bot: BotSlug, name: NamespaceName) -> Self {
        let card = group.card(format!("namespace:{bot}"), "namespace");
        let shared = Shared {
            bot,
            name,
            group,
            store,
            address: Address::vacant(card),
            ready: AtomicBool::new(false),
            starting: Mutex::new(()),
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

    /// Makes sure the partitions exist; costs nothing after the first time. Must precede writing.
    ///
    /// # Errors
    /// [`MemoryError`], with nothing left half done.
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
        Ok(())
    }

    async fn start(&self) -> Result<(), MemoryError> {
        self.shared.group.remove(self.shared.address.card().name()).await?;
        let (bot, name, store) = (self.shared.bot.clone(), self.shared.name.clone(), self.shared.store.clone());
        let address = self.shared.address.clone();
        let spec = child(&self.shared.address, Policy::WORKER, move || {
            let args =
                NamespaceArgs { bot: bot.clone(), name: name.clone(), store: store.clone(), address: address.clone() };
            (NamespaceActor, args)
        });
        self.shared.group.add(spec).await?;
        Ok(())
    }

    /// The partitions are gone (the bot was purged): the next use creates them again.
    pub fn forget_partitions(&self) {
        self.shared.ready.store(false, Ordering::Release);
    }

    /// The newest messages, newest first; see [`MessageRepository::latest_on`].
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn latest(
        &self,
        user: Option<&UserId>,
        before: Option<(Timestamp, i64)>,
        limit: i64,
    ) -> Result<Vec<StoredMessage>, MemoryError> {
        let db = self.shared.store.connection().await?;
        MessageRepository::latest_on(&db, &self.shared.bot, user, before, limit).await
    }

    /// Makes the actor panic at its next message, to test supervision.
    #[doc(hidden)]
    pub fn crash(&self) {
        let _ = self.shared.address.crash();
    }
}

struct NamespaceActor;

struct NamespaceArgs {
    bot: BotSlug,
    name: NamespaceName,
    store: Store,
    address: Address<NamespaceMsg>,
}

struct NamespaceState {
    args: NamespaceArgs,
    last_asked: Instant,
}

impl Actor for NamespaceActor {
    type Msg = Told<NamespaceMsg>;
    type State = NamespaceState;
    type Arguments = NamespaceArgs;

    async fn pre_start(
        &self,
        me: ActorRef<Told<NamespaceMsg>>,
        args: NamespaceArgs,
    ) -> Result<NamespaceState, ActorProcessingErr> {
        let address = args.address.clone();
        me.send_interval(IDLE, move || address.told(NamespaceMsg::RestIfIdle));
        Ok(NamespaceState { args, last_asked: Instant::now() })
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
                st.last_asked = Instant::now();
                let made = match st.args.store.connection().await {
                    Ok(mut db) => MessageRepository::ensure_partitions(&mut db, &st.args.bot, &st.args.name).await,
                    Err(error) => Err(error),
                };
                let _ = reply.send(made.map_err(MemoryError::from));
            }
            NamespaceMsg::RestIfIdle => {
                if st.last_asked.elapsed() >= IDLE {
                    me.stop(Some("ended".into()));
                }
            }
        }
        Ok(())
    }
}
