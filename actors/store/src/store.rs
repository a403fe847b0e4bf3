//! The handle that every room holds. Starting it leaves a database of the right version, migrated, watched and pooled, or
//! an error that says what to mend. Deliberately absent: SQL of any room; repositories bring their own.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deadpool_postgres::Pool;
use greenroom_kit::{Address, Policy, Supervisor, SupervisorError, child, lock};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_postgres::error::SqlState;

use crate::embedded::ClusterPlan;
use crate::embedded::cluster::{Cluster, ClusterArgs, ClusterMsg};
use crate::embedded::layout;
use crate::embedded::tuning::Purpose;
use crate::error::{StoreError, is_outage, one_line};
use crate::health::Health;
use crate::lock::DataDirLock;
use crate::requirements::Reported;
use crate::session::{self, DedicatedSession, Notice};
use crate::settings::StoreSettings;
use crate::target::{EMBEDDED_NAME, Session, Target, no_tls};
use crate::watcher::{Watcher, WatcherArgs, WatcherMsg};
use crate::{migrate, pool};

/// A pooled connection. Repositories take `&impl GenericClient`, so that they also work inside a transaction.
pub type Connection = deadpool_postgres::Object;

/// How long an external server that refuses connections is waited for at start: it may be starting, too.
const BOOT_PATIENCE: Duration = Duration::from_secs(5);

/// Whose PostgreSQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreMode {
    /// Ours, a supervised child.
    Embedded,
    /// Somebody else's, named by `DATABASE_URL`.
    External,
}

/// What `/status` and `/metrics` tell about the store.
#[derive(Debug, Clone, Serialize)]
pub struct StoreFacts {
    /// Whose PostgreSQL it is.
    pub mode: StoreMode,
    /// Which database, without credentials.
    pub database: String,
    /// PostgreSQL's version at start.
    pub server_version: String,
    /// pgvector's version at start.
    pub pgvector_version: String,
    /// The last migration.
    pub schema_version: i32,
    /// Process id of the embedded server, while it runs.
    pub postgres_pid: Option<i32>,
    /// Whether the database answered last.
    pub available: bool,
    /// Most connections the pool may open.
    pub pool_max: usize,
    /// Open connections.
    pub pool_size: usize,
    /// Connections that someone works with.
    pub pool_in_use: usize,
    /// Callers who wait for one.
    pub pool_waiting: usize,
}

/// The store: a pool over a database that is kept alive and up to date.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: Pool,
    target: Target,
    health: Arc<Health>,
    checkout_timeout: Duration,
    mode: StoreMode,
    database: String,
    versions: Versions,
    supervised: Option<Supervised>,
    lock: Mutex<Option<DataDirLock>>,
}

#[derive(Debug)]
struct Supervised {
    group: Supervisor,
    watcher: Address<WatcherMsg>,
    cluster: Option<EmbeddedCluster>,
}

#[derive(Debug)]
struct EmbeddedCluster {
    address: Address<ClusterMsg>,
    pid: Arc<AtomicI32>,
}

#[derive(Debug)]
struct Versions {
    server: String,
    pgvector: String,
    schema: i32,
}

const CLUSTER: &str = "cluster";
const POOL: &str = "pool";

impl Store {
    /// Starts (embedded) or connects (external), checks versions, migrates; supervised under the given group.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another server works on the data directory, [`StoreError::Setup`] with a remedy when
    /// something must be mended first, [`StoreError::Migration`].
    pub async fn start(group: &Supervisor, settings: StoreSettings) -> Result<Self, StoreError> {
        let begun = Instant::now();
        let wished = settings.clone();
        let (lock, plan) = blocking(move || {
            let data_dir = layout::data_dir(&wished.data_dir)?;
            let lock = DataDirLock::take(&data_dir)?;
            let embedded = wished.database_url.is_none();
            let plan = embedded.then(|| ClusterPlan::new(&wished, &data_dir, Purpose::Durable)).transpose()?;
            Ok((lock, plan))
        })
        .await?;
        let (target, cluster) = match (plan, &settings.database_url) {
            (Some(plan), _) => {
                let target = plan.target.clone();
                (target, Some(start_cluster(group, plan).await?))
            }
            (None, Some(url)) => (Target::external(url, &settings)?, None),
            (None, None) => return Err(StoreError::setup("no database is configured", "This is a bug")),
        };
        match Self::over(group, &settings, target, cluster, lock).await {
            Ok(store) => {
                tracing::info!(ms = begun.elapsed().as_millis(), database = store.inner.database, "store is ready");
                Ok(store)
            }
            Err(error) => {
                let _ = group.remove(POOL).await;
                let _ = group.remove(CLUSTER).await;
                Err(error)
            }
        }
    }

