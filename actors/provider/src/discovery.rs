//! Looking at providers from outside a turn: their own model lists (http-api §8.2), and whether they can be reached.
//!
//! Lists are kept for five minutes, fetched by one caller at a time, and served stale when a fetch fails. Nothing here is
//! done during a turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom_kit::lock;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::base_url::{BaseUrl, same_origin};
use crate::endpoint;
use crate::error::UpstreamModelsError;
use crate::http::target;
use crate::settings::ProviderSettings;
use crate::transport::Transport;
use crate::wires::Wire;
use crate::wires::ollama::discover;

/// How long a list is served without asking again.
const FRESH: Duration = Duration::from_secs(300);
/// Pause after a failed fetch while a stale list is served.
const RETRY: Duration = Duration::from_secs(15);
/// How long a fetch may take.
const FETCH_LIMIT: Duration = Duration::from_secs(10);
/// The same for Ollama, which is near.
const OLLAMA_LIMIT: Duration = Duration::from_secs(5);
/// Largest list accepted.
const LIST_CAP: usize = 8 * 1024 * 1024;
/// Models that Codex offers; there is no list to fetch.
const CODEX: [&str; 5] = ["gpt-5.5", "gpt-5.4", "gpt-5.4-mini", "gpt-5.3-codex", "gpt-5.2"];

/// A model in a provider's own list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpstreamModel {
    /// The provider's name for it.
    pub id: String,
    /// For people.
    pub description: String,
    /// Tokens that fit it, where the provider tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
}

/// A provider's own list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpstreamModels {
    /// Which provider.
    pub provider: String,
    /// Its models.
    pub models: Vec<UpstreamModel>,
}

/// Kept lists.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    by_provider: Mutex<HashMap<&'static str, Arc<tokio::sync::Mutex<Kept>>>>,
}

#[derive(Debug, Default)]
struct Kept {
    models: Option<Vec<UpstreamModel>>,
    next_fetch: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Which {
    Openai,
    Grok,
    Openrouter,
    Anthropic,
    Ollama,
}

impl Lists {
    pub(crate) async fn get(
        &self,
        provider: &str,
        settings: &ProviderSettings,
        transport: &Transport,
    ) -> Result<UpstreamModels, UpstreamModelsError> {
        let (which, name) = match provider.trim().to_lowercase().as_str() {
            "" => return Err(UpstreamModelsError::Required),
            "codex" => return Ok(codex()),
            "openai" => (Which::Openai, "openai"),
            "grok" => (Which::Grok, "grok"),
            "openrouter" => (Which::Openrouter, "openrouter"),
            "anthropic" => (Which::Anthropic, "anthropic"),
            "ollama" => (Which::Ollama, "ollama"),
            other => return Err(UpstreamModelsError::Unknown(other.to_owned())),
        };
        let (base, key) = which.place(settings)?;
        let kept = lock(&self.by_provider).entry(name).or_default().clone();
        let mut kept = kept.lock().await; // one fetch at a time; the others find its result
        let due = kept.next_fetch.is_none_or(|at| at <= Instant::now());
        if due {
            match which.fetch(transport, &base, key.as_ref()).await {
                Some(models) => {
                    kept.models = Some(models);
                    kept.next_fetch = Some(Instant::now() + FRESH);
                }
                None => {
                    tracing::warn!(provider = name, "model list could not be fetched");
                    kept.next_fetch = kept.models.is_some().then(|| Instant::now() + RETRY);
                }
            }
        }
        match &kept.models {
            Some(models) => Ok(UpstreamModels { provider: name.to_owned(), models: models.clone() }),
            None => Err(UpstreamModelsError::Fetch(name.to_owned())),
        }
    }
}

fn codex() -> UpstreamModels {
    let model = |id: &&str| UpstreamModel {
        id: (*id).to_owned(),
        description: "Curated Codex model".to_owned(),
        context_window: None,
    };
    UpstreamModels { provider: "codex".into(), models: CODEX.iter().map(model).collect() }
}

impl Which {
    /// Where to ask, and with which key.
    fn place(self, settings: &ProviderSettings) -> Result<(BaseUrl, Option<SecretString>), UpstreamModelsError> {
        let fixed = |url: &str| BaseUrl::parse(url).map_err(|_| UpstreamModelsError::Fetch(url.to_owned()));
        let needed = |key: &Option<SecretString>, name: &'static str| {
            key.clone().map(Some).ok_or(UpstreamModelsError::KeyMissing(name))
        };
        match self {
            Self::Openai => {
                let base = endpoint::openai_base(settings).map_err(|_| UpstreamModelsError::Fetch("openai".into()))?;
                let key = if same_origin(Some(base.as_str()), Some(endpoint::OPENAI)) {
                    needed(&settings.openai_api_key, "OPENAI_API_KEY")?
                } else {
                    settings.openai_api_key.clone()
                };
                Ok((base, key))
            }
            Self::Grok => Ok((fixed(endpoint::XAI)?, needed(&settings.xai_api_key, "XAI_API_KEY")?)),
            Self::Openrouter => Ok((fixed(endpoint::OPENROUTER)?, settings.openrouter_api_key.clone())),
            Self::Anthropic => {
                let base =
                    endpoint::anthropic_base(settings).map_err(|_| UpstreamModelsError::Fetch("anthropic".into()))?;
                let key = if same_origin(Some(base.as_str()), Some(endpoint::ANTHROPIC)) {
                    needed(&settings.anthropic_api_key, "ANTHROPIC_API_KEY")?
                } else {
                    settings.anthropic_api_key.clone()
                };
                Ok((base, key))
            }
            Self::Ollama => {
                let base = endpoint::ollama_base(settings).map_err(|_| UpstreamModelsError::Fetch("ollama".into()))?;
                Ok((base, None))
            }
        }
    }

