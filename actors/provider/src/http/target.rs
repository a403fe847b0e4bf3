//! What an endpoint needs for every call, made once: where it goes and the headers that go with it.

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::base_url::BaseUrl;
use crate::wires::Wire;

/// Where calls go.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) url: Url,
    /// The server's list of models, which tells whether it is there.
    pub(crate) models_url: Url,
    /// Of every request; the credential is marked as sensitive.
    pub(crate) credential: HeaderMap,
    /// Of calls.
    pub(crate) headers: HeaderMap,
    /// On this machine or network.
    pub(crate) local: bool,
}

impl Target {
    /// Calls by a wire to a root with a key, or why they cannot be made.
    pub(crate) fn new(wire: Wire, base: &BaseUrl, key: &SecretString) -> Result<Self, &'static str> {
        let place = |path: &str| base.join(path).ok_or("its base_url makes no address");
        let credential = credential(wire, key).ok_or("its key cannot be sent in a header")?;
        let accepted = if wire == Wire::Ollama { "application/x-ndjson" } else { "text/event-stream" };
        let mut headers = credential.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static(accepted));
        let (url, models_url) = (place(wire.path())?, place(wire.models_path())?);
        Ok(Self { url, models_url, credential, headers, local: base.is_local() })
    }
}

/// How a wire tells who calls; `None` for a key that fits no header.
pub(crate) fn credential(wire: Wire, key: &SecretString) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let (name, text) = match wire {
        Wire::Messages => {
            headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
            (HeaderName::from_static("x-api-key"), key.expose_secret().to_owned())
        }
        Wire::Chat | Wire::Responses | Wire::Ollama => (AUTHORIZATION, format!("Bearer {}", key.expose_secret())),
    };
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Some(headers)
}
