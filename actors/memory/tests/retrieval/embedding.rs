//! The worker that gives rows their vectors.

use greenroom_embedder::Embedder;
use greenroom_memory::episodes::WorkerState;
use greenroom_memory::{MemoryDraft, RegenerateMode};
use tokio_util::sync::CancellationToken;

use super::house::*;

const VECTORS: &str = "SELECT count(*) FROM message_vectors";
const QUEUED: &str = "SELECT count(*) FROM message_embedding_queue";

#[tokio::test]
async fn messages_are_embedded_as_they_come_and_their_neighbours_again() {
    let house = House::open().await;
    let nova = house.namespace("nova").await;
    say(&nova, "chat", 0, &["ann: first thing", "nova: second thing"]).await;
    assert_eq!((house.count(VECTORS).await, house.count(QUEUED).await), (2, 0));
    let context = "SELECT sum(hashtext(context_embedding::text))::bigint FROM message_vectors v JOIN messages m
                     ON m.id = v.message_id WHERE m.content = 'second thing'";
    let own = "SELECT sum(hashtext(embedding::text))::bigint FROM message_vectors v JOIN messages m
                 ON m.id = v.message_id WHERE m.content = 'second thing'";
    let before = (house.count(context).await, house.count(own).await);
    say(&nova, "chat", 600, &["ann: third thing entirely"]).await;
    let after = (house.count(context).await, house.count(own).await);
    assert_ne!(before.0, after.0, "its surroundings changed");
    assert_eq!(before.1, after.1);
    // Another session changes nothing here.
    say(&nova, "other", 900, &["ann: elsewhere"]).await;
    assert_eq!(house.count(context).await, after.0);
    assert_eq!((house.count(VECTORS).await, house.count(QUEUED).await), (4, 0));
}

#[tokio::test]
async fn a_backlog_survives_a_restart_and_is_drained_in_batches() {
    let house = House::wordless().await;
    let before = house.namespace("nova").await;
    let lines: Vec<String> = (0..300).map(|n| format!("ann: line number {n}")).collect();
    say(&before, "chat", 0, &lines.iter().map(String::as_str).collect::<Vec<_>>()).await;
    remember(&before, &["a boat", "a kite"]).await;
    assert_eq!(before.index_status().embedding, WorkerState::Off);
    assert_eq!((house.count(VECTORS).await, house.count(QUEUED).await), (0, 300));
    let restarted = room(&house.database.store, Embedder::test_hash(), settings()).await;
    let nova = namespace(&restarted, "nova");
    nova.open().await.expect("opened");
    nova.embedding_idle().await;
    assert_eq!((house.count(VECTORS).await, house.count(QUEUED).await), (300, 0));
    assert_eq!(house.count("SELECT count(*) FROM memories WHERE embedding IS NULL").await, 0);
}

#[tokio::test]
async fn places_of_messages_that_are_gone_leave_the_queue() {
    let house = House::open().await;
    let nova = house.namespace("nova").await;
    house
        .execute(
            "INSERT INTO message_embedding_queue (bot_id, seq, message_id) VALUES ('nova', 900000, gen_random_uuid())",
        )
        .await;
    say(&nova, "chat", 0, &["ann: one"]).await;
    assert_eq!((house.count(VECTORS).await, house.count(QUEUED).await), (1, 0));
}

#[tokio::test]
async fn a_model_that_is_away_leaves_everything_queued() {
    let house = House::wordless().await;
    let nova = house.namespace("nova").await;
    say(&nova, "chat", 0, &["ann: one"]).await;
    assert_eq!(house.count(QUEUED).await, 1);
    assert!(nova.regenerate_embeddings(RegenerateMode::All, &CancellationToken::new()).await.is_err());
}

#[tokio::test]
async fn vectors_are_made_again() {
    let house = House::open().await;
    let nova = house.namespace("nova").await;
    let drafts = (0..5).map(|n| MemoryDraft::new(format!("thing {n}"))).collect();
    remember_all(&nova, drafts).await;
    say(&nova, "chat", 0, &["ann: one", "nova: two"]).await;
    house.execute("UPDATE memories SET embedding_model = 'older/384' WHERE content IN ('thing 1', 'thing 2')").await;
    house
        .execute("UPDATE message_vectors SET model = 'older/384' WHERE message_id = (SELECT id FROM messages LIMIT 1)")
        .await;
    let go = CancellationToken::new();
    let missing = nova.regenerate_embeddings(RegenerateMode::Missing, &go).await.expect("done");
    assert_eq!((missing.updated, missing.failed, missing.embedding_dim, missing.messages_queued), (2, 0, 384, 1));
    nova.embedding_idle().await;
    assert_eq!(house.count("SELECT count(*) FROM message_vectors WHERE model = 'older/384'").await, 0);
    let all = nova.regenerate_embeddings(RegenerateMode::All, &go).await.expect("done");
    assert_eq!((all.updated, all.messages_queued, all.complete), (5, 2, true));
    go.cancel();
    let none = nova.regenerate_embeddings(RegenerateMode::All, &go).await.expect("stopped");
    assert!(!none.complete && none.updated == 0);
    assert_eq!(RegenerateMode::parse("everything"), None);
}
