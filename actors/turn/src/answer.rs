//! What a turn has produced so far, and how it ended.

use std::time::{Duration, Instant};

use greenroom_protocol::event::TurnComplete;
use greenroom_protocol::{ErrorBody, ErrorClass, FinishReason, TokenUsage, ToolCall, TurnStatus, Usage};
use greenroom_provider::Engine;

/// Who wants the turn to end before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndWish {
    /// Somebody pressed stop.
    Abort,
    /// A newer request of the same user took over.
    Supersede,
    /// The client left and had asked for this.
    Disconnect,
    /// The service shuts down.
    Shutdown,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TurnEnd {
    /// The model finished.
    Done(FinishReason),
    /// Somebody wished it.
    Stopped(EndWish),
    /// It failed.
    Failed(TurnFailure),
}

/// A failure in terms a client may see.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct TurnFailure {
    pub(crate) class: ErrorClass,
    pub(crate) message: String,
}

impl TurnFailure {
    pub(crate) fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }

    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody::new(self.class, &self.message)
    }
}

/// What the model has said so far.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The raw text, stage directions included.
    pub(crate) text: String,
    /// Calls that were handed to the client.
    pub(crate) tool_calls: Vec<ToolCall>,
    /// What all passes cost.
    pub(crate) usage: Option<Usage>,
    /// What the last pass cost: how full the context is.
    pub(crate) last_usage: Option<Usage>,
    /// US dollars, when prices are configured.
    pub(crate) cost: Option<f64>,
    /// Passes of a model so far.
    pub(crate) passes: u32,
    /// Who answered, once somebody did.
    pub(crate) engine: Option<Engine>,
    /// The avatar animation picked for the text.
    pub(crate) animation: Option<String>,
    pub(crate) upstream_model: Option<String>,
    /// When the request left for the model.
    pub(crate) asked_at: Option<Instant>,
    pub(crate) first_piece_at: Option<Instant>,
    pub(crate) ended_at: Option<Instant>,
    /// Characters of the assembled prompt, for an estimate when the provider reports no usage.
    pub(crate) prompt_chars: usize,
}

impl Answer {
    /// A model is asked. `prompt_chars` counts the prompt's characters; the first prompt's count.
    pub(crate) fn begin_pass(&mut self, engine: &Engine, prompt_chars: impl FnOnce() -> usize) {
        if self.asked_at.is_none() {
            self.prompt_chars = prompt_chars();
            self.asked_at = Some(Instant::now());
        }
        self.passes += 1;
        self.engine = Some(engine.clone());
    }

    /// A pass cost this.
    pub(crate) fn spend(&mut self, engine: &Engine, usage: Usage) {
        self.usage = Some(self.usage.map_or(usage, |before| before.plus(usage)));
        self.last_usage = Some(usage);
        if let Some(cost) = engine.definition().cost(usage) {
            self.cost = Some(self.cost.unwrap_or(0.0) + cost);
        }
    }

    pub(crate) fn latency(&self) -> Duration {
        match (self.asked_at, self.ended_at) {
            (Some(asked), Some(ended)) => ended.saturating_duration_since(asked),
            (Some(asked), None) => asked.elapsed(),
            (None, _) => Duration::ZERO,
        }
    }

    pub(crate) fn first_piece(&self) -> Option<Duration> {
        Some(self.first_piece_at?.saturating_duration_since(self.asked_at?))
    }

    pub(crate) fn usage(&self) -> Usage {
        self.usage.unwrap_or_else(|| {
            let asked = if self.asked_at.is_some() { self.prompt_chars } else { 0 };
            Usage::estimate(asked, self.text.chars().count())
        })
    }
}

/// The status, finish reason and sentence that an end amounts to.
pub(crate) struct Verdict {
    pub(crate) status: TurnStatus,
    pub(crate) finish: FinishReason,
    pub(crate) error_text: Option<String>,
    pub(crate) error: Option<ErrorBody>,
    /// Shown as `service.warning`.
    pub(crate) warning: Option<String>,
    /// Whether stored text is whole.
    pub(crate) whole: bool,
}

