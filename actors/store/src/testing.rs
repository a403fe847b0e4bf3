//! Databases for tests: one throwaway cluster per test process, or the one that `GREENROOM_TEST_DATABASE_URL` names, and
//! in it a database of its own for each test, cloned from a template that was migrated once. Nothing here is durable, and
//! nothing stays behind: a guard removes the cluster when the process ends, even by `kill -9`. Deliberately absent: use
//! outside tests; failures panic.
#![expect(clippy::expect_used, clippy::panic, reason = "a test without its database can only fail")]

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, oneshot};

use crate::embedded::ClusterPlan;
use crate::embedded::layout;
use crate::embedded::postmaster::Postmaster;
use crate::embedded::tuning::Purpose;
use crate::error::StoreError;
use crate::migrate;
use crate::settings::StoreSettings;
use crate::store::{Store, blocking};
use crate::target::{EMBEDDED_NAME, Session, Target};

/// Names the cluster that all test processes share: the address of any database in it whose role may create others.
pub const SHARED_CLUSTER: &str = "GREENROOM_TEST_DATABASE_URL";

/// Key of the advisory lock around the making of the template.
const TEMPLATE_LOCK: i64 = 0x6772_6565_6e72_7400;
/// Many tests with a small pool each run at once.
const TEST_POOL: usize = 6;
const TEST_CONNECTIONS: usize = 400;

/// A migrated database that belongs to one test. It is dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    /// A store over it, without supervised actors.
    pub store: Store,
    /// Its address, for a whole server or another client.
    pub url: String,
    name: String,
    admin: Target,
}

/// A fresh, migrated database.
///
/// # Panics
/// When there is no cluster and none can be started.
pub async fn database() -> TestDatabase {
    database_with(|_| {}).await
}

/// A fresh, migrated database behind a store whose settings the test changes.
///
/// # Panics
/// As [`database`].
pub async fn database_with(change: impl FnOnce(&mut StoreSettings)) -> TestDatabase {
    let mut settings = StoreSettings { pool_size: TEST_POOL, ..StoreSettings::new(std::env::temp_dir()) };
    change(&mut settings);
    let (name, url, admin) = create(true).await;
    let target = Target::external(&SecretString::from(url.as_str()), &settings).expect("our own address");
    let store = Store::for_tests(&target, &settings).expect("a pool");
    TestDatabase { store, url, name, admin }
}

/// The address of a fresh database without a single table, for tests of migrations and of start-up itself. It is not
/// dropped.
///
/// # Panics
/// As [`database`].
pub async fn empty_database() -> String {
    create(false).await.1
}

async fn create(migrated: bool) -> (String, String, Target) {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    let url = cluster_url().await;
    let admin = admin(url);
    let template = match migrated {
        true => TEMPLATE.get_or_init(|| template(&admin)).await,
        false => "template0",
    };
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let session = admin.connect().await.expect("a connection to the test cluster");
    const CLONE: &str = "SELECT format('CREATE DATABASE %I TEMPLATE %I STRATEGY FILE_COPY', $1::text, $2::text)";
    run_built(&session, CLONE, &[&name.as_str(), &template]).await;
    (name.clone(), with_database(url, &name), admin)
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // In a thread with a runtime of its own: the test's may be shutting down. Joined, so that a shared cluster does
        // not fill up with databases whose test process was faster than their removal.
        let (name, admin) = (std::mem::take(&mut self.name), self.admin.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(async {
                const DROP: &str = "SELECT format('DROP DATABASE IF EXISTS %I WITH (FORCE)', $1::text)";
                let session = admin.connect().await.ok()?;
                let statement: String =
                    session.client.query_one(DROP, &[&name.as_str()]).await.ok()?.try_get(0).ok()?;
                session.client.batch_execute(&statement).await.ok()
            })
        });
        let _ = dropping.join();
    }
}

/// Lets the server quote names it is given as parameters, and runs what comes out.
async fn run_built(session: &Session, build: &str, names: &[&(dyn tokio_postgres::types::ToSql + Sync)]) {
    let row = session.client.query_one(build, names).await.expect("a statement");
    let statement: String = row.try_get(0).expect("a text");
    if let Err(error) = session.client.batch_execute(&statement).await {
        panic!("{statement}: {}", crate::error::one_line(&error));
    }
}

fn admin(url: &str) -> Target {
    let patient = Duration::from_secs(120);
    let settings =
        StoreSettings { statement_timeout: patient, lock_timeout: patient, ..StoreSettings::new(std::env::temp_dir()) };
    Target::external(&SecretString::from(url), &settings).unwrap_or_else(|error| panic!("{SHARED_CLUSTER}: {error}"))
}

/// The same address with another database.
fn with_database(url: &str, name: &str) -> String {
    let (start, query) =
        url.split_once('?').map_or((url, String::new()), |(start, query)| (start, format!("?{query}")));
    let scheme = start.find("://").map_or(0, |at| at + 3);
    let path = start[scheme..].find('/').map_or(start.len(), |at| scheme + at);
    format!("{}/{name}{query}", &start[..path])
}

