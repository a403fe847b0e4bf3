//! Measures the search for memories on a throwaway cluster: `search-at-scale [ROWS] [SEARCHES]`, 100,000 rows unless told.
//! Texts follow a steep word frequency and vectors come in clusters, as real ones do. Prints latency percentiles, recall@10
//! against the exact search, and latencies of the search over as many messages.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measuring program says what it finds or why it cannot"
)]

use std::time::{Duration, Instant};

use greenroom_embedder::{DIMENSION, Embedder, Vector};
use greenroom_kit::{Board, Supervisor};
use greenroom_memory::{
    Memory, MemoryMethod, MemorySearch, MemorySettings, MessageSearch, NamespaceName, RecallSettings,
    RetrievalSettings, SearchMode,
};
use greenroom_protocol::BotSlug;
use greenroom_store::testing::{TestDatabase, database_with};
use uuid::Uuid;

/// Enough for anything that has to be waited for.
const PATIENCE: Duration = Duration::from_secs(600);
/// Words in the language.
const WORDS: u64 = 20_000;
/// Topics.
const CLUSTERS: u64 = 2_000;

/// A small generator of numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal.
    fn bell(&mut self) -> f32 {
        ((0..4).map(|_| self.share()).sum::<f64>() - 2.0) as f32
    }

    /// A word; the n-th is about n times rarer than the first.
    fn word(&mut self) -> u64 {
        ((WORDS as f64).powf(self.share()) - 1.0) as u64
    }

    fn text(&mut self, words: usize) -> String {
        (0..words).map(|_| format!("w{}x", self.word())).collect::<Vec<_>>().join(" ")
    }

    fn near(&mut self, centre: &[f32], spread: f32) -> Vec<f32> {
        centre.iter().map(|x| x + spread * self.bell()).collect()
    }
}

fn centre(cluster: u64) -> Vec<f32> {
    let mut dice = Dice(cluster.wrapping_mul(7_919));
    (0..DIMENSION).map(|_| dice.bell()).collect()
}

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let (rows, searches) = (numbers.next().unwrap_or(100_000), numbers.next().unwrap_or(500));
    let patient = Duration::from_secs(900);
    let database = database_with(|settings| settings.statement_timeout = patient).await;
    let (root, _join) = Supervisor::root(Board::default()).await.expect("root");
    let group = root.group("memory").await.expect("group");
    let name = NamespaceName::from_profile("nova").expect("a name");
    let bot = BotSlug::parse("nova").expect("a slug");
    let room = |group: Supervisor, exact_rows| {
        let recall = RecallSettings { exact_rows, ..RecallSettings::default() };
        Memory::new(
            group,
            database.store.clone(),
            Embedder::test_hash(),
            MemorySettings { recall, ..MemorySettings::default() },
        )
    };
    let memory = room(group.clone(), RecallSettings::default().exact_rows);
    let nova = memory.namespace(&bot, &name);
    nova.open().await.expect("opened");
    fill(&database, rows).await;
    let begun = Instant::now();
    assert!(nova.warm_up(PATIENCE).await);
    println!("indexes loaded in {:.1} s: {:?}", begun.elapsed().as_secs_f64(), nova.index_status());

    let exact = room(root.group("exact").await.expect("group"), i64::MAX);
    let exactly = exact.namespace(&bot, &name);
    assert!(exactly.warm_up(PATIENCE).await);
    let mut dice = Dice(42);
    let mut times = Vec::new();
    let mut found = 0;
    let mut wanted = 0;
    for n in 0..searches {
        let cluster = dice.next() % CLUSTERS;
        let vector = Vector::new(dice.near(&centre(cluster), 0.7)).expect("a vector");
        let settings = RetrievalSettings { diversity: n % 2 == 0, ..RetrievalSettings::default() };
        let search =
            MemorySearch { vector: Some(vector), settings, count_access: false, ..MemorySearch::new(dice.text(6)) };
        let begun = Instant::now();
        let hits = nova.search_memories(search.clone()).await.expect("found");
        if n >= 20 {
            times.push(begun.elapsed());
        }
        if n % 5 == 0 {
            let truth = exactly.search_memories(search).await.expect("found");
            let truth: Vec<Uuid> = truth.hits.iter().map(|hit| hit.memory.id).collect();
            wanted += truth.len();
            found += hits.hits.iter().filter(|hit| truth.contains(&hit.memory.id)).count();
        }
        if n == 0 {
            println!("legs: {:?}", hits.legs);
        }
    }
    report("memories, hybrid", &mut times);
    for method in [MemoryMethod::Embedding, MemoryMethod::Text] {
        let mut times = Vec::new();
        for n in 0..searches {
            let vector = Some(Vector::new(dice.near(&centre(n as u64 % CLUSTERS), 0.7)).expect("a vector"));
            let search = MemorySearch { vector, method, count_access: false, ..MemorySearch::new(dice.text(6)) };
            let begun = Instant::now();
            nova.search_memories(search).await.expect("found");
            if n >= 20 {
                times.push(begun.elapsed());
            }
        }
        report(&format!("memories, {method:?}"), &mut times);
    }
    println!("recall@10 against the exact hybrid search: {:.4}", found as f64 / wanted as f64);

    for mode in [SearchMode::Text, SearchMode::Vector, SearchMode::Hybrid] {
        let mut times = Vec::new();
        for n in 0..searches {
            let vector = Some(Vector::new(dice.near(&centre(n as u64 % CLUSTERS), 0.7)).expect("a vector"));
            let search = MessageSearch { limit: 10, vector, mode, ..MessageSearch::new(dice.text(6)) };
            let begun = Instant::now();
            nova.search_messages(search).await.expect("found");
            if n >= 20 {
                times.push(begun.elapsed());
            }
        }
        report(&format!("messages, {mode:?}"), &mut times);
    }
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{what}: p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms, worst {:.2} ms", at(0.5), at(0.95), at(0.99), at(1.0));
}

