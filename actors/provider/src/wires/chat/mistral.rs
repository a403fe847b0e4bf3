//! Tool calls that a server left in the text, in the two grammars of Mistral's models (providers.md §5.5): the marker and a
//! list of calls, or the marker and `name{arguments}` once or more.
//!
//! Text before the marker is told at once; from the marker on everything waits for the end. What then makes no sense as
//! calls is told as the text that it is. Braces within strings are no braces.

use std::hash::{BuildHasher, Hasher, RandomState};

use serde_json::Value;

use crate::http::fold::{EVENT_CAP, Fault};
use crate::http::stop_guard::begun;
use crate::wires::tool_calls::{Arguments, CallPiece};

const MARKER: &str = "[TOOL_CALLS]";
/// Between a name and its arguments, in the newest models.
const SEPARATORS: [&str; 2] = ["[CALL_ID]", "[ARGS]"];

/// A filter over a stream of text.
#[derive(Debug, Default)]
pub(super) struct Leak {
    held: String,
    marked: bool,
}

/// What was held back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) calls: Vec<CallPiece>,
    pub(super) text: String,
}

impl Leak {
    /// Passes a piece of text through, up to the marker.
    pub(super) fn pass(&mut self, piece: String) -> Result<String, Fault> {
        if self.marked {
            self.held.push_str(&piece);
            return if self.held.len() > EVENT_CAP {
                Err(Fault::Broken("too many tool calls"))
            } else {
                Ok(String::new())
            };
        }
        let mut text = std::mem::take(&mut self.held);
        if text.is_empty() {
            text = piece;
        } else {
            text.push_str(&piece);
        }
        let at = text.find(MARKER);
        self.marked = at.is_some();
        self.held = text.split_off(at.unwrap_or_else(|| text.len() - begun(&text, MARKER)));
        Ok(text)
    }

    /// Whether something is held back.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// The end of the text.
    pub(super) fn finish(self) -> Found {
        let calls = if self.marked { calls(&self.held) } else { None };
        match calls {
            Some((calls, rest)) => Found { calls, text: rest.trim_end().to_owned() },
            None => Found { calls: Vec::new(), text: self.held },
        }
    }
}

/// The calls behind the marker that begins the text, and the text behind them.
fn calls(text: &str) -> Option<(Vec<CallPiece>, &str)> {
    let mut rest = text.strip_prefix(MARKER)?.trim_start();
    if rest.starts_with('[') {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Vec<Value>>();
        let list = values.next()?.ok()?;
        let rest = &rest[values.byte_offset()..];
        let calls = list.iter().enumerate().map(|(at, entry)| listed(at, entry)).collect::<Option<Vec<_>>>()?;
        return (!calls.is_empty()).then_some((calls, rest));
    }
    let mut found = Vec::new();
    while let Some((call, behind)) = named(found.len(), rest) {
        found.push(call);
        rest = behind.trim_start();
        rest = rest.strip_prefix(MARKER).unwrap_or(rest).trim_start();
    }
    (!found.is_empty()).then_some((found, rest))
}

fn listed(at: usize, entry: &Value) -> Option<CallPiece> {
    let arguments = match entry.get("arguments") {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let id = entry.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
    Some(piece(at, entry.get("name")?.as_str()?, arguments, id))
}

/// `name{arguments}`, and what follows it. Arguments that never end are taken to the end of the text.
fn named(at: usize, text: &str) -> Option<(CallPiece, &str)> {
    let open = text.find('{')?;
    let mut head = text[..open].trim_end();
    let mut id = None;
    if let Some(before) = head.strip_suffix(SEPARATORS[1]) {
        head = before;
    }
    if let Some((before, given)) = head.split_once(SEPARATORS[0]) {
        (head, id) = (before, Some(given.trim()).filter(|id| !id.is_empty()));
    }
    let name = head.trim();
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 128 || !name.chars().all(word) {
        return None;
    }
    let end = open + object_length(&text[open..]);
    Some((piece(at, name, text[open..end].trim_end().to_owned(), id), &text[end..]))
}

fn piece(at: usize, name: &str, arguments: String, id: Option<&str>) -> CallPiece {
    CallPiece {
        index: i64::try_from(at).ok(),
        id: Some(id.map_or_else(made_id, str::to_owned)),
        name: Some(name.to_owned()),
        arguments: Arguments::Whole(arguments),
        ..CallPiece::default()
    }
}

/// Length of the object that begins the text, by its braces outside of strings.
fn object_length(text: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' if !quoted => depth += 1,
            b'}' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// Nine letters and digits: the templates of these models accept no other id.
fn made_id() -> String {
    let mut id = format!("{:016x}", RandomState::new().build_hasher().finish());
    id.truncate(9);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pieces: &[&str]) -> (String, Vec<(String, String)>, String) {
        let (mut leak, mut told) = (Leak::default(), String::new());
        for piece in pieces {
            told += &leak.pass((*piece).to_owned()).unwrap();
        }
        let found = leak.finish();
        let shown = |call: CallPiece| {
            let Arguments::Whole(arguments) = call.arguments else { unreachable!() };
            assert_eq!(call.id.unwrap().len(), 9);
            (call.name.unwrap(), arguments)
        };
        (told, found.calls.into_iter().map(shown).collect(), found.text)
    }

    fn call(name: &str, arguments: &str) -> (String, String) {
        (name.into(), arguments.into())
    }

    #[test]
    fn both_grammars_at_every_cut() {
        let tricky = r#"{"q":"a } [TOOL_CALLS] \" {","n":{"x":1}}"#;
        for (text, expected) in [
            (
                format!(
                    r#"Let me see.[TOOL_CALLS] [{{"name":"f","arguments":{tricky},"id":"abcdefghi"}},{{"name":"g"}}]"#
                ),
                vec![call("f", &serde_json::from_str::<Value>(tricky).unwrap().to_string()), call("g", "{}")],
            ),
            (format!("Let me see.[TOOL_CALLS]f{tricky}g{{}} "), vec![call("f", tricky), call("g", "{}")]),
            (
                format!("Let me see.[TOOL_CALLS]f[ARGS]{tricky}[TOOL_CALLS]g[CALL_ID]abcdefghi[ARGS]{{}}"),
                vec![call("f", tricky), call("g", "{}")],
            ),
        ] {
            for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
                let (a, b) = text.split_at(at);
                assert_eq!(run(&[a, b]), ("Let me see.".into(), expected.clone(), String::new()), "{text} at {at}");
            }
        }
    }

    #[test]
    fn arguments_that_never_end_are_kept_as_they_are() {
        assert_eq!(run(&["[TOOL_CALLS]f{\"q\": \"x"]).1, [call("f", "{\"q\": \"x")]);
    }

    #[test]
    fn what_is_no_call_stays_text() {
        for text in ["[TOOL", "[TOOL_CALLS]", "[TOOL_CALLS] is a marker", "[TOOL_CALLS][1]", "[TOOL_CALLS][{\"name\":"]
        {
            let (told, calls, rest) = run(&[text]);
            assert_eq!((told + &rest, calls), (text.to_owned(), vec![]), "{text}");
        }
        assert_eq!(run(&["a [b] ", "[TOOLS]"]).0, "a [b] [TOOLS]");
    }
}
