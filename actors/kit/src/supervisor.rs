//! One supervisor actor for every group of the tree. It holds no business logic: it starts children from their specs,
//! starts them again as their policy says, and stops them in reverse order.
//!
//! Children that are never restarted (turns) are linked to [`Supervisor::cell`] by whoever spawns them; their end is
//! only logged here, because what it means is written in their own drop guards.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, Message, RpcReplyPort, SupervisionEvent};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::address::{Address, AskError, Told};
use crate::board::{Board, Card, State};
use crate::budget::{Budget, Policy, Verdict};
use crate::lock;

/// The reason with which an actor stops itself because its work is done; it is not started again.
const RETIRED: &str = "ended";
/// The reason with which supervisors stop their children.
const SHUTDOWN: &str = "shutdown";
/// How long a child gets to stop before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long adding a child may take, its `pre_start` included.
const ADD_LIMIT: Duration = Duration::from_secs(120);

/// Starts one incarnation of a child, linked to the given supervisor.
pub type Starter =
    Arc<dyn Fn(ActorCell) -> Pin<Box<dyn Future<Output = Result<ActorCell, ActorProcessingErr>> + Send>> + Send + Sync>;

/// A child to be kept alive.
pub struct ChildSpec {
    /// What happens when it fails.
    pub policy: Policy,
    /// Its place on the board.
    pub card: Arc<Card>,
    /// How to start it.
    pub start: Starter,
}

/// The spec of an actor behind an [`Address`]: `make` gives handler and arguments for each incarnation.
pub fn child<A, M>(
    address: &Address<M>,
    policy: Policy,
    make: impl Fn() -> (A, A::Arguments) + Send + Sync + 'static,
) -> ChildSpec
where
    A: Actor<Msg = Told<M>>,
    A::Arguments: Send,
    M: Send + 'static,
    Told<M>: Message,
{
    let seat = address.clone();
    let start: Starter = Arc::new(move |supervisor| {
        let (handler, arguments) = make();
        let seat = seat.clone();
        Box::pin(async move {
            let (actor, _) = Actor::spawn_linked(None, handler, arguments, supervisor).await?;
            let cell = actor.get_cell();
            seat.seat(actor);
            Ok(cell)
        })
    });
    ChildSpec { policy, card: address.card().clone(), start }
}

/// Why a child could not be added.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// Its first start failed.
    #[error("{name} did not start: {why}")]
    Start {
        /// The child.
        name: String,
        /// The reason.
        why: String,
    },
    /// The supervisor itself is gone.
    #[error("the supervisor is gone")]
    Gone(#[from] AskError),
}

enum Msg {
    Add(ChildSpec, RpcReplyPort<Result<(), String>>),
    Remove(String, RpcReplyPort<()>),
    StopAll(RpcReplyPort<()>),
    /// Internal: a pause is over.
    Start(String),
}

/// Handle to a supervisor of one group.
#[derive(Clone)]
pub struct Supervisor {
    address: Address<Msg>,
    board: Board,
    failure: Arc<Mutex<Option<String>>>,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Supervisor").field(&self.name()).finish()
    }
}

impl Supervisor {
    /// Starts the root of a tree. The join handle ends when the root does; [`Self::failure`] then says why.
    ///
    /// # Errors
    /// [`SupervisorError::Start`].
    pub async fn root(board: Board) -> Result<(Self, JoinHandle<()>), SupervisorError> {
        let card = board.card("root", "supervisor", None);
        let supervisor = Self { address: Address::vacant(card), board, failure: Arc::default() };
        let spawned = Actor::spawn(None, SupervisorActor, supervisor.arguments()).await;
        let (actor, join) =
            spawned.map_err(|error| SupervisorError::Start { name: "root".into(), why: error.to_string() })?;
        supervisor.address.seat(actor);
        supervisor.address.card().set_state(State::Up);
        Ok((supervisor, join))
    }

    /// Starts a group below this supervisor; if the group fails, so does this supervisor.
    ///
    /// # Errors
    /// [`SupervisorError`].
    pub async fn group(&self, name: &'static str) -> Result<Self, SupervisorError> {
        let card = self.board.card(name, "supervisor", Some(self.name()));
        let group = Self { address: Address::vacant(card), board: self.board.clone(), failure: Arc::default() };
        let args = group.clone();
        self.add(child(&group.address, Policy::Escalate, move || (SupervisorActor, args.arguments()))).await?;
        Ok(group)
    }

