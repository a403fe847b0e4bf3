//! What the tools need from rooms above them: who chooses models, and which bots remember. It is made before the bots are
//! and learns of them when they have started; until then it has nothing to say.

use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use greenroom_bot::{Bots, BotsError};
use greenroom_memory::Namespace;
use greenroom_protocol::{BotSlug, UserId};
use greenroom_provider::{Catalogue, ModelDefinition, Providers};
use greenroom_tools::{DeskError, DeskModel, ModelDesk, Neighbours};

/// The desk.
pub(crate) struct Desk {
    providers: Providers,
    bots: OnceLock<Bots>,
}

impl Desk {
    pub(crate) fn new(providers: Providers) -> Arc<Self> {
        Arc::new(Self { providers, bots: OnceLock::new() })
    }

    /// The bots have started.
    pub(crate) fn open(&self, bots: Bots) {
        let _ = self.bots.set(bots);
    }

    fn bots(&self) -> Result<&Bots, DeskError> {
        self.bots.get().ok_or(DeskError::Unavailable)
    }

    fn active(&self, bot: &BotSlug, user: &UserId) -> Result<Option<String>, DeskError> {
        Ok(self.bots()?.active_model(Some(bot), Some(user)))
    }
}

fn shown(model: &ModelDefinition, active: Option<&str>) -> DeskModel {
    DeskModel {
        alias: model.alias.clone(),
        kind: model.public_type().to_owned(),
        model_id: model.public_model_id().map(str::to_owned),
        description: model.description.clone(),
        current: active == Some(model.alias.as_str()),
    }
}

/// The models that can answer.
fn usable(catalogue: &Catalogue) -> impl Iterator<Item = &ModelDefinition> {
    catalogue.iter().filter(|model| catalogue.availability(&model.alias).is_ok())
}

impl ModelDesk for Desk {
    fn current<'a>(&'a self, bot: &'a BotSlug, user: &'a UserId) -> BoxFuture<'a, Result<DeskModel, DeskError>> {
        async move {
            let active = self.active(bot, user)?.ok_or(DeskError::Unavailable)?;
            let catalogue = self.providers.catalogue();
            catalogue.get(&active).map(|model| shown(model, Some(&active))).ok_or(DeskError::Unavailable)
        }
        .boxed()
    }

    fn list<'a>(&'a self, bot: &'a BotSlug, user: &'a UserId) -> BoxFuture<'a, Result<Vec<DeskModel>, DeskError>> {
        async move {
            let active = self.active(bot, user)?;
            let catalogue = self.providers.catalogue();
            Ok(usable(&catalogue).map(|model| shown(model, active.as_deref())).collect())
        }
        .boxed()
    }

    fn switch<'a>(
        &'a self,
        bot: &'a BotSlug,
        user: &'a UserId,
        name: &'a str,
    ) -> BoxFuture<'a, Result<DeskModel, DeskError>> {
        async move {
            let catalogue = self.providers.catalogue();
            let Some(wanted) = catalogue.get(name.trim()) else {
                return Err(DeskError::Unknown {
                    known: usable(&catalogue).map(|model| model.alias.clone()).collect(),
                });
            };
            let switched = self.bots()?.switch_model(Some(bot), Some(user), &wanted.alias).await;
            match switched {
                Ok(switched) if switched.success => Ok(shown(wanted, Some(&wanted.alias))),
                Ok(refused) => Err(DeskError::Refused(refused.message)),
                Err(BotsError::Refused(why)) => Err(DeskError::Refused(why)),
                Err(error) => {
                    tracing::warn!(%error, %bot, "a model could not be switched");
                    Err(DeskError::Unavailable)
                }
            }
        }
        .boxed()
    }
}

impl Neighbours for Desk {
    fn namespaces(&self) -> Vec<Namespace> {
        let Some(bots) = self.bots.get() else { return Vec::new() };
        let directory = bots.directory();
        let remembering = directory.iter().filter(|bot| bot.character().requires_memory);
        remembering.map(|bot| bots.namespace(bot)).collect()
    }
}
