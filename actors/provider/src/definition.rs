//! Model definitions: what an alias stands for, and the limits and capabilities that follow from it.
//!
//! A value of [`ModelDefinition`] has passed the checks of the draft reader. Secrets stay in redacting types; views mask
//! them. Nothing here knows about endpoints, keys of the process, or the database.

use std::sync::Arc;

use greenroom_dialect::{Adapter, ToolFormat};
use greenroom_protocol::Usage;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;

/// What serves a model. Older names (`codex`, `claude-code`, `openclaw`) are normalised to [`Self::AgentBackend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModelType {
    /// Chat Completions, at OpenAI or any compatible server.
    Openai,
    /// xAI.
    Grok,
    /// The Responses API.
    Responses,
    /// The Messages API.
    Anthropic,
    /// An Ollama server.
    Ollama,
    /// A vLLM server.
    Vllm,
    /// A GGUF file, run in this process.
    Gguf,
    /// A bridge to an agent.
    AgentBackend,
    /// The built-in echo.
    Echo,
}

impl ModelType {
    const ALL: [Self; 9] = [
        Self::Openai,
        Self::Grok,
        Self::Responses,
        Self::Anthropic,
        Self::Ollama,
        Self::Vllm,
        Self::Gguf,
        Self::AgentBackend,
        Self::Echo,
    ];

    /// The type as it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Grok => "grok",
            Self::Responses => "responses",
            Self::Anthropic => "anthropic",
            Self::Ollama => "ollama",
            Self::Vllm => "vllm",
            Self::Gguf => "gguf",
            Self::AgentBackend => "agent_backend",
            Self::Echo => "echo",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Whether `model_id` must be given.
    #[must_use]
    pub fn needs_model_id(self) -> bool {
        matches!(self, Self::Openai | Self::Grok | Self::Responses | Self::Anthropic | Self::Ollama | Self::Vllm)
    }
}

/// Name of the request field that limits the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenParam {
    /// `max_tokens`, the older name that compatible servers know.
    MaxTokens,
    /// `max_completion_tokens`, OpenAI's newer name.
    MaxCompletionTokens,
    /// `max_output_tokens`, the name of the Responses API.
    MaxOutputTokens,
}

impl TokenParam {
    /// All, in the order in which they are tried.
    pub(crate) const ALL: [Self; 3] = [Self::MaxTokens, Self::MaxCompletionTokens, Self::MaxOutputTokens];

    /// The field's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxOutputTokens => "max_output_tokens",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|param| param.as_str() == word)
    }
}

/// US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// Prompt tokens.
    pub input: f64,
    /// Generated tokens.
    pub output: f64,
}

/// Everything of a definition that the API shows under `extra`.
#[derive(Debug, Clone, Default)]
pub struct ModelOptions {
    /// Endpoint root.
    pub base_url: Option<String>,
    /// Credential of this model alone.
    pub api_key: Option<SecretString>,
    /// Environment variable that holds the credential.
    pub api_key_env: Option<String>,
    /// Engine of a GGUF model, or name of an agent bridge.
    pub backend: Option<String>,
    /// Base configuration of an agent bridge.
    pub bot_config: Option<Value>,
    /// Tokens that fit the model.
    pub context_window: Option<u64>,
    /// Most tokens it may generate.
    pub max_tokens: Option<u32>,
    /// Used when neither request nor settings say otherwise.
    pub temperature: Option<f64>,
    /// Output adapter.
    pub adapter: Option<String>,
    /// Template override.
    pub chat_format: Option<String>,
    /// Layers to put on the GPU, -1 for all.
    pub n_gpu_layers: Option<i32>,
    /// Limit of the architecture, for automatic sizing.
    pub native_context_limit: Option<u64>,
    /// How tools are offered; absent means automatic.
    pub tool_support: Option<ToolFormat>,
    /// Informational.
    pub quantization: Option<String>,
    /// Number format of the weights.
    pub dtype: Option<String>,
    /// Cap of the KV cache, in tokens.
    pub max_model_len: Option<u64>,
    /// Share of GPU memory to use.
    pub gpu_memory_utilization: Option<f64>,
    /// Engine option.
    pub enforce_eager: Option<bool>,
    /// Engine option.
    pub enable_prefix_caching: Option<bool>,
    /// Whether the model sees images; absent means it is tried.
    pub supports_images: Option<bool>,
    /// Whether `temperature` may be sent; absent means it is tried.
    pub supports_temperature: Option<bool>,
    /// Whether `top_p` may be sent; absent means it is tried.
    pub supports_top_p: Option<bool>,
    /// Name of the output limit; absent means automatic.
    pub token_param: Option<TokenParam>,
    /// Most stop sequences the provider accepts.
    pub stop_limit: Option<u32>,
    /// Limit of the whole call in seconds.
    pub request_timeout_s: Option<f64>,
    /// Limit until the first event in seconds.
    pub first_token_timeout_s: Option<f64>,
    /// What tokens cost.
    pub price: Option<Price>,
    /// Tokenizer to count with.
    pub tokenizer: Option<String>,
    /// Aliases that answer in this model's place while it cannot, in this order. Their own lists are not followed.
    pub fallbacks: Vec<String>,
}