    async fn fetch(
        self,
        transport: &Transport,
        base: &BaseUrl,
        key: Option<&SecretString>,
    ) -> Option<Vec<UpstreamModel>> {
        let wire = match self {
            Self::Ollama => return timeout(OLLAMA_LIMIT, ollama(transport, base)).await.ok()?,
            Self::Anthropic => Wire::Messages,
            Self::Openai | Self::Grok | Self::Openrouter => Wire::Chat,
        };
        let all = if matches!(self, Self::Anthropic) { "?limit=1000" } else { "" };
        let mut request = transport.client(base.is_local()).get(base.join(&format!("{}{all}", wire.models_path()))?);
        if let Some(key) = key {
            request = request.headers(target::credential(wire, key)?);
        }
        let list = timeout(FETCH_LIMIT, fetch_json(request)).await.ok()??;
        let official = same_origin(Some(base.as_str()), Some(endpoint::OPENAI));
        let models = list.get("data")?.as_array()?;
        Some(models.iter().filter(|model| self.keeps(model, official)).filter_map(listed).collect())
    }

    fn keeps(self, model: &Value, official: bool) -> bool {
        let text = |name: &str| model.get(name).and_then(Value::as_str).unwrap_or_default();
        let (id, owner) = (text("id"), text("owned_by"));
        match self {
            Self::Openai => !official || id.contains("gpt") || owner == "openai" || owner == "system",
            Self::Grok => !id.contains("imagine") && !id.contains("video"),
            Self::Openrouter | Self::Anthropic | Self::Ollama => true,
        }
    }
}

fn listed(model: &Value) -> Option<UpstreamModel> {
    let text = |name: &str| model.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let number = |name: &str| model.get(name).and_then(Value::as_u64).filter(|number| *number > 0);
    let id = text("id")?.to_owned();
    let at = model.get("created").and_then(Value::as_i64).filter(|at| *at > 0);
    let at = at.and_then(|at| Timestamp::from_second(at).ok()).or_else(|| text("created_at")?.parse().ok());
    let created = at.map(|at| format!("Created {}", at.strftime("%Y-%m-%d")));
    let description = text("name").or_else(|| text("display_name")).map(str::to_owned).or(created).unwrap_or_default();
    let windows = ["context_length", "max_model_len", "max_input_tokens"];
    Some(UpstreamModel { id, description, context_window: windows.into_iter().find_map(number) })
}

/// Ollama's own list, with each model's window.
async fn ollama(transport: &Transport, base: &BaseUrl) -> Option<Vec<UpstreamModel>> {
    let client = transport.client(base.is_local());
    let tags = fetch_json(client.get(base.join("api/tags")?)).await?;
    let mut models = Vec::new();
    for tag in discover::tags(&tags)? {
        let shown = fetch_json(client.post(base.join("api/show")?).json(&json!({"model": tag.name}))).await;
        let context_window = shown.as_ref().and_then(|shown| discover::shown(shown).context_window);
        models.push(UpstreamModel { id: tag.name, description: tag.description, context_window });
    }
    Some(models)
}

async fn fetch_json(request: reqwest::RequestBuilder) -> Option<Value> {
    read_json(request.send().await.ok()?).await
}

/// The JSON of a good answer, as far as it is not too large.
pub(crate) async fn read_json(mut response: reqwest::Response) -> Option<Value> {
    if !response.status().is_success() {
        return None;
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LIST_CAP {
            return None;
        }
    }
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_filtered_as_their_provider_needs() {
        let keeps = |which: Which, id: &str, owner: &str| which.keeps(&json!({"id": id, "owned_by": owner}), true);
        assert!(keeps(Which::Openai, "gpt-x", "someone") && keeps(Which::Openai, "o9", "system"));
        assert!(!keeps(Which::Openai, "whisper", "openai-internal"));
        assert!(Which::Openai.keeps(&json!({"id": "any"}), false));
        assert!(keeps(Which::Grok, "grok-4", "xai") && !keeps(Which::Grok, "grok-imagine", "xai"));
    }

    #[test]
    fn descriptions_and_windows_are_read_where_they_are() {
        let model = listed(&json!({"id": "m", "created": 1_700_000_000})).unwrap();
        assert_eq!((model.description.as_str(), model.context_window), ("Created 2023-11-14", None));
        let model = listed(&json!({"id": "m", "name": "Named", "context_length": 9})).unwrap();
        assert_eq!((model.description.as_str(), model.context_window), ("Named", Some(9)));
        let claude =
            json!({"id": "c", "display_name": "Claude", "created_at": "2025-09-29T00:00:00Z", "max_input_tokens": 7});
        let model = listed(&claude).unwrap();
        assert_eq!((model.description.as_str(), model.context_window), ("Claude", Some(7)));
    }
}
