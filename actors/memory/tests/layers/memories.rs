//! Distilled memories: stored once, changed in place, superseded, deleted.

use greenroom_embedder::Embedder;
use greenroom_memory::{
    DeleteOptions, MeaningPatch, MemoryDraft, MemoryError, MemoryOrder, MemoryPatch, Outcome, RestoreRequest,
    StoreOptions, SupersedeReason,
};
use greenroom_protocol::ErrorClass;
use uuid::Uuid;

use crate::house::{House, fact, message, namespace, room, store, user};

fn patch() -> MemoryPatch {
    MemoryPatch::default()
}

#[tokio::test]
async fn identical_stores_at_once_leave_one_row_and_tell_one_id() {
    let house = House::open().await;
    let one = house.opened("one").await;
    // A second process: another room over the same database, with its own actor.
    let other = namespace(&room(&house.database.store, Embedder::test_hash()).await, "one");
    let draft = |n: usize| {
        let mut draft =
            fact(if n.is_multiple_of(3) { "User  likes TEA" } else { "User likes tea" }, &[Uuid::from_u128(n as u128)]);
        draft.importance = 0.1 * n as f32;
        draft.tags = vec![format!("t{n}")];
        draft
    };
    let stores = (0..8).map(|n| {
        let namespace = if n % 2 == 0 { one.clone() } else { other.clone() };
        tokio::spawn(async move { namespace.store_memory(draft(n), StoreOptions::default()).await })
    });
    let mut ids = Vec::new();
    let mut inserted = 0;
    for stored in stores.collect::<Vec<_>>() {
        let stored = stored.await.expect("task").expect("stored");
        inserted += usize::from(stored.outcome == Outcome::Inserted);
        ids.push(stored.id);
    }
    ids.dedup();
    assert_eq!((ids.len(), inserted), (1, 1));
    assert_eq!(house.count("SELECT count(*) FROM memories").await, 1);
    let row = one.memory(&ids[0].to_string()).await.expect("found");
    assert!((row.importance - 0.7).abs() < 1e-6);
    assert_eq!((row.sources.len(), row.tags.len(), row.access_count), (8, 8, 7));
}

#[tokio::test]
async fn what_is_alike_is_reinforced_unless_forced_or_about_another() {
    let house = House::open().await;
    let one = house.opened("one").await;
    let about = |who: &str, text: &str| MemoryDraft { user: Some(user(who)), ..MemoryDraft::new(text) };
    let first = store(&one, about("ann", "User drinks green tea every single morning")).await;
    let again = store(&one, about("ann", "User drinks green tea every single morning!")).await;
    assert_eq!((again.id, again.outcome), (first.id, Outcome::Duplicate));
    assert!(again.similarity.expect("a similarity") > 0.85);
    let bob = store(&one, about("bob", "User drinks green tea every single morning")).await;
    assert_eq!(bob.outcome, Outcome::Inserted);
    let force = StoreOptions { force: true, ..StoreOptions::default() };
    let draft = about("ann", "User drinks green tea every single morning!");
    assert_eq!(one.store_memory(draft.clone(), force.clone()).await.expect("stored").outcome, Outcome::Inserted);
    // The very same words are never stored twice, forced or not.
    assert_eq!(one.store_memory(draft, force).await.expect("stored").outcome, Outcome::Duplicate);
    let strict = StoreOptions { dedup_similarity: Some(1.0), ..StoreOptions::default() };
    let draft = about("bob", "User drinks green tea every single morning!");
    assert_eq!(one.store_memory(draft, strict).await.expect("stored").outcome, Outcome::Inserted);
}

