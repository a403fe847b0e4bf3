//! The world outside fails while a tool needs it, and the server, or its database, while a tool runs.

use greenroom_test_support::upstream::search::{brave_web, duckduckgo_page};
use greenroom_test_support::upstream::{
    Gate, McpAnswer, McpServer, Script, ScriptedCall, ToolShape, Upstream, WebAnswer, mcp_tool, refusing_base_url,
};
use serde_json::{Value, json};

use crate::client::Stream;
use crate::server::Server;

const HIT: (&str, &str, &str) = ("Rust", "https://rust.example/", "A language.");

/// Brave with a key and DuckDuckGo, both played by `web`.
fn search_config(web: &Upstream, timeout: &str) -> String {
    format!(
        "[search]\nbrave_api_key = \"k\"\nbrave_url = \"{}\"\nduckduckgo_url = \"{}\"\ntimeout = \"{timeout}\"\n",
        web.web_url("/brave"),
        web.web_url("/ddg")
    )
}

fn home_config(url: &str) -> String {
    format!("[home]\nnative_url = \"{url}\"\n")
}

/// Makes the bot `butler`, which remembers and may use everything.
async fn butler(server: &Server) {
    let flags = json!({"slug": "butler", "name": "Butler", "system_prompt": "You help.", "requires_memory": true,
        "uses_tools": true, "uses_search": true, "uses_home_assistant": true});
    let made = server.post("/v1/bots", &flags).await;
    assert!(made.status().is_success(), "{}", made.text().await.unwrap_or_default());
}

/// The model calls these tools in one batch.
fn calling(server: &Server, calls: &[(&str, Value)]) {
    let calls = calls.iter().enumerate();
    let calls: Vec<_> = calls.map(|(n, (name, it))| ScriptedCall::new(&format!("call_{n}"), name, it)).collect();
    server.upstream.script(Script::tool_calls(&calls, &ToolShape::default()));
}

async fn ask(server: &Server, prompt: &str) -> Stream {
    let mut body = Server::body(prompt);
    body["bot_id"] = "butler".into();
    server.open(&body).await
}

fn result_of(stream: &Stream, n: usize) -> (&Value, &str) {
    let end = stream.of_kind("service.tool_result")[n];
    (&end["ok"], end["result"].as_str().unwrap_or_default())
}

/// An answer of Brave's that waits for its gate.
fn held_search(web: &Upstream) -> Gate {
    let (_, gate) = Script::text("").gated();
    web.web("/brave/web/search", WebAnswer::json(&brave_web(&[HIT])).gated(&gate));
    gate
}

#[tokio::test]
async fn a_search_service_that_hangs_is_given_up_for_the_next() {
    let web = Upstream::start().await;
    let server = Server::start_with(&search_config(&web, "500ms")).await;
    butler(&server).await;
    web.web("/brave/web/search", WebAnswer::hang());
    web.web("/ddg", WebAnswer::page(duckduckgo_page(&[HIT])));
    calling(&server, &[("search", json!({"query": "rust"}))]);
    server.upstream.script(Script::text("Found."));
    let stream = ask(&server, "search").await.finish().await;
    let (ok, result) = result_of(&stream, 0);
    assert!(*ok == true && result.contains("https://rust.example/") && result.contains("Brave"), "{result}");
    assert_eq!((stream.status(), stream.text().as_str()), ("completed", "Found."));
    web.wait_for_abort().await;
}

#[tokio::test]
async fn an_abort_reaches_the_tool_that_runs() {
    let web = Upstream::start().await;
    let server = Server::start_with(&search_config(&web, "10s")).await;
    butler(&server).await;
    let _held = held_search(&web);
    calling(&server, &[("search", json!({"query": "rust"})), ("time", json!({"timezone": "Mars/Base"}))]);
    let mut stream = ask(&server, "search").await;
    let turn = stream.turn().await;
    web.wait_for_request(1).await;
    assert_eq!(server.abort(&turn).await["detail"], "aborted");
    web.wait_for_abort().await;
    let stream = stream.finish().await;
    assert_eq!((stream.status(), stream.is_done()), ("aborted", true));
    let (calls, results) = (stream.of_kind("service.tool_call").len(), stream.of_kind("service.tool_result").len());
    assert!(calls > 0 && calls == results, "every call that was told has a result: {:?}", stream.frames);
    let (_, log) = server.get(&format!("/v1/turn-logs/{turn}")).await;
    assert_eq!((&log["tool_calls"][0]["ok"], &log["tool_calls"][0]["status"]), (&json!(false), &json!("completed")));
    // What was broken off harms no later prompt.
    server.upstream.script(Script::text("Go on."));
    assert_eq!(ask(&server, "and now?").await.finish().await.status(), "completed");
}

