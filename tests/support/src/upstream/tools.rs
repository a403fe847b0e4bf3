//! Tool calls as providers stream them, with each of the habits seen in the wild.
//!
//! Pure: calls and a [`ToolShape`] give the elements of `delta.tool_calls` in order, one a chunk.

use serde_json::{Map, Value, json};

/// A call that the scripted model makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptedCall {
    /// The call's id.
    pub id: String,
    /// The function's name.
    pub name: String,
    /// Its arguments as the model wrote them, normally JSON text.
    pub arguments: String,
}

impl ScriptedCall {
    /// A call of `name` with these arguments.
    #[must_use]
    pub fn new(id: &str, name: &str, arguments: &Value) -> Self {
        Self { id: id.into(), name: name.into(), arguments: arguments.to_string() }
    }
}

/// How calls are spread over chunks. The default is OpenAI's way: id and name first, arguments in short fragments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolShape {
    /// Characters of arguments in one fragment; `None` sends the whole call in one chunk.
    pub fragment: Option<usize>,
    /// Fragments of several calls take turns, instead of one call after the other.
    pub interleaved: bool,
    /// Elements carry `index`.
    pub with_index: bool,
    /// Elements carry `id`.
    pub with_id: bool,
    /// The full name is repeated in every fragment.
    pub repeated_name: bool,
    /// The id is repeated in every fragment.
    pub repeated_id: bool,
    /// `arguments` is an object instead of a string (needs whole calls).
    pub arguments_as_object: bool,
    /// All calls claim index 0.
    pub same_index: bool,
}

impl Default for ToolShape {
    fn default() -> Self {
        Self {
            fragment: Some(5),
            interleaved: false,
            with_index: true,
            with_id: true,
            repeated_name: false,
            repeated_id: false,
            arguments_as_object: false,
            same_index: false,
        }
    }
}

impl ToolShape {
    /// Each call whole, in one chunk.
    #[must_use]
    pub fn whole() -> Self {
        Self { fragment: None, ..Self::default() }
    }

    /// The elements of `delta.tool_calls`, in the order they are sent.
    #[must_use]
    pub fn deltas(&self, calls: &[ScriptedCall]) -> Vec<Value> {
        let each: Vec<Vec<Value>> = calls.iter().enumerate().map(|(index, call)| self.of_call(index, call)).collect();
        if !self.interleaved {
            return each.into_iter().flatten().collect();
        }
        let longest = each.iter().map(Vec::len).max().unwrap_or(0);
        (0..longest).flat_map(|turn| each.iter().filter_map(move |deltas| deltas.get(turn).cloned())).collect()
    }

    fn of_call(&self, index: usize, call: &ScriptedCall) -> Vec<Value> {
        let index = if self.same_index { 0 } else { index };
        let Some(size) = self.fragment else {
            let arguments = if self.arguments_as_object {
                serde_json::from_str(&call.arguments).unwrap_or(Value::Null)
            } else {
                Value::from(call.arguments.as_str())
            };
            return vec![self.element(index, call, true, &arguments)];
        };
        let letters: Vec<char> = call.arguments.chars().collect();
        let fragments = letters.chunks(size.max(1)).map(|part| part.iter().collect::<String>());
        let opening = self.element(index, call, true, &json!(""));
        let rest = fragments.map(|fragment| self.element(index, call, false, &json!(fragment)));
        std::iter::once(opening).chain(rest).collect()
    }

    fn element(&self, index: usize, call: &ScriptedCall, first: bool, arguments: &Value) -> Value {
        let mut element = Map::new();
        if self.with_index {
            element.insert("index".into(), json!(index));
        }
        if self.with_id && (first || self.repeated_id) {
            element.insert("id".into(), json!(call.id));
        }
        if first {
            element.insert("type".into(), json!("function"));
        }
        let mut function = Map::new();
        if first || self.repeated_name {
            function.insert("name".into(), json!(call.name));
        }
        function.insert("arguments".into(), arguments.clone());
        element.insert("function".into(), Value::Object(function));
        Value::Object(element)
    }
}

/// The calls that a row of deltas adds up to, for a non-streaming answer.
pub(super) fn assemble<'a>(deltas: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let mut calls: Vec<(u64, Value)> = Vec::new();
    for delta in deltas {
        let opens = delta.get("type").is_some();
        let index = delta["index"].as_u64().unwrap_or_else(|| (calls.len() as u64).saturating_sub(u64::from(!opens)));
        if opens || calls.is_empty() {
            let id = delta.get("id").cloned().unwrap_or(Value::Null);
            let function = json!({"name": delta["function"]["name"], "arguments": ""});
            calls.push((index, json!({"id": id, "type": "function", "function": function})));
        }
        let found = calls.iter_mut().rev().find(|(own, _)| *own == index);
        let Some((_, call)) = found else { continue };
        let so_far = call["function"]["arguments"].as_str().unwrap_or_default();
        call["function"]["arguments"] = match &delta["function"]["arguments"] {
            Value::String(more) => json!(format!("{so_far}{more}")),
            object => object.clone(),
        };
    }
    calls.into_iter().map(|(_, call)| call).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls() -> [ScriptedCall; 2] {
        [
            ScriptedCall::new("call_a", "get_weather", &json!({"city": "Oslo"})),
            ScriptedCall::new("call_b", "get_weather", &json!({"city": "Lima"})),
        ]
    }

    #[test]
    fn fragments_add_up_to_the_calls() {
        let habits = [
            ToolShape::default(),
            ToolShape::whole(),
            ToolShape { interleaved: true, ..ToolShape::default() },
            ToolShape { with_index: false, ..ToolShape::default() },
            ToolShape { repeated_name: true, repeated_id: true, ..ToolShape::default() },
        ];
        for habit in habits {
            let whole = assemble(habit.deltas(&calls()).iter());
            assert_eq!(whole.len(), 2, "{habit:?}");
            assert_eq!(whole[0]["function"]["arguments"], r#"{"city":"Oslo"}"#, "{habit:?}");
            assert_eq!(whole[1]["function"]["arguments"], r#"{"city":"Lima"}"#, "{habit:?}");
            assert_eq!(whole[1]["id"], "call_b");
        }
    }

    #[test]
    fn each_habit_shows_on_the_wire() {
        let no_id = ToolShape { with_id: false, ..ToolShape::default() }.deltas(&calls());
        assert!(no_id.iter().all(|delta| delta.get("id").is_none()));
        let object = ToolShape { arguments_as_object: true, ..ToolShape::whole() }.deltas(&calls());
        assert_eq!(object[0]["function"]["arguments"], json!({"city": "Oslo"}));
        let mixed = ToolShape { interleaved: true, ..ToolShape::default() }.deltas(&calls());
        let order: Vec<u64> = mixed.iter().filter_map(|delta| delta["index"].as_u64()).collect();
        assert_eq!(&order[..4], [0, 1, 0, 1]);
        let named = ToolShape { repeated_name: true, ..ToolShape::default() }.deltas(&calls());
        assert!(named.iter().all(|delta| delta["function"]["name"] == "get_weather"));
    }
}
