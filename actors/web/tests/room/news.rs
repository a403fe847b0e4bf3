//! News: pages, doubles, and failures that are failures.

use greenroom_test_support::upstream::WebAnswer;
use greenroom_test_support::upstream::search::news_page;
use greenroom_web::{NewsCategory, NewsOrder, NewsWish, WebError};

use crate::common::{KEYS, header, house, with_keys};

fn search(query: &str, max_results: u32) -> NewsWish {
    NewsWish::Search { query: query.into(), order: NewsOrder::Relevancy, max_results }
}

#[tokio::test]
async fn doubles_are_replaced_by_the_next_page() {
    let house = house(with_keys).await;
    let first = [
        ("One", "https://n.example/1", "a &amp; b"),
        ("one", "https://n.example/2", ""),
        ("[Removed]", "https://n.example/3", ""),
    ];
    house.upstream.web("/news/everything", WebAnswer::json(&news_page(50, &first)));
    let second =
        [("One", "https://n.example/1", ""), ("Two", "https://n.example/4", ""), ("Three", "https://n.example/5", "")];
    house.upstream.web("/news/everything", WebAnswer::json(&news_page(50, &second)));
    let answer = house.web.news(search("rust", 3)).await.unwrap();
    let titles: Vec<_> = answer.articles.iter().map(|article| article.title.as_str()).collect();
    assert_eq!((titles, answer.total), (vec!["One", "Two", "Three"], 50));
    assert_eq!((answer.articles[0].source.as_str(), answer.articles[0].description.as_str()), ("The Daily", "a & b"));
    assert_eq!(answer.articles[0].published.unwrap().to_string(), "2026-03-04T05:06:07Z");
    let asked = house.asked("/news/everything");
    assert_eq!(asked[1].path, "/news/everything?q=rust&sortBy=relevancy&language=en&pageSize=3&page=2");
    assert_eq!(header(&asked[0], "x-api-key"), KEYS[3]);
    house.web.news(search("rust", 3)).await.unwrap();
    assert_eq!(house.asked("/news/everything").len(), 2, "kept");
}

#[tokio::test]
async fn headlines_stop_at_the_end_of_what_there_is() {
    let house = house(with_keys).await;
    house.upstream.web("/news/top-headlines", WebAnswer::json(&news_page(1, &[("One", "https://n.example/1", "")])));
    let wish = NewsWish::Headlines {
        country: "DE".into(),
        category: Some(NewsCategory::Science),
        query: None,
        max_results: 500,
    };
    assert_eq!(house.web.news(wish).await.unwrap().articles.len(), 1);
    assert_eq!(
        house.asked("/news/top-headlines")[0].path,
        "/news/top-headlines?country=de&category=science&pageSize=100&page=1"
    );
    assert_eq!(house.asked("/news/top-headlines").len(), 1);
}

/// tools.md §13.6.
#[tokio::test]
async fn failures_are_failures() {
    for (status, error) in [
        (401, WebError::Unauthorised("NewsAPI".into())),
        (429, WebError::RateLimited { who: "NewsAPI".into(), retry_after: None }),
        (500, WebError::Upstream("NewsAPI has a fault of its own (status 500).".into())),
    ] {
        let house = house(with_keys).await;
        house.upstream.web("/news/everything", WebAnswer::status(status));
        assert_eq!(house.web.news(search("rust", 5)).await, Err(error));
    }
    let house = house(|_| {}).await;
    assert!(!house.web.news_available());
    assert!(matches!(house.web.news(search("rust", 5)).await, Err(WebError::NotConfigured(_))));
}

#[tokio::test]
async fn a_wish_that_makes_no_sense_costs_no_request() {
    let house = house(with_keys).await;
    let bad = NewsWish::Headlines { country: "u&".into(), category: None, query: None, max_results: 5 };
    for wish in [search(" ", 5), bad] {
        assert!(matches!(house.web.news(wish).await, Err(WebError::Invalid(_))));
    }
    assert!(house.upstream.requests().is_empty());
}
