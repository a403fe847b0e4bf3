//! Portraits: a cache that never lies about its age.

use std::sync::Arc;

use greenroom_profile::{AttributeDraft, Entity, Source};
use greenroom_test_support::upstream::Script;
use serde_json::json;

use crate::house::{House, PORTRAIT, ann};

async fn know(house: &House, key: &str, value: &str) {
    let entity = Entity::user(&ann()).expect("an entity");
    let draft = AttributeDraft::new(entity, "fact", key, json!(value), 1.0, Source::Explicit).expect("a draft");
    house.profiles.upsert(&draft).await.expect("stored");
}

#[tokio::test]
async fn a_portrait_is_written_for_every_profile_that_changed() {
    let house = House::open().await;
    assert!(house.distill.profiles_gate().await.expect("asked").is_err());
    know(&house, "name", "Ann").await;
    know(&house, "location", "Lyon").await;
    assert!(house.distill.profiles_gate().await.expect("asked").is_ok());
    house.answers(
        PORTRAIT,
        &json!({"name": "Ann", "identity": "Ann, nurse in Lyon", "interests": null, "notes": "null"}),
    );
    let result = house.distill.portray_all(10, None, &house.cancel).await.expect("a run");
    assert_eq!((result.profiles_found, result.profiles_updated, result.error), (1, 1, None));
    assert_eq!(result.profiles[0].categories_updated, ["fact"]);
    let text = house.profiles.user_text(&ann()).await.expect("a text");
    assert!(text.text.contains("Identity: Ann, nurse in Lyon"), "{}", text.text);
    assert_eq!(text.display_name.as_deref(), Some("Ann"));
    assert!(house.distill.profiles_gate().await.expect("asked").is_err());
    let shown = house.upstream.requests()[0].last_user_text();
    assert!(shown.contains("fact: location = Lyon (1.00, explicit, "));
}

#[tokio::test]
async fn a_portrait_that_loses_the_place_or_is_prose_is_not_stored() {
    let house = House::open().await;
    know(&house, "location", "Lyon").await;
    house.answers(PORTRAIT, &json!({"identity": "a nurse"}));
    let result = house.distill.portray_all(10, None, &house.cancel).await.expect("a run");
    assert_eq!(result.profiles_updated, 0);
    assert!(result.error.is_some_and(|why| why.contains("place")));
    assert!(house.profiles.user_text(&ann()).await.expect("a text").text.contains("Lyon"), "the attributes speak");
    let other = House::open().await;
    know(&other, "location", "Lyon").await;
    other.says(PORTRAIT, "She seems nice.");
    assert!(other.distill.portray_all(10, None, &other.cancel).await.expect("a run").error.is_some());
}

#[tokio::test]
async fn a_portrait_of_yesterday_is_not_stored() {
    let house = Arc::new(House::open().await);
    know(&house, "job", "nurse").await;
    let (script, gate) = Script::text(&json!({"identity": "a nurse"}).to_string()).gated();
    house.upstream.default_script(script);
    let run = tokio::spawn({
        let house = house.clone();
        async move { house.distill.portray_all(10, None, &house.cancel).await }
    });
    house.upstream.wait_for_request(1).await;
    know(&house, "job", "baker").await;
    gate.open();
    let result = run.await.expect("task").expect("a run");
    assert_eq!(result.profiles_updated, 0);
    assert!(house.profiles.user_text(&ann()).await.expect("a text").text.contains("baker"));
    assert!(house.distill.profiles_gate().await.expect("asked").is_ok(), "still to be done");
}

#[tokio::test]
async fn nobody_is_called_like_a_bot() {
    let house = House::open().await;
    know(&house, "job", "nurse").await;
    house.answers(PORTRAIT, &json!({"name": "Tess", "identity": "a nurse"}));
    house.distill.portray_all(10, None, &house.cancel).await.expect("a run");
    assert_eq!(house.profiles.user_text(&ann()).await.expect("a text").display_name, None);
}

#[tokio::test]
async fn a_deleted_attribute_is_gone_from_the_next_prompt() {
    let house = House::open().await;
    know(&house, "job", "nurse").await;
    house.answers(PORTRAIT, &json!({"identity": "a nurse"}));
    house.distill.portray_all(10, None, &house.cancel).await.expect("a run");
    let entity = Entity::user(&ann()).expect("an entity");
    let id = house.profiles.get(&entity).await.expect("a profile").attributes[0].id;
    house.profiles.delete_attribute(id, None).await.expect("deleted");
    assert!(!house.profiles.user_text(&ann()).await.expect("a text").text.contains("nurse"));
}
