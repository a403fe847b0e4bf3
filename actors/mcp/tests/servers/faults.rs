//! What breaks on the way: field rows 4 (tools run twice) and 13 (MCP dies when the server restarts).

use greenroom_mcp::McpError;
use greenroom_test_support::upstream::{McpAnswer, McpServer, mcp_tool};
use serde_json::{Value, json};

use crate::common::{House, WAYS, Way, open, prepare};

fn tools() -> [Value; 2] {
    let look = json!({"name": "look", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}});
    [mcp_tool("unlock", "Opens the door."), look]
}

/// The end of a stream is noticed without a call; a call just then would not know whether it was sent.
async fn noticed(house: &House, way: Way) {
    if way == Way::Sse {
        house.until(|house| house.card().restarts > 0 && house.home.is_up()).await;
    }
}

#[tokio::test]
async fn after_a_restart_of_the_server_the_next_call_works() {
    for way in WAYS {
        let server = McpServer::start().await;
        let (port, settings) = (server.port(), prepare(&server, way));
        let house = open(settings).await;
        house.text("echo").await.unwrap();
        drop(server);
        let server = McpServer::try_start(port).unwrap();
        prepare(&server, way);
        noticed(&house, way).await;
        assert_eq!(house.text("echo").await.as_deref(), Ok("{}"), "{way:?}");
        assert_eq!(server.calls().len(), 1, "{way:?}");
    }
}

#[tokio::test]
async fn a_forgotten_session_is_opened_anew_and_the_call_made_once() {
    for way in [Way::Sessions, Way::SessionsInStreams, Way::Sse] {
        let server = McpServer::start().await;
        server.tools(tools());
        let house = open(prepare(&server, way)).await;
        house.text("unlock").await.unwrap();
        server.forget_sessions();
        noticed(&house, way).await;
        // Even a dangerous call may be made again: the server accepted nothing.
        assert!(house.text("unlock").await.is_ok(), "{way:?}");
        let calls = server.calls();
        assert_eq!(calls.len(), 2, "{way:?}");
        assert_ne!(calls[0].session, calls[1].session, "{way:?}");
        assert_eq!((house.card().restarts, house.card().last_failure.is_some()), (1, true), "{way:?}");
    }
}

#[tokio::test]
async fn a_dangerous_call_is_never_made_twice() {
    for way in WAYS {
        let server = McpServer::start().await;
        server.tools(tools());
        server.answer("unlock", McpAnswer::Cut);
        server.answer("unlock", McpAnswer::Text("open".into()));
        let house = open(prepare(&server, way)).await;
        assert_eq!(house.text("unlock").await, Err(McpError::Interrupted), "{way:?}");
        assert_eq!(server.calls().len(), 1, "{way:?}");
        assert_eq!(house.text("unlock").await.unwrap(), "open", "{way:?}");
    }
}

#[tokio::test]
async fn a_call_that_only_looks_is_made_again() {
    for way in WAYS {
        let server = McpServer::start().await;
        server.tools(tools());
        server.answer("look", McpAnswer::Cut);
        server.answer("look", McpAnswer::Text("dark".into()));
        let house = open(prepare(&server, way)).await;
        assert_eq!(house.text("look").await.unwrap(), "dark", "{way:?}");
        assert_eq!(server.calls().len(), 2, "{way:?}");
    }
}

#[tokio::test]
async fn a_second_break_is_the_end() {
    let server = McpServer::start().await;
    server.tools(tools());
    server.answer("look", McpAnswer::Cut);
    let house = open(prepare(&server, Way::Sessions)).await;
    assert_eq!(house.text("look").await, Err(McpError::Interrupted));
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test]
async fn garbage_is_an_error_and_not_the_end() {
    for way in WAYS {
        let server = McpServer::start().await;
        server.answer("echo", McpAnswer::Garbage);
        server.answer("echo", McpAnswer::Text("sane".into()));
        let house = open(prepare(&server, way)).await;
        let error = house.text("echo").await.unwrap_err();
        assert!(matches!(error, McpError::Broken(_) | McpError::Interrupted), "{way:?}: {error:?}");
        assert_eq!(house.text("echo").await.unwrap(), "sane", "{way:?}");
    }
}

#[tokio::test]
async fn statuses_have_their_names() {
    for way in [Way::Sessions, Way::Stateless, Way::Sse] {
        let server = McpServer::start().await;
        server.tools([mcp_tool("limited", ""), mcp_tool("broken", ""), mcp_tool("forbidden", "")]);
        server.answer("limited", McpAnswer::Status(429));
        server.answer("broken", McpAnswer::Status(503));
        server.answer("forbidden", McpAnswer::Status(403));
        let house = open(prepare(&server, way)).await;
        assert_eq!(house.text("limited").await, Err(McpError::RateLimited), "{way:?}");
        assert_eq!(house.text("broken").await, Err(McpError::Broken("status 503".into())), "{way:?}");
        assert_eq!(house.text("forbidden").await, Err(McpError::Unauthorised), "{way:?}");
        house.until(|house| house.home.is_up()).await;
    }
}

#[tokio::test]
async fn a_result_of_ten_megabytes_arrives_and_one_of_twenty_is_refused() {
    for way in WAYS {
        let server = McpServer::start().await;
        server.answer("echo", McpAnswer::Text("x".repeat(10 << 20)));
        server.answer("echo", McpAnswer::Text("x".repeat(20 << 20)));
        server.answer("echo", McpAnswer::Text("small".into()));
        let house = open(prepare(&server, way)).await;
        assert_eq!(house.text("echo").await.unwrap().len(), 10 << 20, "{way:?}");
        let error = house.text("echo").await.unwrap_err();
        assert!(matches!(error, McpError::Broken(_) | McpError::Interrupted), "{way:?}: {error:?}");
        assert_eq!(house.text("echo").await.unwrap(), "small", "{way:?}");
    }
}

#[tokio::test]
async fn a_result_that_does_not_fit_is_refused() {
    let server = McpServer::start().await;
    server.answer("echo", McpAnswer::Result(json!({"content": "text"})));
    server.answer("echo", McpAnswer::Result(json!([1])));
    server.answer("echo", McpAnswer::Result(json!({"resultType": "input_required", "inputRequests": {}})));
    let house = open(prepare(&server, Way::Sessions)).await;
    for _ in 0..3 {
        let error = house.text("echo").await.unwrap_err();
        assert!(matches!(error, McpError::Broken(_) | McpError::Refused(_)), "{error:?}");
    }
    assert!(house.home.is_up());
}

#[tokio::test]
async fn the_token_goes_nowhere_else() {
    let (server, elsewhere) = (McpServer::start().await, McpServer::start().await);
    server.endpoint(&elsewhere.url());
    let house = open(prepare(&server, Way::Sse)).await;
    house.until(|house| house.card().last_failure.is_some_and(|why| why.contains("another host"))).await;
    assert!(elsewhere.methods().is_empty());
}

#[tokio::test]
async fn noise_on_a_stream_is_passed_over() {
    let server = McpServer::start().await;
    let house = open(prepare(&server, Way::Sse)).await;
    house.text("echo").await.unwrap();
    server.send_raw(": keep-alive\n\nevent: ping\ndata: 1\n\nevent: message\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\r\n\r\n");
    server.send_raw("data: {\"jsonrpc\":\"2.0\",\"id\":\"unasked\",\"result\":{}}\n\n");
    server.send_raw("data: {\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"sampling/createMessage\",\"params\":{\"messages\":[],\"maxTokens\":1}}\n\n");
    assert!(house.text("echo").await.is_ok());
    assert_eq!(house.card().restarts, 0);
}
