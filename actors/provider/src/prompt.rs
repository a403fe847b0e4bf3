//! From the turn's messages to those on the wire (providers.md §2).
//!
//! What goes out is always valid: system texts are joined in front, empty assistant messages are gone, and every tool
//! call is followed by exactly one result. Texts are borrowed, so that a long history is not copied before it is written.

use std::borrow::Cow;

use greenroom_protocol::message::Part;
use greenroom_protocol::{Message, Role, ToolCall};
use serde::Serialize;
use serde::de::IgnoredAny;

/// What a call without a result is answered with, when a turn stopped before its tools ran.
const NOT_EXECUTED: &str = "not executed";
/// What stands for an image that the model cannot see.
const IMAGE_NOTICE: &str = "[an image was attached; this model cannot see images]";

/// What a provider wants of a prompt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Images may be sent.
    pub(crate) images: bool,
    /// Neighbouring user messages are merged, as many local templates demand.
    pub(crate) alternating: bool,
}

/// A message as Chat Completions spells it.
#[derive(Debug, Serialize)]
pub(crate) struct WireMessage<'a> {
    role: &'static str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<WirePart<'a>>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WirePart<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Debug, Serialize)]
struct ImageUrl<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct WireCall<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: WireFunction<'a>,
}

#[derive(Debug, Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

/// Arranges messages for the wire.
pub(crate) fn arrange(messages: &[Message], shape: Shape) -> Vec<WireMessage<'_>> {
    let mut wire: Vec<WireMessage<'_>> = Vec::with_capacity(messages.len());
    if let Some(system) = joined_system(messages) {
        wire.push(plain("system", Content::Text(system)));
    }
    let mut answered = vec![false; messages.len()];
    for (at, message) in messages.iter().enumerate() {
        match message.role {
            Role::System | Role::Tool => {} // hoisted above; results follow their calls below
            Role::User => push_user(&mut wire, message, shape),
            Role::Assistant => {
                if message.content.is_empty() && message.tool_calls.is_empty() {
                    continue;
                }
                wire.push(WireMessage {
                    role: "assistant",
                    content: Content::Text(message.content.as_str().into()),
                    tool_calls: message.tool_calls.iter().map(wire_call).collect(),
                    tool_call_id: None,
                });
                for call in &message.tool_calls {
                    let found = find_result(messages, &answered, at, call);
                    if let Some(found) = found {
                        answered[found] = true;
                    }
                    wire.push(WireMessage {
                        role: "tool",
                        content: Content::Text(
                            found.map_or(NOT_EXECUTED, |found| messages[found].content.as_str()).into(),
                        ),
                        tool_calls: Vec::new(),
                        tool_call_id: Some(&call.id),
                    });
                }
            }
        }
    }
    wire
}

/// Characters of a prompt, for estimates.
pub(crate) fn characters(messages: &[Message]) -> usize {
    let of_call = |call: &ToolCall| call.name.len() + call.arguments.chars().count();
    messages.iter().map(|m| m.content.chars().count() + m.tool_calls.iter().map(of_call).sum::<usize>()).sum()
}

fn plain<'a>(role: &'static str, content: Content<'a>) -> WireMessage<'a> {
    WireMessage { role, content, tool_calls: Vec::new(), tool_call_id: None }
}

fn joined_system(messages: &[Message]) -> Option<Cow<'_, str>> {
    let mut texts = messages.iter().filter(|m| m.role == Role::System && !m.content.is_empty()).map(|m| &*m.content);
    let first = texts.next()?;
    Some(texts.fold(Cow::Borrowed(first), |joined, text| Cow::Owned(format!("{joined}\n\n{text}"))))
}

/// The first unused result of a call, before a later message calls by the same id again: some providers number the
/// calls of each answer from zero.
fn find_result(messages: &[Message], answered: &[bool], at: usize, call: &ToolCall) -> Option<usize> {
    let rest = messages.iter().enumerate().skip(at + 1);
    rest.take_while(|(_, later)| {
        later.role != Role::Assistant || later.tool_calls.iter().all(|other| other.id != call.id)
    })
    .find(|(index, later)| {
        later.role == Role::Tool && !answered[*index] && later.tool_call_id.as_deref() == Some(&*call.id)
    })
    .map(|(index, _)| index)
}

fn wire_call(call: &ToolCall) -> WireCall<'_> {
    // servers that apply a chat template parse the arguments, and fail for good on a call that was cut off
    let valid = serde_json::from_str::<IgnoredAny>(&call.arguments).is_ok();
    let arguments = if valid { call.arguments.as_str() } else { "{}" };
    WireCall { id: &call.id, kind: "function", function: WireFunction { name: &call.name, arguments } }
}