/// A checked definition.
#[derive(Debug, Clone)]
pub struct ModelDefinition {
    /// Its name; compared without regard to case.
    pub alias: String,
    /// What serves it.
    pub kind: ModelType,
    /// The provider's name for it.
    pub model_id: Option<Arc<str>>,
    /// Hugging Face repository of a GGUF file.
    pub repo_id: Option<String>,
    /// The GGUF file.
    pub filename: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// The rest.
    pub options: ModelOptions,
    /// When the alias was first defined.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What a model can do, as the turn needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Tools may be passed in [`crate::CompletionRequest::tools`].
    pub native_tools: bool,
    /// Several tool calls may come in one answer.
    pub parallel_tool_calls: bool,
    /// Images may be passed; others are replaced by a notice.
    pub images: bool,
    /// Stop sequences the provider enforces itself (`None`: any number); the rest is enforced here.
    pub stop_limit: Option<u32>,
    /// `temperature` is honoured.
    pub temperature: bool,
    /// `top_p` is honoured.
    pub top_p: bool,
    /// `response_format` is honoured.
    pub response_format: bool,
    /// The model knows a system role; system messages are always gathered at the front.
    pub system_role: bool,
    /// Any number of calls may run at once.
    pub concurrent: bool,
    /// The backend keeps the conversation itself.
    pub manages_own_history: bool,
}

/// OpenAI's limit on stop sequences, taken for every compatible server that does not say otherwise.
const OPENAI_STOP_LIMIT: u32 = 4;

impl ModelDefinition {
    /// The type as clients see it: bridges that have a type name of their own are shown under it.
    #[must_use]
    pub fn public_type(&self) -> &str {
        match (self.kind, self.options.backend.as_deref()) {
            (ModelType::AgentBackend, Some(backend @ ("codex" | "claude-code"))) => backend,
            (kind, _) => kind.as_str(),
        }
    }

    /// `model_id`, falling back to `repo_id` (http-api §8.3).
    #[must_use]
    pub fn public_model_id(&self) -> Option<&str> {
        self.model_id.as_deref().or(self.repo_id.as_deref())
    }

    /// The name that the provider knows the model by.
    pub(crate) fn called(&self) -> &str {
        self.model_id.as_deref().unwrap_or(&self.alias)
    }

    /// How the model is offered tools (tools.md §1).
    #[must_use]
    pub fn tool_format(&self) -> ToolFormat {
        let usual = match self.kind {
            ModelType::AgentBackend | ModelType::Echo => return ToolFormat::None,
            ModelType::Gguf | ModelType::Ollama => ToolFormat::React,
            _ => ToolFormat::Native,
        };
        match self.options.tool_support.unwrap_or(usual) {
            // a model in this process has no calls of its own
            ToolFormat::Native if self.kind == ModelType::Gguf => ToolFormat::React,
            format => format,
        }
    }

    /// What the model's family needs done to its output: as it says, or by its names.
    #[must_use]
    pub fn adapter(&self) -> Adapter {
        let names = [self.model_id.as_deref(), self.repo_id.as_deref(), self.filename.as_deref()];
        let sources: Vec<&str> = std::iter::once(self.alias.as_str()).chain(names.into_iter().flatten()).collect();
        Adapter::select(self.options.adapter.as_deref(), &sources)
    }

    /// The output limit to send: the smaller one of what is wished and what the model may.
    pub(crate) fn output_limit(&self, wish: Option<u32>) -> Option<u32> {
        match (wish, self.options.max_tokens) {
            (Some(wish), Some(most)) => Some(wish.min(most)),
            (wish, most) => wish.or(most),
        }
    }