/// Fills both tables; the vector index is made afterwards, as a restore would.
async fn fill(database: &TestDatabase, rows: usize) {
    const PUT: &str = "
        INSERT INTO memories (bot_id, id, content, tags, importance, embedding, embedding_model, created_at)
        SELECT 'nova', id, content, ARRAY[tag], importance, embedding, 'test-hash/384', now() - days * interval '1 day'
          FROM unnest($1::uuid[], $2::text[], $3::text[], $4::real[], $5::vector[], $6::float8[])
            AS m(id, content, tag, importance, embedding, days)
        ON CONFLICT DO NOTHING";
    const SAY: &str = "
        INSERT INTO messages (bot_id, id, role, content, ts, user_id)
        SELECT 'nova', id, 'user', content, now() - n * interval '1 minute', 'ann'
          FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS m(id, content, n)
        ON CONFLICT DO NOTHING";
    const EMBED: &str = "
        INSERT INTO message_vectors (bot_id, message_id, model, embedding, context_embedding, ts)
        SELECT 'nova', id, 'test-hash/384', embedding, embedding, now()
          FROM unnest($1::uuid[], $2::vector[]) AS m(id, embedding)";
    let begun = Instant::now();
    let db = database.store.connection().await.expect("connection");
    db.batch_execute(
        "DROP INDEX memories_nearest; DROP INDEX memories_nearest_meaning;
         DROP INDEX message_vectors_nearest; DROP INDEX message_vectors_nearest_context",
    )
    .await
    .expect("dropped");
    let mut dice = Dice(1);
    let tags = ["fact", "event", "plan", "preference", "professional", "health", "misc"];
    let mut left = rows;
    while left > 0 {
        let some = left.min(2_000);
        left -= some;
        let ids: Vec<Uuid> = (0..some).map(|_| Uuid::new_v4()).collect();
        let texts: Vec<String> = (0..some).map(|_| dice.text(15)).collect();
        let tagged: Vec<&str> = (0..some).map(|_| tags[(dice.next() % 7) as usize]).collect();
        let importance: Vec<f32> = (0..some).map(|_| dice.share() as f32).collect();
        let vectors: Vec<pgvector::Vector> = (0..some)
            .map(|_| {
                let cluster = dice.next() % CLUSTERS;
                let vector = Vector::new(dice.near(&centre(cluster), 0.7)).expect("a vector");
                pgvector::Vector::from(vector.as_slice().to_vec())
            })
            .collect();
        let days: Vec<f64> = (0..some).map(|_| dice.share() * 400.0).collect();
        db.execute(PUT, &[&ids, &texts, &tagged, &importance, &vectors, &days]).await.expect("stored");
        db.execute(SAY, &[&ids, &texts]).await.expect("said");
        db.execute(EMBED, &[&ids, &vectors]).await.expect("embedded");
    }
    println!("{rows} rows in {:.1} s", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    db.batch_execute(
        "SET maintenance_work_mem = '512MB';
         CREATE INDEX memories_nearest ON memories USING hnsw (embedding vector_cosine_ops)
             WITH (m = 16, ef_construction = 64) WHERE superseded_by IS NULL;
         CREATE INDEX memories_nearest_meaning ON memories USING hnsw (meaning_embedding vector_cosine_ops)
             WITH (m = 16, ef_construction = 64) WHERE superseded_by IS NULL;
         CREATE INDEX message_vectors_nearest ON message_vectors USING hnsw (embedding halfvec_cosine_ops)
             WITH (m = 16, ef_construction = 64);
         CREATE INDEX message_vectors_nearest_context ON message_vectors USING hnsw (context_embedding halfvec_cosine_ops)
             WITH (m = 16, ef_construction = 64);
         ANALYZE memories; ANALYZE messages; ANALYZE message_vectors",
    )
    .await
    .expect("indexed");
    println!("vector index in {:.1} s", begun.elapsed().as_secs_f64());
}
