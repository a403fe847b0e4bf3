//! What was said (http-api §10): pages, search, clearing. Summaries have a file of their own. Messages that a summary
//! stands for are shown like any other, because the text is still there.

use std::collections::HashSet;

use greenroom_memory::episodes::{MessageHit, MessageSearch, SearchMode};
use greenroom_memory::{Cast, HistoryQuery, MemoryError, StoredMessage};
use greenroom_protocol::fields::Fields;
use greenroom_protocol::time::wire_time;
use greenroom_protocol::{ErrorClass, Role, UserId};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::{self, Answer};
use super::call::Call;
use super::error::ApiError;
use super::whose::{Whose, bound_user, narrowed, whole_memory};
use crate::transfer::moment;

/// Longest question, in characters.
pub(super) const QUERY_LIMIT: usize = 8000;
/// Messages of a page when nobody says how many.
const PAGE: i64 = 50;
/// Most hits of a search.
const MOST_HITS: i64 = 500;
/// Most ids that a search may be told to leave out.
const MOST_EXCLUDED: usize = 1000;

/// Unix seconds.
pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e6
}

/// A message as clients see it.
pub(super) fn message_view(message: &StoredMessage) -> Value {
    json!({
        "id": message.id, "client_id": message.client_id(), "role": message.role.as_str(), "content": message.content,
        "timestamp": seconds(message.ts), "user_id": message.user, "session_id": message.session,
        "summarized": message.summary.is_some(), "partial": message.partial,
    })
}

/// A limit that is cut to what is possible, and refused only below one.
pub(super) fn clamped(fields: &mut Fields<'_>, name: &str, default: i64, most: i64) -> i64 {
    fields.integer(name, 1, i64::MAX).some().unwrap_or(default).clamp(1, most)
}

/// A moment of a field that may be text or a number.
fn moment_of(fields: &mut Fields<'_>, name: &str) -> Option<Timestamp> {
    let read = match fields.raw(name) {
        None | Some(Value::Null) => return None,
        Some(Value::String(text)) => moment(text),
        Some(Value::Number(number)) => moment(&number.to_string()),
        Some(_) => None,
    };
    if read.is_none() {
        fields.complain("datetime_parsing", name, "Input should be Unix seconds or an RFC 3339 time");
    }
    read
}

/// `GET /v1/history`.
pub async fn list(call: Call) -> Answer {
    let whose = Whose::of_query(&call)?;
    let mut fields = call.query().fields();
    let limit = fields.integer("limit", i64::MIN, i64::MAX).some().unwrap_or(PAGE);
    let include_summarized = fields.boolean("include_summarized").some().unwrap_or(true);
    let before = fields.text_max("before", 256).some();
    let user = narrowed(&call, &mut fields, "user_id")?;
    fields.finish()?;
    let before = match before.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => Some(whose.namespace.cursor(text).await.map_err(bad_cursor)?),
        None => None,
    };
    let query = HistoryQuery { before, limit, without_summarized: !include_summarized, user };
    let page = whose.namespace.history(&query).await?;
    let oldest = page.messages.first().map(|message| seconds(message.ts));
    let messages: Vec<Value> = page.messages.iter().map(message_view).collect();
    answer::json(&json!({
        "bot_id": whose.slug(), "total_count": messages.len(), "messages": messages, "has_more": page.has_more,
        "oldest_timestamp": oldest,
    }))
}

/// Nothing that a cursor names is the caller's mistake, not something that is missing.
fn bad_cursor(error: MemoryError) -> ApiError {
    match error {
        MemoryError::Invalid(_) => ApiError::said(ErrorClass::InvalidRequest, "Invalid 'before' cursor"),
        error => error.into(),
    }
}

fn word(mode: SearchMode) -> &'static str {
    match mode {
        SearchMode::Hybrid => "hybrid",
        SearchMode::Text => "text",
        SearchMode::Vector => "vector",
    }
}

/// What a search wants, read from the query or the body.
struct Wanted {
    bot: Option<String>,
    search: MessageSearch,
    by_time: bool,
    explain: bool,
}

fn read_search(call: &Call, fields: &mut Fields<'_>) -> Result<Wanted, ApiError> {
    let bot = fields.text_max("bot_id", 256).some();
    let query = fields.required_text("query", QUERY_LIMIT);
    let mode = fields.text("mode").some().map(|word| SearchMode::parse(&word));
    if mode == Some(None) {
        fields.complain("literal_error", "mode", "Input should be 'hybrid', 'text' or 'vector'");
    }
    let mode = mode.flatten().unwrap_or(SearchMode::Hybrid);
    let by_time = match fields.text("sort").some().as_deref() {
        None | Some("score" | "relevance") => false,
        Some("time") => true,
        Some(_) => {
            fields.complain("literal_error", "sort", "Input should be 'score' or 'time'");
            false
        }
    };
    let role = fields.text("role").some().and_then(|word| {
        let role = Role::parse(&word).filter(|role| matches!(role, Role::User | Role::Assistant));
        if role.is_none() {
            fields.complain("literal_error", "role", "Input should be 'user' or 'assistant'");
        }
        role
    });
    let limit = clamped(fields, "limit", PAGE, MOST_HITS);
    let user = narrowed(call, fields, "user_id")?;
    let (since, until) = (moment_of(fields, "since"), moment_of(fields, "until"));
    let now = moment_of(fields, "now");
    let explain = fields.boolean("explain").some().unwrap_or(false);
    let exclude = excluded(fields);
    let search = MessageSearch {
        mode,
        limit: usize::try_from(limit).unwrap_or_default(),
        user,
        role,
        since,
        until,
        exclude,
        now,
        ..MessageSearch::new(query)
    };
    Ok(Wanted { bot, search, by_time, explain })
}

