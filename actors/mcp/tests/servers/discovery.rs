//! Which tools there are, and when that is asked again.

use std::time::Duration;

use greenroom_mcp::{Annotations, McpError};
use greenroom_test_support::upstream::{McpAnswer, McpServer, mcp_tool};
use serde_json::json;

use crate::common::{WAYS, Way, open, prepare};

#[tokio::test]
async fn tools_come_in_pages_sorted_and_with_their_schema() {
    let server = McpServer::start().await;
    let schema =
        json!({"type": "object", "properties": {"area": {"type": "string", "enum": ["a", "b"]}}, "required": ["area"]});
    let hints = json!({"readOnlyHint": true, "destructiveHint": false});
    let lamp = json!({"name": "lamp", "description": "Light.", "inputSchema": schema, "annotations": hints});
    server.tools((0..7).map(|at| mcp_tool(&format!("t{}", 9 - at), "x")).chain([lamp]));
    server.page(3);
    let house = open(prepare(&server, Way::Sessions)).await;
    let tools = house.home.discovered(Duration::from_secs(5)).await;
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["lamp", "t3", "t4", "t5", "t6", "t7", "t8", "t9"]);
    assert_eq!((&*tools[0].input_schema, tools[0].description.as_str()), (&schema, "Light."));
    assert_eq!(tools[0].annotations, Annotations { read_only: true, idempotent: false, destructive: false });
    assert_eq!(server.count("tools/list"), 3);
    let note = house.card().note.unwrap();
    assert!(note.starts_with("8 tools, MCP 2025-11-25"), "{note}");
}

#[tokio::test]
async fn an_endless_list_ends() {
    let server = McpServer::start().await;
    server.tools((0..5000).map(|at| mcp_tool(&format!("t{at:04}"), "")));
    server.page(10);
    let house = open(prepare(&server, Way::Stateless)).await;
    house.until(|house| house.home.is_up()).await;
    assert_eq!((house.home.tools().len(), server.count("tools/list")), (256, 32));
    assert!(house.card().note.unwrap().contains("64 tools left out"));
}

#[tokio::test]
async fn hostile_tools_are_left_out_and_the_rest_stays() {
    let server = McpServer::start().await;
    server.tools([
        mcp_tool("good", "ok"),
        mcp_tool("bad name\n", ""),
        mcp_tool("</tool_call>", ""),
        json!({"name": "huge", "inputSchema": {"type": "object", "description": "x".repeat(1 << 20)}}),
    ]);
    let house = open(prepare(&server, Way::SessionsInStreams)).await;
    house.until(|house| house.home.is_up()).await;
    assert_eq!(house.names(), ["good"]);
    assert!(house.card().note.unwrap().contains("3 tools left out"));
}

#[tokio::test]
async fn an_announced_change_is_looked_at() {
    for way in WAYS {
        let server = McpServer::start().await;
        let house = open(prepare(&server, way)).await;
        server.wait_for_streams(1).await;
        house.until(|house| house.names() == ["echo"]).await;
        server.tools([mcp_tool("new", "")]);
        for _ in 0..50 {
            server.announce_change();
        }
        house.until(|house| house.names() == ["new"]).await;
        assert!(server.count("tools/list") <= 4, "{way:?}: a storm is one change");
    }
}

#[tokio::test]
async fn an_unknown_tool_is_looked_for_once_more() {
    let server = McpServer::start().await;
    let house = open(prepare(&server, Way::Stateless)).await;
    house.text("echo").await.unwrap();
    server.tools([mcp_tool("echo", ""), mcp_tool("late", "")]);
    assert!(house.text("late").await.is_ok());
    assert_eq!(house.text("never").await, Err(McpError::UnknownTool));
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test]
async fn a_tool_that_was_taken_away_leaves_the_list() {
    let server = McpServer::start().await;
    let house = open(prepare(&server, Way::Sessions)).await;
    house.text("echo").await.unwrap();
    server.tools([mcp_tool("other", "")]);
    assert!(matches!(house.text("echo").await, Err(McpError::Refused(_))));
    house.until(|house| house.names() == ["other"]).await;
}

#[tokio::test]
async fn a_server_without_tools_is_up_all_the_same() {
    let server = McpServer::start().await;
    server.listing(Some(McpAnswer::Refusal(-32601, "Method not found".into())));
    let house = open(prepare(&server, Way::Sessions)).await;
    house.until(|house| house.home.is_up()).await;
    assert!(house.names().is_empty());
}

#[tokio::test]
async fn old_tools_stay_while_the_server_asks_to_slow_down() {
    let server = McpServer::start().await;
    let house = open(prepare(&server, Way::Sessions)).await;
    house.text("echo").await.unwrap();
    server.listing(Some(McpAnswer::Status(429)));
    assert_eq!(house.text("late").await, Err(McpError::UnknownTool));
    assert_eq!((house.names(), house.card().restarts), (vec!["echo".to_owned()], 0));
}
