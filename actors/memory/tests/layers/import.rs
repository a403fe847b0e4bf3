//! Import and export: idempotent, bounded, with sessions, and back again.

use std::time::Duration;

use greenroom_memory::{
    ForgetRequest, ForgetTarget, ImportReport, MOST_RECORDS, MemoryDraft, MemoryError, MemoryRecord, MessageRecord,
    NewMessage, RestoreRequest,
};
use greenroom_protocol::Role;
use jiff::Timestamp;

use crate::house::{House, at, message, store, texts, user};

const GAP: Duration = Duration::from_secs(3600);

fn record(id: Option<&str>, content: &str, second: i64) -> MessageRecord {
    MessageRecord {
        id: id.map(Into::into),
        role: Role::User,
        content: content.into(),
        at: at(second),
        user: Some(user("ann")),
        session: None,
        partial: false,
    }
}

fn report(stored: usize, known: usize) -> ImportReport {
    ImportReport { stored, known, ..ImportReport::default() }
}

#[tokio::test]
async fn an_import_may_be_run_again_and_brings_nothing_forgotten_back() {
    let house = House::wordless().await;
    let one = house.opened("one").await;
    let batch: Vec<MessageRecord> = (0..2500)
        .map(|n| record(Some(&format!("m-{n}")), &format!("message number {n}"), n * 10))
        .chain([record(None, "without an id", 5), record(None, "without an id", 5)])
        .collect();
    // Killed in the middle: the first part is there.
    let first = one.import_messages(batch[..1000].to_vec(), GAP, true).await.expect("imported");
    assert_eq!(first, report(1000, 0));
    let forgotten = ForgetRequest::new(ForgetTarget::Message("m-7".into()));
    one.forget(forgotten).await.expect("forgotten");
    let second = one.import_messages(batch.clone(), GAP, true).await.expect("imported");
    assert_eq!(second, ImportReport { forgotten: 1, ..report(1501, 1000) });
    let before = house.snapshot("one").await;
    let third = one.import_messages(batch, GAP, true).await.expect("imported");
    assert_eq!(third, ImportReport { forgotten: 1, ..report(0, 2501) });
    assert_eq!(house.snapshot("one").await, before);
    // No silence of an hour anywhere: one session, found again by the second run.
    assert_eq!(house.count("SELECT count(*) FROM sessions").await, 1);
    assert_eq!(house.count("SELECT sum(message_count) FROM sessions").await, 2500);
    assert_eq!(house.count("SELECT count(*) FROM message_embedding_queue").await, 2500);
    assert_eq!(one.message("m-2499").await.expect("found").client_id(), Some("m-2499"));
    one.restore(RestoreRequest::default()).await.expect("restored");
    assert_eq!(house.count("SELECT count(*) FROM messages").await, 2501);
}

#[tokio::test]
async fn sessions_come_from_labels_or_from_silence() {
    let house = House::wordless().await;
    let one = house.opened("one").await;
    let labelled = |label: &str, content: &str, second| MessageRecord {
        session: Some(label.into()),
        ..record(None, content, second)
    };
    let bob = MessageRecord { user: Some(user("bob")), ..record(None, "bob", 100) };
    let nobody = MessageRecord { user: None, ..record(None, "nobody", 100) };
    let batch = vec![
        record(None, "a", 100),
        labelled("trip", "b", 150),
        record(None, "c", 200),
        bob,
        nobody,
        record(None, "d", 10_000),
        labelled("trip", "e", 900_000),
    ];
    assert_eq!(one.import_messages(batch, GAP, false).await.expect("imported").stored, 7);
    let session = async |content: &str| {
        let all = one.latest(None, None, 100).await.expect("read");
        all.into_iter().find(|m| m.content == content).expect("there").session.expect("a session")
    };
    assert_eq!(session("a").await, session("c").await);
    assert_eq!(session("b").await, session("e").await);
    let different = [session("a").await, session("b").await, session("bob").await, session("nobody").await];
    assert_eq!(different.iter().collect::<std::collections::HashSet<_>>().len(), 4);
    assert_ne!(session("a").await, session("d").await);
    assert_eq!(house.count("SELECT count(*) FROM messages WHERE extraction_state = 'excluded'").await, 7);
    // A later batch continues where an earlier one ended; what is said now continues nothing that was closed.
    one.import_messages(vec![record(None, "f", 3000), labelled("trip", "g", 950_000)], GAP, true)
        .await
        .expect("imported");
    assert_eq!(session("f").await, session("c").await);
    assert_eq!(session("g").await, session("e").await);
    let _ = house.record(&[message("one", "ann", "live", 3100)]).await;
    assert_ne!(session("live").await, session("f").await);
}

