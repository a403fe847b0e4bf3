//! Databases of others: good ones, wrong ones, ones that go away; and the pool over them. The "others" are throwaway
//! clusters of our own, reached by their address like any external server.

use std::path::Path;
use std::time::{Duration, Instant};

use greenroom_protocol::ErrorClass;
use greenroom_store::testing::{TestCluster, TestDataDir, database, database_with, empty_database};
use greenroom_store::{Store, StoreError, StoreMode, StoreSettings, Verdict, doctor, migrate, migrations};
use nix::sys::signal::Signal;
use secrecy::SecretString;

use super::common::{Tree, remember, remembered, signal, until, within};

fn settings(dir: &TestDataDir, url: &str) -> StoreSettings {
    StoreSettings { database_url: Some(SecretString::from(url)), ..StoreSettings::new(dir.path()) }
}

/// The server process behind an address on a socket.
async fn server_of(store: &Store) -> i32 {
    let db = store.connection().await.unwrap();
    let row = db.query_one("SELECT current_setting('data_directory')", &[]).await.unwrap();
    let file = Path::new(&row.get::<_, String>(0)).join("postmaster.pid");
    std::fs::read_to_string(file).unwrap().lines().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_external_database_is_migrated_and_served() {
    let (dir, url) = (TestDataDir::new(), empty_database().await);
    let tree = Tree::grow().await;
    let store = tree.start(settings(&dir, &url)).await.unwrap();
    let facts = store.facts();
    assert_eq!((facts.mode, facts.postgres_pid), (StoreMode::External, None));
    assert!(facts.available && facts.schema_version >= 1 && facts.database.contains("database 'test_"), "{facts:?}");
    remember(&store, "kept").await;
    store.close().await;
    let store = tree.start(settings(&dir, &url)).await.unwrap();
    assert_eq!(remembered(&store).await, ["kept"]);
    let findings = doctor(&settings(&dir, &url)).await;
    assert!(findings.iter().all(|finding| finding.verdict != Verdict::Problem), "{findings:#?}");
    store.close().await;
}

#[tokio::test]
async fn servers_that_boot_at_once_migrate_once() {
    let url = empty_database().await;
    let mut boots = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let url = url.clone();
        boots.spawn(async move {
            let (dir, tree) = (TestDataDir::new(), Tree::grow().await);
            let store = tree.start(settings(&dir, &url)).await.unwrap();
            let version = store.facts().schema_version;
            store.close().await;
            version
        });
    }
    let versions = boots.join_all().await;
    assert!(versions.iter().all(|version| *version == versions[0]), "{versions:?}");
    let dir = TestDataDir::new();
    let state = migrations(&settings(&dir, &url)).await.unwrap();
    assert!(state.pending.is_empty());
    let mut once: Vec<i32> = state.applied.iter().map(|step| step.version).collect();
    once.dedup();
    assert_eq!(once.len(), state.applied.len());
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let (dir, url) = (TestDataDir::new(), empty_database().await);
    let settings = settings(&dir, &url);
    let before = migrations(&settings).await.unwrap();
    assert!(before.applied.is_empty() && !before.pending.is_empty());
    assert_eq!(migrations(&settings).await.unwrap(), before);
    assert_eq!(migrate(&settings).await.unwrap(), before.pending);
    assert_eq!(migrations(&settings).await.unwrap().applied, before.pending);
}

#[tokio::test]
async fn a_changed_history_is_refused() {
    let db = database().await;
    let tampered = "UPDATE refinery_schema_history SET checksum = '1' WHERE version = 1";
    db.store.connection().await.unwrap().execute(tampered, &[]).await.unwrap();
    let dir = TestDataDir::new();
    let refused = Tree::grow().await.start(settings(&dir, &db.url)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Migration(_)) && refused.to_string().contains("has changed"), "{refused}");
}

#[tokio::test]
async fn wrong_addresses_are_explained_and_never_repeated() {
    let good = empty_database().await;
    let (server, _) = good.rsplit_once('/').unwrap();
    let (_, place) = server.split_once('@').unwrap();
    let cases = [
        (format!("{server}/no_such_database"), "Create it"),
        (format!("postgres://nobody_here:hush@{place}/postgres"), "Correct user and password"),
        ("postgres://me:hush@host.invalid/chat".to_owned(), "Start the server, or correct DATABASE_URL"),
        ("postgres://me:hush@127.0.0.1:1/chat".to_owned(), "Start the server, or correct DATABASE_URL"),
        ("postgres://me:hush@%2Fno%2Fsuch%2Fsocket/chat".to_owned(), "Start the server, or correct DATABASE_URL"),
        ("postgres://me:hush@host/chat?sslmode=require".to_owned(), "TLS to the database is not supported"),
        ("redis://me:hush@host/chat".to_owned(), "DATABASE_URL cannot be read"),
    ];
    // Side by side: an unreachable server is waited for at boot, because it may be booting, too.
    let attempts = cases.map(|(url, expected)| async move {
        let (dir, tree) = (TestDataDir::new(), Tree::grow().await);
        let text =
            within(Duration::from_secs(20), &url, tree.start(settings(&dir, &url))).await.unwrap_err().to_string();
        assert!(text.contains(expected), "{url}: {text}");
        assert!(!text.contains("hush"), "{text}");
        let findings = doctor(&settings(&dir, &url)).await;
        let database = findings.iter().find(|finding| finding.subject == "database").unwrap();
        assert!(database.verdict == Verdict::Problem && database.remedy.is_some(), "{database:?}");
    });
    futures_util::future::join_all(attempts).await;
}

