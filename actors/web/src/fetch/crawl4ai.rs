//! Fetching a page through a Crawl4AI server, <https://docs.crawl4ai.com/core/self-hosting/>: `POST /crawl`.
//!
//! That server resolves and follows on its own; what can be done from here is done: no address is handed over that does
//! not resolve to public ones alone, and nothing is shown of a page that ended elsewhere.

use std::sync::Mutex;
use std::time::Duration;

use greenroom_kit::lock;
use reqwest::{Client, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::Whole;
use crate::address;
use crate::error::WebError;
use crate::guard::Guard;
use crate::settings::{Crawl4Ai, present};
use crate::transport::{self, Transport};

const WHO: &str = "the Crawl4AI server";
/// How long it is known whether the server is there, and how long it may take to say so.
const KNOWN: Duration = Duration::from_secs(60);
const HEALTH_LIMIT: Duration = Duration::from_secs(3);

pub(super) struct Browser {
    client: Client,
    crawl: Url,
    health: Url,
    token: Option<SecretString>,
    timeout: Duration,
    known: Mutex<Option<(Instant, bool)>>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Crawled>,
}

#[derive(Deserialize)]
struct Crawled {
    #[serde(default)]
    success: bool,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    redirected_url: Option<String>,
    #[serde(default)]
    status_code: Option<u16>,
    #[serde(default)]
    markdown: Option<Markdown>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Markdown {
    Plain(String),
    Kinds {
        #[serde(default)]
        fit_markdown: Option<String>,
        #[serde(default)]
        raw_markdown: Option<String>,
    },
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    description: Option<String>,
}

impl Browser {
    pub(super) fn new(server: &Crawl4Ai, transport: &Transport, timeout: Duration) -> Result<Self, WebError> {
        let crawl = address(server.url.trim(), "/crawl")?;
        Ok(Self {
            client: transport.service(&crawl).clone(),
            health: address(server.url.trim(), "/health")?,
            crawl,
            token: present(server.token.as_ref()).cloned(),
            timeout,
            known: Mutex::default(),
        })
    }

    /// Whether the server answers.
    pub(super) async fn is_available(&self) -> bool {
        let known = *lock(&self.known);
        if let Some((since, answer)) = known
            && since.elapsed() < KNOWN
        {
            return answer;
        }
        let request = self.authorised(self.client.get(self.health.clone()));
        let answer = transport::text(request, WHO, HEALTH_LIMIT).await.is_ok();
        self.note(answer);
        answer
    }

    fn note(&self, answer: bool) {
        *lock(&self.known) = Some((Instant::now(), answer));
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    /// Fetches a page that the guard vouched for.
    pub(super) async fn fetch(&self, guard: &Guard, url: &Url) -> Result<Whole, WebError> {
        let request = self.authorised(self.client.post(self.crawl.clone())).json(&wish(url));
        let answer = transport::json::<Answer>(request, WHO, self.timeout).await;
        if matches!(answer, Err(WebError::Upstream(_) | WebError::Timeout(_))) {
            self.note(false);
        }
        let nothing = || WebError::Upstream("The browser brought nothing.".into());
        let crawled = answer?.results.into_iter().next().filter(|crawled| crawled.success).ok_or_else(nothing)?;
        if crawled.status_code.is_some_and(|status| status >= 400) {
            return Err(nothing());
        }
        let end = match crawled.redirected_url.or(crawled.url) {
            Some(text) => arrived(guard, &text).await?,
            None => url.clone(),
        };
        let text = match crawled.markdown.ok_or_else(nothing)? {
            Markdown::Plain(text) => text,
            Markdown::Kinds { fit_markdown, raw_markdown } => {
                let filled = |text: &String| !text.trim().is_empty();
                fit_markdown.filter(filled).or(raw_markdown).unwrap_or_default()
            }
        };
        let (title, description) =
            crawled.metadata.map_or((None, None), |metadata| (metadata.title, metadata.description));
        Ok(Whole { title, url: end.to_string(), description, text: without_images(&text), notes: Vec::new() })
    }
}

/// Where the browser says it ended, if pages may be fetched from there.
async fn arrived(guard: &Guard, text: &str) -> Result<Url, WebError> {
    let strange = |error| match error {
        WebError::Refused(_) => error,
        _ => WebError::Upstream("The browser ended at an address that makes no sense.".into()),
    };
    let end = guard.read(text).map_err(strange)?;
    guard.vouch(&end).await.map_err(strange)?;
    Ok(end)
}

fn wish(url: &Url) -> Value {
    json!({
        "urls": [url.as_str()],
        "browser_config": {"type": "BrowserConfig", "params": {"headless": true}},
        "crawler_config": {"type": "CrawlerRunConfig", "params": {
            "cache_mode": "bypass",
            "excluded_tags": ["nav", "header", "footer", "aside", "form"],
            "markdown_generator": {"type": "DefaultMarkdownGenerator", "params": {
                "content_filter": {"type": "PruningContentFilter", "params": {}},
            }},
        }},
    })
}

/// Markdown without `![…](…)`; what stands inside a link goes, the link's address stays.
fn without_images(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("![") {
        out.push_str(&rest[..at]);
        let image = &rest[at..];
        let end = image.find("](").and_then(|middle| {
            let close = image[middle..].find([')', '\n'])?;
            (middle < 2_000 && image[middle + close..].starts_with(')')).then_some(middle + close + 1)
        });
        let end = end.unwrap_or(2);
        if end == 2 {
            out.push_str(&image[..2]);
        }
        rest = &image[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_go_and_everything_else_stays() {
        assert_eq!(without_images("a ![x](http://i/1.png) b"), "a  b");
        assert_eq!(without_images("[![x](i.png)](http://l) ![ open"), "[](http://l) ![ open");
        assert_eq!(without_images("![broken](no\nend) ![]("), "![broken](no\nend) ![](");
    }
}
