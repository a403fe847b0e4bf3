//! Turns as the door serves them: streamed, collected, watched again, and how many at once.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{House, released, soon, text_of};

#[tokio::test]
async fn a_turn_is_streamed_collected_and_watched_again() {
    let house = House::open().await;
    let response = house.stream("[[chunks=3]]", "ann").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let turn = response.headers()["x-turn-id"].to_str().unwrap().to_owned();
    let whole = soon(response.text()).await.unwrap();
    assert!(whole.starts_with("id: 1\ndata: ") && whole.ends_with("data: [DONE]\n\n"), "{whole}");
    assert_eq!(text_of(&whole), "t0 t1 t2 ");

    // From any event on, by header or by query, nothing is lost or repeated.
    let frames: Vec<&str> = whole.split_inclusive("\n\n").collect();
    for behind in 0..frames.len() {
        let path = format!("/v1/turns/{turn}/stream");
        let by_header = house.request(Method::GET, &path).header("last-event-id", behind.to_string());
        let by_query = house.request(Method::GET, &format!("{path}?last_event_id={behind}"));
        let last_id = frames
            .iter()
            .filter_map(|frame| frame.strip_prefix("id: ")?.split('\n').next()?.parse().ok())
            .max()
            .unwrap_or(0);
        let expected: String = frames
            .iter()
            .filter(|frame| {
                let id: Option<usize> =
                    frame.strip_prefix("id: ").and_then(|rest| rest.split('\n').next()?.parse().ok());
                id.is_none_or(|id| id > behind)
            })
            .copied()
            .collect();
        assert!(behind <= last_id);
        for request in [by_header, by_query] {
            let again = soon(request.send().await.unwrap().text()).await.unwrap();
            // The role belongs to a stream's first delta, not to an event.
            assert_eq!(again.replace(r#""role":"assistant","#, ""), expected.replace(r#""role":"assistant","#, ""));
        }
    }
    let strict = house.request(Method::GET, &format!("/v1/turns/{turn}/stream")).header("x-service-events", "off");
    assert!(!strict.send().await.unwrap().text().await.unwrap().contains("service."));

    let (status, answer) = house
        .post(
            "/v1/bots/spark/chat",
            &json!({"model": "scripted", "bot_id": "not a slug", "user": "Ann",
            "messages": [{"role": "user", "content": "[[chunks=2]]"}]}),
        )
        .await;
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("t0 t1 ")), "{answer}");
    assert_eq!((&answer["service"]["bot_id"], &answer["service"]["user_id"]), (&json!("spark"), &json!("ann")));
    let (status, answer) = house
        .post(
            "/v1/botchat/spark/Bob/chat/completions",
            &json!({"model": "scripted", "user": 5,
            "messages": [{"role": "user", "content": "[[status=429]]"}]}),
        )
        .await;
    assert_eq!((status, &answer["error"]["type"]), (429, &json!("rate_limit_error")), "{answer}");
    let logs = house.get("/v1/turn-logs?user_id=BOB").await.1;
    assert_eq!(logs["turns"][0]["path"], "/v1/botchat/{bot_id}/{user_id}/chat/completions", "{logs}");
    house.close().await;
}

