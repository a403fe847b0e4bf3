//! What can go wrong with the database, and what it means to a caller. Deliberately absent: SQL, credentials and row
//! values; an error of PostgreSQL is kept as the source and never shown to a client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use greenroom_protocol::ErrorClass;
use tokio_postgres::error::SqlState;

use crate::lock::LockHolder;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or has no connection left; worth another try later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Something on this machine or in the configuration must be mended first.
    #[error("{problem}. {remedy}")]
    Setup {
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// Another server works on the same data directory.
    #[error("{}", in_use(data_dir, holder.as_ref()))]
    InUse {
        /// The directory.
        data_dir: PathBuf,
        /// The other server, if it left its card.
        holder: Option<LockHolder>,
    },
    /// The schema could not be brought up to date.
    #[error("migration failed: {0}")]
    Migration(String),
    /// PostgreSQL refused a statement.
    #[error("a database statement failed")]
    Query(#[from] tokio_postgres::Error),
}

/// How long a client is asked to wait before it tries again while the database is away.
const RETRY_AFTER: Duration = Duration::from_secs(2);

impl StoreError {
    /// The class that a client is told.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unavailable(_) => ErrorClass::Storage,
            Self::Query(error) if is_outage(error) => ErrorClass::Storage,
            Self::Setup { .. } | Self::InUse { .. } | Self::Migration(_) | Self::Query(_) => ErrorClass::Internal,
        }
    }

    /// How long to wait before another try makes sense; `None` when waiting will not help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        (self.class() == ErrorClass::Storage).then_some(RETRY_AFTER)
    }

    pub(crate) fn setup(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Setup { problem: problem.into(), remedy: remedy.into() }
    }

    /// A failed file operation during set-up, with its path.
    pub(crate) fn file(action: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::setup(
            format!("cannot {action} {}: {error}", path.display()),
            "Check that the directory exists, belongs to this user and is not on a full or read-only disk",
        )
    }
}

/// Whether a statement failed because the server is going, gone, or too busy, and not because of the statement.
pub(crate) fn is_outage(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else {
        return error.is_closed() || io_source(error).is_some();
    };
    const GONE: [SqlState; 4] = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
    ];
    const STARVED: [SqlState; 4] =
        [SqlState::LOCK_NOT_AVAILABLE, SqlState::QUERY_CANCELED, SqlState::DISK_FULL, SqlState::OUT_OF_MEMORY];
    GONE.contains(code) || STARVED.contains(code) || code.code().starts_with("08")
}

/// The I/O error behind an error of PostgreSQL, if that is what it is.
pub(crate) fn io_source(error: &tokio_postgres::Error) -> Option<&std::io::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// One line about an error of PostgreSQL without its detail, which may quote row values.
pub(crate) fn one_line(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(db), _) => format!("{} ({})", db.message(), db.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

fn in_use(data_dir: &Path, holder: Option<&LockHolder>) -> String {
    let who = match holder {
        Some(LockHolder { pid, http: Some(http) }) => format!("the server with process id {pid}, at {http}"),
        Some(LockHolder { pid, http: None }) => format!("the process {pid}"),
        None => "another process".to_owned(),
    };
    format!(
        "the data directory {} is in use by {who}. Stop that server first, or give this one another --data-dir",
        data_dir.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_outages_are_worth_another_try() {
        let away = StoreError::Unavailable("connection refused".into());
        assert_eq!(away.class(), ErrorClass::Storage);
        assert_eq!(away.retry_after(), Some(RETRY_AFTER));
        let wrong = StoreError::setup("no binaries", "install them");
        assert_eq!(wrong.class(), ErrorClass::Internal);
        assert_eq!(wrong.retry_after(), None);
    }

    #[test]
    fn a_second_server_learns_who_is_first() {
        let holder = Some(LockHolder { pid: 42, http: Some("127.0.0.1:8642".into()) });
        let text = StoreError::InUse { data_dir: "/var/lib/greenroom".into(), holder }.to_string();
        assert!(
            text.contains("/var/lib/greenroom") && text.contains("42") && text.contains("127.0.0.1:8642"),
            "{text}"
        );
    }
}
