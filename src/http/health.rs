//! Whether the process lives and whether it may be sent work. These answer anybody, so they say nothing else.

use http::StatusCode;
use serde_json::json;

use super::answer::{self, Answer};
use super::call::Call;

/// The program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `GET /health`, `/healthz`: touches nothing.
pub async fn health(_: Call) -> Answer {
    answer::json(&json!({"status": "ok", "version": VERSION}))
}

/// `GET /livez`: the process answers, so it lives.
pub async fn alive(_: Call) -> Answer {
    answer::json(&json!({"status": "ok"}))
}

/// `GET /readyz`, `/ready`: 503 while the database is away, no model is defined, or the server is going down.
pub async fn ready(call: Call) -> Answer {
    let (database, draining) = (call.house.store.is_available(), call.house.is_draining());
    let catalogue = !call.house.providers.catalogue().is_empty();
    let ready = database && catalogue && !draining;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": if ready { "ready" } else { "unavailable" },
        "checks": {"database": database, "catalogue": catalogue, "draining": draining},
    });
    Ok(answer::json_with(status, &body))
}

/// `GET /version`.
pub async fn version(_: Call) -> Answer {
    answer::json(&json!({"name": "greenroom", "version": VERSION}))
}
