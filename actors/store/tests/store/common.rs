//! What the tests of this room share. Deliberately absent: sleeps that hope; everything is waited for with a limit.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use greenroom_kit::{Board, Supervisor};
use greenroom_protocol::ErrorClass;
use greenroom_store::{Store, StoreError, StoreSettings};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A supervision tree with nothing in it but a store.
pub struct Tree {
    pub root: Supervisor,
    pub group: Supervisor,
}

impl Tree {
    pub async fn grow() -> Self {
        let (root, _) = Supervisor::root(Board::default()).await.unwrap();
        let group = root.group("store").await.unwrap();
        Self { root, group }
    }

    pub async fn start(&self, settings: StoreSettings) -> Result<Store, StoreError> {
        Store::start(&self.group, settings).await
    }
}

pub async fn start(data_dir: &Path) -> (Tree, Store) {
    let tree = Tree::grow().await;
    let store = tree.start(StoreSettings::new(data_dir)).await.unwrap();
    (tree, store)
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| panic!("{what} took longer than {limit:?}"))
}

pub fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// A process counts as gone when it ended, collected or not.
pub fn is_alive(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The process id in the cluster's own file.
pub fn postmaster_of(data_dir: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).ok()?;
    text.lines().next()?.parse().ok()
}

pub async fn remember(store: &Store, word: &str) {
    let db = store.connection().await.unwrap();
    db.batch_execute("CREATE TABLE IF NOT EXISTS words (word text NOT NULL)").await.unwrap();
    db.execute("INSERT INTO words (word) VALUES ($1)", &[&word]).await.unwrap();
}

/// What a patient caller reads: a session that its server's death has not reached yet may be handed out and break in use,
/// which is an outage like any other.
pub async fn remembered(store: &Store) -> Vec<String> {
    let begun = Instant::now();
    loop {
        match words(store).await {
            Ok(words) => return words,
            Err(error) => {
                assert_eq!(error.class(), ErrorClass::Storage, "{error:?}");
                assert!(begun.elapsed() < Duration::from_secs(30), "{error:?}");
            }
        }
    }
}

async fn words(store: &Store) -> Result<Vec<String>, StoreError> {
    let db = store.connection().await?;
    let rows = db.query("SELECT word FROM words ORDER BY word", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Where `make setup` put PostgreSQL.
pub fn wheel() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.local/postgres").canonicalize().expect("run `make setup` first")
}
