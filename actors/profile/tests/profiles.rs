//! Profiles in a real database: precedence, races, staleness, forgetting, hostile input.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use greenroom_profile::{
    Attribute, AttributeDraft, AttributeFilter, AttributePatch, Entity, EntityType, Outcome, ProfileError,
    ProfileFilter, ProfilePatch, Profiles, Source, Upserted,
};
use greenroom_protocol::{BotSlug, ErrorClass, UserId};
use greenroom_store::testing::{TestDatabase, database};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use uuid::Uuid;

async fn profiles() -> (TestDatabase, Profiles) {
    let database = database().await;
    let profiles = Profiles::new(database.store.clone());
    (database, profiles)
}

fn ann() -> Entity {
    Entity::parse("user", "ann").expect("an entity")
}

fn nova() -> BotSlug {
    BotSlug::from_stored("nova")
}

fn draft(key: &str, value: Value, confidence: f64, source: Source) -> AttributeDraft {
    AttributeDraft::new(ann(), "fact", key, value, confidence, source).expect("a draft")
}

async fn put(profiles: &Profiles, value: &str, confidence: f64, source: Source) -> Upserted {
    profiles.upsert(&draft("city", json!(value), confidence, source)).await.expect("upserted")
}

async fn text(profiles: &Profiles) -> String {
    let texts = profiles.for_turn(&UserId::from_stored("ann"), &nova()).await.expect("texts");
    texts.user.text.clone()
}

