//! The actor's life: an absent server, a crash, settings that cannot be used.

use std::time::Duration;

use greenroom_kit::{Board, State, Supervisor};
use greenroom_mcp::{Mcp, McpError, McpStartError, ServerSettings};
use greenroom_test_support::upstream::{McpAnswer, McpServer};

use crate::common::{PATIENCE, Way, open, prepare};

#[tokio::test]
async fn an_absent_server_holds_nobody_up_and_is_found_when_it_comes() {
    let server = McpServer::start().await;
    let (port, settings) = (server.port(), prepare(&server, Way::Sessions));
    drop(server);
    let house = open(settings).await;
    let error = house.text("echo").await.unwrap_err();
    assert_eq!(error, McpError::Unavailable("the server cannot be reached".into()));
    assert!(house.names().is_empty() && house.home.discovered(Duration::from_secs(5)).await.is_empty());
    let _server = McpServer::try_start(port).unwrap();
    house.until(|house| house.home.is_up()).await;
    assert!(house.text("echo").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_away_is_shown_as_down_and_tried_for_ever() {
    let server = McpServer::start().await;
    let settings = prepare(&server, Way::Sessions);
    drop(server);
    let house = open(settings).await;
    house.until(|house| house.card().state == State::Down).await;
    let before = house.card().restarts;
    assert_eq!(before, 5);
    assert!(house.card().last_failure.unwrap().contains("cannot be reached"));
    house.until_within(PATIENCE * 6, |house| house.card().restarts > before + 1).await;
    assert!(!format!("{:?}", house.card()).contains("127.0.0.1"));
}

#[tokio::test]
async fn a_server_that_answers_nothing_does_not_block_the_start() {
    let server = McpServer::start().await;
    server.listing(Some(McpAnswer::Hang));
    let house = open(prepare(&server, Way::Sessions)).await;
    server.wait_for("tools/list", 1).await;
    assert!(!house.home.is_up() && house.names().is_empty());
    assert_eq!(house.card().note.as_deref(), Some("connecting"));
    assert!(house.home.discovered(Duration::from_millis(1)).await.is_empty());
}

#[tokio::test]
async fn a_crash_costs_the_calls_in_flight_and_nothing_else() {
    let server = McpServer::start().await;
    server.answer("echo", McpAnswer::Hang);
    server.answer("echo", McpAnswer::Text("back".into()));
    let house = open(prepare(&server, Way::Sessions)).await;
    let (cut, ()) = tokio::join!(house.text("echo"), async {
        server.wait_for("tools/call", 1).await;
        assert!(house.home.crash());
    });
    assert_eq!(cut, Err(McpError::Interrupted));
    assert_eq!(house.text("echo").await.unwrap(), "back");
    assert_eq!((house.card().restarts, house.card().state), (1, State::Up));
}

#[tokio::test]
async fn servers_do_not_share_a_fate() {
    let (one, two) = (McpServer::start().await, McpServer::start().await);
    let (root, _) = Supervisor::root(Board::default()).await.unwrap();
    let group = root.group("mcp").await.unwrap();
    let servers = vec![ServerSettings::new("one", one.url()), ServerSettings::new("two", two.url())];
    let mcp = Mcp::start(&group, servers).await.unwrap();
    assert_eq!(mcp.servers().map(|server| server.id().to_owned()).collect::<Vec<_>>(), ["one", "two"]);
    let (one_up, two_up) = (mcp.server("one").unwrap(), mcp.server("two").unwrap());
    two_up.discovered(Duration::from_secs(10)).await;
    one_up.discovered(Duration::from_secs(10)).await;
    drop(one);
    assert!(one_up.crash() && two_up.is_up());
    root.shutdown().await;
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_told_at_once() {
    let (root, _) = Supervisor::root(Board::default()).await.unwrap();
    let group = root.group("mcp").await.unwrap();
    let twice = vec![ServerSettings::new("a", "http://h/"), ServerSettings::new("a", "http://h/")];
    for servers in [twice, vec![ServerSettings::new("a", "nowhere")]] {
        assert!(matches!(Mcp::start(&group, servers).await, Err(McpStartError::Settings(_))));
    }
}
