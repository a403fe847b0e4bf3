//! The handle.

use std::fmt;
use std::sync::Arc;

use crate::error::WebError;
use crate::fetch::{FetchWish, Fetcher, Page};
use crate::guard::Guard;
use crate::news::{News, NewsAnswer, NewsWish};
use crate::search::{Chain, SearchAnswer, SearchAvailability, SearchWish};
use crate::settings::WebSettings;
use crate::transport::Transport;

/// The outside world.
#[derive(Clone)]
pub struct Web {
    inner: Arc<Inner>,
}

struct Inner {
    search: Chain,
    news: Option<News>,
    fetcher: Fetcher,
}

impl fmt::Debug for Web {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Web").field("search", &self.search_availability().providers).finish_non_exhaustive()
    }
}

impl Web {
    /// Sets it up; nobody is asked anything yet.
    ///
    /// # Errors
    /// When an address is none, or there is no TLS.
    pub fn new(settings: WebSettings) -> Result<Self, WebError> {
        let guard = Guard::new(settings.allow.clone());
        let transport = Transport::new(guard.clone())?;
        let inner = Inner {
            search: Chain::new(&settings, &transport)?,
            news: News::new(&settings, &transport)?,
            fetcher: Fetcher::new(&settings, guard, transport)?,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Who would answer a search.
    #[must_use]
    pub fn search_availability(&self) -> SearchAvailability {
        self.inner.search.availability()
    }

    /// Searches: the configured provider first, then whoever else can. Equal searches within five minutes are one.
    ///
    /// # Errors
    /// The first provider's failure when all failed. No hit is no error.
    pub async fn search(&self, wish: &SearchWish) -> Result<Arc<SearchAnswer>, WebError> {
        self.inner.search.search(wish).await
    }

    /// Whether there is a key for the news.
    #[must_use]
    pub fn news_available(&self) -> bool {
        self.inner.news.is_some()
    }

    /// News and headlines.
    ///
    /// # Errors
    /// When there is no key, or the service fails.
    pub async fn news(&self, wish: NewsWish) -> Result<Arc<NewsAnswer>, WebError> {
        match &self.inner.news {
            Some(news) => news.get(wish).await,
            None => Err(WebError::NotConfigured("News need NEWSAPI_API_KEY.".into())),
        }
    }

    /// Fetches a page as readable text, a part at a time.
    ///
    /// # Errors
    /// When the address may not be reached, or has nothing that can be read.
    pub async fn fetch(&self, wish: &FetchWish) -> Result<Page, WebError> {
        self.inner.fetcher.fetch(wish).await
    }

    /// Whether a browser is set up and answers; pages can be fetched without one. Known for a minute.
    pub async fn crawl4ai_available(&self) -> bool {
        self.inner.fetcher.browser_available().await
    }
}
