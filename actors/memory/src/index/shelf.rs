//! What an index is made of: rows of one table, read page by page, and changes to them. Deliberately absent: when to load
//! and when to apply, which is the keeper's business.

use greenroom_lexicon::{Episode, EpisodeIndex, Role as Speaker, TextIndex};
use greenroom_protocol::{BotSlug, Role};
use greenroom_store::{Connection, StoreError};
use jiff::Timestamp;
use tokio_postgres::{Row, RowStream};
use uuid::Uuid;

use crate::message::IndexedMessage;
use crate::repository::IndexRows;

/// An index over the rows of one table of one bot.
pub(crate) trait Shelf: Default + Send + Sync + 'static {
    /// A change to one row, as told after its commit or read from the table. Applying one twice is applying it once.
    type Change: Send + 'static;
    /// A place in the order in which rows are loaded: newest first.
    type Place: Copy + Send + Sync + 'static;
    /// What the rows are called in logs.
    const ROWS: &'static str;

    /// Makes a change.
    fn apply(&mut self, change: Self::Change);
    /// How many rows it holds.
    fn rows(&self) -> usize;
    /// Roughly how much memory it takes.
    fn bytes(&self) -> usize;
    /// The newest row it has seen.
    fn newest(&self) -> Option<Self::Place>;
    /// Rows older than `before`, newest first, at most `limit`.
    fn older(
        db: &Connection,
        bot: &BotSlug,
        before: Option<Self::Place>,
        limit: i64,
    ) -> impl Future<Output = Result<RowStream, StoreError>> + Send;
    /// Rows after `from`, oldest first, at most `limit`.
    fn newer(
        db: &Connection,
        bot: &BotSlug,
        from: Option<Self::Place>,
        limit: i64,
    ) -> impl Future<Output = Result<RowStream, StoreError>> + Send;
    /// What these rows are now.
    fn look(
        db: &Connection,
        bot: &BotSlug,
        ids: &[Uuid],
    ) -> impl Future<Output = Result<Vec<Self::Change>, StoreError>> + Send;
    /// How many rows there are to index.
    fn count(db: &Connection, bot: &BotSlug) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// Reads a row of [`Self::older`] or [`Self::newer`].
    ///
    /// # Errors
    /// When a column is missing.
    fn read(row: &Row) -> Result<(Self::Place, Option<Self::Change>), StoreError>;
    /// Bytes of text in a change.
    fn weight(change: &Self::Change) -> usize;
}

/// Active memories, by their words.
#[derive(Default)]
pub(crate) struct Memories {
    /// The index.
    pub(crate) index: TextIndex,
    newest: Option<(Timestamp, Uuid)>,
}

/// A change to a memory.
#[derive(Debug)]
pub(crate) enum MemoryChange {
    /// It is active and says this.
    Put(Uuid, String, Option<Timestamp>),
    /// It is gone or superseded.
    Gone(Uuid, Option<Timestamp>),
}

impl Memories {
    fn saw(&mut self, at: Option<Timestamp>, id: Uuid) {
        self.newest = self.newest.max(at.map(|at| (at, id)));
    }
}

impl Shelf for Memories {
    type Change = MemoryChange;
    type Place = (Timestamp, Uuid);
    const ROWS: &'static str = "memories";

    fn apply(&mut self, change: MemoryChange) {
        match change {
            MemoryChange::Put(id, text, at) => {
                self.index.insert(id, &text);
                self.saw(at, id);
            }
            MemoryChange::Gone(id, at) => {
                self.index.remove(&id);
                self.saw(at, id);
            }
        }
    }

    fn rows(&self) -> usize {
        self.index.len()
    }

    fn bytes(&self) -> usize {
        self.index.bytes()
    }

    fn newest(&self) -> Option<Self::Place> {
        self.newest
    }

    async fn older(
        db: &Connection,
        bot: &BotSlug,
        before: Option<Self::Place>,
        limit: i64,
    ) -> Result<RowStream, StoreError> {
        IndexRows::older_memories(db, bot, before, limit).await
    }

    async fn newer(
        db: &Connection,
        bot: &BotSlug,
        from: Option<Self::Place>,
        limit: i64,
    ) -> Result<RowStream, StoreError> {
        IndexRows::newer_memories(db, bot, from, limit).await
    }

