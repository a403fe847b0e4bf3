//! The room's handle and its one piece of shared state: the snapshot of all bots with the addresses of their actors.
//!
//! Invariant: the snapshot equals what was last committed. Writers are serial; each reads the next state inside its own
//! transaction, commits, and only then swaps. A write that began is never abandoned half way: it runs in a task of the
//! room, whatever becomes of the client that asked for it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use deadpool_postgres::{GenericClient, Transaction};
use greenroom_kit::Supervisor;
use greenroom_protocol::{BotSlug, UserId};
use greenroom_provider::Providers;
use greenroom_store::{Connection, Store};
use greenroom_turn::{TurnRooms, Turns};
use jiff::Timestamp;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::bot::BotAddress;
use crate::client_context::HomePatterns;
use crate::directory::{Directory, Ground};
use crate::error::BotsError;
use crate::layers::Layer;
use crate::namespace::namespace_for;
use crate::profile::BotProfile;
use crate::repository::{ModelOverrideRepository, ProfileRepository, SettingRepository, SettingRow};
use crate::seeds::{SeedError, Seeds};
use crate::switches::Switches;
use crate::tunable::{ScopeType, checked, tunable};

/// The bots that ship with the program.
pub const BUILT_IN_SEEDS: &str = include_str!("../../../bots.yaml");

/// What the room is told from outside.
#[derive(Debug, Clone)]
pub struct BotsSettings {
    /// The seed file's text (`bots.yaml`, with the user's own laid over it).
    pub seeds: String,
    /// The bot that answers when nobody names one.
    pub default_bot: Option<BotSlug>,
    /// The user when nobody says who is speaking.
    pub default_user: Option<UserId>,
    /// The model that answers when neither request nor bot names one.
    pub default_model: Option<String>,
    /// An unknown bot is an error and not a fallback.
    pub strict_bots: bool,
    /// Tunables that the operator set in the process configuration, by key. Built-in values are in the schema; a key
    /// that is here silences the seed file's template.
    pub tunables: Layer,
    /// The speech rules.
    pub tts_instructions: String,
    /// What betrays a Home Assistant prompt.
    pub home_patterns: HomePatterns,
    /// How long a model switch holds.
    pub switch_lifetime: Duration,
    /// A purge must repeat the slug.
    pub confirm_purges: bool,
}

impl Default for BotsSettings {
    fn default() -> Self {
        Self {
            seeds: BUILT_IN_SEEDS.to_owned(),
            default_bot: None,
            default_user: None,
            default_model: None,
            strict_bots: false,
            tunables: Layer::new(),
            tts_instructions: String::new(),
            home_patterns: HomePatterns::default(),
            switch_lifetime: Duration::from_secs(24 * 3600),
            confirm_purges: false,
        }
    }
}

/// Handle to the room.
#[derive(Clone)]
pub struct Bots {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for Bots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bots").field("bots", &self.directory().iter().len()).finish()
    }
}

/// All bots with their actors.
pub(crate) struct House {
    pub(crate) directory: Arc<Directory>,
    pub(crate) addresses: HashMap<BotSlug, BotAddress>,
}

pub(crate) struct Inner {
    pub(crate) group: Supervisor,
    pub(crate) store: Store,
    pub(crate) providers: Providers,
    pub(crate) rooms: TurnRooms,
    pub(crate) turns: Turns,
    pub(crate) settings: BotsSettings,
    pub(crate) tts_instructions: Arc<str>,
    pub(crate) house: ArcSwap<House>,
    pub(crate) switches: Switches,
    ground: Ground,
    writing: tokio::sync::Mutex<()>,
    tracker: TaskTracker,
}

/// What a reload did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reloaded {
    /// Bots in the directory.
    pub bots: usize,
    /// Model switches that were dropped.
    pub cleared_model_overrides: usize,
}

/// The present time, as exact as the database keeps it.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

