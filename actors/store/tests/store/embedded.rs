//! The embedded server in one process: a fresh and an existing directory, faults, and its end.

use std::fs;
use std::time::{Duration, Instant};

use super::common::{Tree, is_alive, postmaster_of, remember, remembered, signal, start, until, within};
use greenroom_kit::State;
use greenroom_store::testing::TestDataDir;
use greenroom_store::{DataDirLock, StoreError, StoreMode, StoreSettings, Verdict, doctor, migrate, migrations};
use nix::sys::signal::Signal;

#[tokio::test]
async fn a_fresh_directory_becomes_a_database_and_an_existing_one_is_quick() {
    let dir = TestDataDir::new();
    let (_tree, store) = start(dir.path()).await;
    let facts = store.facts();
    assert_eq!(facts.mode, StoreMode::Embedded);
    assert!(facts.available && facts.schema_version >= 1 && facts.postgres_pid.is_some(), "{facts:?}");
    assert!(facts.pgvector_version.starts_with("0."), "{facts:?}");
    remember(&store, "kept").await;
    let pid = facts.postgres_pid.unwrap();
    store.close().await;
    assert!(!is_alive(pid), "postgres outlived a clean close");
    assert!(!dir.path().join("postgres/postmaster.pid").exists());
    assert_eq!(DataDirLock::holder(dir.path()), None);
    assert!(matches!(store.connection().await, Err(StoreError::Unavailable(_))));
    store.close().await;

    let begun = Instant::now();
    let (tree, store) = start(dir.path()).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "an existing directory took {took:?}");
    assert_eq!(remembered(&store).await, ["kept"]);
    let pid = store.facts().postgres_pid.unwrap();
    tree.root.shutdown().await;
    assert!(!is_alive(pid), "postgres outlived the tree");
}

#[tokio::test]
async fn sessions_have_their_limits_and_everything_is_durable() {
    let dir = TestDataDir::new();
    let (_tree, store) = start(dir.path()).await;
    let db = store.connection().await.unwrap();
    for (name, expected) in [
        ("statement_timeout", "30s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("TimeZone", "UTC"),
        ("application_name", "greenroom"),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("jit", "off"),
    ] {
        let row = db.query_one("SELECT current_setting($1)", &[&name]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), expected, "{name}");
    }
    let row = db.query_one("SELECT lower('ÄÖ') || (SELECT extname FROM pg_extension WHERE extname = 'vector')", &[]);
    assert_eq!(row.await.unwrap().get::<_, String>(0), "äövector");
    drop(db);
    store.close().await;
}

#[tokio::test]
async fn a_second_server_on_the_same_directory_is_refused() {
    let dir = TestDataDir::new();
    let (_tree, store) = start(dir.path()).await;
    store.announce("127.0.0.1:8642".parse().unwrap()).unwrap();
    let refused = Tree::grow().await.start(StoreSettings::new(dir.path())).await.unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, StoreError::InUse { .. }), "{text}");
    assert!(text.contains(&std::process::id().to_string()) && text.contains("127.0.0.1:8642"), "{text}");
    assert!(store.connection().await.is_ok(), "the first one was disturbed");
    store.close().await;
}

#[tokio::test]
async fn a_killed_postgres_comes_back_and_so_does_the_pool() {
    let dir = TestDataDir::new();
    let (tree, store) = start(dir.path()).await;
    remember(&store, "before").await;
    let first = store.facts().postgres_pid.unwrap();
    signal(first, Signal::SIGKILL);
    until("the outage is noticed", async || !store.is_available()).await;
    // A caller in the middle of it only waits a little: the pause before the restart is shorter than its patience.
    within(Duration::from_secs(5), "recovery", async { while store.connection().await.is_err() {} }).await;
    assert_eq!(remembered(&store).await, ["before"]);
    remember(&store, "later").await;
    assert_ne!(store.facts().postgres_pid, Some(first));
    until("availability is true again", async || store.is_available()).await;
    // The server takes connections a moment before its supervisor has noted that it is up.
    let card = || tree.root.board().views().into_iter().find(|card| card.name == "cluster").unwrap();
    until("the board shows it", async || (card().state, card().restarts) == (State::Up, 1)).await;
    assert!(card().last_failure.unwrap().contains("signal: 9"));
    store.close().await;
}

