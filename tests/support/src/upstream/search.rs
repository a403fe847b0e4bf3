//! The web as the scripted upstream plays it: pages, redirects, and the answers of search services.
//!
//! A test gives each path its answers; they take turns, and the last one stays. The bodies below are what Brave, Tavily,
//! DuckDuckGo, Reddit, NewsAPI and Crawl4AI send, without what nobody reads. Deliberately absent: understanding a query.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::Upstream;
use super::render::{Plan, Step};
use super::script::Gate;
use super::server::locked;

/// An answer of the web.
#[derive(Debug, Clone)]
pub struct WebAnswer {
    status: u16,
    content_type: String,
    headers: Vec<(String, String)>,
    steps: Vec<Step>,
    hang: bool,
}

impl WebAnswer {
    /// These bytes with this content type.
    pub fn of(content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            content_type: content_type.into(),
            headers: Vec::new(),
            steps: vec![Step::Send(body.into())],
            hang: false,
        }
    }

    /// An HTML page.
    pub fn page(html: impl Into<Bytes>) -> Self {
        Self::of("text/html; charset=utf-8", html)
    }

    /// JSON.
    #[must_use]
    pub fn json(value: &Value) -> Self {
        Self::of("application/json", value.to_string())
    }

    /// An empty answer with this status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::of("text/plain", "") }
    }

    /// A redirect.
    #[must_use]
    pub fn redirect(status: u16, to: &str) -> Self {
        Self::status(status).header("location", to)
    }

    /// No answer at all, on an open connection.
    #[must_use]
    pub fn hang() -> Self {
        Self { hang: true, ..Self::status(200) }
    }

    /// The same body again and again, without a length, until the client leaves or `times` are out.
    #[must_use]
    pub fn repeated(mut self, times: usize) -> Self {
        self.steps = self.steps.into_iter().cycle().take(times).collect();
        self
    }

    /// The body stops for ever after what it has.
    #[must_use]
    pub fn then_hang(mut self) -> Self {
        self.steps.push(Step::Hang);
        self
    }

    /// The socket is closed after what it has.
    #[must_use]
    pub fn then_cut(mut self) -> Self {
        self.steps.extend([Step::Pause(Duration::ZERO), Step::Cut]);
        self
    }

    /// The body waits for the gate.
    #[must_use]
    pub fn gated(mut self, gate: &Gate) -> Self {
        self.steps.insert(0, Step::Gate(gate.clone()));
        self
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn plan(&self) -> Plan {
        Plan {
            status: self.status,
            content_type: self.content_type.as_str().into(),
            headers: self.headers.clone().into(),
            before_headers: Duration::ZERO,
            hang_before_headers: self.hang,
            steps: self.steps.clone().into(),
        }
    }
}

/// What the web answers, by path.
#[derive(Debug, Default)]
pub(super) struct WebPaths(Mutex<HashMap<String, VecDeque<WebAnswer>>>);

impl WebPaths {
    pub(super) fn has(&self, path: &str) -> bool {
        locked(&self.0).contains_key(path)
    }

    /// The next answer of a path that is there.
    pub(super) fn plan(&self, path: &str) -> Plan {
        let mut paths = locked(&self.0);
        let answers = paths.entry(path.into()).or_default();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        answer.unwrap_or_else(|| WebAnswer::status(404)).plan()
    }
}

impl Upstream {
    /// `http://127.0.0.1:<port>` and a path.
    #[must_use]
    pub fn web_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Answers any request for `path`, which is without a query. Several answers take turns, and the last one stays.
    pub fn web(&self, path: &str, answer: WebAnswer) {
        locked(&self.house.web.0).entry(path.into()).or_default().push_back(answer);
    }

    /// Forgets the answers of `path` and gives it this one.
    pub fn web_instead(&self, path: &str, answer: WebAnswer) {
        locked(&self.house.web.0).insert(path.into(), [answer].into());
    }
}

/// A form as it was sent, so that a recorded request shows it; null for everything else.
pub(super) fn form(headers: &HeaderMap, body: &[u8]) -> Value {
    let is_form =
        headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form"));
    if is_form { String::from_utf8_lossy(body).into() } else { Value::Null }
}

