//! Where a definition's calls go and which credential goes with them.
//!
//! The invariant: a general key of the process leaves only for the origin it belongs to. Any other host gets the
//! definition's own key, or a placeholder.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::base_url::{BaseUrl, same_origin};
use crate::definition::{ModelDefinition, ModelType};
use crate::http::target::Target;
use crate::local::LocalModel;
use crate::settings::ProviderSettings;
use crate::wires::Wire;

pub(crate) const OPENAI: &str = "https://api.openai.com/v1";
pub(crate) const OPENROUTER: &str = "https://openrouter.ai/api/v1";
pub(crate) const XAI: &str = "https://api.x.ai/v1";
pub(crate) const ANTHROPIC: &str = "https://api.anthropic.com/v1";
const OLLAMA: &str = "http://127.0.0.1:11434";
/// Sent to servers that want some key and check none.
const PLACEHOLDER_KEY: &str = "no-key";

/// What serves a definition.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    /// The built-in echo.
    Echo,
    /// A server that is called over HTTP.
    Http(Box<Endpoint>),
    /// A model in a file, run in this process.
    Local(Arc<LocalModel>),
}

/// A server, the wire it is called by and the credential it is called with: what makes two definitions share a provider
/// actor.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) wire: Wire,
    pub(crate) base: BaseUrl,
    pub(crate) key: SecretString,
    pub(crate) target: Target,
    /// The usual name, before duplicates are told apart.
    pub(crate) name: String,
    /// Whether this is OpenAI itself, which knows the newer parameter names.
    pub(crate) official: bool,
}

impl Route {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Echo => "echo".to_owned(),
            Self::Http(endpoint) => endpoint.name.clone(),
            Self::Local(model) => format!("gguf:{}", model.name()),
        }
    }

    pub(crate) fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Echo, Self::Echo) => true,
            (Self::Http(a), Self::Http(b)) => {
                (a.wire, &a.base, &a.name) == (b.wire, &b.base, &b.name)
                    && a.key.expose_secret() == b.key.expose_secret()
            }
            (Self::Local(a), Self::Local(b)) => a == b,
            _ => false,
        }
    }
}

/// A general key of the process: the root it belongs to, its variable and its value.
type GeneralKey<'a> = (&'a str, &'static str, Option<&'a SecretString>);

/// The general key that belongs to an endpoint. Where one gateway is the home of two keys, the kind decides.
fn general_key<'a>(kind: ModelType, settings: &'a ProviderSettings, base: &BaseUrl) -> Option<GeneralKey<'a>> {
    let anthropic = (settings.anthropic_base_url.as_deref().unwrap_or(ANTHROPIC), "ANTHROPIC_API_KEY");
    let openai = (settings.openai_base_url.as_deref().unwrap_or(OPENAI), "OPENAI_API_KEY");
    let mut homes = [
        (openai.0, openai.1, settings.openai_api_key.as_ref()),
        (OPENROUTER, "OPENROUTER_API_KEY", settings.openrouter_api_key.as_ref()),
        (XAI, "XAI_API_KEY", settings.xai_api_key.as_ref()),
        (anthropic.0, anthropic.1, settings.anthropic_api_key.as_ref()),
    ];
    if kind == ModelType::Anthropic {
        homes.reverse();
    }
    homes.into_iter().find(|(home, _, _)| same_origin(Some(home), Some(base.as_str())))
}

fn provider_name(wire: Wire, base: &BaseUrl) -> String {
    let known = [
        (OPENAI, if wire == Wire::Responses { "openai-responses" } else { "openai" }),
        (OPENROUTER, "openrouter"),
        (XAI, "xai"),
        (ANTHROPIC, "anthropic"),
    ];
    match known.into_iter().find(|(url, _)| same_origin(Some(url), Some(base.as_str()))) {
        Some((_, name)) => name.to_owned(),
        None if wire == Wire::Ollama && same_origin(Some(OLLAMA), Some(base.as_str())) => "ollama".to_owned(),
        None => base.host_and_port(),
    }
}

/// Where `openai` and `responses` definitions without an endpoint go.
pub(crate) fn openai_base(settings: &ProviderSettings) -> Result<BaseUrl, String> {
    let url = settings.openai_base_url.as_deref().unwrap_or(OPENAI);
    BaseUrl::parse(url).map_err(|why| format!("OPENAI_BASE_URL cannot be used: {why}"))
}

/// Where `anthropic` definitions without an endpoint go.
pub(crate) fn anthropic_base(settings: &ProviderSettings) -> Result<BaseUrl, String> {
    let url = settings.anthropic_base_url.as_deref().unwrap_or(ANTHROPIC);
    BaseUrl::parse_anthropic(url).map_err(|why| format!("ANTHROPIC_BASE_URL cannot be used: {why}"))
}

/// Where Ollama listens.
pub(crate) fn ollama_base(settings: &ProviderSettings) -> Result<BaseUrl, String> {
    let host = settings.ollama_host.as_deref().unwrap_or(OLLAMA);
    BaseUrl::parse_ollama(host).map_err(|why| format!("OLLAMA_HOST cannot be used: {why}"))
}

