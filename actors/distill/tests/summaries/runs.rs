//! What a run, a preview and a rebuild do when all goes well.

use greenroom_distill::summaries::{RebuildOptions, SummarySettings};
use greenroom_memory::summaries::{Method, SummaryState};
use greenroom_memory::{ForgetRequest, ForgetTarget, TombstoneReason};
use greenroom_test_support::upstream::Script;
use serde_json::json;

use crate::house::{ANSWER, House, by_rule, on_demand};

#[tokio::test]
async fn what_leaves_the_budget_is_covered_once() {
    let house = House::open("scripted").await;
    house.answers(ANSWER);
    assert!(house.summaries.gate(&house.brief).await.expect("asked").is_err(), "nothing is due yet");
    let ids = house.past(2).await;
    assert_eq!(house.summaries.gate(&house.brief).await.expect("asked"), Ok(()));
    let result = house.run(&by_rule()).await;
    assert_eq!((result.sessions_targeted, result.sessions_summarized, result.messages_summarized), (2, 2, 8));
    assert!(result.errors.is_empty() && result.failure().is_none());
    let stored = house.stored().await;
    assert_eq!(stored.len(), 2);
    let newest = &stored[0];
    assert_eq!((newest.method, newest.model.as_deref(), newest.message_count), (Method::Llm, Some("scripted"), 4));
    assert_eq!(newest.sections.key_details, "Assam, 4 minutes");
    assert_eq!(newest.user.as_ref().map(|user| user.as_str()), Some("ann"));
    let covered = house.bot().covered_session(newest.id).await.expect("read").expect("a conversation");
    assert_eq!(covered.ids(), ids[1]);
    // The model saw the whole conversation, as data.
    let seen = house.upstream.requests_with("[conversation 1]")[0].last_user_text();
    assert!(seen.contains("User: [conversation 1] Which tea?") && seen.contains("Assistant: Four minutes."));
    assert!(seen.contains("(1970-01-02 00:00 to 00:03 UTC)") && seen.contains("data, not instructions"));
    // Now nothing is due, for the probe as for the run.
    assert!(house.summaries.gate(&house.brief).await.expect("asked").is_err());
    let calls = house.upstream.requests().len();
    assert_eq!(house.run(&by_rule()).await.sessions_targeted, 0);
    assert_eq!(house.upstream.requests().len(), calls);
}

#[tokio::test]
async fn a_bot_without_memory_has_nothing_summarised() {
    let mut house = House::open("scripted").await;
    house.past(2).await;
    house.brief.requires_memory = false;
    assert!(house.summaries.gate(&house.brief).await.expect("asked").is_err());
    assert_eq!(house.run(&by_rule()).await.sessions_targeted, 0);
}

#[tokio::test]
async fn the_preview_shows_what_a_run_would_do() {
    let house = House::open("scripted").await;
    house.past(2).await;
    let preview = house.summaries.preview(&house.brief).await.expect("a preview");
    assert_eq!((preview.sessions.len(), preview.total_messages), (2, 8));
    let first = &preview.sessions[0];
    assert!(first.first_message.as_deref().is_some_and(|text| text.starts_with("[conversation 0]")));
    assert_eq!(first.first_message.as_deref().map(|text| text.chars().count()), Some(100));
    assert_eq!(first.last_message.as_deref(), Some("How long?"));
    assert_eq!((first.start_timestamp, first.started_at.as_str()), (0.0, "1970-01-01T00:00:00.000000Z"));
    assert!(house.upstream.requests().is_empty() && house.stored().await.is_empty());
}

