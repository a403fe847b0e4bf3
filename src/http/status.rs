//! The state of everything (http-api §20), for programs and for people. Costly facts are gathered at most every few
//! seconds, however many look; hosts and error texts are for administrators.

use std::sync::Arc;
use std::time::Duration;

use greenroom_embedder::Availability;
use greenroom_provider::{Health, ProviderProbe};
use greenroom_scheduler::{JobFilter, TaskFilter, TaskStatus};
use greenroom_store::{StoreFacts, StoreMode};
use greenroom_tools::HOME_NATIVE;
use greenroom_turn::TurnCounts;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, VARY};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::auth::wants_html;
use super::call::Call;
use super::health::VERSION;
use crate::config::KeyRole;
use crate::console::{self, Page, Tree};
use crate::house::House;

/// How long gathered facts are shown.
const KEEP: Duration = Duration::from_secs(5);
/// How long gathering may take; what is not known by then stays unknown.
const GATHER_LIMIT: Duration = Duration::from_secs(2);

/// Facts that cost a query or a call.
#[derive(Debug, Default)]
struct Gathered {
    /// Of the default bot.
    messages: i64,
    /// Of the default bot.
    memories: i64,
    jobs: i64,
    tasks_waiting: i64,
    tasks_over: i64,
    providers: Vec<ProviderProbe>,
}

/// The gathered facts; gathering is done by one reader while others wait for it.
#[derive(Default)]
pub struct StatusCache {
    held: Mutex<Option<(Instant, Arc<Gathered>)>>,
}

impl StatusCache {
    async fn get(&self, house: &House) -> Arc<Gathered> {
        let mut held = self.held.lock().await;
        if let Some((_, gathered)) = held.as_ref().filter(|(at, _)| at.elapsed() < KEEP) {
            return gathered.clone();
        }
        let probing = tokio::time::timeout(GATHER_LIMIT, house.providers.probe());
        let counting = tokio::time::timeout(GATHER_LIMIT, count(house));
        let (providers, counted) = tokio::join!(probing, counting);
        let counted = counted.ok().flatten().unwrap_or_default();
        let gathered = Arc::new(Gathered { providers: providers.unwrap_or_default(), ..counted });
        *held = Some((Instant::now(), gathered.clone()));
        gathered
    }
}

async fn count(house: &House) -> Option<Gathered> {
    let directory = house.bots.directory();
    let sources = house.memory.sources().await.ok()?;
    let default = directory.default_bot().and_then(|bot| sources.iter().find(|source| source.bot_id == *bot.slug()));
    let tasks = |status| TaskFilter { status, limit: 1, ..TaskFilter::default() };
    let waiting = house.scheduler.tasks(&tasks(Some(TaskStatus::Pending))).await.ok()?.total_count;
    let done = house.scheduler.tasks(&tasks(Some(TaskStatus::Completed))).await.ok()?.total_count;
    let jobs = house.scheduler.jobs(&JobFilter { limit: 1, ..JobFilter::default() }).await.ok()?.total_count;
    Some(Gathered {
        messages: default.map_or(0, |source| source.messages),
        memories: default.map_or(0, |source| source.memories),
        jobs,
        tasks_waiting: waiting,
        tasks_over: done,
        providers: Vec::new(),
    })
}

/// Everything a status is made of.
struct Facts {
    store: StoreFacts,
    turns: TurnCounts,
    gathered: Arc<Gathered>,
    default_bot: Option<String>,
    default_model: Option<String>,
    models: Vec<String>,
    tree: Tree,
    healthy: bool,
}

impl Facts {
    async fn of(house: &House) -> Self {
        let (store, catalogue) = (house.store.facts(), house.providers.catalogue());
        let ready = catalogue.iter().map(|model| &model.alias);
        let models = ready.filter(|alias| catalogue.availability(alias).is_ok()).cloned().collect();
        let default_bot = house.bots.directory().default_bot().map(|bot| bot.slug().to_string());
        Self {
            healthy: store.available,
            store,
            turns: house.turns.counts(),
            gathered: house.status.get(house).await,
            default_bot,
            default_model: house.bots.active_model(None, None),
            models,
            tree: console::plant(house.board().views()),
        }
    }

    fn word(&self) -> &'static str {
        if self.healthy { "ok" } else { "degraded" }
    }
}

