//! SQL that reads turns.

use std::collections::HashMap;
use std::time::Duration;

use deadpool_postgres::GenericClient;
use greenroom_protocol::{BotSlug, MessageId, TokenUsage, TurnEvent, TurnHeader, TurnId, TurnStatus, UserId};
use greenroom_store::{Store, StoreError};
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;

use super::entry::ToolCallEntry;
use super::{ToolCallEvent, ToolCallFilter, TurnDetail, TurnFilter, TurnPage, TurnSummary};
use crate::error::TurnError;
use crate::journal::events_from_rows;

/// Stored turns.
#[derive(Clone)]
pub struct TurnLogs {
    store: Store,
}

impl TurnLogs {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// One page of turns, newest first.
    ///
    /// # Errors
    /// The database's error.
    pub async fn list(&self, filter: &TurnFilter) -> Result<TurnPage, TurnError> {
        const PAGE: &str = "
            SELECT id, created_at, request_id, path, stream, model, bot_id, user_id, status, latency_ms, user_prompt,
                   left(response_text, $11) AS response_preview, coalesce(length(response_text), 0) AS response_chars,
                   error_text, animation, agent_session_key, agent_request_id, trigger_message_id, token_usage_json,
                   coalesce(json_array_length(tool_calls_json::json),
                            (SELECT count(*) FROM tool_call_records r WHERE r.turn_id = t.id))::bigint AS tool_call_count
              FROM turn_logs t
             WHERE ($1::text IS NULL OR bot_id = lower($1)) AND ($2::text IS NULL OR user_id = lower($2))
               AND ($3::text IS NULL OR lower(model) = lower($3)) AND ($4::text IS NULL OR request_id = $4)
               AND ($5::text IS NULL OR status = lower($5)) AND ($6::boolean IS NULL OR stream = $6)
               AND ($7::boolean IS NULL OR $7 = (tool_calls_json IS NOT NULL
                    OR EXISTS (SELECT FROM tool_call_records r WHERE r.turn_id = t.id)))
               AND ($8::timestamptz IS NULL OR created_at >= $8) AND ($9::timestamptz IS NULL OR created_at < $9)
               AND ($10::timestamptz IS NULL OR (created_at, id) < ($10, $14::text))
             ORDER BY created_at DESC, id DESC
             LIMIT $12 OFFSET $13";
        const COUNT: &str = "
            SELECT count(*)
              FROM turn_logs t
             WHERE ($1::text IS NULL OR bot_id = lower($1)) AND ($2::text IS NULL OR user_id = lower($2))
               AND ($3::text IS NULL OR lower(model) = lower($3)) AND ($4::text IS NULL OR request_id = $4)
               AND ($5::text IS NULL OR status = lower($5)) AND ($6::boolean IS NULL OR stream = $6)
               AND ($7::boolean IS NULL OR $7 = (tool_calls_json IS NOT NULL
                    OR EXISTS (SELECT FROM tool_call_records r WHERE r.turn_id = t.id)))
               AND ($8::timestamptz IS NULL OR created_at >= $8) AND ($9::timestamptz IS NULL OR created_at < $9)";
        let db = self.store.connection().await?;
        let f = filter;
        let (cursor_at, cursor_id) = f.cursor.clone().map_or((None, None), |(at, id)| (Some(at), Some(id)));
        let page = db.prepare_cached(PAGE).await.map_err(StoreError::from)?;
        let rows = db
            .query(
                &page,
                &[
                    &f.bot_id,
                    &f.user_id,
                    &f.model,
                    &f.request_id,
                    &f.status,
                    &f.stream,
                    &f.has_tools,
                    &f.after,
                    &f.before,
                    &cursor_at,
                    &f.preview_chars,
                    &f.limit,
                    &f.offset,
                    &cursor_id,
                ],
            )
            .await
            .map_err(StoreError::from)?;
        let count = db.prepare_cached(COUNT).await.map_err(StoreError::from)?;
        let total = db
            .query_one(
                &count,
                &[
                    &f.bot_id,
                    &f.user_id,
                    &f.model,
                    &f.request_id,
                    &f.status,
                    &f.stream,
                    &f.has_tools,
                    &f.after,
                    &f.before,
                ],
            )
            .await
            .map_err(StoreError::from)?;
        let turns = rows.iter().map(summary).collect::<Result<_, _>>().map_err(StoreError::from)?;
        Ok(TurnPage { turns, total_count: total.try_get(0).map_err(StoreError::from)? })
    }

