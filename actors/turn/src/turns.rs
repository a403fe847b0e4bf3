//! The room's handle: begins turns, finds them, ends them, and sees every one of them to its stored end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use deadpool_postgres::GenericClient;
use greenroom_kit::{Address, AskError, Supervisor, lock};
use greenroom_memory::{Animations, Memory};
use greenroom_profile::Profiles;
use greenroom_prompts::Prompts;
use greenroom_protocol::event::Warning;
use greenroom_protocol::{BotSlug, TurnEvent, TurnHeader, TurnId};
use greenroom_store::{Store, StoreError};
use greenroom_tools::Tools;
use jiff::Timestamp;
use ractor::Actor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::EndWish;
use crate::error::TurnError;
use crate::journal::{Desk, JournalOp, JournalQueue, Open, journal_child};
use crate::log::{Stored, TurnLog};
use crate::pass::FLUSH_INTERVAL;
use crate::plan::TurnPlan;
use crate::recovery::close_interrupted;
use crate::turn::{Turn, TurnArgs, TurnRef, TurnShared};
use crate::turn_logs::TurnLogs;

/// How the room behaves.
#[derive(Debug, Clone)]
pub struct TurnsSettings {
    /// How often the answer so far is written to the turn's row.
    pub flush_interval: Duration,
    /// How long the end of a turn may take to be stored before the turn is told as failed.
    pub store_deadline: Duration,
    /// How long a turn that asked for it goes on without viewers.
    pub disconnect_grace: Duration,
    /// How long turn logs are kept.
    pub retention: Duration,
}

impl Default for TurnsSettings {
    fn default() -> Self {
        Self {
            flush_interval: FLUSH_INTERVAL,
            store_deadline: Duration::from_secs(30),
            disconnect_grace: Duration::from_secs(2),
            retention: Duration::from_secs(168 * 3600),
        }
    }
}

/// The rooms below that a turn reads from.
#[derive(Debug, Clone)]
pub struct TurnRooms {
    /// Where conversations are kept.
    pub memory: Memory,
    /// What is known about users and bots.
    pub profiles: Profiles,
    /// Texts that operators may edit.
    pub prompts: Prompts,
    /// What models may call.
    pub tools: Tools,
}

/// A turn whose end is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedTurn {
    /// The bot that answered.
    pub bot: BotSlug,
    /// Whether facts may be extracted from it.
    pub extract: bool,
}

/// What is told of every turn whose end is stored; it must return at once.
pub type EndHook = Arc<dyn Fn(EndedTurn) + Send + Sync>;

/// What an abort did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// The turn was told to end.
    Aborted,
    /// It had ended already.
    AlreadyCompleted,
}

/// Running turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnCounts {
    /// All.
    pub active: usize,
    /// Those whose requester streams.
    pub streaming: usize,
}

/// Handle to the room.
#[derive(Clone)]
pub struct Turns {
    shared: Arc<TurnsShared>,
}

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turns").field("counts", &self.counts()).finish()
    }
}

pub(crate) struct TurnsShared {
    group: Supervisor,
    store: Store,
    pub(crate) queue: Arc<JournalQueue>,
    pub(crate) live: Mutex<HashMap<TurnId, (TurnRef, bool)>>,
    pub(crate) tracker: TaskTracker,
    draining: AtomicBool,
    pub(crate) settings: TurnsSettings,
    logs: TurnLogs,
    journal: Address<crate::journal::JournalMsg>,
    pub(crate) rooms: TurnRooms,
    pub(crate) animations: Animations,
    end_hook: OnceLock<EndHook>,
}

