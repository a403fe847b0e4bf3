//! A memory room for one test, and short ways to fill and look at it.

use greenroom_embedder::Embedder;
use greenroom_kit::{Board, Supervisor};
use greenroom_memory::{
    Memory, MemoryDraft, MemorySettings, MessageRepository, MessageStatus, Namespace, NamespaceName, NewMessage,
    Purged, Recorded, SESSION_GAP, StoreOptions, Stored,
};
use greenroom_protocol::{BotSlug, Role, TurnId, UserId};
use greenroom_store::Store;
use greenroom_store::testing::{TestDatabase, database};
use jiff::Timestamp;
use uuid::Uuid;

/// The room and what it stands on.
pub struct House {
    pub database: TestDatabase,
    pub memory: Memory,
}

impl House {
    /// With an embedder that needs no model.
    pub async fn open() -> Self {
        let database = database().await;
        let memory = room(&database.store, Embedder::test_hash()).await;
        Self { database, memory }
    }

    /// Without one.
    pub async fn wordless() -> Self {
        let database = database().await;
        let memory = room(&database.store, Embedder::off()).await;
        Self { database, memory }
    }

    pub fn namespace(&self, slug: &str) -> Namespace {
        namespace(&self.memory, slug)
    }

    /// A namespace whose partitions exist.
    pub async fn opened(&self, slug: &str) -> Namespace {
        let namespace = self.namespace(slug);
        namespace.open().await.expect("opened");
        namespace
    }

    pub async fn record(&self, messages: &[NewMessage]) -> Recorded {
        let db = self.database.store.connection().await.expect("connection");
        MessageRepository::record_on(&db, messages).await.expect("recorded")
    }

    /// Purges a bot as its room does.
    pub async fn purge(&self, namespace: &Namespace) -> Purged {
        let mut db = self.database.store.connection().await.expect("connection");
        let transaction = db.transaction().await.expect("transaction");
        let purged = Memory::purge(&transaction, namespace.bot()).await.expect("purged");
        transaction.commit().await.expect("committed");
        self.memory.purged(namespace.bot());
        purged
    }

    /// One number.
    pub async fn count(&self, sql: &str) -> i64 {
        let db = self.database.store.connection().await.expect("connection");
        db.query_one(sql, &[]).await.expect("row").get(0)
    }

    pub async fn execute(&self, sql: &str) {
        let db = self.database.store.connection().await.expect("connection");
        db.batch_execute(sql).await.expect("statement");
    }

    /// Every row of every layer of a bot, as text.
    pub async fn snapshot(&self, bot: &str) -> Vec<String> {
        const SQL: &str = "
            SELECT 'message ' || (to_jsonb(m) - 'content_tsv')::text FROM messages m WHERE bot_id = $1
            UNION ALL SELECT 'vector ' || to_jsonb(v)::text FROM message_vectors v WHERE bot_id = $1
            UNION ALL SELECT 'memory ' || (to_jsonb(m) - 'content_tsv')::text FROM memories m WHERE bot_id = $1
            UNION ALL SELECT 'summary ' || to_jsonb(s)::text FROM summaries s WHERE bot_id = $1
            UNION ALL SELECT 'session ' || to_jsonb(s)::text FROM sessions s WHERE bot_id = $1
            UNION ALL SELECT 'queued ' || (to_jsonb(q) - 'stamp')::text FROM message_embedding_queue q WHERE bot_id = $1
            UNION ALL SELECT 'tombstone ' || to_jsonb(f)::text FROM forgotten f WHERE bot_id = $1
            ORDER BY 1";
        let db = self.database.store.connection().await.expect("connection");
        db.query(SQL, &[&bot]).await.expect("rows").iter().map(|row| row.get(0)).collect()
    }
}

pub async fn room(store: &Store, embedder: Embedder) -> Memory {
    let (root, _join) = Supervisor::root(Board::default()).await.expect("root");
    let group = root.group("memory").await.expect("group");
    Memory::new(group, store.clone(), embedder, MemorySettings::default())
}

pub fn namespace(memory: &Memory, slug: &str) -> Namespace {
    let name = NamespaceName::from_profile(slug).expect("a plain name");
    memory.namespace(&BotSlug::parse(slug).expect("a slug"), &name)
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

pub fn user(id: &str) -> UserId {
    UserId::parse(id).expect("a user")
}

pub fn message(bot: &str, user: &str, content: &str, second: i64) -> NewMessage {
    NewMessage {
        bot: BotSlug::from_stored(bot),
        id: Uuid::new_v4(),
        role: Role::User,
        content: content.into(),
        ts: at(second),
        user: UserId::from_stored(user),
        turn: TurnId::from_stored("turn-1"),
        status: MessageStatus::Complete,
        metadata: None,
        extract: true,
        session: None,
        session_gap: SESSION_GAP,
    }
}

/// A memory taken from messages.
pub fn fact(content: &str, sources: &[Uuid]) -> MemoryDraft {
    MemoryDraft { sources: sources.to_vec(), ..MemoryDraft::new(content) }
}

pub async fn store(namespace: &Namespace, draft: MemoryDraft) -> Stored {
    namespace.store_memory(draft, StoreOptions::default()).await.expect("stored")
}

pub fn texts(rows: &[greenroom_memory::StoredMessage]) -> Vec<&str> {
    rows.iter().map(|row| row.content.as_str()).collect()
}
