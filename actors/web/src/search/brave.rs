//! Brave Search, <https://api.search.brave.com>: `web/search` and `news/search`.

use std::time::Duration;

use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::{Found, Hit, Question, SearchKind};
use crate::address;
use crate::error::WebError;
use crate::settings::{SafeSearch, WebSettings};
use crate::transport::{self, Transport};

const WHO: &str = "Brave";

pub(super) struct Brave {
    client: Client,
    web: Url,
    news: Url,
    key: SecretString,
    safe_search: SafeSearch,
    country: Option<String>,
    timeout: Duration,
}

#[derive(Deserialize)]
struct WebAnswer {
    #[serde(default)]
    web: Option<Results>,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    results: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    title: Option<String>,
    url: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    extra_snippets: Option<Vec<String>>,
    #[serde(default)]
    age: Option<String>,
}

impl Brave {
    pub(super) fn new(settings: &WebSettings, transport: &Transport, key: SecretString) -> Result<Self, WebError> {
        let base = &settings.addresses.brave;
        let web = address(base, "/web/search")?;
        let region = settings.region.as_deref().and_then(|region| region.split(['-', '_']).next());
        Ok(Self {
            client: transport.service(&web).clone(),
            news: address(base, "/news/search")?,
            web,
            key,
            safe_search: settings.safe_search,
            country: region.filter(|country| country.len() == 2).map(str::to_ascii_uppercase),
            timeout: settings.search_timeout,
        })
    }

    pub(super) async fn search(&self, question: &Question) -> Result<Found, WebError> {
        let is_news = question.kind == SearchKind::News;
        let mut url = if is_news { self.news.clone() } else { self.web.clone() };
        let most = if is_news { 50 } else { 20 };
        let query = if is_news { question.query.clone() } else { question.query_with_kind() };
        {
            let mut pairs = url.query_pairs_mut();
            pairs.append_pair("q", &query);
            pairs.append_pair("count", &question.max_results.min(most).to_string());
            pairs.append_pair(
                "safesearch",
                match self.safe_search {
                    SafeSearch::Off => "off",
                    SafeSearch::Moderate => "moderate",
                    SafeSearch::Strict => "strict",
                },
            );
            if let Some(country) = &self.country {
                pairs.append_pair("country", country);
            }
            if let Some(range) = question.time_range {
                pairs.append_pair("freshness", &format!("p{}", range.letter()));
            }
        }
        let request = self
            .client
            .get(url)
            .header("accept", "application/json")
            .header("accept-encoding", "gzip")
            .header("x-subscription-token", self.key.expose_secret());
        let results = if is_news {
            transport::json::<Results>(request, WHO, self.timeout).await?
        } else {
            let answer: WebAnswer = transport::json(request, WHO, self.timeout).await?;
            answer.web.unwrap_or(Results { results: Vec::new() })
        };
        Ok(Found::of(results.results.iter().filter_map(Entry::hit)))
    }
}

impl Entry {
    fn hit(&self) -> Option<Hit> {
        let mut snippet = self.age.as_ref().map(|age| format!("[{age}] ")).unwrap_or_default();
        snippet.push_str(self.description.as_deref().unwrap_or_default());
        for more in self.extra_snippets.iter().flatten().take(2) {
            snippet.push('\n');
            snippet.push_str(more);
        }
        Hit::of(self.title.as_deref().unwrap_or_default(), &self.url, &snippet)
    }
}
