//! Fetching a page: through a browser when one is set up and answers, else directly.
//!
//! Invariant: the address that was asked for and every address it leads to passed the guard before anything of them is
//! shown. A page is kept for five minutes, so that its parts fit together and cost one request.

mod charset;
mod crawl4ai;
mod direct;
pub(crate) mod html;
mod pdf;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use self::crawl4ai::Browser;
use crate::error::WebError;
use crate::guard::Guard;
use crate::kept::Kept;
use crate::settings::WebSettings;
use crate::text::{line, lines};
use crate::transport::Transport;

/// Pages that are kept, and for how long.
const KEPT: NonZeroUsize = NonZeroUsize::new(16).unwrap();
const LIFE: Duration = Duration::from_secs(300);
/// Characters of a text that are kept, at most.
const MAX_TEXT: usize = 500_000;
/// Pages that are taken apart at the same time.
const READERS: usize = 2;
const TITLE: usize = 300;
const DESCRIPTION: usize = 500;

/// A page that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchWish {
    /// Its address, `http://` or `https://`.
    pub url: String,
    /// The first character that is wanted, counted from 0.
    pub start: usize,
    /// How many characters are wanted; the setting bounds it.
    pub max_chars: usize,
}

/// A part of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where it was found in the end.
    pub url: String,
    /// What it says about itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The part of its text, as Markdown.
    pub text: String,
    /// Characters of the whole text.
    pub total_chars: usize,
    /// Where the next part begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_start: Option<usize>,
    /// What went otherwise than usual.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A whole page as text.
#[derive(Debug, Default)]
struct Whole {
    title: Option<String>,
    url: String,
    description: Option<String>,
    text: String,
    notes: Vec<String>,
}

impl Whole {
    /// Everything in its final form.
    fn tidy(mut self) -> Self {
        let kept = |text: Option<String>, limit| text.map(|text| line(&text, limit)).filter(|text| !text.is_empty());
        self.title = kept(self.title, TITLE);
        self.description = kept(self.description, DESCRIPTION);
        self.text = lines(&self.text);
        if let Some((end, _)) = self.text.char_indices().nth(MAX_TEXT) {
            self.text.truncate(end);
            self.notes.push(format!("Only the first {MAX_TEXT} characters of the page are kept."));
        }
        self
    }

    /// The part from `start`, ending at a paragraph or a line where one is near.
    fn part(&self, start: usize, max_chars: usize) -> Result<Page, WebError> {
        let total_chars = self.text.chars().count();
        if start > 0 && start >= total_chars {
            return Err(WebError::Invalid(format!(
                "The page has {total_chars} characters; there is nothing at {start}."
            )));
        }
        let byte = |index: usize| self.text.char_indices().nth(index).map_or(self.text.len(), |(byte, _)| byte);
        let (from, to) = (byte(start), byte(start.saturating_add(max_chars)));
        let mut text = &self.text[from..to];
        if to < self.text.len() {
            let late = text.len() / 5 * 4;
            let end = ["\n\n", "\n", " "].iter().find_map(|mark| text.rfind(mark).filter(|end| *end > late));
            text = end.map_or(text, |end| &text[..end]);
        }
        let next = start + text.chars().count();
        Ok(Page {
            title: self.title.clone(),
            url: self.url.clone(),
            description: self.description.clone(),
            text: text.to_owned(),
            total_chars,
            next_start: (next < total_chars).then_some(next),
            notes: self.notes.clone(),
        })
    }
}

/// Fetches pages.
pub(crate) struct Fetcher {
    guard: Guard,
    transport: Transport,
    browser: Option<Browser>,
    readers: Arc<Semaphore>,
    timeout: Duration,
    max_chars: usize,
    kept: Kept<Url, Whole>,
}

impl Fetcher {
    pub(crate) fn new(settings: &WebSettings, guard: Guard, transport: Transport) -> Result<Self, WebError> {
        let browser = settings.crawl4ai.as_ref().filter(|server| !server.url.trim().is_empty());
        Ok(Self {
            browser: browser.map(|server| Browser::new(server, &transport, settings.fetch_timeout)).transpose()?,
            guard,
            transport,
            readers: Arc::new(Semaphore::new(READERS)),
            timeout: settings.fetch_timeout,
            max_chars: settings.max_chars.max(1),
            kept: Kept::new(KEPT, LIFE),
        })
    }

    pub(crate) async fn browser_available(&self) -> bool {
        match &self.browser {
            Some(browser) => browser.is_available().await,
            None => false,
        }
    }

    pub(crate) async fn fetch(&self, wish: &FetchWish) -> Result<Page, WebError> {
        let url = self.guard.read(&wish.url)?;
        let whole = self.kept.get(url.clone(), self.whole(&url)).await?;
        whole.part(wish.start, wish.max_chars.clamp(1, self.max_chars))
    }

    async fn whole(&self, url: &Url) -> Result<Whole, WebError> {
        // a browser that hangs leaves some time for the direct way
        let deadline = Instant::now() + self.timeout.saturating_mul(7) / 5;
        let mut notes = Vec::new();
        if let Some(browser) = &self.browser
            && !url.path().to_ascii_lowercase().ends_with(".pdf")
        {
            if browser.is_available().await {
                self.guard.vouch(url).await?;
                match browser.fetch(&self.guard, url).await {
                    Ok(whole) => return Ok(whole.tidy()),
                    Err(error @ WebError::Refused(_)) => return Err(error),
                    Err(error) => {
                        tracing::warn!(%error, "the browser failed, the page is fetched directly");
                        notes.push("The browser failed; the page was fetched without one.".to_owned());
                    }
                }
            } else {
                notes.push("The browser is not there; the page was fetched without one.".to_owned());
            }
        }
        let fetched = self.direct(url);
        let host = || url.host_str().unwrap_or_default().to_owned();
        let end = deadline.min(Instant::now() + self.timeout);
        let mut whole =
            tokio::time::timeout_at(end, fetched).await.unwrap_or_else(|_| Err(WebError::Timeout(host())))?;
        whole.notes.extend(notes);
        Ok(whole.tidy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_without_gap_or_overlap() {
        let text = (0..200).map(|number| format!("Sätze Nummer {number}.")).collect::<Vec<_>>().join("\n\n");
        let whole = Whole { text, ..Whole::default() }.tidy();
        let (mut start, mut joined) = (0, String::new());
        loop {
            let page = whole.part(start, 300).unwrap();
            assert!(page.text.chars().count() <= 300 && !page.text.is_empty());
            joined.push_str(&page.text);
            match page.next_start {
                Some(next) => start = next,
                None => break,
            }
        }
        assert_eq!(joined, whole.text);
        assert!(whole.part(1_000_000, 300).is_err());
        assert_eq!(Whole::default().part(0, 9).unwrap().total_chars, 0);
    }
}
