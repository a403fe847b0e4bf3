//! A conversation of a ChatGPT export as records. An export keeps every branch of a conversation as a tree; the branch
//! that was current is what was said. Pure.
//!
//! Deliberately absent: system and tool messages, hidden ones, the model's thoughts, calls to tools, and images; none of
//! it is text that a person and an assistant said to each other.

use std::collections::HashSet;

use greenroom_protocol::{BotSlug, Role, UserId};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::transfer::{MessageRecord, Record, RecordError, moment};

/// What a conversation holds.
#[derive(Debug, Default, PartialEq)]
pub struct Conversation {
    /// What was said, in order.
    pub records: Vec<Record>,
    /// Messages of the branch that are no such text.
    pub left_out: usize,
}

/// Whether a value is such a conversation.
#[must_use]
pub fn is_conversation(value: &Value) -> bool {
    value.get("mapping").is_some_and(Value::is_object)
}

/// Reads one conversation.
///
/// # Errors
/// [`RecordError`] when the tree has no branch that could be followed.
pub fn read(value: &Value, bot: &BotSlug, user: Option<&UserId>) -> Result<Conversation, RecordError> {
    let nodes = value["mapping"].as_object().ok_or_else(|| RecordError("mapping: Field required".into()))?;
    let began = time(&value["create_time"]);
    let session = ["conversation_id", "id", "title"].into_iter().find_map(|name| {
        let label: String = value[name].as_str()?.trim().chars().take(128).collect();
        (!label.is_empty()).then_some(label)
    });
    let mut conversation = Conversation::default();
    let mut last = began;
    for node in branch(value["current_node"].as_str(), nodes)? {
        let message = &node["message"];
        if !message.is_object() {
            continue; // the root, mostly
        }
        let Some((role, content)) = said(message) else {
            conversation.left_out += 1;
            continue;
        };
        let at = time(&message["create_time"]).or_else(|| Some(next_instant(last?)));
        let Some(at) = at else {
            return Err(RecordError("create_time: Neither the conversation nor its messages tell a time".into()));
        };
        last = Some(at);
        conversation.records.push(Record::Message(MessageRecord {
            bot_id: bot.clone(),
            role,
            content,
            at,
            user_id: user.cloned(),
            session: session.clone(),
            id: message["id"].as_str().filter(|id| id.len() <= 128 && !id.trim().is_empty()).map(str::to_owned),
            partial: false,
        }));
    }
    Ok(conversation)
}

/// From the root to the current node; without one, to the newest leaf.
fn branch<'a>(current: Option<&'a str>, nodes: &'a Map<String, Value>) -> Result<Vec<&'a Value>, RecordError> {
    let current = current.filter(|id| nodes.contains_key(*id)).or_else(|| newest_leaf(nodes));
    let mut at = current.ok_or_else(|| RecordError("mapping: It holds no messages".into()))?;
    let (mut path, mut seen) = (Vec::new(), HashSet::new());
    while let Some(node) = nodes.get(at) {
        if !seen.insert(at) {
            return Err(RecordError("mapping: The tree of messages runs in a circle".into()));
        }
        path.push(node);
        match node["parent"].as_str() {
            Some(parent) => at = parent,
            None => break,
        }
    }
    path.reverse();
    Ok(path)
}

fn newest_leaf(nodes: &Map<String, Value>) -> Option<&str> {
    let leaves = nodes.iter().filter(|(_, node)| node["children"].as_array().is_none_or(Vec::is_empty));
    let newest = leaves.max_by(|(_, a), (_, b)| {
        let time = |node: &Value| node["message"]["create_time"].as_f64().unwrap_or_default();
        time(a).total_cmp(&time(b))
    });
    newest.map(|(id, _)| id.as_str())
}

/// Who said what, if it is text that somebody said to the other.
fn said(message: &Value) -> Option<(Role, String)> {
    let role = match message["author"]["role"].as_str()? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => return None,
    };
    let hidden = message["metadata"]["is_visually_hidden_from_conversation"] == true;
    let to_a_tool = message["recipient"].as_str().is_some_and(|recipient| recipient != "all");
    if hidden || to_a_tool {
        return None;
    }
    let content = &message["content"];
    if !matches!(content["content_type"].as_str(), None | Some("text" | "multimodal_text")) {
        return None;
    }
    let parts = content["parts"].as_array()?.iter().filter_map(|part| match part {
        Value::String(text) => Some(text.as_str()),
        // What was spoken in a voice conversation.
        Value::Object(part) => {
            part.get("content_type").filter(|kind| *kind == "audio_transcription").and(part.get("text")?.as_str())
        }
        _ => None,
    });
    let text = parts.filter(|part| !part.trim().is_empty()).collect::<Vec<_>>().join("\n").replace('\0', "\u{fffd}");
    (!text.trim().is_empty()).then_some((role, text))
}

fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => moment(&number.to_string()),
        Value::String(text) => moment(text),
        _ => None,
    }
}

/// A moment later, so that order is kept.
fn next_instant(at: Timestamp) -> Timestamp {
    at.checked_add(SignedDuration::from_millis(1)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(id: &str, parent: Option<&str>, message: Value) -> (String, Value) {
        (id.to_owned(), json!({"id": id, "parent": parent, "message": message}))
    }

    fn text(role: &str, at: f64, text: &str) -> Value {
        json!({"id": format!("id-{text}"), "author": {"role": role}, "create_time": at, "recipient": "all",
            "content": {"content_type": "text", "parts": [text]}})
    }

    fn contents(conversation: &Conversation) -> Vec<&str> {
        let texts = conversation.records.iter().map(|record| match record {
            Record::Message(message) => message.content.as_str(),
            Record::Memory(memory) => memory.content.as_str(),
        });
        texts.collect()
    }

    #[test]
    fn the_current_branch_is_what_was_said() {
        let mut hidden = text("user", 4.0, "instructions");
        hidden["metadata"] = json!({"is_visually_hidden_from_conversation": true});
        let mut call = text("assistant", 5.0, "search(x)");
        call["recipient"] = json!("browser");
        let spoken = json!({"author": {"role": "user"}, "content": {"content_type": "multimodal_text", "parts": [
            {"content_type": "image_asset_pointer"}, {"content_type": "audio_transcription", "text": "spoken"}, "typed"]}});
        let nodes: Map<String, Value> = [
            node("root", None, Value::Null),
            node("sys", Some("root"), text("system", 1.0, "be kind")),
            node("q", Some("sys"), text("user", 2.0, "question")),
            node("old", Some("q"), text("assistant", 3.0, "first try")),
            node("hidden", Some("q"), hidden),
            node("call", Some("hidden"), call),
            node("tool", Some("call"), text("tool", 6.0, "found")),
            node("new", Some("tool"), text("assistant", 7.0, "second try")),
            node("spoken", Some("new"), spoken),
        ]
        .into_iter()
        .collect();
        let bot = BotSlug::from_stored("nova");
        let value = json!({"title": "T", "conversation_id": "c-1", "create_time": 1.0, "current_node": "spoken", "mapping": nodes});
        let conversation = read(&value, &bot, None).unwrap();
        assert_eq!(contents(&conversation), ["question", "second try", "spoken\ntyped"]);
        assert_eq!(conversation.left_out, 4);
        let Record::Message(last) = conversation.records.last().unwrap() else { panic!() };
        assert_eq!((last.at.as_millisecond(), last.session.as_deref(), last.id.as_deref()), (7001, Some("c-1"), None));
        let Record::Message(first) = &conversation.records[0] else { panic!() };
        assert_eq!(first.id.as_deref(), Some("id-question"));
    }

    #[test]
    fn odd_trees_are_read_or_refused() {
        let bot = BotSlug::from_stored("nova");
        let circle = json!({"current_node": "a", "mapping": {"a": {"parent": "b"}, "b": {"parent": "a"}}});
        assert!(read(&circle, &bot, None).unwrap_err().0.contains("circle"));
        assert!(read(&json!({"mapping": {}}), &bot, None).is_err());
        let timeless =
            json!({"mapping": {"a": {"message": {"author": {"role": "user"}, "content": {"parts": ["x"]}}}}});
        assert!(read(&timeless, &bot, None).unwrap_err().0.contains("create_time"));
        // Without a current node the newest leaf is taken.
        let (_, old) = node("old", Some("q"), text("assistant", 3.0, "old"));
        let (_, new) = node("new", Some("q"), text("assistant", 9.0, "new"));
        let (_, question) = node("q", None, text("user", 2.0, "q"));
        let mut q = question;
        q["children"] = json!(["old", "new"]);
        let value = json!({"title": " T ", "mapping": {"q": q, "old": old, "new": new}});
        assert_eq!(contents(&read(&value, &bot, None).unwrap()), ["q", "new"]);
        assert!(is_conversation(&value) && !is_conversation(&json!({"kind": "message"})));
    }
}