#[tokio::test]
async fn a_killed_backend_costs_no_restart_of_ours() {
    let dir = TestDataDir::new();
    let (tree, store) = start(dir.path()).await;
    remember(&store, "kept").await;
    let row = store.connection().await.unwrap().query_one("SELECT pg_backend_pid()", &[]).await.unwrap();
    signal(row.get(0), Signal::SIGKILL);
    // PostgreSQL throws all sessions out, recovers and goes on under the same postmaster.
    until("sessions are back", async || match store.connection().await {
        Ok(db) => db.query_one("SELECT count(*) FROM words", &[]).await.is_ok(),
        Err(_) => false,
    })
    .await;
    assert_eq!(remembered(&store).await, ["kept"]);
    let card = tree.root.board().views().into_iter().find(|card| card.name == "cluster").unwrap();
    assert_eq!(card.restarts, 0);
    store.close().await;
}

#[tokio::test]
async fn a_crashed_actor_is_started_again_with_its_server() {
    let dir = TestDataDir::new();
    let (tree, store) = start(dir.path()).await;
    remember(&store, "kept").await;
    let restarts = |name: &str| {
        tree.root.board().views().into_iter().find(|card| card.name == name).map_or(0, |card| card.restarts)
    };
    let first = store.facts().postgres_pid.unwrap();
    store.crash_cluster();
    until("the cluster is restarted", async || restarts("cluster") == 1).await;
    assert!(!is_alive(first), "the old server runs beside the new one");
    until("connections work", async || store.connection().await.is_ok()).await;
    assert_eq!(remembered(&store).await, ["kept"]);

    store.crash_pool();
    until("the watcher is restarted", async || restarts("pool") == 1).await;
    until("health is known", async || store.is_available()).await;
    assert_eq!(remembered(&store).await, ["kept"]);
    store.close().await;
}

#[tokio::test]
async fn a_store_that_keeps_failing_takes_the_tree_down() {
    let dir = TestDataDir::new();
    let (tree, store) = start(dir.path()).await;
    let pid = store.facts().postgres_pid.unwrap();
    until("the root gives up", async || {
        store.crash_pool();
        tree.root.failure().is_some()
    })
    .await;
    assert!(tree.group.failure().unwrap().contains("pool keeps failing"));
    until("postgres goes with the tree", async || !is_alive(pid)).await;
}

#[tokio::test]
async fn a_cluster_that_was_never_finished_is_made_anew() {
    let dir = TestDataDir::new();
    let unfinished = dir.path().join("postgres.unfinished-0");
    fs::create_dir_all(unfinished.join("base/1")).unwrap();
    fs::write(unfinished.join("PG_VERSION"), "18\n").unwrap();
    let (_tree, store) = start(dir.path()).await;
    remember(&store, "works").await;
    assert!(!unfinished.exists());
    store.close().await;
}

#[tokio::test]
async fn a_damaged_cluster_is_left_alone_and_named() {
    let dir = TestDataDir::new();
    let precious = dir.path().join("postgres/base/precious");
    fs::create_dir_all(precious.parent().unwrap()).unwrap();
    fs::write(&precious, "bytes").unwrap();
    let text = Tree::grow().await.start(StoreSettings::new(dir.path())).await.unwrap_err().to_string();
    assert!(text.contains("not a whole PostgreSQL cluster") && text.contains("backup"), "{text}");
    assert!(precious.exists());
    let findings = doctor(&StoreSettings::new(dir.path())).await;
    assert!(findings.iter().any(|finding| finding.subject == "cluster" && finding.verdict == Verdict::Problem));
}

#[tokio::test]
async fn a_cluster_of_another_version_needs_its_own_programs() {
    let dir = TestDataDir::new();
    let (_tree, store) = start(dir.path()).await;
    store.close().await;
    fs::write(dir.path().join("postgres/PG_VERSION"), "12\n").unwrap();
    let text = Tree::grow().await.start(StoreSettings::new(dir.path())).await.unwrap_err().to_string();
    assert!(text.contains("no PostgreSQL 12 found, which the existing database needs"), "{text}");
}

#[tokio::test]
async fn odd_and_long_paths_work() {
    let dir = TestDataDir::new();
    for name in ["with space, comma and 'quotes'".to_owned(), "x".repeat(100)] {
        let data_dir = dir.path().join(name);
        let (_tree, store) = start(&data_dir).await;
        remember(&store, "here").await;
        store.close().await;
        let (_tree, store) = start(&data_dir).await;
        assert_eq!(remembered(&store).await, ["here"]);
        store.close().await;
    }
}

