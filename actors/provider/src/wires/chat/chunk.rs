//! One chunk of a Chat Completions stream, read leniently.
//!
//! Members whose shape differs between servers are kept as raw JSON and interpreted one by one, so that one odd member
//! never costs the text beside it. What cannot be read as a chunk but is JSON is no chunk (`Ok(None)`), because some
//! gateways send objects of their own; what is not JSON at all is the caller's to judge.

use std::fmt;
use std::marker::PhantomData;

use greenroom_protocol::{FinishReason, Usage};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::wires::tool_calls::{Arguments, CallPiece};
use crate::wires::usage::read_usage;

/// What one chunk says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Chunk {
    pub(crate) model: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) reasoning: Option<String>,
    pub(crate) calls: Vec<CallPiece>,
    pub(crate) finish: Option<Finish>,
    pub(crate) usage: Option<Usage>,
    pub(crate) error: Option<Value>,
    /// The choice held a whole message, not a delta.
    pub(crate) whole: bool,
}

/// Why the provider says the answer is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    Reason(FinishReason),
    /// The provider itself failed.
    Failed,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<First<Choice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    x_groq: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    message: Option<Delta<'a>>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
}

/// The first element of a list; the rest is read over.
struct First<T>(Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = First<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of choices")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First<T>, A::Error> {
                let first = list.next_element()?;
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_seq(Reader(PhantomData))
    }
}

/// The data is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotJson;

impl Chunk {
    /// Reads the data of one event, or a whole JSON answer.
    pub(crate) fn read(data: &str) -> Result<Option<Self>, NotJson> {
        if let Ok(wire) = serde_json::from_str::<Wire<'_>>(data) {
            return Ok(Some(Self::of(&wire)));
        }
        // a member named twice, or an unusual frame: the general reader takes the former, and tells JSON from garbage
        let value: Value = serde_json::from_str(data).map_err(|_| NotJson)?;
        let again = value.to_string();
        Ok(serde_json::from_str::<Wire<'_>>(&again).ok().map(|wire| Self::of(&wire)))
    }

    fn of(wire: &Wire<'_>) -> Self {
        let mut chunk = Self {
            model: wire.model.and_then(text_of),
            usage: wire.usage.and_then(usage_of).or_else(|| {
                let groq: Value = serde_json::from_str(wire.x_groq?.get()).ok()?;
                read_usage(groq.get("usage")?)
            }),
            error: wire.error.and_then(error_of),
            ..Self::default()
        };
        let Some(choice) = wire.choices.as_ref().and_then(|choices| choices.0.as_ref()) else { return chunk };
        if choice.index.and_then(|raw| integer(&parse(raw))).is_some_and(|index| index != 0) {
            return chunk; // an answer that was not asked for
        }
        chunk.whole = choice.message.is_some();
        if let Some(delta) = choice.delta.as_ref().or(choice.message.as_ref()) {
            chunk.text = delta.content.and_then(text_of).or_else(|| delta.refusal.and_then(text_of));
            chunk.reasoning = delta.reasoning_content.and_then(text_of).or_else(|| delta.reasoning.and_then(text_of));
            chunk.calls = delta.tool_calls.map(calls_of).unwrap_or_default();
            // the old spelling; a server that writes both says the same twice
            if chunk.calls.is_empty()
                && let Some(call) = delta.function_call.map(parse).filter(Value::is_object)
            {
                chunk.calls.push(CallPiece { index: Some(0), ..call_function(&call) });
            }
        }
        if chunk.text.is_none() {
            chunk.text = choice.text.and_then(text_of);
        }
        chunk.usage = chunk.usage.or_else(|| choice.usage.and_then(usage_of));
        chunk.error = chunk.error.take().or_else(|| choice.error.and_then(error_of));
        chunk.finish = choice.finish_reason.and_then(text_of).and_then(|word| finish_of(&word));
        chunk
    }
}

fn parse(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or(Value::Null)
}

