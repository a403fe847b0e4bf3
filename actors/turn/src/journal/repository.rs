//! SQL that writes turns: `turn_logs`, `turn_events`, `tool_call_records`.
//!
//! Each statement takes whole columns as arrays, so a batch is a handful of statements however many turns are in it.
//! All of them may be repeated: rows are keyed by turn and number, statuses only rise.

use deadpool_postgres::GenericClient;
use greenroom_protocol::{TurnEvent, TurnHeader, TurnStatus};
use greenroom_store::StoreError;
use jiff::Timestamp;

use super::batch::{ToolRow, TurnRow};
use super::rows::EventRow;

/// Writes turns; stateless.
pub(crate) struct JournalRepository;

impl JournalRepository {
    /// Inserts or updates turn rows.
    pub(crate) async fn upsert_turns_on(
        db: &impl GenericClient,
        turns: &[(std::sync::Arc<TurnHeader>, TurnRow)],
    ) -> Result<(), StoreError> {
        const SQL: &str = "
            INSERT INTO turn_logs
                   (id, created_at, request_id, path, stream, model, bot_id, user_id, status, status_rank, latency_ms,
                    first_token_ms, user_prompt, request_json, response_text, tool_calls_json, error_text,
                    trigger_message_id, token_usage_json, stage_timings_json, completion_id, animation)
            SELECT * FROM unnest(
                    $1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::boolean[], $6::text[], $7::text[],
                    $8::text[], $9::text[], $10::smallint[], $11::float8[], $12::float8[], $13::text[], $14::text[],
                    $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[])
            ON CONFLICT (id) DO UPDATE
               SET status             = CASE WHEN excluded.status_rank > turn_logs.status_rank
                                             THEN excluded.status ELSE turn_logs.status END,
                   error_text         = CASE WHEN excluded.status_rank > turn_logs.status_rank
                                             THEN excluded.error_text ELSE turn_logs.error_text END,
                   status_rank        = greatest(excluded.status_rank, turn_logs.status_rank),
                   latency_ms         = coalesce(excluded.latency_ms, turn_logs.latency_ms),
                   first_token_ms     = coalesce(excluded.first_token_ms, turn_logs.first_token_ms),
                   request_json       = coalesce(excluded.request_json, turn_logs.request_json),
                   response_text      = coalesce(excluded.response_text, turn_logs.response_text),
                   tool_calls_json    = coalesce(excluded.tool_calls_json, turn_logs.tool_calls_json),
                   token_usage_json   = coalesce(excluded.token_usage_json, turn_logs.token_usage_json),
                   stage_timings_json = coalesce(excluded.stage_timings_json, turn_logs.stage_timings_json),
                   animation          = coalesce(excluded.animation, turn_logs.animation),
                   updated_at         = now()";
        if turns.is_empty() {
            return Ok(());
        }
        let of_header = |f: fn(&TurnHeader) -> &str| turns.iter().map(|(h, _)| f(h)).collect::<Vec<&str>>();
        let of_open = |f: fn(&super::rows::Open) -> &str| {
            turns.iter().map(|(_, row)| row.open.as_deref().map_or("", f)).collect::<Vec<&str>>()
        };
        let of_close = |f: fn(&super::rows::Close) -> Option<&str>| {
            turns.iter().map(|(_, row)| row.close.as_deref().and_then(f)).collect::<Vec<Option<&str>>>()
        };
        let created: Vec<Timestamp> = turns
            .iter()
            .map(|(header, row)| {
                row.open.as_ref().map_or_else(
                    || Timestamp::from_second(header.created).unwrap_or(Timestamp::UNIX_EPOCH),
                    |open| open.created_at,
                )
            })
            .collect();
        let stream: Vec<bool> = turns.iter().map(|(_, row)| row.open.as_ref().is_some_and(|o| o.stream)).collect();
        let status: Vec<TurnStatus> = turns.iter().map(|(_, row)| status_of(row)).collect();
        let latency: Vec<Option<f64>> = turns.iter().map(|(_, row)| row.close.as_ref().map(|c| c.latency_ms)).collect();
        let first: Vec<Option<f64>> =
            turns.iter().map(|(_, row)| row.close.as_ref().and_then(|c| c.first_token_ms)).collect();
        let response: Vec<Option<&str>> = turns
            .iter()
            .map(|(_, row)| row.close.as_ref().map(|c| c.response_text.as_str()).or(row.response_text.as_deref()))
            .collect();
        let request: Vec<Option<&str>> = turns.iter().map(|(_, row)| row.request_json.as_deref()).collect();
        let trigger: Vec<Option<&str>> =
            turns.iter().map(|(h, _)| h.trigger_message_id.as_ref().map(|id| id.as_str())).collect();
        let statement = db.prepare_cached(SQL).await?;
        db.execute(
            &statement,
            &[
                &of_header(|h| h.turn_id.as_str()),
                &created,
                &of_open(|o| &o.request_id),
                &of_open(|o| &o.path),
                &stream,
                &of_header(|h| &h.model),
                &of_header(|h| h.bot_id.as_str()),
                &of_header(|h| h.user_id.as_str()),
                &status.iter().map(|s| s.as_str()).collect::<Vec<&str>>(),
                &status.iter().map(|s| s.rank()).collect::<Vec<i16>>(),
                &latency,
                &first,
                &of_open(|o| &o.user_prompt),
                &request,
                &response,
                &of_close(|c| c.tool_calls_json.as_deref()),
                &of_close(|c| c.error_text.as_deref()),
                &trigger,
                &of_close(|c| c.token_usage_json.as_deref()),
                &of_close(|c| c.stage_timings_json.as_deref()),
                &of_header(|h| &h.completion_id),
                &of_close(|c| c.animation.as_deref()),
            ],
        )
        .await?;
        Ok(())
    }

