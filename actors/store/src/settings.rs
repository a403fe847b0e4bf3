//! What the store is told from outside. Deliberately absent: where the values come from.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// Settings of the store.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// An external PostgreSQL; without it the store runs its own.
    pub database_url: Option<SecretString>,
    /// Where everything that must survive a restart lives.
    pub data_dir: PathBuf,
    /// The folder that holds `bin/postgres`, or the folder pip installed the wheel into; searched for when `None`.
    pub postgres_dir: Option<PathBuf>,
    /// Most connections at a time.
    pub pool_size: usize,
    /// How long a caller waits for a connection.
    pub checkout_timeout: Duration,
    /// How long one statement may run.
    pub statement_timeout: Duration,
    /// How long one statement may wait for a lock.
    pub lock_timeout: Duration,
}

impl StoreSettings {
    /// The defaults, for a data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            database_url: None,
            data_dir: data_dir.into(),
            postgres_dir: None,
            pool_size: 16,
            checkout_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(5),
        }
    }
}
