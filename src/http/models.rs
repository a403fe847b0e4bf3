//! Models (http-api §8): the list clients choose from, switching, and the definitions behind it.

use greenroom_protocol::fields::Fields;
use greenroom_protocol::{BotSlug, ErrorClass, UserId};
use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::call::Call;
use super::chat::path_complaint;
use super::error::ApiError;

const AWAY: &str = "Model definitions database unavailable";

/// `GET /v1/models`: models in the catalogue's order, then the bots, which may be chosen like models.
pub async fn list(call: Call) -> Answer {
    answer::json(&json!({"object": "list", "data": listing(&call)}))
}

/// `GET /v1/models/{model}`.
pub async fn get(call: Call) -> Answer {
    let wanted = call.param("model");
    let found = listing(&call)
        .into_iter()
        .find(|model| model["id"].as_str().is_some_and(|id| id.eq_ignore_ascii_case(wanted.trim())));
    let model = found.ok_or_else(|| ApiError::not_found(format!("The model '{wanted}' does not exist")))?;
    answer::json(&model)
}

/// `GET /v1/botchat/{bot_id}/{user_id}/models`.
pub async fn botchat(call: Call) -> Answer {
    let models = listing(&call).into_iter().map(|model| {
        json!({
            "id": model["id"], "object": "model", "created": model["created"], "owned_by": model["owned_by"],
            "type": null, "model_id": null, "description": null,
        })
    });
    answer::json(&json!({"object": "list", "data": models.collect::<Vec<_>>()}))
}

fn listing(call: &Call) -> Vec<Value> {
    let catalogue = call.house.providers.catalogue();
    let mut models: Vec<Value> = catalogue
        .listing()
        .into_iter()
        .map(|mut model| {
            // Reasons may name hosts.
            model.unavailable_reason = model.unavailable_reason.filter(|_| call.caller.is_admin());
            json!(model)
        })
        .collect();
    let directory = call.house.bots.directory();
    let bots = directory.iter().filter(|bot| catalogue.get(bot.slug().as_str()).is_none());
    models.extend(bots.map(|bot| {
        json!({
            "id": bot.slug(), "object": "model", "created": bot.profile.created_at.as_second(),
            "owned_by": "greenroom", "type": "bot", "model_id": bot.character().default_model,
            "description": bot.character().description, "available": true, "unavailable_reason": null,
            "context_window": null, "source": "bot",
        })
    }));
    models
}

/// `GET /v1/models/upstream`.
pub async fn upstream(call: Call) -> Answer {
    let provider = call.query().get("provider").unwrap_or_default();
    match call.house.providers.upstream_models(provider).await {
        Ok(models) => answer::json(&models),
        Err(error) => {
            let class = match StatusCode::from_u16(error.status()) {
                Ok(StatusCode::SERVICE_UNAVAILABLE) => ErrorClass::Unavailable,
                _ => error.class(),
            };
            Err(ApiError::said(class, error.to_string()))
        }
    }
}

/// Who is meant by the optional `bot_id` and `user` of a request; a bound key means its own user.
fn who(call: &Call, fields: &mut Fields<'_>) -> Result<(Option<BotSlug>, Option<UserId>), ApiError> {
    let bot = match fields.text("bot_id").some().as_deref().map(BotSlug::parse) {
        Some(Err(bad)) => {
            fields.complain("value_error", "bot_id", bad.to_string());
            None
        }
        other => other.transpose().ok().flatten(),
    };
    let user = match fields.text("user").some().as_deref().map(UserId::parse) {
        Some(Err(bad)) => {
            fields.complain("value_error", "user", bad.to_string());
            None
        }
        other => other.transpose().ok().flatten(),
    };
    match (&call.caller.user, user) {
        (Some(own), Some(user)) if *own != user => {
            Err(ApiError::NotAllowed(format!("This key speaks for user '{own}' only")))
        }
        (own, user) => Ok((bot, own.clone().or(user))),
    }
}

/// `GET /v1/models/current`: what would answer now if the request named no model.
pub async fn current(call: Call) -> Answer {
    let mut fields = call.query().fields();
    let (bot, user) = who(&call, &mut fields)?;
    fields.finish()?;
    let catalogue = call.house.providers.catalogue();
    let active = call.house.bots.active_model(bot.as_ref(), user.as_ref());
    let body = match active.as_deref().and_then(|alias| catalogue.get(alias)) {
        Some(model) => json!({"model": {
            "id": model.alias, "type": model.public_type(), "model_id": model.public_model_id(),
            "description": model.description, "current": true,
        }, "message": null}),
        None => json!({"model": null, "message": "No model currently loaded"}),
    };
    answer::json(&body)
}

/// `POST /v1/models/switch`: for the requester alone, from the next request on.
pub async fn switch(mut call: Call) -> Answer {
    let body = call.json().await?;
    let mut fields = Fields::of("body", &body)?;
    let model = fields.required_text("model", 256);
    let (bot, user) = who(&call, &mut fields)?;
    fields.finish()?;
    answer::json(&call.house.bots.switch_model(bot.as_ref(), user.as_ref(), &model).await?)
}

/// `POST /v1/models/reload`.
pub async fn reload(call: Call) -> Answer {
    let outcome = call.house.providers.reload().await.map_err(|error| ApiError::from(error).away(AWAY))?;
    answer::json(&json!({
        "ok": true, "models": outcome.models, "default_model": call.house.config().bots.default_model,
        "db_models_loaded": outcome.db_models_loaded, "cleared_instances": outcome.cleared_instances,
    }))
}

/// `GET /v1/models/definitions`.
pub async fn definitions(call: Call) -> Answer {
    let models = call.house.providers.definitions().await.map_err(|error| ApiError::from(error).away(AWAY))?;
    answer::json(&json!({"total_count": models.len(), "models": models}))
}

/// `GET /v1/models/definitions/{alias}`.
pub async fn definition(call: Call) -> Answer {
    let found = call.house.providers.definition(call.param("alias")).await;
    answer::json(&found.map_err(|error| ApiError::from(error).away(AWAY))?)
}

/// `PUT /v1/models/definitions/{alias}`.
pub async fn put_definition(mut call: Call) -> Answer {
    let body = call.json().await?;
    if call.param("alias").trim().is_empty() {
        return Err(path_complaint("alias", "An alias must not be blank", &call));
    }
    let written = call.house.providers.upsert_definition(call.param("alias"), &body).await;
    answer::json(&written.map_err(|error| ApiError::from(error).away(AWAY))?)
}

/// `DELETE /v1/models/definitions/{alias}`: bots that had it as their default have none then.
pub async fn delete_definition(call: Call) -> Answer {
    let alias = call.param("alias").to_owned();
    let deletion = call.house.providers.delete_definition(&alias).await;
    let deletion = deletion.map_err(|error| ApiError::from(error).away(AWAY))?;
    call.house.bots.forget_model(&deletion.alias).await?;
    answer::json(&deletion)
}

/// `POST /v1/models/definitions/seed`.
pub async fn seed_definitions(mut call: Call) -> Answer {
    let body = call.optional_json().await?.filter(|body| !body.is_null()).unwrap_or_else(|| json!({}));
    let mut fields = Fields::of("body", &body)?;
    let overwrite = fields.boolean("overwrite").some().unwrap_or(false);
    fields.finish()?;
    let seeded = call.house.providers.seed_definitions(overwrite).await;
    answer::json(&seeded.map_err(|error| ApiError::from(error).away(AWAY))?)
}
