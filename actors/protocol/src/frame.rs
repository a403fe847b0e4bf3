//! The Chat Completions skin: turn events as SSE frames.
//!
//! One event is one frame, `id: <seq>` and `data: <one line of JSON>`, so a cursor into the log and a `Last-Event-ID`
//! are the same number. Frames of the service's own kinds (`service.*`) carry a choice with an empty delta: every
//! OpenAI client reads them as chunks that change nothing. A keep-alive is a comment line without an empty line behind
//! it, because once a stream has carried an `id:` the official Python SDK dispatches an empty event on a bare empty line.

use serde::Serialize;
use serde_json::{Value, json};

use crate::event::{
    Finish, FinishReason, ToolCallEnded, ToolCallStarted, TurnComplete, TurnEvent, TurnHeader, TurnMetadata,
};
use crate::status::TurnStatus;

/// Sent when nothing else was for a while.
pub const KEEP_ALIVE: &[u8] = b": keepalive\n";

/// The end marker of OpenAI streams.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// What one viewer wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameOptions {
    /// The four `service.turn_*`/`service.tool_*` kinds; off by request header `X-Service-Events: off`.
    pub service_events: bool,
    /// The OpenAI usage chunk (`stream_options.include_usage`).
    pub include_usage: bool,
    /// `delta.tool_calls` also for tools that the server runs itself; on by request header `X-Tool-Deltas: on`. Off
    /// otherwise, because SDKs take them for calls to be executed.
    pub tool_deltas: bool,
}

impl Default for FrameOptions {
    fn default() -> Self {
        Self { service_events: true, include_usage: false, tool_deltas: false }
    }
}

/// Encodes one turn's events for one viewer.
#[derive(Debug)]
pub struct FrameEncoder {
    header: std::sync::Arc<TurnHeader>,
    options: FrameOptions,
    /// `"id":…,"created":…,"model":…` without braces.
    common: String,
    role_due: bool,
    /// The answer ends with calls of the client's own tools.
    handed_over: bool,
    /// A batch of the server's own tools was shown as deltas and is not closed yet.
    open_batch: bool,
}

impl FrameEncoder {
    /// An encoder for a viewer that starts behind event `cursor` (0 = from the beginning).
    #[must_use]
    pub fn new(header: std::sync::Arc<TurnHeader>, options: FrameOptions, cursor: u64) -> Self {
        let common = format!(
            r#""id":{},"created":{},"model":{}"#,
            quote(&header.completion_id),
            header.created,
            quote(&header.model)
        );
        Self { header, options, common, role_due: cursor == 0, handed_over: false, open_batch: false }
    }

