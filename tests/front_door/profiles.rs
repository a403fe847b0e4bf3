//! What is known about people and bots: writing, reading, whose word counts, and that what is deleted leaves the prompt.

use greenroom::config::KeyRole;
use greenroom_profile::Entity;
use greenroom_test_support::upstream::Script;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::run;
use crate::common::{House, key};
use crate::remembering::{house, prompt, run_of, say, settled};

fn attribute(id: &str, key: &str, value: &Value) -> Value {
    json!({"entity_type": "user", "entity_id": id, "category": "fact", "key": key, "value": value})
}

async fn set(house: &House, id: &str, key: &str, value: &Value) -> Value {
    let (status, told) = house.post("/v1/profiles/attribute", &attribute(id, key, value)).await;
    assert_eq!(status, 200, "{told}");
    told
}

#[tokio::test]
async fn the_surer_word_stands_and_history_tells_the_rest() {
    let house = House::open().await;
    let (status, made) = house
        .post(
            "/v1/profiles/attribute",
            &json!({"entity_type": "USER", "entity_id": " Ann ", "category": " Fact", "key": "City ", "value": "Graz"}),
        )
        .await;
    let expected = json!(["user", "ann", "fact", "city", "Graz", 1.0, "explicit", "created"]);
    let names = ["entity_type", "entity_id", "category", "key", "value", "confidence", "source", "outcome"];
    assert_eq!((status, json!(names.map(|name| &made[name]))), (200, expected), "{made}");
    assert_eq!(set(&house, "ann", "city", &json!("Graz")).await["outcome"], "unchanged");
    let replaced = set(&house, "ann", "city", &json!("Linz")).await;
    assert_eq!((&replaced["outcome"], &replaced["id"]), (&json!("replaced"), &made["id"]));
    let mut rumour = attribute("ann", "city", &json!("Rome"));
    (rumour["source"], rumour["confidence"]) = (json!("extracted"), json!(0.9));
    let (_, kept) = house.post("/v1/profiles/attribute", &rumour).await;
    assert_eq!((&kept["outcome"], &kept["value"]), (&json!("candidate"), &json!("Linz")), "{kept}");
    let (_, history) = house.get("/v1/profiles/user/ann/history").await;
    let actions: Vec<&str> =
        history["history"].as_array().unwrap().iter().filter_map(|entry| entry["action"].as_str()).collect();
    assert_eq!((actions[0], actions.last()), ("candidate", Some(&"set")), "{history}");

    // Null is a value like any other; nothing to change is refused.
    let path = format!("/v1/profiles/attribute/{}", made["id"]);
    let (status, nulled) = house.patch(&path, &json!({"value": null})).await;
    assert_eq!((status, &nulled["value"], &nulled["confidence"]), (200, &Value::Null, &json!(1.0)), "{nulled}");
    let (_, doubted) = house.patch(&path, &json!({"confidence": 0.4})).await;
    assert_eq!((&doubted["confidence"], &doubted["value"]), (&json!(0.4), &Value::Null));
    assert_eq!(house.patch(&path, &json!({})).await.0, 400);
    for bad in [json!({"confidence": 2}), json!({"source": "gossip"}), json!({"confidence": "much"}), json!([])] {
        assert_eq!(house.patch(&path, &bad).await.0, 422, "{bad}");
    }
    let absent = "/v1/profiles/attribute/999999";
    for (status, answer) in [house.patch(absent, &json!({"value": 1})).await, house.delete(absent).await] {
        assert_eq!((status, answer["detail"].as_str()), (404, Some("Attribute with ID 999999 not found")));
    }
    for bad in ["x", "1.5", "99999999999999999999", "%27%20OR%201=1"] {
        let (status, answer) = house.delete(&format!("/v1/profiles/attribute/{bad}")).await;
        assert!(status == 404 && answer["detail"].as_str().unwrap().ends_with("not found"), "{bad}: {answer}");
    }
    let (status, gone) = house.delete(&path).await;
    assert_eq!((status, &gone["success"], &gone["deleted"]["key"]), (200, &json!(true), &json!("city")), "{gone}");
    assert_eq!(gone["deleted"]["entity_id"], "ann");
    assert_eq!(house.delete(&path).await.0, 404);
    house.close().await;
}

