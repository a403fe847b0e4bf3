//! The HTTP clients, and how much of an answer is read.
//!
//! Invariants: no client follows a redirect by itself; the one for pages connects only where the [`Guard`] permits and
//! never through a proxy, which would resolve names on its own; at most the stated number of *decoded* bytes is ever
//! held, so a compressed bomb is as harmless as a long page.

use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use flate2::write::MultiGzDecoder;
use http::header::{CONTENT_ENCODING, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, Response, redirect, retry};
use serde::de::DeserializeOwned;
use url::{Host, Url};

use crate::error::WebError;
use crate::guard::{Guard, NotPublic, is_public, not_public};

/// Most that is read of a search service's answer.
const MAX_ANSWER: usize = 2_000_000;
/// Longest time until a connection stands.
const CONNECT_LIMIT: Duration = Duration::from_secs(8);
/// Who asks.
const USER_AGENT: &str = concat!("Mozilla/5.0 (compatible; Greenroom/", env!("CARGO_PKG_VERSION"), ")");

/// Three clients: for pages, for hosted services, and for services on this machine or network.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    pages: Client,
    hosted: Client,
    local: Client,
}

impl Transport {
    pub(crate) fn new(guard: Guard) -> Result<Self, WebError> {
        // an error means that a provider is installed already, which is as good
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            pages: build(|| common().no_proxy().dns_resolver(guard.clone()))?,
            hosted: build(common)?,
            local: build(|| common().no_proxy())?,
        })
    }

    /// The client for pages.
    pub(crate) fn pages(&self) -> &Client {
        &self.pages
    }

    /// The client for a configured service.
    pub(crate) fn service(&self, url: &Url) -> &Client {
        let local = match url.host() {
            Some(Host::Domain(name)) => !name.contains('.'),
            Some(Host::Ipv4(address)) => !is_public(address.into()),
            Some(Host::Ipv6(address)) => !is_public(address.into()),
            None => true,
        };
        if local { &self.local } else { &self.hosted }
    }
}

fn common() -> ClientBuilder {
    Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_LIMIT)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_gzip()
        .no_deflate()
        .no_brotli()
        .no_zstd()
        .pool_max_idle_per_host(2)
        .pool_idle_timeout(Duration::from_secs(30))
}

fn build(builder: impl Fn() -> ClientBuilder) -> Result<Client, WebError> {
    builder()
        .build()
        .or_else(|_| builder().tls_certs_only(built_in_roots()).build())
        .map_err(|_| WebError::NotConfigured("The HTTP client cannot be set up.".into()))
}

/// For a system that has no certificates.
fn built_in_roots() -> impl Iterator<Item = Certificate> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| Certificate::from_der(der).ok())
}

/// Asks a service and reads its JSON.
pub(crate) async fn json<T: DeserializeOwned>(
    request: RequestBuilder,
    who: &str,
    limit: Duration,
) -> Result<T, WebError> {
    let body = text(request, who, limit).await?;
    serde_json::from_slice(&body).map_err(|_| WebError::Upstream(format!("{who} answered with something unreadable.")))
}

/// Asks a service and reads its answer, whatever it is.
pub(crate) async fn text(request: RequestBuilder, who: &str, limit: Duration) -> Result<Vec<u8>, WebError> {
    let asked = async {
        let response = request.send().await.map_err(|error| failed(&error, who))?;
        refusal(response.status(), response.headers(), who)?;
        read(response, who, MAX_ANSWER).await
    };
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| Err(WebError::Timeout(who.into())))
}

/// What a status that is no success means.
pub(crate) fn refusal(status: StatusCode, headers: &HeaderMap, who: &str) -> Result<(), WebError> {
    match status.as_u16() {
        200..=299 => Ok(()),
        401 | 403 | 407 => Err(WebError::Unauthorised(who.into())),
        404 | 410 => Err(WebError::NotFound(who.into())),
        // 402, 432 and 433: a quota or a budget is used up
        402 | 429 | 432 | 433 => {
            let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            Err(WebError::RateLimited { who: who.into(), retry_after: seconds.map(Duration::from_secs) })
        }
        408 | 504 => Err(WebError::Timeout(who.into())),
        500.. => Err(WebError::Upstream(format!("{who} has a fault of its own (status {}).", status.as_u16()))),
        _ => Err(WebError::Upstream(format!("{who} does not accept the request (status {}).", status.as_u16()))),
    }
}

/// What a client's error means. Its own text may hold the URL, so it is not passed on.
pub(crate) fn failed(error: &reqwest::Error, who: &str) -> WebError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if inner.is::<NotPublic>() {
            return not_public();
        }
        cause = inner.source();
    }
    if error.is_timeout() {
        WebError::Timeout(who.into())
    } else if error.is_connect() {
        WebError::Upstream(format!("{who} cannot be reached."))
    } else {
        WebError::Upstream(format!("The connection to {who} broke off."))
    }
}

/// The decoded body, if it is no longer than `limit`.
pub(crate) async fn read(mut response: Response, who: &str, limit: usize) -> Result<Vec<u8>, WebError> {
    let encoding = response.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
    let mut body = match encoding.as_deref() {
        None | Some(b"" | b"identity") => Decoder::Plain(Bounded { bytes: Vec::new(), limit }),
        Some(b"gzip" | b"x-gzip") => Decoder::Gzip(MultiGzDecoder::new(Bounded { bytes: Vec::new(), limit })),
        Some(_) => return Err(WebError::Unsupported(format!("{who} compresses in a way that was not asked for."))),
    };
    let broken = |error: io::Error| match error.kind() {
        io::ErrorKind::FileTooLarge => WebError::TooLarge { limit },
        _ => WebError::Upstream(format!("{who} sent an answer that cannot be decompressed.")),
    };
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error, who))? {
        body.write(&chunk).map_err(broken)?;
    }
    body.finish().map_err(broken)
}

enum Decoder {
    Plain(Bounded),
    Gzip(MultiGzDecoder<Bounded>),
}

impl Decoder {
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(chunk),
            Self::Gzip(decoder) => decoder.write_all(chunk),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(out) => Ok(out.bytes),
            Self::Gzip(decoder) => decoder.finish().map(|out| out.bytes),
        }
    }
}

/// Takes bytes until there are too many.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(chunk.len()) > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use greenroom_test_support::upstream::Upstream;

    use super::*;

    /// The check of names is left out here: only the connection itself stands between the request and this machine.
    #[tokio::test]
    async fn a_name_is_refused_by_the_connection_that_would_lead_inside() {
        let upstream = Upstream::start().await;
        let url = format!("http://localhost:{}/", upstream.address().port());
        let transport = Transport::new(Guard::default()).unwrap();
        let error = transport.pages().get(&url).send().await.unwrap_err();
        assert!(matches!(failed(&error, "it"), WebError::Refused(_)), "{error:?}");
        assert_eq!(upstream.accepted_connections(), 0);
        let local = transport.service(&Url::parse(&url).unwrap()).get(&url).send().await.unwrap();
        assert_eq!(local.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn a_system_without_certificates_is_no_obstacle() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        assert!(common().tls_certs_only(built_in_roots()).build().is_ok());
    }
}