#[tokio::test]
async fn what_cannot_be_stored_is_named_and_the_rest_goes_in() {
    let house = House::wordless().await;
    let one = house.opened("one").await;
    let mut batch = vec![
        record(Some("ok"), "fine \0 fine", 1),
        record(None, " \n ", 2),
        record(Some(" "), "bad id", 3),
        record(Some("x\ny"), "bad id", 4),
        record(None, &"x".repeat(5 << 20), 5),
    ];
    batch.push(MessageRecord { at: Timestamp::MIN, ..record(None, "too early", 0) });
    batch.push(MessageRecord { session: Some("s".repeat(600)), ..record(None, "label", 0) });
    let done = one.import_messages(batch, GAP, true).await.expect("imported");
    assert_eq!(done.stored, 1);
    assert_eq!(done.rejected.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let many = vec![record(None, "x", 1); MOST_RECORDS + 1];
    assert!(matches!(one.import_messages(many, GAP, true).await, Err(MemoryError::Invalid(_))));

    let memory = |id: Option<&str>, content: &str| MemoryRecord {
        id: id.map(Into::into),
        memory: MemoryDraft { tags: vec!["pet".into()], created_at: Some(at(9)), ..MemoryDraft::new(content) },
    };
    let mut bad = memory(None, "bad tag");
    bad.memory.tags = vec!["it's".into()];
    let batch = vec![memory(Some("1"), "User has a cat"), memory(None, "User has a dog"), bad, memory(None, "")];
    let done = one.import_memories(batch.clone()).await.expect("imported");
    assert_eq!((done.stored, done.known, done.rejected.len()), (2, 0, 2));
    let again = one.import_memories(batch).await.expect("imported");
    assert_eq!((again.stored, again.known), (0, 2));
    let same_words = one.import_memories(vec![memory(Some("other"), "user HAS a cat")]).await.expect("imported");
    assert_eq!((same_words.stored, same_words.known), (0, 1));
    let rows = one.export_memories(None, 10).await.expect("exported");
    assert_eq!((rows.len(), rows[0].created_at, rows[0].tags.as_slice()), (2, at(9), &["pet".to_owned()][..]));
    assert!(rows[0].meaning.intent.is_some() && rows[0].embedding_model.is_none());
}

#[tokio::test]
async fn an_export_comes_back_the_same() {
    let house = House::wordless().await;
    let (one, two) = (house.opened("one").await, house.opened("two").await);
    let batch: Vec<NewMessage> = (0..25).map(|n| message("one", "ann", &format!("m{n}"), (n / 2) * 3000)).collect();
    let _ = one.record(&batch).await.expect("recorded");
    store(&one, MemoryDraft::new("User has a cat")).await;
    let (mut after, mut records) = (None, Vec::new());
    loop {
        let page = one.export_messages(after, 7).await.expect("a page");
        let Some(last) = page.last() else { break };
        after = Some((last.ts, last.seq));
        records.extend(page.into_iter().map(|m| MessageRecord {
            id: Some(m.client_id().map_or_else(|| m.id.to_string(), Into::into)),
            role: m.role,
            content: m.content,
            at: m.ts,
            user: m.user,
            session: m.session.map(|id| id.to_string()),
            partial: m.partial,
        }));
    }
    assert_eq!(records.len(), 25);
    let before = house.snapshot("one").await;
    assert_eq!(one.import_messages(records.clone(), GAP, true).await.expect("imported"), report(0, 25));
    assert_eq!(house.snapshot("one").await, before);
    // Another bot gets the same grouping, and sessions of its own.
    assert_eq!(two.import_messages(records, GAP, true).await.expect("imported"), report(25, 0));
    let grouping = "SELECT count(DISTINCT session_id) FROM messages WHERE bot_id = ";
    assert_eq!(house.count(&format!("{grouping}'two'")).await, house.count(&format!("{grouping}'one'")).await);
    assert_eq!(house.count("SELECT count(*) FROM sessions WHERE cardinality(participants) > 1").await, 0);
    let (ours, theirs) =
        (one.latest(None, None, 99).await.expect("read"), two.latest(None, None, 99).await.expect("read"));
    assert_eq!(texts(&ours), texts(&theirs));
}

#[tokio::test]
async fn two_imports_of_one_file_store_it_once() {
    let house = House::wordless().await;
    let one = house.opened("one").await;
    let batch: Vec<MessageRecord> = (0..300).map(|n| record(Some(&format!("m{n}")), &format!("m{n}"), n)).collect();
    let imports = (0..4).map(|_| {
        let (one, batch) = (one.clone(), batch.clone());
        tokio::spawn(async move { one.import_messages(batch, GAP, true).await.expect("imported") })
    });
    let mut stored = 0;
    for import in imports.collect::<Vec<_>>() {
        let done = import.await.expect("task");
        assert_eq!(done.stored + done.known, 300);
        stored += done.stored;
    }
    assert_eq!(stored, 300);
    assert_eq!(house.count("SELECT count(*) FROM messages").await, 300);
}
