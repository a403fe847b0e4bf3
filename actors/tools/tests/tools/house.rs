//! A tools room for one test, and tools that misbehave in ways a test chooses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenroom_embedder::Embedder;
use greenroom_kit::{Board, Supervisor};
use greenroom_memory::{Memory, MemorySettings, MessageRecord, Namespace, NamespaceName, RecallSettings, SESSION_GAP};
use greenroom_profile::Profiles;
use greenroom_protocol::{BotSlug, Role, ToolCall, TurnId, UserId};
use greenroom_store::testing::{TestDatabase, database};
use greenroom_tools::{
    BoxFuture, CallContext, DeskError, DeskModel, Effects, Limits, ModelDesk, Neighbours, Offer, Scope, Session, Tool,
    ToolOutcome, ToolRooms, ToolSettings, ToolSpec, Tools, Wish,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Everything a bot may have.
pub const ALL: Wish<'static> = Wish {
    uses_tools: true,
    uses_search: true,
    uses_home_assistant: true,
    memory: true,
    agent: false,
    allow: None,
    deny: &[],
};

pub struct House {
    pub database: TestDatabase,
    pub memory: Memory,
    pub profiles: Profiles,
    pub tools: Tools,
    pub desk: Arc<Desk>,
}

impl House {
    pub async fn open() -> Self {
        let database = database().await;
        let (root, _join) = Supervisor::root(Board::default()).await.expect("root");
        let group = root.group("memory").await.expect("group");
        let recall = RecallSettings { embed_after: Duration::ZERO, ..RecallSettings::default() };
        let settings = MemorySettings { recall, ..MemorySettings::default() };
        let memory = Memory::new(group, database.store.clone(), Embedder::test_hash(), settings);
        let profiles = Profiles::new(database.store.clone());
        let desk = Arc::new(Desk::default());
        let neighbours: Arc<dyn Neighbours> = Arc::new(Both(memory.clone()));
        let rooms = ToolRooms {
            neighbours: Some(neighbours),
            desk: Some(desk.clone()),
            ..ToolRooms::new(memory.clone(), profiles.clone())
        };
        let tools = Tools::new(rooms, ToolSettings::default());
        Self { database, memory, profiles, tools, desk }
    }

    pub async fn cx(&self) -> CallContext {
        self.cx_of("nova", "ann").await
    }

    pub async fn cx_of(&self, bot: &str, user: &str) -> CallContext {
        let namespace = namespace(&self.memory, bot);
        namespace.open().await.expect("opened");
        CallContext {
            bot: namespace.bot().clone(),
            bot_name: "Nova".into(),
            user: UserId::from_stored(user),
            only_user: false,
            turn: TurnId::from_stored("turn-now"),
            namespace,
            zone: TimeZone::get("Europe/Berlin").expect("a zone"),
            now: Timestamp::now(),
            home_mode: false,
            cancel: CancellationToken::new(),
        }
    }

    /// A turn of nova with ann, with everything offered.
    pub async fn session(&self) -> Session {
        let cx = self.cx().await;
        self.session_of(cx).await
    }

    pub async fn session_of(&self, cx: CallContext) -> Session {
        Session::new(self.tools.offer(&ALL).await, cx, Limits { max_calls: 0, ..Limits::default() })
    }
}

pub fn namespace(memory: &Memory, slug: &str) -> Namespace {
    let name = NamespaceName::from_profile(slug).expect("a plain name");
    memory.namespace(&BotSlug::parse(slug).expect("a slug"), &name)
}

struct Both(Memory);

impl Neighbours for Both {
    fn namespaces(&self) -> Vec<Namespace> {
        ["nova", "mira"].map(|slug| namespace(&self.0, slug)).into()
    }
}

/// A desk that remembers what was chosen.
#[derive(Default)]
pub struct Desk {
    pub switched: std::sync::Mutex<Vec<String>>,
}

fn model(alias: &str, current: bool) -> DeskModel {
    DeskModel {
        alias: alias.into(),
        kind: "openai".into(),
        model_id: Some(format!("{alias}-id")),
        description: None,
        current,
    }
}

impl ModelDesk for Desk {
    fn current<'a>(&'a self, _: &'a BotSlug, _: &'a UserId) -> BoxFuture<'a, Result<DeskModel, DeskError>> {
        Box::pin(async { Ok(model("alpha", true)) })
    }

    fn list<'a>(&'a self, _: &'a BotSlug, _: &'a UserId) -> BoxFuture<'a, Result<Vec<DeskModel>, DeskError>> {
        Box::pin(async { Ok(vec![model("beta", false), model("alpha", true)]) })
    }

    fn switch<'a>(
        &'a self,
        _: &'a BotSlug,
        _: &'a UserId,
        name: &'a str,
    ) -> BoxFuture<'a, Result<DeskModel, DeskError>> {
        Box::pin(async move {
            match name.to_lowercase().as_str() {
                "beta" => {
                    self.switched.lock().unwrap().push(name.to_lowercase());
                    Ok(model("beta", false))
                }
                _ => Err(DeskError::Unknown { known: vec!["alpha".into(), "beta".into()] }),
            }
        })
    }
}

