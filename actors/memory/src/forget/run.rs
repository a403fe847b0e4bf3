//! The commands: forget, restore, preview.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use uuid::Uuid;

use super::plan::{places, plan, spliced};
use super::{ForgetRequest, ForgetTarget, Forgotten, MOST_FORGOTTEN, RestoreRequest, RestoreWhat, Restored, Tombstone};
use crate::MemoryError;
use crate::exclusive::{Boxed, Exclusive};
use crate::memories::{Reach, tombstone_on};
use crate::message::StoredMessage;
use crate::namespace::Namespace;
use crate::reference::shown;
use crate::repository::{
    Buried, ForgottenRepository, MemoryRepository, MemoryWrites, MessageRepository, TombstoneRepository,
};

/// Most rows that a preview shows.
const MOST_SHOWN: i64 = 500;
/// Links of a chain that a restore follows.
const LONGEST_CHAIN: usize = 64;

impl Namespace {
    /// Forgets messages and what rests on nothing else: see the module.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] for a count below one or too many messages, [`MemoryError::NotFound`] for a message that
    /// does not exist, the namespace, the database.
    pub async fn forget(&self, request: ForgetRequest) -> Result<Forgotten, MemoryError> {
        self.forget_with(request, |_, _| Box::pin(async { Ok(()) })).await.map(|(forgotten, ())| forgotten)
    }

    /// [`Self::forget`], and in the same transaction what other rooms know from those messages. Gives what that gave.
    ///
    /// # Errors
    /// As [`Self::forget`], and those of `also`; nothing was forgotten then.
    pub async fn forget_with<T, E, F>(&self, request: ForgetRequest, also: F) -> Result<(Forgotten, T), E>
    where
        T: Send + 'static,
        E: From<MemoryError> + Send + 'static,
        F: for<'x, 't> FnOnce(&'x mut Exclusive<'t>, &'x Forgotten) -> Boxed<'x, Result<T, E>> + Send + 'static,
    {
        let by = request.by.as_deref().map(shown);
        let request = ForgetRequest { by, ..request };
        let request = match request.target {
            ForgetTarget::Newest(count) if !(1..=MOST_FORGOTTEN).contains(&count) => {
                return Err(MemoryError::Invalid(format!("count must be 1 to {MOST_FORGOTTEN}")).into());
            }
            ForgetTarget::Ids(ref ids) if ids.len() as i64 > MOST_FORGOTTEN => {
                return Err(too_many().into());
            }
            ForgetTarget::Message(reference) => {
                let id = self.message_id(&reference).await?;
                ForgetRequest { target: ForgetTarget::Ids(vec![id]), ..request }
            }
            _ => request,
        };
        self.exclusive("forget", move |x| {
            Box::pin(async move {
                let forgotten = forget_on(x, request).await?;
                let more = also(x, &forgotten).await?;
                Ok((forgotten, more))
            })
        })
        .await
    }

    /// Brings back what was forgotten.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn restore(&self, request: RestoreRequest) -> Result<Restored, MemoryError> {
        self.restore_with(request, |_, _| Box::pin(async { Ok(()) })).await.map(|(restored, ())| restored)
    }

    /// [`Self::restore`], and in the same transaction what other rooms had let go of. Gives what that gave.
    ///
    /// # Errors
    /// As [`Self::restore`], and those of `also`; nothing was restored then.
    pub async fn restore_with<T, E, F>(&self, request: RestoreRequest, also: F) -> Result<(Restored, T), E>
    where
        T: Send + 'static,
        E: From<MemoryError> + Send + 'static,
        F: for<'x, 't> FnOnce(&'x mut Exclusive<'t>, &'x Restored) -> Boxed<'x, Result<T, E>> + Send + 'static,
    {
        self.exclusive("restore", move |x| {
            Box::pin(async move {
                let restored = restore_on(x, request).await?;
                let more = also(x, &restored).await?;
                Ok((restored, more))
            })
        })
        .await
    }

    /// What forgetting the newest `count` would take, oldest first.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn preview_recent(&self, count: i64) -> Result<Vec<StoredMessage>, MemoryError> {
        let db = self.store().connection().await?;
        let limit = count.clamp(1, MOST_SHOWN);
        let mut said = MessageRepository::said_on(&db, self.bot(), None, None, None, false, limit).await?;
        said.reverse();
        Ok(said)
    }

