//! Roots of model servers, and whether two name the same one.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::Url;

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

    /// The same for Anthropic, whose SDKs are given the root above `/v1`.
    pub(crate) fn parse_anthropic(text: &str) -> Result<Self, &'static str> {
        let base = Self::parse(text)?;
        Ok(if base.0.ends_with("/v1") { base } else { Self(format!("{}/v1", base.0)) })
    }

    /// What `OLLAMA_HOST` may hold: a URL, `host` or `host:port`; the wildcard address means this machine. Ollama's own
    /// interface lies beside its compatible one, so a `/v1` at the end is left off.
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
        let base = Self::parse(url.as_str())?;
        Ok(Self(base.0.strip_suffix("/v1").map(str::to_owned).unwrap_or(base.0)))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// A path below the root.
    pub(crate) fn join(&self, path: &str) -> Option<Url> {
        Url::parse(&format!("{}/{path}", self.0)).ok()
    }

    /// A path beside the `/v1` of the root.
    pub(crate) fn above_v1(&self, path: &str) -> Option<Url> {
        Url::parse(&format!("{}/{path}", self.0.strip_suffix("/v1").unwrap_or(&self.0))).ok()
    }

    fn url(&self) -> Option<Url> {
        Url::parse(&self.0).ok()
    }

    pub(crate) fn host_and_port(&self) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ollama_hosts_come_in_many_forms() {
        for (host, url) in [
            ("127.0.0.1:11434", "http://127.0.0.1:11434"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("http://box:1234/", "http://box:1234"),
            ("https://ollama.example.org/ollama/v1", "https://ollama.example.org/ollama"),
            ("box", "http://box:11434"),
        ] {
            assert_eq!(BaseUrl::parse_ollama(host).unwrap().as_str(), url);
        }
    }

    #[test]
    fn anthropic_roots_end_in_v1() {
        for (root, url) in [
            ("https://api.anthropic.com", "https://api.anthropic.com/v1"),
            ("https://gate.example.org/anthropic/", "https://gate.example.org/anthropic/v1"),
            ("http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1"),
        ] {
            assert_eq!(BaseUrl::parse_anthropic(root).unwrap().as_str(), url);
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
        for far in ["https://api.openai.com/v1", "http://8.8.8.8", "https://llm.example.org"] {
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
