//! Jobs, runs and tasks over HTTP: listing, triggering, calling off, waiting; what went wrong is told in the run. The work
//! itself is the scripted model's.

use greenroom_test_support::upstream::Script;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::run;
use crate::common::{House, soon};
use crate::remembering::{FACTS, house, house_with, known, learns, run_job, run_of, say, settled, until};
use crate::transfer::{import, message};

async fn trigger(house: &House, job: &str, body: Value) -> (u16, Value) {
    house.post(&format!("/v1/jobs/{job}/trigger"), &body).await
}

#[tokio::test]
async fn jobs_are_listed_changed_and_filtered() {
    let house = house().await;
    let (status, all) = house.get("/v1/jobs").await;
    let jobs = all["jobs"].as_array().unwrap();
    let kinds: Vec<&str> = jobs.iter().filter_map(|job| job["job_type"].as_str()).collect();
    assert_eq!((status, kinds.len(), &all["total_count"]), (200, 8, &json!(8)), "{all}");
    assert!(kinds.is_sorted() && jobs.iter().all(|job| job["bot_id"] == "*" && job["enabled"] == true), "{all}");
    let minutes = |kind: &str| jobs.iter().find(|job| job["job_type"] == kind).unwrap()["interval_minutes"].clone();
    assert_eq!((minutes("memory_extraction"), minutes("profile_maintenance")), (json!(30), json!(60)));
    assert_eq!((minutes("history_summarization"), minutes("memory_consolidation")), (json!(30), json!(1440)));
    let id = jobs[0]["id"].as_str().unwrap();
    let path = format!("/v1/jobs/{id}");
    let change = json!({"enabled": false, "interval_minutes": 7, "config": {"max_tokens_per_chunk": 1000}});
    let (status, changed) = house.patch(&path, &change).await;
    let told = json!([changed["enabled"], changed["interval_minutes"], changed["config"]]);
    assert_eq!((status, told), (200, json!([false, 7, {"max_tokens_per_chunk": 1000}])), "{changed}");
    // Absent and null keep.
    let (_, kept) = house.patch(&path, &json!({"enabled": null})).await;
    assert_eq!((&kept["enabled"], &kept["interval_minutes"]), (&json!(false), &json!(7)));
    let (_, off) = house.get("/v1/jobs?enabled=no").await;
    assert_eq!((&off["total_count"], &off["jobs"][0]["id"]), (&json!(1), &json!(id)), "{off}");
    let (_, of_kind) = house.get("/v1/jobs?job_type=MEMORY_DECAY&bot_id=*").await;
    assert_eq!(of_kind["jobs"][0]["job_type"], "memory_decay", "{of_kind}");
    assert_eq!(house.get("/v1/jobs?bot_id=nova").await.1["total_count"], 0);
    assert_eq!(house.get("/v1/jobs?limit=3&offset=6").await.1["jobs"].as_array().unwrap().len(), 2);

    for bad in [
        json!({"interval_minutes": 0}),
        json!({"interval_minutes": "soon"}),
        json!({"max_runtime_s": 0}),
        json!({"config": [1]}),
        json!({"config": {"a": "x".repeat(20_000)}}),
        json!({"enabled": "maybe"}),
        json!([]),
    ] {
        assert_eq!(house.patch(&path, &bad).await.0, 422, "{bad:.60}");
    }
    for lost in ["00000000-0000-4000-8000-000000000000", "x", "%27--"] {
        let (status, answer) = house.patch(&format!("/v1/jobs/{lost}"), &json!({"enabled": true})).await;
        assert_eq!((status, answer["detail"].as_str()), (404, Some("Job not found")), "{lost}");
    }
    for (path, detail) in [
        ("/v1/jobs?job_type=nap", "Invalid job_type 'nap'"),
        ("/v1/jobs/runs?job_type=nap", "Invalid job_type 'nap'"),
        ("/v1/jobs/runs?status=asleep", "Invalid status 'asleep'"),
        ("/v1/tasks?task_type=nap", "Invalid task type: nap"),
        ("/v1/tasks?status=asleep", "Invalid status filter"),
    ] {
        let (status, answer) = house.get(path).await;
        assert_eq!((status, answer["detail"].as_str()), (400, Some(detail)), "{path}");
    }
    for path in [
        "/v1/jobs?limit=501",
        "/v1/jobs?enabled=perhaps",
        "/v1/jobs/runs?limit=1001",
        "/v1/jobs/runs?job_id=x",
        "/v1/jobs/runs?offset=-1",
        "/v1/tasks?limit=0",
        "/v1/tasks/x?timeout=301",
        "/v1/tasks/x?wait=perhaps",
    ] {
        let (status, answer) = house.get(path).await;
        assert_eq!((status, &answer["detail"][0]["loc"][0]), (422, &json!("query")), "{path}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_trigger_names_its_runs_and_their_results_can_be_read() {
    let house = house().await;
    learns(&house, &[json!([])]);
    for (job, body, status, detail) in [
        ("nap", json!({}), 400, "Invalid job_type 'nap'"),
        ("memory_decay", json!({"bot_id": "nobody"}), 404, "Bot 'nobody' has no memory to work on"),
        ("memory_decay", json!({"bot_id": "spark"}), 404, "Bot 'spark' has no memory to work on"),
    ] {
        let (answered, answer) = trigger(&house, job, body).await;
        assert_eq!((answered, answer["detail"].as_str()), (status, Some(detail)), "{job}");
    }
    for bad in [json!({"bot_id": "a b"}), json!({"force": "perhaps"}), json!([1])] {
        assert_eq!(trigger(&house, "memory_decay", bad.clone()).await.0, 422, "{bad}");
    }
    // Nothing is there to be done: a run for all bots, whose children say why not.
    let bodiless = house.request(Method::POST, "/v1/jobs/memory_decay/trigger");
    let (status, begun) = house.send(bodiless).await;
    assert_eq!((status, &begun["success"], &begun["scheduler_running"]), (200, &json!(true), &json!(true)), "{begun}");
    assert_eq!((&begun["job_type"], &begun["jobs_triggered"]), (&json!("memory_decay"), &json!(1)));
    settled(&house).await;
    let parent = run_of(&house, begun["run_ids"][0].as_str().unwrap()).await;
    assert_eq!((&parent["status"], &parent["bot_id"]), (&json!("success"), &json!("*")), "{parent}");
    let (_, children) = house.get("/v1/jobs/runs?job_type=memory_decay&status=skipped&include_result=true").await;
    let children = children["runs"].as_array().unwrap();
    assert_eq!(children.len(), 2, "{children:?}");
    for child in children {
        assert_eq!(child["parent_run_id"], parent["id"]);
        assert!(child["result"]["reason"].is_string() && child["finished_at"].is_string(), "{child}");
    }
    // The same with something to do, for one bot; by query this time.
    import(&house, &[json!({"kind": "memory", "bot_id": "nova", "content": "Ann likes tea"})]).await;
    for job in ["memory_decay", "memory_recurrence", "memory_orphans", "tombstone_expiry", "memory_consolidation"] {
        let request = house.request(Method::POST, &format!("/v1/jobs/{job}/trigger?bot_id=NOVA&force=yes"));
        let (status, begun) = house.send(request).await;
        assert_eq!((status, begun["run_ids"].as_array().unwrap().len()), (200, 1), "{job}: {begun}");
        settled(&house).await;
        let run = run_of(&house, begun["run_ids"][0].as_str().unwrap()).await;
        assert_eq!((&run["status"], &run["bot_id"]), (&json!("success"), &json!("nova")), "{run}");
        assert!(run["result"].is_object() && run["duration_ms"].is_number() && run["attempt"] == 1, "{run}");
    }
    let (_, plain) = house.get("/v1/jobs/runs?bot_id=nova&limit=2").await;
    assert_eq!((plain["runs"][0]["result"].is_null(), plain["runs"].as_array().unwrap().len()), (true, 2), "{plain}");
    let (_, jobs) = house.get("/v1/jobs?job_type=memory_decay").await;
    let job = &jobs["jobs"][0];
    assert!(job["last_status"].is_string() && job["last_duration_ms"].is_number(), "{job}");
    let (_, of_job) = house.get(&format!("/v1/jobs/runs?job_id={}", job["id"].as_str().unwrap())).await;
    assert!(of_job["total_count"].as_u64().unwrap() >= 4, "{of_job}");

    // A model that fails makes a failed run that says so.
    say(&house, "I have worked as a nurse for years").await;
    house.patch("/v1/bots/nova/profile", &json!({"default_model": "scripted"})).await;
    let gone = json!({"type": "openai", "model_id": "x", "extra": {"base_url": "http://127.0.0.1:9/v1", "api_key": "k-0123456789"}});
    assert_eq!(house.put("/v1/models/definitions/scripted", &gone).await.0, 200);
    let failed = run_job(&house, "memory_extraction").await;
    assert_eq!(failed["status"], "failed", "{failed}");
    let why = failed["error_message"].as_str().unwrap();
    assert!(!why.is_empty() && !why.contains("k-0123456789") && failed["result"]["error"].is_string(), "{failed}");
    assert_eq!(house.get("/v1/jobs/runs?status=failed").await.1["total_count"], 1);
    house.close().await;
}

#[tokio::test]
async fn a_run_at_work_is_not_begun_twice_and_can_be_called_off() {
    let house = house().await;
    let (script, gate) = Script::text(&json!({"facts": []}).to_string()).gated();
    house.upstream.script_for(FACTS, script);
    say(&house, "I have worked as a nurse for years").await;
    let (_, begun) = trigger(&house, "memory_extraction", json!({"bot_id": "nova"})).await;
    let id = begun["run_ids"][0].as_str().unwrap();
    until(async || !house.upstream.requests_with(FACTS).is_empty()).await;
    let (status, again) = trigger(&house, "memory_extraction", json!({"bot_id": "nova"})).await;
    assert_eq!((status, &again["detail"]["run_id"]), (409, &json!(id)), "{again}");
    assert!(again["detail"]["message"].is_string());
    assert_eq!(run_of(&house, id).await["status"], "running");
    let (status, asked) = house.delete(&format!("/v1/jobs/runs/{id}")).await;
    assert_eq!((status, &asked["run_id"]), (200, &json!(id)), "{asked}");
    settled(&house).await;
    let run = run_of(&house, id).await;
    assert_eq!((&run["status"], &run["error_message"]), (&json!("failed"), &json!("cancelled")), "{run}");
    assert_eq!(house.delete(&format!("/v1/jobs/runs/{id}")).await.0, 409);
    for lost in ["00000000-0000-4000-8000-000000000000", "x"] {
        let (status, answer) = house.delete(&format!("/v1/jobs/runs/{lost}")).await;
        assert_eq!((status, answer["detail"].as_str()), (404, Some("Run not found")), "{lost}");
    }
    // Who gave up left no trace: the messages are read the next time.
    gate.open();
    let run = run_job(&house, "memory_extraction").await;
    assert_eq!((&run["status"], &run["result"]["messages_found"]), (&json!("success"), &json!(2)), "{run}");
    house.close().await;
}

#[tokio::test]
async fn tasks_are_submitted_waited_for_and_called_off() {
    let house = house().await;
    let submit = async |body: Value| house.post("/v1/tasks", &body).await;
    let task =
        |kind: &str, payload: Value| json!({"task_type": kind, "user_id": "Ann", "bot_id": "nova", "payload": payload});
    let (status, answer) = submit(task("nap", json!({}))).await;
    assert_eq!((status, answer["detail"].as_str()), (400, Some("Invalid task type: nap")));
    for (body, place) in [
        (json!({"task_type": "memory_extraction"}), json!(["body", "user_id"])),
        (json!({"task_type": "memory_extraction", "user_id": ""}), json!(["body", "user_id"])),
        (json!({"task_type": "memory_extraction", "user_id": "ann", "bot_id": "a b"}), json!(["body", "bot_id"])),
        (json!({"task_type": "memory_extraction", "user_id": "ann", "priority": "high"}), json!(["body", "priority"])),
        (task("memory_extraction", json!([])), json!(["body", "payload"])),
        (task("memory_extraction", json!({"batch_size": 0})), json!(["body", "payload", "batch_size"])),
        (task("meaning_update", json!({"memory_id": "' OR 1=1"})), json!(["body", "payload", "memory_id"])),
        (task("embedding_generation", json!({})), json!(["body", "payload", "texts"])),
    ] {
        let (status, answer) = submit(body.clone()).await;
        assert_eq!((status, &answer["detail"][0]["loc"]), (422, &place), "{body}: {answer}");
    }
    let (status, answer) =
        submit(json!({"task_type": "memory_extraction", "user_id": "ann", "bot_id": "nobody"})).await;
    assert_eq!(status, 404, "{answer}");

    let outcome = async |id: &str, query: &str| house.get(&format!("/v1/tasks/{id}{query}")).await;
    let done = async |body: Value| {
        let (status, told) = submit(body).await;
        assert_eq!((status, &told["status"]), (200, &json!("pending")), "{told}");
        let id = told["task_id"].as_str().unwrap().to_owned();
        let (_, outcome) = soon(outcome(&id, "?wait=true&timeout=15")).await;
        assert!(outcome["processing_time_ms"].is_number() && outcome["error"].is_null(), "{outcome}");
        outcome
    };
    import(&house, &[json!({"kind": "memory", "bot_id": "nova", "content": "Ann likes tea"})]).await;
    let memory = house.get("/v1/memory?bot_id=nova").await.1["results"][0]["id"].clone();
    let told = done(task("embedding_generation", json!({"texts": ["one", "two"], "memory_ids": [memory]}))).await;
    assert_eq!(told["status"], "completed", "{told}");
    let told =
        done(task("meaning_update", json!({"memory_id": memory, "intent": "small talk", "updated_tags": ["drink"]})))
            .await;
    assert_eq!((&told["result"]["updated"], &told["result"]["memory_id"]), (&json!(true), &memory), "{told}");
    let tagged = house.get(&format!("/v1/memory/{}?bot_id=nova", memory.as_str().unwrap())).await.1;
    assert_eq!(tagged["tags"], json!(["drink"]), "{tagged}");
    let told = done(task("memory_maintenance", json!({"run_orphan_cleanup": true, "dry_run": true}))).await;
    assert_eq!((&told["result"]["dry_run"], &told["result"]["errors"]), (&json!(true), &json!([])), "{told}");
    for (kind, member) in [("memory_consolidation", "clusters_found"), ("memory_extraction", "messages_found")] {
        let told = done(task(kind, json!({}))).await;
        assert!(told["status"] == "completed" && told["result"][member].is_number(), "{kind}: {told}");
    }
    let said = json!([{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]);
    let told = done(task("context_compaction", json!({"messages": said, "target_token_count": 1000}))).await;
    assert!(told["status"] == "completed" && told["result"].is_object(), "{told}");
    let told = done(task("history_summarization", json!({}))).await;
    assert!(told["result"]["extraction"].is_object() && told["result"]["used_heuristic_fallback"] == true, "{told}");
    let told = done(task("profile_maintenance", json!({"dry_run": true}))).await;
    assert_eq!((&told["status"], &told["result"]["entity_id"]), (&json!("completed"), &json!("ann")), "{told}");

    // Clients rely on `pending` for what is not known; the strict learn the truth.
    for id in ["00000000-0000-4000-8000-000000000000", "x", "%27%20OR%201=1"] {
        let (status, told) = outcome(id, "?wait=true&timeout=0.1").await;
        assert_eq!((status, &told["status"], &told["result"]), (200, &json!("pending"), &Value::Null), "{id}");
        let (status, told) = outcome(id, "?strict=true").await;
        assert_eq!((status, told["detail"].as_str()), (404, Some("Task not found")), "{id}");
        assert_eq!(house.delete(&format!("/v1/tasks/{id}")).await.0, 404, "{id}");
    }
    let (_, list) = house.get("/v1/tasks?status=completed&user_id=ANN&bot_id=Nova&limit=2").await;
    assert_eq!((list["tasks"].as_array().unwrap().len(), &list["total_count"]), (2, &json!(8)), "{list}");
    assert_eq!((&list["tasks"][0]["task_type"], list["tasks"][0].get("result")), (&json!("profile_maintenance"), None));
    assert_eq!(house.get("/v1/tasks?task_type=meaning_update").await.1["total_count"], 1);

    // One at work is asked to stop, one that waits behind it is never begun.
    let (script, _gate) = Script::text("{}").gated();
    house.upstream.script_for(FACTS, script);
    say(&house, "I have worked as a nurse for years").await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (_, told) = submit(task("memory_extraction", json!({}))).await;
        ids.push(told["task_id"].as_str().unwrap().to_owned());
        until(async || !house.upstream.requests_with(FACTS).is_empty()).await;
    }
    assert_eq!(outcome(&ids[0], "").await.1["status"], "running");
    assert_eq!(house.get("/v1/tasks?status=running").await.1["tasks"][0]["task_id"], json!(ids[0]));
    for id in ids.iter().rev() {
        assert_eq!(house.delete(&format!("/v1/tasks/{id}")).await.0, 200);
        let (_, told) = soon(outcome(id, "?wait=true&timeout=15")).await;
        assert_eq!((&told["status"], &told["error"]), (&json!("failed"), &json!("cancelled")), "{told}");
        assert_eq!(house.delete(&format!("/v1/tasks/{id}")).await.0, 409);
    }
    house.close().await;
}

#[tokio::test]
async fn what_a_client_does_not_wait_for_is_done_later() {
    let house = house().await;
    let tale = "a long tale of a journey through the mountains, told at the fireside. ".repeat(8);
    let past: Vec<Value> =
        (0..80).map(|at| message("nova", at * 30, ["user", "assistant"][at % 2], &format!("{at}: {tale}"))).collect();
    import(&house, &past).await;
    let later = async |path: &str| {
        let (status, told) = house.post(path, &json!({"async": true})).await;
        assert_eq!((status, &told["bot_id"]), (202, &json!("nova")), "{path}: {told}");
        let id = told["task_id"].as_str().unwrap();
        let (_, outcome) = soon(house.get(&format!("/v1/tasks/{id}?wait=true&timeout=15&strict=true"))).await;
        assert_eq!(outcome["status"], "completed", "{path}: {outcome}");
        outcome["result"].clone()
    };
    // The model answers prose, which is a summary; what the request asked for is what is done.
    let done = later("/v1/history/summarize?bot_id=nova&async=true").await;
    assert!(done["messages_summarized"].as_u64().unwrap() > 0 && done["extraction"].is_null(), "{done}");
    let summaries = house.get("/v1/history/summaries?bot_id=nova").await.1;
    assert_eq!(summaries["summaries"][0]["model"], "scripted", "{summaries}");
    let requests = house.upstream.requests().len();
    let done = later("/v1/history/summarize/rebuild?bot_id=nova&async=true&sessions=1").await;
    assert!(done["sessions_summarized"].as_u64().unwrap() > 0, "{done}");
    assert!(house.upstream.requests().len() > requests, "a rebuild writes it again");
    let done = later("/v1/memory/regenerate-embeddings?bot_id=nova").await;
    assert_eq!((&done["failed"], &done["embedding_dim"]), (&json!(0), &json!(384)), "{done}");
    let done = later("/v1/memory/consolidate?bot_id=nova").await;
    assert!(done["clusters_found"].is_number(), "{done}");
    house.close().await;
}

#[tokio::test]
async fn a_scheduler_that_is_off_says_so_and_still_does_tasks() {
    let house = house_with(|config| {
        config.scheduler.enabled = false;
        config.bots.tunables.memory_extraction_interval_minutes = Some(7);
    })
    .await;
    let (_, jobs) = house.get("/v1/jobs?job_type=memory_extraction").await;
    assert_eq!(jobs["jobs"][0]["interval_minutes"], 7, "{jobs}");
    let (status, answer) = trigger(&house, "memory_decay", json!({})).await;
    assert_eq!((status, answer["detail"].as_str()), (409, Some("The job scheduler is not running")));
    let body = json!({"task_type": "embedding_generation", "user_id": "ann", "payload": {"texts": ["one"]}});
    let (_, task) = house.post("/v1/tasks", &body).await;
    let id = task["task_id"].as_str().unwrap();
    let (_, told) = soon(house.get(&format!("/v1/tasks/{id}?wait=true&timeout=15"))).await;
    assert_eq!(told["status"], "completed", "{told}");
    house.close().await;
}

#[tokio::test]
async fn the_command_lists_triggers_and_switches() {
    let house = house().await;
    learns(&house, &[json!([{"content": "The user keeps bees.", "importance": 0.9, "source_indexes": [1]}])]);
    let url = house.running.url();
    let job = async |words: &[&str]| run(&[&["job", "--url", &url], words].concat(), &[]).await;
    let list = job(&["list"]).await;
    assert!(list.code == 0 && list.out.contains("memory_extraction") && list.out.contains("30"), "{}", list.err);
    assert_eq!(job(&["runs"]).await.out, "nothing has run\n");
    say(&house, "I keep bees behind the house").await;
    let begun = job(&["trigger", "memory_extraction", "--bot", "nova"]).await;
    assert_eq!((begun.code, begun.out.as_str()), (0, "memory_extraction started\n"), "{}", begun.err);
    settled(&house).await;
    let runs = job(&["runs", "--bot", "nova", "--status", "success"]).await;
    assert!(runs.out.contains("memory_extraction") && runs.out.contains("success"), "{}{}", runs.out, runs.err);
    let runs: Value = serde_json::from_str(&job(&["runs", "--json", "--results"]).await.out).unwrap();
    assert_eq!(runs["runs"][0]["result"]["facts_stored"], 1, "{runs}");
    assert_eq!(known(&house).await, ["The user keeps bees."]);
    let jobs: Value = serde_json::from_str(&job(&["list", "--json"]).await.out).unwrap();
    let id = jobs["jobs"][0]["id"].as_str().unwrap();
    let off = job(&["disable", &id[..13]]).await;
    assert!(off.code == 0 && off.out.contains("no"), "{}{}", off.out, off.err);
    assert!(job(&["interval", id, "7"]).await.out.contains('7'));
    assert_eq!(job(&["enable", id]).await.code, 0);
    let (_, told) = house.get("/v1/jobs").await;
    assert_eq!((&told["jobs"][0]["enabled"], &told["jobs"][0]["interval_minutes"]), (&json!(true), &json!(7)));
    for (words, why) in [
        (["trigger", "nap"].as_slice(), "Invalid job_type"),
        (&["trigger", "memory_decay", "--bot", "nobody"], "nobody"),
        (&["enable", "zzz"], "0 jobs"),
        (&["interval", id, "0"], "interval_minutes"),
    ] {
        let told = job(words).await;
        assert!(told.code == 1 && told.err.contains(why), "{words:?}: {}", told.err);
    }
    house.close().await;
}