#[tokio::test]
async fn without_an_embedder_the_words_decide() {
    let house = House::wordless().await;
    let one = house.opened("one").await;
    let first = store(&one, MemoryDraft::new("User has a cat")).await;
    assert_eq!(store(&one, MemoryDraft::new(" user HAS a   cat ")).await.id, first.id);
    assert_eq!(store(&one, MemoryDraft::new("User has a cat now")).await.outcome, Outcome::Inserted);
    assert_eq!(one.memory(&first.id.to_string()).await.expect("found").embedding_model, None);
    // With an embedder, the same words give the row its vector.
    let other = namespace(&room(&house.database.store, Embedder::test_hash()).await, "one");
    assert_eq!(store(&other, MemoryDraft::new("User has a cat")).await.outcome, Outcome::Duplicate);
    assert!(one.memory(&first.id.to_string()).await.expect("found").embedding_model.is_some());
}

#[tokio::test]
async fn edits_keep_provenance_and_meaning() {
    let house = House::open().await;
    let one = house.opened("one").await;
    let mut draft = fact("User plans to visit Japan", &[Uuid::from_u128(7)]);
    draft.tags = vec!["plan".into()];
    draft.meaning.intent = Some("asking for travel advice".into());
    let id = store(&one, draft).await.id.to_string();
    let before = one.memory(&id).await.expect("found");
    let vectors = "SELECT embedding::text || meaning_embedding::text FROM memories";
    let db = house.database.store.connection().await.expect("connection");
    let vector: String = db.query_one(vectors, &[]).await.expect("row").get(0);

    let changed = one.update(&id, MemoryPatch { tags: Some(vec!["Event".into()]), ..patch() }).await.expect("changed");
    assert_eq!(changed.tags, ["event"]);
    let changed = one.update(&id[..8], MemoryPatch { importance: Some(0.0), ..patch() }).await.expect("changed");
    assert_eq!(changed.importance, 0.0);
    assert!(changed.updated_at > before.updated_at);
    assert_eq!(db.query_one(vectors, &[]).await.expect("row").get::<_, String>(0), vector);

    let stale = MemoryPatch { importance: Some(1.0), if_updated_at: Some(before.updated_at), ..patch() };
    assert_eq!(one.update(&id, stale).await.expect_err("stale").class(), ErrorClass::Conflict);
    let fresh = MemoryPatch {
        content: Some("User plans to visit Japan in May".into()),
        if_updated_at: Some(changed.updated_at),
        ..patch()
    };
    let changed = one.update(&id, fresh).await.expect("changed");
    assert_ne!(db.query_one(vectors, &[]).await.expect("row").get::<_, String>(0), vector);
    assert_eq!(
        (changed.sources, changed.meaning, changed.tags),
        (before.sources, before.meaning, vec!["event".into()])
    );
    assert_eq!((changed.created_at, changed.access_count), (before.created_at, before.access_count));

    let meaning = MeaningPatch { stakes: Some("critical: non-refundable".into()), ..MeaningPatch::default() };
    let changed = one.set_meaning(&id, meaning).await.expect("changed");
    assert_eq!(changed.meaning.stakes.as_deref(), Some("critical: non-refundable"));
    assert_eq!(changed.meaning.intent.as_deref(), Some("asking for travel advice"));
    assert_eq!(changed.content, "User plans to visit Japan in May");

    store(&one, MemoryDraft::new("Something entirely different")).await;
    let taken = MemoryPatch { content: Some("something ENTIRELY different".into()), ..patch() };
    assert_eq!(one.update(&id, taken).await.expect_err("taken").class(), ErrorClass::Conflict);
    assert_eq!(one.update(&id, patch()).await.expect_err("nothing").class(), ErrorClass::InvalidRequest);
    let missing = one.update(&Uuid::new_v4().to_string(), MemoryPatch { importance: Some(0.1), ..patch() }).await;
    assert_eq!(missing.expect_err("missing").class(), ErrorClass::NotFound);
}

