//! The runtime: one actor that says which models are in memory. Tokens never pass through it, and reading a model and
//! taking it out of memory are jobs of their own that report back.
//!
//! What is in memory is known beside the actor, so that a crash of it touches no stream and forgets no model; only calls
//! that were waiting are told to come again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use greenroom_gguf::{Engine, GgufError, available_memory};
use greenroom_kit::{Address, Board, Card, Policy, State, Supervisor, SupervisorError, Told, child, lock};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::LocalSettings;
use super::loan::{Loan, Resident};
use super::model::{LocalModel, words};
use super::places::{Place, described, make_room, memory_for_one, ready};
use super::shelf::{self, Step};
use crate::error::{ProviderError, Waiting};

/// How long models may take to leave when the process ends.
const LAST_WAIT: Duration = Duration::from_secs(3);
/// How long the runtime may take to answer a question that needs no waiting.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// What became of a wish to take a model out of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unloading {
    /// It is not in memory, or only on its way there.
    NotLoaded,
    /// It leaves now.
    Now,
    /// It leaves when the answers that it is giving are over.
    WhenFree,
}

pub(crate) enum RuntimeMsg {
    /// Leave to use a model, which is loaded for that if need be.
    Borrow(Arc<LocalModel>, RpcReplyPort<Result<Loan, Denied>>),
    /// Take a model out of memory as soon as nobody uses it.
    Unload(Arc<LocalModel>, RpcReplyPort<Unloading>),
    /// These are all the models that may still be asked for.
    Keep(Vec<Arc<LocalModel>>),
    /// Internal: a model was read, or could not be.
    Loaded(Arc<LocalModel>, Result<Engine, GgufError>),
    /// Internal: a model has left memory.
    Left(Arc<LocalModel>),
    /// Internal: a loan ended, a call was given up, or something is due.
    Changed,
}

/// Why a model is not lent.
pub(crate) enum Denied {
    /// It cannot be loaded.
    Failed(String),
    /// Others were using the memory for too long.
    Waited,
}

/// Handle of the runtime. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LocalModels {
    shared: Arc<Shared>,
}

struct Shared {
    address: Address<RuntimeMsg>,
    settings: LocalSettings,
    /// How long reading a model may take.
    load_limit: Duration,
    board: Board,
    /// Changed by the actor alone.
    places: Mutex<Vec<Place>>,
}

impl std::fmt::Debug for LocalModels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalModels").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl LocalModels {
    /// Starts the runtime below `group`. Nothing is loaded before it is asked for.
    pub(crate) async fn start(
        group: &Supervisor,
        settings: LocalSettings,
        load_limit: Duration,
    ) -> Result<Self, SupervisorError> {
        let address = Address::vacant(group.card("local_models", "runtime"));
        let board = group.board().clone();
        let shared = Arc::new(Shared { address, settings, load_limit, board, places: Mutex::default() });
        let incarnation = shared.clone();
        let start = move || (Runtime { shared: incarnation.clone() }, ());
        group.add(child(&shared.address, Policy::WORKER, start)).await?;
        Ok(Self { shared })
    }

    /// Leave to use a model; waits for its turn and for the model.
    ///
    /// # Errors
    /// [`ProviderError::NotAvailable`] when it cannot be loaded, [`ProviderError::Timeout`] when the wait was too long.
    pub(crate) async fn borrow(&self, model: &Arc<LocalModel>, alias: &str) -> Result<Loan, ProviderError> {
        let limit = self.shared.settings.wait_limit + self.shared.load_limit;
        let _given_up = GivenUp(&self.shared.address);
        match self.shared.address.ask(limit, |reply| RuntimeMsg::Borrow(model.clone(), reply)).await {
            Ok(Ok(loan)) => Ok(loan),
            Ok(Err(Denied::Failed(reason))) => Err(ProviderError::NotAvailable { alias: alias.to_owned(), reason }),
            Ok(Err(Denied::Waited)) => Err(ProviderError::Timeout(Waiting::Room)),
            Err(greenroom_kit::AskError::TimedOut) => Err(ProviderError::Timeout(Waiting::FirstEvent)),
            Err(_) => Err(ProviderError::Unavailable("local models are being started again".into())),
        }
    }

    /// Whether a model is in memory.
    pub(crate) fn is_loaded(&self, model: &LocalModel) -> bool {
        let ready = |place: &Place| matches!(place, Place::Ready(resident) if *resident.model == *model);
        lock(&self.shared.places).iter().any(ready)
    }

    /// Takes a model out of memory as soon as nobody uses it.
    pub(crate) async fn unload(&self, model: &Arc<LocalModel>) -> Result<Unloading, ProviderError> {
        let asked = self.shared.address.ask(ASK_LIMIT, |reply| RuntimeMsg::Unload(model.clone(), reply)).await;
        asked.map_err(|_| ProviderError::Unavailable("local models are being started again".into()))
    }

    /// Makes the actor panic, to test what follows.
    pub(crate) fn crash(&self) -> bool {
        self.shared.address.crash().is_ok()
    }

    /// Says which models may still be asked for; others leave memory.
    pub(crate) fn keep(&self, models: Vec<Arc<LocalModel>>) {
        // A runtime that is just being started again hears it with the next reload.
        let _ = self.shared.address.tell(RuntimeMsg::Keep(models));
    }
}

