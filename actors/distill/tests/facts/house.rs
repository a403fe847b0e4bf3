//! A bot, what was said to it, a scripted model, and the distillery between them.

use std::sync::Arc;
use std::time::Duration;

use greenroom_distill::{
    BotBrief, Distill, DistillRules, DistillSettings, ExtractOptions, ExtractionResult, ModelSettings, Models,
};
use greenroom_embedder::Embedder;
use greenroom_kit::{Board, Supervisor};
use greenroom_memory::memories::{MemoryDraft, StoreOptions};
use greenroom_memory::{
    Memory, MemoryOrder, MemorySettings, MessageStatus, Namespace, NamespaceName, NewMessage, SESSION_GAP, StoredMemory,
};
use greenroom_profile::Profiles;
use greenroom_prompts::Prompts;
use greenroom_protocol::{BotSlug, Role, TurnId, UserId};
use greenroom_provider::{ProviderSettings, Providers};
use greenroom_store::testing::{TestDatabase, database};
use greenroom_test_support::upstream::{Script, Upstream};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Words of the prompts, by which scripts are chosen.
pub const FACTS: &str = "Find what is worth remembering about the user";
pub const COMPARE: &str = "New facts about a user were just learned";
pub const SUMMARY: &str = "Below is the summary of a conversation";
pub const MERGE: &str = "say nearly the same about one person";
pub const PORTRAIT: &str = "one attribute per line";

pub struct House {
    pub upstream: Upstream,
    pub database: TestDatabase,
    pub memory: Memory,
    pub profiles: Profiles,
    pub providers: Providers,
    pub distill: Distill,
    pub brief: BotBrief,
    pub cancel: CancellationToken,
}

pub fn ann() -> UserId {
    UserId::from_stored("ann")
}

/// Models: `remote` elsewhere (by its type), `local` on this machine, and the echo.
fn seeds(upstream: &Upstream) -> String {
    let url = upstream.base_url();
    format!(
        "models:\n  echo:\n    type: echo\n  remote:\n    type: openai\n    model_id: remote\n    base_url: {url}\n    api_key: k\n  local:\n    \
         type: vllm\n    model_id: local\n    base_url: {url}\n    api_key: k\n    context_window: 32768\n"
    )
}

impl House {
    pub async fn open() -> Self {
        Self::with(|_| {}, DistillRules::default()).await
    }

    pub async fn with(change: impl FnOnce(&mut ModelSettings), rules: DistillRules) -> Self {
        let (upstream, database) = (Upstream::start().await, database().await);
        let (root, _join) = Supervisor::root(Board::default()).await.expect("root");
        let mut timeouts = ProviderSettings::default().timeouts;
        timeouts.retries = 0;
        timeouts.circuit_failures = 100;
        let provider_settings = ProviderSettings { seeds: seeds(&upstream), timeouts, ..ProviderSettings::default() };
        let group = root.group("providers").await.expect("group");
        let providers = Providers::start(&group, database.store.clone(), provider_settings).await.expect("providers");
        let group = root.group("memory").await.expect("group");
        let memory = Memory::new(group, database.store.clone(), Embedder::test_hash(), MemorySettings::default());
        let slug = BotSlug::from_stored("tess");
        let namespace = memory.namespace(&slug, &NamespaceName::from_profile("tess").expect("a plain name"));
        namespace.open().await.expect("opened");
        let mut models = ModelSettings {
            extraction: Some("remote".into()),
            call_limit: Duration::from_millis(1_000),
            local_call_limit: Duration::from_millis(1_000),
            ..ModelSettings::default()
        };
        change(&mut models);
        let profiles = Profiles::new(database.store.clone());
        let distill = Distill::new(
            Models::new(providers.clone(), models),
            Prompts::new(database.store.clone()),
            profiles.clone(),
            rules,
            Arc::new(|name: &str| name.eq_ignore_ascii_case("tess")),
        );
        let brief = BotBrief {
            slug,
            namespace,
            name: "Tess".into(),
            user: ann(),
            requires_memory: true,
            context_budget: 8_000,
            settings: DistillSettings::default(),
            summarize_model: None,
        };
        Self { upstream, database, memory, profiles, providers, distill, brief, cancel: CancellationToken::new() }
    }

    pub fn bot(&self) -> &Namespace {
        &self.brief.namespace
    }

    /// Stores messages of one conversation of long ago: user and assistant in turns. Gives their ids.
    pub async fn talk(&self, texts: &[&str]) -> Vec<Uuid> {
        self.talk_as("ann", 0, texts, true).await
    }

    pub async fn talk_as(&self, user: &str, begin: i64, texts: &[&str], extract: bool) -> Vec<Uuid> {
        let message = |(n, text): (usize, &&str)| NewMessage {
            bot: self.brief.slug.clone(),
            id: Uuid::new_v4(),
            role: if n.is_multiple_of(2) { Role::User } else { Role::Assistant },
            content: (*text).to_owned(),
            ts: Timestamp::from_second(begin + 60 * i64::try_from(n).expect("small")).expect("a time"),
            user: UserId::from_stored(user),
            turn: TurnId::from_stored(format!("turn-{begin}-{}", n / 2)),
            status: MessageStatus::Complete,
            metadata: None,
            extract,
            session: None,
            session_gap: SESSION_GAP,
        };
        let messages: Vec<NewMessage> = texts.iter().enumerate().map(message).collect();
        let recorded = self.bot().record(&messages).await.expect("recorded");
        assert!(recorded.conflicts.is_empty());
        messages.iter().map(|message| message.id).collect()
    }

    /// Stores a memory about Ann.
    pub async fn knows(&self, content: &str) -> Uuid {
        self.knows_with(content, |_| {}).await
    }

    pub async fn knows_with(&self, content: &str, change: impl FnOnce(&mut MemoryDraft)) -> Uuid {
        let mut draft = MemoryDraft::new(content);
        draft.tags = vec!["fact".into()];
        draft.user = Some(ann());
        change(&mut draft);
        let options = StoreOptions { force: true, ..StoreOptions::default() };
        self.bot().store_memory(draft, options).await.expect("stored").id
    }

    pub async fn extract(&self) -> ExtractionResult {
        self.distill.extract(&self.brief, &ExtractOptions::default(), &self.cancel).await.expect("a run")
    }

    /// What the bot knows: active memories, by importance.
    pub async fn active(&self) -> Vec<StoredMemory> {
        self.bot().list_memories(MemoryOrder::Importance, 0.0, 100).await.expect("memories")
    }

    pub async fn texts(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.active().await.into_iter().map(|memory| memory.content).collect();
        texts.sort();
        texts
    }

    /// Extraction states of all messages, in order.
    pub async fn states(&self) -> Vec<String> {
        let db = self.database.store.connection().await.expect("connection");
        let rows = db.query("SELECT extraction_state FROM messages ORDER BY ts, seq", &[]).await.expect("rows");
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub async fn count(&self, sql: &str) -> i64 {
        self.database.store.connection().await.expect("connection").query_one(sql, &[]).await.expect("a row").get(0)
    }

    pub async fn run_sql(&self, sql: &str) {
        self.database.store.connection().await.expect("connection").batch_execute(sql).await.expect("done");
    }

    /// What the model answers to a prompt with these words.
    pub fn answers(&self, marker: &str, reply: &serde_json::Value) {
        self.upstream.script_for(marker, Script::text(&reply.to_string()));
    }

    pub fn says(&self, marker: &str, reply: &str) {
        self.upstream.script_for(marker, Script::text(reply));
    }
}