    /// One turn in full.
    ///
    /// # Errors
    /// [`TurnError::NotFound`] or the database's error.
    pub async fn get(&self, id: &TurnId) -> Result<TurnDetail, TurnError> {
        const SQL: &str = "
            SELECT id, created_at, request_id, path, stream, model, bot_id, user_id, status, latency_ms, first_token_ms,
                   user_prompt, request_json, response_text, tool_calls_json, error_text, animation, agent_session_key,
                   agent_request_id, trigger_message_id, token_usage_json, stage_timings_json
              FROM turn_logs
             WHERE id = $1";
        let db = self.store.connection().await?;
        let statement = db.prepare_cached(SQL).await.map_err(StoreError::from)?;
        let row = db.query_opt(&statement, &[&id.as_str()]).await.map_err(StoreError::from)?;
        let row = row.ok_or(TurnError::NotFound)?;
        let records = records_of(&db, &[id.as_str()]).await?;
        detail(&row, records).map_err(|error| StoreError::from(error).into())
    }

    /// Tool calls per turn, oldest first.
    ///
    /// # Errors
    /// The database's error.
    pub async fn tool_calls(&self, filter: &ToolCallFilter) -> Result<Vec<ToolCallEvent>, TurnError> {
        const SQL: &str = "
            SELECT id, created_at, request_id, model, bot_id, user_id, trigger_message_id, tool_calls_json
              FROM turn_logs t
             WHERE (tool_calls_json IS NOT NULL OR EXISTS (SELECT FROM tool_call_records r WHERE r.turn_id = t.id))
               AND ($1::text IS NULL OR bot_id = lower($1)) AND ($2::text IS NULL OR user_id = lower($2))
               AND ($3::text[] IS NULL OR trigger_message_id LIKE ANY ($3))
               AND ($4::timestamptz IS NULL OR created_at >= $4) AND ($5::timestamptz IS NULL OR created_at < $5)
             ORDER BY created_at, id
             LIMIT $6";
        let patterns: Option<Vec<String>> =
            (!filter.message_ids.is_empty()).then(|| filter.message_ids.iter().map(|id| like(id)).collect());
        let db = self.store.connection().await?;
        let statement = db.prepare_cached(SQL).await.map_err(StoreError::from)?;
        let f = filter;
        let rows = db
            .query(&statement, &[&f.bot_id, &f.user_id, &patterns, &f.after, &f.before, &f.limit])
            .await
            .map_err(StoreError::from)?;
        let ids: Vec<&str> =
            rows.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>().map_err(StoreError::from)?;
        let mut records = records_of(&db, &ids).await?;
        let events = rows.iter().map(|row| {
            let id: String = row.try_get("id")?;
            let live = records.remove(&id).unwrap_or_default();
            tool_call_event(row, id, live)
        });
        Ok(events.collect::<Result<_, _>>().map_err(StoreError::from)?)
    }

    /// A turn's status, `None` for an unknown turn.
    pub(crate) async fn status(&self, id: &TurnId) -> Result<Option<TurnStatus>, TurnError> {
        const SQL: &str = "SELECT status FROM turn_logs WHERE id = $1";
        let db = self.store.connection().await?;
        let statement = db.prepare_cached(SQL).await.map_err(StoreError::from)?;
        let row = db.query_opt(&statement, &[&id.as_str()]).await.map_err(StoreError::from)?;
        let Some(row) = row else { return Ok(None) };
        Ok(TurnStatus::parse(row.try_get(0).map_err(StoreError::from)?))
    }

    /// Header and events of a stored turn.
    pub(crate) async fn replay(&self, id: &TurnId) -> Result<Option<(TurnHeader, Vec<TurnEvent>)>, TurnError> {
        const TURN: &str = "
            SELECT completion_id, created_at, model, bot_id, user_id, trigger_message_id FROM turn_logs WHERE id = $1";
        const EVENTS: &str = "SELECT body, cuts FROM turn_events WHERE turn_id = $1 ORDER BY seq";
        let db = self.store.connection().await?;
        let turn = db.prepare_cached(TURN).await.map_err(StoreError::from)?;
        let Some(row) = db.query_opt(&turn, &[&id.as_str()]).await.map_err(StoreError::from)? else { return Ok(None) };
        let events = db.prepare_cached(EVENTS).await.map_err(StoreError::from)?;
        let rows = db.query(&events, &[&id.as_str()]).await.map_err(StoreError::from)?;
        let rows = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        let rows: Vec<(String, Option<Vec<i32>>)> =
            rows.collect::<Result<_, tokio_postgres::Error>>().map_err(StoreError::from)?;
        let events = events_from_rows(rows).ok_or(TurnError::Unreadable)?;
        Ok(Some((header(id, &row).map_err(StoreError::from)?, events)))
    }

