//! What is offered to whom: flags, lists, what is there now, and tools that no provider would take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use greenroom_tools::{BoxFuture, Scope, Tool, ToolFamily, ToolSettings, ToolSpec, Tools, Wish};
use serde_json::{Value, json};

use crate::house::{ALL, House, offered, remote, silent};

fn names(offer: &greenroom_tools::Offer) -> Vec<&str> {
    offer.names().iter().map(String::as_str).collect()
}

#[tokio::test]
async fn flags_decide() {
    let house = House::open().await;
    let plain = Wish { uses_tools: true, ..Wish::default() };
    for (wish, expected) in [
        (Wish::default(), vec![]),
        (Wish { memory: true, uses_search: true, uses_home_assistant: true, ..Wish::default() }, vec![]),
        (plain, vec!["time", "model"]),
        (Wish { agent: true, ..plain }, vec!["time"]),
        (Wish { memory: true, ..plain }, vec!["memory", "history", "profile", "self", "time", "model"]),
        (
            Wish { deny: &["model".into(), " SELF ".into()], memory: true, ..plain },
            vec!["memory", "history", "profile", "time"],
        ),
        (
            Wish { allow: Some(&["time".into(), "history.search".into()]), memory: true, ..plain },
            vec!["history", "time"],
        ),
        (Wish { allow: Some(&[]), memory: true, ..plain }, vec![]),
        (
            Wish { allow: Some(&["memory".into()]), deny: &["memory.store".into()], memory: true, ..plain },
            vec!["memory"],
        ),
    ] {
        let offer = house.tools.offer(&wish).await;
        // The tools of the outside are not part of this test.
        let known = ["memory", "history", "profile", "self", "time", "model"];
        let got: Vec<&str> = names(&offer).into_iter().filter(|name| known.contains(name)).collect();
        assert_eq!(got, expected, "{wish:?}");
    }
}

#[tokio::test]
async fn lists_reach_into_actions() {
    let house = House::open().await;
    let actions = async |allow: Option<&[String]>, deny: &[String]| -> Option<Value> {
        let offer = house.tools.offer(&Wish { allow, deny, uses_tools: true, memory: true, ..Wish::default() }).await;
        let tool = offer.openai_tools().iter().find(|tool| tool["function"]["name"] == "memory")?.clone();
        Some(tool["function"]["parameters"]["properties"]["action"]["enum"].clone())
    };
    assert_eq!(actions(None, &["memory.delete".into()]).await, Some(json!(["search", "store", "update"])));
    assert_eq!(actions(Some(&["memory.search".into()]), &[]).await, Some(json!(["search"])));
    assert_eq!(actions(Some(&["memory.search".into()]), &["memory.search".into()]).await, None);
    assert_eq!(actions(Some(&["memory.fly".into()]), &[]).await, None);
}

#[tokio::test]
async fn the_catalogue_is_typed_and_closed() {
    let house = House::open().await;
    for spec in house.tools.specs() {
        let schema = &spec.parameters;
        assert_eq!(
            (schema["type"].as_str(), &schema["additionalProperties"]),
            (Some("object"), &json!(false)),
            "{}",
            spec.name
        );
        assert!(!schema.to_string().contains("$ref") && !schema.to_string().contains("\"null\""), "{schema}");
        assert!(!spec.description.is_empty() && spec.timeout > Duration::ZERO);
        for (name, property) in schema["properties"].as_object().expect("properties") {
            assert!(property["description"].is_string(), "{}.{name} is not described", spec.name);
        }
        if !schema["properties"]["action"].is_null() {
            assert!(schema["properties"]["action"]["enum"].is_array(), "{}", spec.name);
        }
    }
    let both = (house.tools.offer(&ALL).await, house.tools.offer(&ALL).await);
    assert_eq!(both.0.openai_tools(), both.1.openai_tools(), "byte for byte");
}