pub fn call(name: &str, arguments: Value) -> ToolCall {
    ToolCall { id: "call_1".into(), name: name.into(), arguments: arguments.to_string() }
}

/// Prepares and runs one call.
pub async fn make(session: &mut Session, name: &str, arguments: Value) -> ToolOutcome {
    let prepared = session.prepare(&call(name, arguments));
    session.run(&prepared).await
}

/// The same, which must succeed.
pub async fn done(session: &mut Session, name: &str, arguments: Value) -> String {
    let outcome = make(session, name, arguments.clone()).await;
    assert!(outcome.ok(), "{name} {arguments}: {outcome:?}");
    outcome.text
}

/// A tool that does what a function says, and counts its calls.
struct Trick<F> {
    spec: ToolSpec,
    effects: Effects,
    calls: Arc<AtomicUsize>,
    play: F,
}

impl<F> Tool for Trick<F>
where
    F: for<'a> Fn(&'a CallContext, Value) -> BoxFuture<'a, ToolOutcome> + Send + Sync,
{
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effects(&self, _: &Value) -> Effects {
        self.effects
    }

    fn call<'a>(&'a self, cx: &'a CallContext, arguments: Value) -> BoxFuture<'a, ToolOutcome> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        (self.play)(cx, arguments)
    }
}

/// Says nothing, successfully.
pub fn quiet(_: &CallContext, _: Value) -> BoxFuture<'_, ToolOutcome> {
    Box::pin(async { ToolOutcome::success("") })
}

/// A tool of this description that says nothing.
pub fn silent(spec: ToolSpec) -> Arc<dyn Tool> {
    Arc::new(Trick { spec, effects: Effects::ReadOnly, calls: Arc::default(), play: quiet })
}

/// A remote tool of one text argument.
pub fn remote(name: &str) -> ToolSpec {
    let schema = json!({"type": "object", "properties": {"x": {"type": "string"}}});
    ToolSpec::remote(name, "A trick.", schema, Scope::Core, Duration::from_secs(30))
}

/// A tool and the count of its calls.
pub fn trick<F>(name: &str, effects: Effects, play: F) -> (Arc<dyn Tool>, Arc<AtomicUsize>)
where
    F: for<'a> Fn(&'a CallContext, Value) -> BoxFuture<'a, ToolOutcome> + Send + Sync + 'static,
{
    trick_of(remote(name), effects, play)
}

/// The same with a description of its own.
pub fn trick_of<F>(spec: ToolSpec, effects: Effects, play: F) -> (Arc<dyn Tool>, Arc<AtomicUsize>)
where
    F: for<'a> Fn(&'a CallContext, Value) -> BoxFuture<'a, ToolOutcome> + Send + Sync + 'static,
{
    let calls = Arc::new(AtomicUsize::new(0));
    (Arc::new(Trick { spec, effects, calls: calls.clone(), play }), calls)
}

pub async fn offered(tools: Vec<Arc<dyn Tool>>) -> Offer {
    Tools::of(tools, Vec::new(), ToolSettings::default()).offer(&ALL).await
}

/// Stores a conversation that ended a while ago, a minute between messages, the speaker before the colon: `ann` and `bob`
/// are people, all others are the bot.
pub async fn say(namespace: &Namespace, minutes_ago: i64, lines: &[&str]) -> Vec<Uuid> {
    let mut ids = Vec::new();
    let mut records = Vec::new();
    for (minute, line) in lines.iter().enumerate() {
        let (speaker, content) = line.split_once(": ").expect("a speaker");
        let id = Uuid::new_v4();
        ids.push(id);
        let back = 60 * (minutes_ago - i64::try_from(minute).expect("few lines"));
        let user = if speaker == "bob" || speaker == "to bob" { "bob" } else { "ann" };
        records.push(MessageRecord {
            id: Some(id.to_string()),
            role: if matches!(speaker, "ann" | "bob") { Role::User } else { Role::Assistant },
            content: content.into(),
            at: Timestamp::now().checked_sub(jiff::SignedDuration::from_secs(back)).expect("a time"),
            user: Some(UserId::from_stored(user)),
            session: Some(format!("session-{minutes_ago}-{user}")),
            partial: false,
        });
    }
    let report = namespace.import_messages(records, SESSION_GAP, true).await.expect("imported");
    assert_eq!(report.stored, lines.len(), "{report:?}");
    namespace.embedding_idle().await;
    ids
}
