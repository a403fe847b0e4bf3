//! Names and origins: a server on loopback is reachable by any page its user visits, so a request must name a host that
//! is ours (no DNS rebinding) and, when a browser says where it comes from, an origin that is ours or allowed (no
//! cross-site requests). Answers carry CORS headers for allowed origins only. Pure.

use std::net::IpAddr;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Uri};

use super::error::ApiError;
use crate::config::Config;

/// Which hosts and origins are ours.
pub struct Origins {
    any_host: bool,
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// What the request's origin means for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visitor {
    /// No page of another origin.
    Home,
    /// A page of an allowed origin.
    Guest(HeaderValue),
}

impl Origins {
    /// Reads the lists of a checked configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut hosts: Vec<String> = config.auth.allowed_hosts.0.iter().map(|host| host.to_lowercase()).collect();
        let any_host = hosts.iter().any(|host| host == "*") || (hosts.is_empty() && config.has_keys());
        hosts.push("localhost".into());
        hosts.push(config.server.host.to_lowercase());
        let origins = config.auth.allowed_origins.0.iter().map(|origin| origin.to_lowercase()).collect();
        Self { any_host, hosts, origins }
    }

    /// Judges a request's host and origin.
    ///
    /// # Errors
    /// [`ApiError::ForeignHost`], [`ApiError::ForeignOrigin`].
    pub fn judge(&self, uri: &Uri, headers: &HeaderMap) -> Result<Visitor, ApiError> {
        let authority = uri
            .authority()
            .map(|authority| authority.as_str())
            .or_else(|| headers.get(HOST).and_then(|host| host.to_str().ok()))
            .unwrap_or_default()
            .to_lowercase();
        if !self.is_our_host(&authority) {
            return Err(ApiError::ForeignHost);
        }
        let Some(origin) = headers.get(ORIGIN) else { return Ok(Visitor::Home) };
        let text = origin.to_str().unwrap_or_default().to_lowercase();
        if self.origins.contains(&text) {
            return Ok(Visitor::Guest(origin.clone()));
        }
        let same = text.split_once("://").is_some_and(|(_, rest)| rest == authority);
        if same { Ok(Visitor::Home) } else { Err(ApiError::ForeignOrigin) }
    }

    /// Addresses are always ours: a rebinding page has a name. Clients of HTTP/1.0 may send no host at all.
    fn is_our_host(&self, authority: &str) -> bool {
        let host = without_port(authority);
        self.any_host
            || host.is_empty()
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
            || host.ends_with(".localhost")
            || self.hosts.iter().any(|known| match known.strip_prefix('.') {
                Some(suffix) => host == suffix || host.ends_with(known.as_str()),
                None => host == known,
            })
    }
}

fn without_port(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Whether this is a browser asking before it calls.
#[must_use]
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

impl Visitor {
    /// Marks an answer for the browser of an allowed page.
    pub fn mark(&self, headers: &mut HeaderMap) {
        if let Self::Guest(origin) = self {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.append(VARY, HeaderValue::from_static("origin"));
            headers.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("x-request-id, x-turn-id, retry-after"),
            );
        }
    }

    /// The answer to a preflight: what it asked for is granted, because the call itself is judged anyway.
    pub fn grant(&self, asked: &HeaderMap, headers: &mut HeaderMap) {
        self.mark(headers);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, HEAD"));
        if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Names;

    fn judged(config: &Config, host: &str, origin: Option<&str>) -> Result<Visitor, u16> {
        let mut headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        Origins::new(config).judge(&Uri::from_static("/v1/models"), &headers).map_err(|error| error.status().as_u16())
    }

    #[test]
    fn a_rebound_name_is_refused_and_addresses_are_not() {
        let config = Config::default();
        for host in ["localhost:8642", "LOCALHOST", "127.0.0.1:8642", "[::1]:8642", "a.localhost", "192.168.1.4", ""] {
            assert_eq!(judged(&config, host, None), Ok(Visitor::Home), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:8642", "evil.example@x", "localhost:80:90"] {
            assert_eq!(judged(&config, host, None), Err(421), "{host}");
        }
    }

    #[test]
    fn lists_and_keys_decide_about_names() {
        let mut config = Config::default();
        config.auth.admin_key = Some("0123456789".into());
        assert_eq!(judged(&config, "chat.example.org", None), Ok(Visitor::Home));
        config.auth.allowed_hosts = Names(vec![".example.org".into()]);
        assert_eq!(judged(&config, "chat.example.org:443", None), Ok(Visitor::Home));
        assert_eq!(judged(&config, "chat.example.com", None), Err(421));
    }

    #[test]
    fn other_origins_are_refused_unless_allowed() {
        let mut config = Config::default();
        assert_eq!(judged(&config, "localhost:8642", Some("http://localhost:8642")), Ok(Visitor::Home));
        for origin in ["http://localhost:3000", "https://evil.example", "null", "http://127.0.0.1:8642"] {
            assert_eq!(judged(&config, "localhost:8642", Some(origin)), Err(403), "{origin}");
        }
        config.auth.allowed_origins = Names(vec!["https://Chat.example.org".into()]);
        let guest = judged(&config, "localhost:8642", Some("https://chat.example.org")).unwrap();
        let mut headers = HeaderMap::new();
        guest.mark(&mut headers);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://chat.example.org");
        assert!(!headers.contains_key("access-control-allow-credentials"));
    }
}
