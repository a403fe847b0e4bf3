//! Settings, model switches and purges against a real database.

use std::time::Duration;

use crate::support::{House, SEEDS, house, house_with, ingress, outcome, slug, user};
use greenroom_bot::{BotsError, BotsSettings, SettingDraft, SettingFilter, Source};
use greenroom_protocol::TurnStatus;
use greenroom_test_support::upstream::Script;
use serde_json::{Value, json};

fn draft(bot: Option<&str>, key: &str, value: Value) -> SettingDraft {
    let scope = if bot.is_some() { "bot" } else { "global" };
    SettingDraft::read(&json!({"scope_type": scope, "scope_id": bot, "key": key, "value": value})).unwrap()
}

fn effective(house: &House, bot: &str, key: &str) -> (Value, Source) {
    let directory = house.bots.directory();
    let setting = directory.named(bot).unwrap().settings.get(key).unwrap();
    (setting.value.clone(), setting.source)
}

#[tokio::test]
async fn a_write_shows_at_once_with_its_source() {
    let house = house().await;
    let bots = &house.bots;
    assert_eq!(effective(&house, "spark", "memory_n_results"), (json!(10), Source::Template));
    bots.put_settings(vec![draft(None, "memory_n_results", json!(4))]).await.unwrap();
    assert_eq!(effective(&house, "spark", "memory_n_results"), (json!(4), Source::Global));
    assert_eq!(effective(&house, "nova", "memory_n_results"), (json!(6), Source::Bot));
    let applied = bots.put_settings(vec![draft(Some(" SPARK "), "memory_n_results", json!(2))]).await.unwrap();
    assert_eq!((applied.rows[0].scope_id.as_str(), applied.unknown_keys.len()), ("spark", 0));
    assert_eq!(effective(&house, "spark", "memory_n_results"), (json!(2), Source::Bot));
    let place = bots.setting_place(" Bot", Some("Spark")).unwrap();
    assert!(bots.delete_setting(place.clone(), "memory_n_results").await.unwrap().deleted);
    assert!(!bots.delete_setting(place.clone(), "memory_n_results").await.unwrap().deleted);
    assert_eq!(effective(&house, "spark", "memory_n_results"), (json!(4), Source::Global));
    let shown = bots.effective_settings(&place);
    assert!(shown.iter().any(|setting| setting.key == "memory_n_results" && setting.source == Source::Global));
    // What the operator configured goes before the template and behind every row.
    let tunables = [("max_context_tokens".to_owned(), json!(99)), ("memory_n_results".to_owned(), json!(98))].into();
    let settings = BotsSettings { seeds: SEEDS.into(), tunables, ..BotsSettings::default() };
    let again = house.restarted_with(settings).await.unwrap().directory();
    let spark = again.named("spark").unwrap();
    assert_eq!(spark.turn_settings.max_context_tokens, 99);
    assert_eq!(spark.settings.get("memory_n_results").unwrap().source, Source::Global);
}

#[tokio::test]
async fn a_batch_is_applied_whole_or_not_at_all() {
    let house = house().await;
    let bots = &house.bots;
    let half = vec![draft(Some("nova"), "top_p", json!(0.5)), draft(Some("nobody"), "top_p", json!(0.5))];
    assert!(matches!(bots.put_settings(half).await, Err(BotsError::UnknownBot(name)) if name == "nobody"));
    assert_eq!(effective(&house, "nova", "top_p").1, Source::Default);
    let whole = vec![
        draft(Some("nova"), "top_p", json!(0.5)),
        draft(None, "b_own", json!({"x": 1})),
        draft(None, "a_own", Value::Null),
        draft(Some("nova"), "top_p", json!(0.6)),
    ];
    let applied = bots.put_settings(whole).await.unwrap();
    assert_eq!(applied.unknown_keys, ["a_own", "b_own"]);
    assert_eq!(effective(&house, "nova", "top_p"), (json!(0.6), Source::Bot));
    assert!(bots.put_settings(Vec::new()).await.unwrap().rows.is_empty());
}

#[tokio::test]
async fn settings_are_listed_and_paged() {
    let house = house().await;
    let bots = &house.bots;
    let drafts = ["x_1", "x_2", "x%3", "y_1"].map(|key| draft(None, key, json!(key)));
    bots.put_settings(drafts.into()).await.unwrap();
    let place = bots.setting_place("global", Some("ignored")).unwrap();
    assert_eq!(place.scope_id, "*");
    let keys: Vec<_> = bots.settings_at(&place).await.unwrap().into_iter().map(|row| row.key).collect();
    assert_eq!(keys, ["x%3", "x_1", "x_2", "y_1"]);
    let of_default = bots.setting_place("bot", None).unwrap();
    assert_eq!(of_default.scope_id, "nova");
    let keys: Vec<_> = bots.settings_at(&of_default).await.unwrap().into_iter().map(|row| row.key).collect();
    assert_eq!(keys, ["memory_n_results", "temperature"]);
    let filter = SettingFilter { key_prefix: Some("x_".into()), ..SettingFilter::default() };
    let page = bots.settings_page(&filter, 1, 1).await.unwrap();
    assert_eq!((page.total_count, page.rows[0].key.as_str(), page.rows.len()), (2, "x_2", 1));
    let odd = SettingFilter { key: Some("a\0b".into()), ..SettingFilter::default() };
    assert_eq!(bots.settings_page(&odd, 10, 0).await.unwrap().total_count, 0);
    assert!(matches!(bots.setting_place("planet", None), Err(BotsError::Refused(_))));
    assert!(matches!(bots.setting_place("bot", Some(" ")), Err(BotsError::Refused(_))));
}

