//! What is derived from a namespace's tables and kept in memory: one index of its memories' words, one of its messages'
//! words, and the worker that gives new rows their vectors. All of it can be dropped at any time; PostgreSQL is the truth,
//! and a hit whose row is gone is dropped by the statement that fetches it.
//!
//! Writers tell of a change *after* its commit. While nobody searches there is no index and telling costs nothing.

mod handle;
mod keeper;
mod readiness;
mod settings;
mod shelf;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use greenroom_embedder::Embedder;
use greenroom_protocol::BotSlug;
use greenroom_store::{Store, StoreError};
use serde::Serialize;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::episodes::{Worker, WorkerState};
use crate::repository::IndexRows;
use crate::retrieval::Accesses;
use keeper::Keeper;
use readiness::Bounds;
pub use readiness::{Phase, Readiness};
pub use settings::RecallSettings;
pub(crate) use shelf::{Memories, Messages, speaker};

/// How long a search waits for changes that were committed just before it.
const CATCH_UP: Duration = Duration::from_millis(250);

/// The indexes and the worker of one namespace.
#[derive(Clone)]
pub struct Recall {
    inner: Arc<Inner>,
}

struct Inner {
    bot: BotSlug,
    store: Store,
    settings: RecallSettings,
    memories: Keeper<Memories>,
    messages: Keeper<Messages>,
    worker: Worker,
    accesses: Accesses,
    /// How many memories there were when last counted without an index, -1 for never.
    counted: AtomicI64,
    late: TaskTracker,
}

impl std::fmt::Debug for Recall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recall").field("bot", &self.inner.bot).field("status", &self.status()).finish()
    }
}

/// The derived parts of a namespace as status pages show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IndexStatus {
    /// The index of memories.
    pub memories: Readiness,
    /// The index of messages.
    pub messages: Readiness,
    /// The worker that embeds.
    pub embedding: WorkerState,
}

