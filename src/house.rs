//! What the door hands to every request: the rooms and the state of the whole. Built once, shared by all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use greenroom_bot::Bots;
use greenroom_kit::Board;
use greenroom_provider::Providers;
use greenroom_store::Store;
use greenroom_turn::Turns;

use crate::config::Config;
use crate::http::accept::Connections;
use crate::http::admission::Admission;
use crate::http::front::Front;
use crate::http::status::StatusCache;

/// The rooms and what belongs to all of them.
pub struct House {
    /// The database.
    pub store: Store,
    /// Models.
    pub providers: Providers,
    /// Bots.
    pub bots: Bots,
    /// Turns.
    pub turns: Turns,
    /// Room for turns.
    pub admission: Admission,
    /// Open connections.
    pub connections: Arc<Connections>,
    pub(crate) status: StatusCache,
    pub(crate) front: Front,
    pub(crate) board: Board,
    pub(crate) config: Config,
    pub(crate) draining: AtomicBool,
    pub(crate) began: Instant,
}

impl House {
    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What requests pass through.
    #[must_use]
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// Who is alive.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// How long the server has been up.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether the server is going down and takes no new work.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }
}
