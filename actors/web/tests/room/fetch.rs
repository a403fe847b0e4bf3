//! Fetching pages: kinds, charsets, bounds, redirects, parts, and the browser.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use greenroom_test_support::upstream::search::crawled;
use greenroom_test_support::upstream::{Upstream, WebAnswer};
use greenroom_web::{Crawl4Ai, FetchWish, WebError};
use serde_json::json;

use crate::common::{header, house};

fn article(words: usize) -> String {
    let paragraphs: String =
        (0..words / 10).map(|n| format!("<p>Paragraph {n} has exactly ten words, counting all of them.</p>")).collect();
    format!(
        "<html><head><title>Ten words</title><meta name='description' content='On counting'></head><body>\
         <nav><a href='/'>Start</a></nav><article>{paragraphs}<p>More <a href='/next'>here</a>.</p></article></body></html>"
    )
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_page_is_read_as_markdown_and_kept_for_its_parts() {
    let house = house(|_| {}).await;
    house.upstream.web("/article", WebAnswer::page(article(1_000)));
    let first = house.web.fetch(&FetchWish { max_chars: 1_000, ..house.page("/article#part") }).await.unwrap();
    assert_eq!((first.title.as_deref(), first.description.as_deref()), (Some("Ten words"), Some("On counting")));
    assert!(first.text.starts_with("Paragraph 0 has"), "{}", first.text);
    assert!(first.text.len() <= 1_000 && !first.text.contains("Start"));
    let (mut joined, mut next) = (first.text.clone(), first.next_start);
    while let Some(start) = next {
        let part = house.web.fetch(&FetchWish { start, max_chars: 1_000, ..house.page("/article") }).await.unwrap();
        joined.push_str(&part.text);
        next = part.next_start;
    }
    assert_eq!(joined.chars().count(), first.total_chars);
    assert!(joined.contains("Paragraph 99 has") && joined.contains(&house.upstream.web_url("/next")), "{joined}");
    assert_eq!(house.asked("/article").len(), 1);
    let beyond = FetchWish { start: 1_000_000, ..house.page("/article") };
    assert!(matches!(house.web.fetch(&beyond).await, Err(WebError::Invalid(_))));
}

#[tokio::test]
async fn text_json_and_other_charsets_are_read() {
    let house = house(|_| {}).await;
    house.upstream.web("/plain", WebAnswer::of("text/plain; charset=iso-8859-1", &b"caf\xe9\r\n\r\n\r\nend"[..]));
    assert_eq!(house.web.fetch(&house.page("/plain")).await.unwrap().text, "café\n\nend");
    house.upstream.web("/md", WebAnswer::of("text/markdown", "# Title\n\n* one"));
    assert_eq!(house.web.fetch(&house.page("/md")).await.unwrap().text, "# Title\n\n* one");
    house.upstream.web("/json", WebAnswer::of("application/json", r#"{"a":[1]}"#));
    assert!(house.web.fetch(&house.page("/json")).await.unwrap().text.contains("\"a\": ["));
    let lying = WebAnswer::of(
        "text/html",
        &b"<meta charset=windows-1251><title>\xcf\xf0</title><p>\xcf\xf0\xe8\xe2\xe5\xf2"[..],
    );
    house.upstream.web("/cp1251", lying);
    let page = house.web.fetch(&house.page("/cp1251")).await.unwrap();
    assert_eq!((page.title.as_deref(), page.text.as_str()), (Some("Пр"), "Привет"));
    house.upstream.web("/garbage", WebAnswer::of("text/html; charset=utf-8", &b"<p>a\xff\xfeb</p>"[..]));
    assert!(house.web.fetch(&house.page("/garbage")).await.unwrap().text.starts_with('a'));
    for (path, kind) in [("/png", "image/png"), ("/zip", "application/zip")] {
        house.upstream.web(path, WebAnswer::of(kind, "x"));
        assert!(matches!(house.web.fetch(&house.page(path)).await, Err(WebError::Unsupported(_))), "{kind}");
    }
}

#[tokio::test]
async fn pdf_files_are_read_and_broken_ones_are_refused() {
    let house = house(|_| {}).await;
    house.upstream.web("/doc", WebAnswer::of("application/pdf", pdf()));
    let page = house.web.fetch(&house.page("/doc")).await.unwrap();
    assert_eq!(page.title.as_deref(), Some("Of lines"));
    assert_eq!(page.text, "First line of it.\nSecond line.\n\nA new paragraph.\n\nNext page.");
    for bytes in [&b"%PDF-1.7\ngarbage"[..], b"%PDF-1.7\n1 0 obj\n<</Length 99>>stream\n", &pdf()[..400]] {
        house.upstream.web_instead("/broken", WebAnswer::of("application/pdf", bytes.to_vec()));
        let outcome = house.web.fetch(&house.page("/broken")).await;
        assert!(matches!(outcome, Err(WebError::Unsupported(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn more_than_five_megabytes_are_not_read_packed_or_not() {
    let house = house(|_| {}).await;
    let million = vec![b'a'; 1_000_000];
    house.upstream.web("/long", WebAnswer::of("text/plain", million.clone()).repeated(1_000));
    house.upstream.web("/declared", WebAnswer::of("text/plain", vec![b'a'; 6_000_000]));
    // 100 MB in 100 KB
    let bomb = gzipped(&vec![0; 100_000_000]);
    house.upstream.web("/bomb", WebAnswer::page(bomb).header("content-encoding", "gzip"));
    for path in ["/long", "/declared", "/bomb"] {
        let outcome = house.web.fetch(&house.page(path)).await;
        assert_eq!(outcome, Err(WebError::TooLarge { limit: 5_000_000 }), "{path}");
    }
    let fine = WebAnswer::of("text/plain", gzipped(b"packed")).header("content-encoding", "gzip");
    house.upstream.web("/fine", fine);
    assert_eq!(house.web.fetch(&house.page("/fine")).await.unwrap().text, "packed");
    let packed = gzipped(&million);
    let broken = WebAnswer::of("text/plain", packed[..packed.len() / 2].to_vec()).header("content-encoding", "gzip");
    house.upstream.web("/half", broken);
    assert!(matches!(house.web.fetch(&house.page("/half")).await, Err(WebError::Upstream(_))));
}

#[tokio::test]
async fn redirects_are_followed_five_times() {
    let house = house(|_| {}).await;
    for hop in 0..6 {
        house.upstream.web(&format!("/r/{hop}"), WebAnswer::redirect(301 + hop % 2, &format!("{}", hop + 1)));
    }
    house.upstream.web("/r/6", WebAnswer::page("<title>There</title><p>arrived"));
    let page = house.web.fetch(&house.page("/r/1")).await.unwrap();
    assert_eq!((page.url, page.text.as_str()), (house.upstream.web_url("/r/6"), "arrived"));
    assert!(matches!(house.web.fetch(&house.page("/r/0")).await, Err(WebError::Upstream(_))));
    house.upstream.web("/nowhere", WebAnswer::status(302));
    assert!(matches!(house.web.fetch(&house.page("/nowhere")).await, Err(WebError::Upstream(_))));
}

#[tokio::test]
async fn every_failure_has_its_kind() {
    let house = house(|_| {}).await;
    house.upstream.web("/403", WebAnswer::status(403));
    house.upstream.web("/404", WebAnswer::status(404));
    house.upstream.web("/429", WebAnswer::status(429).header("retry-after", "7"));
    house.upstream.web("/500", WebAnswer::status(500));
    house.upstream.web("/cut", WebAnswer::page("<p>begin").then_cut());
    let who = || "127.0.0.1".to_owned();
    let expected = [
        ("/403", WebError::Unauthorised(who())),
        ("/404", WebError::NotFound(who())),
        ("/429", WebError::RateLimited { who: who(), retry_after: Some(Duration::from_secs(7)) }),
        ("/500", WebError::Upstream("127.0.0.1 has a fault of its own (status 500).".into())),
        ("/cut", WebError::Upstream("The connection to 127.0.0.1 broke off.".into())),
    ];
    for (path, error) in expected {
        assert_eq!(house.web.fetch(&house.page(path)).await, Err(error), "{path}");
    }
}

#[tokio::test]
async fn a_page_that_never_ends_is_left() {
    let house = house(|settings| settings.fetch_timeout = Duration::from_secs(1)).await;
    house.upstream.web("/hang", WebAnswer::hang());
    house.upstream.web("/slow", WebAnswer::page("<p>begin").then_hang());
    let (hang, slow) = (house.page("/hang"), house.page("/slow"));
    let outcomes = tokio::join!(house.web.fetch(&hang), house.web.fetch(&slow));
    let late = || Err(WebError::Timeout("127.0.0.1".into()));
    assert_eq!(outcomes, (late(), late()));
    house.upstream.wait_for_abort().await;
}

#[tokio::test]
async fn the_browser_fetches_when_it_is_there() {
    let browser = Upstream::start().await;
    browser.web("/health", WebAnswer::json(&json!({"status": "ok"})));
    let settings = Crawl4Ai { url: browser.web_url("/"), token: Some("crawl-token".into()) };
    let house = house(|own| own.crawl4ai = Some(settings)).await;
    let url = house.upstream.web_url("/app");
    browser.web("/crawl", WebAnswer::json(&crawled(&url, "An app", "Rendered ![x](i.png) text")));
    let page = house.web.fetch(&house.page("/app")).await.unwrap();
    assert_eq!((page.title.as_deref(), page.text.as_str()), (Some("An app"), "Rendered  text"));
    assert!(house.upstream.requests().is_empty() && page.notes.is_empty());
    let request = browser.requests().into_iter().find(|request| request.path == "/crawl").unwrap();
    assert_eq!(header(&request, "authorization"), "Bearer crawl-token");
    assert_eq!(request.body["urls"], json!([url]));
    assert_eq!(request.body["crawler_config"]["params"]["cache_mode"], "bypass");
}

#[tokio::test]
async fn without_its_browser_a_page_is_fetched_directly_and_says_so() {
    let browser = Upstream::start().await;
    let settings = Crawl4Ai { url: browser.web_url(""), token: None };
    let house = house(|own| own.crawl4ai = Some(settings)).await;
    house.upstream.web("/a", WebAnswer::page("<p>plain a"));
    house.upstream.web("/b", WebAnswer::page("<p>plain b"));
    house.upstream.web("/c", WebAnswer::page("<p>plain c"));
    browser.web("/health", WebAnswer::status(200));
    browser.web(
        "/crawl",
        WebAnswer::json(&json!({"success": true, "results": [{"success": false, "error_message": "x"}]})),
    );
    let page = house.web.fetch(&house.page("/a")).await.unwrap();
    assert_eq!((page.text.as_str(), page.notes.len()), ("plain a", 1));
    // a fault of its own makes it count as gone for a while
    browser.web_instead("/crawl", WebAnswer::status(500));
    assert_eq!(house.web.fetch(&house.page("/b")).await.unwrap().text, "plain b");
    assert!(!house.web.crawl4ai_available().await);
    assert_eq!(house.web.fetch(&house.page("/c")).await.unwrap().text, "plain c");
    assert_eq!(browser.requests().iter().filter(|request| request.path == "/crawl").count(), 2);
}

/// Two pages in the way that programs write them: lines by `Td`, `T*` and `Tm`, gaps by numbers in `TJ`.
fn pdf() -> Vec<u8> {
    let pages = [
        "BT /F1 12 Tf 14 TL 72 700 Td (First line ) Tj [(of) -300 (i) 20 (t.)] TJ T* (Second line.) Tj \
         1 0 0 1 72 600 Tm (A new paragraph.) Tj ET",
        "BT /F1 12 Tf 72 700 Td (Next page.) Tj ET",
    ];
    let mut objects = vec![
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[4 0 R 6 0 R]/Count 2/Resources<</Font<</F1 3 0 R>>>>>>".to_owned(),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>".to_owned(),
    ];
    for (index, content) in pages.iter().enumerate() {
        objects.push(format!("<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {} 0 R>>", 5 + index * 2));
        objects.push(format!("<</Length {}>>\nstream\n{content}\nendstream", content.len()));
    }
    objects.push("<</Title(Of lines)>>".to_owned());
    let mut file = "%PDF-1.4\n".to_owned();
    let mut offsets = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        offsets.push(file.len());
        file.push_str(&format!("{} 0 obj\n{object}\nendobj\n", index + 1));
    }
    let start = file.len();
    file.push_str(&format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1));
    for offset in offsets {
        file.push_str(&format!("{offset:010} 00000 n \n"));
    }
    file.push_str(&format!(
        "trailer\n<</Size {}/Root 1 0 R/Info 8 0 R>>\nstartxref\n{start}\n%%EOF\n",
        objects.len() + 1
    ));
    file.into_bytes()
}
