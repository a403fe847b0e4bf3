//! The room's handle: one namespace per bot, the sessions of all, and what is done for all bots at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deadpool_postgres::GenericClient;
use greenroom_embedder::Embedder;
use greenroom_kit::{Supervisor, lock};
use greenroom_protocol::BotSlug;
use greenroom_store::{Store, StoreError};

use crate::MemoryError;
use crate::index::RecallSettings;
use crate::message::{Recorded, SESSION_GAP};
use crate::namespace::{Namespace, NamespaceName, Room};
use crate::repository::{Partitions, StatsRepository, VectorRepository};
use crate::sessions::Sessions;
use crate::stats::Source;

/// What the operator decides about memory.
#[derive(Debug, Clone)]
pub struct MemorySettings {
    /// A new memory as similar to a stored one as this (cosine) only reinforces it; a bot may have its own value.
    pub dedup_similarity: f32,
    /// Silence that ends a session; a bot may have its own value.
    pub session_gap: Duration,
    /// The lexical indexes and the embedding of what is stored.
    pub recall: RecallSettings,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self { dedup_similarity: 0.85, session_gap: SESSION_GAP, recall: RecallSettings::default() }
    }
}

/// What a purge removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purged {
    /// Tables of the bot.
    pub dropped_tables: Vec<String>,
    /// Rows in tables that all bots share.
    pub deleted_rows: BTreeMap<String, i64>,
}

/// Handle to the memory room.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    room: Room,
    namespaces: Mutex<HashMap<BotSlug, Namespace>>,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("namespaces", &lock(&self.shared.namespaces).len()).finish()
    }
}

impl Memory {
    /// A room whose actors live in `group`.
    #[must_use]
    pub fn new(group: Supervisor, store: Store, embedder: Embedder, settings: MemorySettings) -> Self {
        let room = Room { group, store, embedder, settings: Arc::new(settings) };
        Self { shared: Arc::new(Shared { room, namespaces: Mutex::default() }) }
    }

    /// A room without an embedder: it stores, and searches by words.
    #[must_use]
    pub fn wordless(group: Supervisor, store: Store) -> Self {
        Self::new(group, store, Embedder::off(), MemorySettings::default())
    }

    /// The bot's namespace. Nothing is created before [`Namespace::open`].
    #[must_use]
    pub fn namespace(&self, bot: &BotSlug, name: &NamespaceName) -> Namespace {
        let mut namespaces = lock(&self.shared.namespaces);
        if let Some(known) = namespaces.get(bot).filter(|known| known.name() == name) {
            return known.clone();
        }
        let namespace = Namespace::new(&self.shared.room, bot.clone(), name.clone());
        namespaces.insert(bot.clone(), namespace.clone());
        namespace
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.room.store
    }

    /// What turns texts into vectors.
    #[must_use]
    pub fn embedder(&self) -> &Embedder {
        &self.shared.room.embedder
    }

    /// The room's settings.
    #[must_use]
    pub fn settings(&self) -> &MemorySettings {
        &self.shared.room.settings
    }

    /// The sessions of all bots.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions::new(self.shared.room.store.clone())
    }

    /// The bots some of whose messages wait for vectors, from before this start. Opening their namespaces sets the work going.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn unembedded_bots(&self) -> Result<Vec<BotSlug>, MemoryError> {
        Ok(VectorRepository::bots_waiting_on(&self.shared.room.store.connection().await?).await?)
    }

    /// All bots that have anything, with how much.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn sources(&self) -> Result<Vec<Source>, MemoryError> {
        Ok(StatsRepository::sources_on(&self.shared.room.store.connection().await?).await?)
    }

    /// Messages written through [`crate::MessageRepository`] are committed: their namespaces learn of them.
    pub fn stored(&self, recorded: &Recorded) {
        let mut of_bots: HashMap<&BotSlug, Vec<uuid::Uuid>> = HashMap::new();
        for (bot, id) in &recorded.stored {
            of_bots.entry(bot).or_default().push(*id);
        }
        let namespaces = lock(&self.shared.namespaces);
        for (bot, ids) in of_bots {
            if let Some(namespace) = namespaces.get(bot) {
                namespace.stored(&ids);
            }
        }
    }

    /// Drops everything remembered by a bot inside the caller's transaction. When the transaction is through, call
    /// [`Self::purged`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn purge(db: &impl GenericClient, bot: &BotSlug) -> Result<Purged, StoreError> {
        let dropped_tables = Partitions::drop_on(db, bot).await?;
        let shared = Partitions::purge_shared_on(db, bot).await?;
        let rows = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let deleted_rows = shared.into_iter().map(|(table, count)| (table.to_owned(), rows(count))).collect();
        Ok(Purged { dropped_tables, deleted_rows })
    }

    /// The bot's tables are gone: its next use creates them again.
    pub fn purged(&self, bot: &BotSlug) {
        if let Some(namespace) = lock(&self.shared.namespaces).get(bot) {
            namespace.forget_partitions();
        }
    }
}
