//! The board's cards in the order of a tree. Pure.

use std::collections::{HashMap, HashSet};

use greenroom_kit::CardView;
use serde::Serialize;

/// Most turns shown; there may be thousands, and they are all alike.
const MOST_TURNS: usize = 100;

/// One actor and where it stands.
#[derive(Debug, Clone, Serialize)]
pub struct ActorLine {
    /// How far below the root.
    pub depth: usize,
    /// The actor.
    #[serde(flatten)]
    pub card: CardView,
}

/// The tree, from the root down.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tree {
    /// Actors, parents before children.
    pub actors: Vec<ActorLine>,
    /// Running turns left out of the list.
    pub turns_not_shown: usize,
}

/// Orders cards as a tree. Cards whose parent is gone stand at the end, at the top level.
#[must_use]
pub fn plant(cards: Vec<CardView>) -> Tree {
    let names: HashSet<String> = cards.iter().map(|card| card.name.clone()).collect();
    let (mut shown, mut turns) = (Vec::with_capacity(cards.len()), 0);
    for card in cards {
        if card.kind == "turn" {
            turns += 1;
            if turns > MOST_TURNS {
                continue;
            }
        }
        shown.push(card);
    }
    let mut children: HashMap<Option<String>, Vec<CardView>> = HashMap::new();
    for card in shown {
        let parent = card.parent.clone().filter(|parent| names.contains(parent) && *parent != card.name);
        children.entry(parent).or_default().push(card);
    }
    let mut tree = Tree { actors: Vec::new(), turns_not_shown: turns.saturating_sub(MOST_TURNS) };
    let mut waiting: Vec<(usize, CardView)> = Vec::new();
    push_all(&mut waiting, children.remove(&None), 0);
    while let Some((depth, card)) = waiting.pop() {
        let below = children.remove(&Some(card.name.clone()));
        tree.actors.push(ActorLine { depth, card });
        push_all(&mut waiting, below, depth + 1);
    }
    tree
}

fn push_all(waiting: &mut Vec<(usize, CardView)>, cards: Option<Vec<CardView>>, depth: usize) {
    waiting.extend(cards.into_iter().flatten().rev().map(|card| (depth, card)));
}

#[cfg(test)]
mod tests {
    use greenroom_kit::Board;

    use super::*;

    fn lines(tree: &Tree) -> Vec<String> {
        tree.actors.iter().map(|line| format!("{}{}", " ".repeat(line.depth), line.card.name)).collect()
    }

    #[test]
    fn children_follow_their_parent_in_order_of_birth() {
        let board = Board::default();
        let _cards = [
            board.card("root", "supervisor", None),
            board.card("store", "supervisor", Some("root")),
            board.card("bots", "supervisor", Some("root")),
            board.card("pool", "pool", Some("store")),
            board.card("bot:nova", "bot", Some("bots")),
            board.card("cluster", "cluster", Some("store")),
            board.card("lost", "bot", Some("gone")),
        ];
        let tree = plant(board.views());
        assert_eq!(lines(&tree), ["root", " store", "  pool", "  cluster", " bots", "  bot:nova", "lost"]);
    }

    #[test]
    fn a_crowd_of_turns_is_counted_not_listed() {
        let board = Board::default();
        let _root = board.card("turns", "supervisor", None);
        let cards: Vec<_> = (0..250).map(|n| board.card(format!("turn:{n}"), "turn", Some("turns"))).collect();
        let tree = plant(board.views());
        assert_eq!((tree.actors.len(), tree.turns_not_shown), (101, 150));
        drop(cards);
        assert_eq!(plant(board.views()).turns_not_shown, 0);
    }

    #[test]
    fn names_that_meet_twice_end_nothing() {
        let board = Board::default();
        let _cards =
            [board.card("a", "x", Some("a")), board.card("b", "x", Some("a")), board.card("b", "x", Some("b"))];
        assert_eq!(plant(board.views()).actors.len(), 3);
    }
}
