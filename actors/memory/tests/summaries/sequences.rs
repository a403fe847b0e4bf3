//! Whole cycles for all budgets, and random sequences of operations.

use std::collections::HashSet;

use greenroom_memory::summaries::{RebuildScope, Rules, estimate_tokens};
use greenroom_memory::{Namespace, RestoreRequest, RestoreWhat};
use greenroom_store::testing::TestDatabase;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use uuid::Uuid;

use crate::house::{commit, forget, memory, message, namespace, roll_up, rules, summary, talk, visible};

/// What the history manager would keep: newest first, until the budget is full.
async fn falls_out(bot: &Namespace, rules: &Rules) -> Vec<Uuid> {
    let (mut used, mut out) = (0, Vec::new());
    for (n, row) in bot.visible_messages(None, None, 100_000).await.expect("read").into_iter().enumerate() {
        used += estimate_tokens(row.content.len());
        if n >= rules.protected_messages() && used > rules.budget {
            out.push(row.id);
        }
    }
    out
}

/// Acceptance 10: one cycle covers everything that falls out of the budget.
#[tokio::test]
async fn one_cycle_covers_what_falls_out_of_any_budget() {
    let (_database, memory) = memory().await;
    for budget in [2_000, 4_000, 12_000, 50_000, 200_000] {
        let bot = namespace(&memory, &format!("bot{budget}"));
        let now = Timestamp::now().as_second();
        // 400 conversations of one to seven messages over the last months, the newest still going on
        let mut messages = Vec::new();
        let mut n = 0;
        for session in 0..400_i64 {
            for turn in 0..=(session * 5 % 7) {
                let second = now - (399 - session) * 20_000 + turn * 60 - 420;
                messages.push(message(bot.bot(), "ann", n, second, 40 + (n * 37) % 2_000));
                n += 1;
            }
        }
        let _ = bot.record(&messages).await.expect("recorded");
        let rules = rules(budget);
        assert!(!falls_out(&bot, &rules).await.is_empty());
        let mut rounds = 0;
        loop {
            let due = bot.eligible_sessions(&rules, &HashSet::new()).await.expect("planned");
            if due.is_empty() {
                break;
            }
            for session in due {
                commit(&bot, summary(&session.ids(), &[], "x")).await;
            }
            rounds += 1;
            assert!(rounds < 20, "it comes to an end");
        }
        assert!(falls_out(&bot, &rules).await.is_empty(), "budget {budget}");
        let left = visible(&bot).await.len();
        assert!(left >= rules.protected_messages(), "what is protected stays");
        let scope = RebuildScope { sessions: 3, ..RebuildScope::default() };
        let newest = bot.rebuildable_sessions(&rules, &scope).await.expect("planned");
        assert_eq!(newest.len(), 3);
        assert!(newest.iter().all(|session| session.rows.iter().all(|row| row.covered.is_some())));
        assert!(newest.windows(2).all(|pair| pair[0].end() >= pair[1].end()));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Say(usize),
    Cover { from: usize, count: usize },
    Rewrite { which: usize, from: usize, count: usize },
    Delete(usize),
    Forget(i64),
    RestoreAll,
    RollUp(usize),
    Cycle(usize),
    Refresh,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1usize..5).prop_map(Step::Say),
        (0usize..30, 1usize..8).prop_map(|(from, count)| Step::Cover { from, count }),
        (0usize..9, 0usize..30, 1usize..8).prop_map(|(which, from, count)| Step::Rewrite { which, from, count }),
        (0usize..9).prop_map(Step::Delete),
        (1i64..4).prop_map(Step::Forget),
        Just(Step::RestoreAll),
        (2usize..4).prop_map(Step::RollUp),
        (600usize..1_500).prop_map(Step::Cycle),
        Just(Step::Refresh),
    ]
}

