//! Memory and background work when PostgreSQL dies under them, when the server is killed in the middle of a job, and when an
//! import is cut off on both sides: what was accepted is there once, and what was not done is told and done again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Server, http};
use greenroom_test_support::upstream::{Gate, Script};

/// Vectors without weights; the scripted model works behind the scenes, and the scheduler at once.
const SETTINGS: &str = "[embedder]\nmodel = \"test-hash\"\n[memory]\nextraction_model = \"patient\"\n[scheduler]\ncheck_interval = \"200ms\"\n";
/// Words of the prompt that asks for facts.
const FACTS: &str = "Find what is worth remembering about the user";

async fn start() -> Server {
    let server = Server::start_with(SETTINGS).await;
    // A model that may think as long as it likes.
    let body = json!({"type": "openai", "model_id": "patient", "extra": {"base_url": server.upstream.base_url(),
        "api_key": "scripted", "context_window": 32000, "max_tokens": 4096}});
    let answer = http().put(format!("{}/v1/models/definitions/patient", server.url)).json(&body).send().await;
    assert!(answer.expect("an answer").status().is_success());
    server.upstream.default_script(Script::text("Noted."));
    server
}

fn record(n: usize) -> String {
    let at = format!("2024-03-01T{:02}:{:02}:00Z", n / 60 % 24, n % 60);
    json!({"kind": "message", "bot_id": "nova", "role": "user", "user_id": "ann", "id": format!("record {n}"),
        "content": format!("number {n} of the harvest"), "at": at})
    .to_string()
}

async fn send(server: &Server, lines: String) -> (u16, bool, Value) {
    let request = http().post(format!("{}/v1/import", server.url)).header("content-type", "application/x-ndjson");
    let answer = request.body(lines).send().await.expect("an answer");
    let (status, hint) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
    (status, hint, answer.json().await.unwrap_or(Value::Null))
}

async fn post(server: &Server, path: &str, body: &Value) -> (u16, bool, Value) {
    let answer = server.post(path, body).await;
    let (status, hint) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
    (status, hint, answer.json().await.unwrap_or(Value::Null))
}

/// Looks again and again until there is something, at most 60 s.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// The runs of extraction for Nova, oldest first.
async fn runs(server: &Server) -> Vec<Value> {
    let path = "/v1/jobs/runs?job_type=memory_extraction&bot_id=nova&include_result=true";
    let (_, page) = server.get(path).await;
    page["runs"].as_array().into_iter().flatten().rev().cloned().collect()
}

