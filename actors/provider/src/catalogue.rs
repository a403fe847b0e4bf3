//! The catalogue: every alias with what it stands for and whether it can be used. A snapshot never changes; a reload makes
//! a new one and swaps it in, and whoever holds the old one goes on with it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::definition::ModelDefinition;
use crate::local::LocalModel;
use crate::provider::ProviderHandle;

/// Where a definition comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The seed file alone.
    Seed,
    /// A database row, which wins.
    Database,
}

/// One alias.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) definition: Arc<ModelDefinition>,
    pub(crate) source: Source,
    /// Who serves it, or why nobody does.
    pub(crate) serving: Result<Arc<ProviderHandle>, String>,
}

/// An immutable snapshot of all models, in order: seeds as their file lists them, then the others by alias.
#[derive(Debug, Default)]
pub struct Catalogue {
    entries: Vec<Arc<Entry>>,
    places: HashMap<String, usize>,
    revision: u64,
}

/// A model as `GET /v1/models` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelListing {
    /// The alias.
    pub id: String,
    /// Always `model`.
    pub object: &'static str,
    /// When it was defined, in Unix seconds.
    pub created: i64,
    /// This service.
    pub owned_by: &'static str,
    /// The public type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The provider's name for it.
    pub model_id: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Whether it can be used.
    pub available: bool,
    /// Why not.
    pub unavailable_reason: Option<String>,
    /// Tokens that fit it.
    pub context_window: u64,
    /// Where the definition comes from.
    pub source: Source,
}

impl Catalogue {
    pub(crate) fn new(entries: Vec<Arc<Entry>>, revision: u64) -> Self {
        let places = entries.iter().enumerate().map(|(at, entry)| (fold(&entry.definition.alias), at)).collect();
        Self { entries, places, revision }
    }

    pub(crate) fn entry(&self, alias: &str) -> Option<&Arc<Entry>> {
        self.places.get(&fold(alias)).map(|at| &self.entries[*at])
    }

    pub(crate) fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// All definitions, in order.
    pub fn iter(&self) -> impl Iterator<Item = &ModelDefinition> {
        self.entries.iter().map(|entry| &*entry.definition)
    }

    /// All aliases, in order.
    #[must_use]
    pub fn aliases(&self) -> Vec<String> {
        self.iter().map(|definition| definition.alias.clone()).collect()
    }

    /// How many models there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no model at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Grows with every change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// A definition by alias, in any case.
    #[must_use]
    pub fn get(&self, alias: &str) -> Option<&ModelDefinition> {
        self.entry(alias).map(|entry| &*entry.definition)
    }

    /// Where a definition comes from.
    #[must_use]
    pub fn source(&self, alias: &str) -> Option<Source> {
        self.entry(alias).map(|entry| entry.source)
    }

    /// Whether a model can be used.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn availability(&self, alias: &str) -> Result<(), String> {
        match self.entry(alias) {
            None => Err(format!("model '{alias}' is not defined")),
            Some(entry) => entry.serving.as_ref().map(|_| ()).map_err(Clone::clone),
        }
    }

    /// The first model in order that can be used.
    #[must_use]
    pub fn first_available(&self) -> Option<&ModelDefinition> {
        self.entries.iter().find(|entry| entry.serving.is_ok()).map(|entry| &*entry.definition)
    }

    /// Name of the provider that serves a model.
    #[must_use]
    pub fn provider_of(&self, alias: &str) -> Option<&str> {
        self.entry(alias)?.serving.as_ref().ok().map(|provider| provider.name.as_str())
    }

    /// A definition by alias, in any case (http-api §8.4).
    ///
    /// # Errors
    /// For people: that there is none, and what there is.
    pub fn find(&self, alias: &str) -> Result<&ModelDefinition, String> {
        self.get(alias).ok_or_else(|| {
            let usable = self.entries.iter().filter(|entry| entry.serving.is_ok());
            let aliases: Vec<&str> = usable.map(|entry| entry.definition.alias.as_str()).collect();
            format!("Model '{alias}' not found. Available models: {}", aliases.join(", "))
        })
    }

    /// The models as they are listed.
    #[must_use]
    pub fn listing(&self) -> Vec<ModelListing> {
        self.entries.iter().map(|entry| entry.listing()).collect()
    }
}

