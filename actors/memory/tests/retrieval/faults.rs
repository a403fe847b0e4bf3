//! What a search is told when the database or the model is gone.

use greenroom_embedder::{Choice, Embedder, EmbedderSettings};
use greenroom_kit::{Board, Supervisor};
use greenroom_memory::retrieval::VectorLeg;
use greenroom_memory::{MemorySearch, MessageSearch, TurnRecall};
use greenroom_protocol::ErrorClass;
use greenroom_store::testing::database_with;

use super::house::*;

#[tokio::test]
async fn a_database_that_is_gone_is_an_outage_and_no_hang() {
    let database = database_with(|settings| settings.checkout_timeout = std::time::Duration::from_millis(300)).await;
    let memory = room(&database.store, Embedder::test_hash(), settings()).await;
    let nova = namespace(&memory, "nova");
    nova.open().await.expect("opened");
    remember(&nova, &["a boat"]).await;
    assert!(nova.warm_up(PATIENCE).await);
    database.store.close().await;
    let error = nova.search_memories(MemorySearch::new("boat")).await.expect_err("no database");
    assert_eq!(error.class(), ErrorClass::Storage);
    assert!(error.retry_after().is_some());
    let error = nova.search_messages(MessageSearch::new("boat")).await.expect_err("no database");
    assert_eq!(error.class(), ErrorClass::Storage);
    let error = memory
        .search_everywhere(std::slice::from_ref(&nova), MemorySearch::new("boat"))
        .await
        .expect_err("no database");
    assert_eq!(error.class(), ErrorClass::Storage);
    // A turn goes on without.
    let recall = TurnRecall {
        memories: Some(MemorySearch::new("boat")),
        episodes: Some(MessageSearch::new("boat")),
        within: PATIENCE,
    };
    let recalled = nova.recall_for_turn(recall).await;
    assert!(recalled.memories.is_empty() && recalled.incomplete.is_some());
}

#[tokio::test]
async fn connections_that_die_in_the_middle_are_an_outage_and_then_all_is_well() {
    let house = House::open().await;
    let nova = house.namespace("nova").await;
    remember(&nova, &["a boat"]).await;
    assert!(nova.warm_up(PATIENCE).await);
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for _ in 0..5 {
        let db = house.database.store.connection().await.expect("connection");
        let _ = tokio::join!(async { db.query_one(kill, &[]).await.map(|_| ()) }, async {
            for _ in 0..5 {
                if let Err(error) = nova.search_memories(MemorySearch::new("boat")).await {
                    assert_eq!(error.class(), ErrorClass::Storage, "{error:?}");
                }
            }
        });
    }
    until("searching works again", || async { nova.search_memories(MemorySearch::new("boat")).await.is_ok() }).await;
}

#[tokio::test]
async fn a_model_that_is_unavailable_is_told_and_words_stand_in() {
    let house = House::wordless().await;
    let nova = house.namespace("nova").await;
    remember(&nova, &["a boat"]).await;
    say(&nova, "chat", 0, &["ann: a boat"]).await;
    let memories = nova.search_memories(MemorySearch::new("boat")).await.expect("found");
    assert_eq!((memories.hits.len(), memories.legs.vector), (1, VectorLeg::Off));
    assert!(memories.legs.no_vector.is_some());
    let messages = nova.search_messages(MessageSearch::new("boat")).await.expect("found");
    assert_eq!((messages.hits.len(), messages.vector), (1, VectorLeg::Off));
    assert!(messages.no_vector.is_some());
}

#[tokio::test]
async fn an_embedder_with_little_room_gets_little_at_once() {
    let house = House::wordless().await;
    let (root, _join) = Supervisor::root(Board::default()).await.expect("root");
    let group = root.group("embedder").await.expect("group");
    let settings_of =
        EmbedderSettings { model: Choice::TestHash, threads: 1, queue: 40, ..EmbedderSettings::default() };
    let embedder = Embedder::start(&group, settings_of).await.expect("started");
    let memory = room(&house.database.store, embedder, settings()).await;
    let nova = namespace(&memory, "nova");
    nova.open().await.expect("opened");
    let lines: Vec<String> = (0..60).map(|n| format!("ann: line {n}")).collect();
    say(&nova, "chat", 0, &lines.iter().map(String::as_str).collect::<Vec<_>>()).await;
    until("all are embedded", || async { house.count("SELECT count(*) FROM message_vectors").await == 60 }).await;
}
