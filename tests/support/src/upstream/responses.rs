//! The scripted upstream as a Responses API, OpenAI's and xAI's.
//!
//! Pure: a request becomes what Chat Completions would have asked, so that markers and scripts need know only one form, and
//! a script becomes Responses events or a whole response. Requests are judged ([`complaint`]): an input whose calls and
//! results do not match is refused, and results without a tool schema are ignored, as xAI does.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::{Value, json};

use super::render::{Asked, Told, Whole, event_noise, line_end, whole_of};
use super::script::{Piece, Script, UsagePlace, error_object};

const CREATED: u64 = 1_700_000_000;

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The answer to a request that the API would not answer as it is.
pub(super) fn complaint(body: &Value) -> Option<Script> {
    if let Some(problem) = problem(body) {
        return Some(Script::refusal(400, &error_object(&problem, "invalid_request_error", None, "invalid_request")));
    }
    let results = list(&body["input"]).iter().any(|item| item["type"] == "function_call_output");
    (results && list(&body["tools"]).is_empty()).then(|| Script::pieces([]))
}

fn problem(body: &Value) -> Option<String> {
    let unknown = ["messages", "stop", "response_format", "max_tokens", "seed", "stream_options", "reasoning_effort"];
    if let Some(name) = unknown.into_iter().find(|name| !body[*name].is_null()) {
        return Some(format!("Unknown parameter: '{name}'."));
    }
    if let Some(at) =
        list(&body["tools"]).iter().position(|tool| tool["type"] == "function" && !tool["name"].is_string())
    {
        return Some(format!("Missing required parameter: 'tools[{at}].name'."));
    }
    let (mut open, mut known) = (Vec::new(), HashSet::new());
    for item in list(&body["input"]) {
        let call = item["call_id"].as_str().unwrap_or_default();
        match item["type"].as_str() {
            Some("function_call") if item["arguments"].is_string() => {
                known.insert(call);
                open.push(call);
            }
            Some("function_call") => return Some("function_call.arguments must be a string".into()),
            Some("function_call_output") if !known.contains(call) => {
                return Some(format!("No tool call found for function call output with call_id {call}."));
            }
            Some("function_call_output") => open.retain(|id| *id != call),
            _ if open.is_empty() => {}
            _ => break,
        }
    }
    open.first().map(|call| format!("No tool output found for function call {call}."))
}

