//! Storing, replacing, deleting, folding, forgetting behind.

use std::collections::HashSet;

use greenroom_memory::summaries::{CommittedSummary, NewSummary, Rules, SummaryError, SummaryState};
use greenroom_protocol::UserId;
use uuid::Uuid;

use crate::house::{commit, forget, memory, message, namespace, roll_up, rules, sections, summary, talk, visible};

#[tokio::test]
async fn a_summary_hides_what_it_covers_and_deleting_it_shows_it_again() {
    let (_database, memory) = memory().await;
    let bot = namespace(&memory, "one");
    let ids = talk(&bot, 4, 1_000, 20).await;
    let made = commit(&bot, summary(&ids[..3], &[], "Tea.")).await;
    assert!(made.created);
    assert_eq!(visible(&bot).await, HashSet::from([ids[3]]));
    let stored = bot.summary(&made.id.to_string()[..8]).await.expect("found by a prefix");
    assert_eq!((stored.level, stored.message_count, stored.state), (0, 3, SummaryState::Active));
    assert_eq!((stored.start.as_second(), stored.end.as_second()), (1_000, 1_120));
    assert_eq!(stored.content, "[HISTORICAL SUMMARY]\nSummary: Tea.");
    assert_eq!((stored.sections, stored.model.as_deref()), (sections("Tea."), Some("model")));
    // Storing it once more is nothing; covering a part of it otherwise is refused and changes nothing.
    let again = commit(&bot, summary(&ids[..3], &[], "Coffee.")).await;
    assert_eq!(again, CommittedSummary { id: made.id, created: false, replaced: vec![] });
    let refused = bot.commit_summary(summary(&ids[2..], &[], "Milk.")).await;
    assert!(matches!(refused, Err(SummaryError::Outdated)));
    let recalled = bot.recall_summary(&made.id.to_string(), true).await.expect("recalled");
    assert_eq!(recalled.messages.iter().map(|m| m.id).collect::<Vec<_>>(), ids[..3]);
    let deleted = bot.delete_summary(&made.id.to_string()).await.expect("deleted");
    assert_eq!((deleted.id, deleted.messages_restored), (made.id, 3));
    assert_eq!(visible(&bot).await.len(), 4);
    let rows = bot.latest(None, None, 10).await.expect("read");
    assert!(rows.iter().all(|row| row.recalled_at.is_none()), "no longer marked");
    assert!(matches!(bot.delete_summary(&made.id.to_string()).await, Err(SummaryError::NotFound)));
}

#[tokio::test]
async fn a_replacement_covers_or_shows_every_message_of_the_old() {
    let (_database, memory) = memory().await;
    let bot = namespace(&memory, "one");
    let ids = talk(&bot, 6, 1_000, 20).await;
    let (one, two) =
        (commit(&bot, summary(&ids[..3], &[], "a")).await, commit(&bot, summary(&ids[3..], &[], "b")).await);
    let new = commit(&bot, summary(&ids[2..5], &[one.id, two.id], "c")).await;
    assert_eq!(new.replaced.iter().copied().collect::<HashSet<_>>(), HashSet::from([one.id, two.id]));
    assert_eq!(visible(&bot).await, HashSet::from([ids[0], ids[1], ids[5]]));
    assert_eq!(bot.summaries(10).await.expect("list").len(), 1);
    // The same messages again: the summary keeps its id and its place, only the text is new.
    let same = commit(&bot, summary(&ids[2..5], &[new.id], "d")).await;
    assert_eq!((same.id, same.created, same.replaced), (new.id, true, vec![new.id]));
    assert_eq!(bot.summary(&new.id.to_string()).await.expect("found").sections.summary, "d");
}

#[tokio::test]
async fn nothing_is_stored_over_messages_that_are_gone() {
    let (_database, memory) = memory().await;
    let bot = namespace(&memory, "one");
    let mut ids = talk(&bot, 3, 1_000, 20).await;
    ids.push(Uuid::new_v4());
    assert!(matches!(bot.commit_summary(summary(&ids, &[], "a")).await, Err(SummaryError::Outdated)));
    assert!(matches!(bot.commit_summary(summary(&[], &[], "a")).await, Err(SummaryError::Empty)));
    assert!(matches!(bot.commit_summary(summary(&ids[..3], &[], " ")).await, Err(SummaryError::Empty)));
    assert_eq!((visible(&bot).await.len(), bot.summary_count().await.expect("count")), (3, 0));
}

#[tokio::test]
async fn two_summarisers_at_once_make_one_summary() {
    let (_database, memory) = memory().await;
    let bot = namespace(&memory, "one");
    let ids = talk(&bot, 8, 1_000, 20).await;
    let racing = (0..6).map(|n| {
        let (bot, ids) = (bot.clone(), ids.clone());
        tokio::spawn(async move { bot.commit_summary(summary(&ids[..4 + n % 2], &[], "x")).await })
    });
    let mut created = 0;
    for race in racing.collect::<Vec<_>>() {
        match race.await.expect("task") {
            Ok(made) => created += usize::from(made.created),
            Err(error) => assert!(matches!(error, SummaryError::Outdated), "{error}"),
        }
    }
    assert_eq!((created, bot.summary_count().await.expect("count")), (1, 1));
}

