//! What the journal writes, as plain data.

use std::sync::Arc;

use greenroom_memory::NewMessage;
use greenroom_protocol::{TurnEvent, TurnId, TurnStatus};
use jiff::Timestamp;

/// Something to write for a turn besides its events.
#[derive(Debug, Clone)]
pub(crate) enum JournalOp {
    /// The turn's row.
    Open(Arc<Open>),
    /// A message of the conversation.
    Message(Arc<NewMessage>),
    /// The assembled prompt, as JSON text.
    Snapshot(Arc<str>),
    /// The answer so far.
    Flush(Arc<str>),
    /// Events behind this number were never announced and are replaced.
    Truncate(u64),
    /// The end.
    Close(Arc<Close>),
}

/// What is known when a turn begins.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) created_at: Timestamp,
    pub(crate) request_id: String,
    pub(crate) path: String,
    pub(crate) stream: bool,
    pub(crate) user_prompt: String,
}

/// What is known when a turn has ended.
#[derive(Debug, Clone)]
pub(crate) struct Close {
    pub(crate) status: TurnStatus,
    pub(crate) latency_ms: f64,
    pub(crate) first_token_ms: Option<f64>,
    pub(crate) response_text: String,
    pub(crate) tool_calls_json: Option<String>,
    pub(crate) error_text: Option<String>,
    pub(crate) token_usage_json: Option<String>,
    pub(crate) stage_timings_json: Option<String>,
    pub(crate) animation: Option<String>,
}

/// One row of `turn_events`: an event, or a run of consecutive text pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventRow {
    pub(crate) turn_id: TurnId,
    pub(crate) seq: i64,
    pub(crate) kind: &'static str,
    pub(crate) body: String,
    /// Lengths of the text pieces in bytes; `None` for other events.
    pub(crate) cuts: Option<Vec<i32>>,
}

/// Renders events number `first + 1` and following, merging consecutive text pieces into one row.
pub(crate) fn event_rows(turn_id: &TurnId, first: usize, events: &[TurnEvent]) -> Vec<EventRow> {
    let mut rows: Vec<EventRow> = Vec::new();
    for (offset, event) in events.iter().enumerate() {
        if let TurnEvent::Text(text) = event {
            let cut = i32::try_from(text.len()).unwrap_or(i32::MAX);
            if let Some(EventRow { body, cuts: Some(cuts), .. }) = rows.last_mut() {
                body.push_str(text);
                cuts.push(cut);
                continue;
            }
            rows.push(row(turn_id, first + offset, event, text.to_string(), Some(vec![cut])));
        } else {
            let body = serde_json::to_string(event).unwrap_or_default();
            rows.push(row(turn_id, first + offset, event, body, None));
        }
    }
    rows
}

fn row(turn_id: &TurnId, index: usize, event: &TurnEvent, body: String, cuts: Option<Vec<i32>>) -> EventRow {
    let seq = i64::try_from(index + 1).unwrap_or(i64::MAX);
    EventRow { turn_id: turn_id.clone(), seq, kind: event.kind(), body, cuts }
}

/// The inverse of [`event_rows`]: rows in order of `seq` as `(body, cuts)`. `None` when a row cannot be read.
pub(crate) fn events_from_rows(rows: impl IntoIterator<Item = (String, Option<Vec<i32>>)>) -> Option<Vec<TurnEvent>> {
    let mut events = Vec::new();
    for (body, cuts) in rows {
        match cuts {
            None => events.push(serde_json::from_str(&body).ok()?),
            Some(cuts) => {
                let mut rest = body.as_str();
                for cut in cuts {
                    let (piece, behind) = rest.split_at_checked(usize::try_from(cut).ok()?)?;
                    events.push(TurnEvent::Text(piece.into()));
                    rest = behind;
                }
            }
        }
    }
    Some(events)
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::event::{Finish, Warning};
    use greenroom_protocol::{FinishReason, Usage};

    use super::*;

    #[test]
    fn a_replay_is_exact_to_the_piece() {
        let events = vec![
            TurnEvent::Warning(Box::new(Warning { warnings: vec!["w".into()], code: None })),
            TurnEvent::Text("Hé".into()),
            TurnEvent::Text("".into()),
            TurnEvent::Text("llo 😀".into()),
            TurnEvent::Usage(Usage::default()),
            TurnEvent::Text("again".into()),
            TurnEvent::Finish(Box::new(Finish { reason: FinishReason::Stop, model: None, error: None })),
        ];
        let rows = event_rows(&TurnId::from_stored("t"), 0, &events);
        assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 2, 5, 6, 7]);
        let back = events_from_rows(rows.into_iter().map(|row| (row.body, row.cuts)));
        assert_eq!(back, Some(events));
    }
}
