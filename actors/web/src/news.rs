//! Headlines and articles from NewsAPI, <https://newsapi.org/docs>.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::address;
use crate::error::WebError;
use crate::kept::Kept;
use crate::settings::{WebSettings, present};
use crate::text::line_of_html;
use crate::transport::{self, Transport};

const WHO: &str = "NewsAPI";
const TIMEOUT: Duration = Duration::from_secs(10);
const LIFE: Duration = Duration::from_secs(300);
const KEPT: NonZeroUsize = NonZeroUsize::new(32).unwrap();
/// Articles in one answer, at most, and pages that are asked for.
const MAX_ARTICLES: u32 = 100;
const MAX_PAGES: u32 = 5;

/// In which order articles come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum NewsOrder {
    /// Newest first.
    #[default]
    #[serde(rename = "publishedAt")]
    PublishedAt,
    /// Closest to the query first.
    #[serde(rename = "relevancy")]
    Relevancy,
    /// From the most read sources first.
    #[serde(rename = "popularity")]
    Popularity,
}

impl NewsOrder {
    fn as_str(self) -> &'static str {
        match self {
            Self::PublishedAt => "publishedAt",
            Self::Relevancy => "relevancy",
            Self::Popularity => "popularity",
        }
    }
}

/// A section of a newspaper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "their names say it")]
pub enum NewsCategory {
    Business,
    Entertainment,
    General,
    Health,
    Science,
    Sports,
    Technology,
}

impl NewsCategory {
    fn as_str(self) -> &'static str {
        match self {
            Self::Business => "business",
            Self::Entertainment => "entertainment",
            Self::General => "general",
            Self::Health => "health",
            Self::Science => "science",
            Self::Sports => "sports",
            Self::Technology => "technology",
        }
    }
}

/// What is wanted of the news.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NewsWish {
    /// Articles about something.
    Search {
        /// What they are about.
        query: String,
        /// Their order.
        order: NewsOrder,
        /// How many, 1 to 100.
        max_results: u32,
    },
    /// What is on the front pages.
    Headlines {
        /// Two letters.
        country: String,
        /// Only one section.
        category: Option<NewsCategory>,
        /// Only what is about this.
        query: Option<String>,
        /// How many, 1 to 100.
        max_results: u32,
    },
}

/// One article.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewsArticle {
    /// Its title.
    pub title: String,
    /// Who published it.
    pub source: String,
    /// When.
    pub published: Option<Timestamp>,
    /// What it is about.
    pub description: String,
    /// Where it is.
    pub url: String,
}

/// What the news had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewsAnswer {
    /// Each once, in the order asked for.
    pub articles: Vec<NewsArticle>,
    /// How many there are altogether, as the service says.
    pub total: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    total_results: u64,
    #[serde(default)]
    articles: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    source: Option<Source>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    published_at: Option<String>,
}

#[derive(Deserialize)]
struct Source {
    #[serde(default)]
    name: Option<String>,
}

pub(crate) struct News {
    client: Client,
    everything: Url,
    headlines: Url,
    key: SecretString,
    kept: Kept<NewsWish, NewsAnswer>,
}

impl News {
    /// Nothing without a key.
    pub(crate) fn new(settings: &WebSettings, transport: &Transport) -> Result<Option<Self>, WebError> {
        let Some(key) = present(settings.news_key.as_ref()).cloned() else { return Ok(None) };
        let base = &settings.addresses.news;
        let everything = address(base, "/everything")?;
        Ok(Some(Self {
            client: transport.service(&everything).clone(),
            headlines: address(base, "/top-headlines")?,
            everything,
            key,
            kept: Kept::new(KEPT, LIFE),
        }))
    }

    pub(crate) async fn get(&self, wish: NewsWish) -> Result<Arc<NewsAnswer>, WebError> {
        let (url, wanted) = self.first_page(&wish)?;
        self.kept.get(wish, self.collect(url, wanted)).await
    }

    /// The address without its page number, and how many articles are wanted.
    fn first_page(&self, wish: &NewsWish) -> Result<(Url, u32), WebError> {
        let mut url;
        let wanted;
        match wish {
            NewsWish::Search { query, order, max_results } => {
                if query.trim().is_empty() {
                    return Err(WebError::Invalid("A search needs a query.".into()));
                }
                url = self.everything.clone();
                wanted = (*max_results).clamp(1, MAX_ARTICLES);
                url.query_pairs_mut()
                    .append_pair("q", query.trim())
                    .append_pair("sortBy", order.as_str())
                    .append_pair("language", "en");
            }
            NewsWish::Headlines { country, category, query, max_results } => {
                let country = country.trim().to_ascii_lowercase();
                if country.len() != 2 || !country.bytes().all(|letter| letter.is_ascii_lowercase()) {
                    return Err(WebError::Invalid("A country is two letters, such as \"us\".".into()));
                }
                url = self.headlines.clone();
                wanted = (*max_results).clamp(1, MAX_ARTICLES);
                let mut pairs = url.query_pairs_mut();
                pairs.append_pair("country", &country);
                if let Some(category) = category {
                    pairs.append_pair("category", category.as_str());
                }
                if let Some(query) = query.as_deref().map(str::trim).filter(|query| !query.is_empty()) {
                    pairs.append_pair("q", query);
                }
            }
        }
        url.query_pairs_mut().append_pair("pageSize", &wanted.to_string());
        Ok((url, wanted))
    }

    /// Goes on while the service drops doubles, not while it has more.
    async fn collect(&self, url: Url, wanted: u32) -> Result<NewsAnswer, WebError> {
        let (mut articles, mut seen, mut total) = (Vec::new(), HashSet::new(), 0);
        for number in 1..=MAX_PAGES {
            let mut url = url.clone();
            url.query_pairs_mut().append_pair("page", &number.to_string());
            let request =
                self.client.get(url).header("x-api-key", self.key.expose_secret()).header("accept-encoding", "gzip");
            let page: Page = match transport::json(request, WHO, TIMEOUT).await {
                // a plan without further pages refuses them; what is there is there
                Err(_) if !articles.is_empty() => break,
                page => page?,
            };
            total = page.total_results;
            let entries = page.articles.len();
            for article in page.articles.into_iter().filter_map(Entry::article) {
                if seen.insert(article.url.clone()) && seen.insert(article.title.to_lowercase()) {
                    articles.push(article);
                }
            }
            let asked = u64::from(number) * u64::from(wanted);
            if articles.len() >= wanted as usize || entries == 0 || asked >= total {
                break;
            }
        }
        articles.truncate(wanted as usize);
        Ok(NewsAnswer { articles, total })
    }
}

impl Entry {
    fn article(self) -> Option<NewsArticle> {
        let url = self.url.filter(|url| url.starts_with("https://") || url.starts_with("http://"))?;
        let title = line_of_html(self.title.as_deref()?, 300);
        (!title.is_empty() && title != "[Removed]").then(|| NewsArticle {
            title,
            source: line_of_html(&self.source.and_then(|source| source.name).unwrap_or_default(), 100),
            published: self.published_at.and_then(|text| text.parse().ok()),
            description: line_of_html(&self.description.unwrap_or_default(), 600),
            url,
        })
    }
}
