//! Taking in what people bring from elsewhere: messages and memories in batches, idempotent by id, so that an import that
//! was killed can simply be run again. What was forgotten here is not brought back by an import. Nothing is embedded on
//! the way; the embedding worker does it later.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use greenroom_protocol::{BotSlug, MessageId, Role, UserId};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::MemoryError;
use crate::memories::{MemoryDraft, checked_for_import};
use crate::namespace::Namespace;
use crate::repository::{ImportRepository, ImportedMemory, ImportedMessage, SessionSpan, TombstoneRepository};

/// Most records of one batch.
pub const MOST_RECORDS: usize = 5000;
/// Most bytes of one message.
const MOST_BYTES: usize = 4 << 20;
/// Earliest and latest second that is believed: the years 1 and 9999.
const TIMES: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A message to be taken in.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageRecord {
    /// Its id elsewhere; without one it is told from others by time, speaker and text.
    pub id: Option<String>,
    /// Who speaks.
    pub role: Role,
    /// The text.
    pub content: String,
    /// When it was said.
    pub at: Timestamp,
    /// Who spoke, or for whom.
    pub user: Option<UserId>,
    /// A name for the conversation; messages of one name and bot share a session. Without one, silence divides.
    pub session: Option<String>,
    /// Whether it broke off.
    pub partial: bool,
}

/// A memory to be taken in.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryRecord {
    /// Its id elsewhere; without one it is told from others by person and text.
    pub id: Option<String>,
    /// The rest.
    pub memory: MemoryDraft,
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// New rows.
    pub stored: usize,
    /// Known already: nothing was changed.
    pub known: usize,
    /// Forgotten here: not brought back.
    pub forgotten: usize,
    /// Cannot be stored: place in the batch and why.
    pub rejected: Vec<(usize, String)>,
}

impl Namespace {
    /// Takes in messages; all that can be stored go in in one transaction. `gap` of silence divides sessions; `extract`
    /// lets fact extraction look at them later.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] for too large a batch, the namespace, the database; then nothing was stored.
    pub async fn import_messages(
        &self,
        records: Vec<MessageRecord>,
        gap: Duration,
        extract: bool,
    ) -> Result<ImportReport, MemoryError> {
        if records.len() > MOST_RECORDS {
            return Err(MemoryError::Invalid(format!("at most {MOST_RECORDS} records at once")));
        }
        let mut report = ImportReport::default();
        let mut messages: Vec<ImportedMessage> = Vec::with_capacity(records.len());
        let mut seen = HashSet::new();
        for (place, record) in records.into_iter().enumerate() {
            match accepted(self.bot(), record) {
                Ok(message) if seen.insert(message.id) => messages.push(message),
                Ok(_) => report.known += 1,
                Err(why) => report.rejected.push((place, why)),
            }
        }
        if messages.is_empty() {
            return Ok(report);
        }
        self.open().await?;
        let mut db = self.store().connection().await?;
        let transaction = db.transaction().await?;
        let ids: Vec<Uuid> = messages.iter().map(|message| message.id).collect();
        let known = ImportRepository::known_messages_on(&transaction, self.bot(), &ids).await?;
        let buried = TombstoneRepository::among_on(&transaction, self.bot(), "message", &ids).await?;
        let buried: HashSet<Uuid> = buried.into_iter().filter(|id| !known.contains(id)).collect();
        report.known += known.len();
        report.forgotten = buried.len();
        messages.retain(|message| !known.contains(&message.id) && !buried.contains(&message.id));
        messages.sort_by_key(|message| message.at);
        let sessions = self.assign_sessions(&transaction, &mut messages, gap).await?;
        ImportRepository::put_sessions_on(&transaction, self.bot(), &sessions).await?;
        let stored = ImportRepository::put_messages_on(&transaction, self.bot(), &messages, extract).await?;
        transaction.commit().await?;
        report.known += messages.len() - stored.len();
        report.stored = stored.len();
        self.stored(&stored);
        Ok(report)
    }

    /// Gives each message its session: the named one; else that of a stored message of the same person not further away
    /// than `gap`; else a new one for each stretch without such silence.
    async fn assign_sessions(
        &self,
        db: &impl deadpool_postgres::GenericClient,
        messages: &mut [ImportedMessage],
        gap: Duration,
    ) -> Result<Vec<SessionSpan>, MemoryError> {
        let mut spans: Vec<SessionSpan> = Vec::new();
        let mut named: BTreeMap<String, usize> = BTreeMap::new();
        let mut latest: BTreeMap<Option<UserId>, usize> = BTreeMap::new();
        let mut span_of: Vec<usize> = Vec::with_capacity(messages.len());
        for message in messages.iter() {
            let known = match &message.label {
                Some(label) => named.get(label).copied(),
                None => latest
                    .get(&message.user)
                    .copied()
                    .filter(|at| message.at.duration_since(spans[*at].last).unsigned_abs() <= gap),
            };
            let at = known.unwrap_or(spans.len());
            if known.is_none() {
                let id = match &message.label {
                    Some(label) => Uuid::parse_str(label).unwrap_or_else(|_| session_id(self.bot(), label)),
                    None => Uuid::new_v4(),
                };
                let (first, user, label) = (message.at, message.user.clone(), message.label.clone());
                spans.push(SessionSpan { id, user: user.clone(), first, last: first, label: label.clone() });
                match label {
                    Some(label) => named.insert(label, at),
                    None => latest.insert(user, at),
                };
            }
            spans[at].last = message.at;
            span_of.push(at);
        }
        let nearby = ImportRepository::nearby_sessions_on(db, self.bot(), &spans, gap).await?;
        let foreign = ImportRepository::foreign_sessions_on(db, self.bot(), &spans).await?;
        for (span, near) in spans.iter_mut().zip(nearby) {
            match &span.label {
                None => span.id = near.unwrap_or(span.id),
                // An export of another bot keeps its grouping without joining that bot's sessions.
                Some(label) if foreign.contains(&span.id) => span.id = session_id(self.bot(), label),
                Some(_) => {}
            }
        }
        for (message, at) in messages.iter_mut().zip(span_of) {
            message.session = spans[at].id;
        }
        Ok(spans)
    }

