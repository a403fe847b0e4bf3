//! What comes of reading conversations and summaries.

use greenroom_distill::{ExtractOptions, ToolMessage};
use greenroom_memory::summaries::{Covers, Method, NewSummary, Sections};
use greenroom_memory::{Meaning, SupersedeReason};
use greenroom_profile::{AttributeDraft, Entity, Source};
use greenroom_protocol::Role;
use serde_json::json;

use crate::house::{COMPARE, FACTS, House, SUMMARY, ann};

#[tokio::test]
async fn a_fact_becomes_a_memory_with_its_source_its_meaning_and_a_profile_attribute() {
    let house = House::open().await;
    let ids = house.talk(&["My name is Ann and I moved to Lyon for work", "Welcome to Lyon!"]).await;
    house.answers(
        FACTS,
        &json!({"facts": [
            {"content": "The user's name is Ann.", "tags": ["fact"], "importance": 1.0, "source_indexes": [1],
             "profile_attribute": {"category": "fact", "key": "name", "value": "Ann"}},
            {"content": "Ann moved to Lyon for work.", "tags": ["event"], "importance": 0.8, "intent": "introducing herself",
             "source_indexes": [1], "profile_attribute": {"category": "fact", "key": "location", "value": "Lyon"}},
        ]}),
    );
    house.answers(COMPARE, &json!({"actions": []}));
    let result = house.extract().await;
    assert_eq!((result.messages_found, result.facts_extracted, result.facts_stored), (2, 2, 2));
    assert_eq!((result.extraction_method, result.attributes_written, result.error.as_deref()), ("llm", 2, None));
    let active = house.active().await;
    assert_eq!(active.len(), 2);
    let moved = active.iter().find(|memory| memory.content.contains("moved")).expect("the move");
    assert_eq!(moved.sources, [ids[0]], "the message that says it, and no other");
    assert_eq!(moved.meaning.intent.as_deref(), Some("introducing herself"));
    assert!(moved.meaning.stakes.is_some() && !moved.meaning.keywords.is_empty() && moved.user == Some(ann()));
    assert_eq!(house.states().await, ["done", "done"]);
    let profile = house.profiles.get(&Entity::user(&ann()).expect("an entity")).await.expect("a profile");
    assert_eq!(profile.header.display_name.as_deref(), Some("Ann"));
    let place = profile.attributes.iter().find(|attribute| attribute.key == "location").expect("a place");
    assert_eq!(place.value, json!("Lyon"));
    assert_eq!(house.count("SELECT count(*) FROM extraction_log WHERE outcome = 'done' AND stored = 2").await, 1);
    // Nothing is read twice.
    assert_eq!(house.extract().await.messages_found, 0);
    assert_eq!(house.upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_contradicted_memory_steps_back_behind_what_contradicts_it() {
    let house = House::open().await;
    let old = house.knows("Ann lives in Paris.").await;
    house.talk(&["I left Paris, I live in Lyon now", "Good luck!"]).await;
    house.answers(
        FACTS,
        &json!({"facts": [{"content": "Ann lives in Lyon.", "importance": 0.8, "source_indexes": [1]}]}),
    );
    house.answers(
        COMPARE,
        &json!({"actions": [{"action": "ADD", "fact": 1}, {"action": "DELETE", "fact": 1, "target_memory_id": "m1"}]}),
    );
    let result = house.extract().await;
    assert_eq!((result.facts_stored, result.memories_superseded), (1, 1));
    assert_eq!(house.texts().await, ["Ann lives in Lyon."]);
    let chain = house.bot().chain(&old.to_string()).await.expect("a chain");
    assert_eq!(chain.len(), 2);
    assert_eq!(chain[0].id, old);
    assert_eq!(chain[0].supersede_reason, Some(SupersedeReason::Contradiction));
}

#[tokio::test]
async fn an_update_takes_the_place_and_keeps_the_weight_and_the_sources() {
    let house = House::open().await;
    let first = house.talk(&["I have a cat", "Nice"]).await;
    let old = house
        .knows_with("Ann has a cat.", |draft| {
            draft.importance = 0.9;
            draft.sources = vec![first[0]];
        })
        .await;
    house.run_sql("UPDATE messages SET extraction_state = 'done'").await;
    let second = house.talk_as("ann", 100_000, &["My cat is called Mia", "Lovely"], true).await;
    house.answers(FACTS, &json!([{"content": "Ann has a cat called Mia.", "importance": 0.6, "source_indexes": [1]}]));
    house.answers(COMPARE, &json!([{"action": "UPDATE", "fact": 1, "target_memory_id": "m1"}]));
    house.extract().await;
    let active = house.active().await;
    assert_eq!(active.len(), 1);
    assert_eq!(active[0].content, "Ann has a cat called Mia.");
    assert!((active[0].importance - 0.9).abs() < 1e-6);
    assert!(active[0].sources.contains(&first[0]) && active[0].sources.contains(&second[0]));
    assert_eq!(house.bot().memory(&old.to_string()).await.expect("kept").superseded_by, Some(active[0].id));
}

#[tokio::test]
async fn a_known_fact_adds_nothing_and_a_refuted_memory_is_buried() {
    let house = House::open().await;
    let tea = house.knows("Ann likes green tea.").await;
    let coffee = house.knows("Ann drinks coffee and dislikes green tea.").await;
    house.talk(&["You know I like green tea, I never drink coffee", "Yes"]).await;
    house.answers(
        FACTS,
        &json!([{"content": "Ann likes green tea, never coffee.", "importance": 0.7, "source_indexes": [1]}]),
    );
    let reply = |target: &str| json!({"actions": [{"action": "NONE", "fact": 1}, {"action": "DELETE", "fact": 1, "target_memory_id": target}]});
    // The order in which memories are shown follows their similarity.
    let shown =
        house.bot().neighbours(&["Ann likes green tea, never coffee.".into()], &[], Some(&ann())).await.expect("known");
    let at = shown.iter().position(|memory| memory.id == coffee).expect("shown");
    house.answers(COMPARE, &reply(&format!("m{}", at + 1)));
    house.extract().await;
    let active = house.active().await;
    assert_eq!(active.iter().map(|memory| memory.id).collect::<Vec<_>>(), [tea]);
    assert_eq!(house.count("SELECT count(*) FROM forgotten WHERE kind = 'memory' AND reason = 'tool'").await, 1);
}

#[tokio::test]
async fn excluded_messages_are_read_by_no_path() {
    let house = House::open().await;
    let ids = house.talk_as("ann", 0, &["My secret hobby is falconry", "I see"], false).await;
    house.talk_as("ann", 120, &["And I am a nurse by profession", "Noted"], true).await;
    house.answers(FACTS, &json!({"facts": []}));
    house.answers(SUMMARY, &json!({"facts": [{"content": "Ann's hobby is falconry.", "importance": 0.9}]}));
    summarise(&house, &ids, "Ann spoke about her hobby falconry.").await;
    house.extract().await;
    let result = house.distill.extract_summaries(&house.brief, None, 10, &house.cancel).await.expect("a run");
    assert_eq!((result.summaries_found, result.summaries_read, result.summaries_skipped), (1, 0, 1));
    let requests = house.upstream.requests();
    assert_eq!(requests.len(), 1);
    assert!(!requests[0].body.to_string().contains("falconry"), "not even for context");
    assert_eq!(house.states().await, ["excluded", "excluded", "done", "done"]);
    assert_eq!(house.bot().requeue_extraction().await.expect("requeued"), 0);
    assert!(house.texts().await.is_empty());
}

#[tokio::test]
async fn what_was_recalled_and_what_is_secret_is_not_learnt() {
    let house = House::open().await;
    house
        .talk(&[
            "Thanks! By the way the wifi password is hunter2hunter2",
            "As I remember, your brother Carl is a pilot and lives in Oslo with two parrots.",
            "Exactly, thank you so much",
            "Any time",
        ])
        .await;
    house.answers(
        FACTS,
        &json!({"facts": [
            {"content": "The user's brother Carl is a pilot in Oslo with two parrots.", "importance": 0.9, "source_indexes": [2]},
            {"content": "The user's brother Carl is a pilot in Oslo.", "importance": 0.9, "source_indexes": [3]},
            {"content": "The user's wifi password is hunter2hunter2.", "importance": 0.9, "source_indexes": [1]},
        ]}),
    );
    let result = house.extract().await;
    assert_eq!((result.facts_extracted, result.facts_stored, result.facts_dropped), (0, 0, 3));
    assert!(house.texts().await.is_empty());
    let written = house.count("SELECT count(*) FROM extraction_log WHERE facts::text ~ 'hunter2|Carl'").await;
    assert_eq!(written, 0, "what was dropped is not kept in the record either");
}

#[tokio::test]
async fn a_window_that_says_nothing_costs_no_call() {
    let house = House::open().await;
    house.talk(&["hi", "Hello! How can I help you today?"]).await;
    let result = house.extract().await;
    assert_eq!((result.messages_found, result.facts_extracted, result.error), (2, 0, None));
    assert!(house.upstream.requests().is_empty());
    assert_eq!(house.states().await, ["done", "done"]);
}

#[tokio::test]
async fn each_window_is_of_one_person_and_one_session() {
    let house = House::open().await;
    house.talk_as("ann", 0, &["I am Ann and I keep bees at home", "Nice"], true).await;
    house.talk_as("bob", 30, &["I am Bob and I keep goats at home", "Nice"], true).await;
    house.talk_as("ann", 500_000, &["The bees survived the winter well", "Good"], true).await;
    house.answers(
        FACTS,
        &json!({"facts": [{"content": "The user keeps animals at home.", "importance": 0.8, "source_indexes": [1]}]}),
    );
    house.answers(COMPARE, &json!({"actions": [{"action": "NONE", "fact": 1}]}));
    let result = house.extract().await;
    assert_eq!((result.windows, result.messages_found), (3, 6));
    let prompts: Vec<String> =
        house.upstream.requests_with(FACTS).iter().map(|request| request.last_user_text()).collect();
    assert_eq!(prompts.len(), 3);
    assert!(prompts.iter().all(|prompt| !(prompt.contains("bees") && prompt.contains("goats"))));
    let users: Vec<_> = house.active().await.into_iter().filter_map(|memory| memory.user).collect();
    assert_eq!(users.len(), 2, "what one person said is not compared with what another said");
}

#[tokio::test]
async fn rules_decide_only_when_asked() {
    let house = House::open().await;
    house.talk(&["I prefer short answers. I have a question about tea", "Sure"]).await;
    let options = ExtractOptions { use_llm: false, ..ExtractOptions::default() };
    let result = house.distill.extract(&house.brief, &options, &house.cancel).await.expect("a run");
    assert_eq!((result.extraction_method, result.facts_stored), ("heuristic", 1));
    assert!(house.upstream.requests().is_empty());
    assert!(house.texts().await[0].contains("short answers"));
}

async fn summarise(house: &House, messages: &[uuid::Uuid], text: &str) {
    let new = NewSummary {
        user: Some(ann()),
        covers: Covers::Messages(messages.to_vec()),
        replaces: Vec::new(),
        sections: Sections { summary: text.into(), ..Sections::default() },
        method: Method::Llm,
        model: Some("remote".into()),
        parts: 1,
    };
    house.bot().commit_summary(new).await.expect("a summary");
}

#[tokio::test]
async fn a_summary_is_read_only_where_its_messages_were_not() {
    let house = House::open().await;
    let read = house.talk_as("ann", 0, &["I once lived in Rome for a year", "Oh"], true).await;
    house.run_sql("UPDATE messages SET extraction_state = 'done'").await;
    let unread = house.talk_as("ann", 100_000, &["I play the cello in an orchestra", "Great"], true).await;
    house.run_sql("UPDATE messages SET extraction_state = 'failed' WHERE extraction_state = 'pending'").await;
    summarise(&house, &read, "Ann lived in Rome.").await;
    summarise(&house, &unread, "Ann plays the cello in an orchestra.").await;
    house.answers(
        SUMMARY,
        &json!({"facts": [{"content": "Ann plays the cello in an orchestra.", "importance": 0.8},
                          {"content": "Ann owns a zeppelin.", "importance": 0.9}]}),
    );
    let result = house.distill.extract_summaries(&house.brief, None, 10, &house.cancel).await.expect("a run");
    assert_eq!((result.summaries_found, result.summaries_read, result.summaries_skipped), (2, 1, 1));
    assert_eq!(result.facts_stored, 1);
    let active = house.active().await;
    assert_eq!((active.len(), active[0].summary_sources.len(), active[0].sources.len()), (1, 1, 0));
    assert!(house.states().await.iter().all(|state| state == "done"));
    assert_eq!(house.count("SELECT count(*) FROM summaries WHERE extracted_at IS NULL").await, 0);
    let again = house.distill.extract_summaries(&house.brief, None, 10, &house.cancel).await.expect("a run");
    assert_eq!(again.summaries_found, 0);
}

#[tokio::test]
async fn what_was_stated_outright_is_not_overruled_by_extraction() {
    let house = House::open().await;
    let entity = Entity::user(&ann()).expect("an entity");
    let explicit = AttributeDraft::new(entity.clone(), "fact", "location", json!("Paris"), 1.0, Source::Explicit);
    house.profiles.upsert(&explicit.expect("a draft")).await.expect("stored");
    house.talk(&["I am in Lyon this week, I live here for now", "Enjoy"]).await;
    house.answers(
        FACTS,
        &json!([{"content": "The user lives in Lyon.", "importance": 0.8, "source_indexes": [1],
                 "profile_attribute": {"category": "fact", "key": "location", "value": "Lyon"}}]),
    );
    house.extract().await;
    let profile = house.profiles.get(&entity).await.expect("a profile");
    assert_eq!(profile.attributes[0].value, json!("Paris"));
    assert_eq!(house.texts().await, ["The user lives in Lyon."], "the memory is kept all the same");
}

#[tokio::test]
async fn a_tool_reads_what_it_is_given() {
    let house = House::open().await;
    house.answers(FACTS, &json!([{"content": "Ann collects stamps.", "importance": 0.7, "source_indexes": [1]}]));
    let messages = [ToolMessage { role: Role::User, content: "I collect stamps, thousands of them".into() }];
    let options = ExtractOptions::default();
    let distill = &house.distill;
    let shown =
        distill.extract_from(&house.brief, &ann(), &messages, false, &options, &house.cancel).await.expect("facts");
    assert_eq!((shown.facts.len(), shown.facts_stored), (1, 0));
    assert!(house.texts().await.is_empty());
    let stored =
        distill.extract_from(&house.brief, &ann(), &messages, true, &options, &house.cancel).await.expect("facts");
    assert_eq!(stored.facts_stored, 1);
    assert_eq!(house.texts().await, ["Ann collects stamps."]);
    let system = greenroom_protocol::UserId::from_stored("system");
    assert!(distill.extract_from(&house.brief, &system, &messages, true, &options, &house.cancel).await.is_err());
}

#[tokio::test]
async fn meaning_that_a_model_did_not_give_is_filled_in_by_rule() {
    let house = House::open().await;
    house.talk(&["I am worried about my knee surgery on Monday", "I understand"]).await;
    house.answers(FACTS, &json!([{"content": "Ann is worried about her knee surgery on Monday.", "tags": "health", "importance": 0.9, "source_indexes": "1"}]));
    house.extract().await;
    let memory = &house.active().await[0];
    let guess: Meaning =
        greenroom_memory::memories::meaning::heuristic(&memory.content, &memory.tags, memory.importance);
    assert_eq!(memory.meaning.intent, guess.intent);
    assert!(memory.meaning.emotional_charge.is_some_and(|charge| charge >= 0.8));
}