/// Says that a call no longer waits, so that those behind it need not either.
struct GivenUp<'a>(&'a Address<RuntimeMsg>);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        let _ = self.0.tell(RuntimeMsg::Changed);
    }
}

/// The actor.
struct Runtime {
    shared: Arc<Shared>,
}

/// A call that waits for its model.
struct Call {
    model: Arc<LocalModel>,
    since: Instant,
    reply: RpcReplyPort<Result<Loan, Denied>>,
}

/// A model that is not tried again for a while.
struct Failure {
    model: Arc<LocalModel>,
    at: Instant,
    reason: String,
    /// Shows it for as long.
    _card: Arc<Card>,
}

#[derive(Default)]
struct RuntimeState {
    calls: VecDeque<Call>,
    failures: Vec<Failure>,
    jobs: Vec<(Arc<LocalModel>, AbortOnDropHandle<()>)>,
    /// Wakes the actor when something is due.
    alarm: Option<(Instant, AbortOnDropHandle<()>)>,
}

impl Runtime {
    /// Takes every step that can be taken now.
    fn go_on(&self, state: &mut RuntimeState) {
        self.expire(state);
        loop {
            let mut places = lock(&self.shared.places);
            let stages: Vec<_> = places.iter().map(|place| (place.model().clone(), place.stage())).collect();
            let wanted: Vec<_> = state.calls.iter().map(|call| call.model.clone()).collect();
            match shelf::next(&stages, &wanted, self.shared.settings.max_resident) {
                None => break,
                Some(Step::Lend(call)) => {
                    let Some(call) = state.calls.remove(call) else { break };
                    let lent = places.iter().find_map(|place| match place {
                        Place::Ready(resident) if resident.model == call.model => Some(resident),
                        _ => None,
                    });
                    let loan = lent.map(|resident| Loan::of(resident, &self.shared.address));
                    drop(places);
                    // Dropped by an asker who has gone, it comes back by itself.
                    let _ = loan.map(|loan| call.reply.send(Ok(loan)));
                }
                Some(Step::Load(call)) => {
                    let model = wanted[call].clone();
                    let card = self.shared.card_of(&model);
                    let taken = places.iter().map(|place| place.model().bytes(place.model().window())).sum();
                    places.push(Place::Loading(model.clone(), card));
                    drop(places);
                    self.load(model, taken, state);
                }
                Some(Step::Unload(place)) => {
                    if let Place::Ready(resident) = &places[place] {
                        let resident = resident.clone();
                        places[place] = Place::Leaving(resident.clone());
                        drop(places);
                        self.unload(resident, state);
                    }
                }
            }
        }
        self.set_alarm(state);
    }

    fn load(&self, model: Arc<LocalModel>, taken: u64, state: &mut RuntimeState) {
        let (settings, address) = (&self.shared.settings, self.shared.address.clone());
        let memory = memory_for_one(settings.memory_limit, taken, available_memory());
        let options = model.load_options(settings.threads, memory);
        tracing::info!(model = model.name(), "local model loading");
        let read = model.clone();
        let job = async move {
            let began = Instant::now();
            let loaded = Engine::load(read.path().to_owned(), options).await;
            metrics::histogram!("greenroom_local_model_load_seconds").record(began.elapsed().as_secs_f64());
            let _ = address.tell(RuntimeMsg::Loaded(read, loaded));
        };
        state.jobs.push((model, AbortOnDropHandle::new(tokio::spawn(job.in_current_span()))));
    }

