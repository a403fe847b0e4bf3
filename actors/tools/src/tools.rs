//! The room's handle: the catalogue of all tools, and what of it a turn is offered.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use greenroom_mcp::Mcp;
use greenroom_memory::Memory;
use greenroom_profile::Profiles;
use greenroom_web::Web;

use crate::availability::{Shelf, Watched};
use crate::builtin;
use crate::desk::{ModelDesk, Neighbours};
use crate::offer::{Offer, Wish};
use crate::session::Limits;
use crate::tool::{Tool, ToolFamily, ToolSpec};

/// The rooms that tools stand on. Without one, its tools are not in the catalogue.
#[derive(Clone)]
pub struct ToolRooms {
    /// What bots remember.
    pub memory: Memory,
    /// What is known about people and bots.
    pub profiles: Profiles,
    /// The memories of other bots.
    pub neighbours: Option<Arc<dyn Neighbours>>,
    /// Who chooses models.
    pub desk: Option<Arc<dyn ModelDesk>>,
    /// The outside world.
    pub web: Option<Web>,
    /// Other servers with tools, such as Home Assistant.
    pub mcp: Option<Mcp>,
}

impl ToolRooms {
    /// Memory and profiles alone.
    #[must_use]
    pub fn new(memory: Memory, profiles: Profiles) -> Self {
        Self { memory, profiles, neighbours: None, desk: None, web: None, mcp: None }
    }
}

/// How long a call of each tool may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// `memory`, `history`, `profile`, `self`.
    pub data: Duration,
    /// `time`.
    pub time: Duration,
    /// `search`.
    pub search: Duration,
    /// `news`.
    pub news: Duration,
    /// `web_fetch`.
    pub web_fetch: Duration,
    /// `home`.
    pub home: Duration,
    /// Tools of Home Assistant itself.
    pub home_native: Duration,
    /// `model`.
    pub model: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            data: seconds(10),
            time: seconds(1),
            search: seconds(15),
            news: seconds(15),
            web_fetch: seconds(45),
            home: seconds(15),
            home_native: seconds(30),
            model: seconds(2),
        }
    }
}

/// What the operator decides about tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolSettings {
    /// Bounds of one turn.
    pub limits: Limits,
    /// How long it is remembered whether a tool is there.
    pub availability: Duration,
    /// Bounds of one call.
    pub timeouts: Timeouts,
}

impl Default for ToolSettings {
    fn default() -> Self {
        let availability = Duration::from_secs(60);
        Self { limits: Limits::default(), availability, timeouts: Timeouts::default() }
    }
}

/// Handle to the tools; cheap to clone.
#[derive(Clone)]
pub struct Tools {
    shared: Arc<Shared>,
}

struct Shared {
    shelves: Vec<Arc<Watched>>,
    settings: ToolSettings,
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.specs().map(|spec| &spec.name)).finish()
    }
}

impl Tools {
    /// All tools of this program that the rooms make possible.
    #[must_use]
    pub fn new(rooms: ToolRooms, settings: ToolSettings) -> Self {
        let shelves = builtin::all(&rooms, &settings.timeouts);
        Self::stocked(shelves, settings)
    }

    /// Exactly these.
    #[must_use]
    pub fn of(tools: Vec<Arc<dyn Tool>>, families: Vec<Arc<dyn ToolFamily>>, settings: ToolSettings) -> Self {
        let shelves = tools.into_iter().map(Shelf::One).chain(families.into_iter().map(Shelf::Family));
        Self::stocked(shelves.collect(), settings)
    }

    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Self::stocked(Vec::new(), ToolSettings::default())
    }

    fn stocked(shelves: Vec<Shelf>, settings: ToolSettings) -> Self {
        let shelves = shelves.into_iter().map(|shelf| Watched::new(shelf, settings.availability)).collect();
        Self { shared: Arc::new(Shared { shelves, settings }) }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &ToolSettings {
        &self.shared.settings
    }

    /// The tools that are known from the start, whether or not they can be called now.
    pub fn specs(&self) -> impl Iterator<Item = &ToolSpec> {
        self.shared.shelves.iter().filter_map(|watched| match &watched.shelf {
            Shelf::One(tool) => Some(tool.spec()),
            Shelf::Family(_) => None,
        })
    }

    /// What a turn gets. It waits for the outside only when nothing is known of it yet, and then two seconds at most.
    pub async fn offer(&self, wish: &Wish<'_>) -> Offer {
        if wish.is_empty() {
            return Offer::default();
        }
        let wanted = self.shared.shelves.iter().filter(|watched| wish.grants(watched.shelf.scope()));
        let present = join_all(wanted.map(async |watched| (watched.shelf.scope(), watched.present().await))).await;
        Offer::of(wish, &present)
    }
}
