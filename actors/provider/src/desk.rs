//! Reading and changing the catalogue: seeds, database rows, and the provider actors that follow from them.
//!
//! Everything here runs as a job of the catalogue actor, one at a time, so that two changes never mix. A job that fails
//! leaves the catalogue as it was. Unchanged entries keep their provider; one that nobody uses any more stops when its
//! last holder lets go, so running turns keep theirs.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use greenroom_kit::{Address, AskError, Policy, Supervisor, child, lock};
use greenroom_store::{Store, StoreError};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::catalogue::{Catalogue, Entry, Source, fold, overlay};
use crate::definition::{ModelDefinition, ModelType};
use crate::definitions_repository as repository;
use crate::draft;
use crate::endpoint::{Route, route};
use crate::error::ProvidersError;
use crate::keeper::KeeperMsg;
use crate::local::{self, LocalModels};
use crate::provider::{Provider, ProviderHandle, Shared};
use crate::seeds;
use crate::settings::ProviderSettings;
use crate::transport::Transport;
use crate::view::DefinitionView;
use crate::windows;

/// What a reload did (http-api §8.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReloadOutcome {
    /// All aliases, in order.
    pub models: Vec<String>,
    /// How many of them are database rows.
    pub db_models_loaded: usize,
    /// Aliases whose meaning changed or that are gone; nothing else was dropped.
    pub cleared_instances: usize,
}

/// What seeding did (http-api §8.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeedOutcome {
    /// Definitions written.
    pub seeded: usize,
    /// Definitions in the seed file.
    pub total_yaml: usize,
    /// For people.
    pub message: String,
}

/// What a deletion did (http-api §8.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deletion {
    /// Always true.
    pub success: bool,
    /// The alias as it was spelled.
    pub alias: String,
    /// For people.
    pub message: String,
}

/// What all jobs share.
pub(crate) struct Desk {
    pub(crate) store: Store,
    pub(crate) settings: Arc<ProviderSettings>,
    pub(crate) transport: Transport,
    pub(crate) local: LocalModels,
    pub(crate) group: Supervisor,
    pub(crate) keeper: Address<KeeperMsg>,
    pub(crate) catalogue: Arc<ArcSwap<Catalogue>>,
    pub(crate) roster: std::sync::Mutex<Roster>,
    /// Stands for the time of definition of models that are only in the seed file.
    pub(crate) since: Timestamp,
}

/// The provider actors there are.
#[derive(Default)]
pub(crate) struct Roster {
    members: Vec<Member>,
    generations: u64,
}

struct Member {
    name: String,
    generation: u64,
    handle: Weak<ProviderHandle>,
}

impl Desk {
    /// Fills an empty table from the seeds, then loads.
    pub(crate) async fn open(&self) -> Result<(), ProvidersError> {
        let seeds = self.seeds().await?;
        let mut connection = self.store.connection().await?;
        let transaction = connection.transaction().await.map_err(StoreError::from)?;
        if repository::is_empty(&transaction).await? {
            let deleted = repository::deleted_seeds(&transaction).await?;
            for seed in seeds.iter().filter(|seed| !deleted.contains(&fold(&seed.alias))) {
                repository::insert_missing(&transaction, seed).await?;
            }
            tracing::info!(models = seeds.len(), "model definitions seeded");
        }
        transaction.commit().await.map_err(StoreError::from)?;
        drop(connection);
        self.reload().await?;
        Ok(())
    }

    async fn seeds(&self) -> Result<Vec<ModelDefinition>, ProvidersError> {
        seeds::parse(&seeds::text(&self.settings).await?, Timestamp::now())
    }

