//! Definitions as the API shows them: every field that is set, secrets masked. A masked secret never reveals more than the
//! end of a long one.

use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::definition::ModelDefinition;

impl ModelDefinition {
    /// The definition as the API shows it, secrets masked.
    #[must_use]
    pub fn view(&self) -> DefinitionView {
        DefinitionView {
            alias: self.alias.clone(),
            kind: self.public_type().to_owned(),
            model_id: self.model_id.as_deref().map(str::to_owned),
            repo_id: self.repo_id.clone(),
            filename: self.filename.clone(),
            description: self.description.clone(),
            extra: self.extra(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    fn extra(&self) -> Option<Map<String, Value>> {
        let options = &self.options;
        let price = options.price.map(|price| json!({"input": price.input, "output": price.output}));
        let members = [
            ("base_url", options.base_url.as_deref().map(Value::from)),
            ("api_key", options.api_key.as_ref().map(|key| mask(key.expose_secret()).into())),
            ("api_key_env", options.api_key_env.as_deref().map(Value::from)),
            ("backend", options.backend.as_deref().map(Value::from)),
            ("bot_config", options.bot_config.as_ref().map(masked_config)),
            ("context_window", options.context_window.map(Value::from)),
            ("max_tokens", options.max_tokens.map(Value::from)),
            ("temperature", options.temperature.map(Value::from)),
            ("adapter", options.adapter.as_deref().map(Value::from)),
            ("chat_format", options.chat_format.as_deref().map(Value::from)),
            ("n_gpu_layers", options.n_gpu_layers.map(Value::from)),
            ("native_context_limit", options.native_context_limit.map(Value::from)),
            ("tool_support", options.tool_support.map(|support| support.as_str().into())),
            ("quantization", options.quantization.as_deref().map(Value::from)),
            ("dtype", options.dtype.as_deref().map(Value::from)),
            ("max_model_len", options.max_model_len.map(Value::from)),
            ("gpu_memory_utilization", options.gpu_memory_utilization.map(Value::from)),
            ("enforce_eager", options.enforce_eager.map(Value::from)),
            ("enable_prefix_caching", options.enable_prefix_caching.map(Value::from)),
            ("supports_images", options.supports_images.map(Value::from)),
            ("supports_temperature", options.supports_temperature.map(Value::from)),
            ("supports_top_p", options.supports_top_p.map(Value::from)),
            ("token_param", options.token_param.map(|param| param.as_str().into())),
            ("stop_limit", options.stop_limit.map(Value::from)),
            ("request_timeout_s", options.request_timeout_s.map(Value::from)),
            ("first_token_timeout_s", options.first_token_timeout_s.map(Value::from)),
            ("price", price),
            ("tokenizer", options.tokenizer.as_deref().map(Value::from)),
            ("fallbacks", (!options.fallbacks.is_empty()).then(|| options.fallbacks.clone().into())),
        ];
        let extra: Map<String, Value> =
            members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        (!extra.is_empty()).then_some(extra)
    }

    /// Whether two definitions mean the same; times do not count.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        let key = |definition: &Self| definition.options.api_key.as_ref().map(|key| key.expose_secret().to_owned());
        self.alias == other.alias
            && self.kind == other.kind
            && key(self) == key(other)
            && self.options.bot_config == other.options.bot_config
            && DefinitionView { created_at: other.created_at, updated_at: other.updated_at, ..self.view() }
                == other.view()
    }
}

/// A definition as `GET /v1/models/definitions` shows it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct DefinitionView {
    /// Its name.
    pub alias: String,
    /// The public type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The provider's name for it.
    pub model_id: Option<String>,
    /// Hugging Face repository.
    pub repo_id: Option<String>,
    /// GGUF file.
    pub filename: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Every other field that is set, secrets masked.
    pub extra: Option<Map<String, Value>>,
    /// First definition.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub created_at: Timestamp,
    /// Last change.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub updated_at: Timestamp,
}

/// What every masked secret starts with.
pub(crate) const MASK: &str = "********";

/// The masked form of a secret: only the end of a long one is shown.
pub(crate) fn mask(secret: &str) -> String {
    let count = secret.chars().count();
    let tail: String = if count >= 16 { secret.chars().skip(count - 4).collect() } else { String::new() };
    format!("{MASK}{tail}")
}

/// Whether a field of a bridge configuration holds a secret.
pub(crate) fn names_secret(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    ["token", "secret", "password", "api_key", "apikey"].iter().any(|word| field.contains(word))
}

fn masked_config(config: &Value) -> Value {
    match config {
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) if names_secret(name) => (name.clone(), Value::from(mask(text))),
                other => (name.clone(), masked_config(other)),
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(masked_config).collect(),
        other => other.clone(),
    }
}
