//! One pass: the model is asked once, and what it says goes into the log piece by piece as it arrives.
//!
//! Text is shown as soon as it cannot be a call; calls, thoughts and leaked protocol never are. What a pass cost is counted
//! when its stream is let go, however that comes about.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use greenroom_dialect::{Malformed, Splitter, ToolFormat};
use greenroom_protocol::event::TurnMetadata;
use greenroom_protocol::{ErrorClass, FinishReason, ToolCall, TurnEvent};
use greenroom_provider::{CompletionRequest, Engine, ProviderError, ProviderEvent, ProviderStream};
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, TurnFailure};
use crate::journal::JournalOp;
use crate::turn::TurnShared;
use crate::voice::EmoteFilter;

/// Largest answer, in bytes; a model that does not stop is stopped.
pub(crate) const LONGEST_ANSWER: usize = 8 * 1024 * 1024;
/// Most events that are passed on together.
const MOST_AT_ONCE: usize = 256;
/// How often the answer so far is written to the turn's row.
pub(crate) const FLUSH_INTERVAL: Duration = Duration::from_secs(5);
/// Stands between the texts of two passes.
const BETWEEN_PASSES: &str = "\n\n";
/// Put before a call that the output limit cut off, so that nothing repairs and runs it.
const CUT_OFF: &str = "(cut off) ";

/// How an answer is to be listened to.
pub(crate) struct Hearing<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) format: ToolFormat,
    /// Tools that a call may name.
    pub(crate) names: &'a Arc<[String]>,
    /// Keep the text back instead of showing it.
    pub(crate) hold: bool,
}

/// What the model said in a pass.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its text, if it was kept back or stands before calls.
    pub(crate) text: String,
    /// What it thought before its calls.
    pub(crate) thought: String,
    /// Its calls, in order; ids as the provider gave them, or blank.
    pub(crate) calls: Vec<ToolCall>,
    /// It tried to call something and failed.
    pub(crate) malformed: Option<Malformed>,
    pub(crate) finish: FinishReason,
}

/// Why a pass failed.
#[derive(Debug)]
pub(crate) enum PassFailure {
    /// The provider; `shown` when something of the pass was on the wire already.
    Provider { error: ProviderError, shown: bool },
    /// We stopped it.
    Stopped(TurnFailure),
}

/// Asks. `snapshot` renders the prompt for the turn log while the answer is under way.
pub(crate) async fn ask(
    shared: &TurnShared,
    engine: &Engine,
    request: CompletionRequest,
    snapshot: impl FnOnce() -> String,
    cancel: &CancellationToken,
) -> Result<ProviderStream, ProviderError> {
    if !engine.is_loaded() {
        shared.warn(&format!("model_loading: '{}' is loading", engine.alias()));
    }
    // Boxed, so that what asking needed is not kept for the life of the stream.
    let asking = Box::pin(async {
        tokio::join!(engine.stream(request, cancel.clone()), async {
            shared.record(JournalOp::Snapshot(snapshot().into()));
        })
        .0
    });
    asking.await
}

