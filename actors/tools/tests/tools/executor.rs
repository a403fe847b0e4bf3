//! What the executor promises: one outcome for each call, only what was offered, exact limits, no endless repetition.

use std::sync::atomic::Ordering;

use futures_util::future::join;
use greenroom_protocol::ToolCall;
use greenroom_tools::{Effects, ErrorKind, Limits, Session, ToolOutcome};
use serde_json::json;

use crate::house::{House, call, done, make, offered, trick};

fn limits(max_calls: u32) -> Limits {
    Limits { max_calls, ..Limits::default() }
}

#[tokio::test]
async fn exactly_as_many_calls_run_as_are_allowed() {
    let house = House::open().await;
    let (tool, calls) = trick("echo", Effects::ReadOnly, |_, arguments| {
        Box::pin(async move { ToolOutcome::success(arguments.to_string()) })
    });
    let mut session = Session::new(offered(vec![tool]).await, house.cx().await, limits(3));
    let batch: Vec<_> = (0..5).map(|n| session.prepare(&call("echo", json!({"x": n.to_string()})))).collect();
    assert!(session.exhausted());
    for (n, prepared) in batch.iter().enumerate() {
        let outcome = session.run(prepared).await;
        assert_eq!(outcome.error, (n >= 3).then_some(ErrorKind::LimitReached), "call {n}");
        assert_eq!(prepared.settled().is_some(), n >= 3);
    }
    assert_eq!((calls.load(Ordering::SeqCst), session.calls()), (3, 3));
}

#[tokio::test]
async fn a_call_that_comes_again_is_answered_from_the_first_time() {
    let house = House::open().await;
    let (tool, calls) = trick("echo", Effects::Dangerous, |_, _| Box::pin(async { ToolOutcome::success("pong") }));
    let mut session = Session::new(offered(vec![tool]).await, house.cx().await, limits(20));
    // Two of one batch, prepared before either has run, and run at the same time.
    let (first, second) =
        (session.prepare(&call("echo", json!({"x": "a"}))), session.prepare(&call("echo", json!({"x": "a"}))));
    let (first, second) = join(session.run(&first), session.run(&second)).await;
    assert_eq!(first.text, "pong");
    assert!(second.ok() && second.text.starts_with("pong\n") && second.text.contains("made before"), "{second:?}");
    assert!(!session.exhausted());
    // The order of members and nulls make no other call of it.
    let third = ToolCall { arguments: " {\"y\":null, \"x\":\"a\"} ".into(), ..call("echo", json!({})) };
    let third = session.prepare(&third);
    assert!(session.run(&third).await.text.contains("made before"));
    assert!(session.exhausted(), "the third time ends it");
    assert_eq!((calls.load(Ordering::SeqCst), session.calls()), (1, 1));
}

#[tokio::test]
async fn what_was_changed_in_between_makes_a_call_new() {
    let house = House::open().await;
    let (look, looks) = trick("look", Effects::ReadOnly, |_, _| Box::pin(async { ToolOutcome::success("seen") }));
    let (set, sets) = trick("set", Effects::Dangerous, |_, _| Box::pin(async { ToolOutcome::success("set") }));
    let mut session = Session::new(offered(vec![look, set]).await, house.cx().await, limits(20));
    for (name, x) in [("look", ""), ("set", "on"), ("look", ""), ("set", "off"), ("set", "on"), ("look", "")] {
        let outcome = make(&mut session, name, json!({"x": x})).await;
        assert!(!outcome.text.contains("made before"), "{name} {x}");
    }
    assert_eq!((looks.load(Ordering::SeqCst), sets.load(Ordering::SeqCst)), (3, 3));
    assert!(make(&mut session, "look", json!({"x": ""})).await.text.contains("made before"));
    assert!(!session.exhausted());
}

