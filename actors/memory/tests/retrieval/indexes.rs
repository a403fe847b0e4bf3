//! Indexes in memory say what the tables say.

use std::time::Duration;

use greenroom_embedder::Embedder;
use greenroom_memory::index::Phase;
use greenroom_memory::retrieval::TextLeg;
use greenroom_memory::{
    DeleteOptions, ForgetRequest, ForgetTarget, MemoryMethod, MemoryPatch, MemorySearch, MessageSearch, RecallSettings,
    RestoreRequest, RestoreWhat, SearchMode, SupersedeReason,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::house::*;

fn words(text: &str) -> MemorySearch {
    MemorySearch { method: MemoryMethod::Text, limit: 500, count_access: false, ..MemorySearch::new(text) }
}

#[derive(Debug, Clone)]
enum Step {
    Store(u8),
    Update(usize, u8),
    Supersede(usize, usize),
    Delete(usize),
    ForgetNewest(u8),
    RestoreAll,
    Say(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<u8>().prop_map(Step::Store),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(at, n)| Step::Update(at, n)),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Step::Supersede(a, b)),
        1 => any::<usize>().prop_map(Step::Delete),
        1 => (1u8..4).prop_map(Step::ForgetNewest),
        1 => Just(Step::RestoreAll),
        3 => any::<u8>().prop_map(Step::Say),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn after_any_operations_an_index_holds_what_its_table_holds(steps in steps()) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let house = House::wordless().await;
            let nova = house.namespace("nova").await;
            assert!(nova.warm_up(PATIENCE).await);
            let mut ids: Vec<Uuid> = Vec::new();
            for (n, step) in steps.into_iter().enumerate() {
                let pick = |at: usize| ids.get(at % ids.len().max(1)).map(ToString::to_string);
                // What cannot be done in this state is refused, and then nothing may change.
                match step {
                    Step::Store(word) => ids.extend(remember(&nova, &[&format!("word{word} common {n}")]).await),
                    Step::Update(at, word) => if let Some(id) = pick(at) {
                        let content = Some(format!("word{word} changed {n}"));
                        let _ = nova.update(&id, MemoryPatch { content, ..MemoryPatch::default() }).await;
                    },
                    Step::Supersede(a, b) => if let (Some(a), Some(b)) = (pick(a), pick(b)) {
                        let _ = nova.supersede(&a, &b, SupersedeReason::Manual).await;
                    },
                    Step::Delete(at) => if let Some(id) = pick(at) {
                        let _ = nova.delete_memory(&id, DeleteOptions::default()).await;
                    },
                    Step::ForgetNewest(count) => {
                        let _ = nova.forget(ForgetRequest::new(ForgetTarget::Newest(count.into()))).await;
                    }
                    Step::RestoreAll => {
                        let _ = nova.restore(RestoreRequest { what: RestoreWhat::All, dry_run: false }).await;
                    }
                    Step::Say(word) => {
                        let second = i64::try_from(n).expect("small");
                        say(&nova, "chat", second, &[&format!("ann: word{word} said {n}")]).await;
                    }
                }
            }
            let rows = house.count("SELECT count(*) FROM memories WHERE superseded_by IS NULL").await;
            let hits = nova.search_memories(words("common changed")).await.expect("found");
            assert_eq!(hits.legs.text, TextLeg::Index);
            assert_eq!(i64::try_from(hits.hits.len()).expect("few"), rows);
            let said = house.count("SELECT count(*) FROM messages").await;
            let search = MessageSearch { mode: SearchMode::Text, limit: 1_000, ..MessageSearch::new("said") };
            let messages = nova.search_messages(search).await.expect("found");
            assert_eq!(i64::try_from(messages.hits.len()).expect("few"), said);
            let status = nova.index_status();
            assert_eq!(i64::try_from(status.memories.rows).expect("few"), rows);
            assert_eq!(i64::try_from(status.messages.rows).expect("few"), said);
        });
    }
}

#[tokio::test]
async fn a_search_sees_what_was_stored_just_before() {
    let house = House::wordless().await;
    let nova = house.namespace("nova").await;
    assert!(nova.warm_up(PATIENCE).await);
    for n in 0..20 {
        remember(&nova, &[&format!("unique{n} thing")]).await;
        let hits = nova.search_memories(words(&format!("unique{n}"))).await.expect("found");
        assert_eq!((hits.hits.len(), hits.legs.text), (1, TextLeg::Index));
        say(&nova, "chat", n, &[&format!("ann: spoken{n}")]).await;
        let search = MessageSearch { mode: SearchMode::Text, ..MessageSearch::new(format!("spoken{n}")) };
        assert_eq!(nova.search_messages(search).await.expect("found").hits.len(), 1);
    }
}