#[tokio::test]
async fn a_contradicted_memory_is_kept_for_the_record_only() {
    let house = House::open().await;
    let one = house.opened("one").await;
    let old = store(&one, fact("User lives in Berlin", &[Uuid::from_u128(1)])).await.id.to_string();
    let new = store(&one, fact("The person moved to a village near Lyon", &[Uuid::from_u128(2)])).await.id.to_string();
    let last = store(&one, MemoryDraft::new("Nowadays somewhere on the coast of Portugal")).await.id.to_string();
    assert!(one.supersede(&old, &new, SupersedeReason::Contradiction).await.expect("superseded"));
    assert!(one.supersede(&old, &new, SupersedeReason::Contradiction).await.expect("the same again"));
    assert!(!one.supersede(&old, &last, SupersedeReason::Update).await.expect("not active"));
    assert!(one.supersede(&new, &last, SupersedeReason::Update).await.expect("superseded"));
    for circle in [(&last, &old), (&last, &last), (&last, &new)] {
        let error = one.supersede(circle.0, circle.1, SupersedeReason::Manual).await.expect_err("a circle");
        assert_eq!(error.class(), ErrorClass::Conflict);
    }
    let unknown = Uuid::new_v4().to_string();
    assert!(matches!(one.supersede(&last, &unknown, SupersedeReason::Manual).await, Err(MemoryError::NotFound(..))));
    let listed = one.list_memories(MemoryOrder::Recent, 0.0, 10).await.expect("list");
    assert_eq!(listed.iter().map(|row| row.id.to_string()).collect::<Vec<_>>(), [&last[..]]);
    assert_eq!(listed[0].sources, [Uuid::from_u128(2), Uuid::from_u128(1)]);
    for any in [&old, &new, &last] {
        let chain = one.chain(any).await.expect("chain");
        assert_eq!(chain.iter().map(|row| row.id.to_string()).collect::<Vec<_>>(), [&old[..], &new, &last]);
        assert_eq!(chain[0].supersede_reason, Some(SupersedeReason::Contradiction));
    }
    let frozen = one.update(&old, MemoryPatch { importance: Some(1.0), ..patch() }).await;
    assert_eq!(frozen.expect_err("superseded").class(), ErrorClass::Conflict);
    // What a superseded memory said may be learnt anew.
    assert_eq!(store(&one, MemoryDraft::new("User lives in Berlin")).await.outcome, Outcome::Inserted);
}

#[tokio::test]
async fn a_merged_text_may_equal_one_of_its_originals() {
    let house = House::open().await;
    let one = house.opened("one").await;
    let mut ids = Vec::new();
    for (n, text) in ["User has a dog", "There is a dog called Rex", "Rex the dog is brown"].into_iter().enumerate() {
        let mut draft = fact(text, &[Uuid::from_u128(n as u128)]);
        (draft.tags, draft.importance) = (vec![format!("t{n}")], 0.3 + 0.2 * n as f32);
        ids.push(store(&one, draft).await.id);
    }
    let options = StoreOptions { replaces: ids.clone(), ..StoreOptions::default() };
    let merged = one.store_memory(MemoryDraft::new("Rex the dog is brown"), options).await.expect("stored");
    assert_eq!(merged.outcome, Outcome::Inserted);
    let active = one.list_memories(MemoryOrder::Importance, 0.0, 10).await.expect("list");
    assert_eq!(active.len(), 1);
    assert_eq!((active[0].id, active[0].sources.len(), active[0].tags.len()), (merged.id, 3, 4));
    assert!((active[0].importance - 0.7).abs() < 1e-6);
    for row in one.memories(&ids).await.expect("kept") {
        assert_eq!((row.superseded_by, row.supersede_reason), (Some(merged.id), Some(SupersedeReason::Consolidation)));
    }
}

