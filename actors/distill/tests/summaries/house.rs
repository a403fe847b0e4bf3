//! A bot with stored conversations, a scripted model, and a summariser between them.

use std::time::Duration;

use greenroom_distill::summaries::{RunOptions, Summaries, SummarizeResult, SummarySettings};
use greenroom_distill::{BotBrief, DistillSettings, ModelSettings, Models};
use greenroom_kit::{Board, Supervisor};
use greenroom_memory::summaries::Summary;
use greenroom_memory::{Memory, MessageStatus, Namespace, NamespaceName, NewMessage, SESSION_GAP};
use greenroom_prompts::Prompts;
use greenroom_protocol::{BotSlug, Role, TurnId, UserId};
use greenroom_provider::{ProviderSettings, Providers};
use greenroom_store::testing::{TestDatabase, database};
use greenroom_test_support::upstream::{Script, Upstream};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub struct House {
    pub upstream: Upstream,
    pub database: TestDatabase,
    pub summaries: Summaries,
    pub brief: BotBrief,
    pub cancel: CancellationToken,
}

/// What a model says about tea.
pub const ANSWER: &str = "Summary: Ann spoke about tea at length.\nKey Details: Assam, 4 minutes\nIntent: better tea\nTone: \
                          calm\nOpen Loops: buy a kettle";

pub fn user() -> UserId {
    UserId::from_stored("ann")
}

impl House {
    /// With the model of that name: `scripted` (8,000 tokens), `large` (300,000), or one that does not exist.
    pub async fn open(model: &str) -> Self {
        Self::with(model, SummarySettings::default()).await
    }

    pub async fn with(model: &str, settings: SummarySettings) -> Self {
        let (upstream, database) = (Upstream::start().await, database().await);
        let (root, _join) = Supervisor::root(Board::default()).await.expect("root");
        let mut timeouts = ProviderSettings::default().timeouts;
        timeouts.retries = 0;
        let provider_settings = ProviderSettings { seeds: seeds(&upstream), timeouts, ..ProviderSettings::default() };
        let group = root.group("providers").await.expect("group");
        let providers = Providers::start(&group, database.store.clone(), provider_settings).await.expect("providers");
        let memory = Memory::wordless(root.group("memory").await.expect("group"), database.store.clone());
        let slug = BotSlug::from_stored("tess");
        let namespace = memory.namespace(&slug, &NamespaceName::from_profile("tess").expect("a plain name"));
        let models = ModelSettings {
            summarization: Some(model.into()),
            call_limit: Duration::from_millis(1_500),
            local_call_limit: Duration::from_millis(1_500),
            ..ModelSettings::default()
        };
        let summaries = Summaries::new(Models::new(providers, models), Prompts::new(database.store.clone()), settings);
        let brief = BotBrief {
            slug,
            namespace,
            name: "Tess".into(),
            user: user(),
            requires_memory: true,
            context_budget: 2_000,
            settings: DistillSettings { summarization_batch_concurrency: 1, ..DistillSettings::default() },
            summarize_model: None,
        };
        Self { upstream, database, summaries, brief, cancel: CancellationToken::new() }
    }

    pub fn bot(&self) -> &Namespace {
        &self.brief.namespace
    }

    /// Stores a conversation of so many messages, one a minute, from that second on.
    pub async fn talk(&self, begin: i64, texts: &[&str]) -> Vec<Uuid> {
        let message = |(n, text): (usize, &&str)| NewMessage {
            bot: self.brief.slug.clone(),
            id: Uuid::new_v4(),
            role: if n.is_multiple_of(2) { Role::User } else { Role::Assistant },
            content: (*text).to_owned(),
            ts: Timestamp::from_second(begin + 60 * i64::try_from(n).expect("small")).expect("a time"),
            user: user(),
            turn: TurnId::from_stored(format!("turn-{begin}-{}", n / 2)),
            status: MessageStatus::Complete,
            metadata: None,
            extract: true,
            session: None,
            session_gap: SESSION_GAP,
        };
        let messages: Vec<NewMessage> = texts.iter().enumerate().map(message).collect();
        let ids = messages.iter().map(|message| message.id).collect();
        let recorded = self.bot().record(&messages).await.expect("recorded");
        assert!(recorded.conflicts.is_empty());
        ids
    }

    /// Conversations a day apart, the last of which fills the budget, so that all before it are due.
    pub async fn past(&self, conversations: usize) -> Vec<Vec<Uuid>> {
        let mut ids = Vec::new();
        for n in 0..conversations {
            let begin = i64::try_from(n).expect("small") * 86_400;
            let question = format!("[conversation {n}] Which tea? {}", "x".repeat(400));
            ids.push(self.talk(begin, &[&question, "Assam.", "How long?", "Four minutes."]).await);
        }
        let long = "y".repeat(800);
        self.talk(100 * 86_400, &[long.as_str(); 6]).await;
        ids
    }

    pub async fn run(&self, options: &RunOptions) -> SummarizeResult {
        let result = self.summaries.run(&self.brief, options, &self.cancel).await.expect("a run");
        assert!(result.success);
        result
    }

    /// All summaries, newest first.
    pub async fn stored(&self) -> Vec<Summary> {
        self.bot().summaries(1_000).await.expect("summaries")
    }

    pub async fn visible(&self) -> usize {
        self.bot().visible_messages(None, None, 10_000).await.expect("messages").len()
    }

    pub fn answers(&self, answer: &str) {
        self.upstream.default_script(Script::text(answer));
    }

    pub fn hangs(&self) {
        self.upstream.default_script(Script::text("x").hang_before_headers());
    }
}

pub fn by_rule() -> RunOptions {
    RunOptions { use_heuristic: true, max_tokens_per_chunk: Some(4_000), ..RunOptions::default() }
}

pub fn on_demand() -> RunOptions {
    RunOptions { on_demand: true, ..RunOptions::default() }
}

fn seeds(upstream: &Upstream) -> String {
    let model = |name: &str, window: u32| {
        format!(
            "  {name}:\n    type: openai\n    model_id: {name}\n    base_url: {}\n    api_key: scripted\n    \
             context_window: {window}\n    max_tokens: 1000\n",
            upstream.base_url()
        )
    };
    format!("models:\n{}{}", model("scripted", 8_000), model("large", 300_000))
}
