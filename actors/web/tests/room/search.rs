//! Searching: what each provider is sent, what becomes of its answers, and who is asked next.

use std::time::Duration;

use greenroom_test_support::upstream::WebAnswer;
use greenroom_test_support::upstream::search::{
    brave_web, duckduckgo_challenge, duckduckgo_page, reddit_listing, reddit_token, tavily,
};
use greenroom_web::{SafeSearch, SearchKind, SearchProvider, SearchWish, TimeRange, WebError};
use serde_json::json;

use crate::common::{KEYS, header, house, wish, wish_of, with_keys};

const HIT: (&str, &str, &str) = ("A &amp; <b>B</b>", "https://a.example/x?y=1&z", "One <strong>two</strong> &lt;3");

#[tokio::test]
async fn duckduckgo_answers_without_any_key() {
    let house = house(|settings| settings.region = Some("de-de".into())).await;
    house.upstream.web("/ddg", WebAnswer::page(duckduckgo_page(&[HIT, ("C", "https://c.example/", "three"), HIT])));
    assert_eq!(house.web.search_availability().providers, [SearchProvider::DuckDuckGo]);
    assert_eq!(house.web.search_availability().missing.len(), 3);

    let wish = SearchWish { time_range: Some(TimeRange::Week), ..wish_of(SearchKind::News, "  rust\n web ") };
    let answer = house.web.search(&wish).await.unwrap();
    assert_eq!(answer.provider, SearchProvider::DuckDuckGo);
    assert!(answer.notes.is_empty());
    let titles: Vec<_> = answer.hits.iter().map(|hit| hit.title.as_str()).collect();
    assert_eq!(titles, ["A & B", "C"], "no advertisement, each address once");
    assert_eq!(answer.hits[0].url, "https://a.example/x?y=1&z");
    assert_eq!(answer.hits[0].snippet, "One two <3");
    let form = house.asked("/ddg")[0].body.clone();
    assert_eq!(form, json!("q=rust+web+news&kl=de-de&df=w"));
}

#[tokio::test]
async fn no_hits_are_an_answer_and_no_error() {
    let house = house(|_| {}).await;
    house.upstream.web("/ddg", WebAnswer::page(duckduckgo_page(&[])));
    assert!(house.web.search(&wish("xyzzy")).await.unwrap().hits.is_empty());
}

#[tokio::test]
async fn brave_is_asked_within_its_limits() {
    let house = house(|settings| {
        with_keys(settings);
        settings.provider = Some(SearchProvider::Brave);
        settings.safe_search = SafeSearch::Strict;
        settings.region = Some("us-en".into());
    })
    .await;
    let mut found = brave_web(&[HIT]);
    found["web"]["results"][0]["extra_snippets"] = json!(["four", "five", "six"]);
    house.upstream.web("/brave/web/search", WebAnswer::json(&found));
    let news = json!({"type": "news", "results": [{"title": "N", "url": "https://n.example/", "description": "d", "age": "2 hours ago"}]});
    house.upstream.web("/brave/news/search", WebAnswer::json(&news));

    let wish = SearchWish { max_results: Some(99), time_range: Some(TimeRange::Month), ..wish("rust & co") };
    let answer = house.web.search(&wish).await.unwrap();
    assert_eq!(answer.hits[0].title, "A & B");
    assert_eq!(answer.hits[0].snippet, "One two <3 four five");
    let request = &house.asked("/brave/web/search")[0];
    assert_eq!(request.path, "/brave/web/search?q=rust+%26+co&count=20&safesearch=strict&country=US&freshness=pm");
    assert_eq!(header(request, "x-subscription-token"), KEYS[0]);

    let answer = house.web.search(&wish_of(SearchKind::News, "rust")).await.unwrap();
    assert_eq!(answer.hits[0].snippet, "[2 hours ago] d");
}

