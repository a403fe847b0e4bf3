//! SQL that counts.

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use greenroom_store::StoreError;

use crate::namespace::NamespaceName;
use crate::stats::{DistilledStats, MemoryStats, MessageStats, SessionStats, Source, SummaryStats};

pub(crate) struct StatsRepository;

impl StatsRepository {
    pub(crate) async fn stats_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        name: &NamespaceName,
    ) -> Result<MemoryStats, StoreError> {
        const MESSAGES: &str = "
            SELECT count(*) AS total,
                   count(*) FILTER (WHERE extraction_state IN ('done', 'excluded')) AS processed,
                   count(*) FILTER (WHERE extraction_state IN ('pending', 'claimed') AND role IN ('user', 'assistant'))
                       AS pending,
                   count(*) FILTER (WHERE extraction_state = 'failed') AS failed,
                   count(summary_id) AS summarized, min(ts) AS oldest, max(ts) AS newest,
                   (SELECT count(*) FROM message_embedding_queue WHERE bot_id = $1) AS unembedded,
                   (SELECT count(*) FROM forgotten WHERE bot_id = $1 AND kind = 'message') AS forgotten,
                   coalesce(pg_total_relation_size(to_regclass(quote_ident($2 || '_messages'))), 0)
                   + coalesce(pg_total_relation_size(to_regclass(quote_ident($2 || '_vectors'))), 0) AS bytes
              FROM messages WHERE bot_id = $1";
        const MEMORIES: &str = "
            SELECT count(*) FILTER (WHERE superseded_by IS NULL) AS total, count(superseded_by) AS superseded,
                   count(*) FILTER (WHERE superseded_by IS NULL AND embedding IS NULL) AS unembedded,
                   min(created_at) FILTER (WHERE superseded_by IS NULL) AS oldest,
                   max(created_at) FILTER (WHERE superseded_by IS NULL) AS newest,
                   avg(importance) FILTER (WHERE superseded_by IS NULL) AS importance,
                   (SELECT count(*) FROM forgotten WHERE bot_id = $1 AND kind = 'memory') AS forgotten,
                   coalesce(pg_total_relation_size(to_regclass(quote_ident($2 || '_memories'))), 0) AS bytes
              FROM memories WHERE bot_id = $1";
        const OTHERS: &str = "
            SELECT (SELECT count(*) FROM summaries WHERE bot_id = $1 AND state = 'active') AS summaries,
                   (SELECT count(*) FROM summaries WHERE bot_id = $1 AND state = 'stale') AS stale,
                   (SELECT count(*) FROM summaries WHERE bot_id = $1 AND state = 'active' AND level > 0) AS rollups,
                   (SELECT count(*) FROM sessions WHERE bot_id = $1) AS sessions,
                   (SELECT count(*) FROM sessions WHERE bot_id = $1 AND status = 'active') AS active";
        let (slug, name) = (bot.as_str(), name.as_str());
        let messages = db.query_one(&db.prepare_cached(MESSAGES).await?, &[&slug, &name]).await?;
        let memories = db.query_one(&db.prepare_cached(MEMORIES).await?, &[&slug, &name]).await?;
        let others = db.query_one(&db.prepare_cached(OTHERS).await?, &[&slug]).await?;
        Ok(MemoryStats {
            bot_id: bot.clone(),
            messages: MessageStats {
                total_count: messages.try_get("total")?,
                processed_count: messages.try_get("processed")?,
                forgotten_count: messages.try_get("forgotten")?,
                unembedded_count: messages.try_get("unembedded")?,
                pending_extraction_count: messages.try_get("pending")?,
                failed_extraction_count: messages.try_get("failed")?,
                summarized_count: messages.try_get("summarized")?,
                oldest_timestamp: messages.try_get("oldest")?,
                newest_timestamp: messages.try_get("newest")?,
                storage_size_bytes: messages.try_get("bytes")?,
            },
            memories: DistilledStats {
                total_count: memories.try_get("total")?,
                superseded_count: memories.try_get("superseded")?,
                forgotten_count: memories.try_get("forgotten")?,
                unembedded_count: memories.try_get("unembedded")?,
                oldest_timestamp: memories.try_get("oldest")?,
                newest_timestamp: memories.try_get("newest")?,
                avg_importance: memories.try_get("importance")?,
                storage_size_bytes: memories.try_get("bytes")?,
            },
            summaries: SummaryStats {
                total_count: others.try_get("summaries")?,
                stale_count: others.try_get("stale")?,
                rollup_count: others.try_get("rollups")?,
            },
            sessions: SessionStats {
                total_count: others.try_get("sessions")?,
                active_count: others.try_get("active")?,
            },
        })
    }

    /// All bots with memories or messages, by name.
    pub(crate) async fn sources_on(db: &impl GenericClient) -> Result<Vec<Source>, StoreError> {
        const SQL: &str = "
            SELECT bot_id, coalesce(memories, 0), coalesce(messages, 0)
              FROM (SELECT bot_id, count(*) AS memories FROM memories WHERE superseded_by IS NULL GROUP BY bot_id) m
              FULL JOIN (SELECT bot_id, count(*) AS messages FROM messages GROUP BY bot_id) r USING (bot_id)
             ORDER BY bot_id";
        let rows = db.query(&db.prepare_cached(SQL).await?, &[]).await?;
        let sources = rows.iter().map(|row| {
            Ok(Source {
                bot_id: BotSlug::from_stored(row.try_get::<_, String>(0)?),
                memories: row.try_get(1)?,
                messages: row.try_get(2)?,
            })
        });
        Ok(sources.collect::<Result<_, tokio_postgres::Error>>()?)
    }
}