impl Bots {
    /// Copies seeds that were never seen here into the database, reads the bots, and starts their actors under `group`.
    ///
    /// # Errors
    /// [`BotsError`]: bad seeds or tunables, or the database.
    pub async fn start(
        group: &Supervisor,
        store: Store,
        providers: Providers,
        turns: Turns,
        settings: BotsSettings,
    ) -> Result<Self, BotsError> {
        let seeds = Seeds::parse(&settings.seeds)?;
        let ground =
            Ground { config: configured(&settings.tunables)?, default_bot: settings.default_bot.clone(), seeds };
        report_unknown_keys(&ground);
        let inner = Inner {
            group: group.clone(),
            store,
            providers,
            rooms: turns.rooms().clone(),
            turns,
            tts_instructions: settings.tts_instructions.as_str().into(),
            house: ArcSwap::from_pointee(House { directory: Arc::default(), addresses: HashMap::new() }),
            switches: Switches::default(),
            ground,
            writing: tokio::sync::Mutex::new(()),
            tracker: TaskTracker::new(),
            settings,
        };
        let inner = Arc::new(inner);
        inner.first_read().await?;
        Ok(Self { inner })
    }

    /// The effective bots.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        self.inner.house.load().directory.clone()
    }

    /// Reads everything again, after somebody edited the database by hand, and drops all model switches.
    ///
    /// # Errors
    /// [`BotsError`].
    pub async fn reload(&self) -> Result<Reloaded, BotsError> {
        self.complete(|inner| async move {
            let _one_at_a_time = inner.writing().await;
            let mut db = inner.store.connection().await?;
            let transaction = inner.transaction(&mut db).await?;
            let cleared = ModelOverrideRepository::clear_on(&transaction, None).await?;
            let house = inner.commit(transaction).await?;
            inner.switches.clear(None);
            Ok(Reloaded {
                bots: house.directory.iter().len(),
                cleared_model_overrides: usize::try_from(cleared).unwrap_or(0),
            })
        })
        .await
    }

    /// Waits for the writes that have begun; later ones are refused.
    pub async fn close(&self) {
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
    }

    /// Makes a bot's actor panic at its next message, to test supervision.
    #[doc(hidden)]
    pub fn crash(&self, bot: &BotSlug) {
        if let Some(address) = self.inner.house.load().addresses.get(bot) {
            address.crash();
        }
    }

    /// Runs a write to its end, even if whoever asked for it leaves.
    pub(crate) async fn complete<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> Result<T, BotsError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, BotsError>> + Send + 'static,
    {
        if self.inner.tracker.is_closed() {
            return Err(BotsError::ShuttingDown);
        }
        let task = self.inner.tracker.spawn(work(self.inner.clone()).in_current_span());
        task.await.unwrap_or(Err(BotsError::Broken))
    }
}

