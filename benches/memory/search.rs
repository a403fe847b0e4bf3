//! How fast one bot's memories are searched when there are many, and whether the fast way finds what the slow one does.
//!
//! Texts follow a steep word frequency. Vectors are real ones of sentences, mixed in pairs like the texts and pushed
//! about a little, so that rows have neighbours at all distances; questions are embedded for real, before the clock
//! starts. The vector index is built in one go after the rows are there, as a restore would.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_embedder::{DIMENSION, Embedder, Vector};
use greenroom_kit::{Board, Supervisor};
use greenroom_memory::{Memory, MemorySearch, MemorySettings, Namespace, NamespaceName, RecallSettings};
use greenroom_protocol::BotSlug;
use greenroom_store::{Store, StoreSettings};
use greenroom_test_support::load::{Row, Scratch, median, quantile, say};
use uuid::Uuid;

use crate::corpus::Dice;
use crate::model;
use crate::options::Options;
use crate::turns::milliseconds;

/// Milliseconds, at the middle and at the ninety-ninth of a hundred.
const BUDGET: (f64, f64) = (5.0, 10.0);
/// Share of what the exact search finds.
const RECALL_BUDGET: f64 = 0.98;
/// Statements of one search.
const STATEMENTS_BUDGET: f64 = 2.0;
/// Sentences that are really embedded.
const SENTENCES: usize = 3000;
/// Rows of one insert.
const ROWS: usize = 2000;
/// Searches before the clock starts.
const WARM_UP: usize = 50;
/// Searches that are compared with the exact way.
const COMPARED: usize = 100;
/// How long loading and building may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures and gives the lines of the table.
///
/// # Errors
/// When there is no database or no model.
pub async fn measure(options: &Options, scratch: &Scratch) -> anyhow::Result<Vec<Row>> {
    let (tree, _) = Supervisor::root(Board::default()).await?;
    // One connection, so that all statements can be counted on it.
    let settings =
        StoreSettings { pool_size: 1, statement_timeout: PATIENCE, ..StoreSettings::new(scratch.path("search")) };
    let store = Store::start(&tree.group("store").await?, settings).await?;
    let measured = measure_on(options, &tree, &store).await;
    store.close().await;
    tree.shutdown().await;
    measured
}

async fn measure_on(options: &Options, tree: &Supervisor, store: &Store) -> anyhow::Result<Vec<Row>> {
    let embedder = model::start(options, &tree.group("embedder").await?).await?;
    let nova = namespace(tree, store, &embedder, "memory", RecallSettings::default().exact_rows).await?;
    nova.open().await?;
    let rows = options.amount(100_000, 20_000);
    fill(store, &embedder, rows).await?;
    let begun = Instant::now();
    ensure!(nova.warm_up(PATIENCE).await, "the indexes did not get ready");
    let loading = begun.elapsed();
    let bytes = nova.index_status().memories.bytes;

    let searches = searches(&embedder, options.amount(1000, 300)).await?;
    for search in searches.iter().take(WARM_UP) {
        nova.search_memories(search.clone()).await?;
    }
    let (mut times, mut found) = (Vec::with_capacity(searches.len()), Vec::with_capacity(searches.len()));
    let before = statements(store).await?;
    for search in &searches {
        let search = search.clone();
        let begun = Instant::now();
        let hits = nova.search_memories(search).await?;
        times.push(milliseconds(begun.elapsed()));
        if found.is_empty() {
            say(&format!("memory: search: {}", serde_json::to_string(&hits.legs)?));
        }
        found.push(hits.hits.iter().map(|hit| hit.memory.id).collect::<Vec<Uuid>>());
    }
    let statements = (statements(store).await? - before) / searches.len() as f64;
    let (p50, p99) = (median(&times), quantile(&times, 0.99));

    let exact = namespace(tree, store, &embedder, "exact", i64::MAX).await?;
    ensure!(exact.warm_up(PATIENCE).await, "the indexes did not get ready");
    let (mut wanted, mut same, mut slow) = (0.0, 0.0, Vec::new());
    for (search, found) in searches.into_iter().zip(&found).take(COMPARED) {
        let begun = Instant::now();
        let truth = exact.search_memories(search).await?;
        slow.push(milliseconds(begun.elapsed()));
        wanted += truth.hits.len() as f64;
        same += truth.hits.iter().filter(|hit| found.contains(&hit.memory.id)).count() as f64;
    }
    let recall = same / f64::max(wanted, 1.0);
    let row = |name: &str, theirs: String, ours: String, budget: String, kept: bool, figure| Row {
        budget,
        kept: Some(kept),
        figure: Some(figure),
        ..Row::note(name, theirs, ours)
    };
    let exact = format!("{:.1} ms exact", median(&slow));
    let few = statements < STATEMENTS_BUDGET + 0.1;
    Ok(vec![
        Row {
            ratio: format!("{:.3}", p50 / median(&slow).max(f64::EPSILON)),
            ..row(
                &format!("search of {rows} memories, p50"),
                exact,
                format!("{p50:.2} ms"),
                format!("≤ {} ms", BUDGET.0),
                p50 <= BUDGET.0,
                ("search_p50_ms", p50),
            )
        },
        row(
            "search, p99",
            String::new(),
            format!("{p99:.2} ms"),
            format!("≤ {} ms", BUDGET.1),
            p99 <= BUDGET.1,
            ("search_p99_ms", p99),
        ),
        row(
            "search, recall@10 of the exact way",
            String::new(),
            format!("{recall:.4}"),
            format!("≥ {RECALL_BUDGET}"),
            recall >= RECALL_BUDGET,
            ("search_recall", recall),
        ),
        row(
            "search, statements",
            String::new(),
            format!("{statements:.2}"),
            "≤ 2".into(),
            few,
            ("search_statements", statements),
        ),
        Row::note(
            "word index of these memories",
            String::new(),
            format!("{:.1} s to load, {:.0} MiB", loading.as_secs_f64(), bytes as f64 / 1_048_576.0),
        ),
    ])
}

