//! The conversation as alternating turns of content blocks.
//!
//! Invariants, each of which the API refuses a request for: the person begins, turns alternate, no text is blank, and every
//! `tool_use` has an id of its own that the next turn answers, results before anything else.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};

use greenroom_protocol::ToolCall;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::prompt::{self, IMAGE_NOTICE, Piece, Said};
use crate::wires::inline::Inline;

/// What the person says when the model spoke first.
const OPENING: &str = "[the conversation begins here]";
/// The images that the API reads.
const MEDIA_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// One turn.
#[derive(Debug, Serialize)]
pub(super) struct Turn<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: Cow<'a, str>,
    },
    Image {
        source: Source<'a>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: Input<'a>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        #[serde(skip_serializing_if = "str::is_empty")]
        content: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Input<'a> {
    Object(&'a RawValue),
    Empty {},
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
}

/// The turns of a conversation.
pub(super) fn turns(said: Vec<Said<'_>>) -> Vec<Turn<'_>> {
    let mut turns: Vec<Turn<'_>> = Vec::with_capacity(said.len() + 1);
    let mut ids = Ids::default();
    for said in said {
        let (role, content) = match said {
            Said::User(pieces) => ("user", pieces.into_iter().filter_map(block).collect()),
            Said::Assistant { text, calls } => {
                let calls =
                    calls.iter().map(|call| Block::ToolUse { id: ids.of(call), name: &call.name, input: input(call) });
                ("assistant", words(text.into()).into_iter().chain(calls).collect())
            }
            Said::Result { call, text, is_error } => {
                let tool_use_id = ids.asked.pop_front().unwrap_or_else(|| call.id.as_str().into());
                ("user", vec![Block::ToolResult { tool_use_id, content: text, is_error }])
            }
        };
        push(&mut turns, role, content);
    }
    turns
}

fn push<'a>(turns: &mut Vec<Turn<'a>>, role: &'static str, mut content: Vec<Block<'a>>) {
    if content.is_empty() {
        return;
    }
    if turns.is_empty() && role == "assistant" {
        turns.push(Turn { role: "user", content: vec![Block::Text { text: OPENING.into() }] });
    }
    match turns.last_mut().filter(|last| last.role == role) {
        Some(last) => last.content.append(&mut content),
        None => turns.push(Turn { role, content }),
    }
}

fn words(text: Cow<'_, str>) -> Option<Block<'_>> {
    (!text.trim().is_empty()).then_some(Block::Text { text })
}

fn block(piece: Piece<'_>) -> Option<Block<'_>> {
    match piece {
        Piece::Text(text) => words(text),
        Piece::Image { url, .. } => {
            Some(image(url).map_or_else(|| Block::Text { text: IMAGE_NOTICE.into() }, |source| Block::Image { source }))
        }
    }
}

/// An image the API can take; it fetches remote ones itself.
fn image(url: &str) -> Option<Source<'_>> {
    let Some(Inline { media_type, data }) = Inline::of(url) else {
        return ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme)).then_some(Source::Url { url });
    };
    let media_type = if media_type.eq_ignore_ascii_case("image/jpg") { "image/jpeg" } else { media_type };
    let media_type = MEDIA_TYPES.into_iter().find(|known| known.eq_ignore_ascii_case(media_type))?;
    Some(Source::Base64 { media_type, data })
}

/// A call's arguments; the API takes nothing but an object.
fn input(call: &ToolCall) -> Input<'_> {
    let arguments = prompt::arguments(call).trim();
    let object = arguments.starts_with('{').then(|| serde_json::from_str(arguments).ok()).flatten();
    object.map_or(Input::Empty {}, Input::Object)
}

/// The ids that calls go out under: their own where the API takes them.
#[derive(Default)]
struct Ids<'a> {
    used: HashSet<Cow<'a, str>>,
    /// Those of the newest calls, whose results come next.
    asked: VecDeque<Cow<'a, str>>,
}

