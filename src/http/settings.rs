//! Runtime settings (http-api §9.1). Which value wins, and why, is the bot room's; it is shown beside the rows.

use greenroom_bot::{ScopeType, SettingDraft, SettingFilter, SettingPlace, SettingRow};
use greenroom_protocol::ErrorClass;
use greenroom_protocol::time::wire_time;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::bots::page_number;
use super::call::Call;
use super::error::ApiError;

const AWAY: &str = "Runtime settings DB unavailable";

/// Scope of the query. Without `scope_id`, a bot scope means the default bot.
fn place_of_query(call: &Call) -> Result<SettingPlace, ApiError> {
    let scope_type = call.query().get("scope_type").unwrap_or("bot");
    Ok(call.house.bots.setting_place(scope_type, call.query().get("scope_id"))?)
}

/// `GET /v1/settings`.
pub async fn list(call: Call) -> Answer {
    let place = place_of_query(&call)?;
    let bots = &call.house.bots;
    let rows = bots.settings_at(&place).await.map_err(|error| ApiError::from(error).away(AWAY))?;
    let settings: Vec<Value> = rows.iter().map(|row| json!({"key": row.key, "value": row.value})).collect();
    answer::json(&json!({
        "scope_type": place.scope_type, "scope_id": place.scope_id, "settings": settings,
        "effective": bots.effective_settings(&place),
    }))
}

/// `GET /v1/settings/all`.
pub async fn all(call: Call) -> Answer {
    let mut fields = call.query().fields();
    let word = fields.text("scope_type").some();
    let scope_type = match word.as_deref().map(|word| ScopeType::parse(&word.trim().to_lowercase())) {
        Some(None) => return Err(ApiError::said(ErrorClass::InvalidRequest, "scope_type must be 'global' or 'bot'")),
        other => other.flatten(),
    };
    let filter = SettingFilter {
        scope_type,
        scope_id: fields.text("scope_id").some().map(|id| id.trim().to_lowercase()),
        key: fields.text("key").some(),
        key_prefix: fields.text("key_prefix").some(),
    };
    let limit = page_number(&mut fields, "limit", 1, 1000, 200);
    let offset = page_number(&mut fields, "offset", 0, 1_000_000, 0);
    fields.finish()?;
    let page = call.house.bots.settings_page(&filter, limit as i64, offset as i64).await;
    let page = page.map_err(|error| ApiError::from(error).away(AWAY))?;
    let settings: Vec<Value> = page.rows.iter().map(row_view).collect();
    answer::json(&json!({
        "settings": settings,
        "total_count": page.total_count,
        "filters": {
            "scope_type": filter.scope_type, "scope_id": filter.scope_id, "key": filter.key,
            "key_prefix": filter.key_prefix, "limit": limit, "offset": offset,
        },
    }))
}

fn row_view(row: &SettingRow) -> Value {
    json!({
        "scope_type": row.scope_type, "scope_id": row.scope_id, "key": row.key, "value": row.value,
        "updated_at": wire_time(row.updated_at),
    })
}

/// `PUT /v1/settings`.
pub async fn put(mut call: Call) -> Answer {
    let draft = SettingDraft::read(&call.json().await?)?;
    let applied = call.house.bots.put_settings(vec![draft]).await;
    let applied = applied.map_err(|error| ApiError::from(error).away(AWAY))?;
    let row = applied.rows.first().ok_or_else(|| ApiError::Internal("a written setting is missing".into()))?;
    answer::json(&json!({
        "success": true, "scope_type": row.scope_type, "scope_id": row.scope_id, "key": row.key, "value": row.value,
        "unknown_keys": applied.unknown_keys,
    }))
}

/// `POST /v1/settings/batch`: all of them, or none.
pub async fn batch(mut call: Call) -> Answer {
    let drafts = SettingDraft::read_batch(&call.json().await?)?;
    let applied = call.house.bots.put_settings(drafts).await;
    let applied = applied.map_err(|error| ApiError::from(error).away(AWAY))?;
    let rows: Vec<Value> = applied
        .rows
        .iter()
        .map(|row| json!({"scope_type": row.scope_type, "scope_id": row.scope_id, "key": row.key}))
        .collect();
    answer::json(&json!({
        "success": true, "applied_count": rows.len(), "applied": rows, "unknown_keys": applied.unknown_keys,
    }))
}

/// `DELETE /v1/settings`.
pub async fn delete(call: Call) -> Answer {
    let mut fields = call.query().fields();
    for name in ["scope_type", "key"] {
        if call.query().get(name).is_none() {
            fields.missing(name);
        }
    }
    fields.finish()?;
    let place = place_of_query(&call)?;
    let key = call.query().get("key").unwrap_or_default();
    let removed = call.house.bots.delete_setting(place, key).await;
    let removed = removed.map_err(|error| ApiError::from(error).away(AWAY))?;
    answer::json(&json!({
        "success": true, "scope_type": removed.place.scope_type, "scope_id": removed.place.scope_id,
        "key": removed.key, "deleted": removed.deleted,
    }))
}