#[tokio::test]
async fn a_stream_without_a_prompt_fails_inside_and_an_answer_outside() {
    let house = House::open().await;
    let body =
        |stream: bool| json!({"model": "echo", "stream": stream, "messages": [{"role": "system", "content": "x"}]});
    let (status, answer) = house.post("/v1/chat/completions", &body(false)).await;
    assert_eq!((status, &answer["detail"]), (400, &json!("No user message found in request")));
    let response = house.request(Method::POST, "/v1/chat/completions").json(&body(true)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    assert!(text.contains("request_failed: No user message found in request"), "{text}");
    assert!(text.contains(r#""finish_reason":"error""#) && !text.contains("[DONE]"), "{text}");
    assert_eq!(house.get("/v1/turn-logs").await.1["total_count"], 0);
    assert_eq!(house.post("/v1/chat/abort", &json!({"turn_id": "turn-none"})).await.0, 404);
    assert_eq!(house.post("/v1/chat/session/reset", &json!({"bot_id": "nobody"})).await.0, 404);
    let (status, reset) = house.post("/v1/chat/session/reset", &json!({"bot_id": "nova"})).await;
    assert_eq!((status, &reset["ok"], &reset["detail"]), (200, &json!(true), &json!("reset")));
    house.close().await;
}

#[tokio::test]
async fn there_is_room_for_so_many_turns_and_no_more() {
    let house = House::open_with(|config| {
        config.limits.max_turns = 3;
        config.limits.per_user_turns = 2;
    })
    .await;
    house
        .put(
            "/v1/settings",
            &json!({"scope_type": "bot", "scope_id": "spark", "key": "concurrency", "value": "parallel"}),
        )
        .await;
    let held = "[[hold=1]][[chunks=2]]";
    let mut streams = vec![house.stream(held, "ann").await, house.stream(held, "ann").await];
    house.upstream.wait_for_request(2).await;
    let refused = house.stream(held, "ann").await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "2"));
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["type"], "rate_limit_error");
    streams.push(house.stream(held, "bob").await);
    assert_eq!(house.stream(held, "cyd").await.status(), 429);

    // A client that leaves does not free its seat: its turn goes on.
    streams.remove(0);
    house.upstream.wait_for_request(3).await;
    assert_eq!(house.stream(held, "ann").await.status(), 429);
    for stream in streams {
        let text = released(&house.upstream, stream.text()).await.unwrap();
        assert!(text.ends_with("data: [DONE]\n\n"));
    }
    let free = async {
        while house.stream("[[chunks=1]]", "ann").await.status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    soon(free).await;
    house.close().await;
}

#[tokio::test]
async fn the_head_of_a_stream_does_not_wait_for_a_queue() {
    let house = House::open().await;
    house
        .put("/v1/settings", &json!({"scope_type": "bot", "scope_id": "spark", "key": "concurrency", "value": "queue"}))
        .await;
    let first = house.stream("[[hold=1]][[chunks=2]]", "ann").await;
    house.upstream.wait_for_request(1).await;
    let mut second = soon(house.stream("[[chunks=2]]", "ann")).await;
    assert_eq!(second.status(), 200);
    assert_eq!(soon(second.chunk()).await.unwrap().unwrap().as_ref(), b": keepalive\n");
    let text = released(&house.upstream, first.text()).await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"));
    let rest = soon(second.text()).await.unwrap();
    assert!(text_of(&rest) == "t0 t1 " && rest.ends_with("data: [DONE]\n\n"), "{rest}");
    house.close().await;
}

#[tokio::test]
async fn a_crashed_door_opens_again_and_streams_go_on() {
    let house = House::open().await;
    let stream = house.stream("[[hold=1]][[chunks=3]]", "ann").await;
    house.upstream.wait_for_request(1).await;
    house.running.crash_door();
    let restarted = async {
        loop {
            let door = house.running.board().views().into_iter().find(|card| card.name == "http").unwrap();
            if door.restarts == 1 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(restarted).await;
    let fresh = reqwest::Client::new().get(format!("{}/health", house.running.url())).send().await.unwrap();
    assert_eq!(fresh.status(), 200);
    assert_eq!(text_of(&released(&house.upstream, stream.text()).await.unwrap()), "t0 t1 t2 ");
    house.close().await;
}

#[tokio::test]
async fn a_house_that_closes_lets_turns_finish_and_takes_no_more() {
    let house = House::open().await;
    let stream = house.stream("[[hold=1]][[chunks=3]]", "ann").await;
    house.upstream.wait_for_request(1).await;
    let House { running, upstream, client, .. } = house;
    let url = running.url();
    let rooms = running.house().clone();
    let closing = tokio::spawn(running.shutdown());
    let drained = async {
        while !rooms.is_draining() {
            tokio::task::yield_now().await;
        }
    };
    soon(drained).await;
    drop(rooms);
    let late = client.get(format!("{url}/readyz")).timeout(std::time::Duration::from_secs(1)).send().await;
    assert!(late.is_err() || late.unwrap().status() == 503);
    let text = released(&upstream, stream.text()).await.unwrap();
    assert!(text_of(&text) == "t0 t1 t2 " && text.ends_with("data: [DONE]\n\n"), "{text}");
    soon(closing).await.unwrap();
    assert!(client.get(format!("{url}/health")).send().await.is_err());
}