    /// Takes in memories, in one transaction. The very same words are stored once.
    ///
    /// # Errors
    /// As [`Self::import_messages`].
    pub async fn import_memories(&self, records: Vec<MemoryRecord>) -> Result<ImportReport, MemoryError> {
        if records.len() > MOST_RECORDS {
            return Err(MemoryError::Invalid(format!("at most {MOST_RECORDS} records at once")));
        }
        let mut report = ImportReport::default();
        let mut memories: Vec<ImportedMemory> = Vec::with_capacity(records.len());
        let mut seen = HashSet::new();
        for (place, record) in records.into_iter().enumerate() {
            let id = own_id(self.bot(), record.id.as_deref());
            match id.and_then(|id| Ok((id, checked_for_import(record.memory).map_err(|error| error.to_string())?))) {
                Ok((id, draft)) => {
                    let id = id.unwrap_or_else(|| memory_id(self.bot(), &draft));
                    if seen.insert(id) {
                        memories.push(ImportedMemory { id, draft });
                    } else {
                        report.known += 1;
                    }
                }
                Err(why) => report.rejected.push((place, why)),
            }
        }
        let done = self.exclusive("import memories", move |x| {
            Box::pin(async move {
                let ids: Vec<Uuid> = memories.iter().map(|memory| memory.id).collect();
                let buried = TombstoneRepository::among_on(x.db, x.bot, "memory", &ids).await?;
                memories.retain(|memory| !buried.contains(&memory.id));
                let stored = ImportRepository::put_memories_on(x.db, x.bot, &memories).await?;
                x.changes.memories(stored.iter().copied());
                Ok::<_, MemoryError>((stored.len(), memories.len() - stored.len(), buried.len()))
            })
        });
        let (stored, known, forgotten) = done.await?;
        report.stored = stored;
        report.known += known;
        report.forgotten = forgotten;
        Ok(report)
    }
}

/// A record in the form in which it is stored, or why it cannot be.
fn accepted(bot: &BotSlug, record: MessageRecord) -> Result<ImportedMessage, String> {
    if record.content.trim().is_empty() {
        return Err("content is blank".into());
    }
    if record.content.len() > MOST_BYTES {
        return Err(format!("content is longer than {MOST_BYTES} bytes"));
    }
    if !TIMES.contains(&record.at.as_second()) {
        return Err("at is out of range".into());
    }
    let label = record.session.map(|label| label.trim().to_owned()).filter(|label| !label.is_empty());
    if label.as_ref().is_some_and(|label| label.len() > 512) {
        return Err("session is longer than 512 bytes".into());
    }
    let id = own_id(bot, record.id.as_deref())?;
    let note = record.id.as_deref().map(str::trim).filter(|text| Uuid::parse_str(text).is_err());
    let metadata: Option<Value> = note.map(|id| json!({"client_id": id}));
    let id = id.unwrap_or_else(|| {
        let user = record.user.as_ref().map_or("", UserId::as_str);
        let name = format!("{bot}\0import\0{}\0{}\0{user}\0{}", record.at, record.role.as_str(), record.content);
        Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
    });
    Ok(ImportedMessage {
        id,
        role: record.role,
        content: record.content.replace('\0', "\u{fffd}"),
        at: record.at,
        user: record.user,
        label,
        session: Uuid::nil(),
        partial: record.partial,
        metadata,
    })
}

/// The row id of a record's own id, if it has one.
fn own_id(bot: &BotSlug, id: Option<&str>) -> Result<Option<Uuid>, String> {
    let Some(id) = id else { return Ok(None) };
    MessageId::parse(id).map(|id| Some(id.row_id(bot))).map_err(|error| error.to_string())
}

/// The session of a name: the same for every import of the bot.
fn session_id(bot: &BotSlug, label: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{bot}\0session\0{label}").as_bytes())
}

/// The id of a memory without one.
fn memory_id(bot: &BotSlug, draft: &MemoryDraft) -> Uuid {
    let words = draft.content.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let user = draft.user.as_ref().map_or("", UserId::as_str);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{bot}\0memory\0{user}\0{words}").as_bytes())
}
