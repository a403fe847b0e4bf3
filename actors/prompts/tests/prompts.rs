//! Prompts in a real database: resolution, versions, races, broken edits, purge.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use greenroom_prompts::{DEFINITIONS, Draft, ListFilter, PromptError, Prompts, Scope, Source, Trial};
use greenroom_protocol::{BotSlug, ErrorClass};
use greenroom_store::testing::{TestDatabase, database};
use serde_json::{Value, json};

const SINGLE: &str = "history.summarization.single";

async fn prompts() -> (TestDatabase, Prompts) {
    let database = database().await;
    let prompts = Prompts::new(database.store.clone());
    (database, prompts)
}

fn nova() -> BotSlug {
    BotSlug::from_stored("nova")
}

fn of_nova() -> Scope {
    Scope::Bot(nova())
}

async fn rendered(prompts: &Prompts, bot: Option<&BotSlug>) -> (String, Source) {
    let rendered = prompts.render(SINGLE, bot, &[("messages", "hello")]).await.expect("rendered");
    (rendered.text, rendered.source)
}

async fn execute(database: &TestDatabase, sql: &str) {
    database.store.connection().await.expect("connection").batch_execute(sql).await.expect("statement");
}

#[tokio::test]
async fn the_bots_edit_wins_over_the_global_one_and_reset_gives_each_back() {
    let (_database, prompts) = prompts().await;
    assert_eq!(rendered(&prompts, None).await.1, Source::CodeDefault);
    prompts.save(SINGLE, Draft::of_body(Scope::Global, "global {messages}")).await.expect("saved");
    let own = prompts.save(SINGLE, Draft::of_body(of_nova(), "own {messages}")).await.expect("saved");
    assert_eq!((own.version, own.source, own.scope_id.as_str()), (Some(1), Source::DbOverride, "nova"));
    assert_eq!(own.required_vars, ["messages"]);
    assert!(rendered(&prompts, Some(&nova())).await.0.starts_with("own <<<messages "));
    assert!(rendered(&prompts, None).await.0.starts_with("global "));
    assert!(rendered(&prompts, Some(&BotSlug::from_stored("mira"))).await.0.starts_with("global "));

    let reset = prompts.reset(SINGLE, &of_nova(), Some("ann")).await.expect("reset");
    assert_eq!(reset.template.expect("the global one").body, "global {messages}");
    assert!(rendered(&prompts, Some(&nova())).await.0.starts_with("global "));
    prompts.reset(SINGLE, &Scope::Global, None).await.expect("reset");
    assert_eq!(rendered(&prompts, Some(&nova())).await.1, Source::CodeDefault);

    let versions = prompts.versions(SINGLE, &of_nova()).await.expect("versions");
    let told: Vec<_> = versions.iter().map(|it| (it.version, it.change_note.as_deref())).collect();
    assert_eq!(told, [(2, Some("reset to the global text")), (1, None)]);
    let again = prompts.reset(SINGLE, &of_nova(), None).await.expect("reset");
    assert!(!again.deleted && again.template.is_some());
    assert_eq!(prompts.versions(SINGLE, &of_nova()).await.expect("versions").len(), 2);
}

#[tokio::test]
async fn writers_at_once_get_numbers_of_their_own() {
    let (_database, prompts) = prompts().await;
    let saves = (0..8).map(|n| {
        let prompts = prompts.clone();
        let body = format!("{n} {{messages}}");
        tokio::spawn(async move { prompts.save(SINGLE, Draft::of_body(Scope::Global, body)).await })
    });
    let mut numbers = Vec::new();
    for save in saves.collect::<Vec<_>>() {
        numbers.push(save.await.expect("task").expect("saved").version.expect("a number"));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=8).collect::<Vec<i32>>());
    let versions = prompts.versions(SINGLE, &Scope::Global).await.expect("versions");
    let now = prompts.exact(SINGLE, &Scope::Global).await.expect("the row");
    assert_eq!((now.body.as_str(), now.version), (versions[0].body.as_str(), Some(8)));
}