#[tokio::test]
async fn profiles_are_found_listed_and_paged() {
    let house = House::open().await;
    for (id, key) in [("zoe", "city"), ("ann", "pets"), ("ann", "city")] {
        set(&house, id, key, &json!([key, 1])).await;
    }
    let bot = json!({"entity_type": "bot", "entity_id": "nova", "category": "personality", "key": "humour",
        "value": "dry", "confidence": 0.6, "source": "self"});
    assert_eq!(house.post("/v1/profiles/attribute", &bot).await.0, 200);
    let ids = |page: &Value| -> Vec<String> {
        let profiles = page["profiles"].as_array().unwrap();
        profiles.iter().map(|profile| profile["entity_id"].as_str().unwrap().to_owned()).collect()
    };
    let (_, all) = house.get("/v1/profiles").await;
    assert_eq!((ids(&all), &all["total_count"]), (vec!["ann".to_owned(), "zoe".into(), "nova".into()], &json!(3)));
    let keys: Vec<&Value> = all["profiles"][0]["attributes"].as_array().unwrap().iter().map(|it| &it["key"]).collect();
    assert_eq!(keys, ["city", "pets"]);
    let (_, page) = house.get("/v1/profiles?limit=1&offset=1").await;
    assert_eq!((ids(&page), &page["total_count"]), (vec!["zoe".to_owned()], &json!(3)));
    assert_eq!(ids(&house.get("/v1/profiles?entity_type=BOT").await.1), ["nova"]);
    let refusal = "Invalid entity_type 'person'. Must be 'user' or 'bot'.";
    for path in
        ["/v1/profiles?entity_type=person", "/v1/profiles/attribute?entity_type=person", "/v1/profiles/person/ann"]
    {
        let (status, answer) = house.get(path).await;
        assert_eq!((status, answer["detail"].as_str()), (400, Some(refusal)), "{path}");
    }
    for (path, detail) in [
        ("/v1/profiles/nobody", "No profile found for entity 'nobody'"),
        ("/v1/profiles/user/nobody", "User 'nobody' not found"),
        ("/v1/profiles/BOT/Nobody", "Bot 'nobody' not found"),
        ("/v1/profiles/user/%27%20OR%201=1%20--", "User '' or 1=1 --' not found"),
    ] {
        let (status, answer) = house.get(path).await;
        assert_eq!((status, answer["detail"].as_str()), (404, Some(detail)), "{path}");
    }
    for path in ["/v1/profiles/Zoe", "/v1/profiles/user/ZOE"] {
        assert_eq!(house.get(path).await.1["entity_id"], "zoe", "{path}");
    }
    let (_, filtered) = house.get("/v1/profiles/attribute?entity_id=ANN&key=pets&min_confidence=0.5").await;
    let first = &filtered["attributes"][0];
    assert_eq!((&filtered["total_count"], &first["entity_id"]), (&json!(1), &json!("ann")), "{filtered}");
    assert_eq!((&filtered["filters"]["key"], &first["value"]), (&json!("pets"), &json!(["pets", 1])));
    assert_eq!(house.get("/v1/profiles/attribute?source=self").await.1["attributes"][0]["key"], "humour");
    for wrong in ["limit=0", "limit=501", "offset=-1", "min_confidence=2", "min_confidence=x"] {
        assert_eq!(house.get(&format!("/v1/profiles/attribute?{wrong}")).await.0, 422, "{wrong}");
    }
    house.close().await;
}

