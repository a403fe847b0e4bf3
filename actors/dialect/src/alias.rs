//! The one table of names that models give to tools and arguments, mapped onto the built-in tools (tools.md §5.3, §6.1, §8).
//!
//! Invariant: an alias reaches a parameter that its tool reads. A given argument is never overwritten: where the proper
//! name is there too, the alias stays and the tool's validation names it.

use serde_json::{Map, Value};

/// Names for one use of a tool.
pub(crate) struct Alias {
    pub(crate) tool: &'static str,
    /// The argument that the name implies; a given one wins.
    implied: Option<(&'static str, &'static str)>,
    pub(crate) names: &'static [&'static str],
}

const fn alias(
    tool: &'static str,
    implied: Option<(&'static str, &'static str)>,
    names: &'static [&'static str],
) -> Alias {
    Alias { tool, implied, names }
}

/// The tools themselves.
const TOOLS: &[&str] =
    &["memory", "history", "profile", "self", "search", "news", "web_fetch", "home", "model", "time"];

pub(crate) static ALIASES: &[Alias] = &[
    alias(
        "history",
        Some(("action", "recent")),
        &[
            "get_recent_history",
            "retrieve_conversation_history",
            "get_conversation_history",
            "get_history",
            "conversation_history",
            "fetch_history",
            "show_history",
            "list_history",
            "get_messages",
            "retrieve_messages",
        ],
    ),
    alias("history", Some(("action", "search")), &["search_history"]),
    alias("history", Some(("action", "forget")), &["forget_history"]),
    alias(
        "memory",
        Some(("action", "search")),
        &["search_memories", "search_memory", "memory_search", "query_memories", "find_memories"],
    ),
    alias("memory", Some(("action", "store")), &["store_memory", "save_memory", "add_memory", "remember"]),
    alias("memory", Some(("action", "update")), &["update_memory"]),
    alias("memory", Some(("action", "delete")), &["delete_memory"]),
    alias("profile", Some(("action", "get")), &["get_user_profile", "get_profile", "user_profile"]),
    alias("profile", Some(("action", "set")), &["set_user_attribute", "set_attribute", "set_preference"]),
    alias("profile", Some(("action", "delete")), &["delete_user_attribute"]),
    alias("self", Some(("action", "set")), &["bot_trait", "set_my_trait"]),
    alias("search", Some(("type", "web")), &["web_search", "internet_search", "google"]),
    alias("search", Some(("type", "news")), &["news_search"]),
    alias("search", Some(("type", "reddit")), &["reddit_search"]),
    alias("model", Some(("action", "current")), &["get_current_model", "current_model", "get_model"]),
    alias("model", Some(("action", "list")), &["list_models", "show_models", "available_models"]),
    alias("model", Some(("action", "switch")), &["switch_model"]),
    alias("time", None, &["get_current_time", "current_time", "get_time"]),
];

/// Arguments under other names: of a tool, for one of its actions or for all.
struct Keys {
    tool: &'static str,
    action: Option<&'static str>,
    to: &'static str,
    from: &'static [&'static str],
}

const fn keys(
    tool: &'static str,
    action: Option<&'static str>,
    to: &'static str,
    from: &'static [&'static str],
) -> Keys {
    Keys { tool, action, to, from }
}

const QUERY: &[&str] = &["q", "search_query"];
const RESULTS: &[&str] = &["n_results", "max_results", "num_results", "number_of_results", "limit", "count", "n"];
const MESSAGES: &[&str] = &["n_messages", "num_messages", "number_of_messages", "n_results", "count", "limit", "n"];

static KEYS: &[Keys] = &[
    keys("history", Some("forget"), "count", MESSAGES),
    keys("history", Some("forget"), "minutes", &["mins", "time_range"]),
    keys("history", Some("recent"), "n_results", MESSAGES),
    keys("history", Some("recent"), "n_results", RESULTS),
    keys("history", Some("search"), "n_results", MESSAGES),
    keys("history", Some("search"), "n_results", RESULTS),
    keys("history", None, "query", QUERY),
    keys("memory", None, "n_results", RESULTS),
    keys("memory", None, "query", QUERY),
    keys("memory", None, "content", &["text", "message"]),
    keys("profile", None, "query", QUERY),
    keys("self", None, "query", QUERY),
    keys("search", None, "max_results", RESULTS),
    keys("search", None, "query", QUERY),
    keys("news", None, "max_results", RESULTS),
    keys("news", None, "query", QUERY),
    keys("model", None, "model_name", &["model", "name"]),
    keys("home", Some("scene"), "scene_name", &["name"]),
];

/// What models that were trained on it put before a name.
pub(crate) const PREFIX: &str = "functions.";

