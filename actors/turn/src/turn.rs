//! One actor per turn. It owns everything of the turn: cancellation, the call to the model, the log, its end.
//!
//! Every turn that begins ends in exactly one terminal status, stored before it is announced. If this actor dies, the
//! guard in its state ends the turn as an error; it is never restarted.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use greenroom_kit::{Address, Told};
use greenroom_prompts::definition;
use greenroom_protocol::event::{TurnMetadata, Warning};
use greenroom_protocol::{ErrorClass, TurnEvent, TurnHeader, TurnId, UserId};
use jiff::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::answer::{Answer, EndWish, TurnEnd, TurnFailure};
use crate::journal::{JournalOp, JournalQueue};
use crate::log::{TurnLog, Viewer};
use crate::pipeline::{epoch, run};
use crate::plan::TurnPlan;
use crate::single::Stop;
use crate::stage::StageClock;
use crate::turns::TurnsShared;

/// What the parts of one turn share.
pub(crate) struct TurnShared {
    pub(crate) plan: TurnPlan,
    pub(crate) log: Arc<TurnLog>,
    pub(crate) queue: Arc<JournalQueue>,
    pub(crate) started_at: Timestamp,
    pub(crate) flush_interval: Duration,
    pub(crate) wish: OnceLock<EndWish>,
    pub(crate) room: Arc<TurnsShared>,
}

impl TurnShared {
    /// Gives the journal something to write.
    pub(crate) fn record(&self, op: JournalOp) {
        self.log.push_op(op);
        self.queue.note(&self.log);
    }

    /// Appends events to the log.
    pub(crate) fn append(&self, events: Vec<TurnEvent>) {
        self.log.append(events);
        self.queue.note(&self.log);
    }

    /// Tells the user something beside the answer.
    pub(crate) fn warn(&self, text: &str) {
        let warning = Warning { warnings: vec![text.to_owned()], code: None };
        self.append(vec![TurnEvent::Warning(Box::new(warning))]);
    }

    /// A prompt text of the service, as edited for the bot; the built-in one when edits cannot be read.
    pub(crate) async fn template(&self, key: &str, variables: &[(&str, &str)]) -> String {
        match self.room.rooms.prompts.render(key, Some(&self.plan.persona.slug), variables).await {
            Ok(rendered) => rendered.text,
            Err(error) => {
                tracing::warn!(%error, key, "a prompt text could not be read, using the built-in one");
                definition(key).map_or_else(String::new, |built_in| built_in.body.trim().to_owned())
            }
        }
    }

    /// The turn's metadata event as it is known from the plan.
    pub(crate) fn metadata(&self) -> TurnMetadata {
        TurnMetadata {
            request_id: self.plan.request_id.to_string(),
            path: self.plan.path.clone(),
            agent_backend: self.plan.persona.agent_backend.clone(),
            tts_mode: self.plan.tts_mode,
            augment_memory: self.plan.augment_memory,
            context_window: Some(self.plan.engine.context_window()),
            upstream_model: None,
            started_at: epoch(self.started_at),
            ts: epoch(Timestamp::now()),
        }
    }
}

/// Handle to a turn, live or finished.
#[derive(Clone)]
pub struct TurnRef {
    log: Arc<TurnLog>,
    reins: Reins,
}

/// How a turn is told to end.
#[derive(Clone)]
enum Reins {
    /// Its actor is asked.
    Actor(Address<TurnMsg>),
    /// It is a single call.
    Single(Arc<Stop>),
    /// It has ended.
    Loose,
}

impl std::fmt::Debug for TurnRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TurnRef").field(self.id()).finish()
    }
}

impl TurnRef {
    pub(crate) fn live(log: Arc<TurnLog>, address: Address<TurnMsg>) -> Self {
        Self { log, reins: Reins::Actor(address) }
    }

    pub(crate) fn single(log: Arc<TurnLog>, stop: Arc<Stop>) -> Self {
        Self { log, reins: Reins::Single(stop) }
    }

    pub(crate) fn finished(log: Arc<TurnLog>) -> Self {
        Self { log, reins: Reins::Loose }
    }

    /// The turn.
    #[must_use]
    pub fn id(&self) -> &TurnId {
        &self.log.header().turn_id
    }

    /// What is constant over the turn.
    #[must_use]
    pub fn header(&self) -> &Arc<TurnHeader> {
        self.log.header()
    }

    /// Who asked.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.log.header().user_id
    }

    /// Whether the end has been announced.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.log.is_over()
    }

    /// Whether generation has ended, though the end may not be stored yet.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.log.is_sealed()
    }

    /// Asks the turn to end; without effect when it has.
    pub fn end(&self, wish: EndWish) {
        match &self.reins {
            Reins::Actor(address) => {
                let _ = address.tell(TurnMsg::End(wish));
            }
            Reins::Single(stop) => stop.end(wish),
            Reins::Loose => {}
        }
    }

    /// Waits for the announced end.
    pub async fn ended(&self) {
        self.log.ended().await;
    }

    /// A viewer that starts behind event `cursor` (0 = from the beginning).
    #[must_use]
    pub fn view(&self, cursor: u64) -> Viewer {
        self.log.view(cursor)
    }

    /// The answer so far, as clients see it.
    #[must_use]
    pub fn text(&self) -> String {
        self.log.text()
    }

    pub(crate) fn log(&self) -> &Arc<TurnLog> {
        &self.log
    }

    /// Makes the turn's actor panic at its next message, to test what follows.
    #[doc(hidden)]
    pub fn crash(&self) {
        if let Reins::Actor(address) = &self.reins {
            let _ = address.crash();
        }
    }
}

