//! What people see of eligible conversations (http-api.md §10.4).

use std::collections::{HashMap, HashSet};

use greenroom_memory::summaries::{Conversation, Rules, SummaryError};
use greenroom_protocol::Role;
use greenroom_protocol::time::wire_time;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use uuid::Uuid;

use super::format::clip;
use crate::BotBrief;

/// Characters of a shown message.
const SHOWN: usize = 100;

/// The answer of `GET /v1/history/summarize/preview`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// Whose.
    pub bot_id: String,
    /// What a run would summarise, oldest first; of a very long backlog its beginning.
    pub sessions: Vec<PreviewSession>,
    /// Messages in them.
    pub total_messages: usize,
}

/// One conversation in a [`Preview`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PreviewSession {
    /// Unix seconds of the first message.
    pub start_timestamp: f64,
    /// Unix seconds of the last message.
    pub end_timestamp: f64,
    /// `YYYY-MM-DD HH:MM` in the server's time zone.
    pub start_time: String,
    /// `HH:MM` in the server's time zone.
    pub end_time: String,
    /// ISO 8601 in UTC.
    pub started_at: String,
    /// ISO 8601 in UTC.
    pub ended_at: String,
    /// Messages.
    pub message_count: usize,
    /// The user's first words, at most 100 characters.
    pub first_message: Option<String>,
    /// The user's last words, at most 100 characters.
    pub last_message: Option<String>,
}

/// What a run would summarise now.
pub(super) async fn preview(brief: &BotBrief, rules: &Rules) -> Result<Preview, SummaryError> {
    let due = brief.namespace.eligible_sessions(rules, &HashSet::new()).await?;
    let of_users = |session: &Conversation| -> (Option<Uuid>, Option<Uuid>) {
        let mut ids = session.rows.iter().filter(|row| row.role == Role::User).map(|row| row.id);
        let first = ids.next();
        (first, ids.next_back().or(first))
    };
    let wanted: Vec<Uuid> = due
        .iter()
        .flat_map(|session| {
            let (first, last) = of_users(session);
            first.into_iter().chain(last)
        })
        .collect();
    let texts = brief.namespace.source_texts(&wanted).await?;
    let texts: HashMap<Uuid, String> =
        texts.into_iter().map(|message| (message.id, clip(&message.content, SHOWN))).collect();
    let zone = TimeZone::system();
    let local = |time: Timestamp, form: &str| time.to_zoned(zone.clone()).strftime(form).to_string();
    let sessions: Vec<PreviewSession> = due
        .iter()
        .map(|session| {
            let (first, last) = of_users(session);
            let text = |id: Option<Uuid>| id.and_then(|id| texts.get(&id).cloned());
            PreviewSession {
                start_timestamp: unix(session.start()),
                end_timestamp: unix(session.end()),
                start_time: local(session.start(), "%Y-%m-%d %H:%M"),
                end_time: local(session.end(), "%H:%M"),
                started_at: wire_time(session.start()),
                ended_at: wire_time(session.end()),
                message_count: session.rows.len(),
                first_message: text(first),
                last_message: text(last),
            }
        })
        .collect();
    let total_messages = sessions.iter().map(|session| session.message_count).sum();
    Ok(Preview { bot_id: brief.slug.as_str().to_owned(), sessions, total_messages })
}

fn unix(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
