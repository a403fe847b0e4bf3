//! SQL of the search over raw messages: the nearest of two kinds of vectors, PostgreSQL's full text for when there is no
//! index in memory, and fetching what won. Tombstones are in another table and can never be found.

use greenroom_protocol::{BotSlug, Role, UserId};
use greenroom_store::Connection;
use jiff::Timestamp;
use pgvector::HalfVector;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::stored;
use crate::MemoryError;
use crate::message::StoredMessage;

/// Which messages count.
#[derive(Debug, Clone, Default)]
pub(crate) struct EpisodeFilter {
    pub(crate) user: Option<UserId>,
    pub(crate) role: Option<Role>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    pub(crate) exclude: Vec<Uuid>,
}

impl EpisodeFilter {
    fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|user| user.as_str())
    }

    fn role(&self) -> Option<&'static str> {
        self.role.map(Role::as_str)
    }
}

/// What a search asks the database for.
#[derive(Debug, Clone, Default)]
pub(crate) struct EpisodeQuery {
    /// The question's vector, of the columns' type, since a cast would be made anew for every row; `None` leaves the
    /// nearest out.
    pub(crate) vector: Option<HalfVector>,
    /// Only rows of this model are compared.
    pub(crate) model: String,
    /// How many of the nearest of each kind.
    pub(crate) nearest: i64,
    /// Look at every row instead of the vector indexes.
    pub(crate) exact: bool,
    /// Hits of the index in memory.
    pub(crate) hits: Vec<Uuid>,
    /// Words for PostgreSQL's own full text, in the syntax of `to_tsquery`; `None` leaves it out.
    pub(crate) words: Option<String>,
    /// How many of those.
    pub(crate) worded: i64,
}

/// A candidate with its cosines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Near {
    pub(crate) id: Uuid,
    /// What PostgreSQL's full text gives it, if that leg found it.
    pub(crate) words: Option<f32>,
    /// Cosine to the message alone.
    pub(crate) own: Option<f64>,
    /// Cosine to the message among its neighbours.
    pub(crate) context: Option<f64>,
}

/// Reads of the search over messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EpisodeRepository;

impl EpisodeRepository {
    /// All candidates with their cosines. One statement; it fetches no text.
    pub(crate) async fn near(
        db: &Connection,
        bot: &BotSlug,
        query: &EpisodeQuery,
        filter: &EpisodeFilter,
    ) -> Result<Vec<Near>, MemoryError> {
        let statement = db.prepare_cached(if query.exact { NEAR_EXACT } else { NEAR }).await?;
        let binds: [&(dyn ToSql + Sync); 12] = [
            &bot.as_str(),
            &query.vector,
            &query.model,
            &query.nearest,
            &filter.since,
            &filter.until,
            &filter.user(),
            &filter.role(),
            &query.hits,
            &query.words,
            &query.worded,
            &filter.exclude,
        ];
        let rows = db.query(&statement, &binds).await?;
        let near = |row: &tokio_postgres::Row| {
            Ok(Near {
                id: row.try_get("id")?,
                words: row.try_get("words")?,
                own: row.try_get("own")?,
                context: row.try_get("context")?,
            })
        };
        rows.iter().map(near).collect()
    }

    /// The messages of these ids that are still there and pass the filter, in no order.
    pub(crate) async fn fetch(
        db: &Connection,
        bot: &BotSlug,
        ids: &[Uuid],
        filter: &EpisodeFilter,
    ) -> Result<Vec<StoredMessage>, MemoryError> {
        const SQL: &str = "
            SELECT id, role, content, ts, seq, user_id, turn_id, status, metadata, session_id, summary_id, recalled_at,
                   extraction_state, created_at
              FROM messages
             WHERE bot_id = $1 AND id = ANY ($2)
               AND ($3::text IS NULL OR user_id = $3) AND ($4::text IS NULL OR role = $4)
               AND ($5::timestamptz IS NULL OR ts >= $5) AND ($6::timestamptz IS NULL OR ts < $6)
               AND id <> ALL ($7)";
        let statement = db.prepare_cached(SQL).await?;
        let binds: [&(dyn ToSql + Sync); 7] =
            [&bot.as_str(), &ids, &filter.user(), &filter.role(), &filter.since, &filter.until, &filter.exclude];
        db.query(&statement, &binds).await?.iter().map(stored).collect()
    }