fn excluded(fields: &mut Fields<'_>) -> HashSet<Uuid> {
    let ids: Option<Vec<Uuid>> = match fields.raw("exclude") {
        None | Some(Value::Null) => return HashSet::new(),
        Some(Value::Array(items)) => items.iter().map(|item| Uuid::parse_str(item.as_str()?).ok()).collect(),
        Some(Value::String(list)) => list.split(',').map(|id| Uuid::parse_str(id.trim()).ok()).collect(),
        Some(_) => None,
    };
    match ids {
        Some(ids) if ids.len() <= MOST_EXCLUDED => ids.into_iter().collect(),
        _ => {
            fields.complain("value_error", "exclude", format!("Input should be at most {MOST_EXCLUDED} message ids"));
            HashSet::new()
        }
    }
}

/// `POST /v1/history/search`: query parameters, or the same members in a body.
pub async fn search(mut call: Call) -> Answer {
    let (root, members) = call.either().await?;
    let mut fields = Fields::of_map(root, &members);
    let wanted = read_search(&call, &mut fields)?;
    fields.finish()?;
    let whose = Whose::named(&call.house, wanted.bot.as_deref())?;
    let mut search = wanted.search;
    search.cast = cast(&call, &whose, search.user.as_ref()).await;
    let (query, mode) = (search.query.clone(), word(search.mode));
    let found = whose.namespace.search_messages(search).await?;
    let mut hits = found.hits;
    if wanted.by_time {
        hits.sort_by_key(|hit| (hit.message.ts, hit.message.seq));
    }
    let messages: Vec<Value> = hits.iter().map(|hit| hit_view(hit, wanted.explain)).collect();
    let mut told = json!({
        "bot_id": whose.slug(), "query": query, "mode": mode, "total_count": messages.len(), "messages": messages,
    });
    if wanted.explain {
        told["legs"] = json!({"vector": found.vector, "text": found.text, "no_vector": found.no_vector});
    }
    answer::json(&told)
}

/// Who is meant by names, by "I" and by "you", and whose clock "yesterday" goes by. What is not known is left open.
async fn cast(call: &Call, whose: &Whose, user: Option<&UserId>) -> Cast {
    let user = call.house.bots.user_or_default(user);
    let known = call.house.profiles.user_text(&user).await.ok();
    let zone =
        known.as_ref().and_then(|known| known.timezone.as_deref()).or(whose.bot.turn_settings.timezone.as_deref());
    Cast {
        user: known.as_ref().and_then(|known| known.display_name.clone()),
        bot: Some(whose.bot.character().name.clone()),
        zone: zone.and_then(|zone| TimeZone::get(zone).ok()).unwrap_or_else(TimeZone::system),
    }
}

fn hit_view(hit: &MessageHit, explain: bool) -> Value {
    let mut view = message_view(&hit.message);
    view["score"] = json!(hit.score);
    view["snippet"] = json!(hit.snippet);
    if explain {
        view["parts"] = json!(hit.parts);
    }
    view
}

/// `DELETE /v1/history`.
pub async fn clear(call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let mut fields = call.query().fields();
    let include_memories = fields.boolean("include_memories").some().unwrap_or(true);
    fields.finish()?;
    if call.house.turns.is_busy(whose.bot.slug()) {
        return Err(ApiError::said(ErrorClass::Conflict, "A turn of the bot is running"));
    }
    let cleared = whose.namespace.clear(include_memories).await?;
    answer::json(&json!({
        "success": true, "message": format!("History cleared for bot '{}'", whose.slug()),
        "deleted_count": cleared.messages, "memories_deleted": cleared.memories,
        "summaries_deleted": cleared.summaries, "forgotten_deleted": cleared.tombstones,
    }))
}

/// The messages of a preview.
pub(super) fn preview(whose: &Whose, messages: &[StoredMessage]) -> Answer {
    let messages: Vec<Value> = messages.iter().map(message_view).collect();
    answer::json(&json!({"bot_id": whose.slug(), "total_count": messages.len(), "messages": messages}))
}

/// `GET /v1/memory/message`.
pub async fn message(call: Call) -> Answer {
    let whose = Whose::of_query(&call)?;
    let mut fields = call.query().fields();
    let id = fields.required_text("message_id", 256);
    fields.finish()?;
    let id = id.trim();
    let absent = || answer::json(&json!({"error": format!("Message '{id}' not found")}));
    let message = match whose.namespace.message(id).await {
        Ok(message) => message,
        Err(MemoryError::NotFound(..)) => return absent(),
        Err(error) => return Err(error.into()),
    };
    if bound_user(&call).is_some_and(|user| message.user.as_ref() != Some(&user)) {
        return absent();
    }
    let summary = message.summary.map(|id| json!({"summary_id": id}));
    let mut view = message_view(&message);
    view["processed"] = json!(matches!(message.extraction.as_str(), "done" | "excluded"));
    view["extraction_state"] = json!(message.extraction);
    view["created_at"] = json!(wire_time(message.created_at));
    view["turn_id"] = json!(message.turn);
    view["summary_metadata"] = json!(summary);
    answer::json(&json!({"message": view}))
}