    /// What forgetting since a time would take, oldest first, at most the newest 500.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn preview_since(&self, since: Timestamp) -> Result<Vec<StoredMessage>, MemoryError> {
        let db = self.store().connection().await?;
        let mut said = MessageRepository::said_on(&db, self.bot(), None, None, Some(since), false, MOST_SHOWN).await?;
        said.reverse();
        Ok(said)
    }

    /// Tombstones, the latest forgotten first, at most 500. `memories` chooses the kind; both when absent.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn preview_forgotten(&self, memories: Option<bool>, limit: i64) -> Result<Vec<Tombstone>, MemoryError> {
        let kind = memories.map(|memories| if memories { "memory" } else { "message" });
        let db = self.store().connection().await?;
        TombstoneRepository::list_on(&db, self.bot(), kind, limit.clamp(1, MOST_SHOWN)).await
    }
}

fn too_many() -> MemoryError {
    MemoryError::Invalid(format!("at most {MOST_FORGOTTEN} messages can be forgotten at once"))
}

async fn forget_on(x: &mut Exclusive<'_>, request: ForgetRequest) -> Result<Forgotten, MemoryError> {
    let user = request.user.as_ref();
    let limit = MOST_FORGOTTEN + 1;
    let targets = match request.target {
        ForgetTarget::Newest(count) => TombstoneRepository::newest_on(x.db, x.bot, user, count).await?,
        ForgetTarget::Since(time) => TombstoneRepository::since_on(x.db, x.bot, user, time, limit).await?,
        ForgetTarget::Session(id) => TombstoneRepository::of_session_on(x.db, x.bot, user, id, limit).await?,
        ForgetTarget::Ids(ids) => ids,
        // Resolved into its id before the command began.
        ForgetTarget::Message(_) => Vec::new(),
    };
    if targets.len() as i64 > MOST_FORGOTTEN {
        return Err(too_many());
    }
    let targets = TombstoneRepository::lock_with_tools_on(x.db, x.bot, &targets).await?;
    if targets.is_empty() {
        return Ok(Forgotten { dry_run: request.dry_run, ..Forgotten::default() });
    }
    let affected = MemoryRepository::lock_from_sources_on(x.db, x.bot, &targets).await?;
    let plan = plan(affected, &targets);
    let dry_run = request.dry_run;
    let summaries_stale = TombstoneRepository::summaries_of_on(x.db, x.bot, &targets, !dry_run).await?;
    let mut forgotten = Forgotten {
        batch_id: None,
        memories_trimmed: plan.trimmed.len(),
        memories_reactivated: Vec::new(),
        summaries_stale,
        dry_run,
        memory_ids: plan.doomed,
        message_ids: targets,
    };
    if dry_run {
        return Ok(forgotten);
    }
    let batch = Uuid::new_v4();
    let why = (request.reason, request.by.as_deref());
    MemoryWrites::set_sources_on(x.db, x.bot, &plan.trimmed).await?;
    let (_, reactivated) = tombstone_on(x, &forgotten.memory_ids, why, batch, Reach::Alone).await?;
    let messages = &forgotten.message_ids;
    ForgottenRepository::bury_messages_on(x.db, x.bot, messages, &plan.links, why, batch).await?;
    x.changes.messages(messages.iter().copied());
    forgotten.memories_reactivated = reactivated;
    forgotten.batch_id = Some(batch);
    Ok(forgotten)
}

async fn restore_on(x: &mut Exclusive<'_>, request: RestoreRequest) -> Result<Restored, MemoryError> {
    let (batch, ids, by_hand) = match &request.what {
        RestoreWhat::All => (None, None, false),
        RestoreWhat::Batch(batch) => (Some(*batch), None, false),
        RestoreWhat::Ids(ids) if ids.len() as i64 > MOST_FORGOTTEN => return Err(too_many()),
        RestoreWhat::Ids(ids) => (None, Some(ids.as_slice()), true),
    };
    let buried = TombstoneRepository::lock_on(x.db, x.bot, batch, ids).await?;
    let batches: BTreeSet<Uuid> = buried.iter().map(|tombstone| tombstone.batch).collect();
    let mut restored =
        Restored { batches: batches.into_iter().collect(), dry_run: request.dry_run, ..Restored::default() };
    let (memories, messages): (Vec<Buried>, Vec<Buried>) =
        buried.into_iter().partition(|tombstone| tombstone.is_memory);
    if request.dry_run {
        restored.messages_restored = messages.len();
        restored.memories_restored = memories.len();
        return Ok(restored);
    }
    let total = memories.len() + messages.len();
    let back = restore_messages(x, &messages).await?;
    let revived = restore_memories(x, memories, by_hand).await?;
    restored.messages_restored = back.len();
    restored.memories_restored = revived.len();
    restored.kept = total - back.len() - revived.len();
    let summaries = TombstoneRepository::revive_summaries_on(x.db, x.bot).await?;
    restored.summaries_restored = usize::try_from(summaries).unwrap_or(usize::MAX);
    Ok(restored)
}

