//! What the whole house makes of being remembered: what was said one day is known the next, what must not be learnt is not,
//! and faults on the way cost no turn and lose nothing. The models that work behind the scenes are the scripted upstream.

use greenroom::config::{Config, Span};
use greenroom_test_support::upstream::Script;
use serde_json::{Value, json};

use crate::common::{House, released, soon, text_of};
use crate::transfer::{import, message};

/// Words of the prompt that asks for facts.
pub const FACTS: &str = "Find what is worth remembering about the user";
/// Words of the prompt that compares facts with what is known.
const COMPARE: &str = "New facts about a user were just learned";
/// Words of the prompt that asks for a summary.
const SUMMARISE: &str = "Summarise the conversation below";

/// Background work is done by the scripted model, and at once.
pub fn background(config: &mut Config) {
    config.memory.extraction_model = Some("scripted".into());
    config.memory.summarization_model = Some("scripted".into());
    config.scheduler.check_interval = Span::millis(200);
}

/// A house like that, whose scheduler is at work.
pub async fn house() -> House {
    house_with(|_| ()).await
}

/// The same with more changes.
pub async fn house_with(change: impl FnOnce(&mut Config)) -> House {
    let house = House::open_with(|config| {
        background(config);
        change(config);
    })
    .await;
    house.upstream.default_script(Script::text("Noted."));
    settled(&house).await;
    house
}

/// Waits until the scheduler has nothing left to do.
pub async fn settled(house: &House) {
    soon(house.running.house().scheduler.settled()).await;
}

/// The next answers to the question for facts; the last one stays.
pub fn learns(house: &House, answers: &[Value]) {
    for facts in answers {
        house.upstream.script_for(FACTS, Script::text(&json!({"facts": facts}).to_string()));
    }
}

/// Ann says something to Nova. When this returns, the end of the turn is stored.
pub async fn say(house: &House, words: &str) {
    say_with(house, words, &json!({})).await;
}

