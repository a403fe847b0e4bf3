//! What the handle, the actor and the driver share. The inbox outlives every incarnation of the actor, so a restart loses no
//! nudge.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use greenroom_kit::{Card, lock};
use greenroom_protocol::BotSlug;
use greenroom_store::Store;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::repository::SessionRepository;
use crate::session::Session;
use crate::settings::SchedulerSettings;
use crate::work::JobWork;

/// What the driver tells after each pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pulse {
    /// The newest request that the pass has seen.
    pub answered: u64,
    /// Whether it leads, and nothing is at work or waiting for its turn.
    pub is_idle: bool,
}

/// Shared and long-lived.
pub(crate) struct Engine {
    pub store: Store,
    pub work: Arc<dyn JobWork>,
    pub settings: SchedulerSettings,
    pub card: Arc<Card>,
    pub is_leader: AtomicBool,
    /// Changes whenever a run or a task of any process has ended.
    pub endings: watch::Sender<u64>,
    pub pulse: watch::Sender<Pulse>,
    wake: Notify,
    asked: AtomicU64,
    nudges: Mutex<HashMap<BotSlug, Timestamp>>,
    session: Mutex<Option<Arc<Session>>>,
}

impl Engine {
    pub(crate) fn new(store: Store, work: Arc<dyn JobWork>, settings: SchedulerSettings, card: Arc<Card>) -> Self {
        Self {
            store,
            work,
            settings,
            card,
            is_leader: AtomicBool::new(false),
            endings: watch::Sender::new(0),
            pulse: watch::Sender::new(Pulse::default()),
            wake: Notify::new(),
            asked: AtomicU64::new(0),
            nudges: Mutex::default(),
            session: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.settings.clock.now()
    }

    /// Lets the driver look at once.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// A request whose answer is a [`Pulse`] with at least this number.
    pub(crate) fn ask(&self) -> u64 {
        let asked = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.wake();
        asked
    }

    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// Notes that something has ended, for whoever waits for it.
    pub(crate) fn ended(&self) {
        self.endings.send_modify(|count| *count += 1);
    }

    /// Notes that a bot is to be looked at, at `due`; an earlier note stands. True when there was none.
    pub(crate) fn nudge(&self, bot: &BotSlug, due: Timestamp) -> bool {
        let mut nudges = lock(&self.nudges);
        let is_new = !nudges.contains_key(bot);
        if is_new {
            nudges.insert(bot.clone(), due);
        }
        is_new
    }

    /// The bots whose time has come.
    pub(crate) fn due_nudges(&self, now: Timestamp) -> Vec<BotSlug> {
        let mut nudges = lock(&self.nudges);
        let due: Vec<BotSlug> = nudges.iter().filter(|(_, at)| **at <= now).map(|(bot, _)| bot.clone()).collect();
        nudges.retain(|_, at| *at > now);
        due
    }

    /// When the next nudge is due.
    pub(crate) fn next_nudge(&self) -> Option<Timestamp> {
        lock(&self.nudges).values().min().copied()
    }

    pub(crate) fn set_session(&self, session: Option<Arc<Session>>) {
        *lock(&self.session) = session;
    }

    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        lock(&self.session).clone().filter(|session| !session.lost().is_cancelled())
    }

    /// Tells the schedulers of all processes; a failure only costs time.
    pub(crate) async fn tell_all(&self, word: &str, id: Option<Uuid>) {
        let told = match self.store.connection().await {
            Ok(db) => SessionRepository::notify_on(&db, word, id).await,
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::debug!(%error, "other schedulers were not told");
        }
    }
}