    /// Tokens that fit the model (providers.md §3.5).
    #[must_use]
    pub fn context_window(&self) -> u64 {
        match self.kind {
            ModelType::AgentBackend => 128_000,
            ModelType::Openai | ModelType::Grok | ModelType::Responses | ModelType::Anthropic => {
                self.options.context_window.unwrap_or(128_000)
            }
            ModelType::Ollama | ModelType::Vllm | ModelType::Gguf | ModelType::Echo => {
                self.options.context_window.unwrap_or(32_768)
            }
        }
    }

    /// Most tokens the model generates; `configured` stands in when the definition names no limit.
    #[must_use]
    pub fn max_output_tokens(&self, configured: u32) -> u32 {
        match self.kind {
            ModelType::AgentBackend => 16_384,
            _ => self.options.max_tokens.unwrap_or(configured),
        }
    }

    /// What the model can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let options = &self.options;
        let echo = self.kind == ModelType::Echo;
        let agent = self.kind == ModelType::AgentBackend;
        let local = self.kind == ModelType::Gguf;
        let native = self.tool_format() == ToolFormat::Native;
        Capabilities {
            native_tools: native,
            parallel_tool_calls: native,
            images: !local && options.supports_images.unwrap_or(!echo),
            stop_limit: match self.kind {
                ModelType::Echo | ModelType::Gguf => None,
                ModelType::Responses | ModelType::Grok => Some(0), // the Responses API knows no stop sequences
                ModelType::Anthropic | ModelType::Ollama | ModelType::Vllm => options.stop_limit,
                _ => Some(options.stop_limit.unwrap_or(OPENAI_STOP_LIMIT)),
            },
            temperature: options.supports_temperature.unwrap_or(!echo && !agent),
            top_p: options.supports_top_p.unwrap_or(!echo && !agent),
            response_format: !echo && !agent && !local,
            system_role: true,
            concurrent: !local,
            manages_own_history: agent,
        }
    }

    /// What a call cost in US dollars, when a price is configured.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
    pub fn cost(&self, usage: Usage) -> Option<f64> {
        let price = self.options.price?;
        Some((usage.input as f64 * price.input + usage.output as f64 * price.output) / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(entry: Value) -> ModelDefinition {
        let Value::Object(mut entry) = entry else { unreachable!() };
        entry.entry("model_id").or_insert_with(|| "m".into());
        crate::draft::read_seed("m", &entry, Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn tool_formats_follow_the_kind_unless_told() {
        let format = |entry: Value| definition(entry).tool_format();
        for kind in ["openai", "grok", "responses", "anthropic", "vllm"] {
            assert_eq!(format(json!({"type": kind})), ToolFormat::Native, "{kind}");
            assert_eq!(format(json!({"type": kind, "tool_support": "xml"})), ToolFormat::Xml, "{kind}");
        }
        assert_eq!(format(json!({"type": "ollama"})), ToolFormat::React);
        assert_eq!(format(json!({"type": "ollama", "tool_support": "native"})), ToolFormat::Native);
        let gguf = json!({"type": "gguf", "repo_id": "r", "filename": "f", "tool_support": "native"});
        assert_eq!(format(gguf), ToolFormat::React);
        for kind in ["codex", "claude-code", "openclaw", "echo"] {
            assert_eq!(format(json!({"type": kind, "tool_support": "native"})), ToolFormat::None, "{kind}");
        }
        assert_eq!(format(json!({"type": "openai", "tool_format": "react"})), ToolFormat::React);
        assert!(!definition(json!({"type": "openai", "tool_support": "react"})).capabilities().native_tools);
    }

    #[test]
    fn adapters_are_found_by_any_name() {
        let adapter = |entry: Value| definition(entry).adapter();
        assert_eq!(adapter(json!({"type": "openai"})), Adapter::Default);
        assert_eq!(adapter(json!({"type": "vllm", "model_id": "Gryphe/MythoMax-L2-13b"})), Adapter::Pygmalion);
        assert_eq!(adapter(json!({"type": "openai", "adapter": "dolphin"})), Adapter::Dolphin);
        let file = json!({"type": "gguf", "repo_id": "r", "filename": "pygmalion-7b.q4.gguf"});
        assert_eq!(adapter(file), Adapter::Pygmalion);
        assert_eq!(adapter(json!({"type": "openai", "model_id": "mythomax", "adapter": "default"})), Adapter::Default);
    }
}
