//! The episode index: who said what and when, neighbours, filters, and any order of changes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, HashSet};

use greenroom_lexicon::{Candidate, Cast, Episode, EpisodeIndex, Filter, Question, Ranked, Role, Similarities, rank};
use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

const HOUR: i64 = 3_600_000_000;

fn now() -> Timestamp {
    "2024-05-15T12:00:00Z".parse().unwrap()
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn episode<'a>(number: u128, at: &str, role: Role, content: &'a str) -> Episode<'a> {
    let at = at.parse::<Timestamp>().unwrap().as_microsecond();
    Episode { id: id(number), at, seq: number as i64, session: Some(id(9)), user: Some("ann"), role, content }
}

/// A short chat of one user with the bot.
fn chat() -> EpisodeIndex {
    let mut index = EpisodeIndex::new();
    for (number, at, role, content) in [
        (1, "2024-05-01T10:00:00Z", Role::User, "Hi! How are you?"),
        (2, "2024-05-01T10:01:00Z", Role::Assistant, "Fine. What did you do at the weekend?"),
        (3, "2024-05-01T10:02:00Z", Role::User, "I went to the lake with my sister yesterday."),
        (4, "2024-05-01T10:03:00Z", Role::Assistant, "Lovely. You could try the ferry next time."),
        (5, "2024-05-14T09:00:00Z", Role::User, "My bicycle has a flat tyre again"),
        (6, "2024-05-14T09:01:00Z", Role::Assistant, "I recommend a puncture-proof tyre for the bicycle."),
        (7, "2024-05-14T09:02:00Z", Role::User, "Where do you get those?"),
        (8, "2024-05-14T09:03:00Z", Role::Assistant, "At Müller's, Hauptstraße 5."),
    ] {
        index.insert(episode(number, at, role, content));
    }
    index
}

fn ask(index: &EpisodeIndex, text: &str, filter: &Filter) -> Vec<Ranked> {
    let question = index.question(text, &Cast::default(), now());
    let items: Vec<_> =
        index.candidates(&question, filter, 200).into_iter().map(|candidate| (candidate, None)).collect();
    rank(&question, &items)
}

fn first(index: &EpisodeIndex, text: &str) -> Option<u128> {
    ask(index, text, &Filter::default()).first().map(|ranked| ranked.id.as_u128())
}

#[test]
fn a_small_chat_is_searched_by_words_people_and_times() {
    let index = chat();
    assert_eq!(first(&index, "when did I go to the lake?"), Some(3));
    assert_eq!(first(&index, "what was wrong with my bicycle?"), Some(5));
    assert_eq!(first(&index, "what did you recommend for the bicycle?"), Some(6));
    assert_eq!(first(&index, "MÜLLERS HAUPTSTRASSE adresse 5"), Some(8));
    let of_yesterday: HashSet<u128> = ask(&index, "What did we talk about yesterday?", &Filter::default())
        .iter()
        .map(|ranked| ranked.id.as_u128())
        .collect();
    assert_eq!(of_yesterday, HashSet::from([5, 6, 7, 8]));
    assert_eq!(first(&index, "what did you say?"), None);
    assert_eq!(first(&EpisodeIndex::new(), "lake on 1 May 2024"), None);
}

#[test]
fn parts_add_up_to_the_score() {
    for ranked in ask(&chat(), "when did I tell you about the lake in May?", &Filter::default()) {
        assert!((ranked.parts.total() - ranked.score).abs() < 1e-6);
        assert!(ranked.score.is_finite());
    }
}

#[test]
fn an_answer_is_found_by_the_words_of_what_was_asked() {
    let index = chat();
    let ranked = ask(&index, "weekend", &Filter::default());
    assert!(ranked.iter().any(|ranked| ranked.id == id(3) && ranked.parts.words > 0.0), "{ranked:?}");
}

#[test]
fn names_in_texts_tell_the_speakers() {
    let mut index = EpisodeIndex::new();
    for number in 0..20 {
        let name = if number % 2 == 0 { "Caroline" } else { "Melanie" };
        let text = format!("{name}: my pottery is {}", if number < 2 { "blue" } else { "somewhere" });
        index.insert(episode(number, "2024-01-01T00:00:00Z", Role::User, &text));
    }
    assert_eq!(first(&index, "Which colour is Melanie's blue pottery?"), Some(1));
    assert_eq!(first(&index, "Which colour is Caroline's blue pottery?"), Some(0));
    assert_eq!(first(&index, "Which colour is Mel's blue pottery?"), Some(1));
    let question = index.question("What did Mel tell Caroline?", &Cast::default(), now());
    assert_eq!(question.vector_text(), "What did tell ?");
    assert_eq!(Question::parse("What did Mel tell?", &Cast::default(), now()).vector_text(), "What did Mel tell?");
}

#[test]
fn filters_hold_for_candidates_and_descriptions() {
    let index = chat();
    let question = index.question("bicycle tyre lake", &Cast::default(), now());
    let all: Vec<Uuid> = index.ids().collect();
    let at = |text: &str| Some(text.parse::<Timestamp>().unwrap().as_microsecond());
    let found = |filter: Filter| {
        let mut found: Vec<Uuid> =
            index.candidates(&question, &filter, 200).iter().map(|candidate| candidate.id).collect();
        found.sort();
        let mut described: Vec<Uuid> =
            index.describe(&question, &filter, &all).iter().map(|candidate| candidate.id).collect();
        described.sort();
        assert!(found.iter().all(|id| described.contains(id)));
        found.iter().map(Uuid::as_u128).collect::<Vec<_>>()
    };
    assert_eq!(found(Filter { role: Some(Role::User), ..Filter::default() }), [1, 3, 5, 7]);
    assert_eq!(found(Filter { since: at("2024-05-14T09:01:00Z"), ..Filter::default() }), [6, 7, 8]);
    assert_eq!(found(Filter { until: at("2024-05-01T10:02:00Z"), ..Filter::default() }), Vec::<u128>::new());
    assert_eq!(found(Filter { exclude: HashSet::from([id(5), id(6)]), ..Filter::default() }), [1, 2, 3, 4, 7, 8]);
    assert_eq!(found(Filter { user: Some("ben".into()), ..Filter::default() }), Vec::<u128>::new());
    assert_eq!(found(Filter { user: Some("ann".into()), ..Filter::default() }).len(), 8);
}

