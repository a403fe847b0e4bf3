//! Health, status, metrics and these documents themselves.

use http::Method;
use serde_json::{Value, json};

use super::Schemas;
use super::operation::{Op, named};

fn get(path: &'static str, id: &'static str, tag: &'static str, summary: &'static str) -> Op {
    Op::new(Method::GET, path, id, tag, summary)
}

pub fn operations() -> Vec<Op> {
    let not_ready =
        |op: Op| op.gives("Ready", "Readiness").answers(503, "Not ready", "application/json", named("Readiness"));
    let text = json!({"type": "string"});
    vec![
        get("/health", "health", "health", "Whether the process answers").gives("It does", "Health"),
        get("/healthz", "healthz", "health", "Whether the process answers").gives("It does", "Health"),
        get("/livez", "livez", "health", "Whether the process lives").gives("It does", "Alive"),
        not_ready(get("/readyz", "readyz", "health", "Whether the server may be sent work")),
        not_ready(get("/ready", "ready", "health", "Whether the server may be sent work")),
        get("/", "root", "status", "For people who type the address").turns_away(307, "To the status page"),
        get("/version", "version", "health", "The program's version").gives("The version", "Version"),
        get("/status", "status", "status", "The state of everything, with the live tree of actors")
            .query("part", text.clone(), "`tree` gives only the changing part of the page")
            .answers_either(
                200,
                "JSON, or a page that updates itself when the client accepts text/html",
                &[("application/json", named("Status")), ("text/html", text.clone())],
            ),
        get("/v1/status", "statusOfSystem", "status", "The state of the system in groups")
            .gives("The state", "SystemStatus"),
        get("/metrics", "metrics", "status", "Counters, histograms and gauges for Prometheus").answers(
            200,
            "The Prometheus text format",
            "text/plain",
            text.clone(),
        ),
        get("/openapi.json", "openapi", "documents", "This document").answers(
            200,
            "The document",
            "application/json",
            json!({"type": "object"}),
        ),
        get("/docs", "docs", "documents", "A browser for this document").turns_away(307, "To its first page"),
        get("/docs/{*file}", "docsFile", "documents", "A file of the browser")
            .answers_either(
                200,
                "The file",
                &[
                    ("text/html", text.clone()),
                    ("text/css", text.clone()),
                    ("text/javascript", text.clone()),
                    ("image/png", text),
                ],
            )
            .refuses(404, "There is no such file"),
        get("/redoc", "redoc", "documents", "The same browser").turns_away(307, "To its first page"),
    ]
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties})
}

pub fn schemas() -> Schemas {
    vec![
        (
            "Health",
            object(
                &["status", "version"],
                json!({
                    "status": {"type": "string", "enum": ["ok"]}, "version": {"type": "string"},
                }),
            ),
        ),
        ("Alive", object(&["status"], json!({"status": {"type": "string", "enum": ["ok"]}}))),
        (
            "Version",
            object(
                &["name", "version"],
                json!({
                    "name": {"type": "string"}, "version": {"type": "string"},
                }),
            ),
        ),
        (
            "Readiness",
            object(
                &["status", "checks"],
                json!({
                    "status": {"type": "string", "enum": ["ready", "unavailable"]},
                    "checks": {"type": "object", "additionalProperties": {"type": "boolean"}},
                }),
            ),
        ),
        (
            "Actor",
            object(
                &[
                    "name",
                    "kind",
                    "parent",
                    "state",
                    "since",
                    "restarts",
                    "last_failure",
                    "note",
                    "mailbox_depth",
                    "oldest_waiting_ms",
                    "handled",
                    "in_flight",
                    "depth",
                ],
                json!({
                    "name": {"type": "string"}, "kind": {"type": "string"}, "parent": {"type": ["string", "null"]},
                    "state": {"type": "string", "enum": ["starting", "up", "restarting", "down", "stopped"]},
                    "since": {"type": "string", "format": "date-time"}, "restarts": {"type": "integer"},
                    "last_failure": {"type": ["string", "null"]}, "note": {"type": ["string", "null"]},
                    "mailbox_depth": {"type": "integer"}, "oldest_waiting_ms": {"type": ["integer", "null"]},
                    "handled": {"type": "integer"}, "in_flight": {"type": "integer"},
                    "depth": {"type": "integer", "description": "How far below the root."},
                }),
            ),
        ),
        (
            "Status",
            object(
                &[
                    "status",
                    "version",
                    "healthy",
                    "uptime_seconds",
                    "checks",
                    "database_connected",
                    "turns",
                    "actors",
                    "available_models",
                    "default_bot",
                    "messages_count",
                    "store",
                    "providers",
                ],
                json!({
                    "status": {"type": "string", "enum": ["ok", "degraded"]}, "version": {"type": "string"},
                    "healthy": {"type": "boolean"}, "uptime_seconds": {"type": "number"},
                    "tasks_processed": {"type": "integer"}, "tasks_pending": {"type": "integer"},
                    "worker_running": {"type": "boolean"}, "models_loaded": {"type": "array", "items": {"type": "string"}},
                    "current_model": {"type": ["string", "null"]}, "default_model": {"type": ["string", "null"]},
                    "default_bot": {"type": ["string", "null"]},
                    "available_models": {"type": "array", "items": {"type": "string"}},
                    "checks": {"type": "object", "additionalProperties": {"type": "string"}},
                    "database_connected": {"type": "boolean"}, "database_host": {"type": ["string", "null"]},
                    "database_error": {"type": ["string", "null"]}, "messages_count": {"type": "integer"},
                    "memories_count": {"type": "integer"}, "pgvector_available": {"type": "boolean"},
                    "embeddings_available": {"type": "boolean"}, "mcp_mode": {"type": "string"},
                    "mcp_status": {"type": "string"}, "mcp_url": {"type": ["string", "null"]},
                    "mcp_http_status": {"type": ["integer", "null"]}, "draining": {"type": "boolean"},
                    "turns": {"type": "object"}, "connections": {"type": "integer"}, "store": {"type": "object"},
                    "providers": {"type": "array", "items": {"type": "object"}},
                    "actors": {"type": "array", "items": named("Actor")}, "turns_not_shown": {"type": "integer"},
                }),
            ),
        ),
        (
            "SystemStatus",
            object(
                &["config", "service", "mcp", "model", "memory", "dependencies", "scheduler", "bridges", "turns"],
                json!({
                    "config": {"type": "object"}, "service": {"type": "object"}, "mcp": {"type": "object"},
                    "model": {"type": ["object", "null"]}, "memory": {"type": "object"},
                    "dependencies": {"type": "object"}, "scheduler": {"type": "object"}, "bridges": {"type": "object"},
                    "turns": {"type": "object"}, "providers": {"type": "array", "items": {"type": "object"}},
                }),
            ),
        ),
    ]
}