    fn arguments(&self) -> (Address<Msg>, Arc<Mutex<Option<String>>>) {
        (self.address.clone(), self.failure.clone())
    }

    /// The supervisor's name on the board.
    #[must_use]
    pub fn name(&self) -> &str {
        self.address.card().name()
    }

    /// The board this tree reports to.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// A new card for a child of this supervisor.
    #[must_use]
    pub fn card(&self, name: impl Into<String>, kind: &'static str) -> Arc<Card> {
        self.board.card(name, kind, Some(self.name()))
    }

    /// Starts a child and keeps it alive from then on. A failing first start is returned and not tried again.
    ///
    /// # Errors
    /// [`SupervisorError`].
    pub async fn add(&self, spec: ChildSpec) -> Result<(), SupervisorError> {
        let name = spec.card.name().to_owned();
        let answer = self.address.ask(ADD_LIMIT, |reply| Msg::Add(spec, reply)).await?;
        answer.map_err(|why| SupervisorError::Start { name, why })
    }

    /// Stops a child for good; unknown names are ignored.
    ///
    /// # Errors
    /// [`AskError`] when the supervisor is gone.
    pub async fn remove(&self, name: &str) -> Result<(), AskError> {
        let name = name.to_owned();
        self.address.ask(ADD_LIMIT, |reply| Msg::Remove(name, reply)).await
    }

    /// What unsupervised children are linked to.
    #[must_use]
    pub fn cell(&self) -> Option<ActorCell> {
        Some(self.address.actor()?.get_cell())
    }

    /// Why the supervisor gave up, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    /// Stops all children in reverse order of their start, then the supervisor itself.
    pub async fn shutdown(&self) {
        let limit = STOP_GRACE * 4;
        let _ = self.address.ask(limit, Msg::StopAll).await;
        if let Some(actor) = self.address.actor() {
            let _ = actor.stop_and_wait(Some(SHUTDOWN.into()), Some(limit)).await;
        }
        self.address.card().set_state(State::Stopped);
    }

    /// Makes the supervisor's actor panic, to test what follows.
    ///
    /// # Errors
    /// [`AskError::Gone`] when it is not running.
    #[doc(hidden)]
    pub fn crash(&self) -> Result<(), AskError> {
        self.address.crash()
    }
}

struct SupervisorActor;

struct Child {
    spec: ChildSpec,
    running: Option<ActorCell>,
    budget: Budget,
    order: usize,
}

struct SupervisorState {
    children: HashMap<String, Child>,
    names: HashMap<ActorId, String>,
    address: Address<Msg>,
    failure: Arc<Mutex<Option<String>>>,
    added: usize,
    stopping: bool,
}

impl SupervisorState {
    fn ended(&mut self, who: &ActorCell, why: &str) -> Result<(), ActorProcessingErr> {
        let Some(name) = self.names.remove(&who.get_id()) else {
            if why != RETIRED && why != SHUTDOWN {
                tracing::warn!(group = self.address.card().name(), why, "unsupervised child failed");
            }
            return Ok(());
        };
        if self.stopping {
            return Ok(());
        }
        if why == RETIRED {
            if let Some(child) = self.children.remove(&name) {
                child.spec.card.set_state(State::Stopped);
            }
            return Ok(());
        }
        self.failed(&name, why)
    }

    fn failed(&mut self, name: &str, why: &str) -> Result<(), ActorProcessingErr> {
        let Some(child) = self.children.get_mut(name) else { return Ok(()) };
        child.running = None;
        metrics::counter!("greenroom_actor_failures_total", "kind" => child.spec.card.view().kind).increment(1);
        let (pause, state) = match child.budget.spend(child.spec.policy, Instant::now()) {
            Verdict::RestartIn(pause) => (pause, State::Restarting),
            Verdict::DownFor(pause) => (pause, State::Down),
            Verdict::Escalate => {
                child.spec.card.failed(why, State::Down);
                let reason = format!("{name} keeps failing: {why}");
                tracing::error!(actor = name, why, "restart budget spent, giving up");
                *lock(&self.failure) = Some(reason.clone());
                return Err(reason.into());
            }
        };
        child.spec.card.failed(why, state);
        tracing::warn!(actor = name, why, pause_ms = pause.as_millis(), "actor failed, will be started again");
        self.start_later(name.to_owned(), pause);
        Ok(())
    }

