//! Raw messages: namespaces, order, idempotence, conflicts, hostile texts, purge.

use greenroom_memory::{MemoryError, MessageStatus, NamespaceName, NewMessage};
use greenroom_protocol::{ErrorClass, Role, TurnId};
use serde_json::json;
use uuid::Uuid;

use crate::house::{House, message, texts, user};

#[tokio::test]
async fn many_may_open_a_namespace_at_once() {
    let house = House::open().await;
    let opens = (0..8).map(|n| {
        let namespace = house.namespace(if n % 2 == 0 { "one" } else { "two" });
        tokio::spawn(async move { namespace.open().await })
    });
    for open in opens.collect::<Vec<_>>() {
        open.await.expect("task").expect("opened");
    }
    let recorded = house.record(&[message("one", "ann", "hello", 1), message("two", "ann", "hello", 1)]).await;
    assert_eq!((recorded.stored.len(), recorded.conflicts.len()), (2, 0));
}

#[tokio::test]
async fn reading_creates_nothing_and_order_is_by_time_then_arrival() {
    let house = House::open().await;
    let one = house.namespace("one");
    assert_eq!(one.latest(None, None, 10).await.expect("read").len(), 0);
    assert_eq!(house.count("SELECT count(*) FROM pg_class WHERE relname LIKE 'one\\_%'").await, 0);
    one.open().await.expect("opened");
    let batch = [message("one", "ann", "a", 5), message("one", "bob", "b", 5), message("one", "ann", "c", 3)];
    assert_eq!(house.record(&batch).await.stored.len(), 3);
    assert_eq!(texts(&one.latest(None, None, 10).await.expect("read")), ["b", "a", "c"]);
    assert_eq!(texts(&one.latest(Some(&user("ann")), None, 10).await.expect("read")), ["a", "c"]);
    let newest = one.latest(None, None, 1).await.expect("read");
    let before = Some((newest[0].ts, newest[0].seq));
    assert_eq!(texts(&one.latest(None, before, 10).await.expect("read")), ["a", "c"]);
}

#[tokio::test]
async fn writing_twice_is_writing_once_and_nobody_overwrites_another() {
    let house = House::open().await;
    let one = house.opened("one").await;
    let mut first = message("one", "ann", "part", 1);
    first.status = MessageStatus::Partial;
    let _ = house.record(std::slice::from_ref(&first)).await;
    let whole = NewMessage { content: "partial no more".into(), status: MessageStatus::Complete, ..first.clone() };
    let _ = house.record(std::slice::from_ref(&whole)).await;
    // Another role or another person under the same id does not overwrite, and is not silently lost.
    let forged = NewMessage { role: Role::Assistant, content: "forged".into(), ..first.clone() };
    let foreign = NewMessage { user: user("eve"), content: "forged".into(), ..first.clone() };
    for bad in [forged, foreign] {
        let recorded = house.record(std::slice::from_ref(&bad)).await;
        assert_eq!((recorded.stored.len(), recorded.conflicts), (0, vec![(first.bot.clone(), first.id)]));
        let good = message("one", "ann", "beside it", 9);
        let error = one.record(&[good, bad]).await.expect_err("refused");
        assert!(matches!(error, MemoryError::Conflict(_)), "{error}");
    }
    let rows = one.latest(None, None, 10).await.expect("read");
    assert_eq!((rows.len(), rows[0].content.as_str(), rows[0].partial), (1, "partial no more", false));
    let session = house.memory.sessions().get(rows[0].session.expect("a session")).await.expect("found");
    assert_eq!(session.message_count, 1);
    assert_eq!(house.count("SELECT count(*) FROM message_embedding_queue").await, 1);
}

#[tokio::test]
async fn hostile_texts_are_stored_or_left_out_and_never_break_a_batch() {
    let house = House::open().await;
    let one = house.opened("one").await;
    // One megabyte of different two-letter words in a script of three bytes: the worst there is for a tsvector.
    let words = (0..160_000u32).map(|n| {
        let letter = |n: u32| char::from_u32(0x4e00 + n % 400).expect("a letter");
        format!("{}{}", letter(n), letter(n / 400))
    });
    let chinese: String = words.collect::<Vec<_>>().join(" ");
    let hyphens: String = (0..100_000).map(|n| format!("a{n:x}-b{n:x} ")).collect();
    let mut noted = message("one", "ann", "with\0nul", 3);
    noted.metadata = Some(json!({"note": "nul \u{0} and \\u0000"}));
    let batch = [
        message("one", "ann", &chinese, 1),
        message("one", "ann", &hyphens, 2),
        noted,
        message("one", "ann", " \n", 4),
    ];
    assert!(chinese.len() > 1_000_000 && hyphens.len() > 1_000_000);
    let recorded = one.record(&batch).await.expect("recorded");
    assert_eq!(recorded.stored.len(), 3);
    let rows = one.latest(None, None, 10).await.expect("read");
    assert_eq!(rows[0].content, "with\u{fffd}nul");
    assert_eq!(rows[0].metadata, Some(json!({"note": "nul \u{fffd} and \\u0000"})));
    assert_eq!((rows[1].content.len(), rows[2].content.len()), (hyphens.len(), chinese.len()));
}

