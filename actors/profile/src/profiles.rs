//! The room's handle.
//!
//! Invariants: attributes of one profile are changed one writer at a time (the row lock of its head); every change raises the
//! head's version, which is what cached texts are kept by; a change of attributes makes the portrait stale.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use deadpool_postgres::GenericClient;
use greenroom_protocol::{BotSlug, UserId};
use greenroom_store::Store;
use jiff::Timestamp;
use lru::LruCache;

use crate::attribute::{
    Attribute, AttributeDraft, AttributeFilter, AttributePage, AttributePatch, HistoryEntry, KEY_MAX, Upserted,
};
use crate::entity::{Entity, EntityType};
use crate::error::ProfileError;
use crate::profile::{Header, NAME_MAX, ProfileDetail, ProfileFilter, ProfilePage, ProfilePatch};
use crate::repository::{AttributeRepository, ProfileRepository, Which};
use crate::text::ProfileText;

/// Most texts that are kept.
const TEXTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);
/// Longest id of a source message, in characters.
const MESSAGE_ID_MAX: usize = 100;
/// Shortest words to delete by, in characters.
const WORDS_MIN: usize = 2;

/// Handle to the profiles.
#[derive(Clone)]
pub struct Profiles {
    pub(crate) store: Store,
    texts: Arc<Mutex<LruCache<Entity, Arc<ProfileText>>>>,
}

impl std::fmt::Debug for Profiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profiles").finish_non_exhaustive()
    }
}

/// What a turn's prompt says about the two who talk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TurnProfiles {
    /// The person.
    pub user: Arc<ProfileText>,
    /// The bot.
    pub bot: Arc<ProfileText>,
}