/// The request as Chat Completions would have put it, and as it came under `wire_request`.
pub(super) fn as_chat(body: &Value) -> Value {
    let mut messages: Vec<Value> = Vec::new();
    if let Some(text) = body["instructions"].as_str() {
        messages.push(json!({"role": "system", "content": text}));
    }
    if let Some(text) = body["input"].as_str() {
        messages.push(json!({"role": "user", "content": text}));
    }
    for item in list(&body["input"]) {
        match item["type"].as_str() {
            Some("function_call") => {
                let function = json!({"name": item["name"], "arguments": item["arguments"]});
                let call = json!({"id": item["call_id"], "type": "function", "function": function});
                match messages.last_mut().filter(|message| message["role"] == "assistant") {
                    Some(message) => match message["tool_calls"].as_array_mut() {
                        Some(calls) => calls.push(call),
                        None => message["tool_calls"] = json!([call]),
                    },
                    None => messages.push(json!({"role": "assistant", "content": "", "tool_calls": [call]})),
                }
            }
            Some("function_call_output") => {
                messages.push(json!({"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]}));
            }
            _ => messages.push(json!({"role": item["role"], "content": content(&item["content"])})),
        }
    }
    let nested = |tool: &Value| {
        let function =
            json!({"name": tool["name"], "description": tool["description"], "parameters": tool["parameters"]});
        json!({"type": "function", "function": function})
    };
    let mut chat = body.clone();
    chat["messages"] = messages.into();
    chat["tools"] = list(&body["tools"]).iter().map(nested).collect();
    chat["wire_request"] = body.clone();
    chat
}

fn content(content: &Value) -> Value {
    let part = |part: &Value| match part["type"].as_str() {
        Some("input_image") => json!({"type": "image_url", "image_url": {"url": part["image_url"]}}),
        _ => json!({"type": "text", "text": part["text"]}),
    };
    match content {
        Value::Array(parts) => parts.iter().map(part).collect(),
        text => text.clone(),
    }
}

fn usage(script: &Script) -> Value {
    if script.usage_place == UsagePlace::Absent {
        return Value::Null;
    }
    script.usage.clone().unwrap_or_else(|| {
        let output = script.pieces.len();
        json!({"input_tokens": 11, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 11 + output})
    })
}

fn response(asked: &Asked, status: &str) -> Value {
    json!({"id": "resp_scripted", "object": "response", "created_at": CREATED, "status": status, "error": null,
        "incomplete_details": null, "model": asked.model, "output": [], "usage": null, "store": false})
}

fn message(text: &str) -> Value {
    let part = json!({"type": "output_text", "text": text, "annotations": []});
    json!({"id": "msg_scripted", "type": "message", "status": "completed", "role": "assistant", "content": [part]})
}

fn call_of(at: usize, call: &Value) -> Value {
    json!({"id": format!("fc_scripted_{at}"), "type": "function_call", "status": "completed", "call_id": call["id"],
        "name": call["function"]["name"], "arguments": call["function"]["arguments"]})
}

/// A non-streaming answer.
pub(super) fn answer(script: &Script, asked: &Asked) -> Value {
    let Whole { error, text, calls, .. } = whole_of(script);
    let mut whole = match script.finish_reason.as_deref() {
        _ if error.is_some() => response(asked, "failed"),
        Some("length") => incomplete(asked, "max_output_tokens"),
        Some("content_filter") => incomplete(asked, "content_filter"),
        _ => response(asked, "completed"),
    };
    let text = (!text.is_empty()).then(|| message(&text));
    let calls = calls.iter().enumerate().map(|(at, call)| call_of(at, call));
    whole["output"] = text.into_iter().chain(calls).collect();
    whole["usage"] = usage(script);
    if let Some(error) = error {
        whole["error"] = json!({"code": error["error"]["code"], "message": error["error"]["message"]});
    }
    whole
}

fn incomplete(asked: &Asked, reason: &str) -> Value {
    let mut whole = response(asked, "incomplete");
    whole["incomplete_details"] = json!({"reason": reason});
    whole
}

/// A stream's events.
pub(super) struct Events<'a> {
    script: &'a Script,
    asked: &'a Asked,
    number: u64,
    text: String,
    text_place: Option<usize>,
    /// Place in the output, index and id as scripted, and what is known of the call.
    calls: Vec<(usize, Value, Value)>,
    places: usize,
}

impl<'a> Events<'a> {
    pub(super) fn new(script: &'a Script, asked: &'a Asked) -> Self {
        Self { script, asked, number: 0, text: String::new(), text_place: None, calls: Vec::new(), places: 0 }
    }

    fn event(&mut self, kind: &str, mut data: Value) -> String {
        data["type"] = kind.into();
        data["sequence_number"] = self.number.into();
        self.number += 1;
        let end = line_end(self.script);
        format!("event: {kind}{end}data: {data}{end}{end}")
    }

    fn next_place(&mut self) -> usize {
        self.places += 1;
        self.places - 1
    }

    fn text(&mut self, text: &str) -> String {
        let mut events = String::new();
        let place = match self.text_place {
            Some(place) => place,
            None => {
                let place = self.next_place();
                self.text_place = Some(place);
                let item = json!({"id": "msg_scripted", "type": "message", "status": "in_progress", "role": "assistant",
                    "content": []});
                events += &self.event("response.output_item.added", json!({"output_index": place, "item": item}));
                let part = json!({"type": "output_text", "text": "", "annotations": []});
                events += &self.event("response.content_part.added", self.part_at(place, "part", part));
                place
            }
        };
        self.text += text;
        events + &self.event("response.output_text.delta", self.part_at(place, "delta", json!(text)))
    }

    fn part_at(&self, place: usize, member: &str, value: Value) -> Value {
        json!({"item_id": "msg_scripted", "output_index": place, "content_index": 0, member: value})
    }

    /// A fragment of a call as Chat Completions cuts it.
    fn call(&mut self, delta: &Value) -> String {
        let function = &delta["function"];
        let known = self.calls.iter().rposition(|(_, index, call)| {
            let same_id = delta["id"].is_null() || call["id"] == delta["id"];
            if delta["index"].is_null() {
                same_id && !delta["id"].is_null()
            } else {
                *index == delta["index"] && same_id
            }
        });
        let mut events = String::new();
        let at = match known {
            Some(at) => at,
            None => {
                let place = self.next_place();
                let call = json!({"id": delta["id"], "function": {"name": function["name"], "arguments": ""}});
                let mut item = call_of(self.calls.len(), &call);
                item["status"] = "in_progress".into();
                events += &self.event("response.output_item.added", json!({"output_index": place, "item": item}));
                self.calls.push((place, delta["index"].clone(), call));
                self.calls.len() - 1
            }
        };
        let fragment = match &function["arguments"] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            whole => whole.to_string(),
        };
        if !fragment.is_empty() {
            let place = self.calls[at].0;
            let so_far = self.calls[at].2["function"]["arguments"].as_str().unwrap_or_default().to_owned() + &fragment;
            self.calls[at].2["function"]["arguments"] = so_far.into();
            let told = json!({"item_id": format!("fc_scripted_{at}"), "output_index": place, "delta": fragment});
            events += &self.event("response.function_call_arguments.delta", told);
        }
        events
    }

    /// The items told once more, whole.
    fn closing(&mut self) -> Vec<(usize, Value)> {
        let text = self.text_place.map(|place| (place, message(&self.text)));
        let calls = self.calls.iter().enumerate().map(|(at, (place, _, call))| (*place, call_of(at, call)));
        text.into_iter().chain(calls).collect()
    }
}

impl Told for Events<'_> {
    fn opening(&mut self) -> Option<Bytes> {
        let begun = json!({"response": response(self.asked, "in_progress")});
        let events = self.event("response.created", begun.clone()) + &self.event("response.in_progress", begun);
        Some(events.into())
    }

    fn piece(&mut self, _: usize, piece: &Piece) -> Bytes {
        let end = line_end(self.script);
        match piece {
            Piece::Text(text) => self.text(text).into(),
            Piece::Reasoning(text) => {
                let told = json!({"item_id": "rs_scripted", "output_index": 0, "summary_index": 0, "delta": text});
                self.event("response.reasoning_summary_text.delta", told).into()
            }
            Piece::ToolDelta(delta) => self.call(delta).into(),
            Piece::Data(data) if data["error"]["message"].is_string() => {
                let error = json!({"code": data["error"]["code"], "message": data["error"]["message"], "param": null});
                self.event("error", error).into()
            }
            Piece::Delta(data) | Piece::Data(data) => format!("data: {data}{end}{end}").into(),
            Piece::Raw(bytes) => bytes.clone(),
        }
    }

    fn ending(&mut self) -> Vec<Bytes> {
        let mut events = Vec::new();
        let items = self.closing();
        for (place, item) in &items {
            let (kind, told) = if item["type"] == "message" {
                ("response.output_text.done", self.part_at(*place, "text", item["content"][0]["text"].clone()))
            } else {
                let told = json!({"item_id": item["id"], "output_index": place, "arguments": item["arguments"]});
                ("response.function_call_arguments.done", told)
            };
            events.push(self.event(kind, told));
            events.push(self.event("response.output_item.done", json!({"output_index": place, "item": item})));
        }
        let (kind, mut whole) = match self.script.finish_reason.as_deref() {
            None => return events.into_iter().map(Bytes::from).collect(),
            Some("length") => ("response.incomplete", incomplete(self.asked, "max_output_tokens")),
            Some("content_filter") => ("response.incomplete", incomplete(self.asked, "content_filter")),
            Some(_) => ("response.completed", response(self.asked, "completed")),
        };
        let mut items = items;
        items.sort_by_key(|(place, _)| *place);
        whole["output"] = items.into_iter().map(|(_, item)| item).collect();
        whole["usage"] = usage(self.script);
        events.push(self.event(kind, json!({"response": whole})));
        events.into_iter().map(Bytes::from).collect()
    }

    fn noise(&mut self, index: usize) -> Bytes {
        event_noise(index, line_end(self.script))
    }
}