#[tokio::test]
async fn what_another_process_writes_is_noticed() {
    let soon = RecallSettings { check_every: Duration::from_millis(20), ..settings() };
    let house = House::with(Embedder::off(), soon.clone()).await;
    let nova = house.namespace("nova").await;
    remember(&nova, &["known here"]).await;
    assert!(nova.warm_up(PATIENCE).await);
    // A second room on the same database stands for a second process.
    let elsewhere = room(&house.database.store, Embedder::off(), soon).await;
    let theirs = namespace(&elsewhere, "nova");
    let id = remember(&theirs, &["written elsewhere"]).await[0];
    let found = |text: &'static str, count: usize| {
        let nova = nova.clone();
        move || {
            let nova = nova.clone();
            async move { nova.search_memories(words(text)).await.expect("found").hits.len() == count }
        }
    };
    until("a memory of another process is found", found("elsewhere", 1)).await;
    theirs
        .delete_memory(&id.to_string(), DeleteOptions { hard: true, ..DeleteOptions::default() })
        .await
        .expect("gone");
    until("its removal is noticed", || async { nova.index_status().memories.rows == 1 }).await;
    say(&theirs, "chat", 5, &["ann: spoken elsewhere"]).await;
    until("a message of another process is indexed", || async { nova.index_status().messages.rows == 1 }).await;
}

#[tokio::test]
async fn an_index_is_bounded_and_the_newest_win() {
    let small = RecallSettings { most_memories: 20, most_messages: 20, ..settings() };
    let house = House::with(Embedder::off(), small).await;
    let nova = house.namespace("nova").await;
    let texts: Vec<String> = (0..50).map(|n| format!("ann: old {n}")).collect();
    say(&nova, "chat", 0, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert!(nova.warm_up(PATIENCE).await);
    assert_eq!(nova.index_status().messages.rows, 20);
    let find = |text: &str| MessageSearch { mode: SearchMode::Text, limit: 1, ..MessageSearch::new(text) };
    assert_eq!(said(&nova.search_messages(find("old 49")).await.expect("found")), ["old 49"]);
    let texts: Vec<String> = (0..10).map(|n| format!("ann: fresh {n}")).collect();
    say(&nova, "chat", 10_000, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    until("the oldest are dropped", || async {
        let status = nova.index_status().messages;
        status.rows == 20 && status.state == Phase::Ready
    })
    .await;
    assert_eq!(nova.search_messages(find("fresh")).await.expect("found").hits.len(), 1);
}

#[tokio::test]
async fn an_index_nobody_asks_for_is_dropped_and_comes_back() {
    let short = RecallSettings { idle: Duration::ZERO, check_every: Duration::from_millis(10), ..settings() };
    let house = House::with(Embedder::off(), short).await;
    let nova = house.namespace("nova").await;
    remember(&nova, &["a boat"]).await;
    nova.search_memories(words("boat")).await.expect("found");
    until("it is dropped", || async { nova.index_status().memories.state == Phase::Absent }).await;
    assert_eq!(nova.search_memories(words("boat")).await.expect("found").hits.len(), 1);
}

#[tokio::test]
async fn a_crashed_namespace_answers_and_its_indexes_are_made_again() {
    let house = House::wordless().await;
    let nova = house.namespace("nova").await;
    remember(&nova, &["a boat"]).await;
    assert!(nova.warm_up(PATIENCE).await);
    nova.crash();
    assert_eq!(nova.search_memories(words("boat")).await.expect("found").hits.len(), 1);
    until("writing works again", || async {
        nova.store_memory(greenroom_memory::MemoryDraft::new("a kite"), Default::default()).await.is_ok()
    })
    .await;
    assert_eq!(nova.search_memories(words("kite")).await.expect("found").hits.len(), 1);
    assert!(nova.warm_up(PATIENCE).await);
    assert_eq!(nova.index_status().memories.rows, 2);
}

#[tokio::test]
async fn a_purged_or_cleared_bot_is_found_no_more() {
    let house = House::wordless().await;
    let nova = house.namespace("nova").await;
    remember(&nova, &["a boat"]).await;
    say(&nova, "chat", 0, &["ann: a boat"]).await;
    assert!(nova.warm_up(PATIENCE).await);
    nova.clear(true).await.expect("cleared");
    assert!(nova.search_memories(words("boat")).await.expect("found").hits.is_empty());
    assert!(nova.search_messages(MessageSearch::new("boat")).await.expect("found").hits.is_empty());
    assert!(nova.warm_up(PATIENCE).await);
    assert_eq!(nova.index_status().messages.rows, 0);
}
