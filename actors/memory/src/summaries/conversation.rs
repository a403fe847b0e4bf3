//! Messages as the plan sees them, and gathering them into conversations: pure, and without texts.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use greenroom_protocol::{Role, UserId};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use uuid::Uuid;

use super::{Cost, Position};

/// A conversation is summarised in pieces of at most so many tokens.
const MOST_TOKENS: usize = 200_000;
/// And of at most so many messages.
const MOST_MESSAGES: usize = 2_000;

/// A message as the plan sees it: no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRow {
    /// Row id.
    pub id: Uuid,
    /// Who speaks.
    pub role: Role,
    /// Event time.
    pub ts: Timestamp,
    /// Tie-break for equal times.
    pub seq: i64,
    /// Whose conversation.
    pub user: Option<UserId>,
    /// Recorded session.
    pub session: Option<Uuid>,
    /// Estimated tokens.
    pub tokens: Cost,
    /// The summary that stands for it.
    pub covered: Option<Uuid>,
}

impl SourceRow {
    pub(crate) fn position(&self) -> Position {
        (self.ts, self.seq)
    }
}

/// Messages of one conversation, oldest first, to be covered by one summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Whose.
    pub user: Option<UserId>,
    /// Its messages; never empty.
    pub rows: Vec<SourceRow>,
}

impl Conversation {
    /// Time of the first message.
    #[must_use]
    pub fn start(&self) -> Timestamp {
        self.rows.first().map_or(Timestamp::UNIX_EPOCH, |row| row.ts)
    }

    /// Time of the last message.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.rows.last().map_or(Timestamp::UNIX_EPOCH, |row| row.ts)
    }

    /// Estimated tokens.
    #[must_use]
    pub fn tokens(&self) -> Cost {
        self.rows.iter().map(|row| row.tokens).sum()
    }

    /// Ids of its messages, oldest first.
    #[must_use]
    pub fn ids(&self) -> Vec<Uuid> {
        self.rows.iter().map(|row| row.id).collect()
    }

    /// Summaries that stand for some of its messages now.
    #[must_use]
    pub fn covered_by(&self) -> Vec<Uuid> {
        let mut seen = HashSet::new();
        self.rows.iter().filter_map(|row| row.covered).filter(|id| seen.insert(*id)).collect()
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.rows.first().map(SourceRow::position)
    }
}

/// Gathers messages (oldest first) into conversations, ordered by their first message: by recorded session where there is
/// one, else by silence. Conversations of different people are never mixed.
#[must_use]
pub fn group(rows: Vec<SourceRow>, gap: Duration) -> Vec<Conversation> {
    let mut sessions: Vec<Conversation> = Vec::new();
    let mut open: HashMap<(Option<UserId>, Option<Uuid>), usize> = HashMap::new();
    for row in rows {
        let key = (row.user.clone(), row.session);
        let known = open.get(&key).copied().and_then(|index| sessions.get_mut(index));
        match known.filter(|session| row.session.is_some() || !is_apart(session.end(), row.ts, gap)) {
            Some(session) => session.rows.push(row),
            None => {
                open.insert(key, sessions.len());
                sessions.push(Conversation { user: row.user.clone(), rows: vec![row] });
            }
        }
    }
    sessions
}

/// Whether two moments are further apart than `gap`.
pub(crate) fn is_apart(earlier: Timestamp, later: Timestamp, gap: Duration) -> bool {
    let between = later.duration_since(earlier);
    Duration::try_from(between).is_ok_and(|between| between > gap)
}

/// Joins conversations of fewer than `min` messages with the next of the same person and day, or else the previous one;
/// what finds no company stays as it is.
pub(crate) fn joined(sessions: Vec<Conversation>, min: usize) -> Vec<Conversation> {
    let mut joined: Vec<Conversation> = Vec::with_capacity(sessions.len());
    for session in sessions {
        let company = joined.iter_mut().rev().find(|other| other.user == session.user);
        match company.filter(|other| is_same_day(other.end(), session.start())) {
            Some(other) if other.rows.len() < min || session.rows.len() < min => {
                other.rows.extend(session.rows);
                other.rows.sort_by_key(SourceRow::position);
            }
            _ => joined.push(session),
        }
    }
    joined
}

fn is_same_day(one: Timestamp, other: Timestamp) -> bool {
    let day = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
    day(one) == day(other)
}

/// Cuts what is too large for one summary at turns.
pub(crate) fn pieces(session: Conversation) -> Vec<Conversation> {
    if session.rows.len() <= MOST_MESSAGES && session.tokens() <= MOST_TOKENS {
        return vec![session];
    }
    let mut pieces: Vec<Conversation> = Vec::new();
    let (mut tokens, user) = (0, session.user);
    for row in session.rows {
        let at_most = if row.role == Role::User { MOST_MESSAGES * 3 / 4 } else { MOST_MESSAGES };
        let fits = tokens + row.tokens <= MOST_TOKENS;
        match pieces.last_mut().filter(|piece| fits && piece.rows.len() < at_most) {
            Some(piece) => {
                tokens += row.tokens;
                piece.rows.push(row);
            }
            None => {
                tokens = row.tokens;
                pieces.push(Conversation { user: user.clone(), rows: vec![row] });
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(3_600);

    fn row(n: i64, second: i64, tokens: usize) -> SourceRow {
        SourceRow {
            id: Uuid::from_u128(u128::try_from(n).expect("not negative") + 1),
            role: if n % 2 == 0 { Role::User } else { Role::Assistant },
            ts: Timestamp::from_second(second).expect("a time"),
            seq: n,
            user: None,
            session: None,
            tokens,
            covered: None,
        }
    }

    #[test]
    fn people_are_not_mixed_and_records_win_over_silence() {
        let mut rows: Vec<_> = (0..6).map(|n| row(n, n * 50_000, 10)).collect();
        for row in &mut rows {
            row.user = Some(UserId::from_stored(if row.seq % 2 == 0 { "ann" } else { "bob" }));
            row.session = (row.seq < 4).then(|| Uuid::from_u128(u128::try_from(row.seq % 2).expect("small") + 77));
        }
        let groups: Vec<Vec<i64>> =
            group(rows, GAP).iter().map(|session| session.rows.iter().map(|row| row.seq).collect()).collect();
        assert_eq!(groups, [vec![0, 2], vec![1, 3], vec![4], vec![5]]);
    }

    #[test]
    fn a_giant_is_cut_into_pieces() {
        let rows: Vec<_> = (0..5_000).map(|n| row(n, n, 5)).collect();
        let session = Conversation { user: None, rows: rows.clone() };
        let pieces = pieces(session);
        assert!(pieces.iter().all(|piece| piece.rows.len() <= MOST_MESSAGES && piece.rows[0].role == Role::User));
        assert_eq!(pieces.into_iter().flat_map(|piece| piece.rows).collect::<Vec<_>>(), rows);
    }
}
