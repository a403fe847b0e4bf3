//! Forgetting and restoring (acceptance 8): whole batches, chains, shared sources, summaries, and what happens meanwhile.

use greenroom_memory::{
    ForgetRequest, ForgetTarget, MemoryDraft, MemoryError, Namespace, NewMessage, RestoreRequest, RestoreWhat,
    SupersedeReason,
};
use greenroom_protocol::{Role, TurnId};
use uuid::Uuid;

use crate::house::{House, at, fact, message, store, texts, user};

fn newest(count: i64) -> ForgetRequest {
    ForgetRequest::new(ForgetTarget::Newest(count))
}

/// Ten turns of ann and their memories; vectors for all but the newest; the first four behind a summary and a roll-up.
async fn talk(house: &House, one: &Namespace) -> Vec<NewMessage> {
    let mut said = Vec::new();
    for n in 0..10 {
        let turn = TurnId::from_stored(format!("turn-{n}"));
        let line = |role, content: String, second| NewMessage {
            role,
            turn: turn.clone(),
            ..message("one", "ann", &content, second)
        };
        said.push(line(Role::User, format!("question {n}"), n * 10));
        said.push(line(Role::Tool, format!("tool result {n}"), n * 10 + 1));
        said.push(line(Role::Assistant, format!("answer {n}"), n * 10 + 2));
    }
    let _ = one.record(&said).await.expect("recorded");
    house
        .execute(
            "INSERT INTO message_vectors (bot_id, message_id, model, embedding, context_embedding, ts)
             SELECT bot_id, id, 'm', v.v, v.v, ts
               FROM messages, LATERAL (SELECT array_agg(sin(n + seq)::real)::vector::halfvec AS v
                                         FROM generate_series(1, 384) n) v
              WHERE role <> 'tool' AND content NOT LIKE '% 9';
             DELETE FROM message_embedding_queue q USING message_vectors v, messages m
              WHERE m.id = v.message_id AND q.seq = m.seq;
             INSERT INTO summaries (bot_id, id, level, period, content, method, message_count) VALUES
                 ('one', '00000000-0000-0000-0000-000000000001', 0, '[2020-01-01,2020-01-02]', 's', 'llm', 4),
                 ('one', '00000000-0000-0000-0000-000000000002', 1, '[2020-01-01,2020-01-02]', 'r', 'llm', 1);
             UPDATE summaries SET parent_id = '00000000-0000-0000-0000-000000000002' WHERE level = 0;
             UPDATE messages SET summary_id = '00000000-0000-0000-0000-000000000001'
              WHERE role <> 'tool' AND content ~ ' [01]$';
             UPDATE messages SET extraction_state = 'done', metadata = '{\"a\": [1, \"ü\"]}' WHERE content ~ ' [2345]$'",
        )
        .await;
    said
}

#[tokio::test]
async fn a_restore_puts_everything_back_as_it_was() {
    let house = House::open().await;
    let one = house.opened("one").await;
    let said = talk(&house, &one).await;
    let id = |n: usize| said[n * 3].id;
    // Of forgotten messages alone; of both; in the middle of a list; superseded by a forgotten one; unrelated.
    store(&one, fact("User owns a sailing boat named Ida", &[id(8), id(9)])).await;
    store(&one, fact("Every winter the person travels to the far north", &[id(2), id(9), id(3), id(8)])).await;
    let old = store(&one, fact("Works as a baker in town", &[])).await.id.to_string();
    let new = store(&one, fact("Since spring employed by a school", &[id(9)])).await.id.to_string();
    assert!(one.supersede(&old, &new, SupersedeReason::Contradiction).await.expect("superseded"));
    store(&one, fact("Nothing to do with all of that", &[id(1)])).await;
    let before = house.snapshot("one").await;

    let dry = one.forget(ForgetRequest { dry_run: true, ..newest(4) }).await.expect("looked");
    assert_eq!((dry.message_ids.len(), dry.memory_ids.len(), dry.memories_trimmed), (6, 2, 1));
    assert_eq!(house.snapshot("one").await, before);

    house
        .execute(&format!(
            "INSERT INTO extraction_log (id, bot_id, at, source, message_ids, method, outcome, facts)
             VALUES (gen_random_uuid(), 'one', now(), 'messages', '{{{}}}', 'llm', 'done', '[\"a secret\"]')",
            id(9)
        ))
        .await;
    let gone = one.forget(newest(4)).await.expect("forgotten");
    assert_eq!(house.count("SELECT count(*) FROM extraction_log WHERE facts <> '[]'").await, 0);
    assert_eq!((gone.message_ids.len(), gone.memory_ids.len(), gone.memories_trimmed), (6, 2, 1));
    assert_eq!(gone.memories_reactivated, [Uuid::parse_str(&old).expect("an id")]);
    let page = one.latest(None, None, 3).await.expect("read");
    assert_eq!(texts(&page), ["answer 7", "tool result 7", "question 7"]);
    assert_eq!(one.memory(&old).await.expect("active again").superseded_by, None);
    assert!(matches!(one.memory(&new).await, Err(MemoryError::NotFound(..))));
    let buried = one.preview_forgotten(None, 100).await.expect("preview");
    assert_eq!((buried.len(), buried.iter().filter(|t| t.is_memory).count()), (8, 2));

    // What arrives in between is neither affected by the restore nor missing after it.
    let late = NewMessage { turn: TurnId::from_stored("turn-late"), ..message("one", "ann", "in between", 500) };
    let _ = one.record(std::slice::from_ref(&late)).await.expect("recorded");
    let back =
        one.restore(RestoreRequest { what: RestoreWhat::Batch(gone.batch_id.expect("a batch")), dry_run: false });
    let back = back.await.expect("restored");
    assert_eq!((back.messages_restored, back.memories_restored, back.kept), (6, 2, 0));
    assert_eq!(texts(&one.latest(None, None, 2).await.expect("read")), ["in between", "answer 9"]);
    let undone = one.forget(ForgetRequest::new(ForgetTarget::Ids(vec![late.id]))).await.expect("forgotten");
    assert_eq!(undone.message_ids, [late.id]);
    house.execute("DELETE FROM forgotten; UPDATE sessions SET last_activity_at = '1970-01-01 00:01:32Z'").await;
    assert_eq!(house.snapshot("one").await, before);
}

