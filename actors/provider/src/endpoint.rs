//! Where a definition's calls go and which credential goes with them.
//!
//! The invariant: a general key of the process leaves only for the origin it belongs to. Any other host gets the
//! definition's own key, or a placeholder.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::definition::{ModelDefinition, ModelType};
use crate::settings::ProviderSettings;

pub(crate) const OPENAI: &str = "https://api.openai.com/v1";
pub(crate) const OPENROUTER: &str = "https://openrouter.ai/api/v1";
pub(crate) const XAI: &str = "https://api.x.ai/v1";
const OLLAMA: &str = "http://127.0.0.1:11434/v1";
/// Sent to servers that want some key and check none.
const PLACEHOLDER_KEY: &str = "no-key";

/// An endpoint root: absolute, http or https, without credentials, query or trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl(String);

impl BaseUrl {
    /// Checks and normalises. A root without a path gets `/v1`, which is where compatible servers serve.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut url = Url::parse(text.trim()).map_err(|_| "Input should be an absolute URL")?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err("Input should be an http or https URL with a host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("Input should hold no credentials; give them as api_key");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("Input should have neither query nor fragment");
        }
        if url.path() == "/" {
            url.set_path("/v1");
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// What `OLLAMA_HOST` may hold: a URL, `host` or `host:port`; the wildcard address means this machine.
    pub(crate) fn parse_ollama(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let bare = !text.contains("://");
        let mut url = Url::parse(&if bare { format!("http://{text}") } else { text.to_owned() })
            .map_err(|_| "not a URL, host or host:port")?;
        if bare && url.port().is_none() {
            let _ = url.set_port(Some(11434));
        }
        if url.host_str() == Some("0.0.0.0") {
            let _ = url.set_ip_host(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        Self::parse(url.as_str())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// A path below the root.
    pub(crate) fn join(&self, path: &str) -> Option<Url> {
        Url::parse(&format!("{}/{path}", self.0)).ok()
    }

    fn url(&self) -> Option<Url> {
        Url::parse(&self.0).ok()
    }

    fn host_and_port(&self) -> String {
        self.url().map_or_else(String::new, |url| {
            let host = url.host_str().unwrap_or_default();
            url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
        })
    }

    /// The host alone, in lower case, an IPv6 address without brackets.
    pub(crate) fn host(&self) -> Option<String> {
        let host = self.url()?.host_str()?.to_lowercase();
        Some(host.trim_matches(['[', ']']).to_owned())
    }

    /// Whether the server is on this machine or network: it answers slowly at first and is never behind a proxy.
    pub(crate) fn is_local(&self) -> bool {
        let Some(host) = self.url().and_then(|url| url.host_str().map(str::to_lowercase)) else { return false };
        let host = host.trim_matches(['[', ']']);
        match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
            Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
            Err(_) => {
                !host.contains('.')
                    || [".localhost", ".local", ".lan", ".internal"].iter().any(|end| host.ends_with(end))
            }
        }
    }
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> Option<String> {
    Url::parse(url).ok().map(|url| url.origin().ascii_serialization())
}

/// Whether two endpoint roots name the same server; both absent counts as the same.
pub(crate) fn same_origin(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => origin(a).is_some_and(|a| origin(b) == Some(a)),
        _ => false,
    }
}

/// What serves a definition.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    /// The built-in echo.
    Echo,
    /// A Chat Completions server.
    OpenAi(Endpoint),
}

/// A server and the credential it is called with: what makes two definitions share a provider actor.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) base: BaseUrl,
    pub(crate) key: SecretString,
    /// The usual name, before duplicates are told apart.
    pub(crate) name: String,
    /// Whether this is OpenAI itself, which knows the newer parameter names.
    pub(crate) official: bool,
}

impl Route {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Echo => "echo",
            Self::OpenAi(endpoint) => &endpoint.name,
        }
    }

    pub(crate) fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Echo, Self::Echo) => true,
            (Self::OpenAi(a), Self::OpenAi(b)) => {
                a.base == b.base && a.key.expose_secret() == b.key.expose_secret() && a.name == b.name
            }
            _ => false,
        }
    }
}

/// The general key that belongs to an endpoint, and the name of its variable.
fn general_key<'a>(settings: &'a ProviderSettings, base: &BaseUrl) -> Option<(&'static str, Option<&'a SecretString>)> {
    let homes = [
        (settings.openai_base_url.as_deref().unwrap_or(OPENAI), "OPENAI_API_KEY", &settings.openai_api_key),
        (OPENROUTER, "OPENROUTER_API_KEY", &settings.openrouter_api_key),
        (XAI, "XAI_API_KEY", &settings.xai_api_key),
    ];
    homes
        .into_iter()
        .find(|(home, _, _)| same_origin(Some(home), Some(base.as_str())))
        .map(|(_, name, key)| (name, key.as_ref()))
}

fn provider_name(kind: ModelType, base: &BaseUrl) -> String {
    let known = [(OPENAI, "openai"), (OPENROUTER, "openrouter"), (XAI, "xai")];
    known.into_iter().find(|(url, _)| same_origin(Some(url), Some(base.as_str()))).map_or_else(
        || {
            if kind == ModelType::Ollama && same_origin(Some(OLLAMA), Some(base.as_str())) {
                "ollama".to_owned()
            } else {
                base.host_and_port()
            }
        },
        |(_, name)| name.to_owned(),
    )
}

