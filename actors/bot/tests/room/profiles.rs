//! Profiles against a real database: seeds, edits, versions, slugs, deletion.

use crate::support::{SEEDS, house, slug};
use greenroom_bot::{Audience, BotsError, BotsSettings, IfMatch, ProfileFilter, Source};
use serde_json::{Value, json};

#[tokio::test]
async fn seeds_are_copied_once_with_their_settings() {
    let house = house().await;
    let directory = house.bots.directory();
    let slugs: Vec<_> = directory.iter().map(|bot| bot.slug().to_string()).collect();
    assert_eq!(slugs, ["mira", "nova", "spark"]);
    let nova = directory.named("Nova").unwrap();
    assert_eq!(nova.character().system_prompt, "Be Nova.");
    assert_eq!(nova.profile.namespace, "nova");
    let setting = nova.settings.get("memory_n_results").unwrap();
    assert_eq!((&setting.value, setting.source), (&json!(6), Source::Bot));
    assert_eq!(nova.settings.get("max_context_tokens").unwrap().source, Source::Template);

    // What was changed or deleted since stays so, and a new seed arrives.
    house.bots.patch_profile("nova", &json!({"name": "Nova II", "default_model": null}), IfMatch::Any).await.unwrap();
    let place = house.bots.setting_place("bot", Some("nova")).unwrap();
    assert!(house.bots.delete_setting(place, "temperature").await.unwrap().deleted);
    house.bots.delete_profile("spark", false, IfMatch::Any).await.unwrap();
    let later = format!("{SEEDS}  \nsystem_prompts: {{}}\n").replace("  mira:", "  late: {}\n  mira:");
    let again = house.restarted(&later).await;
    let directory = again.directory();
    let slugs: Vec<_> = directory.iter().map(|bot| bot.slug().to_string()).collect();
    assert_eq!(slugs, ["late", "mira", "nova"]);
    let nova = directory.named("nova").unwrap();
    assert_eq!((nova.character().name.as_str(), nova.character().default_model.as_deref()), ("Nova II", None));
    assert_eq!(nova.settings.get("temperature").unwrap().source, Source::Seed);
}

#[tokio::test]
async fn a_bad_seed_or_tunable_stops_the_start() {
    let house = house().await;
    let bad = BotsSettings { seeds: "bots: {x: {colour: red}}".into(), ..BotsSettings::default() };
    assert!(matches!(house.restarted_with(bad).await, Err(BotsError::Seeds(_))));
    let tunables = [("temperature".to_owned(), json!(5))].into();
    let bad = BotsSettings { tunables, ..BotsSettings::default() };
    assert!(matches!(house.restarted_with(bad).await, Err(BotsError::Seeds(_))));
}

#[tokio::test]
async fn every_field_survives_the_database() {
    let house = house().await;
    let body = json!({
        "slug": " Full-Bot ", "name": "Full", "description": "d", "system_prompt": "p", "requires_memory": false,
        "voice_optimized": true, "tts_mode": true, "include_summaries": false, "uses_tools": true, "uses_search": true,
        "uses_home_assistant": true, "default_model": "FAKE", "color": "teal", "avatar": "x", "default_voice": "v",
        "nextcloud_config": {"room": 1, "bot_secret": "s"}, "agent_backend": "OpenClaw",
        "agent_backend_config": {"session_key": "agent:main", "token": "t", "model": "any"},
        "tools_allow": ["memory"], "tools_deny": ["home", "history.delete"], "history_scope": "user",
        "model_fallbacks": ["other", "echo"],
        "timezone": "Europe/Lisbon",
    });
    let made = house.bots.create_profile(&body).await.unwrap();
    house.bots.reload().await.unwrap();
    let read = house.bots.profile("FULL-BOT").unwrap();
    assert_eq!(read.profile, made.profile);
    assert_eq!(read.profile.namespace, "fullbot");
    let admin = serde_json::to_value(read.profile_view(Audience::Admin)).unwrap();
    for (key, value) in body.as_object().unwrap() {
        let expected = match key.as_str() {
            "slug" => json!("full-bot"),
            "default_model" => json!("fake"),
            "agent_backend" => json!("openclaw"),
            _ => value.clone(),
        };
        assert_eq!(admin[key], expected, "{key}");
    }
    assert_eq!((&admin["bot_type"], &admin["settings"]["max_context_tokens"]), (&json!("agent"), &json!(12000)));
    let reader = serde_json::to_value(read.profile_view(Audience::Reader)).unwrap();
    assert_eq!(reader["nextcloud_config"], json!({"room": 1, "bot_secret": "********"}));
    assert_eq!(reader["agent_backend_config"]["token"], json!("********"));
    let listed = serde_json::to_value(read.view(Audience::Reader)).unwrap();
    assert_eq!(listed["agent_backend_config"]["token"], json!("********"));
    // The masked form written back changes nothing.
    let config = reader["nextcloud_config"].clone();
    let same = house.bots.patch_profile("full-bot", &json!({"nextcloud_config": config}), IfMatch::Any).await.unwrap();
    assert_eq!(same.character(), made.character());
}

