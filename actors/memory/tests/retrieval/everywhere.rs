//! Searching several bots at once: read-only, tagged with the bot, whatever is loaded.

use greenroom_memory::retrieval::TextLeg;
use greenroom_memory::{MemoryMethod, MemorySearch, MessageSearch};
use greenroom_protocol::Role;

use super::house::*;

#[tokio::test]
async fn memories_of_all_bots_come_in_one_order() {
    let house = House::open().await;
    let (nova, spark) = (house.namespace("nova").await, house.namespace("spark").await);
    remember(&nova, &["Ann sails a boat", "Ann likes tea"]).await;
    remember(&spark, &["Bob owns a boat and sails a boat", "Bob likes rain"]).await;
    let both = [nova.clone(), spark.clone()];
    for warm in [0, 1, 2] {
        if warm > 0 {
            assert!(both[warm - 1].warm_up(PATIENCE).await);
        }
        for method in [MemoryMethod::All, MemoryMethod::Embedding, MemoryMethod::Text] {
            let search = MemorySearch { method, limit: 2, ..MemorySearch::new("sails a boat") };
            let hits = house.memory.search_everywhere(&both, search).await.expect("found");
            assert!(contents(&hits).iter().all(|text| text.contains("boat")), "{method:?} {:?}", contents(&hits));
            let mut sources: Vec<&str> = hits.hits.iter().map(|hit| hit.source.as_str()).collect();
            sources.sort_unstable();
            assert_eq!(sources, ["nova", "spark"], "{method:?}");
            let expected = match (method, warm) {
                (MemoryMethod::Embedding, _) => TextLeg::Off,
                (_, 2) => TextLeg::Index,
                _ => TextLeg::FullText,
            };
            assert_eq!(hits.legs.text, expected, "{method:?} {warm}");
        }
    }
    let one = house.memory.search_everywhere(&[spark], MemorySearch::new("boat")).await.expect("found");
    assert!(one.hits.iter().all(|hit| hit.source.as_str() == "spark"));
    assert!(house.memory.search_everywhere(&[], MemorySearch::new("boat")).await.expect("found").hits.is_empty());
    assert_eq!(house.count("SELECT coalesce(sum(access_count), 0)::bigint FROM memories").await, 0);
}

#[tokio::test]
async fn messages_and_summaries_of_all_bots() {
    let house = House::wordless().await;
    let (nova, spark) = (house.namespace("nova").await, house.namespace("spark").await);
    say(&nova, "one", 0, &["ann: my boat leaks", "nova: boats do that"]).await;
    say(&spark, "one", 0, &["ann: no vessels here"]).await;
    house
        .execute(
            "INSERT INTO summaries (bot_id, id, period, content, method, state)
             VALUES ('spark', gen_random_uuid(), '[2020-01-01,2030-01-01]', 'Talk about a boat', 'llm', 'active'),
                    ('spark', gen_random_uuid(), '[2020-01-01,2030-01-01]', 'Old talk about a boat', 'llm', 'stale')",
        )
        .await;
    let both = [nova, spark];
    let hits = house.memory.search_all_messages(&both, MessageSearch::new("boat")).await.expect("found");
    assert_eq!(hits.hits.len(), 3);
    let summary = hits.hits.iter().find(|hit| hit.is_summary).expect("the summary");
    assert_eq!((summary.source.as_str(), summary.message.content.as_str()), ("spark", "Talk about a boat"));
    let user = MessageSearch { role: Some(Role::User), ..MessageSearch::new("boat") };
    let hits = house.memory.search_all_messages(&both, user).await.expect("found");
    assert_eq!(said(&hits), ["my boat leaks"]);
    let nothing = house.memory.search_all_messages(&both, MessageSearch::new("the and of")).await.expect("found");
    assert!(nothing.hits.is_empty());
}