#[tokio::test]
async fn tavily_is_asked_by_our_own_hand() {
    let house = house(|settings| {
        with_keys(settings);
        settings.include_answer = true;
    })
    .await;
    house
        .upstream
        .web("/tavily/search", WebAnswer::json(&tavily(&[("T", "https://t.example/", "text")], Some("Forty\ntwo"))));
    let wish = SearchWish { time_range: Some(TimeRange::Year), ..wish_of(SearchKind::News, "answer") };
    let answer = house.web.search(&wish).await.unwrap();
    assert_eq!((answer.provider, answer.summary.as_deref()), (SearchProvider::Tavily, Some("Forty two")));
    assert_eq!(answer.hits[0].score, Some(0.87));
    let request = &house.asked("/tavily/search")[0];
    assert_eq!(header(request, "authorization"), format!("Bearer {}", KEYS[1]));
    let sent = json!({"query": "answer", "max_results": 5, "search_depth": "basic", "include_answer": true,
        "topic": "news", "time_range": "year"});
    assert_eq!(request.body, sent);
}

#[tokio::test]
async fn reddit_is_asked_for_reddit_and_renews_its_token_once() {
    let house = house(with_keys).await;
    house.upstream.web("/reddit/token", WebAnswer::json(&reddit_token("old")));
    house.upstream.web("/reddit/token", WebAnswer::json(&reddit_token("new")));
    house.upstream.web("/reddit/search", WebAnswer::status(401));
    let listing = reddit_listing(&[("Post &lt;", "/r/rust/comments/1/post/", "First line\nsecond line")]);
    house.upstream.web("/reddit/search", WebAnswer::json(&listing));

    let wish = SearchWish { time_range: Some(TimeRange::Day), ..wish_of(SearchKind::Reddit, "latest async") };
    let answer = house.web.search(&wish).await.unwrap();
    assert_eq!(answer.provider, SearchProvider::Reddit);
    assert_eq!(answer.hits[0].url, "https://www.reddit.com/r/rust/comments/1/post/");
    assert_eq!(answer.hits[0].snippet, "r/rust | score 42 | 7 comments | 2026-01-01 | First line second line");
    let searches = house.asked("/reddit/search");
    assert_eq!(header(&searches[0], "authorization"), "Bearer old");
    assert_eq!(header(&searches[1], "authorization"), "Bearer new");
    assert_eq!(header(&searches[1], "user-agent"), "greenroom-test/1");
    assert!(searches[1].path.contains("q=latest+async&sort=new&t=day&limit=25&"), "{}", searches[1].path);
    assert_eq!(house.asked("/reddit/token").len(), 2);

    house.web.search(&wish_of(SearchKind::Reddit, "async")).await.unwrap();
    assert_eq!(house.asked("/reddit/token").len(), 2, "the token is kept");
    assert!(house.asked("/reddit/search")[2].path.contains("sort=relevance&t=all"));
}

/// tools.md §14.10; also that a provider which wants a pause gets one.
#[tokio::test]
async fn a_provider_that_is_rate_limited_is_followed_by_the_next_with_a_note() {
    let house = house(|settings| {
        with_keys(settings);
        settings.tavily_key = None;
    })
    .await;
    house.upstream.web("/brave/web/search", WebAnswer::status(429));
    house.upstream.web("/ddg", WebAnswer::page(duckduckgo_page(&[HIT])));

    let answer = house.web.search(&wish("one")).await.unwrap();
    assert_eq!(answer.provider, SearchProvider::DuckDuckGo);
    assert_eq!(answer.notes, ["Brave failed: Brave is not to be asked again so soon."]);
    let answer = house.web.search(&wish("two")).await.unwrap();
    assert!(answer.notes[0].starts_with("Brave was left out for "), "{:?}", answer.notes);
    assert_eq!(house.asked("/brave/web/search").len(), 1);
}

