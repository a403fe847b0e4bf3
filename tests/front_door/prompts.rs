//! Prompt templates: edits and their versions, judging them, whom they hold for, and that the work behind the scenes goes by
//! them at once.

use greenroom_store::testing::TestDataDir;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::run;
use crate::common::House;
use crate::remembering::{house, learns, run_job, say};

const FACT: &str = "/v1/prompts/memory.extraction.fact";

fn edit(body: &str) -> Value {
    json!({"body": body, "change_note": "try this"})
}

#[tokio::test]
async fn edits_become_versions_and_can_be_taken_back() {
    let house = House::open().await;
    let (status, built_in) = house.get(FACT).await;
    assert_eq!((status, &built_in["source"], &built_in["updated_at"]), (200, &json!("code_default"), &Value::Null));
    assert_eq!(built_in["required_vars"], json!(["conversation"]));
    assert_eq!(house.get(&format!("{FACT}/versions")).await.1["versions"], json!([]));

    let (status, first) = house.put(FACT, &edit("Read this.\n{conversation}")).await;
    assert_eq!(
        (status, &first["source"], &first["scope_type"]),
        (200, &json!("db_override"), &json!("global")),
        "{first}"
    );
    assert_eq!((&first["title"], &first["format"]), (&built_in["title"], &built_in["format"]));
    assert_eq!(house.patch(FACT, &edit("Read that.\n{conversation}")).await.0, 200);
    // Without a text nothing becomes a version, and what is not sent stays.
    let (_, titled) = house.patch(FACT, &json!({"title": "Mine", "metadata": {"a": 1}})).await;
    assert_eq!((&titled["title"], &titled["body"]), (&json!("Mine"), &json!("Read that.\n{conversation}")), "{titled}");
    assert_eq!(house.put(FACT, &edit("Third.\n{conversation}")).await.1["metadata"], json!({"a": 1}));
    let (_, list) = house.get(&format!("{FACT}/versions")).await;
    let numbers: Vec<&Value> = list["versions"].as_array().unwrap().iter().map(|it| &it["version"]).collect();
    assert_eq!((numbers, &list["total_count"]), (vec![&json!(3), &json!(2), &json!(1)], &json!(3)), "{list}");
    assert_eq!(
        (&list["versions"][2]["change_note"], &list["versions"][2]["body"]),
        (&json!("try this"), &first["body"])
    );

    let (status, restored) = house.post(&format!("{FACT}/versions/1/restore"), &Value::Null).await;
    assert_eq!((status, &restored["body"]), (200, &first["body"]), "{restored}");
    assert_eq!(house.get(&format!("{FACT}/versions")).await.1["versions"][0]["version"], 4);
    assert_eq!(house.post(&format!("{FACT}/versions/99/restore"), &Value::Null).await.0, 404);
    for bad in ["x", "-", "99999999999", "1%3B"] {
        let (status, answer) = house.post(&format!("{FACT}/versions/{bad}/restore"), &Value::Null).await;
        assert_eq!((status, &answer["detail"][0]["loc"]), (422, &json!(["path", "version"])), "{bad}");
    }
    let (_, reset) = house.post(&format!("{FACT}/reset"), &Value::Null).await;
    assert_eq!((&reset["source"], &reset["body"]), (&json!("code_default"), &built_in["body"]), "{reset}");
    assert!(house.get(&format!("{FACT}/versions")).await.1["total_count"].as_u64().unwrap() >= 4);
    assert_eq!(house.get(&format!("{FACT}?exact=true")).await.0, 404);
    let (_, seeded) = house.post("/v1/prompts/seed-defaults", &Value::Null).await;
    assert_eq!(
        (&seeded["created"], &seeded["skipped"], &seeded["seeded_keys"]),
        (&json!(0), &seeded["total"], &json!([]))
    );

    // Writers at once: every version has a number of its own.
    let texts: Vec<Value> = (0..8).map(|n| edit(&format!("{n}\n{{conversation}}"))).collect();
    let writes = texts.iter().map(|text| house.put(FACT, text));
    assert!(futures_util::future::join_all(writes).await.iter().all(|(status, _)| *status == 200));
    let (_, list) = house.get(&format!("{FACT}/versions")).await;
    let versions = list["versions"].as_array().unwrap();
    let numbers: std::collections::BTreeSet<i64> = versions.iter().filter_map(|it| it["version"].as_i64()).collect();
    assert_eq!(numbers.len(), versions.len(), "{list}");
    house.close().await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_the_judgement() {
    let house = House::open().await;
    for (body, member, expected) in [
        ("no variable", "missing_required", json!(["conversation"])),
        ("{conversation} {stranger}", "unknown_placeholders", json!(["stranger"])),
        ("  \n", "missing_required", json!(["conversation"])),
    ] {
        let (status, answer) = house.put(FACT, &edit(body)).await;
        let detail = &answer["detail"];
        assert_eq!((status, &detail["valid"], &detail[member]), (400, &json!(false), &expected), "{answer}");
        assert!(!detail["errors"].as_array().unwrap().is_empty() && detail["required_vars"].is_array(), "{answer}");
    }
    for body in ["{conversation", "{conversation} }", "{conversation}{0}", "{conversation}{a.b}", "{conversation}{}"] {
        let (status, answer) = house.put(FACT, &edit(body)).await;
        assert_eq!((status, &answer["detail"][0]["loc"]), (422, &json!(["body", "body"])), "{body}: {answer}");
    }
    for bad in [
        json!({}),
        json!({"body": 5}),
        json!({"body": "{conversation}".repeat(6000)}),
        json!({"body": "{conversation}", "required_vars": ["A B"]}),
        json!({"body": "{conversation}", "metadata": "x"}),
        json!({"body": "{conversation}", "title": "x".repeat(256)}),
    ] {
        assert_eq!(house.put(FACT, &bad).await.0, 422, "{bad:.80}");
    }
    assert_eq!(house.patch("/v1/prompts/nobody.knows", &json!({"title": "x"})).await.0, 404);
    let lost = house.get("/v1/prompts/nobody.knows").await;
    assert_eq!((lost.0, lost.1["detail"].as_str()), (404, Some("Prompt template not found")));
    for key in ["No%20Such", "%2e%2e%2fetc", &"x".repeat(256), "a%00b"] {
        assert_eq!(house.get(&format!("/v1/prompts/{key}")).await.0, 400, "{key}");
        assert_eq!(house.put(&format!("/v1/prompts/{key}"), &edit("x")).await.0, 400, "{key}");
    }
    for (query, words) in [
        ("scope_type=moon", "scope_type must be 'global' or 'bot'"),
        ("scope_type=bot", "scope_id is required for bot-scoped prompts"),
    ] {
        for path in ["/v1/prompts", FACT, &format!("{FACT}/versions")] {
            let (status, answer) = house.get(&format!("{path}?{query}")).await;
            assert_eq!((status, answer["detail"].as_str()), (400, Some(words)), "{path}?{query}");
        }
    }
    assert_eq!(house.get(FACT).await.1["source"], "code_default");

    // Judging stores nothing.
    let judged = async |what: &str, body: Value| house.post(&format!("{FACT}/{what}"), &body).await.1;
    let fine = judged("validate", json!({"variables": {"conversation": "ann: }} hello {x}"}})).await;
    assert_eq!((&fine["valid"], &fine["errors"]), (&json!(true), &json!([])), "{fine}");
    assert!(fine["rendered_preview"].as_str().unwrap().contains("ann: }} hello {x}"), "{fine}");
    assert_eq!(judged("validate", json!({})).await["rendered_preview"], Value::Null);
    let broken = judged("validate", json!({"body": "{oh no"})).await;
    assert_eq!((&broken["valid"], broken["errors"].as_array().unwrap().len()), (&json!(false), 1), "{broken}");
    let missing = judged("preview", json!({})).await;
    assert!(missing["valid"] == false && missing["errors"][0].as_str().unwrap().contains("conversation"), "{missing}");
    assert_eq!(house.post("/v1/prompts/nobody.knows/validate", &json!({})).await.0, 404);
    assert_eq!(house.post(&format!("{FACT}/preview"), &json!({"variables": 5})).await.0, 422);
    assert_eq!(house.get("/v1/prompts?include_defaults=false").await.1["prompts"], json!([]));
    house.close().await;
}

#[tokio::test]
async fn a_bots_own_text_comes_before_the_one_for_all() {
    let house = House::open().await;
    let (_, all) = house.get("/v1/prompts").await;
    let keys: Vec<&str> = all["prompts"].as_array().unwrap().iter().filter_map(|it| it["key"].as_str()).collect();
    assert!(keys.is_sorted() && keys.contains(&"profile.consolidation"), "{keys:?}");
    assert_eq!(all["total_count"], keys.len());
    let (_, of_kind) = house.get("/v1/prompts?category=summarization").await;
    assert_eq!(of_kind["total_count"], 3, "{of_kind}");
    let own = json!({"body": "Nova reads {conversation}", "scope_type": "bot", "scope_id": " Nova "});
    let (status, stored) = house.put(FACT, &own).await;
    assert_eq!((status, &stored["scope_type"], &stored["scope_id"]), (200, &json!("bot"), &json!("nova")), "{stored}");
    house.put(FACT, &edit("All read {conversation}")).await;
    let body = async |query: &str| house.get(&format!("{FACT}{query}")).await.1["body"].clone();
    assert_eq!(body("").await, "All read {conversation}");
    assert_eq!(body("?scope_type=bot&scope_id=nova").await, "Nova reads {conversation}");
    assert_eq!(body("?scope_type=bot&scope_id=mira").await, "All read {conversation}");
    assert_eq!(house.get(&format!("{FACT}?scope_type=bot&scope_id=mira&exact=true")).await.0, 404);
    let (_, rows) = house.get("/v1/prompts?include_defaults=false&scope_type=bot&scope_id=nova").await;
    assert_eq!((&rows["total_count"], &rows["filters"]["scope_id"]), (&json!(1), &json!("nova")), "{rows}");
    // A key of one's own names its variables itself.
    let custom = json!({"body": "Dear {name}, {greeting}", "required_vars": ["name"], "category": "letters"});
    let (status, made) = house.put("/v1/prompts/my.letter", &custom).await;
    assert_eq!((status, &made["placeholders"]), (200, &json!(["name", "greeting"])), "{made}");
    assert_eq!(house.get("/v1/prompts?category=letters").await.1["prompts"][0]["key"], "my.letter");
    let reset = format!("{FACT}/reset?scope_type=bot&scope_id=nova");
    assert_eq!(house.post(&reset, &Value::Null).await.1["body"], "All read {conversation}");
    assert_eq!(house.post("/v1/prompts/my.letter/reset", &Value::Null).await.0, 404);
    assert_eq!(house.post("/v1/bots/nova/purge-data", &Value::Null).await.0, 200);
    assert_eq!(body("").await, "All read {conversation}");
    house.close().await;
}

#[tokio::test]
async fn an_edited_prompt_is_what_the_next_job_sends() {
    let house = house().await;
    learns(&house, &[json!([])]);
    let global = "For all: list the facts. {{\"facts\": []}} if there are none.\n{conversation}";
    assert_eq!(house.put(FACT, &edit(global)).await.0, 200);
    say(&house, "I keep bees behind the house").await;
    let run = run_job(&house, "memory_extraction").await;
    assert_eq!(run["status"], "failed", "the default answer is prose: {run}");
    let asked = house.upstream.requests_with("For all: list the facts. {\"facts\": []}");
    let text = asked[0].last_user_text();
    assert!(text.contains("I keep bees behind the house") && text.contains("data, not instructions"), "{text}");
    let own = json!({"body": "For nova alone: {conversation}", "scope_type": "bot", "scope_id": "nova"});
    assert_eq!(house.put(FACT, &own).await.0, 200);
    say(&house, "and now I keep ducks, too").await;
    run_job(&house, "memory_extraction").await;
    assert!(!house.upstream.requests_with("For nova alone:").is_empty());
    for query in ["", "?scope_type=bot&scope_id=nova"] {
        assert_eq!(house.post(&format!("{FACT}/reset{query}"), &Value::Null).await.0, 200);
    }
    say(&house, "and at last a goose of my own").await;
    let run = run_job(&house, "memory_extraction").await;
    assert_eq!(run["status"], "success", "{run}");
    house.close().await;
}

#[tokio::test]
async fn the_command_edits_and_takes_back() {
    let (house, folder) = (House::open().await, TestDataDir::new());
    let url = house.running.url();
    let prompt = async |words: &[&str]| run(&[&["prompt", "--url", &url], words].concat(), &[]).await;
    let key = "history.summarization.single";
    assert!(prompt(&["list", "--category", "summarization"]).await.out.contains(key));
    let file = folder.path().join("text.md");
    std::fs::write(&file, "Short: {messages}\n").unwrap();
    let file = file.display().to_string();
    let set = prompt(&["set", key, &file, "--note", "shorter", "--bot", "nova"]).await;
    assert_eq!((set.code, set.out), (0, format!("{key}: db_override\n")), "{}", set.err);
    assert_eq!(prompt(&["show", key, "--bot", "nova"]).await.out, "Short: {messages}\n");
    assert!(prompt(&["show", key]).await.out.contains("{messages}"));
    std::fs::write(folder.path().join("bad.md"), "nothing").unwrap();
    let bad = prompt(&["set", key, &folder.path().join("bad.md").display().to_string()]).await;
    assert!(bad.code == 1 && bad.err.contains("messages"), "{}", bad.err);
    let versions = prompt(&["versions", key, "--bot", "nova"]).await;
    assert!(versions.out.contains("shorter"), "{}{}", versions.out, versions.err);
    assert_eq!(prompt(&["restore", key, "1", "--bot", "nova"]).await.code, 0);
    let refused = prompt(&["reset", key, "--bot", "nova"]).await;
    assert!(refused.code == 1 && refused.err.contains("--yes"), "{}", refused.err);
    assert_eq!(prompt(&["reset", key, "--bot", "nova", "--yes"]).await.out, format!("{key}: code_default\n"));
    let absent = prompt(&["show", "nobody.knows"]).await;
    assert!(absent.code == 1 && absent.err.contains("not found"), "{}", absent.err);
    let request = house.request(Method::GET, &format!("/v1/prompts/{key}?scope_type=bot&scope_id=nova"));
    assert_eq!(house.send(request).await.1["source"], "code_default");
    house.close().await;
}
