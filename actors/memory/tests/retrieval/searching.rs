//! The search for memories in one bot.

use std::collections::HashMap;

use greenroom_embedder::Embedder;
use greenroom_memory::retrieval::{Evidence, TextLeg, VectorLeg, diverse, score};
use greenroom_memory::{
    MemoryDraft, MemoryError, MemoryHit, MemoryMethod, MemorySearch, RecallSettings, RetrievalSettings,
};
use greenroom_protocol::ErrorClass;
use uuid::Uuid;

use super::house::*;

fn tagged(text: &str, tag: &str, importance: f32) -> MemoryDraft {
    MemoryDraft { tags: vec![tag.into()], importance, ..MemoryDraft::new(text) }
}

#[tokio::test]
async fn meaning_and_words_find_together_and_say_how() {
    let house = House::open().await;
    let nova = house.namespace("nova").await;
    remember(&nova, &["Ann keeps two grey cats", "Ann sails a small boat at weekends", "Ann was born in Oslo"]).await;
    let first = nova.search_memories(MemorySearch::new("Which boat does Ann sail?")).await.expect("found");
    assert_eq!(contents(&first)[0], "Ann sails a small boat at weekends");
    assert_eq!(first.legs.vector, VectorLeg::Exact);
    // Nothing was loaded yet, so PostgreSQL's own full text stood in for the index.
    assert_eq!(first.legs.text, TextLeg::FullText);
    assert!(nova.warm_up(PATIENCE).await);
    let second = nova.search_memories(MemorySearch::new("Which boat does Ann sail?")).await.expect("found");
    assert_eq!(second.legs.text, TextLeg::Index);
    assert_eq!(contents(&second)[0], "Ann sails a small boat at weekends");
    let best = &second.hits[0];
    assert_eq!((best.parts.rank_vector, best.parts.rank_text), (Some(1), Some(1)));
    assert!(best.relevance > 0.3 && best.parts.rrf_norm > 0.99, "{:?}", best.parts);
}

#[tokio::test]
async fn without_a_model_words_find() {
    let house = House::wordless().await;
    let nova = house.namespace("nova").await;
    remember(&nova, &["Ann keeps two grey cats", "Ann sails a small boat"]).await;
    for warm in [false, true] {
        if warm {
            assert!(nova.warm_up(PATIENCE).await);
        }
        for method in [MemoryMethod::All, MemoryMethod::Text, MemoryMethod::Embedding] {
            let hits =
                nova.search_memories(MemorySearch { method, ..MemorySearch::new("boats") }).await.expect("found");
            assert_eq!(contents(&hits), ["Ann sails a small boat"], "{method:?}");
            assert_eq!(hits.legs.vector, VectorLeg::Off);
            assert!(hits.hits[0].relevance > 0.0);
        }
    }
}

#[tokio::test]
async fn filters_hold_in_every_leg() {
    let house = House::open().await;
    let nova = house.namespace("nova").await;
    let mut drafts = vec![tagged("boat one", "kept", 0.9)];
    drafts.extend((0..80).map(|n| tagged(&format!("boat and boat and boat {n}"), "other", 0.3)));
    drafts.push(tagged("boat two", "plan", 0.1));
    remember_all(&nova, drafts).await;
    assert!(nova.warm_up(PATIENCE).await);
    let find = |search: MemorySearch| nova.search_memories(search);
    let kept = MemorySearch { tags: vec!["KEPT ".into()], ..MemorySearch::new("boat") };
    assert_eq!(contents(&find(kept).await.expect("found")), ["boat one"]);
    let none = MemorySearch {
        tags: vec!["'; DROP TABLE memories; --".into(), "it's \"so\"".into()],
        ..MemorySearch::new("boat")
    };
    assert!(find(none).await.expect("found").hits.is_empty());
    let important = MemorySearch { min_importance: Some(0.5), ..MemorySearch::new("boat") };
    assert_eq!(contents(&find(important).await.expect("found")), ["boat one"]);
    // The words' index knows nothing of tags; still the one that fits is found among many.
    let words = MemorySearch { tags: vec!["plan".into()], method: MemoryMethod::Text, ..MemorySearch::new("boat") };
    assert_eq!(contents(&find(words).await.expect("found")), ["boat two"]);
    // Relevance is applied before the cut and is no limit on importance.
    let near = MemorySearch { min_relevance: Some(0.99), ..MemorySearch::new("boat two") };
    assert_eq!(contents(&find(near).await.expect("found")), ["boat two"]);
    let all = MemorySearch { min_relevance: Some(0.0), limit: 500, ..MemorySearch::new("boat") };
    assert_eq!(find(all).await.expect("found").hits.len(), 82);
}