/// Passes an answer on to its end.
pub(crate) async fn listen(
    relay: &mut Relay<'_>,
    stream: ProviderStream,
    hearing: Hearing<'_>,
    answer: &mut Answer,
) -> Result<Said, PassFailure> {
    let shared = relay.shared;
    let Hearing { engine, format, names, hold } = hearing;
    let mut open = Open { stream, engine, answer };
    let before = open.answer.text.len();
    relay.begin(format, names.clone(), hold, before > 0);
    let (mut finish, mut native, mut received) = (FinishReason::Stop, Vec::new(), 0);
    let mut complete = false;
    while !complete && let Some(batch) = open.stream.next().await {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => return Err(broke_off(relay, &mut open, error, before)),
        };
        let (batch, broken) = gather(&mut open.stream, batch).await;
        let mut events = Vec::new();
        for event in batch {
            match event {
                ProviderEvent::Text(piece) => {
                    received += piece.len();
                    complete |= relay.text(piece, open.answer, &mut events);
                    if complete {
                        break;
                    }
                }
                // Thinking is never shown; what it cost stands in the usage.
                ProviderEvent::Reasoning(_) | ProviderEvent::Usage(_) => {}
                ProviderEvent::ToolCalls(calls) => native = calls,
                ProviderEvent::Metadata { upstream_model } => {
                    if open.answer.upstream_model.as_ref() != Some(&upstream_model) {
                        events.push(TurnEvent::Metadata(Box::new(TurnMetadata {
                            upstream_model: Some(upstream_model.clone()),
                            context_window: Some(engine.context_window()),
                            ..shared.metadata()
                        })));
                        open.answer.upstream_model = Some(upstream_model);
                    }
                }
                ProviderEvent::Finished(reason) => finish = reason,
            }
        }
        if !events.is_empty() {
            relay.pass(events, open.answer);
        }
        if let Some(error) = broken.filter(|_| !complete) {
            return Err(broke_off(relay, &mut open, error, before));
        }
        if received > LONGEST_ANSWER || open.answer.text.len() > LONGEST_ANSWER {
            let message = "the model's answer is larger than 8 MiB";
            return Err(PassFailure::Stopped(TurnFailure::new(ErrorClass::ProviderRefused, message)));
        }
    }
    let told = relay.end(open.answer);
    open.answer.ended_at = Some(Instant::now());
    let cut = finish == FinishReason::Length;
    let mut malformed = told.malformed;
    let calls: Vec<ToolCall> = if native.is_empty() {
        let textual = told.calls.into_iter();
        let (whole, torn): (Vec<_>, Vec<_>) = textual.partition(|call| call.closed || !cut);
        if let Some(call) = torn.into_iter().next() {
            let problem = "the call was cut off by the output limit; write a shorter one".to_owned();
            malformed.get_or_insert(Malformed { problem, raw: call.raw });
        }
        let call = |name, arguments: String| ToolCall { id: String::new(), name, arguments };
        whole.into_iter().map(|it| call(it.name, it.arguments.to_string())).collect()
    } else {
        native.into_iter().map(|call| if cut { never_repaired(call) } else { call }).collect()
    };
    let text = match hold {
        true => told.held,
        // Only what goes on needs its words again.
        false if calls.is_empty() => String::new(),
        false => open.answer.text[before..].to_owned(),
    };
    Ok(Said { text, thought: told.thought, calls, malformed, finish })
}

/// The stream broke. What was held back of the text is shown, unless somebody else will answer instead.
fn broke_off(relay: &mut Relay<'_>, open: &mut Open<'_>, error: ProviderError, before: usize) -> PassFailure {
    if open.answer.text.len() > before || !error.may_fall_back() {
        relay.end(open.answer);
    }
    PassFailure::Provider { error, shown: open.answer.text.len() > before }
}

/// A call behind which the output limit was reached runs only if its arguments are whole.
fn never_repaired(mut call: ToolCall) -> ToolCall {
    if serde_json::from_str::<serde::de::IgnoredAny>(&call.arguments).is_err() {
        call.arguments.insert_str(0, CUT_OFF);
    }
    call
}

/// A stream under way. However it ends, what it cost is counted then.
struct Open<'a> {
    stream: ProviderStream,
    engine: &'a Engine,
    answer: &'a mut Answer,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.answer.spend(self.engine, self.stream.usage_so_far());
    }
}

/// Adds what the provider has ready to a batch, without waiting for more: pieces that arrived together go into the log,
/// wake its viewers and leave in one write together. They stay separate pieces. An error that follows them is given
/// beside them, so that they are not lost with it.
async fn gather(
    stream: &mut ProviderStream,
    mut batch: Vec<ProviderEvent>,
) -> (Vec<ProviderEvent>, Option<ProviderError>) {
    while batch.len() < MOST_AT_ONCE {
        // The connection's task hands over one chunk at a time; this lets it hand over the next.
        tokio::task::yield_now().await;
        match stream.next().now_or_never() {
            Some(Some(Ok(more))) => batch.extend(more),
            Some(Some(Err(error))) => return (batch, Some(error)),
            Some(None) | None => break,
        }
    }
    (batch, None)
}

/// Passes pieces from the model to the log, over all passes of a turn.
pub(crate) struct Relay<'a> {
    pub(crate) shared: &'a Arc<TurnShared>,
    splitter: Option<Splitter>,
    filter: Option<EmoteFilter>,
    held: Option<String>,
    gap_due: bool,
    last_piece: Option<Instant>,
    last_flush: Instant,
}

/// What the splitter made of a pass beside its text.
struct Told {
    held: String,
    thought: String,
    calls: Vec<greenroom_dialect::TextCall>,
    malformed: Option<Malformed>,
}

impl<'a> Relay<'a> {
    pub(crate) fn new(shared: &'a Arc<TurnShared>) -> Self {
        let plan = &shared.plan;
        let filter = plan.persona.voice_optimized.then(|| EmoteFilter::new(plan.tts_mode));
        Self {
            shared,
            splitter: None,
            filter,
            held: None,
            gap_due: false,
            last_piece: None,
            last_flush: Instant::now(),
        }
    }

