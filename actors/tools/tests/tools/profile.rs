//! The `profile` and `self` tools over a real database.

use greenroom_profile::{AttributeDraft, Entity, Source};
use greenroom_tools::ErrorKind;
use serde_json::{Value, json};

use crate::house::{House, done, make};

async fn put(house: &House, entity: &Entity, category: &str, key: &str, value: Value, source: Source) -> i64 {
    let draft = AttributeDraft::new(entity.clone(), category, key, value, 0.9, source).expect("a draft");
    house.profiles.upsert(&draft).await.expect("stored").attribute.id
}

fn entity(kind: &str, id: &str) -> Entity {
    Entity::parse(kind, id).expect("an entity")
}

async fn value_of(house: &House, entity: &Entity, key: &str) -> Option<Value> {
    let profile = house.profiles.get(entity).await.ok()?;
    profile.attributes.into_iter().find(|entry| entry.key == key).map(|entry| entry.value)
}

#[tokio::test]
async fn entries_of_the_user_are_set_shown_changed_and_deleted() {
    let house = House::open().await;
    let mut session = house.session().await;
    let ann = entity("user", "ann");
    assert!(done(&mut session, "profile", json!({"action": "get"})).await.contains("Nothing is stored"));
    let set = json!({"action": "set", "category": "Preference", "key": "Tea", "value": ["green", "oolong"]});
    done(&mut session, "profile", set).await;
    let shown = done(&mut session, "get_user_profile", json!({})).await;
    assert!(shown.contains("preference / tea: [\"green\",\"oolong\"] (confidence 0.80)"), "{shown}");
    let id: i64 = shown.split(['#', ' ']).filter_map(|word| word.parse().ok()).next_back().expect("a number");
    done(&mut session, "profile", json!({"action": "update", "attribute_id": id, "value": "black"})).await;
    assert_eq!(value_of(&house, &ann, "tea").await, Some(json!("black")));
    done(
        &mut session,
        "profile",
        json!({"action": "update", "category": "preference", "key": " TEA ", "confidence": 2}),
    )
    .await;
    assert_eq!(house.profiles.get(&ann).await.expect("ann").attributes[0].confidence, 1.0, "brought into range");
    put(&house, &ann, "fact", "city", json!("Teaville"), Source::Inferred).await;
    let gone = done(&mut session, "profile", json!({"action": "delete", "category": "fact", "query": "TEA"})).await;
    assert!(gone.starts_with("Deleted 1:") && gone.contains("Teaville"), "{gone}");
    done(&mut session, "profile", json!({"action": "delete", "query": "tea"})).await;
    assert_eq!(value_of(&house, &ann, "tea").await, None);
    for (arguments, kind) in [
        (json!({"action": "set", "category": "gossip", "key": "k", "value": 1}), ErrorKind::InvalidArguments),
        (json!({"action": "set", "category": "fact", "key": "k"}), ErrorKind::InvalidArguments),
        (json!({"action": "set", "category": "fact", "key": "k", "value": null}), ErrorKind::InvalidArguments),
        (json!({"action": "set", "category": "fact", "key": "k\u{7}", "value": "x"}), ErrorKind::InvalidArguments),
        (json!({"action": "update", "category": "fact", "key": "none", "value": 1}), ErrorKind::NotFound),
        (json!({"action": "update", "value": 1}), ErrorKind::InvalidArguments),
        (json!({"action": "delete", "query": "x"}), ErrorKind::InvalidArguments),
        (json!({"action": "delete", "query": "%%"}), ErrorKind::NotFound),
        (json!({"action": "delete", "key": "tea"}), ErrorKind::InvalidArguments),
    ] {
        assert_eq!(make(&mut session, "profile", arguments.clone()).await.error, Some(kind), "{arguments}");
    }
}

#[tokio::test]
async fn nobody_elses_entry_is_changed_by_its_number() {
    let house = House::open().await;
    let bob = entity("user", "bob");
    let bobs = put(&house, &bob, "fact", "city", json!("Rome"), Source::Explicit).await;
    let novas = put(&house, &entity("bot", "nova"), "personality", "humour", json!("dry"), Source::SelfWritten).await;
    let mut session = house.session().await;
    for id in [bobs, novas, 999_999, i64::MAX] {
        let outcome =
            make(&mut session, "profile", json!({"action": "update", "attribute_id": id, "value": "hacked"})).await;
        assert_eq!(outcome.error, Some(ErrorKind::NotFound), "{id}");
        assert!(!outcome.text.contains("Rome"));
    }
    assert_eq!(value_of(&house, &bob, "city").await, Some(json!("Rome")));
}

#[tokio::test]
async fn a_conclusion_does_not_overwrite_what_was_said() {
    let house = House::open().await;
    let ann = entity("user", "ann");
    put(&house, &ann, "fact", "city", json!("Vienna"), Source::Explicit).await;
    let mut session = house.session().await;
    let told =
        done(&mut session, "profile", json!({"action": "set", "category": "fact", "key": "city", "value": "Graz"}))
            .await;
    assert!(told.starts_with("Not changed") && told.contains("Vienna"), "{told}");
    assert_eq!(value_of(&house, &ann, "city").await, Some(json!("Vienna")));
}

#[tokio::test]
async fn a_bot_describes_itself_and_no_other() {
    let house = House::open().await;
    let mut session = house.session().await;
    let (nova, mira) = (entity("bot", "nova"), entity("bot", "mira"));
    put(&house, &mira, "personality", "humour", json!("silly"), Source::SelfWritten).await;
    assert!(done(&mut session, "self", json!({"action": "get"})).await.contains("no traits yet"));
    done(&mut session, "self", json!({"action": "set", "key": "humour", "value": "dry"})).await;
    done(&mut session, "self", json!({"action": "set", "category": "communication", "key": "tone", "value": "warm"}))
        .await;
    let shown = done(&mut session, "self", json!({"action": "get"})).await;
    let expected = ["Personality:\n- #", "personality / humour: dry", "Communication style:\n- #", "tone: warm"];
    assert!(expected.iter().all(|part| shown.contains(part)) && !shown.contains("silly"), "{shown}");
    let unknown = make(&mut session, "self", json!({"action": "update", "key": "none", "value": "x"})).await;
    assert_eq!(unknown.error, Some(ErrorKind::NotFound));
    done(&mut session, "self", json!({"action": "update", "key": "humour", "value": "drier"})).await;
    assert_eq!(value_of(&house, &nova, "humour").await, Some(json!("drier")));
    done(&mut session, "self", json!({"action": "delete", "category": "communication", "key": "tone"})).await;
    assert_eq!(value_of(&house, &nova, "tone").await, None);
    for (arguments, kind) in [
        (json!({"action": "delete", "query": "x"}), ErrorKind::InvalidArguments),
        (json!({"action": "delete"}), ErrorKind::InvalidArguments),
        (json!({"action": "set", "key": "k", "value": "x".repeat(10_001)}), ErrorKind::InvalidArguments),
        (json!({"action": "set", "key": "k".repeat(101), "value": "x"}), ErrorKind::InvalidArguments),
        (json!({"action": "delete", "query": "silly"}), ErrorKind::NotFound),
    ] {
        assert_eq!(make(&mut session, "self", arguments.clone()).await.error, Some(kind), "{arguments:.60}");
    }
    assert_eq!(value_of(&house, &mira, "humour").await, Some(json!("silly")));
}
