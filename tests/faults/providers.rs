//! Providers that refuse, hang, break off or talk nonsense, as seen by a client of the server.

use serde_json::{Value, json};

use crate::server::Server;

#[tokio::test]
async fn failures_have_honest_statuses_when_not_streaming() {
    let server = Server::start().await;
    for (n, (prompt, status, code)) in [
        ("[[status=401]]", 502, "provider_auth"),
        ("[[status=400]]", 400, "provider_refused"),
        ("[[retry_after=3600]]", 429, "rate_limit_exceeded"),
        ("[[hang_headers]]", 504, "provider_timeout"),
        ("[[chunks=9]][[cut=3]]", 502, "provider_interrupted"),
        ("[[garbage=0]]", 502, "provider_interrupted"),
    ]
    .into_iter()
    .enumerate()
    {
        // A model of its own for each, so that no circuit opened by one is seen by the next.
        let alias = format!("model{n}");
        server.define(&alias, &server.upstream.base_url()).await;
        let mut body = Server::body(prompt);
        (body["stream"], body["model"], body["user"]) = (false.into(), alias.clone().into(), alias.into());
        let answer = server.post("/v1/chat/completions", &body).await;
        let found = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((found, value["error"]["code"].as_str()), (status, Some(code)), "{prompt}: {text}");
    }
}

#[tokio::test]
async fn a_broken_stream_ends_broken() {
    let server = Server::start().await;
    for prompt in
        ["[[chunks=9]][[cut=3]]", "[[chunks=9]][[end=3]]", "[[chunks=9]][[error=3]]", "[[chunks=9]][[garbage=3]]"]
    {
        let stream = server.open(&Server::body(prompt)).await.finish().await;
        assert_eq!((stream.text().as_str(), stream.status()), ("t0 t1 t2 ", "error"), "{prompt}");
        assert!(!stream.is_done(), "{prompt}");
        let last_chunk = stream.of_kind("chat.completion.chunk").last().copied().cloned().expect("a chunk");
        assert_eq!(last_chunk["choices"][0]["finish_reason"], "error", "{prompt}");
        assert!(last_chunk["error"]["message"].is_string(), "{prompt}");
        let warning = stream.of_kind("service.warning").last().copied().cloned().expect("a warning");
        assert!(
            warning["warnings"][0].as_str().is_some_and(|text| text.starts_with("stream_interrupted: ")),
            "{prompt}"
        );
    }
}

#[tokio::test]
async fn a_provider_that_nobody_runs_is_told_as_unavailable() {
    let server = Server::start().await;
    server.define("refused", &greenroom_test_support::upstream::refusing_base_url().expect("an address")).await;
    let mut body = Server::body("hello");
    (body["stream"], body["model"]) = (false.into(), "refused".into());
    let answer = server.post("/v1/chat/completions", &body).await;
    assert_eq!(answer.status(), 502);
    let text = answer.text().await.expect("a body");
    assert!(text.contains("provider_unavailable") && !text.contains("127.0.0.1"), "no addresses in answers: {text}");
    // The prompt was accepted, so it is in the log with its failure.
    let (_, page) = server.get("/v1/turn-logs?status=error").await;
    assert_eq!(page["total_count"], 1);
}

#[tokio::test]
async fn odd_streams_are_read_right() {
    let server = Server::start().await;
    for prompt in [
        "[[unicode=12]][[split=1]]",
        "[[chunks=5]][[crlf]][[noise]]",
        "[[chunks=5]][[no_done]]",
        "[[chunks=5]][[usage=every]]",
    ] {
        let stream = server.open(&Server::body(prompt)).await.finish().await;
        assert_eq!(stream.status(), "completed", "{prompt}");
        assert!(!stream.text().contains('\u{fffd}') && !stream.text().is_empty(), "{prompt}");
    }
    let stream = server.open(&Server::body("[[chunks=5]][[finish=length]]")).await.finish().await;
    let last = stream.of_kind("chat.completion.chunk").last().copied().cloned().expect("a chunk");
    assert_eq!(last["choices"][0]["finish_reason"], "length", "the provider's own reason is passed on");
    let mut body = Server::body("[[chunks=5]]");
    body["stream_options"] = json!({"include_usage": true});
    let stream = server.open(&body).await.finish().await;
    let usage = stream.values().find(|frame| frame["choices"].as_array().is_some_and(Vec::is_empty)).expect("usage");
    assert!(usage["usage"]["total_tokens"].as_u64().is_some_and(|total| total > 0));
}
