//! The sections of the configuration with their defaults. `config/default.toml` says the same for people; a test keeps
//! the two from drifting apart. Unknown keys are errors in every section.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::tunables::Tunables;
use super::value::{Names, Size, Span, hidden, optional, secret};

/// Where the server listens and keeps its files.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address to bind.
    pub host: String,
    /// Port to bind; 0 picks a free one.
    pub port: u16,
    /// Folder of the embedded database and the lock file; empty means the platform's place for it.
    #[serde(deserialize_with = "optional")]
    pub data_dir: Option<String>,
}

impl Default for Server {
    fn default() -> Self {
        Self { host: "127.0.0.1".into(), port: 8642, data_dir: None }
    }
}

/// How much of anything is let in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest body of a chat request, inline images included.
    pub chat_body: Size,
    /// Largest body of any other request.
    pub body: Size,
    /// How long a client may take to send a request's head, and how long an idle connection is kept.
    pub header_timeout: Span,
    /// How long a client may take to send a body.
    pub body_timeout: Span,
    /// Open connections; further ones wait to be accepted.
    pub connections: usize,
    /// Turns in flight; further ones are refused with 429.
    pub max_turns: usize,
    /// Turns in flight of one user; 0 means no limit of its own.
    pub per_user_turns: usize,
    /// What a refused client is told to wait.
    pub retry_after: Span,
    /// Longest silence on a stream before a comment line.
    pub keep_alive: Span,
    /// A connection whose socket takes nothing for so long is closed.
    pub viewer_stall_timeout: Span,
    /// How long running turns may go on after a shutdown was asked for.
    pub drain: Span,
    /// How long a turn that asked for it outlives its last viewer.
    pub disconnect_grace: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            chat_body: Size::bytes(25 << 20),
            body: Size::bytes(1 << 20),
            header_timeout: Span::secs(30),
            body_timeout: Span::secs(60),
            connections: 12_000,
            max_turns: 10_000,
            per_user_turns: 32,
            retry_after: Span::secs(2),
            keep_alive: Span::secs(15),
            viewer_stall_timeout: Span::secs(60),
            drain: Span::secs(10),
            disconnect_grace: Span::secs(5),
        }
    }
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyRole {
    /// Hold conversations and list models.
    Chat,
    /// Look at status, metrics and bots.
    Read,
    /// Everything.
    Admin,
}

/// One bearer key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Name in logs.
    pub name: String,
    /// The key itself.
    #[serde(serialize_with = "hidden", deserialize_with = "secret", default)]
    pub key: Option<SecretString>,
    /// What it may do.
    pub roles: Vec<KeyRole>,
    /// Bound to this user, the key can speak for nobody else.
    #[serde(default, deserialize_with = "optional")]
    pub user: Option<String>,
}

/// Who may come in.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// One key with every role: the short form for a single operator.
    #[serde(serialize_with = "hidden", deserialize_with = "secret")]
    pub admin_key: Option<SecretString>,
    /// Further keys.
    pub keys: Vec<Key>,
    /// Serve without keys beyond loopback. Only behind something that authenticates.
    pub allow_unauthenticated: bool,
    /// Names by which the server may be addressed; empty means loopback names without keys, and any name with keys.
    pub allowed_hosts: Names,
    /// Origins whose pages may call the server from a browser (CORS), such as `https://chat.example.org`.
    pub allowed_origins: Names,
}

/// The database.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSection {
    /// External database; without it the server runs its own.
    #[serde(serialize_with = "hidden", deserialize_with = "secret")]
    pub database_url: Option<SecretString>,
    /// Folder that holds `bin/postgres` for the embedded database; searched when not set.
    #[serde(deserialize_with = "optional")]
    pub postgres_dir: Option<String>,
    /// Connections in the pool.
    pub pool_size: usize,
    /// Longest wait for a connection.
    pub checkout_timeout: Span,
    /// Longest run of one statement.
    pub statement_timeout: Span,
    /// Longest wait for a lock.
    pub lock_timeout: Span,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            database_url: None,
            postgres_dir: None,
            pool_size: 16,
            checkout_timeout: Span::secs(2),
            statement_timeout: Span::secs(30),
            lock_timeout: Span::secs(5),
        }
    }
}

impl StoreSection {
    /// The folder of the PostgreSQL binaries, when one is named.
    #[must_use]
    pub fn postgres_dir(&self) -> Option<PathBuf> {
        self.postgres_dir.as_ref().map(PathBuf::from)
    }
}