/// Messages to a turn.
pub enum TurnMsg {
    /// Public, idempotent: somebody wants it to end.
    End(EndWish),
    /// Internal: the work is over, whatever the reason.
    Ended(Box<Ended>),
}

/// How the work ended.
pub struct Ended {
    end: TurnEnd,
    answer: Answer,
    timings: Option<Value>,
}

pub(crate) struct Turn;

pub(crate) struct TurnArgs {
    pub(crate) shared: Arc<TurnShared>,
    pub(crate) address: Address<TurnMsg>,
    pub(crate) cancel: CancellationToken,
}

pub(crate) struct TurnState {
    guard: EndGuard,
    cancel: CancellationToken,
    _work: AbortOnDropHandle<()>,
}

/// Ends the turn as an error if nothing else did, when the actor's state is dropped: after a panic, a kill, anything.
struct EndGuard(Arc<TurnShared>);

impl EndGuard {
    fn conclude(&self, ended: &Ended) {
        if self.0.seal(&ended.end, &ended.answer, ended.timings.clone()) {
            self.0.room.conclude(self.0.clone());
        }
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let answer = Answer { text: self.0.log.text(), ..Answer::default() };
        let end = TurnEnd::Failed(TurnFailure::new(ErrorClass::Internal, "the turn ended unexpectedly"));
        self.conclude(&Ended { end, answer, timings: None });
    }
}

impl Actor for Turn {
    type Msg = Told<TurnMsg>;
    type State = TurnState;
    type Arguments = TurnArgs;

    async fn pre_start(&self, me: ActorRef<Told<TurnMsg>>, args: TurnArgs) -> Result<TurnState, ActorProcessingErr> {
        let TurnArgs { shared, address, cancel } = args;
        address.seat(me);
        let guard = EndGuard(shared.clone());
        let work = tokio::spawn(work(shared, cancel.clone()).in_current_span());
        let work = AbortOnDropHandle::new(work);
        let watch = tokio::spawn(async move {
            // Reports even if the work panics.
            let ended = work.await.unwrap_or_else(|error| {
                tracing::error!(%error, "turn panicked");
                let failure = TurnFailure::new(ErrorClass::Internal, "the turn failed unexpectedly");
                Ended { end: TurnEnd::Failed(failure), answer: Answer::default(), timings: None }
            });
            let _ = address.tell(TurnMsg::Ended(Box::new(ended)));
        });
        Ok(TurnState { guard, cancel, _work: AbortOnDropHandle::new(watch) })
    }

    async fn handle(
        &self,
        me: ActorRef<Told<TurnMsg>>,
        told: Told<TurnMsg>,
        st: &mut TurnState,
    ) -> Result<(), ActorProcessingErr> {
        let (msg, _work) = told.open();
        match msg {
            TurnMsg::End(wish) => {
                let _ = st.guard.0.wish.set(wish);
                st.cancel.cancel(); // the work notices, then `Ended` arrives
            }
            TurnMsg::Ended(mut ended) => {
                if ended.answer.text.is_empty() {
                    ended.answer.text = st.guard.0.log.text();
                }
                st.guard.conclude(&ended);
                me.stop(Some("ended".into()));
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Told<TurnMsg>>, st: &mut TurnState) -> Result<(), ActorProcessingErr> {
        st.cancel.cancel();
        Ok(())
    }
}

/// The stages, beside the wish to end.
async fn work(shared: Arc<TurnShared>, cancel: CancellationToken) -> Ended {
    let (mut answer, mut clock) = (Answer::default(), StageClock::start());
    let end = {
        let stages = run(&shared, &mut answer, &mut clock, &cancel);
        tokio::select! { biased;
            () = cancel.cancelled() => TurnEnd::Stopped(EndWish::Abort),
            ended = stages => match ended {
                Ok(finish) => TurnEnd::Done(finish),
                Err(failure) => TurnEnd::Failed(failure),
            },
        }
    };
    let end = match (end, shared.wish.get()) {
        (TurnEnd::Stopped(_), wish) => TurnEnd::Stopped(wish.copied().unwrap_or(EndWish::Shutdown)),
        (end, _) => end,
    };
    clock.stop();
    if let TurnEnd::Failed(failure) = &end {
        tracing::warn!(turn = %shared.plan.id, stage = clock.current().name(), code = failure.class.code(), "turn failed");
    }
    Ended { end, answer, timings: Some(clock.timings()) }
}
