//! SQL that fills the lexical indexes: texts in the order of their age, streamed, so that neither many rows nor long ones
//! have to be held at once.

use greenroom_protocol::BotSlug;
use greenroom_store::{Connection, StoreError};
use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, RowStream};
use uuid::Uuid;

use super::far_future;

/// What the indexes read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexRows;

impl IndexRows {
    /// Active memories changed before `before`, latest change first, at most `limit`.
    pub(crate) async fn older_memories(
        db: &Connection,
        bot: &BotSlug,
        before: Option<(Timestamp, Uuid)>,
        limit: i64,
    ) -> Result<RowStream, StoreError> {
        const SQL: &str = "
            SELECT id, content, updated_at, true AS active
              FROM memories
             WHERE bot_id = $1 AND superseded_by IS NULL AND (updated_at, id) < ($2, $3)
             ORDER BY updated_at DESC, id DESC
             LIMIT $4";
        let (at, id) = before.unwrap_or((far_future(), Uuid::max()));
        stream(db, SQL, &[&bot.as_str(), &at, &id, &limit]).await
    }

    /// Memories, superseded ones too, changed after `from`, at most `limit`.
    pub(crate) async fn newer_memories(
        db: &Connection,
        bot: &BotSlug,
        from: Option<(Timestamp, Uuid)>,
        limit: i64,
    ) -> Result<RowStream, StoreError> {
        const SQL: &str = "
            SELECT id, content, updated_at, superseded_by IS NULL AS active
              FROM memories
             WHERE bot_id = $1 AND (updated_at, id) > ($2, $3)
             ORDER BY updated_at, id
             LIMIT $4";
        let (at, id) = from.unwrap_or((Timestamp::UNIX_EPOCH, Uuid::nil()));
        stream(db, SQL, &[&bot.as_str(), &at, &id, &limit]).await
    }

    /// Memories of these ids, superseded ones too.
    pub(crate) async fn memories_by_id(db: &Connection, bot: &BotSlug, ids: &[Uuid]) -> Result<Vec<Row>, StoreError> {
        const SQL: &str = "
            SELECT id, content, updated_at, superseded_by IS NULL AS active
              FROM memories
             WHERE bot_id = $1 AND id = ANY ($2)";
        Ok(db.query(&db.prepare_cached(SQL).await?, &[&bot.as_str(), &ids]).await?)
    }

    /// Messages of these ids.
    pub(crate) async fn messages_by_id(db: &Connection, bot: &BotSlug, ids: &[Uuid]) -> Result<Vec<Row>, StoreError> {
        const SQL: &str = "
            SELECT bot_id, id, ts, seq, session_id, role, user_id, left(content, 500000) AS content
              FROM messages
             WHERE bot_id = $1 AND id = ANY ($2)";
        Ok(db.query(&db.prepare_cached(SQL).await?, &[&bot.as_str(), &ids]).await?)
    }

    /// How many memories are active. Counts rows.
    pub(crate) async fn count_memories(db: &Connection, bot: &BotSlug) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT count(*) FROM memories WHERE bot_id = $1 AND superseded_by IS NULL";
        Ok(db.query_one(&db.prepare_cached(SQL).await?, &[&bot.as_str()]).await?.try_get(0)?)
    }

    /// How many memories are active, counted no further than `most`.
    pub(crate) async fn count_memories_to(db: &Connection, bot: &BotSlug, most: i64) -> Result<i64, StoreError> {
        const SQL: &str = "
            SELECT count(*)
              FROM (SELECT FROM memories WHERE bot_id = $1 AND superseded_by IS NULL LIMIT $2) AS counted";
        Ok(db.query_one(&db.prepare_cached(SQL).await?, &[&bot.as_str(), &most]).await?.try_get(0)?)
    }

    /// Messages of people and models before `before`, newest first, at most `limit`.
    pub(crate) async fn older_messages(
        db: &Connection,
        bot: &BotSlug,
        before: Option<(Timestamp, i64)>,
        limit: i64,
    ) -> Result<RowStream, StoreError> {
        const SQL: &str = "
            SELECT bot_id, id, ts, seq, session_id, role, user_id, left(content, 500000) AS content
              FROM messages
             WHERE bot_id = $1 AND (ts, seq) < ($2, $3) AND role IN ('user', 'assistant')
             ORDER BY ts DESC, seq DESC
             LIMIT $4";
        let (ts, seq) = before.unwrap_or((far_future(), i64::MAX));
        stream(db, SQL, &[&bot.as_str(), &ts, &seq, &limit]).await
    }

    /// Messages of people and models after `from`, at most `limit`.
    pub(crate) async fn newer_messages(
        db: &Connection,
        bot: &BotSlug,
        from: Option<(Timestamp, i64)>,
        limit: i64,
    ) -> Result<RowStream, StoreError> {
        const SQL: &str = "
            SELECT bot_id, id, ts, seq, session_id, role, user_id, left(content, 500000) AS content
              FROM messages
             WHERE bot_id = $1 AND (ts, seq) > ($2, $3) AND role IN ('user', 'assistant')
             ORDER BY ts, seq
             LIMIT $4";
        let (ts, seq) = from.unwrap_or((Timestamp::UNIX_EPOCH, 0));
        stream(db, SQL, &[&bot.as_str(), &ts, &seq, &limit]).await
    }

    /// How many messages people and models wrote. Counts rows.
    pub(crate) async fn count_messages(db: &Connection, bot: &BotSlug) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT count(*) FROM messages WHERE bot_id = $1 AND role IN ('user', 'assistant')";
        Ok(db.query_one(&db.prepare_cached(SQL).await?, &[&bot.as_str()]).await?.try_get(0)?)
    }
}

async fn stream(db: &Connection, sql: &str, binds: &[&(dyn ToSql + Sync)]) -> Result<RowStream, StoreError> {
    let statement = db.prepare_cached(sql).await?;
    Ok(db.query_raw(&statement, binds.iter().copied()).await?)
}
