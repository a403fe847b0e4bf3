//! Moving house: records over HTTP, and the commands that carry files to and from a server. Nothing is stored twice,
//! whatever is cut off or sent again.

use std::process::Stdio;

use greenroom_store::testing::TestDataDir;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::cli::{Said, program, run, said};
use crate::common::{House, soon};

/// Sends records.
pub async fn import(house: &House, records: &[Value]) -> Value {
    let body: String = records.iter().map(|record| format!("{record}\n")).collect();
    let (status, outcome) = import_text(house, body).await;
    assert_eq!(status, 200, "{outcome}");
    outcome
}

async fn import_text(house: &House, body: String) -> (u16, Value) {
    let request = house.request(Method::POST, "/v1/import").header("content-type", "application/x-ndjson");
    house.send(request.body(body)).await
}

/// A message of a minute of one day.
pub fn message(bot: &str, minute: usize, role: &str, content: &str) -> Value {
    let at = format!("2024-03-{:02}T{:02}:{:02}:00Z", 1 + minute / 1440, minute / 60 % 24, minute % 60);
    json!({"kind": "message", "bot_id": bot, "role": role, "content": content, "at": at, "user_id": "ann"})
}

async fn exported(house: &House, query: &str) -> Vec<Value> {
    let response = house.request(Method::GET, &format!("/v1/export{query}")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let text = response.text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_import_is_idempotent_and_names_bad_lines() {
    let house = House::open().await;
    let records = [
        message("nova", 0, "user", "my dog is called Bella"),
        message("nova", 1, "assistant", "what a lovely name"),
        json!({"kind": "memory", "bot_id": "nova", "content": "Ann's dog is called Bella", "tags": ["fact"], "importance": 0.7}),
    ];
    let outcome = import(&house, &records).await;
    assert_eq!(outcome["stored"], json!({"messages": 2, "memories": 1}), "{outcome}");
    let again = import(&house, &records).await;
    assert_eq!(
        (&again["stored"], &again["known"]),
        (&json!({"messages": 0, "memories": 0}), &json!({"messages": 2, "memories": 1})),
        "{again}"
    );
    let mixed = [
        message("nova", 2, "user", "good").to_string(),
        "not json".into(),
        String::new(),
        message("nobody", 3, "user", "no such bot").to_string(),
        message("nova", 4, "narrator", "odd role").to_string(),
        json!({"kind": "memory", "bot_id": "nova", "content": "x", "tags": ["'; DROP TABLE x"]}).to_string(),
    ];
    let (status, outcome) = import_text(&house, mixed.join("\n")).await;
    let lines: Vec<u64> = outcome["errors"].as_array().unwrap().iter().filter_map(|e| e["line"].as_u64()).collect();
    assert_eq!((status, lines, &outcome["failed"]), (200, vec![2, 4, 5, 6], &json!(4)), "{outcome}");
    assert_eq!((&outcome["received"], &outcome["stored"]["messages"]), (&json!(5), &json!(1)), "{outcome}");
    let odd = house.request(Method::POST, "/v1/import").header("content-type", "text/html").body("x");
    assert_eq!(house.send(odd).await.0, 422);
    let (_, history) = house.get("/v1/history?bot_id=nova").await;
    assert_eq!(history["total_count"], 3, "{history}");
    house.close().await;
}

#[tokio::test]
async fn what_is_exported_reads_back_as_the_same() {
    let house = House::open().await;
    let mut records: Vec<Value> = (0..450)
        .map(|minute| {
            message(
                "nova",
                minute,
                if minute % 2 == 0 { "user" } else { "assistant" },
                &format!("text {minute}\n\"ü\""),
            )
        })
        .collect();
    records[3]["session"] = json!("trip");
    records[4]["session"] = json!("trip");
    records[5]["id"] = json!("my own id");
    records[6]["partial"] = json!(true);
    records[7]["content"] = json!("a tale of a million letters ".repeat(40_000));
    records.push(
        json!({"kind": "memory", "bot_id": "nova", "content": "likes tea", "tags": ["preference"], "importance": 0.7,
        "at": "2024-03-01T00:00:00.123456Z"}),
    );
    records.push(json!({"kind": "memory", "bot_id": "mira", "content": "is called Ann", "importance": 0.9}));
    import(&house, &records).await;
    let first = exported(&house, "").await;
    assert_eq!(first.last().unwrap(), &json!({"kind": "end", "messages": 450, "memories": 2}));
    let own = first.iter().find(|record| record["id"] == "my own id").unwrap();
    assert_eq!(own["content"], "text 5\n\"ü\"");
    for bot in ["nova", "mira"] {
        assert_eq!(house.post(&format!("/v1/bots/{bot}/purge-data"), &Value::Null).await.0, 200);
    }
    assert_eq!(exported(&house, "").await.len(), 1);
    let outcome = import(&house, &first).await;
    assert_eq!(outcome["stored"], json!({"messages": 450, "memories": 2}), "{outcome}");
    assert_eq!(exported(&house, "").await, first);
    assert_eq!(exported(&house, "?bot_id=nova&kind=memory").await.len(), 2);
    assert_eq!(house.get("/v1/export?bot_id=nobody").await.0, 404);
    assert_eq!(house.get("/v1/export?kind=diary").await.0, 422);
    house.close().await;
}

struct Folder(TestDataDir);

impl Folder {
    fn new() -> Self {
        Self(TestDataDir::new())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }
}

async fn greenroom(house: &House, words: &[&str]) -> Said {
    let url = house.running.url();
    run(words, &[("GREENROOM_URL", &url)]).await
}

#[tokio::test]
async fn the_command_reports_bad_lines_and_stores_the_rest() {
    let (house, folder) = (House::open().await, Folder::new());
    let text = format!(
        "{}\nnonsense\n\n{}\n{}\n",
        message("nova", 0, "user", "one"),
        message("nobody", 1, "user", "two"),
        message("nova", 2, "assistant", "three")
    );
    let file = folder.write("data.jsonl", &text);
    let dry = greenroom(&house, &["import", &file, "--dry-run"]).await;
    assert_eq!((dry.code, dry.out.as_str()), (1, "would send 3 messages and 0 memories, 1 bad\n"), "{}", dry.err);
    assert_eq!(house.get("/v1/history?bot_id=nova").await.1["total_count"], 0);
    let told = greenroom(&house, &["import", &file]).await;
    assert_eq!((told.code, told.out.as_str()), (1, "2 stored, 0 there already, 2 bad\n"), "{}", told.err);
    assert!(told.err.contains("line 2: ") && told.err.contains("line 4: bot_id: there is no bot"), "{}", told.err);
    assert!(!std::path::Path::new(&folder.path("data.jsonl.import-state")).exists());

    // All of it for another bot and user, from standard input, as JSON.
    let mut piped = program(&["import", "-", "--bot", "mira", "--user", "Bob", "--json"]);
    let mut child = piped.env("GREENROOM_URL", house.running.url()).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(message("nobody", 1, "user", "two").to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let told = said(child).await;
    let summary: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((told.code, &summary["stored"], &summary["bad"]), (0, &json!(1), &json!(0)), "{}", told.err);
    assert_eq!(house.get("/v1/history?bot_id=mira").await.1["messages"][0]["user_id"], "bob");
    let gone = greenroom(&house, &["import", &folder.path("no-such-file")]).await;
    assert!(gone.code == 1 && gone.err.contains("cannot read"), "{}", gone.err);
    house.close().await;
}

#[tokio::test]
async fn an_import_that_was_killed_goes_on_where_it_was() {
    const RECORDS: usize = 12_000;
    let (house, folder) = (House::open().await, Folder::new());
    let lines: String =
        (0..RECORDS).map(|at| format!("{}\n", message("nova", at, "user", &format!("number {at}")))).collect();
    let file = folder.write("data.jsonl", &lines);
    let url = house.running.url();
    let mut child = program(&["import", &file]).env("GREENROOM_URL", &url).spawn().unwrap();
    let state = folder.path("data.jsonl.import-state");
    soon(async {
        while !std::path::Path::new(&state).exists() && child.try_wait().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    child.kill().await.unwrap();
    let again = greenroom(&house, &["import", &file]).await;
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(again.err.contains("going on behind line"), "{}", again.err);
    assert!(!std::path::Path::new(&state).exists());
    let (_, stats) = house.get("/v1/memory/stats?bot_id=nova").await;
    assert_eq!(stats["messages"]["total_count"], RECORDS, "{stats}");
    // And once more from the start: nothing is stored twice.
    let third = greenroom(&house, &["import", &file, "--from-start"]).await;
    assert_eq!(third.out, format!("0 stored, {RECORDS} there already\n"), "{}", third.err);
    house.close().await;
}

/// A server that hangs up, then is busy, then takes what it is sent.
async fn moody_server(listener: TcpListener) -> usize {
    for turn in 0.. {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 64 * 1024];
        let read = socket.read(&mut buffer).await.unwrap();
        let body = match turn {
            0 => continue,
            1 => "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 17\r\nconnection: close\r\n\r\n{\"detail\":\"busy\"}".to_owned(),
            _ => {
                let answer = json!({"received": 1, "stored": {"messages": 1, "memories": 0},
                    "known": {"messages": 0, "memories": 0}, "failed": 0, "errors": []})
                .to_string();
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}", answer.len())
            }
        };
        socket.write_all(body.as_bytes()).await.unwrap();
        if turn >= 2 {
            return read;
        }
    }
    0
}

#[tokio::test]
async fn a_busy_or_lost_server_is_asked_again() {
    let (listener, folder) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Folder::new());
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(moody_server(listener));
    let file = folder.write("data.jsonl", &message("nova", 0, "user", "one").to_string());
    let told = run(&["import", &file, "--url", &url], &[]).await;
    assert_eq!((told.code, told.out.as_str()), (0, "1 stored, 0 there already\n"), "{}", told.err);
    assert!(told.err.contains("trying again") && told.err.contains("busy"), "{}", told.err);
    assert!(soon(server).await.unwrap() > 0);
}

#[tokio::test]
async fn a_chatgpt_export_becomes_history() {
    let (house, folder) = (House::open().await, Folder::new());
    let node = |id: &str, parent: &str, role: &str, at: f64, text: &str| {
        json!({"id": id, "parent": parent, "children": [], "message": {"id": format!("00000000-0000-4000-8000-{id:0>12}"),
            "author": {"role": role}, "create_time": at, "recipient": "all",
            "content": {"content_type": "text", "parts": [text]}, "metadata": {}}})
    };
    let conversations = json!([
        {"title": "Tea", "conversation_id": "c1", "create_time": 1_700_000_000.0, "current_node": "3", "mapping": {
            "1": node("1", "0", "system", 1_700_000_000.0, "be kind"),
            "2": node("2", "1", "user", 1_700_000_001.0, "which tea?"),
            "3": node("3", "2", "assistant", 1_700_000_002.5, "green tea"),
            "4": node("4", "2", "assistant", 1_700_000_002.0, "black tea"),
        }},
        {"title": "Empty", "mapping": {}},
    ]);
    let file = folder.write("conversations.json", &format!("{conversations:#}"));
    let refused = greenroom(&house, &["import", &file]).await;
    assert!(refused.code == 1 && refused.err.contains("--bot"), "{}", refused.err);
    let told = greenroom(&house, &["import", &file, "--bot", "nova", "--user", "ann"]).await;
    assert_eq!(
        (told.code, told.out.as_str()),
        (1, "2 stored, 0 there already, 1 without text left out, 1 bad\n"),
        "{}",
        told.err
    );
    assert!(told.err.contains("element 2: "), "{}", told.err);
    let (_, history) = house.get("/v1/history?bot_id=nova").await;
    let texts: Vec<&str> =
        history["messages"].as_array().unwrap().iter().filter_map(|m| m["content"].as_str()).collect();
    assert_eq!(texts, ["which tea?", "green tea"]);
    assert_eq!(history["messages"][0]["session_id"], history["messages"][1]["session_id"]);
    assert_eq!(history["messages"][1]["timestamp"], 1_700_000_002.5);
    house.close().await;
}

#[tokio::test]
async fn a_bot_moves_into_another_by_file() {
    let (house, folder) = (House::open().await, Folder::new());
    import(
        &house,
        &[message("nova", 0, "user", "one"), json!({"kind": "memory", "bot_id": "nova", "content": "likes tea"})],
    )
    .await;
    let file = folder.path("nova.jsonl");
    let told = greenroom(&house, &["export", "--bot", "nova", "-o", &file]).await;
    assert_eq!((told.code, told.out.as_str()), (0, ""), "{}", told.err);
    assert!(told.err.contains("1 messages and 1 memories"), "{}", told.err);
    let told = greenroom(&house, &["import", &file, "--bot", "mira"]).await;
    assert_eq!((told.code, told.out.as_str()), (0, "2 stored, 0 there already\n"), "{}", told.err);
    let told = greenroom(&house, &["export", "--bot", "mira", "--kind", "memory"]).await;
    assert!(told.out.contains("likes tea") && told.out.lines().count() == 2, "{}", told.out);
    house.close().await;
    let gone = greenroom_gone(&file).await;
    assert!(gone.code == 1 && gone.err.contains("no server answers"), "{}", gone.err);
}

async fn greenroom_gone(file: &str) -> Said {
    run(&["export", "--url", "http://127.0.0.1:9", "-o", file], &[]).await
}