/// `GET /status`: JSON, or a page for a browser.
pub async fn status(call: Call) -> Answer {
    if wants_html(&call.headers) {
        return page(&call).await;
    }
    let house = &call.house;
    let facts = Facts::of(house).await;
    let admin = call.caller.is_admin();
    let body = json!({
        "status": facts.word(),
        "version": VERSION,
        "healthy": facts.healthy,
        "uptime_seconds": house.uptime().as_secs_f64(),
        "tasks_processed": facts.gathered.tasks_over,
        "tasks_pending": facts.gathered.tasks_waiting,
        "worker_running": house.scheduler.is_running(),
        "models_loaded": house.providers.loaded(),
        "current_model": facts.default_model,
        "default_model": house.config().bots.default_model,
        "default_bot": facts.default_bot,
        "available_models": facts.models,
        "checks": {"service": "up", "database": up(facts.store.available), "mcp": "disabled"},
        "database_connected": facts.store.available,
        "database_host": admin.then_some(&facts.store.database),
        "database_error": (!facts.store.available).then_some("the database is not available"),
        "messages_count": facts.gathered.messages,
        "memories_count": facts.gathered.memories,
        "pgvector_available": true,
        "embeddings_available": embeds(house),
        "mcp_mode": "embedded",
        "mcp_status": "disabled",
        "mcp_url": null,
        "mcp_http_status": null,
        "draining": house.is_draining(),
        "turns": turns(&facts),
        "connections": house.connections.open(),
        "store": store(&facts.store, admin),
        "providers": providers(&facts.gathered, admin),
        "actors": actors(&facts.tree, admin),
        "turns_not_shown": facts.tree.turns_not_shown,
    });
    let mut response = answer::json(&body)?;
    fresh(response.headers_mut());
    Ok(response)
}

fn embeds(house: &House) -> bool {
    matches!(house.embedder.availability(), Availability::Ready)
}

fn up(is_up: bool) -> &'static str {
    if is_up { "up" } else { "down" }
}

fn turns(facts: &Facts) -> Value {
    json!({"active": facts.turns.active, "streaming": facts.turns.streaming})
}

fn store(facts: &StoreFacts, admin: bool) -> Value {
    json!({
        "mode": facts.mode, "server_version": facts.server_version, "pgvector_version": facts.pgvector_version,
        "schema_version": facts.schema_version, "available": facts.available,
        "database": admin.then_some(&facts.database), "postgres_pid": facts.postgres_pid.filter(|_| admin),
        "pool": {
            "max": facts.pool_max, "open": facts.pool_size, "in_use": facts.pool_in_use,
            "waiting": facts.pool_waiting,
        },
    })
}

fn providers(gathered: &Gathered, admin: bool) -> Vec<Value> {
    let shown = gathered.providers.iter().map(|probe| {
        json!({
            "name": probe.name, "models": probe.models, "reachable": probe.reachable,
            "latency_ms": probe.latency_ms, "open_calls": probe.open_calls,
            "health": admin.then(|| health(&probe.health)),
        })
    });
    shown.collect()
}

fn health(health: &Health) -> Value {
    json!(health)
}

/// Failure texts may hold host names.
fn actors(tree: &Tree, admin: bool) -> Vec<Value> {
    let lines = tree.actors.iter().map(|line| {
        let mut value = json!(line);
        if !admin {
            value["last_failure"] = line.card.last_failure.as_ref().map(|_| "hidden").into();
            value["note"] = Value::Null;
        }
        value
    });
    lines.collect()
}

fn fresh(headers: &mut http::HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.append(VARY, HeaderValue::from_static("accept"));
}

async fn page(call: &Call) -> Answer {
    let house = &call.house;
    let mut facts = Facts::of(house).await;
    if !call.caller.is_admin() {
        for line in &mut facts.tree.actors {
            line.card.last_failure = line.card.last_failure.take().map(|_| "hidden".into());
            line.card.note = None;
        }
    }
    let pool = format!("{} of {} in use", facts.store.pool_in_use, facts.store.pool_max);
    let page = Page {
        status: if house.is_draining() { "degraded" } else { facts.word() },
        version: VERSION,
        facts: vec![
            ("up", for_people(house.uptime())),
            ("turns", format!("{} active, {} streaming", facts.turns.active, facts.turns.streaming)),
            ("connections", house.connections.open().to_string()),
            ("database", format!("{} {}", mode(facts.store.mode), facts.store.server_version)),
            ("pool", pool),
            ("models", facts.models.len().to_string()),
            ("default bot", facts.default_bot.clone().unwrap_or_default()),
            ("messages", facts.gathered.messages.to_string()),
        ],
        tree: &facts.tree,
    };
    let whole = call.query().get("part") != Some("tree");
    let html = if whole { console::render_page(&page) } else { console::render_fragment(&page) };
    let mut response = answer::whole(StatusCode::OK, "text/html; charset=utf-8", html);
    let headers = response.headers_mut();
    fresh(headers);
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(console::content_security_policy()));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    Ok(response)
}

