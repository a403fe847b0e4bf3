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
    alias("LLM_BAWT_DEFAULT_BOT", "bots.default_bot"),
    alias("LLM_BAWT_DEFAULT_USER", "bots.default_user"),
    alias("LLM_BAWT_DEFAULT_MODEL_ALIAS", "bots.default_model"),
    alias("LLM_BAWT_MAX_CONTEXT_TOKENS", "bots.tunables.max_context_tokens"),
    alias("LLM_BAWT_MAX_CONTEXT_MESSAGES", "bots.tunables.max_context_messages"),
    alias("LLM_BAWT_MAX_OUTPUT_TOKENS", "bots.tunables.max_output_tokens"),
    alias("LLM_BAWT_MEMORY_PROTECTED_RECENT_TURNS", "bots.tunables.memory_protected_recent_turns"),
    alias("LLM_BAWT_SUMMARIZATION_MAX_IN_CONTEXT", "bots.tunables.summarization_max_in_context"),
    alias("LLM_BAWT_TEMPERATURE", "bots.tunables.temperature"),
    alias("LLM_BAWT_TOP_P", "bots.tunables.top_p"),
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
    alias("OLLAMA_HOST", "providers.ollama_host"),
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
];

/// Variables of the `GREENROOM_` family that are no configuration keys: they say where the configuration is, or belong
/// to the client and to development.
pub const RESERVED: &[&str] = &["GREENROOM_CONFIG", "GREENROOM_ENV_FILE", "GREENROOM_URL", "GREENROOM_API_KEY"];

/// Prefix of the names of the replaced system.
pub const LEGACY_PREFIX: &str = "LLM_BAWT_";

/// The parts of the replaced system's database address, which become one URL when a password is set.
pub const LEGACY_POSTGRES: &str = "LLM_BAWT_POSTGRES_";
