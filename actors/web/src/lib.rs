//! The outside world: searching it, reading its news, fetching its pages.
//!
//! [`Web`] is a cheap handle over HTTP clients, small caches and notes on who wants to be left alone. It decides which
//! addresses may be reached at all (`guard.rs`). Invariants: nothing is read without a bound, nothing that comes back is
//! trusted, and no key is ever part of an error, a log line or a URL. Deliberately absent: actors, tables, and what a
//! model is told about any of it (the tools room).

mod error;
mod fetch;
mod guard;
mod kept;
mod news;
mod search;
mod settings;
mod text;
mod transport;
mod web;

pub use self::error::WebError;
pub use self::fetch::{FetchWish, Page};
pub use self::guard::AllowList;
pub use self::news::{NewsAnswer, NewsArticle, NewsCategory, NewsOrder, NewsWish};
pub use self::search::{Hit, SearchAnswer, SearchAvailability, SearchKind, SearchWish, TimeRange};
pub use self::settings::{Addresses, Crawl4Ai, RedditSettings, SafeSearch, SearchProvider, WebSettings};
pub use self::web::Web;

use url::Url;

/// A configured base URL with a path behind it.
fn address(base: &str, path: &str) -> Result<Url, WebError> {
    let bad = || WebError::Invalid(format!("{base:?} is not the address of a service"));
    let joined = if path.is_empty() { base.to_owned() } else { format!("{}{path}", base.trim_end_matches('/')) };
    let url = Url::parse(&joined).map_err(|_| bad())?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(url) } else { Err(bad()) }
}
