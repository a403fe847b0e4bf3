//! A stable handle to an actor.
//!
//! ractor's mailboxes are unbounded and silent and its references die with an incarnation. An [`Address`] outlives
//! restarts (the supervisor seats each new incarnation in it), wraps each message in a [`Told`] that is counted until
//! it is opened, and ends each question in one of four ways.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use ractor::rpc::CallResult;
use ractor::{ActorRef, Message, RpcReplyPort};

use crate::board::Card;

/// A handler that runs longer than this is reported: handlers do no long work.
const SLOW_HANDLER: Duration = Duration::from_millis(100);

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No answer in time; the actor may still do the work.
    #[error("no answer in time")]
    TimedOut,
    /// The actor stopped, crashed or shed the question.
    #[error("the question was dropped")]
    Dropped,
    /// Nobody is there at the moment.
    #[error("the actor is not running")]
    Gone,
}

/// A message on its way, counted in the receiver's mailbox until it is opened or dropped.
#[derive(Debug)]
pub struct Told<M> {
    content: Content<M>,
    ticket: Ticket,
}

#[derive(Debug)]
enum Content<M> {
    Message(M),
    Poison,
}

#[derive(Debug)]
struct Ticket(Arc<Card>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.message_taken();
    }
}

/// Held by a handler while it works on a message.
#[derive(Debug)]
pub struct Work {
    card: Arc<Card>,
    began: Instant,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.card.message_handled();
        let took = self.began.elapsed();
        if took > SLOW_HANDLER {
            tracing::warn!(actor = self.card.name(), ms = took.as_millis(), "slow handler");
        }
    }
}

impl<M> Told<M> {
    /// Opens the message. Keep the second value until the handler returns: it times the work.
    ///
    /// # Panics
    /// On a message sent with [`Address::crash`], which is what that is for.
    #[expect(clippy::panic, reason = "a poisoned message crashes its actor on purpose, to test supervision")]
    pub fn open(self) -> (M, Work) {
        let work = Work { card: self.ticket.0.clone(), began: Instant::now() };
        match self.content {
            Content::Message(message) => (message, work),
            Content::Poison => panic!("crashed on purpose"),
        }
    }
}

/// A cheap, cloneable handle to an actor that survives its restarts.
pub struct Address<M: Send + 'static> {
    seat: Arc<ArcSwapOption<ActorRef<Told<M>>>>,
    card: Arc<Card>,
}

impl<M: Send + 'static> std::fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Address").field(&self.card.name()).finish()
    }
}

impl<M: Send + 'static> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { seat: self.seat.clone(), card: self.card.clone() }
    }
}

impl<M: Send + 'static> Address<M>
where
    Told<M>: Message,
{
    /// An address at which nobody sits yet.
    #[must_use]
    pub fn vacant(card: Arc<Card>) -> Self {
        Self { seat: Arc::new(ArcSwapOption::empty()), card }
    }

    /// Seats an incarnation; messages go to it from now on.
    pub fn seat(&self, actor: ActorRef<Told<M>>) {
        self.seat.store(Some(Arc::new(actor)));
    }

    /// The health card behind the address.
    #[must_use]
    pub fn card(&self) -> &Arc<Card> {
        &self.card
    }

    fn wrap(&self, content: Content<M>) -> Told<M> {
        self.card.message_waits();
        Told { content, ticket: Ticket(self.card.clone()) }
    }

    /// A message ready to be sent to this address later, for timers.
    pub fn told(&self, message: M) -> Told<M> {
        self.wrap(Content::Message(message))
    }

    /// Sends without waiting for an answer.
    ///
    /// # Errors
    /// [`AskError::Gone`] when nobody is there; the message is dropped.
    pub fn tell(&self, message: M) -> Result<(), AskError> {
        self.send(Content::Message(message))
    }

    fn send(&self, content: Content<M>) -> Result<(), AskError> {
        let actor = self.seat.load_full().ok_or(AskError::Gone)?;
        actor.cast(self.wrap(content)).map_err(|_| AskError::Gone)
    }

    /// Asks and waits at most `limit`.
    ///
    /// # Errors
    /// [`AskError`]; after [`AskError::TimedOut`] the actor may still do the work.
    pub async fn ask<T: Send + 'static>(
        &self,
        limit: Duration,
        make: impl FnOnce(RpcReplyPort<T>) -> M + Send,
    ) -> Result<T, AskError> {
        let actor = self.seat.load_full().ok_or(AskError::Gone)?;
        match actor.call(|port| self.wrap(Content::Message(make(port))), Some(limit)).await {
            Ok(CallResult::Success(answer)) => Ok(answer),
            Ok(CallResult::Timeout) => Err(AskError::TimedOut),
            Ok(CallResult::SenderError) => Err(AskError::Dropped),
            Err(_) => Err(AskError::Gone),
        }
    }

    /// Makes the actor panic at its next message: the fault that supervision is tested with. Not reachable from any
    /// route or command.
    ///
    /// # Errors
    /// [`AskError::Gone`] when nobody is there.
    #[doc(hidden)]
    pub fn crash(&self) -> Result<(), AskError> {
        self.send(Content::Poison)
    }

    /// Asks the incarnation to stop after its present message.
    pub fn stop(&self, reason: &str) {
        if let Some(actor) = self.seat.load_full() {
            actor.stop(Some(reason.to_owned()));
        }
    }

    /// The actor itself, for linking and waiting.
    #[must_use]
    pub fn actor(&self) -> Option<Arc<ActorRef<Told<M>>>> {
        self.seat.load_full()
    }
}