/// Ann has told something, and the model has been asked for facts about it but does not answer until the gate opens.
async fn asked_for_facts(server: &Server) -> Gate {
    let facts = json!({"facts": [{"content": "The user keeps bees.", "importance": 0.9, "source_indexes": [1]}]});
    let (script, gate) = Script::text(&facts.to_string()).gated();
    server.upstream.script_for(FACTS, script);
    let body = json!({"model": "patient", "bot_id": "nova", "user": "ann",
        "messages": [{"role": "user", "content": "I keep bees behind the house"}]});
    let (status, _, answer) = post(server, "/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    let turn = answer["service"]["turn_id"].as_str().expect("a turn").to_owned();
    server.until_turn(&turn, |turn| turn["status"] == "ok").await;
    until("a scheduler that leads", async || {
        let begun = post(server, "/v1/jobs/memory_extraction/trigger", &json!({"bot_id": "nova"})).await;
        (begun.0 == 200).then_some(())
    })
    .await;
    until("the question", async || (!server.upstream.requests_with(FACTS).is_empty()).then_some(())).await;
    gate
}

/// Neither learnt nor lost: the message that tells of the bees waits to be read (again), or a memory tells of them.
async fn nothing_is_lost(server: &Server) {
    let (_, known) = server.get("/v1/memory?bot_id=nova").await;
    let (_, page) = server.get("/v1/history?bot_id=nova").await;
    let told = &page["messages"][0];
    assert_eq!(
        (told["content"].as_str(), &page["total_count"]),
        (Some("I keep bees behind the house"), &json!(2)),
        "{page}"
    );
    let id = told["id"].as_str().expect("an id");
    let (_, message) = server.get(&format!("/v1/memory/message?bot_id=nova&message_id={id}")).await;
    let learnt = known["total_count"] == 1;
    assert_eq!(message["message"]["processed"] == true, learnt, "{known} {message}");
}

#[tokio::test]
async fn stores_and_searches_meet_an_outage_and_nothing_is_lost_or_stored_twice() {
    let server = start().await;
    let (status, _, outcome) = send(&server, (0..5).map(|n| record(n) + "\n").collect()).await;
    assert_eq!((status, &outcome["stored"]["messages"]), (200, &json!(5)), "{outcome}");
    server.kill_postgres();
    for n in 5..25 {
        until("a store that is accepted", async || {
            let (status, hint, outcome) = send(&server, record(n)).await;
            if status == 200 && outcome["failed"] == 0 {
                let count = |name: &str| outcome[name]["messages"].as_u64().unwrap_or_default();
                assert_eq!(count("stored") + count("known"), 1, "{outcome}");
                return Some(());
            }
            assert!(status == 503 && hint, "{status} {outcome}");
            None
        })
        .await;
        for (path, body) in [
            ("/v1/history/search", json!({"query": "harvest", "bot_id": "nova"})),
            ("/v1/memory/search", json!({"query": "harvest", "bot_id": "nova"})),
        ] {
            let (status, hint, answer) = post(&server, path, &body).await;
            assert!(status == 200 || (status == 503 && hint), "{path}: {status} {answer}");
            assert!(!answer.to_string().contains("SELECT"), "{answer}");
        }
        for (path, away) in [
            ("/v1/profiles", "Profile service unavailable"),
            ("/v1/prompts", "Prompt template DB unavailable"),
            ("/v1/jobs", "Job scheduler requires database connection"),
            ("/v1/tasks", "Job scheduler requires database connection"),
            ("/v1/memory/stats?bot_id=nova", "Memory service unavailable"),
        ] {
            let (status, answer) = server.get(path).await;
            assert!(status == 200 || (status == 503 && answer["detail"] == away), "{path}: {status} {answer}");
        }
    }
    until("a database that was started again", async || {
        let (_, tree) = server.get("/status").await;
        let cluster = tree["actors"].as_array()?.iter().find(|actor| actor["name"] == "cluster")?;
        (cluster["restarts"].as_u64()? > 0).then_some(())
    })
    .await;
    let (_, stats) = server.get("/v1/memory/stats?bot_id=nova").await;
    assert_eq!(stats["messages"]["total_count"], 25, "{stats}");
    let search = json!({"query": "number 24 of the harvest", "bot_id": "nova", "mode": "text", "limit": 50});
    until("a whole answer", async || {
        let (_, _, hits) = post(&server, "/v1/history/search", &search).await;
        (hits["total_count"] == 25 && hits["messages"][0]["content"] == "number 24 of the harvest").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_job_whose_postgresql_dies_ends_as_failed_and_is_tried_again() {
    let server = start().await;
    let gate = asked_for_facts(&server).await;
    server.kill_postgres();
    // The model still thinks; the scheduler notices by its own connection.
    until("the end of the first try", async || {
        let runs = runs(&server).await;
        (runs.first()?["status"] == "failed").then_some(())
    })
    .await;
    gate.open();
    let runs = until("the second try", async || {
        let runs = runs(&server).await;
        let over = runs.iter().all(|run| run["status"] != "pending" && run["status"] != "running");
        (over && runs.len() > 1).then_some(runs)
    })
    .await;
    let why = runs[0]["error_message"].as_str().expect("a reason");
    assert!(why.contains("interrupted") || why.contains("lease expired"), "{why}");
    assert_eq!((&runs[1]["attempt"], &runs[1]["scheduled_for"]), (&json!(2), &runs[0]["scheduled_for"]), "{runs:?}");
    assert_ne!(runs[1]["status"], "failed", "{runs:?}");
    nothing_is_lost(&server).await;
}

#[tokio::test]
async fn a_server_killed_in_mid_job_ends_the_run_at_boot_and_tries_again() {
    let mut server = start().await;
    let _gate = asked_for_facts(&server).await;
    let (_, _, task) =
        post(&server, "/v1/tasks", &json!({"task_type": "memory_extraction", "user_id": "ann", "bot_id": "nova"}))
            .await;
    let task = task["task_id"].as_str().expect("an id").to_owned();
    server.kill().await;
    server.boot().await;
    let runs = until("the second try", async || {
        let runs = runs(&server).await;
        let over = runs.iter().all(|run| run["status"] != "pending" && run["status"] != "running");
        (over && runs.len() > 1).then_some(runs)
    })
    .await;
    assert_eq!(runs[0]["status"], "failed");
    assert_eq!(runs[0]["error_message"], "lease expired: the process that ran it is gone");
    assert_eq!((&runs[1]["attempt"], &runs[1]["scheduled_for"]), (&json!(2), &runs[0]["scheduled_for"]), "{runs:?}");
    assert_ne!(runs[1]["status"], "failed", "{runs:?}");
    nothing_is_lost(&server).await;
    // The task that waited behind it survived the kill.
    until("the task", async || {
        let (_, told) = server.get(&format!("/v1/tasks/{task}?strict=true&wait=true&timeout=5")).await;
        (told["status"] == "completed").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_import_that_is_cut_off_on_both_sides_goes_on_and_stores_each_record_once() {
    const RECORDS: usize = 1440;
    let mut server = start().await;
    let file = server.data_dir().join("records.jsonl");
    let lines: String = (0..RECORDS).map(|n| record(n) + "\n").collect();
    std::fs::write(&file, &lines).expect("written");
    let import = |url: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_greenroom"));
        command.arg("import").arg(&file).env_clear().env("GREENROOM_URL", url).kill_on_drop(true);
        command
    };
    // Half of it is in when the lights go out.
    let half = send(&server, (0..RECORDS / 2).map(|n| record(n) + "\n").collect()).await;
    assert_eq!(half.0, 200, "{}", half.2);
    let mut child = import(&server.url).spawn().expect("started");
    tokio::task::yield_now().await;
    server.kill().await;
    child.kill().await.expect("killed");
    server.boot().await;
    let again = import(&server.url).output().await.expect("run");
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let (_, stats) = server.get("/v1/memory/stats?bot_id=nova").await;
    assert_eq!(stats["messages"]["total_count"], RECORDS, "{stats}");
    let third = import(&server.url).arg("--from-start").output().await.expect("run");
    let told = String::from_utf8_lossy(&third.stdout).into_owned();
    assert_eq!(told, format!("0 stored, {RECORDS} there already\n"));
}
