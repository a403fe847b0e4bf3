//! The room's handle: the catalogue, the engines, the definitions and the providers' own lists.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use greenroom_kit::{Address, Policy, Supervisor, child};
use greenroom_store::Store;
use jiff::Timestamp;
use serde_json::Value;

use crate::catalogue::{Catalogue, Entry, ModelListing};
use crate::definition::ModelDefinition;
use crate::desk::{Deletion, Desk, ReloadOutcome, Roster, SeedOutcome};
use crate::discovery::{Lists, UpstreamModels};
use crate::engine::Engine;
use crate::error::{ProviderError, ProvidersError, UpstreamModelsError};
use crate::keeper::{Keeper, KeeperMsg};
use crate::local::{LocalModels, Unloading};
use crate::probe::{Probes, ProviderProbe};
use crate::settings::ProviderSettings;
use crate::transport::Transport;
use crate::view::DefinitionView;

/// How long a change of the catalogue may take, those before it included.
const CHANGE_LIMIT: Duration = Duration::from_secs(60);

/// The provider room. Cheap to clone.
#[derive(Clone)]
pub struct Providers {
    room: Arc<Room>,
}

struct Room {
    desk: Arc<Desk>,
    catalogue: Arc<ArcSwap<Catalogue>>,
    transport: Transport,
    local: LocalModels,
    lists: Lists,
    probes: Probes,
    last_called: Arc<ArcSwapOption<ModelDefinition>>,
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Providers").field("models", &self.catalogue().aliases()).finish_non_exhaustive()
    }
}

impl Providers {
    /// Fills an empty definitions table from the seeds, loads the catalogue and starts the providers it needs, all under
    /// `group`.
    ///
    /// # Errors
    /// [`ProvidersError`] when the database is away, the seeds cannot be read, or an actor does not start.
    pub async fn start(group: &Supervisor, store: Store, settings: ProviderSettings) -> Result<Self, ProvidersError> {
        let transport = Transport::new(&settings.timeouts)?;
        let catalogue = Arc::new(ArcSwap::from_pointee(Catalogue::default()));
        let keeper: Address<KeeperMsg> = Address::vacant(group.card("catalogue", "catalogue"));
        let local = LocalModels::start(group, settings.local.clone(), settings.timeouts.first_event_local).await?;
        let desk = Arc::new(Desk {
            store,
            settings: Arc::new(settings),
            transport: transport.clone(),
            local: local.clone(),
            group: group.clone(),
            keeper: keeper.clone(),
            catalogue: catalogue.clone(),
            roster: std::sync::Mutex::new(Roster::default()),
            since: Timestamp::now(),
        });
        let at_desk = desk.clone();
        group.add(child(&keeper, Policy::WORKER, move || (Keeper { desk: at_desk.clone() }, ()))).await?;
        desk.open().await?;
        let room = Room {
            desk,
            catalogue,
            transport,
            local,
            lists: Lists::default(),
            probes: Probes::default(),
            last_called: Arc::default(),
        };
        Ok(Self { room: Arc::new(room) })
    }

