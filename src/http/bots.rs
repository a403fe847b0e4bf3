//! Bots (http-api §8.7, §9.2 to §9.4): the list, their profiles, reload and purge. Writing them is the bot room's.

use greenroom_bot::{Audience, Bot, IfMatch, ProfileFilter};
use greenroom_protocol::fields::Fields;
use http::HeaderValue;
use http::header::ETAG;
use serde_json::json;

use super::answer::{self, Answer};
use super::call::Call;
use super::error::ApiError;

const AWAY: &str = "Bot profiles DB unavailable";

fn audience(call: &Call) -> Audience {
    if call.caller.is_admin() { Audience::Admin } else { Audience::Reader }
}

fn profile_answer(call: &Call, bot: &Bot) -> Answer {
    let view = bot.profile_view(audience(call));
    let mut response = answer::json(&view)?;
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", view.updated_at)) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

fn if_match(call: &Call) -> IfMatch {
    call.header("if-match").map(IfMatch::parse).unwrap_or_default()
}

/// `GET /v1/bots`.
pub async fn list(call: Call) -> Answer {
    let directory = call.house.bots.directory();
    let bots: Vec<_> = directory.iter().map(|bot| bot.view(audience(&call))).collect();
    answer::json(&json!({"object": "list", "data": bots}))
}

/// `GET /v1/bots/profiles`.
pub async fn profiles(call: Call) -> Answer {
    let mut fields = call.query().fields();
    let filter = ProfileFilter {
        q: fields.text("q").some(),
        uses_tools: fields.boolean("uses_tools").some(),
        uses_search: fields.boolean("uses_search").some(),
        requires_memory: fields.boolean("requires_memory").some(),
        voice_optimized: fields.boolean("voice_optimized").some(),
        uses_home_assistant: fields.boolean("uses_home_assistant").some(),
        default_model: fields.text("default_model").some(),
        limit: page_number(&mut fields, "limit", 1, 1000, 200),
        offset: page_number(&mut fields, "offset", 0, 1_000_000, 0),
    };
    fields.finish()?;
    let page = call.house.bots.profiles(&filter);
    let profiles: Vec<_> = page.bots.iter().map(|bot| bot.profile_view(audience(&call))).collect();
    answer::json(&json!({
        "profiles": profiles,
        "total_count": page.total_count,
        "filters": {
            "q": filter.q, "uses_tools": filter.uses_tools, "uses_search": filter.uses_search,
            "requires_memory": filter.requires_memory, "voice_optimized": filter.voice_optimized,
            "uses_home_assistant": filter.uses_home_assistant, "default_model": filter.default_model,
            "limit": filter.limit, "offset": filter.offset,
        },
    }))
}

/// A bounded number of a list's query.
pub(super) fn page_number(fields: &mut Fields<'_>, name: &str, least: i64, most: i64, default: usize) -> usize {
    fields.integer(name, least, most).some().and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
}

/// `POST /v1/bots`.
pub async fn create(mut call: Call) -> Answer {
    let body = call.json().await?;
    let bot = call.house.bots.create_profile(&body).await.map_err(|error| ApiError::from(error).away(AWAY))?;
    profile_answer(&call, &bot)
}

/// `GET /v1/bots/{slug}/profile`.
pub async fn profile(call: Call) -> Answer {
    let bot = call.house.bots.profile(call.param("bot_id"))?;
    profile_answer(&call, &bot)
}

/// `PUT /v1/bots/{slug}/profile`: merges, or replaces with `Prefer: replace` or `?mode=replace`.
pub async fn put_profile(mut call: Call) -> Answer {
    let mut fields = call.query().fields();
    let mode = fields.text("mode").some();
    if mode.as_deref().is_some_and(|mode| !matches!(mode, "replace" | "merge")) {
        fields.complain("literal_error", "mode", "Input should be 'merge' or 'replace'");
    }
    fields.finish()?;
    let preferred = call.header("prefer").is_some_and(|value| value.split(',').any(|word| word.trim() == "replace"));
    let replace = mode.as_deref() == Some("replace") || preferred;
    let body = call.json().await?;
    let written = call.house.bots.put_profile(call.param("bot_id"), &body, replace, if_match(&call)).await;
    let bot = written.map_err(|error| ApiError::from(error).away(AWAY))?;
    profile_answer(&call, &bot)
}

/// `PATCH /v1/bots/{slug}/profile`.
pub async fn patch_profile(mut call: Call) -> Answer {
    let body = call.json().await?;
    let written = call.house.bots.patch_profile(call.param("bot_id"), &body, if_match(&call)).await;
    let bot = written.map_err(|error| ApiError::from(error).away(AWAY))?;
    profile_answer(&call, &bot)
}

/// `DELETE /v1/bots/{slug}/profile`.
pub async fn delete_profile(call: Call) -> Answer {
    let mut fields = call.query().fields();
    let purge = fields.boolean("purge").some().unwrap_or(false);
    fields.finish()?;
    let deleted = call.house.bots.delete_profile(call.param("bot_id"), purge, if_match(&call)).await;
    let deleted = deleted.map_err(|error| ApiError::from(error).away(AWAY))?;
    answer::json(&json!({"success": true, "slug": deleted.slug, "purge": deleted.purge}))
}

/// `POST /v1/bots/{slug}/purge-data`.
pub async fn purge(call: Call) -> Answer {
    let mut fields = call.query().fields();
    let force = fields.boolean("force").some().unwrap_or(false);
    let confirm = fields.text("confirm").some();
    fields.finish()?;
    let purged = call.house.bots.purge(call.param("bot_id"), force, confirm.as_deref()).await;
    answer::json(&purged.map_err(|error| ApiError::from(error).away("No database connection available"))?)
}

/// `POST /v1/bots/cleanup-orphans`.
pub async fn clean_up_orphans(call: Call) -> Answer {
    let mut fields = call.query().fields();
    let dry_run = fields.boolean("dry_run").some().unwrap_or(true);
    fields.finish()?;
    let found = call.house.bots.clean_up_orphans(dry_run).await;
    answer::json(&found.map_err(|error| ApiError::from(error).away("No database connection available"))?)
}

/// `POST /v1/admin/reload-bots`.
pub async fn reload(call: Call) -> Answer {
    let reloaded = call.house.bots.reload().await.map_err(|error| ApiError::from(error).away(AWAY))?;
    answer::json(&json!({
        "status": "reloaded", "cleared_instances": reloaded.bots,
        "cleared_session_model_overrides": reloaded.cleared_model_overrides,
    }))
}
