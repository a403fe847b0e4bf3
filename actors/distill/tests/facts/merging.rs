//! Merging near-duplicates: nothing is lost, nothing leaves the machine.

use std::sync::Arc;

use greenroom_distill::{ConsolidateOptions, ConsolidationResult, DistillError, DistillRules, ModelError};
use greenroom_memory::SupersedeReason;
use greenroom_protocol::{ErrorClass, UserId};
use greenroom_test_support::upstream::Script;

use crate::house::{House, MERGE};

const LONG: &str = "Ann likes strong green tea in the early morning with honey";
const SHORT: &str = "Ann likes strong green tea in the early morning";

fn loose() -> ConsolidateOptions {
    ConsolidateOptions { similarity_threshold: Some(0.7), everything: true, ..ConsolidateOptions::default() }
}

async fn consolidate(house: &House, options: &ConsolidateOptions) -> ConsolidationResult {
    house.distill.consolidate(&house.brief, options, &house.cancel).await.expect("a run")
}

#[tokio::test]
async fn one_memory_stays_and_all_originals_step_back_even_when_the_text_is_one_of_theirs() {
    let house = House::open().await;
    house.upstream.default_script(Script::status(500));
    let ids = [house.knows(LONG).await, house.knows(SHORT).await];
    let result = consolidate(&house, &loose()).await;
    assert_eq!((result.clusters_found, result.clusters_merged, result.method), (1, 1, "heuristic"));
    assert_eq!((result.memories_consolidated, result.new_memories_created), (2, 1));
    let active = house.active().await;
    assert_eq!(active.len(), 1);
    assert_eq!(active[0].content, LONG);
    assert!(!ids.contains(&active[0].id), "a new one");
    for id in ids {
        let original = house.bot().memory(&id.to_string()).await.expect("not deleted");
        assert_eq!(original.superseded_by, Some(active[0].id));
        assert_eq!(original.supersede_reason, Some(SupersedeReason::Consolidation));
    }
    assert_eq!(house.count("SELECT count(*) FROM forgotten").await, 0);
    assert_eq!(consolidate(&house, &loose()).await.clusters_found, 0);
}

#[tokio::test]
async fn a_model_elsewhere_is_refused_before_anything_is_sent() {
    let house = House::with(|models| models.consolidation = Some("remote".into()), DistillRules::default()).await;
    house.knows(LONG).await;
    house.knows(SHORT).await;
    for options in [loose(), ConsolidateOptions { model: Some("remote".into()), ..loose() }] {
        let refused = house.distill.consolidate(&house.brief, &options, &house.cancel).await;
        let Err(error @ DistillError::Model(ModelError::Refused { .. })) = refused else {
            unreachable!("refused: {refused:?}")
        };
        assert_eq!(error.class(), ErrorClass::Conflict);
    }
    assert!(house.upstream.requests().is_empty());
    assert_eq!(house.active().await.len(), 2);
}

#[tokio::test]
async fn a_model_here_writes_the_text_if_it_keeps_everything() {
    let house = House::open().await;
    let ids = [
        house.knows("Ann has a grey cat named Mia at home").await,
        house.knows("Ann has a cat named Mia, 4 years, at home").await,
    ];
    let merged = "Ann has a grey cat named Mia, 4 years, at home";
    house.says(MERGE, merged);
    let result = consolidate(&house, &loose()).await;
    assert_eq!((result.clusters_merged, result.method), (1, "llm"));
    assert_eq!(house.texts().await, [merged]);
    let request = house.upstream.wait_for_request(1).await;
    assert_eq!(request.body["model"], "local");
    let merged = &house.active().await[0];
    assert_eq!(house.bot().chain(&ids[0].to_string()).await.expect("a chain").len(), 3);
    assert!(merged.importance > 0.5 && merged.user == Some(UserId::from_stored("ann")));
}

#[tokio::test]
async fn a_text_that_loses_a_detail_is_not_taken() {
    let house = House::open().await;
    house.knows("Ann has a grey cat named Mia at home").await;
    house.knows("Ann has a grey cat named Tom at home").await;
    house.says(MERGE, "Ann has a grey cat named Mia at home");
    let result = consolidate(&house, &loose()).await;
    assert_eq!((result.clusters_found, result.clusters_merged, result.clusters_skipped), (1, 0, 1));
    assert_eq!(house.active().await.len(), 2, "two cats stay two cats");
}

#[tokio::test]
async fn a_preview_changes_nothing_and_asks_nobody() {
    let house = House::open().await;
    house.knows(LONG).await;
    house.knows(SHORT).await;
    let options = ConsolidateOptions { dry_run: true, ..loose() };
    let result = consolidate(&house, &options).await;
    assert!(result.dry_run && result.clusters_merged == 1);
    assert_eq!(result.proposals[0].merged.as_deref(), Some(LONG));
    assert!(house.upstream.requests().is_empty());
    assert_eq!(house.active().await.len(), 2);
    house.says(MERGE, "Ann likes strong green tea in the early morning, with honey");
    let result = consolidate(&house, &ConsolidateOptions { preview_llm: true, ..options }).await;
    assert_eq!(result.proposals[0].method, "llm");
    assert_eq!(house.active().await.len(), 2);
}

#[tokio::test]
async fn members_that_change_meanwhile_are_left_alone() {
    let house = Arc::new(House::open().await);
    let id = house.knows(LONG).await;
    house.knows(SHORT).await;
    let (script, gate) = Script::text("Ann likes strong green tea in the early morning, with honey").gated();
    house.upstream.default_script(script);
    let run = tokio::spawn({
        let house = house.clone();
        async move { consolidate(&house, &loose()).await }
    });
    house.upstream.wait_for_request(1).await;
    let patch = greenroom_memory::MemoryPatch { importance: Some(0.9), ..greenroom_memory::MemoryPatch::default() };
    house.bot().update(&id.to_string(), patch).await.expect("changed");
    gate.open();
    let result = run.await.expect("the run");
    assert_eq!((result.clusters_merged, result.clusters_skipped), (0, 1));
    assert_eq!(house.active().await.len(), 2);
}

#[tokio::test]
async fn persons_are_never_mixed_and_runs_look_at_what_changed() {
    let house = House::open().await;
    house.upstream.default_script(Script::status(500));
    house.knows(LONG).await;
    house.knows_with(SHORT, |draft| draft.user = Some(UserId::from_stored("bob"))).await;
    let strict = ConsolidateOptions { similarity_threshold: Some(0.7), ..ConsolidateOptions::default() };
    assert_eq!(consolidate(&house, &strict).await.clusters_found, 0);
    assert!(house.bot().consolidated_until().await.expect("asked").is_some());
    house.knows(SHORT).await;
    assert_eq!(consolidate(&house, &strict).await.clusters_merged, 1, "the new one finds the old one");
    let wrong = ConsolidateOptions { similarity_threshold: Some(0.2), ..ConsolidateOptions::default() };
    assert!(house.distill.consolidate(&house.brief, &wrong, &house.cancel).await.is_err());
}