#[tokio::test]
async fn messages_are_found_by_id_prefix_and_the_clients_own_id() {
    let house = House::open().await;
    let one = house.opened("one").await;
    let fixed = |tail: u128| Uuid::from_u128(0xabcd_ef01_0000_0000_0000_0000_0000_0000 + tail);
    let (mut a, mut b, mut own) =
        (message("one", "ann", "a", 1), message("one", "ann", "b", 2), message("one", "ann", "own", 3));
    (a.id, b.id) = (fixed(1), fixed(2));
    own.id = greenroom_protocol::MessageId::parse("msg_1").expect("an id").row_id(one.bot());
    own.metadata = Some(json!({"client_id": "msg_1"}));
    let _ = one.record(&[a, b, own]).await.expect("recorded");
    assert_eq!(one.message(&fixed(1).to_string()).await.expect("found").content, "a");
    assert_eq!(one.message("ABCDEF01-0000-0000-0000-000000000002").await.expect("found").content, "b");
    let found = one.message("msg_1").await.expect("found");
    assert_eq!((found.content.as_str(), found.client_id()), ("own", Some("msg_1")));
    let short = found.id.simple().to_string();
    assert_eq!(one.message(&short[..8]).await.expect("found").content, "own");
    match one.message("abcdef01").await {
        Err(MemoryError::Ambiguous { candidates, .. }) => assert_eq!(candidates, [fixed(1), fixed(2)]),
        other => panic!("{other:?}"),
    }
    for bad in ["", " ", "%", "_", "abc", "%%%%%%%%", "a\0b"] {
        let class = one.message(bad).await.expect_err(bad).class();
        assert_eq!(class, ErrorClass::InvalidRequest, "{bad:?}");
    }
    for unknown in ["ffffffff", "________", "nobody-knows-me", "' OR true --"] {
        assert_eq!(one.message(unknown).await.expect_err(unknown).class(), ErrorClass::NotFound, "{unknown:?}");
    }
}

#[tokio::test]
async fn only_the_unfinished_answer_of_the_aborted_turn_is_removed() {
    let house = House::open().await;
    let one = house.opened("one").await;
    let mut answer = message("one", "ann", "half an ans", 2);
    (answer.role, answer.status) = (Role::Assistant, MessageStatus::Partial);
    let _ = house.record(&[message("one", "ann", "question", 1), answer.clone()]).await;
    let turn = answer.turn.clone();
    let other = TurnId::from_stored("turn-2");
    assert!(!one.remove_partial(Role::Assistant, &other).await.expect("looked"));
    assert!(!one.remove_partial(Role::User, &turn).await.expect("looked"));
    assert!(one.remove_partial(Role::Assistant, &turn).await.expect("removed"));
    assert!(!one.remove_partial(Role::User, &turn).await.expect("looked"));
    assert_eq!(texts(&one.latest(None, None, 10).await.expect("read")), ["question"]);
    assert_eq!(house.count("SELECT message_count::bigint FROM sessions").await, 1);
    assert_eq!(house.count("SELECT count(*) FROM message_embedding_queue").await, 1);
}

#[tokio::test]
async fn a_purged_bot_leaves_its_neighbours_alone_and_can_begin_again() {
    let house = House::open().await;
    let (one, two) = (house.opened("one").await, house.opened("one_two").await);
    let _ = house.record(&[message("one", "ann", "x", 1), message("one_two", "ann", "y", 1)]).await;
    // A chain, a summary with a roll-up, a tombstone and vectors: all that points from table to table.
    house
        .execute(
            "INSERT INTO memories (bot_id, id, content) VALUES
                 ('one', '00000000-0000-0000-0000-000000000001', 'a'), ('one', '00000000-0000-0000-0000-000000000002', 'b');
             UPDATE memories SET superseded_by = '00000000-0000-0000-0000-000000000002', superseded_at = now()
              WHERE id = '00000000-0000-0000-0000-000000000001';
             INSERT INTO summaries (bot_id, id, level, period, content, method) VALUES
                 ('one', '00000000-0000-0000-0000-000000000001', 1, '[2020-01-01,2020-01-02]', 's', 'llm'),
                 ('one', '00000000-0000-0000-0000-000000000002', 0, '[2020-01-01,2020-01-02]', 's', 'llm');
             UPDATE summaries SET parent_id = '00000000-0000-0000-0000-000000000001' WHERE level = 0;
             UPDATE messages SET summary_id = '00000000-0000-0000-0000-000000000002' WHERE bot_id = 'one';
             INSERT INTO message_vectors (bot_id, message_id, model, embedding, context_embedding, ts)
             SELECT bot_id, id, 'm', array_fill(0.1::real, ARRAY[384])::vector::halfvec,
                    array_fill(0.1::real, ARRAY[384])::vector::halfvec, ts FROM messages WHERE bot_id = 'one';",
        )
        .await;
    let purged = house.purge(&one).await;
    assert_eq!(
        purged.dropped_tables,
        ["one_forgotten", "one_memories", "one_messages", "one_summaries", "one_vectors"]
    );
    assert_eq!((purged.deleted_rows["sessions"], purged.deleted_rows["message_embedding_queue"]), (1, 1));
    assert!(house.snapshot("one").await.is_empty());
    assert_eq!(two.latest(None, None, 10).await.expect("read").len(), 1);
    assert_eq!(house.count("SELECT count(*) FROM sessions").await, 1);
    one.open().await.expect("opened again");
    assert_eq!(house.record(&[message("one", "ann", "z", 1)]).await.stored.len(), 1);
    assert_eq!(one.latest(None, None, 10).await.expect("read").len(), 1);
    assert_eq!(house.purge(&two).await.dropped_tables.len(), 5);
    assert!(house.purge(&two).await.dropped_tables.is_empty());
}

#[test]
fn names_are_plain() {
    for bad in ["", "a-b", "A", "a b", "x\"y", &"x".repeat(49)] {
        assert!(NamespaceName::from_profile(bad).is_none(), "{bad:?}");
    }
}
