//! Which conversations are to be summarised: a pure decision over the sizes and times of messages that no summary covers.
//!
//! Nothing is due while what is visible fits into nine tenths of the history's share of the context. Beyond that, whole
//! conversations go, oldest first, until seven tenths remain. The newest messages are protected. A conversation that
//! still goes on is cut only when it alone is too large, or when the rest would not fit without it. Everything behind the
//! window that a bot can see is covered, however short it is. The same function serves the probe, the preview and the
//! summariser, so that none reports work that another does not find.

use std::collections::HashSet;
use std::time::Duration;

use greenroom_protocol::Role;
use jiff::Timestamp;
use uuid::Uuid;

use super::conversation::{is_apart, joined, pieces};
use super::{Conversation, SourceRow, group};
use crate::budget::FRAME_TOKENS;

/// Tokens of the context that are never counted on for history.
pub const RESERVED_TOKENS: usize = 500;
/// Per cent of the rest that history may fill; what remains is for memories, profile and summaries.
const SHARE: usize = 70;
/// Per cent of the share above which summarising begins.
const HIGH_WATER: usize = 90;
/// Per cent of the share at which it ends.
const LOW_WATER: usize = 70;
/// A conversation that still goes on is cut when it alone takes more than this per cent of the share.
const CUT_ABOVE: usize = 50;
/// Estimated tokens of a stored message: one for each started group of four bytes, and four for its frame.
#[must_use]
pub fn estimate_tokens(bytes: usize) -> usize {
    bytes.div_ceil(4) + FRAME_TOKENS
}

/// What decides about eligibility.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The bot's context budget in tokens; with 0 nothing is ever due.
    pub budget: usize,
    /// Newest turns that stay as they are.
    pub protected_turns: usize,
    /// Silence after which a new conversation begins, where no session is recorded.
    pub session_gap: Duration,
    /// Shorter conversations are joined with the next one of the same day.
    pub min_messages: usize,
    /// Whether each user has a history of his own.
    pub per_user: bool,
}

impl Rules {
    /// Tokens that history may fill.
    #[must_use]
    pub fn share(&self) -> usize {
        per_cent(self.budget.saturating_sub(RESERVED_TOKENS), SHARE)
    }

    /// Visible tokens above which summarising begins.
    #[must_use]
    pub fn high_water(&self) -> usize {
        per_cent(self.share(), HIGH_WATER)
    }

    /// Visible tokens at which summarising ends.
    #[must_use]
    pub fn low_water(&self) -> usize {
        per_cent(self.share(), LOW_WATER)
    }

    /// Protected messages.
    #[must_use]
    pub fn protected_messages(&self) -> usize {
        self.protected_turns.saturating_mul(2)
    }

    fn cut_above(&self) -> usize {
        per_cent(self.share(), CUT_ABOVE)
    }
}

/// `share` per cent of a number, without overflow.
fn per_cent(number: usize, share: usize) -> usize {
    number / 100 * share + number % 100 * share / 100
}

/// Place of a message in the order of time.
pub type Position = (Timestamp, i64);
/// Estimated tokens.
pub type Cost = usize;

/// Where the window of what a bot can see ends, measured newest first over at least as many messages as could fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryWindow {
    /// Visible tokens; when it exceeds the high water, it may be less than there are.
    pub total: Cost,
    /// Tokens of the messages that stay: those within the low water and the protected ones.
    pub kept: Cost,
    /// The newest message that does not stay.
    pub overflow: Option<Position>,
    /// The oldest protected message.
    pub protected: Option<Position>,
}

