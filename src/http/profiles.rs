//! What is known about users and bots (http-api §12). Whose word counts for more is the profile room's.

use greenroom_profile::{
    AttributeDraft, AttributeFilter, AttributePatch, Entity, EntityType, ProfileDetail, ProfileError, ProfileFilter,
    ProfilePatch,
};
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::bots::page_number;
use super::call::Call;
use super::error::ApiError;
use super::whose::whole_memory;

/// What clients are told when the database is away.
const AWAY: &str = "Profile service unavailable";
/// Most entries of a profile's history that are shown.
const HISTORY: i64 = 500;

impl From<ProfileError> for ApiError {
    fn from(error: ProfileError) -> Self {
        match error {
            ProfileError::Invalid(complaints) => Self::Invalid(complaints),
            error => Self::room(error.class(), error).away(AWAY),
        }
    }
}

fn actor(call: &Call) -> Option<&str> {
    call.caller.name.as_deref()
}

fn entity(call: &Call) -> Result<Entity, ApiError> {
    Ok(Entity::parse(call.param("entity_type"), call.param("entity_id"))?)
}

fn number(call: &Call) -> Result<i64, ApiError> {
    let text = call.param("attribute_id");
    let missing = || format!("Attribute with ID {} not found", text.chars().take(64).collect::<String>());
    text.parse::<i64>().map_err(|_| ApiError::not_found(missing()))
}

/// `GET /v1/profiles`: users first, then bots.
pub async fn list(call: Call) -> Answer {
    whole_memory(&call)?;
    let mut fields = call.query().fields();
    let kind = fields.text("entity_type").some();
    let (limit, offset) = page(&mut fields);
    fields.finish()?;
    let entity_type = kind.as_deref().map(EntityType::parse).transpose()?;
    let page = call.house.profiles.list(&ProfileFilter { entity_type, limit, offset }).await?;
    answer::json(&json!({"profiles": page.profiles, "total_count": page.total_count}))
}

fn page(fields: &mut greenroom_protocol::fields::Fields<'_>) -> (i64, i64) {
    let limit = page_number(fields, "limit", 1, 500, 100);
    (limit as i64, page_number(fields, "offset", 0, 1_000_000, 0) as i64)
}

/// `GET /v1/profiles/attribute`: newest change first.
pub async fn attributes(call: Call) -> Answer {
    whole_memory(&call)?;
    let mut fields = call.query().fields();
    let kind = fields.text("entity_type").some();
    let mut text = |name: &str| fields.text_max(name, 100).some();
    let (entity_id, category, key, source) = (text("entity_id"), text("category"), text("key"), text("source"));
    let min_confidence = fields.number("min_confidence", 0.0, 1.0).some();
    let (limit, offset) = page(&mut fields);
    fields.finish()?;
    let entity_type = kind.as_deref().map(EntityType::parse).transpose()?;
    let filter = AttributeFilter { entity_type, entity_id, category, key, source, min_confidence, limit, offset };
    let page = call.house.profiles.attributes(&filter).await?;
    answer::json(&json!({
        "attributes": page.attributes,
        "total_count": page.total_count,
        "filters": {
            "entity_type": filter.entity_type.map(EntityType::as_str), "entity_id": filter.entity_id,
            "category": filter.category, "key": filter.key, "source": filter.source,
            "min_confidence": filter.min_confidence, "limit": filter.limit, "offset": filter.offset,
        },
    }))
}

/// `GET /v1/profiles/lookup`: a user by e-mail address.
pub async fn lookup(call: Call) -> Answer {
    whole_memory(&call)?;
    let mut fields = call.query().fields();
    let email = fields.required_text("email", 255);
    fields.finish()?;
    let email = email.trim().to_lowercase();
    answer::json(&match call.house.profiles.lookup(&email).await? {
        Some(header) => json!({
            "found": true, "email": email, "entity_id": header.entity.id(), "display_name": header.display_name,
        }),
        None => json!({"found": false, "email": email, "entity_id": null, "display_name": null}),
    })
}

/// `GET /v1/profiles/{entity_id}`: a user, else a bot.
pub async fn find(call: Call) -> Answer {
    whole_memory(&call)?;
    detail(&call.house.profiles.find(call.param("entity_id")).await?)
}

/// `GET /v1/profiles/{entity_type}/{entity_id}`.
pub async fn get(call: Call) -> Answer {
    whole_memory(&call)?;
    detail(&call.house.profiles.get(&entity(&call)?).await?)
}

/// `GET /v1/profiles/{entity_type}/{entity_id}/history`: changes of attributes, newest first.
pub async fn history(call: Call) -> Answer {
    whole_memory(&call)?;
    let mut fields = call.query().fields();
    let limit = page_number(&mut fields, "limit", 1, HISTORY, 100) as i64;
    fields.finish()?;
    let entity = entity(&call)?;
    let entries = call.house.profiles.history(&entity, limit).await?;
    answer::json(&json!({
        "entity_type": entity.kind(), "entity_id": entity.id(), "history": entries, "total_count": entries.len(),
    }))
}

/// `PATCH /v1/profiles/{entity_type}/{entity_id}`: creates the profile when it is missing.
pub async fn patch(mut call: Call) -> Answer {
    let body = call.json().await?;
    let patch = ProfilePatch::read(&body)?;
    detail(&call.house.profiles.patch(&entity(&call)?, &patch).await?)
}

/// `POST /v1/profiles/attribute`.
pub async fn upsert(mut call: Call) -> Answer {
    let body = call.json().await?;
    let mut draft = AttributeDraft::read(&body)?;
    draft.actor = actor(&call).map(str::to_owned);
    let upserted = call.house.profiles.upsert(&draft).await?;
    let mut told = json!(upserted.attribute);
    told["outcome"] = json!(upserted.outcome);
    answer::json(&told)
}

/// `PATCH /v1/profiles/attribute/{attribute_id}`.
pub async fn patch_attribute(mut call: Call) -> Answer {
    let body = call.json().await?;
    let (id, patch) = (number(&call)?, AttributePatch::read(&body)?);
    answer::json(&call.house.profiles.patch_attribute(id, &patch, actor(&call)).await?)
}

/// `DELETE /v1/profiles/attribute/{attribute_id}`.
pub async fn delete_attribute(call: Call) -> Answer {
    let gone = call.house.profiles.delete_attribute(number(&call)?, actor(&call)).await?;
    let deleted: Value = json!(gone);
    answer::json(&json!({
        "success": true, "message": format!("Deleted attribute {}.{}", gone.category, gone.key), "deleted": deleted,
    }))
}

fn detail(profile: &ProfileDetail) -> Answer {
    answer::json(profile)
}
