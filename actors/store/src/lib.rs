//! The store room: PostgreSQL for all the others.
//!
//! - [`Store`]: a pool of connections to a database of the right version, migrated and watched. Without a
//!   `DATABASE_URL` the database is our own: a supervised child on a Unix socket inside the data directory.
//! - [`DataDirLock`]: one server per data directory.
//! - [`migrations`] and [`migrate`]: the schema's way forward, for the command line.
//! - [`doctor`]: what is missing, and how to mend it.
//! - [`DedicatedSession`]: a connection outside the pool, for session locks and notices.
//! - `testing` (a feature): a throwaway cluster per test process, a database per test.
//!
//! Deliberately absent: SQL about anything that is stored; each room brings its own repositories.

mod command;
mod doctor;
mod embedded;
mod error;
mod health;
mod lock;
mod migrate;
mod pool;
mod requirements;
mod session;
mod settings;
mod store;
mod target;
mod watcher;

#[cfg(feature = "testing")]
pub mod testing;

pub use command::{migrate, migrations};
pub use deadpool_postgres::GenericClient;
pub use doctor::{Finding, Verdict, doctor};
pub use error::StoreError;
pub use lock::{DataDirLock, LockHolder};
pub use migrate::{MigrationState, MigrationStep};
pub use session::{DedicatedSession, Notice};
pub use settings::StoreSettings;
pub use store::{Connection, Store, StoreFacts, StoreMode};
