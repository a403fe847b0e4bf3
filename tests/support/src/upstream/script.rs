//! What the scripted upstream is to answer, and how badly.
//!
//! A [`Script`] is plain data: an answer in pieces, a pace, a shape and at most one fault. The same script serves a
//! streaming and a non-streaming request. Deliberately absent: wire bytes (`render.rs`) and sockets (`server.rs`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::tools::{ScriptedCall, ToolShape};

/// What a script without an answer of its own says, word by word.
pub const DEFAULT_ANSWER: &str = "The scripted upstream answers in a few words.";

/// One part of an answer. Faults count pieces: "after 3" means after the third of these.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// `delta.content`.
    Text(String),
    /// `delta.reasoning_content`.
    Reasoning(String),
    /// One element of `delta.tool_calls`, as it is.
    ToolDelta(Value),
    /// A whole `delta` object, as it is.
    Delta(Value),
    /// The JSON of one `data:` line, as it is.
    Data(Value),
    /// Bytes put on the wire as they are.
    Raw(Bytes),
}

/// Where a streamed answer carries its usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsagePlace {
    /// Like OpenAI: a last chunk with empty `choices`, if `stream_options.include_usage` asks for it.
    AsAsked,
    /// A last chunk with empty `choices`, asked or not.
    Last,
    /// In the chunk that carries the finish reason.
    WithFinish,
    /// In every chunk, growing.
    Every,
    /// Nowhere, not even in a non-streaming answer.
    Absent,
}

/// What goes wrong once the counted piece is out.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The socket is closed in the middle of the body.
    Cut,
    /// The body ends properly, but without finish reason and end marker.
    EndEarly,
    /// Nothing more comes, and the connection stays open.
    Hang,
    /// Nothing more comes until [`super::Upstream::release_holds`]; then the answer goes on.
    Hold,
}

/// How the bytes of a stream are cut into body pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Split {
    /// One body piece for each event.
    ByEvent,
    /// Pieces of this many bytes, wherever that falls.
    Every(usize),
    /// Cuts at these offsets of the stream, ascending.
    At(Vec<usize>),
}

/// Lets a test decide when each piece of a [`Script::gated`] answer leaves.
#[derive(Debug, Clone)]
pub struct Gate(pub(super) Arc<Semaphore>);

impl Gate {
    /// Lets `pieces` more pieces pass. What follows the last piece (finish, usage, end marker) counts as one piece.
    pub fn release(&self, pieces: usize) {
        self.0.add_permits(pieces);
    }

    /// Lets everything pass from now on.
    pub fn open(&self) {
        self.0.close();
    }
}

/// An answer of the HTTP layer instead of a completion.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub status: u16,
    pub content_type: String,
    pub body: Bytes,
}

/// One scripted answer. Build it with [`Script::text`] or a sibling, then add pace, shape and faults.
#[derive(Debug, Clone)]
pub struct Script {
    pub(super) refusal: Option<Refusal>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) pieces: Vec<Piece>,
    pub(super) opening: bool,
    pub(super) finish_reason: Option<String>,
    pub(super) usage_place: UsagePlace,
    pub(super) usage: Option<Value>,
    pub(super) done: bool,
    pub(super) before_headers: Duration,
    pub(super) hang_before_headers: bool,
    pub(super) before_first: Duration,
    pub(super) between: Duration,
    pub(super) gate: Option<Gate>,
    pub(super) fault: Option<(usize, Fault)>,
    pub(super) crlf: bool,
    pub(super) noise: bool,
    pub(super) wrong_ids: bool,
    pub(super) split: Split,
}

impl Default for Script {
    fn default() -> Self {
        Self::text(DEFAULT_ANSWER)
    }
}

/// Answers.
impl Script {
    /// An answer of exactly these pieces.
    pub fn pieces(pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self {
            refusal: None,
            headers: Vec::new(),
            pieces: pieces.into_iter().collect(),
            opening: true,
            finish_reason: Some("stop".into()),
            usage_place: UsagePlace::AsAsked,
            usage: None,
            done: true,
            before_headers: Duration::ZERO,
            hang_before_headers: false,
            before_first: Duration::ZERO,
            between: Duration::ZERO,
            gate: None,
            fault: None,
            crlf: false,
            noise: false,
            wrong_ids: false,
            split: Split::ByEvent,
        }
    }

