//! What bots have learnt: search, editing, deleting, forgetting and bringing back, and hostile ids.

use greenroom_profile::{AttributeDraft, Entity, Source};
use greenroom_protocol::{BotSlug, UserId};
use serde_json::{Value, json};

use crate::cli::run;
use crate::common::House;
use crate::transfer::{import, message};

/// A house whose nova knows four things.
async fn knowing() -> House {
    let house = House::open().await;
    let memory = |content: &str, importance: f64, tag: &str| json!({"kind": "memory", "bot_id": "nova", "content": content, "importance": importance, "tags": [tag]});
    let records = [
        memory("Ann's dog is called Bella", 0.9, "fact"),
        memory("Ann likes green tea", 0.5, "preference"),
        memory("Ann plans a trip to Rome in May", 0.7, "plan"),
        memory("The bicycle is blue", 0.2, "misc"),
    ];
    let outcome = import(&house, &records).await;
    assert_eq!(outcome["stored"]["memories"], 4, "{outcome}");
    house
}

fn contents(answer: &Value) -> Vec<&str> {
    answer["results"].as_array().unwrap().iter().filter_map(|memory| memory["content"].as_str()).collect()
}

async fn id_of(house: &House, content: &str) -> String {
    let (_, list) = house.get("/v1/memory?bot_id=nova&limit=500").await;
    let memories = list["results"].as_array().unwrap();
    memories.iter().find(|memory| memory["content"] == content).unwrap()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn memories_are_listed_and_found() {
    let house = knowing().await;
    let (_, list) = house.get("/v1/memory?bot_id=nova&limit=2").await;
    assert_eq!(contents(&list), ["Ann's dog is called Bella", "Ann plans a trip to Rome in May"]);
    assert_eq!((&list["method"], &list["results"][0]["importance"]), (&json!("list"), &json!(0.9)));
    let find = async |body: Value| house.post("/v1/memory/search", &body).await;
    let (status, hits) = find(json!({"query": "dog Bella", "bot_id": "nova", "method": "text", "explain": true})).await;
    assert_eq!((status, contents(&hits)[0]), (200, "Ann's dog is called Bella"), "{hits}");
    assert!(hits["results"][0]["relevance"].is_number() && hits["results"][0]["parts"].is_object(), "{hits}");
    let (_, all) = find(json!({"query": "green tea", "bot_id": "nova", "n_results": 1})).await;
    assert_eq!(contents(&all), ["Ann likes green tea"], "{all}");
    let (_, important) = find(json!({"bot_id": "nova", "method": "high-importance"})).await;
    assert_eq!(contents(&important), ["Ann's dog is called Bella", "Ann plans a trip to Rome in May"]);
    let (_, tagged) = find(json!({"query": "Ann", "bot_id": "nova", "method": "text", "tags": ["plan"]})).await;
    assert_eq!(contents(&tagged), ["Ann plans a trip to Rome in May"]);
    for bad in [
        json!({}),
        json!({"query": ""}),
        json!({"query": "x", "method": "magic"}),
        json!({"query": "x", "min_importance": 2}),
        json!({"query": "x", "limit": 0}),
        json!({"query": "x", "tags": [1]}),
    ] {
        assert_eq!(find(bad.clone()).await.0, 422, "{bad}");
    }
    assert_eq!(find(json!({"query": "x", "tags": ["'; DROP TABLE memories; --"], "bot_id": "nova"})).await.0, 200);
    let (_, stats) = house.get("/v1/memory/stats?bot_id=nova").await;
    assert_eq!((&stats["bot_id"], &stats["memories"]["total_count"]), (&json!("nova"), &json!(4)), "{stats}");
    assert!(stats["messages"]["unembedded_count"].is_number(), "{stats}");
    house.close().await;
}

#[tokio::test]
async fn a_memory_is_edited_and_keeps_what_is_not_sent() {
    let house = knowing().await;
    let id = id_of(&house, "Ann likes green tea").await;
    let path = format!("/v1/memory/{id}?bot_id=nova");
    let (status, tagged) = house.patch(&path, &json!({"tags": ["drink"]})).await;
    assert_eq!(
        (status, &tagged["tags"], &tagged["content"]),
        (200, &json!(["drink"]), &json!("Ann likes green tea")),
        "{tagged}"
    );
    let (_, weighed) = house.patch(&path, &json!({"importance": 0.8})).await;
    assert_eq!((&weighed["importance"], &weighed["tags"]), (&json!(0.8), &json!(["drink"])), "{weighed}");
    let (_, reworded) = house.patch(&path, &json!({"content": "Ann likes green tea a lot"})).await;
    assert_eq!((&reworded["content"], &reworded["importance"]), (&json!("Ann likes green tea a lot"), &json!(0.8)));
    let (_, read) = house.get(&path).await;
    assert_eq!((&read["content"], &read["tags"]), (&json!("Ann likes green tea a lot"), &json!(["drink"])), "{read}");
    assert_eq!(house.patch(&path, &json!({})).await.0, 400);
    assert_eq!(house.patch(&path, &json!({"content": null, "importance": null, "tags": null})).await.0, 400);
    assert_eq!(house.patch(&path, &json!({"importance": 1.5})).await.0, 422);
    assert_eq!(house.patch(&path, &json!({"tags": ["Not A Tag!"]})).await.0, 400);
    let stale = json!({"importance": 0.1, "if_updated_at": "2020-01-01T00:00:00Z"});
    assert_eq!(house.patch(&path, &stale).await.0, 409);
    let absent = "/v1/memory/00000000-0000-4000-8000-000000000000?bot_id=nova";
    let (status, answer) = house.patch(absent, &json!({"importance": 0.5})).await;
    let words = "Memory '00000000-0000-4000-8000-000000000000' not found";
    assert_eq!((status, answer["detail"].as_str()), (404, Some(words)));
    house.close().await;
}

#[tokio::test]
async fn hostile_ids_delete_nothing() {
    let house = knowing().await;
    for id in ["%25", "_", "a", "________", "%25%25%25%25%25%25%25%25", "' OR 1=1 --"] {
        let path = format!("/v1/memory/{}?bot_id=nova", id.replace(' ', "%20").replace('\'', "%27"));
        let (status, answer) = house.delete(&path).await;
        assert!(matches!(status, 400 | 404), "{id}: {status} {answer}");
    }
    assert_eq!(house.get("/v1/memory?bot_id=nova").await.1["total_count"], 4);
    let id = id_of(&house, "The bicycle is blue").await;
    let (status, gone) = house.delete(&format!("/v1/memory/{}?bot_id=nova", &id[..8])).await;
    assert_eq!((status, &gone["success"], &gone["memory_id"]), (200, &json!(true), &json!(id)), "{gone}");
    assert_eq!(house.delete(&format!("/v1/memory/{id}?bot_id=nova")).await.0, 404);
    assert_eq!(house.get("/v1/memory?bot_id=nova").await.1["total_count"], 3);
    let (_, back) = house.post("/v1/memory/restore?bot_id=nova", &json!({"batch_id": gone["batch_id"]})).await;
    assert_eq!(back["memories_restored"], 1, "{back}");
    assert_eq!(house.get("/v1/memory?bot_id=nova").await.1["total_count"], 4);
    house.close().await;
}

#[tokio::test]
async fn what_is_forgotten_can_be_seen_and_brought_back() {
    let house = House::open().await;
    let records: Vec<Value> = (0..5).map(|at| message("nova", at, "user", &format!("number {at}"))).collect();
    import(&house, &records).await;
    let forget = async |body: Value| house.post("/v1/memory/forget?bot_id=nova", &body).await;
    let (status, answer) = forget(json!({})).await;
    assert_eq!((status, answer["detail"].as_str()), (400, Some("Must specify count, minutes, or message_id")));
    for bad in [json!({"count": 0}), json!({"minutes": 0}), json!({"count": -1}), json!({"count": "many"})] {
        assert_eq!(forget(bad.clone()).await.0, 422, "{bad}");
    }
    assert_eq!(forget(json!({"message_id": "00000000-0000-4000-8000-000000000000"})).await.0, 404);
    let (_, dry) = forget(json!({"count": 2, "dry_run": true})).await;
    assert_eq!((&dry["messages_ignored"], &dry["dry_run"]), (&json!(2), &json!(true)), "{dry}");
    assert_eq!(house.get("/v1/history?bot_id=nova").await.1["total_count"], 5);
    let (_, done) = forget(json!({"count": 2})).await;
    assert_eq!((&done["success"], &done["messages_ignored"]), (&json!(true), &json!(2)), "{done}");
    let (_, ignored) = house.get("/v1/memory/preview/ignored?bot_id=nova").await;
    assert_eq!(ignored["messages"][0]["content"], "number 3", "{ignored}");
    let (_, recent) = house.get("/v1/memory/preview/recent?bot_id=nova&count=2").await;
    assert_eq!(
        (&recent["total_count"], &recent["messages"][1]["content"]),
        (&json!(2), &json!("number 2")),
        "{recent}"
    );
    let id = recent["messages"][0]["id"].as_str().unwrap();
    let (_, one) = house.get(&format!("/v1/memory/message?bot_id=nova&message_id={}", &id[..8])).await;
    assert_eq!(
        (&one["message"]["content"], &one["message"]["extraction_state"]),
        (&json!("number 1"), &json!("excluded")),
        "{one}"
    );
    assert_eq!(house.post("/v1/memory/forget?bot_id=nova", &json!({"message_id": id})).await.1["messages_ignored"], 1);
    let (status, absent) = house.get(&format!("/v1/memory/message?bot_id=nova&message_id={id}")).await;
    assert_eq!((status, absent["error"].as_str().unwrap()), (200, format!("Message '{id}' not found").as_str()));
    // Forgotten records are not brought back by importing them again.
    let again = import(&house, &records).await;
    assert_eq!((&again["stored"]["messages"], &again["forgotten"]["messages"]), (&json!(0), &json!(3)), "{again}");
    let (_, back) = house.post("/v1/memory/restore?bot_id=nova", &Value::Null).await;
    assert_eq!((&back["success"], &back["messages_restored"]), (&json!(true), &json!(3)), "{back}");
    assert_eq!(house.get("/v1/history?bot_id=nova").await.1["total_count"], 5);
    for path in ["minutes", "minutes?minutes=0", "minutes?minutes=x", "recent?count=0"] {
        assert_eq!(house.get(&format!("/v1/memory/preview/{path}")).await.0, 422, "{path}");
    }
    assert_eq!(house.get("/v1/memory/preview/minutes?bot_id=nova&minutes=5").await.1["total_count"], 0);
    house.close().await;
}

#[tokio::test]
async fn what_a_profile_learnt_from_a_message_goes_and_comes_with_it() {
    let house = House::open().await;
    import(&house, &[message("nova", 0, "user", "I live in Oslo")]).await;
    let (_, page) = house.get("/v1/history?bot_id=nova").await;
    let id = page["messages"][0]["id"].as_str().unwrap();
    let rooms = house.running.house();
    let entity = Entity::user(&UserId::from_stored("ann")).unwrap();
    let mut draft = AttributeDraft::new(entity.clone(), "fact", "home", json!("Oslo"), 0.9, Source::Extracted).unwrap();
    (draft.source_message, draft.source_bot) = (Some(id.to_owned()), Some(BotSlug::from_stored("nova")));
    rooms.profiles.upsert(&draft).await.unwrap();
    let known = async || rooms.profiles.get(&entity).await.unwrap().attributes.len();
    let (_, dry) = house.post("/v1/memory/forget?bot_id=nova", &json!({"count": 1, "dry_run": true})).await;
    assert_eq!((&dry["attributes_forgotten"], known().await), (&json!(0), 1), "{dry}");
    let (_, done) = house.post("/v1/memory/forget?bot_id=nova", &json!({"message_id": id})).await;
    assert_eq!((&done["attributes_forgotten"], known().await), (&json!(1), 0), "{done}");
    let (_, back) = house.post("/v1/memory/restore?bot_id=nova", &json!({"batch_id": done["batch_id"]})).await;
    assert_eq!((&back["attributes_restored"], known().await), (&json!(1), 1), "{back}");
    house.close().await;
}

#[tokio::test]
async fn work_on_the_whole_is_told_as_it_went() {
    let house = knowing().await;
    let (status, done) = house.post("/v1/memory/regenerate-embeddings?bot_id=nova", &Value::Null).await;
    assert_eq!((status, &done["success"], &done["failed"]), (200, &json!(true), &json!(0)), "{done}");
    assert_eq!(done["embedding_dim"], 384);
    let (status, merged) = house.post("/v1/memory/consolidate?bot_id=nova", &json!({"dry_run": true})).await;
    assert_eq!((status, &merged["success"], &merged["dry_run"]), (200, &json!(true), &json!(true)), "{merged}");
    assert!(merged["clusters_found"].is_number() && merged["errors"].is_array(), "{merged}");
    for path in ["consolidate", "regenerate-embeddings"] {
        let (status, task) = house.post(&format!("/v1/memory/{path}?bot_id=nova"), &json!({"async": true})).await;
        assert_eq!((status, &task["status"]), (202, &json!("pending")), "{task}");
        let id = task["task_id"].as_str().unwrap();
        let (_, ended) = house.get(&format!("/v1/tasks/{id}?wait=true&timeout=60")).await;
        assert_eq!(ended["status"], "completed", "{path}: {ended}");
    }
    assert_eq!(house.post("/v1/memory/consolidate", &json!({"similarity_threshold": 3})).await.0, 422);
    house.close().await;

    let house = House::open_with(|config| config.embedder.model = "off".into()).await;
    import(&house, &[json!({"kind": "memory", "bot_id": "nova", "content": "likes tea"})]).await;
    let (status, none) = house.post("/v1/memory/regenerate-embeddings?bot_id=nova", &Value::Null).await;
    assert_eq!((status, &none["success"]), (200, &json!(false)), "{none}");
    let (_, found) = house.post("/v1/memory/search", &json!({"query": "tea", "bot_id": "nova"})).await;
    assert_eq!(contents(&found), ["likes tea"], "words are found without vectors: {found}");
    house.close().await;
}

#[tokio::test]
async fn the_command_adds_finds_edits_and_deletes() {
    let house = House::open().await;
    let url = house.running.url();
    let memory = async |words: &[&str]| run(&[&["memory", "--url", &url, "-b", "nova"], words].concat(), &[]).await;
    let added = memory(&["add", "Ann", "likes", "tea", "--tags", "preference,drink"]).await;
    assert_eq!((added.code, added.out.as_str()), (0, "remembered\n"), "{}", added.err);
    assert_eq!(memory(&["add", "Ann likes tea"]).await.out, "it was known already\n");
    let found = memory(&["search", "--method", "text", "tea"]).await;
    assert!(
        found.code == 0 && found.out.contains("Ann likes tea") && found.out.contains("drink"),
        "{}{}",
        found.out,
        found.err
    );
    let list: Value = serde_json::from_str(&memory(&["list", "--json"]).await.out).unwrap();
    let id = list["results"][0]["id"].as_str().unwrap();
    let edited = memory(&["edit", id, "--importance", "0.9"]).await;
    assert!(edited.code == 0 && edited.out.contains("0.9"), "{}{}", edited.out, edited.err);
    assert!(memory(&["get", &id[..8]]).await.out.contains("Ann likes tea"));
    assert!(memory(&["stats"]).await.out.contains("total_count"));
    let refused = memory(&["delete", id]).await;
    assert!(refused.code == 1 && refused.err.contains("--yes"), "{}", refused.err);
    let gone = memory(&["delete", id, "--yes"]).await;
    assert!(gone.code == 0 && gone.out.contains("deleted"), "{}{}", gone.out, gone.err);
    assert_eq!(memory(&["list"]).await.out, "there are no memories\n");
    let merged = memory(&["consolidate", "--dry-run"]).await;
    assert_eq!(merged.code, 0, "{}{}", merged.out, merged.err);
    assert_eq!(memory(&["regenerate"]).await.code, 1);
    assert_eq!(memory(&["regenerate", "--missing"]).await.code, 0);
    house.close().await;
}