async fn namespace(
    tree: &Supervisor,
    store: &Store,
    embedder: &Embedder,
    group: &'static str,
    exact_rows: i64,
) -> anyhow::Result<Namespace> {
    let recall = RecallSettings { exact_rows, ..RecallSettings::default() };
    let settings = MemorySettings { recall, ..MemorySettings::default() };
    let memory = Memory::new(tree.group(group).await?, store.clone(), embedder.clone(), settings);
    let name = NamespaceName::from_profile("nova").context("a name")?;
    Ok(memory.namespace(&BotSlug::parse("nova")?, &name))
}

/// Statements that connections of this database have run to their end.
async fn statements(store: &Store) -> anyhow::Result<f64> {
    let db = store.connection().await?;
    db.execute("SELECT pg_stat_force_next_flush()", &[]).await?;
    let count = "SELECT xact_commit::float8 FROM pg_stat_database WHERE datname = current_database()";
    Ok(db.query_one(count, &[]).await?.try_get(0)?)
}

/// Questions with their vectors.
async fn searches(embedder: &Embedder, count: usize) -> anyhow::Result<Vec<MemorySearch>> {
    let mut dice = Dice(42);
    let texts: Vec<String> = (0..count)
        .map(|n| match n % 2 {
            0 => dice.question(),
            _ => format!("{} {}", dice.sentence(), dice.words(2)),
        })
        .collect();
    let vectors = model::vectors(embedder, &texts).await?;
    let search = |(text, vector)| MemorySearch { vector: Some(vector), count_access: false, ..MemorySearch::new(text) };
    Ok(texts.into_iter().zip(vectors).map(search).collect())
}

/// A mixture of two vectors with something of its own.
pub fn mixture(one: &Vector, other: &Vector, dice: &mut Dice) -> anyhow::Result<Vector> {
    let mixed = (0..DIMENSION).map(|at| {
        let of = |vector: &Vector| vector.as_slice().get(at).copied().unwrap_or_default();
        // The last term has length 0.3, the mixture about 0.9.
        0.7 * of(one) + 0.5 * of(other) + 0.3 / 0.58 / 19.6 * dice.bell()
    });
    Vector::new(mixed.collect()).context("a vector")
}

async fn fill(store: &Store, embedder: &Embedder, rows: usize) -> anyhow::Result<()> {
    const PUT: &str = "
        INSERT INTO memories (bot_id, id, content, tags, importance, user_id, embedding, embedding_model, created_at)
        SELECT 'nova', id, content, ARRAY[tag], importance, 'ann', embedding, $7, now() - days * interval '1 day'
          FROM unnest($1::uuid[], $2::text[], $3::text[], $4::real[], $5::vector[], $6::float8[])
            AS m(id, content, tag, importance, embedding, days)
        ON CONFLICT DO NOTHING";
    let tags = ["fact", "event", "plan", "preference", "professional", "health", "misc"];
    let begun = Instant::now();
    let mut dice = Dice(1);
    let sentences: Vec<String> = (0..SENTENCES).map(|_| dice.sentence()).collect();
    let vectors = model::vectors(embedder, &sentences).await?;
    let sentences: Vec<(&String, &Vector)> = sentences.iter().zip(&vectors).collect();
    let embedded = begun.elapsed().as_secs_f64();
    let db = store.connection().await?;
    db.batch_execute("DROP INDEX memories_nearest; DROP INDEX memories_nearest_meaning; SET synchronous_commit = off")
        .await?;
    let begun = Instant::now();
    let mut left = rows;
    while left > 0 {
        let some = left.min(ROWS);
        left -= some;
        let (mut texts, mut near) = (Vec::with_capacity(some), Vec::with_capacity(some));
        for _ in 0..some {
            let mut pick = || sentences.get(dice.below(sentences.len())).copied().context("a sentence");
            let ((first, one), (second, other)) = (pick()?, pick()?);
            let own = 3 + dice.below(6);
            texts.push(format!("{first}, {second}; {}", dice.words(own)));
            near.push(pgvector::Vector::from(mixture(one, other, &mut dice)?.as_slice().to_vec()));
        }
        let ids: Vec<Uuid> = (0..some).map(|_| Uuid::new_v4()).collect();
        let tagged: Vec<&str> =
            (0..some).map(|_| tags.get(dice.below(tags.len())).copied().unwrap_or("misc")).collect();
        let importance: Vec<f32> = (0..some).map(|_| dice.share() as f32).collect();
        let days: Vec<f64> = (0..some).map(|_| dice.share() * 400.0).collect();
        db.execute(PUT, &[&ids, &texts, &tagged, &importance, &near, &days, &embedder.model_id()]).await?;
    }
    let stored = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    db.batch_execute(
        "SET maintenance_work_mem = '512MB';
         CREATE INDEX memories_nearest ON memories USING hnsw (embedding vector_cosine_ops)
             WITH (m = 16, ef_construction = 64) WHERE superseded_by IS NULL;
         CREATE INDEX memories_nearest_meaning ON memories USING hnsw (meaning_embedding vector_cosine_ops)
             WITH (m = 16, ef_construction = 64) WHERE superseded_by IS NULL;
         ANALYZE memories; RESET maintenance_work_mem; RESET synchronous_commit",
    )
    .await?;
    say(&format!(
        "memory: {SENTENCES} sentences embedded in {embedded:.1} s, {rows} memories stored in {stored:.1} s, \
         their vector index built in {:.1} s",
        begun.elapsed().as_secs_f64(),
    ));
    Ok(())
}