    /// Turns without a terminal status, oldest first.
    pub(crate) async fn open_turns(&self) -> Result<Vec<TurnId>, TurnError> {
        const SQL: &str = "SELECT id FROM turn_logs WHERE status_rank = 0 ORDER BY created_at";
        let db = self.store.connection().await?;
        let rows = db.query(SQL, &[]).await.map_err(StoreError::from)?;
        let ids = rows.iter().map(|row| row.try_get::<_, String>(0).map(TurnId::from_stored));
        Ok(ids.collect::<Result<_, _>>().map_err(StoreError::from)?)
    }

    /// The stored answer so far.
    pub(crate) async fn response_text(&self, id: &TurnId) -> Result<Option<String>, TurnError> {
        const SQL: &str = "SELECT response_text FROM turn_logs WHERE id = $1";
        let db = self.store.connection().await?;
        let row = db.query_opt(SQL, &[&id.as_str()]).await.map_err(StoreError::from)?;
        row.map_or(Ok(None), |row| row.try_get(0).map_err(|error| StoreError::from(error).into()))
    }

    /// Deletes finished turns older than `retention` with their events and records; gives how many turns.
    pub(crate) async fn prune(&self, retention: Duration) -> Result<u64, StoreError> {
        const SQL: &str = "
            WITH old AS (
                SELECT id FROM turn_logs
                 WHERE created_at < now() - make_interval(secs => $1) AND status_rank > 0
                 ORDER BY created_at LIMIT 5000),
            events AS (DELETE FROM turn_events WHERE turn_id IN (SELECT id FROM old)),
            records AS (DELETE FROM tool_call_records WHERE turn_id IN (SELECT id FROM old))
            DELETE FROM turn_logs WHERE id IN (SELECT id FROM old)";
        let db = self.store.connection().await?;
        Ok(db.execute(SQL, &[&retention.as_secs_f64()]).await?)
    }

    pub(crate) async fn purge_on(db: &impl GenericClient, bot: &BotSlug) -> Result<Vec<(String, i64)>, StoreError> {
        const EVENTS: &str = "
            DELETE FROM turn_events WHERE turn_id IN (SELECT id FROM turn_logs WHERE bot_id = $1)";
        const RECORDS: &str = "DELETE FROM tool_call_records WHERE bot_id = $1";
        const TURNS: &str = "DELETE FROM turn_logs WHERE bot_id = $1";
        let mut rows = Vec::with_capacity(3);
        for (table, sql) in [("turn_events", EVENTS), ("tool_call_records", RECORDS), ("turn_logs", TURNS)] {
            let deleted = db.execute(sql, &[&bot.as_str()]).await?;
            rows.push((table.to_owned(), i64::try_from(deleted).unwrap_or(i64::MAX)));
        }
        Ok(rows)
    }
}

/// A `LIKE` pattern that matches an id exactly, or its prefix when it is shorter than a UUID.
fn like(id: &str) -> String {
    let mut pattern = String::with_capacity(id.len() + 1);
    for c in id.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    if id.len() < 36 {
        pattern.push('%');
    }
    pattern
}

async fn records_of(
    db: &impl GenericClient,
    turns: &[&str],
) -> Result<HashMap<String, Vec<ToolCallEntry>>, StoreError> {
    const SQL: &str = "
        SELECT turn_id, call_id, tool_name, arguments_json, result_text, iteration, started_at, ended_at, duration_ms,
               effects, ok
          FROM tool_call_records
         WHERE turn_id = ANY ($1)
         ORDER BY started_at, call_id";
    let statement = db.prepare_cached(SQL).await?;
    let mut records: HashMap<String, Vec<ToolCallEntry>> = HashMap::new();
    for row in db.query(&statement, &[&turns]).await? {
        let entries = records.entry(row.try_get("turn_id")?).or_default();
        let entry = ToolCallEntry::from_record(&row, entries.len() + 1)?;
        entries.push(entry);
    }
    Ok(records)
}

type Get<T> = Result<T, tokio_postgres::Error>;

