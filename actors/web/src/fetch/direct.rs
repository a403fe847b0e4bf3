//! Fetching a page by plain HTTP.
//!
//! Redirects are followed by hand, each address judged like the first. Five megabytes of decoded bytes are read at most,
//! and taken apart on a thread where that may take its time.

use http::header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_TYPE, HeaderMap, LOCATION};
use url::Url;

use super::{Fetcher, Whole, charset, html, pdf};
use crate::error::WebError;
use crate::transport;

const MAX_BYTES: usize = 5_000_000;
const MAX_REDIRECTS: usize = 5;
const WANTED: &str = "text/html, application/xhtml+xml, text/markdown, text/plain;q=0.9, application/json;q=0.8, \
     application/pdf;q=0.8, */*;q=0.1";

/// What a page is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Html,
    Text,
    Json,
    Pdf,
}

impl Fetcher {
    pub(super) async fn direct(&self, first: &Url) -> Result<Whole, WebError> {
        let mut url = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            let who = url.host_str().unwrap_or_default().to_owned();
            let request = self
                .transport
                .pages()
                .get(url.clone())
                .header(ACCEPT, WANTED)
                .header(ACCEPT_LANGUAGE, "en, *;q=0.5")
                .header(ACCEPT_ENCODING, "gzip");
            let response = request.send().await.map_err(|error| transport::failed(&error, &who))?;
            if let Some(next) = redirect(&url, response.status().as_u16(), response.headers())? {
                self.guard.check(&next)?;
                url = next;
                continue;
            }
            transport::refusal(response.status(), response.headers(), &who)?;
            let headers = response.headers().clone();
            if response.content_length().is_some_and(|length| length > MAX_BYTES as u64) {
                return Err(WebError::TooLarge { limit: MAX_BYTES });
            }
            let bytes = transport::read(response, &who, MAX_BYTES).await?;
            return self.take_apart(url, &headers, bytes).await;
        }
        Err(WebError::Upstream(format!("The page moves on more than {MAX_REDIRECTS} times.")))
    }

    async fn take_apart(&self, url: Url, headers: &HeaderMap, bytes: Vec<u8>) -> Result<Whole, WebError> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind_of(content_type, &bytes)?;
        let label = parameter(content_type, "charset").map(str::to_owned);
        let unreadable = || WebError::Unsupported("The content of the page cannot be read.".into());
        let Ok(permit) = self.readers.clone().acquire_owned().await else { return Err(unreadable()) };
        let job = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(kind, &url, &bytes, label.as_deref())
        });
        // a panic in a parser is the page's fault
        job.await.unwrap_or_else(|_| Err(unreadable()))
    }
}

fn read(kind: Kind, url: &Url, bytes: &[u8], label: Option<&str>) -> Result<Whole, WebError> {
    let whole = match kind {
        Kind::Html => html::read(&charset::decode(bytes, label, true), url)?,
        Kind::Text => Whole { text: charset::decode(bytes, label, false).into_owned(), ..Whole::default() },
        Kind::Json => Whole { text: json(&charset::decode(bytes, label, false)), ..Whole::default() },
        Kind::Pdf => pdf::read(bytes)?,
    };
    Ok(Whole { url: url.to_string(), ..whole })
}

/// JSON with a line for each value, in a fence; as it is when it is none.
fn json(text: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let pretty = value.and_then(|value| serde_json::to_string_pretty(&value).ok());
    format!("```json\n{}\n```", pretty.as_deref().unwrap_or(text))
}

/// Where a redirecting answer points.
fn redirect(from: &Url, status: u16, headers: &HeaderMap) -> Result<Option<Url>, WebError> {
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let target = headers.get(LOCATION).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    match target.and_then(|target| from.join(target).ok()) {
        Some(mut url) => {
            url.set_fragment(None);
            Ok(Some(url))
        }
        None => Err(WebError::Upstream("The page moved without saying where to.".into())),
    }
}

/// From the header, or from the first bytes where that says little.
fn kind_of(content_type: &str, bytes: &[u8]) -> Result<Kind, WebError> {
    let name = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match name.as_str() {
        "text/html" | "application/xhtml+xml" => Ok(Kind::Html),
        "application/pdf" | "application/x-pdf" => Ok(Kind::Pdf),
        "application/json" => Ok(Kind::Json),
        _ if name.ends_with("+json") => Ok(Kind::Json),
        "" | "application/octet-stream" | "binary/octet-stream" => sniffed(bytes),
        "application/xml" | "application/javascript" | "application/yaml" | "application/toml" => Ok(Kind::Text),
        _ if name.starts_with("text/") || name.ends_with("+xml") && name != "image/svg+xml" => Ok(Kind::Text),
        _ => {
            let name: String = name.chars().filter(|letter| letter.is_ascii_graphic()).take(60).collect();
            Err(WebError::Unsupported(format!("Content of the type {name} has no text that can be read here.")))
        }
    }
}

fn sniffed(bytes: &[u8]) -> Result<Kind, WebError> {
    let start = bytes.get(..512).unwrap_or(bytes).trim_ascii_start();
    if start.starts_with(b"%PDF-") {
        return Ok(Kind::Pdf);
    }
    if start.contains(&0) {
        return Err(WebError::Unsupported("The content is binary and has no text that can be read here.".into()));
    }
    Ok(if start.starts_with(b"<") { Kind::Html } else { Kind::Text })
}

fn parameter<'a>(content_type: &'a str, wanted: &str) -> Option<&'a str> {
    content_type.split(';').skip(1).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches(['"', '\'']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_the_header_and_else_the_bytes() {
        assert_eq!(kind_of("Text/HTML; charset=x", b"").unwrap(), Kind::Html);
        assert_eq!(kind_of("application/ld+json", b"").unwrap(), Kind::Json);
        assert_eq!(kind_of("application/rss+xml", b"").unwrap(), Kind::Text);
        assert_eq!(kind_of("", b"\n<!doctype html>").unwrap(), Kind::Html);
        assert_eq!(kind_of("application/octet-stream", b"%PDF-1.7").unwrap(), Kind::Pdf);
        assert_eq!(kind_of("", b"plain").unwrap(), Kind::Text);
        for (content_type, bytes) in
            [("image/png", &b"x"[..]), ("image/svg+xml", b"<svg>"), ("", b"a\0b"), ("video/mp4", b"")]
        {
            assert!(matches!(kind_of(content_type, bytes), Err(WebError::Unsupported(_))), "{content_type}");
        }
        assert_eq!(parameter("text/html; Charset=\"utf-8\"", "charset"), Some("utf-8"));
    }
}