async fn restore_messages(x: &mut Exclusive<'_>, buried: &[Buried]) -> Result<Vec<Uuid>, MemoryError> {
    let wanted: Vec<Uuid> = buried.iter().map(|tombstone| tombstone.id).collect();
    if wanted.is_empty() {
        return Ok(wanted);
    }
    let back = ForgottenRepository::revive_messages_on(x.db, x.bot, &wanted).await?;
    ForgottenRepository::remove_on(x.db, x.bot, "message", &back).await?;
    let came: HashSet<Uuid> = back.iter().copied().collect();
    let places =
        places(buried.iter().filter(|tombstone| came.contains(&tombstone.id)).map(|t| (t.id, t.links.as_ref())));
    // A memory that lost a source is either still there or was forgotten later.
    let touched: Vec<Uuid> = places.keys().copied().collect();
    let at = |id: &Uuid| places.get(id).map_or(&[][..], Vec::as_slice);
    let living = MemoryRepository::lock_sources_on(x.db, x.bot, &touched).await?;
    let living: Vec<_> = living.into_iter().map(|(id, list)| (id, spliced(list, at(&id)))).collect();
    MemoryWrites::set_sources_on(x.db, x.bot, &living).await?;
    let dead = TombstoneRepository::sources_on(x.db, x.bot, &touched).await?;
    let dead: Vec<_> = dead.into_iter().map(|(id, list)| (id, spliced(list, at(&id)))).collect();
    TombstoneRepository::set_sources_on(x.db, x.bot, &dead).await?;
    x.changes.messages(back.iter().copied());
    Ok(back)
}

/// Successors come back before what they superseded, which points to them. Where a successor is lost, a memory that was
/// asked for by hand becomes active; others stay buried.
async fn restore_memories(x: &mut Exclusive<'_>, buried: Vec<Buried>, by_hand: bool) -> Result<Vec<Uuid>, MemoryError> {
    let mut links: HashMap<Uuid, serde_json::Value> = HashMap::new();
    let mut waiting: Vec<(Uuid, Option<Uuid>)> = Vec::new();
    for tombstone in buried {
        waiting.push((tombstone.id, tombstone.successor));
        if let Some(json) = tombstone.links {
            links.insert(tombstone.id, json);
        }
    }
    let mut revived = Vec::new();
    for _ in 0..LONGEST_CHAIN {
        let successors: Vec<Uuid> = waiting.iter().filter_map(|(_, successor)| *successor).collect();
        let known = MemoryRepository::existing_on(x.db, x.bot, &successors).await?;
        let is_ready = |successor: &Option<Uuid>| successor.is_none_or(|id| known.contains(&id));
        let (ready, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, successor)| is_ready(successor));
        waiting = rest;
        if ready.is_empty() {
            break;
        }
        revived.extend(ForgottenRepository::revive_memories_on(x.db, x.bot, &ready).await?);
    }
    if by_hand && !waiting.is_empty() {
        let free: Vec<(Uuid, Option<Uuid>)> = waiting.into_iter().map(|(id, _)| (id, None)).collect();
        revived.extend(ForgottenRepository::revive_memories_on(x.db, x.bot, &free).await?);
    }
    for id in &revived {
        if let Some(links) = links.get(id) {
            let moved = ForgottenRepository::relink_on(x.db, x.bot, *id, links).await?;
            x.changes.memories(moved);
        }
    }
    ForgottenRepository::remove_on(x.db, x.bot, "memory", &revived).await?;
    x.changes.memories(revived.iter().copied());
    Ok(revived)
}