fn header(id: &TurnId, row: &Row) -> Get<TurnHeader> {
    let created: Timestamp = row.try_get("created_at")?;
    let trigger: Option<String> = row.try_get("trigger_message_id")?;
    Ok(TurnHeader {
        turn_id: id.clone(),
        completion_id: row.try_get("completion_id")?,
        created: created.as_second(),
        model: row.try_get("model")?,
        bot_id: BotSlug::from_stored(row.try_get::<_, String>("bot_id")?),
        user_id: UserId::from_stored(row.try_get::<_, String>("user_id")?),
        trigger_message_id: trigger.map(MessageId::from_stored),
    })
}

fn token_usage(row: &Row) -> Get<Option<TokenUsage>> {
    let json: Option<&str> = row.try_get("token_usage_json")?;
    Ok(json.and_then(|json| serde_json::from_str(json).ok()))
}

fn summary(row: &Row) -> Get<TurnSummary> {
    let preview: Option<String> = row.try_get("response_preview")?;
    let chars: i32 = row.try_get("response_chars")?;
    let shown = preview.as_ref().map_or(0, |text| text.chars().count());
    Ok(TurnSummary {
        id: row.try_get("id")?,
        created_at: row.try_get("created_at")?,
        request_id: row.try_get("request_id")?,
        path: row.try_get("path")?,
        stream: row.try_get("stream")?,
        model: row.try_get("model")?,
        bot_id: row.try_get("bot_id")?,
        user_id: row.try_get("user_id")?,
        status: row.try_get("status")?,
        latency_ms: row.try_get("latency_ms")?,
        user_prompt: row.try_get("user_prompt")?,
        response_preview: preview,
        response_chars: chars,
        response_preview_truncated: usize::try_from(chars).is_ok_and(|chars| chars > shown),
        tool_call_count: row.try_get("tool_call_count")?,
        error_text: row.try_get("error_text")?,
        animation: row.try_get("animation")?,
        agent_session_key: row.try_get("agent_session_key")?,
        agent_request_id: row.try_get("agent_request_id")?,
        trigger_message_id: row.try_get("trigger_message_id")?,
        token_usage: token_usage(row)?,
    })
}

fn detail(row: &Row, mut records: HashMap<String, Vec<ToolCallEntry>>) -> Get<TurnDetail> {
    let id: String = row.try_get("id")?;
    let request: Option<String> = row.try_get("request_json")?;
    let timings: Option<&str> = row.try_get("stage_timings_json")?;
    let finalized: Option<&str> = row.try_get("tool_calls_json")?;
    let live = records.remove(&id).unwrap_or_default();
    Ok(TurnDetail {
        created_at: row.try_get("created_at")?,
        request_id: row.try_get("request_id")?,
        path: row.try_get("path")?,
        stream: row.try_get("stream")?,
        model: row.try_get("model")?,
        bot_id: row.try_get("bot_id")?,
        user_id: row.try_get("user_id")?,
        status: row.try_get("status")?,
        latency_ms: row.try_get("latency_ms")?,
        first_token_ms: row.try_get("first_token_ms")?,
        user_prompt: row.try_get("user_prompt")?,
        request: request.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap_or(Value::String(text))),
        response: row.try_get("response_text")?,
        tool_calls: merged(finalized, live),
        error_text: row.try_get("error_text")?,
        animation: row.try_get("animation")?,
        agent_session_key: row.try_get("agent_session_key")?,
        agent_request_id: row.try_get("agent_request_id")?,
        trigger_message_id: row.try_get("trigger_message_id")?,
        token_usage: token_usage(row)?,
        stage_timings: timings.and_then(|text| serde_json::from_str(text).ok()),
        id,
    })
}

/// The finalized list, or the live records while there is none.
fn merged(finalized: Option<&str>, live: Vec<ToolCallEntry>) -> Vec<ToolCallEntry> {
    match finalized.map(ToolCallEntry::from_final) {
        Some(entries) if !entries.is_empty() => entries,
        _ => live,
    }
}

fn tool_call_event(row: &Row, turn_id: String, live: Vec<ToolCallEntry>) -> Get<ToolCallEvent> {
    let created_at: Timestamp = row.try_get("created_at")?;
    let trigger: Option<String> = row.try_get("trigger_message_id")?;
    let tool_calls = merged(row.try_get("tool_calls_json")?, live);
    Ok(ToolCallEvent {
        created_at,
        request_id: row.try_get("request_id")?,
        model: row.try_get("model")?,
        bot_id: row.try_get("bot_id")?,
        user_id: row.try_get("user_id")?,
        message_id: trigger.unwrap_or_else(|| turn_id.clone()),
        message_role: "user",
        message_timestamp: created_at,
        tool_call_count: tool_calls.len(),
        tool_calls,
        turn_id,
    })
}
