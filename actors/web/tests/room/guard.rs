//! No request to an address that is not public, in whatever disguise it comes.

use greenroom_test_support::upstream::WebAnswer;
use greenroom_test_support::upstream::search::crawled;
use greenroom_web::{AllowList, Crawl4Ai, FetchWish, WebError};

use crate::common::house;

fn at(url: String) -> FetchWish {
    FetchWish { url, start: 0, max_chars: 1_000 }
}

fn is_refused(outcome: &Result<greenroom_web::Page, WebError>) -> bool {
    matches!(outcome, Err(WebError::Refused(_)))
}

/// tools.md §14.11.
#[tokio::test]
async fn loopback_and_metadata_addresses_are_refused_before_any_connection() {
    let house = house(|settings| settings.allow = AllowList::default()).await;
    let port = house.upstream.address().port();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "169.254.169.254", "0.0.0.0"] {
        let outcome = house.web.fetch(&at(format!("http://{host}:{port}/secret"))).await;
        assert!(is_refused(&outcome), "{host}: {outcome:?}");
        let outcome = house.web.fetch(&at(format!("http://{host}/secret"))).await;
        assert!(is_refused(&outcome), "{host}: {outcome:?}");
    }
    assert_eq!(house.upstream.accepted_connections(), 0);
}

#[tokio::test]
async fn a_redirect_is_judged_like_a_first_address() {
    let house = house(|_| {}).await;
    let port = house.upstream.address().port();
    let inner = [
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        format!("http://localhost:{port}/secret"),
        format!("//[::1]:{port}/secret"),
        "file:///etc/passwd".to_owned(),
        format!("http://user:pass@127.0.0.1:{port}/secret"),
        "http://10.0.0.1/".to_owned(),
    ];
    for (number, target) in inner.iter().enumerate() {
        let path = format!("/hop/{number}");
        house.upstream.web(&path, WebAnswer::redirect(302, target));
        let outcome = house.web.fetch(&house.page(&path)).await;
        assert!(is_refused(&outcome), "{target}: {outcome:?}");
    }
    assert!(house.asked("/secret").is_empty());
}

#[tokio::test]
async fn the_browser_is_sent_to_public_addresses_only_and_believed_about_them_only() {
    let upstream_only = house(|_| {}).await;
    let url = upstream_only.upstream.web_url("");
    let guarded = house(|settings| {
        settings.crawl4ai = Some(Crawl4Ai { url: url.clone(), token: None });
    })
    .await;
    let browser = &upstream_only.upstream;
    browser.web("/health", WebAnswer::json(&serde_json::json!({"status": "ok"})));
    browser.web("/crawl", WebAnswer::json(&crawled("http://169.254.169.254/latest/", "Keys", "secret key material")));

    for url in ["http://10.0.0.1/", "http://localhost/", "http://[fd00::1]/"] {
        assert!(is_refused(&guarded.web.fetch(&at(url.into())).await), "{url}");
    }
    assert!(browser.requests().is_empty(), "nothing was handed over");
    // an address that may be fetched, from which the browser was led astray
    let outcome = guarded.web.fetch(&guarded.page("/fine")).await;
    assert!(is_refused(&outcome), "{outcome:?}");
    assert!(guarded.upstream.requests().is_empty());
}
