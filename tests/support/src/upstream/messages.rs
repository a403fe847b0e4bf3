//! The scripted upstream as Anthropic's Messages API.
//!
//! Pure: a request becomes what Chat Completions would have asked, so that markers and scripts need know only one form,
//! and a script becomes Messages events or a whole message. The faults of a script come out as they are.

use bytes::Bytes;
use serde_json::{Value, json};

use super::render::{Asked, Told, Whole, event_noise, line_end, whole_of};
use super::script::{Piece, Script, UsagePlace};

/// The error body for a status, from OpenAI's.
pub(super) fn error(status: u16, openai: &Value) -> Value {
    let kind = match status {
        400 | 422 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    error_of(kind, &openai["error"]["message"])
}

pub(super) fn error_of(kind: &str, message: &Value) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_scripted"})
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The request as Chat Completions would have put it, and as it came under `wire_request`.
pub(super) fn as_chat(body: &Value) -> Value {
    let mut chat = body.clone();
    let mut messages = Vec::new();
    match &body["system"] {
        Value::Null => {}
        system => messages.push(json!({"role": "system", "content": text_in(system)})),
    }
    for message in list(&body["messages"]) {
        let blocks = list(&message["content"]);
        let of = |kind: &'static str| blocks.iter().filter(move |block| block["type"] == kind);
        let results = of("tool_result").map(|block| {
            json!({"role": "tool", "tool_call_id": block["tool_use_id"], "content": text_in(&block["content"])})
        });
        messages.extend(results);
        if message["content"].is_string() {
            messages.push(message.clone());
        } else if message["role"] == "assistant" {
            let calls: Vec<Value> = of("tool_use")
                .map(|block| {
                    let function = json!({"name": block["name"], "arguments": block["input"].to_string()});
                    json!({"id": block["id"], "type": "function", "function": function})
                })
                .collect();
            messages.push(json!({"role": "assistant", "content": text_in(&message["content"]), "tool_calls": calls}));
        } else {
            let parts: Vec<Value> = blocks.iter().filter_map(part).collect();
            messages.extend((!parts.is_empty()).then(|| json!({"role": "user", "content": parts})));
        }
    }
    let tools: Vec<Value> = list(&body["tools"])
        .iter()
        .map(|tool| {
            let described = json!({"name": tool["name"], "description": tool["description"],
                "parameters": tool["input_schema"]});
            json!({"type": "function", "function": described})
        })
        .collect();
    chat["messages"] = messages.into();
    chat["tools"] = tools.into();
    chat["wire_request"] = body.clone();
    chat
}

/// The text of a string or of text blocks.
fn text_in(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        blocks => list(blocks).iter().filter_map(|block| block["text"].as_str()).collect(),
    }
}

fn part(block: &Value) -> Option<Value> {
    match block["type"].as_str()? {
        "text" => Some(block.clone()),
        "image" => {
            let source = &block["source"];
            let url = match source["type"].as_str()? {
                "base64" => format!("data:{};base64,{}", source["media_type"].as_str()?, source["data"].as_str()?),
                _ => source["url"].as_str()?.to_owned(),
            };
            Some(json!({"type": "image_url", "image_url": {"url": url}}))
        }
        _ => None,
    }
}

fn stop_reason(script: &Script) -> Option<&str> {
    Some(match script.finish_reason.as_deref()? {
        "stop" => "end_turn",
        "length" => "max_tokens",
        "tool_calls" => "tool_use",
        "content_filter" => "refusal",
        other => other,
    })
}

/// `usage`, with this many tokens generated so far unless the script brings its own.
fn usage(script: &Script, generated: usize) -> Value {
    match &script.usage {
        _ if script.usage_place == UsagePlace::Absent => json!({"input_tokens": 0, "output_tokens": 0}),
        Some(usage) => usage.clone(),
        None => json!({"input_tokens": 11, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "output_tokens": generated}),
    }
}