#[tokio::test]
async fn deleting_takes_the_chain_or_gives_back_what_was_before() {
    let house = House::open().await;
    let one = house.opened("one").await;
    let old = store(&one, MemoryDraft::new("User lives in Berlin")).await.id.to_string();
    let new = store(&one, MemoryDraft::new("The person moved to a village near Lyon")).await.id.to_string();
    assert!(one.supersede(&old, &new, SupersedeReason::Contradiction).await.expect("superseded"));
    let before = house.snapshot("one").await;

    let whole = one.delete_memory(&new[..8], DeleteOptions::default()).await.expect("deleted");
    assert_eq!((whole.deleted.len(), whole.reactivated.len()), (2, 0));
    assert_eq!(one.stats().await.expect("stats").memories.forgotten_count, 2);
    let restored = one.restore(RestoreRequest::default()).await.expect("restored");
    assert_eq!((restored.memories_restored, restored.kept), (2, 0));
    assert_eq!(house.snapshot("one").await, before);

    let options = DeleteOptions { restore_previous: true, ..DeleteOptions::default() };
    let head = one.delete_memory(&new, options).await.expect("deleted");
    assert_eq!((head.deleted.len(), head.reactivated.len()), (1, 1));
    assert_eq!(one.memory(&old).await.expect("found").superseded_by, None);
    one.restore(RestoreRequest::default()).await.expect("restored");
    assert_eq!(house.snapshot("one").await, before);

    assert!(one.supersede(&new, "DELETED", SupersedeReason::Manual).await.expect("buried"));
    assert_eq!(one.stats().await.expect("stats").memories.forgotten_count, 2);
    one.restore(RestoreRequest::default()).await.expect("restored");
    let hard = DeleteOptions { hard: true, ..DeleteOptions::default() };
    assert_eq!(one.delete_memory(&new, hard).await.expect("deleted").batch_id, None);
    assert!(house.snapshot("one").await.is_empty());
    let gone = one.delete_memory(&new, DeleteOptions::default()).await.expect_err("gone");
    assert_eq!(gone.class(), ErrorClass::NotFound);
}

#[tokio::test]
async fn hostile_tags_ids_and_names_are_harmless() {
    let house = House::open().await;
    let one = house.opened("one").await;
    let kept = store(&one, MemoryDraft::new("User has a cat")).await.id;
    for tag in ["it's", "\"quoted\"", "a\\b", "x'; DROP TABLE memories; --", "{a,b}", "a b", &"x".repeat(41)] {
        let draft = MemoryDraft { tags: vec![tag.into()], ..MemoryDraft::new("anything") };
        let refused = one.store_memory(draft, StoreOptions::default()).await.expect_err(tag);
        assert_eq!(refused.class(), ErrorClass::InvalidRequest, "{tag}");
        let patch = MemoryPatch { tags: Some(vec![tag.into()]), ..patch() };
        assert_eq!(one.update(&kept.to_string(), patch).await.expect_err(tag).class(), ErrorClass::InvalidRequest);
    }
    for id in ["", "%", "_", "%%%%%%%%", "________", "abc", "' OR true", "0"] {
        let refused = one.delete_memory(id, DeleteOptions::default()).await.expect_err(id);
        assert_eq!(refused.class(), ErrorClass::InvalidRequest, "{id:?}");
        assert_eq!(one.memory(id).await.expect_err(id).class(), ErrorClass::InvalidRequest, "{id:?}");
    }
    for draft in [MemoryDraft::new(" "), MemoryDraft::new("x".repeat(4001))] {
        assert!(matches!(one.store_memory(draft, StoreOptions::default()).await, Err(MemoryError::Invalid(_))));
    }
    assert_eq!(house.count("SELECT count(*) FROM memories").await, 1);
    // Slugs that once shared tables: each has its own, whatever it is called.
    let long = "x".repeat(48);
    for slug in ["my-bot", "mybot", "nova", "nova_forgotten", "nova_forgotten_messages", long.as_str()] {
        let name = greenroom_memory::NamespaceName::from_profile(&slug.replace('-', "")).expect("plain");
        let name = if slug == "my-bot" {
            greenroom_memory::NamespaceName::from_profile("mybot_1a2b3c").expect("plain")
        } else {
            name
        };
        let bot = greenroom_protocol::BotSlug::parse(slug).expect("a slug");
        let namespace = house.memory.namespace(&bot, &name);
        store(&namespace, MemoryDraft::new(format!("This belongs to {slug}"))).await;
        let _ = namespace.record(&[message(slug, "ann", slug, 1)]).await.expect("recorded");
    }
    for source in house.memory.sources().await.expect("sources") {
        assert_eq!(source.memories, 1, "{}", source.bot_id);
    }
    assert_eq!(house.count("SELECT count(*) FROM memories").await, 7);
}
