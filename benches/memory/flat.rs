//! Whether a turn costs the same over a long past as over a short one: one server, two bots that differ in the number of
//! their messages alone. The pasts are put into the tables directly, for time's sake, and the newest messages of the long
//! one have vectors; building the vector index of all would take longer than everything else here together.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, ensure};
use greenroom_embedder::{Embedder, Vector};
use greenroom_kit::{Board, Supervisor};
use greenroom_store::{Connection, Store, StoreSettings};
use greenroom_test_support::load::{Part, Row, Scratch, mebibytes, memory_of, say};
use jiff::Timestamp;
use uuid::Uuid;

use crate::corpus::{Dice, conversation, memories};
use crate::house::{House, Plot, WINDOW};
use crate::model;
use crate::options::Options;
use crate::search::mixture;
use crate::turns::{self, Asked};

/// A turn's own time over the long past in terms of that over the short one.
const BUDGET: f64 = 1.3;
/// Messages of the short past.
const SHORT: usize = 1000;
/// Memories of either bot.
const MEMORIES: usize = 200;
/// Rows of one insert.
const ROWS: usize = 5000;
/// Sentences whose vectors are mixed.
const SENTENCES: usize = 500;
/// Turns of a block on each side.
const PER_BLOCK: usize = 25;

const YOUNG: Asked = Asked { bot: "young", model: "scripted", user: "ann" };
const OLD: Asked = Asked { bot: "old", model: "scripted", user: "ann" };

/// Measures and gives the lines of the table.
///
/// # Errors
/// When there is no model or no server, or an answer is wrong.
pub async fn measure(options: &Options, scratch: &Scratch) -> anyhow::Result<Vec<Row>> {
    let long = options.amount(1_000_000, 100_000);
    let (upstream_part, upstream) = Part::upstream().await?;
    settle(options, scratch).await?;
    let loading = load(options, scratch, long).await?;
    say(&format!("memory: {long} messages in {loading:.1} s"));
    let house = House::open(options, scratch, Plot { name: "flat", embedder: true }).await?;
    let rows = ask(options, &house, upstream, long).await;
    house.close().await?;
    upstream_part.stop().await?;
    rows
}

/// Makes the bots and what else goes in by the front door.
async fn settle(options: &Options, scratch: &Scratch) -> anyhow::Result<()> {
    let house = House::open(options, scratch, Plot { name: "flat", embedder: false }).await?;
    let now = Timestamp::now().as_second();
    for bot in [YOUNG.bot, OLD.bot] {
        let mut dice = Dice(9);
        house.create_bot(bot).await?;
        // The last words are the same and so recent that both sessions are still open.
        house.import(&conversation(bot, 4, now, &mut dice)).await?;
        house.import(&memories(bot, MEMORIES, &mut dice)).await?;
    }
    house.close().await
}

async fn ask(options: &Options, house: &House, upstream: SocketAddr, long: usize) -> anyhow::Result<Vec<Row>> {
    house.define_model("scripted", upstream, WINDOW).await?;
    house.indexed(YOUNG.bot).await?;
    house.embedded(YOUNG.bot).await?;
    let before = memory_of(house.pid()).resident as f64;
    let loading = house.indexed(OLD.bot).await?.as_secs_f64();
    house.embedded(OLD.bot).await?;
    let stats = house.stats(OLD.bot).await?;
    let indexed = stats["index"]["messages"]["rows"].as_u64().unwrap_or_default();
    ensure!(indexed >= long as u64, "only {indexed} messages are indexed");
    let resident = memory_of(house.pid()).resident as f64;
    let amount = (options.amount(options.rounds, 2), PER_BLOCK);
    let times = turns::ask(house, upstream, &[YOUNG, OLD], amount).await?;
    let upstream_alone = times.middle(2);
    let own = |of: usize| times.middle(of) - upstream_alone;
    let (young, old) = (own(0), own(1));
    let ratio = old / young.max(f64::EPSILON);
    let index = stats["index"]["messages"]["bytes"].as_f64().unwrap_or_default();
    Ok(vec![
        Row {
            ratio: format!("{ratio:.2}"),
            budget: format!("≤ {BUDGET}"),
            kept: Some(ratio <= BUDGET),
            figure: Some(("flat_ratio", ratio)),
            ..Row::note(
                &format!("a turn's own time, {SHORT} and {long} messages"),
                format!("{young:.2} ms"),
                format!("{old:.2} ms"),
            )
        },
        Row::note("loading the word index of these", String::new(), format!("{loading:.1} s")),
        Row::note(
            "resident memory before and with it",
            mebibytes(before),
            format!("{}, index {}", mebibytes(resident), mebibytes(index)),
        ),
    ])
}

