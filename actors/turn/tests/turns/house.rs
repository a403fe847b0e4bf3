//! A whole turn room for tests: real PostgreSQL, a scripted upstream, and plans for turns of a made-up bot.

use std::sync::Arc;
use std::time::Duration;

use greenroom_embedder::Embedder;
use greenroom_kit::{Board, Supervisor};
use greenroom_memory::{Memory, MemorySettings, Namespace, NamespaceName};
use greenroom_profile::Profiles;
use greenroom_prompts::Prompts;
use greenroom_protocol::chat::{ClientTools, Prompt};
use greenroom_protocol::{BotSlug, MessageId, RequestId, Sampling, TurnEvent, TurnId, UserId};
use greenroom_provider::{Engine, ProviderSettings, Providers};
use greenroom_store::testing::{TestDatabase, database};
use greenroom_test_support::upstream::Upstream;
use greenroom_tools::{Tool, ToolRooms, ToolSettings, Tools};
use greenroom_turn::{HistoryScope, Persona, TurnPlan, TurnRef, TurnRooms, TurnSettings, Turns, TurnsSettings};

/// The room and what it stands on.
pub struct House {
    pub turns: Turns,
    pub upstream: Upstream,
    pub database: TestDatabase,
    pub providers: Providers,
    pub namespace: Namespace,
    pub root: Supervisor,
}

/// Model seeds that know the scripted upstream: one model for each way of calling tools, and one that may not.
fn seeds(upstream: &Upstream) -> String {
    let mut seeds = String::from("models:\n  echo: {type: echo}\n");
    for (alias, more) in [
        ("scripted", "supports_images: true, price: {input: 2.0, output: 10.0}"),
        ("other", "tool_support: native"),
        ("refusing", "tool_support: native"),
        ("react", "tool_support: react"),
        ("xml", "tool_support: xml"),
        ("toolless", "tool_support: none"),
        ("pygmalion", "tool_support: react, adapter: pygmalion"),
    ] {
        seeds.push_str(&format!(
            "  {alias}: {{type: openai, model_id: {alias}, base_url: '{}', api_key: scripted, context_window: 8000, \
             max_tokens: 1000, {more}}}\n",
            upstream.base_url()
        ));
    }
    seeds
}

impl House {
    pub async fn open() -> Self {
        Self::with(TurnsSettings { store_deadline: Duration::from_secs(10), ..TurnsSettings::default() }).await
    }

    pub async fn with(settings: TurnsSettings) -> Self {
        Self::built(settings, |rooms| Tools::new(rooms, ToolSettings::default())).await
    }

    /// A house whose bots may call exactly these tools.
    pub async fn with_tools(tools: Vec<Arc<dyn Tool>>) -> Self {
        let settings = TurnsSettings { store_deadline: Duration::from_secs(10), ..TurnsSettings::default() };
        Self::built(settings, |_| Tools::of(tools, Vec::new(), ToolSettings::default())).await
    }

    async fn built(settings: TurnsSettings, tools: impl FnOnce(ToolRooms) -> Tools) -> Self {
        let upstream = Upstream::start().await;
        let database = database().await;
        let (root, _join) = Supervisor::root(Board::default()).await.expect("root");
        let group = |name| {
            let root = root.clone();
            async move { root.group(name).await.expect("group") }
        };
        let mut timeouts = ProviderSettings::default().timeouts;
        timeouts.first_event_hosted = Duration::from_millis(700);
        timeouts.first_event_local = Duration::from_millis(700);
        let provider_settings = ProviderSettings { seeds: seeds(&upstream), timeouts, ..ProviderSettings::default() };
        let providers = Providers::start(&group("providers").await, database.store.clone(), provider_settings)
            .await
            .expect("providers");
        let store = database.store.clone();
        let embedder = Embedder::test_hash();
        let memory = Memory::new(group("memory").await, store.clone(), embedder, MemorySettings::default());
        let (profiles, prompts) = (Profiles::new(store.clone()), Prompts::new(store.clone()));
        let tools = tools(ToolRooms::new(memory.clone(), profiles.clone()));
        let rooms = TurnRooms { memory: memory.clone(), profiles, prompts, tools };
        let turns = Turns::start(group("turns").await, store, rooms, settings).await.expect("turns");
        let name = NamespaceName::from_profile("tess").expect("a plain name");
        let namespace = memory.namespace(&BotSlug::parse("tess").expect("a slug"), &name);
        Self { turns, upstream, database, providers, namespace, root }
    }

