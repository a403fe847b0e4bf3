//! Folding a provider's answer into events, whatever way its bytes are cut.
//!
//! Pure: bytes in, events out. The answer is complete when its end marker came, or when it ended after a finish reason;
//! anything else is broken. Tool calls, usage and the finish are told once, at the end, in this order.

use greenroom_protocol::sse::{SseDecoder, SseError, SseEvent};
use greenroom_protocol::{FinishReason, Usage};
use serde_json::Value;

use super::chunk::{Chunk, Finish};
use super::stop_guard::StopGuard;
use super::tool_calls::Calls;
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

/// Reads one answer.
#[derive(Debug)]
pub(crate) struct Fold {
    decoder: SseDecoder,
    answer: Answer,
}

/// What is known of the answer so far.
#[derive(Debug)]
struct Answer {
    calls: Calls,
    guard: Option<StopGuard>,
    usage: Option<Usage>,
    finish: Option<FinishReason>,
    model_told: bool,
    had_text: bool,
    characters: usize,
    prompt_characters: usize,
    over: bool,
    /// Over because of a stop sequence found here: the provider is still talking.
    cut: bool,
}

impl Fold {
    /// A reader that enforces `stops` itself; `prompt_characters` serves the estimate when no usage is reported.
    pub(crate) fn new(stops: Vec<String>, prompt_characters: usize) -> Self {
        Self {
            decoder: SseDecoder::new(EVENT_CAP),
            answer: Answer {
                calls: Calls::default(),
                guard: StopGuard::new(stops),
                usage: None,
                finish: None,
                model_told: false,
                had_text: false,
                characters: 0,
                prompt_characters,
                over: false,
                cut: false,
            },
        }
    }

    /// Whether the answer is complete; further bytes are ignored.
    pub(crate) fn is_over(&self) -> bool {
        self.answer.over
    }

    /// Whether the answer was ended here while the provider was still talking.
    pub(crate) fn was_cut(&self) -> bool {
        self.answer.cut
    }

    /// Whether the finish reason came, so that only usage and the end marker can follow.
    pub(crate) fn is_finishing(&self) -> bool {
        self.answer.finish.is_some()
    }

    /// Whether any text was passed on.
    pub(crate) fn had_text(&self) -> bool {
        self.answer.had_text
    }

    /// Token counts so far: the provider's newest, else an estimate.
    pub(crate) fn usage(&self) -> Usage {
        self.answer.usage()
    }

    /// Feeds bytes of an event stream. Events found before a fault are in `out` all the same.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        if self.answer.over {
            return Ok(());
        }
        let (answer, mut fault) = (&mut self.answer, None);
        let fed = self.decoder.feed(bytes, |event| {
            if fault.is_none() {
                fault = answer.event(&event, out).err();
            }
        });
        match (fault, fed) {
            (Some(fault), _) => Err(fault),
            (None, Err(_)) if self.answer.over => Ok(()),
            (None, fed) => fed.map_err(broken),
        }
    }

    /// The stream ended, cleanly or not.
    pub(crate) fn end(&mut self, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        if !self.answer.over {
            let (answer, mut fault) = (&mut self.answer, None);
            let finished = self.decoder.finish(|event| {
                if fault.is_none() {
                    fault = answer.event(&event, out).err();
                }
            });
            if self.answer.over {
                return Ok(());
            }
            // what follows the finish reason is only usage: its loss does not break the answer
            if self.answer.finish.is_none() {
                if let Some(fault) = fault {
                    return Err(fault);
                }
                finished.map_err(broken)?;
                return Err(Fault::Broken("the stream ended before the answer did"));
            }
            self.answer.complete(out);
        }
        Ok(())
    }

    /// The answer is taken as complete because nothing more came after its finish reason.
    pub(crate) fn settle(&mut self, out: &mut Vec<ProviderEvent>) {
        if !self.answer.over {
            self.answer.complete(out);
        }
    }

    /// A whole answer that came as one JSON object instead of a stream.
    pub(crate) fn whole(&mut self, body: &str, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        let body = body.trim_start_matches('\u{feff}');
        match Chunk::read(body) {
            Err(_) => Err(Fault::Broken("the answer is neither an event stream nor JSON")),
            Ok(None) => Err(Fault::Broken("the answer is not a completion")),
            Ok(Some(chunk)) => {
                let says_something = chunk.whole || chunk.text.is_some() || chunk.finish.is_some();
                self.answer.chunk(chunk, out)?;
                if !self.answer.over {
                    if !says_something {
                        return Err(Fault::Broken("the answer is not a completion"));
                    }
                    self.answer.complete(out);
                }
                Ok(())
            }
        }
    }
}