/// Before the rows are put in: vector indexes are built afterwards, as a restore would.
const BARE: &str = "DROP INDEX message_vectors_nearest; DROP INDEX message_vectors_nearest_context;
    SET synchronous_commit = off";
/// When the rows are there.
const INDEXED: &str = "SET maintenance_work_mem = '512MB';
    CREATE INDEX message_vectors_nearest ON message_vectors USING hnsw (embedding halfvec_cosine_ops)
        WITH (m = 16, ef_construction = 64);
    CREATE INDEX message_vectors_nearest_context ON message_vectors USING hnsw (context_embedding halfvec_cosine_ops)
        WITH (m = 16, ef_construction = 64);
    RESET maintenance_work_mem;
    ANALYZE messages; ANALYZE message_vectors; ANALYZE memories";

/// Puts both pasts into the tables, with the server stopped; the seconds it took.
async fn load(options: &Options, scratch: &Scratch, long: usize) -> anyhow::Result<f64> {
    let (tree, _) = Supervisor::root(Board::default()).await?;
    let plot = Plot { name: "flat", embedder: false };
    let settings = StoreSettings {
        statement_timeout: std::time::Duration::from_secs(600),
        ..StoreSettings::new(plot.data_dir(scratch))
    };
    let store = Store::start(&tree.group("store").await?, settings).await?;
    let loaded = async {
        let embedder = model::start(options, &tree.group("embedder").await?).await?;
        let begun = Instant::now();
        let mut dice = Dice(13);
        let sentences: Vec<String> = (0..SENTENCES).map(|_| dice.sentence()).collect();
        let vectors = model::vectors(&embedder, &sentences).await?;
        let db = store.connection().await?;
        db.batch_execute(BARE).await?;
        put(&db, YOUNG.bot, SHORT, SHORT, &embedder, &vectors).await?;
        put(&db, OLD.bot, long, options.vectors, &embedder, &vectors).await?;
        db.batch_execute(INDEXED).await?;
        Ok(begun.elapsed().as_secs_f64())
    }
    .await;
    store.close().await;
    tree.shutdown().await;
    loaded
}

/// Messages a minute apart, up to an hour ago, oldest first, sessions of an hour; the newest have vectors.
async fn put(
    db: &Connection,
    bot: &str,
    messages: usize,
    embedded: usize,
    embedder: &Embedder,
    vectors: &[Vector],
) -> anyhow::Result<()> {
    const SAY: &str = "
        INSERT INTO messages (bot_id, id, role, content, ts, user_id, session_id, extraction_state)
        SELECT $1, id, role, content, ts, 'ann', session_id, 'excluded'
          FROM unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::uuid[])
            AS m(id, role, content, ts, session_id)";
    const EMBED: &str = "
        INSERT INTO message_vectors (bot_id, message_id, model, embedding, context_embedding, ts)
        SELECT $1, id, $2, own::halfvec(384), context::halfvec(384), ts
          FROM unnest($3::uuid[], $4::vector[], $5::vector[], $6::timestamptz[]) AS v(id, own, context, ts)";
    let end = Timestamp::now().as_second() - 3600;
    let mut dice = Dice(17);
    let mut session = Uuid::new_v4();
    for from in (0..messages).step_by(ROWS) {
        let places = from..messages.min(from + ROWS);
        let (mut sessions, mut times) = (Vec::new(), Vec::new());
        for place in places.clone() {
            if place % 60 == 0 {
                session = Uuid::new_v4();
            }
            sessions.push(session);
            times.push(Timestamp::from_second(end - 60 * (messages - place) as i64)?);
        }
        let ids: Vec<Uuid> = places.clone().map(|_| Uuid::new_v4()).collect();
        let roles: Vec<&str> = places.clone().map(|place| ["user", "assistant"][place % 2]).collect();
        let texts: Vec<String> = places.clone().map(|_| dice.remark()).collect();
        db.execute(SAY, &[&bot, &ids, &roles, &texts, &times, &sessions]).await?;
        let skipped = places.clone().filter(|place| place + embedded < messages).count();
        let count = places.len() - skipped;
        if count == 0 {
            continue;
        }
        let mut vector = || {
            let mut pick = || vectors.get(dice.below(vectors.len())).context("a vector");
            let (one, other) = (pick()?, pick()?);
            anyhow::Ok(pgvector::Vector::from(mixture(one, other, &mut dice)?.as_slice().to_vec()))
        };
        let own = (0..count).map(|_| vector()).collect::<anyhow::Result<Vec<_>>>()?;
        let context = (0..count).map(|_| vector()).collect::<anyhow::Result<Vec<_>>>()?;
        let (ids, times) = (ids.get(skipped..).unwrap_or_default(), times.get(skipped..).unwrap_or_default());
        db.execute(EMBED, &[&bot, &embedder.model_id(), &ids, &own, &context, &times]).await?;
    }
    Ok(())
}