/// A non-streaming answer.
pub(super) fn message(script: &Script, asked: &Asked) -> Value {
    let Whole { error, text, thoughts, calls } = whole_of(script);
    if let Some(error) = error {
        return error_of("api_error", &error["error"]["message"]);
    }
    let mut content = Vec::new();
    if !thoughts.is_empty() {
        content.push(json!({"type": "thinking", "thinking": thoughts, "signature": "c2NyaXB0ZWQ="}));
    }
    if !text.is_empty() {
        content.push(json!({"type": "text", "text": text, "citations": null}));
    }
    content.extend(calls.iter().map(|call| {
        let function = &call["function"];
        let input = function["arguments"].as_str().and_then(|text| serde_json::from_str(text).ok());
        let input = input.unwrap_or_else(|| function["arguments"].clone());
        json!({"type": "tool_use", "id": call["id"], "name": function["name"], "input": input})
    }));
    json!({"id": "msg_scripted", "type": "message", "role": "assistant", "model": asked.model, "content": content,
        "stop_reason": stop_reason(script), "stop_sequence": null, "usage": usage(script, script.pieces.len())})
}

#[derive(Clone, Copy, PartialEq)]
enum Block {
    Text,
    Thinking,
    Call,
}

/// A stream's events.
pub(super) struct Events<'a> {
    script: &'a Script,
    asked: &'a Asked,
    end: &'static str,
    /// The block that text or thinking goes on in.
    open: Option<(usize, Block)>,
    /// Blocks begun so far.
    begun: usize,
    /// The calls' own indexes beside those of their blocks.
    calls: Vec<(Value, usize)>,
}

impl<'a> Events<'a> {
    pub(super) fn new(script: &'a Script, asked: &'a Asked) -> Self {
        Self { script, asked, end: line_end(script), open: None, begun: 0, calls: Vec::new() }
    }

    fn event(&self, data: &Value) -> String {
        let (end, name) = (self.end, data["type"].as_str().unwrap_or_default());
        format!("event: {name}{end}data: {data}{end}{end}")
    }

    fn delta(&self, index: usize, delta: &Value) -> String {
        self.event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
    }

    /// Ends the block that is open, if it is not of this kind.
    fn leave(&mut self, kind: Block) -> String {
        match self.open.filter(|(_, open)| *open != kind || kind == Block::Call) {
            None => String::new(),
            Some((index, _)) => {
                self.open = None;
                self.event(&json!({"type": "content_block_stop", "index": index}))
            }
        }
    }

    fn begin(&mut self, kind: Block, content: &Value) -> (usize, String) {
        let (mut said, index) = (self.leave(kind), self.begun);
        self.begun += 1;
        said += &self.event(&json!({"type": "content_block_start", "index": index, "content_block": content}));
        (index, said)
    }

    /// Goes on with text or thinking, in a new block when another was open.
    fn go_on(&mut self, kind: Block, start: &Value, delta: &Value) -> String {
        if let Some((index, _)) = self.open.filter(|(_, open)| *open == kind) {
            return self.delta(index, delta);
        }
        let (index, said) = self.begin(kind, start);
        self.open = Some((index, kind));
        said + &self.delta(index, delta)
    }

    fn call(&mut self, delta: &Value) -> String {
        let function = &delta["function"];
        let known = self.calls.iter().rev().find(|(own, _)| *own == delta["index"]).or(self.calls.last());
        let (index, mut said) = match known.filter(|_| delta.get("type").is_none()) {
            Some((_, index)) => (*index, String::new()),
            None => {
                let mut start = json!({"type": "tool_use", "name": function["name"], "input": {}});
                if let Some(id) = delta.get("id") {
                    start["id"] = id.clone();
                }
                let begun = self.begin(Block::Call, &start);
                self.calls.push((delta["index"].clone(), begun.0));
                begun
            }
        };
        let arguments = match &function["arguments"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            object => object.to_string(),
        };
        if !arguments.is_empty() {
            said += &self.delta(index, &json!({"type": "input_json_delta", "partial_json": arguments}));
        }
        said
    }
}