fn broken(error: SseError) -> Fault {
    Fault::Broken(match error {
        SseError::TooLarge(_) => "an event is too large",
        SseError::NotUtf8 => "the stream is not UTF-8",
    })
}

impl Answer {
    fn event(&mut self, event: &SseEvent, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        if self.over {
            return Ok(());
        }
        let data = event.data.trim();
        if data == "[DONE]" {
            self.complete(out);
            return Ok(());
        }
        let chunk = match Chunk::read(data) {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(()),
            // plain words are some gateway's sign of life; half an object is lost text
            Err(_) if data.starts_with(['{', '[']) => return Err(Fault::Broken("an event is not JSON")),
            Err(_) if event.event == "error" => return Err(Fault::Upstream(Value::from(data))),
            Err(_) => return Ok(()),
        };
        if event.event == "error" && chunk.error.is_none() {
            return Err(Fault::Upstream(serde_json::from_str(data).unwrap_or(Value::Null)));
        }
        self.chunk(chunk, out)
    }

    fn chunk(&mut self, chunk: Chunk, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        if let Some(error) = chunk.error {
            return Err(Fault::Upstream(error));
        }
        self.usage = chunk.usage.or(self.usage);
        if let Some(upstream_model) = chunk.model.filter(|_| !self.model_told) {
            self.model_told = true;
            out.push(ProviderEvent::Metadata { upstream_model });
        }
        // some servers end a stream with the whole message once more
        let text_told = chunk.whole && self.characters > 0;
        let calls_told = chunk.whole && !self.calls.is_empty();
        if let Some(reasoning) = chunk.reasoning.filter(|_| !text_told) {
            self.characters += reasoning.chars().count();
            out.push(ProviderEvent::Reasoning(reasoning));
        }
        if let Some(text) = chunk.text.filter(|_| !text_told)
            && self.text(text, out)
        {
            self.finish = Some(FinishReason::Stop);
            self.cut = true;
            self.complete(out);
            return Ok(());
        }
        if !calls_told {
            for piece in chunk.calls {
                self.calls.add(piece).map_err(|_| Fault::Broken("too many tool calls"))?;
            }
        }
        self.finish_with(chunk.finish)
    }

    fn finish_with(&mut self, finish: Option<Finish>) -> Result<(), Fault> {
        match finish {
            Some(Finish::Failed) => Err(Fault::Upstream(Value::from("the provider failed"))),
            Some(Finish::Reason(reason)) => {
                self.finish = Some(reason);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Passes text on; true when a stop sequence was found.
    fn text(&mut self, piece: String, out: &mut Vec<ProviderEvent>) -> bool {
        let (text, stopped) = match &mut self.guard {
            None => (piece, false),
            Some(guard) => {
                let passed = guard.pass(piece);
                (passed.text, passed.stopped)
            }
        };
        self.push_text(text, out);
        stopped
    }

    fn push_text(&mut self, text: String, out: &mut Vec<ProviderEvent>) {
        if !text.is_empty() {
            self.had_text = true;
            self.characters += text.chars().count();
            out.push(ProviderEvent::Text(text));
        }
    }

    fn usage(&self) -> Usage {
        let characters = self.characters + self.calls.characters();
        self.usage.unwrap_or_else(|| Usage::estimate(self.prompt_characters, characters))
    }

    fn complete(&mut self, out: &mut Vec<ProviderEvent>) {
        self.over = true;
        if let Some(mut guard) = self.guard.take() {
            self.push_text(guard.rest(), out);
        }
        let usage = self.usage();
        self.usage = Some(usage);
        let calls = self.calls.take();
        let mut reason = self.finish.unwrap_or(FinishReason::Stop);
        match (reason, calls.is_empty()) {
            (FinishReason::Stop, false) => reason = FinishReason::ToolCalls,
            (FinishReason::ToolCalls, true) => reason = FinishReason::Stop,
            _ => {}
        }
        if !calls.is_empty() {
            out.push(ProviderEvent::ToolCalls(calls));
        }
        out.push(ProviderEvent::Usage(usage));
        out.push(ProviderEvent::Finished(reason));
    }
}
