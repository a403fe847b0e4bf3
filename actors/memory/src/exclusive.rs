//! Commands that change a bot's memory one after the other: each a transaction under the bot's advisory lock, run by the
//! namespace's actor. It commits whole or not at all, whatever fails; the indexes learn of it after the commit.
//! Deliberately absent: calls to models; texts are embedded before a command begins.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deadpool_postgres::Transaction;
use greenroom_kit::{AskError, lock};
use greenroom_protocol::BotSlug;
use greenroom_store::{Connection, Store};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::MemoryError;
use crate::index::Recall;
use crate::namespace::Namespace;

/// How long a command may take before it is rolled back.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// How long a command may wait for those before it.
const QUEUE_LIMIT: Duration = Duration::from_secs(10);
/// Commands that one namespace lets wait.
pub(crate) const MOST_WAITING: usize = 64;

/// A future on the heap.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// A command, ready to be run once.
pub(crate) type Job = Box<dyn FnOnce() -> Boxed<'static, ()> + Send>;
/// A command on its way; taken out by the incarnation of the actor that runs it.
pub(crate) type JobSlot = Arc<Mutex<Option<Job>>>;

/// Rows that a command changed, for the indexes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    messages: Vec<Uuid>,
    memories: Vec<Uuid>,
    cleared: bool,
}

impl Changes {
    /// Messages were stored, changed, restored or removed.
    pub fn messages(&mut self, ids: impl IntoIterator<Item = Uuid>) {
        self.messages.extend(ids);
    }

    /// Memories were stored, changed, superseded, restored or removed.
    pub fn memories(&mut self, ids: impl IntoIterator<Item = Uuid>) {
        self.memories.extend(ids);
    }

    /// Too much to name: the indexes are to be made anew.
    pub fn everything(&mut self) {
        self.cleared = true;
    }

    fn push(self, recall: &Recall) {
        if self.cleared {
            return recall.cleared();
        }
        if !self.messages.is_empty() {
            recall.messages_changed(&self.messages);
        }
        if !self.memories.is_empty() {
            recall.memories_changed(&self.memories);
        }
    }
}

/// What a command works with: its transaction, which holds the bot's lock.
pub struct Exclusive<'t> {
    /// The transaction.
    pub db: &'t Transaction<'t>,
    /// Whose memory.
    pub bot: &'t BotSlug,
    /// What the command notes for the indexes.
    pub changes: Changes,
}

impl std::fmt::Debug for Exclusive<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exclusive").field("bot", self.bot).field("changes", &self.changes).finish_non_exhaustive()
    }
}

impl<'t> Exclusive<'t> {
    /// Takes the bot's lock in a transaction that the caller began, commits himself, and follows with
    /// [`Namespace::committed`].
    ///
    /// # Errors
    /// [`MemoryError::Store`], also when the lock is not free in time.
    pub async fn on(db: &'t Transaction<'t>, bot: &'t BotSlug) -> Result<Self, MemoryError> {
        const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('namespace:' || $1, 0))";
        let statement = db.prepare_cached(LOCK).await?;
        db.query_one(&statement, &[&bot.as_str()]).await?;
        Ok(Self { db, bot, changes: Changes::default() })
    }
}

impl Namespace {
    /// Runs a command: `work` gets a transaction under the bot's lock. It is committed when `work` succeeds, else rolled
    /// back, also after a panic and after 30 seconds. Commands of a bot run one after the other. No model may be called
    /// in one.
    ///
    /// # Errors
    /// Those of `work`; [`MemoryError::Busy`] when too many wait; [`MemoryError::Actor`] when the actor failed
    /// underway; [`MemoryError::Store`].
    pub async fn exclusive<T, E, F>(&self, what: &'static str, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<MemoryError> + Send + 'static,
        F: for<'x, 't> FnOnce(&'x mut Exclusive<'t>) -> Boxed<'x, Result<T, E>> + Send + 'static,
    {
        let _place = match tokio::time::timeout(QUEUE_LIMIT, self.places().acquire()).await {
            Ok(Ok(place)) => place,
            _ => return Err(MemoryError::Busy.into()),
        };
        self.open().await?;
        let (answer, done) = oneshot::channel();
        let (bot, store, recall) = (self.bot().clone(), self.store().clone(), self.recall().clone());
        let job: Job = Box::new(move || {
            Box::pin(async move {
                let run = run(&bot, &store, &recall, work);
                let result = match tokio::time::timeout(COMMAND_LIMIT, run).await {
                    Ok(result) => result,
                    Err(_) => {
                        tracing::warn!(%bot, what, "memory command took too long, rolled back");
                        recall.doubt();
                        Err(MemoryError::Actor(AskError::TimedOut).into())
                    }
                };
                let _ = answer.send(result);
            })
        });
        self.tell_job(Arc::new(Mutex::new(Some(job)))).await?;
        match tokio::time::timeout(QUEUE_LIMIT + COMMAND_LIMIT, done).await {
            Ok(Ok(result)) => result,
            lost => {
                // The actor died at some point of it: nobody knows whether the transaction went through.
                self.recall().doubt();
                let why = if lost.is_err() { AskError::TimedOut } else { AskError::Dropped };
                Err(MemoryError::Actor(why).into())
            }
        }
    }

    /// A transaction that the caller ran himself (see [`Exclusive::on`]) is through.
    pub fn committed(&self, changes: Changes) {
        changes.push(self.recall());
    }
}

async fn run<T, E, F>(bot: &BotSlug, store: &Store, recall: &Recall, work: F) -> Result<T, E>
where
    E: From<MemoryError>,
    F: for<'x, 't> FnOnce(&'x mut Exclusive<'t>) -> Boxed<'x, Result<T, E>>,
{
    let mut connection = store.connection().await.map_err(MemoryError::from)?;
    let done = transact(&mut connection, bot, recall, work).await;
    if done.is_err() && connection.query_one("SELECT", &[]).await.is_err() {
        // It broke in the middle and does not know it yet: nobody else shall get it.
        drop(deadpool_postgres::Object::take(connection));
    }
    done
}

async fn transact<T, E, F>(connection: &mut Connection, bot: &BotSlug, recall: &Recall, work: F) -> Result<T, E>
where
    E: From<MemoryError>,
    F: for<'x, 't> FnOnce(&'x mut Exclusive<'t>) -> Boxed<'x, Result<T, E>>,
{
    let transaction = connection.transaction().await.map_err(MemoryError::from)?;
    let mut exclusive = Exclusive::on(&transaction, bot).await?;
    let value = work(&mut exclusive).await?;
    let changes = exclusive.changes;
    let committed = transaction.commit().await.map_err(MemoryError::from);
    if committed.as_ref().is_err_and(MemoryError::is_in_doubt) {
        recall.doubt();
    }
    committed?;
    changes.push(recall);
    Ok(value)
}

/// Takes the command out of its slot and runs it, unless it ran already.
pub(crate) async fn run_job(slot: &JobSlot) {
    let job = lock(slot).take();
    if let Some(job) = job {
        job().await;
    }
}