/// Model providers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProvidersSection {
    /// Model seeds; empty means the ones built in.
    #[serde(deserialize_with = "optional")]
    pub models: Option<String>,
    /// Key for OpenAI, or for whatever listens at `openai_base_url`.
    #[serde(serialize_with = "hidden", deserialize_with = "secret")]
    pub openai_api_key: Option<SecretString>,
    /// Base URL of the OpenAI-compatible endpoint.
    #[serde(deserialize_with = "optional")]
    pub openai_base_url: Option<String>,
    /// Key for OpenRouter.
    #[serde(serialize_with = "hidden", deserialize_with = "secret")]
    pub openrouter_api_key: Option<SecretString>,
    /// Key for xAI.
    #[serde(serialize_with = "hidden", deserialize_with = "secret")]
    pub xai_api_key: Option<SecretString>,
    /// Key for Anthropic, or for whatever listens at `anthropic_base_url`.
    #[serde(serialize_with = "hidden", deserialize_with = "secret")]
    pub anthropic_api_key: Option<SecretString>,
    /// Base URL of the Messages endpoint.
    #[serde(deserialize_with = "optional")]
    pub anthropic_base_url: Option<String>,
    /// Base URL of an Ollama server.
    #[serde(deserialize_with = "optional")]
    pub ollama_host: Option<String>,
    /// Calls in flight to one provider.
    pub max_concurrent: usize,
    /// Longest wait for a connection.
    pub connect_timeout: Span,
    /// Longest wait for the first event of a hosted model.
    pub first_event_timeout: Span,
    /// The same for a model on this machine.
    pub local_first_event_timeout: Span,
    /// Longest gap between events of a hosted model.
    pub gap_timeout: Span,
    /// The same for a model on this machine.
    pub local_gap_timeout: Span,
    /// Longest whole call.
    pub call_timeout: Span,
}

impl Default for ProvidersSection {
    fn default() -> Self {
        Self {
            models: None,
            openai_api_key: None,
            openai_base_url: None,
            openrouter_api_key: None,
            xai_api_key: None,
            anthropic_api_key: None,
            anthropic_base_url: None,
            ollama_host: None,
            max_concurrent: 10_000,
            connect_timeout: Span::secs(5),
            first_event_timeout: Span::secs(60),
            local_first_event_timeout: Span::secs(300),
            gap_timeout: Span::secs(60),
            local_gap_timeout: Span::secs(120),
            call_timeout: Span::secs(600),
        }
    }
}

/// Bots and whom they talk to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BotsSection {
    /// Bot seeds; empty means `bots.yaml` in the working directory when there is one, else the ones built in.
    #[serde(deserialize_with = "optional")]
    pub seeds: Option<String>,
    /// The bot that answers when a request names none.
    pub default_bot: String,
    /// The user when a request names none.
    #[serde(deserialize_with = "optional")]
    pub default_user: Option<String>,
    /// The model alias when neither request nor bot names one.
    #[serde(deserialize_with = "optional")]
    pub default_model: Option<String>,
    /// Answer 404 for an unknown bot instead of falling back to the default one.
    pub strict: bool,
    /// Time zone in which bots see the clock, as an IANA name.
    #[serde(deserialize_with = "optional")]
    pub timezone: Option<String>,
    /// File with the speech rules for voice output; empty means the built-in ones.
    #[serde(deserialize_with = "optional")]
    pub tts_instructions: Option<String>,
    /// Defaults of the runtime settings: the lowest layer below the database.
    pub tunables: Tunables,
}

impl Default for BotsSection {
    fn default() -> Self {
        Self {
            seeds: None,
            default_bot: "nova".into(),
            default_user: None,
            default_model: None,
            strict: false,
            timezone: None,
            tts_instructions: None,
            tunables: Tunables::default(),
        }
    }
}

/// The turn engine and its journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TurnsSection {
    /// How often the partial text of a running turn reaches its log row.
    pub flush_interval: Span,
    /// How long turn logs and tool calls are kept.
    pub retention: Span,
}

impl Default for TurnsSection {
    fn default() -> Self {
        Self { flush_interval: Span::secs(5), retention: Span::secs(168 * 3600) }
    }
}

/// Shape of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logging, always to standard error.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// Filter directives as in `RUST_LOG`; empty means what `verbose` and `debug` say.
    #[serde(deserialize_with = "optional")]
    pub filter: Option<String>,
    /// Shape of the lines.
    pub format: LogFormat,
    /// Access lines and more of what rooms do.
    pub verbose: bool,
    /// Everything, libraries included.
    pub debug: bool,
}
