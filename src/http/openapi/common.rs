//! What every operation has because of its route: the key it needs, the ways in which it is refused, the shapes of
//! refusals.

use http::Method;
use serde_json::{Value, json};
use utoipa::openapi::path::Operation;
use utoipa::openapi::{HttpMethod, SecurityRequirement};

use super::Schemas;
use super::operation::{Op, anything, named, response};
use crate::http::route::{Face, Route, Scope, Takes};

/// The finished operation with its method and path.
pub fn finish(op: Op, route: &Route) -> (HttpMethod, String, Operation) {
    let openai = route.face == Face::OpenAi;
    let mut refusals = op.refusals;
    if route.scope != Scope::Public {
        refusals.push((401, "A key is needed"));
    }
    refusals.push((403, "The key lacks the role, or a page of a foreign origin calls"));
    if route.takes != Takes::Nothing {
        refusals.push((408, "The body did not arrive in time"));
        refusals.push((413, "The body is larger than the route takes"));
    }
    refusals.push((421, "The server is not known under that host name"));
    refusals.push((500, "A fault of this service; the text says nothing of it"));
    refusals.push((503, "The database or a part of the service is away; Retry-After says when to come back"));
    let mut builder = op.builder.description(Some(describe(op.summary, route.scope)));
    if op.reads {
        let kind = if openai { "OpenAiComplaints" } else { "Complaints" };
        builder = builder.response("422", response("Something in the request has the wrong shape", &[json_of(kind)]));
    }
    let kind = if openai { "OpenAiRefusal" } else { "Refusal" };
    for (status, about) in refusals.into_iter().filter(|(status, _)| !op.answered.contains(status)) {
        builder = builder.response(status.to_string(), response(about, &[json_of(kind)]));
    }
    builder = builder.securities(Some(security(route.scope)));
    (method(&route.method), route.path.replace("{*", "{"), builder.build())
}

fn json_of(schema: &str) -> (&'static str, Value) {
    ("application/json", named(schema))
}

fn describe(summary: &str, scope: Scope) -> String {
    match scope.role() {
        Some(role) => format!("{summary}. Needs a key with role `{role}` (or `admin`) when keys are configured."),
        None => format!("{summary}. Open to anybody."),
    }
}

fn security(scope: Scope) -> Vec<SecurityRequirement> {
    match scope {
        Scope::Public => Vec::new(),
        Scope::Chat | Scope::Read | Scope::Admin => {
            ["bearer", "api_key"].map(|name| SecurityRequirement::new(name, Vec::<String>::new())).into()
        }
    }
}

fn method(method: &Method) -> HttpMethod {
    match method.as_str() {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

pub fn schemas() -> Schemas {
    vec![
        (
            "Refusal",
            json!({
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "detail": {"anyOf": [{"type": "string"}, {"type": "object"}]},
                    "request_id": {"type": "string", "description": "On faults: what to quote when reporting one."},
                },
            }),
        ),
        (
            "OpenAiRefusal",
            json!({
                "type": "object",
                "required": ["detail", "error"],
                "properties": {
                    "detail": {"anyOf": [{"type": "string"}, {"type": "object"}]},
                    "error": named("OpenAiError"),
                    "request_id": {"type": "string", "description": "On faults: what to quote when reporting one."},
                },
            }),
        ),
        (
            "OpenAiError",
            json!({
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
            }),
        ),
        (
            "Complaint",
            json!({
                "type": "object",
                "required": ["type", "loc", "msg", "input"],
                "properties": {
                    "type": {"type": "string"},
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                    "input": anything(),
                },
            }),
        ),
        (
            "Complaints",
            json!({
                "type": "object",
                "required": ["detail"],
                "properties": {"detail": {"type": "array", "items": named("Complaint")}},
            }),
        ),
        (
            "OpenAiComplaints",
            json!({
                "type": "object",
                "required": ["detail", "error"],
                "properties": {
                    "detail": {"type": "array", "items": named("Complaint")},
                    "error": named("OpenAiError"),
                },
            }),
        ),
    ]
}