#[tokio::test]
async fn heads_of_profiles_are_edited_and_addresses_are_unique() {
    let house = House::open().await;
    let path = "/v1/profiles/user/ann";
    let (status, made) = house.patch(path, &json!({"display_name": "Ann", "email": " Ann@Example.org "})).await;
    assert_eq!((status, &made["email"], &made["summary_updated_at"]), (200, &json!("ann@example.org"), &Value::Null));
    let (_, told) = house.patch(path, &json!({"display_name": null, "summary": "A nurse."})).await;
    assert_eq!((&told["display_name"], &told["summary"]), (&json!("Ann"), &json!("A nurse.")), "{told}");
    assert!(told["summary_updated_at"].is_string() && told["summary_stale"] == false, "{told}");
    let (status, taken) = house.patch("/v1/profiles/user/bob", &json!({"email": "ANN@example.org"})).await;
    assert_eq!((status, taken["detail"].as_str()), (409, Some("Another profile has this email address")));
    assert_eq!(house.patch("/v1/profiles/bot/nova", &json!({"email": "nova@example.org"})).await.0, 400);
    for (field, bad) in [
        ("description", json!("x".repeat(501))),
        ("display_name", json!("x".repeat(101))),
        ("email", json!("nobody")),
        ("email", json!(format!("{}@b", "x".repeat(255)))),
        ("summary", json!(5)),
    ] {
        let (status, answer) = house.patch(path, &json!({field: bad})).await;
        assert_eq!((status, &answer["detail"][0]["loc"]), (422, &json!(["body", field])), "{field}");
    }
    let (_, found) = house.get("/v1/profiles/lookup?email=ANN%40example.ORG").await;
    let expected = json!({"found": true, "email": "ann@example.org", "entity_id": "ann", "display_name": "Ann"});
    assert_eq!(found, expected);
    let (_, none) = house.get("/v1/profiles/lookup?email=%27%3B--").await;
    assert_eq!((&none["found"], &none["entity_id"]), (&json!(false), &Value::Null));
    assert_eq!(house.get("/v1/profiles/lookup").await.0, 422);
    let (_, cleared) = house.patch(path, &json!({"email": ""})).await;
    assert_eq!(cleared["email"], Value::Null);
    assert_eq!(house.patch("/v1/profiles/user/bob", &json!({"email": "ann@example.org"})).await.0, 200);

    // What does not fit is told field by field, and nothing of it is stored.
    let fits = attribute("ann", "city", &json!("Graz"));
    for (field, bad) in [
        ("entity_id", json!("x".repeat(101))),
        ("entity_id", json!("  ")),
        ("entity_id", json!("a\u{7}b")),
        ("category", json!("x".repeat(51))),
        ("key", json!("x".repeat(101))),
        ("confidence", json!(1.5)),
        ("source", json!("gossip")),
        ("value", json!("x".repeat(40_000))),
    ] {
        let mut body = fits.clone();
        body[field] = bad;
        let (status, answer) = house.post("/v1/profiles/attribute", &body).await;
        assert_eq!((status, &answer["detail"][0]["loc"]), (422, &json!(["body", field])), "{field}: {answer}");
    }
    let mut alien = fits.clone();
    alien["entity_type"] = json!("alien");
    assert_eq!(house.post("/v1/profiles/attribute", &alien).await.0, 400);
    assert_eq!(house.post("/v1/profiles/attribute", &json!({"entity_type": "user"})).await.0, 422);
    assert_eq!(house.get("/v1/profiles/attribute").await.1["total_count"], 0);
    let odd = "'; DROP TABLE profiles; -- \u{1f98a}";
    let stored = set(&house, odd, odd, &json!({"deep": [null, odd]})).await;
    assert_eq!((&stored["entity_id"], &stored["value"]["deep"][1]), (&json!(odd.to_lowercase()), &json!(odd)));
    house.close().await;
}

