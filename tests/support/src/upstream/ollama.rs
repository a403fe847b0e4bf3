//! The scripted upstream as an Ollama server: `/api/chat`, `/api/tags` and `/api/show`.
//!
//! Pure. Calls are told whole and without ids, as Ollama tells them, on the line of their last fragment.

use bytes::Bytes;
use serde_json::{Value, json};

use super::render::{Asked, Told, Whole, whole_of};
use super::script::{Piece, Script, UsagePlace};

const CREATED: &str = "2023-11-14T22:13:20Z";

/// The error body, from OpenAI's.
pub(super) fn error(openai: &Value) -> Value {
    json!({"error": openai["error"]["message"]})
}

/// The request as Chat Completions would have put it: images stand among the content's parts.
pub(super) fn as_chat(body: &Value) -> Value {
    let mut chat = body.clone();
    for message in chat["messages"].as_array_mut().into_iter().flatten() {
        let images = message["images"].as_array().cloned().unwrap_or_default();
        if images.is_empty() {
            continue;
        }
        let text = json!({"type": "text", "text": message["content"]});
        let image = |data: &Value| {
            let url = format!("data:image/png;base64,{}", data.as_str().unwrap_or_default());
            json!({"type": "image_url", "image_url": {"url": url}})
        };
        message["content"] = std::iter::once(text).chain(images.iter().map(image)).collect();
    }
    chat
}

fn calls_of(calls: &[Value]) -> Vec<Value> {
    let whole = |call: &Value| {
        let function = &call["function"];
        let object = function["arguments"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let arguments = object.unwrap_or_else(|| function["arguments"].clone());
        json!({"function": {"name": function["name"], "arguments": arguments}})
    };
    calls.iter().map(whole).collect()
}

/// The members that end an answer.
fn ended(script: &Script, line: &mut Value) {
    line["done"] = true.into();
    let reason = script.finish_reason.as_deref().map(|reason| if reason == "tool_calls" { "stop" } else { reason });
    line["done_reason"] = reason.into();
    line["total_duration"] = 4_883_583_458_u64.into();
    line["load_duration"] = 1_334_875_u64.into();
    if script.usage_place != UsagePlace::Absent {
        line["prompt_eval_count"] = 11.into();
        line["eval_count"] = script.pieces.len().into();
        for (name, value) in script.usage.iter().filter_map(Value::as_object).flatten() {
            line[name] = value.clone();
        }
    }
}

fn line_of(asked: &Asked, message: &Value) -> Value {
    json!({"model": asked.model, "created_at": CREATED, "message": message, "done": false})
}

/// A non-streaming answer.
pub(super) fn answer(script: &Script, asked: &Asked) -> Value {
    let Whole { error: failure, text, thoughts, calls } = whole_of(script);
    if let Some(failure) = failure {
        return error(&failure);
    }
    let mut message = json!({"role": "assistant", "content": text});
    if !thoughts.is_empty() {
        message["thinking"] = thoughts.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls_of(&calls).into();
    }
    let mut line = line_of(asked, &message);
    ended(script, &mut line);
    line
}

/// A stream's lines.
pub(super) struct Lines<'a> {
    script: &'a Script,
    asked: &'a Asked,
    /// Where the last fragment of a call stands.
    last_call: Option<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(script: &'a Script, asked: &'a Asked) -> Self {
        let last_call = script.pieces.iter().rposition(|piece| matches!(piece, Piece::ToolDelta(_)));
        Self { script, asked, last_call }
    }

    fn message(&self, message: &Value) -> Bytes {
        format!("{}\n", line_of(self.asked, message)).into()
    }
}