/// Decides what serves a definition, or why nothing does: the one availability function (providers.md §3.4). It looks at
/// the file of a local model, which takes a moment; other kinds are decided by settings alone.
pub(crate) fn route(definition: &ModelDefinition, settings: &ProviderSettings) -> Result<Route, String> {
    type Parse = fn(&str) -> Result<BaseUrl, &'static str>;
    let named = |parse: Parse| {
        let url = definition.options.base_url.as_deref();
        url.map(|url| parse(url).map_err(|why| format!("base_url cannot be used: {why}")))
    };
    let (wire, base) = match definition.kind {
        ModelType::Echo => return Ok(Route::Echo),
        ModelType::Openai => (Wire::Chat, named(BaseUrl::parse).unwrap_or_else(|| openai_base(settings))?),
        ModelType::Responses => (Wire::Responses, named(BaseUrl::parse).unwrap_or_else(|| openai_base(settings))?),
        ModelType::Grok => {
            let home = || BaseUrl::parse(XAI).map_err(str::to_owned);
            (Wire::Responses, named(BaseUrl::parse).unwrap_or_else(home)?)
        }
        ModelType::Anthropic => {
            (Wire::Messages, named(BaseUrl::parse_anthropic).unwrap_or_else(|| anthropic_base(settings))?)
        }
        // Without the variable nobody said that there is an Ollama: its seed must not be taken for a usable model.
        ModelType::Ollama => match (named(BaseUrl::parse_ollama), &settings.ollama_host) {
            (Some(base), _) => (Wire::Ollama, base?),
            (None, Some(_)) => (Wire::Ollama, ollama_base(settings)?),
            (None, None) => return Err("OLLAMA_HOST is not set".to_owned()),
        },
        ModelType::Vllm => match named(BaseUrl::parse) {
            Some(base) => (Wire::Chat, base?),
            None => return Err("base_url of a running vLLM server is needed".to_owned()),
        },
        ModelType::Gguf => {
            let model = LocalModel::survey(definition, &settings.local)?;
            return Ok(Route::Local(Arc::new(model)));
        }
        ModelType::AgentBackend => {
            return Err(format!("type {} is not supported by this version", definition.public_type()));
        }
    };
    let key = key_for(definition, settings, &base)?;
    let target = Target::new(wire, &base, &key)?;
    let official = same_origin(Some(OPENAI), Some(base.as_str()));
    let name = provider_name(wire, &base);
    Ok(Route::Http(Box::new(Endpoint { wire, base, key, target, name, official })))
}