/// Where `openai` definitions without an endpoint go.
pub(crate) fn openai_base(settings: &ProviderSettings) -> Result<BaseUrl, String> {
    let url = settings.openai_base_url.as_deref().unwrap_or(OPENAI);
    BaseUrl::parse(url).map_err(|why| format!("OPENAI_BASE_URL cannot be used: {why}"))
}

/// Where Ollama listens.
pub(crate) fn ollama_base(settings: &ProviderSettings) -> Result<BaseUrl, String> {
    let host = settings.ollama_host.as_deref().unwrap_or(OLLAMA);
    BaseUrl::parse_ollama(host).map_err(|why| format!("OLLAMA_HOST cannot be used: {why}"))
}

/// Decides what serves a definition, or why nothing does: the one availability function (providers.md §3.4).
pub(crate) fn route(definition: &ModelDefinition, settings: &ProviderSettings) -> Result<Route, String> {
    let named = |default: fn(&ProviderSettings) -> Result<BaseUrl, String>| match &definition.options.base_url {
        Some(url) => BaseUrl::parse(url).map_err(|why| format!("base_url cannot be used: {why}")),
        None => default(settings),
    };
    let base = match definition.kind {
        ModelType::Echo => return Ok(Route::Echo),
        ModelType::Openai => named(openai_base)?,
        ModelType::Grok => named(|_| BaseUrl::parse(XAI).map_err(str::to_owned))?,
        // Without the variable nobody said that there is an Ollama: its seed must not be taken for a usable model.
        ModelType::Ollama => named(|settings| match settings.ollama_host {
            Some(_) => ollama_base(settings),
            None => Err("OLLAMA_HOST is not set".to_owned()),
        })?,
        ModelType::Vllm => named(|_| {
            Err("base_url of a running vLLM server is needed; vLLM is not run inside \
                                          this version"
                .to_owned())
        })?,
        ModelType::Responses | ModelType::Anthropic | ModelType::Gguf | ModelType::AgentBackend => {
            return Err(format!("type {} is not supported by this version", definition.public_type()));
        }
    };
    let key = key_for(definition, settings, &base)?;
    let official = same_origin(Some(OPENAI), Some(base.as_str()));
    Ok(Route::OpenAi(Endpoint { name: provider_name(definition.kind, &base), base, key, official }))
}

fn key_for(definition: &ModelDefinition, settings: &ProviderSettings, base: &BaseUrl) -> Result<SecretString, String> {
    if let Some(key) = &definition.options.api_key {
        return Ok(key.clone());
    }
    if let Some(name) = &definition.options.api_key_env {
        return (settings.secret_named)(name).ok_or_else(|| format!("{name} is not set"));
    }
    let hosted = [OPENAI, OPENROUTER, XAI].iter().any(|url| same_origin(Some(url), Some(base.as_str())));
    match general_key(settings, base) {
        Some((_, Some(key))) => Ok(key.clone()),
        Some((name, None)) if hosted => Err(format!("{name} is not set")),
        None if hosted => {
            Err("OPENAI_API_KEY belongs to OPENAI_BASE_URL here; the model needs an api_key of its own".into())
        }
        // other servers, a configured OPENAI_BASE_URL among them, may need no key
        Some((_, None)) | None => Ok(PLACEHOLDER_KEY.into()),
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
            Route::Echo => ("echo".into(), String::new(), String::new()),
            Route::OpenAi(e) => (e.name, e.base.as_str().to_owned(), e.key.expose_secret().to_owned()),
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
        for (kind, shown) in [("anthropic", "anthropic"), ("responses", "responses"), ("codex", "codex")] {
            let reason = reason(json!({"type": kind, "model_id": "m"}));
            assert_eq!(reason, format!("type {shown} is not supported by this version"));
        }
        assert!(routed(json!({"type": "echo"}), &empty).is_ok());
        assert_eq!(reason(json!({"type": "ollama", "model_id": "m"})), "OLLAMA_HOST is not set");
        let given = json!({"type": "ollama", "model_id": "m", "base_url": "http://box:11434/v1"});
        assert!(routed(given, &empty).is_ok());
    }

    #[test]
    fn ollama_hosts_come_in_many_forms() {
        for (host, url) in [
            ("127.0.0.1:11434", OLLAMA),
            ("0.0.0.0", OLLAMA),
            ("http://box:1234/", "http://box:1234/v1"),
            ("https://ollama.example.org/ollama/v1", "https://ollama.example.org/ollama/v1"),
            ("box", "http://box:11434/v1"),
        ] {
            assert_eq!(BaseUrl::parse_ollama(host).unwrap().as_str(), url);
        }
    }

    #[test]
    fn neighbours_are_local_and_the_internet_is_not() {
        let local = |url: &str| BaseUrl::parse(url).unwrap().is_local();
        assert_eq!(BaseUrl::parse("http://[::1]:80/v1").unwrap().host().as_deref(), Some("::1"));
        assert_eq!(BaseUrl::parse("https://LLM.Example.org").unwrap().host().as_deref(), Some("llm.example.org"));
        for near in ["http://localhost:1", "http://[::1]:1", "http://10.1.2.3", "http://ollama:11434", "http://gpu.lan"]
        {
            assert!(local(near), "{near}");
        }
        for far in [OPENAI, "http://8.8.8.8", "https://llm.example.org"] {
            assert!(!local(far), "{far}");
        }
    }

    #[test]
    fn roots_are_checked() {
        for bad in ["", "x", "/v1", "ftp://a", "http://", "http://u:p@h/v1", "http://h/v1?q=1", "http://h/#f"] {
            assert!(BaseUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
