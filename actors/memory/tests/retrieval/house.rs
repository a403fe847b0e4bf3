//! A memory room for one test, filled through its own doors.

use std::time::Duration;

use greenroom_embedder::Embedder;
use greenroom_kit::{Board, Supervisor};
use greenroom_memory::{
    Memory, MemoryDraft, MemoryHits, MemoryRecord, MemorySettings, MessageHits, MessageRecord, Namespace,
    NamespaceName, RecallSettings, SESSION_GAP,
};
use greenroom_protocol::{BotSlug, Role, UserId};
use greenroom_store::Store;
use greenroom_store::testing::{TestDatabase, database};
use jiff::Timestamp;
use uuid::Uuid;

/// Long enough for anything, short enough to notice a hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct House {
    pub database: TestDatabase,
    pub memory: Memory,
}

impl House {
    /// With an embedder that needs no model.
    pub async fn open() -> Self {
        Self::with(Embedder::test_hash(), settings()).await
    }

    /// Without one.
    pub async fn wordless() -> Self {
        Self::with(Embedder::off(), settings()).await
    }

    pub async fn with(embedder: Embedder, recall: RecallSettings) -> Self {
        let database = database().await;
        let memory = room(&database.store, embedder, recall).await;
        Self { database, memory }
    }

    pub async fn namespace(&self, slug: &str) -> Namespace {
        let namespace = namespace(&self.memory, slug);
        namespace.open().await.expect("opened");
        namespace
    }

    pub async fn count(&self, sql: &str) -> i64 {
        let db = self.database.store.connection().await.expect("connection");
        db.query_one(sql, &[]).await.expect("row").get(0)
    }

    pub async fn execute(&self, sql: &str) {
        let db = self.database.store.connection().await.expect("connection");
        db.batch_execute(sql).await.expect("statement");
    }
}

/// No pauses.
pub fn settings() -> RecallSettings {
    RecallSettings { embed_after: Duration::ZERO, ..RecallSettings::default() }
}

pub async fn room(store: &Store, embedder: Embedder, recall: RecallSettings) -> Memory {
    let (root, _join) = Supervisor::root(Board::default()).await.expect("root");
    let group = root.group("memory").await.expect("group");
    Memory::new(group, store.clone(), embedder, MemorySettings { recall, ..MemorySettings::default() })
}

pub fn namespace(memory: &Memory, slug: &str) -> Namespace {
    let name = NamespaceName::from_profile(slug).expect("a plain name");
    memory.namespace(&BotSlug::parse(slug).expect("a slug"), &name)
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a time")
}

/// Stores memories as they are, without a look for similar ones, and waits for their vectors.
pub async fn remember(namespace: &Namespace, texts: &[&str]) -> Vec<Uuid> {
    let drafts = texts.iter().map(|text| MemoryDraft::new(*text)).collect();
    remember_all(namespace, drafts).await
}

pub async fn remember_all(namespace: &Namespace, drafts: Vec<MemoryDraft>) -> Vec<Uuid> {
    let mut ids = Vec::new();
    let mut records = Vec::new();
    for memory in drafts {
        let id = Uuid::new_v4();
        ids.push(id);
        records.push(MemoryRecord { id: Some(id.to_string()), memory });
    }
    let report = namespace.import_memories(records).await.expect("imported");
    assert!(report.rejected.is_empty(), "{report:?}");
    namespace.embedding_idle().await;
    ids
}

/// Stores a conversation of one session, a minute between messages, the speaker before the colon: `ann` is the person, all
/// others are the bot. Waits for the vectors.
pub async fn say(namespace: &Namespace, session: &str, from: i64, lines: &[&str]) -> Vec<Uuid> {
    let mut ids = Vec::new();
    let mut records = Vec::new();
    for (minute, line) in lines.iter().enumerate() {
        let (speaker, content) = line.split_once(": ").expect("a speaker");
        let id = Uuid::new_v4();
        ids.push(id);
        records.push(MessageRecord {
            id: Some(id.to_string()),
            role: if speaker == "ann" { Role::User } else { Role::Assistant },
            content: content.into(),
            at: at(from + 60 * i64::try_from(minute).expect("few lines")),
            user: Some(UserId::from_stored("ann")),
            session: Some(session.into()),
            partial: false,
        });
    }
    let report = namespace.import_messages(records, SESSION_GAP, true).await.expect("imported");
    assert_eq!(report.stored, lines.len(), "{report:?}");
    namespace.embedding_idle().await;
    ids
}

pub fn contents(hits: &MemoryHits) -> Vec<&str> {
    hits.hits.iter().map(|hit| hit.memory.content.as_str()).collect()
}

pub fn said(hits: &MessageHits) -> Vec<&str> {
    hits.hits.iter().map(|hit| hit.message.content.as_str()).collect()
}

/// Tries until it holds. For what happens behind the scenes and has no event of its own.
pub async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let trying = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let happened = tokio::time::timeout(PATIENCE, trying).await.is_ok();
    assert!(happened, "never happened: {what}");
}
