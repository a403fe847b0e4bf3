//! DuckDuckGo's plain pages, read as a browser without scripts would. Best effort: there is no contract behind them, so a
//! page that looks different is an error and never an empty result.

use std::time::Duration;

use dom_query::Selection;
use reqwest::Client;
use url::{Url, form_urlencoded};

use super::{Found, Hit, Question};
use crate::address;
use crate::error::WebError;
use crate::fetch::html;
use crate::settings::{SafeSearch, WebSettings};
use crate::transport::{self, Transport};

const WHO: &str = "DuckDuckGo";

pub(super) struct DuckDuckGo {
    client: Client,
    url: Url,
    region: String,
    safe_search: SafeSearch,
    timeout: Duration,
}

impl DuckDuckGo {
    pub(super) fn new(settings: &WebSettings, transport: &Transport) -> Result<Self, WebError> {
        let url = address(&settings.addresses.duckduckgo, "")?;
        Ok(Self {
            client: transport.service(&url).clone(),
            url,
            region: settings.region.clone().unwrap_or_else(|| "wt-wt".into()),
            safe_search: settings.safe_search,
            timeout: settings.search_timeout,
        })
    }

    pub(super) async fn search(&self, question: &Question) -> Result<Found, WebError> {
        let request = self
            .client
            .post(self.url.clone())
            .header("accept", "text/html")
            .header("accept-encoding", "gzip")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("referer", self.url.as_str())
            .body(self.form(question));
        let page = match transport::text(request, WHO, self.timeout).await {
            Err(WebError::Unauthorised(_)) => return Err(challenged()),
            page => page?,
        };
        let read = tokio::task::spawn_blocking(move || read_page(&String::from_utf8_lossy(&page))).await;
        read.unwrap_or_else(|_| Err(strange()))
    }

    fn form(&self, question: &Question) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("q", &question.query_with_kind()).append_pair("kl", &self.region);
        form.append_pair("df", question.time_range.map_or("", super::TimeRange::letter));
        match self.safe_search {
            SafeSearch::Off => form.append_pair("kp", "-2"),
            SafeSearch::Moderate => &mut form,
            SafeSearch::Strict => form.append_pair("kp", "1"),
        };
        form.finish()
    }
}

fn challenged() -> WebError {
    WebError::RateLimited { who: WHO.into(), retry_after: None }
}

fn strange() -> WebError {
    WebError::Upstream(format!("{WHO} answered with a page of an unknown form."))
}

fn read_page(page: &str) -> Result<Found, WebError> {
    let document = html::parse(page).ok_or_else(strange)?;
    if document.select("[class*='anomaly'], #challenge-form, form[action*='anomaly']").exists() {
        return Err(challenged());
    }
    let results = document.select(".result");
    if results.is_empty() && !document.select(".no-results").exists() {
        return Err(strange());
    }
    Ok(Found::of(results.iter().filter_map(|result| hit(&result))))
}

fn hit(result: &Selection<'_>) -> Option<Hit> {
    if result.has_class("result--ad") {
        return None;
    }
    let link = result.select_single("a.result__a");
    let url = target(&link.attr("href")?)?;
    Hit::of_text(&link.text(), url.as_str(), &result.select_single(".result__snippet").text())
}

/// Where a link of a result page leads; nothing for advertisements and links into the page itself.
fn target(href: &str) -> Option<Url> {
    let page = Url::parse("https://duckduckgo.com/").ok()?;
    let url = page.join(href).ok()?;
    let own =
        |url: &Url| url.host_str().is_some_and(|host| host == "duckduckgo.com" || host.ends_with(".duckduckgo.com"));
    if !own(&url) {
        return Some(url);
    }
    let (_, wrapped) = url.query_pairs().find(|(name, _)| name == "uddg")?;
    Url::parse(&wrapped).ok().filter(|url| !own(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_form_is_an_error_and_no_empty_result() {
        assert!(matches!(read_page("<html><body>Hello</body></html>"), Err(WebError::Upstream(_))));
        let challenge = "<form id=challenge-form><div class='anomaly-modal__title'>bots</div></form>";
        assert!(matches!(read_page(challenge), Err(WebError::RateLimited { .. })));
        let nothing = "<div class='result result--no-result'><div class='no-results'>No results.</div></div>";
        assert!(read_page(nothing).unwrap().hits.is_empty());
    }

    #[test]
    fn links_are_unwrapped_and_advertisements_dropped() {
        assert_eq!(
            target("//duckduckgo.com/l/?uddg=https%3A%2F%2Fa.org%2Fx%3Fy%3D1%26z&rut=0").unwrap().as_str(),
            "https://a.org/x?y=1&z"
        );
        assert_eq!(target("https://b.org/").unwrap().as_str(), "https://b.org/");
        assert!(target("//duckduckgo.com/l/?uddg=https%3A%2F%2Fduckduckgo.com%2Fy.js%3Fad_domain%3Dx").is_none());
        assert!(target("/settings").is_none());
    }
}