    /// Another pass begins; `behind_text` when something was shown before.
    fn begin(&mut self, format: ToolFormat, names: Arc<[String]>, hold: bool, behind_text: bool) {
        self.splitter = Some(Splitter::new(format, names));
        self.held = hold.then(String::new);
        self.gap_due = behind_text;
        // What tools took between two passes is no gap between tokens.
        self.last_piece = None;
    }

    /// Takes a piece; true when the pass needs to say no more.
    fn text(&mut self, piece: String, answer: &mut Answer, events: &mut Vec<TurnEvent>) -> bool {
        // PostgreSQL's text has no NUL; nothing readable is lost with it.
        let piece = if piece.contains('\0') { piece.replace('\0', "\u{fffd}") } else { piece };
        let Some(splitter) = &mut self.splitter else { return true };
        let step = splitter.push(piece);
        self.say(step.prose, answer, events);
        step.call_complete
    }

    fn say(&mut self, prose: String, answer: &mut Answer, events: &mut Vec<TurnEvent>) {
        if prose.is_empty() {
            return;
        }
        if let Some(held) = &mut self.held {
            held.push_str(&prose);
            return;
        }
        if std::mem::take(&mut self.gap_due) {
            self.show(BETWEEN_PASSES.to_owned(), answer, events);
        }
        self.show(prose, answer, events);
    }

    fn show(&mut self, prose: String, answer: &mut Answer, events: &mut Vec<TurnEvent>) {
        answer.text.push_str(&prose);
        let wire = match &mut self.filter {
            Some(filter) => filter.push(&prose),
            None => prose,
        };
        if !wire.is_empty() {
            events.push(TurnEvent::Text(wire.into()));
        }
    }

    fn pass(&mut self, events: Vec<TurnEvent>, answer: &mut Answer) {
        let now = Instant::now();
        match (self.last_piece, answer.asked_at) {
            (Some(last), _) => metrics::histogram!("greenroom_inter_token_seconds").record(now - last),
            (None, Some(asked)) if answer.first_piece_at.is_none() => {
                metrics::histogram!("greenroom_time_to_first_token_seconds").record(now - asked);
                answer.first_piece_at = Some(now);
            }
            (None, _) => {}
        }
        self.last_piece = Some(now);
        self.shared.append(events);
        if now - self.last_flush >= self.shared.flush_interval {
            self.last_flush = now;
            self.shared.record(JournalOp::Flush(answer.text.as_str().into()));
        }
    }

    /// The pass is over: shows what was still held back of its prose, and gives the rest.
    fn end(&mut self, answer: &mut Answer) -> Told {
        let mut events = Vec::new();
        let parsed = self.splitter.take().map(Splitter::finish);
        let mut told = Told { held: String::new(), thought: String::new(), calls: Vec::new(), malformed: None };
        if let Some(parsed) = parsed {
            self.say(parsed.prose_rest, answer, &mut events);
            told = Told { thought: parsed.thought, calls: parsed.calls, malformed: parsed.malformed, ..told };
        }
        told.held = self.held.take().unwrap_or_default();
        self.flush_wire(&mut events);
        if !events.is_empty() {
            self.pass(events, answer);
        }
        told
    }

    /// Shows a text that was kept back.
    pub(crate) fn release(&mut self, text: String, answer: &mut Answer) {
        let mut events = Vec::new();
        self.gap_due = !answer.text.is_empty();
        self.say(text, answer, &mut events);
        self.flush_wire(&mut events);
        if !events.is_empty() {
            self.pass(events, answer);
        }
    }

    /// What the emote filter still holds is no stage direction any more.
    fn flush_wire(&mut self, events: &mut Vec<TurnEvent>) {
        if let Some(rest) = self.filter.as_mut().map(EmoteFilter::finish).filter(|rest| !rest.is_empty()) {
            events.push(TurnEvent::Text(rest.into()));
        }
    }
}

/// A provider's error as a client may see it.
pub(crate) fn failure(error: &ProviderError) -> TurnFailure {
    TurnFailure::new(error.class(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_cut_off_is_not_repaired() {
        let call = |arguments: &str| ToolCall { id: "a".into(), name: "f".into(), arguments: arguments.into() };
        assert_eq!(never_repaired(call(r#"{"a":1}"#)), call(r#"{"a":1}"#));
        assert!(never_repaired(call(r#"{"a":"x"#)).arguments.starts_with(CUT_OFF));
    }
}
