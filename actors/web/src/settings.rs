//! What the outside world is reached with: keys, addresses, limits.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::error::WebError;
use crate::guard::AllowList;

/// Who can answer a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchProvider {
    /// <https://api.tavily.com>
    Tavily,
    /// <https://api.search.brave.com>
    Brave,
    /// <https://oauth.reddit.com>
    Reddit,
    /// The pages of <https://html.duckduckgo.com>, without a key and without a promise.
    #[serde(alias = "ddgs")]
    DuckDuckGo,
}

impl SearchProvider {
    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tavily => "Tavily",
            Self::Brave => "Brave",
            Self::Reddit => "Reddit",
            Self::DuckDuckGo => "DuckDuckGo",
        }
    }
}

impl fmt::Display for SearchProvider {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for SearchProvider {
    type Err = WebError;

    fn from_str(text: &str) -> Result<Self, WebError> {
        match text.trim().to_ascii_lowercase().as_str() {
            "tavily" => Ok(Self::Tavily),
            "brave" => Ok(Self::Brave),
            "reddit" => Ok(Self::Reddit),
            "duckduckgo" | "ddgs" => Ok(Self::DuckDuckGo),
            _ => Err(WebError::Invalid("a search provider is one of brave, tavily, reddit, duckduckgo".into())),
        }
    }
}

/// How much is kept out of search results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SafeSearch {
    /// Nothing.
    Off,
    /// What is explicit.
    #[default]
    Moderate,
    /// More than that.
    Strict,
}

/// An application registered with Reddit.
#[derive(Debug, Clone)]
pub struct RedditSettings {
    /// The client id.
    pub client_id: String,
    /// The client secret.
    pub client_secret: SecretString,
    /// Reddit wants to know who asks.
    pub user_agent: String,
}

/// A Crawl4AI server: a browser that renders pages.
#[derive(Debug, Clone)]
pub struct Crawl4Ai {
    /// Its base URL.
    pub url: String,
    /// Its token, if it wants one.
    pub token: Option<SecretString>,
}

/// Where the search services are.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Brave's API.
    pub brave: String,
    /// Tavily's API.
    pub tavily: String,
    /// DuckDuckGo's plain pages.
    pub duckduckgo: String,
    /// Where Reddit gives tokens.
    pub reddit_token: String,
    /// Reddit's API.
    pub reddit: String,
    /// NewsAPI.
    pub news: String,
}

impl Default for Addresses {
    fn default() -> Self {
        Self {
            brave: "https://api.search.brave.com/res/v1".into(),
            tavily: "https://api.tavily.com".into(),
            duckduckgo: "https://html.duckduckgo.com/html/".into(),
            reddit_token: "https://www.reddit.com/api/v1/access_token".into(),
            reddit: "https://oauth.reddit.com".into(),
            news: "https://newsapi.org/v2".into(),
        }
    }
}

/// Everything [`crate::Web`] is set up with. The default needs no key: DuckDuckGo, and pages fetched directly.
#[derive(Debug, Clone)]
pub struct WebSettings {
    /// Who is asked first.
    pub provider: Option<SearchProvider>,
    /// Brave's key.
    pub brave_key: Option<SecretString>,
    /// Tavily's key.
    pub tavily_key: Option<SecretString>,
    /// Reddit's credentials.
    pub reddit: Option<RedditSettings>,
    /// NewsAPI's key.
    pub news_key: Option<SecretString>,
    /// Hits when a search does not say how many.
    pub max_results: u32,
    /// Longest time one search service may take.
    pub search_timeout: Duration,
    /// Ask Tavily for an answer of its own.
    pub include_answer: bool,
    /// Let Tavily search longer.
    pub advanced_depth: bool,
    /// How much is kept out of results.
    pub safe_search: SafeSearch,
    /// Whose results are preferred, as country and language: `de-de`, `us-en`.
    pub region: Option<String>,
    /// A browser that fetches pages; without it they are fetched directly.
    pub crawl4ai: Option<Crawl4Ai>,
    /// Longest time one page may take.
    pub fetch_timeout: Duration,
    /// Characters of a page in one answer, at most.
    pub max_chars: usize,
    /// What may be fetched although it is not public.
    pub allow: AllowList,
    /// Where the services are.
    pub addresses: Addresses,
}

impl Default for WebSettings {
    fn default() -> Self {
        Self {
            provider: None,
            brave_key: None,
            tavily_key: None,
            reddit: None,
            news_key: None,
            max_results: 5,
            search_timeout: Duration::from_secs(10),
            include_answer: false,
            advanced_depth: false,
            safe_search: SafeSearch::default(),
            region: None,
            crawl4ai: None,
            fetch_timeout: Duration::from_secs(30),
            max_chars: 50_000,
            allow: AllowList::default(),
            addresses: Addresses::default(),
        }
    }
}

/// A key that is more than blanks.
pub(crate) fn present(key: Option<&SecretString>) -> Option<&SecretString> {
    key.filter(|key| !key.expose_secret().trim().is_empty())
}