#[tokio::test]
async fn what_does_not_fit_is_not_stored() {
    let (_database, prompts) = prompts().await;
    let refused = prompts.save(SINGLE, Draft::of_body(Scope::Global, "{message}")).await.expect_err("refused");
    let PromptError::NotValid(judgement) = &refused else { panic!("{refused}") };
    assert_eq!(judgement.missing_required, ["messages"]);
    assert_eq!(judgement.unknown_placeholders, ["message"]);
    assert_eq!(refused.class(), ErrorClass::InvalidRequest);
    for body in ["{messages} {", "{messages.x}", "}"] {
        let refused = prompts.save(SINGLE, Draft::of_body(Scope::Global, body)).await.expect_err("refused");
        assert!(matches!(refused, PromptError::Invalid(_)), "{body}: {refused}");
    }
    for key in ["", "A", "a b", "a/b", "ä", "a'; DROP TABLE prompt_templates; --", &"x".repeat(256)] {
        let refused = prompts.save(key, Draft::of_body(Scope::Global, "x")).await.expect_err("refused");
        assert!(matches!(refused, PromptError::BadKey), "{key}: {refused}");
    }
    assert!(matches!(prompts.exact(SINGLE, &Scope::Global).await, Err(PromptError::NotFound)));
    assert!(prompts.versions(SINGLE, &Scope::Global).await.expect("versions").is_empty());
}

#[tokio::test]
async fn an_edit_that_cannot_be_rendered_gives_way() {
    let (database, prompts) = prompts().await;
    execute(
        &database,
        "INSERT INTO prompt_templates (key, scope_type, scope_id, body, created_at, updated_at) VALUES
             ('history.summarization.single', 'global', '*', 'broken {', now(), now()),
             ('memory.extraction.fact', 'global', '*', 'needs {more}', now(), now()),
             ('own', 'global', '*', 'needs {more}', now(), now())",
    )
    .await;
    assert_eq!(rendered(&prompts, None).await.1, Source::CodeDefault);
    let fact = prompts.render("memory.extraction.fact", None, &[("conversation", "x")]).await.expect("rendered");
    assert_eq!(fact.source, Source::CodeDefault);
    assert!(matches!(prompts.render("own", None, &[]).await, Err(PromptError::Broken { .. })));
    assert!(matches!(prompts.render("nothing", None, &[]).await, Err(PromptError::NotFound)));
    let shown = prompts.get(SINGLE, &Scope::Global).await.expect("shown");
    assert_eq!((shown.body.as_str(), shown.placeholders.len()), ("broken {", 0));
}

#[tokio::test]
async fn fields_are_kept_cleared_and_edited_without_a_new_version() {
    let (_database, prompts) = prompts().await;
    let read = |body: Value, whole| Draft::read(&body, whole).expect("a draft");
    let key = "own.greeting";
    let without = prompts.save(key, read(json!({"title": "Greeting"}), false)).await.expect_err("no text");
    assert!(matches!(without, PromptError::NotFound));
    let full = json!({"body": "Hi {name}", "title": "Greeting", "format": "markdown", "required_vars": ["name"],
                      "metadata": {"a": 1}, "updated_by": "ann", "change_note": "first"});
    prompts.save(key, read(full, true)).await.expect("saved");
    let kept = prompts.save(key, read(json!({"body": "Hello {name}"}), true)).await.expect("saved");
    assert_eq!((kept.title.as_str(), kept.format.as_str(), kept.version), ("Greeting", "markdown", Some(2)));
    assert_eq!(kept.metadata.get("a"), Some(&json!(1)));
    let edited = prompts.save(key, read(json!({"title": null, "metadata": {}}), false)).await.expect("saved");
    assert_eq!((edited.title.as_str(), edited.version, edited.metadata.len()), (key, Some(2), 0));
    let restored = prompts.restore(key, &Scope::Global, 1, Some("bob")).await.expect("restored");
    assert_eq!((restored.body.as_str(), restored.version), ("Hi {name}", Some(3)));
    assert!(matches!(prompts.restore(key, &Scope::Global, 99, None).await, Err(PromptError::NotFound)));
    // A built-in prompt's title can be edited alone; its text stays the program's.
    let titled = prompts.save(SINGLE, read(json!({"title": "Mine"}), false)).await.expect("saved");
    assert_eq!((titled.title.as_str(), titled.source, titled.version), ("Mine", Source::CodeDefault, None));
    let gone = prompts.reset(key, &Scope::Global, None).await.expect("reset");
    assert!(gone.deleted && gone.template.is_none());
}

