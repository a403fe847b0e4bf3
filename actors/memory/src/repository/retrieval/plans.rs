//! The statements of both searches use the indexes that are there for them (memory.md §21.2), prepared and with binds as
//! the searches send them.

use greenroom_embedder::Embedder;
use greenroom_kit::{Board, Supervisor};
use greenroom_store::testing::{TestDatabase, database};
use pgvector::HalfVector;

use super::*;
use crate::repository::episodes::{NEAR, NEAR_EXACT};
use crate::repository::{EpisodeFilter, EpisodeQuery};
use crate::{Memory, MemorySettings, NamespaceName};

/// Two bots, so that there is a partition that must not be touched.
async fn filled() -> TestDatabase {
    let database = database().await;
    let (root, _join) = Supervisor::root(Board::default()).await.unwrap();
    let group = root.group("memory").await.unwrap();
    let memory = Memory::new(group, database.store.clone(), Embedder::off(), MemorySettings::default());
    for slug in ["nova", "spark"] {
        let name = NamespaceName::from_profile(slug).unwrap();
        memory.namespace(&BotSlug::parse(slug).unwrap(), &name).open().await.unwrap();
    }
    // Few rows have vectors: enough for a plan, and making them takes the longest.
    let db = database.store.connection().await.unwrap();
    db.batch_execute(
        "CREATE FUNCTION pg_temp.some_vector(n integer) RETURNS real[] LANGUAGE sql VOLATILE AS
             'SELECT array_agg(random() - 0.45 + 0 * g * n)::real[] FROM generate_series(1, 384) g';
         INSERT INTO memories (bot_id, id, content, tags, importance, embedding, embedding_model)
         SELECT 'nova', gen_random_uuid(), 'word' || n % 997 || ' thing' || n, ARRAY['fact'], 0.5,
                CASE WHEN n % 100 = 0 THEN pg_temp.some_vector(n)::vector END, 'test'
           FROM generate_series(1, 50000) n;
         INSERT INTO messages (bot_id, id, role, content, ts, user_id)
         SELECT 'nova', gen_random_uuid(), 'user', 'word' || n % 997 || ' thing' || n, now() - n * interval '1 s', 'ann'
           FROM generate_series(1, 50000) n;
         INSERT INTO message_vectors (bot_id, message_id, model, embedding, context_embedding, ts)
         SELECT bot_id, id, 'test', pg_temp.some_vector(1)::vector, pg_temp.some_vector(2)::vector, ts
           FROM messages LIMIT 2000;
         ANALYZE memories; ANALYZE messages; ANALYZE message_vectors",
    )
    .await
    .unwrap();
    database
}

async fn plan(db: &Connection, sql: &str, binds: &[&(dyn ToSql + Sync)]) -> String {
    let explain = format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {sql}");
    let statement = db.prepare_cached(&explain).await.unwrap();
    // Often enough for a generic plan to be considered.
    let mut lines = Vec::new();
    for _ in 0..8 {
        lines = db.query(&statement, binds).await.unwrap();
    }
    lines.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

fn vector() -> Option<Vector> {
    Some(Vector::from((0..384).map(|n| 1.0 + n as f32).collect::<Vec<f32>>()))
}

#[tokio::test]
async fn searches_use_the_indexes_of_the_partition() {
    let database = filled().await;
    let db = database.store.connection().await.unwrap();
    let no_tags: Option<Vec<String>> = None;
    let (no_text, no_vector): (Option<&str>, Option<Vector>) = (None, None);
    let hits: Vec<Uuid> = (0..50).map(|_| Uuid::new_v4()).collect();
    let binds = |words: &'static Option<&'static str>| -> Vec<Box<dyn ToSql + Sync>> {
        vec![
            Box::new("nova"),
            Box::new(vector()),
            Box::new("test"),
            Box::new(0.0_f32),
            Box::new(no_tags.clone()),
            Box::new(no_text),
            Box::new(50_i64),
            Box::new(hits.clone()),
            Box::new(*words),
            Box::new(50_i64),
            Box::new(no_vector.clone()),
        ]
    };
    let by_index = binds(&None);
    let by_index: Vec<&(dyn ToSql + Sync)> = by_index.iter().map(AsRef::as_ref).collect();
    let text = plan(&db, FIND, &by_index).await;
    assert!(text.contains("nova_memories_embedding_idx"), "{text}");
    assert!(!text.contains("Seq Scan on nova_memories") && !text.contains("spark"), "{text}");
    let text = plan(&db, FIND_EXACT, &by_index).await;
    assert!(!text.contains("nova_memories_embedding_idx"), "{text}");
    let by_words = binds(&Some("'word7'|'thing700'"));
    let by_words: Vec<&(dyn ToSql + Sync)> = by_words.iter().map(AsRef::as_ref).collect();
    let text = plan(&db, FIND, &by_words).await;
    assert!(text.contains("content_tsv") && text.contains("Bitmap Index Scan"), "{text}");
    assert!(!text.contains("Seq Scan on nova_memories") && !text.contains("spark"), "{text}");
    let bots = vec!["nova".to_owned(), "spark".to_owned()];
    let (owners, none): (Vec<&str>, Vec<Uuid>) = (Vec::new(), Vec::new());
    let binds: [&(dyn ToSql + Sync); 12] = [
        &bots,
        &vector(),
        &"test",
        &0.0_f32,
        &no_tags,
        &no_text,
        &50_i64,
        &owners,
        &none,
        &Some("'word7'|'thing700'"),
        &50_i64,
        &bots,
    ];
    let text = plan(&db, FIND_EVERYWHERE, &binds).await;
    for index in ["nova_memories_embedding_idx", "spark_memories_embedding_idx", "nova_memories_content_tsv_idx"] {
        assert!(text.contains(index), "{text}");
    }
    assert!(!text.contains("Seq Scan on nova"), "{text}");

    let half = vector().map(|vector| HalfVector::from_f32_slice(vector.as_slice()));
    let (filter, query) =
        (EpisodeFilter::default(), EpisodeQuery { vector: half, nearest: 100, ..EpisodeQuery::default() });
    let exclude: Vec<Uuid> = Vec::new();
    let binds: [&(dyn ToSql + Sync); 12] = [
        &"nova",
        &query.vector,
        &"test",
        &query.nearest,
        &filter.since,
        &filter.until,
        &no_text,
        &no_text,
        &hits,
        &Some("'word7'|'thing700'"),
        &50_i64,
        &exclude,
    ];
    let text = plan(&db, NEAR, &binds).await;
    assert!(
        text.contains("nova_vectors_embedding_idx") && text.contains("nova_vectors_context_embedding_idx"),
        "{text}"
    );
    assert!(text.contains("Bitmap Index Scan") && text.contains("content_tsv"), "{text}");
    assert!(!text.contains("Seq Scan on nova") && !text.contains("spark"), "{text}");
    let text = plan(&db, NEAR_EXACT, &binds).await;
    assert!(!text.contains("nova_vectors_embedding_idx"), "{text}");
}
