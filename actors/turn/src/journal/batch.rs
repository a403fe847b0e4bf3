//! From many logs to few statements: a pure fold.

use std::collections::HashMap;
use std::sync::Arc;

use greenroom_memory::NewMessage;
use greenroom_protocol::{TurnEvent, TurnHeader, TurnStatus};
use uuid::Uuid;

use super::rows::{Close, EventRow, JournalOp, Open};
use crate::log::{TurnLog, Unwritten};

/// One log's share of a batch.
pub(crate) struct Share {
    pub(crate) log: Arc<TurnLog>,
    pub(crate) unwritten: Unwritten,
    pub(crate) closed: Option<TurnStatus>,
}

/// A turn's row as this batch leaves it; `None` leaves a stored value alone.
#[derive(Default)]
pub(crate) struct TurnRow {
    pub(crate) open: Option<Arc<Open>>,
    pub(crate) request_json: Option<Arc<str>>,
    pub(crate) response_text: Option<Arc<str>>,
    pub(crate) close: Option<Arc<Close>>,
}

/// Everything one transaction writes.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) turns: Vec<(Arc<TurnHeader>, TurnRow)>,
    pub(crate) messages: Vec<NewMessage>,
    pub(crate) events: Vec<EventRow>,
    pub(crate) truncations: Vec<(String, i64)>,
    pub(crate) tools: Vec<ToolRow>,
}

/// A tool call's record, started or finished.
pub(crate) struct ToolRow {
    pub(crate) header: Arc<TurnHeader>,
    pub(crate) event: TurnEvent,
}

/// Reads what each log has not written yet; logs without anything are left out.
pub(crate) fn shares(logs: Vec<Arc<TurnLog>>) -> Vec<Share> {
    let with_news = logs.into_iter().filter_map(|log| log.unwritten().map(|unwritten| (log, unwritten)));
    with_news
        .map(|(log, unwritten)| {
            let closes = unwritten.ops.iter().filter_map(|op| match op {
                JournalOp::Close(close) => Some(close.status),
                _ => None,
            });
            let closed = closes.reduce(TurnStatus::raise);
            Share { log, unwritten, closed }
        })
        .collect()
}

impl Batch {
    /// Folds shares into rows.
    pub(crate) fn of<'a>(shares: impl IntoIterator<Item = &'a Share>) -> Self {
        let mut batch = Self::default();
        // A message written twice in one batch (same bot, same id) must reach the statement once.
        let mut places: HashMap<(String, Uuid), usize> = HashMap::new();
        for share in shares {
            let header = share.log.header();
            let mut row = TurnRow::default();
            let mut touched = false;
            for op in &share.unwritten.ops {
                match op {
                    JournalOp::Open(open) => row.open = Some(open.clone()),
                    JournalOp::Snapshot(text) => row.request_json = Some(text.clone()),
                    JournalOp::Flush(text) => row.response_text = Some(text.clone()),
                    JournalOp::Close(close) => {
                        let raised = row.close.as_ref().is_none_or(|old| close.status.rank() >= old.status.rank());
                        if raised {
                            row.close = Some(close.clone());
                        }
                    }
                    JournalOp::Truncate(keep) => {
                        let keep = i64::try_from(*keep).unwrap_or(i64::MAX);
                        batch.truncations.push((header.turn_id.to_string(), keep));
                    }
                    JournalOp::Message(message) => {
                        let key = (message.bot.to_string(), message.id);
                        let message = NewMessage::clone(message);
                        match places.get(&key) {
                            Some(place) => batch.messages[*place] = message,
                            None => {
                                places.insert(key, batch.messages.len());
                                batch.messages.push(message);
                            }
                        }
                    }
                }
                touched |= !matches!(op, JournalOp::Message(_) | JournalOp::Truncate(_));
            }
            if touched {
                batch.turns.push((header.clone(), row));
            }
            for event in &share.unwritten.events {
                if matches!(event.kind, "tool_call" | "tool_result")
                    && let Ok(event) = serde_json::from_str(&event.body)
                {
                    batch.tools.push(ToolRow { header: header.clone(), event });
                }
                batch.events.push(event.clone());
            }
        }
        batch
    }
}
