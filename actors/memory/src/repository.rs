//! SQL over `messages` and its partitions.

use deadpool_postgres::GenericClient;
use greenroom_protocol::{BotSlug, Role, TurnId, UserId};
use greenroom_store::StoreError;
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::MemoryError;
use crate::message::{NewMessage, StoredMessage};
use crate::namespace::NamespaceName;

/// The messages of all bots; every method names the bot, which selects the partition.
#[derive(Debug, Clone, Copy)]
pub struct MessageRepository;

impl MessageRepository {
    /// Stores messages inside the caller's transaction. A message whose id exists already is overwritten when the role
    /// is the same, so that writing twice is harmless.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_on(db: &impl GenericClient, messages: &[NewMessage]) -> Result<(), StoreError> {
        const SQL: &str = "
            INSERT INTO messages
                   (bot_id, id, role, content, ts, user_id, turn_id, status, metadata, extraction_state)
            SELECT bot_id, id, role, content, ts, user_id, turn_id, status, metadata::jsonb, extraction_state
              FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[],
                          $8::text[], $9::text[], $10::text[])
                AS m(bot_id, id, role, content, ts, user_id, turn_id, status, metadata, extraction_state)
            ON CONFLICT (bot_id, id) DO UPDATE
               SET content = excluded.content, status = excluded.status, metadata = excluded.metadata
             WHERE messages.role = excluded.role";
        if messages.is_empty() {
            return Ok(());
        }
        let column = |f: fn(&NewMessage) -> &str| messages.iter().map(f).collect::<Vec<&str>>();
        let metadata: Vec<Option<String>> =
            messages.iter().map(|message| message.metadata.as_ref().map(ToString::to_string)).collect();
        let statement = db.prepare_cached(SQL).await?;
        db.execute(
            &statement,
            &[
                &column(|m| m.bot.as_str()),
                &messages.iter().map(|m| m.id).collect::<Vec<Uuid>>(),
                &column(|m| m.role.as_str()),
                &column(|m| &m.content),
                &messages.iter().map(|m| m.ts).collect::<Vec<Timestamp>>(),
                &column(|m| m.user.as_str()),
                &column(|m| m.turn.as_str()),
                &column(|m| m.status.as_str()),
                &metadata,
                &column(|m| if m.extract { "pending" } else { "excluded" }),
            ],
        )
        .await?;
        Ok(())
    }

    /// The newest messages of a bot, newest first: at most `limit`, older than `before` (a `(ts, seq)` position), and
    /// only those of `user` when one is given.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn latest_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        user: Option<&UserId>,
        before: Option<(Timestamp, i64)>,
        limit: i64,
    ) -> Result<Vec<StoredMessage>, MemoryError> {
        const OF_ALL: &str = "
            SELECT id, role, content, ts, seq, user_id, turn_id, status, metadata
              FROM messages
             WHERE bot_id = $1 AND (ts, seq) < ($2, $3)
             ORDER BY ts DESC, seq DESC
             LIMIT $4";
        const OF_USER: &str = "
            SELECT id, role, content, ts, seq, user_id, turn_id, status, metadata
              FROM messages
             WHERE bot_id = $1 AND (ts, seq) < ($2, $3) AND user_id = $5
             ORDER BY ts DESC, seq DESC
             LIMIT $4";
        let (ts, seq) = before.unwrap_or((far_future(), i64::MAX));
        let rows = match user {
            None => {
                let statement = db.prepare_cached(OF_ALL).await.map_err(StoreError::from)?;
                db.query(&statement, &[&bot.as_str(), &ts, &seq, &limit]).await
            }
            Some(user) => {
                let statement = db.prepare_cached(OF_USER).await.map_err(StoreError::from)?;
                db.query(&statement, &[&bot.as_str(), &ts, &seq, &limit, &user.as_str()]).await
            }
        };
        rows.map_err(StoreError::from)?.iter().map(stored).collect()
    }

    /// How many messages a bot has. Counts rows, so it is for status pages and not for turns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_on(db: &impl GenericClient, bot: &BotSlug) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT count(*) FROM messages WHERE bot_id = $1";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.query_one(&statement, &[&bot.as_str()]).await?.try_get(0)?)
    }

    /// Creates the bot's partition if it is not there: create, then attach, under an advisory lock. The name has been
    /// made from `[a-z0-9_]` only (see [`NamespaceName`]); the statement that takes it as an identifier is built by the
    /// server itself with `format('%I')`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ensure_partitions(
        db: &mut deadpool_postgres::Client,
        bot: &BotSlug,
        namespace: &NamespaceName,
    ) -> Result<(), StoreError> {
        const PRESENT: &str = "
            SELECT EXISTS (SELECT FROM pg_inherits
                            WHERE inhrelid = to_regclass(quote_ident($1)) AND inhparent = 'messages'::regclass)";
        const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('greenroom namespace', 0))";
        const CREATE: &str = "
            SELECT format('CREATE TABLE %I (LIKE messages INCLUDING ALL EXCLUDING IDENTITY)', $1::text),
                   format('ALTER TABLE messages ATTACH PARTITION %I FOR VALUES IN (%L)', $1::text, $2::text)";
        let table = namespace.messages_table();
        if db.query_one(PRESENT, &[&table]).await?.try_get::<_, bool>(0)? {
            return Ok(());
        }
        let transaction = db.transaction().await?;
        transaction.query_one(LOCK, &[]).await?;
        if !transaction.query_one(PRESENT, &[&table]).await?.try_get::<_, bool>(0)? {
            let statements = transaction.query_one(CREATE, &[&table, &bot.as_str()]).await?;
            transaction.batch_execute(statements.try_get(0)?).await?;
            transaction.batch_execute(statements.try_get(1)?).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Drops the bot's partition inside the caller's transaction. Gives the dropped tables.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn drop_partitions_on(db: &impl GenericClient, bot: &BotSlug) -> Result<Vec<String>, StoreError> {
        const FIND: &str = "
            SELECT c.relname::text, format('DROP TABLE %I', c.relname)
              FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = 'messages'::regclass
               AND pg_get_expr(c.relpartbound, c.oid) = format('FOR VALUES IN (%L)', $1::text)";
        let mut dropped = Vec::new();
        for row in db.query(FIND, &[&bot.as_str()]).await? {
            db.batch_execute(row.try_get(1)?).await?;
            dropped.push(row.try_get(0)?);
        }
        Ok(dropped)
    }
}

/// Later than any message and inside PostgreSQL's range.
fn far_future() -> Timestamp {
    Timestamp::from_second(32_503_680_000).unwrap_or(Timestamp::MAX)
}

fn stored(row: &Row) -> Result<StoredMessage, MemoryError> {
    let get = |error: tokio_postgres::Error| MemoryError::Store(error.into());
    let role: &str = row.try_get("role").map_err(get)?;
    let status: &str = row.try_get("status").map_err(get)?;
    Ok(StoredMessage {
        id: row.try_get("id").map_err(get)?,
        role: Role::parse(role).ok_or(MemoryError::Unreadable("role"))?,
        content: row.try_get("content").map_err(get)?,
        ts: row.try_get("ts").map_err(get)?,
        seq: row.try_get("seq").map_err(get)?,
        user: row.try_get::<_, Option<String>>("user_id").map_err(get)?.map(UserId::from_stored),
        turn: row.try_get::<_, Option<String>>("turn_id").map_err(get)?.map(TurnId::from_stored),
        partial: status == "partial",
        metadata: row.try_get("metadata").map_err(get)?,
    })
}
