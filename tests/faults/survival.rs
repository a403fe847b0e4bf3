//! PostgreSQL dies, the server is killed or told to end: what was accepted is still there.

use std::time::Duration;

use serde_json::Value;

use crate::client::together;
use crate::server::Server;

#[tokio::test]
async fn a_killed_server_keeps_the_partial_text_and_closes_the_turn_at_boot() {
    let mut server = Server::start().await;
    let mut stream = server.open(&Server::body("[[chunks=9]][[hang=3]]")).await;
    let turn = stream.turn().await;
    stream.until("t2").await;
    // The journal is at most 20 ms behind.
    server.until_turn(&turn, |turn| turn["status"] == "streaming").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.kill().await;
    server.boot().await;
    let (status, log) = server.get(&format!("/v1/turn-logs/{turn}")).await;
    assert_eq!((status, log["status"].as_str()), (200, Some("error")), "{log}");
    assert_eq!(log["response"].as_str(), Some("t0 t1 t2 "));
    assert_eq!(log["error_text"].as_str(), Some("interrupted by restart"));
    let replay = server.attach(&turn, 0).await.finish().await;
    assert_eq!((replay.text().as_str(), replay.status(), replay.is_done()), ("t0 t1 t2 ", "error", false));
    assert_eq!(server.open(&Server::body("[[chunks=2]]")).await.finish().await.status(), "completed");
}

#[tokio::test]
async fn a_stream_goes_on_while_postgresql_is_away_and_the_journal_catches_up() {
    let server = Server::start().await;
    let mut stream = server.open(&Server::body("[[chunks=60]][[delay_ms=20]]")).await;
    let turn = stream.turn().await;
    stream.until("t5 ").await;
    server.kill_postgres();
    let stream = stream.finish().await;
    assert_eq!(stream.status(), "completed");
    assert!(stream.text().contains("t59") && stream.is_done());
    let log = server.until_turn(&turn, |turn| turn["status"] == "ok").await;
    assert_eq!(log["response"].as_str(), Some(stream.text().as_str()));
    let replay = server.attach(&turn, 0).await.finish().await;
    assert_eq!(replay.frames, stream.frames, "nothing lost, nothing twice");
}

#[tokio::test]
async fn while_postgresql_is_away_new_turns_are_refused_and_come_back() {
    let server = Server::start().await;
    assert_eq!(server.open(&Server::body("[[chunks=1]]")).await.finish().await.status(), "completed");
    server.kill_postgres();
    // Either refused with a hint, or accepted and then really completed: never accepted and lost.
    for _ in 0..200 {
        let response = server.post("/v1/chat/completions", &Server::body("[[chunks=1]]")).await;
        if response.status() == 503 {
            assert!(response.headers().contains_key("retry-after"));
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        assert_eq!(response.status(), 200);
        let text = response.text().await.expect("a stream");
        if text.contains("\"completed\"") {
            return;
        }
        assert!(text.contains("storage_unavailable") && !text.contains("[DONE]"), "{text}");
    }
    panic!("the database never came back");
}

#[tokio::test]
async fn a_graceful_end_lets_turns_finish_and_stores_the_rest() {
    let mut server = Server::start().await;
    let mut quick = server.open(&Server::body("[[chunks=40]][[delay_ms=10]]")).await;
    let mut body = Server::body("[[chunks=9]][[hang=2]]");
    body["user"] = "bob".into();
    let mut stuck = server.open(&body).await;
    let stuck_turn = stuck.turn().await;
    stuck.until("t1").await;
    quick.until("t2").await;
    server.ask_to_end();
    let (quick, stuck) = tokio::join!(quick.finish(), stuck.finish());
    assert_eq!((quick.status(), quick.is_done()), ("completed", true));
    assert_eq!((stuck.status(), stuck.is_done()), ("error", false));
    assert_eq!(server.ended().await, Some(0));
    server.boot().await;
    let (_, log) = server.get(&format!("/v1/turn-logs/{stuck_turn}")).await;
    assert_eq!((log["status"].as_str(), log["response"].as_str()), (Some("error"), Some("t0 t1 ")));
}

#[tokio::test]
async fn random_kills_leave_every_turn_with_exactly_one_terminal_status() {
    let mut server = Server::start().await;
    let mut known: Vec<String> = Vec::new();
    for round in 0..4u64 {
        let streams = together((0..6).map(|n| {
            let mut body = Server::body("[[chunks=50]][[delay_ms=4]]");
            body["user"] = format!("user{n}").into();
            let server = &server;
            async move {
                let mut stream = server.open(&body).await;
                stream.turn().await
            }
        }))
        .await;
        // The journal is at most 20 ms behind what was announced, if the machine gives it those.
        for turn in &streams {
            while server.get(&format!("/v1/turn-logs/{turn}")).await.0 != 200 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        known.extend(streams);
        tokio::time::sleep(Duration::from_millis(round * 45)).await;
        server.kill().await;
        server.boot().await;
    }
    let (_, page) = server.get("/v1/turn-logs?limit=200").await;
    let turns = page["turns"].as_array().expect("turns");
    let open: Vec<&Value> = turns.iter().filter(|t| t["status"] == "streaming" || t["status"] == "pending").collect();
    assert!(open.is_empty(), "{open:?}");
    for turn in turns {
        let replay = server.attach(turn["id"].as_str().expect("an id"), 0).await.finish().await;
        let expected = if turn["status"] == "ok" { "completed" } else { turn["status"].as_str().expect("a status") };
        assert_eq!(replay.status(), expected);
    }
    let stored: Vec<&str> = turns.iter().filter_map(|turn| turn["id"].as_str()).collect();
    assert!(known.iter().all(|id| stored.contains(&id.as_str())), "a turn that was announced is not lost");
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let server = Server::start().await;
    let second = tokio::process::Command::new(env!("CARGO_BIN_EXE_greenroom"))
        .args(["serve", "--port", "0", "--data-dir"])
        .arg(server.data_dir())
        .output()
        .await
        .expect("runs");
    let words = [second.stdout, second.stderr].concat();
    let words = String::from_utf8_lossy(&words);
    assert!(words.contains("already running") && !words.contains("listening on"), "{words}");
    assert_eq!(server.open(&Server::body("[[chunks=1]]")).await.finish().await.status(), "completed");
}
