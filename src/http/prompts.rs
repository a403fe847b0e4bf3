//! Prompt templates (http-api §13): the texts that ship with the program, and edits of them for all bots or one.

use greenroom_prompts::{Draft, ListFilter, PromptError, Prompts, Scope, Trial};
use greenroom_protocol::ErrorClass;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::call::Call;
use super::error::ApiError;

/// What clients are told when the database is away.
const AWAY: &str = "Prompt template DB unavailable";
/// Who edits, when no key says so.
const SOMEBODY: &str = "api";

impl From<PromptError> for ApiError {
    fn from(error: PromptError) -> Self {
        match error {
            PromptError::Invalid(complaints) => Self::Invalid(complaints),
            PromptError::NotValid(judgement) => {
                Self::Detailed { class: ErrorClass::InvalidRequest, detail: json!(judgement) }
            }
            error => Self::room(error.class(), error).away(AWAY),
        }
    }
}

/// Scope of the query; all bots without one.
fn scope(call: &Call) -> Result<Scope, ApiError> {
    let query = call.query();
    Ok(Scope::parse(query.get("scope_type").unwrap_or("global"), query.get("scope_id"))?)
}

fn editor(call: &Call) -> &str {
    call.caller.name.as_deref().unwrap_or(SOMEBODY)
}

/// `GET /v1/prompts`.
pub async fn list(call: Call) -> Answer {
    let mut fields = call.query().fields();
    let category = fields.text_max("category", 64).some().filter(|text| !text.trim().is_empty());
    let include_defaults = fields.boolean("include_defaults").some().unwrap_or(true);
    fields.finish()?;
    let filter = ListFilter { category, scope: scope(&call)?, include_defaults };
    let prompts = call.house.prompts.list(&filter).await?;
    answer::json(&json!({
        "prompts": prompts,
        "total_count": prompts.len(),
        "filters": {
            "category": filter.category, "scope_type": filter.scope.kind(), "scope_id": filter.scope.id(),
            "include_defaults": filter.include_defaults,
        },
    }))
}

/// `POST /v1/prompts/seed-defaults`: the built-in texts stay in the program, so nothing is ever created; the answer names
/// them all the same.
pub async fn seed_defaults(_: Call) -> Answer {
    let keys: Vec<String> = Prompts::defaults().into_iter().map(|template| template.key).collect();
    answer::json(
        &json!({"created": 0, "skipped": keys.len(), "total": keys.len(), "seeded_keys": Vec::<String>::new()}),
    )
}

/// `GET /v1/prompts/{key}`.
pub async fn get(call: Call) -> Answer {
    let mut fields = call.query().fields();
    let exact = fields.boolean("exact").some().unwrap_or(false);
    fields.finish()?;
    let (scope, key, prompts) = (scope(&call)?, call.param("key"), &call.house.prompts);
    answer::json(&if exact { prompts.exact(key, &scope).await? } else { prompts.get(key, &scope).await? })
}

/// `PUT /v1/prompts/{key}`: with a text, which becomes a version.
pub async fn put(call: Call) -> Answer {
    save(call, true).await
}

/// `PATCH /v1/prompts/{key}`: with or without a text.
pub async fn patch(call: Call) -> Answer {
    save(call, false).await
}

async fn save(mut call: Call, needs_body: bool) -> Answer {
    let body = call.json().await?;
    let mut draft = Draft::read(&body, needs_body)?;
    // A key's name is the truth about who edits; only without keys the client may say so itself.
    if call.caller.name.is_some() || draft.updated_by.is_none() {
        draft.updated_by = Some(editor(&call).to_owned());
    }
    answer::json(&call.house.prompts.save(call.param("key"), draft).await?)
}

/// `GET /v1/prompts/{key}/versions`: newest first.
pub async fn versions(call: Call) -> Answer {
    let (scope, key) = (scope(&call)?, call.param("key"));
    let versions = call.house.prompts.versions(key, &scope).await?;
    answer::json(&json!({
        "key": key, "scope_type": scope.kind(), "scope_id": scope.id(), "versions": versions,
        "total_count": versions.len(),
    }))
}

/// `POST /v1/prompts/{key}/versions/{version}/restore`: an earlier text again, as a new version.
pub async fn restore(call: Call) -> Answer {
    let text = call.param("version");
    let number = text.parse::<i32>().map_err(|_| {
        let input: Value = text.chars().take(64).collect::<String>().into();
        ApiError::complaint("int_parsing", &["path", "version"], "Input should be a valid integer", input)
    })?;
    let restored = call.house.prompts.restore(call.param("key"), &scope(&call)?, number, Some(editor(&call))).await?;
    answer::json(&restored)
}

/// `POST /v1/prompts/{key}/reset`: what ships with the program, or the text for all bots, holds again.
pub async fn reset(call: Call) -> Answer {
    let reset = call.house.prompts.reset(call.param("key"), &scope(&call)?, Some(editor(&call))).await?;
    answer::json(&reset.template.ok_or(PromptError::NotFound)?)
}

/// `POST /v1/prompts/{key}/validate`.
pub async fn validate(call: Call) -> Answer {
    judge(call, false).await
}

/// `POST /v1/prompts/{key}/preview`: rendered whether or not it is valid.
pub async fn preview(call: Call) -> Answer {
    judge(call, true).await
}

async fn judge(mut call: Call, preview: bool) -> Answer {
    let body = call.json().await?;
    let (trial, scope) = (Trial::read(&body)?, scope(&call)?);
    answer::json(&call.house.prompts.validate(call.param("key"), &scope, &trial, preview).await?)
}