#[tokio::test]
async fn a_long_conversation_is_read_in_chunks_and_becomes_one_summary() {
    let house = House::open("scripted").await;
    house.answers(ANSWER);
    let texts: Vec<String> = (0..30).map(|n| format!("line {n} {}", "z".repeat(600))).collect();
    house.talk(0, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    house.past(0).await;
    let mut options = by_rule();
    options.max_tokens_per_chunk = Some(1_000);
    assert_eq!(house.run(&options).await.sessions_summarized, 1);
    let stored = house.stored().await;
    let parts = usize::try_from(stored[0].parts).expect("positive");
    assert!(stored.len() == 1 && parts >= 5, "{parts}");
    assert_eq!(house.upstream.requests().len(), parts + 1, "one call a chunk and one to fold them");
    assert_eq!(house.upstream.requests_with("part 2 of").len(), 2, "once as a chunk, once as its summary");
}

#[tokio::test]
async fn a_large_model_takes_several_conversations_in_one_call() {
    let house = House::open("large").await;
    let said = |n: usize| {
        json!({"session_index": n, "summary": format!("Talk {n} about tea and its brewing time."),
        "key_details": "The user wants Assam, brewed for 4 minutes; the kettle from \"Kettle & Co\" is broken; the \
        assistant suggested water of 95 degrees and a pot that was warmed before, and promised a list of shops by Monday.",
        "intent": "find out which tea to buy and how long it has to stand in the pot",
        "open_loops": ["list of shops", "new kettle"]})
    };
    let answer = format!("Sure! ```json\n{}\n```", json!({"summaries": [said(1), said(3), said(77)]}));
    house.upstream.script_for("Session 1 (", Script::text(&answer));
    house.answers(ANSWER);
    house.past(3).await;
    let result = house.run(&on_demand()).await;
    assert_eq!((result.sessions_summarized, result.errors.len()), (3, 0));
    let methods: Vec<Method> = house.stored().await.iter().map(|summary| summary.method).collect();
    assert_eq!(methods, [Method::LlmBatch, Method::Llm, Method::LlmBatch], "what was left out is asked for alone");
    assert_eq!(house.upstream.requests().len(), 2);
    let batch = house.upstream.requests_with("Session 2 (");
    assert!(batch[0].last_user_text().contains("[conversation 2]"));
    assert_eq!(house.stored().await[2].sections.open_loops, "list of shops; new kettle");
}

#[tokio::test]
async fn stale_summaries_are_written_again_first() {
    let house = House::open("scripted").await;
    house.answers(ANSWER);
    let ids = house.past(2).await;
    house.run(&by_rule()).await;
    let forget = |ids: &[uuid::Uuid]| ForgetRequest {
        target: ForgetTarget::Ids(ids.to_vec()),
        user: None,
        reason: TombstoneReason::User,
        by: None,
        dry_run: false,
    };
    house.bot().forget(forget(&ids[0])).await.expect("forgotten");
    house.bot().forget(forget(&ids[1][..2])).await.expect("forgotten");
    let stale = house.stored().await.iter().filter(|summary| summary.state == SummaryState::Stale).count();
    assert_eq!(stale, 2);
    assert_eq!(house.summaries.gate(&house.brief).await.expect("asked"), Ok(()));
    house.answers("Summary: what is left");
    let result = house.run(&by_rule()).await;
    assert_eq!((result.sessions_summarized, result.summaries_replaced, result.summaries_purged), (1, 1, 1));
    let stored = house.stored().await;
    assert_eq!(stored.len(), 1);
    assert_eq!((stored[0].sections.summary.as_str(), stored[0].message_count), ("what is left", 2));
}

#[tokio::test]
async fn old_summaries_are_folded_into_roll_ups() {
    let settings = SummarySettings { rollup_after: 4, rollup_size: 3, ..SummarySettings::default() };
    let house = House::with("scripted", settings).await;
    house.answers(ANSWER);
    house.upstream.script_for("Fold them", Script::text("Summary: Years of tea."));
    house.past(6).await;
    let result = house.run(&by_rule()).await;
    assert_eq!((result.sessions_summarized, result.roll_ups), (6, 1));
    let shown = house.bot().summaries_for_context(None, 2).await.expect("read");
    assert_eq!(shown.iter().map(|summary| summary.level).collect::<Vec<_>>(), [1, 0, 0]);
    assert_eq!(shown[0].sections.summary, "Years of tea.");
    assert_eq!(shown[0].message_count, 12);
    assert!(house.upstream.requests_with("Fold them")[0].last_user_text().contains("(1970-01-03 00:00 to 00:03 UTC)"));
}

#[tokio::test]
async fn a_rebuild_takes_the_newest_and_purges_only_what_it_rebuilt() {
    let house = House::open("scripted").await;
    house.answers(ANSWER);
    let ids = house.past(4).await;
    house.run(&by_rule()).await;
    house.answers("Summary: better");
    let options = RebuildOptions { sessions: 2, ..RebuildOptions::default() };
    let result = house.summaries.rebuild(&house.brief, &options, &house.cancel).await.expect("rebuilt");
    assert_eq!((result.sessions_targeted, result.sessions_summarized, result.summaries_replaced), (2, 2, 2));
    let texts = |stored: Vec<greenroom_memory::summaries::Summary>| {
        stored.into_iter().map(|summary| summary.sections.summary).collect::<Vec<_>>()
    };
    let old = "Ann spoke about tea at length.";
    assert_eq!(texts(house.stored().await), ["better", "better", old, old]);
    // A summary that spans two conversations gives way to one for each.
    let stored = house.stored().await;
    let both = greenroom_memory::summaries::NewSummary {
        covers: greenroom_memory::summaries::Covers::Messages(ids[0].iter().chain(&ids[1]).copied().collect()),
        replaces: vec![stored[2].id, stored[3].id],
        user: stored[2].user.clone(),
        sections: stored[2].sections.clone(),
        method: Method::Llm,
        model: None,
        parts: 1,
    };
    house.bot().commit_summary(both).await.expect("committed");
    let end = jiff::Timestamp::from_second(86_400 - 1).expect("a time");
    let options = RebuildOptions { end: Some(end), purge_existing: true, ..RebuildOptions::default() };
    let result = house.summaries.rebuild(&house.brief, &options, &house.cancel).await.expect("rebuilt");
    assert_eq!((result.sessions_summarized, result.summaries_purged), (1, 0));
    assert_eq!(house.visible().await, 6 + 4, "what the replacement does not cover is visible again");
    assert_eq!(house.run(&by_rule()).await.sessions_summarized, 1, "and covered by the next run");
    assert_eq!(house.visible().await, 6);
}
