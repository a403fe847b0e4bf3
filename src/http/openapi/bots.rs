//! Bots and their profiles.

use http::Method;
use serde_json::{Value, json};

use super::Schemas;
use super::operation::{Op, named};

const TAG: &str = "bots";

fn op(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Op {
    Op::new(method, path, id, TAG, summary)
}

fn written(op: Op) -> Op {
    op.header("If-Match", json!({"type": "string"}), "Only if the profile's `updated_at` is still this")
        .refuses(400, "Right in shape, but not possible here")
        .refuses(409, "The slug is taken or collides, or a turn of the bot is running")
        .refuses(412, "The profile has changed since")
}

pub fn operations() -> Vec<Op> {
    let flag = || json!({"type": "boolean"});
    let unknown = |op: Op| op.refuses(404, "No such bot");
    vec![
        op(Method::GET, "/v1/bots", "listBots", "Effective bots, by slug").gives("All of them", "BotList"),
        op(Method::GET, "/v1/bots/profiles", "listProfiles", "Stored profiles, filtered and in pages")
            .query("q", json!({"type": "string"}), "Part of slug, name or description")
            .query("uses_tools", flag(), "")
            .query("uses_search", flag(), "")
            .query("requires_memory", flag(), "")
            .query("voice_optimized", flag(), "")
            .query("uses_home_assistant", flag(), "")
            .query("default_model", json!({"type": "string"}), "Exactly this alias")
            .query("limit", json!({"type": "integer", "minimum": 1, "maximum": 1000}), "")
            .query("offset", json!({"type": "integer", "minimum": 0, "maximum": 1_000_000}), "")
            .gives("A page", "ProfilePage"),
        op(Method::POST, "/v1/bots", "createBot", "Make a bot")
            .body("NewProfile")
            .gives("As it is stored", "BotProfile")
            .refuses(400, "Right in shape, but not possible here")
            .refuses(409, "The slug is taken, or collides with another bot's"),
        unknown(op(Method::GET, "/v1/bots/{bot_id}/profile", "getProfile", "One profile")).gives("It", "BotProfile"),
        written(
            op(
                Method::PUT,
                "/v1/bots/{bot_id}/profile",
                "putProfile",
                "Write a profile; makes the bot if there is none",
            )
            .body("Profile")
            .query("mode", json!({"type": "string", "enum": ["merge", "replace"]}), "`replace` resets what is not sent")
            .header("Prefer", json!({"type": "string"}), "`replace` resets what is not sent")
            .gives("As it is stored", "BotProfile"),
        ),
        unknown(written(
            op(Method::PATCH, "/v1/bots/{bot_id}/profile", "patchProfile", "Change parts: absent keeps, null clears")
                .body("ProfileChange")
                .gives("As it is stored", "BotProfile"),
        )),
        unknown(written(
            op(Method::DELETE, "/v1/bots/{bot_id}/profile", "deleteProfile", "Delete a bot; with `purge`, all it has")
                .query("purge", flag(), "Everything it remembers, too")
                .gives("It is gone", "ProfileDeletion"),
        )),
        unknown(
            op(Method::POST, "/v1/bots/{bot_id}/purge-data", "purgeBot", "Delete everything a bot remembers")
                .query("force", flag(), "Even if there is no such bot")
                .query("confirm", json!({"type": "string"}), "Must repeat the slug, when it is given")
                .gives("What was deleted", "PurgeResult")
                .refuses(400, "The confirmation does not match")
                .refuses(409, "A turn of the bot is running"),
        ),
        op(Method::POST, "/v1/bots/cleanup-orphans", "cleanUpOrphans", "Remove what deleted bots have left behind")
            .query("dry_run", flag(), "Only say what would be removed; `true` without it")
            .gives("What it was, or is", "Orphans"),
        op(Method::POST, "/v1/admin/reload-bots", "reloadBots", "Read the bots again after editing the database")
            .gives("Done", "BotsReloaded"),
    ]
}

/// What list entries and profiles have in common.
fn character() -> Vec<(&'static str, Value)> {
    let text = json!({"type": "string"});
    let text_or_null = json!({"type": ["string", "null"]});
    let flag = json!({"type": "boolean"});
    vec![
        ("slug", text.clone()),
        ("name", text.clone()),
        ("description", text.clone()),
        ("system_prompt", text),
        ("requires_memory", flag.clone()),
        ("voice_optimized", flag.clone()),
        ("tts_mode", flag.clone()),
        ("include_summaries", flag.clone()),
        ("uses_tools", flag.clone()),
        ("uses_search", flag.clone()),
        ("uses_home_assistant", flag),
        ("default_model", text_or_null.clone()),
        ("color", text_or_null.clone()),
        ("avatar", text_or_null.clone()),
        ("default_voice", text_or_null.clone()),
        ("bot_type", json!({"type": "string", "enum": ["chat", "agent"]})),
        ("agent_backend", text_or_null),
        ("settings", json!({"type": "object"})),
    ]
}

fn view(own: &[(&'static str, Value)]) -> Value {
    let members: Vec<(&str, Value)> = character().into_iter().chain(own.iter().cloned()).collect();
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let properties: serde_json::Map<String, Value> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "required": names, "properties": properties})
}

fn draft(required: &[&str], with_slug: bool) -> Value {
    let flag = json!({"type": "boolean"});
    let text = |most: usize| json!({"type": ["string", "null"], "maxLength": most});
    let mut properties = json!({
        "name": {"type": "string", "maxLength": 255},
        "description": {"type": "string"},
        "system_prompt": {"type": "string"},
        "requires_memory": flag, "voice_optimized": flag, "tts_mode": flag, "include_summaries": flag,
        "uses_tools": flag, "uses_search": flag, "uses_home_assistant": flag,
        "default_model": text(255), "color": text(64), "avatar": text(512), "default_voice": text(128),
        "nextcloud_config": {"type": ["object", "null"]},
        "bot_type": {"type": "string", "enum": ["chat", "agent"]},
        "agent_backend": text(64),
        "agent_backend_config": {"type": ["object", "null"]},
        "tools_allow": {"type": ["array", "null"], "items": {"type": "string"}},
        "tools_deny": {"type": ["array", "null"], "items": {"type": "string"}},
        "model_fallbacks": {"type": ["array", "null"], "items": {"type": "string", "minLength": 1, "maxLength": 128}, "maxItems": 8},
        "history_scope": {"type": "string", "enum": ["bot", "user"]},
        "timezone": text(128),
    });
    if with_slug {
        properties["slug"] = json!({"type": "string", "minLength": 1, "maxLength": 64});
    }
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

pub fn schemas() -> Schemas {
    let object_or_null = json!({"type": ["object", "null"]});
    let profile = view(&[
        ("nextcloud_config", object_or_null.clone()),
        ("agent_backend_config", object_or_null),
        ("tools_allow", json!({"type": ["array", "null"], "items": {"type": "string"}})),
        ("tools_deny", json!({"type": "array", "items": {"type": "string"}})),
        ("model_fallbacks", json!({"type": "array", "items": {"type": "string"}})),
        ("history_scope", json!({"type": "string", "enum": ["bot", "user"]})),
        ("timezone", json!({"type": ["string", "null"]})),
        ("created_at", json!({"type": "string", "format": "date-time"})),
        ("updated_at", json!({"type": "string", "format": "date-time"})),
    ]);
    vec![
        ("Bot", view(&[("agent_backend_config", json!({"type": "object"}))])),
        (
            "BotList",
            json!({
                "type": "object",
                "required": ["object", "data"],
                "properties": {
                    "object": {"type": "string", "enum": ["list"]},
                    "data": {"type": "array", "items": named("Bot")},
                },
            }),
        ),
        ("BotProfile", profile),
        (
            "ProfilePage",
            json!({
                "type": "object",
                "required": ["profiles", "total_count", "filters"],
                "properties": {
                    "profiles": {"type": "array", "items": named("BotProfile")},
                    "total_count": {"type": "integer"},
                    "filters": {"type": "object"},
                },
            }),
        ),
        ("NewProfile", draft(&["slug", "name", "system_prompt"], true)),
        ("Profile", draft(&["name", "system_prompt"], false)),
        ("ProfileChange", draft(&[], false)),
        (
            "ProfileDeletion",
            json!({
                "type": "object",
                "required": ["success", "slug", "purge"],
                "properties": {
                    "success": {"type": "boolean"},
                    "slug": {"type": "string"},
                    "purge": {"anyOf": [named("PurgeResult"), {"type": "null"}]},
                },
            }),
        ),
        (
            "Orphans",
            json!({
                "type": "object",
                "required": ["dry_run", "orphaned_bot_ids", "orphan_tables", "dropped_tables", "deleted_rows"],
                "properties": {
                    "dry_run": {"type": "boolean"},
                    "orphaned_bot_ids": {"type": "array", "items": {"type": "string"}},
                    "orphan_tables": {"type": "array", "items": {"type": "string"}},
                    "dropped_tables": {"type": "array", "items": {"type": "string"}},
                    "deleted_rows": {"type": "object", "additionalProperties": {"type": "integer"}},
                },
            }),
        ),
        (
            "PurgeResult",
            json!({
                "type": "object",
                "required": ["slug", "dropped_tables", "deleted_rows"],
                "properties": {
                    "slug": {"type": "string"},
                    "dropped_tables": {"type": "array", "items": {"type": "string"}},
                    "deleted_rows": {"type": "object", "additionalProperties": {"type": "integer"}},
                },
            }),
        ),
        (
            "BotsReloaded",
            json!({
                "type": "object",
                "required": ["status", "cleared_instances", "cleared_session_model_overrides"],
                "properties": {
                    "status": {"type": "string", "enum": ["reloaded"]},
                    "cleared_instances": {"type": "integer"},
                    "cleared_session_model_overrides": {"type": "integer"},
                },
            }),
        ),
    ]
}
