//! The sections about the world outside: searching it, fetching its pages, and switching its lights.

use greenroom_web::{SafeSearch, SearchProvider};
use serde::{Deserialize, Serialize};

use secrecy::SecretString;

use super::value::{Names, Span, hidden, optional, secret};

/// Services that search the web.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchSection {
    /// Asked first: `tavily`, `brave`, `reddit` or `duckduckgo`; the others follow when it fails.
    #[serde(deserialize_with = "optional")]
    pub provider: Option<String>,
    /// Key for Tavily.
    #[serde(serialize_with = "hidden", deserialize_with = "secret")]
    pub tavily_api_key: Option<SecretString>,
    /// Key for Brave.
    #[serde(serialize_with = "hidden", deserialize_with = "secret")]
    pub brave_api_key: Option<SecretString>,
    /// Client id of an application registered with Reddit.
    #[serde(deserialize_with = "optional")]
    pub reddit_client_id: Option<String>,
    /// Its secret.
    #[serde(serialize_with = "hidden", deserialize_with = "secret")]
    pub reddit_client_secret: Option<SecretString>,
    /// What it calls itself.
    pub reddit_user_agent: String,
    /// Key for NewsAPI.
    #[serde(serialize_with = "hidden", deserialize_with = "secret")]
    pub newsapi_api_key: Option<SecretString>,
    /// Hits when a search does not say how many.
    pub max_results: u32,
    /// Longest time one service may take.
    pub timeout: Span,
    /// Ask Tavily for an answer of its own.
    pub include_answer: bool,
    /// Tavily's depth: `basic` or `advanced`.
    pub depth: SearchDepth,
    /// How much Brave keeps out: `off`, `moderate` or `strict`.
    pub safe_search: SafeSearch,
    /// Whose results are preferred, as country and language: `de-de`.
    #[serde(deserialize_with = "optional")]
    pub region: Option<String>,
    /// Base URL of Tavily's API, when it is reached through something else.
    #[serde(deserialize_with = "optional")]
    pub tavily_url: Option<String>,
    /// The same of Brave's.
    #[serde(deserialize_with = "optional")]
    pub brave_url: Option<String>,
    /// The same of DuckDuckGo's plain pages.
    #[serde(deserialize_with = "optional")]
    pub duckduckgo_url: Option<String>,
    /// The same of NewsAPI.
    #[serde(deserialize_with = "optional")]
    pub newsapi_url: Option<String>,
}

impl Default for SearchSection {
    fn default() -> Self {
        Self {
            provider: None,
            tavily_api_key: None,
            brave_api_key: None,
            reddit_client_id: None,
            reddit_client_secret: None,
            reddit_user_agent: concat!("greenroom/", env!("CARGO_PKG_VERSION")).into(),
            newsapi_api_key: None,
            max_results: 5,
            timeout: Span::secs(10),
            include_answer: false,
            depth: SearchDepth::Basic,
            safe_search: SafeSearch::Moderate,
            region: None,
            tavily_url: None,
            brave_url: None,
            duckduckgo_url: None,
            newsapi_url: None,
        }
    }
}

impl SearchSection {
    /// The provider that is asked first; `Err` for a name that nobody has.
    ///
    /// # Errors
    /// A sentence that names the known ones.
    pub fn first(&self) -> Result<Option<SearchProvider>, String> {
        self.provider.as_deref().map(str::parse).transpose().map_err(|error: greenroom_web::WebError| error.to_string())
    }
}

/// How thoroughly Tavily searches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchDepth {
    /// Quickly.
    #[default]
    Basic,
    /// Longer.
    Advanced,
}

/// Pages of the web.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebSection {
    /// A Crawl4AI server that renders pages; without it they are fetched directly.
    #[serde(deserialize_with = "optional")]
    pub crawl4ai_url: Option<String>,
    /// Its token.
    #[serde(serialize_with = "hidden", deserialize_with = "secret")]
    pub crawl4ai_api_token: Option<SecretString>,
    /// Characters of a page that are given at once.
    pub fetch_max_chars: usize,
    /// Hosts and networks that may be fetched although they are not public: `wiki.lan`, `.lan`, `192.168.1.0/24`.
    pub allow: Names,
}

impl Default for WebSection {
    fn default() -> Self {
        Self { crawl4ai_url: None, crawl4ai_api_token: None, fetch_max_chars: 50_000, allow: Names::default() }
    }
}

/// Home Assistant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HomeSection {
    /// URL of Home Assistant's own MCP endpoint.
    #[serde(deserialize_with = "optional")]
    pub native_url: Option<String>,
    /// Its long-lived token.
    #[serde(serialize_with = "hidden", deserialize_with = "secret")]
    pub native_token: Option<SecretString>,
    /// Its tools that are not offered.
    pub tool_exclude: Names,
    /// Use the older server below.
    pub enabled: bool,
    /// Base URL of the older server, which speaks MCP over SSE.
    pub url: String,
    /// Longest wait for one of its answers.
    pub timeout: Span,
    /// Its token.
    #[serde(serialize_with = "hidden", deserialize_with = "secret")]
    pub auth_token: Option<SecretString>,
}

impl Default for HomeSection {
    fn default() -> Self {
        let exclude = ["GetDateTime", "HassCancelAllTimers", "HassBroadcast"];
        Self {
            native_url: None,
            native_token: None,
            tool_exclude: Names(exclude.map(str::to_owned).to_vec()),
            enabled: false,
            url: "http://localhost:3000".into(),
            timeout: Span::secs(10),
            auth_token: None,
        }
    }
}