    /// A plan for bot `tess`, user `ann`, streamed.
    pub fn plan(&self, prompt: &str) -> TurnPlan {
        self.plan_for("ann", prompt)
    }

    pub fn plan_for(&self, user: &str, prompt: &str) -> TurnPlan {
        TurnPlan {
            id: TurnId::random(),
            request_id: RequestId::random(),
            path: "/v1/chat/completions".into(),
            stream: true,
            persona: Arc::new(self.persona()),
            namespace: self.namespace.clone(),
            user: UserId::parse(user).expect("a user"),
            prompt: Prompt { text: prompt.into(), ..Prompt::default() },
            trigger: MessageId::random(),
            sampling: Sampling::default(),
            client_tools: ClientTools::default(),
            settings: Arc::new(TurnSettings { timezone: Some("UTC".into()), ..TurnSettings::default() }),
            engine: self.engine("scripted"),
            fallbacks: Vec::new(),
            warnings: Vec::new(),
            tts_mode: false,
            tts_instructions: "Speak plainly.".into(),
            augment_memory: true,
            extract_memory: true,
            include_summaries: true,
            animations: Vec::new(),
            client_context: None,
            home_mode: false,
            cancel_on_disconnect: false,
            permit: None,
        }
    }

    /// A plan for a bot that may use tools, answered by this model.
    pub fn tool_plan(&self, model: &str, prompt: &str) -> TurnPlan {
        TurnPlan {
            persona: Arc::new(Persona { uses_tools: true, ..self.persona() }),
            engine: self.engine(model),
            ..self.plan(prompt)
        }
    }

    pub fn engine(&self, alias: &str) -> Engine {
        self.providers.engine(alias).expect("a seeded model")
    }

    pub fn persona(&self) -> Persona {
        Persona {
            slug: self.namespace.bot().clone(),
            name: "Tess".into(),
            system_prompt: "You are Tess.".into(),
            requires_memory: true,
            uses_tools: false,
            uses_search: false,
            uses_home_assistant: false,
            tools_allow: None,
            tools_deny: Vec::new(),
            voice_optimized: false,
            history_scope: HistoryScope::Bot,
            agent_backend: None,
        }
    }

    pub async fn begin(&self, plan: TurnPlan) -> TurnRef {
        self.turns.begin(plan).await.expect("the turn begins")
    }

    /// Runs a turn to its end and gives all its events.
    pub async fn run(&self, plan: TurnPlan) -> (TurnRef, Vec<TurnEvent>) {
        let turn = self.begin(plan).await;
        let events = collect(&turn, 0).await;
        (turn, events)
    }
}

/// All events behind `cursor`, until the end of the log.
pub async fn collect(turn: &TurnRef, cursor: u64) -> Vec<TurnEvent> {
    let (mut viewer, mut events) = (turn.view(cursor), Vec::new());
    let mut next = cursor;
    let all = async {
        while viewer
            .next(|seq, event| {
                next += 1;
                assert_eq!(seq, next, "numbers have no gap");
                events.push(event.clone());
            })
            .await
            .is_some()
        {}
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("the turn ends");
    events
}

/// Waits until the turn has announced at least this much text.
pub async fn until_text(turn: &TurnRef, text: &str) {
    let waiting = async {
        while !turn.text().contains(text) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the text arrives");
}

pub fn text_of(events: &[TurnEvent]) -> String {
    let pieces = events.iter().filter_map(|event| match event {
        TurnEvent::Text(piece) => Some(&**piece),
        _ => None,
    });
    pieces.collect()
}

pub fn complete_of(events: &[TurnEvent]) -> &greenroom_protocol::event::TurnComplete {
    let completes: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            TurnEvent::Complete(complete) => Some(&**complete),
            _ => None,
        })
        .collect();
    assert_eq!(completes.len(), 1, "exactly one end");
    assert!(matches!(events.last(), Some(TurnEvent::Complete(_))), "and it is last");
    completes[0]
}
