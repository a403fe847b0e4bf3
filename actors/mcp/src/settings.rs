//! Which server, how to reach it, and which of its tools count.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// How long a call may take when nobody says otherwise.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Longest id of a server.
const MOST_ID_CHARS: usize = 40;

/// How messages travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// One URL that takes every message (MCP 2025-03-26 and later).
    #[default]
    StreamableHttp,
    /// A stream of events that says where to post messages (MCP 2024-11-05).
    Sse,
}

/// One MCP server.
#[derive(Clone)]
pub struct ServerSettings {
    /// Its name among ours: letters, digits, `-` and `_`.
    pub id: String,
    /// Where it is; with [`Transport::Sse`] the URL of the stream.
    pub url: String,
    /// Bearer token.
    pub token: Option<SecretString>,
    /// How messages travel.
    pub transport: Transport,
    /// The only tools that count; `None` for all.
    pub allow: Option<Vec<String>>,
    /// Tools that do not count.
    pub exclude: Vec<String>,
    /// How long a call may take.
    pub timeout: Duration,
}

impl fmt::Debug for ServerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSettings")
            .field("id", &self.id)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

impl ServerSettings {
    /// A server over streamable HTTP, without token, all of whose tools count.
    #[must_use]
    pub fn new(id: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            url: url.into(),
            token: None,
            transport: Transport::StreamableHttp,
            allow: None,
            exclude: Vec::new(),
            timeout: CALL_LIMIT,
        }
    }

    /// Whether id and URL can be used.
    ///
    /// # Errors
    /// What is wrong, without repeating the URL, which may hold a secret.
    pub fn check(&self) -> Result<(), String> {
        let named = !self.id.is_empty() && self.id.len() <= MOST_ID_CHARS;
        if !named || !self.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            return Err(format!("an MCP server's id has 1 to {MOST_ID_CHARS} letters, digits, '-' and '_'"));
        }
        self.parsed_url().map(|_| ())
    }

    pub(crate) fn parsed_url(&self) -> Result<Url, String> {
        let problem = |what: &str| format!("the URL of MCP server '{}' {what}", self.id);
        let url = Url::parse(&self.url).map_err(|_| problem("cannot be read"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(problem("must begin with http:// or https:// and name a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(problem("must not hold credentials; use the token"));
        }
        Ok(url)
    }

    pub(crate) fn counts(&self, tool: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|name| name == tool);
        self.allow.as_deref().is_none_or(named) && !named(&self.exclude)
    }
}

/// Whether a server is on this machine or network, and so never behind a proxy.
pub(crate) fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_lowercase();
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => {
            !host.contains('.') || [".localhost", ".local", ".lan", ".internal"].iter().any(|end| host.ends_with(end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_ids_are_checked_and_never_repeated() {
        for (id, url) in [
            ("", "http://h/mcp"),
            ("a b", "http://h/mcp"),
            ("home", "ftp://secret-host/mcp"),
            ("home", "secret-host"),
            ("home", "http://user:secret-word@host/mcp"),
            ("home", "http://secret-user@host/mcp"),
        ] {
            let problem = ServerSettings::new(id, url).check().unwrap_err();
            assert!(!problem.contains("secret"), "{problem}");
        }
        assert!(ServerSettings::new("home-assistant_2", "https://ha.example.org/api/mcp").check().is_ok());
    }

    #[test]
    fn neighbours_are_local() {
        let local = |url: &str| is_local(&Url::parse(url).unwrap());
        for near in ["http://homeassistant:8123", "http://10.0.0.2", "http://[::1]:1", "http://homeassistant.local"] {
            assert!(local(near), "{near}");
        }
        assert!(!local("https://ha.example.org"));
    }

    #[test]
    fn what_counts() {
        let mut settings = ServerSettings::new("home", "http://h");
        assert!(settings.counts("HassTurnOn"));
        settings.exclude = vec!["HassBroadcast".into()];
        assert!(settings.counts("HassTurnOn") && !settings.counts("HassBroadcast"));
        settings.allow = Some(vec!["HassTurnOff".into(), "HassBroadcast".into()]);
        assert!(settings.counts("HassTurnOff") && !settings.counts("HassTurnOn") && !settings.counts("HassBroadcast"));
    }
}