/// What is to be summarised now, oldest first. `rows` are the oldest visible messages, oldest first; with `more` there are
/// younger ones behind them. Conversations in `failed` (by their first message) are passed over.
#[must_use]
pub fn plan(
    rows: Vec<SourceRow>,
    more: bool,
    window: &HistoryWindow,
    rules: &Rules,
    failed: &HashSet<Uuid>,
    now: Timestamp,
) -> Vec<Conversation> {
    let Some(overflow) = window.overflow.filter(|_| rules.budget > 0 && window.total > rules.high_water()) else {
        return Vec::new();
    };
    let page_end = rows.last().map_or(overflow, SourceRow::position);
    let is_protected = |position: Position| window.protected.is_some_and(|protected| position >= protected);
    let (mut whole, mut going_on) = (Vec::new(), Vec::new());
    for session in group(rows, rules.session_gap) {
        let last = session.rows.last().map_or(page_end, SourceRow::position);
        let cut_by_page = more && !is_apart(last.0, page_end.0, rules.session_gap);
        let goes_on = !is_apart(last.0, now, rules.session_gap);
        match session.position() {
            Some(first) if first <= overflow => {
                let to = if is_protected(last) || goes_on || cut_by_page { &mut going_on } else { &mut whole };
                to.push(session);
            }
            _ => {}
        }
    }
    let mut due = joined(whole, rules.min_messages);
    let mut left = window.kept;
    // Rows behind the page belong to the overflow, too: another look will show the conversations that it cut, unless
    // there is nothing else in it.
    let cut_off = more && page_end <= overflow;
    if cut_off && !due.is_empty() {
        going_on.clear();
    }
    // youngest first, so that what goes on still stays whole
    for session in going_on.into_iter().rev() {
        let own = session.tokens();
        let prefix = prefix(session, overflow, &is_protected);
        let cost: Cost = prefix.tokens();
        if !cut_off && own <= rules.cut_above() && left + cost <= rules.high_water() {
            left += cost;
        } else if !prefix.rows.is_empty() {
            due.push(prefix);
        }
    }
    due.retain(|session| session.rows.first().is_some_and(|row| !failed.contains(&row.id)));
    due.sort_by_key(Conversation::position);
    due.into_iter().flat_map(pieces).collect()
}