#[tokio::test]
async fn senseless_searches_are_refused() {
    let house = House::open().await;
    let nova = house.namespace("nova").await;
    let bad = [
        MemorySearch::new("  \n"),
        MemorySearch { min_importance: Some(1.5), ..MemorySearch::new("x") },
        MemorySearch { min_importance: Some(f32::NAN), ..MemorySearch::new("x") },
        MemorySearch { min_relevance: Some(-2.0), ..MemorySearch::new("x") },
        MemorySearch { tags: vec!["x".repeat(300)], ..MemorySearch::new("x") },
    ];
    for search in bad {
        let error = nova.search_memories(search).await.expect_err("refused");
        assert!(matches!(error, MemoryError::Invalid(_)) && error.class() == ErrorClass::InvalidRequest, "{error:?}");
    }
    for odd in ["'", "a & | !", ":*", "\u{0}x", &"word ".repeat(50_000), "💥", "日本語"] {
        nova.search_memories(MemorySearch::new(odd)).await.expect("an answer");
    }
}

#[tokio::test]
async fn the_most_important_are_a_list() {
    let house = House::open().await;
    let nova = house.namespace("nova").await;
    remember_all(&nova, vec![tagged("a", "fact", 0.9), tagged("b", "fact", 0.7), tagged("c", "fact", 0.2)]).await;
    let search = MemorySearch { method: MemoryMethod::HighImportance, ..MemorySearch::new("") };
    let hits = nova.search_memories(search.clone()).await.expect("found");
    assert_eq!(contents(&hits), ["a", "b"]);
    assert!((hits.hits[0].relevance - 0.9).abs() < 1e-6);
    let all = MemorySearch { min_importance: Some(0.0), ..search };
    assert_eq!(nova.search_memories(all).await.expect("found").hits.len(), 3);
}

#[tokio::test]
async fn uses_are_counted_once_per_search_and_only_when_asked() {
    let house = House::open().await;
    let nova = house.namespace("nova").await;
    let ids = remember(&nova, &["Ann sails a boat"]).await;
    for count_access in [true, false, true] {
        let search = MemorySearch { count_access, ..MemorySearch::new("boat") };
        nova.search_memories(search).await.expect("found");
    }
    let counted = || async {
        let memory = nova.memory(&ids[0].to_string()).await.expect("there");
        memory.access_count == 2 && memory.last_accessed_at.is_some()
    };
    until("two uses", counted).await;
    let memory = nova.memory(&ids[0].to_string()).await.expect("there");
    assert_eq!(memory.created_at, memory.updated_at, "a use is no change");
}