fn key_for(definition: &ModelDefinition, settings: &ProviderSettings, base: &BaseUrl) -> Result<SecretString, String> {
    if let Some(key) = &definition.options.api_key {
        return Ok(key.clone());
    }
    if let Some(name) = &definition.options.api_key_env {
        return (settings.secret_named)(name).ok_or_else(|| format!("{name} is not set"));
    }
    let hosts = [OPENAI, OPENROUTER, XAI, ANTHROPIC];
    let hosted = hosts.iter().any(|url| same_origin(Some(url), Some(base.as_str())));
    match general_key(definition.kind, settings, base) {
        Some((_, _, Some(key))) => Ok(key.clone()),
        Some((_, name, None)) if hosted => Err(format!("{name} is not set")),
        None if hosted => {
            let name = if definition.kind == ModelType::Anthropic { "ANTHROPIC" } else { "OPENAI" };
            Err(format!("{name}_API_KEY belongs to {name}_BASE_URL here; the model needs an api_key of its own"))
        }
        // other servers, a configured base URL among them, may need no key
        Some((_, _, None)) | None => Ok(PLACEHOLDER_KEY.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    fn definition(entry: Value) -> ModelDefinition {
        let Value::Object(entry) = entry else { unreachable!() };
        crate::draft::read_seed("m", &entry, Timestamp::UNIX_EPOCH).unwrap()
    }

    fn routed(entry: Value, settings: &ProviderSettings) -> Result<(String, String, String), String> {
        route(&definition(entry), settings).map(|route| match route {
            Route::Echo | Route::Local(_) => ("echo".into(), String::new(), String::new()),
            Route::Http(e) => (e.name, e.base.as_str().to_owned(), e.key.expose_secret().to_owned()),
        })
    }

    fn settings() -> ProviderSettings {
        ProviderSettings {
            openai_api_key: Some("general".into()),
            openrouter_api_key: Some("router".into()),
            secret_named: Arc::new(|name| (name == "MINE_API_KEY").then(|| "mine".into())),
            ..ProviderSettings::default()
        }
    }

    fn ok(name: &str, base: &str, key: &str) -> Result<(String, String, String), String> {
        Ok((name.into(), base.into(), key.into()))
    }

    #[test]
    fn a_general_key_goes_home_and_nowhere_else() {
        let settings = settings();
        let model = |url: &str| json!({"type": "openai", "model_id": "m", "base_url": url});
        let own = json!({"type": "openai", "model_id": "m"});
        assert_eq!(routed(own.clone(), &settings), ok("openai", OPENAI, "general"));
        assert_eq!(routed(model("https://api.openai.com/v1/"), &settings), ok("openai", OPENAI, "general"));
        assert_eq!(routed(model(OPENROUTER), &settings), ok("openrouter", OPENROUTER, "router"));
        for foreign in [
            "http://api.openai.com/v1",
            "https://api.openai.com:8443/v1",
            "https://api.openai.com.example.org/v1",
            "https://example.org/api.openai.com/v1",
            "http://127.0.0.1:9/v1",
        ] {
            let (_, _, key) = routed(model(foreign), &settings).unwrap();
            assert_eq!(key, PLACEHOLDER_KEY, "{foreign}");
        }
        let paired = ProviderSettings { openai_base_url: Some("http://127.0.0.1:9".into()), ..settings };
        assert_eq!(routed(own, &paired), ok("127.0.0.1:9", "http://127.0.0.1:9/v1", "general"));
        assert_eq!(routed(model("http://127.0.0.1:9/v1"), &paired).unwrap().2, "general");
        assert!(routed(model(OPENAI), &paired).unwrap_err().contains("belongs to OPENAI_BASE_URL"));
    }

    #[test]
    fn each_kind_has_its_wire_and_its_home() {
        let gateway = "http://127.0.0.1:9";
        let settings = ProviderSettings {
            anthropic_api_key: Some("ant".into()),
            xai_api_key: Some("x".into()),
            ollama_host: Some("box".into()),
            ..settings()
        };
        let wire = |entry: &Value, settings: &ProviderSettings| match route(&definition(entry.clone()), settings) {
            Ok(Route::Http(endpoint)) => Some((endpoint.wire, endpoint.target.url.to_string())),
            _ => None,
        };
        let model = |kind: &str| json!({"type": kind, "model_id": "m"});
        for (kind, at, url, called) in [
            (
                "responses",
                ("openai-responses", OPENAI, "general"),
                Wire::Responses,
                "https://api.openai.com/v1/responses",
            ),
            ("grok", ("xai", XAI, "x"), Wire::Responses, "https://api.x.ai/v1/responses"),
            ("anthropic", ("anthropic", ANTHROPIC, "ant"), Wire::Messages, "https://api.anthropic.com/v1/messages"),
            ("ollama", ("box:11434", "http://box:11434", "no-key"), Wire::Ollama, "http://box:11434/api/chat"),
        ] {
            assert_eq!(routed(model(kind), &settings), ok(at.0, at.1, at.2), "{kind}");
            assert_eq!(wire(&model(kind), &settings), Some((url, called.into())));
        }
        let shared = ProviderSettings {
            openai_base_url: Some(gateway.into()),
            anthropic_base_url: Some(gateway.into()),
            ..settings.clone()
        };
        assert_eq!(routed(model("anthropic"), &shared).unwrap().2, "ant");
        assert_eq!(routed(model("responses"), &shared).unwrap().2, "general");
        let foreign = json!({"type": "anthropic", "model_id": "m", "base_url": "https://claude.example.org"});
        assert_eq!(routed(foreign, &shared).unwrap().2, PLACEHOLDER_KEY);
        let own = json!({"type": "anthropic", "model_id": "m", "base_url": ANTHROPIC});
        assert!(routed(own, &shared).unwrap_err().contains("belongs to ANTHROPIC_BASE_URL"));
    }

    #[test]
    fn a_definition_may_bring_its_own_key() {
        let settings = settings();
        let foreign = "https://llm.example.org/v1";
        let named = |env: &str| json!({"type": "openai", "model_id": "m", "base_url": foreign, "api_key_env": env});
        assert_eq!(routed(named("MINE_API_KEY"), &settings), ok("llm.example.org", foreign, "mine"));
        assert_eq!(routed(named("YOUR_API_KEY"), &settings), Err("YOUR_API_KEY is not set".into()));
        let own = json!({"type": "grok", "model_id": "m", "api_key": "k"});
        assert_eq!(routed(own, &settings), ok("xai", XAI, "k"));
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let empty = ProviderSettings::default();
        let reason = |entry: Value| routed(entry, &empty).unwrap_err();
        assert_eq!(reason(json!({"type": "openai", "model_id": "m"})), "OPENAI_API_KEY is not set");
        assert_eq!(reason(json!({"type": "grok", "model_id": "m"})), "XAI_API_KEY is not set");
        assert!(reason(json!({"type": "vllm", "model_id": "m"})).contains("base_url"));
        assert_eq!(reason(json!({"type": "responses", "model_id": "m"})), "OPENAI_API_KEY is not set");
        assert_eq!(reason(json!({"type": "anthropic", "model_id": "m"})), "ANTHROPIC_API_KEY is not set");
        assert_eq!(reason(json!({"type": "codex"})), "type codex is not supported by this version");
        assert!(routed(json!({"type": "echo"}), &empty).is_ok());
        assert_eq!(reason(json!({"type": "ollama", "model_id": "m"})), "OLLAMA_HOST is not set");
        let given = json!({"type": "ollama", "model_id": "m", "base_url": "http://box:11434/v1"});
        assert!(routed(given, &empty).is_ok());
    }
}