    /// The newest messages that contain a text as it stands, newest first; looks at the newest `depth` only. `pattern` is
    /// escaped for `ILIKE`.
    pub(crate) async fn containing(
        db: &Connection,
        bot: &BotSlug,
        pattern: &str,
        filter: &EpisodeFilter,
        depth: i64,
        limit: i64,
    ) -> Result<Vec<StoredMessage>, MemoryError> {
        const SQL: &str = r"
            SELECT id, role, content, ts, seq, user_id, turn_id, status, metadata, session_id, summary_id, recalled_at,
                   extraction_state, created_at
              FROM (SELECT *
                      FROM messages
                     WHERE bot_id = $1 AND role IN ('user', 'assistant')
                       AND ($3::text IS NULL OR user_id = $3) AND ($4::text IS NULL OR role = $4)
                       AND ts >= coalesce($5, '-infinity'::timestamptz) AND ts < coalesce($6, 'infinity'::timestamptz)
                       AND id <> ALL ($7)
                     ORDER BY ts DESC, seq DESC
                     LIMIT $8) AS newest
             WHERE content ILIKE $2 ESCAPE '\'
             ORDER BY ts DESC, seq DESC
             LIMIT $9";
        let statement = db.prepare_cached(SQL).await?;
        let binds: [&(dyn ToSql + Sync); 9] = [
            &bot.as_str(),
            &pattern,
            &filter.user(),
            &filter.role(),
            &filter.since,
            &filter.until,
            &filter.exclude,
            &depth,
            &limit,
        ];
        db.query(&statement, &binds).await?.iter().map(stored).collect()
    }

    /// Messages and summaries of several bots by their words, best first: id, whose, what full text gives it. One
    /// statement; at most `each` messages and as many summaries per bot.
    pub(crate) async fn words_everywhere(
        db: &Connection,
        bots: &[BotSlug],
        words: &str,
        filter: &EpisodeFilter,
        each: i64,
        limit: i64,
    ) -> Result<Vec<SaidSomewhere>, MemoryError> {
        const SQL: &str = "
            SELECT found.*
              FROM unnest($1::text[]) AS b(bot)
             CROSS JOIN LATERAL (
                   (SELECT m.bot_id, m.id, m.role, m.content, m.ts, m.seq, m.user_id, m.turn_id, m.status, m.metadata,
                           m.session_id, m.summary_id, m.recalled_at, m.extraction_state, m.created_at,
                           false AS is_summary, ts_rank_cd(m.content_tsv, to_tsquery('english', $2), 32) AS words
                      FROM messages m
                     WHERE m.bot_id = b.bot AND m.content_tsv @@ to_tsquery('english', $2) AND m.role <> 'system'
                       AND ($3::text IS NULL OR m.user_id = $3) AND ($4::text IS NULL OR m.role = $4)
                       AND ($5::timestamptz IS NULL OR m.ts >= $5) AND ($6::timestamptz IS NULL OR m.ts < $6)
                       AND m.id <> ALL ($7)
                     ORDER BY words DESC, m.ts DESC, m.seq DESC
                     LIMIT $8)
                    UNION ALL
                   (SELECT s.bot_id, s.id, 'assistant', s.content, upper(s.period), 0, s.user_id, NULL, 'complete', NULL,
                           s.session_id, NULL, NULL, 'excluded', s.created_at,
                           true, ts_rank_cd(to_tsvector('english', s.content), to_tsquery('english', $2), 32) AS words
                      FROM summaries s
                     WHERE s.bot_id = b.bot AND s.state = 'active'
                       AND to_tsvector('english', s.content) @@ to_tsquery('english', $2)
                       AND ($3::text IS NULL OR s.user_id = $3) AND $4::text IS NULL
                       AND ($5::timestamptz IS NULL OR upper(s.period) >= $5)
                       AND ($6::timestamptz IS NULL OR lower(s.period) < $6)
                       AND s.id <> ALL ($7)
                     ORDER BY words DESC, upper(s.period) DESC
                     LIMIT $8)) AS found
             ORDER BY found.words DESC, found.ts DESC, found.id
             LIMIT $9";
        let statement = db.prepare_cached(SQL).await?;
        let bots: Vec<&str> = bots.iter().map(|bot| bot.as_str()).collect();
        let binds: [&(dyn ToSql + Sync); 9] = [
            &bots,
            &words,
            &filter.user(),
            &filter.role(),
            &filter.since,
            &filter.until,
            &filter.exclude,
            &each,
            &limit,
        ];
        let rows = db.query(&statement, &binds).await?;
        let said = |row: &tokio_postgres::Row| {
            Ok(SaidSomewhere {
                bot: BotSlug::from_stored(row.try_get::<_, String>("bot_id")?),
                message: stored(row)?,
                is_summary: row.try_get("is_summary")?,
                words: row.try_get("words")?,
            })
        };
        rows.iter().map(said).collect()
    }
}

