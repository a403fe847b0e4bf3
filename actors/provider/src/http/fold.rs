//! Folding a provider's answer into events, whatever way its bytes are cut.
//!
//! Pure: bytes in, events out. Bytes are cut into events here, a wire's [`Reader`] says what each event means, and
//! [`Progress`] tells it. The answer is complete when its end marker came, or when it ended after a finish reason; anything
//! else is broken.

use std::fmt;

use greenroom_protocol::Usage;
use greenroom_protocol::sse::{SseDecoder, SseError};
use serde_json::Value;

use super::lines::{LineDecoder, LineError};
use super::progress::Progress;
use crate::event::ProviderEvent;

/// Largest event accepted. Images and long tool arguments come in one event.
pub(crate) const EVENT_CAP: usize = 8 * 1024 * 1024;

/// Why an answer is broken.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// The provider reported an error of its own.
    Upstream(Value),
    /// The bytes make no sense, or the answer ended too early.
    Broken(&'static str),
    /// A web page came in place of an answer.
    WebPage,
}

/// How a wire cuts its stream into events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events.
    Events,
    /// One JSON object a line.
    Lines,
}

/// What the events of a wire mean.
pub(crate) trait Reader: Send + fmt::Debug {
    /// One event: its name, empty where there is none, and its trimmed data. Not called once the answer is over.
    fn event(
        &mut self,
        event: &str,
        data: &str,
        answer: &mut Progress,
        out: &mut Vec<ProviderEvent>,
    ) -> Result<(), Fault>;

    /// A whole answer that came as one JSON object instead of a stream of events; it ends the answer, or is no answer.
    fn whole(&mut self, body: &str, answer: &mut Progress, out: &mut Vec<ProviderEvent>) -> Result<(), Fault>;

    /// Hands over what was held back, just before the end is told.
    fn close(&mut self, _answer: &mut Progress, _out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        Ok(())
    }
}

#[derive(Debug)]
enum Decoder {
    Events(SseDecoder),
    Lines(LineDecoder),
}

/// Reads one answer.
#[derive(Debug)]
pub(crate) struct Fold {
    decoder: Decoder,
    wire: Wire,
}

/// The part of a fold that a decoder hands its events to.
#[derive(Debug)]
struct Wire {
    reader: Box<dyn Reader>,
    answer: Progress,
    fault: Option<Fault>,
}

impl Fold {
    /// A fold over an answer that has not begun.
    pub(crate) fn new(framing: Framing, reader: Box<dyn Reader>, answer: Progress) -> Self {
        let decoder = match framing {
            Framing::Events => Decoder::Events(SseDecoder::new(EVENT_CAP)),
            Framing::Lines => Decoder::Lines(LineDecoder::new(EVENT_CAP)),
        };
        Self { decoder, wire: Wire { reader, answer, fault: None } }
    }

    /// Whether a body that begins with a brace is one JSON object and not a stream.
    pub(crate) fn may_come_whole(&self) -> bool {
        matches!(self.decoder, Decoder::Events(_))
    }

    /// Whether the answer is complete; further bytes are ignored.
    pub(crate) fn is_over(&self) -> bool {
        self.wire.answer.is_complete()
    }

    /// Whether the answer was ended here while the provider was still talking.
    pub(crate) fn was_cut(&self) -> bool {
        self.wire.answer.was_cut()
    }

    /// Whether the finish reason came, so that only usage and the end marker can follow.
    pub(crate) fn is_finishing(&self) -> bool {
        self.wire.answer.is_finishing()
    }

    /// Whether any text was passed on.
    pub(crate) fn had_text(&self) -> bool {
        self.wire.answer.had_text()
    }

    /// Token counts so far: the provider's newest, else an estimate.
    pub(crate) fn usage(&self) -> Usage {
        self.wire.answer.usage()
    }

    /// Feeds bytes of a stream. Events found before a fault are in `out` all the same.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        if self.is_over() {
            return Ok(());
        }
        let wire = &mut self.wire;
        let fed = match &mut self.decoder {
            Decoder::Events(decoder) => {
                decoder.feed(bytes, |event| wire.event(&event.event, &event.data, out)).map_err(Fault::from)
            }
            Decoder::Lines(decoder) => decoder.feed(bytes, |line| wire.event("", line, out)).map_err(Fault::from),
        };
        match self.wire.fault.take() {
            Some(fault) => Err(fault),
            None if self.is_over() => Ok(()),
            None => fed,
        }
    }

    /// The stream ended, cleanly or not.
    pub(crate) fn end(&mut self, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        if self.is_over() {
            return Ok(());
        }
        let wire = &mut self.wire;
        let finished = match &mut self.decoder {
            Decoder::Events(decoder) => {
                decoder.finish(|event| wire.event(&event.event, &event.data, out)).map_err(Fault::from)
            }
            Decoder::Lines(decoder) => decoder.finish(|line| wire.event("", line, out)).map_err(Fault::from),
        };
        if self.is_over() {
            return Ok(());
        }
        // what follows the finish reason is only usage: its loss does not break the answer
        let fault = self.wire.fault.take();
        if !self.is_finishing() {
            if let Some(fault) = fault {
                return Err(fault);
            }
            finished?;
            return Err(Fault::Broken("the stream ended before the answer did"));
        }
        self.wire.complete(out)
    }

    /// The answer is taken as complete because nothing more came after its finish reason.
    pub(crate) fn settle(&mut self, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        if self.is_over() { Ok(()) } else { self.wire.complete(out) }
    }

    /// A whole answer that came as one JSON object instead of a stream.
    pub(crate) fn whole(&mut self, body: &str, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        let wire = &mut self.wire;
        wire.reader.whole(body.trim_start_matches('\u{feff}'), &mut wire.answer, out)?;
        if !wire.answer.is_over() {
            return Err(Fault::Broken("the answer is not a completion"));
        }
        wire.complete(out)
    }
}

impl Wire {
    fn event(&mut self, event: &str, data: &str, out: &mut Vec<ProviderEvent>) {
        let data = data.trim();
        if self.fault.is_some() || self.answer.is_over() || data.is_empty() {
            return;
        }
        let read = self.reader.event(event, data, &mut self.answer, out);
        let read = match read {
            Ok(()) if self.answer.is_over() => self.complete(out),
            read => read,
        };
        self.fault = read.err();
    }

    fn complete(&mut self, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        self.reader.close(&mut self.answer, out)?;
        self.answer.complete(out);
        Ok(())
    }
}

impl From<SseError> for Fault {
    fn from(error: SseError) -> Self {
        Self::Broken(match error {
            SseError::TooLarge(_) => "an event is too large",
            SseError::NotUtf8 => "the stream is not UTF-8",
        })
    }
}

impl From<LineError> for Fault {
    fn from(error: LineError) -> Self {
        Self::Broken(match error {
            LineError::TooLarge => "an event is too large",
            LineError::NotUtf8 => "the stream is not UTF-8",
        })
    }
}
