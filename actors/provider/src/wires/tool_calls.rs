//! Putting tool calls together from their fragments.
//!
//! Servers disagree on everything: an index may be missing or always zero, an id may come once, always, late or never,
//! a name may be repeated, arguments may be an object. A fragment belongs to the call with its id, else to the newest
//! call at its index, unless it plainly begins another one. What comes out is ordered, has unique ids, and carries the
//! arguments as the model wrote them.

use greenroom_protocol::{ToolCall, ids};
use serde::de::IgnoredAny;

/// Most bytes all calls of one answer may take.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Most calls of one answer.
const MOST_CALLS: usize = 1024;

/// A fragment of a tool call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CallPiece {
    /// As the server numbers it.
    pub(crate) index: Option<i64>,
    /// Its place in the chunk's list, which stands in for a missing index.
    pub(crate) position: i64,
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) arguments: Arguments,
}

/// The arguments in a fragment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Arguments {
    #[default]
    None,
    /// Text to append.
    Text(String),
    /// A complete value, which some servers send in place of text.
    Whole(String),
}

/// The calls seen so far.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    slots: Vec<Slot>,
    bytes: usize,
    /// Some fragment had no index, so indices say nothing about the order.
    unnumbered: bool,
}

#[derive(Debug, Default)]
struct Slot {
    index: i64,
    id: String,
    name: String,
    arguments: String,
}

impl Slot {
    /// Whether the arguments are a whole JSON object, so that more text would begin something new.
    fn is_whole(&self) -> bool {
        self.arguments.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok()
    }
}

/// More calls than any model asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMuch;

impl Calls {
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Characters of names and arguments, for estimates.
    pub(crate) fn characters(&self) -> usize {
        self.slots.iter().map(|slot| slot.name.len() + slot.arguments.chars().count()).sum()
    }

    /// Adds a fragment.
    pub(crate) fn add(&mut self, piece: CallPiece) -> Result<(), TooMuch> {
        let at = self.slot_for(&piece);
        let at = match at {
            Some(at) => at,
            None => {
                if self.slots.len() >= MOST_CALLS {
                    return Err(TooMuch);
                }
                self.unnumbered |= piece.index.is_none();
                self.slots.push(Slot { index: piece.index.unwrap_or(piece.position), ..Slot::default() });
                self.slots.len() - 1
            }
        };
        let slot = &mut self.slots[at];
        if let Some(id) = piece.id {
            slot.id = id;
        }
        if let Some(name) = piece.name {
            slot.name = name; // repeated in full by some servers, so never appended
        }
        match piece.arguments {
            Arguments::None => {}
            // the call told once more, in full
            Arguments::Text(text) if text.len() > 1 && text == slot.arguments && slot.is_whole() => {}
            Arguments::Text(text) => {
                self.bytes += text.len();
                slot.arguments.push_str(&text);
            }
            Arguments::Whole(json) => {
                self.bytes += json.len();
                slot.arguments = json;
            }
        }
        if self.bytes > MOST_BYTES { Err(TooMuch) } else { Ok(()) }
    }

    fn slot_for(&self, piece: &CallPiece) -> Option<usize> {
        if let Some(id) = &piece.id {
            let known = |slot: &Slot| slot.id == *id && piece.index.is_none_or(|index| index == slot.index);
            if let Some(known) = self.slots.iter().rposition(known) {
                return Some(known);
            }
        }
        let index = piece.index.unwrap_or(piece.position);
        let newest = self.slots.iter().rposition(|slot| slot.index == index)?;
        let slot = &self.slots[newest];
        let another = if piece.id.is_some() {
            // an id that comes late names the call that was begun without one
            let renamed = piece.name.as_ref().is_some_and(|name| !slot.name.is_empty() && slot.name != *name);
            let more = piece.name.is_some() || piece.arguments != Arguments::None;
            !slot.id.is_empty() || renamed || (more && slot.is_whole())
        } else {
            let begins = match &piece.arguments {
                Arguments::None => false,
                Arguments::Text(text) => text.trim_start().starts_with('{') && slot.arguments != *text,
                Arguments::Whole(json) => slot.arguments != *json,
            };
            begins && piece.name.is_some() && slot.is_whole()
        };
        (!another).then_some(newest)
    }

