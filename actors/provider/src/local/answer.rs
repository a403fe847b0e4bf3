//! An answer of a local model on its way, under the clock of all local calls. It holds the loan of its model until it is
//! over; dropping it ends the computing between two tokens.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use greenroom_gguf::{Event, Finish, GgufError, Reply};
use greenroom_protocol::{FinishReason, Usage};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::loan::Loan;
use super::model::LocalModel;
use super::{LocalModels, prompt};
use crate::definition::ModelDefinition;
use crate::error::{ProviderError, Waiting};
use crate::event::{CompletionRequest, ProviderEvent};
use crate::prompt::characters;
use crate::provider::Lease;
use crate::settings::Timeouts;
use crate::stream::{Batch, BatchSource};

/// Most events in one batch.
const MOST_AT_ONCE: usize = 64;

/// One call.
pub(crate) struct LocalCall<'a> {
    pub(crate) models: &'a LocalModels,
    pub(crate) model: &'a Arc<LocalModel>,
    pub(crate) definition: &'a ModelDefinition,
    pub(crate) request: &'a CompletionRequest,
    pub(crate) timeouts: &'a Timeouts,
}

impl LocalCall<'_> {
    /// Borrows the model, asks it, and gives the answer with its first output.
    pub(crate) async fn open(&self, mut lease: Lease, cancel: CancellationToken) -> Result<LocalAnswer, ProviderError> {
        let borrowed = self.models.borrow(self.model, &self.definition.alias).await;
        let loan = borrowed.map_err(|error| reported(error, &mut lease))?;
        // It is ended by being dropped, so that the engine needs no token of its own.
        let asked = loan.engine().generate(prompt::request(self.definition, self.request), CancellationToken::new());
        let reply = asked.map_err(|error| reported(fault(error, false, &loan), &mut lease))?;
        let mut answer = LocalAnswer {
            ready: Vec::new(),
            fault: None,
            usage: None,
            prompt_characters: characters(&self.request.messages),
            characters: 0,
            held: Some(Held { reply, loan, lease, cancelled: Box::pin(cancel.cancelled_owned()), clock: self.clock() }),
        };
        match std::future::poll_fn(|context| answer.poll_batch(context)).await {
            Some(Ok(batch)) => {
                answer.ready.push(ProviderEvent::Metadata { upstream_model: self.model.name().to_owned() });
                answer.ready.extend(batch);
                Ok(answer)
            }
            Some(Err(error)) => Err(error),
            None => Err(ProviderError::Interrupted { had_output: false }),
        }
    }

    /// What was spent on waiting for others and on loading is not the answer's.
    fn clock(&self) -> Clock {
        let seconds = |wish: Option<f64>| wish.and_then(|wish| Duration::try_from_secs_f64(wish).ok());
        let (options, t, now) = (&self.definition.options, self.timeouts, Instant::now());
        let deadline = now + seconds(options.request_timeout_s).unwrap_or(t.whole);
        let first_event = now + seconds(options.first_token_timeout_s).unwrap_or(t.first_event_local);
        let silence = Box::pin(tokio::time::sleep_until(first_event.min(deadline)));
        Clock { silence, deadline, gap: t.gap_local, waiting: Waiting::FirstEvent }
    }
}

/// Tells the provider's actor what a failure says about it.
fn reported(error: ProviderError, lease: &mut Lease) -> ProviderError {
    match &error {
        // A model that cannot be loaded is left alone by the runtime; that needs no circuit.
        ProviderError::ContextTooLong | ProviderError::InvalidRequest { .. } | ProviderError::NotAvailable { .. } => {
            lease.refused(&error);
        }
        // Others are to blame for these.
        ProviderError::Busy | ProviderError::Cancelled | ProviderError::Timeout(Waiting::Room) => {}
        _ => lease.failed(error.to_string()),
    }
    error
}

/// An engine's trouble in the words of this room.
fn fault(error: GgufError, had_output: bool, loan: &Loan) -> ProviderError {
    match error {
        GgufError::ContextTooLong { .. } => return ProviderError::ContextTooLong,
        GgufError::Template(message) => return ProviderError::InvalidRequest { message, param: None },
        GgufError::Busy => return ProviderError::Busy,
        // It has failed now, or before somebody who did not wait to hear of it.
        error => loan.broke(&error.to_string()),
    }
    if had_output {
        ProviderError::Interrupted { had_output }
    } else {
        ProviderError::Unavailable("the model's engine has failed and is loaded again".into())
    }
}