/// §21.1: without words the hybrid search is the reference ranking, in order and value.
#[tokio::test]
async fn without_words_the_order_is_the_reference_ranking() {
    let house = House::with(Embedder::test_hash(), RecallSettings { exact_rows: 100_000, ..settings() }).await;
    let nova = house.namespace("nova").await;
    let words = ["boat", "cat", "tea", "sail", "rain", "book", "song", "bread", "hill", "lamp", "river", "stone"];
    let tags = ["fact", "professional", "health", "relationship", "preference", "event", "plan", "misc"];
    let mut drafts = Vec::new();
    for n in 0_usize..1_000 {
        let text: Vec<&str> = (0..4).map(|k| words[(n * 7 + k * k * 5 + n / 9) % words.len()]).collect();
        let mut draft = tagged(&format!("{} {n}", text.join(" ")), tags[n % 8], (n % 101) as f32 / 100.0);
        draft.created_at = Some(at(-(i64::try_from(n).expect("small") * 37_117) % (400 * 86_400)));
        drafts.push(draft);
    }
    remember_all(&nova, drafts).await;
    // Vectors at random, so that no two rows are equally near.
    house
        .execute(
            "UPDATE memories m
                SET access_count = abs(hashtext(id::text)) % 40,
                    embedding = (SELECT array_agg(random() - 0.45 + 0 * g) FROM generate_series(1, 384) g
                                  WHERE m.id IS NOT NULL)",
        )
        .await;
    let now = at(1_000);
    let query = nova.query_vector("a boat on the river", PATIENCE).await.expect("a vector");
    let vectors: HashMap<Uuid, f64> = {
        const SQL: &str = "SELECT id, 1 - (embedding <=> $1) FROM memories";
        let db = house.database.store.connection().await.expect("connection");
        let vector = pgvector::Vector::from(query.as_slice().to_vec());
        db.query(SQL, &[&vector]).await.expect("rows").iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    assert_eq!(vectors.len(), 1_000);
    let ids: Vec<Uuid> = vectors.keys().copied().collect();
    let rows = nova.memories(&ids).await.expect("rows");
    for (diversity, decay_enabled) in [(true, true), (false, true), (true, false)] {
        let settings =
            RetrievalSettings { hybrid_weight: 0.0, diversity, decay_enabled, ..RetrievalSettings::default() };
        let mut nearest: Vec<&_> = rows.iter().collect();
        nearest.sort_by(|a, b| vectors[&b.id].total_cmp(&vectors[&a.id]).then(a.id.cmp(&b.id)));
        nearest.truncate(settings.candidates(10));
        let mut expected: Vec<MemoryHit> = nearest
            .into_iter()
            .map(|memory| {
                let evidence = Evidence { sim: Some(vectors[&memory.id]), ..Evidence::default() };
                let parts = score(memory, evidence, &settings, now);
                MemoryHit { source: nova.bot().clone(), relevance: parts.sim, parts, memory: memory.clone() }
            })
            .collect();
        expected.sort_by(|a, b| b.parts.score.total_cmp(&a.parts.score));
        let expected = match diversity {
            true => diverse(expected, 10, settings.diversity_floor, now),
            false => expected.into_iter().take(10).collect(),
        };
        let search = MemorySearch { settings, now: Some(now), ..MemorySearch::new("a boat on the river") };
        let found = nova.search_memories(MemorySearch { count_access: false, ..search }).await.expect("found");
        let values = |hits: &[MemoryHit]| hits.iter().map(|hit| hit.parts.score).collect::<Vec<_>>();
        let (ours, theirs) = (values(&found.hits), values(&expected));
        assert_eq!(ours.len(), theirs.len());
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() < 1e-6, "{ours:?} {theirs:?}");
        }
        assert_eq!(found.legs.text, TextLeg::Off);
    }
}

#[tokio::test]
async fn rows_of_another_model_are_found_by_words_only() {
    let house = House::open().await;
    let nova = house.namespace("nova").await;
    remember(&nova, &["Ann sails a boat", "Ann reads books"]).await;
    house.execute("UPDATE memories SET embedding_model = 'older/384' WHERE content LIKE '%boat%'").await;
    let by_meaning = MemorySearch { method: MemoryMethod::Embedding, ..MemorySearch::new("Ann sails a boat") };
    assert_eq!(contents(&nova.search_memories(by_meaning).await.expect("found")), ["Ann reads books"]);
    let both = nova.search_memories(MemorySearch::new("sails boat")).await.expect("found");
    let old = both.hits.iter().find(|hit| hit.memory.content.contains("boat")).expect("found by words");
    assert_eq!(old.parts.rank_vector, None);
    assert!((old.parts.sim - 0.5 * old.parts.rrf_norm).abs() < 1e-9);
}

#[tokio::test]
async fn meaning_is_compared_when_the_bot_wants_it() {
    let house = House::open().await;
    let nova = house.namespace("nova").await;
    let mut draft = MemoryDraft::new("Ann moved house");
    draft.meaning.intent = Some("seeking advice about neighbours".into());
    remember_all(&nova, vec![draft]).await;
    let settings = RetrievalSettings { meaning_query: true, ..RetrievalSettings::default() };
    let search = |text: &str| MemorySearch { settings, ..MemorySearch::new(text) };
    let why = nova.search_memories(search("why is she seeking advice")).await.expect("found");
    assert!(why.hits[0].parts.meaning_sim.is_some());
    let plain = nova.search_memories(search("which house")).await.expect("found");
    assert_eq!(plain.hits[0].parts.meaning_sim, None);
}
