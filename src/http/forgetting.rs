//! Forgetting, bringing back, and looking at what either would touch (http-api §11). Profile attributes that came from a
//! forgotten message go with it, and come back with it.

use greenroom_memory::forget::MOST_FORGOTTEN;
use greenroom_memory::{ForgetRequest, ForgetTarget, RestoreRequest, RestoreWhat, Tombstone, TombstoneReason};
use greenroom_profile::Profiles;
use greenroom_protocol::ErrorClass;
use greenroom_protocol::fields::Fields;
use greenroom_protocol::time::wire_time;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::{self, Answer};
use super::call::Call;
use super::error::ApiError;
use super::history::{clamped, preview, seconds};
use super::whose::{Whose, narrowed, whole_memory};

/// Most messages of a preview.
const MOST: i64 = 500;
/// Longest time back, in minutes: a hundred years.
const LONGEST: i64 = 52_560_000;
const MUST_SAY: &str = "Must specify count, minutes, or message_id";

/// `POST /v1/memory/forget`.
pub async fn forget(mut call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let body = call.json().await?;
    let mut fields = Fields::of("body", &body)?;
    let message = fields.text_max("message_id", 256).some().filter(|id| !id.trim().is_empty());
    let count = fields.integer("count", 1, MOST_FORGOTTEN).some();
    let minutes = fields.integer("minutes", 1, LONGEST).some();
    let dry_run = fields.boolean("dry_run").some().unwrap_or(false);
    let user = narrowed(&call, &mut fields, "user_id")?;
    fields.finish()?;
    let target = match (&message, count, minutes) {
        (Some(id), ..) => ForgetTarget::Message(id.trim().to_owned()),
        (None, Some(count), _) => ForgetTarget::Newest(count),
        (None, None, Some(minutes)) => ForgetTarget::Since(since(minutes)),
        (None, None, None) => return Err(ApiError::said(ErrorClass::InvalidRequest, MUST_SAY)),
    };
    let by = call.caller.name.as_ref().map(ToString::to_string);
    let request = ForgetRequest { target, user, reason: TombstoneReason::User, by, dry_run };
    let forgetting = whose.namespace.forget_with(request, move |x, forgotten| {
        Box::pin(async move {
            match forgotten.batch_id.filter(|_| !dry_run) {
                Some(batch) => {
                    let (ids, now) = (&forgotten.message_ids, Timestamp::now());
                    Ok(Profiles::forget_sources_on(x.db, x.bot, ids, batch, now).await?)
                }
                None => Ok(0),
            }
        })
    });
    let (forgotten, attributes) = forgetting.await.map_err(|error: ApiError| match &message {
        Some(id) => error.said_not_found(&format!("Message '{}' not found", id.trim())),
        None => error,
    })?;
    let verb = if dry_run { "would be forgotten" } else { "forgotten" };
    let (messages, memories) = (forgotten.message_ids.len(), forgotten.memory_ids.len());
    answer::json(&json!({
        "success": true, "messages_ignored": messages, "memories_deleted": memories,
        "memories_trimmed": forgotten.memories_trimmed, "summaries_stale": forgotten.summaries_stale.len(),
        "message_ids": forgotten.message_ids, "memory_ids": forgotten.memory_ids, "batch_id": forgotten.batch_id,
        "attributes_forgotten": attributes, "dry_run": dry_run, "message": format!("{messages} messages {verb}, {memories} memories"),
    }))
}

fn since(minutes: i64) -> Timestamp {
    Timestamp::now().checked_sub(SignedDuration::from_mins(minutes)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `POST /v1/memory/restore`: all, or what a body names.
pub async fn restore(mut call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let (root, members) = call.either().await?;
    let mut fields = Fields::of_map(root, &members);
    let batch = fields.text("batch_id").some().map(|text| Uuid::parse_str(text.trim()));
    if matches!(batch, Some(Err(_))) {
        fields.complain("uuid_parsing", "batch_id", "Input should be a UUID");
    }
    let ids: Option<Vec<Uuid>> = match fields.raw("ids") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(|item| Uuid::parse_str(item.as_str()?).ok()).collect(),
        Some(Value::String(list)) => list.split(',').map(|id| Uuid::parse_str(id.trim()).ok()).collect(),
        Some(_) => None,
    };
    let ids = ids.filter(|ids| ids.len() <= 1000);
    if ids.is_none() {
        fields.complain("uuid_parsing", "ids", "Input should be at most 1000 UUIDs");
    }
    let dry_run = fields.boolean("dry_run").some().unwrap_or(false);
    fields.finish()?;
    let what = match (batch.and_then(Result::ok), ids.unwrap_or_default()) {
        (Some(batch), _) => RestoreWhat::Batch(batch),
        (None, ids) if !ids.is_empty() => RestoreWhat::Ids(ids),
        (None, _) => RestoreWhat::All,
    };
    let restoring = whose.namespace.restore_with(RestoreRequest { what, dry_run }, move |x, restored| {
        Box::pin(async move {
            let (mut attributes, now) = (0, Timestamp::now());
            for batch in restored.batches.iter().filter(|_| !dry_run) {
                attributes += Profiles::restore_batch_on(x.db, *batch, now).await?;
            }
            Ok::<_, ApiError>(attributes)
        })
    });
    let (restored, attributes) = restoring.await?;
    let verb = if dry_run { "would be restored" } else { "restored" };
    answer::json(&json!({
        "success": true, "messages_restored": restored.messages_restored,
        "memories_restored": restored.memories_restored, "summaries_restored": restored.summaries_restored,
        "attributes_restored": attributes, "kept": restored.kept, "dry_run": dry_run,
        "message": format!("{} messages {verb}, {} memories", restored.messages_restored, restored.memories_restored),
    }))
}

/// `GET /v1/memory/preview/recent`.
pub async fn preview_recent(call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let mut fields = call.query().fields();
    let count = clamped(&mut fields, "count", 10, MOST);
    fields.finish()?;
    let messages = whose.namespace.preview_recent(count).await?;
    preview(&whose, &messages)
}

/// `GET /v1/memory/preview/minutes`.
pub async fn preview_minutes(call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let mut fields = call.query().fields();
    let minutes = fields.integer("minutes", 1, LONGEST).some();
    if call.query().get("minutes").is_none() {
        fields.missing("minutes");
    }
    fields.finish()?;
    let messages = whose.namespace.preview_since(since(minutes.unwrap_or(1))).await?;
    preview(&whose, &messages)
}

/// `GET /v1/memory/preview/ignored`.
pub async fn preview_ignored(call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let mut fields = call.query().fields();
    let limit = clamped(&mut fields, "limit", MOST, MOST);
    fields.finish()?;
    let tombstones = whose.namespace.preview_forgotten(Some(false), limit).await?;
    // The newest are chosen, and shown in the order in which they were said.
    let messages: Vec<Value> = tombstones.iter().rev().map(tombstone).collect();
    answer::json(&json!({"bot_id": whose.slug(), "total_count": messages.len(), "messages": messages}))
}

fn tombstone(of: &Tombstone) -> Value {
    json!({
        "id": of.id, "role": of.role, "content": of.content, "timestamp": seconds(of.original_ts),
        "batch_id": of.batch_id, "forgotten_at": wire_time(of.forgotten_at), "reason": of.reason.as_str(),
    })
}
