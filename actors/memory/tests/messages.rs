//! Raw messages in a real database: namespaces, order, idempotence, purge.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use greenroom_kit::{Board, Supervisor};
use greenroom_memory::{Memory, MessageRepository, MessageStatus, Namespace, NamespaceName, NewMessage};
use greenroom_protocol::{BotSlug, Role, TurnId, UserId};
use greenroom_store::testing::{TestDatabase, database};
use jiff::Timestamp;
use uuid::Uuid;

async fn memory() -> (TestDatabase, Memory) {
    let database = database().await;
    let (root, _join) = Supervisor::root(Board::default()).await.expect("root");
    let group = root.group("memory").await.expect("group");
    let memory = Memory::new(group, database.store.clone());
    (database, memory)
}

fn namespace(memory: &Memory, slug: &str) -> Namespace {
    let name = NamespaceName::from_profile(slug).expect("a plain name");
    memory.namespace(&BotSlug::parse(slug).expect("a slug"), &name)
}

fn message(bot: &str, user: &str, content: &str, second: i64) -> NewMessage {
    NewMessage {
        bot: BotSlug::from_stored(bot),
        id: Uuid::new_v4(),
        role: Role::User,
        content: content.into(),
        ts: Timestamp::from_second(second).expect("a time"),
        user: UserId::from_stored(user),
        turn: TurnId::from_stored("turn-1"),
        status: MessageStatus::Complete,
        metadata: None,
        extract: true,
    }
}

async fn record(database: &TestDatabase, messages: &[NewMessage]) {
    let db = database.store.connection().await.expect("connection");
    MessageRepository::record_on(&db, messages).await.expect("recorded");
}

#[tokio::test]
async fn many_may_open_a_namespace_at_once() {
    let (database, memory) = memory().await;
    let opens = (0..8).map(|n| {
        let namespace = namespace(&memory, if n % 2 == 0 { "one" } else { "two" });
        tokio::spawn(async move { namespace.open().await })
    });
    for open in opens.collect::<Vec<_>>() {
        open.await.expect("task").expect("opened");
    }
    record(&database, &[message("one", "ann", "hello", 1), message("two", "ann", "hello", 1)]).await;
}

#[tokio::test]
async fn reading_creates_nothing_and_order_is_by_time_then_arrival() {
    let (database, memory) = memory().await;
    let one = namespace(&memory, "one");
    assert_eq!(one.latest(None, None, 10).await.expect("read").len(), 0);
    let db = database.store.connection().await.expect("connection");
    let made: bool = db.query_one("SELECT to_regclass('one_messages') IS NOT NULL", &[]).await.expect("row").get(0);
    assert!(!made);
    one.open().await.expect("opened");
    record(&database, &[message("one", "ann", "a", 5), message("one", "bob", "b", 5), message("one", "ann", "c", 3)])
        .await;
    let texts =
        |rows: Vec<greenroom_memory::StoredMessage>| rows.into_iter().map(|row| row.content).collect::<Vec<_>>();
    assert_eq!(texts(one.latest(None, None, 10).await.expect("read")), ["b", "a", "c"]);
    let ann = UserId::from_stored("ann");
    assert_eq!(texts(one.latest(Some(&ann), None, 10).await.expect("read")), ["a", "c"]);
    let newest = one.latest(None, None, 1).await.expect("read");
    let before = Some((newest[0].ts, newest[0].seq));
    assert_eq!(texts(one.latest(None, before, 10).await.expect("read")), ["a", "c"]);
}

#[tokio::test]
async fn writing_twice_is_writing_once() {
    let (database, memory) = memory().await;
    let one = namespace(&memory, "one");
    one.open().await.expect("opened");
    let mut first = message("one", "ann", "part", 1);
    first.status = MessageStatus::Partial;
    record(&database, std::slice::from_ref(&first)).await;
    let whole = NewMessage { content: "partial no more".into(), status: MessageStatus::Complete, ..first.clone() };
    record(&database, std::slice::from_ref(&whole)).await;
    // Another role under the same id does not overwrite.
    record(&database, &[NewMessage { role: Role::Assistant, content: "forged".into(), ..first }]).await;
    let rows = one.latest(None, None, 10).await.expect("read");
    assert_eq!((rows.len(), rows[0].content.as_str(), rows[0].partial), (1, "partial no more", false));
}

#[tokio::test]
async fn a_purged_bot_leaves_its_neighbours_alone_and_can_begin_again() {
    let (database, memory) = memory().await;
    let (one, two) = (namespace(&memory, "one"), namespace(&memory, "one_two"));
    one.open().await.expect("opened");
    two.open().await.expect("opened");
    record(&database, &[message("one", "ann", "x", 1), message("one_two", "ann", "y", 1)]).await;
    let db = database.store.connection().await.expect("connection");
    let dropped = Memory::purge(&db, one.bot()).await.expect("purged");
    memory.purged(one.bot());
    assert_eq!(dropped, ["one_messages"]);
    assert_eq!(two.latest(None, None, 10).await.expect("read").len(), 1);
    one.open().await.expect("opened again");
    record(&database, &[message("one", "ann", "z", 1)]).await;
    assert_eq!(one.latest(None, None, 10).await.expect("read").len(), 1);
}

#[tokio::test]
async fn a_crashed_namespace_comes_back() {
    let (database, memory) = memory().await;
    let one = namespace(&memory, "one");
    one.open().await.expect("opened");
    one.crash();
    one.forget_partitions();
    // The supervisor starts it again; until then the answer is an error, never a wrong one.
    let mut tries = 0;
    while one.open().await.is_err() {
        tries += 1;
        assert!(tries < 1000, "the namespace never came back");
        tokio::task::yield_now().await;
    }
    record(&database, &[message("one", "ann", "x", 1)]).await;
}

#[test]
fn names_are_plain() {
    for bad in ["", "a-b", "A", "a b", "x\"y", &"x".repeat(49)] {
        assert!(NamespaceName::from_profile(bad).is_none(), "{bad:?}");
    }
}