    fn unload(&self, resident: Arc<Resident>, state: &mut RuntimeState) {
        let address = self.shared.address.clone();
        resident.card.set_note(Some("leaving memory".into()));
        let model = resident.model.clone();
        let job = async move {
            resident.engine.unload().await;
            let _ = address.tell(RuntimeMsg::Left(resident.model.clone()));
        };
        state.jobs.push((model, AbortOnDropHandle::new(tokio::spawn(job.in_current_span()))));
    }

    /// A model was read, or could not be.
    fn loaded(&self, model: &Arc<LocalModel>, outcome: Result<Engine, GgufError>, state: &mut RuntimeState) {
        let mut places = lock(&self.shared.places);
        let Some(place) = places.iter().position(|place| matches!(place, Place::Loading(m, _) if m == model)) else {
            return;
        };
        let Place::Loading(_, card) = places.remove(place) else { return };
        match outcome {
            Ok(engine) => {
                model.loaded_with(engine.context());
                card.set_state(State::Up);
                card.set_note(Some(described(model, engine.context(), self.shared.settings.threads)));
                tracing::info!(model = model.name(), context = engine.context(), "local model loaded");
                count("loaded");
                places.push(Place::Ready(Arc::new(Resident::new(model.clone(), engine, card))));
            }
            Err(GgufError::TooBig { .. }) if make_room(&places) => {} // tried again when the other one has left
            Err(error) => {
                drop(places);
                let reason = words(model.path(), &error);
                tracing::warn!(model = model.name(), path = %model.path().display(), reason, "local model cannot be loaded");
                count("failed");
                card.failed(&reason, State::Down);
                for call in take_of(&mut state.calls, model) {
                    let _ = call.reply.send(Err(Denied::Failed(reason.clone())));
                }
                state.failures.push(Failure { model: model.clone(), at: Instant::now(), reason, _card: card });
            }
        }
    }

    fn left(&self, model: &Arc<LocalModel>) {
        lock(&self.shared.places).retain(|place| !matches!(place, Place::Leaving(gone) if gone.model == *model));
        tracing::info!(model = model.name(), "local model unloaded");
        count("unloaded");
    }

    fn tell_to_leave(&self, model: &LocalModel) -> Unloading {
        let places = lock(&self.shared.places);
        let found = places.iter().find(|place| **place.model() == *model);
        match found {
            Some(Place::Ready(resident)) if resident.tell_to_leave() => Unloading::WhenFree,
            Some(Place::Ready(_) | Place::Leaving(_)) => Unloading::Now,
            Some(Place::Loading(..)) | None => Unloading::NotLoaded,
        }
    }

    /// Everything whose time is over.
    fn expire(&self, state: &mut RuntimeState) {
        let (now, settings) = (Instant::now(), &self.shared.settings);
        state.failures.retain(|failure| now < failure.at + settings.failure_pause);
        let places = lock(&self.shared.places);
        if let Some(limit) = settings.idle_unload {
            for resident in places.iter().filter_map(ready) {
                if resident.idle_since().is_some_and(|since| now >= since + limit) {
                    resident.tell_to_leave();
                }
            }
        }
        let is_loading = |model: &Arc<LocalModel>| {
            places.iter().any(|place| matches!(place, Place::Loading(loading, _) if loading == model))
        };
        let (over, waiting): (VecDeque<Call>, VecDeque<Call>) = std::mem::take(&mut state.calls)
            .into_iter()
            .filter(|call| !call.reply.is_closed())
            .partition(|call| now >= call.since + settings.wait_limit && !is_loading(&call.model));
        state.calls = waiting;
        for call in over {
            let _ = call.reply.send(Err(Denied::Waited));
        }
    }