/// The same with more members in the request.
pub async fn say_with(house: &House, words: &str, more: &Value) {
    let mut body = json!({"model": "scripted", "bot_id": "nova", "user": "ann",
        "messages": [{"role": "user", "content": words}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let (status, answer) = house.post("/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    let turn = answer["service"]["turn_id"].as_str().unwrap().to_owned();
    until(async || house.get(&format!("/v1/turn-logs/{turn}?wait_s=5")).await.1["status"] == "ok").await;
}

/// Looks until it is so; never longer than a test may take.
pub async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    soon(async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The system texts of the last prompt that ended with these words.
pub fn prompt(house: &House, words: &str) -> String {
    let request = house.upstream.requests_with(words).last().cloned().expect("the model was asked");
    let messages = request.body["messages"].as_array().unwrap();
    let system = messages.iter().filter(|message| message["role"] == "system");
    system.filter_map(|message| message["content"].as_str()).collect::<Vec<_>>().join("\n")
}

/// Runs a job for Nova and gives the run with its result.
pub async fn run_job(house: &House, job: &str) -> Value {
    let (status, begun) = house.post(&format!("/v1/jobs/{job}/trigger"), &json!({"bot_id": "nova"})).await;
    assert_eq!(status, 200, "{begun}");
    settled(house).await;
    run_of(house, begun["run_ids"][0].as_str().unwrap()).await
}

/// A run with its result.
pub async fn run_of(house: &House, id: &str) -> Value {
    let (_, page) = house.get("/v1/jobs/runs?include_result=true&limit=1000").await;
    let runs = page["runs"].as_array().unwrap();
    runs.iter().find(|run| run["id"] == id).cloned().unwrap_or_else(|| panic!("no run {id} in {page}"))
}

/// What Nova knows, newest first.
pub async fn known(house: &House) -> Vec<String> {
    let (_, list) = house.get("/v1/memory?bot_id=nova&limit=500").await;
    let memories = list["results"].as_array().unwrap();
    memories.iter().filter_map(|memory| memory["content"].as_str().map(str::to_owned)).collect()
}

fn lyon() -> Value {
    json!([{"content": "The user works in Lyon as a nurse since spring.", "tags": ["professional"], "importance": 0.9,
        "source_indexes": [1], "profile_attribute": {"category": "fact", "key": "location", "value": "Lyon"}}])
}

#[tokio::test]
async fn the_next_day_a_bot_knows_what_it_was_told() {
    let house = house().await;
    let tale = "a long tale of a journey through the mountains, told at the fireside. ".repeat(8);
    let past: Vec<Value> =
        (0..80).map(|at| message("nova", at * 30, ["user", "assistant"][at % 2], &format!("{at}: {tale}"))).collect();
    import(&house, &past).await;
    learns(&house, &[lyon(), json!([])]);
    say(&house, "I moved to Lyon in spring, I am a nurse there").await;
    say(&house, "thanks for listening").await;

    let run = run_job(&house, "memory_extraction").await;
    let result = &run["result"];
    assert_eq!(
        (&run["status"], &run["bot_id"], &run["trigger"]),
        (&json!("success"), &json!("nova"), &json!("manual"))
    );
    assert_eq!((&result["messages_found"], &result["facts_stored"]), (&json!(4), &json!(1)), "{run}");
    assert_eq!((&result["extraction_method"], &result["bot_id"]), (&json!("llm"), &json!("nova")), "{run}");
    assert_eq!(known(&house).await, ["The user works in Lyon as a nurse since spring."]);
    let (_, profile) = house.get("/v1/profiles/user/ann").await;
    assert_eq!(
        (&profile["attributes"][0]["key"], &profile["attributes"][0]["source"]),
        (&json!("location"), &json!("extracted"))
    );

    // A new conversation: what was said has left the prompt, what was learnt comes into it.
    let only_two = json!({"scope_type": "bot", "scope_id": "nova", "key": "max_context_messages", "value": 2});
    assert_eq!(house.put("/v1/settings", &only_two).await.0, 200);
    assert_eq!(house.post("/v1/chat/session/reset", &json!({"bot_id": "nova", "user": "ann"})).await.0, 200);
    say(&house, "what is my work and where").await;
    let text = prompt(&house, "what is my work and where");
    assert!(text.contains("works in Lyon as a nurse since spring"), "{text}");
    let turn = house.get("/v1/turn-logs?limit=1").await.1["turns"][0]["id"].as_str().unwrap().to_owned();
    let (_, log) = house.get(&format!("/v1/turn-logs/{turn}")).await;
    assert!(!log["request"]["memory"]["memories"].as_array().unwrap().is_empty(), "{log}");

    // What lies far back is summarised; the words themselves stay to be read.
    let summary = "Summary: Ann told of a journey through high mountains.\nKey Details: fireside, 80 tales\nIntent: sharing\nTone: calm";
    house.upstream.script_for(SUMMARISE, Script::text(summary));
    let (status, done) = house.post("/v1/history/summarize?bot_id=nova", &Value::Null).await;
    assert_eq!((status, &done["success"]), (200, &json!(true)), "{done}");
    assert!(done["messages_summarized"].as_u64().unwrap() > 0, "{done}");
    let (_, list) = house.get("/v1/history/summaries?bot_id=nova").await;
    let first = &list["summaries"][0];
    assert!(first["method"].as_str().unwrap().starts_with("llm") && first["model"] == "scripted", "{first}");
    assert_eq!(house.get("/v1/history?bot_id=nova&limit=1000").await.1["total_count"], 86);
    say(&house, "what did I tell you long ago").await;
    let text = prompt(&house, "what did I tell you long ago");
    assert!(text.contains("journey through high mountains"), "{text}");

    // Forgetting takes the words, what was learnt from them and what the profile says; restoring brings all of it back.
    let (_, page) = house.get("/v1/history?bot_id=nova&limit=1000").await;
    let told =
        page["messages"].as_array().unwrap().iter().find(|m| m["content"].as_str().unwrap().contains("moved to Lyon"));
    let id = told.unwrap()["id"].as_str().unwrap();
    let (status, gone) = house.post("/v1/memory/forget?bot_id=nova", &json!({"message_id": id})).await;
    assert_eq!(
        (status, &gone["memories_deleted"], &gone["attributes_forgotten"]),
        (200, &json!(1), &json!(1)),
        "{gone}"
    );
    say(&house, "and where do I live").await;
    let text = prompt(&house, "and where do I live");
    assert!(!text.contains("Lyon"), "{text}");
    let (_, back) = house.post("/v1/memory/restore?bot_id=nova", &json!({"batch_id": gone["batch_id"]})).await;
    assert_eq!(back["memories_restored"], 1, "{back}");
    say(&house, "once more, where do I live").await;
    assert!(prompt(&house, "once more, where").contains("Lyon"));
    house.close().await;
}

#[tokio::test]
async fn facts_are_read_after_the_turn_unless_the_request_forbids_it() {
    let house = house_with(|config| config.scheduler.extraction_delay = Span::millis(10)).await;
    let chess = json!([{"content": "The user plays chess on Sundays.", "importance": 0.9, "source_indexes": [1]}]);
    learns(&house, &[chess]);
    say_with(&house, "I play chess on Sundays, keep that to yourself", &json!({"extract_memory": false})).await;
    settled(&house).await;
    let run = run_job(&house, "memory_extraction").await;
    assert_eq!((&run["status"], known(&house).await.len()), (&json!("skipped"), 0), "{run}");
    assert!(run["result"]["reason"].is_string(), "{run}");
    let (_, forced) = house.post("/v1/jobs/memory_extraction/trigger", &json!({"bot_id": "nova", "force": true})).await;
    settled(&house).await;
    let forced = run_of(&house, forced["run_ids"][0].as_str().unwrap()).await;
    assert_eq!((&forced["status"], &forced["result"]["messages_found"]), (&json!("success"), &json!(0)), "{forced}");
    assert!(house.upstream.requests_with(FACTS).is_empty());

    // The same words without the ban: nobody has to ask for it.
    say(&house, "I play chess on Sundays").await;
    until(async || known(&house).await == ["The user plays chess on Sundays."]).await;
    let (_, runs) = house.get("/v1/jobs/runs?job_type=memory_extraction&bot_id=nova&limit=1").await;
    assert_eq!(runs["runs"][0]["trigger"], "turn", "{runs}");
    assert!(!house.upstream.requests_with(FACTS)[0].last_user_text().contains("keep that to yourself"));
    house.close().await;
}

#[tokio::test]
async fn a_namespace_that_panics_costs_no_turn_and_no_memory() {
    let house = house().await;
    import(&house, &[json!({"kind": "memory", "bot_id": "nova", "content": "Ann's dog is called Bella"})]).await;
    let body = json!({"model": "scripted", "bot_id": "nova", "user": "ann", "stream": true,
        "messages": [{"role": "user", "content": "hold on"}]});
    let (script, gate) = Script::numbered(4).gated();
    house.upstream.script_for("hold on", script);
    let request = house.request(reqwest::Method::POST, "/v1/chat/completions").json(&body);
    let stream = request.send().await.unwrap();
    house.upstream.wait_for_request(1).await;
    let rooms = house.running.house();
    let nova = rooms.bots.directory().named("nova").cloned().unwrap();
    let namespace = rooms.bots.namespace(&nova);
    namespace.crash();
    let crashed = || house.running.board().views().iter().any(|card| card.name.contains("nova") && card.restarts > 0);
    gate.open();
    assert_eq!(text_of(&soon(stream.text()).await.unwrap()), "t0 t1 t2 t3 ");
    // A command in its way may be told of the crash; the next one is served.
    let request = json!({"kind": "memory", "bot_id": "nova", "content": "Ann likes green tea"});
    until(async || {
        let lines = house.request(reqwest::Method::POST, "/v1/import").header("content-type", "application/x-ndjson");
        let (status, outcome) = house.send(lines.body(request.to_string())).await;
        assert!(matches!(status, 200 | 503), "{status} {outcome}");
        status == 200 && outcome["failed"] == 0
    })
    .await;
    until(async || crashed()).await;
    let (_, hits) = house.post("/v1/memory/search", &json!({"query": "dog Bella", "bot_id": "nova"})).await;
    assert_eq!(hits["results"][0]["content"], "Ann's dog is called Bella", "{hits}");
    until(async || house.get("/v1/history?bot_id=nova").await.1["total_count"] == 2).await;
    say(&house, "which tea do I like").await;
    assert!(prompt(&house, "which tea").contains("green tea"));
    house.close().await;
}

#[tokio::test]
async fn a_turn_answers_while_the_embedder_has_no_room() {
    let house = house_with(|config| config.embedder.queue = 1).await;
    let many = json!({"model": "default", "input": vec!["one of many texts"; 40]});
    let refused = house.request(reqwest::Method::POST, "/v1/embeddings").json(&many).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (429, true));
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["type"], "rate_limit_error", "{body}");
    import(&house, &[message("nova", 0, "user", "my dog Bella likes the garden")]).await;
    let floods = async {
        for _ in 0..20 {
            assert_eq!(house.post("/v1/embeddings", &many).await.0, 429);
        }
    };
    tokio::join!(floods, say(&house, "hello there"));
    let search = json!({"query": "Bella", "bot_id": "nova", "mode": "hybrid"});
    let (status, hits) = house.post("/v1/history/search", &search).await;
    assert_eq!((status, &hits["messages"][0]["content"]), (200, &json!("my dog Bella likes the garden")), "{hits}");
    house.close().await;
}

#[tokio::test]
async fn forgetting_races_with_a_turn_and_loses_nothing() {
    let house = house().await;
    let body = json!({"model": "scripted", "bot_id": "nova", "user": "ann", "stream": true,
        "messages": [{"role": "user", "content": "a secret I regret [[hold=1]][[chunks=3]]"}]});
    house.upstream.script_for(
        "a secret I regret",
        Script::numbered(3).fault_after(1, greenroom_test_support::upstream::Fault::Hold),
    );
    let request = house.request(reqwest::Method::POST, "/v1/chat/completions").json(&body);
    let stream = request.send().await.unwrap();
    house.upstream.wait_for_request(1).await;
    let total = async || house.get("/v1/history?bot_id=nova").await.1["total_count"].as_u64().unwrap();
    until(async || total().await >= 1).await;
    let (status, gone) = house.post("/v1/memory/forget?bot_id=nova", &json!({"minutes": 5})).await;
    assert!(status == 200 && gone["messages_ignored"].as_u64().unwrap() >= 1, "{gone}");
    let text = released(&house.upstream, stream.text()).await.unwrap();
    assert_eq!(text_of(&text), "t0 t1 t2 ");
    // The answer came after; the words that were forgotten stay forgotten, in history and in the next prompt.
    until(async || total().await == 1).await;
    let (_, page) = house.get("/v1/history?bot_id=nova").await;
    assert_eq!(page["messages"][0]["role"], "assistant", "{page}");
    say(&house, "what did I just say").await;
    let asked = house.upstream.requests_with("what did I just say").last().cloned().unwrap();
    assert!(!asked.body.to_string().contains("a secret I regret"), "{}", asked.body);
    let (_, back) = house.post("/v1/memory/restore?bot_id=nova", &json!({"batch_id": gone["batch_id"]})).await;
    assert_eq!(back["messages_restored"], gone["messages_ignored"], "{back}");
    assert_eq!(total().await, 4);
    house.close().await;
}

#[tokio::test]
async fn a_megabyte_is_kept_found_read_and_summarised_within_bounds() {
    let house = house().await;
    learns(
        &house,
        &[json!([{"content": "The user keeps a quokka in Perth.", "importance": 0.9, "source_indexes": [1]}])],
    );
    let huge = format!("I keep a quokka in Perth. {}", "words without end, ".repeat(60_000));
    assert!(huge.len() > 1 << 20);
    let record = message("nova", 0, "user", &huge);
    let request =
        house.request(reqwest::Method::POST, "/v1/import?extract=true").header("content-type", "application/x-ndjson");
    let (status, outcome) = house.send(request.body(format!("{record}\n"))).await;
    assert_eq!((status, &outcome["stored"]["messages"]), (200, &json!(1)), "{outcome}");
    let (_, page) = house.get("/v1/history?bot_id=nova").await;
    assert_eq!(page["messages"][0]["content"].as_str().unwrap().len(), huge.len());
    let (_, hits) =
        house.post("/v1/history/search", &json!({"query": "quokka", "bot_id": "nova", "mode": "text"})).await;
    assert_eq!(hits["total_count"], 1, "{}", hits["total_count"]);
    let run = run_job(&house, "memory_extraction").await;
    assert_eq!((&run["status"], &run["result"]["facts_stored"]), (&json!("success"), &json!(1)), "{run}");
    let read = house.upstream.requests_with(FACTS)[0].last_user_text();
    assert!(read.contains("quokka") && read.len() < 60_000, "{}", read.len());
    say(&house, "do you remember my pet").await;
    let asked = house.upstream.requests_with("do you remember my pet")[0].body.to_string();
    assert!(asked.len() < 200_000 && asked.contains("quokka"), "{}", asked.len());
    // As a prompt it is more than the model's window holds; that is said, and the next turn is served.
    let body =
        json!({"model": "scripted", "bot_id": "nova", "user": "ann", "messages": [{"role": "user", "content": huge}]});
    let (status, answer) = house.post("/v1/chat/completions", &body).await;
    assert!(status == 200 || answer["error"]["code"] == "context_length_exceeded", "{status} {}", answer["error"]);
    say(&house, "still there").await;
    let (status, done) = house.post("/v1/history/summarize?bot_id=nova&use_heuristic=true", &Value::Null).await;
    assert_eq!(status, 200, "{done}");
    house.close().await;
}

#[tokio::test]
async fn hostile_slugs_share_no_memory() {
    let house = house().await;
    let bot = |slug: &str| json!({"slug": slug, "name": "X", "system_prompt": "x", "requires_memory": true});
    for slug in ["nova_forgotten", "my-bot", "select"] {
        let (status, made) = house.post("/v1/bots", &bot(slug)).await;
        assert!(matches!(status, 200 | 201), "{slug}: {made}");
        let memory = json!({"kind": "memory", "bot_id": slug, "content": format!("only {slug} knows")});
        assert_eq!(import(&house, &[memory]).await["stored"]["memories"], 1);
    }
    assert_eq!(house.post("/v1/bots", &bot("mybot")).await.0, 409);
    for slug in ["x".repeat(100), "a;b".into(), "../nova".into(), "naïve".into(), String::new()] {
        assert!(matches!(house.post("/v1/bots", &bot(&slug)).await.0, 400 | 422), "{slug}");
    }
    import(&house, &[json!({"kind": "memory", "bot_id": "nova", "content": "only nova knows"})]).await;
    assert_eq!(house.post("/v1/bots/nova_forgotten/purge-data", &Value::Null).await.0, 200);
    assert_eq!(known(&house).await, ["only nova knows"]);
    let of = async |slug: &str| house.get(&format!("/v1/memory?bot_id={slug}")).await.1["total_count"].clone();
    assert_eq!((of("nova_forgotten").await, of("my-bot").await, of("select").await), (json!(0), json!(1), json!(1)));
    house.close().await;
}

#[tokio::test]
async fn a_model_that_hangs_talks_or_invents_costs_a_run_and_nothing_else() {
    let house = house_with(|config| config.memory.model_timeout = Span::millis(400)).await;
    let ducks = json!([{"content": "The user keeps ducks in the garden.", "importance": 0.9, "source_indexes": [1]}]);
    learns(&house, &[ducks]);
    house.upstream.script_for(FACTS, Script::text("").hang_before_headers());
    house.upstream.script_for(FACTS, Script::text("With pleasure! The user has geese."));
    say(&house, "I keep ducks in the garden").await;
    run_job(&house, "memory_extraction").await;
    let asked = house.upstream.requests_with(FACTS).len();
    say(&house, "I keep geese in the garden now, and no ducks").await;
    let (_, begun) = house.post("/v1/jobs/memory_extraction/trigger", &json!({"bot_id": "nova"})).await;
    until(async || house.upstream.requests_with(FACTS).len() > asked).await;
    // Whoever talks meanwhile is answered.
    say_with(&house, "are you still there", &json!({"extract_memory": false})).await;
    settled(&house).await;
    let hung = run_of(&house, begun["run_ids"][0].as_str().unwrap()).await;
    assert_eq!(hung["status"], "failed", "{hung}");
    assert!(hung["error_message"].as_str().unwrap().contains("in time"), "{hung}");
    let (_, stats) = house.get("/v1/memory/stats?bot_id=nova").await;
    assert_eq!(stats["messages"]["pending_extraction_count"], 2, "they wait for the next try: {stats}");

    say(&house, "they are called Gus and Greta").await;
    let prose = run_job(&house, "memory_extraction").await;
    assert_eq!((&prose["status"], known(&house).await.len()), (&json!("failed"), 1), "{prose}");

    learns(
        &house,
        &[
            json!([{"content": "The user keeps two geese called Gus and Greta in the garden.", "importance": 0.9, "source_indexes": [1]}]),
        ],
    );
    let invented = json!({"actions": [
        {"action": "DELETE", "fact": 1, "target_memory_id": "m99"},
        {"action": "UPDATE", "fact": 1, "target_memory_id": "00000000-0000-4000-8000-000000000000"},
    ]});
    house.upstream.script_for(COMPARE, Script::text(&invented.to_string()));
    say(&house, "my geese rule the garden").await;
    let run = run_job(&house, "memory_extraction").await;
    assert_eq!((&run["status"], &run["result"]["memories_superseded"]), (&json!("success"), &json!(0)), "{run}");
    assert!(!house.upstream.requests_with(COMPARE).is_empty());
    assert!(known(&house).await.contains(&"The user keeps ducks in the garden.".to_owned()));
    house.close().await;
}

#[tokio::test]
async fn one_memory_told_by_many_at_once_is_stored_once() {
    let house = house().await;
    let record = json!({"kind": "memory", "bot_id": "nova", "content": "Ann was born in May", "tags": ["fact"]});
    let stores = (0..8).map(|_| import(&house, std::slice::from_ref(&record)));
    let outcomes = futures_util::future::join_all(stores).await;
    let count = |name: &str| outcomes.iter().filter_map(|told| told[name]["memories"].as_u64()).sum::<u64>();
    assert_eq!((count("stored"), count("known")), (1, 7), "{outcomes:?}");
    assert_eq!(known(&house).await, ["Ann was born in May"]);
    house.close().await;
}

#[tokio::test]
async fn what_a_dead_reader_had_claimed_is_read_when_its_lease_is_over() {
    let house = house().await;
    learns(&house, &[json!([{"content": "The user keeps bees.", "importance": 0.9, "source_indexes": [1]}])]);
    say(&house, "I keep bees behind the house").await;
    let claim = "UPDATE messages SET extraction_state = 'claimed', lease_until = now() + interval '1 hour' * $1";
    for (hours, status, learnt) in [(1.0, "skipped", 0), (-1.0, "success", 1)] {
        let db = house.running.house().store.connection().await.unwrap();
        assert_eq!(db.execute(claim, &[&hours]).await.unwrap(), 2);
        drop(db);
        let run = run_job(&house, "memory_extraction").await;
        assert_eq!((&run["status"], known(&house).await.len()), (&json!(status), learnt), "{run}");
    }
    house.close().await;
}