impl<'a> Ids<'a> {
    fn of(&mut self, call: &'a ToolCall) -> Cow<'a, str> {
        let fit = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let own = Some(call.id.as_str()).filter(|id| !id.is_empty() && id.chars().all(fit)).map(Cow::Borrowed);
        let made = (self.used.len()..).map(|number| Cow::Owned(format!("call_{number}")));
        let mut open = own.into_iter().chain(made).filter(|id| !self.used.contains(id));
        let id = open.next().unwrap_or_default();
        self.used.insert(id.clone());
        self.asked.push_back(id.clone());
        id
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::message::Part;
    use greenroom_protocol::{Message, Role};
    use serde_json::{Value, json};

    use super::*;
    use crate::prompt::{Shape, arrange};

    fn written(messages: &[Message]) -> Value {
        let said = arrange(messages, Shape { images: true, alternating: true }).said;
        serde_json::to_value(turns(said)).unwrap()
    }

    fn said(role: Role, text: &str) -> Message {
        Message::text(role, text)
    }

    fn calling(text: &str, calls: &[(&str, &str)]) -> Message {
        let call = |(id, arguments): &(&str, &str)| ToolCall {
            id: (*id).into(),
            name: "f".into(),
            arguments: (*arguments).into(),
        };
        Message { tool_calls: calls.iter().map(call).collect(), ..said(Role::Assistant, text) }
    }

    fn result(id: &str, text: &str, is_error: bool) -> Message {
        Message { tool_call_id: Some(id.into()), is_error, ..said(Role::Tool, text) }
    }

    #[test]
    fn one_user_turn_answers_all_calls() {
        let turns = written(&[
            said(Role::User, "go"),
            calling("Let me see.", &[("a", "{\"x\":1}"), ("b", "")]),
            result("b", "no such thing", true),
            result("a", "1", false),
            said(Role::User, "and?"),
        ]);
        let text = |text: &str| json!({"type": "text", "text": text});
        assert_eq!(
            turns,
            json!([
                {"role": "user", "content": [text("go")]},
                {"role": "assistant", "content": [
                    text("Let me see."),
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                    {"type": "tool_use", "id": "b", "name": "f", "input": {}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": "1"},
                    {"type": "tool_result", "tool_use_id": "b", "content": "no such thing", "is_error": true},
                    text("and?"),
                ]},
            ])
        );
    }

    #[test]
    fn ids_that_the_api_refuses_are_replaced_on_both_sides() {
        let round =
            || [calling("", &[("functions.f:0", "{}"), ("call_0", "[1]")]), result("functions.f:0", "r", false)];
        let mut messages = vec![said(Role::User, "go")];
        messages.extend(round());
        messages.extend(round());
        let turns = written(&messages);
        let ids = |turn: usize, name: &str| -> Vec<String> {
            let blocks = turns[turn]["content"].as_array().unwrap();
            blocks.iter().map(|block| block[name].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(ids(1, "id"), ids(2, "tool_use_id"));
        assert_eq!(ids(3, "id"), ids(4, "tool_use_id"));
        let all: HashSet<String> = ids(1, "id").into_iter().chain(ids(3, "id")).collect();
        assert_eq!(all.len(), 4);
        assert!(all.iter().all(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')), "{all:?}");
        assert_eq!(turns[1]["content"][1]["input"], json!({}));
    }

    #[test]
    fn turns_alternate_begin_with_the_person_and_hold_no_blank_text() {
        let turns = written(&[
            said(Role::Assistant, "Hello!"),
            said(Role::Assistant, "Anybody?"),
            said(Role::User, " \n"),
            said(Role::Assistant, "\t"),
            said(Role::User, "yes"),
        ]);
        let outline: Vec<String> = turns
            .as_array()
            .unwrap()
            .iter()
            .map(|turn| format!("{} {}", turn["role"].as_str().unwrap(), turn["content"].as_array().unwrap().len()))
            .collect();
        assert_eq!(outline, ["user 1", "assistant 2", "user 1"]);
        assert_eq!(turns[0]["content"][0]["text"], OPENING);
    }

    #[test]
    fn images_go_as_bytes_as_addresses_or_as_a_notice() {
        let image = |url: &str| Part::Image { url: url.into(), detail: Some("low".into()) };
        let urls = ["data:image/jpg;base64,AA==", "https://h/a.png", "data:image/tiff;base64,AA==", "ftp://h/a.png"];
        let message = Message { parts: urls.into_iter().map(image).collect(), ..said(Role::User, "look") };
        let sources: Vec<Value> =
            written(&[message])[0]["content"].as_array().unwrap()[1..].iter().map(|b| b["source"].clone()).collect();
        assert_eq!(sources[0], json!({"type": "base64", "media_type": "image/jpeg", "data": "AA=="}));
        assert_eq!(sources[1], json!({"type": "url", "url": "https://h/a.png"}));
        assert_eq!(sources[2..], [Value::Null, Value::Null]);
    }
}