    /// Sets the alarm to what is due next.
    fn set_alarm(&self, state: &mut RuntimeState) {
        let settings = &self.shared.settings;
        let waits = state.calls.iter().map(|call| call.since + settings.wait_limit);
        let pauses = state.failures.iter().map(|failure| failure.at + settings.failure_pause);
        let idle: Vec<Instant> = match settings.idle_unload {
            None => Vec::new(),
            Some(limit) => {
                let places = lock(&self.shared.places);
                places.iter().filter_map(|place| Some(ready(place)?.idle_since()? + limit)).collect()
            }
        };
        // What was due already and could not be done waits for something else.
        let now = Instant::now();
        let due = waits.chain(pauses).chain(idle).filter(|due| *due > now).min();
        if due != state.alarm.as_ref().map(|(at, _)| *at) {
            state.alarm = due.map(|at| {
                let address = self.shared.address.clone();
                let ring = async move {
                    tokio::time::sleep_until(at).await;
                    let _ = address.tell(RuntimeMsg::Changed);
                };
                (at, AbortOnDropHandle::new(tokio::spawn(ring)))
            });
        }
    }
}

impl Shared {
    fn card_of(&self, model: &LocalModel) -> Arc<Card> {
        let card = self.board.card(format!("model:{}", model.name()), "model", Some(self.address.card().name()));
        card.set_note(Some("loading".into()));
        card
    }
}

/// Takes all calls of a model out of the queue.
fn take_of(calls: &mut VecDeque<Call>, model: &Arc<LocalModel>) -> VecDeque<Call> {
    let (its, others) = std::mem::take(calls).into_iter().partition(|call| call.model == *model);
    *calls = others;
    its
}

fn count(event: &'static str) {
    metrics::counter!("greenroom_local_model_events_total", "event" => event).increment(1);
}

impl Actor for Runtime {
    type Msg = Told<RuntimeMsg>;
    type State = RuntimeState;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<RuntimeState, ActorProcessingErr> {
        let mut state = RuntimeState::default();
        // What an earlier incarnation had begun: reading has ended with it, leaving goes on.
        let mut places = lock(&self.shared.places);
        places.retain(|place| !matches!(place, Place::Loading(..)));
        let leaving: Vec<_> = places
            .iter()
            .filter_map(|place| match place {
                Place::Leaving(resident) => Some(resident.clone()),
                Place::Loading(..) | Place::Ready(_) => None,
            })
            .collect();
        drop(places);
        for resident in leaving {
            self.unload(resident, &mut state);
        }
        self.set_alarm(&mut state);
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        told: Told<RuntimeMsg>,
        state: &mut RuntimeState,
    ) -> Result<(), ActorProcessingErr> {
        let (message, _work) = told.open();
        match message {
            RuntimeMsg::Borrow(model, reply) => {
                self.expire(state);
                match state.failures.iter().find(|failure| failure.model == model) {
                    Some(failure) => drop(reply.send(Err(Denied::Failed(failure.reason.clone())))),
                    None => state.calls.push_back(Call { model, since: Instant::now(), reply }),
                }
            }
            RuntimeMsg::Unload(model, reply) => drop(reply.send(self.tell_to_leave(&model))),
            RuntimeMsg::Keep(models) => {
                for resident in lock(&self.shared.places).iter().filter_map(ready) {
                    if !models.contains(&resident.model) {
                        resident.tell_to_leave();
                    }
                }
            }
            RuntimeMsg::Loaded(model, outcome) => {
                state.jobs.retain(|(done, _)| *done != model);
                self.loaded(&model, outcome, state);
            }
            RuntimeMsg::Left(model) => {
                state.jobs.retain(|(done, _)| *done != model);
                self.left(&model);
            }
            RuntimeMsg::Changed => {}
        }
        self.go_on(state);
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Self::Msg>, _: &mut RuntimeState) -> Result<(), ActorProcessingErr> {
        let places = std::mem::take(&mut *lock(&self.shared.places));
        let engines = places.into_iter().filter_map(|place| match place {
            Place::Ready(resident) | Place::Leaving(resident) => Some(resident),
            Place::Loading(..) => None,
        });
        let left = join_all(engines.map(|resident| async move { resident.engine.unload().await }));
        let _ = tokio::time::timeout(LAST_WAIT, left).await;
        Ok(())
    }
}
