//! The `news` tool: articles about something, and headlines.

use std::fmt::Write;
use std::sync::Arc;

use greenroom_web::{NewsAnswer, NewsCategory, NewsOrder, NewsWish, Web};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Done, needed};
use crate::outcome::ToolOutcome;
use crate::tool::{BoxFuture, CallContext, Effects, Scope, Tool, ToolSpec, parse};
use crate::tools::Timeouts;

const ABOUT: &str = "Reads the news: 'search' finds articles about a query, 'headlines' lists what is on the front pages of a \
     country, if wanted of one category.";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// What to do.
    action: Action,
    /// What the articles are about; required for search.
    #[schemars(length(max = 400))]
    query: Option<String>,
    /// How many articles at most; 5 when not given.
    #[schemars(range(min = 1, max = 100))]
    max_results: Option<u32>,
    /// Two letters, for headlines; "us" when not given.
    #[schemars(length(min = 2, max = 2))]
    country: Option<String>,
    /// Only headlines of this category.
    category: Option<Category>,
    /// The order of a search; publishedAt (newest first) when not given.
    sort_by: Option<SortBy>,
}

#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Action {
    Search,
    Headlines,
}

#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Category {
    Business,
    Entertainment,
    General,
    Health,
    Science,
    Sports,
    Technology,
}

#[derive(Deserialize, JsonSchema, Clone, Copy)]
enum SortBy {
    #[serde(rename = "publishedAt")]
    PublishedAt,
    #[serde(rename = "relevancy")]
    Relevancy,
    #[serde(rename = "popularity")]
    Popularity,
}

struct News {
    spec: ToolSpec,
    web: Web,
}

pub(crate) fn tool(web: Web, timeouts: &Timeouts) -> Arc<dyn Tool> {
    let spec = ToolSpec::built_in::<Arguments>("news", ABOUT, Scope::Search, timeouts.news);
    Arc::new(News { spec, web })
}

impl Tool for News {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effects(&self, _: &Value) -> Effects {
        Effects::ReadOnly
    }

    fn available(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(self.web.news_available()))
    }

    fn call<'a>(&'a self, cx: &'a CallContext, arguments: Value) -> BoxFuture<'a, ToolOutcome> {
        Box::pin(async move { self.tell(cx, arguments).await.unwrap_or_else(|refused| refused) })
    }
}

impl News {
    async fn tell(&self, cx: &CallContext, arguments: Value) -> Done {
        let answer = self.web.news(parse::<Arguments>(arguments)?.wish()?).await?;
        let data = serde_json::to_value(&*answer).unwrap_or_default();
        Ok(ToolOutcome::success(told(&answer, &cx.zone)).with_data(data).untrusted())
    }
}

impl Arguments {
    fn wish(self) -> Result<NewsWish, ToolOutcome> {
        let max_results = self.max_results.unwrap_or(5);
        Ok(match self.action {
            Action::Search => NewsWish::Search {
                query: needed(self.query, "query", "search")?,
                order: match self.sort_by {
                    None | Some(SortBy::PublishedAt) => NewsOrder::PublishedAt,
                    Some(SortBy::Relevancy) => NewsOrder::Relevancy,
                    Some(SortBy::Popularity) => NewsOrder::Popularity,
                },
                max_results,
            },
            Action::Headlines => NewsWish::Headlines {
                country: self.country.unwrap_or_else(|| "us".into()),
                category: self.category.map(Category::of_the_service),
                query: self.query,
                max_results,
            },
        })
    }
}

impl Category {
    fn of_the_service(self) -> NewsCategory {
        match self {
            Self::Business => NewsCategory::Business,
            Self::Entertainment => NewsCategory::Entertainment,
            Self::General => NewsCategory::General,
            Self::Health => NewsCategory::Health,
            Self::Science => NewsCategory::Science,
            Self::Sports => NewsCategory::Sports,
            Self::Technology => NewsCategory::Technology,
        }
    }
}

/// The articles as the model reads them, in the user's time.
fn told(answer: &NewsAnswer, zone: &TimeZone) -> String {
    let mut text = match answer.articles.len() {
        0 => return "No articles were found.".into(),
        1 => "1 article.".to_owned(),
        count => format!("{count} articles of {}.", answer.total.max(count as u64)),
    };
    for (index, article) in answer.articles.iter().enumerate() {
        let _ = write!(text, "\n\n{}. **{}**\n{}", index + 1, article.title, article.source);
        if let Some(published) = article.published {
            let _ = write!(text, ", {}", published.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M"));
        }
        if !article.description.is_empty() {
            let _ = write!(text, "\n{}", article.description);
        }
        let _ = write!(text, "\nSource: {}", article.url);
    }
    text
}
