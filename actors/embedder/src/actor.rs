//! The embedder's actor: loads the model in the background, keeps a crew of workers, and says on its card how it is.
//!
//! Texts never pass through its mailbox. It fails when a worker panics, so that the supervisor counts that and starts it
//! again with a new crew; the model, once loaded, is kept.

use std::sync::{Arc, OnceLock};

use greenroom_kit::{Address, Card, Policy, Supervisor, SupervisorError, Told, child};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::embedder::Shared;
use crate::engine::Engine;
use crate::error::STOPPED;
use crate::settings::{Availability, Choice};
use crate::worker::Crew;

pub(crate) enum EmbedderMsg {
    /// Internal: the loader is through.
    Loaded(Result<Arc<Engine>, String>),
    /// Internal: a worker panicked.
    WorkerLost,
}

/// Starts the actor under `group`.
pub(crate) async fn start(group: &Supervisor, card: Arc<Card>, shared: Arc<Shared>) -> Result<(), SupervisorError> {
    let address = Address::vacant(card);
    let engine: Arc<OnceLock<Arc<Engine>>> = Arc::default();
    let seat = address.clone();
    let spec = child(&address, Policy::WORKER, move || {
        let args = EmbedderArgs { shared: shared.clone(), engine: engine.clone(), address: seat.clone() };
        (EmbedderActor, args)
    });
    group.add(spec).await
}

struct EmbedderActor;

struct EmbedderArgs {
    shared: Arc<Shared>,
    /// Outlives incarnations.
    engine: Arc<OnceLock<Arc<Engine>>>,
    address: Address<EmbedderMsg>,
}

struct EmbedderState {
    args: EmbedderArgs,
    crew: Option<Crew>,
}

impl EmbedderState {
    fn say(&self, availability: Availability) {
        let note = match &availability {
            Availability::Loading => "loading".to_owned(),
            Availability::Ready => format!("ready, {} threads", self.args.shared.settings.threads.clamp(1, 8)),
            Availability::Unavailable(reason) => format!("unavailable: {reason}"),
        };
        self.args.address.card().set_note(Some(note));
        self.args.shared.availability.send_replace(availability);
    }

    fn put_to_work(&mut self, me: &ActorRef<Told<EmbedderMsg>>, engine: &Arc<Engine>) -> std::io::Result<()> {
        let (me, address) = (me.clone(), self.args.address.clone());
        let lost = move || {
            // An actor that has stopped meanwhile needs no word.
            let _ = me.cast(address.told(EmbedderMsg::WorkerLost));
        };
        self.args.shared.queue.open();
        self.crew = Some(Crew::start(&self.args.shared, engine, lost)?);
        self.say(Availability::Ready);
        Ok(())
    }
}

impl Actor for EmbedderActor {
    type Msg = Told<EmbedderMsg>;
    type State = EmbedderState;
    type Arguments = EmbedderArgs;

    async fn pre_start(
        &self,
        me: ActorRef<Told<EmbedderMsg>>,
        args: EmbedderArgs,
    ) -> Result<EmbedderState, ActorProcessingErr> {
        let choice = args.shared.settings.model.clone();
        let known = args.engine.get().cloned();
        let mut state = EmbedderState { args, crew: None };
        match known {
            Some(engine) => state.put_to_work(&me, &engine)?,
            None if choice == Choice::Off => state.say(Availability::Unavailable(crate::error::OFF.into())),
            None => {
                state.say(Availability::Loading);
                let address = state.args.address.clone();
                std::thread::Builder::new().name("embedder-load".into()).spawn(move || {
                    let loaded = std::panic::catch_unwind(|| Engine::load(&choice).map(Arc::new))
                        .unwrap_or_else(|_| Err("reading the model failed".into()));
                    let _ = me.cast(address.told(EmbedderMsg::Loaded(loaded)));
                })?;
            }
        }
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<Told<EmbedderMsg>>,
        told: Told<EmbedderMsg>,
        st: &mut EmbedderState,
    ) -> Result<(), ActorProcessingErr> {
        let (msg, _work) = told.open();
        match msg {
            EmbedderMsg::Loaded(Ok(engine)) => {
                let engine = st.args.engine.get_or_init(|| engine).clone();
                st.put_to_work(&me, &engine)?;
                tracing::info!("embedding model ready");
            }
            EmbedderMsg::Loaded(Err(reason)) => {
                tracing::warn!(reason, "embedding model not available, searches go by words alone");
                st.say(Availability::Unavailable(reason));
            }
            EmbedderMsg::WorkerLost => return Err("a worker panicked".into()),
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<Told<EmbedderMsg>>,
        st: &mut EmbedderState,
    ) -> Result<(), ActorProcessingErr> {
        st.crew = None;
        st.say(Availability::Unavailable(STOPPED.into()));
        st.args.shared.queue.close();
        Ok(())
    }
}
