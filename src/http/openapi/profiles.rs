//! What is known about users and bots.

use http::Method;
use serde_json::{Value, json};

use super::Schemas;
use super::operation::{Op, anything, named, object};

const TAG: &str = "profiles";

fn op(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Op {
    Op::new(method, path, id, TAG, summary).refuses(400, "It is neither a user nor a bot, or cannot be done")
}

fn text() -> Value {
    json!({"type": "string"})
}

fn paged(op: Op) -> Op {
    op.query("limit", json!({"type": "integer", "minimum": 1, "maximum": 500}), "").query(
        "offset",
        json!({"type": "integer", "minimum": 0, "maximum": 1_000_000}),
        "",
    )
}

pub fn operations() -> Vec<Op> {
    let kind = || json!({"type": "string", "enum": ["user", "bot"]});
    let share = || json!({"type": "number", "minimum": 0, "maximum": 1});
    vec![
        paged(op(Method::GET, "/v1/profiles", "listEntityProfiles", "Profiles, users first"))
            .query("entity_type", kind(), "")
            .gives("A page", "EntityProfilePage"),
        paged(op(Method::GET, "/v1/profiles/attribute", "listAttributes", "Attributes, the newest change first"))
            .query("entity_type", kind(), "")
            .query("entity_id", text(), "")
            .query("category", text(), "")
            .query("key", text(), "")
            .query("source", text(), "")
            .query("min_confidence", share(), "")
            .gives("A page", "AttributePage"),
        op(Method::GET, "/v1/profiles/lookup", "lookupEntityProfile", "Find a user by e-mail address")
            .required_query("email", json!({"type": "string", "minLength": 1, "maxLength": 255}), "")
            .gives("Whether there is one", "ProfileLookup"),
        op(Method::GET, "/v1/profiles/{entity_id}", "findEntityProfile", "The profile of a user, else of a bot")
            .gives("It", "EntityProfile")
            .refuses(404, "Nobody has this id"),
        op(Method::GET, "/v1/profiles/{entity_type}/{entity_id}", "getEntityProfile", "A profile")
            .gives("It", "EntityProfile")
            .refuses(404, "Nobody has this id"),
        op(
            Method::GET,
            "/v1/profiles/{entity_type}/{entity_id}/history",
            "entityProfileHistory",
            "Changes of attributes",
        )
        .query("limit", json!({"type": "integer", "minimum": 1, "maximum": 500}), "")
        .gives("Newest first", "ProfileHistory"),
        op(
            Method::PATCH,
            "/v1/profiles/{entity_type}/{entity_id}",
            "patchEntityProfile",
            "Change the head of a profile",
        )
        .body("EntityProfileChange")
        .gives("It", "EntityProfile")
        .refuses(409, "Another profile has this e-mail address"),
        op(Method::POST, "/v1/profiles/attribute", "putAttribute", "Set an attribute; the surer word wins")
            .body("AttributeDraft")
            .gives("What holds now, and what became of the new value", "AttributeWritten"),
        op(Method::PATCH, "/v1/profiles/attribute/{attribute_id}", "patchAttribute", "Change an attribute")
            .body("AttributeChange")
            .gives("It", "Attribute")
            .refuses(404, "No such attribute"),
        op(Method::DELETE, "/v1/profiles/attribute/{attribute_id}", "deleteAttribute", "Delete an attribute")
            .gives("It is gone", "AttributeDeletion")
            .refuses(404, "No such attribute"),
    ]
}

fn attribute(own: &[(&str, Value)]) -> Value {
    let maybe = || json!({"type": ["string", "null"]});
    let common = [
        ("id", json!({"type": "integer"})),
        ("entity_type", json!({"type": "string", "enum": ["user", "bot"]})),
        ("entity_id", text()),
        ("category", text()),
        ("key", text()),
        ("value", anything()),
        ("confidence", json!({"type": "number"})),
        ("source", text()),
        ("source_message_id", maybe()),
        ("source_memory_id", maybe()),
        ("source_bot_id", maybe()),
        ("created_at", json!({"type": "string", "format": "date-time"})),
        ("updated_at", json!({"type": "string", "format": "date-time"})),
    ];
    object(&[&common, own].concat())
}

fn list(name: &str, of: Value) -> (&str, Value) {
    (name, json!({"type": "array", "items": of}))
}

pub fn schemas() -> Schemas {
    let maybe = || json!({"type": ["string", "null"]});
    let count = || json!({"type": "integer"});
    let flag = || json!({"type": "boolean"});
    let bounded = |most: usize| json!({"type": "string", "minLength": 1, "maxLength": most});
    let optional = |most: usize| json!({"type": ["string", "null"], "maxLength": most});
    let share = || json!({"type": ["number", "null"], "minimum": 0, "maximum": 1});
    let profile = [
        ("entity_type", text()),
        ("entity_id", text()),
        ("email", maybe()),
        ("display_name", maybe()),
        ("description", maybe()),
        ("summary", maybe()),
        ("summary_updated_at", maybe()),
        ("summary_stale", flag()),
        ("created_at", text()),
        ("updated_at", text()),
        list("attributes", named("Attribute")),
    ];
    vec![
        ("Attribute", attribute(&[])),
        ("AttributeWritten", attribute(&[("outcome", text())])),
        ("EntityProfile", object(&profile)),
        ("EntityProfilePage", object(&[list("profiles", named("EntityProfile")), ("total_count", count())])),
        (
            "AttributePage",
            object(&[
                list("attributes", named("Attribute")),
                ("total_count", count()),
                ("filters", json!({"type": "object"})),
            ]),
        ),
        (
            "ProfileLookup",
            object(&[("found", flag()), ("email", text()), ("entity_id", maybe()), ("display_name", maybe())]),
        ),
        (
            "ProfileHistory",
            object(&[
                ("entity_type", text()),
                ("entity_id", text()),
                list("history", json!({"type": "object"})),
                ("total_count", count()),
            ]),
        ),
        (
            "EntityProfileChange",
            json!({"type": "object", "properties": {
                "display_name": optional(100), "description": optional(500), "summary": optional(8000),
                "email": optional(255),
            }}),
        ),
        (
            "AttributeDraft",
            json!({
                "type": "object",
                "required": ["entity_type", "entity_id", "category", "key", "value"],
                "properties": {
                    "entity_type": {"type": "string", "enum": ["user", "bot"]}, "entity_id": bounded(100),
                    "category": bounded(50), "key": bounded(100), "value": anything(), "confidence": share(),
                    "source": optional(50),
                },
            }),
        ),
        (
            "AttributeChange",
            json!({"type": "object", "properties": {
                "value": anything(), "confidence": share(), "source": optional(50),
            }}),
        ),
        ("AttributeDeletion", object(&[("success", flag()), ("message", text()), ("deleted", named("Attribute"))])),
    ]
}