#[tokio::test]
async fn references_that_name_nothing_or_too_much_are_refused() {
    let (_database, memory) = memory().await;
    let bot = namespace(&memory, "one");
    for bad in ["", "%", "_", "1234567", "'; DROP TABLE summaries; --", &"f".repeat(5_000)] {
        assert!(matches!(bot.delete_summary(bad).await, Err(SummaryError::BadReference)), "{bad:.20}");
    }
    assert!(matches!(bot.summary("deadbeef").await, Err(SummaryError::NotFound)));
}

#[tokio::test]
async fn roll_ups_fold_step_aside_and_come_apart() {
    let (_database, memory) = memory().await;
    let bot = namespace(&memory, "one");
    let mut leaves = Vec::new();
    for n in 0..6 {
        let ids = talk(&bot, 2, n * 100_000, 20).await;
        leaves.push(commit(&bot, summary(&ids, &[], &format!("leaf {n}"))).await.id);
    }
    assert!(bot.summaries_to_roll_up(false, 6, 3).await.expect("read").is_empty(), "six are not too many");
    let due = bot.summaries_to_roll_up(false, 5, 3).await.expect("read");
    assert_eq!(due.iter().map(|s| s.id).collect::<Vec<_>>(), leaves[..3]);
    let folded = commit(&bot, roll_up(&leaves[..3], &[])).await.id;
    let stored = bot.summary(&folded.to_string()).await.expect("found");
    assert_eq!((stored.level, stored.message_count), (1, 6));
    let shown = |limit| {
        let bot = bot.clone();
        async move {
            let shown = bot.summaries_for_context(None, limit).await.expect("read");
            shown.into_iter().map(|s| s.id).collect::<Vec<_>>()
        }
    };
    assert_eq!(shown(2).await, [folded, leaves[4], leaves[5]]);
    assert!(shown(0).await.is_empty());
    // A leaf is written again: the roll-up no longer tells the truth and steps aside until it is folded anew.
    let ids: Vec<Uuid> = bot.covered_session(leaves[0]).await.expect("read").expect("a conversation").ids();
    commit(&bot, summary(&ids, &[leaves[0]], "leaf 0, better")).await;
    assert_eq!(bot.stale_summaries(1, 9).await.expect("read"), [folded]);
    assert_eq!(shown(2).await, [leaves[4], leaves[5]]);
    let parts: Vec<Uuid> = bot.roll_up_parts(folded).await.expect("read").iter().map(|s| s.id).collect();
    assert_eq!(commit(&bot, roll_up(&parts, &[folded])).await.id, folded);
    assert!(bot.stale_summaries(1, 9).await.expect("read").is_empty());
    // Whoever shows all the leaves needs no roll-up.
    assert_eq!(shown(6).await, leaves);
    let recalled = bot.recall_summary(&folded.to_string(), false).await.expect("recalled");
    assert_eq!(recalled.messages.len(), 6);
    assert_eq!(bot.delete_summary(&folded.to_string()).await.expect("deleted").messages_restored, 0);
    assert_eq!((shown(6).await, visible(&bot).await.len()), (leaves.clone(), 0));
    // A roll-up whose last leaf goes, goes too.
    let folded = commit(&bot, roll_up(&leaves[..2], &[])).await.id;
    for leaf in &leaves[..2] {
        bot.delete_summary(&leaf.to_string()).await.expect("deleted");
    }
    assert!(matches!(bot.summary(&folded.to_string()).await, Err(SummaryError::NotFound)));
}

#[tokio::test]
async fn forgetting_behind_a_summary_shows_the_rest_until_it_is_written_again() {
    let (_database, memory) = memory().await;
    let bot = namespace(&memory, "one");
    let ids = talk(&bot, 5, 1_000, 20).await;
    let made = commit(&bot, summary(&ids, &[], "a secret")).await;
    let forgotten = forget(&bot, 1).await;
    assert_eq!(forgotten.summaries_stale, [made.id]);
    assert!(bot.summaries_for_context(None, 5).await.expect("read").is_empty(), "it still tells what was forgotten");
    assert_eq!(visible(&bot).await, ids[..4].iter().copied().collect());
    assert_eq!(bot.stale_summaries(0, 9).await.expect("read"), [made.id]);
    let rest = bot.covered_session(made.id).await.expect("read").expect("something is left").ids();
    commit(&bot, summary(&rest, &[made.id], "no secret")).await;
    assert!(visible(&bot).await.is_empty());
}

#[tokio::test]
async fn histories_of_users_are_kept_apart() {
    let (_database, memory) = memory().await;
    let bot = namespace(&memory, "one");
    let mut messages = Vec::new();
    for n in 0..40 {
        let second = i64::try_from(n).expect("small") * 60;
        messages.push(message(bot.bot(), if n % 4 < 2 { "ann" } else { "bob" }, n, second, 200));
    }
    let _ = bot.record(&messages).await.expect("recorded");
    let own = Rules { per_user: true, ..rules(1_500) };
    let due = bot.eligible_sessions(&own, &HashSet::new()).await.expect("planned");
    assert!(due.len() >= 2);
    for session in due {
        let user = session.user.clone().expect("somebody");
        assert!(session.rows.iter().all(|row| row.user.as_ref() == Some(&user)));
        let new = NewSummary { user: Some(user), ..summary(&session.ids(), &[], "mine") };
        commit(&bot, new).await;
    }
    for name in ["ann", "bob"] {
        let user = UserId::from_stored(name);
        let shown = bot.summaries_for_context(Some(&user), 5).await.expect("read");
        assert!(!shown.is_empty() && shown.iter().all(|summary| summary.user.as_ref() == Some(&user)));
    }
}
