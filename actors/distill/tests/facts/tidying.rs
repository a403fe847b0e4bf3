//! Fading, themes, orphans: what goes can be brought back, and what matters stays.

use greenroom_distill::{DistillRules, MaintenanceFlags};
use greenroom_memory::{RestoreRequest, RestoreWhat};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::house::House;

/// Makes all memories so many days old.
async fn age(house: &House, days: i64) {
    let sql = format!(
        "UPDATE memories SET created_at = now() - interval '{days} days', updated_at = now() - interval '{days} days', last_accessed_at = NULL"
    );
    house.run_sql(&sql).await;
}

#[tokio::test]
async fn what_nobody_needs_fades_and_can_be_restored() {
    let house = House::open().await;
    let faint = house.knows_with("Ann saw a blue bus.", |draft| draft.importance = 0.3).await;
    house.knows_with("Ann is allergic to peanuts.", |draft| draft.importance = 0.95).await;
    house.knows_with("Ann was born in Rome.", |draft| draft.tags = vec!["fact".into(), "pinned".into()]).await;
    let home = serde_json::json!({"profile": {"key": "location", "value": "Lyon"}});
    house.knows_with("Ann lives in Lyon.", |draft| draft.metadata = Some(home)).await;
    for n in 0..4 {
        house.knows_with(&format!("Ann owns boat number {n}."), |draft| draft.importance = 0.94).await;
    }
    age(&house, 600).await;
    house.run_sql("UPDATE memories SET last_accessed_at = now() WHERE content LIKE '%boat%'").await;
    let dry = house.distill.fade(&house.brief, true).await.expect("asked");
    assert_eq!((dry.ids.as_slice(), dry.batch), ([faint].as_slice(), None));
    let faded = house.distill.fade(&house.brief, false).await.expect("faded");
    assert_eq!(faded.ids, [faint]);
    assert_eq!(house.active().await.len(), 7);
    let batch = faded.batch.expect("a batch");
    let restored = house
        .bot()
        .restore(RestoreRequest { what: RestoreWhat::Batch(batch), dry_run: false })
        .await
        .expect("restored");
    assert_eq!(restored.memories_restored, 1);
    assert_eq!(house.active().await.len(), 8);
}

#[tokio::test]
async fn a_run_that_would_remove_too_much_removes_nothing() {
    let house = House::open().await;
    for n in 0..6 {
        house.knows_with(&format!("Ann saw bus number {n}."), |draft| draft.importance = 0.3).await;
    }
    age(&house, 900).await;
    let flags = MaintenanceFlags { run_decay_pruning: true, run_consolidation: false, ..MaintenanceFlags::default() };
    let result = house.distill.maintain(&house.brief, &flags, &house.cancel).await;
    assert_eq!(result.decay_memories_archived, 0);
    assert!(result.errors.iter().any(|why| why.starts_with("decay: ")), "{result:?}");
    assert_eq!(house.active().await.len(), 6);
}

#[tokio::test]
async fn young_memories_stay() {
    let house = House::open().await;
    house
        .knows_with("Ann plans to buy milk.", |draft| {
            draft.importance = 0.0;
            draft.tags = vec!["plan".into()];
        })
        .await;
    age(&house, 29).await;
    assert!(house.distill.fade(&house.brief, false).await.expect("asked").ids.is_empty());
    age(&house, 31).await;
    assert_eq!(house.distill.fade(&house.brief, false).await.expect("faded").ids.len(), 1);
}