    fn start_later(&self, name: String, pause: Duration) {
        if let Some(actor) = self.address.actor() {
            let address = self.address.clone();
            actor.send_after(pause, move || address.told(Msg::Start(name)));
        }
    }

    async fn stop_all(&mut self) {
        self.stopping = true;
        let mut order: Vec<(usize, String)> =
            self.children.iter().map(|(name, child)| (child.order, name.clone())).collect();
        order.sort_unstable_by(|a, b| b.cmp(a));
        for (_, name) in order {
            self.stop_child(&name).await;
        }
    }

    async fn stop_child(&mut self, name: &str) {
        let Some(child) = self.children.remove(name) else { return };
        if let Some(cell) = child.running {
            self.names.remove(&cell.get_id());
            if cell.stop_and_wait(Some(SHUTDOWN.into()), Some(STOP_GRACE)).await.is_err() {
                cell.kill();
            }
        }
        child.spec.card.set_state(State::Stopped);
    }
}

impl Actor for SupervisorActor {
    type Msg = Told<Msg>;
    type State = SupervisorState;
    type Arguments = (Address<Msg>, Arc<Mutex<Option<String>>>);

    async fn pre_start(
        &self,
        me: ActorRef<Told<Msg>>,
        (address, failure): Self::Arguments,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        address.seat(me);
        Ok(SupervisorState {
            children: HashMap::new(),
            names: HashMap::new(),
            address,
            failure,
            added: 0,
            stopping: false,
        })
    }

    async fn handle(
        &self,
        me: ActorRef<Told<Msg>>,
        told: Told<Msg>,
        st: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        // Starting and stopping children is this actor's work and may take its time.
        let (msg, work) = told.open();
        drop(work);
        match msg {
            Msg::Add(spec, reply) => {
                let name = spec.card.name().to_owned();
                let started = (spec.start)(me.get_cell()).await;
                let answer = match started {
                    Ok(cell) => {
                        spec.card.set_state(State::Up);
                        st.names.insert(cell.get_id(), name.clone());
                        st.added += 1;
                        let child = Child { spec, running: Some(cell), budget: Budget::default(), order: st.added };
                        st.children.insert(name, child);
                        Ok(())
                    }
                    Err(why) => Err(why.to_string()),
                };
                let _ = reply.send(answer);
            }
            Msg::Start(name) => {
                let Some(child) = st.children.get_mut(&name).filter(|child| child.running.is_none()) else {
                    return Ok(());
                };
                match (child.spec.start)(me.get_cell()).await {
                    Ok(cell) => {
                        child.spec.card.restarted();
                        metrics::counter!("greenroom_actor_restarts_total", "kind" => child.spec.card.view().kind)
                            .increment(1);
                        st.names.insert(cell.get_id(), name);
                        child.running = Some(cell);
                    }
                    Err(why) => st.failed(&name, &why.to_string())?,
                }
            }
            Msg::Remove(name, reply) => {
                st.stop_child(&name).await;
                let _ = reply.send(());
            }
            Msg::StopAll(reply) => {
                st.stop_all().await;
                let _ = reply.send(());
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Told<Msg>>,
        event: SupervisionEvent,
        st: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(who, error) => st.ended(&who, &error.to_string()),
            SupervisionEvent::ActorTerminated(who, _, why) => {
                st.ended(&who, why.as_deref().unwrap_or("stopped without being asked to"))
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => Ok(()),
        }
    }

    async fn post_stop(&self, me: ActorRef<Told<Msg>>, st: &mut SupervisorState) -> Result<(), ActorProcessingErr> {
        st.stop_all().await;
        // What is left are unsupervised children.
        me.get_cell().stop_children_and_wait(Some(SHUTDOWN.into()), Some(STOP_GRACE)).await;
        Ok(())
    }
}
