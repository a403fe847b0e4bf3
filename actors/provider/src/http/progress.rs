//! What is known of an answer so far. All that a wire has to say goes through it.
//!
//! Invariant: text is told as it comes and behind the stop guard; tool calls, usage and the finish are told once, at the
//! end, in this order. Nothing is taken in after the end was told, or after a stop sequence.

use greenroom_protocol::{FinishReason, Usage};

use super::fold::Fault;
use super::stop_guard::StopGuard;
use crate::event::ProviderEvent;
use crate::wires::tool_calls::{CallPiece, Calls};

/// One answer, as far as it has come.
#[derive(Debug)]
pub(crate) struct Progress {
    calls: Calls,
    guard: Option<StopGuard>,
    usage: Option<Usage>,
    finish: Option<FinishReason>,
    model_told: bool,
    had_text: bool,
    had_reasoning: bool,
    characters: usize,
    prompt_characters: usize,
    /// The end marker came, or a stop sequence.
    over: bool,
    /// Over because of a stop sequence found here: the provider is still talking.
    cut: bool,
    /// The end was told.
    complete: bool,
}

impl Progress {
    /// An answer whose `stops` are enforced here; `prompt_characters` serves the estimate when no usage is reported.
    pub(crate) fn new(stops: Vec<String>, prompt_characters: usize) -> Self {
        Self {
            calls: Calls::default(),
            guard: StopGuard::new(stops),
            usage: None,
            finish: None,
            model_told: false,
            had_text: false,
            had_reasoning: false,
            characters: 0,
            prompt_characters,
            over: false,
            cut: false,
            complete: false,
        }
    }

    /// The provider's own name for the model; the first one counts.
    pub(crate) fn model(&mut self, name: &str, out: &mut Vec<ProviderEvent>) {
        if !self.model_told && !self.is_closed() && !name.is_empty() {
            self.model_told = true;
            out.push(ProviderEvent::Metadata { upstream_model: name.to_owned() });
        }
    }

    /// A piece of the answer's text. A stop sequence in it ends the answer.
    pub(crate) fn text(&mut self, piece: String, out: &mut Vec<ProviderEvent>) {
        if self.is_closed() {
            return;
        }
        let (text, stopped) = match &mut self.guard {
            None => (piece, false),
            Some(guard) => {
                let passed = guard.pass(piece);
                (passed.text, passed.stopped)
            }
        };
        self.push_text(text, out);
        if stopped {
            self.finish = Some(FinishReason::Stop);
            self.cut = true;
            self.over = true;
        }
    }

    /// A piece of the model's thinking.
    pub(crate) fn reasoning(&mut self, piece: String, out: &mut Vec<ProviderEvent>) {
        if !self.is_closed() && !piece.is_empty() {
            self.had_reasoning = true;
            self.characters += piece.chars().count();
            out.push(ProviderEvent::Reasoning(piece));
        }
    }

    /// A tool call or a fragment of one.
    pub(crate) fn call(&mut self, piece: CallPiece) -> Result<(), Fault> {
        if self.is_closed() {
            return Ok(());
        }
        self.calls.add(piece).map_err(|_| Fault::Broken("too many tool calls"))
    }

    /// Token counts; the newest ones count.
    pub(crate) fn report_usage(&mut self, usage: Usage) {
        if !self.complete {
            self.usage = Some(usage);
        }
    }

    /// Why the answer is over, as the provider says. Usage may still follow.
    pub(crate) fn finish(&mut self, reason: FinishReason) {
        if !self.is_closed() {
            self.finish = Some(reason);
        }
    }

    /// The provider's end marker: nothing after it counts.
    pub(crate) fn end(&mut self) {
        self.over = true;
    }

    /// Whether the answer is over, so that the rest of an event need not be looked at.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the answer was ended here while the provider was still talking.
    pub(crate) fn was_cut(&self) -> bool {
        self.cut
    }

    /// Whether a finish reason came.
    pub(crate) fn is_finishing(&self) -> bool {
        self.finish.is_some()
    }

    /// Whether any text was passed on.
    pub(crate) fn had_text(&self) -> bool {
        self.had_text
    }

    /// Whether any text came, be it held back still.
    pub(crate) fn has_text(&self) -> bool {
        self.had_text || self.guard.as_ref().is_some_and(StopGuard::is_holding)
    }

    /// Whether any reasoning came.
    pub(crate) fn has_reasoning(&self) -> bool {
        self.had_reasoning
    }

    /// Whether any tool call came.
    pub(crate) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Whether the end was told.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Token counts so far: the provider's newest, else an estimate.
    pub(crate) fn usage(&self) -> Usage {
        let characters = self.characters + self.calls.characters();
        self.usage.unwrap_or_else(|| Usage::estimate(self.prompt_characters, characters))
    }

    /// Whether nothing more is taken in.
    fn is_closed(&self) -> bool {
        self.cut || self.complete
    }

    /// Tells the end.
    pub(super) fn complete(&mut self, out: &mut Vec<ProviderEvent>) {
        self.over = true;
        self.complete = true;
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

    fn push_text(&mut self, text: String, out: &mut Vec<ProviderEvent>) {
        if !text.is_empty() {
            self.had_text = true;
            self.characters += text.chars().count();
            out.push(ProviderEvent::Text(text));
        }
    }
}