/// A name as it is compared: lower case, underscores for hyphens and blanks, without [`PREFIX`].
pub(crate) fn plain(name: &str) -> String {
    let lower = name.trim().to_ascii_lowercase().replace(['-', ' '], "_");
    lower.strip_prefix(PREFIX).map(str::to_owned).unwrap_or(lower)
}

/// The alias of a [`plain`] name.
pub(crate) fn of(plain: &str) -> Option<&'static Alias> {
    ALIASES.iter().find(|alias| alias.names.contains(&plain))
}

/// The built-in tool that a call means, and its arguments under the names that the tool reads. An unknown name stays as it
/// was written, with its arguments. Tools that are not built in (a client's, an MCP server's) keep their names: look those
/// up first.
#[must_use]
pub fn canonical(name: &str, arguments: Value) -> (String, Value) {
    let plain = plain(name);
    let alias = of(&plain);
    let Some(tool) = alias.map(|alias| alias.tool).or_else(|| TOOLS.iter().find(|tool| **tool == plain).copied())
    else {
        return (name.to_owned(), arguments);
    };
    let Value::Object(mut arguments) = arguments else { return (tool.to_owned(), arguments) };
    if let Some((key, value)) = alias.and_then(|alias| alias.implied) {
        arguments.entry(key).or_insert_with(|| Value::from(value));
    }
    rename(tool, &mut arguments);
    (tool.to_owned(), Value::Object(arguments))
}

fn rename(tool: &str, arguments: &mut Map<String, Value>) {
    let action = arguments.get("action").and_then(Value::as_str).map(str::to_ascii_lowercase);
    let meant = |keys: &&Keys| keys.tool == tool && (keys.action.is_none() || keys.action == action.as_deref());
    for keys in KEYS.iter().filter(meant) {
        if arguments.contains_key(keys.to) {
            continue;
        }
        if let Some(value) = keys.from.iter().find_map(|from| arguments.remove(*from)) {
            arguments.insert(keys.to.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn means(name: &str, given: Value, tool: &str, expected: Value) {
        assert_eq!(canonical(name, given), (tool.to_owned(), expected), "{name}");
    }

    #[test]
    fn every_alias_reaches_its_tool() {
        let mut names = Vec::new();
        for alias in ALIASES {
            for name in alias.names {
                assert!(TOOLS.contains(&alias.tool) && !TOOLS.contains(name) && plain(name) == *name, "{name}");
                let (tool, arguments) = canonical(name, json!({}));
                assert_eq!(tool, alias.tool);
                if let Some((key, value)) = alias.implied {
                    assert_eq!(arguments[key], value, "{name}");
                }
                names.push(*name);
            }
        }
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "an alias means one thing");
    }

    #[test]
    fn every_argument_alias_reaches_its_parameter() {
        for keys in KEYS {
            for from in keys.from.iter().filter(|from| **from != keys.to) {
                let mut given = json!({"action": keys.action.unwrap_or("x")});
                given[*from] = json!("given");
                let (_, arguments) = canonical(keys.tool, given);
                assert_eq!(arguments[keys.to], "given", "{} {from}", keys.tool);
                assert_eq!(arguments.get(*from), None, "{} {from}", keys.tool);
            }
        }
    }

    #[test]
    fn what_was_lost_upstream_arrives() {
        means("list_models", json!({}), "model", json!({"action": "list"}));
        means("search", json!({"q": "x", "num_results": 3}), "search", json!({"query": "x", "max_results": 3}));
        means("web_search", json!({"max_results": 3}), "search", json!({"type": "web", "max_results": 3}));
        means("get_history", json!({"n_messages": 4}), "history", json!({"action": "recent", "n_results": 4}));
        means("forget_history", json!({"limit": 4}), "history", json!({"action": "forget", "count": 4}));
        means(
            "search_history",
            json!({"n": 4, "q": "x"}),
            "history",
            json!({"action": "search", "n_results": 4, "query": "x"}),
        );
        means("remember", json!({"text": "x"}), "memory", json!({"action": "store", "content": "x"}));
        means("switch_model", json!({"model": "x"}), "model", json!({"action": "switch", "model_name": "x"}));
    }

    #[test]
    fn spelling_is_forgiven_and_strangers_stay_as_written() {
        means("Web-Search", json!({}), "search", json!({"type": "web"}));
        means("functions.search memory", json!({}), "memory", json!({"action": "search"}));
        means("HassTurnOn", json!({"name": "x"}), "HassTurnOn", json!({"name": "x"}));
        means("time", json!(null), "time", json!(null));
    }

    #[test]
    fn given_arguments_win() {
        means("web_search", json!({"type": "news"}), "search", json!({"type": "news"}));
        means("search", json!({"query": "a", "q": "b"}), "search", json!({"query": "a", "q": "b"}));
    }
}
