//! From a request to a running turn: which bot, which model, which settings, then the bot's concurrency rule.
//!
//! Everything up to the rule is decided from snapshots in memory: no database and no other actor is asked on the way of
//! a request. What the plan says stays true for the turn, whatever is edited meanwhile.

use std::sync::Arc;

use greenroom_memory::Namespace;
use greenroom_protocol::{BotSlug, ChatRequest, MessageId, RequestId, TurnId, UserId};
use greenroom_provider::Engine;
use greenroom_store::StoreError;
use greenroom_turn::{TurnPlan, TurnRef};
use tokio::sync::OwnedSemaphorePermit;

use crate::bot::BotAddress;
use crate::bots::{Bots, House, Inner};
use crate::client_context::{ClientContext, client_context};
use crate::directory::{Bot, Directory};
use crate::error::BotsError;
use crate::lanes::Rule;
use crate::model_choice::{Choice, Look, ModelSource, Shelf, Wish, choose};
use crate::profile::Character;

/// What becomes of the request's system messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SystemMessages {
    /// They are ignored.
    #[default]
    Ignore,
    /// They become the client's context, and betray Home Assistant if they are its.
    AsClientContext,
}

/// A chat request with what the door knows of it.
#[derive(Debug)]
pub struct Ingress {
    /// The checked request; bot and user of a bot-scoped route stand in it.
    pub request: ChatRequest,
    /// The route template.
    pub path: String,
    /// The request's id.
    pub request_id: RequestId,
    /// What becomes of system messages.
    pub system_messages: SystemMessages,
    /// The turn is to end some time after its last viewer has left.
    pub cancel_on_disconnect: bool,
    /// The admission permit.
    pub permit: Option<OwnedSemaphorePermit>,
}

impl Bots {
    /// Begins the turn that answers a request. Waits as the bot's rule demands: at most a few seconds for a turn that is
    /// superseded, longer in a queue. Dropping the future gives the place up, unless the turn has begun.
    ///
    /// # Errors
    /// [`BotsError`]; nothing was begun then.
    pub async fn begin(&self, ingress: Ingress) -> Result<TurnRef, BotsError> {
        let house = self.inner.house.load_full();
        let (plan, address, rule) = self.inner.plan(&house, ingress)?;
        let claim = address.claim(&plan.user, plan.id.clone(), rule).await?;
        let turn = {
            let _passage = claim.passage()?;
            self.inner.turns.begin(plan).await?
        };
        claim.begun();
        Ok(turn)
    }

    /// The bot, or the default bot when none is named.
    pub(crate) fn bot_or_default(&self, bot: Option<&BotSlug>) -> Result<Arc<Bot>, BotsError> {
        let directory = self.directory();
        let found = match bot {
            Some(slug) => directory.get(slug),
            None => directory.default_bot(),
        };
        found.cloned().ok_or_else(|| BotsError::UnknownBot(bot.map(ToString::to_string).unwrap_or_default()))
    }

    /// Tokens that the bot's prompt may have, with the model that answers its default user.
    #[must_use]
    pub fn context_budget(&self, bot: &Bot) -> usize {
        let (inner, user) = (&self.inner, self.user_or_default(None));
        let catalogue = inner.providers.catalogue();
        let choice = choose_model(inner, &self.directory(), bot, &user, None, &*catalogue);
        let engine = choice.and_then(|choice| inner.providers.engine(&choice.alias).ok());
        engine.map_or(0, |engine| bot.turn_settings.context_budget(engine.context_window()))
    }

    /// The bot's memory.
    #[must_use]
    pub fn namespace(&self, bot: &Bot) -> Namespace {
        self.inner.rooms.memory.namespace(bot.slug(), &bot.namespace)
    }

    /// The user, or the configured one, or `default`.
    #[must_use]
    pub fn user_or_default(&self, user: Option<&UserId>) -> UserId {
        self.inner.user_or_default(user)
    }
}

impl Inner {
    fn user_or_default(&self, user: Option<&UserId>) -> UserId {
        user.or(self.settings.default_user.as_ref()).cloned().unwrap_or_else(UserId::fallback)
    }

    /// The models that answer when the chosen one fails before it has said anything; those that cannot are left out.
    fn fallbacks(&self, bot: &Character, engine: &Engine) -> Vec<Engine> {
        let lists = [bot.model_fallbacks.as_slice(), &engine.definition().options.fallbacks];
        in_turn(engine.alias(), lists).into_iter().filter_map(|alias| self.providers.engine(alias).ok()).collect()
    }