    /// The finished calls.
    pub(crate) fn take(&mut self) -> Vec<ToolCall> {
        let mut slots = std::mem::take(&mut self.slots);
        slots.retain(|slot| !(slot.name.is_empty() && slot.arguments.is_empty()));
        if !self.unnumbered {
            slots.sort_by_key(|slot| slot.index); // stable: calls that share an index keep their order
        }
        let mut calls: Vec<ToolCall> = Vec::with_capacity(slots.len());
        for slot in slots {
            let taken = slot.id.is_empty() || calls.iter().any(|call| call.id == slot.id);
            calls.push(ToolCall {
                id: if taken { ids::tool_call_id() } else { slot.id },
                name: slot.name,
                arguments: if slot.arguments.is_empty() { "{}".into() } else { slot.arguments },
            });
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wires::chat::chunk::Chunk;

    /// Feeds `tool_calls` arrays, one per chunk; gives (id, name, arguments), made ids shown as `?`.
    fn assemble(chunks: &[&str]) -> Vec<(String, String, String)> {
        let mut calls = Calls::default();
        for chunk in chunks {
            let data = format!(r#"{{"choices":[{{"delta":{{"tool_calls":{chunk}}}}}]}}"#);
            for piece in Chunk::read(&data).unwrap().unwrap().calls {
                calls.add(piece).unwrap();
            }
        }
        let shown = |call: ToolCall| {
            let made = call.id.starts_with("call_") && call.id.len() == 13;
            (if made { "?".into() } else { call.id }, call.name, call.arguments)
        };
        calls.take().into_iter().map(shown).collect()
    }

    fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
        (id.into(), name.into(), arguments.into())
    }

    #[test]
    fn two_interleaved_calls_come_out_whole_and_ordered() {
        let calls = assemble(&[
            r#"[{"index":1,"id":"b","function":{"name":"g","arguments":""}}]"#,
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]"#,
            r#"[{"index":1,"function":{"arguments":"{\"y\":"}},{"index":0,"function":{"arguments":":1"}}]"#,
            r#"[{"index":0,"function":{"arguments":"}"}}]"#,
            r#"[{"index":1,"function":{"arguments":"2}"}}]"#,
        ]);
        assert_eq!(calls, [call("a", "f", "{\"x\":1}"), call("b", "g", "{\"y\":2}")]);
    }

    #[test]
    fn one_index_for_all_calls() {
        let calls = assemble(&[
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":"}}]"#,
            r#"[{"index":0,"function":{"arguments":"1}"}}]"#,
            r#"[{"index":0,"id":"b","function":{"name":"f","arguments":"{\"x\":"}}]"#,
            r#"[{"index":0,"function":{"arguments":"2}"}}]"#,
        ]);
        assert_eq!(calls, [call("a", "f", "{\"x\":1}"), call("b", "f", "{\"x\":2}")]);
        let at_once = r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}},
                          {"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}]"#;
        assert_eq!(assemble(&[at_once]), [call("a", "f", "{}"), call("b", "g", "{}")]);
    }

    #[test]
    fn neither_index_nor_id() {
        let calls = assemble(&[
            r#"[{"function":{"name":"f","arguments":"{\"x\":1}"}},{"function":{"name":"g","arguments":{"y":2}}}]"#,
        ]);
        assert_eq!(calls, [call("?", "f", "{\"x\":1}"), call("?", "g", "{\"y\":2}")]);
        let one_by_one = assemble(&[
            r#"[{"function":{"name":"f","arguments":"{\"x\":1}"}}]"#,
            r#"[{"function":{"name":"f","arguments":"{\"x\":2}"}}]"#,
            r#"[{"function":{"name":"g","arguments":{"z":3}}}]"#,
        ]);
        assert_eq!(one_by_one, [call("?", "f", "{\"x\":1}"), call("?", "f", "{\"x\":2}"), call("?", "g", "{\"z\":3}")]);
    }

    #[test]
    fn ids_without_indices() {
        let calls = assemble(&[
            r#"[{"id":"a","function":{"name":"f","arguments":"{"}},{"id":"b","function":{"name":"g","arguments":"{"}}]"#,
            r#"[{"id":"b","function":{"arguments":"}"}}]"#,
            r#"[{"id":"a","function":{"arguments":"}"}}]"#,
            r#"[{"id":"c","function":{"name":"h","arguments":"{}"}}]"#,
        ]);
        assert_eq!(calls, [call("a", "f", "{}"), call("b", "g", "{}"), call("c", "h", "{}")]);
    }

    #[test]
    fn repeated_names_and_ids_are_not_doubled() {
        let calls = assemble(&[
            r#"[{"index":0,"id":"a","function":{"name":"lookup","arguments":"{\"q\":"}}]"#,
            r#"[{"index":0,"id":"a","function":{"name":"lookup","arguments":"\"x\"}"}}]"#,
            r#"[{"index":0,"id":"a","function":{"name":"lookup","arguments":"{\"q\":\"x\"}"}}]"#,
        ]);
        assert_eq!(calls, [call("a", "lookup", "{\"q\":\"x\"}")]);
    }

    #[test]
    fn an_id_may_come_late_and_be_shared() {
        let late = assemble(&[
            r#"[{"index":0,"function":{"name":"f","arguments":"{"}}]"#,
            r#"[{"index":0,"id":"a","function":{"arguments":"}"}}]"#,
        ]);
        assert_eq!(late, [call("a", "f", "{}")]);
        let shared = assemble(&[
            r#"[{"index":0,"id":"same","function":{"name":"f","arguments":"{}"}}]"#,
            r#"[{"index":1,"id":"same","function":{"name":"g","arguments":"{}"}}]"#,
        ]);
        assert_eq!(shared, [call("same", "f", "{}"), call("?", "g", "{}")]);
    }

    #[test]
    fn a_call_without_arguments_gets_an_empty_object_and_nothing_is_nothing() {
        assert_eq!(assemble(&[r#"[{"index":3,"id":"a","function":{"name":"f"}}]"#]), [call("a", "f", "{}")]);
        assert_eq!(assemble(&[r#"[{"index":0}]"#, "[]", "null", r#"[null]"#]), []);
    }

    #[test]
    fn cut_off_arguments_stay_as_they_are() {
        assert_eq!(
            assemble(&[r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":"}}]"#]),
            [call("a", "f", "{\"x\":")]
        );
    }

    #[test]
    fn endless_calls_are_refused() {
        let mut calls = Calls::default();
        let mut result = Ok(());
        for number in 0..=MOST_CALLS {
            result = calls.add(CallPiece { id: Some(format!("c{number}")), ..CallPiece::default() });
        }
        assert_eq!(result, Err(TooMuch));
        let mut calls = Calls::default();
        let text = "x".repeat(MOST_BYTES / 2);
        let piece = || CallPiece { index: Some(0), arguments: Arguments::Text(text.clone()), ..CallPiece::default() };
        assert_eq!(calls.add(piece()), Ok(()));
        assert_eq!(calls.add(piece()), Ok(()));
        assert_eq!(calls.add(piece()), Err(TooMuch));
    }
}