/// The part of a conversation up to `overflow`, and to the end of the turn that it cuts, but nothing protected.
fn prefix(mut session: Conversation, overflow: Position, is_protected: &impl Fn(Position) -> bool) -> Conversation {
    let mut end = session.rows.iter().take_while(|row| row.position() <= overflow).count();
    while session.rows.get(end).is_some_and(|row| row.role != Role::User) {
        end += 1;
    }
    while end > 0 && session.rows.get(end - 1).is_some_and(|row| is_protected(row.position())) {
        end -= 1;
    }
    session.rows.truncate(end);
    session
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::UserId;
    use proptest::prelude::*;

    use super::*;

    const GAP: Duration = Duration::from_secs(3_600);

    fn rules(budget: usize) -> Rules {
        Rules { budget, protected_turns: 3, session_gap: GAP, min_messages: 2, per_user: false }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn row(n: i64, second: i64, tokens: usize) -> SourceRow {
        SourceRow {
            id: Uuid::from_u128(u128::try_from(n).expect("not negative") + 1),
            role: if n % 2 == 0 { Role::User } else { Role::Assistant },
            ts: at(second),
            seq: n,
            user: None,
            session: None,
            tokens,
            covered: None,
        }
    }

    /// What the repository measures, over all rows.
    fn window(rows: &[SourceRow], rules: &Rules) -> HistoryWindow {
        let mut window = HistoryWindow::default();
        for (n, row) in rows.iter().rev().enumerate() {
            window.total += row.tokens;
            let protected = n < rules.protected_messages();
            if protected {
                window.protected = Some(row.position());
            }
            if protected || window.total <= rules.low_water() {
                window.kept = window.total;
            } else if window.overflow.is_none() {
                window.overflow = Some(row.position());
            }
        }
        window
    }

    fn planned(rows: &[SourceRow], rules: &Rules, now: i64) -> Vec<Vec<i64>> {
        let sessions = plan(rows.to_vec(), false, &window(rows, rules), rules, &HashSet::new(), at(now));
        sessions.iter().map(|session| session.rows.iter().map(|row| row.seq).collect()).collect()
    }

    #[test]
    fn nothing_is_due_before_the_high_water() {
        let rules = rules(2_000); // share 1050, high water 945, low water 735
        let rows: Vec<_> = (0..9).map(|n| row(n, n * 10_000, 105)).collect();
        assert!(planned(&rows, &rules, 1_000_000).is_empty(), "945 tokens are not too many");
        let rows: Vec<_> = (0..10).map(|n| row(n, n * 10_000, 105)).collect();
        assert_eq!(planned(&rows, &rules, 1_000_000), [[0, 1, 2]], "1050 are, and 735 stay; the short ones are joined");
        assert!(planned(&rows, &Rules { budget: 0, ..rules }, 1_000_000).is_empty());
    }

    #[test]
    fn whole_conversations_go_and_short_ones_find_company() {
        let rules = rules(2_000);
        let mut rows: Vec<_> = (0..4).map(|n| row(n, n * 60, 100)).collect();
        rows.push(row(4, 20_000, 100)); // alone, the same day
        rows.extend((5..7).map(|n| row(n, 90_000 + n, 100))); // the next day
        rows.extend((7..16).map(|n| row(n, 200_000 + n, 100)));
        assert_eq!(planned(&rows, &rules, 1_000_000), [vec![0, 1, 2, 3, 4], vec![5, 6], vec![7, 8, 9]]);
    }

    #[test]
    fn what_goes_on_is_cut_only_when_it_must_be() {
        let rules = rules(2_000);
        // one conversation, still going on, alone too large: its oldest whole turns go
        let rows: Vec<_> = (0..12).map(|n| row(n, n * 60, 100)).collect();
        assert_eq!(planned(&rows, &rules, 800), [[0, 1, 2, 3, 4, 5]]);
        // a young one beside an old one: only the old one goes
        let mut rows: Vec<_> = (0..6).map(|n| row(n, n * 60, 100)).collect();
        rows.extend((6..10).map(|n| row(n, 50_000 + n * 60, 100)));
        assert_eq!(planned(&rows, &rules, 50_700).concat().last(), Some(&3), "the newest six are protected");
    }

    #[test]
    fn a_page_that_cuts_everything_still_gets_on() {
        let rules = rules(2_000);
        let rows: Vec<_> = (0..100).map(|n| row(n, n, 100)).collect();
        let window = window(&rows, &rules);
        let page = rows[..10].to_vec();
        let due = plan(page, true, &window, &rules, &HashSet::new(), at(1_000));
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].rows.len(), 10);
    }

    proptest! {
        /// What is left after the plan fits, or is protected; and no message is planned twice or out of order.
        #[test]
        fn what_is_left_fits(
            sizes in prop::collection::vec((5usize..400, 0i64..9_000, 0u8..3), 0..120),
            budget in prop::sample::select(vec![0usize, 700, 2_000, 8_000, 200_000]),
            protected_turns in 0usize..5,
            idle in 0i64..10_000,
        ) {
            let rules = Rules { protected_turns, ..rules(budget) };
            let mut second = 0;
            let rows: Vec<_> = sizes.iter().enumerate().map(|(n, (tokens, pause, who))| {
                second += pause;
                let n = i64::try_from(n).expect("small");
                SourceRow { user: Some(UserId::from_stored(format!("user{who}"))), ..row(n, second, *tokens) }
            }).collect();
            let planned: Vec<i64> = planned(&rows, &rules, second + idle).concat();
            let unique: HashSet<i64> = planned.iter().copied().collect();
            prop_assert_eq!(unique.len(), planned.len());
            if budget > 0 {
                let left: usize = rows.iter().filter(|row| !unique.contains(&row.seq)).map(|row| row.tokens).sum();
                let window = window(&rows, &rules);
                prop_assert!(left <= rules.high_water().max(window.kept), "{left} of {}", rules.share());
            } else {
                prop_assert!(planned.is_empty());
            }
        }
    }
}
