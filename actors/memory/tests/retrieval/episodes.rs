//! Finding what was said.

use std::collections::HashSet;
use std::time::Duration;

use greenroom_lexicon::Cast;
use greenroom_memory::episodes::WordLeg;
use greenroom_memory::retrieval::VectorLeg;
use greenroom_memory::{ForgetRequest, ForgetTarget, MemoryError, MemorySearch, MessageSearch, SearchMode, TurnRecall};
use greenroom_protocol::{Role, UserId};

use super::house::*;

const TALK: [&str; 8] = [
    "ann: Hello there",
    "nova: Hi Ann, how was your week?",
    "ann: I bought a violin on Tuesday",
    "nova: Lovely. What made you choose it?",
    "ann: My grandmother played one",
    "nova: I once read that violins need humid air",
    "ann: The weather was awful though",
    "nova: Rain again?",
];

#[tokio::test]
async fn every_mode_finds_with_and_without_an_index() {
    let house = House::open().await;
    let nova = house.namespace("nova").await;
    say(&nova, "one", 0, &TALK).await;
    // The first search asks for the index, which may be there before the second.
    let cold = [WordLeg::FullText, WordLeg::Index];
    for (warm, word_legs) in [(false, &cold[..]), (true, &[WordLeg::Index][..])] {
        if warm {
            assert!(nova.warm_up(PATIENCE).await);
        }
        for mode in [SearchMode::Hybrid, SearchMode::Text, SearchMode::Vector] {
            let search = MessageSearch { mode, limit: 3, ..MessageSearch::new("When did I buy the violin?") };
            let hits = nova.search_messages(search).await.expect("found");
            assert!(said(&hits).contains(&"I bought a violin on Tuesday"), "{mode:?} {warm}: {:?}", said(&hits));
            assert!(hits.hits.len() <= 3 && hits.hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
            let legs = if mode == SearchMode::Vector { &[WordLeg::Off][..] } else { word_legs };
            assert!(legs.contains(&hits.text), "{mode:?} {:?}", hits.text);
            assert_eq!(hits.vector == VectorLeg::Off, mode == SearchMode::Text, "{mode:?}");
            assert!(!hits.hits[0].parts.is_empty() && !hits.hits[0].snippet.is_empty());
        }
    }
}

#[tokio::test]
async fn filters_apply_with_and_without_an_index() {
    let house = House::open().await;
    let nova = house.namespace("nova").await;
    let ids = say(&nova, "one", 0, &TALK).await;
    for warm in [false, true] {
        if warm {
            assert!(nova.warm_up(PATIENCE).await);
        }
        let find = |search: MessageSearch| {
            let nova = nova.clone();
            async move { nova.search_messages(search).await.expect("found") }
        };
        let violin = || MessageSearch::new("violin");
        let by_bot = find(MessageSearch { role: Some(Role::Assistant), ..violin() }).await;
        assert!(said(&by_bot).contains(&"I once read that violins need humid air"));
        assert!(by_bot.hits.iter().all(|hit| hit.message.role == Role::Assistant));
        let excluded = find(MessageSearch { exclude: HashSet::from([ids[2]]), ..violin() }).await;
        assert!(excluded.hits.iter().all(|hit| hit.message.id != ids[2]));
        let early = find(MessageSearch { until: Some(at(180)), ..violin() }).await;
        assert!(
            early.hits.iter().all(|hit| hit.message.ts < at(180))
                && said(&early).contains(&TALK[2].split_once(": ").expect("a speaker").1)
        );
        let late = find(MessageSearch { since: Some(at(180)), ..violin() }).await;
        assert!(late.hits.iter().all(|hit| hit.message.ts >= at(180)) && !late.hits.is_empty());
        let nobody = find(MessageSearch { user: Some(UserId::from_stored("bob")), ..violin() }).await;
        assert!(nobody.hits.is_empty(), "{:?}", said(&nobody));
        let ann = find(MessageSearch { user: Some(UserId::from_stored("ann")), ..violin() }).await;
        assert!(!ann.hits.is_empty());
    }
    let backwards = MessageSearch { since: Some(at(5)), until: Some(at(5)), ..MessageSearch::new("x") };
    assert!(matches!(nova.search_messages(backwards).await, Err(MemoryError::Invalid(_))));
}

#[tokio::test]
async fn forgotten_messages_are_never_found_and_summarised_ones_are() {
    let house = House::open().await;
    let nova = house.namespace("nova").await;
    let ids = say(&nova, "one", 0, &TALK).await;
    house
        .execute(
            "INSERT INTO summaries (bot_id, id, period, content, method)
             VALUES ('nova', '00000000-0000-0000-0000-000000000001', '[2020-01-01,2030-01-01]', 'all about violins', 'llm');
             UPDATE messages SET summary_id = '00000000-0000-0000-0000-000000000001'",
        )
        .await;
    assert!(nova.warm_up(PATIENCE).await);
    let find = || async { nova.search_messages(MessageSearch::new("violin")).await.expect("found") };
    assert!(find().await.hits.iter().any(|hit| hit.message.id == ids[2]));
    nova.forget(ForgetRequest::new(ForgetTarget::Message(ids[2].to_string()))).await.expect("forgotten");
    assert!(find().await.hits.iter().all(|hit| hit.message.id != ids[2]));
    let all = house
        .memory
        .search_all_messages(std::slice::from_ref(&nova), MessageSearch::new("violin"))
        .await
        .expect("found");
    assert!(all.hits.iter().all(|hit| hit.message.id != ids[2]));
}

#[tokio::test]
async fn text_that_is_no_word_is_found_as_it_stands() {
    let house = House::wordless().await;
    let nova = house.namespace("nova").await;
    say(&nova, "one", 0, &["ann: the code is AB_12%x\\y", "ann: nothing here", "ann: AB912 x"]).await;
    assert!(nova.warm_up(PATIENCE).await);
    let search = MessageSearch { mode: SearchMode::Text, ..MessageSearch::new("b_1") };
    let hits = nova.search_messages(search).await.expect("found");
    assert_eq!(said(&hits), ["the code is AB_12%x\\y"]);
    assert_eq!(hits.text, WordLeg::Substring);
}

#[tokio::test]
async fn a_turn_recalls_both_in_time_and_waits_for_nothing() {
    let house = House::open().await;
    let nova = house.namespace("nova").await;
    say(&nova, "one", 0, &TALK).await;
    remember(&nova, &["Ann owns a violin"]).await;
    let cast = Cast { user: Some("Ann".into()), bot: Some("Nova".into()), ..Cast::default() };
    let recall = |within| TurnRecall {
        memories: Some(MemorySearch { limit: 3, ..MemorySearch::new("the violin") }),
        episodes: Some(MessageSearch { limit: 3, cast: cast.clone(), ..MessageSearch::new("the violin") }),
        within,
    };
    // Nothing is loaded yet: vectors answer.
    let cold = nova.recall_for_turn(recall(PATIENCE)).await;
    assert_eq!(cold.incomplete, None);
    assert!(!cold.memories.is_empty() && !cold.episodes.is_empty());
    assert!(nova.warm_up(PATIENCE).await);
    let warm = nova.recall_for_turn(recall(PATIENCE)).await;
    assert_eq!(warm.memories[0].memory.content, "Ann owns a violin");
    assert!(warm.episodes[0].message.content.contains("violin"));
    // No time at all: nothing, and it says so.
    let late = nova.recall_for_turn(recall(Duration::ZERO)).await;
    assert!(late.memories.is_empty() && late.episodes.is_empty());
    assert!(late.incomplete.expect("a reason").contains("not in time"));
    let bare = nova.recall_for_turn(TurnRecall::default()).await;
    assert_eq!(bare, greenroom_memory::Recalled::default());
    assert_eq!(nova.memory(&warm.memories[0].memory.id.to_string()).await.expect("there").access_count, 0);
}