#[tokio::test]
async fn a_switch_belongs_to_one_user_and_outlives_a_restart() {
    let house = house().await;
    let (nova, ann, bob) = (slug("nova"), user("ann"), user("bob"));
    let bots = &house.bots;
    assert_eq!(bots.active_model(Some(&nova), Some(&ann)).as_deref(), Some("fake"));
    let switched = bots.switch_model(Some(&nova), Some(&ann), "OTHER").await.unwrap();
    assert_eq!((switched.previous_model.as_deref(), switched.new_model.as_str()), (Some("fake"), "OTHER"));
    assert!(switched.success && switched.expires_at.is_some());
    assert_eq!(bots.active_model(Some(&nova), Some(&ann)).as_deref(), Some("other"));
    assert_eq!(bots.active_model(Some(&nova), Some(&bob)).as_deref(), Some("fake"));
    assert_eq!(bots.active_model(Some(&slug("spark")), Some(&ann)).as_deref(), Some("fake"));
    let again = bots.switch_model(Some(&nova), Some(&ann), "other").await.unwrap();
    assert!(again.success && again.message.contains("already"));
    for bad in ["nope", "keyless", ""] {
        let refused = bots.switch_model(Some(&nova), Some(&ann), bad).await;
        assert!(matches!(&refused, Err(error) if error.class().status() == 400), "{bad}: {refused:?}");
    }
    assert!(matches!(bots.switch_model(Some(&slug("no")), None, "fake").await, Err(BotsError::UnknownBot(_))));

    let turn = house.ask("nova", "ann", "hi").await.unwrap();
    assert_eq!(turn.header().model, "other");
    outcome(&turn).await;
    let body =
        json!({"bot_id": "nova", "user": "ann", "model": "echo", "messages": [{"role": "user", "content": "x"}]});
    let turn = house.send(body).await.unwrap();
    assert_eq!(turn.header().model, "echo");
    outcome(&turn).await;

    let next = house.restarted(SEEDS).await;
    assert_eq!(next.active_model(Some(&nova), Some(&ann)).as_deref(), Some("other"));
    // An edit of the bot, or a reload, takes its switches back.
    bots.patch_profile("nova", &json!({"color": "x"}), Default::default()).await.unwrap();
    assert_eq!(bots.active_model(Some(&nova), Some(&ann)).as_deref(), Some("fake"));
    bots.switch_model(Some(&nova), Some(&bob), "other").await.unwrap();
    let reloaded = bots.reload().await.unwrap();
    assert_eq!((reloaded.bots, reloaded.cleared_model_overrides), (3, 1));
    assert_eq!(bots.active_model(Some(&nova), Some(&bob)).as_deref(), Some("fake"));
}

#[tokio::test]
async fn a_switch_expires() {
    let house = house_with(|settings| settings.switch_lifetime = Duration::ZERO).await;
    let nova = slug("nova");
    house.bots.switch_model(Some(&nova), None, "other").await.unwrap();
    assert_eq!(house.bots.active_model(Some(&nova), None).as_deref(), Some("fake"));
    house.restarted(SEEDS).await;
    assert_eq!(house.count("SELECT count(*) FROM model_overrides").await, 0);
}