    async fn over(
        group: &Supervisor,
        settings: &StoreSettings,
        target: Target,
        cluster: Option<EmbeddedCluster>,
        lock: DataDirLock,
    ) -> Result<Self, StoreError> {
        let versions = make_ready(&target).await?;
        let pool = pool::build(&target, settings)?;
        let health = Arc::new(Health::new());
        let watcher = Address::<WatcherMsg>::vacant(group.card(POOL, "pool"));
        let args = WatcherArgs {
            target: target.clone(),
            health: health.clone(),
            pool: pool.clone(),
            address: watcher.clone(),
        };
        let spec = child(&watcher, Policy::VITAL, move || (Watcher, args.clone()));
        group.add(spec).await.map_err(|error| not_started(&error))?;
        let mode = if cluster.is_some() { StoreMode::Embedded } else { StoreMode::External };
        let database = target.describe();
        Ok(Self {
            inner: Arc::new(Inner {
                pool,
                target,
                health,
                checkout_timeout: settings.checkout_timeout,
                mode,
                database,
                versions,
                supervised: Some(Supervised { group: group.clone(), watcher, cluster }),
                lock: Mutex::new(Some(lock)),
            }),
        })
    }

    /// A store over a migrated database of a test: a pool, and no actors.
    #[cfg(feature = "testing")]
    pub(crate) fn for_tests(target: &Target, settings: &StoreSettings) -> Result<Self, StoreError> {
        Ok(Self {
            inner: Arc::new(Inner {
                pool: pool::build(target, settings)?,
                target: target.clone(),
                health: Arc::new(Health::new()),
                checkout_timeout: settings.checkout_timeout,
                mode: StoreMode::External,
                database: target.describe(),
                versions: Versions { server: "test".into(), pgvector: "test".into(), schema: 0 },
                supervised: None,
                lock: Mutex::new(None),
            }),
        })
    }

    /// A connection from the pool.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] within the checkout timeout.
    pub async fn connection(&self) -> Result<Connection, StoreError> {
        let inner = &self.inner;
        pool::checkout(&inner.pool, &inner.health, inner.checkout_timeout).await
    }

    /// A connection outside the pool, with the notices of the channels that it will listen to.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn session(&self) -> Result<(DedicatedSession, mpsc::Receiver<Notice>), StoreError> {
        session::open(self.inner.target.config()).await
    }

    /// Whether the database answered when it was last looked at, which is at most about a second ago.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.inner.health.is_up() && !self.inner.pool.is_closed()
    }

    /// What there is to tell.
    #[must_use]
    pub fn facts(&self) -> StoreFacts {
        let inner = &self.inner;
        let pool = inner.pool.status();
        let cluster = inner.supervised.as_ref().and_then(|supervised| supervised.cluster.as_ref());
        StoreFacts {
            mode: inner.mode,
            database: inner.database.clone(),
            server_version: inner.versions.server.clone(),
            pgvector_version: inner.versions.pgvector.clone(),
            schema_version: inner.versions.schema,
            postgres_pid: cluster.map(|cluster| cluster.pid.load(Ordering::Relaxed)).filter(|pid| *pid > 0),
            available: self.is_available(),
            pool_max: pool.max_size,
            pool_size: pool.size,
            pool_in_use: pool.size.saturating_sub(pool.available),
            pool_waiting: pool.waiting,
        }
    }

    /// Tells other programs, through the data directory's lock file, where the front door listens.
    ///
    /// # Errors
    /// [`StoreError::Setup`] when the file cannot be written.
    pub fn announce(&self, http: std::net::SocketAddr) -> Result<(), StoreError> {
        lock(&self.inner.lock).as_ref().map_or(Ok(()), |held| held.announce(http))
    }

    /// Closes the pool, stops the embedded server and gives the data directory free. A second call does nothing.
    pub async fn close(&self) {
        self.inner.pool.close();
        if let Some(supervised) = &self.inner.supervised {
            let _ = supervised.group.remove(POOL).await;
            let _ = supervised.group.remove(CLUSTER).await;
        }
        lock(&self.inner.lock).take();
    }

    /// Makes the actor that owns the embedded server panic, to test what follows.
    #[doc(hidden)]
    pub fn crash_cluster(&self) {
        if let Some(cluster) = self.inner.supervised.as_ref().and_then(|supervised| supervised.cluster.as_ref()) {
            let _ = cluster.address.crash();
        }
    }

    /// Makes the actor that watches the database panic, to test what follows.
    #[doc(hidden)]
    pub fn crash_pool(&self) {
        if let Some(supervised) = &self.inner.supervised {
            let _ = supervised.watcher.crash();
        }
    }
}