/// A hit that a scripted search service finds: title, address, text.
pub type ScriptedHit<'a> = (&'a str, &'a str, &'a str);

/// Brave's answer to `web/search`.
#[must_use]
pub fn brave_web(hits: &[ScriptedHit<'_>]) -> Value {
    let results: Vec<Value> = hits
        .iter()
        .map(|(title, url, text)| json!({"title": title, "url": url, "description": text, "type": "search_result"}))
        .collect();
    json!({"type": "search", "query": {}, "web": {"type": "search", "results": results}})
}

/// Tavily's answer to `/search`.
#[must_use]
pub fn tavily(hits: &[ScriptedHit<'_>], answer: Option<&str>) -> Value {
    let results: Vec<Value> = hits
        .iter()
        .map(|(title, url, text)| json!({"title": title, "url": url, "content": text, "score": 0.87, "raw_content": null}))
        .collect();
    json!({"query": "", "answer": answer, "images": [], "results": results, "response_time": 1.1})
}

/// DuckDuckGo's page, with an advertisement in front.
#[must_use]
pub fn duckduckgo_page(hits: &[ScriptedHit<'_>]) -> String {
    let mut page = String::from(
        "<!DOCTYPE html><html><body class='body--html'><div id='links' class='results'>\
         <div class='result results_links result--ad'><h2><a class='result__a' \
         href='https://duckduckgo.com/y.js?ad_domain=shop.example'>Buy now</a></h2>\
         <a class='result__snippet'>Advertisement</a></div>",
    );
    for (title, url, text) in hits {
        let wrapped: String = url.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let _ = write!(
            page,
            "<div class='result results_links results_links_deep web-result '><div class='links_main result__body'>\
             <h2 class='result__title'><a rel='nofollow' class='result__a' \
             href='//duckduckgo.com/l/?uddg={wrapped}&amp;rut=0'>{title}</a></h2>\
             <a class='result__snippet' href='#'>{text}</a></div></div>"
        );
    }
    if hits.is_empty() {
        page.push_str("<div class='result result--no-result'><div class='no-results'>No results.</div></div>");
    }
    page.push_str("</div></body></html>");
    page
}

/// The page that DuckDuckGo shows to what it takes for a robot.
#[must_use]
pub fn duckduckgo_challenge() -> String {
    "<html><body><form id='challenge-form' action='//duckduckgo.com/anomaly.js'><div class='anomaly-modal__title'>\
     Unfortunately, bots use DuckDuckGo too.</div></form></body></html>"
        .into()
}

/// A token of Reddit.
#[must_use]
pub fn reddit_token(token: &str) -> Value {
    json!({"access_token": token, "token_type": "bearer", "expires_in": 86_400, "scope": "*"})
}

/// Reddit's answer to `/search`; the addresses are paths.
#[must_use]
pub fn reddit_listing(hits: &[ScriptedHit<'_>]) -> Value {
    let children: Vec<Value> = hits
        .iter()
        .map(|(title, path, text)| {
            json!({"kind": "t3", "data": {"title": title, "permalink": path, "subreddit": "rust", "score": 42,
                "num_comments": 7, "created_utc": 1_767_225_600.0, "selftext": text}})
        })
        .collect();
    json!({"kind": "Listing", "data": {"after": null, "children": children}})
}

/// A page of NewsAPI.
#[must_use]
pub fn news_page(total: u64, hits: &[ScriptedHit<'_>]) -> Value {
    let articles: Vec<Value> = hits
        .iter()
        .map(|(title, url, text)| {
            json!({"source": {"id": null, "name": "The Daily"}, "author": null, "title": title, "description": text,
                "url": url, "publishedAt": "2026-03-04T05:06:07Z", "content": null})
        })
        .collect();
    json!({"status": "ok", "totalResults": total, "articles": articles})
}

/// Crawl4AI's answer to `/crawl`.
#[must_use]
pub fn crawled(url: &str, title: &str, fit_markdown: &str) -> Value {
    json!({"success": true, "results": [{
        "url": url, "redirected_url": url, "success": true, "status_code": 200, "error_message": "",
        "metadata": {"title": title, "description": null},
        "markdown": {"raw_markdown": "raw", "fit_markdown": fit_markdown, "fit_html": ""},
    }]})
}