#[tokio::test]
async fn requests_are_read_strictly() {
    for body in [
        json!({}),
        json!({"body": 5}),
        json!({"body": null}),
        json!({"body": "x".repeat(70_000)}),
        json!({"body": "x\u{0}"}),
        json!({"body": "x", "required_vars": ["a-b"]}),
        json!({"body": "x", "metadata": []}),
        json!({"body": "x", "metadata": {"a": "\u{0}"}}),
        json!({"body": "x", "title": "y".repeat(256)}),
        json!([]),
    ] {
        assert!(matches!(Draft::read(&body, true), Err(PromptError::Invalid(_))), "{body}");
    }
    for (kind, id) in [("user", None), ("bot", None), ("bot", Some(" ")), ("bot", Some("*")), ("bot", Some("a/b"))] {
        assert!(matches!(Scope::parse(kind, id), Err(PromptError::BadScope(_))), "{kind} {id:?}");
    }
    assert_eq!(Scope::parse(" BOT ", Some("Nova")).ok(), Some(of_nova()));
    assert_eq!(Scope::parse("global", Some("nova")).ok(), Some(Scope::Global));
}

#[tokio::test]
async fn listings_resolve_built_in_prompts_and_add_the_others() {
    let (_database, prompts) = prompts().await;
    prompts.save(SINGLE, Draft::of_body(of_nova(), "own {messages}")).await.expect("saved");
    prompts.save("zz.own", Draft::of_body(Scope::Global, "x")).await.expect("saved");
    prompts.save("aa.own", Draft::of_body(of_nova(), "x")).await.expect("saved");
    let list = async |scope: Scope, include_defaults| {
        let filter = ListFilter { category: None, scope, include_defaults };
        prompts.list(&filter).await.expect("a list").into_iter().map(|it| (it.key, it.scope_id)).collect::<Vec<_>>()
    };
    let all = list(of_nova(), true).await;
    assert_eq!(all.len(), DEFINITIONS.len() + 2);
    assert!(all.contains(&(SINGLE.into(), "nova".into())));
    assert_eq!(all[all.len() - 2..], [("zz.own".into(), "*".into()), ("aa.own".into(), "nova".into())]);
    assert_eq!(list(of_nova(), false).await, [("aa.own".into(), "nova".into()), (SINGLE.into(), "nova".into())]);
    assert_eq!(list(Scope::Global, false).await, [("zz.own".into(), "*".into())]);
    let filter = ListFilter { category: Some("summarization".into()), scope: Scope::Global, include_defaults: true };
    assert_eq!(prompts.list(&filter).await.expect("a list").len(), 3);
}

#[tokio::test]
async fn a_trial_stores_nothing() {
    let (_database, prompts) = prompts().await;
    let trial = Trial::read(&json!({"variables": {"messages": "hello"}})).expect("a trial");
    let judged = prompts.validate(SINGLE, &Scope::Global, &trial, false).await.expect("judged");
    assert!(judged.valid && judged.rendered_preview.is_some_and(|text| text.contains("hello")));
    let trial = Trial::read(&json!({"body": "x {messages}"})).expect("a trial");
    let judged = prompts.validate(SINGLE, &Scope::Global, &trial, true).await.expect("judged");
    assert!(!judged.valid && judged.errors.len() == 1, "{judged:?}");
    let unknown = prompts.validate("nothing", &Scope::Global, &Trial::default(), false).await;
    assert!(matches!(unknown, Err(PromptError::NotFound)));
}

#[tokio::test]
async fn a_purged_bot_takes_its_prompts_along() {
    let (database, prompts) = prompts().await;
    prompts.save(SINGLE, Draft::of_body(of_nova(), "own {messages}")).await.expect("saved");
    prompts.save(SINGLE, Draft::of_body(Scope::Global, "global {messages}")).await.expect("saved");
    assert!(rendered(&prompts, Some(&nova())).await.0.starts_with("own "));
    let db = database.store.connection().await.expect("connection");
    let gone = Prompts::purge(&db, &nova()).await.expect("purged");
    prompts.purged();
    assert_eq!(gone, [("prompt_template_versions", 1), ("prompt_templates", 1)]);
    assert!(rendered(&prompts, Some(&nova())).await.0.starts_with("global "));
}

#[tokio::test]
async fn while_the_database_is_away_nothing_is_rendered_by_guess() {
    let (database, prompts) = prompts().await;
    database.store.close().await;
    let error = prompts.render(SINGLE, None, &[("messages", "x")]).await.expect_err("away");
    assert_eq!(error.class(), ErrorClass::Storage);
}
