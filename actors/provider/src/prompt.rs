//! From the turn's messages to those on the wire (providers.md §2).
//!
//! What goes out is always valid: system texts are joined in front, empty assistant messages are gone, and every tool
//! call is followed by exactly one result. Texts are borrowed, so that a long history is not copied before it is written.

use std::borrow::Cow;

use greenroom_protocol::message::Part;
use greenroom_protocol::{Message, Role, ToolCall};
use serde::de::IgnoredAny;

/// What a call without a result is answered with, when a turn stopped before its tools ran.
const NOT_EXECUTED: &str = "not executed";
/// What stands for an image that the model cannot see.
pub(crate) const IMAGE_NOTICE: &str = "[an image was attached; this model cannot see images]";

/// What a provider wants of a prompt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Images may be sent.
    pub(crate) images: bool,
    /// Neighbouring user messages are merged, as many local templates demand.
    pub(crate) alternating: bool,
}

/// A prompt in an order that every provider accepts.
#[derive(Debug)]
pub(crate) struct Arranged<'a> {
    /// All system texts that say something, in order.
    pub(crate) system: Vec<&'a str>,
    /// The conversation.
    pub(crate) said: Vec<Said<'a>>,
}

/// One message of the conversation.
#[derive(Debug)]
pub(crate) enum Said<'a> {
    /// By the person; at least one piece.
    User(Vec<Piece<'a>>),
    /// By the model: a text, calls, or both.
    Assistant { text: &'a str, calls: &'a [ToolCall] },
    /// By a tool. The results of all calls follow their message at once, in the order of the calls.
    Result { call: &'a ToolCall, text: &'a str, is_error: bool },
}

/// A part of what the person said.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    Text(Cow<'a, str>),
    Image { url: &'a str, detail: Option<&'a str> },
}

/// Arranges messages for the wire.
pub(crate) fn arrange(messages: &[Message], shape: Shape) -> Arranged<'_> {
    let mut said: Vec<Said<'_>> = Vec::with_capacity(messages.len());
    let mut answered = vec![false; messages.len()];
    for (at, message) in messages.iter().enumerate() {
        match message.role {
            Role::System | Role::Tool => {} // hoisted; results follow their calls below
            Role::User => push_user(&mut said, message, shape),
            Role::Assistant => {
                if message.content.is_empty() && message.tool_calls.is_empty() {
                    continue;
                }
                said.push(Said::Assistant { text: &message.content, calls: &message.tool_calls });
                for call in &message.tool_calls {
                    let found = find_result(messages, &answered, at, call);
                    if let Some(found) = found {
                        answered[found] = true;
                    }
                    let result = found.map(|found| &messages[found]);
                    said.push(Said::Result {
                        call,
                        text: result.map_or(NOT_EXECUTED, |result| &result.content),
                        is_error: result.is_none_or(|result| result.is_error),
                    });
                }
            }
        }
    }
    let system = messages.iter().filter(|m| m.role == Role::System && !m.content.is_empty());
    Arranged { system: system.map(|m| m.content.as_str()).collect(), said }
}

/// A call's arguments, fit to be sent: servers that apply a chat template parse them, and fail for good on a call that was
/// cut off.
pub(crate) fn arguments(call: &ToolCall) -> &str {
    if serde_json::from_str::<IgnoredAny>(&call.arguments).is_ok() { &call.arguments } else { "{}" }
}

/// Characters of a prompt, for estimates.
pub(crate) fn characters(messages: &[Message]) -> usize {
    let of_call = |call: &ToolCall| call.name.len() + call.arguments.chars().count();
    messages.iter().map(|m| m.content.chars().count() + m.tool_calls.iter().map(of_call).sum::<usize>()).sum()
}

/// System texts as one, for providers that take one.
pub(crate) fn joined<'a>(system: &[&'a str]) -> Option<Cow<'a, str>> {
    match system {
        [] => None,
        [one] => Some((*one).into()),
        many => Some(many.join("\n\n").into()),
    }
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

fn push_user<'a>(said: &mut Vec<Said<'a>>, message: &'a Message, shape: Shape) {
    let mut pieces = user_pieces(message, shape);
    match said.last_mut() {
        Some(Said::User(before)) if shape.alternating => {
            if let ([Piece::Text(text)], [Piece::Text(more)]) = (before.as_mut_slice(), pieces.as_slice()) {
                *text = format!("{text}\n\n{more}").into();
            } else {
                before.append(&mut pieces);
            }
        }
        _ => said.push(Said::User(pieces)),
    }
}

fn user_pieces(message: &Message, shape: Shape) -> Vec<Piece<'_>> {
    let text = message.content.as_str();
    if message.parts.is_empty() {
        return vec![Piece::Text(text.into())];
    }
    if !shape.images {
        let blank = if text.is_empty() { "" } else { "\n\n" };
        return vec![Piece::Text(format!("{text}{blank}{IMAGE_NOTICE}").into())];
    }
    let first = (!text.is_empty()).then(|| Piece::Text(text.into()));
    let images =
        message.parts.iter().map(|Part::Image { url, detail }| Piece::Image { url, detail: detail.as_deref() });
    first.into_iter().chain(images).collect()
}

#[cfg(test)]
mod tests {
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

    fn outline(messages: &[Message], shape: Shape) -> Vec<String> {
        let Arranged { system, said } = arrange(messages, shape);
        let piece = |piece: &Piece<'_>| match piece {
            Piece::Text(text) => text.to_string(),
            Piece::Image { url, .. } => format!("<{url}>"),
        };
        let shown = |said: Said<'_>| match said {
            Said::User(pieces) => format!("user:{}", pieces.iter().map(piece).collect::<Vec<_>>().join("|")),
            Said::Assistant { text, .. } => format!("assistant:{text}"),
            Said::Result { text, is_error, .. } => format!("tool:{text}{}", if is_error { " (error)" } else { "" }),
        };
        joined(&system)
            .map(|system| format!("system:{system}"))
            .into_iter()
            .chain(said.into_iter().map(shown))
            .collect()
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
        assert_eq!(
            seen,
            ["assistant:", "tool:not executed (error)", "tool:B", "user:go on", "assistant:", "tool:second a"]
        );
    }

    #[test]
    fn cut_off_arguments_do_not_go_out() {
        let mut call = ToolCall { id: "a".into(), name: "f".into(), arguments: "{\"a\":1}".into() };
        assert_eq!(arguments(&call), "{\"a\":1}");
        call.arguments = "{\"a\":".into();
        assert_eq!(arguments(&call), "{}");
    }

    #[test]
    fn images_are_sent_or_announced() {
        let mut message = said(Role::User, "look");
        message.parts.push(Part::Image { url: "data:image/png;base64,AA==".into(), detail: None });
        let messages = [message, said(Role::User, "well?")];
        let sent = outline(&messages, Shape { alternating: true, ..PLAIN });
        assert_eq!(sent, ["user:look|<data:image/png;base64,AA==>|well?"]);
        let told = outline(&messages[..1], Shape { images: false, ..PLAIN });
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
