//! A web whose services and pages are all the scripted upstream.

use std::time::Duration;

use greenroom_test_support::upstream::{RecordedRequest, Upstream};
use greenroom_web::{Addresses, AllowList, FetchWish, RedditSettings, SearchKind, SearchWish, Web, WebSettings};

/// Keys that must never be seen outside a header.
pub const KEYS: [&str; 4] = ["brave-key-7391", "tavily-key-7391", "reddit-secret-7391", "news-key-7391"];

pub struct House {
    pub upstream: Upstream,
    pub web: Web,
}

/// No keys: DuckDuckGo alone, and pages of the upstream may be fetched.
pub fn settings(upstream: &Upstream) -> WebSettings {
    WebSettings {
        search_timeout: Duration::from_secs(10),
        allow: AllowList::parse(["127.0.0.1"]).unwrap(),
        addresses: Addresses {
            brave: upstream.web_url("/brave"),
            tavily: upstream.web_url("/tavily"),
            duckduckgo: upstream.web_url("/ddg"),
            reddit_token: upstream.web_url("/reddit/token"),
            reddit: upstream.web_url("/reddit"),
            news: upstream.web_url("/news"),
        },
        ..WebSettings::default()
    }
}

pub fn with_keys(settings: &mut WebSettings) {
    settings.brave_key = Some(KEYS[0].into());
    settings.tavily_key = Some(KEYS[1].into());
    settings.reddit = Some(RedditSettings {
        client_id: "reddit-id".into(),
        client_secret: KEYS[2].into(),
        user_agent: "greenroom-test/1".into(),
    });
    settings.news_key = Some(KEYS[3].into());
}

pub async fn house(change: impl FnOnce(&mut WebSettings)) -> House {
    let upstream = Upstream::start().await;
    let mut settings = settings(&upstream);
    change(&mut settings);
    let web = Web::new(settings).unwrap();
    House { upstream, web }
}

pub fn wish(query: &str) -> SearchWish {
    SearchWish { query: query.into(), ..SearchWish::default() }
}

pub fn wish_of(kind: SearchKind, query: &str) -> SearchWish {
    SearchWish { kind, ..wish(query) }
}

impl House {
    pub fn page(&self, path: &str) -> FetchWish {
        FetchWish { url: self.upstream.web_url(path), start: 0, max_chars: 50_000 }
    }

    /// The requests for a path, without its query.
    pub fn asked(&self, path: &str) -> Vec<RecordedRequest> {
        let of_path = |request: &RecordedRequest| request.path.split('?').next() == Some(path);
        self.upstream.requests().into_iter().filter(of_path).collect()
    }
}

/// A header of a request.
pub fn header<'a>(request: &'a RecordedRequest, name: &str) -> &'a str {
    request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
