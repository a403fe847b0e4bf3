//! Model switches: the model a user wants from a bot until further notice.
//!
//! One switch per (bot, user), kept in memory for the request path and written through to the database, with an expiry.
//! A request that names a model goes before the switch, for that turn only.

use std::collections::HashMap;
use std::sync::Mutex;

use greenroom_kit::lock;
use greenroom_protocol::{BotSlug, UserId};
use jiff::Timestamp;
use serde::Serialize;

use crate::begin::choose_model;
use crate::bots::{Bots, now};
use crate::directory::Bot;
use crate::error::BotsError;
use crate::model_choice::{Look, ModelSource, Shelf};
use crate::repository::{ModelOverride, ModelOverrideRepository};

/// Alias and expiry, by user.
type OfBot = HashMap<UserId, (String, Timestamp)>;

/// The switches that hold.
#[derive(Debug, Default)]
pub(crate) struct Switches {
    by_bot: Mutex<HashMap<BotSlug, OfBot>>,
}

impl Switches {
    pub(crate) fn get(&self, bot: &BotSlug, user: &UserId) -> Option<String> {
        let mut by_bot = lock(&self.by_bot);
        let users = by_bot.get_mut(bot)?;
        let (alias, expires_at) = users.get(user)?;
        if *expires_at > Timestamp::now() {
            return Some(alias.clone());
        }
        users.remove(user);
        None
    }

    pub(crate) fn fill(&self, switches: Vec<ModelOverride>) {
        let mut by_bot = lock(&self.by_bot);
        for switch in switches {
            by_bot.entry(switch.bot).or_default().insert(switch.user, (switch.alias, switch.expires_at));
        }
    }

    pub(crate) fn clear(&self, bot: Option<&BotSlug>) {
        let mut by_bot = lock(&self.by_bot);
        match bot {
            Some(bot) => {
                by_bot.remove(bot);
            }
            None => by_bot.clear(),
        }
    }
}

/// What a switch did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Switched {
    /// False when the bot does not take switches.
    pub success: bool,
    /// For people.
    pub message: String,
    /// The model that answered before.
    pub previous_model: Option<String>,
    /// The model that answers from now on, as the request spelled it.
    pub new_model: String,
    /// The bot it concerns.
    pub bot_id: BotSlug,
    /// Until when it holds.
    pub expires_at: Option<String>,
}

impl Bots {
    /// The alias that would answer this user now, if the request named no model.
    #[must_use]
    pub fn active_model(&self, bot: Option<&BotSlug>, user: Option<&UserId>) -> Option<String> {
        let bot = self.bot_or_default(bot).ok()?;
        self.choice(&bot, &self.user_or_default(user)).map(|(alias, _)| alias)
    }

    fn choice(&self, bot: &Bot, user: &UserId) -> Option<(String, ModelSource)> {
        let catalogue = self.inner.providers.catalogue();
        let choice = choose_model(&self.inner, &self.directory(), bot, user, None, &*catalogue)?;
        Some((choice.alias, choice.source))
    }

    /// Switches the model with which a bot answers a user, from the next request on.
    ///
    /// # Errors
    /// [`BotsError::Refused`] for a model that cannot answer, [`BotsError::UnknownBot`], or the database's error.
    pub async fn switch_model(
        &self,
        bot: Option<&BotSlug>,
        user: Option<&UserId>,
        model: &str,
    ) -> Result<Switched, BotsError> {
        let (bot, user) = (self.bot_or_default(bot)?, self.user_or_default(user));
        let catalogue = self.inner.providers.catalogue();
        let alias = match catalogue.look(model.trim()) {
            Look::Ready(alias) => alias,
            Look::Unavailable { alias, reason } => {
                return Err(BotsError::Refused(format!("Model '{alias}' is not available: {reason}")));
            }
            Look::Unknown => {
                let ready = catalogue.ready().join(", ");
                return Err(BotsError::Refused(format!("Model '{model}' not found. Available models: {ready}")));
            }
        };
        let before = self.choice(&bot, &user);
        let previous_model = before.as_ref().map(|(alias, _)| alias.clone());
        let mut switched = Switched {
            success: true,
            message: String::new(),
            previous_model,
            new_model: model.to_owned(),
            bot_id: bot.slug().clone(),
            expires_at: None,
        };
        match before {
            Some((present, ModelSource::AgentBackend)) => {
                switched.success = false;
                switched.message = format!("Bot '{}' answers through '{present}' and takes no switches", bot.slug());
                switched.new_model = present;
                return Ok(switched);
            }
            Some((present, _)) if present == alias => {
                switched.message = format!("Model '{alias}' is already active");
                return Ok(switched);
            }
            Some(_) | None => {}
        }
        let lifetime = self.inner.settings.switch_lifetime;
        let expires_at = now().checked_add(lifetime).unwrap_or(Timestamp::MAX);
        let switch = ModelOverride { bot: bot.slug().clone(), user, alias: alias.clone(), expires_at };
        self.complete(|inner| async move {
            let _one_at_a_time = inner.writing().await;
            let db = inner.store.connection().await?;
            ModelOverrideRepository::put_on(&db, &switch).await?;
            inner.switches.fill(vec![switch]);
            Ok(())
        })
        .await?;
        switched.message = format!("Model '{alias}' answers from the next request on");
        switched.expires_at = Some(greenroom_protocol::time::wire_time(expires_at));
        Ok(switched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_holds_until_it_expires_or_is_cleared() {
        let (bot, ann, bob) = (BotSlug::from_stored("b"), UserId::from_stored("ann"), UserId::from_stored("bob"));
        let switches = Switches::default();
        let make = |user: &UserId, expires_at| ModelOverride {
            bot: bot.clone(),
            user: user.clone(),
            alias: "m".into(),
            expires_at,
        };
        switches.fill(vec![make(&ann, Timestamp::MAX), make(&bob, Timestamp::UNIX_EPOCH)]);
        assert_eq!(switches.get(&bot, &ann).as_deref(), Some("m"));
        assert_eq!(switches.get(&bot, &bob), None);
        assert_eq!(switches.get(&BotSlug::from_stored("c"), &ann), None);
        switches.clear(Some(&bot));
        assert_eq!(switches.get(&bot, &ann), None);
    }
}