#[tokio::test]
async fn a_purge_takes_everything_but_the_profile() {
    let house = house_with(|settings| settings.confirm_purges = true).await;
    let bots = &house.bots;
    outcome(&house.ask("nova", "ann", "remember this").await.unwrap()).await;
    outcome(&house.ask("spark", "ann", "keep this").await.unwrap()).await;
    bots.switch_model(Some(&slug("nova")), Some(&user("ann")), "other").await.unwrap();
    assert!(matches!(bots.purge("nova", false, None).await, Err(BotsError::Refused(_))));
    assert!(matches!(bots.purge("nova", false, Some("spark")).await, Err(BotsError::Refused(_))));
    assert!(matches!(bots.purge("nobody", false, Some("nobody")).await, Err(BotsError::UnknownBot(_))));
    assert!(bots.purge("nobody", true, Some("nobody")).await.unwrap().dropped_tables.is_empty());

    let purged = bots.purge("nova", false, Some("Nova")).await.unwrap();
    assert_eq!(
        purged.dropped_tables,
        ["nova_forgotten", "nova_memories", "nova_messages", "nova_summaries", "nova_vectors"]
    );
    assert_eq!((purged.deleted_rows["runtime_settings"], purged.deleted_rows["model_overrides"]), (2, 1));
    assert_eq!(purged.deleted_rows["turn_logs"], 1);
    assert_eq!(house.count("SELECT count(*) FROM turn_logs WHERE bot_id = 'spark'").await, 1);
    assert_eq!(house.count("SELECT count(*) FROM messages").await, 2);
    assert_eq!(effective(&house, "nova", "temperature").1, Source::Seed);
    assert_eq!(bots.active_model(Some(&slug("nova")), Some(&user("ann"))).as_deref(), Some("fake"));
    // The bot goes on, with fresh tables.
    outcome(&house.ask("nova", "ann", "hello again").await.unwrap()).await;
    assert_eq!(house.count("SELECT count(*) FROM messages WHERE bot_id = 'nova'").await, 2);
}

#[tokio::test]
async fn what_a_deleted_bot_left_behind_is_cleaned_up_and_nothing_else() {
    let house = house().await;
    outcome(&house.ask("nova", "ann", "hello").await.unwrap()).await;
    outcome(&house.ask("spark", "ann", "hello").await.unwrap()).await;
    house.bots.delete_profile("nova", false, Default::default()).await.unwrap();
    let planned = house.bots.clean_up_orphans(true).await.unwrap();
    assert_eq!((planned.orphaned_bot_ids.len(), planned.orphan_tables.len()), (1, 5));
    assert!(planned.dropped_tables.is_empty() && planned.deleted_rows["turn_logs"] == 1);
    assert_eq!(house.count("SELECT count(*) FROM messages").await, 4, "a dry run leaves everything");
    let done = house.bots.clean_up_orphans(false).await.unwrap();
    assert_eq!((&done.dropped_tables, &done.deleted_rows), (&planned.orphan_tables, &planned.deleted_rows));
    assert_eq!(house.count("SELECT count(*) FROM messages WHERE bot_id = 'spark'").await, 2);
    assert!(house.bots.clean_up_orphans(true).await.unwrap().orphaned_bot_ids.is_empty());
}

#[tokio::test]
async fn nothing_is_purged_under_a_running_turn() {
    let house = house().await;
    let (script, gate) = Script::text("slow").gated();
    house.upstream.script(script);
    let turn = house.ask("nova", "ann", "hi").await.unwrap();
    for result in [
        house.bots.purge("nova", true, None).await.map(|_| ()),
        house.bots.delete_profile("nova", true, Default::default()).await.map(|_| ()),
    ] {
        assert!(matches!(&result, Err(error @ BotsError::Running(_)) if error.class().status() == 409), "{result:?}");
    }
    // Deleting alone leaves the turn its snapshot.
    house.bots.delete_profile("nova", false, Default::default()).await.unwrap();
    assert!(matches!(house.bots.purge("nova", true, None).await, Err(BotsError::Running(_))));
    gate.open();
    assert_eq!(outcome(&turn).await.text, "slow");
}

#[tokio::test]
async fn purges_and_requests_at_once_end_in_a_clean_answer_each() {
    let house = house().await;
    let ask = |n: usize| {
        let bots = house.bots.clone();
        let body = json!({"bot_id": "nova", "user": format!("u{n}"), "model": "echo",
            "messages": [{"role": "user", "content": "hi"}]});
        tokio::spawn(async move {
            match bots.begin(ingress(&body)).await {
                Ok(turn) => Ok(outcome(&turn).await.status),
                Err(error) => Err(error.class().status()),
            }
        })
    };
    let purge = |_: usize| {
        let bots = house.bots.clone();
        tokio::spawn(async move {
            bots.purge("nova", false, None).await.map(|_| ()).map_err(|error| error.class().status())
        })
    };
    let (asks, purges): (Vec<_>, Vec<_>) = (0..30).map(|n| (ask(n), purge(n))).unzip();
    let mut answered = 0;
    for task in asks {
        match task.await.unwrap() {
            Ok(status) => answered += i64::from(status == TurnStatus::Ok),
            Err(status) => assert_eq!(status, 409),
        }
    }
    for task in purges {
        assert!(matches!(task.await.unwrap(), Ok(()) | Err(409)));
    }
    assert!(house.count("SELECT count(*) FROM turn_logs WHERE bot_id = 'nova'").await <= answered);
    house.bots.purge("nova", false, None).await.unwrap();
    assert_eq!(house.count("SELECT count(*) FROM messages").await, 0);
    assert_eq!(outcome(&house.ask("nova", "ann", "still there?").await.unwrap()).await.status, TurnStatus::Ok);
}
