//! Reddit's own search, <https://oauth.reddit.com/search>, with an application's token.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::{Found, Hit, Question};
use crate::address;
use crate::error::WebError;
use crate::settings::{RedditSettings, WebSettings};
use crate::text::line;
use crate::transport::{self, Transport};

const WHO: &str = "Reddit";
/// Characters of a post in its snippet.
const BODY: usize = 400;
/// A token is renewed this long before its end, and lives at least as long.
const MARGIN: Duration = Duration::from_secs(60);
/// Words that ask for the newest instead of the best.
const NEWEST: [&str; 4] = ["newest", "latest", "recent", "recently"];

pub(super) struct Reddit {
    client: Client,
    token_url: Url,
    search_url: Url,
    settings: RedditSettings,
    timeout: Duration,
    /// One fetches a token, the others wait for it.
    token: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    text: SecretString,
    until: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
    #[serde(default)]
    expires_in: u64,
}

#[derive(Deserialize)]
struct Listing {
    data: Children,
}

#[derive(Deserialize)]
struct Children {
    #[serde(default)]
    children: Vec<Child>,
}

#[derive(Deserialize)]
struct Child {
    data: Post,
}

#[derive(Deserialize)]
struct Post {
    #[serde(default)]
    title: String,
    permalink: String,
    #[serde(default)]
    subreddit: String,
    #[serde(default)]
    score: i64,
    #[serde(default)]
    num_comments: i64,
    #[serde(default)]
    created_utc: f64,
    #[serde(default)]
    selftext: String,
}

impl Reddit {
    pub(super) fn new(
        settings: &WebSettings,
        transport: &Transport,
        reddit: &RedditSettings,
    ) -> Result<Self, WebError> {
        let search_url = address(&settings.addresses.reddit, "/search")?;
        Ok(Self {
            client: transport.service(&search_url).clone(),
            token_url: address(&settings.addresses.reddit_token, "")?,
            search_url,
            settings: reddit.clone(),
            timeout: settings.search_timeout,
            token: Mutex::default(),
        })
    }

    pub(super) async fn search(&self, question: &Question) -> Result<Found, WebError> {
        let token = self.token(None).await?;
        let listing = match self.listing(question, &token).await {
            Err(WebError::Unauthorised(_)) => {
                let fresh = self.token(Some(&token)).await?;
                self.listing(question, &fresh).await?
            }
            listing => listing?,
        };
        Ok(Found::of(listing.data.children.iter().filter_map(|child| child.data.hit())))
    }

    async fn listing(&self, question: &Question, token: &Token) -> Result<Listing, WebError> {
        let newest = question.query.split_whitespace().any(|word| NEWEST.contains(&word.to_lowercase().as_str()));
        let mut url = self.search_url.clone();
        url.query_pairs_mut()
            .append_pair("q", &question.query)
            .append_pair("sort", if newest { "new" } else { "relevance" })
            .append_pair("t", question.time_range.map_or("all", super::TimeRange::word))
            .append_pair("limit", &question.max_results.clamp(25, 100).to_string())
            .append_pair("raw_json", "1")
            .append_pair("restrict_sr", "false")
            .append_pair("type", "link");
        let request = self
            .client
            .get(url)
            .header("user-agent", &self.settings.user_agent)
            .header("accept-encoding", "gzip")
            .bearer_auth(token.text.expose_secret());
        transport::json(request, WHO, self.timeout).await
    }

    /// The token, unless it is the `stale` one or about to end.
    async fn token(&self, stale: Option<&Token>) -> Result<Token, WebError> {
        let mut kept = self.token.lock().await;
        if let Some(token) = kept.as_ref()
            && token.until > Instant::now()
            && stale.is_none_or(|stale| stale.text.expose_secret() != token.text.expose_secret())
        {
            return Ok(token.clone());
        }
        let request = self
            .client
            .post(self.token_url.clone())
            .basic_auth(&self.settings.client_id, Some(self.settings.client_secret.expose_secret()))
            .header("user-agent", &self.settings.user_agent)
            .header("content-type", "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials");
        let answer: TokenAnswer = transport::json(request, WHO, self.timeout).await?;
        let life = Duration::from_secs(answer.expires_in.min(86_400)).saturating_sub(MARGIN).max(MARGIN);
        let token = Token { text: answer.access_token, until: Instant::now() + life };
        *kept = Some(token.clone());
        Ok(token)
    }
}

impl Post {
    fn hit(&self) -> Option<Hit> {
        let url = if self.permalink.starts_with('/') {
            format!("https://www.reddit.com{}", self.permalink)
        } else {
            self.permalink.clone()
        };
        let mut parts = vec![
            format!("r/{}", self.subreddit),
            format!("score {}", self.score),
            format!("{} comments", self.num_comments),
        ];
        #[expect(clippy::cast_possible_truncation, reason = "seconds of a date; the cast saturates")]
        let seconds = self.created_utc as i64;
        if let Some(date) = Timestamp::from_second(seconds).ok().filter(|_| seconds > 0) {
            parts.push(date.to_zoned(TimeZone::UTC).date().to_string());
        }
        let body = line(&self.selftext, BODY);
        if !body.is_empty() {
            parts.push(body);
        }
        Hit::of_text(&self.title, &url, &parts.join(" | "))
    }
}