    /// Appends the frame of event number `seq` (from 1) to `out`; some events have none for this viewer. After the
    /// terminal event of an answer that is not broken, the end marker follows.
    pub fn encode(&mut self, seq: u64, event: &TurnEvent, out: &mut Vec<u8>) {
        if self.options.tool_deltas {
            self.tool_delta(event, out);
        }
        match event {
            TurnEvent::Text(text) => {
                let role = self.take_role();
                let delta = format!(r#"{{{role}"content":{}}}"#, quote(text));
                self.chunk(seq, &delta, None, out);
            }
            TurnEvent::ClientToolCall(call) => {
                let role = self.take_role();
                self.handed_over = true;
                let calls = json!([{"index": call.index, "id": call.id, "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments}}]);
                self.chunk(seq, &format!(r#"{{{role}"tool_calls":{calls}}}"#), None, out);
            }
            TurnEvent::Finish(finish) => self.finish(seq, finish, out),
            TurnEvent::Usage(usage) => {
                if self.options.include_usage {
                    let usage = to_json(&usage.openai());
                    let frame =
                        format!(r#"{{{},"object":"chat.completion.chunk","choices":[],"usage":{usage}}}"#, self.common);
                    write_frame(seq, &frame, out);
                }
            }
            TurnEvent::Warning(warning) => self.service(seq, "warning", warning, out),
            TurnEvent::Animation(animation) => self.service(seq, "animation", &AnimationFrame { animation }, out),
            TurnEvent::Metadata(metadata) => self.if_wanted(seq, "turn_metadata", &MetadataFrame(metadata), out),
            TurnEvent::ToolCall(call) => self.if_wanted(seq, "tool_call", &ToolCallFrame(call), out),
            TurnEvent::ToolResult(result) => self.if_wanted(seq, "tool_result", &ToolResultFrame(result), out),
            TurnEvent::Complete(complete) => {
                self.if_wanted(seq, "turn_complete", &CompleteFrame::of(complete), out);
                if complete.status != TurnStatus::Error {
                    out.extend_from_slice(DONE);
                }
            }
        }
    }

    /// The frames of the server's own tool batches (http-api §3.5): they stand before the frame of the event they belong
    /// to and have no id, so that a cursor still names an event.
    fn tool_delta(&mut self, event: &TurnEvent, out: &mut Vec<u8>) {
        let (delta, finish) = match event {
            TurnEvent::ToolCall(call) => {
                self.open_batch = true;
                let calls = json!([{"index": call.index, "id": call.call_id, "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments.to_string()}}]);
                (format!(r#"{{{}"tool_calls":{calls}}}"#, self.take_role()), None)
            }
            TurnEvent::ToolResult(_) => return,
            _ if std::mem::take(&mut self.open_batch) => ("{}".to_owned(), Some(FinishReason::ToolCalls)),
            _ => return,
        };
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(self.chunk_json(&delta, finish).as_bytes());
        out.extend_from_slice(b"\n\n");
    }

    fn take_role(&mut self) -> &'static str {
        if std::mem::take(&mut self.role_due) { r#""role":"assistant","# } else { "" }
    }

    fn chunk(&self, seq: u64, delta: &str, finish: Option<FinishReason>, out: &mut Vec<u8>) {
        write_frame(seq, &self.chunk_json(delta, finish), out);
    }

    fn chunk_json(&self, delta: &str, finish: Option<FinishReason>) -> String {
        let reason = finish.map_or_else(|| "null".into(), |reason| quote(reason.as_str()));
        format!(
            r#"{{{},"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{delta},"finish_reason":{reason}}}]}}"#,
            self.common
        )
    }

    fn finish(&self, seq: u64, finish: &Finish, out: &mut Vec<u8>) {
        let mut chunk = json!({
            "id": self.header.completion_id, "object": "chat.completion.chunk", "created": self.header.created,
            "model": finish.model.as_deref().unwrap_or(&self.header.model),
            "choices": [{"index": 0, "delta": {}, "finish_reason": finish.reason.as_str()}],
        });
        if let Some(error) = &finish.error {
            chunk["error"] = serde_json::to_value(error).unwrap_or(Value::Null);
        }
        write_frame(seq, &chunk.to_string(), out);
    }

    fn if_wanted(&self, seq: u64, kind: &str, body: &impl Serialize, out: &mut Vec<u8>) {
        if self.options.service_events {
            self.service(seq, kind, body, out);
        }
    }

    fn service(&self, seq: u64, kind: &str, body: &impl Serialize, out: &mut Vec<u8>) {
        let own = to_json(body);
        let own = own.strip_prefix('{').and_then(|own| own.strip_suffix('}')).unwrap_or_default();
        // openai-node's helper announces finished tool calls at each choice behind them, so behind client tool calls the
        // frame has none. Everywhere else it has one, for clients that index it without looking.
        let choices = if self.handed_over { "" } else { r#"{"index":0,"delta":{},"finish_reason":null}"# };
        let frame = format!(
            r#"{{"object":"service.{kind}","type":"{kind}",{},"turn_id":{},"trigger_message_id":{},"bot_id":{},"user_id":{},{own},"choices":[{choices}]}}"#,
            self.common,
            quote(self.header.turn_id.as_str()),
            to_json(&self.header.trigger_message_id),
            quote(self.header.bot_id.as_str()),
            quote(self.header.user_id.as_str()),
        );
        write_frame(seq, &frame, out);
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct MetadataFrame<'a>(&'a TurnMetadata);

#[derive(Serialize)]
struct AnimationFrame<'a> {
    animation: &'a str,
}

#[derive(Serialize)]
#[serde(transparent)]
struct ToolCallFrame<'a>(&'a ToolCallStarted);

#[derive(Serialize)]
#[serde(transparent)]
struct ToolResultFrame<'a>(&'a ToolCallEnded);

/// `turn_complete` shows `ok` as `completed`. The OpenAI triple is called `usage_total` here: LangChain and the OpenAI
/// SDKs take a top-level `usage` of any chunk for a usage chunk, and would count twice.
#[derive(Serialize)]
struct CompleteFrame<'a> {
    status: &'static str,
    animation: &'a Option<String>,
    token_usage: &'a Option<crate::usage::TokenUsage>,
    usage_total: crate::usage::OpenAiUsage,
    latency_ms: f64,
    tool_call_count: u32,
    error_text: &'a Option<String>,
    ts: f64,
}

impl<'a> CompleteFrame<'a> {
    fn of(complete: &'a TurnComplete) -> Self {
        Self {
            status: complete.status.event_word(),
            animation: &complete.animation,
            token_usage: &complete.token_usage,
            usage_total: complete.usage.openai(),
            latency_ms: complete.latency_ms,
            tool_call_count: complete.tool_call_count,
            error_text: &complete.error_text,
            ts: complete.ts,
        }
    }
}

fn write_frame(seq: u64, json: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(seq.to_string().as_bytes());
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(json.as_bytes());
    out.extend_from_slice(b"\n\n");
}

fn quote(text: &str) -> String {
    to_json(&text)
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::{ErrorBody, ErrorClass};
    use crate::event::{ClientToolCall, Warning};
    use crate::ids::{BotSlug, MessageId, TurnId, UserId};
    use crate::sse::SseDecoder;
    use crate::usage::Usage;

    fn header() -> Arc<TurnHeader> {
        Arc::new(TurnHeader {
            turn_id: TurnId::from_stored("turn-1"),
            completion_id: "chatcmpl-1".into(),
            created: 7,
            model: "echo".into(),
            bot_id: BotSlug::from_stored("spark"),
            user_id: UserId::from_stored("ann"),
            trigger_message_id: Some(MessageId::from_stored("m1")),
        })
    }

    fn complete(status: TurnStatus) -> TurnEvent {
        TurnEvent::Complete(Box::new(TurnComplete {
            status,
            animation: None,
            token_usage: None,
            usage: Usage::estimate(8, 4),
            latency_ms: 1.5,
            tool_call_count: 0,
            error_text: None,
            ts: 9.0,
        }))
    }

    fn events() -> Vec<TurnEvent> {
        vec![
            TurnEvent::Metadata(Box::new(TurnMetadata {
                request_id: "r".into(),
                path: "/v1/chat/completions".into(),
                agent_backend: None,
                tts_mode: false,
                augment_memory: true,
                context_window: Some(8),
                upstream_model: None,
                started_at: 1.0,
                ts: 1.0,
            })),
            TurnEvent::Warning(Box::new(Warning { warnings: vec!["w".into()], code: None })),
            TurnEvent::Text("a \"quoted\"\nline }".into()),
            TurnEvent::Text("b".into()),
            TurnEvent::ClientToolCall(Box::new(ClientToolCall {
                index: 0,
                id: "c1".into(),
                name: "f".into(),
                arguments: "{\"x\":1}".into(),
            })),
            TurnEvent::Finish(Box::new(Finish {
                reason: FinishReason::ToolCalls,
                model: Some("real".into()),
                error: None,
            })),
            TurnEvent::Usage(Usage::estimate(8, 4)),
            complete(TurnStatus::Ok),
        ]
    }

    fn frames(events: &[TurnEvent], options: FrameOptions, cursor: u64) -> (Vec<Value>, bool) {
        let mut encoder = FrameEncoder::new(header(), options, cursor);
        let mut bytes = Vec::new();
        for (index, event) in events.iter().enumerate() {
            encoder.encode(index as u64 + 1, event, &mut bytes);
        }
        let (mut values, mut done) = (Vec::new(), false);
        let mut decoder = SseDecoder::new(1 << 20);
        let fed = decoder.feed(&bytes, |event| {
            if event.data == "[DONE]" {
                done = true;
            } else {
                values.push(serde_json::from_str(&event.data).unwrap_or_else(|e| unreachable!("{e}: {}", event.data)));
            }
        });
        assert_eq!(fed, Ok(()));
        (values, done)
    }

    #[test]
    fn every_frame_looks_like_a_chunk() {
        let (frames, done) = frames(&events(), FrameOptions::default(), 0);
        assert!(done);
        assert_eq!(frames.len(), 7);
        for frame in &frames[..6] {
            assert!(frame["choices"][0]["delta"].is_object(), "{frame}");
        }
        assert_eq!(frames[6]["choices"], json!([]), "behind client tool calls");
        for frame in &frames {
            assert_eq!(frame["id"], "chatcmpl-1");
            assert!(frame.get("error").is_none() && frame.get("usage").is_none());
        }
        assert_eq!(frames[0]["type"], "turn_metadata");
        assert_eq!(frames[0]["trigger_message_id"], "m1");
        assert_eq!(frames[2]["choices"][0]["delta"], json!({"role": "assistant", "content": "a \"quoted\"\nline }"}));
        assert_eq!(frames[3]["choices"][0]["delta"], json!({"content": "b"}));
        assert_eq!(frames[5]["model"], "real");
        assert_eq!(frames[6]["status"], "completed");
        assert_eq!(frames[6]["usage_total"]["total_tokens"], 3);
    }

    #[test]
    fn strict_clients_see_only_openai_chunks() {
        let options = FrameOptions { service_events: false, include_usage: true, tool_deltas: false };
        let (frames, done) = frames(&events(), options, 0);
        assert!(done);
        let kinds: Vec<_> = frames.iter().map(|f| f["object"].as_str().unwrap_or_default()).collect();
        assert_eq!(kinds.iter().filter(|k| **k == "service.warning").count(), 1);
        assert_eq!(kinds.iter().filter(|k| **k == "chat.completion.chunk").count(), 5);
        assert_eq!(frames[5]["choices"], json!([]));
        assert_eq!(frames[5]["usage"]["prompt_tokens"], 2);
    }

    #[test]
    fn an_animation_is_a_service_frame() {
        let (frames, _) = frames(&[TurnEvent::Animation("wave".into())], FrameOptions::default(), 0);
        assert_eq!((&frames[0]["object"], &frames[0]["animation"]), (&json!("service.animation"), &json!("wave")));
        assert_eq!(frames[0]["choices"][0]["delta"], json!({}));
    }

    #[test]
    fn the_servers_own_tools_are_deltas_only_on_request() {
        let call = ToolCallStarted {
            call_id: "c1".into(),
            name: "time".into(),
            arguments: json!({"zone": "UTC"}),
            index: 0,
            iteration: 1,
            provider: None,
            effects: None,
            ts: 1.0,
        };
        let result = ToolCallEnded {
            call_id: "c1".into(),
            name: "time".into(),
            result: "noon".into(),
            result_truncated: false,
            ok: true,
            duration_ms: 1.0,
            iteration: 1,
            provider: None,
            ts: 1.0,
        };
        let events = [
            TurnEvent::ToolCall(Box::new(call)),
            TurnEvent::ToolResult(Box::new(result)),
            TurnEvent::Text("noon".into()),
        ];
        let kinds = |options| {
            let (frames, _) = frames(&events, options, 0);
            let kind = |frame: &Value| {
                let choice = &frame["choices"][0];
                match (choice["delta"]["tool_calls"].is_array(), choice["finish_reason"].as_str()) {
                    (true, _) => "delta".to_owned(),
                    (false, Some(reason)) => reason.to_owned(),
                    (false, None) => frame["object"].as_str().unwrap_or_default().to_owned(),
                }
            };
            frames.iter().map(kind).collect::<Vec<_>>()
        };
        assert_eq!(
            kinds(FrameOptions::default()),
            ["service.tool_call", "service.tool_result", "chat.completion.chunk"]
        );
        assert_eq!(
            kinds(FrameOptions { tool_deltas: true, ..FrameOptions::default() }),
            ["delta", "service.tool_call", "service.tool_result", "tool_calls", "chat.completion.chunk"]
        );
    }

    #[test]
    fn a_broken_answer_ends_without_the_end_marker() {
        let error = ErrorBody::new(ErrorClass::ProviderInterrupted, "the model's stream broke off");
        let events = [
            TurnEvent::Finish(Box::new(Finish { reason: FinishReason::Error, model: None, error: Some(error) })),
            complete(TurnStatus::Error),
        ];
        let (frames, done) = frames(&events, FrameOptions::default(), 3);
        assert!(!done);
        assert_eq!(frames[0]["error"]["code"], "provider_interrupted");
        assert_eq!(frames[0]["choices"][0]["finish_reason"], "error");
        assert_eq!(frames[1]["status"], "error");
    }

    #[test]
    fn a_keep_alive_dispatches_nothing() {
        let mut decoder = SseDecoder::new(100);
        let bytes = [b"id: 1\ndata: x\n\n".as_slice(), KEEP_ALIVE, KEEP_ALIVE, b"id: 2\ndata: y\n\n"].concat();
        let mut seen = Vec::new();
        assert_eq!(decoder.feed(&bytes, |event| seen.push(event.data)), Ok(()));
        assert_eq!(seen, ["x", "y"]);
    }
}
