//! What makes a configuration unusable, decided before anything is bound. Pure, but for resolving the host's name.

use std::collections::HashSet;
use std::net::{SocketAddr, ToSocketAddrs};

use greenroom_protocol::{BotSlug, UserId};
use secrecy::ExposeSecret;

use super::Config;

pub(super) fn complaints(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    check_address(config, &mut found);
    check_limits(config, &mut found);
    check_keys(config, &mut found);
    check_names(config, &mut found);
    check_memory(config, &mut found);
    check_outside(config, &mut found);
    found
}

fn check_address(config: &Config, found: &mut Vec<String>) {
    let host = &config.server.host;
    let addresses: Vec<SocketAddr> = match (host.as_str(), config.server.port).to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            found.push(format!("server.host: '{host}' cannot be resolved: {error}"));
            return;
        }
    };
    let beyond = addresses.iter().any(|address| !address.ip().is_loopback());
    if beyond && !config.has_keys() && !config.auth.allow_unauthenticated {
        found.push(format!(
            "server.host: '{host}' is reachable from other machines and no keys are configured. Set auth.admin_key \
             (GREENROOM_AUTH__ADMIN_KEY) or auth.keys, or bind 127.0.0.1; auth.allow_unauthenticated = true serves \
             without keys all the same"
        ));
    }
}

fn check_limits(config: &Config, found: &mut Vec<String>) {
    let limits = &config.limits;
    for (name, number) in [
        ("limits.connections", limits.connections),
        ("limits.max_turns", limits.max_turns),
        ("store.pool_size", config.store.pool_size),
        ("providers.max_concurrent", config.providers.max_concurrent),
        ("local_models.max_resident", config.local_models.max_resident),
        ("limits.body", limits.body.get()),
        ("limits.chat_body", limits.chat_body.get()),
    ] {
        if number == 0 {
            found.push(format!("{name}: must be at least 1"));
        }
    }
    for (name, span) in [
        ("limits.header_timeout", limits.header_timeout),
        ("limits.body_timeout", limits.body_timeout),
        ("limits.keep_alive", limits.keep_alive),
        ("limits.viewer_stall_timeout", limits.viewer_stall_timeout),
        ("store.checkout_timeout", config.store.checkout_timeout),
        ("store.statement_timeout", config.store.statement_timeout),
        ("store.lock_timeout", config.store.lock_timeout),
        ("providers.connect_timeout", config.providers.connect_timeout),
        ("providers.first_event_timeout", config.providers.first_event_timeout),
        ("providers.call_timeout", config.providers.call_timeout),
        ("local_models.wait_timeout", config.local_models.wait_timeout),
        ("turns.flush_interval", config.turns.flush_interval),
        ("turns.retention", config.turns.retention),
    ] {
        if span.get().is_zero() {
            found.push(format!("{name}: must be longer than nothing"));
        }
    }
}

fn check_keys(config: &Config, found: &mut Vec<String>) {
    let (mut names, mut texts) = (HashSet::new(), HashSet::new());
    if let Some(key) = &config.auth.admin_key {
        texts.insert(key.expose_secret().to_owned());
    }
    for key in &config.auth.keys {
        let name = key.name.trim();
        if name.is_empty() {
            found.push("auth.keys: every key needs a name".into());
        }
        if !names.insert(name.to_owned()) {
            found.push(format!("auth.keys: two keys are named '{name}'"));
        }
        match &key.key {
            None => found.push(format!("auth.keys: '{name}' has no key")),
            Some(text) if !texts.insert(text.expose_secret().to_owned()) => {
                found.push(format!("auth.keys: '{name}' has the same key as another entry"));
            }
            Some(_) => {}
        }
        if key.roles.is_empty() {
            found.push(format!("auth.keys: '{name}' has no roles"));
        }
        if let Some(Err(bad)) = key.user.as_deref().map(UserId::parse) {
            found.push(format!("auth.keys: the user of '{name}': {bad}"));
        }
    }
    for text in &texts {
        if text.len() < 8 || !text.chars().all(|c| c.is_ascii_graphic()) {
            found.push("auth: a key needs at least 8 visible ASCII characters".into());
            break;
        }
    }
    for origin in &config.auth.allowed_origins.0 {
        let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        if origin != "null" && rest.is_none_or(|rest| rest.is_empty() || rest.contains('/')) {
            found.push(format!("auth.allowed_origins: '{origin}' is no origin such as https://chat.example.org"));
        }
    }
}

