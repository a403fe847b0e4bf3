//! Sessions: opened, continued and closed by what is said.

use greenroom_memory::{CloseReason, MemoryError, NewMessage, SessionFilter, SessionStatus};
use greenroom_protocol::BotSlug;
use std::time::Duration;
use uuid::Uuid;

use crate::house::{House, at, message, user};

#[tokio::test]
async fn silence_ends_a_session_and_people_have_their_own() {
    let house = House::wordless().await;
    let one = house.opened("one").await;
    let sessions = house.memory.sessions();
    let _ = house.record(&[message("one", "ann", "a", 100), message("one", "bob", "b", 101)]).await;
    let _ = house.record(&[message("one", "ann", "c", 3700)]).await;
    // More than an hour later, and once more within the same batch.
    let _ = house.record(&[message("one", "ann", "d", 7301), message("one", "ann", "e", 20_000)]).await;
    let rows = one.latest(Some(&user("ann")), None, 10).await.expect("read");
    let of = |n: usize| rows[n].session.expect("a session");
    assert_eq!(of(3), of(2));
    assert!(of(2) != of(1) && of(1) != of(0));
    let first = sessions.get(of(3)).await.expect("found");
    assert_eq!((first.message_count, first.status), (2, SessionStatus::Completed));
    assert_eq!(
        (first.started_at, first.ended_at, first.closed_reason),
        (at(100), Some(at(3700)), Some(CloseReason::Gap))
    );
    let open = sessions.active(one.bot(), None).await.expect("read");
    assert_eq!(open.iter().map(|s| s.user.clone().expect("a user").to_string()).collect::<Vec<_>>(), ["ann", "bob"]);
    let all = sessions.list(&SessionFilter { bot: Some(one.bot().clone()), ..SessionFilter::default() }).await;
    assert_eq!(all.expect("list").len(), 4);
    let done = SessionFilter { status: Some(SessionStatus::Completed), limit: Some(1), ..SessionFilter::default() };
    assert_eq!(sessions.list(&done).await.expect("list")[0].id, of(1));
    let late = SessionFilter { since: Some(at(15_000)), user: Some(user("ann")), ..SessionFilter::default() };
    assert_eq!(sessions.list(&late).await.expect("list")[0].id, of(0));
}

#[tokio::test]
async fn a_reset_begins_another_and_closing_twice_is_closing_once() {
    let house = House::wordless().await;
    let one = house.opened("one").await;
    let sessions = house.memory.sessions();
    let _ = house.record(&[message("one", "ann", "a", 100)]).await;
    let first = sessions.reset(one.bot(), &user("ann")).await.expect("reset").expect("there was one");
    assert_eq!(sessions.reset(one.bot(), &user("ann")).await.expect("reset"), None);
    let _ = house.record(&[message("one", "ann", "b", 101)]).await;
    let second = sessions.active(one.bot(), Some(&user("ann"))).await.expect("read")[0].id;
    assert_ne!(first, second);
    assert!(sessions.close(second, CloseReason::Explicit).await.expect("closed"));
    assert!(!sessions.close(second, CloseReason::Explicit).await.expect("looked"));
    assert!(!sessions.close(Uuid::new_v4(), CloseReason::Explicit).await.expect("looked"));
    assert!(matches!(sessions.get(Uuid::new_v4()).await, Err(MemoryError::NotFound(..))));
}

#[tokio::test]
async fn a_named_session_spans_bots_and_is_closed_to_strangers() {
    let house = House::wordless().await;
    let (one, two) = (house.opened("one").await, house.opened("two").await);
    let sessions = house.memory.sessions();
    let id = Uuid::new_v4();
    let named = |bot: &str, who: &str, second| NewMessage { session: Some(id), ..message(bot, who, "x", second) };
    let _ = house.record(&[message("one", "ann", "before", 50)]).await;
    let _ = one.record(&[named("one", "ann", 100)]).await.expect("opened by its first message");
    let _ = two.record(&[named("two", "ann", 200)]).await.expect("joined");
    let session = sessions.get(id).await.expect("found");
    assert_eq!(session.bot, *one.bot());
    assert_eq!(session.participants, [one.bot().clone(), two.bot().clone()]);
    assert_eq!((session.message_count, session.last_activity_at), (2, at(200)));
    // The one that was open before was closed by it.
    let open = sessions.active(one.bot(), Some(&user("ann"))).await.expect("read");
    assert_eq!(open.iter().map(|s| s.id).collect::<Vec<_>>(), [id]);
    assert!(sessions.close(id, CloseReason::Explicit).await.expect("closed"));
    let refused = one.record(&[named("one", "eve", 300)]).await.expect_err("refused");
    assert!(matches!(refused, MemoryError::Conflict(_)));
    let _ = one.record(&[named("one", "ann", 300)]).await.expect("goes on");
    assert_eq!(sessions.get(id).await.expect("found").status, SessionStatus::Active);
    // The opener is purged: the other bot keeps the conversation.
    house.purge(&one).await;
    let session = sessions.get(id).await.expect("still there");
    assert_eq!((session.bot, session.participants), (two.bot().clone(), vec![BotSlug::from_stored("two")]));
}

#[tokio::test]
async fn one_batch_may_hold_several_sessions_of_one_person() {
    let house = House::wordless().await;
    let one = house.opened("one").await;
    let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let named = |session, text: &str| NewMessage { session: Some(session), ..message("one", "ann", text, 100) };
    let batch = [message("one", "ann", "free", 99), named(a, "a"), named(b, "b"), named(a, "a too")];
    assert_eq!(one.record(&batch).await.expect("recorded").stored.len(), 4);
    let sessions = house.memory.sessions();
    assert_eq!(sessions.get(a).await.expect("found").message_count, 2);
    let open = sessions.active(one.bot(), None).await.expect("read");
    assert_eq!(open.iter().map(|s| s.id).collect::<Vec<_>>(), [b]);
    assert_eq!(house.count("SELECT count(DISTINCT session_id) FROM messages").await, 3);
}

#[tokio::test]
async fn many_writers_share_one_open_session() {
    let house = House::wordless().await;
    let one = house.opened("one").await;
    let writers = (0..16).map(|n| {
        let one = one.clone();
        tokio::spawn(async move { one.record(&[message("one", "ann", &format!("m{n}"), 100 + n)]).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        let _ = writer.await.expect("task").expect("recorded");
    }
    assert_eq!(house.count("SELECT count(*) FROM sessions").await, 1);
    assert_eq!(house.count("SELECT count(DISTINCT session_id) FROM messages").await, 1);
    assert_eq!(house.count("SELECT message_count::bigint FROM sessions").await, 16);
}

#[tokio::test]
async fn leftovers_are_closed_at_boot() {
    let house = House::wordless().await;
    house.opened("one").await;
    let now = jiff::Timestamp::now().as_second();
    let _ = house.record(&[message("one", "ann", "long ago", 100), message("one", "bob", "just now", now)]).await;
    let sessions = house.memory.sessions();
    assert_eq!(sessions.recover(Duration::from_secs(3600)).await.expect("recovered"), 1);
    let closed = SessionFilter { status: Some(SessionStatus::Completed), ..SessionFilter::default() };
    let closed = sessions.list(&closed).await.expect("list");
    assert_eq!((closed.len(), closed[0].closed_reason), (1, Some(CloseReason::Recovered)));
}