#[tokio::test]
async fn a_stale_pid_file_that_names_a_stranger_is_no_obstacle() {
    let dir = TestDataDir::new();
    let (_tree, store) = start(dir.path()).await;
    store.close().await;
    let stranger = std::process::id();
    let text =
        format!("{stranger}\n{}\n1790000000\n5432\n/nowhere\n\n  1 2\nready\n", dir.path().join("postgres").display());
    fs::write(dir.path().join("postgres/postmaster.pid"), text).unwrap();
    let (_tree, store) = start(dir.path()).await;
    assert_ne!(postmaster_of(dir.path()), i32::try_from(stranger).ok());
    store.close().await;
}

#[tokio::test]
async fn a_failed_start_leaves_nothing_running() {
    let dir = TestDataDir::new();
    let (_tree, store) = start(dir.path()).await;
    let db = store.connection().await.unwrap();
    let newer = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
                 VALUES (9999, 'from_the_future', '2030-01-01T00:00:00Z', '1')";
    db.execute(newer, &[]).await.unwrap();
    drop(db);
    store.close().await;
    let tree = Tree::grow().await;
    let refused = tree.start(StoreSettings::new(dir.path())).await.unwrap_err();
    assert!(matches!(refused, StoreError::Migration(_)));
    assert!(refused.to_string().contains("newer"), "{refused}");
    assert_eq!(postmaster_of(dir.path()), None);
    assert_eq!(DataDirLock::holder(dir.path()), None);
    assert!(tree.root.board().views().iter().all(|card| card.kind == "supervisor"));
}

#[tokio::test]
async fn the_command_line_sees_pending_migrations_with_and_without_a_server() {
    let dir = TestDataDir::new();
    let settings = StoreSettings::new(dir.path());
    let fresh = migrations(&settings).await.unwrap();
    assert!(fresh.applied.is_empty() && !fresh.pending.is_empty());
    assert!(!dir.path().join("postgres").exists(), "a dry run made a cluster");

    let steps = migrate(&settings).await.unwrap();
    assert_eq!(steps, fresh.pending);
    assert_eq!(migrate(&settings).await.unwrap(), []);
    let done = migrations(&settings).await.unwrap();
    assert!(done.pending.is_empty() && done.applied == steps);
    assert_eq!(postmaster_of(dir.path()), None, "a command left its server running");

    let (_tree, store) = start(dir.path()).await;
    assert_eq!(migrations(&settings).await.unwrap(), done);
    assert_eq!(migrate(&settings).await.unwrap(), []);
    assert!(store.connection().await.is_ok());
    store.close().await;
}

#[tokio::test]
async fn the_doctor_is_content_before_while_and_after() {
    let dir = TestDataDir::new();
    let settings = StoreSettings::new(dir.path());
    let content = async |when: &str| {
        let findings = doctor(&settings).await;
        assert!(findings.iter().all(|finding| finding.verdict != Verdict::Problem), "{when}: {findings:#?}");
        findings
    };
    content("before").await;
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the doctor wrote something");
    let (_tree, store) = start(dir.path()).await;
    let findings = content("while").await;
    assert!(findings.iter().any(|finding| finding.subject == "lock" && finding.verdict == Verdict::Notice));
    assert!(findings.iter().any(|finding| finding.subject == "database" && finding.detail.contains("0 pending")));
    store.close().await;
    content("after").await;

    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let without =
        StoreSettings { postgres_dir: Some(dir.path().join("nowhere")), ..StoreSettings::new(file.join("data")) };
    let findings = doctor(&without).await;
    for subject in ["postgres programs", "data directory"] {
        let finding = findings.iter().find(|finding| finding.subject == subject).unwrap();
        assert!(finding.verdict == Verdict::Problem && finding.remedy.is_some(), "{finding:?}");
    }
}

#[tokio::test]
async fn missing_programs_are_an_error_with_both_remedies() {
    let dir = TestDataDir::new();
    let settings = StoreSettings { postgres_dir: Some(dir.path().join("nowhere")), ..StoreSettings::new(dir.path()) };
    let text = Tree::grow().await.start(settings).await.unwrap_err().to_string();
    assert!(
        text.contains("make setup") && text.contains("system PostgreSQL") && text.contains("DATABASE_URL"),
        "{text}"
    );
}
