//! A namespace with conversations, and summaries to store over them.

use std::collections::HashSet;
use std::time::Duration;

use greenroom_kit::{Board, Supervisor};
use greenroom_memory::summaries::{CommittedSummary, Covers, Method, NewSummary, Rules, Sections};
use greenroom_memory::{
    ForgetRequest, ForgetTarget, Forgotten, Memory, MessageStatus, Namespace, NamespaceName, NewMessage, SESSION_GAP,
    TombstoneReason,
};
use greenroom_protocol::{BotSlug, Role, TurnId, UserId};
use greenroom_store::testing::{TestDatabase, database};
use jiff::Timestamp;
use uuid::Uuid;

pub async fn memory() -> (TestDatabase, Memory) {
    let database = database().await;
    let (root, _join) = Supervisor::root(Board::default()).await.expect("root");
    let group = root.group("memory").await.expect("group");
    let memory = Memory::wordless(group, database.store.clone());
    (database, memory)
}

pub fn namespace(memory: &Memory, slug: &str) -> Namespace {
    let name = NamespaceName::from_profile(slug).expect("a plain name");
    memory.namespace(&BotSlug::parse(slug).expect("a slug"), &name)
}

/// A message of so many bytes; even numbers are the user's.
pub fn message(bot: &BotSlug, user: &str, n: usize, second: i64, bytes: usize) -> NewMessage {
    NewMessage {
        bot: bot.clone(),
        id: Uuid::new_v4(),
        role: if n.is_multiple_of(2) { Role::User } else { Role::Assistant },
        content: format!("{n} {}", "x".repeat(bytes.saturating_sub(2))),
        ts: Timestamp::from_second(second).expect("a time"),
        user: UserId::from_stored(user),
        turn: TurnId::from_stored(format!("turn-{}", n / 2)),
        status: MessageStatus::Complete,
        metadata: None,
        extract: true,
        session: None,
        session_gap: SESSION_GAP,
    }
}

/// `count` messages, one a minute, in one conversation.
pub async fn talk(bot: &Namespace, count: usize, begin: i64, bytes: usize) -> Vec<Uuid> {
    let messages: Vec<NewMessage> = (0..count)
        .map(|n| message(bot.bot(), "ann", n, begin + 60 * i64::try_from(n).expect("small"), bytes))
        .collect();
    let ids = messages.iter().map(|message| message.id).collect();
    let _ = bot.record(&messages).await.expect("recorded");
    ids
}

pub fn sections(text: &str) -> Sections {
    Sections { summary: text.into(), ..Sections::default() }
}

pub fn summary(ids: &[Uuid], replaces: &[Uuid], text: &str) -> NewSummary {
    NewSummary {
        covers: Covers::Messages(ids.to_vec()),
        replaces: replaces.to_vec(),
        user: Some(UserId::from_stored("ann")),
        sections: sections(text),
        method: Method::Llm,
        model: Some("model".into()),
        parts: 1,
    }
}

pub fn roll_up(ids: &[Uuid], replaces: &[Uuid]) -> NewSummary {
    NewSummary { covers: Covers::Summaries(ids.to_vec()), ..summary(&[], replaces, "long ago") }
}

pub async fn commit(bot: &Namespace, new: NewSummary) -> CommittedSummary {
    bot.commit_summary(new).await.expect("committed")
}

pub async fn visible(bot: &Namespace) -> HashSet<Uuid> {
    let rows = bot.visible_messages(None, None, 100_000).await.expect("read");
    assert!(
        rows.windows(2).all(|pair| (pair[0].ts, pair[0].seq) > (pair[1].ts, pair[1].seq)),
        "newest first, none twice"
    );
    rows.into_iter().map(|row| row.id).collect()
}

pub fn rules(budget: usize) -> Rules {
    Rules { budget, protected_turns: 3, session_gap: Duration::from_secs(3_600), min_messages: 2, per_user: false }
}

pub async fn forget(bot: &Namespace, newest: i64) -> Forgotten {
    let request = ForgetRequest {
        target: ForgetTarget::Newest(newest),
        user: None,
        reason: TombstoneReason::User,
        by: None,
        dry_run: false,
    };
    bot.forget(request).await.expect("forgotten")
}
