//! Who is asked, and who next.
//!
//! Invariant: a provider that fails is passed over with a note, and one that asks for a pause gets it. Equal questions
//! within five minutes are asked once.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom_kit::lock;
use secrecy::SecretString;
use tokio::time::Instant;

use super::brave::Brave;
use super::duckduckgo::DuckDuckGo;
use super::reddit::Reddit;
use super::tavily::Tavily;
use super::{Found, Question, SearchAnswer, SearchAvailability, SearchKind, SearchWish};
use crate::error::WebError;
use crate::kept::Kept;
use crate::settings::{SearchProvider, WebSettings, present};
use crate::transport::Transport;

/// How long a provider is left alone that asks for it.
const PAUSE: Duration = Duration::from_secs(60);
/// The same when it says how long, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
const LIFE: Duration = Duration::from_secs(300);
const KEPT: NonZeroUsize = NonZeroUsize::new(128).unwrap();

/// All providers that are set up.
pub(crate) struct Chain {
    brave: Option<Brave>,
    tavily: Option<Tavily>,
    reddit: Option<Reddit>,
    duckduckgo: DuckDuckGo,
    first: Option<SearchProvider>,
    usual_results: u32,
    budget: Duration,
    paused: Mutex<HashMap<SearchProvider, Instant>>,
    kept: Kept<Question, SearchAnswer>,
}

impl Chain {
    pub(crate) fn new(settings: &WebSettings, transport: &Transport) -> Result<Self, WebError> {
        let key = |key: &Option<SecretString>| present(key.as_ref()).cloned();
        let reddit = settings
            .reddit
            .as_ref()
            .filter(|reddit| !reddit.client_id.trim().is_empty() && present(Some(&reddit.client_secret)).is_some());
        let chain = Self {
            brave: key(&settings.brave_key).map(|key| Brave::new(settings, transport, key)).transpose()?,
            tavily: key(&settings.tavily_key).map(|key| Tavily::new(settings, transport, key)).transpose()?,
            reddit: reddit.map(|reddit| Reddit::new(settings, transport, reddit)).transpose()?,
            duckduckgo: DuckDuckGo::new(settings, transport)?,
            first: settings.provider,
            usual_results: settings.max_results,
            budget: settings.search_timeout.saturating_mul(7) / 5,
            paused: Mutex::default(),
            kept: Kept::new(KEPT, LIFE),
        };
        if let Some(first) = chain.first.filter(|first| !chain.has(*first)) {
            tracing::warn!(provider = first.name(), "the search provider that is set has no credentials");
        }
        Ok(chain)
    }

    fn has(&self, provider: SearchProvider) -> bool {
        match provider {
            SearchProvider::Brave => self.brave.is_some(),
            SearchProvider::Tavily => self.tavily.is_some(),
            SearchProvider::Reddit => self.reddit.is_some(),
            SearchProvider::DuckDuckGo => true,
        }
    }

    /// Reddit's own search first for Reddit and, unless it is what was set, for nothing else.
    fn order(&self, kind: SearchKind) -> Vec<SearchProvider> {
        let reddit = (kind == SearchKind::Reddit).then_some(SearchProvider::Reddit);
        let usual = [SearchProvider::Tavily, SearchProvider::Brave, SearchProvider::DuckDuckGo];
        let mut order: Vec<SearchProvider> = Vec::with_capacity(4);
        for provider in reddit.into_iter().chain(self.first).chain(usual) {
            if self.has(provider) && !order.contains(&provider) {
                order.push(provider);
            }
        }
        order
    }

    pub(crate) fn availability(&self) -> SearchAvailability {
        let wanted = [
            (SearchProvider::Tavily, "Tavily needs TAVILY_API_KEY."),
            (SearchProvider::Brave, "Brave needs BRAVE_API_KEY."),
            (SearchProvider::Reddit, "Reddit needs REDDIT_CLIENT_ID and REDDIT_CLIENT_SECRET."),
        ];
        let missing = wanted.into_iter().filter(|(provider, _)| !self.has(*provider));
        SearchAvailability {
            providers: self.order(SearchKind::Web),
            missing: missing.map(|(_, words)| words.to_owned()).collect(),
        }
    }

    pub(crate) async fn search(&self, wish: &SearchWish) -> Result<Arc<SearchAnswer>, WebError> {
        let question = Question::of(wish, self.usual_results)?;
        self.kept.get(question.clone(), self.ask_in_turn(&question)).await
    }

    async fn ask_in_turn(&self, question: &Question) -> Result<SearchAnswer, WebError> {
        let mut notes = Vec::new();
        if let Some(first) = self.first.filter(|first| !self.has(*first)) {
            notes.push(format!("{first} is set as the search provider but has no credentials."));
        }
        let mut failure = None;
        // one that hangs leaves some time for the next
        let deadline = Instant::now() + self.budget;
        for provider in self.order(question.kind) {
            if let Some(rest) = self.pause_of(provider) {
                notes.push(format!("{provider} was left out for {} s more: it asked for a pause.", rest.as_secs() + 1));
                let again = WebError::RateLimited { who: provider.name().into(), retry_after: Some(rest) };
                failure.get_or_insert(again);
                continue;
            }
            let asked = tokio::time::timeout_at(deadline, self.ask(provider, question)).await;
            match asked.unwrap_or_else(|_| Err(WebError::Timeout(provider.name().into()))) {
                Ok(found) => {
                    let Found { hits, summary } = found.tidy(question);
                    return Ok(SearchAnswer { hits, summary, provider, notes });
                }
                Err(error) => {
                    tracing::warn!(provider = provider.name(), %error, "a search provider failed");
                    if let WebError::RateLimited { retry_after, .. } = &error {
                        let pause = retry_after.unwrap_or(PAUSE).clamp(PAUSE, LONGEST_PAUSE);
                        lock(&self.paused).insert(provider, Instant::now() + pause);
                    }
                    notes.push(format!("{provider} failed: {error}."));
                    failure.get_or_insert(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| WebError::NotConfigured("No search provider is set up.".into())))
    }

    async fn ask(&self, provider: SearchProvider, question: &Question) -> Result<Found, WebError> {
        let missing = || WebError::NotConfigured(format!("{provider} has no credentials."));
        match provider {
            SearchProvider::Brave => self.brave.as_ref().ok_or_else(missing)?.search(question).await,
            SearchProvider::Tavily => self.tavily.as_ref().ok_or_else(missing)?.search(question).await,
            SearchProvider::Reddit => self.reddit.as_ref().ok_or_else(missing)?.search(question).await,
            SearchProvider::DuckDuckGo => self.duckduckgo.search(question).await,
        }
    }

    fn pause_of(&self, provider: SearchProvider) -> Option<Duration> {
        let until = lock(&self.paused).get(&provider).copied()?;
        Some(until.saturating_duration_since(Instant::now())).filter(|rest| !rest.is_zero())
    }
}
