//! Which environment variable means which key. Conventional names rank below `GREENROOM_SECTION__KEY`, and names of
//! the system this one replaces rank below those, so that an existing `.env` works unchanged.

/// One accepted name.
#[derive(Debug, Clone, Copy)]
pub struct Alias {
    /// The variable.
    pub name: &'static str,
    /// The key it sets.
    pub key: &'static str,
}

const fn alias(name: &'static str, key: &'static str) -> Alias {
    Alias { name, key }
}

/// Accepted names, weakest first: a later one wins over an earlier one for the same key.
pub const ALIASES: &[Alias] = &[
    alias("LLM_BAWT_SERVICE_HOST", "server.host"),
    alias("LLM_BAWT_SERVICE_PORT", "server.port"),
    alias("LLM_BAWT_XAI_API_KEY", "providers.xai_api_key"),
    alias("LLM_BAWT_OLLAMA_URL", "providers.ollama_host"),
    alias("LLM_BAWT_MODELS_CONFIG_PATH", "providers.models"),
    alias("LLM_BAWT_MODEL_CACHE_DIR", "local_models.dir"),
    alias("LLM_BAWT_LLAMA_CPP_N_CTX", "local_models.context_window"),
    alias("LLM_BAWT_DEFAULT_BOT", "bots.default_bot"),
    alias("LLM_BAWT_DEFAULT_USER", "bots.default_user"),
    alias("LLM_BAWT_DEFAULT_MODEL_ALIAS", "bots.default_model"),
    alias("LLM_BAWT_MAX_CONTEXT_TOKENS", "bots.tunables.max_context_tokens"),
    alias("LLM_BAWT_MAX_CONTEXT_MESSAGES", "bots.tunables.max_context_messages"),
    alias("LLM_BAWT_MAX_OUTPUT_TOKENS", "bots.tunables.max_output_tokens"),
    alias("LLM_BAWT_MEMORY_PROTECTED_RECENT_TURNS", "bots.tunables.memory_protected_recent_turns"),
    alias("LLM_BAWT_SUMMARIZATION_MAX_IN_CONTEXT", "bots.tunables.summarization_max_in_context"),
    alias("LLM_BAWT_MEMORY_N_RESULTS", "bots.tunables.memory_n_results"),
    alias("LLM_BAWT_MEMORY_MIN_RELEVANCE", "bots.tunables.memory_min_relevance"),
    alias("LLM_BAWT_MEMORY_MAX_TOKEN_PERCENT", "bots.tunables.memory_max_token_percent"),
    alias("LLM_BAWT_MEMORY_DEDUP_SIMILARITY", "bots.tunables.memory_dedup_similarity"),
    alias("LLM_BAWT_MEMORY_HYBRID_WEIGHT", "bots.tunables.memory_hybrid_weight"),
    alias("LLM_BAWT_MEMORY_MEANING_QUERY", "bots.tunables.memory_meaning_query"),
    alias("LLM_BAWT_MEMORY_MEANING_WEIGHT", "bots.tunables.memory_meaning_weight"),
    alias("LLM_BAWT_MEMORY_DECAY_ENABLED", "bots.tunables.memory_decay_enabled"),
    alias("LLM_BAWT_MEMORY_DECAY_HALF_LIFE_DAYS", "bots.tunables.memory_decay_half_life_days"),
    alias("LLM_BAWT_MEMORY_ACCESS_BOOST_FACTOR", "bots.tunables.memory_access_boost_factor"),
    alias("LLM_BAWT_MEMORY_RECENCY_WEIGHT", "bots.tunables.memory_recency_weight"),
    alias("LLM_BAWT_MEMORY_DIVERSITY_ENABLED", "bots.tunables.memory_diversity_enabled"),
    alias("LLM_BAWT_MEMORY_DIVERSITY_FLOOR", "bots.tunables.memory_diversity_floor"),
    alias("LLM_BAWT_SUMMARIZATION_SESSION_GAP_SECONDS", "bots.tunables.summarization_session_gap_seconds"),
    alias("LLM_BAWT_SUMMARIZATION_MIN_MESSAGES_PER_SESSION", "bots.tunables.summarization_min_messages_per_session"),
    alias("LLM_BAWT_SUMMARIZATION_COMPACT_CONTEXT", "bots.tunables.summarization_compact_context"),
    alias("LLM_BAWT_SUMMARIZATION_QUALITY_RETRY", "bots.tunables.summarization_quality_retry"),
    alias("LLM_BAWT_MEMORY_EXTRACTION_INTERVAL_MINUTES", "bots.tunables.memory_extraction_interval_minutes"),
    alias("LLM_BAWT_HISTORY_SUMMARIZATION_INTERVAL_MINUTES", "bots.tunables.history_summarization_interval_minutes"),
    alias("LLM_BAWT_PROFILE_MAINTENANCE_INTERVAL_MINUTES", "bots.tunables.profile_maintenance_interval_minutes"),
    alias("LLM_BAWT_MEMORY_EMBEDDING_MODEL", "embedder.model"),
    alias("LLM_BAWT_MEMORY_EXTRACTION_ENABLED", "memory.extraction_enabled"),
    alias("LLM_BAWT_MEMORY_EXTRACTION_MIN_IMPORTANCE", "memory.extraction_min_importance"),
    alias("LLM_BAWT_MEMORY_EXTRACTION_HEURISTIC_FALLBACK", "memory.extraction_heuristic_fallback"),
    alias("LLM_BAWT_MEMORY_PROFILE_ATTRIBUTE_ENABLED", "memory.profile_attribute_enabled"),
    alias("LLM_BAWT_MEMORY_PROFILE_ATTRIBUTE_MIN_IMPORTANCE", "memory.profile_attribute_min_importance"),
    alias("LLM_BAWT_MEMORY_LLM_POLICY", "memory.llm_policy"),
    alias("LLM_BAWT_LOCAL_MODEL_HOSTS", "memory.local_model_hosts"),
    alias("LLM_BAWT_EXTRACTION_MODEL", "memory.extraction_model"),
    alias("LLM_BAWT_SUMMARIZATION_MODEL", "memory.summarization_model"),
    alias("LLM_BAWT_MAINTENANCE_MODEL", "memory.maintenance_model"),
    alias("LLM_BAWT_PROFILE_MAINTENANCE_MODEL", "memory.profile_maintenance_model"),
    alias("LLM_BAWT_CONSOLIDATION_MODEL", "memory.consolidation_model"),
    alias("LLM_BAWT_MEMORY_PRUNE_THRESHOLD", "memory.prune_threshold"),
    alias("LLM_BAWT_MEMORY_RECURRENCE_THRESHOLD", "memory.recurrence_threshold"),
    alias("LLM_BAWT_MEMORY_CONSOLIDATION_THRESHOLD", "memory.consolidation_threshold"),
    alias("LLM_BAWT_SUMMARIZATION_ROLLUP_AFTER", "memory.summarization_rollup_after"),
    alias("LLM_BAWT_SCHEDULER_ENABLED", "scheduler.enabled"),
    alias("LLM_BAWT_SCHEDULER_CHECK_INTERVAL_SECONDS", "scheduler.check_interval"),
    alias("LLM_BAWT_TEMPERATURE", "bots.tunables.temperature"),
    alias("LLM_BAWT_TOP_P", "bots.tunables.top_p"),
    alias("LLM_BAWT_MAX_TOOL_CALLS_PER_TURN", "bots.tunables.max_tool_calls_per_turn"),
    alias("LLM_BAWT_SEARCH_PROVIDER", "search.provider"),
    alias("LLM_BAWT_TAVILY_API_KEY", "search.tavily_api_key"),
    alias("LLM_BAWT_BRAVE_API_KEY", "search.brave_api_key"),
    alias("LLM_BAWT_REDDIT_CLIENT_ID", "search.reddit_client_id"),
    alias("LLM_BAWT_REDDIT_CLIENT_SECRET", "search.reddit_client_secret"),
    alias("LLM_BAWT_REDDIT_USER_AGENT", "search.reddit_user_agent"),
    alias("LLM_BAWT_NEWSAPI_API_KEY", "search.newsapi_api_key"),
    alias("LLM_BAWT_SEARCH_MAX_RESULTS", "search.max_results"),
    alias("LLM_BAWT_SEARCH_TIMEOUT", "search.timeout"),
    alias("LLM_BAWT_SEARCH_INCLUDE_ANSWER", "search.include_answer"),
    alias("LLM_BAWT_SEARCH_DEPTH", "search.depth"),
    alias("LLM_BAWT_BRAVE_SAFESEARCH", "search.safe_search"),
    alias("LLM_BAWT_CRAWL4AI_URL", "web.crawl4ai_url"),
    alias("LLM_BAWT_WEB_FETCH_MAX_CHARS", "web.fetch_max_chars"),
    alias("LLM_BAWT_HA_NATIVE_MCP_URL", "home.native_url"),
    alias("LLM_BAWT_HA_NATIVE_MCP_TOKEN", "home.native_token"),
    alias("LLM_BAWT_HA_MCP_TOOL_EXCLUDE", "home.tool_exclude"),
    alias("LLM_BAWT_HA_MCP_ENABLED", "home.enabled"),
    alias("LLM_BAWT_HA_MCP_URL", "home.url"),
    alias("LLM_BAWT_HA_MCP_TIMEOUT", "home.timeout"),
    alias("LLM_BAWT_HA_MCP_AUTH_TOKEN", "home.auth_token"),
    alias("LLM_BAWT_VERBOSE", "log.verbose"),
    alias("LLM_BAWT_DEBUG", "log.debug"),
    alias("HOST", "server.host"),
    alias("PORT", "server.port"),
    alias("DATABASE_URL", "store.database_url"),
    alias("OPENAI_API_BASE", "providers.openai_base_url"),
    alias("OPENAI_BASE_URL", "providers.openai_base_url"),
    alias("OPENAI_API_KEY", "providers.openai_api_key"),
    alias("OPENROUTER_API_KEY", "providers.openrouter_api_key"),
    alias("XAI_API_KEY", "providers.xai_api_key"),
    alias("ANTHROPIC_BASE_URL", "providers.anthropic_base_url"),
    alias("ANTHROPIC_API_KEY", "providers.anthropic_api_key"),
    alias("OLLAMA_HOST", "providers.ollama_host"),
    alias("MODELS_DIR", "local_models.dir"),
    alias("TAVILY_API_KEY", "search.tavily_api_key"),
    alias("BRAVE_API_KEY", "search.brave_api_key"),
    alias("NEWSAPI_API_KEY", "search.newsapi_api_key"),
    alias("CRAWL4AI_URL", "web.crawl4ai_url"),
    alias("CRAWL4AI_API_TOKEN", "web.crawl4ai_api_token"),
    alias("WEB_FETCH_MAX_CHARS", "web.fetch_max_chars"),
    alias("RUST_LOG", "log.filter"),
    alias("TZ", "bots.timezone"),
];

/// Keys that hold secrets: shown hidden, and readable from a file named by `<NAME>_FILE`.
pub const SECRETS: &[&str] = &[
    "auth.admin_key",
    "store.database_url",
    "providers.openai_api_key",
    "providers.openrouter_api_key",
    "providers.xai_api_key",
    "providers.anthropic_api_key",
    "search.tavily_api_key",
    "search.brave_api_key",
    "search.reddit_client_secret",
    "search.newsapi_api_key",
    "web.crawl4ai_api_token",
    "home.native_token",
    "home.auth_token",
];

/// Variables of the `GREENROOM_` family that are no configuration keys: they say where the configuration is, or belong
/// to the client and to development.
pub const RESERVED: &[&str] = &["GREENROOM_CONFIG", "GREENROOM_ENV_FILE", "GREENROOM_URL", "GREENROOM_API_KEY"];

/// Prefix of the names of the replaced system.
pub const LEGACY_PREFIX: &str = "LLM_BAWT_";

/// The parts of the replaced system's database address, which become one URL when a password is set.
pub const LEGACY_POSTGRES: &str = "LLM_BAWT_POSTGRES_";