/// Takes a step; steps that make no sense at this point are refused by the room and change nothing.
async fn take(bot: &Namespace, step: Step, clock: &mut i64) {
    let all = bot.visible_messages(None, None, 1_000).await.expect("read");
    let shown: Vec<Uuid> = all.iter().rev().map(|row| row.id).collect();
    let known = bot.summaries(100).await.expect("read");
    let pick = |from: usize, count: usize| {
        shown.iter().skip(from % shown.len().max(1)).take(count).copied().collect::<Vec<_>>()
    };
    match step {
        Step::Say(count) => {
            *clock += 5_000;
            talk(bot, count, *clock, 300).await;
        }
        Step::Cover { from, count } => drop(bot.commit_summary(summary(&pick(from, count), &[], "x")).await),
        Step::Rewrite { which, from, count } => {
            let Some(old) = known.get(which % known.len().max(1)).filter(|old| old.level == 0) else { return };
            let mut ids = bot.covered_session(old.id).await.expect("read").map_or_else(Vec::new, |s| s.ids());
            ids.truncate(count);
            ids.extend(pick(from, 1).into_iter().filter(|id| !ids.contains(id)).collect::<Vec<_>>());
            drop(bot.commit_summary(summary(&ids, &[old.id], "y")).await);
        }
        Step::Delete(which) => {
            if let Some(old) = known.get(which % known.len().max(1)) {
                bot.delete_summary(&old.id.to_string()).await.expect("deleted");
            }
        }
        Step::Forget(newest) => drop(forget(bot, newest).await),
        Step::RestoreAll => {
            drop(bot.restore(RestoreRequest { what: RestoreWhat::All, dry_run: false }).await.expect("restored"));
        }
        Step::RollUp(count) => {
            let leaves: Vec<Uuid> = bot
                .summaries_to_roll_up(false, 1, i64::try_from(count).expect("small"))
                .await
                .expect("read")
                .iter()
                .map(|summary| summary.id)
                .collect();
            drop(bot.commit_summary(roll_up(&leaves, &[])).await);
        }
        Step::Cycle(budget) => {
            for session in bot.eligible_sessions(&rules(budget), &HashSet::new()).await.expect("planned") {
                commit(bot, summary(&session.ids(), &session.covered_by(), "z")).await;
            }
        }
        Step::Refresh => {
            for id in bot.stale_summaries(0, 100).await.expect("read") {
                match bot.covered_session(id).await.expect("read") {
                    Some(session) => drop(commit(bot, summary(&session.ids(), &[id], "w")).await),
                    None => drop(bot.delete_summary(&id.to_string()).await.expect("deleted")),
                }
            }
        }
    }
}

/// Acceptance 9: every stored message is visible or stands behind an active summary, never both; counts are right; and no
/// active roll-up is without parts.
async fn check(database: &TestDatabase, bot: &Namespace) {
    const HIDDEN: &str = "
        SELECT m.id, s.state FROM messages m LEFT JOIN summaries s ON (s.bot_id, s.id) = (m.bot_id, m.summary_id)
         WHERE m.bot_id = $1";
    const MISCOUNTED: &str = "
        SELECT count(*) FROM summaries s
         WHERE s.bot_id = $1 AND s.state = 'active'
           AND CASE s.level
               WHEN 0 THEN s.message_count <> (SELECT count(*) FROM messages m WHERE m.bot_id = $1 AND m.summary_id = s.id)
               ELSE NOT EXISTS (SELECT FROM summaries c WHERE c.bot_id = $1 AND c.parent_id = s.id) END";
    let shown = visible(bot).await;
    let db = database.store.connection().await.expect("connection");
    for row in db.query(HIDDEN, &[&bot.bot().as_str()]).await.expect("rows") {
        let (id, state): (Uuid, Option<String>) = (row.get(0), row.get(1));
        assert_eq!(shown.contains(&id), state.as_deref() != Some("active"), "{id} behind {state:?}");
    }
    let miscounted: i64 = db.query_one(MISCOUNTED, &[&bot.bot().as_str()]).await.expect("row").get(0);
    assert_eq!(miscounted, 0);
}

#[test]
fn no_sequence_of_operations_loses_a_message() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let (database, memory) = runtime.block_on(memory());
    let count = std::sync::atomic::AtomicUsize::new(0);
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&prop::collection::vec(step(), 1..18), |steps| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let bot = namespace(&memory, &format!("case{number}"));
        runtime.block_on(async {
            let mut clock = 0;
            talk(&bot, 6, 0, 300).await;
            for step in steps {
                take(&bot, step, &mut clock).await;
                check(&database, &bot).await;
            }
        });
        Ok(())
    });
    if let Err(error) = outcome {
        std::panic::resume_unwind(Box::new(error.to_string()));
    }
}
