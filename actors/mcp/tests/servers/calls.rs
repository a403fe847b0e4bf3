//! Calls that go well, or that the tool or the server refuses in good order.

use std::time::Duration;

use greenroom_mcp::McpError;
use greenroom_test_support::upstream::{McpAnswer, McpServer, mcp_tool};
use secrecy::SecretString;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::common::{PATIENCE, WAYS, Way, object, open, prepare};

#[tokio::test]
async fn every_way_of_speaking_leads_to_the_tool() {
    for way in WAYS {
        let server = McpServer::start().await;
        let house = open(prepare(&server, way)).await;
        let result = house.call("echo", json!({"area": "Küche 😀"})).await.unwrap();
        assert_eq!(result.text, r#"{"area":"Küche 😀"}"#, "{way:?}");
        assert!(!result.is_error && house.home.is_up(), "{way:?}");
        assert_eq!(server.calls()[0].arguments, json!({"area": "Küche 😀"}), "{way:?}");
        house.group.shutdown().await;
    }
}

#[tokio::test]
async fn a_server_that_stumbles_over_the_newest_greeting_gets_the_older_one() {
    for greeting in [
        McpAnswer::Status(500),
        McpAnswer::Status(400),
        McpAnswer::Garbage,
        McpAnswer::Cut,
        McpAnswer::Refusal(-32601, "Method not found".into()),
        McpAnswer::Refusal(-32602, "Invalid request parameters".into()),
        McpAnswer::Refusal(-32022, "Unsupported protocol version".into()),
        McpAnswer::Text("hello".into()),
    ] {
        let server = McpServer::start().await;
        server.greeting(greeting.clone());
        let house = open(prepare(&server, Way::Sessions)).await;
        assert!(house.text("echo").await.is_ok(), "{greeting:?}: {:?}", house.card());
        assert_eq!((server.count("initialize"), house.card().restarts), (1, 0), "{greeting:?}");
    }
}

#[tokio::test]
async fn one_session_serves_all_calls() {
    let server = McpServer::start().await;
    let house = open(prepare(&server, Way::Sessions)).await;
    for _ in 0..5 {
        house.text("echo").await.unwrap();
    }
    let sessions: std::collections::HashSet<String> = server.calls().into_iter().map(|call| call.session).collect();
    assert_eq!((sessions.len(), server.count("initialize")), (1, 1));
}

#[tokio::test]
async fn calls_run_beside_each_other() {
    for way in [Way::Sessions, Way::StatelessInStreams, Way::Sse] {
        let server = McpServer::start().await;
        server.tools([mcp_tool("slow", ""), mcp_tool("fast", "")]);
        let (held, gate) = McpAnswer::held("late");
        server.answer("slow", held);
        let house = open(prepare(&server, way)).await;
        let (slow, fast) = tokio::join!(house.text("slow"), async {
            server.wait_for("tools/call", 1).await;
            assert_eq!(house.card().in_flight, 1, "{way:?}");
            let fast = house.text("fast").await;
            gate.release(1);
            fast
        });
        assert_eq!((slow.unwrap().as_str(), fast.is_ok()), ("late", true), "{way:?}");
        assert_eq!(house.card().in_flight, 0);
    }
}

#[tokio::test]
async fn a_tools_own_failure_is_told_as_one() {
    for way in WAYS {
        let server = McpServer::start().await;
        server.answer("echo", McpAnswer::ToolError("the lamp is away".into()));
        let house = open(prepare(&server, way)).await;
        let result = house.call("echo", json!({})).await.unwrap();
        assert!(result.is_error && result.text == "the lamp is away", "{way:?}");
    }
}

#[tokio::test]
async fn a_refusal_carries_the_servers_words() {
    for way in WAYS {
        let server = McpServer::start().await;
        server.answer("echo", McpAnswer::Refusal(-32602, "area is required".into()));
        let house = open(prepare(&server, way)).await;
        assert_eq!(house.text("echo").await, Err(McpError::Refused("area is required".into())), "{way:?}");
        house.until(|house| house.home.is_up()).await;
        assert_eq!(house.card().restarts, 0, "{way:?}");
    }
}

#[tokio::test]
async fn the_token_is_sent_and_a_wrong_one_is_told_by_its_name() {
    for way in [Way::Sessions, Way::Stateless, Way::Sse] {
        let server = McpServer::start().await;
        server.token("geheim");
        let mut settings = prepare(&server, way);
        settings.token = Some(SecretString::from("geheim"));
        let house = open(settings.clone()).await;
        assert!(house.text("echo").await.is_ok(), "{way:?}");

        settings.token = Some(SecretString::from("falsch"));
        let refused = open(settings).await;
        assert_eq!(refused.text("echo").await, Err(McpError::Unauthorised), "{way:?}");
        let shown = format!("{:?}", refused.card());
        assert!(shown.contains("refuses the configured token") && !shown.contains("falsch"), "{shown}");
    }
}

#[tokio::test]
async fn a_token_that_is_withdrawn_shows_on_the_board() {
    let server = McpServer::start().await;
    let house = open(prepare(&server, Way::Sessions)).await;
    house.text("echo").await.unwrap();
    server.token("neu");
    assert_eq!(house.text("echo").await, Err(McpError::Unauthorised));
    house.until(|house| house.card().last_failure.is_some_and(|why| why.contains("token"))).await;
}

#[tokio::test]
async fn a_cancelled_call_ends_at_once_and_the_server_is_told() {
    for way in [Way::Sessions, Way::Sse] {
        let server = McpServer::start().await;
        server.answer("echo", McpAnswer::Hang);
        let house = open(prepare(&server, way)).await;
        let cancel = CancellationToken::new();
        let (answer, ()) = tokio::join!(house.home.call("echo", object(json!({})), PATIENCE, &cancel), async {
            server.wait_for("tools/call", 1).await;
            cancel.cancel();
        });
        assert_eq!(answer, Err(McpError::Cancelled), "{way:?}");
        server.wait_for("notifications/cancelled", 1).await;
        assert!(house.home.is_up());
    }
}

#[tokio::test]
async fn a_hanging_tool_ends_with_its_time_and_the_connection_stays() {
    for way in WAYS {
        let server = McpServer::start().await;
        server.answer("echo", McpAnswer::Hang);
        server.answer("echo", McpAnswer::Text("awake".into()));
        let house = open(prepare(&server, way)).await;
        house.until(|house| house.home.is_up()).await;
        let limit = Duration::from_millis(100);
        let answer = house.home.call("echo", object(json!({})), limit, &CancellationToken::new()).await;
        assert_eq!(answer, Err(McpError::Timeout), "{way:?}");
        assert_eq!(house.text("echo").await.unwrap(), "awake", "{way:?}");
        assert_eq!(house.card().restarts, 0, "{way:?}");
    }
}

#[tokio::test]
async fn only_what_counts_can_be_called() {
    let server = McpServer::start().await;
    server.tools([mcp_tool("HassTurnOn", ""), mcp_tool("HassBroadcast", ""), mcp_tool("GetLiveContext", "")]);
    let mut settings = prepare(&server, Way::Sessions);
    settings.exclude = vec!["HassBroadcast".into()];
    settings.allow = Some(vec!["HassTurnOn".into(), "HassBroadcast".into()]);
    let house = open(settings).await;
    assert!(house.text("HassTurnOn").await.is_ok());
    for name in ["HassBroadcast", "GetLiveContext", "nothing"] {
        assert_eq!(house.text(name).await, Err(McpError::UnknownTool));
    }
    assert_eq!((house.names(), server.calls().len()), (vec!["HassTurnOn".to_owned()], 1));
}
