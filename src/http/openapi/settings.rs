//! Runtime settings.

use http::Method;
use serde_json::{Value, json};

use super::Schemas;
use super::operation::{Op, anything, named};

const TAG: &str = "settings";

fn op(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Op {
    Op::new(method, path, id, TAG, summary).refuses(400, "No such scope").refuses(404, "No such bot")
}

pub fn operations() -> Vec<Op> {
    let text = || json!({"type": "string"});
    let scope = || json!({"type": "string", "enum": ["global", "bot"]});
    vec![
        op(Method::GET, "/v1/settings", "listSettings", "Settings of a scope, and which values win")
            .query("scope_type", scope(), "`bot` without it")
            .query("scope_id", text(), "The bot; the default one without it")
            .gives("By key", "ScopeSettings"),
        op(Method::GET, "/v1/settings/all", "listAllSettings", "Settings of all scopes, filtered and in pages")
            .query("scope_type", scope(), "")
            .query("scope_id", text(), "")
            .query("key", text(), "Exactly this key")
            .query("key_prefix", text(), "Keys that begin like this")
            .query("limit", json!({"type": "integer", "minimum": 1, "maximum": 1000}), "")
            .query("offset", json!({"type": "integer", "minimum": 0, "maximum": 1_000_000}), "")
            .gives("A page", "SettingPage"),
        op(Method::PUT, "/v1/settings", "putSetting", "Set a value")
            .body("SettingDraft")
            .gives("As it is stored", "SettingWritten"),
        op(Method::DELETE, "/v1/settings", "deleteSetting", "Take a value back")
            .required_query("scope_type", scope(), "")
            .required_query("key", text(), "")
            .query("scope_id", text(), "The bot; the default one without it")
            .gives("Whether there was one", "SettingDeletion"),
        op(Method::POST, "/v1/settings/batch", "putSettings", "Set many values, or none")
            .body("SettingBatch")
            .gives("What was set", "SettingsWritten"),
    ]
}

fn place(own: Value, required: &[&str]) -> Value {
    let mut schema = json!({
        "type": "object",
        "properties": {
            "scope_type": {"type": "string", "enum": ["global", "bot"]},
            "scope_id": {"type": "string"},
            "key": {"type": "string"},
        },
    });
    let names: Vec<&str> = ["scope_type", "scope_id", "key"].iter().chain(required).copied().collect();
    schema["required"] = json!(names);
    if let (Some(all), Value::Object(own)) = (schema["properties"].as_object_mut(), own) {
        all.extend(own);
    }
    schema
}

pub fn schemas() -> Schemas {
    vec![
        (
            "SettingDraft",
            json!({
                "type": "object",
                "required": ["scope_type", "key", "value"],
                "properties": {
                    "scope_type": {"type": "string", "enum": ["global", "bot"]},
                    "scope_id": {"type": ["string", "null"], "maxLength": 128},
                    "key": {"type": "string", "minLength": 1, "maxLength": 128},
                    "value": anything(),
                },
            }),
        ),
        (
            "SettingBatch",
            json!({
                "type": "object",
                "required": ["items"],
                "properties": {"items": {"type": "array", "items": named("SettingDraft")}},
            }),
        ),
        (
            "EffectiveSetting",
            json!({
                "type": "object",
                "required": ["key", "value", "source", "known"],
                "properties": {
                    "key": {"type": "string"},
                    "value": anything(),
                    "source": {"type": "string", "enum": ["bot", "global", "seed", "config", "template", "default"]},
                    "known": {"type": "boolean"},
                },
            }),
        ),
        (
            "ScopeSettings",
            json!({
                "type": "object",
                "required": ["scope_type", "scope_id", "settings", "effective"],
                "properties": {
                    "scope_type": {"type": "string", "enum": ["global", "bot"]},
                    "scope_id": {"type": "string"},
                    "settings": {"type": "array", "items": {
                        "type": "object",
                        "required": ["key", "value"],
                        "properties": {"key": {"type": "string"}, "value": anything()},
                    }},
                    "effective": {"type": "array", "items": named("EffectiveSetting")},
                },
            }),
        ),
        (
            "SettingRow",
            place(
                json!({
                    "value": anything(), "updated_at": {"type": "string", "format": "date-time"},
                }),
                &["value", "updated_at"],
            ),
        ),
        (
            "SettingPage",
            json!({
                "type": "object",
                "required": ["settings", "total_count", "filters"],
                "properties": {
                    "settings": {"type": "array", "items": named("SettingRow")},
                    "total_count": {"type": "integer"},
                    "filters": {"type": "object"},
                },
            }),
        ),
        (
            "SettingWritten",
            place(
                json!({
                    "success": {"type": "boolean"}, "value": anything(),
                    "unknown_keys": {"type": "array", "items": {"type": "string"}},
                }),
                &["success", "value", "unknown_keys"],
            ),
        ),
        (
            "SettingsWritten",
            json!({
                "type": "object",
                "required": ["success", "applied_count", "applied", "unknown_keys"],
                "properties": {
                    "success": {"type": "boolean"},
                    "applied_count": {"type": "integer"},
                    "applied": {"type": "array", "items": {"type": "object"}},
                    "unknown_keys": {"type": "array", "items": {"type": "string"}},
                },
            }),
        ),
        (
            "SettingDeletion",
            place(
                json!({
                    "success": {"type": "boolean"}, "deleted": {"type": "boolean"},
                }),
                &["success", "deleted"],
            ),
        ),
    ]
}