/// An answer on its way.
pub(crate) struct LocalAnswer {
    /// Came while the first output was awaited.
    ready: Vec<ProviderEvent>,
    /// Comes behind what was said before it.
    fault: Option<ProviderError>,
    usage: Option<Usage>,
    prompt_characters: usize,
    characters: usize,
    /// Gone when the answer is over.
    held: Option<Held>,
}

struct Held {
    reply: Reply,
    loan: Loan,
    lease: Lease,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    clock: Clock,
}

/// The waits of one answer.
struct Clock {
    silence: Pin<Box<Sleep>>,
    deadline: Instant,
    gap: Duration,
    /// What the silence is about.
    waiting: Waiting,
}

impl Clock {
    fn heard(&mut self) {
        self.waiting = Waiting::Gap;
        self.silence.as_mut().reset(self.deadline.min(Instant::now() + self.gap));
    }

    fn expired(&self) -> Waiting {
        if Instant::now() >= self.deadline { Waiting::Whole } else { self.waiting }
    }
}

impl LocalAnswer {
    /// Takes in what the engine says; true when the answer is over.
    fn take_in(
        &mut self,
        said: Option<Result<Event, GgufError>>,
        loan: &Loan,
        batch: &mut Vec<ProviderEvent>,
    ) -> Result<bool, ProviderError> {
        let had_output = self.characters > 0;
        match said {
            Some(Ok(Event::Text(text))) => {
                self.characters += text.chars().count();
                batch.push(ProviderEvent::Text(text));
                Ok(false)
            }
            Some(Ok(Event::Finish { reason, usage })) => {
                let usage = Usage {
                    input: usage.prompt_tokens.into(),
                    cached_input: usage.reused_tokens.into(),
                    output: usage.completion_tokens.into(),
                    ..Usage::default()
                };
                self.usage = Some(usage);
                let reason = match reason {
                    Finish::Stop => FinishReason::Stop,
                    Finish::Length => FinishReason::Length,
                    // Not by us: the model was taken away, as when the process ends.
                    Finish::Cancelled => return Err(ProviderError::Interrupted { had_output }),
                };
                batch.extend([ProviderEvent::Usage(usage), ProviderEvent::Finished(reason)]);
                Ok(true)
            }
            Some(Err(error)) => Err(fault(error, had_output, loan)),
            None => Err(ProviderError::Interrupted { had_output }),
        }
    }
}

impl BatchSource for LocalAnswer {
    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Batch> {
        if !self.ready.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.ready))));
        }
        let Some(mut held) = self.held.take() else { return Poll::Ready(self.fault.take().map(Err)) };
        if held.cancelled.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(ProviderError::Cancelled)));
        }
        let (mut batch, mut taken) = (Vec::new(), Ok(false));
        while taken == Ok(false) && batch.len() < MOST_AT_ONCE {
            let Poll::Ready(said) = pin!(held.reply.next()).poll(context) else { break };
            taken = self.take_in(said, &held.loan, &mut batch);
        }
        if !batch.is_empty() && held.clock.waiting == Waiting::FirstEvent {
            held.lease.answered(None);
        }
        if taken == Ok(false) && batch.is_empty() {
            if held.clock.silence.as_mut().poll(context).is_pending() {
                self.held = Some(held);
                return Poll::Pending;
            }
            taken = Err(ProviderError::Timeout(held.clock.expired()));
        }
        match taken {
            Ok(true) => {} // the model is free again now
            Ok(false) => {
                held.clock.heard();
                self.held = Some(held);
            }
            Err(error) => self.fault = Some(reported(error, &mut held.lease)),
        }
        if batch.is_empty() { Poll::Ready(self.fault.take().map(Err)) } else { Poll::Ready(Some(Ok(batch))) }
    }

    fn usage(&self) -> Usage {
        self.usage.unwrap_or_else(|| Usage::estimate(self.prompt_characters, self.characters))
    }
}
