//! The per-bot tables: made when a namespace first opens, dropped when its bot is purged.
//!
//! Each table is made and attached in a transaction of its own, because attaching locks the table that its foreign key
//! points to: one such lock at a time cannot close a circle with writers.

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use greenroom_store::StoreError;

use crate::namespace::NamespaceName;

pub(crate) struct Partitions;

/// Parents and the endings of their partitions; what is pointed to comes before what points.
const TABLES: [(&str, &str); 5] = [
    ("summaries", "summaries"),
    ("messages", "messages"),
    ("message_vectors", "vectors"),
    ("memories", "memories"),
    ("forgotten", "forgotten"),
];

impl Partitions {
    /// Creates those of the bot's partitions that are not there: create, then attach, under an advisory lock. Names are
    /// made from `[a-z0-9_]` only (see [`NamespaceName`]); the statements that take them as identifiers are built by the
    /// server itself with `format('%I')`.
    pub(crate) async fn ensure(
        db: &mut deadpool_postgres::Client,
        bot: &BotSlug,
        namespace: &NamespaceName,
    ) -> Result<(), StoreError> {
        const MISSING: &str = "
            SELECT w.parent, w.partition
              FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w(parent, partition, n)
             WHERE NOT EXISTS (SELECT FROM pg_inherits
                                WHERE inhrelid = to_regclass(quote_ident(w.partition))
                                  AND inhparent = to_regclass(quote_ident(w.parent)))
             ORDER BY w.n";
        const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('greenroom namespace', 0))";
        const CREATE: &str = "
            SELECT format('CREATE TABLE %I (LIKE %I INCLUDING ALL EXCLUDING IDENTITY) WITH (fillfactor = %s)',
                          $2::text, $1::text, CASE $1 WHEN 'memories' THEN 85 ELSE 100 END),
                   format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES IN (%L)', $1::text, $2::text, $3::text)";
        let parents: Vec<&str> = TABLES.iter().map(|(parent, _)| *parent).collect();
        let partitions: Vec<String> =
            TABLES.iter().map(|(_, ending)| format!("{}_{ending}", namespace.as_str())).collect();
        let missing = db.prepare_cached(MISSING).await?;
        for row in db.query(&missing, &[&parents, &partitions]).await? {
            let (parent, partition): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let transaction = db.transaction().await?;
            transaction.query_one(LOCK, &[]).await?;
            if !transaction.query(&missing, &[&vec![&parent], &vec![&partition]]).await?.is_empty() {
                let statements = transaction.query_one(CREATE, &[&parent, &partition, &bot.as_str()]).await?;
                transaction.batch_execute(statements.try_get(0)?).await?;
                transaction.batch_execute(statements.try_get(1)?).await?;
            }
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Drops the bot's partitions inside the caller's transaction. Gives the dropped tables.
    ///
    /// A partition that others point to cannot be dropped in place; it is emptied of what points to it, detached (which
    /// checks that), and dropped.
    pub(crate) async fn drop_on(db: &impl GenericClient, bot: &BotSlug) -> Result<Vec<String>, StoreError> {
        // The order in which writers take them, all at once; as a block, so that it is no error outside a transaction.
        const LOCK: &str = "
            DO $$ BEGIN
                LOCK TABLE summaries, messages, message_vectors, memories, forgotten IN ACCESS EXCLUSIVE MODE;
            END $$";
        const UNCHAIN: &str = "DELETE FROM memories WHERE bot_id = $1 AND superseded_by IS NOT NULL";
        const ROLLED_UP: &str = "UPDATE summaries SET parent_id = NULL WHERE bot_id = $1 AND parent_id IS NOT NULL";
        const FIND: &str = "
            SELECT c.relname::text, format('ALTER TABLE %I DETACH PARTITION %I', p.relname, c.relname),
                   format('DROP TABLE %I', c.relname)
              FROM unnest($2::text[]) WITH ORDINALITY AS w(parent, n)
              JOIN pg_class p ON p.oid = to_regclass(quote_ident(w.parent))
              JOIN pg_inherits i ON i.inhparent = p.oid
              JOIN pg_class c ON c.oid = i.inhrelid
             WHERE pg_get_expr(c.relpartbound, c.oid) = format('FOR VALUES IN (%L)', $1::text)
             ORDER BY w.n";
        const ORDER: [&str; 5] = ["message_vectors", "messages", "summaries", "memories", "forgotten"];
        let order: Vec<&str> = ORDER.into();
        if db.query(FIND, &[&bot.as_str(), &order]).await?.is_empty() {
            return Ok(Vec::new());
        }
        db.batch_execute(LOCK).await?;
        db.execute(UNCHAIN, &[&bot.as_str()]).await?;
        db.execute(ROLLED_UP, &[&bot.as_str()]).await?;
        let mut dropped = Vec::new();
        for row in db.query(FIND, &[&bot.as_str(), &order]).await? {
            db.batch_execute(row.try_get(1)?).await?;
            db.batch_execute(row.try_get(2)?).await?;
            dropped.push(row.try_get(0)?);
        }
        dropped.sort();
        Ok(dropped)
    }

    /// Removes the bot's rows from tables that all bots share. Gives tables and counts.
    pub(crate) async fn purge_shared_on(
        db: &impl GenericClient,
        bot: &BotSlug,
    ) -> Result<Vec<(&'static str, u64)>, StoreError> {
        const QUEUE: &str = "DELETE FROM message_embedding_queue WHERE bot_id = $1";
        let queue = db.execute(QUEUE, &[&bot.as_str()]).await?;
        let sessions = super::SessionRepository::purge_on(db, bot).await?;
        let upkeep = super::UpkeepRepository::purge_on(db, bot).await?.unsigned_abs();
        Ok(vec![("message_embedding_queue", queue), ("sessions", sessions), ("extraction_log", upkeep)])
    }
}
