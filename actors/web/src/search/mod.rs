//! Searching the web: what is asked, what comes back, and who is asked in which order ([`chain`]).

mod brave;
mod chain;
mod duckduckgo;
mod reddit;
mod tavily;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

pub(crate) use self::chain::Chain;
use crate::error::WebError;
use crate::settings::SearchProvider;
use crate::text::{line, line_of_html};

/// Longest query that is passed on.
const MAX_QUERY: usize = 400;
/// Most hits in one answer.
pub(crate) const MAX_RESULTS: u32 = 20;
/// Characters of a title and of a snippet, at most.
const TITLE: usize = 200;
const SNIPPET: usize = 1_200;
const MAX_URL: usize = 2_048;

/// What kind of thing is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchKind {
    /// Pages.
    #[default]
    Web,
    /// News.
    News,
    /// What is said on Reddit.
    Reddit,
}

/// How old a hit may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TimeRange {
    /// A day.
    #[serde(rename = "d")]
    Day,
    /// A week.
    #[serde(rename = "w")]
    Week,
    /// A month.
    #[serde(rename = "m")]
    Month,
    /// A year.
    #[serde(rename = "y")]
    Year,
}

impl TimeRange {
    fn letter(self) -> &'static str {
        match self {
            Self::Day => "d",
            Self::Week => "w",
            Self::Month => "m",
            Self::Year => "y",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// A search.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SearchWish {
    /// What is looked for.
    pub query: String,
    /// Where.
    pub kind: SearchKind,
    /// Hits at most, 1 to 20; the setting when not given.
    pub max_results: Option<u32>,
    /// How old they may be.
    pub time_range: Option<TimeRange>,
}

/// Something found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// Its title.
    pub title: String,
    /// Where it is.
    pub url: String,
    /// A few sentences.
    pub snippet: String,
    /// How well it fits, 0 to 1, if the provider says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

impl Hit {
    /// A hit whose title and snippet may hold markup, or nothing if it leads nowhere.
    fn of(title: &str, url: &str, snippet: &str) -> Option<Self> {
        Self::of_text(&line_of_html(title, TITLE), url, &line_of_html(snippet, SNIPPET))
    }

    /// A hit from plain text.
    fn of_text(title: &str, url: &str, snippet: &str) -> Option<Self> {
        let url = url.trim();
        let leads = url.len() <= MAX_URL && (url.starts_with("https://") || url.starts_with("http://"));
        if !leads || url.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
            return None;
        }
        let (title, snippet) = (line(title, TITLE), line(snippet, SNIPPET));
        Some(Self { title: if title.is_empty() { url.into() } else { title }, url: url.into(), snippet, score: None })
    }
}

/// What a search brought.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchAnswer {
    /// Best first, each address once.
    pub hits: Vec<Hit>,
    /// What the provider's own model made of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Who answered.
    pub provider: SearchProvider,
    /// What went otherwise than set up.
    pub notes: Vec<String>,
}

/// Who can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchAvailability {
    /// In the order in which they are asked for a web search.
    pub providers: Vec<SearchProvider>,
    /// What could be set for more, in words.
    pub missing: Vec<String>,
}

impl SearchAvailability {
    /// Whether anybody can be asked.
    #[must_use]
    pub fn is_available(&self) -> bool {
        !self.providers.is_empty()
    }
}

/// A wish that can be passed on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    query: String,
    kind: SearchKind,
    max_results: u32,
    time_range: Option<TimeRange>,
}

impl Question {
    fn of(wish: &SearchWish, usual_results: u32) -> Result<Self, WebError> {
        let query = wish.query.split_whitespace().collect::<Vec<_>>().join(" ");
        if query.is_empty() {
            return Err(WebError::Invalid("A search needs a query.".into()));
        }
        if query.chars().count() > MAX_QUERY {
            return Err(WebError::Invalid(format!("The query is longer than {MAX_QUERY} characters.")));
        }
        let max_results = wish.max_results.unwrap_or(usual_results).clamp(1, MAX_RESULTS);
        Ok(Self { query, kind: wish.kind, max_results, time_range: wish.time_range })
    }

    /// The query for an engine that has no notion of the kind.
    fn query_with_kind(&self) -> String {
        match self.kind {
            SearchKind::Web => self.query.clone(),
            SearchKind::News => format!("{} news", self.query),
            SearchKind::Reddit => format!("site:reddit.com {}", self.query),
        }
    }
}

/// What one provider brought.
#[derive(Debug, Default)]
struct Found {
    hits: Vec<Hit>,
    summary: Option<String>,
}

impl Found {
    fn of(hits: impl IntoIterator<Item = Hit>) -> Self {
        Self { hits: hits.into_iter().collect(), summary: None }
    }

    /// Each address once, no more than wanted.
    fn tidy(mut self, question: &Question) -> Self {
        let mut seen = HashSet::new();
        self.hits.retain(|hit| seen.insert(hit.url.trim_end_matches('/').to_owned()));
        self.hits.truncate(question.max_results as usize);
        self
    }
}
