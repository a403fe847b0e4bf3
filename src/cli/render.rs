//! From stream frames to what the person sees. Pure: one event in, pieces for standard output and for the side out.

use serde_json::Value;

use super::terminal::{Style, harmless, one_line};

/// Something to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Part of the answer.
    Text(String),
    /// A line about what is going on; shown beside the answer.
    Aside(String),
}

/// What one conversation's frames amount to.
#[derive(Debug, Default)]
pub struct Reading {
    /// The turn, once known: what can be aborted.
    pub turn_id: Option<String>,
    /// Characters of answer so far.
    pub answered: usize,
    /// Why the answer broke, if it did.
    pub failure: Option<String>,
    /// Whether the end marker was seen.
    pub done: bool,
    last_event_id: Option<String>,
    model: Option<String>,
}

impl Reading {
    /// The last event's id, for re-attaching.
    #[must_use]
    pub fn last_event_id(&self) -> Option<&str> {
        self.last_event_id.as_deref()
    }

    /// Takes one event of the stream.
    pub fn take(&mut self, id: Option<&str>, data: &str, style: Style) -> Vec<Piece> {
        if let Some(id) = id {
            self.last_event_id = Some(id.to_owned());
        }
        if data == "[DONE]" {
            self.done = true;
            return Vec::new();
        }
        let Ok(frame) = serde_json::from_str::<Value>(data) else { return Vec::new() };
        match frame["object"].as_str().unwrap_or_default() {
            "service.turn_metadata" => self.metadata(&frame, style),
            "service.warning" => warnings(&frame, style),
            "service.tool_call" => {
                let arguments = one_line(&frame["arguments"].to_string(), 100);
                vec![Piece::Aside(style.dim(&format!("→ {} {arguments}", word(&frame["name"]))))]
            }
            "service.tool_result" => {
                let mark = if frame["ok"] == true { style.good("✓") } else { style.bad("✗") };
                let took = frame["duration_ms"].as_f64().unwrap_or_default();
                let result = one_line(frame["result"].as_str().unwrap_or_default(), 100);
                vec![Piece::Aside(format!(
                    "{mark} {}",
                    style.dim(&format!("{} {took:.0} ms {result}", word(&frame["name"])))
                ))]
            }
            "service.turn_complete" => self.complete(&frame, style),
            "chat.completion.chunk" => self.chunk(&frame),
            _ => Vec::new(),
        }
    }

    fn metadata(&mut self, frame: &Value, style: Style) -> Vec<Piece> {
        self.turn_id = frame["turn_id"].as_str().map(str::to_owned);
        let model = frame["upstream_model"].as_str().or(frame["model"].as_str()).map(|model| one_line(model, 60));
        if model == self.model {
            return Vec::new();
        }
        self.model = model;
        let who = format!("{} · {}", word(&frame["bot_id"]), self.model.as_deref().unwrap_or_default());
        vec![Piece::Aside(style.dim(&who))]
    }

    fn chunk(&mut self, frame: &Value) -> Vec<Piece> {
        if let Some(message) = frame["error"]["message"].as_str() {
            self.failure = Some(one_line(message, 300));
        }
        match frame["choices"][0]["delta"]["content"].as_str() {
            Some(text) if !text.is_empty() => {
                self.answered += text.chars().count();
                vec![Piece::Text(harmless(text))]
            }
            _ => Vec::new(),
        }
    }

    fn complete(&mut self, frame: &Value, style: Style) -> Vec<Piece> {
        let status = word(&frame["status"]);
        let tokens = frame["token_usage"]["output_tokens"].as_u64().unwrap_or_default();
        let took = frame["latency_ms"].as_f64().unwrap_or_default() / 1000.0;
        match status.as_str() {
            "completed" => vec![Piece::Aside(style.dim(&format!("{tokens} tokens, {took:.1} s")))],
            other => vec![Piece::Aside(style.warn(&format!("turn {other}")))],
        }
    }
}

fn warnings(frame: &Value, style: Style) -> Vec<Piece> {
    let list = frame["warnings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let lines = list.iter().filter_map(Value::as_str);
    lines.map(|line| Piece::Aside(style.warn(&format!("! {}", one_line(line, 300))))).collect()
}

fn word(value: &Value) -> String {
    one_line(value.as_str().unwrap_or_default(), 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aside(text: &str) -> Vec<Piece> {
        vec![Piece::Aside(text.into())]
    }

    #[test]
    fn frames_become_text_and_asides() {
        let mut reading = Reading::default();
        let mut take = |data: &str| reading.take(Some("7"), data, Style::bare());
        let metadata = r#"{"object":"service.turn_metadata","turn_id":"turn-1","bot_id":"nova","model":"echo"}"#;
        assert_eq!(take(metadata), aside("nova · echo"));
        assert_eq!(take(metadata), []);
        assert_eq!(
            take(r#"{"object":"chat.completion.chunk","choices":[{"delta":{"content":"h\u001bi"}}]}"#),
            [Piece::Text("hi".into())]
        );
        assert_eq!(
            take(r#"{"object":"service.tool_call","name":"clock","arguments":{"zone":"UTC"}}"#),
            aside(r#"→ clock {"zone":"UTC"}"#)
        );
        assert_eq!(
            take(r#"{"object":"service.tool_result","name":"clock","ok":false,"duration_ms":1.6,"result":"no"}"#),
            aside("✗ clock 2 ms no")
        );
        assert_eq!(take(r#"{"object":"service.warning","warnings":["a","b"]}"#).len(), 2);
        assert_eq!(take(r#"{"object":"chat.completion.chunk","choices":[],"usage":{}}"#), []);
        assert_eq!(take("[DONE]"), []);
        assert_eq!(take("not json"), []);
        assert_eq!((reading.turn_id.as_deref(), reading.answered, reading.done), (Some("turn-1"), 3, true));
        assert_eq!((reading.last_event_id(), reading.failure.is_none()), (Some("7"), true));
    }

    #[test]
    fn a_broken_answer_is_remembered() {
        let mut reading = Reading::default();
        let data = r#"{"object":"chat.completion.chunk","choices":[{"delta":{},"finish_reason":"error"}],
            "error":{"message":"the provider's answer broke off"}}"#;
        assert_eq!(reading.take(None, data, Style::bare()), []);
        assert_eq!(reading.failure.as_deref(), Some("the provider's answer broke off"));
        let data = r#"{"object":"service.turn_complete","status":"error"}"#;
        assert_eq!(reading.take(None, data, Style::bare()), aside("turn error"));
        assert!(!reading.done);
    }
}
