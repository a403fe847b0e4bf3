//! One actor per provider: it admits calls, counts failures, and remembers what a model's parameters are called.
//!
//! Tokens never pass through it. A call asks once for a [`Lease`] and tells once how it went; the lease holds the permit,
//! so a crash of the actor touches no running stream. While it is being started again, new calls get a typed error.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom_kit::{Address, Told, lock};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::circuit::Circuit;
use crate::endpoint::{Endpoint, Route};
use crate::error::ProviderError;
use crate::http::learned::{Learned, Wish};
use crate::keeper::KeeperMsg;
use crate::local::LocalModel;
use crate::settings::Timeouts;

/// How long a call waits for its lease.
const LEASE_LIMIT: Duration = Duration::from_secs(2);

pub(crate) enum ProviderMsg {
    /// May a call to this model go out?
    Lease(Arc<str>, RpcReplyPort<Result<Grant, Denied>>),
    /// The provider answered a call. What was learned on the way goes along.
    Answered { model: Arc<str>, took: Duration, learned: Option<Learned> },
    /// The provider refused a call, and so is alive.
    Refused(String),
    /// The endpoint failed a call.
    Failed(String),
    /// A trial ended without saying anything.
    Abandoned,
}

/// Leave to make a call.
pub(crate) struct Grant {
    permit: OwnedSemaphorePermit,
    trial: bool,
    learned: Learned,
}

/// Why a call must not go out.
pub(crate) enum Denied {
    Open(Duration),
    Busy,
}

/// How a provider is doing.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Health {
    /// Why the last failing call failed.
    pub last_error: Option<String>,
    /// Time from a call to its first output, in milliseconds.
    pub last_latency_ms: Option<f64>,
    /// Whether the provider is left alone after too many failures.
    pub circuit_open: bool,
}

/// A provider as the rest of the room holds it; when the last holder lets go, its actor is stopped.
pub(crate) struct ProviderHandle {
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) route: Route,
    pub(crate) address: Address<ProviderMsg>,
    pub(crate) shared: Shared,
    keeper: Address<KeeperMsg>,
}

/// What a server told of a model, beyond the names of its parameters.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ModelFacts {
    /// It refused tools.
    pub(crate) refuses_tools: bool,
    /// It refused a response format.
    pub(crate) refuses_format: bool,
    /// Tokens that fit it as it is loaded.
    pub(crate) window: Option<u64>,
}

/// What outlives the actor's incarnations.
#[derive(Clone)]
pub(crate) struct Shared {
    permits: Arc<Semaphore>,
    limit: usize,
    health: Arc<Mutex<Health>>,
    /// For the life of the process: no incarnation forgets it.
    models: Arc<Mutex<HashMap<Arc<str>, ModelFacts>>>,
    address: Address<ProviderMsg>,
    timeouts: Timeouts,
}

impl Shared {
    pub(crate) fn new(address: Address<ProviderMsg>, limit: usize, timeouts: Timeouts) -> Self {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(limit)),
            limit,
            health: Arc::default(),
            models: Arc::default(),
            address,
            timeouts,
        }
    }

    /// Most calls that may be open at once.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// What is known of a model.
    pub(crate) fn facts(&self, model: &str) -> ModelFacts {
        lock(&self.models).get(model).copied().unwrap_or_default()
    }

    /// Notes something about a model.
    pub(crate) fn note(&self, model: &Arc<str>, change: impl FnOnce(&mut ModelFacts)) {
        change(lock(&self.models).entry(model.clone()).or_default());
    }

    pub(crate) fn health(&self) -> Health {
        lock(&self.health).clone()
    }

    pub(crate) fn in_use(&self) -> usize {
        self.limit.saturating_sub(self.permits.available_permits())
    }
}

impl fmt::Debug for ProviderHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProviderHandle").field(&self.name).finish()
    }
}

impl Drop for ProviderHandle {
    fn drop(&mut self) {
        // without a keeper the whole house is closing, which stops the actor too
        let _ = self.keeper.tell(KeeperMsg::Retire { name: self.name.clone(), generation: self.generation });
    }
}

impl ProviderHandle {
    pub(crate) fn new(name: String, generation: u64, route: Route, shared: Shared, keeper: Address<KeeperMsg>) -> Self {
        Self { name, generation, route, address: shared.address.clone(), shared, keeper }
    }

    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        match &self.route {
            Route::Http(endpoint) => Some(endpoint),
            Route::Echo | Route::Local(_) => None,
        }
    }

    pub(crate) fn local(&self) -> Option<&Arc<LocalModel>> {
        match &self.route {
            Route::Local(model) => Some(model),
            Route::Echo | Route::Http(_) => None,
        }
    }

    /// Asks for leave to call a model.
    pub(crate) async fn lease(self: &Arc<Self>, model: Arc<str>) -> Result<Lease, ProviderError> {
        let asked = model.clone();
        match self.address.ask(LEASE_LIMIT, |reply| ProviderMsg::Lease(asked, reply)).await {
            Ok(Ok(grant)) => {
                self.address.card().add_in_flight(1);
                Ok(Lease {
                    provider: self.clone(),
                    model,
                    began: Instant::now(),
                    learned: grant.learned,
                    trial: grant.trial,
                    _permit: grant.permit,
                })
            }
            Ok(Err(Denied::Busy)) => Err(ProviderError::Busy),
            Ok(Err(Denied::Open(wait))) => {
                let seconds = wait.as_secs() + 1;
                Err(ProviderError::Unavailable(format!("too many failures in a row, tried again in {seconds} s")))
            }
            Err(_) => Err(ProviderError::Unavailable("its connection is being started again".into())),
        }
    }
}