#[tokio::test]
async fn a_killed_server_settles_the_call_that_ran_and_does_not_repeat_it() {
    let home = McpServer::start().await;
    home.tools([mcp_tool("OpenGate", "Opens the gate.")]);
    let (held, _gate) = McpAnswer::held("open");
    home.answer("OpenGate", held);
    let mut server = Server::start_with(&home_config(&home.url())).await;
    butler(&server).await;
    calling(&server, &[("time", json!({"timezone": "UTC"})), ("OpenGate", json!({}))]);
    let mut stream = ask(&server, "open the gate").await;
    let turn = stream.turn().await;
    home.wait_for("tools/call", 1).await;
    // It was written down before it ran; the journal is at most 20 ms behind.
    let open = |log: &Value| log["tool_calls"][1]["status"] == "pending" && log["tool_calls"][0]["ok"] == true;
    server.until_turn(&turn, open).await;
    server.kill().await;
    server.boot().await;

    let (_, log) = server.get(&format!("/v1/turn-logs/{turn}")).await;
    assert_eq!((&log["status"], &log["error_text"]), (&json!("error"), &json!("interrupted by restart")), "{log}");
    let (clock, gate) = (&log["tool_calls"][0], &log["tool_calls"][1]);
    assert_eq!((&clock["ok"], &clock["name"]), (&json!(true), &json!("time")), "what was done stays done");
    assert_eq!((&gate["ok"], &gate["effects"]), (&json!(false), &json!("dangerous")), "{log}");
    assert_eq!(gate["result"], "interrupted; outcome unknown");
    let replay = server.attach(&turn, 0).await.finish().await;
    assert_eq!((replay.status(), replay.of_kind("service.tool_result").len()), ("error", 2));

    server.upstream.script(Script::text("I do not know whether it is open."));
    let next = ask(&server, "is it open?").await.finish().await;
    assert_eq!(next.status(), "completed");
    assert_eq!(home.calls().len(), 1, "nobody opened it again");
    let body = server.upstream.requests().pop().expect("a request").body;
    assert!(body["messages"].to_string().contains("outcome unknown"), "the model is told: {body}");
}

#[tokio::test]
async fn postgresql_may_restart_while_a_tool_runs() {
    let web = Upstream::start().await;
    let server = Server::start_with(&search_config(&web, "10s")).await;
    butler(&server).await;
    let gate = held_search(&web);
    calling(&server, &[("search", json!({"query": "rust"}))]);
    server.upstream.script(Script::text("Found it all the same."));
    let mut stream = ask(&server, "search").await;
    let turn = stream.turn().await;
    web.wait_for_request(1).await;
    server.kill_postgres();
    let noticed = async || {
        let (_, shown) = server.get("/status").await;
        let actors = shown["actors"].as_array().cloned().unwrap_or_default();
        actors.iter().any(|actor| actor["name"] == "cluster" && (actor["state"] != "up" || actor["restarts"] != 0))
    };
    while !noticed().await {
        tokio::task::yield_now().await;
    }
    gate.open();
    let stream = stream.finish().await;
    assert_eq!((stream.status(), stream.text().as_str()), ("completed", "Found it all the same."));
    assert_eq!(result_of(&stream, 0).0, true);
    let log = server.until_turn(&turn, |log| log["status"] == "ok").await;
    let calls = log["tool_calls"].as_array().expect("calls");
    assert!(calls.len() == 1 && calls[0]["ok"] == true, "{log}");
    let replay = server.attach(&turn, 0).await.finish().await;
    assert_eq!(replay.frames, stream.frames, "nothing lost, nothing twice");
}

