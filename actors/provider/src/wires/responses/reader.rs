//! What the events of a Responses stream mean.
//!
//! Text comes in fragments; servers that send none tell it when the text, its message or the whole answer is done. The first
//! of these that says something is listened to, so that nothing is told twice.

use greenroom_protocol::FinishReason;
use serde::Deserialize;
use serde_json::Value;

use super::items::Items;
use crate::event::ProviderEvent;
use crate::http::fold::{Fault, Reader};
use crate::http::progress::Progress;
use crate::wires::usage::read_usage;

/// A reader of one answer.
pub(crate) fn reader() -> Box<dyn Reader> {
    Box::new(ResponsesReader::default())
}

#[derive(Debug, Default)]
struct ResponsesReader {
    items: Items,
    /// What text is taken from; all else repeats it.
    source: Option<Source>,
}

/// Events that tell text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Fragments,
    Texts,
    Messages,
    Answer,
}

/// The members of the commonest event, read without the rest.
#[derive(Deserialize)]
struct Fragment<'a> {
    #[serde(borrow, default)]
    r#type: Option<&'a str>,
    #[serde(default)]
    delta: Option<String>,
}

impl Reader for ResponsesReader {
    fn event(
        &mut self,
        event: &str,
        data: &str,
        answer: &mut Progress,
        out: &mut Vec<ProviderEvent>,
    ) -> Result<(), Fault> {
        if let Ok(Fragment {
            r#type: Some("response.output_text.delta" | "response.refusal.delta"),
            delta: Some(text),
        }) = serde_json::from_str(data)
        {
            self.text(Source::Fragments, text, answer, out);
            return Ok(());
        }
        if data == "[DONE]" {
            answer.end();
            return Ok(());
        }
        let value: Value = match serde_json::from_str(data) {
            Ok(value) => value,
            // plain words are some gateway's sign of life; half an object is lost text
            Err(_) if data.starts_with(['{', '[']) => return Err(Fault::Broken("an event is not JSON")),
            Err(_) if event == "error" => return Err(Fault::Upstream(Value::from(data))),
            Err(_) => return Ok(()),
        };
        let kind = value.get("type").and_then(Value::as_str).unwrap_or(event).to_owned();
        self.tell(&kind, &value, answer, out)
    }

    fn whole(&mut self, body: &str, answer: &mut Progress, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        let Ok(response) = serde_json::from_str::<Value>(body) else {
            return Err(Fault::Broken("the answer is neither an event stream nor JSON"));
        };
        let says_something = response.get("output").is_some_and(Value::is_array);
        if says_something || response.get("error").is_some_and(|error| !error.is_null()) {
            self.conclude("", &response, answer, out)?;
        }
        Ok(())
    }

    fn close(&mut self, answer: &mut Progress, _: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        self.items.take().try_for_each(|piece| answer.call(piece))
    }
}

impl ResponsesReader {
    fn tell(
        &mut self,
        kind: &str,
        event: &Value,
        answer: &mut Progress,
        out: &mut Vec<ProviderEvent>,
    ) -> Result<(), Fault> {
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind {
            "response.created" | "response.in_progress" => {
                let model = event.get("response").and_then(|response| response.get("model")).and_then(Value::as_str);
                answer.model(model.unwrap_or_default(), out);
            }
            "response.output_text.delta" | "response.refusal.delta" => {
                self.text(Source::Fragments, text("delta"), answer, out);
            }
            "response.output_text.done" => self.text(Source::Texts, text("text"), answer, out),
            "response.refusal.done" => self.text(Source::Texts, text("refusal"), answer, out),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                answer.reasoning(text("delta"), out);
            }
            "response.function_call_arguments.delta" => self.items.append(event)?,
            "response.function_call_arguments.done" => self.items.set(event)?,
            "response.output_item.added" | "response.output_item.done" => {
                if let Some(item) = event.get("item") {
                    match item.get("type").and_then(Value::as_str) {
                        Some("function_call") => self.items.set(event)?,
                        Some("message") if kind.ends_with("done") => self.message(Source::Messages, item, answer, out),
                        _ => {}
                    }
                }
            }
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                self.conclude(kind, event.get("response").unwrap_or(event), answer, out)?;
            }
            "error" => return Err(Fault::Upstream(event.clone())),
            _ => {
                if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
                    return Err(Fault::Upstream(error.clone()));
                }
            }
        }
        Ok(())
    }

    /// The whole answer, at its end.
    fn conclude(
        &mut self,
        kind: &str,
        response: &Value,
        answer: &mut Progress,
        out: &mut Vec<ProviderEvent>,
    ) -> Result<(), Fault> {
        let word = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let status = word(response, "status").unwrap_or_else(|| kind.trim_start_matches("response.").to_owned());
        if let Some(usage) = response.get("usage").and_then(read_usage) {
            answer.report_usage(usage);
        }
        if let Some(error) = response.get("error").filter(|error| !error.is_null()) {
            return Err(Fault::Upstream(error.clone()));
        }
        if matches!(status.as_str(), "failed" | "cancelled") {
            return Err(Fault::Upstream(Value::from("the provider failed")));
        }
        answer.model(&word(response, "model").unwrap_or_default(), out);
        let output = response.get("output").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (place, item) in output.iter().enumerate() {
            match item.get("type").and_then(Value::as_str) {
                Some("message") => self.message(Source::Answer, item, answer, out),
                Some("function_call") => {
                    self.items.set(&serde_json::json!({"output_index": place, "item": item}))?;
                }
                _ => {}
            }
        }
        let why = response.get("incomplete_details").and_then(|details| word(details, "reason"));
        answer.finish(match (status.as_str(), why.as_deref()) {
            (_, Some("content_filter")) => FinishReason::ContentFilter,
            ("incomplete", _) | (_, Some(_)) => FinishReason::Length,
            _ => FinishReason::Stop,
        });
        answer.end();
        Ok(())
    }

    /// A message told in full.
    fn message(&mut self, source: Source, item: &Value, answer: &mut Progress, out: &mut Vec<ProviderEvent>) {
        for part in item.get("content").and_then(Value::as_array).into_iter().flatten() {
            let text = part.get("text").or_else(|| part.get("refusal")).and_then(Value::as_str).unwrap_or_default();
            self.text(source, text.to_owned(), answer, out);
        }
    }

    /// Text, unless it was told from another source before.
    fn text(&mut self, source: Source, text: String, answer: &mut Progress, out: &mut Vec<ProviderEvent>) {
        if !text.is_empty() && *self.source.get_or_insert(source) == source {
            answer.text(text, out);
        }
    }
}
