//! Models and their definitions.

use http::Method;
use serde_json::json;

use super::Schemas;
use super::operation::{Op, named};

const TAG: &str = "models";

fn op(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Op {
    Op::new(method, path, id, TAG, summary)
}

pub fn operations() -> Vec<Op> {
    let text = || json!({"type": "string"});
    let unknown = |op: Op| op.refuses(404, "No such definition");
    vec![
        op(Method::GET, "/v1/models", "listModels", "Models, and bots, which may be chosen like models")
            .gives("In the catalogue's order, bots behind them", "ModelList"),
        op(Method::GET, "/v1/models/{model}", "getModel", "One model or bot")
            .gives("It", "Model")
            .refuses(404, "There is none of that name"),
        op(Method::GET, "/v1/models/upstream", "listUpstreamModels", "A provider's own list")
            .required_query("provider", text(), "`openai`, `codex` or `grok`")
            .gives("The list, kept for some minutes", "UpstreamModels")
            .refuses(400, "No provider, or an unknown one")
            .refuses(502, "The provider gives no list"),
        op(Method::GET, "/v1/models/current", "currentModel", "What would answer if a request named no model")
            .query("bot_id", json!({"type": "string", "maxLength": 64}), "For this bot; the default one without it")
            .query("user", json!({"type": "string", "maxLength": 128}), "For this user; the default one without it")
            .gives("The model, or that there is none", "CurrentModel"),
        op(Method::POST, "/v1/models/switch", "switchModel", "Use another model from the next request on")
            .body("SwitchRequest")
            .gives("What answers from now on", "SwitchOutcome")
            .refuses(400, "No such model, or it cannot be used")
            .refuses(404, "No such bot"),
        op(Method::POST, "/v1/models/reload", "reloadModels", "Read seeds and database again")
            .gives("What there is now", "ReloadOutcome"),
        op(Method::GET, "/v1/models/definitions", "listDefinitions", "Stored definitions, secrets masked")
            .gives("By alias", "DefinitionList"),
        unknown(
            op(Method::GET, "/v1/models/definitions/{alias}", "getDefinition", "One definition, secrets masked")
                .gives("It", "Definition"),
        ),
        op(Method::PUT, "/v1/models/definitions/{alias}", "putDefinition", "Define a model, or change it")
            .body("DefinitionDraft")
            .gives("As it is stored", "Definition"),
        unknown(
            op(Method::DELETE, "/v1/models/definitions/{alias}", "deleteDefinition", "Remove a definition")
                .gives("It is gone", "DefinitionDeletion"),
        ),
        op(Method::POST, "/v1/models/definitions/seed", "seedDefinitions", "Write the seeds into the database")
            .optional_body("SeedRequest")
            .gives("How many were written", "SeedOutcome"),
    ]
}

pub fn schemas() -> Schemas {
    let text_or_null = || json!({"type": ["string", "null"]});
    vec![
        (
            "Model",
            json!({
                "type": "object",
                "required": ["id", "object", "created", "owned_by", "type", "model_id", "description"],
                "properties": {
                    "id": {"type": "string"},
                    "object": {"type": "string", "enum": ["model"]},
                    "created": {"type": "integer"},
                    "owned_by": {"type": "string"},
                    "type": text_or_null(),
                    "model_id": text_or_null(),
                    "description": text_or_null(),
                    "available": {"type": "boolean"},
                    "unavailable_reason": text_or_null(),
                    "context_window": {"type": ["integer", "null"]},
                    "source": {"type": "string"},
                },
            }),
        ),
        (
            "ModelList",
            json!({
                "type": "object",
                "required": ["object", "data"],
                "properties": {
                    "object": {"type": "string", "enum": ["list"]},
                    "data": {"type": "array", "items": named("Model")},
                },
            }),
        ),
        (
            "UpstreamModels",
            json!({
                "type": "object",
                "required": ["provider", "models"],
                "properties": {
                    "provider": {"type": "string"},
                    "models": {"type": "array", "items": {
                        "type": "object",
                        "required": ["id", "description"],
                        "properties": {"id": {"type": "string"}, "description": {"type": "string"}},
                    }},
                },
            }),
        ),
        (
            "CurrentModel",
            json!({
                "type": "object",
                "required": ["model", "message"],
                "properties": {"model": {"type": ["object", "null"]}, "message": text_or_null()},
            }),
        ),
        (
            "SwitchRequest",
            json!({
                "type": "object",
                "required": ["model"],
                "properties": {
                    "model": {"type": "string", "minLength": 1, "maxLength": 256},
                    "bot_id": {"type": ["string", "null"], "maxLength": 64},
                    "user": {"type": ["string", "null"], "maxLength": 128},
                },
            }),
        ),
        (
            "SwitchOutcome",
            json!({
                "type": "object",
                "required": ["success", "message", "previous_model", "new_model", "bot_id", "expires_at"],
                "properties": {
                    "success": {"type": "boolean"},
                    "message": {"type": "string"},
                    "previous_model": text_or_null(),
                    "new_model": {"type": "string"},
                    "bot_id": {"type": "string"},
                    "expires_at": text_or_null(),
                },
            }),
        ),
        (
            "ReloadOutcome",
            json!({
                "type": "object",
                "required": ["ok", "models", "default_model", "db_models_loaded", "cleared_instances"],
                "properties": {
                    "ok": {"type": "boolean"},
                    "models": {"type": "array", "items": {"type": "string"}},
                    "default_model": text_or_null(),
                    "db_models_loaded": {"type": "integer"},
                    "cleared_instances": {"type": "integer"},
                },
            }),
        ),
        (
            "Definition",
            json!({
                "type": "object",
                "required": ["alias", "type", "model_id", "repo_id", "filename", "description", "extra", "created_at", "updated_at"],
                "properties": {
                    "alias": {"type": "string"},
                    "type": {"type": "string"},
                    "model_id": text_or_null(),
                    "repo_id": text_or_null(),
                    "filename": text_or_null(),
                    "description": text_or_null(),
                    "extra": {"type": ["object", "null"]},
                    "created_at": {"type": "string", "format": "date-time"},
                    "updated_at": {"type": "string", "format": "date-time"},
                },
            }),
        ),
        (
            "DefinitionList",
            json!({
                "type": "object",
                "required": ["models", "total_count"],
                "properties": {
                    "models": {"type": "array", "items": named("Definition")},
                    "total_count": {"type": "integer"},
                },
            }),
        ),
        (
            "DefinitionDraft",
            json!({
                "type": "object",
                "required": ["type"],
                "properties": {
                    "type": {"type": "string"},
                    "model_id": text_or_null(),
                    "repo_id": text_or_null(),
                    "filename": text_or_null(),
                    "description": text_or_null(),
                    "extra": {"type": ["object", "null"]},
                },
            }),
        ),
        (
            "DefinitionDeletion",
            json!({
                "type": "object",
                "required": ["success", "alias", "message"],
                "properties": {
                    "success": {"type": "boolean"}, "alias": {"type": "string"}, "message": {"type": "string"},
                },
            }),
        ),
        (
            "SeedRequest",
            json!({
                "type": ["object", "null"],
                "properties": {"overwrite": {"type": ["boolean", "null"]}},
            }),
        ),
        (
            "SeedOutcome",
            json!({
                "type": "object",
                "required": ["seeded", "total_yaml", "message"],
                "properties": {
                    "seeded": {"type": "integer"}, "total_yaml": {"type": "integer"}, "message": {"type": "string"},
                },
            }),
        ),
    ]
}
