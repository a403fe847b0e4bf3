//! The `history` tool: what was said, word for word. What it finds and how that is shown is in `reading.rs`; here are the
//! tool itself and forgetting, which takes what was learnt from the forgotten messages along and can be undone.

use std::sync::Arc;
use std::time::Duration;

use greenroom_memory::{Cursor, ForgetRequest, ForgetTarget, HistoryQuery, TombstoneReason};
use greenroom_profile::{ProfileError, Profiles};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Done, invalid, needed};
use crate::outcome::ToolOutcome;
use crate::tool::{BoxFuture, CallContext, Effects, Scope, Tool, ToolSpec, parse};
use crate::tools::ToolRooms;

const ABOUT: &str = "The record of past conversations, word for word. search finds messages by what they are about; recent \
                     shows the newest, or those of a time; recall shows the messages behind a summary, by the summary's id; \
                     forget takes the newest messages out of the record when the user asks for it.";
/// Messages of one page of the record.
const PAGE: i64 = 500;
/// Most messages that one call forgets.
const MOST_FORGOTTEN: usize = 1_000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Arguments {
    /// What to do.
    action: Action,
    /// For search: what the messages are about.
    #[schemars(length(max = 4000))]
    pub(super) query: Option<String>,
    /// For recall: id of the summary.
    #[schemars(length(max = 64))]
    pub(super) summary_id: Option<String>,
    /// For search and recent: how many messages at most.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 50))]
    pub(super) n_results: u32,
    /// For search and recent: only what this side said.
    pub(super) role_filter: Option<Speaker>,
    /// For search and recent: from this time on, such as 2026-03-01, yesterday, last week or -3d.
    #[schemars(length(max = 64))]
    pub(super) since: Option<String>,
    /// For search and recent: up to this time; a plain date includes the whole day.
    #[schemars(length(max = 64))]
    pub(super) until: Option<String>,
    /// For recall: which part of a long conversation.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub(super) page: u32,
    /// For forget: so many of the newest messages before this one.
    #[schemars(range(min = 1, max = 1000))]
    count: Option<u32>,
    /// For forget: what was said in the last so many minutes.
    #[schemars(range(min = 1, max = 525_600))]
    minutes: Option<u32>,
}

fn ten() -> u32 {
    10
}

fn one() -> u32 {
    1
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    Search,
    Recent,
    Recall,
    Forget,
}

#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Speaker {
    User,
    Assistant,
}

pub(super) struct History {
    spec: ToolSpec,
    pub(super) profiles: Profiles,
}

pub(super) fn tool(rooms: &ToolRooms, timeout: Duration) -> Arc<dyn Tool> {
    let spec = ToolSpec::built_in::<Arguments>("history", ABOUT, Scope::Memory, timeout);
    Arc::new(History { spec, profiles: rooms.profiles.clone() })
}

impl Tool for History {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effects(&self, arguments: &Value) -> Effects {
        match arguments["action"].as_str() {
            // The newest are others the second time.
            Some("forget") => Effects::Dangerous,
            // It is noted that they were recalled.
            Some("recall") => Effects::Idempotent,
            _ => Effects::ReadOnly,
        }
    }

    fn call<'a>(&'a self, cx: &'a CallContext, arguments: Value) -> BoxFuture<'a, ToolOutcome> {
        Box::pin(async {
            let done = match parse::<Arguments>(arguments) {
                Ok(wanted) => match wanted.action {
                    Action::Search if wanted.query.is_some() => self.search(cx, wanted).await,
                    Action::Search if wanted.since.is_none() && wanted.until.is_none() => {
                        needed(wanted.query, "query", "search").map(ToolOutcome::success)
                    }
                    Action::Search | Action::Recent => self.recent(cx, wanted).await,
                    Action::Recall => self.recall(cx, wanted).await,
                    Action::Forget => forget(cx, wanted).await,
                },
                Err(refused) => Err(refused),
            };
            done.unwrap_or_else(|refused| refused)
        })
    }
}

/// Why forgetting failed, in either room.
struct Failed(ToolOutcome);

impl From<greenroom_memory::MemoryError> for Failed {
    fn from(error: greenroom_memory::MemoryError) -> Self {
        Self(error.into())
    }
}

impl From<ProfileError> for Failed {
    fn from(error: ProfileError) -> Self {
        Self(error.into())
    }
}

async fn forget(cx: &CallContext, wanted: Arguments) -> Done {
    let ids = match (wanted.count, wanted.minutes) {
        (Some(count), _) => newest(cx, usize::try_from(count).unwrap_or(usize::MAX), None).await?,
        (None, Some(minutes)) => {
            let since = Timestamp::now().checked_sub(SignedDuration::from_mins(i64::from(minutes)));
            let since = since.unwrap_or(Timestamp::UNIX_EPOCH);
            let ids = newest(cx, MOST_FORGOTTEN + 1, Some(since)).await?;
            if ids.len() > MOST_FORGOTTEN {
                return Err(invalid(format!(
                    "More than {MOST_FORGOTTEN} messages lie in that time: choose a shorter one."
                )));
            }
            ids
        }
        (None, None) => return Err(invalid("'count' or 'minutes' is required for forget.")),
    };
    if ids.is_empty() {
        return Ok(ToolOutcome::success("There is nothing to forget."));
    }
    let target = ForgetTarget::Ids(ids);
    let request =
        ForgetRequest { reason: TombstoneReason::Tool, by: Some(cx.bot.to_string()), ..ForgetRequest::new(target) };
    let forgetting = cx.namespace.forget_with(request, |x, forgotten| {
        Box::pin(async move {
            match forgotten.batch_id {
                Some(batch) => {
                    let now = Timestamp::now();
                    Ok(Profiles::forget_sources_on(x.db, x.bot, &forgotten.message_ids, batch, now).await?)
                }
                None => Ok(0),
            }
        })
    });
    let (forgotten, attributes) = forgetting.await.map_err(|Failed(refused)| refused)?;
    let text = format!(
        "Forgotten: {} messages, {} memories and {attributes} profile entries that rested on them. It can be undone.",
        forgotten.message_ids.len(),
        forgotten.memory_ids.len(),
    );
    let data = json!({
        "messages": forgotten.message_ids.len(), "memories": forgotten.memory_ids.len(),
        "attributes": attributes, "batch_id": forgotten.batch_id,
    });
    Ok(ToolOutcome::success(text).with_data(data))
}

/// The newest messages that the bot may see, but those of this turn: the wish to forget is not what is to be forgotten.
async fn newest(cx: &CallContext, count: usize, since: Option<Timestamp>) -> Result<Vec<Uuid>, ToolOutcome> {
    let mut ids = Vec::new();
    let mut before: Option<Cursor> = None;
    loop {
        let query = HistoryQuery { before, limit: PAGE, user: cx.confined_to().cloned(), ..HistoryQuery::default() };
        let page = cx.namespace.history(&query).await?;
        let old = |ts| since.is_some_and(|since| ts < since);
        let wanted = page.messages.iter().rev().filter(|message| message.turn.as_ref() != Some(&cx.turn));
        ids.extend(wanted.filter(|message| !old(message.ts)).map(|message| message.id));
        let first = page.messages.first().filter(|first| page.has_more && !old(first.ts));
        match first {
            Some(first) if ids.len() < count => before = Some(Cursor::of(first)),
            _ => break,
        }
    }
    ids.truncate(count);
    Ok(ids)
}