#[tokio::test]
async fn updates_are_presence_aware_and_versioned() {
    let house = house().await;
    let bots = &house.bots;
    let first = bots.profile("nova").unwrap();
    let version = IfMatch::parse(&greenroom_protocol::time::wire_time(first.profile.updated_at));
    let patched = bots.patch_profile("NOVA", &json!({"color": "cyan"}), version.clone()).await.unwrap();
    assert_eq!(patched.character().color.as_deref(), Some("cyan"));
    assert_eq!(patched.character().default_model.as_deref(), Some("fake"));
    assert!(patched.profile.updated_at > first.profile.updated_at);
    assert_eq!(patched.profile.created_at, first.profile.created_at);
    let stale = bots.patch_profile("nova", &json!({"color": "red"}), version.clone()).await;
    assert!(matches!(&stale, Err(error @ BotsError::Stale { .. }) if error.class().status() == 409), "{stale:?}");
    assert!(matches!(bots.delete_profile("nova", false, version).await, Err(BotsError::Stale { .. })));

    let body = json!({"name": "Nova", "system_prompt": "Be new."});
    let merged = bots.put_profile("nova", &body, false, IfMatch::Any).await.unwrap();
    assert_eq!(merged.character().color.as_deref(), Some("cyan"));
    let replaced = bots.put_profile("nova", &body, true, IfMatch::Any).await.unwrap();
    assert_eq!((&replaced.character().color, &replaced.character().default_model), (&None, &None));
    assert!(
        matches!(bots.put_profile("nova", &json!({}), false, IfMatch::Any).await, Err(BotsError::Invalid(c)) if c.len() == 2)
    );
    let null = bots.patch_profile("nova", &json!({"uses_tools": null}), IfMatch::Any).await;
    assert!(matches!(null, Err(BotsError::Invalid(_))));
    assert_eq!(bots.profile("nova").unwrap().profile, replaced.profile);

    assert!(matches!(bots.patch_profile("no", &json!({}), IfMatch::Any).await, Err(BotsError::UnknownBot(_))));
    let made = bots.put_profile("fresh", &json!({"name": "", "system_prompt": ""}), false, IfMatch::Any).await.unwrap();
    assert_eq!(made.character().name, "Fresh");
    let gone = IfMatch::parse("\"2020-01-01T00:00:00Z\"");
    let lost = bots.put_profile("lost", &json!({"name": "", "system_prompt": ""}), false, gone).await;
    assert!(matches!(lost, Err(BotsError::Stale { .. })));
}

#[tokio::test]
async fn slugs_are_unique_and_do_not_collide() {
    let house = house().await;
    let make =
        async |slug: Value| house.bots.create_profile(&json!({"slug": slug, "name": "x", "system_prompt": "y"})).await;
    assert!(matches!(make(json!("Nova ")).await, Err(BotsError::AlreadyExists(_))));
    make(json!("my-bot")).await.unwrap();
    let collides = make(json!("mybot")).await;
    assert!(matches!(&collides, Err(error @ BotsError::SlugCollides { .. }) if error.class().status() == 409));
    assert!(matches!(make(json!("  ")).await, Err(BotsError::Refused(text)) if text == "Bot slug is required"));
    assert!(matches!(make(json!("a/b")).await, Err(BotsError::Invalid(_))));
    assert!(matches!(make(json!(5)).await, Err(BotsError::Invalid(_))));
    make(json!("default")).await.unwrap();
    make(json!("nova_forgotten")).await.unwrap();
    make(json!("x".repeat(64))).await.unwrap();
    make(json!(format!("{}y", "x".repeat(63)))).await.unwrap();
    let directory = house.bots.directory();
    let mut names: Vec<_> = directory.iter().map(|bot| bot.profile.namespace.clone()).collect();
    assert!(!names.contains(&"default".to_owned()));
    names.sort();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);

    // The tables of a deleted bot may still be there: its name is kept for it.
    house.bots.delete_profile("my-bot", false, IfMatch::Any).await.unwrap();
    assert_ne!(make(json!("mybot")).await.unwrap().profile.namespace, "mybot");
    house.bots.delete_profile("mybot", false, IfMatch::Any).await.unwrap();
    assert_eq!(make(json!("my-bot")).await.unwrap().profile.namespace, "mybot");
    assert!(matches!(house.bots.delete_profile("never", false, IfMatch::Any).await, Err(BotsError::NoProfile)));
}

