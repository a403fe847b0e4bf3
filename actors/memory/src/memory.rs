//! The room's handle: one namespace per bot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use greenroom_kit::{Supervisor, lock};
use greenroom_protocol::BotSlug;
use greenroom_store::Store;

use crate::namespace::{Namespace, NamespaceName};

/// Handle to the memory room.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    group: Supervisor,
    store: Store,
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
    pub fn new(group: Supervisor, store: Store) -> Self {
        Self { shared: Arc::new(Shared { group, store, namespaces: Mutex::default() }) }
    }

    /// The bot's namespace. Nothing is created before [`Namespace::open`].
    #[must_use]
    pub fn namespace(&self, bot: &BotSlug, name: &NamespaceName) -> Namespace {
        let mut namespaces = lock(&self.shared.namespaces);
        if let Some(known) = namespaces.get(bot).filter(|known| known.name() == name) {
            return known.clone();
        }
        let namespace = Namespace::new(self.shared.group.clone(), self.shared.store.clone(), bot.clone(), name.clone());
        namespaces.insert(bot.clone(), namespace.clone());
        namespace
    }

    /// Drops everything remembered by a bot inside the caller's transaction. Gives the dropped tables. When the
    /// transaction is through, call [`Self::purged`].
    ///
    /// # Errors
    /// [`greenroom_store::StoreError`].
    pub async fn purge(
        db: &impl deadpool_postgres::GenericClient,
        bot: &BotSlug,
    ) -> Result<Vec<String>, greenroom_store::StoreError> {
        crate::MessageRepository::drop_partitions_on(db, bot).await
    }

    /// The bot's tables are gone: its next use creates them again.
    pub fn purged(&self, bot: &BotSlug) {
        if let Some(namespace) = lock(&self.shared.namespaces).get(bot) {
            namespace.forget_partitions();
        }
    }
}