    /// Reads everything anew and swaps the catalogue.
    pub(crate) async fn reload(&self) -> Result<ReloadOutcome, ProvidersError> {
        let seeds = self.seeds().await?;
        let connection = self.store.connection().await?;
        let rows = repository::list(&connection).await?;
        let deleted = repository::deleted_seeds(&connection).await?;
        drop(connection);
        let mut stored = Vec::with_capacity(rows.len());
        for row in rows {
            match row {
                Ok(definition) => stored.push(definition),
                Err((alias, why)) => tracing::warn!(alias, why, "model definition left out"),
            }
        }
        let before = self.catalogue.load_full();
        let mut entries = Vec::new();
        for (definition, source) in overlay(seeds, stored, &deleted, self.since) {
            entries.push(self.entry(definition, source, &before).await?);
        }
        let kept = |old: &Arc<Entry>| entries.iter().any(|new| new.definition.same_as(&old.definition));
        let cleared_instances = before.entries().iter().filter(|old| !kept(old)).count();
        let db_models_loaded = entries.iter().filter(|entry| entry.source == Source::Database).count();
        let catalogue = Catalogue::new(entries, before.revision() + 1);
        let models = catalogue.aliases();
        self.learn_windows(&catalogue);
        self.local.keep(catalogue.entries().iter().filter_map(|entry| entry.local().cloned()).collect());
        self.catalogue.store(Arc::new(catalogue));
        tracing::info!(models = models.len(), db_models_loaded, cleared_instances, "model catalogue loaded");
        Ok(ReloadOutcome { models, db_models_loaded, cleared_instances })
    }

    /// Asks vLLM servers, in the background, how many tokens fit the models whose definitions do not say.
    fn learn_windows(&self, catalogue: &Catalogue) {
        let mut asked: Vec<Arc<ProviderHandle>> = Vec::new();
        for entry in catalogue.entries() {
            let silent = entry.definition.kind == ModelType::Vllm && entry.definition.options.context_window.is_none();
            let Some(provider) = entry.serving.as_ref().ok().filter(|_| silent) else { continue };
            if !asked.iter().any(|known| Arc::ptr_eq(known, provider)) {
                asked.push(provider.clone());
            }
        }
        for provider in asked {
            let transport = self.transport.clone();
            self.transport.errand(async move {
                windows::look(&provider, &transport).await;
            });
        }
    }

    async fn entry(
        &self,
        definition: ModelDefinition,
        source: Source,
        before: &Catalogue,
    ) -> Result<Arc<Entry>, ProvidersError> {
        let definition = Arc::new(definition);
        let serving = match self.route(&definition).await {
            Err(reason) => Err(reason),
            Ok(route) => {
                let same = before.entry(&definition.alias).and_then(|old| old.serving.as_ref().ok());
                Ok(match same.filter(|provider| provider.route.same_as(&route)) {
                    Some(provider) => provider.clone(),
                    None => self.provider(route).await?,
                })
            }
        };
        Ok(Arc::new(Entry { definition, source, serving }))
    }

    /// What serves a definition. Files are looked at beside the async tasks.
    async fn route(&self, definition: &Arc<ModelDefinition>) -> Result<Route, String> {
        if definition.kind != ModelType::Gguf {
            return route(definition, &self.settings);
        }
        let (definition, settings) = (definition.clone(), self.settings.clone());
        let looked = tokio::task::spawn_blocking(move || route(&definition, &settings)).await;
        looked.unwrap_or_else(|_| Err("looking at the model's file failed".to_owned()))
    }

    /// The provider for a route: the one there is, or a new one.
    async fn provider(&self, route: Route) -> Result<Arc<ProviderHandle>, ProvidersError> {
        let (name, generation, replaced) = {
            let mut roster = lock(&self.roster);
            let living = roster.members.iter().filter_map(|member| member.handle.upgrade());
            if let Some(known) = living.into_iter().find(|handle| handle.route.same_as(&route)) {
                return Ok(known);
            }
            roster.generations += 1;
            let (name, replaced) = roster.name_for(&route.name());
            (name, roster.generations, replaced)
        };
        if replaced {
            self.group.remove(&name).await?;
        }
        let card = self.group.card(&name, "provider");
        let address = Address::vacant(card);
        let most = match &route {
            Route::Local(_) => local::MOST_CALLS,
            Route::Echo | Route::Http(_) => self.settings.max_concurrent_per_provider,
        };
        let shared = Shared::new(address.clone(), most, self.settings.timeouts);
        let incarnation = shared.clone();
        let spec = child(&address, Policy::WORKER, move || (Provider { shared: incarnation.clone() }, ()));
        self.group.add(spec).await?;
        let handle = Arc::new(ProviderHandle::new(name.clone(), generation, route, shared, self.keeper.clone()));
        lock(&self.roster).members.push(Member { name, generation, handle: Arc::downgrade(&handle) });
        Ok(handle)
    }

