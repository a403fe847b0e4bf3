//! Prompt templates.

use http::Method;
use serde_json::{Value, json};

use super::Schemas;
use super::operation::{Op, named, object};

const TAG: &str = "prompts";

fn op(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Op {
    Op::new(method, path, id, TAG, summary).refuses(400, "No such scope, no possible key, or a text that does not fit")
}

fn text() -> Value {
    json!({"type": "string"})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn scoped(op: Op) -> Op {
    op.query("scope_type", json!({"type": "string", "enum": ["global", "bot"]}), "`global` without it").query(
        "scope_id",
        text(),
        "The bot, for scope `bot`",
    )
}

pub fn operations() -> Vec<Op> {
    let missing = "Neither built in nor stored";
    vec![
        scoped(op(Method::GET, "/v1/prompts", "listPrompts", "Prompt templates of a scope"))
            .query("category", text(), "Only of this category")
            .query("include_defaults", flag(), "Built-in ones as they resolve; `true` without it")
            .gives("By key", "PromptList"),
        op(
            Method::POST,
            "/v1/prompts/seed-defaults",
            "seedPrompts",
            "Built-in texts stay in the program; nothing is created",
        )
        .gives("Counts", "PromptSeeding"),
        scoped(op(Method::GET, "/v1/prompts/{key}", "getPrompt", "A template as it resolves"))
            .query("exact", flag(), "Only what is stored for exactly this scope")
            .gives("It", "Prompt")
            .refuses(404, missing),
        op(Method::PUT, "/v1/prompts/{key}", "putPrompt", "Edit a template; its text becomes a version")
            .body("PromptDraft")
            .gives("As it is stored", "Prompt"),
        op(Method::PATCH, "/v1/prompts/{key}", "patchPrompt", "Edit a template, with or without a new text")
            .body("PromptChange")
            .gives("As it is stored", "Prompt")
            .refuses(404, missing),
        scoped(op(Method::GET, "/v1/prompts/{key}/versions", "listPromptVersions", "Versions of a template"))
            .gives("Newest first", "PromptVersions"),
        scoped(op(
            Method::POST,
            "/v1/prompts/{key}/versions/{version}/restore",
            "restorePrompt",
            "An earlier text again, as a new version",
        ))
        .gives("As it is stored", "Prompt")
        .refuses(404, "No such version"),
        scoped(op(Method::POST, "/v1/prompts/{key}/reset", "resetPrompt", "Take an edit away"))
            .gives("What holds now", "Prompt")
            .refuses(404, missing),
        scoped(op(Method::POST, "/v1/prompts/{key}/validate", "validatePrompt", "Judge a text without storing it"))
            .body("PromptTrial")
            .gives("The judgement", "PromptJudgement")
            .refuses(404, missing),
        scoped(op(Method::POST, "/v1/prompts/{key}/preview", "previewPrompt", "Render a text without storing it"))
            .body("PromptTrial")
            .gives("The judgement", "PromptJudgement")
            .refuses(404, missing),
    ]
}

fn change(required: &[&str]) -> Value {
    let optional = |most: usize| json!({"type": ["string", "null"], "maxLength": most});
    let mut schema = json!({
        "type": "object",
        "properties": {
            "body": {"type": "string", "maxLength": 65536}, "title": optional(255), "category": optional(64),
            "format": optional(32), "scope_type": {"type": "string", "enum": ["global", "bot"]},
            "scope_id": optional(128), "updated_by": optional(128), "change_note": optional(500),
            "required_vars": {"type": "array", "maxItems": 50, "items": {"type": "string", "pattern": "^[a-z_][a-z0-9_]*$"}},
            "metadata": {"type": "object"},
        },
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

pub fn schemas() -> Schemas {
    let texts = || json!({"type": "array", "items": {"type": "string"}});
    let maybe = || json!({"type": ["string", "null"]});
    let count = || json!({"type": "integer"});
    let scope = [("scope_type", text()), ("scope_id", text())];
    let with_scope = |own: &[(&str, Value)]| object(&[own, &scope].concat());
    vec![
        (
            "Prompt",
            with_scope(&[
                ("key", text()),
                ("title", text()),
                ("category", text()),
                ("format", text()),
                ("body", text()),
                ("source", json!({"type": "string", "enum": ["db_override", "code_default"]})),
                ("required_vars", texts()),
                ("placeholders", texts()),
                ("metadata", json!({"type": "object"})),
                ("updated_at", maybe()),
            ]),
        ),
        (
            "PromptList",
            object(&[
                ("prompts", json!({"type": "array", "items": named("Prompt")})),
                ("total_count", count()),
                ("filters", json!({"type": "object"})),
            ]),
        ),
        (
            "PromptSeeding",
            object(&[("created", count()), ("skipped", count()), ("total", count()), ("seeded_keys", texts())]),
        ),
        ("PromptDraft", change(&["body"])),
        ("PromptChange", change(&[])),
        (
            "PromptVersions",
            with_scope(&[
                ("key", text()),
                ("total_count", count()),
                (
                    "versions",
                    json!({"type": "array", "items": object(&[
                        ("version", count()), ("body", text()), ("change_note", maybe()), ("created_by", maybe()),
                        ("created_at", text()),
                    ])}),
                ),
            ]),
        ),
        (
            "PromptTrial",
            json!({
                "type": "object",
                "properties": {
                    "body": {"type": ["string", "null"], "maxLength": 65536},
                    "required_vars": {"type": "array", "maxItems": 50,
                        "items": {"type": "string", "pattern": "^[a-z_][a-z0-9_]*$"}},
                    "variables": {"type": "object"},
                },
            }),
        ),
        (
            "PromptJudgement",
            object(&[
                ("valid", flag()),
                ("required_vars", texts()),
                ("placeholders", texts()),
                ("missing_required", texts()),
                ("unknown_placeholders", texts()),
                ("rendered_preview", maybe()),
                ("errors", texts()),
            ]),
        ),
    ]
}