#[tokio::test]
async fn summaries_that_tell_of_it_are_stale_until_it_is_back() {
    let house = House::wordless().await;
    let one = house.opened("one").await;
    let said = talk(&house, &one).await;
    let before = house.snapshot("one").await;
    let gone = one.forget(ForgetRequest::new(ForgetTarget::Message(said[0].id.to_string()))).await.expect("forgotten");
    assert_eq!((gone.message_ids.len(), gone.summaries_stale.len()), (2, 2));
    assert_eq!(house.count("SELECT count(*) FROM summaries WHERE state = 'stale'").await, 2);
    let second = one.forget(ForgetRequest::new(ForgetTarget::Ids(vec![said[3].id]))).await.expect("forgotten");
    let first = RestoreRequest { what: RestoreWhat::Batch(gone.batch_id.expect("a batch")), dry_run: false };
    assert_eq!(one.restore(first).await.expect("restored").summaries_restored, 0);
    let rest = one.restore(RestoreRequest::default()).await.expect("restored");
    assert_eq!((rest.summaries_restored, rest.batches), (2, second.batch_id.into_iter().collect()));
    assert_eq!(house.snapshot("one").await, before);
    // A summary that is gone in the meantime leaves its messages visible.
    one.forget(ForgetRequest::new(ForgetTarget::Ids(vec![said[0].id]))).await.expect("forgotten");
    house.execute("DELETE FROM summaries").await;
    one.restore(RestoreRequest::default()).await.expect("restored");
    assert_eq!(house.count("SELECT count(*) FROM messages WHERE summary_id IS NOT NULL").await, 0);
}

#[tokio::test]
async fn batches_may_be_restored_in_any_order() {
    let house = House::open().await;
    let one = house.opened("one").await;
    let said = talk(&house, &one).await;
    let ids: Vec<Uuid> = (0..3).map(|n| said[n * 3].id).collect();
    let memory = store(&one, fact("User collects stamps", &ids)).await.id.to_string();
    let before = house.snapshot("one").await;
    let mut batches = Vec::new();
    for id in [ids[1], ids[0], ids[2]] {
        let gone = one.forget(ForgetRequest::new(ForgetTarget::Ids(vec![id]))).await.expect("forgotten");
        batches.push(gone.batch_id.expect("a batch"));
    }
    assert!(one.memory(&memory).await.is_err());
    // The memory went with the last; its sources are put back into the tombstone meanwhile.
    for batch in [batches[0], batches[1], batches[2]] {
        one.restore(RestoreRequest { what: RestoreWhat::Batch(batch), dry_run: false }).await.expect("restored");
    }
    let sources = one.memory(&memory).await.expect("back").sources;
    assert_eq!(sources.len(), 3);
    assert!(ids.iter().all(|id| sources.contains(id)));
    house.execute(&format!("UPDATE memories SET source_message_ids = '{{{},{},{}}}'", ids[0], ids[1], ids[2])).await;
    assert_eq!(house.snapshot("one").await, before);
}