#[tokio::test]
async fn a_bad_tool_is_left_out_alone() {
    let mut tools: Vec<Arc<dyn Tool>> = Vec::new();
    for name in ["fine", "", "with blank", "ünicode", "a.b", "fine", &"x".repeat(65), "\u{1b}[31m"] {
        tools.push(silent(remote(name)));
    }
    for (name, schema, about) in [
        ("no_object", json!({"type": "string"}), "A trick."),
        ("no_schema", Value::Null, "A trick."),
        ("too_large", json!({"type": "object", "description": "x".repeat(40_000)}), "A trick."),
        ("too_long", json!({"type": "object"}), &"x".repeat(5_000)),
    ] {
        let spec = ToolSpec { parameters: schema, description: about.to_owned(), ..remote(name) };
        tools.push(silent(spec));
    }
    assert_eq!(names(&offered(tools).await), ["fine"]);
    let many = (0..200).map(|n| silent(remote(&format!("t{n}")))).collect();
    assert_eq!(names(&offered(many).await).len(), 64);
}

/// A family whose members come and go.
struct Lodge {
    open: AtomicBool,
    looks: AtomicUsize,
}

impl ToolFamily for Lodge {
    fn scope(&self) -> Scope {
        Scope::Home
    }

    fn tools(&self) -> BoxFuture<'_, Vec<Arc<dyn Tool>>> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        let open = self.open.load(Ordering::SeqCst);
        Box::pin(async move {
            let spec = ToolSpec { scope: Scope::Home, ..remote("HassTurnOn") };
            if open { vec![silent(spec)] } else { Vec::new() }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_looked_at_once_a_minute() {
    let family = Arc::new(Lodge { open: AtomicBool::new(false), looks: AtomicUsize::new(0) });
    let tools = Tools::of(Vec::new(), vec![family.clone()], ToolSettings::default());
    let wish = Wish { uses_home_assistant: true, ..Wish::default() };
    assert!(tools.offer(&wish).await.is_empty());
    family.open.store(true, Ordering::SeqCst);
    assert!(tools.offer(&wish).await.is_empty(), "the old answer holds");
    assert_eq!(family.looks.load(Ordering::SeqCst), 1);
    tokio::time::advance(Duration::from_secs(61)).await;
    // The look is made behind the back of this turn; the next one sees it.
    assert!(tools.offer(&wish).await.is_empty());
    while family.looks.load(Ordering::SeqCst) < 2 || tools.offer(&wish).await.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(names(&tools.offer(&wish).await), ["HassTurnOn"]);
    assert_eq!(family.looks.load(Ordering::SeqCst), 2);
}

/// A family whose look never ends, or panics.
struct Broken(bool);

impl ToolFamily for Broken {
    fn scope(&self) -> Scope {
        Scope::Core
    }

    fn tools(&self) -> BoxFuture<'_, Vec<Arc<dyn Tool>>> {
        if self.0 { Box::pin(async { panic!("on purpose") }) } else { Box::pin(std::future::pending()) }
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_or_panics_means_no() {
    let families: Vec<Arc<dyn ToolFamily>> = vec![Arc::new(Broken(true)), Arc::new(Broken(false))];
    let tools = Tools::of(vec![silent(remote("fine"))], families, ToolSettings::default());
    assert_eq!(names(&tools.offer(&ALL).await), ["fine"]);
}

#[tokio::test]
async fn the_house_itself_takes_the_place_of_the_general_tool() {
    let spec = ToolSpec { scope: Scope::Home, origin: greenroom_tools::Origin::BuiltIn, ..remote("home") };
    let home = silent(spec);
    let family = Arc::new(Lodge { open: AtomicBool::new(true), looks: AtomicUsize::new(0) });
    let wish = Wish { uses_home_assistant: true, ..Wish::default() };
    let alone = Tools::of(vec![home.clone()], Vec::new(), ToolSettings::default());
    assert_eq!(names(&alone.offer(&wish).await), ["home"]);
    let both = Tools::of(vec![home], vec![family], ToolSettings::default());
    assert_eq!(names(&both.offer(&wish).await), ["HassTurnOn"]);
}