impl Inner {
    /// The right to write; one writer at a time.
    pub(crate) async fn writing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.writing.lock().await
    }

    /// A transaction that also waits for the writers of other processes on the same database.
    pub(crate) async fn transaction<'a>(&self, db: &'a mut Connection) -> Result<Transaction<'a>, BotsError> {
        let transaction = db.transaction().await?;
        ProfileRepository::lock_on(&transaction).await?;
        Ok(transaction)
    }

    async fn first_read(self: &Arc<Self>) -> Result<(), BotsError> {
        let _one_at_a_time = self.writing().await;
        let mut db = self.store.connection().await?;
        let transaction = self.transaction(&mut db).await?;
        let copied = self.copy_seeds(&transaction).await?;
        if copied > 0 {
            tracing::info!(bots = copied, "copied bot seeds into the database");
        }
        self.switches.fill(ModelOverrideRepository::live_on(&transaction, now()).await?);
        self.commit(transaction).await?;
        Ok(())
    }

    /// Copies every seed that is neither stored nor deleted, with its settings as rows of the bot.
    async fn copy_seeds(&self, db: &impl GenericClient) -> Result<usize, BotsError> {
        let mut stored = ProfileRepository::all_on(db).await?;
        let buried = ProfileRepository::tombstones_on(db).await?;
        let (before, at) = (stored.len(), now());
        for seed in &self.ground.seeds.bots {
            let is_known = stored.iter().any(|profile| profile.slug == seed.slug)
                || buried.iter().any(|(slug, _)| *slug == seed.slug);
            if is_known {
                continue;
            }
            let profile = BotProfile {
                slug: seed.slug.clone(),
                namespace: free_namespace(&seed.slug, &stored, &buried),
                character: seed.character.clone(),
                created_at: at,
                updated_at: at,
            };
            ProfileRepository::insert_on(db, &profile).await?;
            for (key, value) in &seed.settings {
                let row = SettingRow {
                    scope_type: ScopeType::Bot,
                    scope_id: seed.slug.to_string(),
                    key: key.clone(),
                    value: value.clone(),
                    updated_at: at,
                };
                SettingRepository::put_if_absent_on(db, &row).await?;
            }
            stored.push(profile);
        }
        Ok(stored.len() - before)
    }

    /// Ends a write: reads the next state in its transaction, commits, and makes the state the present one.
    pub(crate) async fn commit(self: &Arc<Self>, transaction: Transaction<'_>) -> Result<Arc<House>, BotsError> {
        let house = self.read(&transaction).await?;
        if let Err(error) = transaction.commit().await {
            // Nobody knows whether it was committed. The database does.
            self.read_again_later();
            return Err(error.into());
        }
        self.move_in(house).await
    }

    async fn read(&self, db: &impl GenericClient) -> Result<House, BotsError> {
        let profiles = ProfileRepository::all_on(db).await?;
        let rows = SettingRepository::all_on(db).await?;
        let directory = Directory::build(profiles, &rows, &self.ground)?;
        let present = self.house.load();
        let addresses = directory.iter().map(|bot| {
            let slug = bot.slug();
            let address = present.addresses.get(slug).cloned();
            (slug.clone(), address.unwrap_or_else(|| BotAddress::new(&self.group, slug.clone(), self.turns.clone())))
        });
        Ok(House { addresses: addresses.collect(), directory: Arc::new(directory) })
    }

    /// Starts the actors of new bots, swaps, and stops those of bots that are gone. Their running turns go on.
    async fn move_in(&self, house: House) -> Result<Arc<House>, BotsError> {
        let before = self.house.load_full();
        for (slug, address) in &house.addresses {
            if !before.addresses.contains_key(slug) {
                self.group.add(address.spec()).await?;
            }
        }
        let house = Arc::new(house);
        self.house.store(house.clone());
        for (slug, address) in &before.addresses {
            if !house.addresses.contains_key(slug) {
                self.group.remove(address.name()).await.map_err(BotsError::Supervisor)?;
            }
        }
        Ok(house)
    }

    fn read_again_later(self: &Arc<Self>) {
        const PAUSE: Duration = Duration::from_secs(1);
        const TRIES: u32 = 60;
        let inner = self.clone();
        self.tracker.spawn(async move {
            for _ in 0..TRIES {
                if inner.tracker.is_closed() || inner.read_again().await.is_ok() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
            tracing::error!("the bots could not be read again after a commit of unknown outcome");
        });
    }

    async fn read_again(&self) -> Result<(), BotsError> {
        let _one_at_a_time = self.writing().await;
        let db = self.store.connection().await?;
        let house = self.read(&db).await?;
        self.switches.clear(None);
        self.switches.fill(ModelOverrideRepository::live_on(&db, now()).await?);
        self.move_in(house).await?;
        Ok(())
    }
}

/// The namespace of a new bot: the one it had before it was deleted, else a free one.
pub(crate) fn free_namespace(slug: &BotSlug, stored: &[BotProfile], buried: &[(BotSlug, String)]) -> String {
    if let Some((_, namespace)) = buried.iter().find(|(buried, _)| buried == slug) {
        return namespace.clone();
    }
    namespace_for(slug, |name| {
        stored.iter().any(|profile| profile.namespace == name) || buried.iter().any(|(_, taken)| taken == name)
    })
}

/// The process configuration in canonical form.
fn configured(tunables: &Layer) -> Result<Layer, BotsError> {
    let fit = |(key, value): (&String, &serde_json::Value)| match checked(key, value) {
        Ok(value) => Ok((key.clone(), value)),
        Err(complaint) => Err(SeedError::Config { key: key.clone(), why: complaint.msg }.into()),
    };
    tunables.iter().map(fit).collect()
}

fn report_unknown_keys(ground: &Ground) {
    let seeds = ground.seeds.bots.iter().flat_map(|seed| seed.settings.keys());
    for key in ground.seeds.template.keys().chain(seeds).chain(ground.config.keys()) {
        if tunable(key).is_none() {
            tracing::warn!(key, "unknown key in the seed file's or the configuration's bot settings");
        }
    }
}
