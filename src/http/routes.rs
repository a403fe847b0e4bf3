//! Every route of the house: method, path, who may use it, which clients it speaks to, and its handler. Nothing else.

use super::call::Call;
use super::route::Scope::{Admin, Chat, Public, Read};
use super::route::{Answering, Route};
use super::{bots, chat, docs, health, metrics, models, settings, status, turn_logs, turns};

/// Makes a table entry of an async handler.
macro_rules! run {
    ($handler:path) => {{
        fn run(call: Call) -> Answering {
            Box::pin($handler(call))
        }
        run
    }};
}

const PROBES: &[Route] = &[
    Route::get("/health", Public, run!(health::health)).with_head(),
    Route::get("/healthz", Public, run!(health::health)).with_head(),
    Route::get("/livez", Public, run!(health::alive)).with_head(),
    Route::get("/readyz", Public, run!(health::ready)).with_head(),
    Route::get("/ready", Public, run!(health::ready)).with_head(),
    Route::get("/version", Public, run!(health::version)),
    Route::get("/", Public, run!(docs::root)).with_head(),
];

const OVERVIEW: &[Route] = &[
    Route::get("/status", Read, run!(status::status)),
    Route::get("/v1/status", Read, run!(status::v1_status)),
    Route::get("/metrics", Read, run!(metrics::get)),
    Route::get("/openapi.json", Read, run!(docs::openapi)),
    Route::get("/docs", Read, run!(docs::index)),
    Route::get("/docs/{*file}", Read, run!(docs::file)),
    Route::get("/redoc", Read, run!(docs::redoc)),
];

const CHAT: &[Route] = &[
    Route::post("/v1/chat/completions", Chat, run!(chat::completions)).openai().big(),
    Route::post("/v1/chat/abort", Chat, run!(chat::abort)).openai(),
    Route::post("/v1/chat/session/reset", Chat, run!(chat::session_reset)).openai(),
    Route::post("/v1/botchat/{bot_id}/{user_id}/chat/completions", Chat, run!(chat::botchat)).openai().big(),
    Route::get("/v1/botchat/{bot_id}/{user_id}/models", Chat, run!(models::botchat)).openai(),
    Route::post("/v1/bots/{bot_id}/chat", Chat, run!(chat::bot_alias)).openai().big(),
    Route::get("/v1/turns/{turn_id}/stream", Chat, run!(turns::stream)).openai(),
];

const MODELS: &[Route] = &[
    Route::get("/v1/models", Chat, run!(models::list)).openai(),
    Route::get("/v1/models/{model}", Chat, run!(models::get)).openai(),
    Route::get("/v1/models/upstream", Read, run!(models::upstream)).openai(),
    Route::get("/v1/models/current", Chat, run!(models::current)).openai(),
    Route::post("/v1/models/switch", Chat, run!(models::switch)).openai(),
    Route::post("/v1/models/reload", Admin, run!(models::reload)).openai().bodiless(),
    Route::get("/v1/models/definitions", Admin, run!(models::definitions)).openai(),
    Route::post("/v1/models/definitions/seed", Admin, run!(models::seed_definitions)).openai(),
    Route::get("/v1/models/definitions/{alias}", Admin, run!(models::definition)).openai(),
    Route::put("/v1/models/definitions/{alias}", Admin, run!(models::put_definition)).openai(),
    Route::delete("/v1/models/definitions/{alias}", Admin, run!(models::delete_definition)).openai(),
];

const BOTS: &[Route] = &[
    Route::get("/v1/bots", Read, run!(bots::list)),
    Route::post("/v1/bots", Admin, run!(bots::create)),
    Route::get("/v1/bots/profiles", Read, run!(bots::profiles)),
    Route::get("/v1/bots/{bot_id}/profile", Read, run!(bots::profile)),
    Route::put("/v1/bots/{bot_id}/profile", Admin, run!(bots::put_profile)),
    Route::patch("/v1/bots/{bot_id}/profile", Admin, run!(bots::patch_profile)),
    Route::delete("/v1/bots/{bot_id}/profile", Admin, run!(bots::delete_profile)),
    Route::post("/v1/bots/{bot_id}/purge-data", Admin, run!(bots::purge)).bodiless(),
    Route::post("/v1/admin/reload-bots", Admin, run!(bots::reload)).bodiless(),
];

const SETTINGS: &[Route] = &[
    Route::get("/v1/settings", Admin, run!(settings::list)),
    Route::put("/v1/settings", Admin, run!(settings::put)),
    Route::delete("/v1/settings", Admin, run!(settings::delete)),
    Route::get("/v1/settings/all", Admin, run!(settings::all)),
    Route::post("/v1/settings/batch", Admin, run!(settings::batch)),
];

const TURN_LOGS: &[Route] = &[
    Route::get("/v1/turn-logs", Admin, run!(turn_logs::list)),
    Route::get("/v1/turn-logs/{turn_id}", Admin, run!(turn_logs::get)),
    Route::get("/v1/tool-calls", Admin, run!(turn_logs::tool_calls)),
];

/// All tables.
pub static TABLES: &[&[Route]] = &[PROBES, OVERVIEW, CHAT, MODELS, BOTS, SETTINGS, TURN_LOGS];