#[tokio::test]
async fn a_graceful_end_does_not_wait_for_a_tool_for_ever() {
    let web = Upstream::start().await;
    let mut server = Server::start_with(&search_config(&web, "60s")).await;
    butler(&server).await;
    let _held = held_search(&web);
    calling(&server, &[("search", json!({"query": "rust"}))]);
    let mut stream = ask(&server, "search").await;
    let turn = stream.turn().await;
    web.wait_for_request(1).await;
    server.ask_to_end();
    let stream = stream.finish().await;
    assert_eq!((stream.status(), stream.is_done()), ("error", false));
    assert_eq!(result_of(&stream, 0).0, false);
    assert_eq!(server.ended().await, Some(0));
    server.boot().await;
    let (_, log) = server.get(&format!("/v1/turn-logs/{turn}")).await;
    assert_eq!((&log["status"], &log["tool_calls"][0]["ok"]), (&json!("error"), &json!(false)), "{log}");
}

#[tokio::test]
async fn not_even_the_fullest_log_holds_keys_prompts_or_what_tools_hear_and_say() {
    let (web, home) = (Upstream::start().await, McpServer::start().await);
    home.token("home-token-4711");
    home.tools([mcp_tool("OpenGate", "Opens the gate.")]);
    home.answer("OpenGate", McpAnswer::Text("pistachio".into()));
    web.web("/brave/web/search", WebAnswer::json(&brave_web(&[("marzipan", "https://m.example/", "nougat")])));
    let config = search_config(&web, "10s").replace("\"k\"", "\"brave-key-4711\"");
    let home = format!("{}native_token = \"home-token-4711\"\n", home_config(&home.url()));
    let server = Server::start_logged(&(config + &home)).await;
    butler(&server).await;
    let model = json!({"type": "anthropic", "model_id": "keyed", "extra": {
        "base_url": server.upstream.base_url(), "api_key": "model-key-4711", "context_window": 32000}});
    let url = format!("{}/v1/models/definitions/keyed", server.url);
    assert!(crate::server::http().put(url).json(&model).send().await.expect("an answer").status().is_success());
    calling(&server, &[("search", json!({"query": "praline"})), ("OpenGate", json!({"word": "caramel"}))]);
    server.upstream.script(Script::text("fudge"));
    let mut body = Server::body("my favourite is toffee");
    (body["bot_id"], body["model"]) = ("butler".into(), "keyed".into());
    let stream = server.open(&body).await.finish().await;
    assert_eq!((stream.status(), stream.text().as_str()), ("completed", "fudge"));
    assert!(result_of(&stream, 0).1.contains("nougat") && result_of(&stream, 1).1.contains("pistachio"));

    let log = server.logged();
    assert!(log.contains("tool called"), "{log}");
    let words = ["marzipan", "nougat", "praline", "caramel", "pistachio", "toffee", "fudge", "You help.", "-4711"];
    for line in log.lines() {
        assert!(!words.iter().any(|word| line.contains(word)), "{line}");
    }
}

#[tokio::test]
async fn a_tool_server_that_is_away_delays_no_start_and_is_found_when_it_comes() {
    let nobody = refusing_base_url().expect("an address");
    let server = Server::start_with(&home_config(&nobody.replace("/v1", "/mcp"))).await;
    butler(&server).await;
    let connection = async |wanted: &str| loop {
        let (_, shown) = server.get("/status").await;
        let actors = shown["actors"].as_array().expect("actors");
        let actor = actors.iter().find(|actor| actor["name"] == "mcp:home-assistant").expect("its actor");
        if (actor["state"] == "up") == (wanted == "up") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    };
    connection("away").await;
    calling(&server, &[("OpenGate", json!({}))]);
    server.upstream.script(Script::text("I cannot."));
    let stream = ask(&server, "open").await.finish().await;
    let (ok, result) = result_of(&stream, 0);
    assert!(*ok == false && result.contains("There is no tool 'OpenGate'"), "{result}");
    assert_eq!((stream.status(), stream.text().as_str()), ("completed", "I cannot."));

    let port = nobody.trim_end_matches("/v1").rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let home = McpServer::try_start(port).expect("the port is still free");
    home.tools([mcp_tool("OpenGate", "Opens the gate.")]);
    home.wait_for("tools/list", 1).await;
    connection("up").await;
    let (_, status) = server.get("/v1/status").await;
    assert_eq!(status["config"]["ha_native_mcp_tools"], 1, "{status}");
}