#[tokio::test]
async fn models_must_fit_and_are_forgotten_with_their_definition() {
    let house = house().await;
    let bots = &house.bots;
    let unknown = bots.patch_profile("spark", &json!({"default_model": "nope"}), IfMatch::Any).await;
    assert!(matches!(unknown, Err(BotsError::Refused(_))), "{unknown:?}");
    let agent = bots.patch_profile("spark", &json!({"bot_type": "agent"}), IfMatch::Any).await;
    assert!(matches!(agent, Err(BotsError::Refused(text)) if text == "Agent bots require agent_backend"));
    // The seed's default does not exist; that does not stand in the way of other edits.
    bots.patch_profile("mira", &json!({"color": "x"}), IfMatch::Any).await.unwrap();
    assert_eq!(bots.forget_model("Fake").await.unwrap(), 1);
    assert_eq!(bots.profile("nova").unwrap().character().default_model, None);
    assert_eq!(bots.forget_model("fake").await.unwrap(), 0);
}

#[tokio::test]
async fn profiles_are_listed_filtered_and_paged() {
    let house = house().await;
    let list = |filter: ProfileFilter| {
        let page = house.bots.profiles(&filter);
        (page.bots.iter().map(|bot| bot.slug().to_string()).collect::<Vec<_>>(), page.total_count)
    };
    assert_eq!(list(ProfileFilter { limit: 1, offset: 1, ..ProfileFilter::default() }), (vec!["nova".into()], 3));
    assert_eq!(list(ProfileFilter { q: Some("SPA".into()), ..ProfileFilter::default() }), (vec!["spark".into()], 1));
    let silent = ProfileFilter { requires_memory: Some(false), ..ProfileFilter::default() };
    assert_eq!(list(silent), (vec!["spark".into()], 1));
    let with = ProfileFilter { default_model: Some("fake".into()), ..ProfileFilter::default() };
    assert_eq!(list(with), (vec!["nova".into()], 1));
}

#[tokio::test]
async fn without_any_bot_one_stands_in() {
    let house = house().await;
    for name in ["mira", "nova", "spark"] {
        house.bots.delete_profile(name, true, IfMatch::Any).await.unwrap();
    }
    assert!(house.bots.profiles(&ProfileFilter::default()).bots.is_empty());
    let turn = house.send(json!({"messages": [{"role": "user", "content": "hi"}]})).await.unwrap();
    assert_eq!(turn.header().bot_id, slug("assistant"));
    crate::support::outcome(&turn).await;
    house
        .bots
        .put_profile("assistant", &json!({"name": "A", "system_prompt": "B"}), false, IfMatch::Any)
        .await
        .unwrap();
    assert_eq!(house.bots.profiles(&ProfileFilter::default()).total_count, 1);
}

#[tokio::test]
async fn a_write_is_finished_even_if_the_client_leaves() {
    let house = house().await;
    let body = json!({"name": "Left"});
    {
        let write = house.bots.patch_profile("nova", &body, IfMatch::Any);
        let mut write = std::pin::pin!(write);
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(write.as_mut().poll(cx).is_ready())).await;
        assert!(!polled);
    }
    house.bots.close().await;
    assert_eq!(house.bots.directory().named("nova").unwrap().character().name, "Left");
    let refused = house.bots.patch_profile("nova", &body, IfMatch::Any).await;
    assert!(matches!(refused, Err(BotsError::ShuttingDown)));
}