fn check_names(config: &Config, found: &mut Vec<String>) {
    if let Err(bad) = BotSlug::parse(&config.bots.default_bot) {
        found.push(format!("bots.default_bot: {bad}"));
    }
    if let Some(Err(bad)) = config.bots.default_user.as_deref().map(UserId::parse) {
        found.push(format!("bots.default_user: {bad}"));
    }
    for (name, url) in [
        ("providers.openai_base_url", &config.providers.openai_base_url),
        ("providers.anthropic_base_url", &config.providers.anthropic_base_url),
    ] {
        if let Some(url) = url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            found.push(format!("{name}: must begin with http:// or https://"));
        }
    }
    if let Some(url) = &config.store.database_url {
        let url = url.expose_secret();
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://") || url.contains('=')) {
            found.push("store.database_url: must begin with postgres:// or postgresql://".into());
        }
    }
    if let Some(Err(error)) = config.log.filter.as_deref().map(tracing_subscriber::EnvFilter::try_new) {
        found.push(format!("log.filter: {error}"));
    }
    if let Ok(serde_json::Value::Object(tunables)) = serde_json::to_value(&config.bots.tunables) {
        for (key, value) in tunables.iter().filter(|(_, value)| !value.is_null()) {
            if let Err(bad) = greenroom_bot::checked(key, value) {
                found.push(format!("bots.tunables.{key}: {}", bad.msg));
            }
        }
    }
}

fn check_memory(config: &Config, found: &mut Vec<String>) {
    let memory = &config.memory;
    for (name, share) in [
        ("extraction_min_importance", memory.extraction_min_importance),
        ("profile_attribute_min_importance", memory.profile_attribute_min_importance),
        ("prune_threshold", memory.prune_threshold),
        ("consolidation_threshold", memory.consolidation_threshold),
    ] {
        if !(0.0..=1.0).contains(&share) {
            found.push(format!("memory.{name}: must be between 0 and 1"));
        }
    }
    for (name, span) in
        [("memory.model_timeout", memory.model_timeout), ("scheduler.check_interval", config.scheduler.check_interval)]
    {
        if span.get().is_zero() {
            found.push(format!("{name}: must be longer than nothing"));
        }
    }
    if config.embedder.queue == 0 {
        found.push("embedder.queue: must be at least 1".into());
    }
    if crate::rooms::embedder_choice(&config.embedder).is_none() {
        let model = &config.embedder.model;
        found.push(format!("embedder.model: '{model}' is none of all-MiniLM-L6-v2, test-hash and off"));
    }
}

fn check_outside(config: &Config, found: &mut Vec<String>) {
    if let Err(why) = config.search.first() {
        found.push(format!("search.provider: {why}"));
    }
    for (name, span) in [("search.timeout", config.search.timeout), ("home.timeout", config.home.timeout)] {
        if span.get().is_zero() {
            found.push(format!("{name}: must be longer than nothing"));
        }
    }
    if !(1..=20).contains(&config.search.max_results) {
        found.push("search.max_results: must be between 1 and 20".into());
    }
    if config.web.fetch_max_chars == 0 {
        found.push("web.fetch_max_chars: must be at least 1".into());
    }
    if let Err(error) = greenroom_web::AllowList::parse(&config.web.allow.0) {
        found.push(format!("web.allow: {error}"));
    }
    for server in crate::rooms::mcp(config) {
        if let Err(why) = server.check() {
            found.push(format!("home: {why}"));
        }
    }
}