/// Weighs an end against what was produced.
pub(crate) fn verdict(end: &TurnEnd, answer: &Answer) -> Verdict {
    let stopped = |status, text: &str, whole| Verdict {
        status,
        finish: FinishReason::Stop,
        error_text: Some(text.to_owned()),
        error: None,
        warning: None,
        whole,
    };
    match end {
        TurnEnd::Done(reason) if !answer.text.trim().is_empty() || !answer.tool_calls.is_empty() => Verdict {
            status: TurnStatus::Ok,
            finish: *reason,
            error_text: None,
            error: None,
            warning: None,
            whole: true,
        },
        TurnEnd::Done(reason) => Verdict {
            finish: *reason,
            warning: Some("empty_answer: the model returned nothing".into()),
            ..stopped(TurnStatus::Timeout, "the model returned nothing", true)
        },
        TurnEnd::Stopped(EndWish::Abort) => stopped(TurnStatus::Aborted, "Aborted via chat.abort", false),
        TurnEnd::Stopped(EndWish::Disconnect) => {
            stopped(TurnStatus::Aborted, "the client left and had asked to cancel", false)
        }
        TurnEnd::Stopped(EndWish::Supersede) => stopped(TurnStatus::Cancelled, "superseded by a newer request", false),
        TurnEnd::Stopped(EndWish::Shutdown) => {
            failed(&TurnFailure::new(ErrorClass::Internal, "interrupted: the service is shutting down"))
        }
        TurnEnd::Failed(failure) => failed(failure),
    }
}

fn failed(failure: &TurnFailure) -> Verdict {
    Verdict {
        status: TurnStatus::Error,
        finish: FinishReason::Error,
        error_text: Some(failure.message.clone()),
        error: Some(failure.body()),
        warning: Some(failure.message.clone()),
        whole: false,
    }
}

/// The last event of a turn.
pub(crate) fn complete(
    verdict: &Verdict,
    answer: &Answer,
    engine: &Engine,
    tool_call_count: usize,
    now: f64,
) -> TurnComplete {
    let usage = answer.usage();
    let last = answer.last_usage.unwrap_or(usage);
    TurnComplete {
        status: verdict.status,
        animation: answer.animation.clone(),
        token_usage: Some(TokenUsage {
            input_tokens: last.input.saturating_sub(last.cached_input),
            cache_read_tokens: last.cached_input,
            cache_creation_tokens: 0,
            output_tokens: usage.output,
            context_window: Some(engine.context_window()),
            max_output_tokens: Some(u64::from(engine.max_output_tokens())),
            total_cost_usd: answer.cost,
            estimated: usage.estimated,
        }),
        usage,
        latency_ms: answer.latency().as_secs_f64() * 1000.0,
        tool_call_count: u32::try_from(tool_call_count).unwrap_or(u32::MAX),
        error_text: verdict.error_text.clone(),
        ts: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        Answer { text: text.into(), ..Answer::default() }
    }

    #[test]
    fn every_end_has_one_status() {
        let done = |text| verdict(&TurnEnd::Done(FinishReason::Length), &answer(text));
        assert_eq!((done("x").status, done("x").finish), (TurnStatus::Ok, FinishReason::Length));
        assert_eq!(done(" \n").status, TurnStatus::Timeout);
        assert!(done("").warning.is_some() && done("").error.is_none());
        for (wish, status) in [
            (EndWish::Abort, TurnStatus::Aborted),
            (EndWish::Disconnect, TurnStatus::Aborted),
            (EndWish::Supersede, TurnStatus::Cancelled),
            (EndWish::Shutdown, TurnStatus::Error),
        ] {
            assert_eq!(verdict(&TurnEnd::Stopped(wish), &answer("partial")).status, status);
        }
        let failed = TurnEnd::Failed(TurnFailure::new(ErrorClass::ProviderTimeout, "too slow"));
        let verdict = verdict(&failed, &answer("partial"));
        assert_eq!((verdict.status, verdict.finish, verdict.whole), (TurnStatus::Error, FinishReason::Error, false));
        assert_eq!(verdict.error.map(|e| e.code), Some(Some("provider_timeout".into())));
    }
}