#[tokio::test]
async fn a_key_of_one_user_sees_no_profiles_and_writing_needs_an_operator() {
    let house = House::open_with(|config| {
        config.auth.admin_key = Some("0123456789".into());
        config.auth.keys = vec![key("ann", &[KeyRole::Read], Some("ann")), key("reader", &[KeyRole::Read], None)];
    })
    .await;
    set(&house, "ann", "city", &json!("Graz")).await;
    let ask = async |key: &str, method: Method, path: &str| {
        let request = house.client.request(method, format!("{}{path}", house.running.url()));
        house.send(request.bearer_auth(format!("the-{key}-key")).json(&json!({"value": 1}))).await.0
    };
    for path in [
        "/v1/profiles",
        "/v1/profiles/attribute",
        "/v1/profiles/ann",
        "/v1/profiles/user/ann",
        "/v1/profiles/user/ann/history",
        "/v1/profiles/lookup?email=a%40b",
        "/v1/tasks",
        "/v1/tasks/x",
        "/v1/jobs/runs",
    ] {
        assert_eq!((ask("ann", Method::GET, path).await, ask("reader", Method::GET, path).await), (403, 200), "{path}");
    }
    for (method, path) in [
        (Method::POST, "/v1/profiles/attribute"),
        (Method::PATCH, "/v1/profiles/attribute/1"),
        (Method::DELETE, "/v1/profiles/attribute/1"),
        (Method::PATCH, "/v1/profiles/user/ann"),
        (Method::PUT, "/v1/prompts/x"),
        (Method::POST, "/v1/prompts/x/reset"),
        (Method::POST, "/v1/tasks"),
        (Method::POST, "/v1/jobs/memory_decay/trigger"),
        (Method::DELETE, "/v1/tasks/x"),
    ] {
        assert_eq!(ask("reader", method.clone(), path).await, 403, "{method} {path}");
    }
    assert_eq!(house.get("/v1/profiles/user/ann").await.1["attributes"][0]["value"], "Graz");
    let (_, history) = house.get("/v1/profiles/user/ann/history").await;
    assert!(history["history"][0]["actor"].is_string(), "{history}");
    house.close().await;
}

#[tokio::test]
async fn what_is_known_stands_in_the_next_prompt_and_leaves_it_by_every_route() {
    let house = house().await;
    let rooms = house.running.house();
    let ann = Entity::parse("user", "ann").unwrap();
    let mut asked = 0;
    let mut tells = async || {
        asked += 1;
        let words = format!("question number {asked}.");
        say(&house, &words).await;
        prompt(&house, &words).contains("Vienna")
    };
    assert!(!tells().await);
    for route in ["number", "key", "category", "words", "value", "portrait", "command"] {
        let id = set(&house, "ann", "location", &json!("Vienna")).await["id"].clone();
        assert!(tells().await, "{route}");
        let path = format!("/v1/profiles/attribute/{id}");
        match route {
            "number" => assert_eq!(house.delete(&path).await.0, 200),
            "key" => {
                assert_eq!(rooms.profiles.delete_key(&ann, Some("Fact"), "Location", None).await.unwrap().len(), 1)
            }
            "category" => assert_eq!(rooms.profiles.delete_category(&ann, "FACT", None).await.unwrap().len(), 1),
            "words" => assert_eq!(rooms.profiles.delete_matching(&ann, "vienna", None).await.unwrap().len(), 1),
            "value" => assert_eq!(house.patch(&path, &json!({"value": "Graz"})).await.0, 200),
            "portrait" => {
                // A portrait that still tells of it is not told once the attribute is gone.
                assert_eq!(house.patch("/v1/profiles/user/ann", &json!({"summary": "Lives in Vienna."})).await.0, 200);
                assert!(tells().await);
                assert_eq!(house.delete(&path).await.0, 200);
                assert_eq!(house.get("/v1/profiles/user/ann").await.1["summary_stale"], true);
            }
            _ => {
                let url = house.running.url();
                let told = run(&["profile", "--url", &url, "unset", &id.to_string(), "--yes"], &[]).await;
                assert_eq!(told.code, 0, "{}{}", told.out, told.err);
            }
        }
        assert!(!tells().await, "{route}");
    }
    let trait_ = json!({"entity_type": "bot", "entity_id": "nova", "category": "personality", "key": "favourite city",
        "value": "Vienna"});
    assert_eq!(house.post("/v1/profiles/attribute", &trait_).await.0, 200);
    assert!(tells().await, "what the bot has become");
    house.close().await;
}