impl Entry {
    /// Tokens that fit the model: by its definition, and never more than its server has loaded it for.
    pub(crate) fn context_window(&self) -> u64 {
        if let Some(model) = self.local() {
            return model.window().into();
        }
        let loaded =
            self.serving.as_ref().ok().and_then(|provider| provider.shared.facts(self.definition.called()).window);
        let defined = self.definition.options.context_window;
        match (defined, loaded) {
            (Some(defined), Some(loaded)) => defined.min(loaded),
            (None, Some(loaded)) => loaded,
            (_, None) => self.definition.context_window(),
        }
    }

    /// The file that serves it, if one does.
    pub(crate) fn local(&self) -> Option<&Arc<LocalModel>> {
        self.serving.as_ref().ok()?.local()
    }

    pub(crate) fn listing(&self) -> ModelListing {
        let definition = &self.definition;
        ModelListing {
            id: definition.alias.clone(),
            object: "model",
            created: definition.created_at.as_second(),
            owned_by: "greenroom",
            kind: definition.public_type().to_owned(),
            model_id: definition.public_model_id().map(str::to_owned),
            description: definition.description.clone(),
            available: self.serving.is_ok(),
            unavailable_reason: self.serving.as_ref().err().cloned(),
            context_window: self.context_window(),
            source: self.source,
        }
    }
}

/// An alias as it is compared.
pub(crate) fn fold(alias: &str) -> String {
    alias.trim().to_lowercase()
}

/// Lays the stored definitions over the seeds. Seeds that were deleted on purpose stay away.
pub(crate) fn overlay(
    seeds: Vec<ModelDefinition>,
    stored: Vec<ModelDefinition>,
    deleted: &HashSet<String>,
    since: Timestamp,
) -> Vec<(ModelDefinition, Source)> {
    let mut rows: Vec<Option<ModelDefinition>> = stored.into_iter().map(Some).collect();
    let mut all = Vec::with_capacity(rows.len() + seeds.len());
    for mut seed in seeds {
        let folded = fold(&seed.alias);
        let row = rows.iter_mut().find(|row| row.as_ref().is_some_and(|row| fold(&row.alias) == folded));
        match row.and_then(Option::take) {
            Some(row) => all.push((row, Source::Database)),
            None if deleted.contains(&folded) => {}
            None => {
                (seed.created_at, seed.updated_at) = (since, since);
                all.push((seed, Source::Seed));
            }
        }
    }
    let mut rest: Vec<ModelDefinition> = rows.into_iter().flatten().collect();
    rest.sort_by_key(|row| fold(&row.alias));
    all.extend(rest.into_iter().map(|row| (row, Source::Database)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definitions(yaml: &str) -> Vec<ModelDefinition> {
        crate::seeds::parse(yaml, Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn stored_definitions_win_and_deleted_seeds_stay_away() {
        let seeds = definitions("models: {b: {type: echo}, a: {type: echo}, gone: {type: echo}}");
        let stored = definitions("models: {z: {type: echo}, A: {type: echo, description: stored}, c: {type: echo}}");
        let all = overlay(seeds, stored, &HashSet::from(["gone".to_owned()]), Timestamp::UNIX_EPOCH);
        let seen: Vec<(&str, Source)> = all.iter().map(|(d, source)| (d.alias.as_str(), *source)).collect();
        assert_eq!(
            seen,
            [("b", Source::Seed), ("A", Source::Database), ("c", Source::Database), ("z", Source::Database)]
        );
    }
}