#[test]
fn descriptions_agree_with_candidates() {
    let index = chat();
    let question = index.question("when did I go to the lake with my bicycle?", &Cast::default(), now());
    let by_id = |list: Vec<Candidate>| list.into_iter().map(|one| (one.id, one.features)).collect::<BTreeMap<_, _>>();
    let candidates = by_id(index.candidates(&question, &Filter::default(), 200));
    let ids: Vec<Uuid> = candidates.keys().copied().collect();
    assert_eq!(candidates.iter().collect::<Vec<_>>().len(), ids.len());
    let described = by_id(index.describe(&question, &Filter::default(), &ids));
    assert_eq!(candidates.keys().collect::<Vec<_>>(), described.keys().collect::<Vec<_>>());
    assert!(candidates.values().eq(described.values()));
}

#[test]
fn rows_without_vectors_are_neither_lifted_nor_sunk() {
    let index = chat();
    let question = index.question("bicycle", &Cast::default(), now());
    let candidates = index.candidates(&question, &Filter::default(), 200);
    let alike = Similarities { own: 0.4, context: 0.4 };
    let items: Vec<_> =
        candidates.iter().map(|candidate| (*candidate, (candidate.id != id(5)).then_some(alike))).collect();
    assert_eq!(rank(&question, &items).first().map(|ranked| ranked.id), Some(id(5)));
    let broken = Similarities { own: f32::NAN, context: f32::INFINITY };
    assert!(rank(&question, &[(candidates[0], Some(broken))]).iter().all(|ranked| ranked.score.is_finite()));
}

#[test]
fn messages_without_a_session_hang_together_for_an_hour() {
    let mut index = EpisodeIndex::new();
    for (number, at) in [(1, 0), (2, HOUR / 2), (3, 10 * HOUR)] {
        let content = if number == 2 { "the zeppelin" } else { "hm" };
        index.insert(Episode { id: id(number), at, seq: 0, session: None, user: None, role: Role::User, content });
    }
    let found: HashSet<u128> =
        ask(&index, "zeppelin", &Filter::default()).iter().map(|ranked| ranked.id.as_u128()).collect();
    assert_eq!(found, HashSet::from([1, 2]));
}

#[test]
fn other_languages_do_not_break() {
    let mut index = EpisodeIndex::new();
    for (number, content) in [
        (1, "昨日、京都で寿司を食べました。"),
        (2, "Вчера я купил новый велосипед."),
        (3, "Ich habe gestern Äpfel gekauft."),
        (4, "💥💥💥"),
        (5, ""),
    ] {
        index.insert(episode(number, "2024-05-01T10:00:00Z", Role::User, content));
    }
    assert_eq!(first(&index, "京都で何を食べた？"), Some(1));
    assert_eq!(first(&index, "какой велосипед?"), Some(2));
    assert_eq!(first(&index, "Welche Apfel habe ich gekauft?"), Some(3));
    assert_eq!(index.len(), 5);
}

#[derive(Debug, Clone)]
enum Change {
    Put(u128, i64, u128, bool, &'static str),
    Remove(u128),
}

fn change() -> impl Strategy<Value = Change> {
    let text = prop::sample::select(vec![
        "red apples",
        "Ann: green apples",
        "Ann: why?",
        "Ben: pears yesterday",
        "",
        "apples",
    ]);
    prop_oneof![
        4 => (0_u128..40, 0_i64..50, 0_u128..4, any::<bool>(), text)
            .prop_map(|(id, at, session, user, text)| Change::Put(id, at, session, user, text)),
        1 => (0_u128..40).prop_map(Change::Remove),
    ]
}

proptest! {
    /// Whatever happened before, an index finds what one filled from the rows as they are now finds, with the same features
    /// as soon as it has compacted; and it never holds anything else.
    #[test]
    fn an_index_is_what_its_rows_are(changes in prop::collection::vec(change(), 0..150)) {
        let (mut index, mut rows) = (EpisodeIndex::new(), BTreeMap::new());
        for change in changes {
            match change {
                Change::Put(number, at, session, user, content) => {
                    let episode = Episode {
                        id: id(number), at, seq: number as i64, session: (session > 0).then(|| id(session)), user: user.then_some("ann"),
                        role: Role::User, content,
                    };
                    index.insert(episode);
                    rows.insert(number, episode);
                }
                Change::Remove(number) => prop_assert_eq!(index.remove(&id(number)), rows.remove(&number).is_some()),
            }
        }
        prop_assert_eq!(index.len(), rows.len());
        let mut other = EpisodeIndex::new();
        for episode in rows.values().rev() {
            other.insert(*episode);
        }
        for text in ["apples", "when did Ann see pears?", "red pears"] {
            let found = |index: &EpisodeIndex| {
                let question = index.question(text, &Cast::default(), now());
                let candidates = index.candidates(&question, &Filter::default(), 200);
                candidates.iter().map(|one| (one.id, one.features.speaker.to_bits(), one.features.asks.to_bits())).collect::<HashSet<_>>()
            };
            prop_assert_eq!(found(&index), found(&other));
        }
    }
}