impl Profiles {
    /// The profiles of a database.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, texts: Arc::new(Mutex::new(LruCache::new(TEXTS))) }
    }

    /// The texts for one turn: one indexed statement when nothing has changed.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn for_turn(&self, user: &UserId, bot: &BotSlug) -> Result<TurnProfiles, ProfileError> {
        // A user id that is too long for a profile has none.
        let (user, bot) = (Entity::user(user).ok(), Entity::bot(bot));
        let db = self.store.connection().await?;
        let (of_user, of_bot) = ProfileRepository::versions_on(&db, user.as_ref(), Some(&bot)).await?;
        let user = match &user {
            Some(user) => self.text_on(&db, user, of_user).await?,
            None => Arc::default(),
        };
        Ok(TurnProfiles { user, bot: self.text_on(&db, &bot, of_bot).await? })
    }

    /// What there is to say about a user.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn user_text(&self, user: &UserId) -> Result<Arc<ProfileText>, ProfileError> {
        let Ok(user) = Entity::user(user) else { return Ok(Arc::default()) };
        let db = self.store.connection().await?;
        let (version, _) = ProfileRepository::versions_on(&db, Some(&user), None).await?;
        self.text_on(&db, &user, version).await
    }

    /// What there is to say to a bot about itself.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn bot_text(&self, bot: &BotSlug) -> Result<Arc<ProfileText>, ProfileError> {
        let bot = Entity::bot(bot);
        let db = self.store.connection().await?;
        let (_, version) = ProfileRepository::versions_on(&db, None, Some(&bot)).await?;
        self.text_on(&db, &bot, version).await
    }

    async fn text_on(
        &self,
        db: &impl GenericClient,
        entity: &Entity,
        version: i64,
    ) -> Result<Arc<ProfileText>, ProfileError> {
        if version == 0 {
            return Ok(Arc::default());
        }
        if let Some(known) = self.texts().get(entity).filter(|known| known.version == version) {
            return Ok(known.clone());
        }
        // The head is read before the attributes: a change in between is told by its version the next time.
        let Some(header) = ProfileRepository::find_on(db, entity).await? else { return Ok(Arc::default()) };
        let attributes = AttributeRepository::of_on(db, &[entity]).await?;
        let text = Arc::new(ProfileText::of(&ProfileDetail { header, attributes }));
        self.texts().put(entity.clone(), text.clone());
        Ok(text)
    }

    fn texts(&self) -> std::sync::MutexGuard<'_, LruCache<Entity, Arc<ProfileText>>> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One page of profiles with their attributes.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn list(&self, filter: &ProfileFilter) -> Result<ProfilePage, ProfileError> {
        let db = self.store.connection().await?;
        let (limit, offset) = (filter.limit.clamp(1, 500), filter.offset.max(0));
        let (headers, total_count) = ProfileRepository::page_on(&db, filter.entity_type, limit, offset).await?;
        let entities: Vec<&Entity> = headers.iter().map(|header| &header.entity).collect();
        let mut attributes: HashMap<Entity, Vec<Attribute>> = HashMap::new();
        for attribute in AttributeRepository::of_on(&db, &entities).await? {
            attributes.entry(attribute.entity.clone()).or_default().push(attribute);
        }
        let detail = |header: Header| {
            let attributes = attributes.remove(&header.entity).unwrap_or_default();
            ProfileDetail { header, attributes }
        };
        Ok(ProfilePage { profiles: headers.into_iter().map(detail).collect(), total_count })
    }

    /// The profile of whoever has this id, a user before a bot.
    ///
    /// # Errors
    /// [`ProfileError::NoProfile`], [`ProfileError::Store`].
    pub async fn find(&self, id: &str) -> Result<ProfileDetail, ProfileError> {
        let unknown = || ProfileError::NoProfile(id.chars().take(100).collect());
        let entity = Entity::new(EntityType::User, id).map_err(|_| unknown())?;
        let db = self.store.connection().await?;
        let header = ProfileRepository::find_any_on(&db, entity.id()).await?.ok_or_else(unknown)?;
        detail_on(&db, header).await
    }

    /// One profile.
    ///
    /// # Errors
    /// [`ProfileError::NoEntity`], [`ProfileError::Store`].
    pub async fn get(&self, entity: &Entity) -> Result<ProfileDetail, ProfileError> {
        let db = self.store.connection().await?;
        let header = ProfileRepository::find_on(&db, entity).await?;
        detail_on(&db, header.ok_or_else(|| ProfileError::NoEntity(entity.clone()))?).await
    }

    /// The user with an e-mail address, in any case.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn lookup(&self, email: &str) -> Result<Option<Header>, ProfileError> {
        let email = email.trim().to_lowercase();
        if email.is_empty() || email.contains('\0') {
            return Ok(None);
        }
        let db = self.store.connection().await?;
        ProfileRepository::by_email_on(&db, &email).await
    }

    /// Edits the head of a profile; makes the profile if there is none.
    ///
    /// # Errors
    /// [`ProfileError::EmailTaken`], [`ProfileError::Refused`] for a bot's e-mail address, [`ProfileError::Store`].
    pub async fn patch(&self, entity: &Entity, patch: &ProfilePatch) -> Result<ProfileDetail, ProfileError> {
        if entity.kind() == EntityType::Bot && patch.email.as_ref().is_some_and(|email| !email.is_empty()) {
            return Err(ProfileError::Refused("Only users have e-mail addresses".into()));
        }
        let now = Timestamp::now();
        let mut db = self.store.connection().await?;
        let transaction = db.transaction().await?;
        ProfileRepository::lock_on(&transaction, entity, now).await?;
        ProfileRepository::patch_on(&transaction, entity, patch, now).await?;
        transaction.commit().await?;
        let header = ProfileRepository::find_on(&db, entity).await?;
        detail_on(&db, header.ok_or_else(|| ProfileError::NoEntity(entity.clone()))?).await
    }

    /// One page of attributes.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn attributes(&self, filter: &AttributeFilter) -> Result<AttributePage, ProfileError> {
        let filter = filter.canonical();
        let texts = [&filter.entity_id, &filter.category, &filter.key, &filter.source];
        if texts.iter().any(|text| text.as_ref().is_some_and(|text| text.contains('\0'))) {
            return Ok(AttributePage { attributes: Vec::new(), total_count: 0 });
        }
        let db = self.store.connection().await?;
        let (attributes, total_count) = AttributeRepository::page_on(&db, &filter).await?;
        Ok(AttributePage { attributes, total_count })
    }

    /// Stores an attribute. The word of a higher rank stands (explicit, then self, migrated, learned and system, then
    /// inferred, then extracted), unless the new one is surer by 0.2 or the old one is older than 180 days; what does not
    /// win is noted as a candidate. The same value said again becomes surer by 0.05.
    ///
    /// # Errors
    /// As [`Self::upsert_on`].
    pub async fn upsert(&self, draft: &AttributeDraft) -> Result<Upserted, ProfileError> {
        let mut db = self.store.connection().await?;
        let transaction = db.transaction().await?;
        let upserted = Self::upsert_on(&transaction, draft, Timestamp::now()).await?;
        transaction.commit().await?;
        Ok(upserted)
    }

    /// [`Self::upsert`] inside the caller's transaction, which holds the profile's row lock from then on: whoever writes to
    /// several profiles does so in the order of [`Entity`].
    ///
    /// # Errors
    /// [`ProfileError::Refused`] when the profile is full, [`ProfileError::Invalid`], [`ProfileError::Store`].
    pub async fn upsert_on(
        db: &impl GenericClient,
        draft: &AttributeDraft,
        now: Timestamp,
    ) -> Result<Upserted, ProfileError> {
        let message = draft.source_message.as_deref().unwrap_or_default();
        if message.chars().count() > MESSAGE_ID_MAX || message.contains('\0') {
            return Err(ProfileError::Refused("The id of a source message has at most 100 characters".into()));
        }
        ProfileRepository::lock_on(db, &draft.entity, now).await?;
        let upserted = AttributeRepository::upsert_on(db, draft, now).await?;
        upserted.ok_or_else(|| ProfileError::Refused("This profile has no room for more attributes".into()))
    }

    /// Edits one attribute as it was ordered, whatever its rank.
    ///
    /// # Errors
    /// [`ProfileError::NoAttribute`], [`ProfileError::Store`].
    pub async fn patch_attribute(
        &self,
        id: i64,
        patch: &AttributePatch,
        actor: Option<&str>,
    ) -> Result<Attribute, ProfileError> {
        let now = Timestamp::now();
        let mut db = self.store.connection().await?;
        let transaction = db.transaction().await?;
        let entity = AttributeRepository::owner_on(&transaction, id).await?.ok_or(ProfileError::NoAttribute(id))?;
        ProfileRepository::lock_on(&transaction, &entity, now).await?;
        let patched = AttributeRepository::patch_on(&transaction, id, patch, actor, now).await?;
        let patched = patched.ok_or(ProfileError::NoAttribute(id))?;
        ProfileRepository::touch_on(&transaction, &entity, now).await?;
        transaction.commit().await?;
        Ok(patched)
    }

    /// Deletes one attribute.
    ///
    /// # Errors
    /// [`ProfileError::NoAttribute`], [`ProfileError::Store`].
    pub async fn delete_attribute(&self, id: i64, actor: Option<&str>) -> Result<Attribute, ProfileError> {
        let owner = {
            let db = self.store.connection().await?;
            AttributeRepository::owner_on(&db, id).await?.ok_or(ProfileError::NoAttribute(id))?
        };
        let gone = self.delete(&owner, &Which { id: Some(id), ..Which::default() }, actor).await?;
        gone.into_iter().next().ok_or(ProfileError::NoAttribute(id))
    }

    /// Deletes an attribute by its key, in one category or in all. Gives what is gone.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn delete_key(
        &self,
        entity: &Entity,
        category: Option<&str>,
        key: &str,
        actor: Option<&str>,
    ) -> Result<Vec<Attribute>, ProfileError> {
        let (category, key) = (category.map(|it| it.trim().to_lowercase()), key.trim().to_lowercase());
        let which = Which { category: category.as_deref(), key: Some(&key), ..Which::default() };
        self.delete(entity, &which, actor).await
    }

    /// Deletes a whole category. Gives what is gone.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn delete_category(
        &self,
        entity: &Entity,
        category: &str,
        actor: Option<&str>,
    ) -> Result<Vec<Attribute>, ProfileError> {
        let category = category.trim().to_lowercase();
        self.delete(entity, &Which { category: Some(&category), ..Which::default() }, actor).await
    }

    /// Deletes every attribute in whose key or value the words occur, in any case. Gives what is gone.
    ///
    /// # Errors
    /// [`ProfileError::Refused`] for less than two characters, [`ProfileError::Store`].
    pub async fn delete_matching(
        &self,
        entity: &Entity,
        words: &str,
        actor: Option<&str>,
    ) -> Result<Vec<Attribute>, ProfileError> {
        let words: String = words.trim().to_lowercase().chars().take(KEY_MAX).collect();
        if words.chars().count() < WORDS_MIN {
            return Err(ProfileError::Refused("A query has at least two characters".into()));
        }
        self.delete(entity, &Which { words: Some(&words), ..Which::default() }, actor).await
    }

    async fn delete(
        &self,
        entity: &Entity,
        which: &Which<'_>,
        actor: Option<&str>,
    ) -> Result<Vec<Attribute>, ProfileError> {
        if [which.category, which.key, which.words].iter().flatten().any(|text| text.contains('\0')) {
            return Ok(Vec::new());
        }
        let now = Timestamp::now();
        let mut db = self.store.connection().await?;
        let transaction = db.transaction().await?;
        ProfileRepository::lock_on(&transaction, entity, now).await?;
        let gone = AttributeRepository::delete_on(&transaction, entity, which, actor, now).await?;
        if gone.is_empty() {
            // Nothing happened, and the lock may have made a profile.
            transaction.rollback().await?;
            return Ok(gone);
        }
        ProfileRepository::touch_on(&transaction, entity, now).await?;
        transaction.commit().await?;
        Ok(gone)
    }

    /// What was said about an entity's attributes and what became of it, newest first; at most 500 entries.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn history(&self, entity: &Entity, limit: i64) -> Result<Vec<HistoryEntry>, ProfileError> {
        let db = self.store.connection().await?;
        AttributeRepository::history_on(&db, entity, limit.clamp(1, 500)).await
    }

    /// Sets the display name inside the caller's transaction. A bot's name is refused: false, as for a name that is blank,
    /// too long or already there.
    ///
    /// # Errors
    /// [`ProfileError::Store`].
    pub async fn set_display_name_on(
        db: &impl GenericClient,
        entity: &Entity,
        name: &str,
        now: Timestamp,
        is_bot_name: impl Fn(&str) -> bool,
    ) -> Result<bool, ProfileError> {
        let name = name.trim();
        let fits = (1..=NAME_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        if !fits || is_bot_name(name) {
            return Ok(false);
        }
        ProfileRepository::lock_on(db, entity, now).await?;
        ProfileRepository::rename_on(db, entity, name, now).await
    }
}

pub(crate) async fn detail_on(db: &impl GenericClient, header: Header) -> Result<ProfileDetail, ProfileError> {
    let attributes = AttributeRepository::of_on(db, &[&header.entity]).await?;
    Ok(ProfileDetail { header, attributes })
}