impl Told for Events<'_> {
    fn opening(&mut self) -> Option<Bytes> {
        let message = json!({"id": "msg_scripted", "type": "message", "role": "assistant", "model": self.asked.model,
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage(self.script, 1)});
        Some(self.event(&json!({"type": "message_start", "message": message})).into())
    }

    fn piece(&mut self, _: usize, piece: &Piece) -> Bytes {
        match piece {
            Piece::Text(text) => {
                let delta = json!({"type": "text_delta", "text": text});
                self.go_on(Block::Text, &json!({"type": "text", "text": ""}), &delta)
            }
            Piece::Reasoning(text) => {
                let start = json!({"type": "thinking", "thinking": "", "signature": ""});
                self.go_on(Block::Thinking, &start, &json!({"type": "thinking_delta", "thinking": text}))
            }
            Piece::ToolDelta(delta) => self.call(delta),
            Piece::Delta(delta) => self.delta(self.begun.saturating_sub(1), delta),
            Piece::Data(data) if data["error"]["message"].is_string() => {
                self.event(&error_of("api_error", &data["error"]["message"]))
            }
            Piece::Data(data) => self.event(data),
            Piece::Raw(bytes) => return bytes.clone(),
        }
        .into()
    }

    fn ending(&mut self) -> Vec<Bytes> {
        let mut ending = vec![self.leave(Block::Call)];
        for (_, index) in &self.calls {
            ending.push(self.event(&json!({"type": "content_block_stop", "index": index})));
        }
        if let Some(reason) = stop_reason(self.script) {
            let delta = json!({"stop_reason": reason, "stop_sequence": null});
            let usage = usage(self.script, self.script.pieces.len());
            ending.push(self.event(&json!({"type": "message_delta", "delta": delta, "usage": usage})));
        }
        if self.script.done {
            ending.push(self.event(&json!({"type": "message_stop"})));
        }
        ending.into_iter().filter(|event| !event.is_empty()).map(Bytes::from).collect()
    }

    fn noise(&mut self, index: usize) -> Bytes {
        event_noise(index, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::super::render::{Step, Wire, render};
    use super::super::tools::{ScriptedCall, ToolShape};
    use super::*;

    fn told(script: &Script) -> Vec<Value> {
        let plan =
            render(script, &Asked { wire: Wire::Messages, model: "m".into(), stream: true, include_usage: false });
        let sent =
            plan.steps.iter().filter_map(|step| if let Step::Send(bytes) = step { Some(&bytes[..]) } else { None });
        let text = String::from_utf8(sent.collect::<Vec<_>>().concat()).unwrap();
        text.lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    #[test]
    fn text_thinking_and_calls_become_blocks() {
        let calls = [ScriptedCall::new("a", "f", &json!({"x": 1})), ScriptedCall::new("b", "g", &json!({}))];
        let deltas = ToolShape::whole().deltas(&calls).into_iter().map(Piece::ToolDelta);
        let mut script = Script::chunks(["Hi", " there"]).reasoning(["hm"]).finish_reason(Some("tool_calls"));
        script.pieces.extend(deltas);
        let kinds: Vec<String> = told(&script)
            .iter()
            .map(|event| {
                format!(
                    "{}{}",
                    event["type"].as_str().unwrap(),
                    event["index"].as_u64().map_or(String::new(), |i| i.to_string())
                )
            })
            .collect();
        assert_eq!(
            kinds.join(" ").replace("content_block_", ""),
            "message_start start0 delta0 stop0 start1 delta1 delta1 stop1 start2 delta2 start3 delta3 stop2 stop3 \
             message_delta message_stop"
        );
        let message =
            message(&script, &Asked { wire: Wire::Messages, model: "m".into(), stream: false, include_usage: false });
        assert_eq!(message["content"][2], json!({"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}));
    }

    #[test]
    fn a_request_is_seen_as_chat_completions() {
        let chat = as_chat(&json!({
            "system": [{"type": "text", "text": "be"}, {"type": "text", "text": " kind"}],
            "tools": [{"name": "f", "input_schema": {"type": "object"}}],
            "messages": [
                {"role": "user", "content": "[[tool]]"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "rain"}]},
            ],
        }));
        let roles: Vec<&str> = chat["messages"].as_array().unwrap().iter().filter_map(|m| m["role"].as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "tool"]);
        assert_eq!(chat["messages"][0]["content"], "be kind");
        assert_eq!(chat["tools"][0]["function"]["name"], "f");
        assert_eq!(super::super::markers::last_user_text(&chat), "[[tool]]");
    }
}