/// Runs blocking set-up work off the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError::setup(format!("set-up broke off: {error}"), "This is a bug")))
}

async fn start_cluster(group: &Supervisor, plan: ClusterPlan) -> Result<EmbeddedCluster, StoreError> {
    let (server, binaries) = (plan.server.clone(), plan.binaries.clone());
    tracing::info!(programs = %binaries.bin.display(), version = binaries.version, "starting postgres");
    let address = Address::<ClusterMsg>::vacant(group.card(CLUSTER, "cluster"));
    let pid = Arc::new(AtomicI32::new(0));
    let failure: Arc<Mutex<Option<StoreError>>> = Arc::default();
    let args =
        ClusterArgs { plan: Arc::new(plan), address: address.clone(), pid: pid.clone(), failure: failure.clone() };
    let spec = child(&address, Policy::VITAL, move || (Cluster, args.clone()));
    if let Err(error) = group.add(spec).await {
        let cause = lock(&failure).take();
        return Err(cause.unwrap_or_else(|| not_started(&error)));
    }
    if let Err(error) = ensure_database(&server).await {
        let _ = group.remove(CLUSTER).await;
        return Err(error);
    }
    Ok(EmbeddedCluster { address, pid })
}

fn not_started(error: &SupervisorError) -> StoreError {
    StoreError::setup(format!("the store did not start: {error}"), "Look at the log for the reason")
}

/// A new cluster has no database of ours yet.
pub(crate) async fn ensure_database(server: &Target) -> Result<(), StoreError> {
    const EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
    const CREATE: &str = "CREATE DATABASE greenroom";
    let session = server.connect().await?;
    let exists: bool = session.client.query_one(EXISTS, &[&EMBEDDED_NAME]).await?.try_get(0)?;
    if !exists {
        session.client.batch_execute(CREATE).await?;
    }
    Ok(())
}

/// Connects, judges, migrates; says what was found.
async fn make_ready(target: &Target) -> Result<Versions, StoreError> {
    let mut session = reach(target, BOOT_PATIENCE).await?;
    let reported = Reported::ask(&session.client).await?;
    reported.check()?;
    migrate::run(target).await?;
    let reported = Reported::ask(&session.client).await?;
    let schema = migrate::state(&mut session.client).await?;
    Ok(Versions {
        server: reported.version,
        pgvector: reported.pgvector_installed.unwrap_or_default(),
        schema: schema.applied.last().map_or(0, |step| step.version),
    })
}

/// Connects, and waits a little for a server that is not there yet.
pub(crate) async fn reach(target: &Target, patience: Duration) -> Result<Session, StoreError> {
    let begun = Instant::now();
    loop {
        let error = match target.connect().await {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        if !is_outage(&error) || begun.elapsed() > patience {
            return Err(explain(target, &error));
        }
        tracing::debug!(why = one_line(&error), "waiting for the database");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What a refused connection means to whoever set it up.
fn explain(target: &Target, error: &tokio_postgres::Error) -> StoreError {
    let line = one_line(error);
    let remedy = match error.code() {
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => "Create it (createdb), or correct DATABASE_URL",
        Some(_) if line.contains("no encryption") || line.contains("SSL off") => return no_tls(),
        Some(code) if code.code().starts_with("28") => "Correct user and password in DATABASE_URL",
        _ => "Start the server, or correct DATABASE_URL",
    };
    StoreError::setup(format!("cannot open the {}: {line}", target.describe()), remedy)
}