impl TurnsShared {
    /// Sees a sealed turn to its end: waits until it is stored, announces it, and lets go of it.
    pub(crate) fn conclude(self: &Arc<Self>, turn: Arc<TurnShared>) {
        let room = self.clone();
        self.tracker.spawn(async move {
            match tokio::time::timeout(room.settings.store_deadline, turn.log.stored()).await {
                Ok(Stored::As(_)) => turn.log.announce_end(),
                Ok(Stored::Refused) => {
                    turn.reseal_as_unstored();
                    let _ = tokio::time::timeout(room.settings.store_deadline, async {
                        while room.queue.holds(&turn.log) {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    })
                    .await;
                }
                Err(_) => {
                    turn.reseal_as_unstored();
                    turn.log.stored().await;
                }
            }
            lock(&room.live).remove(&turn.plan.id);
            if let Some(hook) = room.end_hook.get() {
                hook(EndedTurn { bot: turn.plan.persona.slug.clone(), extract: turn.plan.extracts() });
            }
        });
    }
}

impl Turns {
    /// Starts the journal and closes what a crash left open.
    ///
    /// # Errors
    /// [`TurnError`] when the journal does not start or the database cannot be read.
    pub async fn start(
        group: Supervisor,
        store: Store,
        rooms: TurnRooms,
        settings: TurnsSettings,
    ) -> Result<Self, TurnError> {
        let closed = close_interrupted(&store).await?;
        if closed > 0 {
            tracing::warn!(turns = closed, "closed turns that a crash had left open");
        }
        let queue = Arc::new(JournalQueue::default());
        let desk = Desk { queue: queue.clone(), store: store.clone(), memory: rooms.memory.clone() };
        let (journal, spec) = journal_child(&group, desk, settings.retention);
        group.add(spec).await?;
        let logs = TurnLogs::new(store.clone());
        let shared = TurnsShared {
            group,
            store,
            queue,
            live: Mutex::default(),
            tracker: TaskTracker::new(),
            draining: AtomicBool::new(false),
            settings,
            logs,
            journal,
            animations: Animations::new(rooms.memory.embedder().clone()),
            rooms,
            end_hook: OnceLock::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The rooms below that turns read from.
    #[must_use]
    pub fn rooms(&self) -> &TurnRooms {
        &self.shared.rooms
    }

    /// Has every turn's stored end told to `hook`. Only the first call does anything.
    pub fn when_ended(&self, hook: EndHook) {
        let _ = self.shared.end_hook.set(hook);
    }

    /// Begins a turn: its row and first events are on their way to the journal, its actor runs.
    ///
    /// # Errors
    /// [`TurnError::Storage`] while the database is away, [`TurnError::Draining`] during shutdown.
    pub async fn begin(&self, plan: TurnPlan) -> Result<TurnRef, TurnError> {
        self.admits()?;
        let room = &self.shared;
        let supervisor = room.group.cell().ok_or(AskError::Gone)?;
        let shared = self.admit(plan);
        let id = shared.plan.id.clone();
        let address = Address::vacant(room.group.card(format!("turn:{id}"), "turn"));
        address.card().set_state(greenroom_kit::State::Up);
        let turn = TurnRef::live(shared.log.clone(), address.clone());
        lock(&room.live).insert(id.clone(), (turn.clone(), shared.plan.stream));
        let cancel = CancellationToken::new();
        if shared.plan.cancel_on_disconnect {
            self.watch_viewers(turn.clone(), cancel.clone());
        }
        let args = TurnArgs { shared, address, cancel: cancel.clone() };
        if let Err(error) = Actor::spawn_linked(None, Turn, args, supervisor).await {
            // The actor's guard, dropped with its arguments, has no state yet: nothing was begun.
            cancel.cancel();
            lock(&room.live).remove(&id);
            return Err(TurnError::Actor(error.to_string()));
        }
        Ok(turn)
    }

    /// Whether anything may begin now.
    pub(crate) fn admits(&self) -> Result<(), TurnError> {
        if self.shared.draining.load(Ordering::Acquire) {
            return Err(TurnError::Draining);
        }
        if self.shared.store.is_available() { Ok(()) } else { Err(TurnError::Storage) }
    }

    pub(crate) fn shared(&self) -> &Arc<TurnsShared> {
        &self.shared
    }

    fn admit(&self, mut plan: TurnPlan) -> Arc<TurnShared> {
        let started_at = Timestamp::now();
        if plan.prompt.text.contains('\0') {
            plan.prompt.text = plan.prompt.text.replace('\0', "\u{fffd}");
        }
        let header = Arc::new(TurnHeader {
            turn_id: plan.id.clone(),
            completion_id: greenroom_protocol::ids::completion_id(),
            created: started_at.as_second(),
            model: plan.engine.alias().to_owned(),
            bot_id: plan.persona.slug.clone(),
            user_id: plan.user.clone(),
            trigger_message_id: Some(plan.trigger.clone()),
        });
        let log = TurnLog::new(header, plan.permit.take());
        log.push_op(JournalOp::Open(Arc::new(Open {
            created_at: started_at,
            request_id: plan.request_id.to_string(),
            path: plan.path.clone(),
            stream: plan.stream,
            user_prompt: plan.prompt.text.clone(),
        })));
        let warnings = std::mem::take(&mut plan.warnings);
        let shared = Arc::new(TurnShared {
            plan,
            log,
            queue: self.shared.queue.clone(),
            started_at,
            flush_interval: self.shared.settings.flush_interval,
            wish: OnceLock::new(),
            room: self.shared.clone(),
        });
        let mut events = vec![TurnEvent::Metadata(Box::new(shared.metadata()))];
        if !warnings.is_empty() {
            events.push(TurnEvent::Warning(Box::new(Warning { warnings, code: None })));
        }
        shared.append(events);
        shared
    }

    /// Ends a turn some time after its last viewer has left.
    fn watch_viewers(&self, turn: TurnRef, cancel: CancellationToken) {
        let grace = self.shared.settings.disconnect_grace;
        self.shared.tracker.spawn(async move {
            let watch = async {
                loop {
                    turn.log().viewers_left().await;
                    tokio::time::sleep(grace).await;
                    if turn.log().viewers() == 0 {
                        turn.end(EndWish::Disconnect);
                        return;
                    }
                }
            };
            tokio::select! {
                () = cancel.cancelled() => {}
                () = watch => {}
            }
        });
    }

    /// A running turn.
    #[must_use]
    pub fn live(&self, id: &TurnId) -> Option<TurnRef> {
        lock(&self.shared.live).get(id).map(|(turn, _)| turn.clone())
    }

    /// Whether any turn of the bot runs.
    #[must_use]
    pub fn is_busy(&self, bot: &BotSlug) -> bool {
        lock(&self.shared.live).values().any(|(turn, _)| turn.header().bot_id == *bot)
    }

    /// The running turns of a bot.
    #[must_use]
    pub fn live_of(&self, bot: &BotSlug) -> Vec<TurnRef> {
        let live = lock(&self.shared.live);
        live.values().map(|(turn, _)| turn).filter(|turn| turn.header().bot_id == *bot).cloned().collect()
    }

    /// A turn to look at: the running one, or a finished one read back from the journal.
    ///
    /// # Errors
    /// [`TurnError::NotFound`], or the database's error.
    pub async fn attach(&self, id: &TurnId) -> Result<TurnRef, TurnError> {
        if let Some(turn) = self.live(id) {
            return Ok(turn);
        }
        let (header, events) = self.shared.logs.replay(id).await?.ok_or(TurnError::NotFound)?;
        Ok(TurnRef::finished(TurnLog::from_journal(Arc::new(header), events, true)))
    }

    /// Stops a turn on request.
    ///
    /// # Errors
    /// [`TurnError::NotFound`], or the database's error.
    pub async fn abort(&self, id: &TurnId) -> Result<Abort, TurnError> {
        match self.live(id) {
            Some(turn) if turn.is_sealed() => Ok(Abort::AlreadyCompleted),
            Some(turn) => {
                turn.end(EndWish::Abort);
                Ok(Abort::Aborted)
            }
            None => match self.shared.logs.status(id).await? {
                Some(_) => Ok(Abort::AlreadyCompleted),
                None => Err(TurnError::NotFound),
            },
        }
    }

    /// Stored turns.
    #[must_use]
    pub fn logs(&self) -> &TurnLogs {
        &self.shared.logs
    }

    /// Running turns.
    #[must_use]
    pub fn counts(&self) -> TurnCounts {
        let live = lock(&self.shared.live);
        TurnCounts { active: live.len(), streaming: live.values().filter(|(_, stream)| *stream).count() }
    }

    /// How many turns wait to be written, and the age of the oldest in seconds.
    #[must_use]
    pub fn journal_lag(&self) -> (usize, f64) {
        let (waiting, oldest) = self.shared.queue.lag();
        (waiting, oldest.as_secs_f64())
    }

    /// Refuses new turns, lets the running ones finish within `limit`, ends the rest as errors with their text kept, and
    /// waits until everything is stored.
    pub async fn drain(&self, limit: Duration) {
        let room = &self.shared;
        room.draining.store(true, Ordering::Release);
        room.tracker.close();
        let all_done = async {
            while !lock(&room.live).is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(limit, all_done).await.is_err() {
            let rest: Vec<TurnRef> = lock(&room.live).values().map(|(turn, _)| turn.clone()).collect();
            tracing::warn!(turns = rest.len(), "ending turns that did not finish in time");
            for turn in &rest {
                turn.end(EndWish::Shutdown);
            }
            let stored = async {
                while !lock(&room.live).is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_secs(5), stored).await;
        }
        let flushed = async {
            while !room.queue.is_idle() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), flushed).await;
    }

    /// Deletes everything about a bot's turns inside the caller's transaction. Gives rows per table.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn purge(db: &impl GenericClient, bot: &BotSlug) -> Result<Vec<(String, i64)>, StoreError> {
        TurnLogs::purge_on(db, bot).await
    }

    /// Makes the journal's actor panic, to test that nothing is lost by it.
    #[doc(hidden)]
    pub fn crash_journal(&self) {
        let _ = self.shared.journal.crash();
    }
}
