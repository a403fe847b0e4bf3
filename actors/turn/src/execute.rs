//! EXECUTE: the model is asked, and what it says goes into the log piece by piece as it arrives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use greenroom_protocol::event::{ClientToolCall, TurnMetadata};
use greenroom_protocol::{ErrorClass, FinishReason, TurnEvent};
use greenroom_provider::{CompletionRequest, ProviderError, ProviderEvent, ProviderStream};
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, TurnFailure};
use crate::journal::JournalOp;
use crate::pipeline::{PromptNotes, snapshot};
use crate::turn::TurnShared;
use crate::voice::EmoteFilter;

/// Largest answer, in bytes; a model that does not stop is stopped.
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;

/// Most events that are passed on together.
const MOST_AT_ONCE: usize = 256;

/// Streams one model call into the log.
pub(crate) async fn execute(
    shared: &Arc<TurnShared>,
    request: CompletionRequest,
    notes: PromptNotes,
    answer: &mut Answer,
    cancel: &CancellationToken,
) -> Result<FinishReason, TurnFailure> {
    answer.asked_at = Some(Instant::now());
    // The prompt is rendered for the turn log while the model's answer is under way.
    let kept = request.clone();
    let asking = Box::pin(async {
        tokio::join!(shared.plan.engine.stream(request, cancel.clone()), async {
            shared.record(JournalOp::Snapshot(snapshot(&kept, &notes).into()));
        })
        .0
    });
    let mut stream = asking.await.map_err(failure)?;
    drop((kept, notes));
    let mut relay = Relay::new(shared);
    let mut finish = FinishReason::Stop;
    while let Some(batch) = stream.next().await {
        let (batch, broken) = gather(&mut stream, batch.map_err(failure)?).await;
        let mut events = Vec::new();
        for event in batch {
            match event {
                ProviderEvent::Text(piece) => relay.text(&piece, answer, &mut events),
                ProviderEvent::Reasoning(_) => {}
                ProviderEvent::ToolCalls(calls) => {
                    for call in calls {
                        let index = u32::try_from(answer.tool_calls.len()).unwrap_or(u32::MAX);
                        events.push(TurnEvent::ClientToolCall(Box::new(ClientToolCall {
                            index,
                            id: call.id.clone(),
                            name: call.name.clone(),
                            arguments: call.arguments.clone(),
                        })));
                        answer.tool_calls.push(call);
                    }
                }
                ProviderEvent::Metadata { upstream_model } => {
                    if answer.upstream_model.as_ref() != Some(&upstream_model) {
                        events.push(TurnEvent::Metadata(Box::new(TurnMetadata {
                            upstream_model: Some(upstream_model.clone()),
                            ..shared.metadata()
                        })));
                        answer.upstream_model = Some(upstream_model);
                    }
                }
                ProviderEvent::Usage(usage) => answer.usage = Some(usage),
                ProviderEvent::Finished(reason) => finish = reason,
            }
        }
        if !events.is_empty() {
            relay.pass(events, answer);
        }
        if let Some(error) = broken {
            return Err(failure(error));
        }
        if answer.text.len() > LONGEST_ANSWER {
            return Err(TurnFailure::new(ErrorClass::ProviderRefused, "the model's answer is larger than 8 MiB"));
        }
    }
    relay.finish(answer);
    answer.ended_at = Some(Instant::now());
    if !answer.tool_calls.is_empty() {
        finish = FinishReason::ToolCalls;
    }
    Ok(finish)
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

/// Passes pieces from the model to the log.
struct Relay<'a> {
    shared: &'a Arc<TurnShared>,
    filter: Option<EmoteFilter>,
    last_piece: Option<Instant>,
    last_flush: Instant,
}

impl<'a> Relay<'a> {
    fn new(shared: &'a Arc<TurnShared>) -> Self {
        let plan = &shared.plan;
        let filter = plan.persona.voice_optimized.then(|| EmoteFilter::new(plan.tts_mode));
        Self { shared, filter, last_piece: None, last_flush: Instant::now() }
    }

    fn text(&mut self, piece: &str, answer: &mut Answer, events: &mut Vec<TurnEvent>) {
        if piece.is_empty() {
            return;
        }
        // PostgreSQL's text has no NUL; nothing readable is lost with it.
        let piece: std::borrow::Cow<'_, str> =
            if piece.contains('\0') { piece.replace('\0', "\u{fffd}").into() } else { piece.into() };
        answer.text.push_str(&piece);
        let wire: Box<str> = match &mut self.filter {
            Some(filter) => filter.push(&piece).into(),
            None => piece.into(),
        };
        if !wire.is_empty() {
            events.push(TurnEvent::Text(wire));
        }
    }

    fn pass(&mut self, events: Vec<TurnEvent>, answer: &mut Answer) {
        let now = Instant::now();
        match (self.last_piece, answer.asked_at) {
            (Some(last), _) => metrics::histogram!("greenroom_inter_token_seconds").record(now - last),
            (None, Some(asked)) => {
                metrics::histogram!("greenroom_time_to_first_token_seconds").record(now - asked);
                answer.first_piece_at = Some(now);
            }
            (None, None) => {}
        }
        self.last_piece = Some(now);
        self.shared.append(events);
        if now - self.last_flush >= self.shared.flush_interval {
            self.last_flush = now;
            self.shared.record(JournalOp::Flush(answer.text.as_str().into()));
        }
    }

    fn finish(&mut self, answer: &mut Answer) {
        if let Some(rest) = self.filter.as_mut().map(EmoteFilter::finish).filter(|rest| !rest.is_empty()) {
            self.pass(vec![TurnEvent::Text(rest.into())], answer);
        }
    }
}

/// How often the answer so far is written to the turn's row.
pub(crate) const FLUSH_INTERVAL: Duration = Duration::from_secs(5);

fn failure(error: ProviderError) -> TurnFailure {
    TurnFailure::new(error.class(), error.to_string())
}
