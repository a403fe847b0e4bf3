//! The schema's way forward. Migrations are embedded, run in order under an advisory lock (two servers may boot at once),
//! each in its own transaction, and never run backwards. A database that is ahead of this program, or whose history
//! differs from it, is left untouched. Deliberately absent: what the migrations contain.

use std::time::{Duration, Instant};

use refinery::{Migration, Runner};
use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::error::{StoreError, one_line};
use crate::target::{Session, Target};

mod embedded {
    refinery::embed_migrations!("../../migrations");
}

/// Key of the advisory lock: the ASCII bytes of "greenrm\0" as a number; only its being the same everywhere matters.
const LOCK_KEY: i64 = 0x6772_6565_6e72_6d00;
/// How long another server's migration is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(120);

/// One step of the schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationStep {
    /// Its number.
    pub version: i32,
    /// Its name.
    pub name: String,
}

/// How far a database has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationState {
    /// Steps the database has taken.
    pub applied: Vec<MigrationStep>,
    /// Steps this program would take next.
    pub pending: Vec<MigrationStep>,
}

pub(crate) fn runner() -> Runner {
    embedded::migrations::runner()
}

/// Says what the next migration would do; writes nothing.
pub(crate) async fn state(client: &mut Client) -> Result<MigrationState, StoreError> {
    const SQL: &str = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    let runner = runner();
    let begun: bool = client.query_one(SQL, &[]).await?.try_get(0)?;
    let applied = if begun {
        runner.get_applied_migrations_async(client).await.map_err(|error| failure(&error))?
    } else {
        Vec::new()
    };
    Ok(compare(runner.get_migrations(), &applied))
}

/// The state of a database that does not exist yet.
pub(crate) fn untouched() -> MigrationState {
    compare(runner().get_migrations(), &[])
}

fn compare(known: &[Migration], applied: &[Migration]) -> MigrationState {
    let steps = |migrations: &mut dyn Iterator<Item = &Migration>| {
        let mut steps: Vec<MigrationStep> =
            migrations.map(|step| MigrationStep { version: step.version(), name: step.name().to_owned() }).collect();
        steps.sort_by_key(|step| step.version);
        steps
    };
    let missing = |step: &&Migration| !applied.iter().any(|done| done.version() == step.version());
    MigrationState { applied: steps(&mut applied.iter()), pending: steps(&mut known.iter().filter(missing)) }
}

/// Brings the database up to date and returns what was done.
pub(crate) async fn run(target: &Target) -> Result<Vec<MigrationStep>, StoreError> {
    // Its own session: the lock belongs to it and goes with it, whatever happens, and a long migration may take longer
    // than a statement of a request.
    let mut session = target.connect().await?;
    const UNLIMITED: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0";
    session.client.batch_execute(UNLIMITED).await?;
    take_lock(&session).await?;
    let report = runner().run_async(&mut session.client).await.map_err(|error| failure(&error))?;
    let done: Vec<MigrationStep> = report
        .applied_migrations()
        .iter()
        .map(|step| MigrationStep { version: step.version(), name: step.name().to_owned() })
        .collect();
    for step in &done {
        tracing::info!(version = step.version, name = step.name, "migration applied");
    }
    const UNLOCK: &str = "SELECT pg_advisory_unlock($1)";
    session.client.execute(UNLOCK, &[&LOCK_KEY]).await?;
    Ok(done)
}

/// Asks again and again, because a waiting `pg_advisory_lock` would hold a snapshot that stands in the way of some
/// migrations of the server that has the lock.
async fn take_lock(session: &Session) -> Result<(), StoreError> {
    const SQL: &str = "SELECT pg_try_advisory_lock($1)";
    let begun = Instant::now();
    loop {
        if session.client.query_one(SQL, &[&LOCK_KEY]).await?.try_get(0)? {
            return Ok(());
        }
        if begun.elapsed() > LOCK_LIMIT {
            return Err(StoreError::Migration(
                "another server has been migrating this database for two minutes".into(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

fn failure(error: &refinery::Error) -> StoreError {
    use refinery::error::Kind;
    let refused = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<tokio_postgres::Error>())
        .filter(|source| source.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    if let Some(source) = refused {
        return StoreError::setup(
            format!("this role may not set up the database: {}", one_line(source)),
            "As a superuser run CREATE EXTENSION IF NOT EXISTS vector in it, and make this role the database's owner",
        );
    }
    StoreError::Migration(match error.kind() {
        Kind::MissingVersion(step) => format!(
            "the database's history and this program's disagree about step {step}: the database was written by a newer or a \
             different version of this program. Run that version, or restore a backup"
        ),
        Kind::DivergentVersion(_, step) => {
            format!("step {step} has changed since it was applied to this database. Steps are never edited, only added")
        }
        Kind::Connection(doing, source) => match source.downcast_ref::<tokio_postgres::Error>() {
            Some(source) => format!("{doing}: {}", one_line(source)),
            None => format!("{doing}: {source}"),
        },
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_is_what_the_database_has_not_seen() {
        let known: Vec<Migration> =
            ["V3__c", "V1__a", "V2__b"].map(|name| Migration::unapplied(name, "SELECT 1").unwrap()).into();
        let state = compare(&known, &known[1..2]);
        assert_eq!(state.applied, [MigrationStep { version: 1, name: "a".into() }]);
        assert_eq!(state.pending.iter().map(|step| step.version).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn embedded_steps_have_numbers_of_their_own() {
        let mut versions: Vec<i32> = runner().get_migrations().iter().map(Migration::version).collect();
        versions.sort_unstable();
        let count = versions.len();
        versions.dedup();
        assert_eq!(versions.len(), count);
        assert_eq!(versions.first(), Some(&1));
    }
}