#[tokio::test]
async fn targets_are_chosen_by_time_session_person_and_id() {
    let house = House::wordless().await;
    let one = house.opened("one").await;
    let batch = [
        message("one", "ann", "a", 10),
        message("one", "bob", "b", 20),
        message("one", "ann", "c", 30),
        message("one", "ann", "d", 90_000),
    ];
    let _ = one.record(&batch).await.expect("recorded");
    let run = async |request: ForgetRequest| {
        let gone = one.forget(request).await.expect("forgotten");
        let left = one.latest(None, None, 10).await.expect("read");
        let left = left.iter().map(|m| m.content.clone()).collect::<String>();
        one.restore(RestoreRequest::default()).await.expect("restored");
        (gone.message_ids.len(), left)
    };
    let session = one.latest(None, None, 10).await.expect("read")[1].session.expect("a session");
    assert_eq!(run(ForgetRequest::new(ForgetTarget::Since(at(30)))).await, (2, "ba".into()));
    assert_eq!(run(ForgetRequest::new(ForgetTarget::Session(session))).await, (2, "db".into()));
    assert_eq!(run(ForgetRequest { user: Some(user("bob")), ..newest(10) }).await, (1, "dca".into()));
    assert_eq!(run(ForgetRequest::new(ForgetTarget::Message(batch[0].id.to_string()))).await, (1, "dcb".into()));
    assert_eq!(run(ForgetRequest::new(ForgetTarget::Ids(vec![Uuid::new_v4()]))).await, (0, "dcba".into()));
    for count in [0, -1, i64::MAX] {
        assert!(matches!(one.forget(newest(count)).await, Err(MemoryError::Invalid(_))));
    }
    for bad in ["", "%", "_"] {
        let request = ForgetRequest::new(ForgetTarget::Message(bad.into()));
        assert!(matches!(one.forget(request).await, Err(MemoryError::Invalid(_))), "{bad:?}");
    }
    assert_eq!(texts(&one.preview_recent(2).await.expect("preview")), ["c", "d"]);
    assert_eq!(texts(&one.preview_since(at(20)).await.expect("preview")), ["b", "c", "d"]);
}

#[tokio::test]
async fn what_is_in_use_again_stays_buried() {
    let house = House::open().await;
    let one = house.opened("one").await;
    let said = message("one", "ann", "original", 10);
    let _ = one.record(std::slice::from_ref(&said)).await.expect("recorded");
    store(&one, fact("User owns a canoe", &[said.id])).await;
    one.forget(newest(1)).await.expect("forgotten");
    let _ = one.record(&[NewMessage { content: "said again".into(), ..said.clone() }]).await.expect("recorded");
    store(&one, MemoryDraft::new("user owns a CANOE")).await;
    let back = one.restore(RestoreRequest::default()).await.expect("restored");
    assert_eq!((back.messages_restored, back.memories_restored, back.kept), (0, 0, 2));
    assert_eq!(one.message(&said.id.to_string()).await.expect("found").content, "said again");
    assert_eq!(one.preview_forgotten(None, 10).await.expect("preview").len(), 2);
}

#[tokio::test]
async fn forgetting_races_with_a_turn_and_with_itself() {
    let house = House::wordless().await;
    let one = house.opened("one").await;
    let _ = one.record(&(0..50).map(|n| message("one", "ann", &format!("m{n}"), n)).collect::<Vec<_>>()).await;
    let writing = {
        let one = one.clone();
        tokio::spawn(async move {
            for n in 0..50 {
                let _ = one.record(&[message("one", "ann", &format!("n{n}"), 100 + n)]).await.expect("recorded");
            }
        })
    };
    let forgetting = (0..4).map(|_| {
        let one = one.clone();
        tokio::spawn(async move { one.forget(newest(5)).await.expect("forgotten").message_ids })
    });
    let mut gone = Vec::new();
    for forgotten in forgetting.collect::<Vec<_>>() {
        gone.extend(forgotten.await.expect("task"));
    }
    writing.await.expect("task");
    let different: std::collections::HashSet<&Uuid> = gone.iter().collect();
    assert_eq!((gone.len(), different.len()), (20, 20), "nothing is forgotten twice");
    assert_eq!(house.count("SELECT count(*) FROM messages").await, 80);
    assert_eq!(house.count("SELECT sum(message_count) FROM sessions").await, 80);
    assert_eq!(one.restore(RestoreRequest::default()).await.expect("restored").messages_restored, 20);
    assert_eq!(house.count("SELECT count(*) FROM message_embedding_queue").await, 100);
}