    fn plan(&self, house: &House, ingress: Ingress) -> Result<(TurnPlan, BotAddress, Rule), BotsError> {
        let Ingress { request, path, request_id, system_messages, cancel_on_disconnect, permit } = ingress;
        let prompt = request.prompt.filter(|prompt| !prompt.text.trim().is_empty() || !prompt.parts.is_empty());
        let prompt = prompt.ok_or(BotsError::NoPrompt)?;
        let catalogue = self.providers.catalogue();
        let named = (request.bot.as_ref(), request.model.as_deref());
        let meant = meant(&house.directory, named, self.settings.strict_bots, &*catalogue)?;
        let bot = &meant.bot;
        let user = self.user_or_default(request.user.as_ref());
        let choice = choose_model(self, &house.directory, bot, &user, meant.model, &*catalogue);
        let choice = choice.ok_or(BotsError::NoModel)?;
        let address = house.addresses.get(bot.slug()).cloned();
        let address = address.ok_or_else(|| BotsError::Unavailable(bot.slug().clone()))?;
        // An older turn is not superseded for one that cannot begin.
        if !self.store.is_available() {
            return Err(StoreError::Unavailable("the store is being mended".into()).into());
        }
        let context = match system_messages {
            SystemMessages::Ignore => ClientContext::default(),
            SystemMessages::AsClientContext => client_context(&prompt.system, &self.settings.home_patterns),
        };
        let character = bot.character();
        let engine = self.providers.engine(&choice.alias)?;
        let fallbacks = match choice.source {
            ModelSource::AgentBackend => Vec::new(),
            _ => self.fallbacks(character, &engine),
        };
        let tts_mode = speaks(request.tts_mode, character.tts_mode, character.voice_optimized);
        let warnings = request.warnings.into_iter().chain(meant.warnings).chain(choice.warnings).collect();
        let plan = TurnPlan {
            id: TurnId::random(),
            request_id,
            path,
            stream: request.stream,
            persona: bot.persona.clone(),
            namespace: self.rooms.memory.namespace(bot.slug(), &bot.namespace),
            user,
            trigger: request.user_message_id.or_else(|| prompt.id.clone()).unwrap_or_else(MessageId::random),
            prompt,
            sampling: request.sampling,
            client_tools: request.client_tools,
            settings: bot.turn_settings.clone(),
            engine,
            fallbacks,
            warnings,
            tts_mode,
            animations: if tts_mode && request.avatar_visible { request.animations } else { Vec::new() },
            tts_instructions: self.tts_instructions.clone(),
            augment_memory: request.augment_memory,
            extract_memory: request.extract_memory,
            include_summaries: request.include_summaries && character.include_summaries,
            client_context: context.text,
            home_mode: context.home_mode,
            cancel_on_disconnect,
            permit,
        };
        Ok((plan, address, bot.rule))
    }
}

/// The aliases to move on to, the bot's before the model's, each once and without the one that answers anyway.
fn in_turn<'a>(answering: &str, lists: [&'a [String]; 2]) -> Vec<&'a str> {
    let mut order: Vec<&str> = Vec::new();
    for alias in lists.into_iter().flatten() {
        let known = |other: &str| other.eq_ignore_ascii_case(alias);
        if !known(answering) && !order.iter().any(|other| known(other)) {
            order.push(alias);
        }
    }
    order
}

/// Effective speech mode: what request or bot ask for; a bot made for the voice also speaks unless the request says no.
fn speaks(request: Option<bool>, bot: bool, voice_optimized: bool) -> bool {
    request == Some(true) || bot || (voice_optimized && request.is_none())
}

/// Which bot a request means.
struct Meant<'a> {
    bot: Arc<Bot>,
    /// The requested model, unless it named a bot.
    model: Option<&'a str>,
    warnings: Vec<String>,
}