/// Leave to make one call. Held for as long as the call lasts.
pub(crate) struct Lease {
    provider: Arc<ProviderHandle>,
    model: Arc<str>,
    began: Instant,
    /// What is known about the model's parameters.
    pub(crate) learned: Learned,
    trial: bool,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// The first output is there.
    pub(crate) fn answered(&mut self, learned: Option<Learned>) {
        self.trial = false;
        if learned.as_ref().is_some_and(|learned| !learned.allows(Wish::ResponseFormat)) {
            self.provider.shared.note(&self.model, |facts| facts.refuses_format = true);
        }
        let (model, took) = (self.model.clone(), self.began.elapsed());
        let _ = self.provider.address.tell(ProviderMsg::Answered { model, took, learned });
    }

    /// The provider refused this request.
    pub(crate) fn refused(&mut self, why: &ProviderError) {
        self.trial = false;
        let _ = self.provider.address.tell(ProviderMsg::Refused(why.to_string()));
    }

    /// The model takes no tools.
    pub(crate) fn note_tools_refused(&self) {
        tracing::warn!(provider = self.provider.name, model = &*self.model, "the model takes no tools");
        self.provider.shared.note(&self.model, |facts| facts.refuses_tools = true);
    }

    /// The endpoint failed this call.
    pub(crate) fn failed(&mut self, why: String) {
        self.trial = false;
        let _ = self.provider.address.tell(ProviderMsg::Failed(why));
    }

    pub(crate) fn provider(&self) -> &Arc<ProviderHandle> {
        &self.provider
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.provider.address.card().add_in_flight(-1);
        if self.trial {
            let _ = self.provider.address.tell(ProviderMsg::Abandoned);
        }
    }
}

/// The actor.
pub(crate) struct Provider {
    pub(crate) shared: Shared,
}

pub(crate) struct ProviderState {
    circuit: Circuit,
    learned: HashMap<Arc<str>, Learned>,
}

impl Provider {
    fn note(&self, change: impl FnOnce(&mut Health)) {
        change(&mut lock(&self.shared.health));
    }

    fn count(&self, outcome: &'static str) {
        let provider = self.shared.address.card().name().to_owned();
        metrics::counter!("greenroom_provider_calls_total", "provider" => provider, "outcome" => outcome).increment(1);
    }

    fn gauge(&self, open: f64) {
        let provider = self.shared.address.card().name().to_owned();
        metrics::gauge!("greenroom_provider_circuit_open", "provider" => provider).set(open);
    }

    fn alive(&self, state: &mut ProviderState) {
        if state.circuit.succeeded() {
            let card = self.shared.address.card();
            card.set_note(None);
            self.note(|health| health.circuit_open = false);
            self.gauge(0.0);
            tracing::info!(provider = card.name(), "circuit closed");
        }
    }
}

impl Actor for Provider {
    type Msg = Told<ProviderMsg>;
    type State = ProviderState;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<ProviderState, ActorProcessingErr> {
        let timeouts = &self.shared.timeouts;
        self.shared.address.card().set_note(None);
        self.note(|health| health.circuit_open = false);
        Ok(ProviderState {
            circuit: Circuit::new(timeouts.circuit_failures, timeouts.circuit_open),
            learned: HashMap::new(),
        })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        told: Told<ProviderMsg>,
        state: &mut ProviderState,
    ) -> Result<(), ActorProcessingErr> {
        let (message, _work) = told.open();
        match message {
            ProviderMsg::Lease(model, reply) => {
                let answer = match state.circuit.admit(Instant::now()) {
                    Err(wait) => Err(Denied::Open(wait)),
                    Ok(trial) => match self.shared.permits.clone().try_acquire_owned() {
                        Ok(permit) => {
                            let learned = state.learned.get(&model).cloned().unwrap_or_default();
                            Ok(Grant { permit, trial, learned })
                        }
                        Err(_) => {
                            if trial {
                                state.circuit.abandoned();
                            }
                            Err(Denied::Busy)
                        }
                    },
                };
                let on_trial = answer.as_ref().is_ok_and(|grant| grant.trial);
                if answer.is_err() {
                    self.count("denied");
                }
                if reply.send(answer).is_err() && on_trial {
                    state.circuit.abandoned();
                }
            }
            ProviderMsg::Answered { model, took, learned } => {
                self.alive(state);
                self.note(|health| health.last_latency_ms = Some(took.as_secs_f64() * 1e3));
                self.count("answered");
                let provider = self.shared.address.card().name().to_owned();
                metrics::histogram!("greenroom_provider_first_output_seconds", "provider" => provider)
                    .record(took.as_secs_f64());
                if let Some(learned) = learned {
                    tracing::info!(provider = self.shared.address.card().name(), model = &*model, "parameters learned");
                    state.learned.entry(model).or_default().merge(&learned);
                }
            }
            ProviderMsg::Refused(why) => {
                self.alive(state);
                self.count("refused");
                self.note(|health| health.last_error = Some(why));
            }
            ProviderMsg::Failed(why) => {
                self.count("failed");
                let card = self.shared.address.card();
                tracing::warn!(provider = card.name(), why, "model call failed");
                if state.circuit.failed(Instant::now()) {
                    let pause = self.shared.timeouts.circuit_open.as_secs_f64();
                    card.set_note(Some(format!("circuit open for {pause} s: {why}")));
                    self.gauge(1.0);
                    tracing::warn!(provider = card.name(), "circuit open");
                }
                let circuit_open = state.circuit.is_open();
                self.note(|health| {
                    health.circuit_open = circuit_open;
                    health.last_error = Some(why);
                });
            }
            ProviderMsg::Abandoned => state.circuit.abandoned(),
        }
        Ok(())
    }
}