    /// Text in exactly these chunks.
    pub fn chunks<T: Into<String>>(chunks: impl IntoIterator<Item = T>) -> Self {
        Self::pieces(chunks.into_iter().map(|chunk| Piece::Text(chunk.into())))
    }

    /// Text, one chunk a word.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::chunks(text.split_inclusive(' '))
    }

    /// `count` short chunks whose text is [`numbered_text`].
    #[must_use]
    pub fn numbered(count: usize) -> Self {
        Self::chunks((0..count).map(numbered_chunk))
    }

    /// Tool calls, told in the given manner; the finish reason is `tool_calls`.
    #[must_use]
    pub fn tool_calls(calls: &[ScriptedCall], shape: &ToolShape) -> Self {
        Self::pieces(shape.deltas(calls).into_iter().map(Piece::ToolDelta)).finish_reason(Some("tool_calls"))
    }

    /// Puts reasoning (`delta.reasoning_content`) in front of the answer.
    #[must_use]
    pub fn reasoning<T: Into<String>>(mut self, chunks: impl IntoIterator<Item = T>) -> Self {
        let thoughts: Vec<Piece> = chunks.into_iter().map(|chunk| Piece::Reasoning(chunk.into())).collect();
        self.pieces.splice(0..0, thoughts);
        self
    }

    /// Adds a piece at the end.
    #[must_use]
    pub fn then(mut self, piece: Piece) -> Self {
        self.pieces.push(piece);
        self
    }

    /// The finish reason; `None` leaves out the chunk that would carry it.
    #[must_use]
    pub fn finish_reason(mut self, reason: Option<&str>) -> Self {
        self.finish_reason = reason.map(str::to_owned);
        self
    }

    /// Where the usage stands.
    #[must_use]
    pub fn usage_at(mut self, place: UsagePlace) -> Self {
        self.usage_place = place;
        self
    }

    /// The `usage` object, instead of one that counts pieces.
    #[must_use]
    pub fn usage(mut self, usage: Value) -> Self {
        self.usage = Some(usage);
        self
    }
}

/// Refusals.
impl Script {
    /// An answer with this status and JSON body.
    #[must_use]
    pub fn refusal(status: u16, body: &Value) -> Self {
        Self::body(status, "application/json", body.to_string())
    }

    /// An answer with this status and body, whatever it may be.
    pub fn body(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let refusal = Refusal { status, content_type: content_type.into(), body: body.into() };
        Self { refusal: Some(refusal), ..Self::pieces([]) }
    }

    /// An OpenAI error object under this status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let (kind, code) = match status {
            401 => ("invalid_request_error", "invalid_api_key"),
            404 => ("invalid_request_error", "model_not_found"),
            429 => ("requests", "rate_limit_exceeded"),
            400..=499 => ("invalid_request_error", "scripted_refusal"),
            _ => ("server_error", "scripted_failure"),
        };
        Self::refusal(status, &error_object(&format!("scripted refusal with status {status}"), kind, None, code))
    }

    /// 429 with `Retry-After`.
    #[must_use]
    pub fn rate_limited(retry_after_seconds: u64) -> Self {
        Self::status(429).header("retry-after", &retry_after_seconds.to_string())
    }

    /// 400 as OpenAI refuses a parameter that the model does not know, or (`temperature`, `top_p`) cannot vary.
    #[must_use]
    pub fn unsupported_parameter(name: &str) -> Self {
        let (message, code) = match name {
            "temperature" | "top_p" => {
                (format!("Unsupported value: '{name}' takes only its default with this model."), "unsupported_value")
            }
            _ => (format!("Unsupported parameter: '{name}' is not known to this model."), "unsupported_parameter"),
        };
        Self::refusal(400, &error_object(&message, "invalid_request_error", Some(name), code))
    }

    /// 200 and the right content type, but bytes that are neither events nor UTF-8.
    #[must_use]
    pub fn garbage() -> Self {
        Self::body(200, "text/event-stream", garbage_bytes())
    }
}