fn mode(mode: StoreMode) -> &'static str {
    match mode {
        StoreMode::Embedded => "embedded PostgreSQL",
        StoreMode::External => "PostgreSQL",
    }
}

fn for_people(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// `GET /v1/status`.
pub async fn v1_status(call: Call) -> Answer {
    let house = &call.house;
    let (facts, config, admin) = (Facts::of(house).await, house.config(), call.caller.is_admin());
    let (directory, catalogue) = (house.bots.directory(), house.providers.catalogue());
    let default_bot = directory.default_bot();
    let bots: Vec<Value> = directory
        .iter()
        .map(|bot| {
            let is_default = default_bot.is_some_and(|default| default.slug() == bot.slug());
            json!({"slug": bot.slug(), "name": bot.character().name, "is_default": is_default})
        })
        .collect();
    let model = facts.default_model.as_deref().and_then(|alias| catalogue.get(alias));
    let bot_model = default_bot.and_then(|bot| bot.character().default_model.clone());
    let source = match (&facts.default_model, &bot_model, &config.bots.default_model) {
        (None, ..) => "none",
        (Some(active), Some(own), _) if active.eq_ignore_ascii_case(own) => "bot_default",
        (Some(active), _, Some(own)) if active.eq_ignore_ascii_case(own) => "config_default",
        (Some(_), ..) => "service_runtime",
    };
    answer::json(&json!({
        "config": {
            "version": VERSION, "mode": "service", "service_url": null,
            "environment": if std::path::Path::new("/.dockerenv").exists() { "docker" } else { "local" },
            "bot_name": default_bot.map(|bot| bot.character().name.clone()), "bot_slug": facts.default_bot,
            "model_alias": facts.default_model, "model_source": source,
            "user_id": house.bots.user_or_default(None), "all_bots": bots, "models_defined": catalogue.len(),
            "models_service": facts.models.len(), "scheduler_enabled": config.scheduler.enabled,
            "scheduler_interval": config.scheduler.check_interval.get().as_secs_f64(),
            "ha_mcp_enabled": config.home.enabled,
            "ha_mcp_url": config.home.enabled.then_some(&config.home.url).filter(|_| admin),
            "ha_native_mcp_url": config.home.native_url.as_ref().filter(|_| admin),
            "ha_native_mcp_tools": house.mcp.server(HOME_NATIVE).map_or(0, |server| server.tools().len()),
            "bind_host": admin.then_some(&config.server.host),
            "auth": {
                "keys": house.front().asks_for_keys(),
                "roles": [KeyRole::Chat, KeyRole::Read, KeyRole::Admin],
            },
        },
        "service": {
            "available": true, "healthy": facts.healthy, "uptime_seconds": house.uptime().as_secs_f64(),
            "current_model": facts.default_model, "default_model": config.bots.default_model,
            "default_bot": facts.default_bot, "tasks_processed": facts.gathered.tasks_over,
            "tasks_pending": facts.gathered.tasks_waiting,
        },
        "mcp": {"mode": "embedded", "status": "disabled", "url": null, "http_status": null},
        "model": model.map(|model| json!({
            "alias": model.alias, "type": model.public_type(), "max_tokens": model.max_output_tokens(config.bots.tunables.max_output_tokens.unwrap_or(4096)),
            "max_tokens_source": "model", "context_window": model.context_window(), "context_source": "model",
            "gpu_name": null, "vram_total_gb": null, "vram_free_gb": null, "vram_detection_method": null,
            "n_gpu_layers": null, "gpu_layers_source": null, "native_context_limit": null,
        })),
        "memory": {
            "postgres_connected": facts.store.available, "postgres_host": admin.then_some(&facts.store.database),
            "postgres_error": (!facts.store.available).then_some("the database is not available"),
            "messages_count": facts.gathered.messages, "memories_count": facts.gathered.memories,
            "pgvector_available": true, "embeddings_available": embeds(house),
        },
        "dependencies": {
            "cuda_version": null, "llama_cpp_available": false, "llama_cpp_gpu": null, "hf_hub_available": false,
            "torch_available": false, "openai_key_set": config.providers.openai_api_key.is_some(),
            "newsapi_key_set": house.web.news_available(),
            "search_provider": house.web.search_availability().providers.first(),
            "embeddings_available": embeds(house),
        },
        "scheduler": {"running": house.scheduler.is_running(), "last_tick": null, "jobs": facts.gathered.jobs},
        "bridges": {"redis_connected": false, "backends": []},
        "turns": turns(&facts),
        "providers": providers(&facts.gathered, admin),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_two_units() {
        let told = [5, 65, 3_700, 90_000].map(|seconds| for_people(Duration::from_secs(seconds)));
        assert_eq!(told, ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
    }
}
