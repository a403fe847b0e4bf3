//! The small tasks of the queue.

use greenroom_distill::{ContextMessage, MeaningUpdate};
use greenroom_protocol::Role;
use greenroom_test_support::upstream::Script;

use crate::house::House;

#[tokio::test]
async fn meaning_is_set_and_what_is_absent_stays() {
    let house = House::open().await;
    let id = house.knows("Ann plans a trip to Japan.").await;
    let update = MeaningUpdate {
        memory_id: id.to_string(),
        intent: Some("looking forward to it".into()),
        updated_tags: Some(vec!["plan".into()]),
        ..MeaningUpdate::default()
    };
    assert!(house.distill.update_meaning(&house.brief, &update).await.expect("done").updated);
    let memory = house.bot().memory(&id.to_string()).await.expect("a memory");
    assert_eq!(memory.meaning.intent.as_deref(), Some("looking forward to it"));
    assert!(memory.meaning.stakes.is_some() && memory.tags == ["plan"]);
    let missing = MeaningUpdate { memory_id: uuid::Uuid::new_v4().to_string(), ..update };
    assert!(!house.distill.update_meaning(&house.brief, &missing).await.expect("done").updated);
}

#[tokio::test]
async fn a_conversation_is_fitted_into_fewer_tokens() {
    let house = House::open().await;
    let long = |n: usize| ContextMessage { role: Role::User, content: format!("question {n} {}", "x".repeat(400)) };
    let mut messages = vec![ContextMessage { role: Role::System, content: "Be kind.".into() }];
    messages.extend((0..10).map(long));
    house.upstream.default_script(Script::text("Summary: many questions"));
    let compact = |target| house.distill.compact_context(Some(&house.brief), &messages, target, None, &house.cancel);
    let result = compact(400).await.expect("compacted");
    assert!(result.original_tokens > 400 && result.compacted_tokens <= 400, "{result:?}");
    assert_eq!(result.method, "llm");
    assert_eq!(result.messages[0].content, "Be kind.");
    assert!(result.messages.last().is_some_and(|last| last.content.starts_with("question 9")));
    house.upstream.default_script(Script::status(500));
    let result = compact(400).await.expect("compacted");
    assert_eq!(result.method, "heuristic");
    assert!(result.compacted_tokens <= 400, "{result:?}");
    assert_eq!(compact(100_000).await.expect("compacted").method, "none");
    assert!(compact(3).await.is_err());
}

#[tokio::test]
async fn vectors_are_made_for_texts_and_memories() {
    let house = House::open().await;
    let id = house.knows("Ann likes tea.").await;
    house.run_sql("UPDATE memories SET embedding = NULL, embedding_model = NULL").await;
    let ids = [id.to_string(), uuid::Uuid::new_v4().to_string()];
    let result =
        house.distill.generate_embeddings(&house.brief, vec!["tea".into(), " ".into()], &ids).await.expect("made");
    assert_eq!((result.embeddings.len(), result.embeddings[1].is_none()), (2, true));
    assert_eq!((result.updated, result.failed, result.embedding_dim), (1, 1, 384));
    assert_eq!(house.count("SELECT count(*) FROM memories WHERE embedding IS NOT NULL").await, 1);
    let many = vec![String::new(); 3000];
    assert!(house.distill.generate_embeddings(&house.brief, many, &[]).await.is_err());
}