/// A message, or a summary in the shape of one, of some bot.
#[derive(Debug, Clone)]
pub(crate) struct SaidSomewhere {
    pub(crate) bot: BotSlug,
    pub(crate) message: StoredMessage,
    pub(crate) is_summary: bool,
    pub(crate) words: f32,
}

/// The two statements differ only in what the nearest are ordered by; see the search for memories.
macro_rules! near {
    ($own:literal, $context:literal) => {
        concat!(
            "
    WITH own AS MATERIALIZED (
        SELECT v.message_id AS id
          FROM message_vectors v
         WHERE $2::halfvec IS NOT NULL AND v.bot_id = $1 AND v.model = $3
           AND ($5::timestamptz IS NULL OR v.ts >= $5) AND ($6::timestamptz IS NULL OR v.ts < $6)
           AND (($7::text IS NULL AND $8::text IS NULL)
                OR EXISTS (SELECT FROM messages m
                            WHERE m.bot_id = $1 AND m.id = v.message_id
                              AND ($7::text IS NULL OR m.user_id = $7) AND ($8::text IS NULL OR m.role = $8)))
         ORDER BY ",
            $own,
            "
         LIMIT $4
    ), context AS MATERIALIZED (
        SELECT v.message_id AS id
          FROM message_vectors v
         WHERE $2::halfvec IS NOT NULL AND v.bot_id = $1 AND v.model = $3
           AND ($5::timestamptz IS NULL OR v.ts >= $5) AND ($6::timestamptz IS NULL OR v.ts < $6)
           AND (($7::text IS NULL AND $8::text IS NULL)
                OR EXISTS (SELECT FROM messages m
                            WHERE m.bot_id = $1 AND m.id = v.message_id
                              AND ($7::text IS NULL OR m.user_id = $7) AND ($8::text IS NULL OR m.role = $8)))
         ORDER BY ",
            $context,
            "
         LIMIT $4
    ), worded AS MATERIALIZED (
        SELECT t.id, ts_rank_cd(t.content_tsv, to_tsquery('english', $10), 32) AS words
          FROM (SELECT m.id, m.content_tsv, m.ts, m.seq
                  FROM messages m
                 WHERE $10::text IS NOT NULL AND m.content_tsv @@ to_tsquery('english', $10)
                   AND m.bot_id = $1 AND m.role IN ('user', 'assistant')
                   AND ($7::text IS NULL OR m.user_id = $7) AND ($8::text IS NULL OR m.role = $8)
                   AND ($5::timestamptz IS NULL OR m.ts >= $5) AND ($6::timestamptz IS NULL OR m.ts < $6)
                 LIMIT 20000) AS t
         ORDER BY words DESC, t.ts DESC, t.seq DESC
         LIMIT $11
    ), candidates AS (
        SELECT id, max(words) AS words
          FROM (SELECT id, NULL::real AS words FROM own
                UNION ALL SELECT id, NULL FROM context
                UNION ALL SELECT id, words FROM worded
                UNION ALL SELECT unnest($9::uuid[]), NULL) AS legs
         WHERE id <> ALL ($12::uuid[])
         GROUP BY id
    )
    SELECT c.id, c.words, 1 - (v.embedding <=> $2::halfvec) AS own,
           1 - (v.context_embedding <=> $2::halfvec) AS context
      FROM candidates c
      LEFT JOIN message_vectors v ON v.bot_id = $1 AND v.message_id = c.id AND v.model = $3"
        )
    };
}

pub(super) const NEAR: &str = near!("v.embedding <=> $2::halfvec", "v.context_embedding <=> $2::halfvec");
pub(super) const NEAR_EXACT: &str =
    near!("(v.embedding <=> $2::halfvec) + 0", "(v.context_embedding <=> $2::halfvec) + 0");