#[cfg(test)]
mod tests {
    use super::super::render::{Step, Wire, render};
    use super::super::tools::{ScriptedCall, ToolShape};
    use super::*;

    fn events(script: &Script) -> Vec<Value> {
        let asked = Asked { wire: Wire::Responses, model: "m".into(), stream: true, include_usage: false };
        let plan = render(script, &asked);
        let sent =
            plan.steps.iter().filter_map(|step| if let Step::Send(bytes) = step { Some(&bytes[..]) } else { None });
        let text = String::from_utf8(sent.collect::<Vec<_>>().concat()).unwrap();
        text.lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    #[test]
    fn text_and_calls_come_as_items() {
        let calls = [ScriptedCall::new("a", "f", &json!({"x": 1})), ScriptedCall::new("b", "g", &json!({"y": 2}))];
        let script = Script::tool_calls(&calls, &ToolShape { interleaved: true, ..ToolShape::default() });
        let script = Script { pieces: [vec![Piece::Text("one".into())], script.pieces.clone()].concat(), ..script };
        let events = events(&script);
        let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
        assert_eq!(
            kinds[..5],
            [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta"
            ]
        );
        let last = &events[events.len() - 1];
        assert_eq!(last["type"], "response.completed");
        let output = &last["response"]["output"];
        assert_eq!(output[0]["content"][0]["text"], "one");
        assert_eq!((&output[2]["call_id"], &output[2]["arguments"]), (&json!("b"), &json!("{\"y\":2}")));
        let numbers: Vec<u64> = events.iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
        assert!(numbers.iter().copied().eq(0..numbers.len() as u64));
    }

    #[test]
    fn inputs_are_judged() {
        let call = json!({"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"});
        let output = json!({"type": "function_call_output", "call_id": "a", "output": "rain"});
        let refused = |body: Value| complaint(&body).is_some_and(|script| script.refusal.is_some());
        assert!(refused(json!({"input": [call]})));
        assert!(refused(json!({"input": [output]})));
        assert!(refused(json!({"input": "hi", "stop": ["x"]})));
        let tool = json!({"type": "function", "name": "f", "parameters": {}});
        let good = json!({"instructions": "be kind", "input": [{"role": "user", "content": "hi"}, call, output], "tools": [tool]});
        assert!(complaint(&good).is_none());
        let chat = as_chat(&good);
        assert_eq!(chat["messages"][2]["tool_calls"][0]["id"], "a");
        assert_eq!(chat["messages"][3], json!({"role": "tool", "tool_call_id": "a", "content": "rain"}));
        assert_eq!(chat["tools"][0]["function"]["name"], "f");
        let ignored = complaint(&json!({"input": [call, output]})).unwrap();
        assert!(ignored.refusal.is_none() && ignored.pieces.is_empty());
    }
}