#[tokio::test]
async fn refusals_faults_and_garbage_lead_to_the_next_provider() {
    let answers = [
        WebAnswer::status(401),
        WebAnswer::status(503),
        WebAnswer::of("application/json", "{\"results\": [{"),
        WebAnswer::of("application/json", vec![b'x'; 100_000]).repeated(1_000),
        WebAnswer::of("application/json", "{\"results\":").then_cut(),
    ];
    for (number, fault) in answers.into_iter().enumerate() {
        let house = house(with_keys).await;
        house.upstream.web("/tavily/search", fault);
        house.upstream.web("/brave/web/search", WebAnswer::json(&brave_web(&[HIT])));
        let answer = house.web.search(&wish("q")).await.unwrap();
        assert_eq!(answer.provider, SearchProvider::Brave, "{number}");
        assert!(answer.notes[0].starts_with("Tavily failed: "), "{number}: {:?}", answer.notes);
    }
}

/// Silence takes a provider's own time and leaves some for the next.
#[tokio::test]
async fn a_provider_that_hangs_is_left() {
    let house = house(|settings| {
        with_keys(settings);
        settings.search_timeout = Duration::from_secs(2);
    })
    .await;
    house.upstream.web("/tavily/search", WebAnswer::hang());
    house.upstream.web("/brave/web/search", WebAnswer::json(&brave_web(&[HIT])));
    let answer = house.web.search(&wish("q")).await.unwrap();
    assert_eq!(answer.notes, ["Tavily failed: Tavily did not answer in time."]);
    house.upstream.wait_for_abort().await;
}

#[tokio::test]
async fn when_all_fail_the_first_failure_is_told_and_no_key_is() {
    let house = house(with_keys).await;
    house.upstream.web("/tavily/search", WebAnswer::status(401));
    house.upstream.web("/brave/web/search", WebAnswer::status(500));
    house.upstream.web("/ddg", WebAnswer::page(duckduckgo_challenge()).header("x-status", "202"));
    let error = house.web.search(&wish("q")).await.unwrap_err();
    assert_eq!(error, WebError::Unauthorised("Tavily".into()));
    let told = format!("{error} {error:?} {:?}", house.web);
    assert!(KEYS.iter().all(|key| !told.contains(key)), "{told}");
    assert!(house.upstream.requests().iter().all(|request| KEYS.iter().all(|key| !request.path.contains(key))));
}

#[tokio::test]
async fn a_redirecting_service_is_not_followed() {
    let house = house(|settings| settings.tavily_key = Some(KEYS[1].into())).await;
    house.upstream.web("/tavily/search", WebAnswer::redirect(307, "/elsewhere"));
    house.upstream.web("/ddg", WebAnswer::page(duckduckgo_page(&[HIT])));
    house.web.search(&wish("q")).await.unwrap();
    assert!(house.asked("/elsewhere").is_empty(), "a key would have gone with it");
}

#[tokio::test]
async fn equal_searches_are_one_also_at_the_same_time() {
    let house = house(|_| {}).await;
    house.upstream.web("/ddg", WebAnswer::page(duckduckgo_page(&[HIT])));
    let (same, spaced) = (wish("rust web"), wish(" rust  web"));
    let (first, second) = tokio::join!(house.web.search(&same), house.web.search(&spaced));
    assert_eq!(first.unwrap(), second.unwrap());
    house.web.search(&same).await.unwrap();
    assert_eq!(house.asked("/ddg").len(), 1);
    house.web.search(&wish("rust")).await.unwrap();
    assert_eq!(house.asked("/ddg").len(), 2);
}

#[tokio::test]
async fn a_provider_without_credentials_is_noted() {
    let house = house(|settings| settings.provider = Some(SearchProvider::Brave)).await;
    house.upstream.web("/ddg", WebAnswer::page(duckduckgo_page(&[HIT])));
    let answer = house.web.search(&wish("q")).await.unwrap();
    assert_eq!(answer.notes, ["Brave is set as the search provider but has no credentials."]);
}

#[tokio::test]
async fn a_query_that_is_none_is_refused_without_a_request() {
    let house = house(|_| {}).await;
    for query in ["", " \n", &"x".repeat(401)] {
        assert!(matches!(house.web.search(&wish(query)).await, Err(WebError::Invalid(_))));
    }
    assert!(house.upstream.requests().is_empty());
}