/// The name of the migrated template, which is made once per cluster and set of migrations.
async fn template(admin: &Target) -> String {
    let mut digest = Sha256::new();
    for step in migrate::runner().get_migrations() {
        digest.update(format!("{step}:{}\n", step.checksum()));
    }
    let key: String = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let (name, unfinished) = (format!("template_{key}"), format!("unfinished_{key}"));
    let session = admin.connect().await.expect("a connection to the test cluster");
    const LOCK: &str = "SELECT pg_advisory_lock($1)";
    const EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
    session.client.execute(LOCK, &[&TEMPLATE_LOCK]).await.expect("the template's lock");
    let row = session.client.query_one(EXISTS, &[&name.as_str()]).await.expect("a row");
    if !row.try_get::<_, bool>(0).expect("a boolean") {
        const DROP: &str = "SELECT format('DROP DATABASE IF EXISTS %I WITH (FORCE)', $1::text)";
        const CREATE: &str = "SELECT format('CREATE DATABASE %I TEMPLATE template0', $1::text)";
        const RENAME: &str = "SELECT format('ALTER DATABASE %I RENAME TO %I', $1::text, $2::text)";
        run_built(&session, DROP, &[&unfinished.as_str()]).await;
        run_built(&session, CREATE, &[&unfinished.as_str()]).await;
        migrate::run(&admin.database(&unfinished)).await.unwrap_or_else(|error| panic!("{error}"));
        run_built(&session, RENAME, &[&unfinished.as_str(), &name.as_str()]).await;
    }
    name
}

/// The cluster of this process: a shared one, or one that lives in a thread until the process ends.
async fn cluster_url() -> &'static str {
    static URL: OnceCell<String> = OnceCell::const_new();
    URL.get_or_init(|| async {
        if let Some(url) = std::env::var_os(SHARED_CLUSTER).filter(|url| !url.is_empty()) {
            return url.into_string().expect("an address in UTF-8");
        }
        let (told, url) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let cluster = TestCluster::start().await;
                let _ = told.send(cluster.as_ref().map(|cluster| cluster.url.clone()).map_err(ToString::to_string));
                // Held until the process ends; then the guard takes over.
                std::future::pending::<()>().await;
            });
        });
        url.await.expect("the cluster's thread").unwrap_or_else(|why| panic!("{why}"))
    })
    .await
}

/// A throwaway cluster: fast, not durable, gone with its owner.
#[derive(Debug)]
pub struct TestCluster {
    server: Postmaster,
    url: String,
    dir: PathBuf,
}

impl TestCluster {
    /// Starts one in a new folder of the temporary directory.
    ///
    /// # Errors
    /// [`StoreError::Setup`] with a remedy, for example when PostgreSQL is not installed.
    pub async fn start() -> Result<Self, StoreError> {
        let dir = scratch_path();
        let plan = blocking(move || {
            let dir = layout::data_dir(&dir)?;
            let settings = StoreSettings { pool_size: TEST_CONNECTIONS, ..StoreSettings::new(&dir) };
            let mut plan = ClusterPlan::new(&settings, &dir, Purpose::Throwaway)?;
            plan.scrap = Some(dir);
            Ok(plan)
        })
        .await?;
        let server = Postmaster::start(&plan).await?;
        let socket = plan.layout.socket_dir.display().to_string().replace('%', "%25").replace('/', "%2F");
        let url = format!("postgres://{EMBEDDED_NAME}@{socket}/postgres");
        Ok(Self { server, url, dir: plan.layout.data_dir })
    }

    /// Where to reach it; to be handed on as [`SHARED_CLUSTER`].
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server and removes its folder.
    pub async fn stop(self) {
        self.server.stop(Duration::from_secs(10)).await;
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A data directory for a test that runs a whole server. It is removed with this value; stop the server first.
#[derive(Debug)]
pub struct TestDataDir {
    path: PathBuf,
}

impl TestDataDir {
    /// An empty directory that an embedded server can use, as root, too.
    ///
    /// # Panics
    /// When the temporary directory cannot be written to.
    #[must_use]
    pub fn new() -> Self {
        let path = scratch_path();
        DirBuilder::new().mode(0o711).create(&path).expect("a folder in the temporary directory");
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Default for TestDataDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TestDataDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn scratch_path() -> PathBuf {
    std::env::temp_dir().join(format!("greenroom-test-{}", uuid::Uuid::new_v4().simple()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_keeps_the_rest_of_the_address() {
        for (url, expected) in [
            ("postgres://me:hush@host:1/postgres", "postgres://me:hush@host:1/test"),
            ("postgres://me@%2Frun%2Fpg/postgres?a=b/c", "postgres://me@%2Frun%2Fpg/test?a=b/c"),
            ("postgres://me@host", "postgres://me@host/test"),
        ] {
            assert_eq!(with_database(url, "test"), expected);
        }
    }

    #[tokio::test]
    async fn each_test_has_a_migrated_database_of_its_own_that_goes_with_it() {
        let (first, second) = tokio::join!(database(), database());
        assert_ne!(first.url, second.url);
        let db = first.store.connection().await.unwrap();
        let row = db.query_one("SELECT count(*) FROM refinery_schema_history", &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), i64::try_from(migrate::runner().get_migrations().len()).unwrap());
        let (name, admin) = (first.name.clone(), first.admin.clone());
        drop(first);
        let left = admin.connect().await.unwrap();
        let row = left.client.query_one("SELECT count(*) FROM pg_database WHERE datname = $1", &[&name]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0);
    }
}
