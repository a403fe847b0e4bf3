//! Every route of the house: method, path, who may use it, which clients it speaks to, and its handler. Nothing else.

use super::call::Call;
use super::route::Scope::{Admin, Chat, Public, Read};
use super::route::{Answering, Route};
use super::{
    bots, chat, complete, docs, embeddings, forgetting, health, history, jobs, memory, metrics, models, profiles,
    prompts, settings, status, summaries, tasks, transfer, turn_logs, turns, upkeep,
};

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
    Route::post("/v1/llm/complete", Chat, run!(complete::complete)).big(),
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
    Route::post("/v1/bots/cleanup-orphans", Admin, run!(bots::clean_up_orphans)).bodiless(),
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

const HISTORY: &[Route] = &[
    Route::get("/v1/history", Read, run!(history::list)),
    Route::delete("/v1/history", Admin, run!(history::clear)),
    Route::post("/v1/history/search", Read, run!(history::search)),
    Route::get("/v1/history/summarize/preview", Read, run!(summaries::preview)),
    Route::post("/v1/history/summarize", Admin, run!(summaries::summarize)).bodiless(),
    Route::post("/v1/history/summarize/rebuild", Admin, run!(summaries::rebuild)).bodiless(),
    Route::get("/v1/history/summaries", Read, run!(summaries::list)),
    Route::delete("/v1/history/summary/{summary_id}", Admin, run!(summaries::delete)),
];

const MEMORY: &[Route] = &[
    Route::get("/v1/memory", Read, run!(memory::list)),
    Route::get("/v1/memory/stats", Read, run!(memory::stats)),
    Route::post("/v1/memory/search", Read, run!(memory::search)),
    Route::get("/v1/memory/message", Read, run!(history::message)),
    Route::post("/v1/memory/forget", Admin, run!(forgetting::forget)),
    Route::post("/v1/memory/restore", Admin, run!(forgetting::restore)),
    Route::get("/v1/memory/preview/recent", Read, run!(forgetting::preview_recent)),
    Route::get("/v1/memory/preview/minutes", Read, run!(forgetting::preview_minutes)),
    Route::get("/v1/memory/preview/ignored", Read, run!(forgetting::preview_ignored)),
    Route::post("/v1/memory/regenerate-embeddings", Admin, run!(upkeep::regenerate)),
    Route::post("/v1/memory/consolidate", Admin, run!(upkeep::consolidate)),
    Route::post("/v1/memory/embedding", Admin, run!(embeddings::of_memory)),
    Route::get("/v1/memory/{memory_id}", Read, run!(memory::get)),
    Route::patch("/v1/memory/{memory_id}", Admin, run!(memory::patch)),
    Route::delete("/v1/memory/{memory_id}", Admin, run!(memory::delete)),
];

const EMBEDDINGS: &[Route] = &[Route::post("/v1/embeddings", Chat, run!(embeddings::create)).openai().big()];

const TRANSFER: &[Route] = &[
    Route::post("/v1/import", Admin, run!(transfer::import)).big(),
    Route::get("/v1/export", Admin, run!(transfer::export)),
];

const PROFILES: &[Route] = &[
    Route::get("/v1/profiles", Read, run!(profiles::list)),
    Route::get("/v1/profiles/attribute", Read, run!(profiles::attributes)),
    Route::post("/v1/profiles/attribute", Admin, run!(profiles::upsert)),
    Route::patch("/v1/profiles/attribute/{attribute_id}", Admin, run!(profiles::patch_attribute)),
    Route::delete("/v1/profiles/attribute/{attribute_id}", Admin, run!(profiles::delete_attribute)),
    Route::get("/v1/profiles/lookup", Read, run!(profiles::lookup)),
    Route::get("/v1/profiles/{entity_id}", Read, run!(profiles::find)),
    Route::get("/v1/profiles/{entity_type}/{entity_id}", Read, run!(profiles::get)),
    Route::patch("/v1/profiles/{entity_type}/{entity_id}", Admin, run!(profiles::patch)),
    Route::get("/v1/profiles/{entity_type}/{entity_id}/history", Read, run!(profiles::history)),
];

const PROMPTS: &[Route] = &[
    Route::get("/v1/prompts", Read, run!(prompts::list)),
    Route::post("/v1/prompts/seed-defaults", Admin, run!(prompts::seed_defaults)).bodiless(),
    Route::get("/v1/prompts/{key}", Read, run!(prompts::get)),
    Route::put("/v1/prompts/{key}", Admin, run!(prompts::put)),
    Route::patch("/v1/prompts/{key}", Admin, run!(prompts::patch)),
    Route::get("/v1/prompts/{key}/versions", Read, run!(prompts::versions)),
    Route::post("/v1/prompts/{key}/versions/{version}/restore", Admin, run!(prompts::restore)).bodiless(),
    Route::post("/v1/prompts/{key}/reset", Admin, run!(prompts::reset)).bodiless(),
    Route::post("/v1/prompts/{key}/validate", Read, run!(prompts::validate)),
    Route::post("/v1/prompts/{key}/preview", Read, run!(prompts::preview)),
];

const BACKGROUND: &[Route] = &[
    Route::get("/v1/jobs", Read, run!(jobs::list)),
    Route::get("/v1/jobs/runs", Read, run!(jobs::runs)),
    Route::delete("/v1/jobs/runs/{run_id}", Admin, run!(jobs::cancel)),
    Route::post("/v1/jobs/{job_type}/trigger", Admin, run!(jobs::trigger)),
    Route::patch("/v1/jobs/{job_id}", Admin, run!(jobs::patch)),
    Route::get("/v1/tasks", Read, run!(tasks::list)),
    Route::post("/v1/tasks", Admin, run!(tasks::submit)),
    Route::get("/v1/tasks/{task_id}", Read, run!(tasks::get)),
    Route::delete("/v1/tasks/{task_id}", Admin, run!(tasks::cancel)),
];

/// All tables.
pub static TABLES: &[&[Route]] = &[
    PROBES, OVERVIEW, CHAT, MODELS, BOTS, SETTINGS, TURN_LOGS, HISTORY, MEMORY, EMBEDDINGS, TRANSFER, PROFILES,
    PROMPTS, BACKGROUND,
];