/// Pace.
impl Script {
    /// A pause before the response head.
    #[must_use]
    pub fn before_headers(mut self, pause: Duration) -> Self {
        self.before_headers = pause;
        self
    }

    /// A pause between the head and the first chunk.
    #[must_use]
    pub fn before_first(mut self, pause: Duration) -> Self {
        self.before_first = pause;
        self
    }

    /// A pause between two pieces.
    #[must_use]
    pub fn between(mut self, pause: Duration) -> Self {
        self.between = pause;
        self
    }

    /// Each piece, and then the ending, waits until the test lets it pass.
    #[must_use]
    pub fn gated(mut self) -> (Self, Gate) {
        let gate = Gate(Arc::new(Semaphore::new(0)));
        self.gate = Some(gate.clone());
        (self, gate)
    }
}

/// Shape.
impl Script {
    /// Adds a response header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Leaves out the first chunk with the role.
    #[must_use]
    pub fn without_opening(mut self) -> Self {
        self.opening = false;
        self
    }

    /// Leaves out `data: [DONE]`.
    #[must_use]
    pub fn without_done(mut self) -> Self {
        self.done = false;
        self
    }

    /// Lines end with CR LF.
    #[must_use]
    pub fn crlf(mut self) -> Self {
        self.crlf = true;
        self
    }

    /// Comments, `id:` and `retry:` fields and events of unknown kinds stand between the chunks.
    #[must_use]
    pub fn noise(mut self) -> Self {
        self.noise = true;
        self
    }

    /// Each chunk has another completion id.
    #[must_use]
    pub fn wrong_ids(mut self) -> Self {
        self.wrong_ids = true;
        self
    }

    /// How bytes are cut into body pieces.
    #[must_use]
    pub fn split(mut self, split: Split) -> Self {
        self.split = split;
        self
    }
}

/// Faults.
impl Script {
    /// Something goes wrong once `pieces` pieces are out.
    #[must_use]
    pub fn fault_after(mut self, pieces: usize, fault: Fault) -> Self {
        self.fault = Some((pieces, fault));
        self
    }

    /// The socket is closed after `pieces` pieces.
    #[must_use]
    pub fn cut_after(self, pieces: usize) -> Self {
        self.fault_after(pieces, Fault::Cut)
    }

    /// Silence for ever after `pieces` pieces.
    #[must_use]
    pub fn hang_after(self, pieces: usize) -> Self {
        self.fault_after(pieces, Fault::Hang)
    }

    /// Silence for ever, before any header.
    #[must_use]
    pub fn hang_before_headers(mut self) -> Self {
        self.hang_before_headers = true;
        self
    }

    /// After `pieces` pieces an event with an `error` object, then the end of the body.
    #[must_use]
    pub fn error_after(mut self, pieces: usize, message: &str) -> Self {
        let pieces = pieces.min(self.pieces.len());
        self.pieces.truncate(pieces);
        self.pieces.push(Piece::Data(error_object(message, "server_error", None, "scripted_error")));
        self.fault_after(pieces + 1, Fault::EndEarly)
    }

    /// After `pieces` pieces bytes that are neither events nor UTF-8, then the end of the body.
    #[must_use]
    pub fn garbage_after(mut self, pieces: usize) -> Self {
        let pieces = pieces.min(self.pieces.len());
        self.pieces.truncate(pieces);
        self.pieces.push(Piece::Raw(garbage_bytes()));
        self.fault_after(pieces + 1, Fault::EndEarly)
    }
}

/// The text of [`Script::numbered`].
#[must_use]
pub fn numbered_text(count: usize) -> String {
    (0..count).map(numbered_chunk).collect()
}

fn numbered_chunk(index: usize) -> String {
    format!("t{index} ")
}

/// OpenAI's error body.
pub(super) fn error_object(message: &str, kind: &str, param: Option<&str>, code: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
}

fn garbage_bytes() -> Bytes {
    Bytes::from_static(b"data: {\"choices\":[{\"delta\n\ndata: \xff\xfe\x00\x9f\n\n<html>\r\r\x01\x02")
}
