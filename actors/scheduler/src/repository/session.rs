//! SQL of a session: locks that end with it, and its notices.

use deadpool_postgres::GenericClient;
use greenroom_store::StoreError;
use tokio_postgres::Client;
use uuid::Uuid;

/// Locks and notices.
pub(crate) struct SessionRepository;

impl SessionRepository {
    /// Takes an advisory lock for the session; false when another session has it.
    pub(crate) async fn try_lock_on(db: &Client, key: &str) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT pg_try_advisory_lock(hashtextextended($1::text, 0))";
        Ok(db.query_one(SQL, &[&key]).await?.try_get(0)?)
    }

    /// Gives it back.
    pub(crate) async fn unlock_on(db: &Client, key: &str) -> Result<(), StoreError> {
        const SQL: &str = "SELECT pg_advisory_unlock(hashtextextended($1::text, 0))";
        db.execute(SQL, &[&key]).await?;
        Ok(())
    }

    /// Gives back everything, and tells the others that there is something to be had.
    pub(crate) async fn resign_on(db: &Client) -> Result<(), StoreError> {
        const SQL: &str = "SELECT pg_advisory_unlock_all(), pg_notify('greenroom_scheduler', 'wake')";
        db.execute(SQL, &[]).await?;
        Ok(())
    }

    /// Hears what schedulers tell each other.
    pub(crate) async fn listen_on(db: &Client) -> Result<(), StoreError> {
        const SQL: &str = "LISTEN greenroom_scheduler";
        db.batch_execute(SQL).await?;
        Ok(())
    }

    /// Tells the schedulers of all processes, at the transaction's end.
    pub(crate) async fn notify_on(db: &impl GenericClient, word: &str, id: Option<Uuid>) -> Result<(), StoreError> {
        const SQL: &str = "SELECT pg_notify('greenroom_scheduler', $1)";
        let payload = id.map_or_else(|| word.to_owned(), |id| format!("{word} {id}"));
        db.query_one(&db.prepare_cached(SQL).await?, &[&payload]).await?;
        Ok(())
    }
}
