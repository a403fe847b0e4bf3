//! SQL of fading, themes, orphans and expiry.

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use jiff::Timestamp;
use uuid::Uuid;

use crate::MemoryError;
use crate::upkeep::{FadeRules, RecurrenceRules, Theme};

/// Most memories that one run buries as orphans or trims.
const MOST_ORPHANS: i64 = 2000;
/// Most themes of one run.
const MOST_THEMES: i64 = 200;

/// Tidying up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TidyRepository;

impl TidyRepository {
    /// Memories whose effective importance is below the threshold, faintest first, and how many are active. Age counts
    /// from when a memory last mattered; multipliers by primary tag as in memory.md §6.1.
    pub(crate) async fn faded_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        rules: &FadeRules,
        now: Timestamp,
        limit: i64,
    ) -> Result<(Vec<Uuid>, i64), MemoryError> {
        const SQL: &str = "
            WITH active AS (
                SELECT id, importance, access_count, tags, metadata,
                       greatest(0, extract(epoch FROM $2::timestamptz
                                           - greatest(created_at, last_accessed_at, updated_at)))::float8 / 86400 AS age,
                       $3::float8 * CASE tags[1] WHEN 'fact' THEN 2.0 WHEN 'professional' THEN 1.5 WHEN 'health' THEN 1.2
                                                 WHEN 'preference' THEN 0.8 WHEN 'event' THEN 0.5 WHEN 'plan' THEN 0.3
                                                 ELSE 1.0 END AS half_life
                  FROM memories
                 WHERE bot_id = $1 AND superseded_by IS NULL),
            faint AS (
                SELECT id, importance * exp(greatest(-700, -age * ln(2.0::float8) / half_life))
                           * (1 + $4::float8 * ln(1 + access_count::float8)) AS effective
                  FROM active
                 WHERE age >= 30 AND importance < 0.95 AND NOT 'pinned' = ANY(tags)
                   AND NOT coalesce(metadata ? 'profile', false))
            SELECT (SELECT array_agg(id) FROM (SELECT id FROM faint WHERE effective < $5::float8
                                                ORDER BY effective, id LIMIT $6) AS gone),
                   (SELECT count(*) FROM active)";
        let statement = db.prepare_cached(SQL).await?;
        let row = db
            .query_one(
                &statement,
                &[
                    &bot.as_str(),
                    &now,
                    &rules.half_life_days.max(0.01),
                    &rules.access_boost.max(0.0),
                    &rules.threshold,
                    &limit,
                ],
            )
            .await?;
        Ok((row.try_get::<_, Option<Vec<Uuid>>>(0)?.unwrap_or_default(), row.try_get(1)?))
    }

    /// Keywords that came up on enough days and are not common. The day is that of the source messages, else of the memory.
    pub(crate) async fn themes_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        rules: &RecurrenceRules,
        ignored: &[String],
    ) -> Result<Vec<Theme>, MemoryError> {
        const SQL: &str = "
            WITH active AS (
                SELECT id, recurrence_keywords, source_message_ids, created_at, tags
                  FROM memories
                 WHERE bot_id = $1 AND superseded_by IS NULL),
            total AS (SELECT count(*) AS n FROM active),
            words AS (
                SELECT DISTINCT a.id, lower(btrim(k.word)) AS theme
                  FROM active a CROSS JOIN LATERAL unnest(a.recurrence_keywords) AS k(word)
                 WHERE btrim(k.word) <> '' AND NOT lower(btrim(k.word)) = ANY($2)
                   AND NOT lower(btrim(k.word)) = ANY(a.tags)),
            often AS (
                SELECT theme, count(*) AS memories
                  FROM words
                 GROUP BY theme
                HAVING count(*) >= 2
                   AND ((SELECT n FROM total) < 20 OR count(*) <= $3::float8 * (SELECT n FROM total))),
            days AS (
                SELECT w.theme, (coalesce(m.ts, a.created_at) AT TIME ZONE 'UTC')::date AS day
                  FROM often o JOIN words w USING (theme) JOIN active a ON a.id = w.id
                  LEFT JOIN messages m ON m.bot_id = $1 AND m.id = ANY(a.source_message_ids))
            SELECT o.theme, count(DISTINCT d.day) AS days, o.memories
              FROM often o JOIN days d USING (theme)
             GROUP BY o.theme, o.memories
            HAVING count(DISTINCT d.day) >= $4
             ORDER BY days DESC, o.theme
             LIMIT $5";
        let statement = db.prepare_cached(SQL).await?;
        let rows =
            db.query(&statement, &[&bot.as_str(), &ignored, &rules.common_share, &rules.days, &MOST_THEMES]).await?;
        rows.iter()
            .map(|row| {
                Ok(Theme {
                    theme: row.try_get("theme")?,
                    days: row.try_get("days")?,
                    memories: row.try_get("memories")?,
                })
            })
            .collect()
    }

    /// How many active memories have one of the themes.
    pub(crate) async fn with_themes_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        themes: &[String],
    ) -> Result<i64, MemoryError> {
        const SQL: &str = "
            SELECT count(*) FROM memories m
             WHERE bot_id = $1 AND superseded_by IS NULL
               AND EXISTS (SELECT FROM unnest(m.recurrence_keywords) AS k(word) WHERE lower(btrim(k.word)) = ANY($2))";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.query_one(&statement, &[&bot.as_str(), &themes]).await?.try_get(0)?)
    }

    /// Tags memories of the themes, and lifts those of themes that were not lifted for 30 days. Gives what changed.
    pub(crate) async fn bump_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        themes: &[String],
        now: Timestamp,
    ) -> Result<Vec<Uuid>, MemoryError> {
        const SQL: &str = "
            WITH due AS (
                INSERT INTO recurrence_themes (bot_id, theme, bumped_at)
                SELECT $1, theme, $3::timestamptz FROM unnest($2::text[]) AS t(theme)
                ON CONFLICT (bot_id, theme) DO UPDATE SET bumped_at = excluded.bumped_at
                 WHERE recurrence_themes.bumped_at <= excluded.bumped_at - interval '30 days'
                RETURNING theme),
            hit AS (
                SELECT m.id,
                       (SELECT count(DISTINCT d.theme)
                          FROM unnest(m.recurrence_keywords) AS k(word) JOIN due d ON d.theme = lower(btrim(k.word)))
                           AS lifts
                  FROM memories m
                 WHERE m.bot_id = $1 AND m.superseded_by IS NULL
                   AND EXISTS (SELECT FROM unnest(m.recurrence_keywords) AS k(word)
                                WHERE lower(btrim(k.word)) = ANY($2)))
            UPDATE memories m
               SET tags = CASE WHEN 'recurring' = ANY(m.tags) OR cardinality(m.tags) >= 64 THEN m.tags
                               ELSE m.tags || 'recurring'::text END,
                   importance = CASE WHEN m.importance >= 0.9 THEN m.importance
                                     ELSE least(0.9, m.importance + 0.05 * hit.lifts) END,
                   updated_at = $3::timestamptz
              FROM hit
             WHERE m.bot_id = $1 AND m.id = hit.id
               AND (hit.lifts > 0 AND m.importance < 0.9
                    OR NOT 'recurring' = ANY(m.tags) AND cardinality(m.tags) < 64)
            RETURNING m.id";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &themes, &now]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Active memories that name sources of which none exists any more, and those that lost only some.
    pub(crate) async fn orphans_on(
        db: &impl GenericClient,
        bot: &BotSlug,
    ) -> Result<(Vec<Uuid>, Vec<Uuid>), MemoryError> {
        const SQL: &str = "
            WITH named AS (
                SELECT m.id, s.source,
                       EXISTS (SELECT FROM messages x WHERE x.bot_id = $1 AND x.id = s.source)
                    OR EXISTS (SELECT FROM forgotten f WHERE f.bot_id = $1 AND f.kind = 'message' AND f.id = s.source)
                    OR EXISTS (SELECT FROM summaries y WHERE y.bot_id = $1 AND y.id = s.source) AS lives
                  FROM memories m
                  CROSS JOIN LATERAL unnest(m.source_message_ids || m.source_summary_ids) AS s(source)
                 WHERE m.bot_id = $1 AND m.superseded_by IS NULL)
            SELECT id, bool_or(lives) AS lives
              FROM named
             GROUP BY id
            HAVING NOT bool_and(lives)
             ORDER BY id
             LIMIT $2";
        let statement = db.prepare_cached(SQL).await?;
        let (mut dead, mut partly) = (Vec::new(), Vec::new());
        for row in db.query(&statement, &[&bot.as_str(), &MOST_ORPHANS]).await? {
            let id: Uuid = row.try_get("id")?;
            if row.try_get("lives")? { partly.push(id) } else { dead.push(id) }
        }
        Ok((dead, partly))
    }

    /// Removes dead sources from memories.
    pub(crate) async fn trim_sources_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
    ) -> Result<u64, MemoryError> {
        const SQL: &str = "
            UPDATE memories m
               SET source_message_ids = ARRAY(
                       SELECT s.source FROM unnest(m.source_message_ids) WITH ORDINALITY AS s(source, n)
                        WHERE EXISTS (SELECT FROM messages x WHERE x.bot_id = $1 AND x.id = s.source)
                           OR EXISTS (SELECT FROM forgotten f
                                       WHERE f.bot_id = $1 AND f.kind = 'message' AND f.id = s.source)
                           OR EXISTS (SELECT FROM summaries y WHERE y.bot_id = $1 AND y.id = s.source)
                        ORDER BY s.n),
                   source_summary_ids = ARRAY(
                       SELECT s.source FROM unnest(m.source_summary_ids) WITH ORDINALITY AS s(source, n)
                        WHERE EXISTS (SELECT FROM summaries y WHERE y.bot_id = $1 AND y.id = s.source)
                        ORDER BY s.n)
             WHERE m.bot_id = $1 AND m.id = ANY($2)";
        if ids.is_empty() {
            return Ok(0);
        }
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.execute(&statement, &[&bot.as_str(), &ids]).await?)
    }

    pub(crate) async fn expire_tombstones_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        before: Timestamp,
        dry_run: bool,
    ) -> Result<u64, MemoryError> {
        const COUNT: &str = "
            SELECT count(*) FROM forgotten WHERE bot_id = $1 AND kind = 'memory' AND forgotten_at < $2";
        const DELETE: &str = "
            WITH gone AS (
                DELETE FROM forgotten WHERE bot_id = $1 AND kind = 'memory' AND forgotten_at < $2 RETURNING 1)
            SELECT count(*) FROM gone";
        let statement = db.prepare_cached(if dry_run { COUNT } else { DELETE }).await?;
        let count: i64 = db.query_one(&statement, &[&bot.as_str(), &before]).await?.try_get(0)?;
        Ok(count.unsigned_abs())
    }

    pub(crate) async fn active_on(db: &impl GenericClient, bot: &BotSlug) -> Result<i64, MemoryError> {
        const SQL: &str = "SELECT count(*) FROM memories WHERE bot_id = $1 AND superseded_by IS NULL";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.query_one(&statement, &[&bot.as_str()]).await?.try_get(0)?)
    }

    pub(crate) async fn changed_at_on(
        db: &impl GenericClient,
        bot: &BotSlug,
    ) -> Result<Option<Timestamp>, MemoryError> {
        const SQL: &str = "
            SELECT updated_at FROM memories WHERE bot_id = $1 ORDER BY updated_at DESC LIMIT 1";
        let statement = db.prepare_cached(SQL).await?;
        let row = db.query_opt(&statement, &[&bot.as_str()]).await?;
        row.map(|row| Ok(row.try_get(0)?)).transpose()
    }
}
