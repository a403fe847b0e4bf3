//! The scheduler's own connection. Everything that must end with the process hangs on it: leadership, the proof that an owner
//! of runs is alive, and the locks under which jobs run. Invariant: whoever relies on one of these is cancelled when the
//! connection is lost.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use greenroom_kit::lock;
use greenroom_store::{DedicatedSession, Notice, Store};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::SchedulerError;
use crate::repository::SessionRepository;

/// The connection and what is held by it.
pub(crate) struct Session {
    connection: DedicatedSession,
    held: Mutex<HashSet<String>>,
    /// Locks whose holders are gone without having released them.
    dropped: mpsc::UnboundedSender<String>,
}

/// What the session has to say.
pub(crate) struct Ears {
    /// Notices of the scheduler's channel.
    pub notices: mpsc::Receiver<Notice>,
    /// See [`Session::release`].
    pub dropped: mpsc::UnboundedReceiver<String>,
}

impl Session {
    /// Connects, listens, and proves that `owner` is alive.
    pub(crate) async fn open(store: &Store, owner: Uuid) -> Result<(Arc<Self>, Ears), SchedulerError> {
        let (connection, notices) = store.session().await?;
        SessionRepository::listen_on(&connection.client).await?;
        if !SessionRepository::try_lock_on(&connection.client, &owner_key(owner)).await? {
            return Err(SchedulerError::Disconnected);
        }
        let (dropped, lost_holds) = mpsc::unbounded_channel();
        let session = Self { connection, held: Mutex::default(), dropped };
        Ok((Arc::new(session), Ears { notices, dropped: lost_holds }))
    }

    /// Cancelled when the connection is lost.
    pub(crate) fn lost(&self) -> &CancellationToken {
        &self.connection.lost
    }

    /// Whether this process leads now.
    pub(crate) async fn try_lead(&self) -> Result<bool, SchedulerError> {
        Ok(SessionRepository::try_lock_on(&self.connection.client, LEADER_KEY).await?)
    }

    /// Gives everything back before the connection is closed, so that another process need not wait for its end.
    pub(crate) async fn resign(&self) {
        if let Err(error) = SessionRepository::resign_on(&self.connection.client).await {
            tracing::debug!(%error, "the scheduler's locks go with its connection");
        }
    }

    /// Takes a lock for as long as the hold lives; `None` when somebody has it.
    pub(crate) async fn hold(self: &Arc<Self>, key: String) -> Result<Option<Hold>, SchedulerError> {
        // A session may take the same lock twice, so the process keeps its own list.
        if !lock(&self.held).insert(key.clone()) {
            return Ok(None);
        }
        let hold = Hold { session: self.clone(), key: Some(key.clone()) };
        if SessionRepository::try_lock_on(&self.connection.client, &key).await? {
            return Ok(Some(hold));
        }
        hold.give_up();
        Ok(None)
    }

    /// Releases a lock that was dropped.
    pub(crate) async fn release(&self, key: &str) {
        if let Err(error) = SessionRepository::unlock_on(&self.connection.client, key).await {
            tracing::debug!(%error, "a lock was not released; it goes with its connection");
        }
        lock(&self.held).remove(key);
    }
}

const LEADER_KEY: &str = "scheduler";

/// The key of the lock that an owner of runs holds while it is alive.
pub(crate) fn owner_key(owner: Uuid) -> String {
    format!("scheduler owner:{owner}")
}

/// A job's lock. Released with [`Self::release`], or a moment after it is dropped.
#[must_use = "the lock is released when this is dropped"]
pub struct Hold {
    session: Arc<Session>,
    key: Option<String>,
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hold").field(&self.key).finish()
    }
}

impl Hold {
    /// Gives the lock back, and returns when that is done.
    pub async fn release(mut self) {
        if let Some(key) = self.key.take() {
            self.session.release(&key).await;
        }
    }

    /// Fires when the lock is lost with its connection; the work should end then.
    #[must_use]
    pub fn lost(&self) -> &CancellationToken {
        self.session.lost()
    }

    /// Somebody else has the lock.
    fn give_up(mut self) {
        if let Some(key) = self.key.take() {
            lock(&self.session.held).remove(&key);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let _ = self.session.dropped.send(key);
        }
    }
}