#[tokio::test]
async fn a_portrait_is_written_by_its_job_and_told_until_something_changes() {
    let house = house().await;
    set(&house, "ann", "name", &json!("Ann")).await;
    set(&house, "ann", "location", &json!("Lyon")).await;
    let portrait = json!({"name": "Ann", "identity": "Ann is a nurse from Lyon.", "preferences": null,
        "interests": ["bees", "tea"], "context": null});
    house.upstream.script_for("one attribute per line", Script::text(&portrait.to_string()));
    let (status, begun) = house.post("/v1/jobs/profile_maintenance/trigger", &json!({})).await;
    assert_eq!(status, 200, "{begun}");
    settled(&house).await;
    let run = run_of(&house, begun["run_ids"][0].as_str().unwrap()).await;
    assert_eq!((&run["status"], &run["bot_id"]), (&json!("success"), &json!("*")), "{run}");
    let (_, told) = house.get("/v1/profiles/user/ann").await;
    assert!(told["summary"].as_str().unwrap().contains("nurse from Lyon"), "{told}");
    assert_eq!((&told["display_name"], &told["summary_stale"]), (&json!("Ann"), &json!(false)), "{told}");
    say(&house, "who am I").await;
    assert!(prompt(&house, "who am I").contains("nurse from Lyon"));
    // Nothing has changed: nobody is asked again.
    let (_, begun) = house.post("/v1/jobs/profile_maintenance/trigger", &json!({})).await;
    settled(&house).await;
    assert_eq!(run_of(&house, begun["run_ids"][0].as_str().unwrap()).await["status"], "skipped");
    set(&house, "ann", "location", &json!("Paris")).await;
    say(&house, "and who am I now").await;
    let text = prompt(&house, "and who am I now");
    assert!(text.contains("Paris") && !text.contains("nurse from Lyon"), "{text}");
    house.close().await;
}

#[tokio::test]
async fn the_command_shows_sets_and_deletes() {
    let house = House::open().await;
    let url = house.running.url();
    let profile = async |words: &[&str]| run(&[&["profile", "--url", &url], words].concat(), &[]).await;
    assert_eq!(profile(&["list"]).await.out, "nobody is known\n");
    let set = profile(&["set", "ann", "preference.tea=green\u{1b}[2J"]).await;
    assert_eq!((set.code, set.out.as_str()), (0, "preference.tea: created\n"), "{}", set.err);
    assert_eq!(profile(&["set", "ann", "age=42"]).await.out, "fact.age: created\n");
    let wrong = profile(&["set", "ann", "age"]).await;
    assert!(wrong.code == 1 && wrong.err.contains("no assignment"), "{}", wrong.err);
    let edited = profile(&["edit", "ann", "--name", "Ann", "--email", "ann@example.org"]).await;
    assert!(edited.code == 0 && edited.out.contains("ann@example.org"), "{}{}", edited.out, edited.err);
    assert!(profile(&["lookup", "ANN@example.org"]).await.out.contains("Ann"));
    assert_eq!(profile(&["lookup", "bob@example.org"]).await.out, "nobody has this address\n");
    let shown = profile(&["show", "ann", "--history"]).await;
    assert!(shown.out.contains("preference.tea") && shown.out.contains("green[2J"), "{}{}", shown.out, shown.err);
    let listed = profile(&["list", "--kind", "user", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(listed["profiles"][0]["attributes"][0]["value"], 42);
    let id = listed["profiles"][0]["attributes"][0]["id"].to_string();
    assert!(profile(&["attributes", "ann", "--category", "fact"]).await.out.contains("fact.age"));
    let refused = profile(&["unset", &id]).await;
    assert!(refused.code == 1 && refused.err.contains("--yes"), "{}", refused.err);
    let gone = profile(&["unset", &id, "--yes"]).await;
    assert_eq!((gone.code, gone.out.as_str()), (0, "Deleted attribute fact.age\n"), "{}", gone.err);
    let absent = profile(&["show", "nobody"]).await;
    assert!(absent.code == 1 && absent.err.contains("No profile found"), "{}", absent.err);
    house.close().await;
}