fn push_user<'a>(wire: &mut Vec<WireMessage<'a>>, message: &'a Message, shape: Shape) {
    let content = user_content(message, shape);
    match wire.last_mut().filter(|last| shape.alternating && last.role == "user") {
        Some(last) => {
            let before = std::mem::replace(&mut last.content, Content::Parts(Vec::new()));
            last.content = merged(before, content);
        }
        None => wire.push(plain("user", content)),
    }
}

fn user_content(message: &Message, shape: Shape) -> Content<'_> {
    let text = message.content.as_str();
    if message.parts.is_empty() {
        return Content::Text(text.into());
    }
    if !shape.images {
        let blank = if text.is_empty() { "" } else { "\n\n" };
        return Content::Text(format!("{text}{blank}{IMAGE_NOTICE}").into());
    }
    let first = (!text.is_empty()).then(|| WirePart::Text { text: text.into() });
    let images = message.parts.iter().map(|Part::Image { url, detail }| WirePart::ImageUrl {
        image_url: ImageUrl { url, detail: detail.as_deref() },
    });
    Content::Parts(first.into_iter().chain(images).collect())
}

fn merged<'a>(a: Content<'a>, b: Content<'a>) -> Content<'a> {
    match (a, b) {
        (Content::Text(a), Content::Text(b)) => Content::Text(format!("{a}\n\n{b}").into()),
        (a, b) => {
            let parts = |content| match content {
                Content::Text(text) => vec![WirePart::Text { text }],
                Content::Parts(parts) => parts,
            };
            Content::Parts(parts(a).into_iter().chain(parts(b)).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const PLAIN: Shape = Shape { images: true, alternating: false };

    fn said(role: Role, text: &str) -> Message {
        Message::text(role, text)
    }

    fn calling(ids: &[&str]) -> Message {
        let mut message = said(Role::Assistant, "");
        message.tool_calls = ids
            .iter()
            .map(|id| ToolCall { id: (*id).into(), name: "f".into(), arguments: "{\"a\":1}".into() })
            .collect();
        message
    }

    fn result(id: &str, text: &str) -> Message {
        Message { tool_call_id: Some(id.into()), ..said(Role::Tool, text) }
    }

    fn wire(messages: &[Message], shape: Shape) -> Value {
        serde_json::to_value(arrange(messages, shape)).unwrap()
    }

    fn outline(messages: &[Message], shape: Shape) -> Vec<String> {
        let Value::Array(wire) = wire(messages, shape) else { unreachable!() };
        wire.iter().map(|m| format!("{}:{}", m["role"].as_str().unwrap(), m["content"].as_str().unwrap())).collect()
    }

    #[test]
    fn system_texts_are_joined_in_front() {
        let messages = [
            said(Role::User, "hi"),
            said(Role::System, "one"),
            said(Role::Assistant, "yo"),
            said(Role::System, ""),
            said(Role::System, "two"),
        ];
        assert_eq!(outline(&messages, PLAIN), ["system:one\n\ntwo", "user:hi", "assistant:yo"]);
        assert_eq!(outline(&messages[..1], PLAIN), ["user:hi"]);
    }

    #[test]
    fn every_call_has_exactly_one_result_right_behind_it() {
        let messages = [
            result("orphan", "lost"),
            calling(&["a", "b"]),
            said(Role::User, "go on"),
            result("b", "B"),
            result("b", "B again"),
            said(Role::Assistant, ""),
            calling(&["a"]),
            result("a", "second a"),
        ];
        let seen = outline(&messages, PLAIN);
        assert_eq!(seen, ["assistant:", "tool:not executed", "tool:B", "user:go on", "assistant:", "tool:second a"]);
    }

    #[test]
    fn cut_off_arguments_do_not_go_out() {
        let mut message = calling(&["a"]);
        message.tool_calls[0].arguments = "{\"a\":".into();
        let wire = wire(&[message], PLAIN);
        assert_eq!(wire[0]["tool_calls"][0]["function"], json!({"name": "f", "arguments": "{}"}));
        assert_eq!(wire[0]["tool_calls"][0]["type"], "function");
    }

    #[test]
    fn images_are_sent_or_announced() {
        let mut message = said(Role::User, "look");
        message.parts.push(Part::Image { url: "data:image/png;base64,AA==".into(), detail: None });
        let sent = wire(std::slice::from_ref(&message), PLAIN);
        assert_eq!(sent[0], message.openai());
        let told = outline(&[message], Shape { images: false, ..PLAIN });
        assert_eq!(told, [format!("user:look\n\n{IMAGE_NOTICE}")]);
    }

    #[test]
    fn neighbours_merge_where_templates_alternate() {
        let messages =
            [said(Role::User, "a"), said(Role::User, "b"), said(Role::Assistant, "c"), said(Role::User, "d")];
        assert_eq!(outline(&messages, PLAIN).len(), 4);
        let merged = outline(&messages, Shape { alternating: true, ..PLAIN });
        assert_eq!(merged, ["user:a\n\nb", "assistant:c", "user:d"]);
    }
}