impl Told for Lines<'_> {
    fn opening(&mut self) -> Option<Bytes> {
        None
    }

    fn piece(&mut self, index: usize, piece: &Piece) -> Bytes {
        match piece {
            Piece::Text(text) => self.message(&json!({"role": "assistant", "content": text})),
            Piece::Reasoning(text) => self.message(&json!({"role": "assistant", "content": "", "thinking": text})),
            Piece::ToolDelta(_) if self.last_call == Some(index) => {
                let calls = calls_of(&whole_of(self.script).calls);
                self.message(&json!({"role": "assistant", "content": "", "tool_calls": calls}))
            }
            Piece::ToolDelta(_) => Bytes::new(),
            Piece::Delta(message) => self.message(message),
            Piece::Data(data) if data["error"]["message"].is_string() => format!("{}\n", error(data)).into(),
            Piece::Data(data) => format!("{data}\n").into(),
            Piece::Raw(bytes) => bytes.clone(),
        }
    }

    fn ending(&mut self) -> Vec<Bytes> {
        if self.script.finish_reason.is_none() || !self.script.done {
            return Vec::new();
        }
        let mut line = line_of(self.asked, &json!({"role": "assistant", "content": ""}));
        ended(self.script, &mut line);
        vec![format!("{line}\n").into()]
    }

    fn noise(&mut self, _: usize) -> Bytes {
        Bytes::from_static(b"\r\n\n")
    }
}

/// `GET /api/tags`.
pub(super) fn tags(models: &[String]) -> Script {
    let tag = |id: &String| {
        json!({"name": id, "model": id, "modified_at": CREATED, "size": 4_000_000_000_u64, "digest": "0123456789ab",
            "details": {"format": "gguf", "family": "llama", "parameter_size": "8.0B", "quantization_level": "Q4_K_M"}})
    };
    Script::refusal(200, &json!({"models": models.iter().map(tag).collect::<Vec<_>>()}))
}

/// `POST /api/show`.
pub(super) fn show(models: &[String], asked: &Value) -> Script {
    let wanted = asked["model"].as_str().unwrap_or_default();
    if !models.iter().any(|model| model == wanted) {
        return Script::refusal(404, &json!({"error": format!("model '{wanted}' not found")}));
    }
    let facts = json!({"general.architecture": "llama", "llama.context_length": 8192, "llama.embedding_length": 4096});
    Script::refusal(
        200,
        &json!({"details": {"family": "llama", "parameter_size": "8.0B"}, "model_info": facts,
        "capabilities": ["completion", "tools"]}),
    )
}

#[cfg(test)]
mod tests {
    use super::super::render::{Step, Wire, render};
    use super::super::tools::{ScriptedCall, ToolShape};
    use super::*;

    #[test]
    fn every_line_is_one_object_and_calls_are_whole() {
        let calls = [ScriptedCall::new("a", "f", &json!({"x": 1})), ScriptedCall::new("b", "g", &json!({"y": 2}))];
        let script = Script::tool_calls(&calls, &ToolShape { interleaved: true, ..ToolShape::default() });
        let asked = Asked { wire: Wire::Ollama, model: "m".into(), stream: true, include_usage: false };
        let plan = render(&script.reasoning(["hm"]).noise(), &asked);
        assert_eq!(&*plan.content_type, "application/x-ndjson");
        let sent =
            plan.steps.iter().filter_map(|step| if let Step::Send(bytes) = step { Some(&bytes[..]) } else { None });
        let text = String::from_utf8(sent.collect::<Vec<_>>().concat()).unwrap();
        let lines: Vec<Value> =
            text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["message"]["thinking"], "hm");
        let told = &lines[1]["message"]["tool_calls"];
        assert_eq!(told[1], json!({"function": {"name": "g", "arguments": {"y": 2}}}));
        assert_eq!((lines.len(), &lines[2]["done"], &lines[2]["done_reason"]), (3, &json!(true), &json!("stop")));
    }

    #[test]
    fn images_are_seen_as_parts() {
        let chat = as_chat(&json!({"messages": [{"role": "user", "content": "look", "images": ["AA=="]}]}));
        assert_eq!(chat["messages"][0]["content"][1]["image_url"]["url"], "data:image/png;base64,AA==");
    }
}
