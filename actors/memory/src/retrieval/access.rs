//! Counting uses of memories behind the answers: uses gather while one statement runs and are written by the next. A count
//! that the database refuses is lost on purpose: it only strengthens what is often used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use greenroom_kit::lock;
use greenroom_protocol::BotSlug;
use greenroom_store::{Store, StoreError};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use uuid::Uuid;

use crate::repository::RetrievalRepository;

/// Uses that may wait; more are dropped.
const MOST: usize = 4_096;

/// The uses of one bot's memories that are not yet written.
pub(crate) struct Accesses {
    core: Arc<Core>,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

struct Core {
    bot: BotSlug,
    store: Store,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    uses: HashMap<Uuid, i32>,
    writing: bool,
}

impl Accesses {
    pub(crate) fn new(bot: BotSlug, store: Store) -> Self {
        Self { core: Arc::new(Core { bot, store, waiting: Mutex::default() }), task: Mutex::new(None) }
    }

    /// Notes one use of each.
    pub(crate) fn note(&self, ids: impl IntoIterator<Item = Uuid>) {
        {
            let mut waiting = lock(&self.core.waiting);
            for id in ids {
                if waiting.uses.len() < MOST {
                    *waiting.uses.entry(id).or_default() += 1;
                }
            }
            if waiting.writing || waiting.uses.is_empty() {
                return;
            }
            waiting.writing = true;
        }
        let writing = tokio::spawn(write(self.core.clone()).in_current_span());
        *lock(&self.task) = Some(AbortOnDropHandle::new(writing));
    }
}

async fn write(core: Arc<Core>) {
    loop {
        let mut uses: Vec<(Uuid, i32)> = {
            let mut waiting = lock(&core.waiting);
            if waiting.uses.is_empty() {
                waiting.writing = false;
                return;
            }
            waiting.uses.drain().collect()
        };
        // In one order, so that two processes cannot wait for each other's rows.
        uses.sort_unstable();
        if let Err(error) = write_on(&core, &uses).await {
            tracing::debug!(why = %error, "uses of memories were not counted");
        }
    }
}

async fn write_on(core: &Core, uses: &[(Uuid, i32)]) -> Result<(), StoreError> {
    let db = core.store.connection().await?;
    RetrievalRepository::accessed(&db, &core.bot, uses).await?;
    Ok(())
}