    /// Removes event rows that were never announced.
    pub(crate) async fn truncate_events_on(
        db: &impl GenericClient,
        truncations: &[(String, i64)],
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM turn_events WHERE turn_id = $1 AND seq > $2";
        for (turn, keep) in truncations {
            let statement = db.prepare_cached(SQL).await?;
            db.execute(&statement, &[turn, keep]).await?;
        }
        Ok(())
    }

    /// Inserts event rows.
    pub(crate) async fn insert_events_on(db: &impl GenericClient, events: &[EventRow]) -> Result<(), StoreError> {
        // Arrays of arrays must be rectangular in PostgreSQL, so the cuts travel as text and are cast row by row.
        const SQL: &str = "
            INSERT INTO turn_events (turn_id, seq, kind, body, cuts)
            SELECT turn_id, seq, kind, body, cuts::integer[]
              FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[]) AS e(turn_id, seq, kind, body, cuts)
            ON CONFLICT (turn_id, seq) DO UPDATE
               SET kind = excluded.kind, body = excluded.body, cuts = excluded.cuts";
        if events.is_empty() {
            return Ok(());
        }
        let cuts: Vec<Option<String>> =
            events.iter().map(|event| event.cuts.as_ref().map(|cuts| array(cuts))).collect();
        let statement = db.prepare_cached(SQL).await?;
        db.execute(
            &statement,
            &[
                &events.iter().map(|e| e.turn_id.as_str()).collect::<Vec<&str>>(),
                &events.iter().map(|e| e.seq).collect::<Vec<i64>>(),
                &events.iter().map(|e| e.kind).collect::<Vec<&str>>(),
                &events.iter().map(|e| e.body.as_str()).collect::<Vec<&str>>(),
                &cuts,
            ],
        )
        .await?;
        Ok(())
    }

    /// Inserts or completes tool-call records, in order.
    pub(crate) async fn record_tools_on(db: &impl GenericClient, tools: &[ToolRow]) -> Result<(), StoreError> {
        const START: &str = "
            INSERT INTO tool_call_records
                   (turn_id, call_id, bot_id, user_id, tool_name, arguments_json, iteration, started_at, effects)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            ON CONFLICT (turn_id, call_id) DO NOTHING";
        const END: &str = "
            UPDATE tool_call_records
               SET result_text = $3, ended_at = $4, duration_ms = $5, ok = $6
             WHERE turn_id = $1 AND call_id = $2";
        for ToolRow { header, event } in tools {
            let turn = header.turn_id.as_str();
            match event {
                TurnEvent::ToolCall(call) => {
                    let statement = db.prepare_cached(START).await?;
                    let iteration = i32::try_from(call.iteration).unwrap_or(i32::MAX);
                    let arguments = call.arguments.to_string();
                    let (bot, user) = (header.bot_id.as_str(), header.user_id.as_str());
                    db.execute(
                        &statement,
                        &[
                            &turn,
                            &call.call_id,
                            &bot,
                            &user,
                            &call.name,
                            &arguments,
                            &iteration,
                            &call.ts,
                            &call.effects,
                        ],
                    )
                    .await?;
                }
                TurnEvent::ToolResult(end) => {
                    let statement = db.prepare_cached(END).await?;
                    db.execute(&statement, &[&turn, &end.call_id, &end.result, &end.ts, &end.duration_ms, &end.ok])
                        .await?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn status_of(row: &TurnRow) -> TurnStatus {
    match (&row.close, &row.open) {
        (Some(close), _) => close.status,
        (None, Some(open)) if !open.stream => TurnStatus::Pending,
        (None, _) => TurnStatus::Streaming,
    }
}

fn array(numbers: &[i32]) -> String {
    let mut text = String::with_capacity(numbers.len() * 4 + 2);
    text.push('{');
    for (index, number) in numbers.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&number.to_string());
    }
    text.push('}');
    text
}
