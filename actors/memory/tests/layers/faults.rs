//! Crashes, lost connections and crowds: everything or nothing, never a hang.

use std::time::Duration;

use greenroom_memory::{MemoryDraft, MemoryError, Outcome, StoreOptions};
use greenroom_protocol::ErrorClass;

use crate::house::{House, message, store};

/// Stores as a patient client does: again, as long as it is told that this may help.
async fn stored_again(namespace: &greenroom_memory::Namespace, text: &str) -> Outcome {
    for _ in 0..500 {
        match namespace.store_memory(MemoryDraft::new(text), StoreOptions::default()).await {
            Ok(stored) => return stored.outcome,
            Err(error) => assert!(error.class() == ErrorClass::Storage && error.retry_after().is_some(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the namespace never came back");
}

#[tokio::test]
async fn a_command_that_panics_leaves_nothing_behind() {
    let house = House::open().await;
    let one = house.opened("one").await;
    store(&one, MemoryDraft::new("User has a cat")).await;
    let before = house.snapshot("one").await;
    let broken = one.exclusive("break off", |x| {
        Box::pin(async move {
            x.db.execute("UPDATE memories SET importance = 0", &[]).await?;
            assert!(x.bot.as_str().is_empty(), "breaks off on purpose");
            Ok::<_, MemoryError>(())
        })
    });
    let error = broken.await.expect_err("broke off");
    assert_eq!(error.class(), ErrorClass::Storage);
    assert!(error.retry_after().is_some());
    assert_eq!(house.snapshot("one").await, before);
    assert_eq!(stored_again(&one, "User has a cat").await, Outcome::Duplicate);
}

#[tokio::test]
async fn a_command_that_fails_is_rolled_back_and_the_next_one_runs() {
    let house = House::open().await;
    let one = house.opened("one").await;
    let failed = one.exclusive("fail", |x| {
        Box::pin(async move {
            x.db.execute("INSERT INTO memories (bot_id, id, content) VALUES ('one', gen_random_uuid(), 'x')", &[])
                .await?;
            Err::<(), _>(MemoryError::Conflict("changed its mind".into()))
        })
    });
    assert!(matches!(failed.await, Err(MemoryError::Conflict(_))));
    assert!(house.snapshot("one").await.is_empty());
    store(&one, MemoryDraft::new("User has a cat")).await;
}

#[tokio::test]
async fn a_crashed_namespace_comes_back() {
    let house = House::open().await;
    let one = house.opened("one").await;
    one.crash();
    one.forget_partitions();
    // The supervisor starts it again; until then the answer is an error, never a wrong one.
    let mut tries = 0;
    while one.open().await.is_err() {
        tries += 1;
        assert!(tries < 1000, "the namespace never came back");
        tokio::task::yield_now().await;
    }
    let _ = one.record(&[message("one", "ann", "x", 1)]).await.expect("recorded");
    one.crash();
    assert_eq!(stored_again(&one, "User has a cat").await, Outcome::Inserted);
}

#[tokio::test]
async fn a_store_without_a_database_is_an_error_and_goes_on_afterwards() {
    let house = House::open().await;
    let one = house.opened("one").await;
    store(&one, MemoryDraft::new("User has a cat")).await;
    let before = house.snapshot("one").await;
    // The server drops the connection in the middle of the command, after the row was written.
    let cut = one.exclusive("cut off", |x| {
        Box::pin(async move {
            x.db.execute("UPDATE memories SET importance = 0", &[]).await?;
            x.db.query_one("SELECT pg_terminate_backend(pg_backend_pid())", &[]).await?;
            Ok::<_, MemoryError>(())
        })
    });
    let error = cut.await.expect_err("cut off");
    assert_eq!(error.class(), ErrorClass::Storage, "{error}");
    assert_eq!(house.snapshot("one").await, before);
    assert_eq!(stored_again(&one, "User likes tea very much").await, Outcome::Inserted);
    // Gone for good: an error within the time for a connection, and no hang.
    house.database.store.close().await;
    let error = one.store_memory(MemoryDraft::new("Too late"), StoreOptions::default()).await.expect_err("gone");
    assert_eq!(error.class(), ErrorClass::Storage, "{error}");
}

#[tokio::test]
async fn a_crowd_is_served_in_turn() {
    let house = House::open().await;
    let one = house.opened("one").await;
    let crowd = (0..100).map(|n| {
        let one = one.clone();
        let draft = MemoryDraft::new(format!(
            "fact number {n} {}",
            "abcdefghij".chars().cycle().skip(n).take(5).collect::<String>()
        ));
        let options = StoreOptions { force: true, ..StoreOptions::default() };
        tokio::spawn(async move { one.store_memory(draft, options).await })
    });
    for stored in crowd.collect::<Vec<_>>() {
        assert_eq!(stored.await.expect("task").expect("stored").outcome, Outcome::Inserted);
    }
    assert_eq!(house.count("SELECT count(*) FROM memories").await, 100);
}
