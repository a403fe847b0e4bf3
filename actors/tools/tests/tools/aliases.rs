//! Every other name that models use for a tool or an argument reaches the parameter that its tool reads, and the call works.

use greenroom_memory::MemoryDraft;
use serde_json::{Value, json};

use crate::house::{House, call, done, make, say};

#[tokio::test]
async fn every_alias_of_a_tool_is_offered_and_fits_its_schema() {
    let house = House::open().await;
    let mut session = house.session().await;
    let q = json!({"query": "tea"});
    for (name, arguments, tool, action) in [
        ("get_recent_history", json!({}), "history", "recent"),
        ("retrieve_conversation_history", json!({"n_messages": 3}), "history", "recent"),
        ("get_conversation_history", json!({"count": "3"}), "history", "recent"),
        ("get_history", json!({"limit": 3}), "history", "recent"),
        ("conversation_history", json!({"num_messages": 3}), "history", "recent"),
        ("fetch_history", json!({"number_of_messages": 3}), "history", "recent"),
        ("show_history", json!({"n": 3}), "history", "recent"),
        ("list_history", json!({}), "history", "recent"),
        ("get_messages", json!({}), "history", "recent"),
        ("retrieve_messages", json!({}), "history", "recent"),
        ("search_history", json!({"q": "tea", "n": 2}), "history", "search"),
        ("forget_history", json!({"num_messages": 1}), "history", "forget"),
        ("forget_history", json!({"mins": 5}), "history", "forget"),
        ("forget_history", json!({"time_range": "5"}), "history", "forget"),
        ("search_memories", q.clone(), "memory", "search"),
        ("search_memory", json!({"search_query": "tea", "max_results": 2}), "memory", "search"),
        ("memory_search", q.clone(), "memory", "search"),
        ("query_memories", q.clone(), "memory", "search"),
        ("find_memories", q.clone(), "memory", "search"),
        ("store_memory", json!({"text": "Ann likes tea."}), "memory", "store"),
        ("save_memory", json!({"message": "Ann likes tea."}), "memory", "store"),
        ("add_memory", json!({"content": "Ann likes tea."}), "memory", "store"),
        ("remember", json!({"content": "Ann likes tea."}), "memory", "store"),
        ("delete_memory", json!({"memory_id": "12345678"}), "memory", "delete"),
        ("get_user_profile", json!({}), "profile", "get"),
        ("get_profile", json!({}), "profile", "get"),
        ("user_profile", json!({}), "profile", "get"),
        ("set_user_attribute", json!({"category": "fact", "key": "k", "value": 1}), "profile", "set"),
        ("set_attribute", json!({"category": "fact", "key": "k", "value": 1}), "profile", "set"),
        ("set_preference", json!({"category": "preference", "key": "k", "value": 1}), "profile", "set"),
        ("delete_user_attribute", json!({"category": "fact", "key": "k"}), "profile", "delete"),
        ("bot_trait", json!({"key": "humour", "value": "dry"}), "self", "set"),
        ("set_my_trait", json!({"key": "humour", "value": "dry"}), "self", "set"),
        ("model", json!({}), "model", ""),
        ("current_model", json!({}), "model", "current"),
        ("get_current_model", json!({}), "model", "current"),
        ("get_model", json!({}), "model", "current"),
        ("list_models", json!({}), "model", "list"),
        ("show_models", json!({}), "model", "list"),
        ("available_models", json!({}), "model", "list"),
        ("switch_model", json!({"model": "beta"}), "model", "switch"),
        ("get_current_time", json!({}), "time", ""),
    ] {
        let prepared = session.prepare(&call(name, arguments.clone()));
        assert!(prepared.settled().is_none(), "{name} {arguments}: {:?}", prepared.settled());
        assert_eq!(prepared.name, tool, "{name}");
        assert_eq!(prepared.arguments["action"].as_str().unwrap_or_default(), action, "{name}");
    }
}

#[tokio::test]
async fn what_an_alias_says_takes_effect() {
    let house = House::open().await;
    let mut session = house.session().await;
    let cx = house.cx().await;
    say(&cx.namespace, 60, &["ann: one", "nova: two", "ann: three", "nova: four"]).await;
    let lines = |text: &str| text.lines().count() - 1;
    // Upstream, these counts were renamed to what nobody read.
    for (name, arguments) in [
        ("get_recent_history", json!({"n_messages": 2})),
        ("history", json!({"action": "recent", "limit": "2"})),
        ("get_history", json!({"num_results": 2})),
    ] {
        let text = done(&mut session, name, arguments).await;
        assert_eq!(lines(text.split("\n\n(").next().unwrap()), 2, "{name}: {text}");
    }
    for n in 0..4 {
        let draft = MemoryDraft::new(format!("Ann drinks tea number {n} every day."));
        let options = greenroom_memory::StoreOptions { force: true, ..Default::default() };
        cx.namespace.store_memory(draft, options).await.expect("stored");
    }
    let found = make(&mut session, "search_memory", json!({"q": "tea", "max_results": 2})).await;
    assert_eq!(found.data.as_ref().and_then(Value::as_array).map(Vec::len), Some(2), "{found:?}");
    let models = done(&mut session, "list_models", json!({})).await;
    assert!(models.contains("- alpha (openai; alpha-id) [in use]\n- beta"), "{models}");
    done(&mut session, "switch_model", json!({"name": "BETA"})).await;
    assert_eq!(*house.desk.switched.lock().unwrap(), ["beta"]);
    let unknown = make(&mut session, "switch_model", json!({"model": "gamma"})).await;
    assert!(!unknown.ok() && unknown.text.contains("alpha, beta"), "{unknown:?}");
}