    /// The models as they are now. The snapshot never changes; ask again for a newer one.
    #[must_use]
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.room.catalogue.load_full()
    }

    /// The model behind an alias, in any case.
    ///
    /// # Errors
    /// [`ProviderError::NoSuchModel`] and [`ProviderError::NotAvailable`], the latter with the reason.
    pub fn engine(&self, alias: &str) -> Result<Engine, ProviderError> {
        let catalogue = self.room.catalogue.load();
        let entry = catalogue.entry(alias).ok_or_else(|| ProviderError::NoSuchModel(alias.to_owned()))?;
        match &entry.serving {
            Ok(provider) => Ok(Engine {
                entry: entry.clone(),
                provider: provider.clone(),
                settings: self.room.desk.settings.clone(),
                transport: self.room.transport.clone(),
                local: self.room.local.clone(),
                last_called: self.room.last_called.clone(),
            }),
            Err(reason) => {
                Err(ProviderError::NotAvailable { alias: entry.definition.alias.clone(), reason: reason.clone() })
            }
        }
    }

    /// The model that was called last (http-api §8.3). Hosted models are neither loaded nor unloaded, so this is all that
    /// "current" can mean for them; a model that was deleted since is no longer current.
    #[must_use]
    pub fn current(&self) -> Option<ModelListing> {
        let last = self.room.last_called.load_full()?;
        self.room.catalogue.load().entry(&last.alias).map(|entry| entry.listing())
    }

    /// Reads seeds and database anew and swaps the catalogue (http-api §8.5). Running turns keep what they have.
    ///
    /// # Errors
    /// [`ProvidersError`]; the catalogue then stays as it was.
    pub async fn reload(&self) -> Result<ReloadOutcome, ProvidersError> {
        self.room.desk.keeper.ask(CHANGE_LIMIT, KeeperMsg::Reload).await?
    }

    /// All stored definitions by alias, secrets masked.
    ///
    /// # Errors
    /// [`ProvidersError::Storage`].
    pub async fn definitions(&self) -> Result<Vec<DefinitionView>, ProvidersError> {
        self.room.desk.list().await
    }

    /// One stored definition, its alias in any case, secrets masked.
    ///
    /// # Errors
    /// [`ProvidersError::NotFound`], [`ProvidersError::Storage`].
    pub async fn definition(&self, alias: &str) -> Result<DefinitionView, ProvidersError> {
        self.room.desk.get(alias).await
    }

    /// Writes a definition from a PUT body, then reloads (http-api §8.6): absent and null columns keep what is stored,
    /// `extra` is replaced, a masked secret is unchanged.
    ///
    /// # Errors
    /// [`ProvidersError::Invalid`] with every complaint, [`ProvidersError::Storage`].
    pub async fn upsert_definition(&self, alias: &str, body: &Value) -> Result<DefinitionView, ProvidersError> {
        let (alias, body) = (alias.to_owned(), body.clone());
        self.room.desk.keeper.ask(CHANGE_LIMIT, |reply| KeeperMsg::Upsert { alias, body, reply }).await?
    }

    /// Deletes a definition, then reloads. A deleted seed does not come back by itself.
    ///
    /// # Errors
    /// [`ProvidersError::NotFound`], [`ProvidersError::Storage`].
    pub async fn delete_definition(&self, alias: &str) -> Result<Deletion, ProvidersError> {
        let alias = alias.to_owned();
        self.room.desk.keeper.ask(CHANGE_LIMIT, |reply| KeeperMsg::Delete { alias, reply }).await?
    }

    /// Writes the seed file's definitions into the database, then reloads: the missing ones, or all with `overwrite`.
    ///
    /// # Errors
    /// [`ProvidersError::Seeds`], [`ProvidersError::Storage`].
    pub async fn seed_definitions(&self, overwrite: bool) -> Result<SeedOutcome, ProvidersError> {
        self.room.desk.keeper.ask(CHANGE_LIMIT, |reply| KeeperMsg::Seed { overwrite, reply }).await?
    }

    /// A provider's own model list (http-api §8.2): `openai`, `codex`, `grok`, also `anthropic`, `openrouter` and `ollama`.
    ///
    /// # Errors
    /// [`UpstreamModelsError`].
    pub async fn upstream_models(&self, provider: &str) -> Result<UpstreamModels, UpstreamModelsError> {
        self.room.lists.get(provider, &self.room.desk.settings, &self.room.transport).await
    }

    /// Aliases of the local models that are in memory now.
    #[must_use]
    pub fn loaded(&self) -> Vec<String> {
        let catalogue = self.catalogue();
        let is_loaded = |entry: &&Arc<Entry>| entry.local().is_some_and(|model| self.room.local.is_loaded(model));
        catalogue.entries().iter().filter(is_loaded).map(|entry| entry.definition.alias.clone()).collect()
    }

    /// Takes a local model out of memory, as soon as the answers that it is giving are over. Models elsewhere are never
    /// loaded and so never unloaded.
    ///
    /// # Errors
    /// [`ProviderError::NoSuchModel`], [`ProviderError::Unavailable`].
    pub async fn unload(&self, alias: &str) -> Result<Unloading, ProviderError> {
        let catalogue = self.catalogue();
        let entry = catalogue.entry(alias).ok_or_else(|| ProviderError::NoSuchModel(alias.to_owned()))?;
        match entry.local() {
            Some(model) => self.room.local.unload(model).await,
            None => Ok(Unloading::NotLoaded),
        }
    }

    /// Whether the providers in use can be reached; results are kept for some seconds.
    pub async fn probe(&self) -> Vec<ProviderProbe> {
        self.room.probes.get(&self.catalogue(), &self.room.transport).await
    }

    /// Makes a provider's actor panic, to test what follows; false when no such actor is in use.
    #[doc(hidden)]
    #[must_use]
    pub fn crash(&self, provider: &str) -> bool {
        let catalogue = self.catalogue();
        let mut serving = catalogue.entries().iter().filter_map(|entry| entry.serving.as_ref().ok());
        serving.any(|serving| serving.name == provider && serving.address.crash().is_ok())
    }

    /// Makes the runtime of local models panic, to test what follows.
    #[doc(hidden)]
    #[must_use]
    pub fn crash_local_models(&self) -> bool {
        self.room.local.crash()
    }

    /// Makes the catalogue's actor panic, to test what follows.
    #[doc(hidden)]
    #[must_use]
    pub fn crash_catalogue(&self) -> bool {
        self.room.desk.keeper.crash().is_ok()
    }
}