#[tokio::test]
async fn unreadable_arguments_are_not_executed() {
    let house = House::open().await;
    let (tool, calls) = trick("echo", Effects::ReadOnly, |_, arguments| {
        Box::pin(async move { ToolOutcome::success(arguments.to_string()) })
    });
    let mut session = Session::new(offered(vec![tool]).await, house.cx().await, limits(20));
    let huge = format!("{{\"x\":\"{}\"}}", "a".repeat(300_000));
    for bad in ["not json", "[1,2]", "42", "\"text\"", huge.as_str()] {
        let prepared = session.prepare(&ToolCall { arguments: bad.into(), ..call("echo", json!({})) });
        let outcome = session.run(&prepared).await;
        assert_eq!(outcome.error, Some(ErrorKind::Malformed), "{bad:.40}");
        assert!(outcome.text.contains(&bad[..bad.len().min(8)]) && outcome.text.len() < 600, "{}", outcome.text);
        assert_eq!(prepared.arguments, json!({}));
    }
    assert_eq!((calls.load(Ordering::SeqCst), session.calls()), (0, 0));
    // What can be repaired is, and nothing at all means no arguments.
    for (given, meant) in [
        ("", "{}"),
        ("null", "{}"),
        ("{\"x\": \"a\"", "{\"x\":\"a\"}"),
        ("{\"x\": \"b\",}", "{\"x\":\"b\"}"),
        ("\"{\\\"x\\\": \\\"c\\\"}\"", "{\"x\":\"c\"}"),
    ] {
        let prepared = session.prepare(&ToolCall { arguments: given.into(), ..call("echo", json!({})) });
        let outcome = session.run(&prepared).await;
        assert!(outcome.text.starts_with(meant), "{given}: {outcome:?}");
    }
}

#[tokio::test]
async fn arguments_are_put_right_or_refused_by_name() {
    let house = House::open().await;
    let mut session = house.session().await;
    let refused = make(&mut session, "memory", json!({"action": "search", "query": "x", "colour": "red"})).await;
    assert_eq!(refused.error, Some(ErrorKind::InvalidArguments));
    assert!(refused.text.contains("'colour' is not known; known are action"), "{}", refused.text);
    let refused = make(&mut session, "memory", json!({"action": "burn"})).await;
    assert!(refused.text.contains("'action' must be one of: search, store, update, delete"), "{}", refused.text);
    let refused = make(&mut session, "history", json!({"action": "recent", "n_results": "lots"})).await;
    assert!(refused.text.contains("'n_results' must be integer"), "{}", refused.text);
    let given = json!({"action": "STORE", "content": "Ann likes tea.", "importance": "7", "tags": "drinks"});
    let prepared = session.prepare(&call("memory", given));
    let expected = json!({"action": "store", "content": "Ann likes tea.", "importance": 1.0, "tags": ["drinks"]});
    assert_eq!(prepared.arguments, expected);
    assert!(session.run(&prepared).await.ok());
}

#[tokio::test]
async fn only_what_was_offered_runs() {
    let house = House::open().await;
    let wish =
        greenroom_tools::Wish { uses_tools: true, memory: true, deny: &["memory.delete".into()], ..Default::default() };
    let offer = house.tools.offer(&wish).await;
    let mut session = Session::new(offer, house.cx().await, limits(20));
    for name in ["web_search", "search", "home", "rm", "", "history\u{0}", &"x".repeat(5_000)] {
        let outcome = make(&mut session, name, json!({"query": "x"})).await;
        assert_eq!(outcome.error, Some(ErrorKind::Unknown), "{name:.40}");
        assert!(
            outcome.text.contains("memory, history, profile, self, time") && outcome.text.len() < 300,
            "{outcome:?}"
        );
    }
    let id = "12345678";
    let refused = make(&mut session, "delete_memory", json!({"memory_id": id})).await;
    assert!(refused.text.contains("'action' must be one of: search, store, update"), "{}", refused.text);
    assert_eq!(session.calls(), 0);
    let none =
        Session::new(greenroom_tools::Offer::default(), house.cx().await, limits(20)).prepare(&call("time", json!({})));
    assert!(none.settled().is_some_and(|outcome| outcome.text.contains("answer without tools")));
}

#[tokio::test]
async fn the_clock_is_the_users_own() {
    let house = House::open().await;
    let mut session = house.session().await;
    let here = done(&mut session, "time", json!({})).await;
    assert!(here.contains("Europe/Berlin") && here.contains("ISO 8601: 20"), "{here}");
    let there = done(&mut session, "get_current_time", json!({"timezone": "Asia/Tokyo"})).await;
    assert!(there.contains("Asia/Tokyo") && there.contains("+09:00"), "{there}");
    let nowhere = make(&mut session, "time", json!({"timezone": "Mars/Olympus"})).await;
    assert_eq!(nowhere.error, Some(ErrorKind::InvalidArguments));
}

#[tokio::test]
async fn a_call_without_an_id_gets_one() {
    let house = House::open().await;
    let mut session = house.session().await;
    let prepared = session.prepare(&ToolCall { id: " ".into(), ..call("time", json!({})) });
    assert!(prepared.call_id.starts_with("call_") && prepared.call_id.len() == 13, "{}", prepared.call_id);
}
