//! A house without doors: store, providers against a scripted upstream, memory, turns, bots.

use greenroom_bot::{Bots, BotsError, BotsSettings, Ingress, SystemMessages};
use greenroom_kit::{Board, Supervisor};
use greenroom_memory::Memory;
use greenroom_profile::Profiles;
use greenroom_prompts::Prompts;
use greenroom_protocol::{BotSlug, ChatRequest, RequestId, TurnEvent, TurnStatus, UserId};
use greenroom_provider::{ProviderSettings, Providers};
use greenroom_store::testing::{TestDatabase, database};
use greenroom_test_support::upstream::Upstream;
use greenroom_tools::Tools;
use greenroom_turn::{TurnRef, TurnRooms, Turns, TurnsSettings};
use serde_json::{Value, json};

/// Three plain bots and a template.
pub const SEEDS: &str = "
bot_settings_template: {max_context_tokens: 12000, memory_n_results: 10}
bots:
  nova: {name: Nova, system_prompt: Be Nova., default_model: fake, settings: {memory_n_results: 6, temperature: 0.3}}
  spark: {name: Spark, system_prompt: Be Spark., requires_memory: false}
  mira: {name: Mira, system_prompt: Be Mira., voice_optimized: true, default_model: gone}
defaults: {standard: nova, local: spark}
";

pub struct House {
    pub bots: Bots,
    pub turns: Turns,
    pub providers: Providers,
    pub upstream: Upstream,
    pub database: TestDatabase,
    pub root: Supervisor,
}

pub async fn house() -> House {
    house_with(|_| {}).await
}

pub async fn house_with(change: impl FnOnce(&mut BotsSettings)) -> House {
    let database = database().await;
    let upstream = Upstream::start().await;
    let (root, _join) = Supervisor::root(Board::default()).await.unwrap();
    let store = database.store.clone();
    let models = format!(
        "
models:
  keyless: {{type: openai, model_id: x, base_url: 'https://models.invalid/v1', api_key_env: NO_SUCH_KEY}}
  fake: {{type: openai, model_id: fake-1, base_url: '{base}', api_key: k}}
  other: {{type: openai, model_id: other-1, base_url: '{base}', api_key: k}}
  echo: {{type: echo}}
",
        base = upstream.base_url()
    );
    let settings = ProviderSettings { seeds: models, ..ProviderSettings::default() };
    let group = root.group("providers").await.unwrap();
    let providers = Providers::start(&group, store.clone(), settings).await.unwrap();
    let memory = Memory::wordless(root.group("memory").await.unwrap(), store.clone());
    let (profiles, prompts) = (Profiles::new(store.clone()), Prompts::new(store.clone()));
    let rooms = TurnRooms { memory, profiles, prompts, tools: Tools::none() };
    let group = root.group("turns").await.unwrap();
    let turns = Turns::start(group, store, rooms, TurnsSettings::default()).await.unwrap();
    let mut settings = BotsSettings { seeds: SEEDS.into(), ..BotsSettings::default() };
    change(&mut settings);
    let bots = start_bots(&root, "bots", &database, &providers, &turns, settings).await.unwrap();
    House { bots, turns, providers, upstream, database, root }
}

async fn start_bots(
    root: &Supervisor,
    group: &'static str,
    database: &TestDatabase,
    providers: &Providers,
    turns: &Turns,
    settings: BotsSettings,
) -> Result<Bots, BotsError> {
    let group = root.group(group).await.unwrap();
    Bots::start(&group, database.store.clone(), providers.clone(), turns.clone(), settings).await
}

impl House {
    /// The bots as the next start of the process would find them.
    pub async fn restarted(&self, seeds: &str) -> Bots {
        let settings = BotsSettings { seeds: seeds.into(), ..BotsSettings::default() };
        self.restarted_with(settings).await.unwrap()
    }

    pub async fn restarted_with(&self, settings: BotsSettings) -> Result<Bots, BotsError> {
        let (root, _join) = Supervisor::root(Board::default()).await.unwrap();
        start_bots(&root, "bots", &self.database, &self.providers, &self.turns, settings).await
    }

    pub async fn ask(&self, bot: &str, user: &str, text: &str) -> Result<TurnRef, BotsError> {
        self.send(json!({"bot_id": bot, "user": user, "messages": [{"role": "user", "content": text}]})).await
    }

    pub async fn send(&self, body: Value) -> Result<TurnRef, BotsError> {
        self.bots.begin(ingress(&body)).await
    }

    pub async fn count(&self, sql: &str) -> i64 {
        let db = self.database.store.connection().await.unwrap();
        db.query_one(sql, &[]).await.unwrap().get(0)
    }
}

pub fn ingress(body: &Value) -> Ingress {
    Ingress {
        request: ChatRequest::parse(body).unwrap(),
        path: "/v1/chat/completions".into(),
        request_id: RequestId::random(),
        system_messages: SystemMessages::AsClientContext,
        cancel_on_disconnect: false,
        permit: None,
    }
}

pub struct Outcome {
    pub status: TurnStatus,
    pub text: String,
    pub warnings: Vec<String>,
}

/// Waits for the turn's end and folds its events.
pub async fn outcome(turn: &TurnRef) -> Outcome {
    let mut folded = Outcome { status: TurnStatus::Pending, text: String::new(), warnings: Vec::new() };
    let mut viewer = turn.view(0);
    let mut each = |_: u64, event: &TurnEvent| match event {
        TurnEvent::Text(text) => folded.text.push_str(text),
        TurnEvent::Warning(warning) => folded.warnings.extend(warning.warnings.iter().cloned()),
        TurnEvent::Complete(complete) => folded.status = complete.status,
        _ => {}
    };
    while viewer.next(&mut each).await.is_some() {}
    folded
}

pub fn slug(text: &str) -> BotSlug {
    BotSlug::parse(text).unwrap()
}

pub fn user(text: &str) -> UserId {
    UserId::parse(text).unwrap()
}