#[tokio::test]
async fn themes_of_several_days_are_tagged_and_lifted_once() {
    let house = House::open().await;
    for n in 0..3 {
        let source = house.talk_as("ann", n * 86_400, &["We went sailing again", "Great"], true).await[0];
        house
            .knows_with(&format!("Ann went sailing, trip {n}."), |draft| {
                draft.sources = vec![source];
                draft.meaning.keywords = vec!["Sailing".into(), "fact".into(), "the".into()];
            })
            .await;
    }
    let once = house.talk_as("ann", 500_000, &["I baked bread twice today", "Yum"], true).await[0];
    for n in 0..3 {
        house
            .knows_with(&format!("Ann baked bread, loaf {n}."), |draft| {
                draft.sources = vec![once];
                draft.meaning.keywords = vec!["bread".into()];
            })
            .await;
    }
    let dry = house.distill.find_themes(&house.brief, true).await.expect("asked");
    assert_eq!((dry.themes.len(), dry.memories), (1, 3));
    let found = house.distill.find_themes(&house.brief, false).await.expect("found");
    assert_eq!((found.themes[0].theme.as_str(), found.themes[0].days, found.memories), ("sailing", 3, 3));
    let lifted: Vec<_> =
        house.active().await.into_iter().filter(|memory| memory.tags.contains(&"recurring".to_owned())).collect();
    assert_eq!(lifted.len(), 3);
    assert!(lifted.iter().all(|memory| (memory.importance - 0.55).abs() < 1e-6 && memory.tags[0] == "fact"));
    assert_eq!(house.distill.find_themes(&house.brief, false).await.expect("found").memories, 0, "once in 30 days");
}

#[tokio::test]
async fn orphans_are_buried_and_dead_sources_trimmed() {
    let house = House::open().await;
    let ids = house.talk(&["one thing to say", "yes", "another thing to say", "yes"]).await;
    let ghost = Uuid::new_v4();
    let orphan = house.knows_with("Ann owns a kayak.", |draft| draft.sources = vec![ghost]).await;
    let partly = house.knows_with("Ann sings in a choir.", |draft| draft.sources = vec![ghost, ids[0]]).await;
    house.knows("Ann told this by tool.").await;
    let dry = house.distill.clean_orphans(&house.brief, true).await.expect("asked");
    assert_eq!((dry.ids.as_slice(), dry.trimmed), ([orphan].as_slice(), 1));
    let done = house.distill.clean_orphans(&house.brief, false).await.expect("done");
    assert_eq!((done.ids.as_slice(), done.trimmed), ([orphan].as_slice(), 1));
    assert_eq!(house.bot().memory(&partly.to_string()).await.expect("kept").sources, [ids[0]]);
    assert_eq!(house.active().await.len(), 2);
    assert_eq!(house.count("SELECT count(*) FROM forgotten WHERE reason = 'orphan'").await, 1);
}

#[tokio::test]
async fn tombstones_of_memories_expire() {
    let house = House::open().await;
    house.knows_with("Ann owns a kayak.", |draft| draft.sources = vec![Uuid::new_v4()]).await;
    house.distill.clean_orphans(&house.brief, false).await.expect("done");
    assert_eq!(house.distill.expire_tombstones(&house.brief, false).await.expect("asked"), 0);
    let later = Timestamp::now().checked_add(SignedDuration::from_hours(24 * 181)).expect("a time");
    assert_eq!(house.bot().expire_tombstones(later, true).await.expect("asked"), 1);
    assert_eq!(house.bot().expire_tombstones(later, false).await.expect("expired"), 1);
    assert_eq!(house.count("SELECT count(*) FROM forgotten").await, 0);
}

#[tokio::test]
async fn gates_say_why_there_is_nothing_to_do() {
    let house = House::with(|_| {}, DistillRules::default()).await;
    assert!(house.distill.extraction_gate(&house.brief).await.expect("asked").is_err());
    assert!(house.distill.memories_gate(&house.brief).await.expect("asked").is_err());
    assert!(house.distill.consolidation_gate(&house.brief, None).await.expect("asked").is_err());
    house.knows("Ann likes tea.").await;
    house.talk(&["I like tea in the morning", "Me too"]).await;
    assert_eq!(house.distill.extraction_gate(&house.brief).await.expect("asked"), Ok(2));
    assert!(house.distill.memories_gate(&house.brief).await.expect("asked").is_ok());
    assert!(house.distill.consolidation_gate(&house.brief, None).await.expect("asked").is_ok());
    let later = Timestamp::now().checked_add(SignedDuration::from_secs(5)).expect("a time");
    assert!(house.distill.consolidation_gate(&house.brief, Some(later)).await.expect("asked").is_err());
}