#[tokio::test]
async fn the_word_of_a_higher_rank_stands() {
    let (_database, profiles) = profiles().await;
    let first = put(&profiles, "Berlin", 0.7, Source::Inferred).await;
    assert_eq!((first.outcome, first.attribute.confidence), (Outcome::Created, 0.7));
    // Lower rank, not surer by 0.2: noted only.
    let candidate = put(&profiles, "Paris", 0.85, Source::Extracted).await;
    assert_eq!((candidate.outcome, &candidate.attribute.value), (Outcome::Candidate, &json!("Berlin")));
    let again = put(&profiles, "Paris", 0.85, Source::Extracted).await;
    assert_eq!(again.outcome, Outcome::Candidate);
    // Surer by 0.2.
    let surer = put(&profiles, "Rome", 0.9, Source::Extracted).await;
    assert_eq!((surer.outcome, surer.attribute.source), (Outcome::Replaced, Source::Extracted));
    // Higher rank, less sure.
    let explicit = put(&profiles, "Vienna", 0.6, Source::Explicit).await;
    assert_eq!((explicit.outcome, explicit.attribute.confidence), (Outcome::Replaced, 0.6));
    assert_eq!(put(&profiles, "Rome", 0.7, Source::SelfWritten).await.outcome, Outcome::Candidate);
    // Equal rank: the new word wins.
    assert_eq!(put(&profiles, "Graz", 0.3, Source::Explicit).await.outcome, Outcome::Replaced);

    let actions: Vec<(String, Option<Value>)> =
        profiles.history(&ann(), 50).await.expect("history").into_iter().map(|it| (it.action, it.new_value)).collect();
    let told: Vec<(&str, &str)> =
        actions.iter().map(|(a, v)| (a.as_str(), v.as_ref().and_then(Value::as_str).unwrap_or_default())).collect();
    let expected = [
        ("replaced", "Graz"),
        ("candidate", "Rome"),
        ("replaced", "Vienna"),
        ("replaced", "Rome"),
        ("candidate", "Paris"),
        ("set", "Berlin"),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn the_same_value_said_again_becomes_surer() {
    let (_database, profiles) = profiles().await;
    put(&profiles, "Berlin", 0.6, Source::Inferred).await;
    let again = put(&profiles, "Berlin", 0.9, Source::Inferred).await;
    assert_eq!((again.outcome, again.attribute.confidence), (Outcome::Confirmed, 0.65));
    let lower = put(&profiles, "Berlin", 0.1, Source::Extracted).await;
    assert_eq!((lower.attribute.confidence, lower.attribute.source), (0.7, Source::Inferred));
    let higher = put(&profiles, "Berlin", 1.0, Source::Explicit).await;
    assert_eq!((higher.attribute.confidence, higher.attribute.source), (1.0, Source::Explicit));
    assert_eq!(put(&profiles, "Berlin", 1.0, Source::Explicit).await.outcome, Outcome::Unchanged);
}

#[tokio::test]
async fn an_old_word_gives_way() {
    let (database, profiles) = profiles().await;
    let long_ago = Timestamp::now() - (24 * 181).hours();
    let db = database.store.connection().await.expect("connection");
    let old = draft("city", json!("Berlin"), 1.0, Source::Explicit);
    Profiles::upsert_on(&db, &old, long_ago).await.expect("upserted");
    assert_eq!(put(&profiles, "Paris", 0.5, Source::Extracted).await.outcome, Outcome::Replaced);
}

#[tokio::test]
async fn writers_at_once_leave_one_row_and_a_whole_history() {
    let (_database, profiles) = profiles().await;
    let writes = (0..8).map(|n| {
        let profiles = profiles.clone();
        tokio::spawn(async move { put(&profiles, &format!("city {n}"), 1.0, Source::Explicit).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.expect("task");
    }
    let detail = profiles.get(&ann()).await.expect("a profile");
    assert_eq!(detail.attributes.len(), 1);
    let history = profiles.history(&ann(), 50).await.expect("history");
    assert_eq!(history.len(), 8);
    assert_eq!(history.iter().filter(|it| it.action == "set").count(), 1);
    assert_eq!(history[0].new_value.as_ref(), Some(&detail.attributes[0].value));
    // Each replaced exactly what the one before it had set.
    assert!(history.windows(2).all(|pair| pair[0].old_value == pair[1].new_value));
}

#[tokio::test]
async fn a_deleted_attribute_is_gone_from_the_next_prompt_by_every_route() {
    let (database, profiles) = profiles().await;
    let other = Profiles::new(database.store.clone());
    let store = async |summary: bool| {
        let stored = put(&profiles, "Berlin", 1.0, Source::Explicit).await.attribute;
        if summary {
            let digest = profiles.digest(&ann()).await.expect("read").expect("a profile");
            assert!(profiles.write_summary(&ann(), digest.version, "Lives in Berlin.", None).await.expect("written"));
        }
        assert!(text(&profiles).await.contains("Berlin") && text(&other).await.contains("Berlin"));
        stored
    };
    for summary in [false, true] {
        let gone = store(summary).await;
        profiles.delete_attribute(gone.id, None).await.expect("deleted");
        assert_eq!((text(&profiles).await.as_str(), text(&other).await.as_str()), ("", ""));

        store(summary).await;
        assert_eq!(profiles.delete_key(&ann(), Some(" FACT "), "City", None).await.expect("deleted").len(), 1);
        assert_eq!((text(&profiles).await.as_str(), text(&other).await.as_str()), ("", ""));

        store(summary).await;
        assert_eq!(profiles.delete_category(&ann(), "fact", None).await.expect("deleted").len(), 1);
        assert_eq!((text(&profiles).await.as_str(), text(&other).await.as_str()), ("", ""));

        store(summary).await;
        assert_eq!(profiles.delete_matching(&ann(), "BERL", None).await.expect("deleted").len(), 1);
        assert_eq!((text(&profiles).await.as_str(), text(&other).await.as_str()), ("", ""));

        let patched = store(summary).await;
        let patch = AttributePatch::read(&json!({"value": null})).expect("a patch");
        let patched = profiles.patch_attribute(patched.id, &patch, None).await.expect("patched");
        assert_eq!((&patched.value, patched.source), (&Value::Null, Source::Explicit));
        assert_eq!((text(&profiles).await.as_str(), text(&other).await.as_str()), ("", ""));

        store(summary).await;
        put(&profiles, "Graz", 1.0, Source::Explicit).await;
        assert!(text(&profiles).await.contains("Graz") && !text(&other).await.contains("Berlin"));
    }
    assert!(matches!(profiles.delete_attribute(i64::MAX, None).await, Err(ProfileError::NoAttribute(_))));
}

#[tokio::test]
async fn a_portrait_of_what_has_changed_meanwhile_is_not_stored() {
    let (_database, profiles) = profiles().await;
    put(&profiles, "Berlin", 1.0, Source::Explicit).await;
    assert_eq!(profiles.stale(10).await.expect("stale"), [ann()]);
    let seen = profiles.digest(&ann()).await.expect("read").expect("a profile");
    put(&profiles, "Graz", 1.0, Source::Explicit).await;
    assert!(!profiles.write_summary(&ann(), seen.version, "Lives in Berlin.", None).await.expect("asked"));
    let seen = profiles.digest(&ann()).await.expect("read").expect("a profile");
    assert!(profiles.write_summary(&ann(), seen.version, "Lives in Graz.", Some("Ann")).await.expect("written"));
    assert!(profiles.stale(10).await.expect("stale").is_empty());
    assert_eq!(text(&profiles).await, "The user's name is Ann.\nLives in Graz.");
    let shown = profiles.get(&ann()).await.expect("a profile").header;
    assert_eq!((shown.summary.as_deref(), shown.summary_stale), (Some("Lives in Graz."), false));
    profiles.delete_key(&ann(), None, "city", None).await.expect("deleted");
    assert_eq!(profiles.get(&ann()).await.expect("a profile").header.summary, None);
    // Nothing is left to be portrayed.
    assert!(profiles.stale(10).await.expect("stale").is_empty());
}

#[tokio::test]
async fn heads_are_edited_and_found() {
    let (_database, profiles) = profiles().await;
    let patch = |body: Value| ProfilePatch::read(&body).expect("a patch");
    let body = json!({"email": "Ann@Example.org", "display_name": "Ann", "summary": "A climber."});
    let made = profiles.patch(&ann(), &patch(body)).await.expect("patched").header;
    assert!(made.summary_updated_at.is_some() && made.summary.as_deref() == Some("A climber."));
    assert!(text(&profiles).await.contains("A climber."));
    let found = profiles.lookup(" ANN@example.org ").await.expect("looked up").expect("found");
    assert_eq!((found.entity, found.display_name.as_deref()), (ann(), Some("Ann")));
    assert!(profiles.lookup("x@y").await.expect("looked up").is_none());

    let bob = Entity::parse("user", "bob").expect("an entity");
    let taken = profiles.patch(&bob, &patch(json!({"email": "ann@example.ORG"}))).await.expect_err("taken");
    assert_eq!(taken.class(), ErrorClass::Conflict);
    let bot = profiles.patch(&Entity::bot(&nova()), &patch(json!({"email": "a@b"}))).await.expect_err("refused");
    assert_eq!(bot.class(), ErrorClass::InvalidRequest);
    let kept =
        profiles.patch(&ann(), &patch(json!({"description": "d", "email": null}))).await.expect("patched").header;
    assert_eq!((kept.email.as_deref(), kept.description.as_deref()), (Some("ann@example.org"), Some("d")));
    let cleared = profiles.patch(&ann(), &patch(json!({"email": "", "summary": ""}))).await.expect("patched").header;
    assert_eq!((cleared.email, cleared.summary), (None, None));
    assert!(matches!(profiles.get(&bob).await, Err(ProfileError::NoEntity(_))));
    assert_eq!(profiles.get(&bob).await.expect_err("nobody").to_string(), "User 'bob' not found");
    assert_eq!(profiles.find("bob").await.expect_err("nobody").to_string(), "No profile found for entity 'bob'");
}

#[tokio::test]
async fn listings_are_paged_and_filtered() {
    let (_database, profiles) = profiles().await;
    for (kind, id) in [("bot", "nova"), ("user", "bob"), ("user", "ann"), ("bot", "ann")] {
        let entity = Entity::parse(kind, id).expect("an entity");
        for (category, sure) in [("fact", 0.4), ("interest", 0.9)] {
            let draft = AttributeDraft::new(entity.clone(), category, "k", json!(id), sure, Source::Learned);
            profiles.upsert(&draft.expect("a draft")).await.expect("upserted");
        }
    }
    let names = async |entity_type, limit, offset| {
        let page = profiles.list(&ProfileFilter { entity_type, limit, offset }).await.expect("a page");
        assert!(page.profiles.iter().all(|it| it.attributes.len() == 2));
        let names: Vec<String> = page.profiles.iter().map(|it| it.header.entity.id().to_owned()).collect();
        (names.join(" "), page.total_count)
    };
    assert_eq!(names(None, 100, 0).await, ("ann bob ann nova".into(), 4));
    assert_eq!(names(None, 2, 1).await, ("bob ann".into(), 4));
    assert_eq!(names(Some(EntityType::Bot), 0, 0).await, ("ann".into(), 2));
    assert_eq!(profiles.find("ANN").await.expect("found").header.entity.kind(), EntityType::User);

    let filter = AttributeFilter { limit: 100, ..AttributeFilter::default() };
    let count = async |filter: AttributeFilter| profiles.attributes(&filter).await.expect("a page").total_count;
    assert_eq!(count(filter.clone()).await, 8);
    assert_eq!(count(AttributeFilter { min_confidence: Some(0.5), ..filter.clone() }).await, 4);
    assert_eq!(count(AttributeFilter { source: Some("LEARNED".into()), ..filter.clone() }).await, 8);
    assert_eq!(count(AttributeFilter { entity_id: Some(" Ann".into()), ..filter.clone() }).await, 4);
    assert_eq!(count(AttributeFilter { key: Some("%".into()), ..filter.clone() }).await, 0);
    assert_eq!(count(AttributeFilter { category: Some("a\0".into()), ..filter }).await, 0);
}

#[tokio::test]
async fn forgotten_messages_take_their_attributes_along_and_bring_them_back() {
    let (database, profiles) = profiles().await;
    let (message, other) = (Uuid::new_v4(), Uuid::new_v4());
    let from = |key: &str, source, message: Uuid, bot: &str| {
        let mut draft = draft(key, json!(null), 0.8, source);
        draft.source_message = Some(message.to_string());
        draft.source_bot = Some(BotSlug::from_stored(bot));
        draft
    };
    for draft in [
        from("job", Source::Extracted, message, "nova"),
        from("city", Source::Extracted, other, "nova"),
        from("pets", Source::Explicit, message, "nova"),
        from("age", Source::Extracted, message, "mira"),
    ] {
        profiles.upsert(&draft).await.expect("upserted");
    }
    let before = profiles.get(&ann()).await.expect("a profile").attributes;
    let keys = |attributes: &[Attribute]| attributes.iter().map(|it| it.key.clone()).collect::<Vec<_>>().join(" ");
    let batch = Uuid::new_v4();
    let mut db = database.store.connection().await.expect("connection");
    let transaction = db.transaction().await.expect("begun");
    let now = Timestamp::now();
    let forgotten =
        Profiles::forget_sources_on(&transaction, &nova(), &[message], batch, now).await.expect("forgotten");
    transaction.commit().await.expect("committed");
    assert_eq!(forgotten, 1);
    assert_eq!(keys(&profiles.get(&ann()).await.expect("a profile").attributes), "age city pets");

    let transaction = db.transaction().await.expect("begun");
    assert_eq!(Profiles::restore_batch_on(&transaction, batch, now).await.expect("restored"), 1);
    transaction.commit().await.expect("committed");
    assert_eq!(profiles.get(&ann()).await.expect("a profile").attributes, before);
    let transaction = db.transaction().await.expect("begun");
    assert_eq!(Profiles::restore_batch_on(&transaction, batch, now).await.expect("nothing left"), 0);
    Profiles::forget_sources_on(&transaction, &nova(), &[message], batch, now).await.expect("forgotten");
    let later = now + 1.second();
    assert_eq!(Profiles::expire_forgotten_on(&transaction, later).await.expect("expired"), 1);
    assert_eq!(Profiles::restore_batch_on(&transaction, batch, now).await.expect("expired"), 0);
}

#[tokio::test]
async fn a_purged_bot_leaves_what_users_are_known_for() {
    let (database, profiles) = profiles().await;
    let mut learned = draft("city", json!("Graz"), 0.8, Source::Extracted);
    learned.source_bot = Some(nova());
    profiles.upsert(&learned).await.expect("upserted");
    let own =
        AttributeDraft::new(Entity::bot(&nova()), "personality", "humour", json!("dry"), 1.0, Source::SelfWritten);
    profiles.upsert(&own.expect("a draft")).await.expect("upserted");
    assert!(profiles.bot_text(&nova()).await.expect("a text").text.contains("dry"));
    let db = database.store.connection().await.expect("connection");
    let gone = Profiles::purge(&db, &nova()).await.expect("purged");
    assert_eq!(gone.values().copied().collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(profiles.bot_text(&nova()).await.expect("a text").text, "");
    let kept = profiles.get(&ann()).await.expect("a profile").attributes;
    assert_eq!((kept.len(), kept[0].source_bot_id.as_ref()), (1, None));
}

#[tokio::test]
async fn names_of_bots_are_refused() {
    let (database, profiles) = profiles().await;
    let db = database.store.connection().await.expect("connection");
    let is_bot = |name: &str| name.eq_ignore_ascii_case("nova");
    let now = Timestamp::now();
    let set = async |name: &str| Profiles::set_display_name_on(&db, &ann(), name, now, is_bot).await.expect("asked");
    assert!(!set("Nova").await && !set(" ").await && !set(&"x".repeat(101)).await);
    assert!(matches!(profiles.get(&ann()).await, Err(ProfileError::NoEntity(_))));
    assert!(set(" Ann ").await && !set("Ann").await);
    assert_eq!(
        profiles.user_text(&UserId::from_stored("ann")).await.expect("a text").display_name.as_deref(),
        Some("Ann")
    );
}

#[tokio::test]
async fn hostile_and_oversized_input_is_harmless() {
    let (_database, profiles) = profiles().await;
    let nasty = "'; DROP TABLE profiles; -- %_\\\"";
    let stored =
        profiles.upsert(&draft(nasty, json!({nasty: [nasty]}), 1.0, Source::Explicit)).await.expect("upserted");
    assert_eq!(stored.attribute.key, nasty.to_lowercase());
    assert_eq!(profiles.delete_matching(&ann(), "%_", None).await.expect("deleted").len(), 1);
    assert!(matches!(profiles.delete_matching(&ann(), "x", None).await, Err(ProfileError::Refused(_))));
    assert!(profiles.delete_key(&ann(), None, "a\0", None).await.expect("asked").is_empty());
    for body in [
        json!({"entity_type": "user", "entity_id": "ann", "category": "fact", "key": "k"}),
        json!({"entity_type": "user", "entity_id": "x".repeat(101), "category": "fact", "key": "k", "value": 1}),
        json!({"entity_type": "user", "entity_id": "ann", "category": "x".repeat(51), "key": "k", "value": 1}),
        json!({"entity_type": "user", "entity_id": "ann", "category": "fact", "key": "x".repeat(101), "value": 1}),
        json!({"entity_type": "user", "entity_id": "ann", "category": "fact", "key": "k", "value": "x".repeat(40_000)}),
        json!({"entity_type": "user", "entity_id": "ann", "category": "fact", "key": "k", "value": "\u{0}"}),
        json!({"entity_type": "user", "entity_id": "ann", "category": "fact", "key": "k", "value": 1, "confidence": 1.1}),
        json!({"entity_type": "user", "entity_id": "ann", "category": "fact", "key": "k", "value": 1, "source": "me"}),
    ] {
        assert!(matches!(AttributeDraft::read(&body), Err(ProfileError::Invalid(_))), "{body}");
    }
    let kind =
        AttributeDraft::read(&json!({"entity_type": "x", "entity_id": "a", "category": "c", "key": "k", "value": 1}));
    assert_eq!(kind.expect_err("refused").to_string(), "Invalid entity_type 'x'. Must be 'user' or 'bot'.");
    let read = AttributeDraft::read(
        &json!({"entity_type": "USER", "entity_id": " Ann ", "category": "Fact", "key": "K", "value": null}),
    );
    let upserted = profiles.upsert(&read.expect("a draft")).await.expect("upserted").attribute;
    assert_eq!((upserted.value, upserted.confidence, upserted.source), (Value::Null, 1.0, Source::Explicit));
    assert!(matches!(AttributePatch::read(&json!({})), Err(ProfileError::Refused(_))));
    assert!(matches!(AttributePatch::read(&json!({"confidence": null})), Err(ProfileError::Refused(_))));
    // A user id that no profile can have is nobody's fault.
    let long = UserId::from_stored("x".repeat(128));
    assert_eq!(profiles.user_text(&long).await.expect("a text").text, "");
}
