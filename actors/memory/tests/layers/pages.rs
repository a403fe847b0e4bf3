//! The history in pages (acceptance 11), clearing, stats and sources.

use greenroom_memory::{Cursor, HistoryQuery, Namespace, StoredMessage};
use greenroom_protocol::{Role, time::wire_time};
use uuid::Uuid;

use crate::house::{House, fact, message, store, texts, user};

fn query(limit: i64) -> HistoryQuery {
    HistoryQuery { limit, ..HistoryQuery::default() }
}

/// All pages, newest page first, by cursors that `cursor` makes of the oldest message of a page.
async fn paged(namespace: &Namespace, limit: i64, cursor: impl Fn(&StoredMessage) -> String) -> Vec<String> {
    let (mut before, mut all) = (None, Vec::new());
    loop {
        let page = namespace.history(&HistoryQuery { before, ..query(limit) }).await.expect("a page");
        all.splice(0..0, page.messages.iter().map(|m| m.content.clone()));
        if !page.has_more {
            return all;
        }
        let oldest = page.messages.first().expect("a page that is followed by another is not empty");
        before = Some(namespace.cursor(&cursor(oldest)).await.expect("a cursor"));
    }
}

#[tokio::test]
async fn all_cursors_give_the_same_rows_without_gaps_or_duplicates() {
    let house = House::wordless().await;
    let one = house.opened("one").await;
    // Runs of equal times, longer and shorter than a page.
    let seconds = [1, 1, 1, 2, 3, 3, 4, 4, 4, 4, 4, 4, 4, 5, 6, 6];
    let mut batch: Vec<_> =
        seconds.iter().enumerate().map(|(n, second)| message("one", "ann", &format!("m{n:02}"), *second)).collect();
    batch.push(greenroom_memory::NewMessage { role: Role::Tool, ..message("one", "ann", "a tool's result", 4) });
    batch.push(greenroom_memory::NewMessage { role: Role::System, ..message("one", "ann", "instructions", 4) });
    let _ = house.record(&batch).await;
    // Half of them stand behind a summary and are shown all the same.
    house
        .execute(
            "INSERT INTO summaries (bot_id, id, period, content, method)
             VALUES ('one', '00000000-0000-0000-0000-000000000001', '[2020-01-01,2020-01-02]', 's', 'llm');
             UPDATE messages SET summary_id = '00000000-0000-0000-0000-000000000001' WHERE content < 'm08'",
        )
        .await;
    let expected: Vec<String> = (0..seconds.len()).map(|n| format!("m{n:02}")).collect();
    for limit in [1, 2, 3, 5, 100] {
        let seconds = |m: &StoredMessage| format!("{:.6}", m.ts.as_microsecond() as f64 / 1e6);
        assert_eq!(paged(&one, limit, seconds).await, expected, "seconds, {limit}");
        assert_eq!(paged(&one, limit, |m| wire_time(m.ts)).await, expected, "ISO, {limit}");
        assert_eq!(paged(&one, limit, |m| m.id.to_string()).await, expected, "id, {limit}");
    }
    let raw = HistoryQuery { without_summarized: true, ..query(0) };
    assert_eq!(texts(&one.history(&raw).await.expect("a page").messages), expected[8..]);
    house.execute("UPDATE summaries SET state = 'stale'").await;
    assert_eq!(one.history(&raw).await.expect("a page").messages.len(), expected.len());
    let ann = HistoryQuery { user: Some(user("bob")), ..query(10) };
    assert!(one.history(&ann).await.expect("a page").messages.is_empty());
    for bad in ["", "%", "not-a-message", "NaN", &Uuid::new_v4().to_string()] {
        assert!(one.cursor(bad).await.is_err(), "{bad:?}");
    }
    assert_eq!(Cursor::time("4").map(Cursor::at), Some(one.cursor("4.0").await.expect("a time")));
}

#[tokio::test]
async fn clearing_takes_memories_only_when_asked_to() {
    let house = House::open().await;
    let one = house.opened("one").await;
    let said = message("one", "ann", "I like tea", 1);
    let _ = house.record(&[said.clone(), message("one", "ann", "and rain", 2)]).await;
    store(&one, fact("User likes tea", &[said.id])).await;
    store(&one, fact("User owns an umbrella made of oak", &[])).await;
    let gone = one.forget(greenroom_memory::ForgetRequest::new(greenroom_memory::ForgetTarget::Newest(1))).await;
    assert_eq!(gone.expect("forgotten").message_ids.len(), 1);
    let stats = one.stats().await.expect("stats");
    assert_eq!((stats.messages.total_count, stats.messages.forgotten_count), (1, 1));
    assert_eq!((stats.messages.unembedded_count, stats.messages.pending_extraction_count), (1, 1));
    assert_eq!((stats.memories.total_count, stats.sessions.active_count), (2, 1));
    assert!(stats.memories.storage_size_bytes > 0 && stats.messages.storage_size_bytes > 0);
    let json = serde_json::to_value(&stats).expect("json");
    assert_eq!(json["messages"]["oldest_timestamp"], 1.0);
    let sources = house.memory.sources().await.expect("sources");
    assert_eq!((sources.len(), sources[0].memories, sources[0].messages), (1, 2, 1));

    let cleared = one.clear(false).await.expect("cleared");
    assert_eq!((cleared.messages, cleared.memories, cleared.tombstones), (1, 0, 1));
    assert_eq!(one.stats().await.expect("stats").memories.total_count, 2);
    let cleared = one.clear(true).await.expect("cleared");
    assert_eq!((cleared.messages, cleared.memories), (0, 2));
    assert!(house.snapshot("one").await.is_empty());
}
