//! Device control: Home Assistant's own tools, and the older server's, through the bot-scoped chat.

use greenroom_test_support::upstream::{McpAnswer, McpServer, Script, mcp_tool};
use serde_json::{Value, json};

use crate::asking::{Said, bot, calling, read};
use crate::common::House;

const TOKEN: &str = "home-token-4711";
/// What an integration of Home Assistant puts in front of every request.
const PREFACE: &str = "I want you to act as smart home manager of Home Assistant.\n\
    I will provide information of smart home along with a question.\n\n\
    Available Devices:\n```csv\nentity_id,name,state,aliases\nlight.kitchen,Kitchen,on,\nlight.hall,Hall,on,\n```\n\n\
    Use execute_services function only for requested action, not for current states.\n\
    Do not execute service without user's confirmation.";

fn off() -> Value {
    let name = json!({"type": "string", "description": "Name of the device"});
    json!({"name": "HassTurnOff", "description": "Turns a device off.", "annotations": {"idempotentHint": true},
        "inputSchema": {"type": "object", "properties": {"name": name}, "required": ["name"]}})
}

async fn house_of(server: &McpServer) -> House {
    let house = House::open_with(|config| {
        config.home.native_url = Some(server.url());
        config.home.native_token = Some(TOKEN.into());
    })
    .await;
    bot(&house, "butler", json!({"uses_tools": true, "uses_home_assistant": true})).await;
    house
}

async fn say(house: &House, prompt: &str) -> Said {
    let body = json!({"model": "scripted", "stream": true, "messages": [
        {"role": "system", "content": PREFACE}, {"role": "user", "content": prompt},
    ]});
    read(house, "/v1/botchat/butler/ann/chat/completions", &body, &[]).await
}

fn offered(body: &Value) -> Vec<&str> {
    let tools = body["tools"].as_array().unwrap();
    tools.iter().filter_map(|tool| tool["function"]["name"].as_str()).collect()
}

#[tokio::test]
async fn devices_are_switched_within_three_rounds() {
    let server = McpServer::start().await;
    server.token(TOKEN);
    server.tools([off(), mcp_tool("GetDateTime", "Tells the time.")]);
    let house = house_of(&server).await;
    for device in ["Kitchen", "Hall", "Porch"] {
        house.upstream.script(calling(&[("HassTurnOff", json!({"name": device}))]));
    }
    house.upstream.script(Script::text("All is dark."));
    server.answer("HassTurnOff", McpAnswer::Text("Turned off.".into()));
    server.answer("HassTurnOff", McpAnswer::ToolError("no such device".into()));
    server.answer("HassTurnOff", McpAnswer::Text("Turned off.".into()));
    let said = say(&house, "lights off").await;
    assert_eq!((said.status(), said.text().as_str()), ("completed", "All is dark."));
    let names: Vec<Value> = server.calls().into_iter().map(|call| call.arguments["name"].clone()).collect();
    assert_eq!(names, ["Kitchen", "Hall", "Porch"]);
    let ok: Vec<bool> = said.results().iter().map(|(ok, _)| *ok).collect();
    assert_eq!(ok, [true, false, true], "what fails is told as failed");
    assert_eq!(said.of("service.tool_call")[0]["effects"], "idempotent");

    let requests = house.upstream.requests();
    assert_eq!((requests.len(), &requests[3].body["tool_choice"]), (4, &json!("none")), "three rounds, then an answer");
    let body = &requests[0].body;
    assert!(offered(body).contains(&"HassTurnOff"), "{:?}", offered(body));
    assert!(!offered(body).contains(&"GetDateTime") && !offered(body).contains(&"home"), "{:?}", offered(body));
    let prompt = body["messages"].to_string();
    assert!(prompt.contains("light.kitchen,Kitchen,on") && !prompt.contains("execute_services"), "{prompt}");
    let (_, log) = house.get(&format!("/v1/turn-logs/{}", said.turn)).await;
    assert_eq!(log["path"], "/v1/botchat/{bot_id}/{user_id}/chat/completions");
    for text in [&said.whole, &log.to_string()] {
        assert!(!text.contains(TOKEN));
    }
    house.close().await;
}

#[tokio::test]
async fn a_bot_without_the_flag_has_no_hands_in_the_house() {
    let server = McpServer::start().await;
    server.tools([off()]);
    let house = house_of(&server).await;
    let change = json!({"uses_home_assistant": false});
    assert_eq!(house.patch("/v1/bots/butler/profile", &change).await.0, 200);
    house.upstream.script(calling(&[("HassTurnOff", json!({"name": "Kitchen"}))]));
    house.upstream.script(Script::text("I cannot."));
    let said = say(&house, "lights off").await;
    assert!(!said.results()[0].0 && said.text() == "I cannot.", "{}", said.whole);
    assert!(server.calls().is_empty());
    assert!(!offered(&house.upstream.requests()[0].body).contains(&"HassTurnOff"));
    house.close().await;
}

#[tokio::test]
async fn the_older_server_is_one_tool() {
    let server = McpServer::start().await;
    server.tools(["status", "query", "get", "set", "scene"].map(|name| mcp_tool(name, "")));
    let house = House::open_with(|config| {
        config.home.enabled = true;
        config.home.url = server.sse_url().trim_end_matches("/sse").to_owned();
    })
    .await;
    bot(&house, "butler", json!({"uses_tools": true, "uses_home_assistant": true})).await;
    house.upstream.script(calling(&[("home", json!({"action": "set", "entity": "light.kitchen", "state": "OFF"}))]));
    house.upstream.script(Script::text("Dark."));
    let said = say(&house, "lights off").await;
    assert_eq!((said.status(), said.text().as_str()), ("completed", "Dark."));
    assert!(said.results()[0].0, "{:?}", said.results());
    let calls = server.calls();
    assert_eq!(
        (calls[0].tool.as_str(), &calls[0].arguments),
        ("set", &json!({"entity": "light.kitchen", "state": "off"}))
    );
    house.close().await;
}