/// A frontend that knows only models picks a bot by its name as model; an alias of that name goes first.
fn meant<'a>(
    directory: &Directory,
    (bot, model): (Option<&BotSlug>, Option<&'a str>),
    strict: bool,
    shelf: &impl Shelf,
) -> Result<Meant<'a>, BotsError> {
    let named_by_model = model.filter(|name| shelf.look(name) == Look::Unknown).and_then(|name| directory.named(name));
    let default = || directory.default_bot().cloned().ok_or_else(|| BotsError::UnknownBot(String::new()));
    let Some(slug) = bot else {
        return Ok(match named_by_model {
            Some(bot) => Meant { bot: bot.clone(), model: None, warnings: Vec::new() },
            None => Meant { bot: default()?, model, warnings: Vec::new() },
        });
    };
    match directory.get(slug) {
        Some(bot) => {
            let model = model.filter(|_| named_by_model.is_none_or(|named| named.slug() != slug));
            Ok(Meant { bot: bot.clone(), model, warnings: Vec::new() })
        }
        None if strict => Err(BotsError::UnknownBot(slug.to_string())),
        None => {
            let bot = default()?;
            let warnings = vec![format!("bot_fallback: bot '{slug}' not found; '{}' answers instead", bot.slug())];
            Ok(Meant { bot, model, warnings })
        }
    }
}

/// The model that answers a user through a bot.
pub(crate) fn choose_model(
    inner: &Inner,
    directory: &Directory,
    bot: &Bot,
    user: &UserId,
    requested: Option<&str>,
    shelf: &impl Shelf,
) -> Option<Choice> {
    let switched = inner.switches.get(bot.slug(), user);
    let wish = Wish {
        requested,
        bot: bot.character(),
        switched: switched.as_deref(),
        default_bot: directory.default_bot().map(|bot| bot.character()),
        default_model: inner.settings.default_model.as_deref(),
    };
    choose(&wish, shelf)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::directory::Ground;
    use crate::profile::{BotProfile, Character};

    struct OneAlias;

    impl Shelf for OneAlias {
        fn look(&self, name: &str) -> Look {
            if name.eq_ignore_ascii_case("mira") { Look::Ready("mira".into()) } else { Look::Unknown }
        }

        fn ready(&self) -> Vec<String> {
            vec!["mira".into()]
        }
    }

    fn directory() -> Directory {
        let profile = |name: &str| {
            let slug = BotSlug::from_stored(name);
            let (character, at) = (Character::blank(&slug), Timestamp::UNIX_EPOCH);
            BotProfile { slug, namespace: name.into(), character, created_at: at, updated_at: at }
        };
        let all = ["mira", "nova", "spark"].map(profile);
        let ground = Ground { default_bot: Some(BotSlug::from_stored("nova")), ..Ground::default() };
        Directory::build(all.into(), &[], &ground).unwrap()
    }

    fn pick(
        bot: Option<&str>,
        model: Option<&str>,
        strict: bool,
    ) -> Result<(String, Option<String>, usize), BotsError> {
        let slug = bot.map(BotSlug::from_stored);
        let meant = meant(&directory(), (slug.as_ref(), model), strict, &OneAlias)?;
        Ok((meant.bot.slug().to_string(), meant.model.map(str::to_owned), meant.warnings.len()))
    }

    #[test]
    fn a_model_that_is_a_bot_selects_it() {
        let found = |bot, model| pick(bot, model, true).unwrap();
        assert_eq!(found(None, None), ("nova".into(), None, 0));
        assert_eq!(found(None, Some("Spark")), ("spark".into(), None, 0));
        assert_eq!(found(None, Some("gpt")), ("nova".into(), Some("gpt".into()), 0));
        // The name of a bot and of a model: it is the model.
        assert_eq!(found(None, Some("mira")), ("nova".into(), Some("mira".into()), 0));
        assert_eq!(found(Some("spark"), Some("spark")), ("spark".into(), None, 0));
        assert_eq!(found(Some("spark"), Some("nova")), ("spark".into(), Some("nova".into()), 0));
    }

    #[test]
    fn an_unknown_bot_is_an_error_or_a_fallback() {
        assert!(matches!(pick(Some("gone"), None, true), Err(BotsError::UnknownBot(name)) if name == "gone"));
        assert_eq!(pick(Some("gone"), Some("gpt"), false).unwrap(), ("nova".into(), Some("gpt".into()), 1));
    }

    #[test]
    fn fallbacks_are_tried_once_and_in_order() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (bots, models) = (list(&["b", "A", "c"]), list(&["C", "d", "b"]));
        assert_eq!(in_turn("a", [&bots, &models]), ["b", "c", "d"]);
        assert!(in_turn("a", [&[], &[]]).is_empty());
    }

    #[test]
    fn speech_is_asked_for_or_the_bots_nature() {
        assert!(speaks(Some(true), false, false) && speaks(None, true, false) && speaks(Some(false), true, false));
        assert!(speaks(None, false, true) && !speaks(Some(false), false, true) && !speaks(None, false, false));
    }
}