    /// Stops a provider's actor that nobody holds any more.
    pub(crate) async fn retire(&self, name: &str, generation: u64) -> Result<(), AskError> {
        let known = {
            let mut roster = lock(&self.roster);
            let before = roster.members.len();
            roster.members.retain(|member| !(member.name == name && member.generation == generation));
            roster.members.len() < before
        };
        if known { self.group.remove(name).await } else { Ok(()) }
    }

    /// All stored definitions.
    pub(crate) async fn list(&self) -> Result<Vec<DefinitionView>, ProvidersError> {
        let connection = self.store.connection().await?;
        let rows = repository::list(&connection).await?;
        Ok(rows.into_iter().filter_map(|row| row.ok().map(|definition| definition.view())).collect())
    }

    /// One stored definition.
    pub(crate) async fn get(&self, alias: &str) -> Result<DefinitionView, ProvidersError> {
        let connection = self.store.connection().await?;
        let row = repository::get(&connection, alias.trim()).await?;
        row.and_then(Result::ok).map(|row| row.view()).ok_or_else(|| ProvidersError::NotFound(alias.to_owned()))
    }

    pub(crate) async fn upsert(&self, alias: &str, body: &Value) -> Result<DefinitionView, ProvidersError> {
        let mut connection = self.store.connection().await?;
        let transaction = connection.transaction().await.map_err(StoreError::from)?;
        let stored = repository::get(&transaction, alias.trim()).await?.and_then(Result::ok);
        let definition =
            draft::read_put(alias, body, stored.as_ref(), Timestamp::now()).map_err(ProvidersError::Invalid)?;
        repository::upsert(&transaction, &definition).await?;
        repository::forget_deleted(&transaction, &[fold(&definition.alias)]).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        drop(connection);
        self.reload().await?;
        Ok(definition.view())
    }

    pub(crate) async fn delete(&self, alias: &str) -> Result<Deletion, ProvidersError> {
        let seeded = self.seeds().await?.into_iter().find(|seed| fold(&seed.alias) == fold(alias));
        let listed = self.catalogue.load().get(alias).is_some();
        let mut connection = self.store.connection().await?;
        let transaction = connection.transaction().await.map_err(StoreError::from)?;
        let deleted = repository::delete(&transaction, alias.trim()).await?;
        if seeded.is_some() {
            repository::remember_deleted(&transaction, &fold(alias), Timestamp::now()).await?;
        }
        transaction.commit().await.map_err(StoreError::from)?;
        drop(connection);
        let only_seeded = seeded.filter(|_| listed).map(|seed| seed.alias);
        let alias = deleted.or(only_seeded).ok_or_else(|| ProvidersError::NotFound(alias.to_owned()))?;
        self.reload().await?;
        Ok(Deletion { success: true, message: format!("Model alias '{alias}' deleted"), alias })
    }

    pub(crate) async fn seed(&self, overwrite: bool) -> Result<SeedOutcome, ProvidersError> {
        let seeds = self.seeds().await?;
        let total_yaml = seeds.len();
        if total_yaml == 0 {
            return Ok(SeedOutcome { seeded: 0, total_yaml, message: "No models in the seed file".into() });
        }
        let mut connection = self.store.connection().await?;
        let transaction = connection.transaction().await.map_err(StoreError::from)?;
        let mut seeded = 0;
        for seed in &seeds {
            if overwrite {
                repository::upsert(&transaction, seed).await?;
                seeded += 1;
            } else if repository::insert_missing(&transaction, seed).await? {
                seeded += 1;
            }
        }
        let folded: Vec<String> = seeds.iter().map(|seed| fold(&seed.alias)).collect();
        repository::forget_deleted(&transaction, &folded).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        drop(connection);
        self.reload().await?;
        Ok(SeedOutcome { seeded, total_yaml, message: format!("Seeded {seeded} of {total_yaml} models") })
    }
}

impl Roster {
    /// A free name, and whether an actor without holders still bears it. Endpoints that differ only in their credential
    /// are told apart by number.
    fn name_for(&mut self, usual: &str) -> (String, bool) {
        let mut number = 1;
        loop {
            let name = if number == 1 { format!("provider:{usual}") } else { format!("provider:{usual}#{number}") };
            match self.members.iter().position(|member| member.name == name) {
                None => return (name, false),
                Some(at) if self.members[at].handle.strong_count() == 0 => {
                    self.members.remove(at);
                    return (name, true);
                }
                Some(_) => number += 1,
            }
        }
    }
}
