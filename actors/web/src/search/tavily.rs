//! Tavily, <https://api.tavily.com>: `POST /search`.

use std::time::Duration;

use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::{Found, Hit, Question, SearchKind};
use crate::address;
use crate::error::WebError;
use crate::settings::WebSettings;
use crate::text::line;
use crate::transport::{self, Transport};

const WHO: &str = "Tavily";
/// Characters of a generated answer, at most.
const SUMMARY: usize = 2_000;

pub(super) struct Tavily {
    client: Client,
    url: Url,
    key: SecretString,
    include_answer: bool,
    depth: &'static str,
    timeout: Duration,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    answer: Option<String>,
    #[serde(default)]
    results: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    title: Option<String>,
    url: String,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    score: Option<f64>,
}

impl Tavily {
    pub(super) fn new(settings: &WebSettings, transport: &Transport, key: SecretString) -> Result<Self, WebError> {
        let url = address(&settings.addresses.tavily, "/search")?;
        Ok(Self {
            client: transport.service(&url).clone(),
            url,
            key,
            include_answer: settings.include_answer,
            depth: if settings.advanced_depth { "advanced" } else { "basic" },
            timeout: settings.search_timeout,
        })
    }

    pub(super) async fn search(&self, question: &Question) -> Result<Found, WebError> {
        let mut body = json!({
            "query": question.query,
            "max_results": question.max_results,
            "search_depth": self.depth,
            "include_answer": self.include_answer,
        });
        match question.kind {
            SearchKind::Web => {}
            SearchKind::News => body["topic"] = json!("news"),
            SearchKind::Reddit => body["include_domains"] = json!(["reddit.com"]),
        }
        if let Some(range) = question.time_range {
            body["time_range"] = json!(range.word());
        }
        let request = self.client.post(self.url.clone()).bearer_auth(self.key.expose_secret()).json(&body);
        let answer: Answer = transport::json(request, WHO, self.timeout).await?;
        let hits = answer.results.iter().filter_map(|entry| {
            let hit = Hit::of_text(
                entry.title.as_deref().unwrap_or_default(),
                &entry.url,
                entry.content.as_deref().unwrap_or_default(),
            )?;
            Some(Hit { score: entry.score.filter(|score| score.is_finite()), ..hit })
        });
        let summary = answer.answer.map(|text| line(&text, SUMMARY)).filter(|text| !text.is_empty());
        Ok(Found { hits: hits.collect(), summary })
    }
}