#[tokio::test]
async fn a_role_that_may_not_create_the_extension_is_told_so() {
    let (dir, url) = (TestDataDir::new(), empty_database().await);
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    let role = format!("role_{}", uuid::Uuid::new_v4().simple());
    let create: String =
        client.query_one("SELECT format('CREATE ROLE %I LOGIN', $1::text)", &[&role]).await.unwrap().get(0);
    client.batch_execute(&create).await.unwrap();
    driver.abort();
    let weak = url.replacen("greenroom@", &format!("{role}@"), 1);
    let text = Tree::grow().await.start(settings(&dir, &weak)).await.unwrap_err().to_string();
    assert!(text.contains("may not set up the database") && text.contains("owner"), "{text}");
}

#[tokio::test]
async fn an_exhausted_pool_answers_in_time_and_recovers() {
    let db = database_with(|settings| {
        settings.pool_size = 2;
        settings.checkout_timeout = Duration::from_millis(150);
    })
    .await;
    let held = (db.store.connection().await.unwrap(), db.store.connection().await.unwrap());
    assert_eq!(db.store.facts().pool_in_use, 2);
    let begun = Instant::now();
    let refused = db.store.connection().await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(refused.class(), ErrorClass::Storage);
    assert!(refused.retry_after().is_some());
    drop(held);
    assert!(db.store.connection().await.is_ok());
}

#[tokio::test]
async fn limits_of_statements_and_locks_hold() {
    let db = database_with(|settings| {
        settings.statement_timeout = Duration::from_millis(200);
        settings.lock_timeout = Duration::from_millis(50);
    })
    .await;
    let connection = db.store.connection().await.unwrap();
    let slow = StoreError::from(connection.query("SELECT pg_sleep(10)", &[]).await.unwrap_err());
    assert_eq!(slow.class(), ErrorClass::Storage);
    let other = db.store.connection().await.unwrap();
    other.query("SELECT pg_advisory_lock(1)", &[]).await.unwrap();
    let locked = StoreError::from(connection.query("SELECT pg_advisory_lock(1)", &[]).await.unwrap_err());
    assert_eq!(locked.class(), ErrorClass::Storage);
    let wrong = StoreError::from(connection.query("SELECT nothing", &[]).await.unwrap_err());
    assert_eq!(wrong.class(), ErrorClass::Internal);
}

#[tokio::test]
async fn a_silent_server_is_noticed_and_used_again() {
    let cluster = TestCluster::start().await.unwrap();
    let (dir, tree) = (TestDataDir::new(), Tree::grow().await);
    let quick = StoreSettings { checkout_timeout: Duration::from_millis(300), ..settings(&dir, cluster.url()) };
    let store = tree.start(quick).await.unwrap();
    remember(&store, "kept").await;
    // The postmaster and each session stand still: connections are neither refused nor closed.
    let sessions = store.connection().await.unwrap();
    let rows =
        sessions.query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'", &[]).await.unwrap();
    drop(sessions);
    let mut stopped: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    stopped.push(server_of(&store).await);
    stopped.iter().for_each(|pid| signal(*pid, Signal::SIGSTOP));
    let begun = Instant::now();
    until("the silence is noticed", async || !store.is_available()).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "noticed after {:?}", begun.elapsed());
    let held = Instant::now();
    while let Ok(db) = store.connection().await {
        // An open session looks good until it is used; this is what a caller's own limit is for.
        assert!(tokio::time::timeout(Duration::from_millis(50), db.simple_query("")).await.is_err());
        std::mem::forget(db);
    }
    assert!(held.elapsed() < Duration::from_secs(3), "{:?}", held.elapsed());
    stopped.iter().for_each(|pid| signal(*pid, Signal::SIGCONT));
    until("availability is true again", async || store.is_available()).await;
    assert_eq!(remembered(&store).await, ["kept"]);
    store.close().await;
    cluster.stop().await;
}

#[tokio::test]
async fn an_external_server_that_goes_away_is_waited_for_without_restarts() {
    let cluster = TestCluster::start().await.unwrap();
    let (dir, tree) = (TestDataDir::new(), Tree::grow().await);
    let quick = StoreSettings { checkout_timeout: Duration::from_millis(300), ..settings(&dir, cluster.url()) };
    let store = tree.start(quick).await.unwrap();
    cluster.stop().await;
    until("the outage is noticed", async || !store.is_available()).await;
    let begun = Instant::now();
    let refused = store.connection().await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(refused.class(), ErrorClass::Storage);
    // An outage older than the patience of a caller is answered at once.
    until("answers become immediate", async || {
        let begun = Instant::now();
        assert!(store.connection().await.is_err());
        begun.elapsed() < Duration::from_millis(50)
    })
    .await;
    let views = tree.root.board().views();
    let card = views.iter().find(|card| card.name == "pool").unwrap();
    assert!(card.restarts == 0 && card.note.is_some(), "{card:?}");
    assert!(tree.root.failure().is_none());
    store.close().await;
}

/// The system's PostgreSQL, if it has one without pgvector, shows what a server that lacks it is told.
#[tokio::test]
async fn a_system_postgres_without_pgvector_is_refused_by_name() {
    let Some(system) = system_without_pgvector() else { return };
    let dir = TestDataDir::new();
    let settings = StoreSettings { postgres_dir: Some(system.clone()), ..StoreSettings::new(dir.path()) };
    let text = Tree::grow().await.start(settings).await.unwrap_err().to_string();
    assert!(text.contains("does not offer pgvector") && text.contains("make setup"), "{text}");
}

fn system_without_pgvector() -> Option<std::path::PathBuf> {
    let families = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    families.filter_map(Result::ok).map(|entry| entry.path()).find(|path| {
        let major = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let control = format!("/usr/share/postgresql/{major}/extension/vector.control");
        path.join("bin/initdb").exists()
            && major.parse::<u32>().is_ok_and(|major| major >= 15)
            && !Path::new(&control).exists()
    })
}