/// A text, or the texts of a list of parts; empty counts as absent.
fn text_of(raw: &RawValue) -> Option<String> {
    let json = raw.get();
    let text = match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(json).ok()?,
        Some(b'[') => parse(raw).as_array()?.iter().filter_map(|part| part.get("text")?.as_str()).collect(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn error_of(raw: &RawValue) -> Option<Value> {
    let value = parse(raw);
    let empty = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    (!empty).then_some(value)
}

fn finish_of(word: &str) -> Option<Finish> {
    Some(Finish::Reason(match word.to_ascii_lowercase().as_str() {
        "null" => return None,
        "error" => return Some(Finish::Failed),
        "length" | "max_tokens" | "model_length" => FinishReason::Length,
        "tool_calls" | "function_call" | "tool_use" => FinishReason::ToolCalls,
        "content_filter" | "safety" | "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }))
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn calls_of(raw: &RawValue) -> Vec<CallPiece> {
    let list = match parse(raw) {
        Value::Array(list) => list,
        one @ Value::Object(_) => vec![one],
        _ => return Vec::new(),
    };
    let piece = |(position, entry): (usize, &Value)| {
        let function = entry.get("function").filter(|function| function.is_object()).unwrap_or(entry);
        CallPiece {
            index: entry.get("index").and_then(integer),
            position: i64::try_from(position).unwrap_or(i64::MAX),
            id: filled(entry.get("id")),
            ..call_function(function)
        }
    };
    list.iter().enumerate().filter(|(_, entry)| entry.is_object()).map(piece).collect()
}

fn call_function(function: &Value) -> CallPiece {
    let arguments = match function.get("arguments") {
        None | Some(Value::Null) => Arguments::None,
        Some(Value::String(text)) if text.is_empty() => Arguments::None,
        Some(Value::String(text)) => Arguments::Text(text.clone()),
        Some(whole) => Arguments::Whole(whole.to_string()),
    };
    CallPiece { name: filled(function.get("name")), arguments, ..CallPiece::default() }
}

/// A text that says something; numbers count, because some servers number their calls.
fn filled(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn usage_of(raw: &RawValue) -> Option<Usage> {
    if raw.get().starts_with('{') { read_usage(&parse(raw)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &str) -> Chunk {
        Chunk::read(data).unwrap().unwrap()
    }

    #[test]
    fn text_comes_in_several_shapes() {
        for (data, text) in [
            (r#"{"choices":[{"index":0,"delta":{"content":"a\u00fc\n"}}]}"#, Some("aü\n")),
            (
                r#"{"choices":[{"delta":{"content":[{"type":"text","text":"x"},{"type":"text","text":"y"}]}}]}"#,
                Some("xy"),
            ),
            (r#"{"choices":[{"delta":{"refusal":"no"}}]}"#, Some("no")),
            (r#"{"choices":[{"text":"old"}]}"#, Some("old")),
            (r#"{"choices":[{"message":{"content":"all"}}]}"#, Some("all")),
            (r#"{"choices":[{"delta":{"content":"first","content":"twice"}}]}"#, Some("twice")),
            (r#"{"choices":[{"delta":{"content":null}}]}"#, None),
            (r#"{"choices":[{"delta":null}]}"#, None),
            (r#"{"choices":[{"index":1,"delta":{"content":"other"}}]}"#, None),
            (r#"{"choices":[]}"#, None),
            (r#"{"choices":null}"#, None),
            (r#"{"type":"ping"}"#, None),
        ] {
            assert_eq!(read(data).text.as_deref(), text, "{data}");
        }
    }

    #[test]
    fn odd_neighbours_do_not_cost_the_text() {
        let chunk = read(
            r#"{"model":7,"usage":"none","error":null,"choices":[{"delta":{"content":"kept","tool_calls":"x",
                "reasoning":{"a":1}},"finish_reason":3}]}"#,
        );
        assert_eq!(chunk, Chunk { text: Some("kept".into()), ..Chunk::default() });
    }

    #[test]
    fn usage_has_many_names() {
        for data in [
            r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":2},
                "completion_tokens_details":{"reasoning_tokens":3}}}"#,
            r#"{"usage":{"input_tokens":5,"output_tokens":7.0,"cached_tokens":2,"reasoning_tokens":3}}"#,
            r#"{"x_groq":{"usage":{"prompt_tokens":5,"completion_tokens":7,"prompt_cache_hit_tokens":2,
                "reasoning_tokens":3}}}"#,
            r#"{"choices":[{"delta":{},"usage":{"prompt_tokens":5,"completion_tokens":7,"cached_tokens":2,
                "reasoning_tokens":3}}]}"#,
        ] {
            let usage = Usage { input: 5, cached_input: 2, output: 7, reasoning: 3, estimated: false };
            assert_eq!(read(data).usage, Some(usage), "{data}");
        }
        assert_eq!(read(r#"{"usage":{"prompt_tokens":0,"completion_tokens":0}}"#).usage, None);
    }

    #[test]
    fn garbage_is_told_from_foreign_objects() {
        assert_eq!(Chunk::read("{\"choices\":[{"), Err(NotJson));
        assert_eq!(Chunk::read("[1,2]"), Ok(None));
        assert_eq!(Chunk::read("{\"choices\":5}"), Ok(None));
        assert!(read(r#"{"error":{"message":"m"}}"#).error.is_some());
        assert!(read(r#"{"error":{}}"#).error.is_none());
        assert_eq!(read(r#"{"choices":[{"delta":{},"finish_reason":"error"}]}"#).finish, Some(Finish::Failed));
    }
}
