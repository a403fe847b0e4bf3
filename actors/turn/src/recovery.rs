//! At boot: turns that a crash left open are closed as errors, with the text that had arrived.

use std::sync::Arc;

use greenroom_memory::{MessageStatus, NewMessage, SESSION_GAP};
use greenroom_protocol::event::{Finish, TurnComplete, Warning};
use greenroom_protocol::{ErrorBody, ErrorClass, FinishReason, Role, TurnEvent, TurnHeader, TurnStatus, Usage};
use greenroom_store::Store;
use jiff::Timestamp;
use serde_json::json;

use crate::error::TurnError;
use crate::journal::{Close, JournalOp, write_now};
use crate::log::TurnLog;
use crate::pipeline::epoch;
use crate::tool_record;
use crate::turn_logs::TurnLogs;

/// What the row says of a turn that a restart cut off.
const INTERRUPTED: &str = "interrupted by restart";

/// Closes all open turns; gives how many.
pub(crate) async fn close_interrupted(store: &Store) -> Result<usize, TurnError> {
    let logs = TurnLogs::new(store.clone());
    let open = logs.open_turns().await?;
    for id in &open {
        let Some((header, events)) = logs.replay(id).await? else { continue };
        let flushed = logs.response_text(id).await?.unwrap_or_default();
        let streamed: String = events
            .iter()
            .filter_map(|event| match event {
                TurnEvent::Text(piece) => Some(&**piece),
                _ => None,
            })
            .collect();
        // The flushed text is raw, the streamed one what viewers saw; the longer is the later.
        let text = if flushed.len() > streamed.len() { flushed } else { streamed };
        let log = TurnLog::from_journal(Arc::new(header), events, false);
        if !text.trim().is_empty() {
            log.push_op(JournalOp::Message(Arc::new(partial_answer(log.header(), &text))));
        }
        log.seal(|events| {
            let (mut tail, rows) = tool_record::settle(log.header(), SESSION_GAP, events, "interrupted");
            let (end, close) = interrupted_end(text, count_calls(events));
            tail.extend(end);
            let rows = rows.into_iter().map(|row| JournalOp::Message(Arc::new(row)));
            (tail, rows.chain([JournalOp::Close(Arc::new(close))]).collect())
        });
        if let Err(error) = write_now(store, &log).await {
            if error.retry_after().is_some() {
                return Err(error.into());
            }
            tracing::error!(%error, turn = %id, "interrupted turn could not be closed");
        }
    }
    Ok(open.len())
}

fn partial_answer(header: &TurnHeader, text: &str) -> NewMessage {
    let name = format!("{}\u{0}answer", header.turn_id);
    NewMessage {
        bot: header.bot_id.clone(),
        id: uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()),
        role: Role::Assistant,
        content: text.to_owned(),
        ts: Timestamp::now(),
        user: header.user_id.clone(),
        turn: header.turn_id.clone(),
        status: MessageStatus::Partial,
        metadata: Some(json!({"truncated": true})),
        // What was broken off is no evidence.
        extract: false,
        session: None,
        session_gap: SESSION_GAP,
    }
}

fn count_calls(events: &[TurnEvent]) -> u32 {
    let calls = events.iter().filter(|event| matches!(event, TurnEvent::ToolCall(_) | TurnEvent::ClientToolCall(_)));
    u32::try_from(calls.count()).unwrap_or(u32::MAX)
}

fn interrupted_end(text: String, tool_call_count: u32) -> (Vec<TurnEvent>, Close) {
    let error = ErrorBody::new(ErrorClass::Internal, INTERRUPTED);
    let usage = Usage::estimate(0, text.chars().count());
    let tail = vec![
        TurnEvent::Warning(Box::new(Warning {
            warnings: vec![format!("stream_interrupted: {INTERRUPTED}")],
            code: error.code.clone(),
        })),
        TurnEvent::Finish(Box::new(Finish { reason: FinishReason::Error, model: None, error: Some(error) })),
        TurnEvent::Complete(Box::new(TurnComplete {
            status: TurnStatus::Error,
            animation: None,
            token_usage: None,
            usage,
            latency_ms: 0.0,
            tool_call_count,
            error_text: Some(INTERRUPTED.into()),
            ts: epoch(Timestamp::now()),
        })),
    ];
    let close = Close {
        status: TurnStatus::Error,
        animation: None,
        latency_ms: 0.0,
        first_token_ms: None,
        response_text: text,
        tool_calls_json: None,
        error_text: Some(INTERRUPTED.into()),
        token_usage_json: None,
        stage_timings_json: None,
    };
    (tail, close)
}