impl Recall {
    /// Nothing is loaded before somebody searches, nothing embedded before [`Self::wake`] or a stored message.
    #[must_use]
    pub fn new(bot: BotSlug, store: Store, embedder: Embedder, settings: RecallSettings) -> Self {
        let bounds = |most_rows| Bounds { most_rows, idle: settings.idle, check_every: settings.check_every };
        let inner = Inner {
            memories: Keeper::new(bot.clone(), store.clone(), bounds(settings.most_memories)),
            messages: Keeper::new(bot.clone(), store.clone(), bounds(settings.most_messages)),
            worker: Worker::new(bot.clone(), store.clone(), embedder, settings.embed_after),
            accesses: Accesses::new(bot.clone(), store.clone()),
            counted: AtomicI64::new(-1),
            late: TaskTracker::new(),
            bot,
            store,
            settings,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Messages were stored, changed, forgotten, restored or removed, and their transaction is committed, or may be: their
    /// rows are read again.
    pub fn messages_changed(&self, ids: &[Uuid]) {
        if !ids.is_empty() {
            self.inner.messages.changed(ids);
            self.inner.worker.wake();
        }
    }

    /// Memories were stored, changed, superseded, forgotten, restored or removed, and their transaction is committed, or
    /// may be: their rows are read again.
    pub fn memories_changed(&self, ids: &[Uuid]) {
        if !ids.is_empty() {
            self.inner.memories.changed(ids);
            self.recount(ids.len());
            self.inner.worker.wake();
        }
    }

    /// Whether a change was committed is not known: both indexes are read again from the tables, behind the scenes.
    pub fn doubt(&self) {
        self.inner.memories.doubt();
        self.inner.messages.doubt();
        self.inner.counted.store(-1, Ordering::Relaxed);
        self.inner.worker.wake();
    }

    /// Much of what the bot had is gone or replaced: the indexes are dropped at once and made anew when next needed.
    pub fn cleared(&self) {
        self.inner.memories.rest();
        self.inner.messages.rest();
        self.inner.counted.store(-1, Ordering::Relaxed);
        self.inner.worker.wake();
    }

    /// The namespace rests or its tables are gone: indexes and worker go, and come back when they are next needed.
    pub fn rest(&self) {
        self.inner.memories.rest();
        self.inner.messages.rest();
        self.inner.worker.rest();
        self.inner.counted.store(-1, Ordering::Relaxed);
    }

    /// The namespace is open: rows without vectors get theirs.
    pub fn wake(&self) {
        self.inner.worker.wake();
    }

    /// What there is to tell.
    #[must_use]
    pub fn status(&self) -> IndexStatus {
        IndexStatus {
            memories: self.inner.memories.readiness(),
            messages: self.inner.messages.readiness(),
            embedding: self.inner.worker.state(),
        }
    }

    /// Asks for both indexes and waits until they are there; whether they are. For warming up and for tests.
    pub async fn ready(&self, limit: Duration) -> bool {
        let (memories, messages) = tokio::join!(self.inner.memories.ready(limit), self.inner.messages.ready(limit));
        memories && messages
    }

    /// Until the worker has given every row its vectors, or cannot go on.
    pub async fn embedded(&self) {
        self.inner.worker.idle().await;
    }

    /// The index of memories after what was committed before this call.
    pub(crate) async fn memories_now<T>(&self, look: impl FnOnce(&Memories) -> T) -> Option<T> {
        self.inner.memories.caught_up(CATCH_UP).await;
        self.inner.memories.read(look)
    }

    /// The index of memories as it is.
    pub(crate) fn memories<T>(&self, look: impl FnOnce(&Memories) -> T) -> Option<T> {
        self.inner.memories.read(look)
    }

    /// The index of memories if it is there; does not ask for it.
    pub(crate) fn memories_if_ready<T>(&self, look: impl FnOnce(&Memories) -> T) -> Option<T> {
        self.inner.memories.peek(look)
    }

    /// The index of messages after what was committed before this call.
    pub(crate) async fn messages_now<T>(&self, look: impl FnOnce(&Messages) -> T) -> Option<T> {
        self.inner.messages.caught_up(CATCH_UP).await;
        self.inner.messages.read(look)
    }

    /// The index of messages as it is.
    pub(crate) fn messages<T>(&self, look: impl FnOnce(&Messages) -> T) -> Option<T> {
        self.inner.messages.read(look)
    }

    /// Whether the bot has so few memories that all of them are looked at. Costs one bounded count when there is no index
    /// and nothing was counted before.
    pub(crate) async fn few_memories(&self) -> Result<bool, StoreError> {
        let most = self.inner.settings.exact_rows;
        let known = self.inner.memories.rows().and_then(|rows| i64::try_from(rows).ok());
        let counted = match known.unwrap_or_else(|| self.inner.counted.load(Ordering::Relaxed)) {
            counted @ 0.. => counted,
            _ => {
                let db = self.inner.store.connection().await?;
                let counted = IndexRows::count_memories_to(&db, &self.inner.bot, most + 1).await?;
                self.inner.counted.store(counted, Ordering::Relaxed);
                counted
            }
        };
        Ok(counted <= most)
    }

    /// Searches of turns that did not wait for them.
    pub(crate) fn late(&self) -> &TaskTracker {
        &self.inner.late
    }

    /// The counter of accesses.
    pub(crate) fn accesses(&self) -> &Accesses {
        &self.inner.accesses
    }

    fn recount(&self, changes: usize) {
        if i64::try_from(changes).unwrap_or(i64::MAX) > self.inner.settings.exact_rows / 10 {
            self.inner.counted.store(-1, Ordering::Relaxed);
        } else {
            let near = self.inner.settings.exact_rows / 2;
            // A namespace that may have grown past the threshold is counted again.
            let _ = self
                .inner
                .counted
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |counted| (counted > near).then_some(-1));
        }
    }
}