    async fn look(db: &Connection, bot: &BotSlug, ids: &[Uuid]) -> Result<Vec<MemoryChange>, StoreError> {
        let rows = IndexRows::memories_by_id(db, bot, ids).await?;
        let mut changes: Vec<MemoryChange> = ids.iter().map(|id| MemoryChange::Gone(*id, None)).collect();
        for row in &rows {
            changes.extend(Self::read(row)?.1);
        }
        Ok(changes)
    }

    async fn count(db: &Connection, bot: &BotSlug) -> Result<i64, StoreError> {
        IndexRows::count_memories(db, bot).await
    }

    fn read(row: &Row) -> Result<(Self::Place, Option<MemoryChange>), StoreError> {
        let (id, at): (Uuid, Timestamp) = (row.try_get("id")?, row.try_get("updated_at")?);
        let change = match row.try_get("active")? {
            true => MemoryChange::Put(id, row.try_get("content")?, Some(at)),
            false => MemoryChange::Gone(id, Some(at)),
        };
        Ok(((at, id), Some(change)))
    }

    fn weight(change: &MemoryChange) -> usize {
        match change {
            MemoryChange::Put(_, text, _) => text.len(),
            MemoryChange::Gone(..) => 0,
        }
    }
}

/// Messages of people and models, by their words, speakers, times and neighbours.
#[derive(Default)]
pub(crate) struct Messages {
    /// The index.
    pub(crate) index: EpisodeIndex,
    newest: Option<(Timestamp, i64)>,
}

/// A change to a message.
#[derive(Debug)]
pub(crate) enum MessageChange {
    /// It says this.
    Put(Box<IndexedMessage>),
    /// It is gone.
    Gone(Uuid),
}

impl Shelf for Messages {
    type Change = MessageChange;
    type Place = (Timestamp, i64);
    const ROWS: &'static str = "messages";

    fn apply(&mut self, change: MessageChange) {
        match change {
            MessageChange::Put(message) => {
                self.index.insert(episode(&message));
                self.newest = self.newest.max(Some((message.ts, message.seq)));
            }
            MessageChange::Gone(id) => {
                self.index.remove(&id);
            }
        }
    }

    fn rows(&self) -> usize {
        self.index.len()
    }

    fn bytes(&self) -> usize {
        self.index.bytes()
    }

    fn newest(&self) -> Option<Self::Place> {
        self.newest
    }

    async fn older(
        db: &Connection,
        bot: &BotSlug,
        before: Option<Self::Place>,
        limit: i64,
    ) -> Result<RowStream, StoreError> {
        IndexRows::older_messages(db, bot, before, limit).await
    }

    async fn newer(
        db: &Connection,
        bot: &BotSlug,
        from: Option<Self::Place>,
        limit: i64,
    ) -> Result<RowStream, StoreError> {
        IndexRows::newer_messages(db, bot, from, limit).await
    }

    async fn look(db: &Connection, bot: &BotSlug, ids: &[Uuid]) -> Result<Vec<MessageChange>, StoreError> {
        let rows = IndexRows::messages_by_id(db, bot, ids).await?;
        let mut changes: Vec<MessageChange> = ids.iter().map(|id| MessageChange::Gone(*id)).collect();
        for row in &rows {
            changes.extend(Self::read(row)?.1);
        }
        Ok(changes)
    }

    async fn count(db: &Connection, bot: &BotSlug) -> Result<i64, StoreError> {
        IndexRows::count_messages(db, bot).await
    }

    fn read(row: &Row) -> Result<(Self::Place, Option<MessageChange>), StoreError> {
        let place = (row.try_get("ts")?, row.try_get("seq")?);
        Ok((place, crate::repository::indexed(row)?.map(|message| MessageChange::Put(Box::new(message)))))
    }

    fn weight(change: &MessageChange) -> usize {
        match change {
            MessageChange::Put(message) => message.content.len(),
            MessageChange::Gone(_) => 0,
        }
    }
}

/// A role as the lexicon knows it.
pub(crate) fn speaker(role: Role) -> Speaker {
    match role {
        Role::User => Speaker::User,
        Role::Assistant => Speaker::Assistant,
        Role::System | Role::Tool => Speaker::Other,
    }
}

fn episode(message: &IndexedMessage) -> Episode<'_> {
    Episode {
        id: message.id,
        at: message.ts.as_microsecond(),
        seq: message.seq,
        session: message.session,
        user: message.user.as_ref().map(|user| user.as_str()),
        role: speaker(message.role),
        content: &message.content,
    }
}
