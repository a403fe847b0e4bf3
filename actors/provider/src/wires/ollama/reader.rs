//! What a line of an Ollama stream means.
//!
//! Each line is a piece of the message; the last one is `done` and carries the counts. Calls come whole, mostly without
//! ids; every element of `tool_calls` is a call of its own, so that two equal calls stay two.

use greenroom_protocol::{FinishReason, Usage};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::event::{CompletionRequest, ProviderEvent};
use crate::http::fold::{Fault, Reader};
use crate::http::progress::Progress;
use crate::wires::tool_calls::{Arguments, CallPiece};

/// A reader of the answer to a request.
pub(crate) fn reader(_: &CompletionRequest) -> Box<dyn Reader> {
    Box::new(OllamaReader::default())
}

#[derive(Debug, Default)]
struct OllamaReader {
    /// Calls so far.
    calls: i64,
}

/// A line, each member read on its own, so that an odd one costs nothing else.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    done: Option<&'a RawValue>,
    #[serde(borrow, default)]
    done_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt_eval_count: Option<&'a RawValue>,
    #[serde(borrow, default)]
    eval_count: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
}

fn read<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

impl Reader for OllamaReader {
    fn event(&mut self, _: &str, data: &str, answer: &mut Progress, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        match data.as_bytes().first() {
            Some(b'{') => {}
            Some(b'<') => return Err(Fault::WebPage),
            _ => return Err(Fault::Broken("a line is not an object")),
        }
        if let Ok(line) = serde_json::from_str::<Line<'_>>(data) {
            return self.line(&line, answer, out);
        }
        // a member named twice is taken by the general reader
        let value: Value = serde_json::from_str(data).map_err(|_| Fault::Broken("a line is not JSON"))?;
        let again = value.to_string();
        let line = serde_json::from_str::<Line<'_>>(&again).map_err(|_| Fault::Broken("a line is not JSON"))?;
        self.line(&line, answer, out)
    }

    fn whole(&mut self, body: &str, answer: &mut Progress, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        self.event("", body, answer, out)
    }
}

impl OllamaReader {
    fn line(&mut self, line: &Line<'_>, answer: &mut Progress, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        if let Some(error) = read::<Value>(line.error).filter(|error| !error.is_null()) {
            return Err(Fault::Upstream(error));
        }
        answer.model(&read::<String>(line.model).unwrap_or_default(), out);
        if let Some(message) = read::<Message<'_>>(line.message) {
            if let Some(thinking) = read(message.thinking) {
                answer.reasoning(thinking, out);
            }
            if let Some(text) = read(message.content) {
                answer.text(text, out);
            }
            for call in read::<Vec<Value>>(message.tool_calls).unwrap_or_default() {
                self.call(&call, answer)?;
            }
        }
        if read(line.done) == Some(true) {
            // an older server leaves out the count of a prompt that it had in its cache
            if let (Some(input), Some(output)) = (read(line.prompt_eval_count), read(line.eval_count)) {
                answer.report_usage(Usage { input, output, ..Usage::default() });
            }
            answer.finish(match read::<String>(line.done_reason).as_deref() {
                Some("length") => FinishReason::Length,
                _ => FinishReason::Stop,
            });
            answer.end();
        }
        Ok(())
    }

    fn call(&mut self, call: &Value, answer: &mut Progress) -> Result<(), Fault> {
        let Some(function) = call.get("function").filter(|function| function.is_object()) else { return Ok(()) };
        let text = |of: &Value, name: &str| of.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let arguments = match function.get("arguments") {
            None | Some(Value::Null) => Arguments::None,
            Some(Value::String(text)) if text.is_empty() => Arguments::None,
            Some(Value::String(text)) => Arguments::Text(text.clone()),
            Some(whole) => Arguments::Whole(whole.to_string()),
        };
        let index = self.calls;
        self.calls += 1;
        let (id, name) = (text(call, "id"), text(function, "name"));
        answer.call(CallPiece { index: Some(index), position: index, id, name, arguments })
    }
}
